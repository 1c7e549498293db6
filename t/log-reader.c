/* log_reader: what it shows of whole, crashed, damaged and incomplete logs, made by hand. */
#include "log/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log_maker.h"
#include "scratch.h"
#include "tap.h"

#define CAPACITY (256u << 10)

static struct log_maker maker;
static const char *dir;
static struct error error;

/* Two whole segments and a third that ends in a crash: events 1 to 45. */
static void make_log(void)
{
    dir = scratch_path("log");
    scratch_remove(dir);
    log_maker_init(&maker, CAPACITY);
    for (int segment = 0; segment < 3; segment++) {
        if (segment == 0)
            log_maker_open(&maker);
        for (int i = 0; i < 4; i++) {
            maker.durable_seq = maker.next_seq - 1;
            log_maker_frame(&maker, 0, 3, 1000);
        }
        if (segment < 2)
            log_maker_seal(&maker, FRAME_SEAL);
        log_maker_write(&maker, dir);
        if (segment < 2)
            log_maker_next(&maker, 0);
    }
    log_maker_write_spare(dir, 4, CAPACITY);
}

static void end(void)
{
    log_maker_free(&maker);
    scratch_remove(dir);
}

static struct log_reader *open_reader(bool skip_damage)
{
    struct log_reader *reader = NULL;
    struct log_reader_options options = { .dir = dir,
                                          .skip_damage = skip_damage,
                                          .verify_chain = true };
    if (log_reader_open(&reader, &options, &error) < 0)
        tap_note("%s", error.text);
    return reader;
}

/* Reads to the end; returns the last code, and how many events came and the last one's number. */
static int read_all(struct log_reader *reader, uint64_t *count, uint64_t *last)
{
    struct record record;
    struct log_place place;
    int code;
    bool ordered = true;
    *count = 0;
    for (*last = 0; (code = log_reader_next(reader, &record, &place, &error)) == 1; ++*count) {
        ordered = ordered && record.seq > *last;
        *last = record.seq;
    }
    ok(ordered, "events come in order");
    return code;
}

static void test_whole(void)
{
    struct record record;
    struct log_place place;
    uint64_t count, last;
    make_log();
    struct log_reader *reader = open_reader(false);
    if (!ok(reader != NULL, "a log is opened"))
        return;
    is_int(log_reader_first_seq(reader), 1, "it begins with event 1");
    is_int(log_reader_durable_seq(reader), maker.next_seq - 1, "it ends with the last event");
    is_int(read_all(reader, &count, &last), 0, "it is read to its end");
    is_int(count, maker.next_seq - 1, "every event is shown");
    is_int(log_reader_next(reader, &record, &place, &error), 0, "and there is no more");
    bool found = true;
    for (uint64_t seq = 1; seq < maker.next_seq; seq++)
        found = found && log_reader_get(reader, seq, &record, &place, &error) == 1 &&
                record.seq == seq && place.record_offset > place.frame_offset;
    ok(found, "each event is found by its number");
    is_int(log_reader_get(reader, maker.next_seq, &record, NULL, &error), 0,
           "an event that is not there yet is not found");
    is_int(log_reader_seek(reader, 20, &error), 0, "seek finds a place");
    is_int(log_reader_next(reader, &record, &place, &error), 1, "and goes on there");
    is_int(record.seq, 20, "with the event that was sought");
    log_reader_close(reader);
    end();
}

int main(void)
{
    test_whole();
    return tap_done();
}
