/* The public face of the log: what it refuses and how, batches that refer to themselves, structs of
 * other versions, time, and threads. */
#include "log/daalog.h"

#include "log/log.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scratch.h"
#include "tap.h"

#define SEGMENT_SIZE (256u << 10)

static const char *dir;
static char why[DAALOG_WHY_SIZE];

static struct daalog *open_log(void)
{
    struct daalog *log = NULL;
    struct daalog_options options = { .size = sizeof options, .segment_size = SEGMENT_SIZE };
    is_int(daalog_open(&log, dir, &options, why, sizeof why), 0, "the log opens");
    is_str(why, "", "without a complaint");
    return log;
}

static struct daalog_event event_of(const char *text)
{
    return (struct daalog_event){ .kind = DAALOG_KIND_FIRST,
                                  .payload = text,
                                  .payload_size = strlen(text) };
}

static void test_batch(void)
{
    struct daalog *log = open_log();
    struct daalog_event batch[3] = { event_of("a"), event_of("b"), event_of("") }, event;
    uint64_t first = 0;
    batch[0].stream = batch[1].stream = DAALOG_IN_BATCH(0);
    batch[1].stream_prev_seq = batch[2].cause = DAALOG_IN_BATCH(0);
    batch[2].stream = 1;
    is_int(daalog_append(log, batch, 3, &first), 0, "a batch");
    is_int(first, 2, "behind what the log says of its opening");
    is_int(daalog_sync(log), 0, "made durable");
    is_int(daalog_durable_seq(log), 4, "it is");
    is_str(daalog_error(log), "", "nothing went wrong");
    struct daalog_reader *reader = NULL;
    is_int(daalog_reader_open(&reader, dir, NULL, why, sizeof why), 0, "a reader beside");
    is_int(daalog_reader_get(reader, 3, &event), 1, "one event");
    ok(event.seq == 3 && event.stream == 2 && event.stream_prev_seq == 2 && event.cause == 0 &&
           event.kind == DAALOG_KIND_FIRST,
       "its numbers are those of the batch");
    ok(event.payload_size == 1 && memcmp(event.payload, "b", 1) == 0, "its payload");
    is_int(daalog_reader_next(reader, &event), 1, "reading goes on behind it");
    ok(event.stream == 1 && event.cause == 2 && event.payload_size == 0, "the last one");
    is_int(daalog_reader_next(reader, &event), 0, "no more");
    is_int(daalog_reader_wait(reader, 0), 0, "nor soon");
    is_int(daalog_reader_first_seq(reader), 1, "the oldest");
    is_int(daalog_reader_durable_seq(reader), 4, "the newest");
    is_int(daalog_append(log, batch, 1, NULL), 0, "one more");
    is_int(daalog_close(log, why, sizeof why), 0, "closing makes it durable");
    is_int(daalog_reader_wait(reader, 10000), 1, "the reader is told");
    is_int(daalog_reader_next(reader, &event), 1, "and has it");
    daalog_reader_close(reader);
}

static void refused(struct daalog *log, const struct daalog_event *event, int code,
                    const char *sentence)
{
    is_int(daalog_append(log, event, 1, NULL), code, "refused: %s", sentence);
    ok(strstr(daalog_error(log), sentence) != NULL, "it says: %s", daalog_error(log));
}

static void test_refusals(void)
{
    struct daalog *log = open_log(), *second = NULL;
    struct daalog_event event = event_of("x");
    uint32_t size_max = daalog_payload_size_max(log);
    void *large = calloc(1, size_max + 1);
    event.kind = DAALOG_KIND_OWN_MAX;
    refused(log, &event, DAALOG_INVALID, "the log's own");
    event = event_of("x");
    event.seq = 7;
    refused(log, &event, DAALOG_INVALID, "must be 0");
    event = event_of("x");
    event.reserved16 = 1;
    refused(log, &event, DAALOG_INVALID, "reserved");
    event = event_of("x");
    event.key_id = 1;
    refused(log, &event, DAALOG_INVALID, "key_id must be 0");
    event = event_of("x");
    event.payload = NULL;
    refused(log, &event, DAALOG_INVALID, "NULL");
    event = event_of("x");
    event.stream = DAALOG_IN_BATCH(1);
    refused(log, &event, DAALOG_INVALID, "stream");
    event.stream = 1000;
    refused(log, &event, DAALOG_INVALID, "stream");
    event = event_of("x");
    event.cause = DAALOG_IN_BATCH(0);
    refused(log, &event, DAALOG_INVALID, "cause");
    event = (struct daalog_event){ .kind = 16, .payload = large, .payload_size = size_max + 1 };
    refused(log, &event, DAALOG_TOO_LARGE, "over the limit");
    event.payload_size = size_max;
    struct daalog_event many[32];
    for (int i = 0; i < 32; i++)
        many[i] = event;
    is_int(daalog_append(log, many, 32, NULL), DAALOG_TOO_LARGE, "a batch over a segment");
    is_int(daalog_append(log, many, 0, NULL), DAALOG_INVALID, "a batch of none");
    is_int(daalog_append(log, &event, 1, NULL), 0, "the largest that may be");
    is_int(daalog_sync(log), 0, "the log is none the worse");
    is_int(daalog_open(&second, dir, NULL, why, sizeof why), DAALOG_LOCKED, "one writer");
    ok(strstr(why, "in use by process") != NULL && second == NULL, "it says who: %s", why);
    is_int(daalog_close(log, why, sizeof why), 0, "closed");
    is_int(daalog_close(NULL, NULL, 0), 0, "nothing is closed");
    free(large);
}

