/* log_restore(): of backups alone and together, damaged in every way, in the wrong order, of plain
 * copies of a log; and what an opening makes of the result. */
#include "log/manifest.h"
#include "log/reader.h"
#include "log/recovery.h"
#include "log/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "log_backups.h"
#include "log_maker.h"
#include "read_fault.h"
#include "scratch.h"
#include "tap.h"

static char dir[4096], backup[4096], since[4096], restored[4096], inner[4096];
static struct log_backup_result made;
static struct log_restore_result got;

static void name_paths(void)
{
    snprintf(dir, sizeof dir, "%s", scratch_path("log"));
    snprintf(backup, sizeof backup, "%s", scratch_path("backup"));
    snprintf(since, sizeof since, "%s", scratch_path("since"));
    snprintf(restored, sizeof restored, "%s", scratch_path("restored"));
    snprintf(inner, sizeof inner, "%s", scratch_path("restored/log"));
}

static bool keeps_marker;

/* In the place of libc's: what a restore removes last cannot be. */
int unlink(const char *path)
{
    const char *name = strrchr(path, '/');
    if (keeps_marker && name != NULL && strcmp(name, "/RESTORING") == 0) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

static int restore_one(const char *from)
{
    const char *paths[] = { from };
    scratch_remove(restored);
    return log_backups_restore(paths, 1, restored, &got);
}

static int restore_two(const char *first, const char *second)
{
    const char *paths[] = { first, second };
    scratch_remove(restored);
    return log_backups_restore(paths, 2, restored, &got);
}

/* Whole. */

static void test_whole(void)
{
    uint64_t last_seq = log_backups_go_on(dir, 60);
    uint8_t uuid[UUID_SIZE];
    struct log_recovery recovery;
    log_recover(dir, NULL, 0, &recovery, NULL);
    memcpy(uuid, recovery.log_uuid, UUID_SIZE);
    is_int(log_backups_make(dir, backup, 0, &made), 0, "a backup");
    is_int(restore_one(backup), 0, "is restored");
    ok(!got.resumed && !got.plain && got.missing_first == 0, "as what it is");
    is_int(got.last_seq, last_seq, "to its end");
    ok(log_backups_sound(inner, last_seq), "what was restored is sound");
    ok(log_backups_same(dir, inner, last_seq), "and record by record what it was");
    ok(log_backups_has(inner, "FORK") && !log_backups_has(inner, "BACKUP") &&
           !log_backups_has(restored, "RESTORING"),
       "it waits for its new name, and is finished");
    const char *paths[] = { backup };
    is_int(log_backups_restore(paths, 1, restored, &got), ERROR_INVALID, "not on top of it");
    ok(log_backups_says("is not empty"), "since it is not empty");
    log_backups_go_on(inner, 30);
    ok(!log_backups_has(inner, "FORK"), "a writer opens it");
    log_recover(inner, NULL, 0, &recovery, NULL);
    ok(memcmp(recovery.log_uuid, uuid, UUID_SIZE) != 0, "which goes on under a new name");
    ok(log_backups_sound(inner, recovery.last_seq), "and is sound");
    uint64_t behind = recovery.last_seq;
    is_int(log_backups_make(inner, backup, 0, &made), 0, "the backup goes on with the new one");
    is_int(made.last_seq, behind, "to its end");
    ok(log_backups_sound(backup, behind), "and is sound");
    log_backups_go_on(dir, 10);
    is_int(log_backups_make(dir, backup, 0, &made), ERROR_MISMATCH, "but then not with the old");
}

/* Several. */

static void test_several(void)
{
    char third[4096];
    snprintf(third, sizeof third, "%s", scratch_path("third"));
    log_backups_go_on(dir, 60);
    log_backups_make(dir, backup, 0, &made);
    uint64_t middle = made.last_seq;
    log_backups_go_on(dir, 60);
    is_int(log_backups_make(dir, since, middle, &made), 0, "a whole backup, and one since its end");
    ok(made.first_seq > 1 && made.first_seq <= middle, "which begins with the segment of its end");
    uint64_t last_seq = made.last_seq;
    is_int(restore_two(backup, since), 0, "both together");
    is_int(got.last_seq, last_seq, "reach the second's end");
    ok(log_backups_sound(inner, last_seq) && log_backups_same(dir, inner, last_seq),
       "and make the whole history");
    is_int(restore_one(since), ERROR_NOT_FOUND, "the second alone lacks the beginning");
    ok(log_backups_says("no snapshot stands for what came before"), "it says so");
    is_int(restore_two(since, backup), ERROR_INVALID, "not the other way round");
    ok(log_backups_says("in the order in which they were made"), "it says why");
    log_backups_go_on(dir, 60);
    is_int(log_backups_make(dir, third, last_seq, &made), 0, "a third, since the second's end");
    is_int(restore_two(backup, third), ERROR_NOT_FOUND, "does not follow the first");
    ok(log_backups_says("give the backup that holds them between"), "it says what is missing");
    const char *paths[] = { backup, since, third };
    scratch_remove(restored);
    is_int(log_backups_restore(paths, 3, restored, &got), 0, "all three do");
    ok(log_backups_sound(inner, made.last_seq), "and are sound");
    scratch_remove(third);
    scratch_remove(dir);
    log_backups_go_on(dir, 150);
    is_int(log_backups_make(dir, third, middle, &made), 0, "a backup of another log");
    is_int(restore_two(backup, third), ERROR_MISMATCH, "does not follow either");
    ok(log_backups_says("backups of two logs"), "it says so");
    scratch_remove(third);
}

/* Damage. */

/* One byte of each kind of place in a file of the backup; true if each is noticed. */
static bool flips_noticed(const char *name, uint64_t from, uint64_t to, uint64_t step)
{
    unsigned long size;
    unsigned char *bytes = log_backups_keep(backup, name, &size);
    bool noticed = true;
    for (uint64_t at = from; at < to; at += step) {
        bytes[at] ^= 1;
        log_backups_put(backup, name, bytes, size);
        bytes[at] ^= 1;
        int code = restore_one(backup);
        if (code == 0)
            tap_note("a flip of byte %llu of %s is not noticed", (unsigned long long)at, name);
        noticed = noticed && code < 0 && !log_backups_has(restored, "log");
    }
    log_backups_put(backup, name, bytes, size);
    free(bytes);
    return noticed;
}

static bool cut_noticed(const char *name, unsigned long to)
{
    unsigned long size;
    unsigned char *bytes = log_backups_keep(backup, name, &size);
    log_backups_put(backup, name, bytes, to);
    int code = restore_one(backup);
    log_backups_put(backup, name, bytes, size);
    free(bytes);
    if (code == 0)
        tap_note("a cut of %s to %lu bytes is not noticed", name, to);
    return code < 0 && !log_backups_has(restored, "log");
}

static void test_damage(void)
{
    struct manifest manifest;
    unsigned long size;
    char name[LOG_SEGMENT_NAME_SIZE], moved[64];
    log_backups_go_on(dir, 60);
    log_backups_make(dir, backup, 0, &made);
    manifest_init(&manifest);
    is_int(manifest_read(&manifest, backup, &log_backups_error), 1, "a backup");
    bool flips = true, cuts = true, gone = true;
    for (size_t i = 0; i < manifest.segment_count; i++) {
        const struct backup_segment *segment = &manifest.segments[i];
        segment_name(name, segment->segment_no);
        flips = flips && flips_noticed(name, 17 + 500 * i, segment->bytes, segment->bytes / 3 + 1);
        cuts = cuts && cut_noticed(name, 0) && cut_noticed(name, segment->bytes - 512) &&
               cut_noticed(name, LOG_BLOCK_SIZE);
        snprintf(moved, sizeof moved, "x-%zu", i);
        unsigned char *bytes = log_backups_keep(backup, name, &size);
        char path[4200];
        snprintf(path, sizeof path, "%.4000s/%s", backup, name);
        unlink(path);
        gone = gone && restore_one(backup) < 0;
        log_backups_put(backup, name, bytes, size);
        free(bytes);
    }
    ok(flips, "a flipped bit in a segment is noticed");
    ok(cuts, "so is a segment that was cut");
    ok(gone, "and one that is gone");
    free(log_backups_keep(backup, MANIFEST_NAME, &size));
    ok(flips_noticed(MANIFEST_NAME, 0, size, 41), "so is a flipped bit in BACKUP");
    ok(cut_noticed(MANIFEST_NAME, 0) && cut_noticed(MANIFEST_NAME, size / 2) &&
           cut_noticed(MANIFEST_NAME, size - 1),
       "and when that was cut");
    ok(log_backups_says("BACKUP is damaged"), "it says so");
    is_int(restore_one(backup), 0, "mended it is restored");
    manifest_free(&manifest);
}

/* Plain copies. */

static void cut_copy(const char *name, uint64_t from)
{
    char path[4200];
    snprintf(path, sizeof path, "%.4000s/%s", backup, name);
    if (truncate(path, (off_t)from) < 0 || truncate(path, LOG_SEGMENT_SIZE_MIN) < 0)
        tap_bail_out("%s", path);
}

/* A run that only has to finish what was restored, also when the copy is gone. */
static void test_said_again(void)
{
    struct log_restore_result first = got;
    const char *paths[] = { backup };
    char away[4200];
    keeps_marker = true;
    is_int(restore_one(backup), -EIO, "RESTORING cannot be removed");
    keeps_marker = false;
    is_int(log_backups_restore(paths, 1, restored, &got), 0, "so the next run does");
    ok(got.finished_before && got.plain && got.missing_first == first.missing_first &&
           got.missing_last == first.missing_last && strcmp(got.reason, first.reason) == 0,
       "and says what is missing too: %llu to %llu, %s", (unsigned long long)got.missing_first,
       (unsigned long long)got.missing_last, got.reason);
    keeps_marker = true;
    is_int(restore_one(backup), -EIO, "once more");
    keeps_marker = false;
    snprintf(away, sizeof away, "%.4000s.away", backup);
    if (rename(backup, away) < 0)
        tap_bail_out("%s", away);
    is_int(log_backups_restore(paths, 1, restored, &got), 0,
           "the copy is gone when it is finished");
    ok(got.missing_first == first.missing_first && strcmp(got.reason, first.reason) == 0,
       "and what is missing is said");
    if (rename(away, backup) < 0)
        tap_bail_out("%s", away);
}

static void test_plain(void)
{
    char name[LOG_SEGMENT_NAME_SIZE];
    struct log_place place;
    struct record record;
    struct log_reader *reader;
    uint64_t last_seq = log_backups_go_on(dir, 60);
    scratch_copy(dir, backup);
    is_int(restore_one(backup), 0, "a plain copy of a stopped log");
    ok(got.plain && got.missing_first == 0 && got.last_seq == last_seq, "is restored whole");
    ok(log_backups_sound(inner, last_seq) && log_backups_has(inner, "FORK") &&
           !log_backups_has(inner, "BACKUP") && !log_backups_has(inner, "BACKUP.part"),
       "as a log that will have a new name");
    /* As cp makes it when the writer rolls while it reads. */
    struct log_reader_options options = { .dir = dir };
    if (log_reader_open(&reader, &options, &log_backups_error) < 0 ||
        log_reader_get(reader, last_seq / 2, &record, &place, &log_backups_error) != 1)
        tap_bail_out("%s", log_backups_error.text);
    log_reader_close(reader);
    segment_name(name, place.segment_no);
    cut_copy(name, place.frame_offset);
    is_int(restore_one(backup), 0, "one that misses the end of a segment in the middle");
    ok(got.last_seq < last_seq / 2 + 1 && got.last_seq + 1 == got.missing_first,
       "is restored up to there");
    ok(got.missing_last >= last_seq - 1, "and it says what is missing: %s", got.reason);
    ok(log_backups_sound(inner, got.last_seq) && log_backups_same(dir, inner, got.last_seq),
       "what is there is sound");
    test_said_again();
    segment_name(name, 2);
    log_backups_put(backup, name, (const unsigned char *)"", 0);
    is_int(restore_one(backup), 0, "one with an empty segment");
    ok(got.missing_first == got.last_seq + 1 && got.segments == 1, "is restored up to that: %s",
       got.reason);
    segment_name(name, 1);
    log_backups_put(backup, name, (const unsigned char *)"", 0);
    ok(restore_one(backup) < 0 && !log_backups_has(restored, "log"),
       "one without a beginning is not: %s", log_backups_error.text);
}

/* A header that cannot be read: of a copy that may be whole, or of one that is not. */
static void test_unreadable(void)
{
    static const int numbers[] = { EACCES, EMFILE, ENOMEM };
    uint64_t last_seq = log_backups_go_on(dir, 60);
    scratch_copy(dir, backup);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        read_fault_set("backup/seg-0000000002.log", 0, numbers[i]);
        is_int(restore_one(backup), -numbers[i], "a plain copy of which a file cannot be read");
        ok(log_backups_says("seg-0000000002.log") && !log_backups_has(restored, "log"),
           "is not cut there");
    }
    read_fault_set("backup/seg-0000000002.log", 0, EIO);
    is_int(restore_one(backup), 0, "one with a bad sector there is");
    ok(got.missing_first == got.last_seq + 1 && got.missing_last == last_seq,
       "and it says what is missing: %s", got.reason);
    read_fault_set(NULL, 0, 0);
}

