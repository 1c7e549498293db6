#include "read_fault.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BLOCK_SIZE = 4096, BLOCKS_MAX = 64 };

static struct {
    const char *name;
    uint64_t offsets[BLOCKS_MAX];
    unsigned count, failed;
    int number;
    const uint8_t *given; /* of the one block; NULL: it cannot be read */
} fault;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* a log's threads read too */

void read_fault_set(const char *name, uint64_t offset, int number)
{
    read_fault_give(name, offset, NULL);
    pthread_mutex_lock(&lock);
    fault.number = number;
    pthread_mutex_unlock(&lock);
}

void read_fault_give(const char *name, uint64_t offset, const uint8_t bytes[4096])
{
    pthread_mutex_lock(&lock);
    fault.name = name;
    fault.offsets[0] = offset;
    fault.count = 1;
    fault.failed = 0;
    fault.number = EIO;
    fault.given = bytes;
    pthread_mutex_unlock(&lock);
}

void read_fault_add(uint64_t offset)
{
    pthread_mutex_lock(&lock);
    if (fault.count < BLOCKS_MAX)
        fault.offsets[fault.count++] = offset;
    pthread_mutex_unlock(&lock);
}

unsigned read_fault_count(void)
{
    pthread_mutex_lock(&lock);
    unsigned failed = fault.failed;
    pthread_mutex_unlock(&lock);
    return failed;
}

static bool touches(uint64_t offset, uint64_t size)
{
    for (unsigned i = 0; i < fault.count; i++)
        if (offset < fault.offsets[i] + BLOCK_SIZE && fault.offsets[i] < offset + size)
            return true;
    return false;
}

static bool is_of_file(int fd)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path);
    size_t name_size = strlen(fault.name);
    return size >= (ssize_t)name_size &&
           memcmp(path + size - name_size, fault.name, name_size) == 0;
}

/* What of [offset, offset + size) lies in the block that is given. */
static void give(uint8_t *buffer, uint64_t offset, uint64_t size)
{
    uint64_t from = fault.offsets[0] > offset ? fault.offsets[0] : offset;
    uint64_t block_end = fault.offsets[0] + BLOCK_SIZE, end = offset + size;
    if (block_end < end)
        end = block_end;
    if (from < end)
        memcpy(buffer + (from - offset), fault.given + (from - fault.offsets[0]), end - from);
}

/* In the place of libc's. */
ssize_t pread(int fd, void *buffer, size_t size, off_t offset)
{
    pthread_mutex_lock(&lock);
    bool hit = fault.name != NULL && touches((uint64_t)offset, size) && is_of_file(fd);
    bool given = hit && fault.given != NULL;
    int number = fault.number;
    fault.failed += hit;
    pthread_mutex_unlock(&lock);
    if (hit && !given) {
        errno = number;
        return -1;
    }
    ssize_t got = syscall(SYS_pread64, fd, buffer, size, offset);
    pthread_mutex_lock(&lock);
    if (given && got > 0 && fault.given != NULL)
        give(buffer, (uint64_t)offset, (uint64_t)got);
    pthread_mutex_unlock(&lock);
    return got;
}