static void *use_elsewhere(void *log)
{
    struct daalog_event event = event_of("x");
    is_int(daalog_append(log, &event, 1, NULL), DAALOG_INVALID, "another thread may not append");
    is_int(daalog_flush(log), DAALOG_INVALID, "nor flush");
    is_int(daalog_sync(log), DAALOG_INVALID, "nor sync");
    is_int(daalog_close(log, why, sizeof why), DAALOG_INVALID, "nor close");
    ok(strstr(why, "thread") != NULL, "it says why");
    ok(daalog_durable_seq(log) > 0, "it may look");
    return NULL;
}

static void test_threads(void)
{
    struct daalog *log = open_log();
    pthread_t thread;
    if (pthread_create(&thread, NULL, use_elsewhere, log) != 0)
        tap_bail_out("no thread");
    pthread_join(thread, NULL);
    struct daalog_event event = event_of("x");
    is_int(daalog_append(log, &event, 1, NULL), 0, "its own thread still may");
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    is_int(sigismember(&blocked, SIGTERM), 0, "this thread's signals are as they were");
    is_int(daalog_close(log, why, sizeof why), 0, "closed");
}

/* Structs of a program that was compiled with another version. */
static void test_versions(void)
{
    struct {
        struct daalog_options known;
        uint64_t later;
    } newer = { .known = { .size = sizeof newer, .segment_size = SEGMENT_SIZE }, .later = 1 };
    struct daalog *log = NULL;
    is_int(daalog_open(&log, dir, &newer.known, why, sizeof why), DAALOG_NEWER,
           "an option that is not known is not passed over");
    newer.later = 0;
    is_int(daalog_open(&log, dir, &newer.known, why, sizeof why), 0, "unless it is 0");
    is_int(daalog_close(log, why, sizeof why), 0, "closed");
    struct daalog_options old = { .size = 2 * sizeof(uint64_t), .flags = 0xffff };
    is_int(daalog_open(&log, dir, &old, why, sizeof why), 0, "what an older one lacks is not read");
    is_int(daalog_close(log, why, sizeof why), 0, "closed");
    old.size = sizeof old;
    is_int(daalog_open(&log, dir, &old, why, sizeof why), DAALOG_INVALID, "flags that are none");
    old = (struct daalog_options){ .size = 0 };
    is_int(daalog_open(&log, dir, &old, why, sizeof why), DAALOG_INVALID, "no size");
    struct daalog_reader *reader = NULL;
    struct daalog_reader_options of_reader = { .size = sizeof of_reader, .flags = DAALOG_SEAL };
    is_int(daalog_reader_open(&reader, dir, &of_reader, why, sizeof why), DAALOG_INVALID,
           "a flag of writers");
    struct daalog_verified verified;
    memset(&verified, 0xee, sizeof verified);
    verified.size = offsetof(struct daalog_verified, events);
    is_int(daalog_verify(dir, 0, NULL, NULL, &verified, why, sizeof why), 0, "an older result");
    ok(verified.verdict == DAALOG_IS_SOUND && verified.last_seq > 1, "is filled");
    is_int(verified.events, (intmax_t)0xeeeeeeeeeeeeeeee, "and no more than that");
}

struct seen {
    uint64_t found, missing, wrong;
};

static void see(size_t index, int result, const struct daalog_event *event, const char *text,
                void *context)
{
    struct seen *seen = context;
    seen->found += result == 1;
    seen->missing += result == 0;
    seen->wrong += result < 0 || text[0] != '\0' || (result == 1 && event->seq != index * 3 + 1);
}

