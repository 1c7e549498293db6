/* A machine whose clocks can be set, for tests that are scripts: preloaded into a program, it adds
 * to CLOCK_REALTIME and CLOCK_BOOTTIME what a file says, two int64 in ns in this machine's byte
 * order. The file is mapped: to set the clocks write its 16 bytes in place (t/lib/Daa.pm). */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *shift;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("TEST_CLOCK_FILE");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *map = fd < 0 ? MAP_FAILED : mmap(NULL, 16, PROT_READ, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    shift = map == MAP_FAILED ? NULL : map;
}

int clock_gettime(clockid_t which, struct timespec *now)
{
    int status = (int)syscall(SYS_clock_gettime, which, now);
    if (status < 0 || !shift || (which != CLOCK_REALTIME && which != CLOCK_BOOTTIME))
        return status;
    int64_t ns = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec;
    ns += shift[which == CLOCK_BOOTTIME];
    now->tv_sec = ns / 1000000000;
    now->tv_nsec = ns % 1000000000;
    return 0;
}
