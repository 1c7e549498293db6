/* log_backup(): of a live log, again and again; of a stopped and of a crashed one; what it refuses;
 * and a limit on the size of files as a full disk. */
#include "log/backup.h"
#include "log/fork.h"
#include "log/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log_backups.h"
#include "scratch.h"
#include "sync_watch.h"
#include "tap.h"

enum { ROUNDS = 20, COMMANDS_A_ROUND = 45 };

static struct log_backup_result result;

/* A writer beside. */

struct writer {
    struct log *log;
    struct log_commands commands;
    _Atomic uint32_t granted; /* rounds that it may append */
    _Atomic bool stop, failed;
};

static void *write_on(void *context)
{
    struct writer *writer = context;
    for (uint32_t round = 0; !atomic_load(&writer->stop);) {
        if (round == atomic_load(&writer->granted)) {
            sched_yield();
            continue;
        }
        if (!log_backups_fill(writer->log, &writer->commands, COMMANDS_A_ROUND))
            atomic_store(&writer->failed, true);
        round++;
    }
    return NULL;
}

static void test_live(void)
{
    char dir[4096], target[4096];
    struct io *io;
    struct writer writer = { .granted = 1 };
    pthread_t thread;
    snprintf(dir, sizeof dir, "%s", scratch_path("live"));
    snprintf(target, sizeof target, "%s", scratch_path("live-backup"));
    writer.log = log_backups_open(dir, &io, &writer.commands.time_ns);
    if (pthread_create(&thread, NULL, write_on, &writer) != 0)
        tap_bail_out("no thread");
    uint64_t before = 0, segments = 0;
    bool good = true, grown = true, whole = true, live = true, new_only = true;
    for (unsigned round = 0; round < ROUNDS && good; round++) {
        uint64_t durable_seq = log_durable_seq(writer.log);
        atomic_fetch_add(&writer.granted, 1);
        good = log_backups_make(dir, target, 0, &result) == 0;
        if (!good)
            tap_note("round %u: %s", round, log_backups_error.text);
        grown = grown && result.last_seq >= durable_seq && result.last_seq >= before;
        live = live && result.live && result.incremental == (round > 0);
        new_only = new_only && result.segments_copied <= result.segments - segments + 1;
        whole = whole && log_backups_sound(target, result.last_seq) &&
                log_backups_same(dir, target, result.last_seq);
        before = result.last_seq;
        segments = result.segments;
    }
    atomic_store(&writer.stop, true);
    pthread_join(thread, NULL);
    ok(good && !atomic_load(&writer.failed), "%d backups beside a writer", ROUNDS);
    ok(grown, "each holds all that was durable when it began");
    ok(whole, "each is sound, and record by record what the log holds");
    ok(live, "it knows that a writer runs, and that it goes on");
    ok(new_only, "only segments with something new are written");
    ok(segments > ROUNDS, "over %llu segments", (unsigned long long)segments);
    uint64_t acknowledged = log_durable_seq(writer.log);
    log_backups_close(&writer.log, &io);
    struct log_replay replay;
    is_int(log_backups_make(dir, target, 0, &result), 0, "once more when the writer has stopped");
    is_int(result.last_seq, acknowledged + 1, "with the record of the stop");
    ok(log_commands_match(&writer.commands, target, acknowledged, &replay),
       "it holds each command, whole");
    is_int(log_backups_make(dir, target, 0, &result), 0, "and again");
    is_int(result.bytes_copied, 0, "when there is nothing new nothing is copied");
    log_commands_free(&writer.commands);
    scratch_remove(dir);
    scratch_remove(target);
}

/* Crashes. */

static void append_garbage(const char *dir)
{
    struct log_recovery recovery;
    char path[4096];
    uint8_t garbage[700];
    if (log_recover(dir, NULL, 0, &recovery, &log_backups_error) < 0)
        tap_bail_out("%s", log_backups_error.text);
    snprintf(path, sizeof path, "%.4000s/seg-%010llu.log", dir,
             (unsigned long long)recovery.last_segment_no);
    memset(garbage, 0xa5, sizeof garbage);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || pwrite(fd, garbage, sizeof garbage, (off_t)recovery.end_offset + 8192) < 0)
        tap_bail_out("%s", path);
    close(fd);
}