/* More than segments hold, in many batches, so that spares are waited for. */
static void test_rolls(void)
{
    struct daalog *log = open_log();
    static char payload[20000];
    uint64_t last = 0, seqs[40], count = 0, time_ns = 0;
    struct daalog_event event = { .kind = 2000,
                                  .payload = payload,
                                  .payload_size = sizeof payload };
    int code = 0;
    for (int i = 0; i < 100 && code == 0; i++)
        code = daalog_append(log, &event, 1, &last);
    is_int(code, 0, "2 MB through segments of 256 KiB: %s", daalog_error(log));
    is_int(daalog_flush(log), 0, "on its way");
    is_int(daalog_sync(log), 0, "durable");
    struct daalog_reader *reader = NULL;
    is_int(daalog_reader_open(&reader, dir, NULL, why, sizeof why), 0, "a reader");
    for (; (code = daalog_reader_next(reader, &event)) == 1 && event.time_ns >= time_ns; count++)
        time_ns = event.time_ns;
    is_int(code, 0, "reads to the end, time never goes back");
    is_int(count, (intmax_t)last, "all are there");
    struct seen seen = { 0 };
    for (size_t i = 0; i < 40; i++)
        seqs[i] = i * 3 + 1;
    seqs[39] = last + 1000;
    is_int(daalog_reader_get_many(reader, seqs, 40, see, &seen), 0, "many at once");
    ok(seen.found == 39 && seen.missing == 1 && seen.wrong == 0, "each is what it should be");
    daalog_reader_close(reader);
    is_int(daalog_close(log, why, sizeof why), 0, "closed");
}

/* Dies with a batch that was not made durable. */
static void test_crash(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct daalog *log = NULL;
        struct daalog_event event = event_of("durable");
        if (daalog_open(&log, dir, NULL, NULL, 0) < 0 || daalog_append(log, &event, 1, NULL) < 0 ||
            daalog_sync(log) < 0)
            _exit(1);
        event = event_of("never flushed");
        _exit(daalog_append(log, &event, 1, NULL) < 0);
    }
    int status = 1;
    waitpid(pid, &status, 0);
    is_int(status, 0, "a process that does not close its log");
    struct daalog *log = open_log();
    is_str(daalog_found(log), "", "left nothing that does not count");
    struct daalog_reader *reader = NULL;
    struct daalog_event event = { 0 };
    is_int(daalog_reader_open(&reader, dir, NULL, why, sizeof why), 0, "a reader");
    is_int(daalog_reader_seek(reader, daalog_durable_seq(log) - 1), 0, "before the opening");
    is_int(daalog_reader_next(reader, &event), 1, "stands");
    ok(event.payload_size == 7 && memcmp(event.payload, "durable", 7) == 0, "what was durable");
    daalog_reader_close(reader);
    is_int(daalog_close(log, why, sizeof why), 0, "closed");
}

static void limit_file_size(uint64_t bytes)
{
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    setrlimit(RLIMIT_FSIZE, &limit);
}

/* No segment can be made, then no write succeeds: the system's limit stands for a disk. */
static void test_failure(void)
{
    struct daalog *log = NULL;
    static char payload[20000];
    struct daalog_options options = { .size = sizeof options, .full_wait_ms = 50 };
    struct daalog_event event = { .kind = 2000,
                                  .payload = payload,
                                  .payload_size = sizeof payload };
    int code = 0;
    signal(SIGXFSZ, SIG_IGN);
    is_int(daalog_open(&log, dir, &options, why, sizeof why), 0, "the log opens");
    limit_file_size(SEGMENT_SIZE - 1);
    for (int i = 0; i < 200 && code == 0; i++)
        if ((code = daalog_append(log, &event, 1, NULL)) == 0)
            code = daalog_sync(log);
    is_int(code, DAALOG_FULL, "where no segment can be made it is full: %s", daalog_error(log));
    ok(strstr(daalog_error(log), "in 50 ms") != NULL, "it says for how long it waited");
    limit_file_size(RLIM_INFINITY);
    for (int i = 0; i < 200 && (code = daalog_append(log, &event, 1, NULL)) == DAALOG_FULL; i++)
        continue;
    is_int(code, 0, "it goes on when one can");
    is_int(daalog_sync(log), 0, "durably");
    uint64_t durable = daalog_durable_seq(log);
    limit_file_size(1);
    is_int(daalog_append(log, &event, 1, NULL), 0, "one more, in memory");
    is_int(daalog_sync(log), DAALOG_UNAVAILABLE, "that cannot be written");
    ok(daalog_error(log)[0] != '\0', "it says: %s", daalog_error(log));
    is_int(daalog_append(log, &event, 1, NULL), DAALOG_UNAVAILABLE, "nor another one");
    is_int(daalog_close(log, why, sizeof why), DAALOG_UNAVAILABLE, "nor an end in order");
    limit_file_size(RLIM_INFINITY);
    log = open_log();
    ok(daalog_durable_seq(log) > durable, "what was durable is there");
    is_int(daalog_close(log, why, sizeof why), 0, "closed");
}

