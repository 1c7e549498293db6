/* The engine without io_uring: every op is done at once, inside io_submit(). For kernels and
 * containers that forbid io_uring, for ThreadSanitizer, and as the reference for the ring. */
#include "core/base/check.h"
#include "iouring/io_engine.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static ssize_t perform_once(const struct io_op *op, uint32_t size)
{
    struct iovec vector = { .iov_base = op->buffer, .iov_len = size };
    switch (op->kind) {
    case IO_READ:
        return preadv2(op->fd, &vector, 1, (off_t)op->offset, 0);
    case IO_WRITE:
        return pwritev2(op->fd, &vector, 1, (off_t)op->offset, op->dsync ? RWF_DSYNC : 0);
    case IO_SYNC:
        return fdatasync(op->fd);
    }
    CHECK(!"an op of a known kind");
    return 0;
}

int io_perform(struct io *io, const struct io_op *op, uint32_t size)
{
    for (int tries = 0; tries < IO_RETRIES_MAX; tries++) {
        io->counts.syscalls++;
        /* preadv2() takes offset -1 as "where the file stands". */
        if (op->kind != IO_SYNC && op->offset > INT64_MAX)
            return -EINVAL;
        ssize_t result = perform_once(op, size);
        if (result >= 0)
            return (int)result;
        if (errno != EINTR && errno != EAGAIN)
            return -errno;
    }
    return -EIO;
}

int io_wait_for_wake(struct io *io, int wake_fd, uint64_t timeout_ns)
{
    struct pollfd poll_fd = { .fd = wake_fd, .events = POLLIN };
    uint64_t seconds = timeout_ns / 1000000000u;
    struct timespec timeout = { .tv_sec = (time_t)seconds,
                                .tv_nsec = (long)(timeout_ns % 1000000000u) };
    io->counts.syscalls++;
    int ready = ppoll(&poll_fd, wake_fd >= 0, timeout_ns == UINT64_MAX ? NULL : &timeout, NULL);
    if (ready < 0)
        return errno == EINTR ? 0 : -errno;
    return ready > 0 && (poll_fd.revents & POLLNVAL) ? -EBADF : 0;
}

static void start(struct io *io, struct io_op *op)
{
    io_finished(io, op, io_perform(io, op, op->size));
}

static int flush(struct io *io)
{
    (void)io;
    return 0;
}

static void close_engine(struct io *io)
{
    free(io);
}

static const struct io_engine plain_engine = {
    .name = "plain",
    .start = start,
    .flush = flush,
    .wait = io_wait_for_wake,
    .close = close_engine,
};

int io_open_plain(struct io **io)
{
    *io = malloc(sizeof **io);
    if (*io == NULL)
        return -ENOMEM;
    io_init(*io, &plain_engine);
    return 0;
}