static void test_crashed(void)
{
    char dir[4096], target[4096];
    struct io *io;
    struct log_commands commands = { .count = 0 };
    snprintf(dir, sizeof dir, "%s", scratch_path("crashed"));
    snprintf(target, sizeof target, "%s", scratch_path("crashed-backup"));
    for (int i = 0; i < 3; i++) {
        struct log *log = log_backups_open(dir, &io, &commands.time_ns);
        log_backups_fill(log, &commands, 20);
        uint64_t last_seq = log_durable_seq(log);
        log_backups_abandon(&log, &io);
        append_garbage(dir);
        is_int(log_backups_make(dir, target, 0, &result), 0, "a log that crashed, time %d", i + 1);
        is_int(result.last_seq, last_seq, "up to the end that is found");
        ok(!result.live, "no writer runs");
        ok(log_backups_sound(target, last_seq), "what lay behind it is not in the backup");
    }
    uint64_t last_seq = log_backups_go_on(dir, 5);
    is_int(log_backups_make(dir, target, 0, &result), 0, "and when it was opened again");
    ok(log_backups_sound(target, last_seq), "what openings left out came along, as they say");
    ok(log_backups_same(dir, target, last_seq), "and every record");
    log_commands_free(&commands);
    scratch_remove(dir);
    scratch_remove(target);
}

/* What retention does meanwhile. */

static char removed_path[4200], aside_path[4200];

static void remove_it(uint64_t done_bytes, uint64_t all_bytes, void *context)
{
    (void)all_bytes;
    (void)context;
    if (done_bytes > LOG_SEGMENT_SIZE_MIN)
        rename(removed_path, aside_path);
}

static void test_removed(void)
{
    char dir[4096], target[4096];
    snprintf(dir, sizeof dir, "%s", scratch_path("log"));
    snprintf(target, sizeof target, "%s", scratch_path("backup"));
    uint64_t last_seq = log_backups_go_on(dir, 150);
    snprintf(removed_path, sizeof removed_path, "%.4000s/seg-0000000004.log", dir);
    snprintf(aside_path, sizeof aside_path, "%.4000s/aside", dir);
    struct log_backup_options options = { .dir = dir, .target = target, .progress = remove_it };
    is_int(log_backup(&options, &result, &log_backups_error), -ENOENT,
           "a segment that is removed before its turn comes");
    ok(log_backups_says("by retention"), "it says why");
    rename(aside_path, removed_path);
    char copy[4096];
    snprintf(copy, sizeof copy, "%s", scratch_path("copy"));
    scratch_copy(target, copy);
    is_int(log_backups_make(dir, copy, 0, &result), 0, "when it is back, the backup goes on");
    ok(result.resumed && result.segments_copied == result.segments - 2,
       "behind the two segments that it had");
    ok(log_backups_sound(copy, last_seq) && log_backups_same(dir, copy, last_seq), "to the end");
    scratch_remove(copy);
    for (int i = 1; i < 5; i++) {
        snprintf(removed_path, sizeof removed_path, "%.4000s/seg-%010d.log", dir, i);
        unlink(removed_path);
    }
    is_int(log_backups_make(dir, target, 0, &result), ERROR_MISMATCH, "then there is a hole");
    ok(log_backups_says("events between were removed"), "it says so");
    scratch_remove(target);
    is_int(log_backups_make(dir, target, 0, &result), 0, "a new directory takes what is left");
    ok(log_backups_sound(target, last_seq) && result.first_seq > 1, "which is sound");
    scratch_remove(dir);
    scratch_remove(target);
}

/* Another user has no image: less is proven durable, and nothing that was proven is lost. */
static void test_without_image(void)
{
    char dir[4096], target[4096], image[4200];
    struct io *io;
    struct log_commands commands = { .count = 0 };
    snprintf(dir, sizeof dir, "%s", scratch_path("log"));
    snprintf(target, sizeof target, "%s", scratch_path("backup"));
    struct log *log = log_backups_open(dir, &io, &commands.time_ns);
    log_backups_fill(log, &commands, 20);
    is_int(log_backups_make(dir, target, 0, &result), 0, "with the image");
    uint64_t before = result.last_seq;
    is_int(before, log_durable_seq(log), "all that is durable");
    snprintf(image, sizeof image, "%.4000s/image", dir);
    unlink(image);
    is_int(log_backups_make(dir, target, 0, &result), 0, "without it");
    is_int(result.last_seq, before, "no less");
    log_backups_fill(log, &commands, 20);
    is_int(log_backups_make(dir, target, 0, &result), 0, "and more");
    ok(result.last_seq > before && result.last_seq <= log_durable_seq(log), "up to what is proven");
    ok(log_backups_sound(target, result.last_seq), "which is sound");
    log_backups_abandon(&log, &io);
    log_commands_free(&commands);
    scratch_remove(dir);
    scratch_remove(target);
}

/* What is refused. */

