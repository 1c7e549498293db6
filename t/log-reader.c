/* log_reader: what it shows of whole, crashed, damaged and incomplete logs, made by hand. */
#include "core/base/bytes.h"
#include "core/base/crc32c.h"
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

static char *segment_path(unsigned number)
{
    char name[64];
    snprintf(name, sizeof name, "log/seg-%010u.log", number);
    return strdup(scratch_path(name));
}

static void patch(unsigned number, uint64_t offset, const void *bytes, size_t size)
{
    char *path = segment_path(number);
    FILE *file = fopen(path, "r+b");
    if (file == NULL || fseek(file, (long)offset, SEEK_SET) != 0 ||
        fwrite(bytes, 1, size, file) != size)
        tap_bail_out("cannot patch %s", path);
    fclose(file);
    free(path);
}

/* Frames of make_log(): each event is in one of three. */
static void test_damage(void)
{
    struct record record;
    struct log_place place;
    uint64_t count, last;
    make_log();
    patch(2, LOG_BLOCK_SIZE + 200, "\xff\xff\xff", 3);
    struct log_reader *reader = open_reader(false);
    is_int(read_all(reader, &count, &last), ERROR_DAMAGED, "damage is an error");
    is_int(last, 14, "behind the last event before it");
    ok(strstr(error.text, "seg-0000000002.log") != NULL && strstr(error.text, "4096") != NULL,
       "that names the place");
    is_int(log_reader_next(reader, &record, NULL, &error), ERROR_DAMAGED, "and stays");
    is_int(log_reader_get(reader, 15, &record, &place, &error), ERROR_DAMAGED,
           "the event that it hit cannot be read");
    is_int(log_reader_get(reader, 16, &record, &place, &error), 1,
           "its neighbour can, which has a checksum of its own");
    is_int(log_reader_get(reader, 18, &record, &place, &error), 1,
           "one behind it can, by its number");
    is_int(log_reader_next(reader, &record, &place, &error), ERROR_DAMAGED,
           "but not by reading on from the segment's start");
    log_reader_close(reader);
    reader = open_reader(true);
    is_int(read_all(reader, &count, &last), 0, "with skip_damage reading goes on");
    is_int(count, maker.next_seq - 1 - 3, "only the three events of the frame are left out");
    is_int(log_reader_skipped(reader), 1, "and the range is counted");
    log_reader_close(reader);
    end();
}

static void test_missing(void)
{
    uint64_t count, last;
    make_log();
    char *path = segment_path(2);
    unlink(path);
    struct log_reader_options options = { .dir = dir };
    struct log_reader *reader;
    is_int(log_reader_open(&reader, &options, &error), ERROR_DAMAGED,
           "a log with a missing segment is not opened");
    reader = open_reader(true);
    is_int(read_all(reader, &count, &last), 0, "but with skip_damage it is");
    is_int(last, maker.next_seq - 1, "and read to its end");
    is_int(log_reader_skipped(reader), 1, "and the gap is counted");
    log_reader_close(reader);
    free(path);
    path = segment_path(1);
    unlink(path);
    free(path);
    reader = open_reader(false);
    uint64_t first = log_reader_first_seq(reader);
    ok(first > 14, "a log may begin late");
    is_int(log_reader_seek(reader, 1, &error), ERROR_NOT_FOUND, "what is gone is not found");
    is_int(read_all(reader, &count, &last), 0, "and reading begins where the log does");
    is_int(count, maker.next_seq - first, "with all that is there");
    log_reader_close(reader);
    end();
}

static void test_damaged_header(void)
{
    uint64_t count, last;
    make_log();
    patch(2, 40, "\7", 1);
    struct log_reader *reader = open_reader(true);
    is_int(read_all(reader, &count, &last), 0, "a segment with a damaged header is passed over");
    is_int(last, maker.next_seq - 1, "to the next one");
    ok(log_reader_skipped(reader) >= 1, "and counted");
    log_reader_close(reader);
    end();
}

/* Its checksums are right. */
static void forge_header(unsigned number, uint64_t at, uint64_t value)
{
    unsigned long size;
    char *path = segment_path(number);
    unsigned char *block = scratch_read(path, &size);
    bytes_put_u64(block + at, value);
    bytes_put_u32(block + SEGMENT_AT_CRC,
                  crc32c_more(crc32c(block, SEGMENT_AT_CRC), block + SEGMENT_AT_LOG_UUID,
                              LOG_BLOCK_SIZE - SEGMENT_AT_LOG_UUID));
    patch(number, 0, block, LOG_BLOCK_SIZE);
    free(block);
    free(path);
}

