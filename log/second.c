#include "log/second.h"

#include "iouring/file.h"
#include "log/place.h"
#include "log/segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int join(char path[PATH_MAX], const char *dir, const char *name)
{
    return snprintf(path, PATH_MAX, "%s/%s", dir, name) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/*--- Links -------------------------------------------------------------------------------------*/

int second_target(const char *dir, const char *name, char target[PATH_MAX])
{
    char path[PATH_MAX];
    int code = join(path, dir, name);
    if (code < 0)
        return code;
    ssize_t size = readlink(path, target, PATH_MAX - 1);
    if (size < 0)
        return errno == EINVAL || errno == ENOENT ? 0 : -errno;
    target[size] = '\0';
    return 1;
}

/* The tag in a file's name; false when it is no such name. */
static bool tag_of_name(const char *name, uint64_t *tag)
{
    char uuid[UUID_TEXT_SIZE], again[SECOND_NAME_SIZE + 1];
    uint8_t bytes[UUID_SIZE];
    uint64_t serial;
    if (sscanf(name, "%36[0-9a-f-]-%16" SCNx64 "-%16" SCNx64 ".log", uuid, tag, &serial) != 3 ||
        !uuid_from_text(bytes, span_of_text(uuid)))
        return false;
    snprintf(again, sizeof again, "%s-%016" PRIx64 "-%016" PRIx64 ".log", uuid, *tag, serial);
    return strcmp(again, name) == 0;
}

bool second_is_own(const char *dir, const char *target)
{
    const char *slash = strrchr(target, '/');
    uint64_t tag, own;
    return slash != NULL && tag_of_name(slash + 1, &tag) && place_tag(dir, &own) == 0 && tag == own;
}

struct targets {
    char **paths;
    size_t count;
};

static void targets_free(struct targets *targets)
{
    while (targets->count > 0)
        free(targets->paths[--targets->count]);
    free(targets->paths);
}

static int add_target(struct targets *targets, const char *target)
{
    char **more = realloc(targets->paths, (targets->count + 1) * sizeof *more);
    if (more == NULL)
        return -ENOMEM;
    targets->paths = more;
    more[targets->count] = strdup(target);
    return more[targets->count++] == NULL ? -ENOMEM : 0;
}

/* Where the segments' links in `dir` point to. */
static int read_targets(const char *dir, struct targets *targets)
{
    char target[PATH_MAX];
    struct dirent *entry;
    uint64_t segment_no;
    DIR *names = opendir(dir);
    if (names == NULL)
        return -errno;
    int code = 0;
    while (code == 0 && (errno = 0, entry = readdir(names)) != NULL) {
        if (!segment_no_of_name(entry->d_name, &segment_no))
            continue;
        code = second_target(dir, entry->d_name, target);
        if (code == 1)
            code = add_target(targets, target);
    }
    if (code == 0)
        code = -errno;
    closedir(names);
    return code;
}

static bool is_pointed_to(const struct targets *targets, const char *name)
{
    for (size_t i = 0; i < targets->count; i++) {
        const char *slash = targets->paths[i] == NULL ? NULL : strrchr(targets->paths[i], '/');
        if (slash != NULL && strcmp(slash + 1, name) == 0)
            return true;
    }
    return false;
}

/* A spare that is given another number has two names for a moment, and after a crash. */
static bool has_other_link(const char *dir, const char *target)
{
    struct targets targets = { .count = 0 };
    bool other =
        read_targets(dir, &targets) < 0 || is_pointed_to(&targets, strrchr(target, '/') + 1);
    targets_free(&targets);
    return other;
}

int second_remove(const char *dir, const char *name)
{
    char path[PATH_MAX], target[PATH_MAX];
    int linked = second_target(dir, name, target);
    int code = linked < 0 ? linked : join(path, dir, name);
    if (code < 0)
        return code;
    struct error ignored;
    if (unlink(path) < 0)
        return -errno;
    /* A file without a link is swept away later, but a link without a file is an error: so the link
     * must be gone for good first. */
    if (linked == 1 && second_is_own(dir, target) && file_sync_dir(dir, &ignored) == 0 &&
        !has_other_link(dir, target))
        (void)unlink(target);
    return 0;
}

int second_explain(const char *dir, const char *name, struct error *error)
{
    char target[PATH_MAX];
    if (second_target(dir, name, target) != 1)
        return 0;
    return error_set(
        error, -ENXIO,
        "%s/%s lies in the second directory, as %s, which is not there: bring that "
        "directory back (mount its device); without it nobody knows what the log holds",
        dir, name, target);
}

int second_link(const char *dir, const char *name, const char *target, struct error *error)
{
    char path[PATH_MAX], mark[PATH_MAX + 4];
    int code = join(path, dir, name);
    (void)snprintf(mark, sizeof mark, "%s.tmp", code == 0 ? path : "");
    if (code == 0 && symlink(target, path) < 0)
        code = -errno;
    if (code < 0)
        return error_set(error, code, "cannot make the link %s/%s: %s", dir, name,
                         error_text(code));
    code = file_sync_dir(dir, error);
    /* What failed must not be there: its file may go. Else what goes is the mark that it was to be
     * made (log/directory.h, directory_gap). */
    (void)unlink(code < 0 ? path : mark);
    return code;
}

/*--- The directory -----------------------------------------------------------------------------*/

static int set_unfit(const char *second_dir, const char *what, struct error *error)
{
    return error_set(error, ERROR_INVALID,
                     "the second directory %s %s: choose one on the disk of another device, or "
                     "leave second_dir out",
                     second_dir, what);
}

static int check_device(const char *dir, const char *second_dir, struct error *error)
{
    struct stat first, second;
    char name[32];
    if (stat(dir, &first) < 0 || stat(second_dir, &second) < 0 ||
        file_system_name(second_dir, name, sizeof name) < 0)
        return error_set(error, -errno, "cannot look at the second directory %s: %s", second_dir,
                         error_text(-errno));
    if (first.st_dev == second.st_dev)
        return set_unfit(second_dir, "lies on the same device as the log, and would stall with it",
                         error);
    if (strcmp(name, "tmpfs") == 0 || strcmp(name, "ramfs") == 0)
        return set_unfit(second_dir, "lies in memory, which loses everything with power", error);
    return 0;
}

static int check_direct(const char *second_dir, struct error *error)
{
    int fd = file_open_nameless(second_dir);
    if (fd < 0)
        return error_set(error, fd, "cannot make a file in the second directory %s: %s", second_dir,
                         error_text(fd));
    int flags = fcntl(fd, F_GETFL);
    close(fd);
    return flags >= 0 && flags & O_DIRECT
               ? 0
               : set_unfit(second_dir, "lies on a filesystem without O_DIRECT", error);
}

int second_prepare(const char *dir, const char *second_dir, bool any_place, char second[PATH_MAX],
                   struct error *error)
{
    int code = file_make_dir(second_dir, error);
    if (code < 0)
        return error_wrap(error, code, "the second directory");
    if (realpath(second_dir, second) == NULL)
        return error_set(error, -errno, "cannot look at the second directory %s: %s", second_dir,
                         error_text(-errno));
    if (any_place)
        return 0;
    code = check_device(dir, second_dir, error);
    return code < 0 ? code : check_direct(second_dir, error);
}

int second_make(const char *dir, const char *name, const char *second,
                const uint8_t log_uuid[UUID_SIZE], uint64_t serial, uint64_t size,
                struct error *error)
{
    char file[SECOND_NAME_SIZE + 1], target[PATH_MAX], uuid[UUID_TEXT_SIZE];
    uint64_t tag;
    uuid_to_text(uuid, log_uuid);
    int code = place_tag(dir, &tag);
    if (code < 0)
        return error_set(error, code, "cannot look at the log directory %s: %s", dir,
                         error_text(code));
    snprintf(file, sizeof file, "%s-%016" PRIx64 "-%016" PRIx64 ".log", uuid, tag, serial);
    code = join(target, second, file);
    if (code < 0)
        return error_set(error, code, "%s/%s: the path is too long", second, file);
    code = file_make_zeroed(second, file, size, error);
    if (code < 0)
        return code;
    char linked[PATH_MAX];
    code = second_link(dir, name, target, error);
    if (code < 0 && second_target(dir, name, linked) != 1)
        (void)unlink(target);
    return code;
}

/*--- What a crash left -------------------------------------------------------------------------*/

/* "NAME.tmp" is what NAME was being made as. */
static bool is_left(const struct targets *targets, const char *name, uint64_t own)
{
    char whole[SECOND_NAME_SIZE + 1];
    size_t length = strlen(name);
    uint64_t tag;
    if (length > 4 && strcmp(name + length - 4, ".tmp") == 0)
        length -= 4;
    if (length >= sizeof whole)
        return false;
    snprintf(whole, sizeof whole, "%.*s", (int)length, name);
    return tag_of_name(whole, &tag) && tag == own && !is_pointed_to(targets, whole);
}

int second_sweep(const char *dir, const char *second)
{
    struct targets targets = { .count = 0 };
    struct dirent *entry;
    uint64_t own;
    int code = place_tag(dir, &own);
    if (code == 0)
        code = read_targets(dir, &targets);
    DIR *names = code == 0 ? opendir(second) : NULL;
    if (code == 0 && names == NULL)
        code = -errno;
    while (names != NULL && (entry = readdir(names)) != NULL)
        if (is_left(&targets, entry->d_name, own))
            (void)unlinkat(dirfd(names), entry->d_name, 0);
    if (names != NULL)
        closedir(names);
    targets_free(&targets);
    return code;
}
