/* The io_uring engine.
 *
 * One thread submits and reaps, and the kernel does its completion work only when that thread asks
 * (SINGLE_ISSUER, DEFER_TASKRUN): no interrupt of the agent's thread in the middle of its own work.
 * The ring is made disabled and enabled by the thread that first uses it, because the kernel binds
 * a SINGLE_ISSUER ring to the thread that enables it, and io.h lets another one open it.
 *
 * A turn is one io_uring_enter(): it submits everything, watches `wake_fd` by a poll request in the
 * ring, and waits with its timeout as an argument. The poll is a single shot that each turn arms
 * again if it has fired: then a descriptor that nobody has read yet ends the next wait at once too,
 * as ppoll() does in the plain engine. A multishot poll would report only the next write to it.
 *
 * The completion queue cannot overflow: it has twice the entries of the submission queue, which has
 * room for ops_max and the poll. */
#include "core/base/check.h"
#include "iouring/io_engine.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>

#include <liburing.h>

struct ring {
    struct io io; /* first: a struct io * is a struct ring * */
    struct io_uring uring;
    unsigned ops_max;
    int wake_fd;        /* -1 until the first io_wait() with one */
    bool enabled;       /* by the thread that runs it */
    bool wake_watched;  /* a poll is under way */
    bool wake_happened; /* since the last look */
    int wake_error;     /* what the poll failed with; 0 */
};

static struct ring *ring_of(struct io *io)
{
    return (struct ring *)io;
}

static void prepare(struct ring *ring, struct io_op *op)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    CHECK(sqe != NULL); /* the caller promised to stay within ops_max */
    switch (op->kind) {
    case IO_READ:
        io_uring_prep_read(sqe, op->fd, op->buffer, op->size, op->offset);
        break;
    case IO_WRITE:
        io_uring_prep_write(sqe, op->fd, op->buffer, op->size, op->offset);
        sqe->rw_flags = op->dsync ? RWF_DSYNC : 0;
        break;
    case IO_SYNC:
        io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
        break;
    }
    io_uring_sqe_set_data(sqe, op);
}

static void start(struct io *io, struct io_op *op)
{
    struct ring *ring = ring_of(io);
    CHECK(io->underway <= ring->ops_max);
    if (op->kind != IO_SYNC && op->offset > INT64_MAX) {
        io_finished(io, op, -EINVAL); /* -1 would be "where the file stands" */
        return;
    }
    prepare(ring, op);
}

