/* Asynchronous file I/O: one contract, several engines.
 *
 * The caller owns every `struct io_op` and embeds it in a request of its own; an engine never
 * allocates after it was opened. An op is the engine's from io_submit() until its `done` runs,
 * and must not be touched or freed in between. `done` runs exactly once per op, only inside
 * io_run(), on the thread that called io_run(), and never inside io_submit(): so it may submit
 * again without recursing.
 *
 * Engines: ring (io_uring) and plain (preadv2/pwritev2, each op done at once). Tests add one that
 * fails on purpose (t/lib/io_fault) and one that loses power (t/lib/io_power). All keep the
 * contract test t/iouring-io.c.
 *
 * Threads: an io belongs to the thread that runs it; it may be opened by another and handed over
 * once. */
#ifndef IOURING_IO_H
#define IOURING_IO_H

#include <stdbool.h>
#include <stdint.h>

struct io;
struct io_op;

enum io_kind { IO_READ, IO_WRITE, IO_SYNC /* fdatasync */ };

/* `result` is the byte count, which may be short, or a negative errno. EINTR and EAGAIN never get
 * here; the engine retries them. */
typedef void io_done(struct io_op *op, int result);

struct io_op {
    enum io_kind kind;
    int fd;
    void *buffer;    /* aligned to the block size when fd is O_DIRECT */
    uint32_t size;   /* bytes */
    uint64_t offset; /* bytes, in the file */
    bool dsync;      /* a write that is durable when it is done (RWF_DSYNC) */
    io_done *done;

    struct io_op *next; /* the engine's, while the op is */
    int result;         /* the engine's, while the op is */
};

/* What an engine counted since it was opened. */
struct io_counts {
    uint64_t submitted; /* ops */
    uint64_t syscalls;  /* io_uring_enter, pwritev2, ... made by the engine */
    uint64_t syncs;     /* ops that are IO_SYNC or dsync */
};

/* The engines. Errors: -ENOMEM; for the ring also what io_uring_setup(2) says, where -EPERM and
 * -ENOSYS mean "use the plain engine". `ops_max`: most ops under way at once. */
int io_open_ring(struct io **io, unsigned ops_max);
int io_open_plain(struct io **io);

/* The ring, or the plain engine where the kernel forbids it. */
int io_open_best(struct io **io, unsigned ops_max);

/* "ring", "plain", ... */
const char *io_name(const struct io *io);

void io_counts_get(const struct io *io, struct io_counts *counts);

/* At most `ops_max` ops may be under way at once; one more is a bug, not an error. The kernel may
 * see the op only at the next io_run() or io_flush(). */
void io_submit(struct io *io, struct io_op *op);

/* Hands what was submitted to the kernel without waiting. 0 or a negative errno. */
int io_flush(struct io *io);

/* Runs the `done` of every finished op, waiting for the first if none has finished. Returns how
 * many ran, 0 when nothing is under way, or a negative errno. */
int io_run(struct io *io);

/* The same, but it also returns (perhaps 0) when `wake_fd` (an eventfd; -1 for none) becomes
 * readable or `timeout_ns` has passed; waits even when nothing is under way. `timeout_ns` 0 only
 * looks, UINT64_MAX waits for ever. The caller reads `wake_fd`; always the same one per io. */
int io_wait(struct io *io, int wake_fd, uint64_t timeout_ns);

unsigned io_underway(const struct io *io); /* ops submitted whose `done` has not run */

/* Nothing may be under way. */
void io_close(struct io *io);

#endif
