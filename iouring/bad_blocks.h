/* Which blocks of a file cannot be read: the disk says so when a read that touches one fails.
 *
 * A read over many blocks fails for one of them, so what fails is halved until the block is found;
 * a disk may take seconds over each read of it, so none is asked for more than it must be. What
 * the kernel says of them (EIO, ENODATA of a medium, EILSEQ of a checksum) is -EIO here and in
 * file_read_at().
 *
 * Memory: one buffer of 256 KiB. Threads: any. */
#ifndef IOURING_BAD_BLOCKS_H
#define IOURING_BAD_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BAD_BLOCKS_RUNS_MAX = 16 };

/* In order, blocks that follow each other as one run. */
struct bad_blocks {
    struct {
        uint64_t offset, size; /* bytes, whole blocks */
    } runs[BAD_BLOCKS_RUNS_MAX];
    unsigned count; /* of runs */
    bool more;      /* there are more of them: not looked for */
};

/* Reads the blocks that [offset, offset + size) touches, as far as the file goes. 0, or -ENOMEM,
 * and other errors than those of a block. */
int bad_blocks_find(struct bad_blocks *found, int fd, uint64_t offset, uint64_t size);

/* Behind the last of them; 0 when there are none. */
static inline uint64_t bad_blocks_end(const struct bad_blocks *found)
{
    unsigned count = found->count;
    return count == 0 ? 0 : found->runs[count - 1].offset + found->runs[count - 1].size;
}

/* "4096 bytes at 0x6000 cannot be read", "" when there are none. Cut to `size`. */
void bad_blocks_describe(const struct bad_blocks *found, char *text, size_t size);

#endif
