#include "log/backup_set.h"
#include "log/restore_inside.h"

#include "iouring/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned long long big(uint64_t number)
{
    return number;
}

/* A log whose beginning is gone is of use to an agent only with a snapshot of what came before. */
int restore_check_beginning(const struct restore *restore, struct error *error)
{
    const struct manifest *whole = &restore->whole;
    uint64_t first_seq = whole->segments[0].first_seq;
    if (first_seq <= 1)
        return 0;
    for (size_t i = 0; i < whole->snapshot_count; i++)
        if (whole->snapshots[i].seq + 1 >= first_seq)
            return 0;
    return error_set(error, ERROR_NOT_FOUND,
                     "%s begins with event %llu, and no snapshot stands for what came before%s%s: "
                     "give the backup that holds it first (daa-log reads %s as it is)",
                     restore->options->backups[0], big(first_seq),
                     restore->result->left_out[0] != '\0' ? ": " : "", restore->result->left_out,
                     restore->options->backups[0]);
}

static void tell_progress(struct restore *restore, uint64_t bytes)
{
    const struct log_restore_options *options = restore->options;
    restore->done_bytes += bytes;
    if (options->progress != NULL)
        options->progress(restore->done_bytes, restore->all_bytes, options->context);
}

/* True if the file holds what it should; what another process wrote may not be durable yet. */
static bool is_restored(const struct restore *restore, const struct backup_segment *segment,
                        const char *name)
{
    char path[PATH_MAX];
    uint8_t sha256[SHA256_SIZE];
    struct stat status;
    struct error ignored;
    if (restore_join(path, restore->stage, name, &ignored) < 0 || stat(path, &status) < 0 ||
        (uint64_t)status.st_size != segment->capacity ||
        copying_hash(path, segment->bytes, sha256, &ignored) < 0 ||
        memcmp(sha256, segment->sha256, SHA256_SIZE) != 0)
        return false;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    bool synced = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return synced;
}

static int copy_bytes(struct restore *restore, const struct backup_segment *segment,
                      struct error *error)
{
    const uint8_t *bytes;
    int code = 0;
    restore->source.sequential = true;
    for (uint64_t at = 0; code == 0 && at < segment->bytes; at += LOG_BLOCK_SIZE) {
        code = source_bytes(&restore->source, at, LOG_BLOCK_SIZE, &bytes);
        if (code < 0)
            return error_set(error, code, "it cannot be read at offset %llu: %s", big(at),
                             error_text(code));
        code = copying_add(&restore->copying, bytes, LOG_BLOCK_SIZE, error);
        tell_progress(restore, LOG_BLOCK_SIZE);
    }
    return code;
}

static int restore_segment(struct restore *restore, const struct backup_segment *segment,
                           const char *from, struct error *error)
{
    char name[LOG_SEGMENT_NAME_SIZE];
    uint8_t sha256[SHA256_SIZE];
    segment_name(name, segment->segment_no);
    if (is_restored(restore, segment, name)) {
        tell_progress(restore, segment->bytes);
        return 0;
    }
    int code = source_reopen(&restore->source, from, name, error);
    if (code == 0)
        code = copying_begin(&restore->copying, restore->stage, name, segment->capacity, 0, error);
    if (code == 0)
        code = copy_bytes(restore, segment, error);
    if (code == 0)
        code = copying_end(&restore->copying, sha256, error);
    if (code == 0 && memcmp(sha256, segment->sha256, SHA256_SIZE) != 0)
        code = error_set(error, ERROR_DAMAGED, "its bytes are not those that were backed up");
    if (code < 0) {
        copying_abandon(&restore->copying);
        return error_wrap(error, code, "%s/%s", from, name);
    }
    restore->result->segments_copied++;
    restore->result->bytes_copied += segment->bytes;
    return 0;
}

