/* How many bytes of a log are behind a record: beside a writer, of a stopped log, over segments
 * that are sealed or not. */
#include "log/inventory.h"
#include "log/log.h"
#include "log/reader.h"

#include "log_commands.h"
#include "scratch.h"
#include "tap.h"

#include <stdio.h>

#define CAPACITY (256u << 10)
#define START_NS 1700000000000000000u

static struct budget budget;
static struct error error;
static struct log_commands commands;

static struct log *open_log(const char *dir, struct io *io, bool seal)
{
    struct log *log;
    struct log_options options = { .dir = dir,
                                   .io = io,
                                   .budget = &budget,
                                   .segment_size = CAPACITY,
                                   .sync = LOG_SYNC_DSYNC,
                                   .seal = seal,
                                   .maintain_inline = true,
                                   .start_time_ns = START_NS };
    if (log_open(&log, &options, NULL, &error) < 0)
        tap_bail_out("%s", error.text);
    return log;
}

static struct log_reader *open_reader(const char *dir)
{
    struct log_reader *reader;
    struct log_reader_options options = { .dir = dir };
    if (log_reader_open(&reader, &options, &error) < 0)
        tap_bail_out("%s", error.text);
    return reader;
}

/* From the record on, as the segments' ends say, and the writer of the newest one. */
static uint64_t count_bytes(const char *dir, const struct log *log, const struct log_place *place)
{
    struct inventory inventory;
    struct log_stats stats = { .segment_offset = 0 };
    struct inventory_segment segment;
    uint64_t bytes = 0;
    if (log != NULL)
        log_stats_get(log, &stats);
    if (inventory_open(&inventory, dir, &error) < 0)
        tap_bail_out("%s", error.text);
    for (size_t i = 0; i < inventory.directory.count; i++)
        if (inventory_segment(&inventory, i, &segment, &error) == 0 &&
            segment.state != INVENTORY_SPARE && segment.segment_no >= place->segment_no)
            bytes += segment.state == INVENTORY_ACTIVE ? stats.segment_offset : segment.used_bytes;
    inventory_close(&inventory);
    return bytes - place->record_offset;
}

static void check(const char *dir, const struct log *log, struct log_reader *reader, uint64_t seq,
                  const char *what)
{
    struct record record;
    struct log_place place = { 0 };
    (void)log_reader_durable_seq(reader);
    if (!is_int(log_reader_get(reader, seq, &record, &place, &error), 1, "event %llu is there %s",
                (unsigned long long)seq, what))
        tap_bail_out("%s", error.text);
    is_int(log_reader_bytes_from(reader, &place), count_bytes(dir, log, &place),
           "with so much behind it");
}

static void check_all(const char *dir, const struct log *log, struct log_reader *reader,
                      const char *what)
{
    uint64_t end = log_reader_durable_seq(reader);
    for (uint64_t seq = 1; seq < end; seq += end / 7 + 1)
        check(dir, log, reader, seq, what);
    check(dir, log, reader, end, what);
    log_reader_close(reader);
}

static void test_log(const char *name, bool seal)
{
    const char *dir = scratch_path(name);
    struct io *io;
    if (io_open_plain(&io) < 0)
        tap_bail_out("no engine");
    struct log *log = open_log(dir, io, seal);
    struct log_reader *reader = open_reader(dir); /* sees each roll in the images */
    commands.time_ns = START_NS;
    for (int i = 0; i < 20; i++)
        log_commands_append(&commands, log, 30, 2000);
    log_commands_settle(log);
    check_all(dir, log, reader, "beside its writer");
    log_abandon(&log);
    log = open_log(dir, io, seal);
    log_commands_append(&commands, log, 5, 100);
    log_commands_settle(log);
    check_all(dir, log, open_reader(dir), "after a crash");
    log_close(&log, &error);
    check_all(dir, NULL, open_reader(dir), "when it is closed");
    io_close(io);
    log_commands_free(&commands);
    scratch_remove(dir);
}

/* The same as a reader says that was not asked before. */
static void check_like_new(const char *dir, struct log_reader *reader, uint64_t seq,
                           const char *what)
{
    struct record record;
    struct log_place place = { 0 };
    struct log_reader *other = open_reader(dir);
    (void)log_reader_durable_seq(reader);
    (void)log_reader_durable_seq(other);
    if (!is_int(log_reader_get(other, seq, &record, &place, &error), 1, "event %llu is there %s",
                (unsigned long long)seq, what))
        tap_bail_out("%s", error.text);
    is_int(log_reader_bytes_from(reader, &place), log_reader_bytes_from(other, &place),
           "with as much behind it as another reader finds");
    log_reader_close(other);
}

/* Who asks again and again, as of a copy that waits for its server, does not read all of it each
 * time: a segment in the middle can be away meanwhile. */
static void test_again(void)
{
    const char *dir = scratch_path("again");
    char path[600], aside[600];
    struct io *io;
    if (io_open_plain(&io) < 0)
        tap_bail_out("no engine");
    struct log *log = open_log(dir, io, false);
    log_close(&log, &error);
    struct log_reader *reader = open_reader(dir);
    commands.time_ns = START_NS;
    for (int round = 0; round < 3; round++) {
        log = open_log(dir, io, false);
        for (int i = 0; i < 20; i++)
            log_commands_append(&commands, log, 30, 2000);
        log_commands_settle(log);
        log_close(&log, &error); /* now all readers know the same end */
        check_like_new(dir, reader, 1, "while the log grows");
    }
    struct record record;
    struct log_place place = { 0 };
    is_int(log_reader_get(reader, 1, &record, &place, &error), 1, "the first event is there");
    uint64_t bytes = log_reader_bytes_from(reader, &place);
    (void)snprintf(path, sizeof path, "%s/seg-0000000003.log", dir);
    (void)snprintf(aside, sizeof aside, "%s/aside", dir);
    is_int(rename(path, aside), 0, "a segment between is away");
    is_int(log_reader_bytes_from(reader, &place), bytes, "and is not asked how much it has");
    is_int(rename(aside, path), 0, "it is back");
    uint64_t end = log_reader_durable_seq(reader);
    for (uint64_t seq = 1; seq < end; seq += end / 9)
        check_like_new(dir, reader, seq, "while the copy goes on");
    check_like_new(dir, reader, 1, "when it begins again");
    log_reader_close(reader);
    io_close(io);
    log_commands_free(&commands);
    scratch_remove(dir);
}

int main(void)
{
    budget_init(&budget, 1u << 30);
    test_log("raw", false);
    test_log("sealed", true);
    test_again();
    return tap_done();
}
