/* The directory that a backup or a restore writes to. For log/ only.
 *
 * Threads: a target belongs to one thread; the lock on its directory keeps other processes out. */
#ifndef LOG_TARGET_H
#define LOG_TARGET_H

#include "core/base/error.h"
#include "log/backup.h"
#include "log/manifest.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct target {
    char path[PATH_MAX];
    int fd;     /* of the directory, locked; -1: not open */
    bool empty; /* when it was opened */
    bool fresh; /* the same, but for what a backup leaves that copied nothing yet */
};

/* ERROR_INVALID when one of the two lies in the other, or they are the same. Neither has to be
 * there. */
int target_check_apart(const char *path, const char *other, struct error *error);

/* Makes the directory (0700) when it is missing, its name durable, and locks it: ERROR_LOCKED while
 * another process writes a backup or a restore there. */
int target_open(struct target *target, const char *path, struct error *error);
void target_close(struct target *target);

bool target_has(const struct target *target, const char *name);

/* Removes a file, which may be missing, and makes that durable. */
int target_remove(const char *dir, const char *name, struct error *error);

/* Writes CHECKPOINT beside the segments: a witness to their end, so that a cut is noticed. */
int target_write_checkpoint(const char *dir, const struct manifest *manifest, struct error *error);

/* Copies the newest two snapshots in `from` that stand for an event from first_seq on up to
 * last_seq, or for the one before them, to `to`; those that are there are not copied again. They
 * are in the manifest then, with at most two in all, and counted in the result. One that `check`,
 * which may be NULL, finds damaged is left out, and the result says so. A missing `from` holds
 * none. */
int target_copy_snapshots(const char *from, const char *to, uint64_t first_seq, uint64_t last_seq,
                          log_snapshot_check *check, struct manifest *manifest,
                          struct log_backup_result *result, struct error *error);

/* Removes from `dir` what is not in the manifest. */
int target_prune_snapshots(const char *dir, const struct manifest *manifest, struct error *error);

#endif
