/* Snapshots of the state in backups and restores, and logs that need one. */
#include "log/restore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log_backups.h"
#include "scratch.h"
#include "tap.h"

static char dir[4096], backup[4096], restored[4096], inner[4096];
static struct log_backup_result made;
static struct log_restore_result got;

static void name_paths(void)
{
    snprintf(dir, sizeof dir, "%s", scratch_path("log"));
    snprintf(backup, sizeof backup, "%s", scratch_path("backup"));
    snprintf(restored, sizeof restored, "%s", scratch_path("restored"));
    snprintf(inner, sizeof inner, "%s", scratch_path("restored/log"));
}

static int restore_one(const char *from)
{
    const char *paths[] = { from };
    scratch_remove(restored);
    return log_backups_restore(paths, 1, restored, &got);
}

static void test_snapshots(void)
{
    char data[4096], log[4096], path[4200];
    static const unsigned char bytes[] = "what is in it is no matter";
    snprintf(data, sizeof data, "%s", scratch_path("data"));
    snprintf(log, sizeof log, "%s", scratch_path("data/log"));
    mkdir(data, 0700);
    snprintf(path, sizeof path, "%.4000s/snapshots", data);
    mkdir(path, 0700);
    log_backups_go_on(log, 40);
    log_backups_put(path, "snap-00000000000000000003.zst", bytes, sizeof bytes);
    log_backups_put(path, "snap-00000000000000000005.zst", bytes, sizeof bytes);
    log_backups_put(path, "snap-00000000000000000009.zst", bytes, sizeof bytes - 5);
    log_backups_put(path, "snap-00000000000000000012.zst.tmp", bytes, 5);
    log_backups_put(path, "snap-00000000000000009999.zst", bytes, 5);
    is_int(log_backups_make(data, backup, 0, &made), 0, "a data directory with snapshots");
    is_int(made.snapshots, 2, "the newest two that stand for events in it are copied");
    snprintf(path, sizeof path, "%.4000s/snapshots", backup);
    ok(log_backups_has(path, "snap-00000000000000000005.zst") &&
           log_backups_has(path, "snap-00000000000000000009.zst") &&
           !log_backups_has(path, "snap-00000000000000000012.zst.tmp"),
       "as files of the same names");
    is_int(restore_one(backup), 0, "they are restored");
    snprintf(path, sizeof path, "%.4000s/snapshots", restored);
    unsigned long size;
    unsigned char *found = log_backups_keep(path, "snap-00000000000000000009.zst", &size);
    ok(size == sizeof bytes - 5 && memcmp(found, bytes, size) == 0, "byte by byte");
    free(found);
    snprintf(path, sizeof path, "%.4000s/snapshots", backup);
    log_backups_put(path, "snap-00000000000000000009.zst", bytes, sizeof bytes);
    is_int(restore_one(backup), ERROR_DAMAGED, "one that is not what was backed up is noticed");
    log_backups_put(path, "snap-00000000000000000009.zst", bytes, sizeof bytes - 5);
    snprintf(path, sizeof path, "%.4000s/snapshots", data);
    log_backups_put(path, "snap-00000000000000000020.zst", bytes, sizeof bytes);
    is_int(log_backups_make(data, backup, 0, &made), 0, "a newer one");
    ok(made.snapshots == 2 && made.snapshots_copied == 1, "takes the place of the oldest");
    snprintf(path, sizeof path, "%.4000s/snapshots", backup);
    ok(!log_backups_has(path, "snap-00000000000000000005.zst"), "which is removed");
    scratch_remove(data);
}

static void test_beginning_gone(void)
{
    char data[4096], log[4096], path[4200], name[32];
    snprintf(data, sizeof data, "%s", scratch_path("data"));
    snprintf(log, sizeof log, "%s", scratch_path("data/log"));
    mkdir(data, 0700);
    uint64_t last_seq = log_backups_go_on(log, 60);
    snprintf(path, sizeof path, "%.4000s/seg-0000000001.log", log);
    unlink(path);
    is_int(log_backups_make(data, backup, 0, &made), 0, "a log whose beginning was removed");
    ok(made.first_seq > 1 && log_backups_sound(backup, last_seq), "is backed up as it is");
    is_int(restore_one(backup), ERROR_NOT_FOUND, "it is of no use without a snapshot");
    snprintf(path, sizeof path, "%.4000s/snapshots", data);
    mkdir(path, 0700);
    snprintf(name, sizeof name, "snap-%020llu.zst", (unsigned long long)made.first_seq - 1);
    log_backups_put(path, name, (const unsigned char *)"x", 1);
    is_int(log_backups_make(data, backup, 0, &made), 0, "with one of the event before it");
    is_int(made.snapshots, 1, "that is copied too");
    is_int(restore_one(backup), 0, "and it is restored");
    ok(log_backups_sound(inner, last_seq), "sound");
    unsigned long size;
    char *note = (char *)log_backups_keep(inner, "RESTORED", &size), want[100];
    snprintf(want, sizeof want, "\nfirst_seq %llu\n", (unsigned long long)made.first_seq);
    ok(size > strlen(want) && strncmp(note + size - strlen(want), want, strlen(want)) == 0,
       "with a note of why it begins there");
    free(note);
    scratch_remove(data);
}

