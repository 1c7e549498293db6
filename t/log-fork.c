/* A log that goes on under another name: after an end of any kind, several times, with an opening
 * that is cut short at each of its steps; by an option and by the file FORK. And an older program
 * that must not write to it. */
#include "io_fault.h"
#include "io_power.h"
#include "log/fork.h"
#include "log/log.h"
#include "log_commands.h"
#include "log_names.h"
#include "scratch.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REASON_SIZE 1100

static struct budget budget;
static char dir[256], copy[256];
static struct log_commands commands;
static struct error error;

/* The end of the log, as a consumer would have stored it. */
struct mark {
    uint8_t uuid[UUID_SIZE];
    uint64_t seq;
    uint8_t chain[SHA256_SIZE];
};

static struct io *plain(void)
{
    struct io *io;
    if (io_open_plain(&io) < 0)
        tap_bail_out("no engine");
    return io;
}

/* One life of the log: opened with `options`, `count` commands, closed or abandoned. */
static int live(const struct log_options *options, unsigned count, bool close, struct mark *mark)
{
    struct log *log = NULL;
    int result = log_open(&log, options, NULL, &error);
    if (result < 0)
        return result;
    for (unsigned i = 0; i < count; i++)
        if (!log_commands_append(&commands, log, 1 + i % 3, 100 * i) || !log_commands_settle(log))
            tap_bail_out("%s", log_failure(log));
    memcpy(mark->uuid, log_uuid(log), UUID_SIZE);
    log_durable_mark(log, &mark->seq, mark->chain);
    if (!close)
        log_abandon(&log);
    else if (log_close(&log, &error) < 0)
        tap_bail_out("%s", error.text);
    return 0;
}

static void begin_anew(void)
{
    scratch_remove(dir);
    scratch_remove(copy);
    log_commands_free(&commands);
    commands.time_ns = LOG_NAMES_TIME_NS;
}

/* The same with the plain engine; it must open. */
static struct mark live_plain(unsigned count, bool fork, bool close)
{
    struct io *io = plain();
    struct log_options options = log_names_options(dir, io, &budget);
    struct mark mark;
    options.fork = fork;
    if (live(&options, count, close, &mark) < 0)
        tap_bail_out("%s", error.text);
    io_close(io);
    return mark;
}

static struct log_recovery recover(void)
{
    struct log_recovery recovery;
    if (log_recover(dir, NULL, 0, &recovery, &error) < 0)
        tap_bail_out("%s", error.text);
    return recovery;
}

static void is_sound(const char *what)
{
    unsigned findings;
    is_int(log_names_verify(dir, &findings, NULL, 0), LOG_SOUND, "%s: verify finds it sound", what);
    struct log_replay replay;
    ok(log_commands_match(&commands, dir, 0, &replay), "%s: every event is there once", what);
}

/* The newest OPEN record and recovery name this parent. */
static void has_parent(const char *what, const uint8_t uuid[UUID_SIZE], uint64_t seq,
                       const uint8_t chain[SHA256_SIZE])
{
    struct storage_opened opened = { .epoch = 0 };
    char reason[REASON_SIZE] = "";
    struct log_recovery recovery = recover();
    ok(log_names_opened(dir, &opened, reason, sizeof reason) && opened.parent_seq == seq &&
           memcmp(opened.parent_uuid, uuid, UUID_SIZE) == 0 &&
           memcmp(opened.parent_chain, chain, SHA256_SIZE) == 0,
       "%s: the record of the opening names the parent: %s", what, reason);
    ok(recovery.forked && recovery.parent_seq == seq &&
           memcmp(recovery.parent_uuid, uuid, UUID_SIZE) == 0 &&
           memcmp(recovery.parent_chain, chain, SHA256_SIZE) == 0,
       "%s: and so do its segments", what);
}

static bool is_same_name(const uint8_t a[UUID_SIZE], const uint8_t b[UUID_SIZE])
{
    return memcmp(a, b, UUID_SIZE) == 0;
}

