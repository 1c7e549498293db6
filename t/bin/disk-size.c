/* A disk that fills up and empties as a test likes: preloaded into a program, statvfs() says what a
 * file says, two uint64 in this machine's byte order: bytes free, and bytes in all. Write its 16
 * bytes in place (t/lib/Daa.pm). What is written to the disk is none of its business; t/bin/fault.c
 * makes writes fail. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

int statvfs(const char *path, struct statvfs *filesystem)
{
    const char *file = getenv("TEST_DISK_FILE");
    uint64_t bytes[2];
    (void)path;
    int fd = file ? open(file, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t size = fd < 0 ? -1 : read(fd, bytes, sizeof bytes);
    if (fd >= 0)
        close(fd);
    if (size != (ssize_t)sizeof bytes)
        return -1;
    memset(filesystem, 0, sizeof *filesystem);
    filesystem->f_bsize = filesystem->f_frsize = 4096;
    filesystem->f_bfree = filesystem->f_bavail = bytes[0] / 4096;
    filesystem->f_blocks = bytes[1] / 4096;
    return 0;
}