/* Bad sectors where no event is: behind the end that a crash left, and in a spare. */
static void test_unreadable_nothing(void)
{
    struct io *io;
    struct log_commands commands = { .count = 0 };
    struct log *log = log_backups_open(dir, &io, &commands.time_ns);
    if (!log_backups_fill(log, &commands, 1))
        tap_bail_out("the log fails");
    log_backups_abandon(&log, &io);
    log_commands_free(&commands);
    uint64_t last_seq = log_backups_go_on(dir, 5);
    scratch_copy(dir, backup);
    read_fault_set("log/seg-0000000001.log", 200u << 10, EIO);
    is_int(log_backups_make(dir, since, 0, &made), -EIO,
           "a backup of a log with a bad sector behind a crash");
    ok(log_backups_says("block at offset 204800"), "names the block");
    read_fault_set("backup/seg-0000000001.log", 200u << 10, EIO);
    is_int(restore_one(backup), 0, "but a plain copy can be restored");
    ok(got.last_seq == last_seq && got.missing_first == 0 && log_backups_sound(inner, last_seq),
       "with all of its events");
    ok(strstr(got.reason, "block at offset 204800") != NULL, "and it says why: %s", got.reason);
    log_maker_write_spare(backup, 9, LOG_SEGMENT_SIZE_MIN);
    read_fault_set("backup/seg-0000000009.log", 0, EIO);
    is_int(restore_one(backup), 0, "so can one with a bad sector in a spare");
    ok(got.last_seq == last_seq && got.missing_first == 0 && log_backups_sound(inner, last_seq),
       "with all of its events");
    ok(strstr(got.reason, "seg-0000000009.log") != NULL, "and it says why: %s", got.reason);
    read_fault_set("backup/seg-0000000009.log", 0, EACCES);
    is_int(restore_one(backup), -EACCES, "not one that may not be read");
    read_fault_set(NULL, 0, 0);
}

