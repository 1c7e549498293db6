/* Logs of each format as they were first written, in t/golden: today's readers still read them, and
 * today's writer still writes the bytes of the newest.
 *
 * GOLDEN_WRITE=<dir> writes it anew, for a new version of the format; with GOLDEN_SEAL=1 sealed. */
#include "core/base/bytes.h"
#include "iouring/io.h"
#include "log/checkpoint.h"
#include "log/log.h"
#include "log/sealing.h"
#include "log/segment.h"
#include "log/verify.h"
#include "log_replay.h"
#include "scratch.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GOLDEN_1_0 "t/golden/log-1.0"
#define GOLDEN_1_1 "t/golden/log-1.1"
#define GOLDEN_SEALED "t/golden/log-1.1-sealed" /* the same, sealed by version 1 of that form */
#define TIME_NS 1700000000000000000u

static struct budget budget;

static void numbered_random(void *bytes, size_t size, void *context)
{
    uint64_t *state = context;
    for (size_t i = 0; i < size; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)bytes)[i] = (uint8_t)(*state >> 56);
    }
}

static void settle(struct log *log)
{
    while (log_durable_seq(log) + 1 < log_next_seq(log))
        if (log_wait(log, -1, UINT64_MAX) < 0)
            tap_bail_out("%s", log_failure(log));
}

/* One command of `count` events about a stream that the first one creates. */
static void append(struct log *log, uint32_t count, uint32_t size)
{
    static char text[70000];
    struct error error;
    uint64_t first_seq;
    while (log_reserve(log, count, (uint64_t)count * size, &first_seq) == ERROR_FULL) {
        settle(log);
        while (log_maintain(log, &error) == 1)
            ;
    }
    for (uint32_t i = 0; i < count; i++) {
        memset(text, 'a' + (int)((first_seq + i) % 26), sizeof text);
        struct record record = { .seq = first_seq + i,
                                 .stream = first_seq,
                                 .time_ns = TIME_NS + (first_seq + i) * 1000,
                                 .kind = (uint16_t)(16 + i),
                                 .cause = i > 0 ? first_seq : 0,
                                 .stream_prev_seq = i > 0 ? first_seq + i - 1 : 0,
                                 .payload = span_of(text, size) };
        log_append(log, &record);
    }
}

static struct log *open_log(const char *dir, struct io *io, uint64_t *random_state, bool fork)
{
    static const uint8_t boot_id[16] = "a boot of a test";
    struct log_options options = { .dir = dir,
                                   .io = io,
                                   .budget = &budget,
                                   .segment_size = LOG_SEGMENT_SIZE_MIN,
                                   .sync = LOG_SYNC_DSYNC,
                                   .maintain_inline = true,
                                   .allow_tmpfs = true,
                                   .start_time_ns = TIME_NS,
                                   .random = numbered_random,
                                   .random_context = random_state,
                                   .event_schema = 3,
                                   .fork = fork,
                                   .boot_id = boot_id };
    struct error error = { 0 };
    struct log *log;
    if (log_open(&log, &options, NULL, &error) < 0)
        tap_bail_out("%s", error.text);
    return log;
}

static void close_log(struct log *log)
{
    struct error error = { 0 };
    if (log_close(&log, &error) < 0)
        tap_bail_out("%s", error.text);
}

/* All kinds of frames: OPEN, one event, several commands in one, a run, SEAL, CLOSE; a second
 * epoch, and a third under another name. */
static void write_golden(const char *dir)
{
    uint64_t random_state = 1;
    struct io *io;
    if (io_open_plain(&io) < 0)
        tap_bail_out("no engine");
    struct log *log = open_log(dir, io, &random_state, false);
    append(log, 1, 0);
    settle(log);
    append(log, 1, 5);
    append(log, 3, 100);
    append(log, 1, 4000);
    settle(log);
    append(log, 3, 40000);
    settle(log);
    append(log, 2, 32000);
    settle(log);
    append(log, 1, 60000);
    settle(log);
    append(log, 2, 300);
    settle(log);
    close_log(log);
    log = open_log(dir, io, &random_state, false);
    append(log, 1, 20);
    settle(log);
    close_log(log);
    log = open_log(dir, io, &random_state, true);
    append(log, 1, 7);
    settle(log);
    close_log(log);
    io_close(io);
}

/* Seals what is over in `dir`. zstd may pack better one day, so the bytes are not compared. */
static int seal(const char *dir)
{
    struct directory directory;
    struct error error = { 0 };
    int count = 0, code = directory_open(&directory, dir, &error);
    struct sealing sealing = { .directory = &directory, .budget = &budget };
    for (size_t i = 0; code >= 0 && i < directory.count; i++) {
        code = sealing_segment(&sealing, i, &error);
        count += code == 1;
    }
    directory_close(&directory);
    if (code < 0)
        tap_bail_out("%s", error.text);
    return count;
}

static const char *const files[] = { "seg-0000000001.log", "seg-0000000002.log",
                                     "seg-0000000003.log", "seg-0000000004.log", "CHECKPOINT" };

/* Spares, LOCK and image are no part of a finished log. */
static void keep_files_only(const char *dir)
{
    static const char *const others[] = { "seg-0000000005.log", "seg-0000000006.log", "LOCK",
                                          "PLACE" };
    char path[4200];
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, others[i]);
        unlink(path);
    }
}

