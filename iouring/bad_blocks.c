#include "iouring/bad_blocks.h"

#include "iouring/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { PIECE_SIZE = 64 * FILE_BLOCK_SIZE };

/* How many bytes of `size` from `offset` on can be read, in whole blocks, by halving what fails. */
static int64_t readable(int fd, void *buffer, uint64_t offset, uint64_t size)
{
    uint64_t good = 0, unknown = size;
    int64_t got = file_read_at(fd, buffer, size, offset);
    if (got != -EIO)
        return got < 0 ? got : (int64_t)size;
    while (unknown > FILE_BLOCK_SIZE) {
        uint64_t half = (unknown / FILE_BLOCK_SIZE + 1) / 2 * FILE_BLOCK_SIZE;
        got = file_read_at(fd, buffer, half, offset + good);
        if (got < 0 && got != -EIO)
            return got;
        unknown = got < 0 ? half : unknown - half;
        good += got < 0 ? 0 : half;
    }
    return (int64_t)good;
}

static bool add(struct bad_blocks *found, uint64_t offset)
{
    unsigned last = found->count - 1;
    if (found->count > 0 && found->runs[last].offset + found->runs[last].size == offset) {
        found->runs[last].size += FILE_BLOCK_SIZE;
        return true;
    }
    if (found->count == BAD_BLOCKS_RUNS_MAX) {
        found->more = true;
        return false;
    }
    found->runs[found->count].offset = offset;
    found->runs[found->count++].size = FILE_BLOCK_SIZE;
    return true;
}

static int find(struct bad_blocks *found, int fd, void *buffer, uint64_t at, uint64_t end)
{
    bool behind_bad = false;
    while (at < end) {
        /* Bad blocks come in runs: the next one alone, before as much as can be. */
        uint64_t size = behind_bad              ? FILE_BLOCK_SIZE
                        : end - at < PIECE_SIZE ? end - at
                                                : PIECE_SIZE;
        int64_t good = readable(fd, buffer, at, size);
        if (good < 0)
            return (int)good;
        at += (uint64_t)good;
        behind_bad = (uint64_t)good < size;
        if (!behind_bad)
            continue;
        if (!add(found, at))
            return 0;
        at += FILE_BLOCK_SIZE;
    }
    return 0;
}

int bad_blocks_find(struct bad_blocks *found, int fd, uint64_t offset, uint64_t size)
{
    *found = (struct bad_blocks){ .count = 0 };
    uint64_t start = offset / FILE_BLOCK_SIZE * FILE_BLOCK_SIZE;
    uint64_t end = (offset + size + FILE_BLOCK_SIZE - 1) / FILE_BLOCK_SIZE * FILE_BLOCK_SIZE;
    void *buffer = file_aligned_buffer(PIECE_SIZE);
    if (buffer == NULL)
        return -ENOMEM;
    int code = find(found, fd, buffer, start, end);
    free(buffer);
    return code;
}

void bad_blocks_describe(const struct bad_blocks *found, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < found->count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%llu bytes at 0x%llx",
                                 i == 0 ? "" : ", ", (unsigned long long)found->runs[i].size,
                                 (unsigned long long)found->runs[i].offset);
    if (found->count > 0 && used < size)
        (void)snprintf(text + used, size - used, "%s cannot be read",
                       found->more ? " and more" : "");
}
