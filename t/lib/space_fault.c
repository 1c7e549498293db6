#include "space_fault.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct {
    unsigned calls, count, failed;
} fault;

void space_fault_set(unsigned calls, unsigned count)
{
    fault.calls = calls;
    fault.count = count;
    fault.failed = 0;
}

unsigned space_fault_count(void)
{
    return fault.failed;
}

/* In the place of libc's. */
int fallocate(int fd, int mode, off_t offset, off_t size)
{
    if (fault.count > 0 && fault.calls > 0) {
        fault.calls--;
    } else if (fault.count > 0) {
        fault.count--;
        fault.failed++;
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_fallocate, fd, mode, offset, size);
}
