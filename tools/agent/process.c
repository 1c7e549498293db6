#include "tools/agent/process.h"

#include "tools/agent/effects.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SURVIVOR_WAIT_MS = 2000 };

/* What one line of /proc/PID/stat says. */
struct process_stat {
    char state;
    uint64_t group, start_time;
};

static bool read_file(const char *path, char *bytes, size_t capacity, size_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    *size = 0;
    ssize_t got = 0;
    while (*size < capacity && (got = read(fd, bytes + *size, capacity - *size)) > 0)
        *size += (size_t)got;
    close(fd);
    return got >= 0;
}

static bool read_stat(uint64_t pid, struct process_stat *stat)
{
    char path[64], line[1024];
    size_t size;
    snprintf(path, sizeof path, "/proc/%llu/stat", (unsigned long long)pid);
    if (!read_file(path, line, sizeof line - 1, &size))
        return false;
    line[size] = '\0';
    /* The name, in parentheses, may hold anything; what follows the last one is numbers. */
    char *field = strrchr(line, ')');
    unsigned long long group, start_time;
    if (field == NULL ||
        sscanf(field + 1,
               " %c %*d %llu %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
               &stat->state, &group, &start_time) != 3)
        return false;
    stat->group = group;
    stat->start_time = start_time;
    return true;
}

uint64_t process_start_time(uint64_t pid)
{
    struct process_stat stat;
    return read_stat(pid, &stat) ? stat.start_time : 0;
}

bool process_boot_id(uint8_t boot_id[16])
{
    char text[64];
    size_t size, digits = 0;
    if (!read_file("/proc/sys/kernel/random/boot_id", text, sizeof text, &size))
        return false;
    for (size_t i = 0; i < size && digits < 32; i++) {
        if (!isxdigit((unsigned char)text[i]))
            continue;
        int value = isdigit((unsigned char)text[i]) ? text[i] - '0'
                                                    : tolower((unsigned char)text[i]) - 'a' + 10;
        boot_id[digits / 2] = (uint8_t)(digits % 2 == 0 ? value << 4 : boot_id[digits / 2] | value);
        digits++;
    }
    return digits == 32;
}

/* True if the environment of `pid` says that an agent started it. */
static bool is_marked(uint64_t pid)
{
    static const char mark[] = "DAA_IDEMPOTENCY_KEY=";
    enum { CAPACITY = 256 * 1024 };
    char path[64];
    size_t size;
    snprintf(path, sizeof path, "/proc/%llu/environ", (unsigned long long)pid);
    char *bytes = malloc(CAPACITY);
    bool marked = bytes != NULL && read_file(path, bytes, CAPACITY, &size) &&
                  memmem(bytes, size, mark, sizeof mark - 1) != NULL;
    free(bytes);
    return marked;
}

/* Calls kill for each living member of the group that `pid` led: the leader itself if it began
 * then, and what it left behind if that carries our mark. Returns how many there were. */
static unsigned kill_members(uint64_t pid, uint64_t start_time)
{
    DIR *dir = opendir("/proc");
    if (dir == NULL)
        return 0;
    unsigned count = 0;
    struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        struct process_stat stat;
        char *end;
        uint64_t member = strtoull(entry->d_name, &end, 10);
        if (*end != '\0' || member == 0 || !read_stat(member, &stat) || stat.group != pid ||
            stat.state == 'Z' || stat.state == 'X')
            continue;
        bool ours = member == pid ? stat.start_time == start_time
                                  : stat.start_time >= start_time && is_marked(member);
        if (ours && (kill((pid_t)member, SIGKILL) == 0 || errno == EPERM))
            count++;
    }
    closedir(dir);
    return count;
}

bool effects_end_survivor(uint64_t pid, uint64_t start_time, const uint8_t boot_id[16])
{
    uint8_t now[16];
    if (pid == 0 || !process_boot_id(now) || memcmp(now, boot_id, sizeof now) != 0)
        return true; /* nothing lives through a boot */
    for (int waited_ms = 0; waited_ms <= SURVIVOR_WAIT_MS; waited_ms += 5) {
        if (kill_members(pid, start_time) == 0)
            return true;
        nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
    }
    return false;
}
