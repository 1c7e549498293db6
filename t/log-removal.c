/* Segments of a log are told and removed from the oldest on, beside readers, a verification and a
 * writer, and again after a removal that did not come to its end. */
#include "log/removal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log/log.h"
#include "log/reader.h"
#include "log/verify.h"
#include "log_commands.h"
#include "log_maker.h"
#include "scratch.h"
#include "tap.h"

#define CAPACITY (256u << 10)
#define SEGMENTS 6
#define EVENTS 13 /* of each segment, with SEAL; the first has OPEN more */

static struct log_maker maker;
static const char *dir;
static struct error error;

/* Six segments, the last one without SEAL, and a spare. */
static void make_log(void)
{
    dir = scratch_path("log");
    scratch_remove(dir);
    log_maker_init(&maker, CAPACITY);
    for (int segment = 0; segment < SEGMENTS; segment++) {
        if (segment == 0)
            log_maker_open(&maker);
        for (int i = 0; i < 4; i++) {
            maker.durable_seq = maker.next_seq - 1;
            log_maker_frame(&maker, 0, 3, 1000);
        }
        if (segment < SEGMENTS - 1)
            log_maker_seal(&maker, FRAME_SEAL);
        log_maker_write(&maker, dir);
        if (segment < SEGMENTS - 1)
            log_maker_next(&maker, 0);
    }
    log_maker_write_spare(dir, SEGMENTS + 1, CAPACITY);
}

static uint64_t first_seq_of(unsigned segment)
{
    return segment == 1 ? 1 : 2 + (segment - 1) * EVENTS;
}

static void end(void)
{
    log_maker_free(&maker);
    scratch_remove(dir);
}

static char *segment_path(unsigned number)
{
    char name[64];
    snprintf(name, sizeof name, "log/seg-%010u.log", number);
    char *path = strdup(scratch_path(name));
    if (path == NULL)
        tap_bail_out("no memory");
    return path;
}

static bool is_there(unsigned number)
{
    char *path = segment_path(number);
    bool there = access(path, F_OK) == 0;
    free(path);
    return there;
}

static void remove_by_hand(unsigned number)
{
    char *path = segment_path(number);
    if (unlink(path) < 0)
        tap_bail_out("cannot remove %s", path);
    free(path);
}

/* Listing. */

static struct log_verify_result verify_log(void)
{
    struct log_verify_options options = { .dir = dir };
    struct log_verify_result result;
    if (log_verify(&options, &result, &error) < 0)
        tap_note("%s", error.text);
    return result;
}

struct listed {
    struct log_segment items[16];
    unsigned count;
};

static void take(const struct log_segment *segment, void *context)
{
    struct listed *listed = context;
    if (listed->count < 16)
        listed->items[listed->count++] = *segment;
}

static void test_list(void)
{
    struct listed listed = { .count = 0 };
    make_log();
    is_int(log_segments(dir, take, &listed, &error), 0, "the segments of a log are told");
    is_int(listed.count, SEGMENTS, "all that were begun, without the spare");
    bool right = true;
    for (unsigned i = 0; i < SEGMENTS; i++) {
        const struct log_segment *segment = &listed.items[i];
        uint64_t last = i + 1 < SEGMENTS ? first_seq_of(i + 2) - 1 : 0;
        right = right && segment->segment_no == i + 1 &&
                segment->first_seq == first_seq_of(i + 1) && segment->last_seq == last &&
                segment->newest == (i + 1 == SEGMENTS) && segment->disk_bytes >= 8192;
    }
    ok(right, "the oldest first, with their events and bytes; the newest has no last one yet");
    ok(listed.items[1].created_ns < listed.items[4].created_ns, "and when they were begun");
    listed.count = 0;
    is_int(log_segments(scratch_dir(), take, &listed, &error), 0, "a data directory will do");
    is_int(listed.count, SEGMENTS, "as well");
    remove_by_hand(3);
    listed.count = 0;
    is_int(log_segments(dir, take, &listed, &error), ERROR_DAMAGED, "a hole is an error");
    is_int(listed.count, 0, "and nothing is told");
    ok(strstr(error.text, "seg-0000000003.log") != NULL, "but what is missing: %s", error.text);
    end();
    make_log();
    char *path = segment_path(1);
    FILE *file = fopen(path, "r+b");
    if (file == NULL || fseek(file, 40, SEEK_SET) != 0 || fputc(9, file) == EOF ||
        fclose(file) != 0)
        tap_bail_out("cannot patch %s", path);
    is_int(log_segments(dir, take, &listed, &error), ERROR_DAMAGED,
           "so is a header that is not whole");
    free(path);
    end();
    make_log();
    struct segment_header header = maker.header;
    uint8_t block[LOG_BLOCK_SIZE];
    header.segment_no = 2;
    header.first_seq = 1;
    header.prev_segment_no = header.prev_last_seq = header.prev_end_offset = header.durable_seq = 0;
    segment_header_encode(block, &header);
    path = segment_path(2);
    file = fopen(path, "r+b");
    if (file == NULL || fwrite(block, sizeof block, 1, file) != 1 || fclose(file) != 0)
        tap_bail_out("cannot patch %s", path);
    is_int(log_segments(dir, take, &listed, &error), ERROR_DAMAGED,
           "so is one that says that the log begins with it: %s", error.text);
    ok(strstr(error.text, "seg-0000000002.log") != NULL, "by its name");
    is_int(verify_log().verdict, LOG_DAMAGED, "verify finds it too");
    free(path);
    end();
    is_int(log_segments(scratch_path("nowhere"), take, &listed, &error), -ENOENT,
           "a directory that is not there is said");
}

