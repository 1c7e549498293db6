#include "tools/pgsync/metrics_file.h"

#include "iouring/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_whole(const char *path, struct span bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    int code = file_write_at(fd, bytes.bytes, bytes.size, 0);
    if (close(fd) < 0 && code == 0)
        code = -errno;
    return code;
}

/* A name that leads to a device, a pipe or another place would be replaced, not written to. */
static bool is_other(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && !S_ISREG(status.st_mode);
}

int metrics_file_write(const char *path, struct text *text, struct error *error)
{
    char temporary[PATH_MAX];
    if (text->failed < 0)
        return error_set(error, text->failed, "metrics file %s: no memory for it", path);
    if (snprintf(temporary, sizeof temporary, "%s.tmp", path) >= (int)sizeof temporary)
        return error_set(error, -ENAMETOOLONG, "metrics file %s: the path is too long", path);
    if (is_other(path))
        return error_set(error, -EINVAL,
                         "metrics file %s is there and is no regular file: name another, it would "
                         "be replaced",
                         path);
    int code = write_whole(temporary, text_span(text));
    if (code == 0 && rename(temporary, path) < 0)
        code = -errno;
    if (code == 0)
        return 0;
    (void)unlink(temporary);
    return error_set(error, code, "metrics file %s: %s", path, error_text(code));
}
