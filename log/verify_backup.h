/* Checks a backup (log/backup.h) against its BACKUP: that each segment and snapshot is there with
 * the bytes that were backed up, so that a restore of it does not fail. That its log is sound is
 * for log_verify() to say. Reads all of it once, in bounded memory.
 *
 * Threads: any. */
#ifndef LOG_VERIFY_BACKUP_H
#define LOG_VERIFY_BACKUP_H

#include "log/backup.h"
#include "log/verify.h"

/* Of the options: dir, finding, progress and their context. Adds to the verdict and the findings of
 * `result`. `check` may be NULL. 0, also when there is no BACKUP, or a writer opened the directory
 * since and it is a log of its own; negative when that cannot be told. */
int log_verify_backup(const struct log_verify_options *options, log_snapshot_check *check,
                      struct log_verify_result *result, struct error *error);

#endif