/* The agent goes on while segments are copied, and makes newer ones. */
static char old_path[4300], new_path[4300];

static void make_newer(uint64_t done_bytes, uint64_t all_bytes, void *context)
{
    (void)done_bytes;
    (void)all_bytes;
    (void)context;
    (void)rename(old_path, new_path);
}

static void test_replaced(void)
{
    char data[4096], log[4096], path[4200];
    snprintf(data, sizeof data, "%s", scratch_path("data"));
    snprintf(log, sizeof log, "%s", scratch_path("data/log"));
    mkdir(data, 0700);
    uint64_t last_seq = log_backups_go_on(log, 60);
    snprintf(path, sizeof path, "%.4000s/seg-0000000001.log", log);
    unlink(path);
    snprintf(path, sizeof path, "%.4000s/snapshots", data);
    mkdir(path, 0700);
    snprintf(old_path, sizeof old_path, "%s/snap-%020llu.zst", path, (unsigned long long)last_seq);
    snprintf(new_path, sizeof new_path, "%s/snap-00000000000000009999.zst", path);
    log_backups_put(path, strrchr(old_path, '/') + 1, (const unsigned char *)"x", 1);
    const struct log_backup_options options = { .dir = data,
                                                .target = backup,
                                                .progress = make_newer };
    is_int(log_backup(&options, &made, &log_backups_error), 0,
           "a backup of a log whose snapshots are replaced meanwhile");
    ok(log_backups_has(path, "snap-00000000000000009999.zst"), "(they are)");
    is_int(made.snapshots, 1, "holds one that was there when it began");
    is_int(restore_one(backup), 0, "so it can be restored");
    ok(log_backups_sound(inner, last_seq), "sound");
    scratch_remove(data);
}

/* Stands for the agent's. */
static int check(const char *path, uint64_t seq, struct error *error)
{
    unsigned long size;
    unsigned char *bytes = scratch_read(path, &size);
    bool whole = size == 5 && memcmp(bytes, "whole", 5) == 0 && strstr(path, "/snap-") != NULL;
    free(bytes);
    return whole && seq > 0 ? 0 : error_set(error, ERROR_DAMAGED, "%s is none", path);
}

/* A name is not a snapshot. */
static void test_not_whole(void)
{
    char data[4096], log[4096], path[4200], name[32];
    snprintf(data, sizeof data, "%s", scratch_path("data"));
    snprintf(log, sizeof log, "%s", scratch_path("data/log"));
    mkdir(data, 0700);
    uint64_t last_seq = log_backups_go_on(log, 60);
    snprintf(path, sizeof path, "%.4000s/seg-0000000001.log", log);
    unlink(path);
    snprintf(path, sizeof path, "%.4000s/snapshots", data);
    mkdir(path, 0700);
    snprintf(name, sizeof name, "snap-%020llu.zst", (unsigned long long)last_seq);
    log_backups_put(path, name, (const unsigned char *)"xx", 2);
    const char *paths[] = { backup };
    const struct log_backup_options backing = { .dir = data, .target = backup, .check = check };
    const struct log_restore_options restoring = {
        .backups = paths, .backup_count = 1, .dir = restored, .check = check
    };
    is_int(log_backups_make(data, backup, 0, &made), 0, "what only is called a snapshot");
    is_int(made.snapshots, 1, "is copied unseen by whoever cannot read one");
    scratch_remove(restored);
    is_int(log_restore(&restoring, &got, &log_backups_error), ERROR_NOT_FOUND,
           "and is not enough for a restore by who can");
    ok(strstr(log_backups_error.text, "is none") != NULL, "which says why");
    scratch_remove(backup);
    is_int(log_backup(&backing, &made, &log_backups_error), 0, "a backup that looks");
    ok(made.snapshots == 0 && strstr(made.left_out, "is none") != NULL, "leaves it out");
    log_backups_put(path, name, (const unsigned char *)"whole", 5);
    is_int(log_backup(&backing, &made, &log_backups_error), 0, "a whole one");
    ok(made.snapshots == 1 && made.left_out[0] == '\0', "is taken");
    scratch_remove(restored);
    is_int(log_restore(&restoring, &got, &log_backups_error), 0, "and is enough");
    ok(log_backups_sound(inner, last_seq) && got.snapshots == 1, "sound");
    scratch_remove(data);
}

int main(void)
{
    name_paths();
    test_snapshots();
    scratch_remove(backup);
    test_beginning_gone();
    scratch_remove(backup);
    test_replaced();
    scratch_remove(backup);
    test_not_whole();
    return tap_done();
}