/* What is refused, and what is gone on with. */

static void flip_segment(void)
{
    unsigned long size;
    unsigned char *bytes = log_backups_keep(backup, "seg-0000000001.log", &size);
    bytes[5000] ^= 1;
    log_backups_put(backup, "seg-0000000001.log", bytes, size);
    free(bytes);
}

/* What was restored before is not copied again. */
static void test_resumed(void)
{
    unsigned long size;
    char name[LOG_SEGMENT_NAME_SIZE];
    const char *paths[] = { backup };
    uint64_t last_seq = log_backups_go_on(dir, 90);
    log_backups_make(dir, backup, 0, &made);
    segment_name(name, made.segments);
    unsigned char *bytes = log_backups_keep(backup, name, &size);
    log_backups_put(backup, name, bytes, 4096);
    ok(restore_one(backup) < 0, "a restore that fails at the last of %llu segments",
       (unsigned long long)made.segments);
    log_backups_put(backup, name, bytes, size);
    free(bytes);
    is_int(log_backups_restore(paths, 1, restored, &got), 0, "goes on when that is mended");
    ok(got.resumed && got.segments_copied == 1, "with that one");
    ok(log_backups_sound(inner, last_seq) && log_backups_same(dir, inner, last_seq),
       "and is whole and sound");
}