static int enable(struct ring *ring)
{
    if (ring->enabled)
        return 0;
    ring->io.counts.syscalls++;
    /* liburing 2.3 declares io_uring_enable_rings(), but its shared library lacks it. */
    int error =
        io_uring_register((unsigned)ring->uring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    ring->enabled = error == 0;
    return error;
}

static int flush(struct io *io)
{
    struct ring *ring = ring_of(io);
    int error = enable(ring);
    for (int tries = 0; error == 0 && io_uring_sq_ready(&ring->uring) > 0; tries++) {
        io->counts.syscalls++;
        int submitted = io_uring_submit(&ring->uring);
        bool again = submitted >= 0 || submitted == -EINTR || submitted == -EAGAIN;
        if (!again || tries == IO_RETRIES_MAX)
            error = submitted < 0 ? submitted : -EAGAIN;
    }
    return error;
}

static void watch(struct ring *ring, int wake_fd)
{
    if (wake_fd < 0)
        return;
    CHECK(ring->wake_fd == -1 || ring->wake_fd == wake_fd);
    ring->wake_fd = wake_fd;
    if (ring->wake_watched)
        return;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    CHECK(sqe != NULL);
    io_uring_prep_poll_add(sqe, wake_fd, POLLIN);
    io_uring_sqe_set_data(sqe, NULL);
    ring->wake_watched = true;
}

/* One completion: of the poll when it carries no op. */
static void take(struct ring *ring, struct io_op *op, int result)
{
    if (op == NULL) {
        ring->wake_watched = false;
        ring->wake_happened = true;
        ring->wake_error = result < 0 && result != -EINTR && result != -EAGAIN ? result : 0;
    } else if (result != -EINTR && result != -EAGAIN) {
        io_finished(&ring->io, op, result);
    } else if (++op->result > IO_RETRIES_MAX) { /* under way, `result` counts the retries */
        io_finished(&ring->io, op, -EIO);
    } else {
        prepare(ring, op);
    }
}

static void reap(struct ring *ring)
{
    struct io_uring_cqe *cqe;
    unsigned head, seen = 0;
    io_uring_for_each_cqe(&ring->uring, head, cqe)
    {
        take(ring, io_uring_cqe_get_data(cqe), cqe->res);
        seen++;
    }
    io_uring_cq_advance(&ring->uring, seen);
}

/* Submits, and waits for one completion within the timeout. */
static int enter(struct ring *ring, uint64_t timeout_ns)
{
    struct __kernel_timespec timeout = { .tv_sec = (int64_t)(timeout_ns / 1000000000u),
                                         .tv_nsec = (int64_t)(timeout_ns % 1000000000u) };
    struct io_uring_cqe *cqe;
    ring->io.counts.syscalls++;
    int result;
    if (timeout_ns == 0)
        result = io_uring_submit_and_get_events(&ring->uring);
    else if (timeout_ns == UINT64_MAX)
        result = io_uring_submit_and_wait(&ring->uring, 1);
    else
        result = io_uring_submit_and_wait_timeout(&ring->uring, &cqe, 1, &timeout, NULL);
    return result < 0 ? result : 0;
}

static uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int wait_for_one(struct io *io, int wake_fd, uint64_t timeout_ns)
{
    struct ring *ring = ring_of(io);
    bool limited = timeout_ns != 0 && timeout_ns != UINT64_MAX;
    uint64_t start_ns = limited ? monotonic_ns() : 0;
    uint64_t left_ns = timeout_ns;
    int error = enable(ring);
    if (error < 0)
        return error;
    ring->wake_happened = false;
    watch(ring, wake_fd);
    for (int tries = 0; tries < IO_RETRIES_MAX; tries++) {
        error = enter(ring, left_ns);
        if (error < 0 && error != -EINTR && error != -EAGAIN && error != -ETIME)
            return error;
        reap(ring);
        if (ring->wake_error < 0)
            return ring->wake_error;
        if (io->finished_first != NULL || ring->wake_happened || timeout_ns == 0)
            return 0;
        if (limited) { /* a signal came, or an op was retried: wait for the rest */
            uint64_t passed_ns = monotonic_ns() - start_ns;
            if (error == -ETIME || passed_ns >= timeout_ns)
                return 0;
            left_ns = timeout_ns - passed_ns;
        }
    }
    return error == -EAGAIN ? error : 0;
}

static void close_engine(struct io *io)
{
    io_uring_queue_exit(&ring_of(io)->uring);
    free(io);
}

static const struct io_engine ring_engine = {
    .name = "ring",
    .start = start,
    .flush = flush,
    .wait = wait_for_one,
    .close = close_engine,
};

/* The newest way that the kernel knows: 6.1, then 5.19, then 5.11. */
static int make_ring(struct io_uring *uring, unsigned entries)
{
    static const unsigned ways[] = {
        IORING_SETUP_R_DISABLED | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN |
            IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
        IORING_SETUP_R_DISABLED | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN,
        IORING_SETUP_R_DISABLED,
    };
    int error = -EINVAL;
    for (unsigned i = 0; i < sizeof ways / sizeof *ways && error == -EINVAL; i++)
        error = io_uring_queue_init(entries, uring, ways[i]);
    if (error < 0)
        return error;
    unsigned needed = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP;
    if ((uring->features & needed) == needed)
        return 0;
    io_uring_queue_exit(uring);
    return -ENOSYS;
}

int io_open_ring(struct io **io, unsigned ops_max)
{
    CHECK(ops_max > 0);
    struct ring *ring = calloc(1, sizeof *ring);
    if (ring == NULL)
        return -ENOMEM;
    int error = make_ring(&ring->uring, ops_max + 1);
    if (error < 0) {
        free(ring);
        return error;
    }
    io_init(&ring->io, &ring_engine);
    ring->ops_max = ops_max;
    ring->wake_fd = -1;
    *io = &ring->io;
    return 0;
}
