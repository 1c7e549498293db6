#include "iouring/measure.h"

#include "iouring/file.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS_MIN = 16, ROUNDS_MAX = 256, BLOCKS = 64 };
#define TIME_MAX_NS 3000000000u

struct measuring {
    int fd;
    void *block;
    struct io_uring ring;
    bool ring_open;
    uint64_t times[MEASURE_WAYS][ROUNDS_MAX];
};

static uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int write_block(const struct measuring *m, off_t offset, int flags)
{
    struct iovec vector = { .iov_base = m->block, .iov_len = FILE_BLOCK_SIZE };
    ssize_t put = pwritev2(m->fd, &vector, 1, offset, flags);
    if (put < 0)
        return -errno;
    return put == FILE_BLOCK_SIZE ? 0 : -EIO;
}

static int write_linked(struct measuring *m, off_t offset)
{
    struct io_uring_sqe *write = io_uring_get_sqe(&m->ring), *sync = io_uring_get_sqe(&m->ring);
    int code = 0;
    io_uring_prep_write(write, m->fd, m->block, FILE_BLOCK_SIZE, (uint64_t)offset);
    io_uring_sqe_set_flags(write, IOSQE_IO_LINK);
    io_uring_sqe_set_data(write, m->block);
    io_uring_prep_fsync(sync, m->fd, IORING_FSYNC_DATASYNC);
    io_uring_sqe_set_data(sync, NULL);
    int result = io_uring_submit_and_wait(&m->ring, 2); /* a signal may end the wait early */
    if (result != 2)
        return result < 0 ? result : -EIO;
    for (int i = 0; i < 2; i++) {
        struct io_uring_cqe *cqe;
        do
            result = io_uring_wait_cqe(&m->ring, &cqe);
        while (result == -EINTR);
        if (result < 0)
            return result;
        int expected = io_uring_cqe_get_data(cqe) != NULL ? (int)FILE_BLOCK_SIZE : 0;
        if (cqe->res != expected && code == 0)
            code = cqe->res < 0 ? cqe->res : -EIO;
        io_uring_cqe_seen(&m->ring, cqe);
    }
    return code;
}

static int write_once(struct measuring *m, enum measure_way way, uint64_t round)
{
    off_t offset = (off_t)(round % BLOCKS) * FILE_BLOCK_SIZE;
    if (way == MEASURE_LINKED)
        return write_linked(m, offset);
    int code = write_block(m, offset, way == MEASURE_DSYNC ? RWF_DSYNC : 0);
    if (code == 0 && way == MEASURE_FDATASYNC && fdatasync(m->fd) < 0)
        code = -errno;
    return code;
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static void sum_up(struct measure_times *times, uint64_t *ns)
{
    if (times->code < 0)
        return;
    qsort(ns, times->rounds, sizeof *ns, compare);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < times->rounds; i++)
        sum += ns[i];
    times->mean_ns = sum / times->rounds;
    times->p50_ns = ns[times->rounds / 2];
    times->p99_ns = ns[times->rounds * 99 / 100];
}

/* In turns, so that whatever else the device does hits all alike. */
static void measure_in_turns(struct measuring *m, struct measure *measure)
{
    uint64_t begun_ns = monotonic_ns();
    for (uint64_t round = 0; round < ROUNDS_MAX; round++) {
        if (round >= ROUNDS_MIN && monotonic_ns() - begun_ns > TIME_MAX_NS)
            break;
        for (enum measure_way way = 0; way < MEASURE_WAYS; way++) {
            struct measure_times *times = &measure->of[way];
            uint64_t start_ns = monotonic_ns();
            if (times->code == 0)
                times->code = write_once(m, way, round);
            if (times->code == 0)
                m->times[way][times->rounds++] = monotonic_ns() - start_ns;
        }
    }
    for (enum measure_way way = 0; way < MEASURE_WAYS; way++)
        sum_up(&measure->of[way], m->times[way]);
}

static int prepare(struct measuring *m, const char *dir)
{
    m->block = file_aligned_buffer(FILE_BLOCK_SIZE);
    m->fd = m->block == NULL ? -ENOMEM : file_open_nameless(dir);
    int code = m->fd < 0 ? m->fd : 0;
    for (off_t i = 0; code == 0 && i < BLOCKS; i++)
        code = write_block(m, i * FILE_BLOCK_SIZE, 0);
    if (code == 0 && fsync(m->fd) < 0)
        code = -errno;
    return code;
}

int measure_writes(const char *dir, struct measure *measure, struct error *error)
{
    *measure = (struct measure){ 0 };
    struct measuring *m = calloc(1, sizeof *m);
    if (m == NULL)
        return error_set(error, -ENOMEM, "no memory to measure writes");
    int code = prepare(m, dir);
    if (code == 0) {
        struct measure_times *linked = &measure->of[MEASURE_LINKED];
        linked->code = io_uring_queue_init(4, &m->ring, 0);
        m->ring_open = linked->code == 0;
        measure_in_turns(m, measure);
        code = measure->of[MEASURE_DSYNC].code;
    }
    if (m->ring_open)
        io_uring_queue_exit(&m->ring);
    if (m->fd >= 0)
        close(m->fd);
    free(m->block);
    free(m);
    if (code < 0)
        return error_set(error, code, "cannot measure durable writes in %s: %s", dir,
                         error_text(code));
    return 0;
}
