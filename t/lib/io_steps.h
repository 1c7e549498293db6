/* An engine that performs one op for each wait, in an order that is chosen, and lets the test look
 * in before it: which sectors of 512 bytes a loss of power may leave with the new bytes then, each
 * for itself. For tests that try all of them.
 *
 * Those are the sectors of the writes under way, of those that were done and not synced, and for
 * ever of those that failed. None of their bytes is in the file before: it holds what is durable,
 * so a copy of the directory plus any choice of these sectors is what a crash may leave. Sectors
 * that would hold the same as before do not count.
 *
 * Threads: as io.h says. */
#ifndef IO_STEPS_H
#define IO_STEPS_H

#include "iouring/io.h"

#include <stddef.h>

struct io_steps {
    void (*look)(void *context); /* before an op is performed; NULL: nobody does */
    void *context;
    bool newest_first; /* the order of ops under way; else the oldest first */
    bool fails;        /* the next op that is performed gets -EIO; the engine sets it back */
};

/* A sector that may be on the disk or not. */
struct io_steps_sector {
    char file[64]; /* its name, without the directory */
    uint64_t offset;
    uint8_t bytes[512];
};

/* The test owns `steps`, and may change it at any time. */
int io_open_steps(struct io **io, struct io_steps *steps);

/* Fills `sectors` with those that are open now, at most `max`; how many there are. */
size_t io_steps_sectors(struct io *io, struct io_steps_sector *sectors, size_t max);

#endif