/* The events that the reader gives under each name are those that were written under it. */
static void places_say_names(const uint8_t uuid[UUID_SIZE], uint64_t parent_seq)
{
    struct log_reader_options options = { .dir = dir, .verify_chain = true };
    struct log_reader *reader;
    struct record record;
    struct log_place place;
    if (log_reader_open(&reader, &options, &error) < 0)
        tap_bail_out("%s", error.text);
    uint64_t wrong = 0, read = 0, got_wrong = 0;
    while (log_reader_next(reader, &record, &place, &error) == 1) {
        read++;
        wrong += is_same_name(place.log_uuid, uuid) != (record.seq > parent_seq);
    }
    for (uint64_t seq = 1; seq <= read; seq++)
        got_wrong += log_reader_get(reader, seq, &record, &place, &error) != 1 ||
                     is_same_name(place.log_uuid, uuid) != (seq > parent_seq);
    ok(is_same_name(log_reader_uuid(reader), uuid), "a reader's uuid is the newest");
    ok(read > parent_seq && wrong == 0, "each event read is placed under the name of its segment");
    is_int((intmax_t)got_wrong, 0, "by its number too");
    log_reader_close(reader);
}

static void in_order(void)
{
    struct segment_header headers[16];
    begin_anew();
    live_plain(5, false, true);
    struct log_recovery before = recover();
    ok(!before.forked, "a new log has no parent");
    struct mark mark = live_plain(4, true, true);
    ok(!is_same_name(mark.uuid, before.log_uuid), "a fork has a name of its own");
    has_parent("after a clean end", before.log_uuid, before.last_seq, before.chain);
    places_say_names(mark.uuid, before.last_seq);
    is_sound("after a clean end");
    ok(!log_names_exists(dir, LOG_FORK_NAME), "no wish is left");

    struct mark again = live_plain(80, false, false);
    ok(is_same_name(again.uuid, mark.uuid), "the next opening keeps the name");
    has_parent("opened again", before.log_uuid, before.last_seq, before.chain);
    unsigned count = log_names_headers(dir, headers, 16), forked = 0;
    for (unsigned i = 0; i < count; i++)
        forked += segment_is_forked(&headers[i]) && headers[i].parent_seq == before.last_seq;
    ok(count > 4, "over rolls: %u segments", count);
    is_int(forked, count - 1, "each but the parent's names the parent");
    is_sound("opened again");
    struct log_recovery recovery = recover();
    ok(again.seq == recovery.last_seq && memcmp(again.chain, recovery.chain, SHA256_SIZE) == 0,
       "what log_durable_mark() said is what is there");

    struct mark twice = live_plain(0, true, true);
    recovery = recover();
    live_plain(1, true, false);
    has_parent("a fork of a fork", twice.uuid, recovery.last_seq, recovery.chain);
    is_int(log_names_count(dir), 4, "three forks make four names");
    is_sound("three forks");
}

/* Reads up to event `last_seq`, waiting for it. */
static void read_on(struct log_reader *reader, uint64_t last_seq, struct log_place *place)
{
    struct record record = { .seq = 0 };
    while (record.seq < last_seq) {
        int code = log_reader_next(reader, &record, place, &error);
        if (code < 0)
            tap_bail_out("%s", error.text);
        if (code == 0)
            (void)log_reader_wait(reader, 1000000000);
    }
    is_int((intmax_t)record.seq, (intmax_t)last_seq, "the reader gets what there is");
}

/* A reader that follows a log over a fork, live before and after. */
static void followed(void)
{
    struct log_reader_options reading = { .dir = dir, .verify_chain = true };
    struct log_reader *reader;
    struct log_place place;
    struct log *log = NULL;
    begin_anew();
    struct io *io = plain();
    struct log_options options = log_names_options(dir, io, &budget);
    for (int fork = 0; fork < 2; fork++) {
        options.fork = fork;
        if (log_open(&log, &options, NULL, &error) < 0 ||
            !log_commands_append(&commands, log, 3, 100) || !log_commands_settle(log))
            tap_bail_out("%s", error.text);
        if (!fork && log_reader_open(&reader, &reading, &error) < 0)
            tap_bail_out("%s", error.text);
        read_on(reader, log_durable_seq(log), &place);
        ok(log_reader_live(reader), "from the writer's image");
        ok(is_same_name(place.log_uuid, log_uuid(log)), "under the name of the log");
        ok(is_same_name(log_reader_uuid(reader), log_uuid(log)), "which is its own now");
        if (log_close(&log, &error) < 0)
            tap_bail_out("%s", error.text);
    }
    read_on(reader, recover().last_seq, &place);
    log_reader_close(reader);
    io_close(io);
    is_int(log_names_count(dir), 2, "over a fork");
}

