#include "log/source.h"

#include "core/base/check.h"
#include "iouring/file.h"
#include "log/format.h"
#include "log/sealed.h"
#include "log/second.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_plain(struct source *source, const char *dir, const char *name, struct error *error)
{
    char path[PATH_MAX];
    struct stat status;
    bool direct;
    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
        return error_set(error, -ENAMETOOLONG, "%s/%s: the path is too long", dir, name);
    int fd = file_open_direct(path, false, &direct, error);
    if (fd == -ENOENT) {
        int code = second_explain(dir, name, error);
        return code < 0 ? code : fd;
    }
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

/* The sealed form of a segment: what is read are the bytes that it stands for. */
static int open_sealed(struct source *source, const char *dir, const char *name,
                       uint64_t segment_no, struct error *error)
{
    int code = open_plain(source, dir, name, error);
    if (code < 0)
        return code;
    code = sealed_open(&source->sealed, source->fd, source->size, source->budget, error);
    if (code == 0 && source->sealed->front.header.segment_no != segment_no)
        code = error_set(error, ERROR_DAMAGED, "its front says that it is segment %llu",
                         (unsigned long long)source->sealed->front.header.segment_no);
    if (code == 0) {
        source->size = source->sealed->front.header.capacity;
        return 0;
    }
    sealed_close(source->sealed);
    source->sealed = NULL;
    close(source->fd);
    source->fd = -1;
    source->size = 0;
    return error_wrap(error, code, "%s", name);
}

/* A segment may be there as it was written, or sealed. While it is being sealed both are there, and
 * the first goes last. */
static int open_file(struct source *source, const char *dir, const char *name, struct error *error)
{
    char form[LOG_SEGMENT_NAME_SIZE];
    uint64_t segment_no;
    struct error what = { 0 };
    int code = open_plain(source, dir, name, error);
    if (code != -ENOENT || !segment_no_of_name(name, &segment_no))
        return code;
    sealed_name(form, segment_no);
    int sealed = open_sealed(source, dir, form, segment_no, &what);
    if (sealed == -ENOENT)
        return code;
    if (sealed < 0 && error != NULL)
        *error = what;
    return sealed;
}

int source_open(struct source *source, const char *dir, const char *name, struct budget *budget,
                struct error *error)
{
    *source = (struct source){ .fd = -1, .budget = budget };
    return open_file(source, dir, name, error);
}

int source_open_sealed(struct source *source, const char *dir, const char *name,
                       uint64_t segment_no, struct budget *budget, struct error *error)
{
    *source = (struct source){ .fd = -1, .budget = budget };
    return open_sealed(source, dir, name, segment_no, error);
}

static void close_file(struct source *source)
{
    sealed_close(source->sealed);
    source->sealed = NULL;
    if (source->fd >= 0)
        close(source->fd);
    source->fd = -1;
    source->size = 0;
}

int source_reopen(struct source *source, const char *dir, const char *name, struct error *error)
{
    close_file(source);
    source->map = NULL;
    source->image = NULL;
    source->fill = NULL;
    source->sequential = false;
    source->bad_size = 0;
    source_forget(source);
    return open_file(source, dir, name, error);
}

void source_of_map(struct source *source, struct map *map)
{
    *source = (struct source){ .fd = -1, .map = map, .size = map->size };
}

void source_of_image(struct source *source, const struct image *image, uint64_t generation,
                     struct budget *budget)
{
    *source = (struct source){
        .fd = -1, .image = image, .generation = generation, .budget = budget, .sequential = true
    };
}

void source_of_fill(struct source *source, source_fill_function *fill, void *context, uint64_t size)
{
    *source = (struct source){ .fd = -1, .fill = fill, .fill_context = context, .size = size };
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
    close_file(source);
    free_window(source);
    source->map = NULL;
    source->image = NULL;
}

void source_forget(struct source *source)
{
    source->window_size = 0;
    source->hash_count = 0;
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

bool source_image_held(const struct image *image, uint64_t generation)
{
    const struct image_control *control = image->control;
#ifndef __SANITIZE_THREAD__ /* it does not know fences, and sees no other mapping either */
    atomic_thread_fence(memory_order_acquire);
#endif
    return atomic_load_explicit(&control->generation, memory_order_relaxed) == generation &&
           atomic_load_explicit(&control->ended, memory_order_relaxed) == 0;
}

/* Copies first and asks then whether the image still was this segment's. */
static int fill_from_image(struct source *source, uint64_t offset, uint64_t size)
{
    if (size > source->size - offset)
        size = source->size - offset;
    memcpy(source->window, source->image->bytes + offset, size);
    if (!source_image_held(source->image, source->generation))
        return ERROR_CONFLICT;
    source->window_offset = offset;
    source->window_size = size;
    return 0;
}

/* Moves what the window held, `held` bytes from its offset on, to where it belongs in a window that
 * begins at `offset`: a frame at the end reaches into a chunk that was unpacked for those before
 * it. How many bytes are there then. */
static uint64_t keep_unpacked(struct source *source, uint64_t held, uint64_t offset, uint64_t size)
{
    uint64_t skip = offset - source->window_offset;
    if (offset < source->window_offset || skip >= held)
        return 0;
    uint64_t kept = held - skip < size ? held - skip : size;
    memmove(source->window, source->window + skip, kept);
    return kept;
}

/* Unpacks whole chunks; what lies behind the last one is zero. */
static int fill_from_sealed(struct source *source, uint64_t held, uint64_t offset, uint64_t size)
{
    const struct sealed_front *front = &source->sealed->front;
    uint64_t end = offset + size < front->used ? offset + size : front->used;
    uint64_t at = offset + keep_unpacked(source, held, offset, size);
    if (at < end) {
        uint32_t first = (uint32_t)(at / front->chunk_size);
        uint32_t last = (uint32_t)((end + front->chunk_size - 1) / front->chunk_size);
        int code = sealed_read(source->sealed, source->fd, first, last - first, source->sequential,
                               source->window + (at - offset), &source->bytes_read);
        if (code < 0)
            return code;
        at = end;
    }
    memset(source->window + (at - offset), 0, offset + size - at);
    source->window_offset = offset;
    source->window_size = size;
    return 0;
}

static int fill_from_caller(struct source *source, uint64_t offset, uint64_t size)
{
    if (size > source->size - offset)
        size = source->size - offset;
    int code = source->fill(source->fill_context, source->window, offset, size);
    if (code < 0)
        return code;
    source->window_offset = offset;
    source->window_size = size;
    return 0;
}

static int fill_window(struct source *source, uint64_t offset, uint64_t size)
{
    uint64_t held = source->window_size;
    source_forget(source);
    if (source->image != NULL)
        return fill_from_image(source, offset, size);
    if (source->fill != NULL)
        return fill_from_caller(source, offset, size);
    if (source->sealed != NULL)
        return fill_from_sealed(source, held, offset, size);
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

/* What a read is made of: a block, or a chunk of a sealed form. */
static uint64_t unit_of(const struct source *source)
{
    return source->sealed != NULL ? source->sealed->front.chunk_size : LOG_BLOCK_SIZE;
}

/* The disk cannot read it, or what a chunk says is not what was sealed. */
static bool is_bad(int code)
{
    return code == -EIO || code == ERROR_DAMAGED;
}

/* Of a range that is bad, the first unit that is, by halving; it is remembered. */
static void find_bad(struct source *source, uint64_t start, uint64_t size)
{
    uint64_t unit = unit_of(source);
    /* Without its index nothing of a sealed form can be unpacked. */
    if (source->sealed != NULL && !source->sealed->loaded) {
        source->bad_code = -EIO;
        source->bad_offset = 0;
        source->bad_size = source->size;
        return;
    }
    while (size > unit) {
        uint64_t half = (size / unit + 1) / 2 * unit;
        bool bad = is_bad(fill_window(source, start, half));
        size = bad ? half : size - half;
        start += bad ? 0 : half;
    }
    source->bad_code = fill_window(source, start, unit);
    source->bad_offset = start;
    source->bad_size = is_bad(source->bad_code) ? unit : 0;
}

/* Fills it with [start, start + more), or less behind `need` when something there is bad. */
static int fill_remembering(struct source *source, uint64_t start, uint64_t need, uint64_t more)
{
    for (int tries = 0; tries < 2; tries++) {
        uint64_t bad = source->bad_offset, bad_end = bad + source->bad_size;
        if (source->bad_size > 0 && bad < start + need && bad_end > start)
            return source->bad_code;
        if (source->bad_size > 0 && bad >= start && bad < start + more)
            more = bad - start;
        int code = fill_window(source, start, more);
        if (!is_bad(code))
            return code;
        find_bad(source, start, more);
    }
    return fill_window(source, start, need);
}

static int read_window(struct source *source, uint64_t offset, uint64_t size)
{
    uint64_t unit = unit_of(source);
    uint64_t start = offset / unit * unit;
    uint64_t need = (offset + size - start + unit - 1) / unit * unit;
    uint64_t more = need;
    if (source->sequential && need < SOURCE_WINDOW_SIZE) {
        uint64_t all = (source->size + unit - 1) / unit * unit;
        more = all < SOURCE_WINDOW_SIZE ? all : SOURCE_WINDOW_SIZE;
    }
    int code = grow_window(source, more);
    if (code < 0)
        return code;
    if (source->remembers && source->image == NULL)
        return fill_remembering(source, start, need, more);
    code = fill_window(source, start, more);
    /* A bad sector further on must not hide what was asked for: read just that then. */
    if (code < 0 && code != ERROR_CONFLICT && more > need)
        code = fill_window(source, start, need);
    return code;
}

int source_bad_blocks(struct source *source, uint64_t offset, uint64_t size,
                      struct bad_blocks *found)
{
    *found = (struct bad_blocks){ .count = 0 };
    if (source->fd < 0 || size == 0)
        return 0;
    if (source->sealed == NULL)
        return bad_blocks_find(found, source->fd, offset, size);
    const struct sealed_front *front = &source->sealed->front;
    uint64_t end = offset + size < front->used ? offset + size : front->used;
    if (!source->sealed->loaded)
        return bad_blocks_find(found, source->fd, front->index_offset,
                               front->file_size - front->index_offset);
    if (offset >= end)
        return 0;
    const uint64_t *offsets = source->sealed->offsets;
    uint64_t first = offsets[offset / front->chunk_size];
    uint64_t last = offsets[(end + front->chunk_size - 1) / front->chunk_size];
    return bad_blocks_find(found, source->fd, first, last - first);
}

static int map_bytes(struct source *source, uint64_t offset, uint64_t size, const uint8_t **bytes)
{
    struct span span;
    int code = map_slice(source->map, offset, size, &span);
    if (code == 0)
        *bytes = span.bytes;
    return code;
}

int source_bytes(struct source *source, uint64_t offset, uint64_t size, const uint8_t **bytes)
{
    if (offset > source->size || size > source->size - offset)
        return ERROR_TRUNCATED;
    if (source->map != NULL)
        return map_bytes(source, offset, size, bytes);
    /* The front has the header too: whoever only wants that unpacks nothing. */
    if (source->sealed != NULL && offset + size <= LOG_BLOCK_SIZE) {
        *bytes = source->sealed->front.block + offset;
        return 0;
    }
    if (!in_window(source, offset, offset + size)) {
        int code = read_window(source, offset, size);
        if (code < 0)
            return code;
        if (!in_window(source, offset, offset + size))
            return ERROR_TRUNCATED;
    }
    *bytes = source->window + (offset - source->window_offset);
    return 0;
}

uint64_t source_at_hand(struct source *source, uint64_t offset, uint64_t size,
                        const uint8_t **bytes)
{
    const struct map *map = source->map;
    uint64_t start = map != NULL ? 0 : source->window_offset;
    uint64_t end = map != NULL ? map->populated : start + source->window_size;
    if (offset < start || offset >= end)
        return 0;
    if (size > end - offset)
        size = end - offset;
    return source_bytes(source, offset, size, bytes) == 0 ? size : 0;
}
