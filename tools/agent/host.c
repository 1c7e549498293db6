#include "tools/agent/host.h"

#include "core/base/bytes.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t read_clock(clockid_t which)
{
    struct timespec now;
    clock_gettime(which, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

uint64_t host_monotonic_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t host_boottime_ns(void)
{
    return read_clock(CLOCK_BOOTTIME);
}

uint64_t host_wall_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

static void read_both(uint64_t *elapsed_ns, uint64_t *wall_ns)
{
    *elapsed_ns = host_boottime_ns();
    *wall_ns = host_wall_ns();
}

const struct host_clock host_clock = { read_both };

uint64_t host_coarse_ns(void)
{
    return read_clock(CLOCK_MONOTONIC_COARSE);
}

void host_boot_id(uint8_t boot_id[16])
{
    memset(boot_id, 0, 16);
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    char text[64], digits[32];
    size_t count = 0;
    ssize_t size = read(fd, text, sizeof text);
    close(fd);
    for (ssize_t i = 0; i < size && count < sizeof digits; i++)
        if (text[i] != '-' && text[i] != '\n')
            digits[count++] = text[i];
    if (!bytes_from_hex(boot_id, 16, digits, count))
        memset(boot_id, 0, 16);
}

void host_say(const char *format, ...)
{
    char line[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    fprintf(stderr, "daa-agent: %s\n", line);
}