static void test_refused(void)
{
    char dir[4096], other[4096], target[4096], inside[4096], file[4096];
    struct stat status;
    snprintf(dir, sizeof dir, "%s", scratch_path("log"));
    snprintf(other, sizeof other, "%s", scratch_path("other"));
    snprintf(target, sizeof target, "%s", scratch_path("backup"));
    uint64_t last_seq = log_backups_go_on(dir, 60);
    log_backups_go_on(other, 60);
    snprintf(inside, sizeof inside, "%.4000s/backup", dir);
    is_int(log_backups_make(dir, inside, 0, &result), ERROR_INVALID, "a target in the log");
    is_int(log_backups_make(dir, dir, 0, &result), ERROR_INVALID, "the log as its own target");
    ok(stat(inside, &status) < 0, "nothing was made there");
    is_int(log_backups_make(other, dir, 0, &result), ERROR_INVALID, "a log as another's target");
    snprintf(file, sizeof file, "%.4000s/CHECKPOINT", other);
    is_int(log_backups_make(dir, file, 0, &result), -ENOTDIR, "a file as target");
    is_int(log_backups_make(scratch_path("none"), target, 0, &result), -ENOENT, "no log");
    is_int(log_backups_make(dir, target, last_seq + 1, &result), ERROR_NOT_FOUND,
           "events that are to come");
    ok(log_backups_says("there is nothing since event"), "it says where the log ends");
    scratch_remove(target);
    if (mkdir(target, 0700) < 0)
        tap_bail_out("cannot make %s", target);
    sync_watch_begin(scratch_dir());
    is_int(log_backups_make(dir, target, 0, &result), 0, "a whole backup");
    ok(sync_watch_count() > 0, "in a directory whose name is durable, whoever made it");
    is_int(log_backups_make(dir, target, 5, &result), ERROR_INVALID, "then --since on it");
    is_int(log_backups_make(other, target, 0, &result), ERROR_MISMATCH, "another log on it");
    ok(log_backups_says("back it up into a new directory"), "it says what to do");
    ok(log_backups_sound(target, last_seq), "the backup is what it was");
    scratch_remove(other);
    log_backups_go_on(other, 5);
    is_int(log_backups_make(other, target, 0, &result), ERROR_MISMATCH, "a log that is shorter");
    ok(log_backups_sound(target, last_seq), "again it is what it was");
    log_backups_go_on(target, 1);
    is_int(log_backups_make(dir, target, 0, &result), ERROR_INVALID,
           "a backup that a writer opened");
    scratch_remove(dir);
    scratch_remove(other);
    scratch_remove(target);
}

/* A restored log that nothing has opened yet holds FORK, as a backup that was just begun does. */
static void test_restored(void)
{
    char dir[4096], other[4096], target[4096], restored[4096], inside[4200];
    const char *const backups[] = { target };
    struct log_restore_result made;
    snprintf(dir, sizeof dir, "%s", scratch_path("log"));
    snprintf(other, sizeof other, "%s", scratch_path("other"));
    snprintf(target, sizeof target, "%s", scratch_path("backup"));
    snprintf(restored, sizeof restored, "%s", scratch_path("restored"));
    snprintf(inside, sizeof inside, "%s/log", restored);
    uint64_t last_seq = log_backups_go_on(dir, 60);
    log_backups_go_on(other, 5);
    is_int(log_backups_make(dir, target, 0, &result), 0, "a backup");
    const struct log_restore_options options = { .backups = backups,
                                                 .backup_count = 1,
                                                 .dir = restored };
    is_int(log_restore(&options, &made, &log_backups_error), 0, "is restored");
    is_int(log_backups_make(other, inside, 0, &result), ERROR_INVALID,
           "the restored log is no place for a backup");
    ok(log_backups_sound(inside, last_seq), "and is what it was");
    scratch_remove(dir);
    scratch_remove(other);
    scratch_remove(target);
    scratch_remove(restored);
}

