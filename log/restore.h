/* Makes a data directory of backups (log/backup.h), or of a plain copy of a log's directory.
 *
 * The result is DIR/log and DIR/snapshots. Derived state is not restored: whoever opens the log
 * rebuilds it. Every segment's SHA-256 is checked, then log_verify() checks the whole. The log
 * holds FORK (log/fork.h): its next opening goes on under a new uuid whose parent is the restored
 * end, so that (log, seq) never names two events.
 *
 * Several backups are given in the order in which they were made: a whole one, then those since an
 * event; each must go on where the one before it ends, by sequence number and chain.
 *
 * Of a plain copy (a directory without BACKUP; of a log that was live, perhaps) what is whole from
 * its beginning on is taken, and the result says which events are known to be missing.
 *
 * While it is under way DIR holds RESTORING, and the log is in DIR/log.restoring: it gets its name
 * only when it is whole and checked, so that nothing can open a part of it. After a crash the same
 * call goes on: what is there and has the right hash is not copied again.
 *
 * Memory: as log/backup.h. Threads: any, one call at a time per directory. */
#ifndef LOG_RESTORE_H
#define LOG_RESTORE_H

#include "core/base/error.h"
#include "core/base/id.h"
#include "core/base/sha256.h"
#include "log/backup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_RESTORING_NAME "RESTORING"
/* Of a log that begins behind event 1, in its directory: why, as "first_seq <number>" on a line. */
#define LOG_RESTORED_NAME "RESTORED"

struct log_restore_options {
    const char *const *backups;
    size_t backup_count;       /* at least 1 */
    const char *dir;           /* missing, empty, or of a restore that did not come to its end */
    uint64_t time_ns;          /* wall clock, to be noted */
    log_snapshot_check *check; /* NULL: every snapshot is taken for a whole one */
    void (*progress)(uint64_t done_bytes, uint64_t all_bytes, void *context); /* may be NULL */
    void *context;
};

struct log_restore_result {
    char parent_uuid[UUID_TEXT_SIZE]; /* what was restored; the next opening forks from it */
    uint64_t first_seq, last_seq;
    uint8_t chain[SHA256_SIZE]; /* at last_seq */
    uint64_t segments, segments_copied, bytes_copied, snapshots;
    char left_out[512]; /* a snapshot that is not whole, and why; "": none */
    bool resumed;
    bool finished_before; /* all that was left of an earlier run was to remove RESTORING */
    /* Of a plain copy: the events behind last_seq that something in it knows of; 0: none. */
    bool plain;
    uint64_t missing_first, missing_last;
    char reason[1024]; /* what is wrong at the end of what was taken; "" nothing */
};

/* Errors: ERROR_INVALID (dir is not empty, or lies in a backup; the order of backups),
 * ERROR_MISMATCH (they are not of one history), ERROR_NOT_FOUND (events between two of them, or
 * those before the first without a snapshot, are in none), ERROR_DAMAGED (a backup's bytes are not
 * those that were backed up), ERROR_LOCKED, ERROR_NEWER, -ENOSPC and others. */
int log_restore(const struct log_restore_options *options, struct log_restore_result *result,
                struct error *error);

#endif
