#include "io_fault.h"

#include <errno.h>
#include <stdlib.h>

#include "iouring/io_engine.h"

struct fault_io {
    struct io io; /* first: a struct io * is a struct fault_io * */
    struct io_fault *fault;
};

static bool fault_is_due(struct io_fault *fault, const struct io_op *op)
{
    bool all = !fault->kinds[IO_READ] && !fault->kinds[IO_WRITE] && !fault->kinds[IO_SYNC];
    if (!all && !fault->kinds[op->kind])
        return false;
    fault->started++;
    if (fault->countdown < 0)
        return false;
    if (fault->countdown > 0) {
        fault->countdown--;
        return false;
    }
    if (!fault->for_ever)
        fault->countdown = -1;
    fault->failed++;
    return true;
}

static void start(struct io *io, struct io_op *op)
{
    struct io_fault *fault = ((struct fault_io *)io)->fault;
    uint32_t size = op->size;
    if (fault_is_due(fault, op)) {
        if (fault->result < 0) {
            io_finished(io, op, fault->result);
            return;
        }
        size = (uint32_t)fault->result < size ? (uint32_t)fault->result : size;
    }
    io_finished(io, op, op->kind == IO_SYNC || size > 0 ? io_perform(io, op, size) : 0);
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

static const struct io_engine fault_engine = {
    .name = "fault",
    .start = start,
    .flush = flush,
    .wait = io_wait_for_wake,
    .close = close_engine,
};

int io_open_fault(struct io **io, struct io_fault *fault)
{
    struct fault_io *fault_io = malloc(sizeof *fault_io);
    if (fault_io == NULL)
        return -ENOMEM;
    io_init(&fault_io->io, &fault_engine);
    fault_io->fault = fault;
    *io = &fault_io->io;
    return 0;
}