static int restore_snapshots(struct restore *restore, const struct backup_set *set,
                             struct error *error)
{
    int code = 0;
    if (restore->whole.snapshot_count > 0)
        code = file_make_dir(restore->snapshots, error);
    for (size_t i = 0; code == 0 && i < restore->whole.snapshot_count; i++) {
        const struct backup_snapshot *snapshot = &restore->whole.snapshots[i];
        char from[PATH_MAX];
        uint8_t sha256[SHA256_SIZE];
        uint64_t bytes;
        code = restore_join(from, set->paths[backup_set_snapshot_holder(set, snapshot)],
                            SNAPSHOTS_NAME, error);
        if (code == 0)
            code = copying_file(from, restore->snapshots, snapshot->name, &bytes, sha256, error);
        if (code == 0 && memcmp(sha256, snapshot->sha256, SHA256_SIZE) != 0)
            code = error_set(error, ERROR_DAMAGED,
                             "%s/%s: its bytes are not those that were backed up", from,
                             snapshot->name);
    }
    if (code == 0 && restore->whole.snapshot_count > 0)
        code = file_sync_dir(restore->snapshots, error);
    return code == 0 ? target_prune_snapshots(restore->snapshots, &restore->whole, error) : code;
}

static int check_snapshot(const struct restore *restore, const struct backup_set *set,
                          const struct backup_snapshot *snapshot, struct error *error)
{
    char dir[PATH_MAX], path[PATH_MAX];
    uint8_t sha256[SHA256_SIZE];
    const char *backup = set->paths[backup_set_snapshot_holder(set, snapshot)];
    int code = restore_join(dir, backup, SNAPSHOTS_NAME, error);
    if (code == 0)
        code = restore_join(path, dir, snapshot->name, error);
    if (code == 0 && restore->options->check != NULL)
        code = copying_hash(path, snapshot->bytes, sha256, error);
    /* What differs from the backup's is found when it is copied. */
    if (code == 0 && restore->options->check != NULL &&
        memcmp(sha256, snapshot->sha256, SHA256_SIZE) == 0)
        code = restore->options->check(path, snapshot->seq, error);
    return code;
}

/* One that was none when it was backed up stands for nothing. */
static int leave_out_snapshots(struct restore *restore, const struct backup_set *set,
                               struct error *error)
{
    struct log_restore_result *result = restore->result;
    struct manifest *whole = &restore->whole;
    for (size_t i = 0; i < whole->snapshot_count;) {
        int code = check_snapshot(restore, set, &whole->snapshots[i], error);
        if (code < 0 && code != ERROR_DAMAGED)
            return code;
        if (code == ERROR_DAMAGED) {
            (void)snprintf(result->left_out, sizeof result->left_out, "%.500s", error->text);
            manifest_drop_snapshot(whole, i);
        } else {
            i++;
        }
    }
    return 0;
}

static int restore_set(struct restore *restore, const struct backup_set *set, struct error *error)
{
    struct manifest *whole = &restore->whole;
    int code = backup_set_join(set, whole, error);
    if (code == 0)
        code = leave_out_snapshots(restore, set, error);
    if (code == 0)
        code = restore_check_beginning(restore, error);
    if (code == 0)
        code = restore_mark(restore, error);
    if (code == 0)
        code = file_make_dir(restore->stage, error);
    for (size_t i = 0; i < whole->segment_count; i++)
        restore->all_bytes += 2 * whole->segments[i].bytes;
    for (size_t i = 0; code == 0 && i < whole->segment_count; i++) {
        const struct backup_segment *segment = &whole->segments[i];
        code =
            restore_segment(restore, segment, set->paths[backup_set_holder(set, segment)], error);
    }
    if (code == 0)
        code = file_sync_dir(restore->stage, error);
    if (code == 0)
        code = restore_snapshots(restore, set, error);
    whole->time_ns = restore->options->time_ns;
    return code == 0 ? target_write_checkpoint(restore->stage, whole, error) : code;
}

int restore_backups(struct restore *restore, struct error *error)
{
    struct backup_set set;
    int code =
        backup_set_open(&set, restore->options->backups, restore->options->backup_count, error);
    if (code == 0)
        code = restore_set(restore, &set, error);
    backup_set_close(&set);
    return code;
}
