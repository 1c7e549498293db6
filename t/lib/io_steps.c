#include "io_steps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/check.h"
#include "iouring/io_engine.h"

enum { SECTOR = 512, OPS_MAX = 64 };

enum write_state { UNDERWAY, DONE, FAILED };

/* A write that is not durable. */
struct unsettled {
    enum write_state state;
    uint64_t done_at; /* of DONE */
    int fd;           /* our own, buffered: the writer may close its own */
    uint64_t offset;
    uint32_t size;
    uint8_t *bytes;
    struct io_op *op; /* of UNDERWAY */
};

struct queued {
    struct io_op *op;
    uint64_t submitted_at;
};

struct steps_io {
    struct io io; /* first: a struct io * is a struct steps_io * */
    struct io_steps *steps;
    uint64_t now; /* counts what happens: a clock */
    struct queued queue[OPS_MAX];
    size_t queue_size;
    struct unsettled writes[OPS_MAX]; /* oldest first */
    size_t writes_size;
};

static int reopen(int fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_RDWR | O_CLOEXEC);
}

static void add_write(struct steps_io *steps_io, struct io_op *op)
{
    CHECK(steps_io->writes_size < OPS_MAX);
    struct unsettled *write = &steps_io->writes[steps_io->writes_size++];
    *write = (struct unsettled){ .state = UNDERWAY,
                                 .fd = reopen(op->fd),
                                 .offset = op->offset,
                                 .size = op->size,
                                 .bytes = malloc(op->size),
                                 .op = op };
    CHECK(write->fd >= 0 && write->bytes != NULL && op->offset % SECTOR == 0);
    memcpy(write->bytes, op->buffer, op->size);
}

static void drop_write(struct steps_io *steps_io, size_t index)
{
    close(steps_io->writes[index].fd);
    free(steps_io->writes[index].bytes);
    memmove(steps_io->writes + index, steps_io->writes + index + 1,
            (--steps_io->writes_size - index) * sizeof *steps_io->writes);
}

static void settle(struct steps_io *steps_io, size_t index)
{
    const struct unsettled *write = &steps_io->writes[index];
    CHECK(pwrite(write->fd, write->bytes, write->size, (off_t)write->offset) ==
          (ssize_t)write->size);
    drop_write(steps_io, index);
}

static int perform_write(struct steps_io *steps_io, const struct io_op *op, bool fails)
{
    size_t index = 0;
    while (steps_io->writes[index].op != op)
        CHECK(++index < steps_io->writes_size);
    struct unsettled *write = &steps_io->writes[index];
    write->op = NULL;
    write->state = fails ? FAILED : DONE;
    write->done_at = ++steps_io->now;
    if (!fails && op->dsync)
        settle(steps_io, index);
    return fails ? -EIO : (int)op->size;
}

static bool same_file(int a, int b)
{
    struct stat left, right;
    return fstat(a, &left) == 0 && fstat(b, &right) == 0 && left.st_dev == right.st_dev &&
           left.st_ino == right.st_ino;
}

static int perform_sync(struct steps_io *steps_io, const struct queued *queued, bool fails)
{
    for (size_t i = steps_io->writes_size; i-- > 0;) {
        struct unsettled *write = &steps_io->writes[i];
        if (write->state != DONE || write->done_at > queued->submitted_at ||
            !same_file(write->fd, queued->op->fd))
            continue;
        if (fails)
            write->state = FAILED;
        else
            settle(steps_io, i);
    }
    return fails ? -EIO : 0;
}

static int perform(struct steps_io *steps_io, const struct queued *queued)
{
    struct io_op *op = queued->op;
    bool fails = steps_io->steps->fails;
    steps_io->steps->fails = false;
    if (op->kind == IO_WRITE)
        return perform_write(steps_io, op, fails);
    if (op->kind == IO_SYNC)
        return perform_sync(steps_io, queued, fails);
    return io_perform(&steps_io->io, op, op->size);
}

static void start(struct io *io, struct io_op *op)
{
    struct steps_io *steps_io = (struct steps_io *)io;
    CHECK(steps_io->queue_size < OPS_MAX);
    if (op->kind == IO_WRITE)
        add_write(steps_io, op);
    steps_io->queue[steps_io->queue_size++] = (struct queued){ op, ++steps_io->now };
}

static int flush(struct io *io)
{
    (void)io;
    return 0;
}

static int wait_for_one(struct io *io, int wake_fd, uint64_t timeout_ns)
{
    struct steps_io *steps_io = (struct steps_io *)io;
    if (steps_io->queue_size == 0)
        return io_wait_for_wake(io, wake_fd, timeout_ns);
    if (steps_io->steps->look != NULL)
        steps_io->steps->look(steps_io->steps->context);
    size_t index = steps_io->steps->newest_first ? steps_io->queue_size - 1 : 0;
    struct queued queued = steps_io->queue[index];
    memmove(steps_io->queue + index, steps_io->queue + index + 1,
            (--steps_io->queue_size - index) * sizeof *steps_io->queue);
    io_finished(io, queued.op, perform(steps_io, &queued));
    return 0;
}

static void close_engine(struct io *io)
{
    struct steps_io *steps_io = (struct steps_io *)io;
    while (steps_io->writes_size > 0)
        drop_write(steps_io, 0);
    free(steps_io);
}

static const struct io_engine steps_engine = {
    .name = "steps",
    .start = start,
    .flush = flush,
    .wait = wait_for_one,
    .close = close_engine,
};

int io_open_steps(struct io **io, struct io_steps *steps)
{
    struct steps_io *steps_io = calloc(1, sizeof *steps_io);
    if (steps_io == NULL)
        return -ENOMEM;
    io_init(&steps_io->io, &steps_engine);
    steps_io->steps = steps;
    *io = &steps_io->io;
    return 0;
}

static void name_file(const struct unsettled *write, char *file, size_t size)
{
    char path[64], target[4096];
    snprintf(path, sizeof path, "/proc/self/fd/%d", write->fd);
    ssize_t length = readlink(path, target, sizeof target - 1);
    CHECK(length > 0);
    target[length] = '\0';
    snprintf(file, size, "%.60s", strrchr(target, '/') + 1);
}

size_t io_steps_sectors(struct io *io, struct io_steps_sector *sectors, size_t max)
{
    struct steps_io *steps_io = (struct steps_io *)io;
    size_t count = 0;
    for (size_t i = 0; i < steps_io->writes_size; i++) {
        const struct unsettled *write = &steps_io->writes[i];
        for (uint32_t at = 0; at < write->size; at += SECTOR) {
            uint8_t before[SECTOR] = { 0 };
            CHECK(pread(write->fd, before, SECTOR, (off_t)(write->offset + at)) >= 0);
            if (memcmp(before, write->bytes + at, SECTOR) == 0)
                continue;
            CHECK(count < max);
            name_file(write, sectors[count].file, sizeof sectors[count].file);
            sectors[count].offset = write->offset + at;
            memcpy(sectors[count++].bytes, write->bytes + at, SECTOR);
        }
    }
    return count;
}
