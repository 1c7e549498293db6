/* The inside of a restore: what restore.c and restore_backups.c share. For log/ only. Threads: as
 * log/restore.h. */
#ifndef LOG_RESTORE_INSIDE_H
#define LOG_RESTORE_INSIDE_H

#include "core/base/text.h"
#include "log/copying.h"
#include "log/manifest.h"
#include "log/restore.h"
#include "log/source.h"
#include "log/target.h"

#include <limits.h>
#include <stdint.h>

struct restore {
    const struct log_restore_options *options;
    struct log_restore_result *result;
    struct target target;
    char stage[PATH_MAX], log[PATH_MAX], snapshots[PATH_MAX];
    struct text marker;      /* what RESTORING says */
    const char *unreachable; /* the first backup that is not there: the marker may say it otherwise;
                                NULL: all are */
    int unreachable_code;
    struct manifest whole; /* what the log is to hold */
    struct source source;
    struct copying copying;
    uint64_t done_bytes, all_bytes;
};

int restore_join(char path[PATH_MAX], const char *dir, const char *name, struct error *error);

/* Writes RESTORING, or checks that it says the same. */
int restore_mark(struct restore *restore, struct error *error);

/* A log whose beginning is gone is of use to an agent only with a snapshot of what came before. */
int restore_check_beginning(const struct restore *restore, struct error *error);

/* Makes `stage` and the snapshots of the backups. */
int restore_backups(struct restore *restore, struct error *error);

#endif
