/* Which of the two ways to make a write durable is the faster one on this device. */
#include "iouring/file.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 32 };

static uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Writes block `index` durably and says how long it took, or a negative errno. */
static int64_t time_one(int fd, void *block, int index, bool dsync)
{
    struct iovec vector = { .iov_base = block, .iov_len = FILE_BLOCK_SIZE };
    uint64_t start = monotonic_ns();
    ssize_t put = pwritev2(fd, &vector, 1, (off_t)index * FILE_BLOCK_SIZE, dsync ? RWF_DSYNC : 0);
    if (put < 0 || (!dsync && fdatasync(fd) < 0))
        return -errno;
    if (put != FILE_BLOCK_SIZE)
        return -EIO;
    return (int64_t)(monotonic_ns() - start);
}

static int compare(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static uint64_t median(int64_t *times)
{
    qsort(times, ROUNDS, sizeof *times, compare);
    return (uint64_t)times[ROUNDS / 2];
}

/* In turns, so that whatever else the device does hits both alike. */
static int measure(int fd, void *block, struct file_probe *probe)
{
    int64_t times[2][ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        int result = file_write_at(fd, block, FILE_BLOCK_SIZE, (uint64_t)i * FILE_BLOCK_SIZE);
        if (result < 0)
            return result;
    }
    if (fsync(fd) < 0)
        return -errno;
    for (int i = 0; i < 2 * ROUNDS; i++) {
        int64_t took = time_one(fd, block, i % ROUNDS, i % 2 == 0);
        if (took < 0)
            return (int)took;
        times[i % 2][i / 2] = took;
    }
    probe->dsync_p50_ns = median(times[0]);
    probe->fdatasync_p50_ns = median(times[1]);
    return 0;
}

int file_probe(const char *dir, struct file_probe *probe, struct error *error)
{
    void *block = file_aligned_buffer(FILE_BLOCK_SIZE);
    int fd = block == NULL ? -ENOMEM : file_open_nameless(dir);
    int result = fd < 0 ? fd : measure(fd, block, probe);
    if (fd >= 0)
        close(fd);
    free(block);
    if (result < 0)
        return error_set(error, result, "cannot measure durable writes in %s: %s", dir,
                         error_text(result));
    return 0;
}