/* Removing. */

static void test_remove(void)
{
    struct log_removed removed;
    make_log();
    is_int(log_remove_before(dir, 1, &removed, &error), 0, "nothing below the first");
    is_int(removed.segments, 0, "is removed");
    is_int(log_remove_before(dir, 3, &removed, &error), 0, "the segments below a number are");
    ok(removed.segments == 2 && removed.first_segment == 1 && removed.last_segment == 2 &&
           removed.disk_bytes >= 16384,
       "and counted");
    ok(!is_there(1) && !is_there(2) && is_there(3), "they are gone, and no other");
    struct log_verify_result result = verify_log();
    ok(result.verdict == LOG_SOUND && result.begins_late && result.first_seq == first_seq_of(3),
       "what is left is sound and begins late");
    is_int(log_remove_before(dir, 3, &removed, &error), 0, "once more");
    is_int(removed.segments, 0, "there is nothing to do");
    is_int(log_remove_before(dir, UINT64_MAX, &removed, &error), 0, "whatever is asked for");
    ok(removed.last_segment == SEGMENTS - 1 && is_there(SEGMENTS) && is_there(SEGMENTS + 1),
       "the newest segment and the spare stay");
    result = verify_log();
    ok(result.verdict == LOG_SOUND && result.last_seq == maker.next_seq - 1,
       "and the log still ends with its last event");
    end();
}

/* A process that dies in the middle has removed the oldest only. */
static void test_crash(void)
{
    struct log_removed removed;
    for (unsigned done = 0; done <= 4; done++) {
        make_log();
        for (unsigned i = 1; i <= done; i++)
            remove_by_hand(i);
        struct log_verify_result result = verify_log();
        ok(result.verdict == LOG_SOUND && result.first_seq == first_seq_of(done + 1),
           "a removal that ended after %u of 4 segments leaves a sound log", done);
        is_int(log_remove_before(dir, 5, &removed, &error), 0, "the same again");
        ok(removed.segments == 4 - done && !is_there(4) && is_there(5), "does the rest");
        end();
    }
}

/* An opening that died behind its header, before its first frame. */
static void test_no_frame(void)
{
    make_log();
    log_maker_next(&maker, 1);
    log_maker_write(&maker, dir);
    is_int(log_remove_before(dir, UINT64_MAX, NULL, &error), 0, "all that may go goes");
    ok(!is_there(SEGMENTS - 1) && is_there(SEGMENTS) && is_there(SEGMENTS + 1),
       "but the segment before one that holds no frame stays");
    struct log_recovery recovery;
    is_int(log_recover(dir, NULL, 0, &recovery, &error), 0, "the log is recovered");
    ok(recovery.last_time_ns == maker.last_time_ns && recovery.prev_link != 0,
       "with the time of its last event and a link to it");
    end();
}

/* Reading meanwhile. */

