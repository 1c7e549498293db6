#include "iouring/io.h"

#include "core/base/check.h"
#include "iouring/io_engine.h"

#include <errno.h>
#include <stddef.h>

void io_init(struct io *io, const struct io_engine *engine)
{
    *io = (struct io){ .engine = engine };
    io->finished_end = &io->finished_first;
}

void io_finished(struct io *io, struct io_op *op, int result)
{
    op->result = result;
    op->next = NULL;
    *io->finished_end = op;
    io->finished_end = &op->next;
}

static int run_finished(struct io *io)
{
    /* Take the whole list first: what `done` submits runs in the next turn. */
    struct io_op *op = io->finished_first;
    io->finished_first = NULL;
    io->finished_end = &io->finished_first;

    int ran = 0;
    while (op != NULL) {
        struct io_op *next = op->next; /* `done` may free op */
        CHECK(io->underway > 0);
        io->underway--;
        op->done(op, op->result);
        op = next;
        ran++;
    }
    return ran;
}

/* TSan cannot see what the kernel reads and writes for a ring, and would report races that are
 * none. */
static int open_ring_if_visible(struct io **io, unsigned ops_max)
{
#ifdef __SANITIZE_THREAD__
    (void)io;
    (void)ops_max;
    return -ENOSYS;
#else
    return io_open_ring(io, ops_max);
#endif
}

int io_open_best(struct io **io, unsigned ops_max)
{
    int error = open_ring_if_visible(io, ops_max);
    /* ENOMEM: before Linux 5.12 rings count against RLIMIT_MEMLOCK. */
    if (error == -EPERM || error == -EACCES || error == -ENOSYS || error == -ENOMEM)
        return io_open_plain(io);
    return error;
}

const char *io_name(const struct io *io)
{
    return io->engine->name;
}

void io_counts_get(const struct io *io, struct io_counts *counts)
{
    *counts = io->counts;
}

void io_submit(struct io *io, struct io_op *op)
{
    CHECK(op->done != NULL);
    CHECK(op->kind == IO_SYNC || op->size > 0);
    CHECK(op->kind == IO_WRITE || !op->dsync);
    op->next = NULL;
    op->result = 0;
    io->underway++;
    io->counts.submitted++;
    io->counts.syncs += op->kind == IO_SYNC || op->dsync;
    io->engine->start(io, op);
}

int io_flush(struct io *io)
{
    return io->engine->flush(io);
}

int io_run(struct io *io)
{
    if (io->underway == 0)
        return 0;
    while (io->finished_first == NULL) {
        int error = io->engine->wait(io, -1, UINT64_MAX);
        if (error < 0)
            return error;
    }
    return run_finished(io);
}

int io_wait(struct io *io, int wake_fd, uint64_t timeout_ns)
{
    if (io->finished_first == NULL) {
        int error = io->engine->wait(io, wake_fd, timeout_ns);
        if (error < 0)
            return error;
    }
    return run_finished(io);
}

unsigned io_underway(const struct io *io)
{
    return io->underway;
}

void io_close(struct io *io)
{
    CHECK(io->underway == 0);
    io->engine->close(io);
}