static void test_refused(void)
{
    char path[4200];
    struct io *io;
    uint64_t time_ns;
    log_backups_go_on(dir, 10);
    log_backups_make(dir, backup, 0, &made);
    snprintf(path, sizeof path, "%.4000s/new", backup);
    const char *paths[] = { backup };
    is_int(log_backups_restore(paths, 1, path, &got), ERROR_INVALID, "not into the backup");
    paths[0] = scratch_path("none");
    is_int(log_backups_restore(paths, 1, restored, &got), -ENOENT, "nor from nothing");
    paths[0] = dir;
    struct log *log = log_backups_open(dir, &io, &time_ns);
    scratch_remove(restored);
    is_int(log_backups_restore(paths, 1, restored, &got), ERROR_INVALID, "nor from a live log");
    ok(log_backups_says("make a backup of it with daa-log backup"), "it says what to do");
    log_backups_close(&log, &io);
    struct log_restore_options options = { .backups = paths, .backup_count = 1, .dir = restored };
    char log_path[4200];
    paths[0] = backup;
    is_int(restore_one(backup), 0, "a restore");
    log_backups_put(restored, "RESTORING", (const unsigned char *)"of other things\n", 16);
    is_int(log_restore(&options, &got, &log_backups_error), ERROR_INVALID,
           "not where another is under way");
    scratch_remove(inner);
    scratch_remove(restored);
    flip_segment();
    ok(log_restore(&options, &got, &log_backups_error) < 0, "one that fails");
    flip_segment();
    snprintf(log_path, sizeof log_path, "%.4000s/log", restored);
    log_backups_go_on(log_path, 3);
    is_int(log_restore(&options, &got, &log_backups_error), ERROR_INVALID,
           "an agent that did not wait is found out");
    ok(log_backups_says("was made by something else"), "it says so");
    log_backups_put(backup, "BACKUP.part", (const unsigned char *)"", 0);
    is_int(restore_one(backup), 0, "an unfinished run on a finished backup does not matter");
    snprintf(path, sizeof path, "%.4000s/BACKUP", backup);
    unlink(path);
    is_int(restore_one(backup), ERROR_INVALID, "a backup that never was finished does");
    ok(log_backups_says("finish it with daa-log backup"), "it says what to do");
}

