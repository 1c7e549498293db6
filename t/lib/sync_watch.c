#include "sync_watch.h"

#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tap.h"

static struct stat watched;
static atomic_uint count; /* threads of the log sync, too */

void sync_watch_begin(const char *dir)
{
    if (stat(dir, &watched) < 0)
        tap_bail_out("cannot look at %s", dir);
    count = 0;
}

unsigned sync_watch_count(void)
{
    return count;
}

/* In the place of libc's. */
int fsync(int fd)
{
    struct stat status;
    count += fstat(fd, &status) == 0 && status.st_dev == watched.st_dev &&
             status.st_ino == watched.st_ino;
    return (int)syscall(SYS_fsync, fd);
}