static void count_finding(const struct daalog_finding *finding, void *context)
{
    *(int *)context += finding->verdict == DAALOG_IS_DAMAGED && finding->text[0] != '\0' &&
                       strcmp(finding->file, "seg-0000000001.log") == 0;
}

static void test_damage(void)
{
    struct daalog_verified verified = { .size = sizeof verified };
    struct daalog_event event;
    struct daalog_reader *reader = NULL;
    int findings = 0, code;
    is_int(daalog_verify(dir, 0, count_finding, &findings, &verified, why, sizeof why), 0, "whole");
    ok(verified.verdict == DAALOG_IS_SOUND && findings == 0 && !verified.live, "and sound");
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/seg-0000000001.log", dir);
    FILE *file = fopen(path, "r+b");
    if (file == NULL || fseek(file, 8192 + 200, SEEK_SET) != 0 || fputs("damage", file) < 0)
        tap_bail_out("cannot write %s", path);
    fclose(file);
    is_int(daalog_verify(dir, 0, count_finding, &findings, &verified, why, sizeof why), 0, "not");
    ok(verified.verdict == DAALOG_IS_DAMAGED && findings > 0, "and is found to be damaged");
    is_int(daalog_reader_open(&reader, dir, NULL, why, sizeof why), 0, "it can be read");
    while ((code = daalog_reader_next(reader, &event)) == 1)
        continue;
    is_int(code, DAALOG_DAMAGED, "up to there");
    ok(strstr(daalog_reader_error(reader), "seg-0000000001.log") != NULL, "it says where");
    daalog_reader_close(reader);
    struct daalog_reader_options options = { .size = sizeof options, .flags = DAALOG_SKIP_DAMAGE };
    is_int(daalog_reader_open(&reader, dir, &options, why, sizeof why), 0, "and behind it");
    while ((code = daalog_reader_next(reader, &event)) == 1)
        continue;
    ok(code == 0 && event.seq == verified.last_seq, "to the end");
    ok(daalog_reader_skipped(reader) > 0, "with a count of what was passed over");
    daalog_reader_close(reader);
}

static void test_no_log(void)
{
    struct daalog_verified verified = { .size = sizeof verified };
    struct daalog *log = NULL;
    struct daalog_options options = { .size = sizeof options, .memory_max = 1000 };
    is_int(daalog_verify(scratch_path("none"), 0, NULL, NULL, &verified, why, 20), -ENOENT,
           "no directory");
    is_int((intmax_t)strlen(why), 19, "a sentence is cut to the room there is");
    is_int(daalog_open(&log, scratch_path("small"), &options, why, sizeof why), DAALOG_MEMORY,
           "no memory: %s", why);
    is_str(daalog_code_text(DAALOG_FULL), "no room", "what a code means");
    is_str(daalog_code_text(-ENOENT), strerror(ENOENT), "of the system's too");
    scratch_remove(scratch_path("small"));
}

/* As an agent writes it. */
static void append_encrypted(const char *path)
{
    struct log *log;
    struct io *io;
    struct budget budget;
    struct error error;
    struct log_recovery found;
    struct record record = { .time_ns = 1, .key_id = 7, .kind = 32, .payload = span_of("\x01", 1) };
    budget_init(&budget, UINT64_MAX);
    is_int(io_open_plain(&io), 0, "an engine");
    struct log_options options = { .dir = path,
                                   .io = io,
                                   .budget = &budget,
                                   .segment_size = SEGMENT_SIZE,
                                   .frames_in_flight_max = 1,
                                   .start_time_ns = 1 };
    is_int(log_open(&log, &options, &found, &error), 0, "a log of an agent");
    is_int(log_reserve(log, 1, 1, &record.seq), 0, "room for an event");
    log_append(log, &record);
    is_int(log_close(&log, &error), 0, "it is durable");
    io_close(io);
}

static void test_encrypted(void)
{
    const char *path = scratch_path("encrypted");
    struct daalog_reader *reader = NULL;
    struct daalog_event event;
    append_encrypted(path);
    is_int(daalog_reader_open(&reader, path, NULL, why, sizeof why), 0, "a reader of it");
    is_int(daalog_reader_get(reader, 2, &event), 1, "an event whose stream has a key");
    ok(event.key_id == 7 && event.payload_size == 1 && memcmp(event.payload, "\x01", 1) == 0,
       "has the number of the key, and the bytes that are in the log");
    daalog_reader_close(reader);
    scratch_remove(path);
}

int main(void)
{
    dir = scratch_path("log");
    test_batch();
    test_refusals();
    test_encrypted();
    test_threads();
    test_versions();
    test_rolls();
    test_failure();
    test_crash();
    test_damage();
    test_no_log();
    scratch_remove(dir);
    return tap_done();
}
