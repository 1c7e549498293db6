#include "log/restore.h"

#include "core/base/text.h"
#include "iouring/file.h"
#include "log/backup_inside.h"
#include "log/copying.h"
#include "log/fork.h"
#include "log/recovery.h"
#include "log/restore_inside.h"
#include "log/target.h"
#include "log/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MARKER_SIZE_MAX 32768 /* of RESTORING */
#define MARKER_END_MAX 1280   /* of that, what is said when the log is whole */
#define MARKER_WHOLE "whole\n"
#define MARKER_PLAIN "plain " /* then the first and last event that are missing, and the reason */
#define STAGE_NAME "log.restoring" /* the log, until it is whole */

static unsigned long long big(uint64_t number)
{
    return number;
}

/* The directory. */

int restore_join(char path[PATH_MAX], const char *dir, const char *name, struct error *error)
{
    if (snprintf(path, PATH_MAX, "%s/%s", dir, name) < PATH_MAX)
        return 0;
    return error_set(error, -ENAMETOOLONG, "%s/%s: the path is too long", dir, name);
}

static bool is_there(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0;
}

/* RESTORING says from where; a run that was killed is gone on with from there only. Its last line
 * says that the log is whole and may have its name already: a log that is there without it is of
 * somebody who did not wait. */
static int make_marker(struct restore *restore, struct error *error)
{
    const struct log_restore_options *options = restore->options;
    struct text *marker = &restore->marker;
    char path[PATH_MAX];
    marker->size_max = MARKER_SIZE_MAX - MARKER_END_MAX;
    text_add_string(marker, "daa-log restore has not come to its end here: run it again, with\n");
    for (size_t i = 0; i < options->backup_count; i++) {
        bool found = realpath(options->backups[i], path) != NULL;
        if (!found && restore->unreachable == NULL) {
            restore->unreachable = options->backups[i];
            restore->unreachable_code = -errno;
        }
        text_printf(marker, "%s\n", found ? path : options->backups[i]);
    }
    marker->size_max = MARKER_SIZE_MAX;
    if (marker->failed == 0)
        return 0;
    return error_set(error, marker->failed,
                     marker->failed == -ENOMEM
                         ? "no memory for the names of the backups"
                         : "the paths of the backups are too long to be noted together: give them "
                           "shorter ones, or make a whole backup");
}

/* True if the last of its lines says so. */
static bool says_whole(const char *text, size_t size)
{
    static const char last[] = "\n" MARKER_WHOLE;
    return size >= sizeof last - 1 && strcmp(text + size - (sizeof last - 1), last) == 0;
}

/* Of a plain copy the marker keeps what is missing behind its end, so that a run that only finishes
 * it can say so too. */
static void add_outcome(struct restore *restore)
{
    const struct log_restore_result *result = restore->result;
    char reason[sizeof result->reason];
    if (!result->plain)
        return;
    snprintf(reason, sizeof reason, "%s", result->reason);
    for (char *at = reason; (at = strchr(at, '\n')) != NULL;)
        *at = ' ';
    text_printf(&restore->marker, MARKER_PLAIN "%llu %llu %s\n", big(result->missing_first),
                big(result->missing_last), reason);
}

/* Takes it from the line before the last of a marker that says "whole". */
static void take_outcome(struct log_restore_result *result, const char *text, size_t size)
{
    const char *end = text + size - sizeof MARKER_WHOLE; /* of that line: its newline */
    const char *before = memrchr(text, '\n', (size_t)(end - text));
    const char *line = before == NULL ? text : before + 1;
    unsigned long long first, last;
    int used = 0;
    if (sscanf(line, MARKER_PLAIN "%llu %llu%n", &first, &last, &used) != 2 || line + used >= end)
        return;
    result->plain = true;
    result->missing_first = first;
    result->missing_last = last;
    snprintf(result->reason, sizeof result->reason, "%.*s", (int)(end - line - used - 1),
             line + used + 1);
}

/* What may stand behind the names of what is restored. */
static bool is_end_of_marker(const char *text, bool whole)
{
    return *text == '\0' || (whole && (strcmp(text, MARKER_WHOLE) == 0 ||
                                       strncmp(text, MARKER_PLAIN, sizeof MARKER_PLAIN - 1) == 0));
}

