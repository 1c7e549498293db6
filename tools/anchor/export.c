#include "tools/anchor/export.h"

#include "iouring/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A line with ANCHOR_SEGMENTS_MAX segments has less than half of it. */
#define LINE_SIZE_MAX (32u << 10)

static int failed(const struct anchor_export *export, int code, const char *what,
                  struct error *error)
{
    return error_set(error, code, "%s %s, to which anchors are exported: %s", what, export->path,
                     error_text(code));
}

static int read_line(struct anchor_export *export, struct span line, struct error *error)
{
    struct budget budget;
    struct arena arena;
    struct json json;
    const char *what = NULL;
    budget_init(&budget, 1u << 24);
    arena_init(&arena, &budget, BUDGET_READERS, 4096);
    int code = json_parse(&json, &arena, line, NULL);
    if (code == 0)
        code = anchor_of_json(&export->last, &json, 0, &what);
    export->any = code == 0;
    if (code < 0)
        code = error_set(error, ERROR_INVALID,
                         "the last line of %s, to which anchors are exported, is no anchor: move "
                         "the file away, and it is made anew from the log",
                         export->path);
    arena_free(&arena);
    return code;
}

/* `tail` is the end of the file: its last whole line is read, what follows is cut off. */
static int read_tail(struct anchor_export *export, const char *tail, size_t size, uint64_t offset,
                     struct error *error)
{
    const char *end = memrchr(tail, '\n', size);
    size_t whole = end != NULL ? (size_t)(end - tail) + 1 : 0;
    if (whole < size && ftruncate(export->fd, (off_t)(offset + whole)) < 0)
        return failed(export, -errno, "cannot cut a torn line off", error);
    if (whole == 0)
        return 0;
    const char *begin = memrchr(tail, '\n', whole - 1);
    begin = begin != NULL ? begin + 1 : tail;
    return read_line(export, span_of(begin, whole - 1 - (size_t)(begin - tail)), error);
}

int anchor_export_open(struct anchor_export *export, const char *path, struct error *error)
{
    struct stat status;
    *export = (struct anchor_export){ .path = path };
    export->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (export->fd < 0 || fstat(export->fd, &status) < 0)
        return failed(export, -errno, "cannot open", error);
    char *tail = malloc(LINE_SIZE_MAX);
    uint64_t end = (uint64_t)status.st_size;
    uint64_t offset = end > LINE_SIZE_MAX ? end - LINE_SIZE_MAX : 0;
    int64_t size = tail != NULL ? file_read_at(export->fd, tail, LINE_SIZE_MAX, offset) : -ENOMEM;
    int code = size < 0 ? failed(export, (int)size, "cannot read", error)
                        : read_tail(export, tail, (size_t)size, offset, error);
    free(tail);
    return code;
}

void anchor_export_close(struct anchor_export *export)
{
    if (export->fd >= 0)
        close(export->fd);
    export->fd = -1;
}

int anchor_export_add(struct anchor_export *export, const struct anchor *anchor,
                      struct error *error)
{
    struct text line;
    text_init(&line);
    anchor_to_json(anchor, NULL, &line);
    text_add_string(&line, "\n");
    int code = line.failed;
    ssize_t written = code == 0 ? write(export->fd, line.bytes, line.size) : 0;
    if (code == 0 && written != (ssize_t)line.size)
        code = written < 0 ? -errno : -ENOSPC; /* a torn line is cut off when it is opened again */
    if (code == 0 && fsync(export->fd) < 0)
        code = -errno;
    text_free(&line);
    if (code < 0)
        return failed(export, code, "cannot write", error);
    export->any = true;
    export->last = *anchor;
    return 0;
}
