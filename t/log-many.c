/* Many records by their numbers, in any order, with both engines, from raw and sealed segments, the
 * live end, and a log with damage: the same that a point read of each gives. */
#include "log/read_many.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/reader.h"
#include "log/removal.h"
#include "log/sealing.h"
#include "log_backups.h"
#include "log_maker.h"
#include "scratch.h"
#include "tap.h"

static struct budget budget;
static struct error error;

/* What a point read says of each number, as text that can be compared. */
struct expected {
    int result;
    uint32_t crc;
    size_t size;
};

struct call {
    const uint64_t *seqs;
    const struct expected *expected;
    uint64_t answers, wrong, found, errors;
    unsigned char *seen;
};

static uint32_t crc_of(const struct record *record)
{
    return (uint32_t)(record->time_ns ^ record->kind ^ record->stream * 31) +
           (record->payload.size > 0 ? record->payload.bytes[record->payload.size - 1] : 0u);
}

static struct expected *expect(const char *dir, const uint64_t *seqs, size_t count)
{
    struct log_reader_options options = { .dir = dir };
    struct log_reader *reader;
    struct expected *expected = calloc(count, sizeof *expected);
    if (expected == NULL || log_reader_open(&reader, &options, &error) < 0)
        tap_bail_out("%s", error.text);
    for (size_t i = 0; i < count; i++) {
        struct record record;
        expected[i].result = log_reader_get(reader, seqs[i], &record, NULL, &error);
        if (expected[i].result == 1) {
            expected[i].crc = crc_of(&record);
            expected[i].size = record.payload.size;
        }
    }
    log_reader_close(reader);
    return expected;
}

static void take(size_t index, int result, const struct record *record, const struct error *why,
                 void *context)
{
    struct call *call = context;
    const struct expected *expected = &call->expected[index];
    call->answers++;
    call->wrong += call->seen[index]++ > 0 || result != expected->result;
    call->found += result == 1;
    call->errors += result < 0 && why->text[0] != '\0';
    if (result == 1)
        call->wrong += record->seq != call->seqs[index] || crc_of(record) != expected->crc ||
                       record->payload.size != expected->size;
}

/* Numbers of the log in no order, some of them twice, some that are not there. */
static uint64_t *choose(uint64_t last_seq, size_t count)
{
    uint64_t *seqs = malloc(count * sizeof *seqs), state = 88172645463325252ull;
    if (seqs == NULL)
        tap_bail_out("no memory");
    for (size_t i = 0; i < count; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        seqs[i] = i % 50 == 7 ? last_seq + i : state % (last_seq + 1);
    }
    return seqs;
}

static struct call read_all(const char *dir, uint64_t last_seq, size_t count, unsigned depth,
                            bool plain, struct log_many_counts *counts)
{
    struct log_many_options options = {
        .dir = dir, .budget = &budget, .depth = depth, .plain_engine = plain
    };
    struct log_many *many;
    uint64_t *seqs = choose(last_seq, count);
    struct expected *expected = expect(dir, seqs, count);
    struct call call = { .seqs = seqs, .expected = expected, .seen = calloc(count, 1) };
    if (call.seen == NULL || log_many_open(&many, &options, &error) < 0)
        tap_bail_out("%s", error.text);
    if (log_read_many(many, seqs, count, take, &call, &error) < 0)
        tap_bail_out("%s", error.text);
    log_many_counts_get(many, counts);
    log_many_close(many);
    free(call.seen);
    free(seqs);
    free(expected);
    return call;
}

static void compare(const char *dir, uint64_t last_seq, const char *name)
{
    static const unsigned depths[] = { 1, 7, 0 };
    struct log_many_counts counts;
    size_t count = 3000;
    for (int plain = 0; plain < 2; plain++)
        for (size_t i = 0; i < 3; i++) {
            struct call call = read_all(dir, last_seq, count, depths[i], plain, &counts);
            ok(call.answers == count && call.wrong == 0 && call.found > count * 9 / 10,
               "%s, %s engine, depth %u: %d are answered, once each, as by a point read", name,
               plain ? "plain" : "best", depths[i], (int)call.answers);
        }
    is_int(budget.used, 0, "nothing is left on the budget");
    tap_note("%d reads, %d one by one", (int)counts.reads, (int)counts.one_by_one);
    ok(counts.reads > 0 && counts.one_by_one < count / 4, "most of them by batches");
}