/* The last write of the log is cut short after `bytes`. */
static void tear(int bytes)
{
    struct io_fault fault = { .countdown = -1, .result = bytes };
    struct io *io;
    struct log *log = NULL;
    if (io_open_fault(&io, &fault) < 0)
        tap_bail_out("no engine");
    struct log_options options = log_names_options(dir, io, &budget);
    if (log_open(&log, &options, NULL, &error) < 0)
        tap_bail_out("%s", error.text);
    (void)log_commands_append(&commands, log, 2, 100);
    (void)log_commands_settle(log);
    fault.countdown = 0;
    (void)log_commands_append(&commands, log, 2, 3000);
    ok(!log_commands_settle(log), "a write is cut short");
    log_abandon(&log);
    io_close(io);
}

static void newest_path(char *path, size_t size)
{
    char name[LOG_SEGMENT_NAME_SIZE];
    segment_name(name, recover().last_segment_no);
    snprintf(path, size, "%s/%s", dir, name);
}

static void at_other_ends(void)
{
    char path[4400];
    struct log_recovery before;
    begin_anew();
    live_plain(3, false, false);
    before = recover();
    ok(!before.clean && before.verdict == LOG_SOUND, "an end without CLOSE");
    live_plain(2, true, true);
    has_parent("after a sound end", before.log_uuid, before.last_seq, before.chain);
    is_sound("after a sound end");

    tear(512);
    before = recover();
    is_int(before.verdict, LOG_TORN, "a torn end: %s", before.reason);
    struct log_replay replay;
    ok(log_commands_match(&commands, dir, before.last_seq, &replay), "without the last command");
    live_plain(2, true, true);
    has_parent("after a torn end", before.log_uuid, before.last_seq, before.chain);
    is_sound("after a torn end");

    live_plain(2, false, false);
    newest_path(path, sizeof path);
    if (truncate(path, 128 << 10) < 0)
        tap_bail_out("cannot cut %s", path);
    before = recover();
    is_int(before.verdict, LOG_TORN, "the end of a file that is too short: %s", before.reason);
    live_plain(2, true, true);
    has_parent("after such an end", before.log_uuid, before.last_seq, before.chain);
}

static void at_a_damaged_end(void)
{
    char path[4400];
    struct mark mark;
    begin_anew();
    live_plain(3, false, true);
    newest_path(path, sizeof path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || pwrite(fd, "x", 1, 2 * LOG_BLOCK_SIZE + 200) != 1)
        tap_bail_out("cannot write %s", path);
    close(fd);
    scratch_copy(dir, copy);
    struct io *io = plain();
    struct log_options options = log_names_options(dir, io, &budget);
    options.fork = true;
    is_int(live(&options, 0, true, &mark), ERROR_DAMAGED, "a damaged end is no place to fork");
    ok(log_names_same_files(dir, copy), "and nothing is changed");
    io_close(io);
}

/* The wish as a file. */
static void by_file(void)
{
    struct fork_wish wish = { .bound = true, .why = "a test" };
    char path[4400];
    begin_anew();
    struct mark old = live_plain(3, false, true);
    struct log_recovery before = recover();
    is_int(log_fork_request(dir, &error), 0, "a fork is asked for: %s", error.text);
    is_int(log_fork_request(dir, &error), 0, "and asked for again");
    live_plain(2, false, true);
    ok(!log_names_exists(dir, LOG_FORK_NAME), "the next opening takes the wish");
    has_parent("asked for in FORK", old.uuid, before.last_seq, before.chain);
    is_int(log_names_count(dir), 2, "once");
    is_sound("asked for in FORK");

    memcpy(wish.from, old.uuid, UUID_SIZE);
    is_int(fork_write(dir, &wish, &error), 0, "a wish that has come true is there still");
    live_plain(2, true, true);
    ok(!log_names_exists(dir, LOG_FORK_NAME), "it is taken away");
    is_int(log_names_count(dir), 2, "and nothing forks again");
    has_parent("after that", old.uuid, before.last_seq, before.chain);

    snprintf(path, sizeof path, "%s/%s", dir, LOG_FORK_NAME);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        tap_bail_out("cannot make %s", path);
    close(fd);
    live_plain(1, false, true);
    is_int(log_names_count(dir), 3, "an empty FORK is a wish too");
    ok(!log_names_exists(dir, LOG_FORK_NAME), "and taken away");
    is_sound("after that");

    begin_anew();
    mkdir(dir, 0700);
    is_int(log_fork_request(dir, &error), 0, "a fork of what is yet to come: %s", error.text);
    live_plain(1, false, true);
    ok(!recover().forked && !log_names_exists(dir, LOG_FORK_NAME), "a new log has none to leave");
}

