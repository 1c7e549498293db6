/* A read-only mapping of a file that no longer changes, with bounds-checked slices.
 *
 * Pages are brought in with MADV_POPULATE_READ (Linux 5.14) before they are given out, and the size
 * of the file is looked at again: a file that is shorter than it was or a disk that fails is an
 * error code and not a SIGBUS. What no mapping survives is a file that is cut while a slice of it
 * is in use: whoever recycles or cuts it must honour the reader's lock (DESIGN §4).
 *
 * Threads: one at a time; the bytes of a slice may be read by any until map_close(). */
#ifndef MMAPSTORE_MAP_H
#define MMAPSTORE_MAP_H

#include "core/base/error.h"
#include "core/base/span.h"

#include <stdint.h>

struct map {
    const uint8_t *bytes;
    uint64_t size;      /* bytes */
    uint64_t populated; /* bytes from the start known to be in memory once */
    int fd;             /* our own, for the size; -1 for an empty file */
};

/* Maps all of `fd`, which may be closed afterwards. An empty file gives size 0. `name` is for the
 * sentence. */
int map_open(struct map *map, int fd, const char *name, struct error *error);
void map_close(struct map *map);

/* The bytes [offset, offset + size), valid until map_close(): ERROR_TRUNCATED past the end, -EIO
 * when they cannot be read or the file has become shorter. */
int map_slice(struct map *map, uint64_t offset, uint64_t size, struct span *span);

#endif