static struct log_reader *open_reader(bool skip_damage)
{
    struct log_reader *reader = NULL;
    struct log_reader_options options = { .dir = dir,
                                          .skip_damage = skip_damage,
                                          .verify_chain = true };
    if (log_reader_open(&reader, &options, &error) < 0)
        tap_bail_out("%s", error.text);
    return reader;
}

/* Reads on while there is something, from event `from` on without a gap; the last one's number. */
static uint64_t read_on(struct log_reader *reader, uint64_t from, int *code)
{
    struct record record;
    uint64_t last = from - 1;
    bool whole = true;
    while ((*code = log_reader_next(reader, &record, NULL, &error)) == 1) {
        whole =
            whole && record.seq == last + 1 && (record.kind < 16 || record.payload.size == 1000);
        last = record.seq;
    }
    ok(whole, "events %llu to %llu come in order and whole", (unsigned long long)from,
       (unsigned long long)last);
    return last;
}

static void read_some(struct log_reader *reader, uint64_t count)
{
    struct record record;
    for (uint64_t i = 0; i < count; i++)
        if (log_reader_next(reader, &record, NULL, &error) != 1)
            tap_bail_out("%s", error.text);
}

static void test_reader(bool skip_damage)
{
    int code;
    make_log();
    struct log_reader *reader = open_reader(skip_damage);
    read_some(reader, 5);
    log_remove_before(dir, 2, NULL, &error);
    read_some(reader, EVENTS);
    log_remove_before(dir, 5, NULL, &error);
    is_int(read_on(reader, 5 + EVENTS + 1, &code), first_seq_of(3) - 1,
           "a reader in the middle of a removed segment reads it to its end");
    is_int(code, ERROR_NOT_FOUND, "what was removed behind it is not found");
    char first[64];
    snprintf(first, sizeof first, "begins with event %llu", (unsigned long long)first_seq_of(5));
    ok(strstr(error.text, first) != NULL, "and it is said where the log begins: %s", error.text);
    struct record record;
    is_int(log_reader_next(reader, &record, NULL, &error), ERROR_NOT_FOUND, "that stays");
    is_int(log_reader_first_seq(reader), first_seq_of(5), "its first event is known");
    is_int(log_reader_seek(reader, first_seq_of(5), &error), 0, "from there");
    is_int(read_on(reader, first_seq_of(5), &code), maker.next_seq - 1, "it reads on");
    is_int(code, 0, "to the end");
    is_int(log_reader_skipped(reader), 0, "and nothing counts as damage");
    is_int(log_reader_seek(reader, 1, &error), ERROR_NOT_FOUND, "seek knows it too");
    log_reader_close(reader);
    end();
}

/* Where only what was read already is removed, nobody notices. */
static void test_reader_ahead(void)
{
    int code;
    make_log();
    struct log_reader *reader = open_reader(false);
    read_some(reader, first_seq_of(3) - 1); /* the last of segment 2, before it is left */
    log_remove_before(dir, 3, NULL, &error);
    is_int(read_on(reader, first_seq_of(3), &code), maker.next_seq - 1,
           "a reader that wants nothing of it reads on to the end");
    is_int(code, 0, "without an error");
    log_reader_close(reader);
    reader = open_reader(false);
    log_remove_before(dir, 4, NULL, &error);
    is_int(read_on(reader, first_seq_of(4), &code), maker.next_seq - 1,
           "one that had not begun begins where the log does now");
    log_reader_close(reader);
    end();
}

static void test_points(void)
{
    struct record record;
    make_log();
    struct log_reader *reader = open_reader(false);
    is_int(log_reader_get(reader, 3, &record, NULL, &error), 1, "an event is found by its number");
    log_remove_before(dir, 4, NULL, &error);
    ok(log_reader_get(reader, 4, &record, NULL, &error) == 1 && record.seq == 4 &&
           record.payload.size == 1000,
       "from a segment that is open also when it was removed");
    is_int(log_reader_get(reader, first_seq_of(3), &record, NULL, &error), 0,
           "one of another segment is not there any more");
    is_int(log_reader_get(reader, first_seq_of(4), &record, NULL, &error), 1, "a later one is");
    log_reader_trim(reader);
    is_int(log_reader_get(reader, 4, &record, NULL, &error), 0,
           "once what was removed is let go, it is gone");
    is_int(log_reader_get(reader, first_seq_of(5), &record, NULL, &error), 1, "but not the rest");
    log_reader_close(reader);
    end();
}