/* 1 it is there and says the same, 0 it is not there, negative. *whole: its last line is. Then it
 * does not matter of what when the backups are gone, which nobody needs any more, and
 * `outcome` (may be NULL) gets what it says of the end. */
static int read_marker(const struct restore *restore, bool *whole,
                       struct log_restore_result *outcome, struct error *error)
{
    const char *dir = restore->options->dir;
    char was[MARKER_SIZE_MAX + sizeof MARKER_WHOLE] = "";
    size_t size = restore->marker.size;
    int fd = openat(restore->target.fd, LOG_RESTORING_NAME, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    int64_t got = fd < 0 ? -errno : file_read_at(fd, was, sizeof was - 1, 0);
    if (fd >= 0)
        close(fd);
    *whole = got > 0 && says_whole(was, (size_t)got);
    bool same = got >= (int64_t)size && memcmp(was, restore->marker.bytes, size) == 0 &&
                is_end_of_marker(was + size, *whole);
    if (same || (*whole && restore->unreachable != NULL)) {
        if (*whole && outcome != NULL)
            take_outcome(outcome, was, (size_t)got);
        return 1;
    }
    return error_set(error, ERROR_INVALID,
                     "a restore of something else has not come to its end in %s (%s/%s says of "
                     "what): name that again, or remove the directory",
                     dir, dir, LOG_RESTORING_NAME);
}

int restore_mark(struct restore *restore, struct error *error)
{
    bool whole;
    int found = read_marker(restore, &whole, NULL, error);
    restore->result->resumed = found == 1;
    return found != 0 ? (found < 0 ? found : 0)
                      : file_replace(restore->options->dir, LOG_RESTORING_NAME,
                                     restore->marker.bytes, restore->marker.size, error);
}

/* Nothing is copied to where a log is, so a backup that is gone need not be looked at. Else nothing
 * is made for it. */
static int check_apart(const struct restore *restore, struct error *error)
{
    const struct log_restore_options *options = restore->options;
    int code = 0;
    if (restore->unreachable != NULL && is_there(restore->log))
        return 0;
    if (restore->unreachable != NULL)
        return error_set(error, restore->unreachable_code,
                         "%s cannot be read: %s: name a backup or a copy of a log",
                         restore->unreachable, error_text(restore->unreachable_code));
    for (size_t i = 0; code == 0 && i < options->backup_count; i++)
        code = target_check_apart(options->dir, options->backups[i], error);
    return code;
}

static int open_target(struct restore *restore, struct error *error)
{
    const struct log_restore_options *options = restore->options;
    int code = restore_join(restore->stage, options->dir, STAGE_NAME, error);
    if (code == 0)
        code = restore_join(restore->log, options->dir, "log", error);
    if (code == 0)
        code = restore_join(restore->snapshots, options->dir, SNAPSHOTS_NAME, error);
    if (code == 0)
        code = make_marker(restore, error);
    if (code == 0)
        code = check_apart(restore, error);
    if (code == 0)
        code = target_open(&restore->target, options->dir, error);
    if (code < 0)
        return code;
    if (!restore->target.empty && !target_has(&restore->target, LOG_RESTORING_NAME))
        return error_set(error, ERROR_INVALID,
                         "%s is not empty: name a directory that is missing or empty",
                         options->dir);
    return 0;
}

/* Of a plain copy. */

static int check_plain(const struct history *history, const char *path, struct error *error)
{
    if (history->live)
        return error_set(error, ERROR_INVALID,
                         "%s is being written: make a backup of it with daa-log backup", path);
    return 0;
}

static void tell_missing(const struct history *history, struct log_restore_result *result)
{
    snprintf(result->reason, sizeof result->reason, "%s", history->reason);
    if (history->known_seq <= result->last_seq)
        return;
    result->missing_first = result->last_seq + 1;
    result->missing_last = history->known_seq;
}

/* As a backup of the copy into the directory to be. */
static int restore_history(struct restore *restore, struct history *history, struct error *error)
{
    struct log_backup_result made = { .segments = 0 };
    struct log_restore_result *result = restore->result;
    const char *path = restore->options->backups[0];
    int code = check_plain(history, path, error);
    if (code == 0)
        code = restore_mark(restore, error);
    if (code == 0)
        code = file_make_dir(restore->stage, error);
    if (code == 0 && manifest_read(&restore->whole, restore->stage, error) < 0)
        code = error->code;
    if (code == 0 && manifest_read_part(&restore->whole, restore->stage, error) < 0)
        code = error->code;
    restore->whole.time_ns = restore->options->time_ns;
    if (code == 0)
        code = backup_run(history, path, restore->stage, restore->snapshots,
                          restore->options->check, &restore->whole, &made, error);
    if (code < 0)
        return code;
    result->plain = true;
    memcpy(result->left_out, made.left_out, sizeof result->left_out);
    result->segments_copied = made.segments_copied;
    result->bytes_copied = made.bytes_copied;
    result->last_seq = made.last_seq;
    tell_missing(history, result);
    return restore_check_beginning(restore, error);
}

static int restore_plain(struct restore *restore, struct error *error)
{
    struct history history;
    int code = history_open(&history, restore->options->backups[0], true, error);
    history.progress = restore->options->progress;
    history.context = restore->options->context;
    if (code == 0)
        code = restore_history(restore, &history, error);
    history_close(&history);
    return code;
}

/* The end. */

struct verified {
    const struct restore *restore;
    struct error first; /* finding */
};

static void keep_first(const struct log_finding *finding, void *context)
{
    struct error *error = &((struct verified *)context)->first;
    if (error->code == 0)
        error_set(error, ERROR_DAMAGED, "%s at offset %llu: %s", finding->file,
                  big(finding->offset), finding->text);
}

/* The second half of the work. */
static void tell_verified(uint64_t done_bytes, uint64_t all_bytes, void *context)
{
    const struct restore *restore = ((struct verified *)context)->restore;
    const struct log_restore_options *options = restore->options;
    uint64_t half = restore->all_bytes / 2;
    double share = all_bytes == 0 ? 1 : (double)done_bytes / (double)all_bytes;
    if (options->progress != NULL && half > 0)
        options->progress(half + (uint64_t)(share * (double)half), restore->all_bytes,
                          options->context);
}

static int check_whole(struct restore *restore, struct error *error)
{
    const struct backup_segment *last = manifest_last(&restore->whole);
    struct verified verified = { .restore = restore };
    struct log_verify_result got;
    struct log_verify_options verify = { .dir = restore->stage,
                                         .finding = keep_first,
                                         .progress = tell_verified,
                                         .context = &verified };
    int code = log_verify(&verify, &got, error);
    if (code < 0)
        return code;
    if (got.verdict == LOG_SOUND && got.last_seq == last->last_seq &&
        memcmp(got.chain, last->chain, SHA256_SIZE) == 0)
        return 0;
    return error_set(
        error, ERROR_DAMAGED, "what was restored to %s is not sound: %s", restore->stage,
        verified.first.code != 0 ? verified.first.text : "it ends at another event than it should");
}

/* BACKUP, which said that the log was to begin there, does not come along. */
static int note_beginning(const struct restore *restore, struct error *error)
{
    char text[128];
    uint64_t first_seq = restore->whole.segments[0].first_seq;
    if (first_seq <= 1)
        return 0;
    int size =
        snprintf(text, sizeof text, "restored from a backup that begins with\nfirst_seq %llu\n",
                 big(first_seq));
    return file_replace(restore->stage, LOG_RESTORED_NAME, text, (size_t)size, error);
}

/* Everything is durable in log.restoring: it becomes the log. */
static int publish(struct restore *restore, struct error *error)
{
    const char *dir = restore->options->dir;
    int code = log_fork_request(restore->stage, error);
    if (code == 0)
        code = note_beginning(restore, error);
    add_outcome(restore);
    text_add_string(&restore->marker, MARKER_WHOLE);
    if (code == 0 && restore->marker.failed < 0)
        code = error_set(error, restore->marker.failed, "%s/%s: no memory for what it is to say",
                         dir, LOG_RESTORING_NAME);
    if (code == 0)
        code = file_replace(dir, LOG_RESTORING_NAME, restore->marker.bytes, restore->marker.size,
                            error);
    if (code == 0 && rename(restore->stage, restore->log) < 0)
        code = copying_failed(error, -errno, restore->log);
    return code == 0 ? file_sync_dir(dir, error) : code;
}

/* What says that it is not finished goes last. */
static int clean_up(struct restore *restore, struct error *error)
{
    int code = target_remove(restore->log, MANIFEST_NAME, error);
    if (code == 0)
        code = target_remove(restore->log, MANIFEST_PART_NAME, error);
    return code == 0 ? target_remove(restore->options->dir, LOG_RESTORING_NAME, error) : code;
}

/* A log is there: this restore's, which then only has to be said to be finished. */
static int finish_old(struct restore *restore, struct error *error)
{
    struct log_restore_result *result = restore->result;
    struct log_recovery found;
    bool whole = false;
    int code = read_marker(restore, &whole, result, error);
    if (code < 0)
        return code;
    if (!whole || is_there(restore->stage))
        return error_set(error, ERROR_INVALID,
                         "%s was made by something else before the restore came to its end: remove "
                         "%s, or name another directory",
                         restore->log, restore->options->dir);
    code = log_recover(restore->log, NULL, 0, &found, error);
    if (code < 0)
        return code;
    uuid_to_text(result->parent_uuid, found.log_uuid);
    memcpy(result->chain, found.chain, SHA256_SIZE);
    result->first_seq = found.first_seq;
    result->last_seq = found.last_seq;
    result->resumed = result->finished_before = true;
    return clean_up(restore, error);
}

static void tell(const struct restore *restore)
{
    struct log_backup_result made = { .segments = 0 };
    struct log_restore_result *result = restore->result;
    backup_tell(&restore->whole, &made);
    memcpy(result->parent_uuid, made.log_uuid, UUID_TEXT_SIZE);
    memcpy(result->chain, made.chain, SHA256_SIZE);
    result->first_seq = made.first_seq;
    result->last_seq = made.last_seq;
    result->segments = made.segments;
    result->snapshots = made.snapshots;
}

/* True if the one path that is given is neither a backup nor the beginning of one. */
static int is_plain(const struct log_restore_options *options, struct error *error)
{
    char path[PATH_MAX];
    const char *dir = options->backups[0];
    int code = restore_join(path, dir, MANIFEST_NAME, error);
    if (code < 0 || options->backup_count > 1 || is_there(path))
        return code;
    code = restore_join(path, dir, MANIFEST_PART_NAME, error);
    if (code == 0 && is_there(path))
        return error_set(error, ERROR_INVALID,
                         "%s is a backup that did not come to its end: finish it with daa-log "
                         "backup; to restore what is there all the same, remove %s",
                         dir, path);
    return code < 0 ? code : 1;
}

static int run(struct restore *restore, struct error *error)
{
    int code = open_target(restore, error);
    if (code < 0)
        return code;
    if (is_there(restore->log))
        return finish_old(restore, error);
    int plain = is_plain(restore->options, error);
    if (plain < 0)
        return plain;
    code = plain ? restore_plain(restore, error) : restore_backups(restore, error);
    if (code == 0)
        code = check_whole(restore, error);
    if (code == 0)
        code = publish(restore, error);
    if (code == 0)
        tell(restore);
    return code == 0 ? clean_up(restore, error) : code;
}

int log_restore(const struct log_restore_options *options, struct log_restore_result *result,
                struct error *error)
{
    struct restore restore = {
        .options = options, .result = result, .target = { .fd = -1 }, .source = { .fd = -1 }
    };
    *result = (struct log_restore_result){ .first_seq = 0 };
    copying_init(&restore.copying);
    manifest_init(&restore.whole);
    text_init(&restore.marker);
    int code = run(&restore, error);
    copying_free(&restore.copying);
    source_close(&restore.source);
    manifest_free(&restore.whole);
    text_free(&restore.marker);
    target_close(&restore.target);
    copying_advise(error, code);
    return code < 0 ? error_wrap(error, code, "restore to %s", options->dir) : 0;
}
