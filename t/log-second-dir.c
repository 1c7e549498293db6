/* The second directory itself: where it may lie, what happens when it is not there, whose its files
 * are, and that whoever reads, seals, removes, copies or backs up the log need not know of it. */
#include "core/base/bytes.h"
#include "io_fault.h"
#include "log/backup.h"
#include "log/directory.h"
#include "log/log.h"
#include "log/place.h"
#include "log/recovery.h"
#include "log/removal.h"
#include "log/restore.h"
#include "log/second.h"
#include "log/segment.h"
#include "log/verify.h"
#include "log_commands.h"
#include "scratch.h"
#include "tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define TIME_NS 1700000000000000000u
#define STALL_NS 2000000u

static struct budget budget;
static char dir[256], second[256];

/* A log, and an engine that can hold what it writes. */
struct writer {
    struct io_fault fault;
    struct io *io;
    struct log *log;
    struct log_commands commands;
};

static int open_at(struct writer *writer, const char *path, const char *other, bool seal,
                   struct error *error)
{
    writer->fault = (struct io_fault){ .countdown = -1, .hold_dir = path };
    if (io_open_fault(&writer->io, &writer->fault) < 0)
        tap_bail_out("no engine");
    struct log_options options = { .dir = path,
                                   .second_dir = other,
                                   .io = writer->io,
                                   .budget = &budget,
                                   .segment_size = LOG_SEGMENT_SIZE_MIN,
                                   .frames_in_flight_max = 4,
                                   .sync = LOG_SYNC_DSYNC,
                                   .seal = seal,
                                   .maintain_inline = true,
                                   .allow_tmpfs = true,
                                   .stall_ns = STALL_NS,
                                   .start_time_ns = TIME_NS };
    int code = log_open(&writer->log, &options, NULL, error);
    if (code < 0)
        io_close(writer->io);
    return code;
}

static void maintain(struct log *log)
{
    struct error error = { 0 };
    int more;
    while ((more = log_maintain(log, &error)) == 1)
        continue;
    if (more < 0)
        tap_note("maintenance: %s", error.text);
}

static void open_log(struct writer *writer, const char *path, const char *other, bool seal)
{
    struct error error = { 0 };
    if (open_at(writer, path, other, seal, &error) < 0)
        tap_bail_out("%s", error.text);
    maintain(writer->log);
}

static void append(struct writer *writer)
{
    static uint64_t now_ns = TIME_NS; /* no log's time goes back */
    writer->commands.time_ns = now_ns;
    log_commands_append(&writer->commands, writer->log, 1, 1000);
    now_ns = writer->commands.time_ns;
    log_flush(writer->log);
}

static bool settle(struct writer *writer)
{
    bool good = true;
    while (good && log_durable_seq(writer->log) + 1 < log_next_seq(writer->log))
        good = log_wait(writer->log, -1, STALL_NS / 4) == 0;
    return good;
}

static struct log_stats stats_of(const struct writer *writer)
{
    struct log_stats stats;
    log_stats_get(writer->log, &stats);
    return stats;
}

/* A write stalls: the log is in the second directory when this comes back. */
static void turn(struct writer *writer)
{
    writer->fault.hold = true;
    append(writer);
    if (!settle(writer) || !stats_of(writer).in_second)
        tap_bail_out("the log did not go on in the second directory");
}

static void answer_again(struct writer *writer)
{
    writer->fault.hold = false;
    while (stats_of(writer).stuck)
        log_wait(writer->log, -1, STALL_NS / 4);
    maintain(writer->log);
}

static void close_log(struct writer *writer)
{
    struct error error = { 0 };
    is_int(log_close(&writer->log, &error), 0, "(the log is closed)");
    io_close(writer->io);
    log_commands_free(&writer->commands);
}

/* A log whose last segment lies in the second directory, closed. */
static void make_log(const char *path, const char *other)
{
    struct writer writer = { .fault = { .countdown = -1 } };
    open_log(&writer, path, other, false);
    turn(&writer);
    answer_again(&writer);
    append(&writer);
    settle(&writer);
    close_log(&writer);
}

static unsigned count_links(const char *path)
{
    unsigned count = 0;
    char target[PATH_MAX];
    struct dirent *entry;
    DIR *names = opendir(path);
    while (names != NULL && (entry = readdir(names)) != NULL)
        count += second_target(path, entry->d_name, target) == 1;
    if (names != NULL)
        closedir(names);
    return count;
}

