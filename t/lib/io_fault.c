#include "io_fault.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "iouring/io_engine.h"

struct fault_io {
    struct io io; /* first, so a struct io * is a struct fault_io * */
    struct io_fault *fault;
};

static int perform(const struct io_op *op, uint32_t size)
{
    ssize_t result = op->kind == IO_SYNC   ? fdatasync(op->fd)
                     : op->kind == IO_READ ? pread(op->fd, op->buffer, size, (off_t)op->offset)
                                           : pwrite(op->fd, op->buffer, size, (off_t)op->offset);
    return result < 0 ? -errno : (int)result;
}

static void start(struct io *io, struct io_op *op)
{
    struct io_fault *fault = ((struct fault_io *)io)->fault;
    if (fault->countdown != 0) {
        fault->countdown -= fault->countdown > 0;
        io_finished(io, op, perform(op, op->size));
    } else if (fault->result < 0) {
        io_finished(io, op, fault->result);
    } else {
        io_finished(io, op, perform(op, (uint32_t)fault->result)); /* a torn write is on disk */
    }
}

static int wait_for_nothing(struct io *io)
{
    (void)io;
    return 0;
}

static void close_engine(struct io *io)
{
    free(io);
}

static const struct io_engine fault_engine = { start, wait_for_nothing, close_engine };

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