static void restored(void)
{
    char from[4400], to[4400];
    begin_anew();
    struct mark old = live_plain(3, false, false);
    mkdir(copy, 0700);
    is_int(log_fork_request(copy, &error), 0, "the wish is there before the segments");
    snprintf(from, sizeof from, "%s/seg-0000000001.log", dir);
    snprintf(to, sizeof to, "%s/seg-0000000001.log", copy);
    unsigned long size;
    unsigned char *bytes = scratch_read(from, &size);
    int fd = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
        tap_bail_out("cannot write %s", to);
    close(fd);
    free(bytes);
    scratch_remove(dir);
    rename(copy, dir);
    live_plain(1, false, true);
    has_parent("put back", old.uuid, old.seq, old.chain);
    is_sound("put back");
}

/* What is left of an opening that should fork and died: opened again without the option, it has
 * forked once or not at all. */
static bool forked_at_most_once(bool must, const struct log_recovery *before)
{
    struct log_replay replay;
    unsigned findings;
    struct mark mark = live_plain(2, false, true);
    unsigned names = log_names_count(dir);
    struct log_recovery after = recover();
    bool good = names == 2 ? after.forked && after.parent_seq == before->last_seq &&
                                 is_same_name(after.parent_uuid, before->log_uuid)
                           : names == 1 && !must && is_same_name(mark.uuid, before->log_uuid);
    if (!good)
        tap_note("%u names; forked %d", names, after.forked);
    return good && !log_names_exists(dir, LOG_FORK_NAME) &&
           log_names_verify(dir, &findings, NULL, 0) == LOG_SOUND &&
           log_commands_match(&commands, dir, before->last_seq, &replay);
}

/* The n-th op of the forking opening fails, for every n. */
static void cut_short_by_errors(int fault_result)
{
    unsigned good = 0, forked = 0;
    int n = 0, result = -1;
    for (; result < 0; n++) {
        struct io_fault fault = { .countdown = n, .result = fault_result, .for_ever = true };
        struct io *io;
        struct mark mark;
        begin_anew();
        live_plain(3, false, n % 2 == 0);
        struct log_recovery before = recover();
        if (io_open_fault(&io, &fault) < 0)
            tap_bail_out("no engine");
        struct log_options options = log_names_options(dir, io, &budget);
        options.fork = true;
        result = live(&options, 0, false, &mark);
        io_close(io);
        bool wished = log_names_exists(dir, LOG_FORK_NAME);
        forked += wished;
        good += forked_at_most_once(wished || result == 0, &before);
    }
    ok(n > 2, "the opening has %d ops that can fail with %d", n - 1, fault_result);
    is_int(good, n, "cut short at each of them it has forked once, or not at all");
    ok(forked > 0, "and often the wish is left to the next opening");
}

static void cut_short_by_power(void)
{
    unsigned good = 0, tried = 0, lost = 0;
    for (uint64_t seed = 1; seed <= 24; seed++) {
        for (uint64_t ops = 0; ops < 5; ops++, tried++) {
            struct io *io;
            struct mark mark;
            begin_anew();
            live_plain(3, false, seed % 2 == 0);
            struct log_recovery before = recover();
            if (io_open_power(&io, seed) < 0)
                tap_bail_out("no engine");
            io_power_fail_after(io, ops);
            struct log_options options = log_names_options(dir, io, &budget);
            options.fork = true;
            int result = live(&options, 0, false, &mark);
            io_power_crash(io);
            io_close(io);
            lost += result < 0;
            good +=
                forked_at_most_once(log_names_exists(dir, LOG_FORK_NAME) || result == 0, &before);
        }
    }
    is_int(good, tried, "whenever power fails it has forked once, or not at all");
    ok(lost > 24 && lost < tried, "%u of %u openings were cut short", lost, tried);
}

/* Segment 2 of the copy gets this header. */
static void forge(const struct segment_header *header)
{
    char path[4400];
    uint8_t block[LOG_BLOCK_SIZE];
    scratch_remove(copy);
    scratch_copy(dir, copy);
    snprintf(path, sizeof path, "%s/seg-0000000002.log", copy);
    segment_header_encode(block, header);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || pwrite(fd, block, sizeof block, 0) != (ssize_t)sizeof block)
        tap_bail_out("cannot write %s", path);
    close(fd);
}

