#include "log/backup.h"

#include "iouring/file.h"
#include "log/backup_inside.h"
#include "log/fork.h"
#include "log/target.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static unsigned long long big(uint64_t number)
{
    return number;
}

struct backup {
    struct history *history;
    const char *dir, *target, *snapshots;
    log_snapshot_check *check;
    struct manifest *manifest;
    struct log_backup_result *result;
    size_t index;                         /* of the segment to go on with */
    const struct backup_segment *known;   /* what the target holds of it; NULL: nothing */
    const struct backup_segment *before;  /* what it must follow; NULL: anything */
    struct backup_segment before_segment; /* that `before` points to */
};

/* Where to go on. */

static int moved_back(const struct backup *backup, struct error *error)
{
    const struct backup_segment *last = manifest_last(backup->manifest);
    return error_set(error, ERROR_MISMATCH,
                     "%s ends with event %llu, but %s holds events up to %llu: it is another log, "
                     "or one whose end moved back: back it up into a new directory",
                     backup->history->directory.path, big(backup->history->last_seq),
                     backup->target, big(last->last_seq));
}

static int begin_new(struct backup *backup, struct error *error)
{
    struct history *history = backup->history;
    uint64_t since_seq = backup->manifest->since_seq;
    int found = history_find_seq(history, since_seq, &backup->index, error);
    if (found < 0)
        return found;
    if (found == 0 && since_seq > history->last_seq)
        return error_set(error, ERROR_NOT_FOUND,
                         "%s ends with event %llu: there is nothing since "
                         "event %llu to back up",
                         history->directory.path, big(history->last_seq), big(since_seq));
    if (found == 1)
        return 0;
    return error_set(error, ERROR_NOT_FOUND, "%s holds no segment that can be used%s%s",
                     history->directory.path, history->cut ? ": " : "", history->reason);
}

static int begin_behind(struct backup *backup, struct error *error)
{
    struct history *history = backup->history;
    struct segment_header header;
    const struct backup_segment *last = manifest_last(backup->manifest);
    /* Without the writer's image less may be proven durable now than a run with it knew. */
    if (history->live && history->last_segment_no == last->segment_no &&
        history->end_offset < last->bytes) {
        history->end_offset = last->bytes;
        history->last_seq = last->last_seq;
    }
    if (history->last_segment_no < last->segment_no || history->last_seq < last->last_seq)
        return moved_back(backup, error);
    backup->before_segment = *last;
    while (backup->index < history->directory.count &&
           history->directory.segments[backup->index] < last->segment_no + last->closed)
        backup->index++;
    int found = history_find(history, &backup->index, &header, error);
    if (found < 0)
        return found;
    if (found == 0)
        return history->cut ? 0 : moved_back(backup, error);
    if (header.segment_no == last->segment_no)
        backup->known = &backup->before_segment;
    else
        backup->before = &backup->before_segment;
    return 0;
}

/* Copying. */

static int copy_segment(struct backup *backup, struct error *error)
{
    struct history *history = backup->history;
    struct backup_segment made;
    int code = history_copy(history, backup->index, backup->target, backup->known, backup->before,
                            &made, error);
    if (code < 0 || made.segment_no == 0)
        return code;
    int synced = file_sync_dir(backup->target, error);
    if (synced == 0 && made.closed)
        synced = manifest_append_part(&made, backup->target, error);
    if (synced == 0)
        synced = manifest_put(backup->manifest, &made);
    if (synced < 0)
        return synced;
    backup->result->bytes_copied += history->copying.written;
    backup->result->segments_copied += history->copying.written > 0;
    backup->before_segment = made;
    backup->before = &backup->before_segment;
    backup->known = NULL;
    return code;
}

static void expect_bytes(struct history *history, size_t index, const struct segment_header *first)
{
    ptrdiff_t last = directory_find(&history->directory, history->last_segment_no);
    uint64_t whole = last > (ptrdiff_t)index ? (uint64_t)last - index : 0;
    history->all_bytes = whole * first->capacity + history->end_offset;
    history->done_bytes = 0;
}

