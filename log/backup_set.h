/* Backups that make one history together: which segment is best taken from which. For log/ only.
 * Threads: a set belongs to one thread. */
#ifndef LOG_BACKUP_SET_H
#define LOG_BACKUP_SET_H

#include "log/manifest.h"

#include <stddef.h>

struct backup_set {
    const char *const *paths; /* the caller's */
    struct manifest *manifests;
    size_t count;
};

/* Reads the manifest of each and checks that each goes on where the one before it ends. */
int backup_set_open(struct backup_set *set, const char *const *paths, size_t count,
                    struct error *error);
void backup_set_close(struct backup_set *set);

/* All of them as one: `whole` is initialised, and freed by the caller. */
int backup_set_join(const struct backup_set *set, struct manifest *whole, struct error *error);

/* The index of the backup that holds the segment, or the snapshot, as `whole` says. */
size_t backup_set_holder(const struct backup_set *set, const struct backup_segment *segment);
size_t backup_set_snapshot_holder(const struct backup_set *set,
                                  const struct backup_snapshot *snapshot);

#endif
