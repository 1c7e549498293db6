/* An engine that loses power.
 *
 * Ops wait in a queue; each io_run() or io_wait() performs a random part of it in random order.
 * Power fails when the test says so: then each 512-byte sector of a write that is not durable holds
 * either the new bytes or those of before, and every op from then on is -EIO and touches nothing,
 * so that the code under test can be torn down in the usual way. What its files hold is what a
 * machine finds when it starts again. The same seed and calls give the same bytes.
 *
 * Durable is a write with `dsync` that was performed, and one that was done before an IO_SYNC of
 * its file was submitted that was performed. Nothing is really synced, so this is fast. Names,
 * sizes, and whatever goes past the engine (iouring/file.h) count as durable at once. A sector that
 * is written again while a sync is under way counts as not synced at all: too hard on code that
 * does that, and the log never does.
 *
 * Threads: as io.h says. */
#ifndef IO_POWER_H
#define IO_POWER_H

#include "iouring/io.h"

int io_open_power(struct io **io, uint64_t seed);

/* Power fails when `ops` more have been performed: perhaps before the caller hears of the last of
 * them. */
void io_power_fail_after(struct io *io, uint64_t ops);

/* Power fails now, if it has not yet. */
void io_power_crash(struct io *io);

/* When `ops` more have been performed, the next `count` writes and syncs end with -EIO, some with
 * -ENOSPC, or a write is short. Of a write that failed any sectors are on the disk, or all are
 * there and may be gone after a loss of power. */
void io_power_break_after(struct io *io, uint64_t ops, uint64_t count);

/* What a disk may do with a write that it says was done. */
enum io_power_lie {
    IO_POWER_LOST,      /* nothing: what was there is still there */
    IO_POWER_MISPLACED, /* it is at another offset of the file, at once durable */
    IO_POWER_MISFILED,  /* it is in another file of the same directory, at once durable */
};

/* When `ops` more have been performed, it does so with the next `count` writes. */
void io_power_lie_after(struct io *io, uint64_t ops, uint64_t count, enum io_power_lie lie);
uint64_t io_power_lies(const struct io *io); /* how many it did that with */

/* Called with each write that ends as if it were done, whatever became of it. */
void io_power_watch(struct io *io, void (*written)(const struct io_op *op, void *context),
                    void *context);

bool io_power_is_off(const struct io *io);
uint64_t io_power_performed(const struct io *io); /* ops; to choose an n for io_power_fail_after */

#endif