/* Verifying meanwhile. */

struct watching {
    uint64_t records, last_seq;
    uint64_t at, below; /* at this event, the segments below that number are removed */
    bool ordered;
};

static void watch(const struct record *record, void *context)
{
    struct watching *watching = context;
    watching->records++;
    watching->ordered = watching->ordered && record->seq > watching->last_seq;
    watching->last_seq = record->seq;
    if (record->seq == watching->at)
        log_remove_before(dir, watching->below, NULL, &error);
}

static void test_verify(void)
{
    struct watching watching = { .ordered = true };
    struct log_verify_options options = { .record = watch, .context = &watching };
    struct log_verify_result result;
    make_log();
    options.dir = dir;
    is_int(log_verify(&options, &result, &error), 0, "a log is verified");
    ok(watching.ordered && watching.records == maker.next_seq - 1, "with each record shown");
    is_int(result.first_seq, 1, "it begins with event 1");
    for (unsigned in = 1; in <= 3; in++) {
        watching = (struct watching){ .ordered = true, .at = first_seq_of(in) + 4, .below = 5 };
        is_int(log_verify(&options, &result, &error), 0, "while segments are removed, too");
        is_int(result.verdict, LOG_SOUND, "and found sound");
        ok(result.shortened && result.begins_late && result.first_seq == first_seq_of(5) &&
               result.last_seq == maker.next_seq - 1,
           "it then begins where it did in the end");
        log_maker_free(&maker);
        make_log();
    }
    end();
}

/* Beside a writer. */

static struct budget budget;

static struct log *open_log(struct io *io)
{
    struct log_options options = { .dir = dir,
                                   .io = io,
                                   .budget = &budget,
                                   .segment_size = CAPACITY,
                                   .sync = LOG_SYNC_DSYNC,
                                   .allow_tmpfs = true,
                                   .maintain_inline = true };
    struct log *log;
    if (log_open(&log, &options, NULL, &error) < 0)
        tap_bail_out("%s", error.text);
    return log;
}

static uint64_t newest_segment(struct log *log)
{
    struct log_stats stats;
    log_stats_get(log, &stats);
    return stats.segment_no;
}

/* Writes until so many segments more were begun; with `image`, the last one's is made known. */
static void roll(struct log_commands *commands, struct log *log, uint64_t segments, bool image)
{
    uint64_t goal = newest_segment(log) + segments;
    while (newest_segment(log) < goal)
        if (!log_commands_append(commands, log, 8, 1000) || !log_commands_settle(log))
            tap_bail_out("the log takes no writes");
    while (image && log_maintain(log, &error) > 0)
        continue;
}

/* Without an image readers see what the files prove. */
static void test_live(bool image)
{
    struct log_commands commands = { .time_ns = 1 };
    struct log_removed removed;
    struct io *io;
    char path[256];
    int code;
    snprintf(path, sizeof path, "%s/log", scratch_memory_dir());
    dir = path;
    budget_init(&budget, 1ull << 30);
    if (io_open_plain(&io) < 0)
        tap_bail_out("no engine");
    struct log *log = open_log(io);
    roll(&commands, log, 1, image);
    struct log_reader *idle = open_reader(false), *follower = open_reader(false);
    uint64_t idle_at = read_on(idle, 1, &code);
    uint64_t at = read_on(follower, 1, &code);
    ok(log_reader_live(idle) == image && log_reader_live(follower) == image,
       "two readers follow a writer %s its image", image ? "by" : "without");
    for (int i = 0; i < 3; i++) {
        roll(&commands, log, 2, image);
        at = read_on(follower, at + 1, &code);
        log_remove_before(dir, newest_segment(log), &removed, &error);
        ok(removed.segments >= 2 && code == 0 && (!image || at == log_durable_seq(log)),
           "one of them follows over removals");
    }
    read_on(idle, idle_at + 1, &code);
    is_int(code, ERROR_NOT_FOUND, "the other was idle and learns that what it wants is gone");
    uint64_t first_seq = log_reader_first_seq(idle);
    ok(first_seq > idle_at, "and where the log begins");
    is_int(log_reader_seek(idle, first_seq, &error), 0, "it goes there");
    is_int(read_on(idle, first_seq, &code), at, "and is as far as the other");
    log_reader_close(idle);
    log_reader_close(follower);
    is_int(log_close(&log, &error), 0, "the writer has noticed nothing");
    log = open_log(io);
    roll(&commands, log, 1, image);
    is_int(log_close(&log, &error), 0, "and a log whose beginning is gone is written on");
    struct log_verify_result result = verify_log();
    ok(result.verdict == LOG_SOUND && result.first_seq == first_seq, "and sound");
    log_commands_free(&commands);
    io_close(io);
    scratch_remove(dir);
}

