#include "log/verify_backup.h"

#include "log/copying.h"
#include "log/directory.h"
#include "log/manifest.h"
#include "log/restore.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct checking {
    const struct log_verify_options *options;
    log_snapshot_check *check;
    struct log_verify_result *result;
    char dir[PATH_MAX];
    struct manifest manifest;
    uint64_t done_bytes, all_bytes;
};

static void find(struct checking *checking, struct log_finding *finding, const char *why)
{
    finding->verdict = LOG_DAMAGED;
    (void)snprintf(finding->text, sizeof finding->text,
                   "%.380s: a restore fails: put it back from a copy, or make a new backup", why);
    checking->result->verdict = LOG_DAMAGED;
    checking->result->findings++;
    if (checking->options->finding != NULL)
        checking->options->finding(finding, checking->options->context);
}

static void go_on(struct checking *checking, uint64_t bytes)
{
    const struct log_verify_options *options = checking->options;
    checking->done_bytes += bytes;
    if (options->progress != NULL)
        options->progress(checking->done_bytes, checking->all_bytes, options->context);
}

/* The file's path, by its name in the directory. */
static int path_of(const struct checking *checking, const char *name, char path[PATH_MAX],
                   struct error *error)
{
    return snprintf(path, PATH_MAX, "%s/%s", checking->dir, name) < PATH_MAX
               ? 0
               : error_set(error, -ENAMETOOLONG, "%s: the path is too long", checking->dir);
}

/* Whether the first `size` bytes of the file hash to `sha256`. 0; ERROR_DAMAGED and others. */
static int check_bytes(const char *path, uint64_t size, const uint8_t sha256[SHA256_SIZE],
                       struct error *error)
{
    uint8_t got[SHA256_SIZE];
    int code = copying_hash(path, size, got, error);
    if (code == 0 && memcmp(got, sha256, SHA256_SIZE) != 0)
        code = error_set(error, ERROR_DAMAGED, "its bytes are not those that were backed up");
    return code;
}

static void check_segment(struct checking *checking, const struct backup_segment *segment)
{
    char path[PATH_MAX];
    struct error error;
    struct log_finding finding = { .size = segment->bytes,
                                   .first_seq = segment->first_seq,
                                   .last_seq = segment->last_seq };
    segment_name(finding.file, segment->segment_no);
    int code = path_of(checking, finding.file, path, &error);
    if (code == 0)
        code = check_bytes(path, segment->bytes, segment->sha256, &error);
    if (code < 0)
        find(checking, &finding, error.text);
    go_on(checking, segment->bytes);
}

static void check_snapshot(struct checking *checking, const struct backup_snapshot *snapshot)
{
    char path[PATH_MAX];
    struct stat status;
    struct error error;
    struct log_finding finding = { .size = snapshot->bytes };
    (void)snprintf(finding.file, sizeof finding.file, "%s/%s", SNAPSHOTS_NAME, snapshot->name);
    int code = path_of(checking, finding.file, path, &error);
    if (code == 0)
        code = check_bytes(path, snapshot->bytes, snapshot->sha256, &error);
    if (code == 0 && stat(path, &status) == 0 && (uint64_t)status.st_size != snapshot->bytes)
        code = error_set(&error, ERROR_DAMAGED, "it is longer than what was backed up");
    if (code == 0 && checking->check != NULL)
        code = checking->check(path, snapshot->seq, &error);
    if (code < 0)
        find(checking, &finding, error.text);
    go_on(checking, snapshot->bytes);
}

static void check_files(struct checking *checking)
{
    const struct manifest *manifest = &checking->manifest;
    for (size_t i = 0; i < manifest->segment_count; i++)
        checking->all_bytes += manifest->segments[i].bytes;
    for (size_t i = 0; i < manifest->snapshot_count; i++)
        checking->all_bytes += manifest->snapshots[i].bytes;
    for (size_t i = 0; i < manifest->segment_count; i++)
        check_segment(checking, &manifest->segments[i]);
    for (size_t i = 0; i < manifest->snapshot_count; i++)
        check_snapshot(checking, &manifest->snapshots[i]);
}

/* A writer that opened it left LOCK: what it appends and removes is in no BACKUP. And the log of a
 * restore whose last step is not done is whole, though its BACKUP is still there. */
static int find_backup(struct checking *checking, bool *opened, struct error *error)
{
    char path[PATH_MAX];
    struct directory directory;
    int code = directory_open(&directory, checking->options->dir, error);
    if (code < 0)
        return code;
    memcpy(checking->dir, directory.path, sizeof checking->dir);
    directory_close(&directory);
    code = path_of(checking, "LOCK", path, error);
    *opened = code == 0 && access(path, F_OK) == 0;
    if (code == 0)
        code = path_of(checking, "../" LOG_RESTORING_NAME, path, error);
    *opened = *opened || (code == 0 && access(path, F_OK) == 0);
    return code;
}

int log_verify_backup(const struct log_verify_options *options, log_snapshot_check *check,
                      struct log_verify_result *result, struct error *error)
{
    struct checking checking = { .options = options, .check = check, .result = result };
    struct log_finding finding = { .file = MANIFEST_NAME };
    bool opened = false;
    manifest_init(&checking.manifest);
    int code = find_backup(&checking, &opened, error);
    int found = code < 0 || opened ? code : manifest_read(&checking.manifest, checking.dir, error);
    if (found == 1)
        check_files(&checking);
    if (found == ERROR_DAMAGED)
        find(&checking, &finding, "it is not what daa-log backup wrote");
    manifest_free(&checking.manifest);
    return found < 0 && found != ERROR_DAMAGED ? found : 0;
}
