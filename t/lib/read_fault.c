#include "read_fault.h"

#include <errno.h>
#include <limits.h>
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
} fault;

void read_fault_set(const char *name, uint64_t offset, int number)
{
    fault.name = name;
    fault.offsets[0] = offset;
    fault.count = 1;
    fault.failed = 0;
    fault.number = number;
}

void read_fault_add(uint64_t offset)
{
    if (fault.count < BLOCKS_MAX)
        fault.offsets[fault.count++] = offset;
}

unsigned read_fault_count(void)
{
    return fault.failed;
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

/* In the place of libc's. */
ssize_t pread(int fd, void *buffer, size_t size, off_t offset)
{
    if (fault.name != NULL && touches((uint64_t)offset, size) && is_of_file(fd)) {
        fault.failed++;
        errno = fault.number;
        return -1;
    }
    return syscall(SYS_pread64, fd, buffer, size, offset);
}