/* A header that says that the segment before it ends far behind its file. */
static void test_forged_end(void)
{
    uint64_t count, last, ends[] = { 1ull << 62, 1u << 30 };
    for (int i = 0; i < 2; i++) {
        make_log();
        forge_header(2, SEGMENT_AT_PREV_END_OFFSET, ends[i]);
        patch(1, 2ull * LOG_BLOCK_SIZE + 200, "\xff\xff\xff", 3);
        alarm(60); /* the way that this fails is not to end */
        struct log_reader *reader = open_reader(true);
        is_int(read_all(reader, &count, &last), 0, "a log with a forged header is read");
        is_int(last, maker.next_seq - 1, "to its end");
        alarm(0);
        log_reader_close(reader);
        end();
    }
}

/* The oldest segment is there, and its header is not. */
static void test_damaged_beginning(void)
{
    static const uint8_t zeros[LOG_BLOCK_SIZE];
    struct record record;
    uint64_t count, last;
    for (int lost = 0; lost < 2; lost++) {
        make_log();
        struct log_reader *reader = open_reader(false);
        patch(1, 0, lost ? zeros : (const uint8_t *)"\7", lost ? sizeof zeros : 1);
        is_int(read_all(reader, &count, &last), ERROR_DAMAGED, "a damaged beginning is an error");
        ok(count == 0 && strstr(error.text, "seg-0000000001.log") != NULL,
           "that names the file: %s", error.text);
        is_int(log_reader_seek(reader, 3, &error), ERROR_DAMAGED, "what was in it is not removed");
        is_int(log_reader_next(reader, &record, NULL, &error), ERROR_DAMAGED, "nor passed over");
        is_int(log_reader_get(reader, 3, &record, NULL, &error), ERROR_DAMAGED, "by no way");
        is_int(log_reader_seek(reader, 15, &error), 0, "what is behind it is found");
        is_int(log_reader_next(reader, &record, NULL, &error), 1, "and read");
        log_reader_close(reader);
        reader = open_reader(true);
        is_int(read_all(reader, &count, &last), 0, "with skip_damage reading begins behind it");
        is_int(count, maker.next_seq - 15, "with all that is there");
        is_int(log_reader_skipped(reader), 1, "and the beginning is counted");
        is_int(log_reader_seek(reader, 3, &error), ERROR_DAMAGED, "a seek says so too");
        is_int(log_reader_next(reader, &record, NULL, &error), 1, "and reading goes on");
        ok(record.seq == 15 && log_reader_skipped(reader) == 1, "behind it, counted once");
        log_reader_close(reader);
        end();
    }
    make_log();
    char *path = segment_path(1);
    unlink(path);
    free(path);
    forge_header(3, SEGMENT_AT_PREV_SEGMENT_NO, 1);
    patch(2, 0, "\7", 1);
    struct log_reader *reader = open_reader(true);
    is_int(log_reader_seek(reader, 3, &error), ERROR_NOT_FOUND,
           "a damaged file that nothing goes on behind held no event");
    is_int(log_reader_skipped(reader), 0, "and is not counted");
    log_reader_close(reader);
    end();
}

static void test_damaged_end(void)
{
    uint64_t count, last;
    make_log();
    maker.durable_seq = maker.next_seq - 1;
    uint64_t offset = maker.frame_offset;
    log_maker_frame(&maker, 0, 3, 100);
    log_maker_write(&maker, dir);
    patch(3, offset + 300, "\xff\xff", 2);
    struct log_reader *reader = open_reader(false);
    is_int(read_all(reader, &count, &last), ERROR_DAMAGED,
           "an end that had been acknowledged and is damaged is an error");
    log_reader_close(reader);
    reader = open_reader(true);
    is_int(read_all(reader, &count, &last), 0, "with skip_damage reading goes on behind it");
    is_int(last, maker.next_seq - 1, "to the last frame that can be read");
    is_int(log_reader_skipped(reader), 1, "and one range is counted");
    log_reader_close(reader);
    end();
}