/* All but the last step was done before the run ended, and the backup's disk is away. */
static void test_backup_gone(void)
{
    char whole[4096 + 200], resolved[4096];
    const char *away = scratch_path("away/disk"), *paths[] = { away };
    uint64_t last_seq = log_backups_go_on(dir, 30);
    mkdir(scratch_path("away"), 0700);
    is_int(log_backups_make(dir, away, 0, &made), 0, "a backup on a disk that can be taken away");
    is_int(restore_one(away), 0, "is restored");
    if (realpath(away, resolved) == NULL)
        tap_bail_out("%s", away);
    int length = snprintf(whole, sizeof whole,
                          "daa-log restore has not come to its end here: run it again, with\n%s\n",
                          resolved);
    log_backups_put(restored, "RESTORING", (const unsigned char *)whole, (unsigned long)length);
    scratch_remove(scratch_path("away"));
    is_int(log_backups_restore(paths, 1, restored, &got), ERROR_INVALID,
           "without it nothing that was not whole is finished");
    length += snprintf(whole + length, sizeof whole - (size_t)length, "whole\n");
    log_backups_put(restored, "RESTORING", (const unsigned char *)whole, (unsigned long)length);
    is_int(log_backups_restore(paths, 1, restored, &got), 0, "but what was whole is");
    ok(got.finished_before && got.last_seq == last_seq && !log_backups_has(restored, "RESTORING"),
       "as it was");
    log_backups_put(restored, "RESTORING", (const unsigned char *)whole, (unsigned long)length);
    paths[0] = dir;
    is_int(log_backups_restore(paths, 1, restored, &got), ERROR_INVALID,
           "though not by the name of something else that is there");
}

/* As many names as RESTORING holds, but for the line that says that the log is whole. */
static void test_many(void)
{
    enum { COUNT = 9, SIZE = 3631 };
    char names[COUNT][SIZE + 1];
    const char *paths[COUNT];
    for (int i = 0; i < COUNT; i++) {
        memset(names[i], 'a' + i, SIZE);
        names[i][SIZE] = '\0';
        paths[i] = names[i];
    }
    is_int(log_backups_restore(paths, COUNT, restored, &got), ERROR_TOO_LARGE,
           "more names than can be noted with the end are refused");
    ok(log_backups_says("too long to be noted together"),
       "with a sentence, before anything is done");
}

int main(void)
{
    void (*const tests[])(void) = { test_whole,   test_several,    test_damage,
                                    test_plain,   test_unreadable, test_unreadable_nothing,
                                    test_resumed, test_refused,    test_backup_gone,
                                    test_many };
    name_paths();
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        tests[i]();
        scratch_remove(dir);
        scratch_remove(backup);
        scratch_remove(since);
        scratch_remove(restored);
    }
    return tap_done();
}
