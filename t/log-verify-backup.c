/* log_verify_backup(): whatever a restore would fail of is found before. */
#include "log/manifest.h"
#include "log/verify_backup.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log_backups.h"
#include "scratch.h"
#include "tap.h"

static const char snapshot[] = "snapshots/snap-00000000000000000003.zst";
static char backup[4096], found[64], text[512];

static void keep_finding(const struct log_finding *finding, void *context)
{
    (void)context;
    memcpy(found, finding->file, sizeof found);
    memcpy(text, finding->text, sizeof text);
}

static int check(const char *path, uint64_t seq, struct error *error)
{
    return seq == 3 ? 0 : error_set(error, ERROR_DAMAGED, "%s is none", path);
}

static int check_never(const char *path, uint64_t seq, struct error *error)
{
    (void)seq;
    return error_set(error, ERROR_DAMAGED, "%s is none", path);
}

static uint64_t findings(log_snapshot_check *function)
{
    const struct log_verify_options options = { .dir = backup, .finding = keep_finding };
    struct log_verify_result result = { .verdict = LOG_SOUND };
    struct error error;
    memset(found, 0, sizeof found);
    int code = log_verify_backup(&options, function, &result, &error);
    if (code < 0)
        tap_bail_out("%s", error.text);
    if ((result.verdict == LOG_DAMAGED) != (result.findings > 0))
        tap_bail_out("the verdict does not fit the findings");
    return result.findings;
}

static void path_of(char path[4200], const char *name)
{
    snprintf(path, 4200, "%.4000s/%s", backup, name);
}

static void make_backup(void)
{
    char dir[4096], path[4200];
    struct io *io;
    struct log_commands commands = { .count = 0 };
    struct log_backup_result made;
    snprintf(dir, sizeof dir, "%s", scratch_path("data"));
    snprintf(backup, sizeof backup, "%s", scratch_path("backup"));
    mkdir(dir, 0700);
    snprintf(path, sizeof path, "%.4000s/log", dir);
    struct log *log = log_backups_open(path, &io, &commands.time_ns);
    if (!log_backups_fill(log, &commands, 60))
        tap_bail_out("the log fails");
    log_backups_close(&log, &io);
    log_commands_free(&commands);
    snprintf(path, sizeof path, "%.4000s/snapshots", dir);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%.4000s/%s", dir, snapshot);
    FILE *file = fopen(path, "w");
    if (file == NULL || fputs("a snapshot", file) == EOF || fclose(file) != 0)
        tap_bail_out("%s", path);
    if (log_backups_make(dir, backup, 0, &made) < 0 || made.snapshots != 1 || made.segments < 2)
        tap_bail_out("no backup: %s", log_backups_error.text);
}

/* A bit of it, its end, more at its end, and all of it. */
static void is_needed(const char *name, bool longer)
{
    char path[4200];
    unsigned long size;
    path_of(path, name);
    unsigned char *bytes = scratch_read(path, &size);
    bytes[size / 3] ^= 1;
    log_backups_put(backup, name, bytes, size);
    ok(findings(check) == 1 && strcmp(found, name) == 0, "%s with another bit: %s", name, text);
    bytes[size / 3] ^= 1;
    log_backups_put(backup, name, bytes, 5);
    ok(findings(check) == 1 && strcmp(found, name) == 0, "one that is cut: %s", text);
    unlink(path);
    if (longer)
        ok(findings(check) == 1 && strcmp(found, name) == 0, "one that is gone: %s", text);
    log_backups_put(backup, name, bytes, size);
    if (longer) {
        int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
        ok(write(fd, "x", 1) == 1 && findings(check) == 1, "one that is longer: %s", text);
        close(fd);
        log_backups_put(backup, name, bytes, size);
    }
    is_int(findings(check), 0, "as it was it is good");
    free(bytes);
}

int main(void)
{
    make_backup();
    is_int(findings(check), 0, "a backup holds what its BACKUP says");
    is_int(findings(NULL), 0, "as far as anybody can tell who reads no snapshots");
    ok(findings(check_never) == 1 && strcmp(found, snapshot) == 0 && strstr(text, "is none"),
       "one that was none when it was copied is found by who does: %s", text);
    is_needed("seg-0000000001.log", false);
    is_needed(snapshot, true);
    is_needed(MANIFEST_NAME, false);
    log_backups_put(backup, "LOCK", (const unsigned char *)"", 0);
    is_int(findings(check_never), 0, "a log that was opened since is no backup any more");
    return tap_done();
}