static void seal_all(const char *dir)
{
    struct directory directory;
    int sealed = 0, code = directory_open(&directory, dir, &error);
    struct sealing sealing = { .directory = &directory };
    for (size_t i = 0; code >= 0 && i < directory.count; i++) {
        code = sealing_segment(&sealing, i, &error);
        sealed += code == 1;
    }
    directory_close(&directory);
    if (sealed < 2)
        tap_bail_out("nothing is sealed: %s", error.text);
}

static void test_closed(void)
{
    const char *dir = scratch_path("closed");
    scratch_remove(dir);
    (void)log_backups_go_on(dir, 120);
    uint64_t last_seq = log_backups_go_on(dir, 5);
    compare(dir, last_seq, "raw segments");
    seal_all(dir);
    compare(dir, last_seq, "sealed segments");
}

/* All of a segment of many chunks, of which none ends where a record does. */
static void test_across_chunks(void)
{
    enum { CAPACITY = 4u << 20 };
    const char *dir = scratch_path("chunks");
    struct log_many_options options = { .dir = dir, .budget = &budget };
    struct log_many_counts counts;
    struct log_many *many;
    struct log_maker maker;
    log_maker_init(&maker, CAPACITY);
    log_maker_open(&maker);
    while (maker.offset < CAPACITY - (1u << 20))
        log_maker_frame(&maker, 0, 100, 1700);
    log_maker_seal(&maker, FRAME_SEAL);
    log_maker_write(&maker, dir);
    size_t count = maker.next_seq - 1;
    log_maker_next(&maker, 0);
    log_maker_open(&maker);
    log_maker_seal(&maker, FRAME_CLOSE);
    log_maker_write(&maker, dir);
    log_maker_next(&maker, 0);
    log_maker_frame(&maker, 0, 3, 100);
    log_maker_write(&maker, dir);
    log_maker_free(&maker);
    seal_all(dir);
    uint64_t *seqs = calloc(count, sizeof *seqs);
    struct call call = { .seqs = seqs, .seen = calloc(count, 1) };
    if (seqs == NULL || call.seen == NULL || log_many_open(&many, &options, &error) < 0)
        tap_bail_out("%s", error.text);
    for (size_t i = 0; i < count; i++)
        seqs[i] = i + 1;
    struct expected *expected = expect(dir, seqs, count);
    call.expected = expected;
    if (log_read_many(many, seqs, count, take, &call, &error) < 0)
        tap_bail_out("%s", error.text);
    log_many_counts_get(many, &counts);
    log_many_close(many);
    ok(call.found == count && call.wrong == 0, "all %zu records of a sealed segment are found",
       count);
    is_int(counts.one_by_one, 0, "those in two of its chunks are read as the others are");
    free(expected);
    free(call.seen);
    free(seqs);
}

static void test_live(void)
{
    const char *dir = scratch_path("closed");
    struct io *io;
    struct log_commands commands = { .count = 0 };
    struct log_many_counts counts;
    struct log *log = log_backups_open(dir, &io, &commands.time_ns);
    if (!log_backups_fill(log, &commands, 100))
        tap_bail_out("the log fails");
    uint64_t last_seq = log_durable_seq(log);
    struct call call = read_all(dir, last_seq, 2000, 0, false, &counts);
    ok(call.answers == 2000 && call.wrong == 0, "beside a writer, its newest records too");
    log_backups_close(&log, &io);
    log_commands_free(&commands);
}

static void damage(const char *dir, const char *name, long at)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "r+");
    if (file == NULL)
        tap_bail_out("%s", path);
    (void)fseek(file, at, SEEK_SET);
    int byte = fgetc(file);
    (void)fseek(file, at, SEEK_SET);
    (void)fputc(byte ^ 1, file);
    (void)fclose(file);
}

