#include "tools/log/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_SIZE ((size_t)1 << 20)

static bool is_stdin(const char *path)
{
    return strcmp(path, "-") == 0;
}

const char *lines_name(const struct lines *lines)
{
    const char *path = lines->paths[lines->at];
    return is_stdin(path) ? "standard input" : path;
}

static int failed_on(const struct lines *lines, int code, struct error *error)
{
    return error_set(error, code, "cannot read %s: %s", lines_name(lines), error_text(code));
}

/*--- Before the first line ---------------------------------------------------------------------*/

/* Without opening it: a pipe's writer must not see a reader that goes away. */
static int look_at(struct lines *lines, bool *known, struct error *error)
{
    struct stat stat;
    const char *path = lines->paths[lines->at];
    int failed = is_stdin(path)           ? fstat(STDIN_FILENO, &stat)
                 : access(path, R_OK) < 0 ? -1
                                          : fstatat(AT_FDCWD, path, &stat, 0);
    if (failed < 0)
        return failed_on(lines, -errno, error);
    if (S_ISDIR(stat.st_mode))
        return failed_on(lines, -EISDIR, error);
    *known = *known && S_ISREG(stat.st_mode);
    lines->total_bytes += (uint64_t)stat.st_size;
    return 0;
}

int lines_open(struct lines *lines, struct error *error)
{
    bool known = true;
    int code = 0, stdins = 0;
    lines->fd = -1;
    for (lines->at = 0; code == 0 && lines->at < lines->count; lines->at++) {
        stdins += is_stdin(lines->paths[lines->at]);
        code = look_at(lines, &known, error);
    }
    if (code == 0 && stdins > 1)
        code = error_set(error, ERROR_INVALID, "standard input can be read once only");
    lines->at = 0;
    if (!known)
        lines->total_bytes = 0;
    lines->capacity = BUFFER_SIZE;
    lines->buffer = code == 0 ? malloc(lines->capacity) : NULL;
    if (code == 0 && lines->buffer == NULL)
        code = error_set(error, -ENOMEM, "no memory to read lines");
    return code;
}

static void close_file(struct lines *lines)
{
    if (lines->fd > STDIN_FILENO)
        close(lines->fd);
    lines->fd = -1;
}

void lines_close(struct lines *lines)
{
    close_file(lines);
    free(lines->buffer);
    lines->buffer = NULL;
}

/*--- Lines -------------------------------------------------------------------------------------*/

static int open_file(struct lines *lines, struct error *error)
{
    const char *path = lines->paths[lines->at];
    lines->fd = is_stdin(path) ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    lines->begin = lines->seen = lines->end = 0;
    lines->number = 0;
    lines->over = false;
    return lines->fd < 0 ? failed_on(lines, -errno, error) : 0;
}

/* Room behind what is unread. */
static int make_room(struct lines *lines, struct error *error)
{
    size_t unread = lines->end - lines->begin;
    if (unread > lines->size_max)
        return error_set(error, ERROR_TOO_LARGE,
                         "%s:%" PRIu64 ": the line is longer than %" PRIu64 " bytes",
                         lines_name(lines), lines->number + 1, lines->size_max);
    memmove(lines->buffer, lines->buffer + lines->begin, unread);
    lines->seen -= lines->begin;
    lines->end = unread;
    lines->begin = 0;
    if (unread < lines->capacity / 2)
        return 0;
    char *more = realloc(lines->buffer, 2 * lines->capacity);
    if (more == NULL)
        return error_set(error, -ENOMEM, "no memory for a line of %zu bytes", lines->capacity);
    lines->buffer = more;
    lines->capacity *= 2;
    return 0;
}

static int read_more(struct lines *lines, struct error *error)
{
    int code = make_room(lines, error);
    if (code < 0)
        return code;
    ssize_t got = read(lines->fd, lines->buffer + lines->end, lines->capacity - lines->end);
    if (got < 0 && errno != EINTR)
        return failed_on(lines, -errno, error);
    if (got < 0)
        return 0;
    lines->over = got == 0;
    lines->end += (size_t)got;
    lines->done_bytes += (uint64_t)got;
    return 0;
}

static struct span take(struct lines *lines, size_t size, bool cut)
{
    struct span line = span_of(lines->buffer + lines->begin, size);
    lines->begin += size + !cut;
    lines->seen = lines->begin;
    lines->number++;
    lines->cut = cut;
    return line;
}

/* True with the next line of what was read. */
static bool find_line(struct lines *lines, struct span *line)
{
    const char *from = lines->buffer + lines->seen;
    const char *end = memchr(from, '\n', lines->end - lines->seen);
    if (end != NULL) {
        *line = take(lines, (size_t)(end - lines->buffer) - lines->begin, false);
        return true;
    }
    lines->seen = lines->end;
    if (!lines->over || lines->begin == lines->end)
        return false;
    *line = take(lines, lines->end - lines->begin, true);
    return true;
}

int lines_next(struct lines *lines, struct span *line, struct error *error)
{
    int code = 0;
    while (code == 0) {
        if (atomic_load(lines->stop))
            return error_set(error, -ECANCELED, "stopped by a signal");
        if (lines->fd < 0 && lines->at == lines->count)
            return 0;
        if (lines->fd < 0)
            code = open_file(lines, error);
        else if (find_line(lines, line))
            return 1;
        else if (!lines->over)
            code = read_more(lines, error);
        else {
            close_file(lines);
            lines->at++;
        }
    }
    return code;
}