static int copy_snapshots(struct backup *backup, uint64_t first_seq, uint64_t last_seq,
                          struct error *error)
{
    char from[PATH_MAX];
    if (!backup->history->data_dir ||
        snprintf(from, sizeof from, "%s/%s", backup->dir, SNAPSHOTS_NAME) >= (int)sizeof from)
        return 0;
    return target_copy_snapshots(from, backup->snapshots, first_seq, last_seq, backup->check,
                                 backup->manifest, backup->result, error);
}

/* Before the segments, which may take so long that the agent has none left that stands for an event
 * in them: without one, a log whose beginning is gone could not be restored. */
static int begin_copy(struct backup *backup, const struct segment_header *first,
                      struct error *error)
{
    const struct manifest *manifest = backup->manifest;
    uint64_t first_seq =
        manifest->segment_count > 0 ? manifest->segments[0].first_seq : first->first_seq;
    expect_bytes(backup->history, backup->index, first);
    return copy_snapshots(backup, first_seq, backup->history->last_seq, error);
}

static int copy_segments(struct backup *backup, struct error *error)
{
    struct segment_header header;
    int found = history_find(backup->history, &backup->index, &header, error);
    if (found == 1) {
        int code = begin_copy(backup, &header, error);
        if (code < 0)
            return code;
    }
    while (found == 1) {
        int code = copy_segment(backup, error);
        if (manifest_find(backup->manifest, header.segment_no) != NULL)
            uuid_to_text(backup->manifest->log_uuid, header.log_uuid);
        if (code != 0)
            return code < 0 ? code : 0; /* cut: what follows is not reached any more */
        backup->index++;
        found = history_find(backup->history, &backup->index, &header, error);
    }
    return found;
}

void backup_tell(const struct manifest *manifest, struct log_backup_result *result)
{
    const struct backup_segment *last = manifest_last(manifest);
    memcpy(result->log_uuid, manifest->log_uuid, UUID_TEXT_SIZE);
    result->first_seq = manifest->segments[0].first_seq;
    result->last_seq = last->last_seq;
    memcpy(result->chain, last->chain, SHA256_SIZE);
    result->segments = manifest->segment_count;
    result->snapshots = manifest->snapshot_count;
}

/* What is beside the segments, and then BACKUP. */
static int finish(struct backup *backup, struct error *error)
{
    struct manifest *manifest = backup->manifest;
    uint64_t first_seq = manifest->segments[0].first_seq;
    uint64_t last_seq = manifest_last(manifest)->last_seq;
    /* Damage may have ended it before what they stand for. */
    while (manifest->snapshot_count > 0 &&
           manifest->snapshots[manifest->snapshot_count - 1].seq > last_seq)
        manifest_drop_snapshot(manifest, manifest->snapshot_count - 1);
    int code = copy_snapshots(backup, first_seq, last_seq, error);
    if (code == 0)
        code = target_write_checkpoint(backup->target, manifest, error);
    if (code == 0)
        code = manifest_write(manifest, backup->target, error);
    if (code == 0)
        code = target_remove(backup->target, MANIFEST_PART_NAME, error);
    return code == 0 ? target_prune_snapshots(backup->snapshots, manifest, error) : code;
}