static bool is_sound(const char *path)
{
    struct log_verify_options options = { .dir = path };
    struct log_verify_result result;
    struct error error = { 0 };
    int code = log_verify(&options, &result, &error);
    if (code < 0 || result.verdict != LOG_SOUND)
        tap_note("%s: %s", path, code < 0 ? error.text : "not sound");
    return code == 0 && result.verdict == LOG_SOUND;
}

static void begin(void)
{
    scratch_remove(dir);
    scratch_remove(second);
}

/* `cp -a`: links are copied as links. */
static void copy_tree(const char *from, const char *to)
{
    char command[1200];
    snprintf(command, sizeof command, "cp -a '%s' '%s'", from, to);
    scratch_remove(to);
    if (system(command) != 0) /* NOLINT: our own paths */
        tap_bail_out("%s failed", command);
}

/*--- Where it may lie --------------------------------------------------------------------------*/

static void places(void)
{
    char path[PATH_MAX], real[PATH_MAX], log_dir[512];
    struct error error = { 0 };
    struct stat own, memory, status;
    snprintf(log_dir, sizeof log_dir, "%s", scratch_path("place"));
    mkdir(log_dir, 0700);
    snprintf(path, sizeof path, "%s/beside", scratch_dir());
    is_int(second_prepare(log_dir, path, false, real, &error), ERROR_INVALID,
           "a second directory on the log's own device is refused");
    ok(strstr(error.text, path) != NULL && strstr(error.text, "same device") != NULL,
       "by an error that says so");
    ok(stat(path, &status) == 0 && (status.st_mode & 07777) == 0700, "it is made with mode 0700");
    if (stat(log_dir, &own) < 0 || stat(scratch_memory_dir(), &memory) < 0 ||
        own.st_dev == memory.st_dev) {
        tap_skip(2, "there is no directory in memory");
        return;
    }
    is_int(second_prepare(log_dir, scratch_memory_dir(), false, real, &error), ERROR_INVALID,
           "so is one in memory");
    is_int(second_prepare(log_dir, "/dev/null", false, real, &error), -ENOTDIR,
           "so is what is no directory");
}

/*--- Stalls ------------------------------------------------------------------------------------*/

static void two_in_a_row(void)
{
    struct writer writer = { .fault = { .countdown = -1 } };
    struct log_replay replay;
    begin();
    open_log(&writer, dir, second, false);
    turn(&writer);
    uint64_t durable = log_durable_seq(writer.log);
    writer.fault.hold_dir = NULL; /* the second device too */
    append(&writer);
    while (log_stalled_ns(writer.log) < 3 * STALL_NS)
        log_wait(writer.log, -1, STALL_NS / 4);
    is_int((intmax_t)log_durable_seq(writer.log), (intmax_t)durable,
           "when the second device stalls too, nothing is acknowledged");
    is_int(log_health(writer.log), LOG_OPEN, "and the log waits");
    is_int((intmax_t)stats_of(&writer).failovers, 1, "where it is");
    answer_again(&writer);
    ok(settle(&writer), "until one of them answers");
    uint64_t acknowledged = log_durable_seq(writer.log);
    struct error error = { 0 };
    log_close(&writer.log, &error);
    ok(log_commands_match(&writer.commands, dir, acknowledged, &replay) && is_sound(dir),
       "and is whole");
    io_close(writer.io);
    log_commands_free(&writer.commands);
}

/* What the log left behind is not touched, and keeps the directory. */
static void left_behind(void)
{
    struct writer writer = { .fault = { .countdown = -1 } }, other = writer;
    struct error error = { 0 };
    char path[512];
    unsigned long size;
    begin();
    open_log(&writer, dir, second, false);
    uint64_t offset = stats_of(&writer).segment_offset;
    turn(&writer);
    for (int i = 0; i < 20; i++) {
        append(&writer);
        settle(&writer);
    }
    maintain(writer.log);
    is_int(log_close(&writer.log, &error), 0, "a log is closed while a write is stuck");
    ok(io_underway(writer.io) > 0, "which the engine still has");
    is_int(open_at(&other, dir, second, false, &error), ERROR_LOCKED,
           "until it ends nobody else opens the log");
    writer.fault.hold = false;
    while (io_underway(writer.io) > 0)
        io_run(writer.io);
    io_close(writer.io);
    log_commands_free(&writer.commands);
    snprintf(path, sizeof path, "%s/seg-0000000001.log", dir);
    unsigned char *bytes = scratch_read(path, &size);
    struct frame_header frame;
    const char *what;
    ok(frame_header_decode(bytes + offset, &frame) == 0 &&
           frame_check(bytes + offset, &frame, &what) == 0 && frame.epoch == 1,
       "what it writes then is the frame that it was");
    free(bytes);
    ok(is_sound(dir), "which the log does not hold");
    open_log(&other, dir, second, true);
    maintain(other.log);
    is_int((intmax_t)stats_of(&other).unsealed, 0, "it is opened then, and sealed");
    close_log(&other);
    is_int((intmax_t)atomic_load(&budget.used), 0, "all memory is given back");
}