static void test_damage(void)
{
    const char *dir = scratch_path("damage");
    struct log_many_counts counts;
    scratch_remove(dir);
    (void)log_backups_go_on(dir, 120);
    uint64_t last_seq = log_backups_go_on(dir, 5);
    damage(dir, "seg-0000000002.log", 4096 * 9 + 1000);
    struct call call = read_all(dir, last_seq, 3000, 0, false, &counts);
    ok(call.answers == 3000 && call.wrong == 0 && call.errors > 0,
       "a damaged frame: its records are errors (%d), the others are found", (int)call.errors);
    ok(call.found > 2000, "(%d)", (int)call.found);
    scratch_remove(dir);
    (void)log_backups_go_on(dir, 120);
    last_seq = log_backups_go_on(dir, 5);
    seal_all(dir);
    damage(dir, "seg-0000000002.zlog", 9000);
    call = read_all(dir, last_seq, 3000, 0, false, &counts);
    ok(call.answers == 3000 && call.wrong == 0 && call.errors > 0,
       "a damaged chunk: its records are errors (%d), the others are found", (int)call.errors);
    ok(call.found > 1000, "(%d)", (int)call.found);
    if (log_remove_before(dir, 3, NULL, &error) < 0)
        tap_bail_out("%s", error.text);
    call = read_all(dir, last_seq, 3000, 0, false, &counts);
    ok(call.wrong == 0 && call.errors == 0 && call.found < 3000 && call.found > 0,
       "a removed beginning: those are not there");
}

struct elsewhere {
    struct log_many *many;
    int result;
    struct error error;
};

static void *read_elsewhere(void *argument)
{
    struct elsewhere *elsewhere = argument;
    uint64_t seq = 1;
    elsewhere->result = log_read_many(elsewhere->many, &seq, 1, take, NULL, &elsewhere->error);
    return NULL;
}

static void test_threads(void)
{
    struct log_many_options options = { .dir = scratch_path("closed"), .budget = &budget };
    struct elsewhere elsewhere = { .result = 1 };
    struct expected expected = { .result = 0 };
    unsigned char seen = 0;
    uint64_t none = UINT64_MAX;
    struct call call = { .seqs = &none, .expected = &expected, .seen = &seen };
    pthread_t thread;
    if (log_many_open(&elsewhere.many, &options, &error) < 0)
        tap_bail_out("%s", error.text);
    is_int(log_read_many(elsewhere.many, &none, 1, take, &call, &error), 0, "a thread reads");
    if (pthread_create(&thread, NULL, read_elsewhere, &elsewhere) != 0)
        tap_bail_out("no thread");
    (void)pthread_join(thread, NULL);
    is_int(elsewhere.result, ERROR_INVALID, "another one must not: %s", elsewhere.error.text);
    is_int(log_read_many(elsewhere.many, &none, 1, take, &call, &error), 0,
           "the first one goes on");
    log_many_close(elsewhere.many);
    is_int(budget.used, 0, "nothing is left on the budget");
}

static void test_nothing(void)
{
    struct log_many_options options = { .dir = scratch_path("damage"), .budget = &budget };
    struct log_many *many;
    if (log_many_open(&many, &options, &error) < 0)
        tap_bail_out("%s", error.text);
    is_int(log_read_many(many, NULL, 0, take, NULL, &error), 0, "no numbers are no error");
    log_many_close(many);
    options.dir = scratch_path("nowhere");
    ok(log_many_open(&many, &options, &error) < 0 && strstr(error.text, "nowhere") != NULL,
       "a directory that is not there is: %s", error.text);
    budget.limit = 100000;
    options.dir = scratch_path("damage");
    is_int(log_many_open(&many, &options, &error), ERROR_BUDGET,
           "so is a budget that is too small");
    is_int(budget.used, 0, "nothing is left on the budget");
}

int main(void)
{
    budget_init(&budget, UINT64_MAX);
    test_closed();
    test_across_chunks();
    test_live();
    test_damage();
    test_threads();
    test_nothing();
    return tap_done();
}
