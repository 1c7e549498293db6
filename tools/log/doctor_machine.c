/* The kernel, its io_uring, and the limits of a process. */
#include "iouring/io.h"
#include "tools/log/doctor.h"
#include "tools/log/words.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#define MEMLOCK_OF_OLD_RINGS (64u << 10)
#define FILES_ENOUGH 4096u

/* Major * 1000 + minor. */
static unsigned kernel_version(const struct utsname *name)
{
    char *end;
    unsigned major = (unsigned)strtoul(name->release, &end, 10);
    return major * 1000 + (*end == '.' ? (unsigned)strtoul(end + 1, NULL, 10) : 0);
}

static void see_kernel(struct findings *findings, const struct utsname *name)
{
    findings_text(findings, "release", name->release);
    if (kernel_version(name) >= 6001)
        findings_add(findings, FINDING_OK, "kernel", NULL, "%s %s", name->sysname, name->release);
    else
        findings_add(findings, FINDING_NOTE, "kernel",
                     "Linux 6.1 and later disturb the writer's thread less",
                     "%s %s is old for io_uring", name->sysname, name->release);
}

/* 0: all may; 1: a group and root; 2: nobody; -1: the kernel has no such switch. */
static int io_uring_switch(void)
{
    char digit = '0';
    int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t got = read(fd, &digit, 1);
    close(fd);
    return got == 1 ? digit - '0' : -1;
}

static void see_ring(struct findings *findings)
{
    struct io *io;
    int code = io_open_ring(&io, 8), disabled = io_uring_switch();
    if (code == 0)
        io_close(io);
    if (disabled >= 0)
        findings_number(findings, "io_uring_disabled", (uint64_t)disabled);
    if (code == 0 && disabled == 1)
        findings_add(findings, FINDING_NOTE, "io_uring",
                     "the agent's user may need the group of kernel.io_uring_group",
                     "works for this user; kernel.io_uring_disabled is 1");
    else if (code == 0)
        findings_add(findings, FINDING_OK, "io_uring", NULL, "works");
    else
        findings_add(findings, FINDING_WARNING, "io_uring",
                     disabled > 0     ? "sysctl kernel.io_uring_disabled=0 allows it"
                     : code == -EPERM ? "let the container's seccomp profile allow io_uring_setup, "
                                        "io_uring_enter and io_uring_register"
                     : code == -ENOMEM ? "raise RLIMIT_MEMLOCK (LimitMEMLOCK of systemd)"
                                       : "use a kernel with it (5.11 or later)",
                     "cannot be used (%s): the plain engine is, which has one write under way at a "
                     "time",
                     error_text(code));
}

static const char *words_of_limit(char text[WORDS_SIZE], rlim_t limit)
{
    return limit == RLIM_INFINITY ? "unlimited" : words_of_bytes(text, limit);
}

static void see_memlock(struct findings *findings, const struct utsname *name)
{
    struct rlimit limit;
    char words[WORDS_SIZE];
    if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
        return;
    if (limit.rlim_cur != RLIM_INFINITY)
        findings_number(findings, "memlock", limit.rlim_cur);
    /* Since 5.12 a ring counts as the memory of its control group. */
    bool counts = kernel_version(name) < 5012;
    if (counts && limit.rlim_cur < MEMLOCK_OF_OLD_RINGS)
        findings_add(findings, FINDING_WARNING, "memlock",
                     "raise RLIMIT_MEMLOCK (LimitMEMLOCK of systemd) to 1 MB",
                     "%s may be locked, and on this kernel rings count as such",
                     words_of_limit(words, limit.rlim_cur));
    else
        findings_add(findings, FINDING_OK, "memlock", NULL,
                     "%s may be locked: enough, since the log's image is not registered with the "
                     "kernel",
                     words_of_limit(words, limit.rlim_cur));
}

static void see_files(struct findings *findings)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    findings_number(findings, "soft", limit.rlim_cur);
    findings_number(findings, "hard", limit.rlim_max);
    /* The agent raises the first to the second. */
    findings_add(findings, limit.rlim_max < FILES_ENOUGH ? FINDING_WARNING : FINDING_OK, "files",
                 limit.rlim_max < FILES_ENOUGH
                     ? "raise the hard limit of RLIMIT_NOFILE (LimitNOFILE of systemd) to 65536: "
                       "each connection and each effect takes one"
                     : NULL,
                 "a process may have %llu files open", (unsigned long long)limit.rlim_max);
}

void doctor_machine(struct findings *findings)
{
    struct utsname name;
    if (uname(&name) == 0) {
        see_kernel(findings, &name);
        see_memlock(findings, &name);
    }
    see_ring(findings);
    see_files(findings);
}
