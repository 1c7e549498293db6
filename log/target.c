#include "log/target.h"

#include "iouring/file.h"
#include "log/checkpoint.h"
#include "log/copying.h"
#include "log/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define SNAPSHOTS_KEPT 2

/* The path without links; of one that is not there, its directory's with its name. */
static int resolve(const char *path, char whole[PATH_MAX], struct error *error)
{
    char parent[PATH_MAX], name[PATH_MAX], above[PATH_MAX];
    if (realpath(path, whole) != NULL)
        return 0;
    int code = -errno;
    if (code == -ENOENT && strlen(path) < PATH_MAX) {
        memcpy(parent, path, strlen(path) + 1);
        memcpy(name, path, strlen(path) + 1);
        if (realpath(dirname(parent), above) != NULL &&
            snprintf(whole, PATH_MAX, "%s/%s", above, basename(name)) < PATH_MAX)
            return 0;
    }
    return error_set(error, code, "%s: %s", path, error_text(code));
}

static bool lies_in(const char *path, const char *dir)
{
    size_t size = strlen(dir);
    return strncmp(path, dir, size) == 0 &&
           (path[size] == '\0' || path[size] == '/' || dir[size - 1] == '/');
}

int target_check_apart(const char *path, const char *other, struct error *error)
{
    char one[PATH_MAX], two[PATH_MAX];
    int code = resolve(path, one, error);
    if (code == 0)
        code = resolve(other, two, error);
    if (code < 0 || (!lies_in(one, two) && !lies_in(two, one)))
        return code;
    return error_set(error, ERROR_INVALID,
                     "%s and %s are one directory, or one lies in the other: name a directory of "
                     "its own, best on another disk",
                     path, other);
}

/* What a filesystem brings along, and what is left of a file that was being written when a run was
 * killed, may be there. */
static bool is_nothing(const char *name)
{
    size_t size = strlen(name);
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "lost+found") == 0 ||
           (size > 4 && strcmp(name + size - 4, ".tmp") == 0);
}

static int look_empty(struct target *target)
{
    struct dirent *entry;
    DIR *dir = opendir(target->path);
    if (dir == NULL)
        return -errno;
    target->empty = target->fresh = true;
    while ((entry = readdir(dir)) != NULL) {
        if (is_nothing(entry->d_name))
            continue;
        target->empty = false;
        if (strcmp(entry->d_name, LOG_FORK_NAME) != 0 &&
            strcmp(entry->d_name, MANIFEST_PART_NAME) != 0)
            target->fresh = false;
    }
    closedir(dir);
    return 0;
}