static void test_runs(void)
{
    uint64_t count, last, whole = 0;
    make_log();
    last = maker.next_seq - 1;
    log_maker_frame(&maker, FRAME_TXN | FRAME_TXN_BEGIN, 2, 5000);
    log_maker_frame(&maker, FRAME_TXN, 2, 5000);
    log_maker_write(&maker, dir);
    struct log_reader *reader = open_reader(false);
    is_int(read_all(reader, &count, &whole), 0, "half a command is no error");
    is_int(whole, last, "and is not shown");
    is_int(log_reader_durable_seq(reader), last, "nor counted");
    log_reader_close(reader);
    log_maker_frame(&maker, FRAME_TXN | FRAME_TXN_END, 2, 5000);
    log_maker_write(&maker, dir);
    reader = open_reader(false);
    is_int(read_all(reader, &count, &whole), 0, "with its last frame");
    is_int(whole, last + 6, "all of it is shown");
    log_reader_close(reader);
    patch(3, maker.frame_offset - 3ul * LOG_BLOCK_SIZE + 300, "\xff\xff", 2);
    log_maker_next(&maker, 0);
    log_maker_open(&maker);
    log_maker_write(&maker, dir);
    reader = open_reader(true);
    is_int(read_all(reader, &count, &whole), 0, "of a command that is damaged");
    is_int(count, last + 1, "nothing is shown but what lies behind it");
    log_reader_close(reader);
    end();
}

/* Many small segments that ended in crashes: no index, fences, and more than are kept open. */
static void test_crashes(void)
{
    struct record record;
    struct log_place place;
    uint64_t count, last;
    dir = scratch_path("log");
    scratch_remove(dir);
    log_maker_init(&maker, CAPACITY);
    for (int i = 0; i < 8; i++) {
        log_maker_open(&maker);
        log_maker_frame(&maker, 0, 40, 300);
        log_maker_frame(&maker, 0, 2, 300);
        struct log_maker counted = maker;
        log_maker_frame(&maker, 0, 5, 300); /* that the next opening leaves out */
        log_maker_write(&maker, dir);
        if (i == 7)
            break;
        counted.bytes = maker.bytes;
        maker = counted;
        log_maker_next(&maker, 1);
    }
    struct log_reader *reader = open_reader(false);
    is_int(read_all(reader, &count, &last), 0, "a log of crashes is read to its end");
    is_int(count, 8 * 43 + 5, "without the frames that were left out");
    unsigned found = 0, seed = 3;
    for (int i = 0; i < 500; i++) {
        uint64_t seq = 1 + (unsigned)rand_r(&seed) % last;
        found += log_reader_get(reader, seq, &record, &place, &error) == 1 && record.seq == seq &&
                 place.segment_no == 1 + (seq - 1) / 43 - (seq > 8 * 43) &&
                 place.frame_last_seq >= seq;
    }
    is_int(found, 500, "each event is found by its number in its segment");
    log_reader_get(reader, 100, &record, &place, &error);
    is_int(log_reader_next(reader, &record, &place, &error), 1, "reading goes on behind it");
    is_int(record.seq, 101, "with the next event");
    log_reader_close(reader);
    end();
}

static void test_budget(void)
{
    struct budget budget;
    struct log_reader *reader;
    struct record record;
    make_log();
    budget_init(&budget, 3u << 20);
    struct log_reader_options options = { .dir = dir, .budget = &budget };
    is_int(log_reader_open(&reader, &options, &error), 0, "a reader on a budget is opened");
    unsigned count = 0;
    while (log_reader_next(reader, &record, NULL, &error) == 1)
        count++;
    is_int(count, maker.next_seq - 1, "and reads");
    for (uint64_t seq = 1; seq < maker.next_seq; seq += 7)
        count += log_reader_get(reader, seq, &record, NULL, &error) == 1;
    ok(atomic_load(&budget.owner_peak[BUDGET_READERS]) > 0, "its buffers are on the budget");
    log_reader_close(reader);
    is_int(atomic_load(&budget.used), 0, "and all is given back");
    budget_init(&budget, 1000);
    is_int(log_reader_open(&reader, &options, &error), 0, "without room for a window");
    is_int(log_reader_next(reader, &record, NULL, &error), ERROR_BUDGET, "nothing is read");
    log_reader_close(reader);
    end();
}

int main(void)
{
    test_damage();
    test_missing();
    test_damaged_header();
    test_forged_end();
    test_damaged_beginning();
    test_damaged_end();
    test_runs();
    test_crashes();
    test_budget();
    test_whole();
    return tap_done();
}