/* No room for the first line of the list, or killed before it: nothing says since which event. */
static void test_hardly_begun(void)
{
    char dir[4096], target[4096], part[4200];
    snprintf(dir, sizeof dir, "%s", scratch_path("log"));
    snprintf(target, sizeof target, "%s", scratch_path("backup"));
    snprintf(part, sizeof part, "%.4000s/" MANIFEST_PART_NAME, target);
    uint64_t last_seq = log_backups_go_on(dir, 60);
    if (mkdir(target, 0700) < 0 || log_fork_request(target, &log_backups_error) < 0)
        tap_bail_out("%s", target);
    int fd = open(part, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        tap_bail_out("%s", part);
    close(fd);
    is_int(log_backups_make(dir, target, last_seq, &result), 0,
           "a backup since an event, hardly begun");
    ok(!result.resumed && result.first_seq > 1 && result.last_seq == last_seq,
       "is made as if it had not been");
    scratch_remove(dir);
    scratch_remove(target);
}

static void test_moved_back(void)
{
    char dir[4096], old[4096], target[4096];
    snprintf(dir, sizeof dir, "%s", scratch_path("log"));
    snprintf(old, sizeof old, "%s", scratch_path("old"));
    snprintf(target, sizeof target, "%s", scratch_path("backup"));
    log_backups_go_on(dir, 30);
    scratch_copy(dir, old);
    uint64_t last_seq = log_backups_go_on(dir, 40);
    is_int(log_backups_make(dir, target, 0, &result), 0, "a backup");
    is_int(log_backups_make(old, target, 0, &result), ERROR_MISMATCH, "its log from before");
    log_backups_go_on(old, 60);
    is_int(log_backups_make(old, target, 0, &result), ERROR_MISMATCH, "which then went on");
    ok(log_backups_sound(target, last_seq), "the backup is what it was");
    scratch_remove(dir);
    scratch_remove(old);
    scratch_remove(target);
}

/* Damage in the log. */

static void flip(const char *dir, const char *name, off_t offset)
{
    char path[4096];
    uint8_t byte = 0;
    snprintf(path, sizeof path, "%.4000s/%s", dir, name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || pread(fd, &byte, 1, offset) != 1 ||
        (byte ^= 0x10, pwrite(fd, &byte, 1, offset)) != 1)
        tap_bail_out("%s", path);
    close(fd);
}

static void test_damage(void)
{
    char dir[4096], target[4096];
    struct manifest manifest;
    snprintf(dir, sizeof dir, "%s", scratch_path("log"));
    snprintf(target, sizeof target, "%s", scratch_path("backup"));
    log_backups_go_on(dir, 40);
    is_int(log_backups_make(dir, target, 0, &result), 0, "a backup");
    uint64_t last_seq = result.last_seq;
    log_backups_go_on(dir, 60);
    char name[LOG_SEGMENT_NAME_SIZE];
    segment_name(name, result.segments + 1);
    flip(dir, name, 20000);
    is_int(log_backups_make(dir, target, 0, &result), ERROR_DAMAGED, "then damage");
    ok(log_backups_says(name) && log_backups_says("frame at offset") &&
           log_backups_says("daa-log restore"),
       "it says where, and what to do");
    manifest_init(&manifest);
    is_int(manifest_read(&manifest, target, &log_backups_error), 1, "the backup before is there");
    is_int(manifest_last(&manifest)->last_seq, last_seq, "as it was");
    manifest_free(&manifest);
    flip(dir, name, 20000);
    is_int(log_backups_make(dir, target, 0, &result), 0, "when it is mended it goes on");
    ok(result.resumed && log_backups_sound(target, result.last_seq), "and is sound");
    scratch_remove(dir);
    scratch_remove(target);
}

/* No room. */

static int backup_within(const char *dir, const char *target, rlim_t bytes)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit limit = { bytes, bytes };
        signal(SIGXFSZ, SIG_IGN);
        if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
            _exit(100);
        int code = log_backups_make(dir, target, 0, &result);
        bool said = strstr(log_backups_error.text, "make room and run the same command") != NULL;
        _exit(code == 0 ? 0 : code == -EFBIG && said ? 1 : 2);
    }
    int status;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_no_room(void)
{
    char dir[4096], target[4096];
    snprintf(dir, sizeof dir, "%s", scratch_path("log"));
    snprintf(target, sizeof target, "%s", scratch_path("backup"));
    uint64_t last_seq = log_backups_go_on(dir, 60);
    is_int(backup_within(dir, target, 100000), 1, "no room for a new backup: it says so");
    is_int(backup_within(dir, target, 20), 1, "not even for a list");
    is_int(log_backups_make(dir, target, 0, &result), 0, "with room it goes on");
    ok(log_backups_sound(target, last_seq), "and is sound");
    last_seq = result.last_seq;
    log_backups_go_on(dir, 60);
    is_int(backup_within(dir, target, 100000), 1, "no room for what is new");
    ok(log_backups_sound(target, last_seq), "the backup before is there, and sound");
    is_int(log_backups_make(dir, target, 0, &result), 0, "with room it goes on");
    ok(log_backups_sound(target, result.last_seq), "and is sound");
    scratch_remove(dir);
    scratch_remove(target);
}

int main(void)
{
    test_live();
    test_crashed();
    test_removed();
    test_without_image();
    test_refused();
    test_restored();
    test_hardly_begun();
    test_moved_back();
    test_damage();
    test_no_room();
    return tap_done();
}