int target_open(struct target *target, const char *path, struct error *error)
{
    *target = (struct target){ .fd = -1 };
    if (snprintf(target->path, sizeof target->path, "%s", path) >= (int)sizeof target->path)
        return error_set(error, -ENAMETOOLONG, "%s: the path is too long", path);
    int code = file_make_dir(path, error);
    if (code < 0)
        return code;
    target->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (target->fd < 0)
        return error_set(error, -errno, "%s cannot be opened: %s", path, error_text(-errno));
    if (flock(target->fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
        return error_set(error, ERROR_LOCKED,
                         "another daa-log writes to %s: wait for it, or end it", path);
    code = look_empty(target);
    return code < 0 ? error_set(error, code, "%s cannot be read: %s", path, error_text(code)) : 0;
}

void target_close(struct target *target)
{
    if (target->fd >= 0)
        close(target->fd);
    target->fd = -1;
}

bool target_has(const struct target *target, const char *name)
{
    return faccessat(target->fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int target_remove(const char *dir, const char *name, struct error *error)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
        return error_set(error, -ENAMETOOLONG, "%s/%s: the path is too long", dir, name);
    if (unlink(path) == 0)
        return file_sync_dir(dir, error);
    return errno == ENOENT
               ? 0
               : error_set(error, -errno, "%s cannot be removed: %s", path, error_text(-errno));
}

int target_write_checkpoint(const char *dir, const struct manifest *manifest, struct error *error)
{
    static const char name[] = LOG_CHECKPOINT_NAME;
    const struct backup_segment *last = manifest_last(manifest);
    struct checkpoint checkpoint = { .durable_seq = last->last_seq,
                                     .segment_no = last->segment_no,
                                     .end_offset = last->bytes,
                                     .time_ns = manifest->time_ns,
                                     .generation = 1 };
    uint8_t blocks[2 * LOG_BLOCK_SIZE] = { 0 };
    (void)uuid_from_text(checkpoint.log_uuid, span_of_text(manifest->log_uuid));
    memcpy(checkpoint.chain, last->chain, SHA256_SIZE);
    checkpoint_encode(blocks, &checkpoint);
    return file_replace(dir, name, blocks, sizeof blocks, error);
}

/* Snapshots. */

/* The newest two names in `dir` that stand for an event from `first_seq` on, up to `last_seq`. */
static int find_snapshots(const char *dir, uint64_t first_seq, uint64_t last_seq,
                          char names[SNAPSHOTS_KEPT][SNAPSHOT_NAME_SIZE], struct error *error)
{
    struct dirent *entry;
    uint64_t seq;
    int count = 0;
    DIR *names_in = opendir(dir);
    if (names_in == NULL)
        return errno == ENOENT
                   ? 0
                   : error_set(error, -errno, "%s cannot be read: %s", dir, error_text(-errno));
    while ((entry = readdir(names_in)) != NULL) {
        if (!snapshot_seq_of_name(entry->d_name, &seq) || seq < first_seq || seq > last_seq)
            continue;
        /* All names have one length: their order is that of the numbers. */
        int at = count < SNAPSHOTS_KEPT ? count++ : strcmp(names[0], names[1]) < 0 ? 0 : 1;
        if (names[at][0] == '\0' || strcmp(names[at], entry->d_name) < 0)
            snprintf(names[at], SNAPSHOT_NAME_SIZE, "%.29s", entry->d_name);
    }
    closedir(names_in);
    return count;
}

static bool has_snapshot(const struct manifest *manifest, const char *dir, const char *name)
{
    char path[PATH_MAX];
    struct stat status;
    for (size_t i = 0; i < manifest->snapshot_count; i++)
        if (strcmp(manifest->snapshots[i].name, name) == 0)
            return snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path &&
                   stat(path, &status) == 0 &&
                   (uint64_t)status.st_size == manifest->snapshots[i].bytes;
    return false;
}

/* 1 it is whole; 0 it is not, which is noted, or it is gone; negative. One that is not stays out of
 * the manifest, and is pruned. */
static int take_snapshot(const char *from, const char *to, log_snapshot_check *check,
                         struct backup_snapshot *snapshot, struct log_backup_result *result,
                         struct error *error)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", to, snapshot->name) >= (int)sizeof path)
        return error_set(error, -ENAMETOOLONG, "%s: the path is too long", to);
    int code = file_make_dir(to, error);
    if (code < 0)
        return code;
    code = copying_file(from, to, snapshot->name, &snapshot->bytes, snapshot->sha256, error);
    if (code == -ENOENT)
        return 0; /* the agent has just replaced it by a newer one */
    if (code == 0)
        code = file_sync_dir(to, error);
    if (code == 0 && check != NULL)
        code = check(path, snapshot->seq, error);
    if (code != ERROR_DAMAGED)
        return code == 0 ? 1 : code;
    (void)snprintf(result->left_out, sizeof result->left_out, "%.500s", error->text);
    return 0;
}

static int copy_snapshot(const char *from, const char *to, const char *name,
                         log_snapshot_check *check, struct manifest *manifest,
                         struct log_backup_result *result, struct error *error)
{
    struct backup_snapshot snapshot = { .bytes = 0 };
    if (has_snapshot(manifest, to, name))
        return 0;
    snprintf(snapshot.name, sizeof snapshot.name, "%s", name);
    (void)snapshot_seq_of_name(name, &snapshot.seq);
    int code = take_snapshot(from, to, check, &snapshot, result, error);
    if (code <= 0)
        return code;
    result->snapshots_copied++;
    code = manifest_put_snapshot(manifest, &snapshot);
    return code < 0 ? error_set(error, code, "%s: %s", name, error_text(code)) : 0;
}

int target_copy_snapshots(const char *from, const char *to, uint64_t first_seq, uint64_t last_seq,
                          log_snapshot_check *check, struct manifest *manifest,
                          struct log_backup_result *result, struct error *error)
{
    char names[SNAPSHOTS_KEPT][SNAPSHOT_NAME_SIZE] = { "" };
    int count = find_snapshots(from, first_seq - 1, last_seq, names, error);
    int code = count < 0 ? count : 0;
    for (int i = 0; code == 0 && i < count; i++)
        code = copy_snapshot(from, to, names[i], check, manifest, result, error);
    while (manifest->snapshot_count > SNAPSHOTS_KEPT)
        manifest_drop_snapshot(manifest, 0);
    return code;
}

int target_prune_snapshots(const char *dir, const struct manifest *manifest, struct error *error)
{
    struct dirent *entry;
    int code = 0;
    DIR *names = opendir(dir);
    if (names == NULL)
        return 0;
    while (code == 0 && (entry = readdir(names)) != NULL) {
        bool wanted = strncmp(entry->d_name, "snap-", 5) != 0;
        for (size_t i = 0; i < manifest->snapshot_count; i++)
            wanted = wanted || strcmp(manifest->snapshots[i].name, entry->d_name) == 0;
        if (!wanted)
            code = target_remove(dir, entry->d_name, error);
    }
    closedir(names);
    return code;
}