/* How the reader ends; *skipped counts the ranges it passes over, and NULL lets it pass none. */
static int read_all(const char *where, uint64_t *skipped)
{
    struct log_reader_options options = { .dir = where, .skip_damage = skipped != NULL };
    struct log_reader *reader;
    struct record record;
    int code = log_reader_open(&reader, &options, &error);
    if (code < 0)
        return code;
    while ((code = log_reader_next(reader, &record, NULL, &error)) == 1)
        continue;
    if (skipped != NULL)
        *skipped = log_reader_skipped(reader);
    log_reader_close(reader);
    return code;
}

/* Another name is right only where the log forked. */
static void foreign_segments(void)
{
    static const char *const names[] = { "another log", "without its parent", "left earlier",
                                         "left another history", "left another log" };
    struct segment_header headers[4];
    begin_anew();
    live_plain(2, false, false);
    live_plain(2, true, true);
    is_int(log_names_headers(dir, headers, 4), 2, "a fork of two segments");
    forge(&headers[1]);
    uint64_t skipped;
    is_int(read_all(copy, NULL), 0, "as it is, it can be read");
    ok(read_all(copy, &skipped) == 0 && skipped == 0, "and nothing is passed over");
    for (int i = 0; i < 5; i++) {
        struct segment_header header = headers[1];
        struct log_recovery recovery;
        char text[600] = "";
        unsigned findings;
        if (i == 0)
            memset(header.log_uuid, 0x77, UUID_SIZE);
        if (i <= 1) {
            header.incompat = 0;
            header.parent_seq = 0;
            memset(header.parent_uuid, 0, UUID_SIZE);
            memset(header.parent_chain, 0, SHA256_SIZE);
        }
        header.parent_seq -= i == 2;
        header.parent_chain[5] ^= i == 3;
        header.parent_uuid[5] ^= i == 4;
        forge(&header);
        is_int(log_recover(copy, NULL, 0, &recovery, &error), ERROR_MISMATCH,
               "%s: recovery refuses it: %s", names[i], error.text);
        ok(read_all(copy, NULL) < 0, "%s: a reader does not go on: %s", names[i], error.text);
        ok(read_all(copy, &skipped) == 0 && skipped == 1,
           "%s: one that passes over damage counts it", names[i]);
        is_int(log_names_verify(copy, &findings, text, sizeof text), LOG_DAMAGED,
               "%s: it is reported: %s", names[i], text);
    }
}

static void older_programs(void)
{
    struct log_recovery recovery;
    struct mark mark;
    begin_anew();
    struct io *io = plain();
    struct log_options options = log_names_options(dir, io, &budget);
    options.event_schema = 5;
    if (live(&options, 2, false, &mark) < 0)
        tap_bail_out("%s", error.text);
    scratch_copy(dir, copy);
    for (uint16_t schema = 0; schema < 5; schema += 2) {
        options.event_schema = schema;
        is_int(live(&options, 0, false, &mark), ERROR_NEWER,
               "a program for schema %u is refused: %s", schema, error.text);
    }
    options.fork = true;
    is_int(live(&options, 0, false, &mark), ERROR_NEWER, "and may not fork either");
    ok(strstr(error.text, "schema 5") != NULL && strstr(error.text, "up to 4") != NULL,
       "it is told both versions");
    ok(log_names_same_files(dir, copy), "nothing is changed");
    is_int(log_recover(dir, NULL, 0, &recovery, &error), 0, "it may be read");
    is_int(recovery.event_schema, 5, "and says what it needs");
    options.fork = false;
    options.event_schema = 5;
    is_int(live(&options, 1, true, &mark), 0, "a program for schema 5 goes on");
    options.event_schema = 6;
    is_int(live(&options, 1, true, &mark), 0, "a newer one too");
    options.event_schema = 5;
    is_int(live(&options, 1, true, &mark), ERROR_NEWER, "after which the older one may not");
    io_close(io);
    is_sound("after that");
}

int main(void)
{
    budget_init(&budget, 1ull << 30);
    snprintf(dir, sizeof dir, "%s/log", scratch_memory_dir());
    snprintf(copy, sizeof copy, "%s/copy", scratch_memory_dir());
    in_order();
    followed();
    at_other_ends();
    at_a_damaged_end();
    by_file();
    restored();
    cut_short_by_errors(-EIO);
    cut_short_by_errors(1024);
    cut_short_by_power();
    foreign_segments();
    older_programs();
    log_commands_free(&commands);
    is_int((intmax_t)atomic_load(&budget.used), 0, "all memory went back to the budget");
    return tap_done();
}
