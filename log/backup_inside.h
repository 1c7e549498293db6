/* The inside of a backup: what log/backup.c shares with log/restore.c, for which a plain copy of a
 * log's directory is backed up into the directory to be. For log/ only. Threads: as log/backup.h.
 */
#ifndef LOG_BACKUP_INSIDE_H
#define LOG_BACKUP_INSIDE_H

#include "log/backup.h"
#include "log/history.h"
#include "log/manifest.h"

/* `target` is a directory that the caller locked and checked; `snapshots` where snapshots go;
 * `manifest` what the target holds by its BACKUP and BACKUP.part; `check` may be NULL. The history
 * is open. Copies the rest, brings CHECKPOINT, the manifest and BACKUP up to date. */
int backup_run(struct history *history, const char *dir, const char *target, const char *snapshots,
               log_snapshot_check *check, struct manifest *manifest,
               struct log_backup_result *result, struct error *error);

void backup_tell(const struct manifest *manifest, struct log_backup_result *result);

#endif
