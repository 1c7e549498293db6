/* A log's directory that is copied or moved: a stopped log goes on as it was, the copy of a live
 * one goes on under another name, and one that misses events is refused with advice. */
#include "io_fault.h"
#include "log/fork.h"
#include "log/lineage.h"
#include "log/log.h"
#include "log/place.h"
#include "log/readers.h"
#include "log_commands.h"
#include "log_names.h"
#include "read_fault.h"
#include "scratch.h"
#include "sync_watch.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REASON_SIZE 1100
#define PATH_SIZE 4400

static struct budget budget;
static char dir[256], copy[256], before_dir[256];
static struct log_commands commands;
static struct error error;
static struct io *io;

static void begin_anew(void)
{
    scratch_remove(dir);
    scratch_remove(copy);
    scratch_remove(before_dir);
    log_commands_free(&commands);
    commands.time_ns = LOG_NAMES_TIME_NS;
}

static struct log *open_log(const char *where)
{
    struct log_options options = log_names_options(where, io, &budget);
    struct log *log = NULL;
    if (log_open(&log, &options, NULL, &error) < 0)
        tap_bail_out("%s", error.text);
    return log;
}

static void append(struct log *log, unsigned count, uint32_t size)
{
    for (unsigned i = 0; i < count; i++)
        if (!log_commands_append(&commands, log, 2, size) || !log_commands_settle(log))
            tap_bail_out("%s", log_failure(log));
}

static void close_log(struct log *log)
{
    if (log_close(&log, &error) < 0)
        tap_bail_out("%s", error.text);
}

static struct log_recovery recover(const char *where)
{
    struct log_recovery recovery;
    if (log_recover(where, NULL, 0, &recovery, &error) < 0)
        tap_bail_out("%s", error.text);
    return recovery;
}

static bool is_same_name(const uint8_t a[UUID_SIZE], const uint8_t b[UUID_SIZE])
{
    return memcmp(a, b, UUID_SIZE) == 0;
}

static void is_sound(const char *where, const char *what)
{
    unsigned findings;
    is_int(log_names_verify(where, &findings, NULL, 0), LOG_SOUND, "%s: verify finds it sound",
           what);
}

/* Opens it, leaves it as a crash would; its OPEN record says `words`. */
static void opens_saying(const char *where, const char *words)
{
    struct storage_opened opened;
    char reason[REASON_SIZE] = "";
    struct log *log = open_log(where);
    log_abandon(&log);
    ok(log_names_opened(where, &opened, reason, sizeof reason) && strstr(reason, words) != NULL,
       "the record of the opening says why: %s", reason);
    ok(!recover(where).moved, "from now on this is where it is written");
}