/* Reads from wherever the log begins, and asks for an event. 0 or ERROR_NOT_FOUND is good. */
static int read_once(unsigned *seed)
{
    struct log_reader_options options = { .dir = dir };
    struct log_reader *reader;
    struct record record;
    uint64_t last = 0;
    int code = log_reader_open(&reader, &options, &error);
    if (code < 0)
        return code;
    while ((code = log_reader_next(reader, &record, NULL, &error)) == 1) {
        if (last != 0 && record.seq != last + 1)
            code = error_set(&error, ERROR_INVALID, "event %llu follows %llu",
                             (unsigned long long)record.seq, (unsigned long long)last);
        last = record.seq;
    }
    uint64_t seq = 1 + (unsigned)rand_r(seed) % (log_reader_durable_seq(reader) + 1);
    if (code == 0 || code == ERROR_NOT_FOUND)
        code = log_reader_get(reader, seq, &record, NULL, &error);
    if (code == 1)
        code = record.seq == seq ? 0 : error_set(&error, ERROR_INVALID, "another event");
    log_reader_close(reader);
    return code;
}

static void say(const struct log_finding *finding, void *context)
{
    (void)context;
    fprintf(stderr, "# %s at %llu: %s\n", finding->file, (unsigned long long)finding->offset,
            finding->text);
}

/* In a process of its own: reads and verifies until the file `done` is there. 0, or 1 when anything
 * else is heard of than events, or that some are not there any more. */
static int read_for_ever(const char *done)
{
    unsigned seed = 1;
    for (uint64_t reads = 0; access(done, F_OK) < 0 || reads == 0; reads++) {
        struct log_verify_options options = { .dir = dir, .finding = say };
        struct log_verify_result result = { .verdict = LOG_SOUND };
        int code = read_once(&seed);
        if (code == 0 || code == ERROR_NOT_FOUND)
            code = log_verify(&options, &result, &error);
        if (code < 0 || result.verdict != LOG_SOUND) {
            fprintf(stderr, "# %d: %s\n", code, error.text);
            return 1;
        }
    }
    return 0;
}

static void test_race(void)
{
    struct log_commands commands = { .time_ns = 1 };
    struct io *io;
    int status;
    char path[256], done[300];
    snprintf(path, sizeof path, "%s/log", scratch_memory_dir());
    snprintf(done, sizeof done, "%s/done", scratch_memory_dir());
    dir = path;
    budget_init(&budget, 1ull << 30);
    if (io_open_plain(&io) < 0)
        tap_bail_out("no engine");
    struct log *log = open_log(io);
    roll(&commands, log, 5, true);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        _exit(read_for_ever(done));
    for (int i = 0; child > 0 && i < 100; i++) {
        roll(&commands, log, 1, true);
        log_remove_before(dir, newest_segment(log) - 2, NULL, &error);
    }
    FILE *file = fopen(done, "w");
    if (child < 0 || file == NULL || fclose(file) != 0 || waitpid(child, &status, 0) != child)
        tap_bail_out("no other process");
    ok(WIFEXITED(status) && WEXITSTATUS(status) == 0,
       "another process reads and verifies beside a hundred removals");
    is_int(log_close(&log, &error), 0, "and the writer ends in order");
    log_commands_free(&commands);
    io_close(io);
    scratch_remove(dir);
    scratch_remove(done);
}

int main(void)
{
    test_list();
    test_remove();
    test_crash();
    test_no_frame();
    test_reader(false);
    test_reader(true);
    test_reader_ahead();
    test_points();
    test_verify();
    test_live(true);
    test_live(false);
    test_race();
    return tap_done();
}
