/* What an engine implements. Only iouring/ and the engines of the tests (t/lib) include this.
 *
 * An engine embeds struct io as its first member. It takes an op in `start`, and gives it back with
 * io_finished(), from `start` already or later from `wait`. Threads: as io.h says. */
#ifndef IOURING_IO_ENGINE_H
#define IOURING_IO_ENGINE_H

#include "iouring/io.h"

struct io_engine {
    const char *name;
    /* Takes one op. May finish it at once. */
    void (*start)(struct io *io, struct io_op *op);
    /* Hands what was taken to the kernel. 0 or a negative errno. */
    int (*flush)(struct io *io);
    /* Finishes what can be finished; waits if that is nothing, as io_wait() says. It may come back
     * early with nothing: whoever needs more asks again. 0 or a negative errno. */
    int (*wait)(struct io *io, int wake_fd, uint64_t timeout_ns);
    void (*close)(struct io *io);
};

struct io {
    const struct io_engine *engine;
    unsigned underway;            /* submitted, `done` not yet run */
    struct io_op *finished_first; /* finished, `done` not yet run; oldest first */
    struct io_op **finished_end;
    struct io_counts counts; /* `syscalls` is the engine's, the rest is counted here */
};

void io_init(struct io *io, const struct io_engine *engine);
void io_finished(struct io *io, struct io_op *op, int result);

/* Performs the first `size` bytes of an op now: a byte count, or a negative errno that is neither
 * -EINTR nor -EAGAIN. */
int io_perform(struct io *io, const struct io_op *op, uint32_t size);

/* Waits for `wake_fd` and the timeout alone, with ppoll(). 0 or a negative errno. */
int io_wait_for_wake(struct io *io, int wake_fd, uint64_t timeout_ns);

/* How often EINTR and EAGAIN are retried before they become -EIO: neither lasts on a file that the
 * log writes, and an op that never ends would be worse than an error. */
#define IO_RETRIES_MAX 100

#endif
