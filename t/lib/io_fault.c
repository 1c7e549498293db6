#include "io_fault.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/check.h"
#include "iouring/io_engine.h"

enum { OPS_MAX = 64 };

/* An op that the inner engine performs for one of ours. */
struct passed {
    struct io_op op; /* first: a struct io_op * is a struct passed * */
    struct io *io;
    struct io_op *ours; /* NULL: free */
};

struct fault_io {
    struct io io; /* first: a struct io * is a struct fault_io * */
    struct io_fault *fault;
    struct io *inner; /* NULL: none */
    struct passed passed[OPS_MAX];
    struct io_op *held[OPS_MAX];
    unsigned held_count;
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
    fault->failed++;
    if (!fault->for_ever && fault->failed >= fault->times)
        fault->countdown = -1;
    return true;
}

static void passed_done(struct io_op *op, int result)
{
    struct passed *passed = (struct passed *)op;
    struct io_op *ours = passed->ours;
    passed->ours = NULL;
    io_finished(passed->io, ours, result);
}

static void pass_on(struct fault_io *fault_io, struct io_op *op)
{
    struct passed *passed = fault_io->passed;
    while (passed->ours != NULL)
        CHECK(++passed < fault_io->passed + OPS_MAX);
    *passed = (struct passed){ .op = *op, .io = &fault_io->io, .ours = op };
    passed->op.done = passed_done;
    io_submit(fault_io->inner, &passed->op);
}

static void perform(struct io *io, struct io_op *op)
{
    struct fault_io *fault_io = (struct fault_io *)io;
    struct io_fault *fault = fault_io->fault;
    uint32_t size = op->size;
    bool due = fault_is_due(fault, op);
    if (due && fault->result < 0) {
        if (op->kind == IO_WRITE && fault->written > 0)
            (void)io_perform(io, op, fault->written < size ? fault->written : size);
        io_finished(io, op, fault->result);
        return;
    }
    if (due)
        size = (uint32_t)fault->result < size ? (uint32_t)fault->result : size;
    if (!due && fault_io->inner != NULL)
        pass_on(fault_io, op);
    else
        io_finished(io, op, op->kind == IO_SYNC || size > 0 ? io_perform(io, op, size) : 0);
}

static bool lies_below(int fd, const char *dir)
{
    char path[64], file[4096];
    if (dir == NULL)
        return true;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, file, sizeof file - 1);
    CHECK(length > 0);
    file[length] = '\0';
    size_t size = strlen(dir);
    return strncmp(file, dir, size) == 0 && file[size] == '/';
}

static void start(struct io *io, struct io_op *op)
{
    struct fault_io *fault_io = (struct fault_io *)io;
    struct io_fault *fault = fault_io->fault;
    bool may_hold = lies_below(op->fd, fault->hold_dir);
    if (may_hold && fault->hold_after > 0 && --fault->hold_after == 0)
        fault->hold = true;
    if (!fault->hold || !may_hold) {
        perform(io, op);
        return;
    }
    fault->held++;
    CHECK(fault_io->held_count < OPS_MAX);
    fault_io->held[fault_io->held_count++] = op;
}

static int flush(struct io *io)
{
    struct io *inner = ((struct fault_io *)io)->inner;
    return inner != NULL ? io_flush(inner) : 0;
}

static int wait_for_some(struct io *io, int wake_fd, uint64_t timeout_ns)
{
    struct fault_io *fault_io = (struct fault_io *)io;
    struct io *inner = fault_io->inner;
    if (fault_io->held_count > 0 && !fault_io->fault->hold) {
        for (unsigned i = 0; i < fault_io->held_count; i++)
            perform(io, fault_io->held[i]);
        fault_io->held_count = 0;
        return 0;
    }
    if (inner == NULL)
        return io_wait_for_wake(io, wake_fd, timeout_ns);
    int ran = io_wait(inner, wake_fd, timeout_ns);
    return ran < 0 ? ran : 0;
}

static void close_engine(struct io *io)
{
    struct io *inner = ((struct fault_io *)io)->inner;
    if (inner != NULL)
        io_close(inner);
    free(io);
}

static const struct io_engine fault_engine = {
    .name = "fault",
    .start = start,
    .flush = flush,
    .wait = wait_for_some,
    .close = close_engine,
};

int io_open_fault_over(struct io **io, struct io_fault *fault, struct io *inner)
{
    struct fault_io *fault_io = calloc(1, sizeof *fault_io);
    if (fault_io == NULL)
        return -ENOMEM;
    io_init(&fault_io->io, &fault_engine);
    fault_io->fault = fault;
    fault_io->inner = inner;
    *io = &fault_io->io;
    return 0;
}

int io_open_fault(struct io **io, struct io_fault *fault)
{
    return io_open_fault_over(io, fault, NULL);
}
