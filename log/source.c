#include "log/source.h"

#include "core/base/check.h"
#include "iouring/file.h"
#include "log/format.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_file(struct source *source, const char *dir, const char *name, struct error *error)
{
    char path[PATH_MAX];
    struct stat status;
    bool direct;
    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
        return error_set(error, -ENAMETOOLONG, "%s/%s: the path is too long", dir, name);
    int fd = file_open_direct(path, false, &direct, error);
    if (fd < 0)
        return fd;
    if (fstat(fd, &status) < 0) {
        int code = -errno;
        close(fd);
        return error_set(error, code, "%s: %s", path, error_text(code));
    }
    source->fd = fd;
    source->size = (uint64_t)status.st_size;
    return 0;
}

int source_open(struct source *source, const char *dir, const char *name, struct budget *budget,
                struct error *error)
{
    *source = (struct source){ .fd = -1, .budget = budget };
    return open_file(source, dir, name, error);
}

int source_reopen(struct source *source, const char *dir, const char *name, struct error *error)
{
    if (source->fd >= 0)
        close(source->fd);
    source->fd = -1;
    source->memory = NULL;
    source->size = 0;
    source_forget(source);
    return open_file(source, dir, name, error);
}

void source_of_memory(struct source *source, const uint8_t *memory, uint64_t size)
{
    *source = (struct source){ .fd = -1, .memory = memory, .size = size };
}

static void free_window(struct source *source)
{
    free(source->window);
    if (source->budget != NULL && source->window_capacity > 0)
        budget_release(source->budget, BUDGET_READERS, source->window_capacity);
    source->window = NULL;
    source->window_capacity = 0;
    source_forget(source);
}

void source_close(struct source *source)
{
    if (source->fd >= 0)
        close(source->fd);
    source->fd = -1;
    free_window(source);
    source->memory = NULL;
    source->size = 0;
}

void source_forget(struct source *source)
{
    source->window_size = 0;
}

static int grow_window(struct source *source, uint64_t size)
{
    if (size <= source->window_capacity)
        return 0;
    free_window(source);
    if (source->budget != NULL && budget_reserve(source->budget, BUDGET_READERS, size) < 0)
        return ERROR_BUDGET;
    source->window = file_aligned_buffer(size);
    if (source->window == NULL) {
        if (source->budget != NULL)
            budget_release(source->budget, BUDGET_READERS, size);
        return -ENOMEM;
    }
    source->window_capacity = size;
    return 0;
}

static int fill_window(struct source *source, uint64_t offset, uint64_t size)
{
    source_forget(source);
    int64_t got = file_read_at(source->fd, source->window, size, offset);
    if (got < 0)
        return (int)got;
    source->window_offset = offset;
    source->window_size = (uint64_t)got;
    source->bytes_read += (uint64_t)got;
    return 0;
}

static bool in_window(const struct source *source, uint64_t offset, uint64_t end)
{
    return offset >= source->window_offset && end <= source->window_offset + source->window_size;
}

int source_bytes(struct source *source, uint64_t offset, uint64_t size, const uint8_t **bytes)
{
    if (offset > source->size || size > source->size - offset)
        return ERROR_TRUNCATED;
    if (source->memory != NULL || size == 0) {
        *bytes = source->memory + offset;
        return 0;
    }
    if (!in_window(source, offset, offset + size)) {
        uint64_t start = offset / LOG_BLOCK_SIZE * LOG_BLOCK_SIZE;
        uint64_t need = (offset + size - start + LOG_BLOCK_SIZE - 1) / LOG_BLOCK_SIZE;
        need *= LOG_BLOCK_SIZE;
        int code = grow_window(source, need > SOURCE_WINDOW_SIZE ? need : SOURCE_WINDOW_SIZE);
        if (code < 0)
            return code;
        /* A bad sector further on must not hide what was asked for: read just that then. */
        code = fill_window(source, start, source->window_capacity);
        if (code < 0)
            code = fill_window(source, start, need);
        if (code < 0)
            return code;
        if (!in_window(source, offset, offset + size))
            return ERROR_TRUNCATED;
    }
    *bytes = source->window + (offset - source->window_offset);
    return 0;
}
