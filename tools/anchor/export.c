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
#define LINE_BEGIN "{\"event\":"

static int failed(const struct anchor_export *export, int code, const char *what,
                  struct error *error)
{
    return error_set(error, code, "%s %s, to which anchors are exported: %s", what, export->path,
                     error_text(code));
}

static int is_no_file_of_ours(const struct anchor_export *export, struct error *error)
{
    return error_set(error, ERROR_INVALID,
                     "%s, to which anchors are exported, does not end with an anchor: move the "
                     "file away, and it is made anew from the log, or say another [anchor] file",
                     export->path);
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
    arena_free(&arena);
    export->any = code == 0;
    return code < 0 ? is_no_file_of_ours(export, error) : 0;
}

/* What a crash left of a line begins as a line does. */
static int keep_torn(struct anchor_export *export, const char *torn, size_t size,
                     struct error *error)
{
    size_t known = sizeof LINE_BEGIN - 1 < size ? sizeof LINE_BEGIN - 1 : size;
    if (memcmp(torn, LINE_BEGIN, known) != 0)
        return is_no_file_of_ours(export, error);
    export->torn = malloc(size);
    if (export->torn == NULL)
        return failed(export, -ENOMEM, "cannot read", error);
    memcpy(export->torn, torn, size);
    export->torn_size = size;
    return 0;
}

/* `tail` is the end of the file, from `offset` on. */
static int read_tail(struct anchor_export *export, const char *tail, size_t size, uint64_t offset,
                     struct error *error)
{
    const char *end = memrchr(tail, '\n', size);
    size_t whole = end != NULL ? (size_t)(end - tail) + 1 : 0;
    int code = 0;
    if (whole == 0 && offset > 0)
        return is_no_file_of_ours(export, error);
    if (whole > 0) {
        const char *begin = memrchr(tail, '\n', whole - 1);
        begin = begin != NULL ? begin + 1 : tail;
        code = read_line(export, span_of(begin, whole - 1 - (size_t)(begin - tail)), error);
    }
    export->end = offset + whole;
    return code == 0 && whole < size ? keep_torn(export, tail + whole, size - whole, error) : code;
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

static void forget_torn(struct anchor_export *export)
{
    free(export->torn);
    export->torn = NULL;
    export->torn_size = 0;
}

void anchor_export_close(struct anchor_export *export)
{
    forget_torn(export);
    if (export->fd >= 0)
        close(export->fd);
    export->fd = -1;
}

/* How much of the line is there already. */
static int settle_torn(struct anchor_export *export, const struct text *line, size_t *there,
                       struct error *error)
{
    *there = export->torn_size;
    if (export->torn_size == 0 || (export->torn_size < line->size &&
                                   memcmp(export->torn, line->bytes, export->torn_size) == 0))
        return 0;
    *there = 0;
    if (!export->any) /* nothing shows that it is a file of anchors */
        return is_no_file_of_ours(export, error);
    if (ftruncate(export->fd, (off_t) export->end) < 0)
        return failed(export, -errno, "cannot cut a torn line off", error);
    return 0;
}

static int add_line(struct anchor_export *export, const struct text *line, struct error *error)
{
    size_t there;
    int code = settle_torn(export, line, &there, error);
    if (code < 0)
        return code;
    ssize_t written = write(export->fd, line->bytes + there, line->size - there);
    if (written != (ssize_t)(line->size - there))
        code = written < 0 ? -errno : -ENOSPC; /* completed when it is opened again */
    if (code == 0 && fsync(export->fd) < 0)
        code = -errno;
    return code < 0 ? failed(export, code, "cannot write", error) : 0;
}

int anchor_export_add(struct anchor_export *export, const struct anchor *anchor,
                      struct error *error)
{
    struct text line;
    text_init(&line);
    anchor_to_json(anchor, NULL, &line);
    text_add_string(&line, "\n");
    int code = line.failed < 0 ? failed(export, line.failed, "cannot write", error)
                               : add_line(export, &line, error);
    if (code == 0) {
        forget_torn(export);
        export->end += line.size;
        export->any = true;
        export->last = *anchor;
    }
    text_free(&line);
    return code;
}
