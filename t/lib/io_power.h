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

/* When `ops` more have been performed, the next `count` writes and syncs end with -EIO. Of such a
 * write any sectors are on the disk, or all are there and may be gone after a loss of power. */
void io_power_break_after(struct io *io, uint64_t ops, uint64_t count);

bool io_power_is_off(const struct io *io);
uint64_t io_power_performed(const struct io *io); /* ops; to choose an n for io_power_fail_after */

#endif