static void write_zeros(const char *where, uint64_t segment_no, uint64_t from, uint64_t size)
{
    char name[LOG_SEGMENT_NAME_SIZE], path[PATH_SIZE];
    segment_name(name, segment_no);
    snprintf(path, sizeof path, "%s/%s", where, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    uint8_t *zeros = calloc(1, size);
    if (fd < 0 || zeros == NULL || pwrite(fd, zeros, size, (off_t)from) != (ssize_t)size)
        tap_bail_out("cannot write %s", path);
    free(zeros);
    close(fd);
}

static void copy_file(const char *from, const char *to, const char *name)
{
    char path[PATH_SIZE];
    unsigned long size;
    snprintf(path, sizeof path, "%s/%s", from, name);
    unsigned char *bytes = scratch_read(path, &size);
    snprintf(path, sizeof path, "%s/%s", to, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
        tap_bail_out("cannot write %s", path);
    free(bytes);
    close(fd);
}

static void remove_file(const char *where, const char *name)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/%s", where, name);
    if (unlink(path) < 0)
        tap_bail_out("cannot remove %s", path);
}

/* An opening that was killed may have made it, and nothing that makes its name durable. */
static void made_before(void)
{
    begin_anew();
    if (mkdir(dir, 0700) < 0)
        tap_bail_out("cannot make %s", dir);
    sync_watch_begin(scratch_memory_dir());
    struct log *log = open_log(dir);
    ok(sync_watch_count() > 0, "the name of a directory that is there is made durable");
    close_log(log);
}

static void renamed(void)
{
    begin_anew();
    struct log *log = open_log(dir);
    append(log, 2, 100);
    log_abandon(&log);
    struct log_recovery before = recover(dir);
    ok(!before.moved, "a log is where it was written");
    if (rename(dir, copy) < 0)
        tap_bail_out("cannot rename %s", dir);
    struct log_recovery after = recover(copy);
    ok(!after.moved, "also under another name of the directory");
    log = open_log(copy);
    ok(is_same_name(log_uuid(log), before.log_uuid), "so it keeps its own");
    close_log(log);
    is_sound(copy, "renamed");
}

static void copied_after_close(void)
{
    begin_anew();
    struct log *log = open_log(dir);
    append(log, 2, 100);
    close_log(log);
    scratch_copy(dir, copy);
    struct log_recovery recovery = recover(copy);
    ok(recovery.moved && recovery.clean, "the copy of a stopped log is known for one");
    ok(strstr(recovery.reason, "moved or copied") != NULL, "recovery says so: %s", recovery.reason);
    is_sound(copy, "the copy");
    opens_saying(copy, "the directory was moved or copied");
    recovery = recover(copy);
    ok(!recovery.forked, "it goes on as it was");
    is_sound(copy, "after that");
}

/* A log that runs, and all of its directory as it is just now. */
static struct log *copied_live(void)
{
    begin_anew();
    struct log *log = open_log(dir);
    append(log, 3, 100);
    scratch_copy(dir, copy);
    return log;
}

static void copied_live_whole(void)
{
    struct log *log = copied_live();
    uint8_t uuid[UUID_SIZE];
    memcpy(uuid, log_uuid(log), UUID_SIZE);
    struct log_recovery recovery = recover(copy);
    ok(recovery.moved && !recovery.clean && recovery.verdict == LOG_SOUND,
       "the copy of a live log that misses nothing: %s", recovery.reason);
    ok(strstr(recovery.reason, "taken for a copy") != NULL, "recovery says what it is");
    opens_saying(copy, "the directory is a copy of a log that was not closed");
    struct log_recovery after = recover(copy);
    ok(after.forked && after.parent_seq == recovery.last_seq &&
           is_same_name(after.parent_uuid, uuid) &&
           memcmp(after.parent_chain, recovery.chain, SHA256_SIZE) == 0,
       "it goes on under a name of its own, behind what it has");
    is_sound(copy, "the copy");
    log_abandon(&log);
    log = open_log(dir);
    ok(is_same_name(log_uuid(log), uuid), "the log that was copied keeps its name");
    close_log(log);
    log = open_log(copy);
    is_int(log_names_count(copy), 2, "and the copy forks once");
    close_log(log);
    is_sound(copy, "opened again");
}

static void write_reader(const char *name, uint64_t flushed_seq)
{
    struct log_reader_position position = {
        .seq = flushed_seq + 1, .flushed_seq = flushed_seq, .time_ns = 5, .required = true
    };
    snprintf(position.name, sizeof position.name, "%s", name);
    memset(position.chain, 0xa5, sizeof position.chain);
    if (log_reader_position_write(copy, &position, true, &error) < 0)
        tap_bail_out("%s", error.text);
}

/* Its readers' files were copied last, and the readers had gone on meanwhile. */
static void copied_live_readers(void)
{
    struct log_reader_position *readers;
    size_t count;
    struct log *log = copied_live();
    log_abandon(&log);
    struct log_recovery recovery = recover(copy);
    write_reader("ahead", recovery.last_seq + 7);
    write_reader("behind", 2);
    log = open_log(copy);
    append(log, 5, 100);
    ok(log_durable_seq(log) > recovery.last_seq + 7, "the copy goes on with the same numbers");
    close_log(log);
    is_int(log_reader_positions(copy, &readers, &count, &error), 0, "its readers can be read");
    is_int(count, 2, "all of them");
    ok(readers[0].flushed_seq == recovery.last_seq && readers[0].seq == recovery.last_seq &&
           memcmp(readers[0].chain, recovery.chain, SHA256_SIZE) == 0,
       "none has what was written behind the fork");
    ok(readers[0].time_ns == 5 && readers[0].required, "else it stays as it was");
    ok(readers[1].flushed_seq == 2 && readers[1].seq == 3 && readers[1].chain[0] == 0xa5,
       "so does one that stands before it");
    free(readers);
}

/* The copy is refused, both for what is missing and with the way out, and nothing of it changes. */
static void is_refused(const char *what, uint64_t first_seq, uint64_t last_seq,
                       const struct log_witness *witness)
{
    struct log_options options = log_names_options(copy, io, &budget);
    struct log *log = NULL;
    char missing[64];
    snprintf(missing, sizeof missing, "events %llu to %llu", (unsigned long long)first_seq,
             (unsigned long long)last_seq);
    options.witnesses = witness;
    options.witness_count = witness != NULL;
    scratch_remove(before_dir);
    scratch_copy(copy, before_dir);
    is_int(log_open(&log, &options, NULL, &error), ERROR_DAMAGED, "%s: it is refused: %s", what,
           error.text);
    ok(strstr(error.text, missing) != NULL && strstr(error.text, "daa-log backup") != NULL &&
           strstr(error.text, "daa-log restore COPY NEW") != NULL,
       "%s: with what is missing (%s) and the way out", what, missing);
    ok(log_names_same_files(copy, before_dir), "%s: nothing is changed", what);
    if (witness != NULL)
        return;
    unsigned findings;
    char text[600] = "";
    is_int(log_names_verify(copy, &findings, text, sizeof text), LOG_UNPROVEN,
           "%s: verify calls it unproven, not damaged", what);
    ok(strstr(text, missing) != NULL && strstr(text, "daa-log backup") != NULL,
       "%s: and says the same", what);
}

static void copied_live_incomplete(void)
{
    struct log *log = copied_live();
    uint64_t last_seq = log_durable_seq(log);
    struct log_witness witness = { .name = "LMDB", .seq = last_seq + 5 };
    is_refused("LMDB knows more", last_seq + 1, last_seq + 5, &witness);
    append(log, 2, 100);
    uint64_t later_seq = log_durable_seq(log);
    close_log(log);
    copy_file(dir, copy, LOG_CHECKPOINT_NAME);
    is_refused("CHECKPOINT knows more", last_seq + 1, later_seq + 1, NULL);

    log = copied_live();
    log_abandon(&log);
    write_zeros(copy, 1, 2ull * LOG_BLOCK_SIZE, LOG_BLOCK_SIZE);
    is_refused("a later frame knows more", 2, 5, NULL);
    scratch_remove(copy);
    scratch_copy(dir, copy);
    remove_file(copy, LOG_PLACE_NAME);
    write_zeros(copy, 1, 2ull * LOG_BLOCK_SIZE, LOG_BLOCK_SIZE);
    unsigned findings;
    is_int(log_names_verify(copy, &findings, NULL, 0), LOG_DAMAGED,
           "where the log was written, the same is damage");
}

/* A segment was copied before the writer was done with it, the next one after. */
static void copied_over_a_roll(void)
{
    struct segment_header headers[8];
    begin_anew();
    struct log *log = open_log(dir);
    append(log, 12, 30000);
    scratch_copy(dir, copy);
    is_int(log_names_headers(copy, headers, 8), 3, "a log over rolls");
    log_abandon(&log);
    uint64_t end = headers[1].prev_end_offset;
    uint64_t last_seq = headers[1].prev_last_seq;
    write_zeros(copy, 1, end - LOG_BLOCK_SIZE, LOG_BLOCK_SIZE);
    is_refused("the end of an older segment is missing", last_seq, last_seq, NULL);

    write_zeros(copy, 2, LOG_BLOCK_SIZE, LOG_SEGMENT_SIZE_MIN - LOG_BLOCK_SIZE);
    remove_file(copy, "seg-0000000003.log");
    is_refused("and nothing follows", last_seq, last_seq, NULL);

    scratch_remove(copy);
    scratch_copy(dir, copy);
    write_zeros(copy, 2, 0, LOG_SEGMENT_SIZE_MIN);
    struct log_options options = log_names_options(copy, io, &budget);
    is_int(log_open(&log, &options, NULL, &error), ERROR_DAMAGED, "a whole segment is missing: %s",
           error.text);
    ok(strstr(error.text, "daa-log backup") != NULL, "with the way out");
    unsigned findings;
    is_int(log_names_verify(copy, &findings, NULL, 0), LOG_UNPROVEN, "verify calls it unproven");

    scratch_remove(copy);
    scratch_copy(dir, copy);
    write_zeros(copy, 3, 0, LOG_BLOCK_SIZE);
    is_int(log_open(&log, &options, NULL, &error), ERROR_DAMAGED,
           "a header is missing that was written while its file was copied: %s", error.text);
    ok(strstr(error.text, "daa-log backup") != NULL, "with the way out");
    is_int(log_names_verify(copy, &findings, NULL, 0), LOG_UNPROVEN, "verify calls it unproven");
}

static void copy_segments(uint64_t from, uint64_t to)
{
    char name[LOG_SEGMENT_NAME_SIZE];
    for (uint64_t segment_no = from; segment_no <= to; segment_no++) {
        segment_name(name, segment_no);
        copy_file(dir, copy, name);
    }
}

/* The copy took so long that the writer had stopped in order before its last files were copied. */
static void copied_until_close(void)
{
    struct segment_header headers[8];
    struct log *log = copied_live();
    uint64_t last_seq = log_durable_seq(log);
    append(log, 12, 30000);
    close_log(log);
    unsigned count = log_names_headers(dir, headers, 8);
    ok(count > 2, "a log that rolls and is closed");
    copy_segments(2, count);
    copy_file(dir, copy, LOG_CHECKPOINT_NAME);
    is_refused("its newest segment ends with CLOSE", last_seq + 1, headers[1].prev_last_seq, NULL);

    copy_segments(1, count);
    opens_saying(copy, "the directory was moved or copied");
    is_int(log_names_count(copy), 1, "with all of its segments it goes on as it was");
}

static void flip(const char *where, uint64_t segment_no, uint64_t offset)
{
    char name[LOG_SEGMENT_NAME_SIZE], path[PATH_SIZE];
    uint8_t byte;
    segment_name(name, segment_no);
    snprintf(path, sizeof path, "%s/%s", where, name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || pread(fd, &byte, 1, (off_t)offset) != 1)
        tap_bail_out("cannot read %s", path);
    byte ^= 1;
    if (pwrite(fd, &byte, 1, (off_t)offset) != 1)
        tap_bail_out("cannot write %s", path);
    close(fd);
}

/* Where a record stands, and how much its frame takes. */
static struct log_place place_of(const char *where, uint64_t seq, uint64_t *size)
{
    struct log_reader_options options = { .dir = where };
    struct log_reader *reader;
    struct log_place place, next;
    struct record record;
    if (log_reader_open(&reader, &options, &error) < 0 ||
        log_reader_get(reader, seq, &record, &place, &error) != 1 ||
        log_reader_get(reader, place.frame_last_seq + 1, &record, &next, &error) != 1)
        tap_bail_out("%s", error.text);
    *size = next.frame_offset - place.frame_offset;
    log_reader_close(reader);
    return place;
}

/* Blocks in the middle of a segment were written while its file was copied. */
static void copied_with_hole(bool closed)
{
    const char *what = closed ? "in the middle, closed" : "in the middle";
    uint64_t size;
    begin_anew();
    struct log *log = open_log(dir);
    append(log, 12, 30000);
    if (closed)
        close_log(log);
    else
        log_abandon(&log);
    scratch_copy(dir, copy);
    struct log_place place = place_of(copy, 4, &size);
    is_int(place.segment_no, 1, "%s: of an older segment", what);
    write_zeros(copy, 1, place.frame_offset, size);
    is_refused(what, 4, place.frame_last_seq, NULL);

    scratch_remove(copy);
    scratch_copy(dir, copy);
    flip(copy, 1, place.frame_offset + size / 2);
    struct log_options options = log_names_options(copy, io, &budget);
    is_int(log_open(&log, &options, NULL, &error), ERROR_DAMAGED, "%s: damage: %s", what,
           error.text);
    ok(strstr(error.text, "damaged at offset") != NULL, "%s: is not called missing", what);
}

/* Further back than recovery looks in a log that was not copied. */
static void copied_without_file(void)
{
    begin_anew();
    struct log *log = open_log(dir);
    append(log, 280, 30000);
    close_log(log);
    scratch_copy(dir, copy);
    remove_file(copy, "seg-0000000002.log");
    struct log_options options = log_names_options(copy, io, &budget);
    is_int(log_open(&log, &options, NULL, &error), ERROR_DAMAGED, "a file is missing: %s",
           error.text);
    remove_file(copy, "seg-0000000001.log");
    log = open_log(copy);
    ok(log_failure(log) == NULL, "but not when it is the log's beginning that is gone");
    close_log(log);
}

/* An older segment of a copy cannot be read where its last frame is. */
static void copied_unreadable(void)
{
    struct segment_header headers[8];
    begin_anew();
    struct log *log = open_log(dir);
    append(log, 12, 30000);
    close_log(log);
    scratch_copy(dir, copy);
    log_names_headers(copy, headers, 8);
    struct log_options options = log_names_options(copy, io, &budget);
    read_fault_set("copy/seg-0000000001.log", headers[1].prev_end_offset - LOG_BLOCK_SIZE, EIO);
    is_int(log_open(&log, &options, NULL, &error), -EIO, "what cannot be read fails: %s",
           error.text);
    read_fault_set(NULL, 0, 0);
    ok(strstr(error.text, "seg-0000000001.log") != NULL, "and the message names the file");
}

static void without_place(void)
{
    char path[PATH_SIZE];
    struct log *log = copied_live();
    log_abandon(&log);
    remove_file(copy, LOG_PLACE_NAME);
    ok(!recover(copy).moved, "without PLACE, as of old, a log is where it was written");
    log = open_log(copy);
    ok(log_names_exists(copy, LOG_PLACE_NAME), "and has one from the next opening on");
    log_abandon(&log);
    is_int(log_names_count(copy), 1, "under the same name");

    copy_file(dir, copy, LOG_PLACE_NAME);
    ok(recover(copy).moved, "with the PLACE of another directory it is not");
    snprintf(path, sizeof path, "%s/%s", copy, LOG_PLACE_NAME);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    unsigned long size;
    unsigned char *bytes = scratch_read(path, &size);
    unsigned caught = 0;
    for (unsigned long at = 0; at < size; at++) {
        unsigned char flipped = bytes[at] ^ 1;
        if (pwrite(fd, &flipped, 1, (off_t)at) != 1)
            tap_bail_out("cannot write %s", path);
        caught += !recover(copy).moved;
        if (pwrite(fd, &bytes[at], 1, (off_t)at) != 1)
            tap_bail_out("cannot write %s", path);
    }
    is_int(caught, (intmax_t)size, "a PLACE that is not whole says nothing");
    if (ftruncate(fd, 5) < 0)
        tap_bail_out("cannot cut %s", path);
    ok(!recover(copy).moved, "one that was cut neither");
    free(bytes);
    close(fd);

    scratch_remove(copy);
    log = open_log(copy);
    log_abandon(&log);
    copy_file(copy, dir, LOG_PLACE_NAME);
    ok(recover(dir).moved, "that of another log does not fit");
    remove_file(dir, LOG_PLACE_NAME);
    log = open_log(dir);
    log_abandon(&log);
    remove_file(dir, LOG_LOCK_NAME);
    ok(recover(dir).moved, "nor does a directory that lost LOCK");
}

/* The n-th op of the opening that makes a copy a fork fails; the next opening completes it. */
static void copy_cut_short(void)
{
    unsigned good = 0;
    int n = 0, result = -1;
    for (; result < 0; n++) {
        struct io_fault fault = { .countdown = n, .result = -EIO, .for_ever = true };
        struct io *broken;
        struct log *log = copied_live();
        log_abandon(&log);
        uint64_t last_seq = recover(copy).last_seq;
        if (io_open_fault(&broken, &fault) < 0)
            tap_bail_out("no engine");
        struct log_options options = log_names_options(copy, broken, &budget);
        log = NULL;
        result = log_open(&log, &options, NULL, &error);
        if (result == 0)
            log_abandon(&log);
        io_close(broken);
        log = open_log(copy);
        log_abandon(&log);
        struct log_recovery after = recover(copy);
        unsigned findings;
        good += log_names_count(copy) == 2 && after.forked && !after.moved &&
                after.parent_seq == last_seq && !log_names_exists(copy, LOG_FORK_NAME) &&
                log_names_verify(copy, &findings, NULL, 0) == LOG_SOUND;
    }
    ok(n > 2, "%d ops can fail when a copy is opened", n - 1);
    is_int(good, n, "whichever does: the copy has forked once when it is opened again");
}

/* All is durable but that the wish has come true, and the place under the new name. */
static void settled_late(void)
{
    struct log *log = copied_live();
    log_abandon(&log);
    struct fork_wish wish = { .exists = true, .bound = true, .why = "a test" };
    memcpy(wish.from, recover(copy).log_uuid, UUID_SIZE);
    scratch_copy(copy, before_dir);
    log = open_log(copy);
    log_abandon(&log);
    if (fork_write(copy, &wish, &error) < 0 || place_note(copy, wish.from, &error) < 0)
        tap_bail_out("%s", error.text);
    ok(!recover(copy).moved, "a place under the parent's name is the place");
    log = open_log(copy);
    log_abandon(&log);
    is_int(log_names_count(copy), 2, "and the wish is not taken twice");
    ok(!log_names_exists(copy, LOG_FORK_NAME), "but away");
}

/* The copy of a log whose newest name nothing was written under: it is passed over. */
static void unused_name(void)
{
    struct io_fault fault = { .countdown = 2, .result = -EIO, .for_ever = true };
    struct segment_header headers[8];
    struct io *broken;
    begin_anew();
    struct log *log = open_log(dir);
    append(log, 3, 100);
    close_log(log);
    struct log_recovery before = recover(dir);
    if (io_open_fault(&broken, &fault) < 0)
        tap_bail_out("no engine");
    struct log_options options = log_names_options(dir, broken, &budget);
    options.fork = true;
    ok(log_open(&log, &options, NULL, &error) < 0, "a fork dies before its first record");
    io_close(broken);
    is_int(log_names_headers(dir, headers, 8), 2, "its header is there");
    scratch_copy(dir, copy);
    opens_saying(copy, "copy of a log that was not closed");
    is_int(log_names_headers(copy, headers, 8), 3, "the copy forks behind it");
    ok(memcmp(headers[1].log_uuid, headers[2].log_uuid, UUID_SIZE) != 0 &&
           is_same_name(headers[2].parent_uuid, before.log_uuid) &&
           headers[2].parent_seq == before.last_seq,
       "with the parent that events were written under");
    is_sound(copy, "the copy");
    struct log_lineage lineage;
    is_int(log_lineage_read(&lineage, copy, &error), 0, "its lineage can be read: %s", error.text);
    ok(lineage.count == 2 && is_same_name(lineage.names[0].log_uuid, before.log_uuid) &&
           is_same_name(lineage.names[1].log_uuid, headers[2].log_uuid) &&
           lineage.names[1].first_seq == before.last_seq + 1 && !lineage.names[0].forked &&
           is_same_name(lineage.names[1].parent_uuid, before.log_uuid),
       "and leaves out the name that was not used");
    log_lineage_free(&lineage);
    log = open_log(dir);
    ok(is_same_name(log_uuid(log), headers[1].log_uuid), "the log itself takes up the name");
    close_log(log);
    is_sound(dir, "the log");
}

int main(void)
{
    budget_init(&budget, 1ull << 30);
    snprintf(dir, sizeof dir, "%s/log", scratch_memory_dir());
    snprintf(copy, sizeof copy, "%s/copy", scratch_memory_dir());
    snprintf(before_dir, sizeof before_dir, "%s/before", scratch_memory_dir());
    if (io_open_plain(&io) < 0)
        tap_bail_out("no engine");
    made_before();
    renamed();
    copied_after_close();
    copied_live_whole();
    copied_live_readers();
    copied_live_incomplete();
    copied_over_a_roll();
    copied_until_close();
    copied_with_hole(false);
    copied_with_hole(true);
    copied_without_file();
    copied_unreadable();
    without_place();
    copy_cut_short();
    settled_late();
    unused_name();
    log_commands_free(&commands);
    io_close(io);
    return tap_done();
}
