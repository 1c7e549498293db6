#include "log/ballast.h"

#include "iouring/file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int path_of(char path[PATH_MAX], const char *dir, struct error *error)
{
    if (snprintf(path, PATH_MAX, "%s/" LOG_BALLAST_NAME, dir) < PATH_MAX)
        return 0;
    return error_set(error, -ENAMETOOLONG, "%s: the path is too long", dir);
}

uint64_t ballast_bytes(const char *dir)
{
    char path[PATH_MAX];
    struct stat status;
    struct error ignored;
    if (path_of(path, dir, &ignored) < 0 || stat(path, &status) < 0)
        return 0;
    return (uint64_t)status.st_blocks * 512;
}

int ballast_release(const char *dir, struct error *error)
{
    char path[PATH_MAX];
    int result = path_of(path, dir, error);
    if (result < 0)
        return result;
    if (unlink(path) == 0)
        return 1;
    return errno == ENOENT
               ? 0
               : error_set(error, -errno, "cannot remove %s: %s", path, error_text(-errno));
}

int ballast_make(const char *dir, uint64_t size, struct error *error)
{
    uint64_t blocks = size / FILE_BLOCK_SIZE * FILE_BLOCK_SIZE;
    int result = ballast_release(dir, error);
    if (result < 0 || blocks == 0)
        return result < 0 ? result : 0;
    return file_make_reserved(dir, LOG_BALLAST_NAME, blocks, error);
}
