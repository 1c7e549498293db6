/* A database that is no good makes way for a new one. It is not deleted: should the log's beginning
 * be gone and no snapshot be there, it is all that is left. One is kept, so that a disk which
 * damages databases is not filled with them. */
#include "tools/agent/state.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int remove_file(const char *dir, const char *name)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

/* The one before. LMDB's two files are all that it can hold of ours. */
static int remove_earlier(const char *dir)
{
    int status = remove_file(dir, "data.mdb");
    if (status == 0)
        status = remove_file(dir, "lock.mdb");
    if (status == 0 && rmdir(dir) < 0 && errno != ENOENT)
        status = -errno;
    return status == -ENOTDIR ? 0 : status;
}

int state_set_aside(const char *dir, struct error *error)
{
    char aside[PATH_MAX];
    if (snprintf(aside, sizeof aside, "%s" STATE_ASIDE, dir) >= (int)sizeof aside)
        return error_set(error, -ENAMETOOLONG, "the documents in %s: the path is too long", dir);
    int status = remove_earlier(aside);
    if (status < 0)
        return error_set(error, status,
                         "the damaged documents in %s cannot be moved to %s, where earlier ones "
                         "cannot be removed: %s; remove one of the two",
                         dir, aside, error_text(status));
    if (rename(dir, aside) < 0)
        return error_set(error, -errno,
                         "the damaged documents in %s cannot be moved to %s: %s; move them away",
                         dir, aside, error_text(-errno));
    return 0;
}