static void writer_writes_the_same(void)
{
    const char *dir = scratch_path("written");
    write_golden(dir);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[4200];
        unsigned long size, golden_size;
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unsigned char *bytes = scratch_read(path, &size);
        snprintf(path, sizeof path, "%s/%s", GOLDEN_1_1, files[i]);
        unsigned char *golden = scratch_read(path, &golden_size);
        is_int((intmax_t)size, (intmax_t)golden_size, "%s has the same size", files[i]);
        ok(size == golden_size && memcmp(bytes, golden, size) == 0, "and the same bytes");
        free(bytes);
        free(golden);
    }
}

struct seen {
    uint64_t records, payload_bytes, last_time_ns;
    bool right;
};

static void see(const struct record *record, void *context)
{
    struct seen *seen = context;
    seen->records++;
    if (record->kind <= LOG_KIND_OWN_MAX)
        return;
    seen->payload_bytes += record->payload.size;
    for (size_t i = 0; i < record->payload.size; i++)
        seen->right = seen->right && record->payload.bytes[i] == 'a' + record->seq % 26;
    seen->right = seen->right && record->time_ns == TIME_NS + record->seq * 1000;
}

static void readers_read_1_0(void)
{
    struct seen seen = { .right = true };
    struct log_replay replay;
    struct log_recovery recovery;
    struct error error = { 0 };
    ok(log_replay(GOLDEN_1_0, &replay, see, &seen), "every frame is as it was: %s", replay.fault);
    is_int((intmax_t)replay.segments, 3, "in three segments");
    is_int((intmax_t)replay.records, 20, "with 20 records, numbered from 1");
    is_int((intmax_t)replay.runs, 1, "one run of frames");
    is_int(replay.epoch, 2, "and two epochs");
    is_int((intmax_t)seen.payload_bytes, 5 + 300 + 4000 + 120000 + 64000 + 60000 + 600 + 20,
           "its payloads have their sizes");
    ok(seen.right, "and their bytes and times");
    is_int(log_recover(GOLDEN_1_0, NULL, 0, &recovery, &error), 0, "recovery takes it: %s",
           error.text);
    ok(recovery.clean && recovery.verdict == LOG_SOUND, "as sound, with a clean end");
    is_int((intmax_t)recovery.last_seq, 20, "at its last event");
    is_str(recovery.witness, "CHECKPOINT", "to which CHECKPOINT bears witness");
    is_int(recovery.format_minor, 0, "it is of format 1.0");
    is_int(recovery.event_schema, 1, "of event schema 1");
    ok(!recovery.forked && !recovery.moved, "without a parent, and where it was written");
}

static void readers_read_1_1(void)
{
    struct seen seen = { .right = true };
    struct log_replay replay;
    struct log_recovery recovery;
    struct log_verify_result result;
    struct log_verify_options options = { .dir = GOLDEN_1_1 };
    struct error error = { 0 };
    ok(log_replay(GOLDEN_1_1, &replay, see, &seen), "1.1: every frame is as it was: %s",
       replay.fault);
    is_int((intmax_t)replay.records, 23, "with 23 records");
    is_int(replay.epoch, 3, "and three epochs");
    ok(seen.right, "and their bytes and times");
    is_int(log_recover(GOLDEN_1_1, NULL, 0, &recovery, &error), 0, "recovery takes it: %s",
           error.text);
    ok(recovery.clean && recovery.verdict == LOG_SOUND, "as sound, with a clean end");
    is_int(recovery.format_minor, 1, "it is of format 1.1");
    is_int(recovery.event_schema, 3, "of event schema 3");
    ok(recovery.forked && recovery.parent_seq == 20, "its parent left behind event 20");
    is_int(log_verify(&options, &result, &error), 0, "it can be verified: %s", error.text);
    is_int((intmax_t)result.findings, 0, "without a finding");
}

static void readers_read_sealed(void)
{
    struct log_verify_result raw, sealed;
    struct log_verify_options options = { .dir = GOLDEN_1_1 };
    struct error error = { 0 };
    int code = log_verify(&options, &raw, &error);
    options.dir = GOLDEN_SEALED;
    if (code == 0)
        code = log_verify(&options, &sealed, &error);
    is_int(code, 0, "sealed: it can be verified: %s", error.text);
    ok(sealed.findings == 0 && sealed.sealed == 3, "three segments are, without a finding");
    ok(sealed.records == raw.records && sealed.payload_bytes == raw.payload_bytes &&
           memcmp(sealed.chain, raw.chain, SHA256_SIZE) == 0,
       "and it is the log of 1.1");
    const char *again = scratch_path("sealed");
    scratch_copy(GOLDEN_1_1, again);
    is_int(seal(again), 3, "today the same are sealed");
    options.dir = again;
    is_int(log_verify(&options, &sealed, &error), 0, "and read");
    is_mem(sealed.chain, raw.chain, SHA256_SIZE, "as the same log");
}

int main(void)
{
    const char *target = getenv("GOLDEN_WRITE");
    budget_init(&budget, 1ull << 30);
    if (target != NULL) {
        write_golden(target);
        keep_files_only(target);
        if (getenv("GOLDEN_SEAL") != NULL)
            (void)seal(target);
        return 0;
    }
    readers_read_sealed();
    readers_read_1_0();
    readers_read_1_1();
    writer_writes_the_same();
    return tap_done();
}