/*--- A device that is not there ----------------------------------------------------------------*/

static void dangling(void)
{
    struct writer writer = { .fault = { .countdown = -1 } };
    struct log_recovery recovery;
    struct error error = { 0 };
    char away[512];
    begin();
    make_log(dir, second);
    snprintf(away, sizeof away, "%s-away", second);
    rename(second, away);
    is_int(log_recover(dir, NULL, 0, &recovery, &error), -ENXIO,
           "without its second directory a log has no end");
    ok(strstr(error.text, dir) != NULL && strstr(error.text, second) != NULL,
       "the error names the link and the file");
    is_int(open_at(&writer, dir, NULL, false, &error), -ENXIO, "it is not opened");
    ok(count_links(dir) > 0, "and nothing is removed");
    ok(!is_sound(dir), "verify does not call it sound");
    rename(away, second);
    ok(is_sound(dir), "once that is back, all is well");
    is_int(log_recover(dir, NULL, 0, &recovery, &error), 0, "and the end is found");
}

/*--- Who it belongs to -------------------------------------------------------------------------*/

static void copies(void)
{
    struct writer writer = { .fault = { .countdown = -1 } };
    struct log_recovery recovery;
    struct error error = { 0 };
    char copy[512];
    begin();
    snprintf(copy, sizeof copy, "%s-copy", dir);
    make_log(dir, second);
    unsigned files = scratch_count(second);
    copy_tree(dir, copy);
    is_int(log_recover(copy, NULL, 0, &recovery, &error), 0, "a copy with links can be read");
    open_log(&writer, copy, NULL, true);
    maintain(writer.log);
    is_int((intmax_t)stats_of(&writer).unsealed, 0, "opened, and sealed");
    close_log(&writer);
    is_int(count_links(copy), 0, "after which it has no links");
    is_int(scratch_count(second), files, "but the original has all its files");
    ok(is_sound(copy) && is_sound(dir), "both are sound");

    open_log(&writer, dir, second, false);
    append(&writer);
    settle(&writer);
    copy_tree(dir, copy);
    is_int(log_recover(copy, NULL, 0, &recovery, &error), 0,
           "the copy of a log that is in use does not wait for its spares");
    struct writer copied = { .fault = { .countdown = -1 } };
    open_log(&copied, copy, second, false);
    turn(&copied);
    answer_again(&copied);
    close_log(&copied);
    turn(&writer);
    answer_again(&writer);
    close_log(&writer);
    ok(is_sound(copy) && is_sound(dir), "and both go on in one second directory");
    scratch_remove(copy);
}

/* A crash while a spare is given another number leaves it with two. */
static void two_names(void)
{
    struct writer writer = { .fault = { .countdown = -1 } };
    struct directory directory;
    struct error error = { 0 };
    char name[LOG_SEGMENT_NAME_SIZE], target[PATH_MAX] = "", path[600];
    begin();
    open_log(&writer, dir, second, false);
    close_log(&writer);
    if (directory_open(&directory, dir, &error) < 0)
        tap_bail_out("%s", error.text);
    segment_name(name, directory.linked[0]);
    second_target(dir, name, target);
    segment_name(name, directory.segments[directory.count - 1] + 1);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    directory_close(&directory);
    is_int(symlink(target, path), 0, "(a spare has two names)");
    is_int(second_remove(dir, name), 0, "(one is removed)");
    is_int(access(target, F_OK), 0, "a file that has another name stays");
    is_int(symlink(target, path), 0, "(it is there again)");
    open_log(&writer, dir, second, false);
    is_int(count_links(dir), 2, "the next opening leaves it one");
    turn(&writer);
    answer_again(&writer);
    close_log(&writer);
    ok(is_sound(dir), "and the log goes on in it");
}

