/* A read-only mapping of a file that no longer changes, with bounds-checked slices.
 *
 * Pages are brought in with MADV_POPULATE_READ before they are given out, so a file that is shorter
 * than it was or a disk that fails is an error code and not a SIGBUS.
 *
 * Threads: a map may be read by any thread; open and close by one. */
#ifndef MMAPSTORE_MAP_H
#define MMAPSTORE_MAP_H

#include "core/base/error.h"
#include "core/base/span.h"

#include <stdint.h>

struct map {
    const uint8_t *bytes;
    uint64_t size;      /* bytes */
    uint64_t populated; /* bytes from the start known to be in memory once */
};

/* Maps all of `fd`, which may be closed afterwards. An empty file gives size 0. */
int map_open(struct map *map, int fd, const char *name, struct error *error);
void map_close(struct map *map);

/* The bytes [offset, offset + size): ERROR_TRUNCATED past the end, -EIO when they cannot be read.
 */
int map_slice(struct map *map, uint64_t offset, uint64_t size, struct span *span);

#endif