int backup_run(struct history *history, const char *dir, const char *target, const char *snapshots,
               log_snapshot_check *check, struct manifest *manifest,
               struct log_backup_result *result, struct error *error)
{
    struct backup backup = { .history = history,
                             .dir = dir,
                             .target = target,
                             .snapshots = snapshots,
                             .check = check,
                             .manifest = manifest,
                             .result = result };
    int code =
        manifest->segment_count == 0 ? begin_new(&backup, error) : begin_behind(&backup, error);
    if (manifest->log_uuid[0] == '\0')
        uuid_to_text(manifest->log_uuid, history->end.log_uuid);
    if (code == 0)
        code = manifest_begin_part(manifest, target, error);
    if (code == 0)
        code = copy_segments(&backup, error);
    if (code == 0 && manifest->segment_count == 0)
        code = error_set(error, ERROR_DAMAGED, "%s: nothing of it can be used: %s",
                         history->directory.path, history->reason);
    if (code == 0)
        code = finish(&backup, error);
    if (code == 0)
        backup_tell(manifest, result);
    return code;
}

/* The target. */

static int check_since(const struct manifest *manifest, uint64_t since_seq, bool whole,
                       const char *target, struct error *error)
{
    if (since_seq == manifest->since_seq || (whole && since_seq == 0))
        return 0;
    if (whole)
        return error_set(error, ERROR_INVALID,
                         "%s is a backup already, and is brought up to date without --since; "
                         "with it name a new directory",
                         target);
    return error_set(error, ERROR_INVALID,
                     "%s was begun as a backup since event %llu: say so again, or name a new "
                     "directory",
                     target, big(manifest->since_seq));
}

/* What the target holds, and whether it may be used. */
static int look_at_target(const struct target *target, const struct log_backup_options *options,
                          struct manifest *manifest, struct log_backup_result *result,
                          struct error *error)
{
    if (target_has(target, "LOCK"))
        return error_set(error, ERROR_INVALID,
                         "%s was opened by a writer and goes on as a log of its own: name a new "
                         "directory",
                         target->path);
    int whole = manifest_read(manifest, target->path, error);
    if (whole < 0)
        return whole;
    int part = manifest_read_part(manifest, target->path, error);
    if (part < 0)
        return part;
    result->incremental = whole;
    result->resumed = part;
    if (whole || part)
        return check_since(manifest, options->since_seq, whole, target->path, error);
    manifest->since_seq = options->since_seq;
    if (!target->fresh)
        return error_set(error, ERROR_INVALID,
                         "%s is neither empty nor a backup: name another directory", target->path);
    return 0;
}

static int run(struct history *history, const struct log_backup_options *options,
               struct manifest *manifest, struct log_backup_result *result, struct error *error)
{
    char snapshots[PATH_MAX];
    struct target target;
    int code = target_open(&target, options->target, error);
    if (code == 0)
        code = look_at_target(&target, options, manifest, result, error);
    if (code == 0 && snprintf(snapshots, sizeof snapshots, "%s/%s", options->target,
                              SNAPSHOTS_NAME) >= (int)sizeof snapshots)
        code = error_set(error, -ENAMETOOLONG, "%s: the path is too long", options->target);
    /* Before anything of it can be opened. */
    if (code == 0 && !target_has(&target, LOG_FORK_NAME))
        code = log_fork_request(options->target, error);
    manifest->time_ns = options->time_ns;
    if (code == 0)
        code = backup_run(history, options->dir, options->target, snapshots, options->check,
                          manifest, result, error);
    target_close(&target);
    return code;
}

int log_backup(const struct log_backup_options *options, struct log_backup_result *result,
               struct error *error)
{
    struct history history;
    struct manifest manifest;
    *result = (struct log_backup_result){ .first_seq = 0 };
    manifest_init(&manifest);
    int code = target_check_apart(options->target, options->dir, error);
    if (code < 0)
        return code;
    code = history_open(&history, options->dir, false, error);
    /* A data directory's log may lie elsewhere. */
    if (code == 0)
        code = target_check_apart(options->target, history.directory.path, error);
    history.progress = options->progress;
    history.context = options->context;
    result->live = history.live;
    if (code == 0)
        code = run(&history, options, &manifest, result, error);
    history_close(&history);
    manifest_free(&manifest);
    copying_advise(error, code);
    return code < 0 ? error_wrap(error, code, "backup of %s", options->dir) : 0;
}