static void foreign(void)
{
    struct log_recovery recovery;
    struct error error = { 0 };
    char other[512], link[600], target[PATH_MAX], from[600], foreign_target[PATH_MAX];
    begin();
    snprintf(other, sizeof other, "%s-other", dir);
    scratch_remove(other);
    make_log(dir, second);
    make_log(other, second);
    ok(is_sound(dir) && is_sound(other), "two logs share a second directory");
    char name[LOG_SEGMENT_NAME_SIZE];
    segment_name(name, 3);
    for (uint64_t no = 1; second_target(dir, name, target) != 1 && no < 9; no++)
        segment_name(name, no);
    snprintf(link, sizeof link, "%s/%s", dir, name);
    snprintf(from, sizeof from, "%s/%s", other, name);
    ok(second_target(other, name, foreign_target) == 1 && unlink(link) == 0 &&
           symlink(foreign_target, link) == 0,
       "(a link of one leads to a file of the other)");
    is_int(log_recover(dir, NULL, 0, &recovery, &error), ERROR_MISMATCH,
           "a file of another log is refused");
    scratch_remove(other);
}

/*--- Whoever need not know ---------------------------------------------------------------------*/

static void others(void)
{
    struct writer writer = { .fault = { .countdown = -1 } };
    struct log_backup_result backed_up;
    struct log_restore_result restored;
    struct log_removed removed;
    struct error error = { 0 };
    char target[512], again[512];
    const char *backups[1] = { target };
    begin();
    make_log(dir, second);
    snprintf(target, sizeof target, "%s-backup", dir);
    snprintf(again, sizeof again, "%s-restored", dir);
    struct log_backup_options backing_up = { .dir = dir, .target = target };
    struct log_restore_options restoring = { .backups = backups, .backup_count = 1, .dir = again };
    is_int(log_backup(&backing_up, &backed_up, &error), 0, "the log is backed up");
    is_int(count_links(target), 0, "as files");
    is_int(log_restore(&restoring, &restored, &error), 0, "and restored");
    is_int(count_links(again), 0, "as files too");
    is_int((intmax_t)restored.last_seq, (intmax_t)backed_up.last_seq, "with all its events");
    unsigned files = scratch_count(second);
    open_log(&writer, dir, second, false);
    is_int(log_remove_before(dir, stats_of(&writer).segment_no, &removed, &error), 0,
           "retention takes what lies there");
    is_int(scratch_count(second), files - 1, "with the file");
    close_log(&writer);
    open_log(&writer, dir, NULL, true);
    maintain(writer.log);
    close_log(&writer);
    is_int(scratch_count(second), 0, "a log that has no second directory any more leaves it");
    ok(is_sound(dir) && count_links(dir) == 0, "and is sound");
    scratch_remove(target);
    scratch_remove(again);
}

/* Without a descriptor for the directory, as with a disk that fails, nobody knows that the link is
 * durable. */
static void a_link_that_is_not_synced(void)
{
    char there[PATH_MAX], mark[PATH_MAX], target[PATH_MAX];
    struct rlimit limit, none;
    struct error error = { 0 };
    const char *in = scratch_path("unsynced");
    (void)mkdir(in, 0700);
    snprintf(there, sizeof there, "%s/seg-0000000001.log.tmp", in);
    snprintf(mark, sizeof mark, "%s/seg-0000000002.log.tmp", in);
    close(creat(there, 0600));
    close(creat(mark, 0600));
    is_int(second_link(in, "seg-0000000001.log", "/nowhere", &error), 0, "a link is made");
    ok(access(there, F_OK) < 0, "and the mark goes that it was to be made");
    getrlimit(RLIMIT_NOFILE, &limit);
    none = limit;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &none);
    int code = second_link(in, "seg-0000000002.log", "/nowhere", &error);
    setrlimit(RLIMIT_NOFILE, &limit);
    is_int(code, -EMFILE, "one that cannot be synced is an error");
    is_int(second_target(in, "seg-0000000002.log", target), 0, "it is not left there");
    ok(access(mark, F_OK) == 0, "and the mark stays");
    is_int(second_link(in, "seg-0000000001.log", "/else", &error), -EEXIST, "nor is one replaced");
    ok(second_target(in, "seg-0000000001.log", target) == 1 && strcmp(target, "/nowhere") == 0,
       "that is there");
    scratch_remove(in);
}

int main(void)
{
    budget_init(&budget, 1ull << 30);
    snprintf(dir, sizeof dir, "%s/log", scratch_memory_dir());
    snprintf(second, sizeof second, "%s/second", scratch_memory_dir());
    places();
    two_in_a_row();
    left_behind();
    dangling();
    copies();
    two_names();
    foreign();
    others();
    is_int((intmax_t)atomic_load(&budget.used), 0, "all memory went back to the budget");
    a_link_that_is_not_synced();
    return tap_done();
}
