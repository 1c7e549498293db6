/* log_recover(): where a log ends, and the verdict on what lies behind. The logs are made by hand
 * and then broken. */
#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "log/recovery.h"
#include "log/tail.h"
#include "log/verify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log_maker.h"
#include "read_fault.h"
#include "scratch.h"
#include "tap.h"

#define CAPACITY (256u << 10)

static struct log_maker maker;
static const char *dir;
static struct log_recovery got;
static struct error error;

/* A log with OPEN and three frames of five events: 1, 2..6, 7..11, 12..16. */
static void begin(void)
{
    dir = scratch_path("log");
    scratch_remove(dir);
    log_maker_init(&maker, CAPACITY);
    log_maker_open(&maker);
    for (int i = 0; i < 3; i++) {
        maker.durable_seq = maker.next_seq - 1;
        log_maker_frame(&maker, 0, 5, 700);
    }
}

static int recover(void)
{
    log_maker_write(&maker, dir);
    return log_recover(dir, NULL, 0, &got, &error);
}

static void end(void)
{
    log_maker_free(&maker);
    scratch_remove(dir);
}

static bool is_verdict(enum log_verdict verdict, uint64_t last_seq, const char *name)
{
    bool held = ok(got.verdict == verdict && got.last_seq == last_seq, "%s", name);
    if (!held || getenv("TEST_VERBOSE") != NULL)
        tap_note("%s (last event %llu, witness %llu by %s, tail %llu bytes, at most %llu events)",
                 got.reason, (unsigned long long)got.last_seq, (unsigned long long)got.witness_seq,
                 got.witness, (unsigned long long)got.tail_bytes,
                 (unsigned long long)got.events_max);
    return held;
}

static enum log_verdict verify_verdict(void)
{
    struct log_verify_options options = { .dir = dir };
    struct log_verify_result result;
    return log_verify(&options, &result, &error) < 0 ? LOG_DAMAGED : result.verdict;
}

static void test_ends(void)
{
    begin();
    is_int(recover(), 0, "a log that ends in zeros is recovered");
    is_verdict(LOG_SOUND, 16, "zeros behind the last frame are a clean end");
    is_int(got.end_offset, maker.offset, "its end is that of the last frame");
    is_int(got.prev_link, maker.link, "the link is the last frame's");
    is_mem(got.chain, maker.chain, SHA256_SIZE, "the chain is the last frame's");
    is_int(got.tail_bytes, 0, "nothing lies behind it");
    is_int(got.last_time_ns, maker.last_time_ns, "the time is that of the last record");
    ok(!got.clean, "without CLOSE it is not a clean stop");
    log_maker_seal(&maker, FRAME_CLOSE);
    recover();
    is_verdict(LOG_SOUND, 17, "CLOSE ends it");
    ok(got.clean, "with CLOSE it is a clean stop");
    end();
}

static uint8_t *sector(uint64_t offset, unsigned number)
{
    return maker.bytes + offset + (size_t)number * LOG_SECTOR_SIZE;
}

static void zero_sector(uint64_t offset, unsigned number)
{
    memset(sector(offset, number), 0, LOG_SECTOR_SIZE);
}

static void test_torn(void)
{
    begin();
    uint64_t last = maker.frame_offset;
    for (unsigned i = 0; i < 7; i++) { /* 128 + 5 x 768 bytes are in 8 sectors */
        uint8_t saved[LOG_SECTOR_SIZE];
        memcpy(saved, sector(last, i), sizeof saved);
        zero_sector(last, i);
        recover();
        is_verdict(LOG_TORN, 11, "a frame with an unwritten sector is torn");
        ok(got.events_max >= 5 && got.tail_bytes > 0, "it may have held its five events");
        ok(i == 0 || got.events_max == 5, "and no more, where its header can be read");
        memcpy(sector(last, i), saved, sizeof saved);
    }
    memset(sector(last, 1), 0, 7 * LOG_SECTOR_SIZE);
    recover();
    is_verdict(LOG_TORN, 11, "a frame of which only the first sector was written is torn");
    memset(sector(last, 0), 0, LOG_BLOCK_SIZE);
    recover();
    is_verdict(LOG_SOUND, 11, "a frame of which nothing was written leaves no trace");
    end();

    begin();
    uint64_t second = maker.frame_offset;
    log_maker_frame(&maker, 0, 5, 700);
    log_maker_frame(&maker, 0, 5, 700);
    memset(sector(second, 0), 0, LOG_BLOCK_SIZE);
    recover();
    is_verdict(LOG_TORN, 11, "whole frames behind an unwritten one contradict nothing");
    is_int(got.events_max, 15, "and are counted");
    end();
}

static void test_shape(void)
{
    begin();
    uint64_t last = maker.frame_offset;
    sector(last, 3)[100] ^= 4;
    recover();
    is_verdict(LOG_DAMAGED, 11, "one flipped bit in the last frame is damage");
    char place[64];
    snprintf(place, sizeof place, "offset %llu,", (unsigned long long)last + 3 * 512 + 100);
    ok(strstr(got.reason, place) != NULL, "and its place is named");
    sector(last, 3)[101] ^= 2;
    recover();
    is_verdict(LOG_DAMAGED, 11, "a wrong frame whose sectors are all written is damaged");
    zero_sector(last, 5);
    recover();
    is_verdict(LOG_TORN, 11, "but not when one of them is not");
    end();

    begin();
    sector(maker.frame_offset, 0)[20] ^= 1;
    recover();
    is_verdict(LOG_DAMAGED, 11, "a first sector that is written and wrong is damage");
    end();

    begin();
    maker.bytes[maker.offset + 9000] = 1;
    recover();
    is_verdict(LOG_TORN, 16, "a byte far behind the end is a trace of a frame");
    log_maker_seal(&maker, FRAME_CLOSE);
    recover();
    is_verdict(LOG_DAMAGED, 17, "but behind CLOSE there can be none");
    end();
}

/* Zeros that are a payload's own are not taken for a sector that was not written. */
static void test_zero_payload(void)
{
    begin();
    uint8_t zeros[3000] = { 0 };
    uint64_t offset = maker.offset;
    maker.payload = span_of(zeros, sizeof zeros);
    log_maker_frame(&maker, 0, 1, 0);
    maker.payload = span_of(NULL, 0);
    recover();
    is_verdict(LOG_SOUND, 17, "a payload of zeros is good");
    memcpy(sector(offset, 7) + 400, "\1\2\3", 3);
    recover();
    is_verdict(LOG_DAMAGED, 16, "and where it checks out, what is wrong behind it is damage");
    end();
}

static void test_witnesses(void)
{
    struct log_witness outside[] = { { "LMDB", 14 }, { "Postgres", 3 } };
    begin();
    uint64_t last = maker.frame_offset;
    memset(sector(last, 0), 0, LOG_BLOCK_SIZE);
    log_maker_write(&maker, dir);
    log_recover(dir, outside, 2, &got, &error);
    is_verdict(LOG_DAMAGED, 11, "an event that LMDB has seen and that is gone is damage");
    is_str(got.witness, "LMDB", "and LMDB is named");
    is_int(got.witness_seq, 14, "with what it knows");
    is_int(got.events_max, 3, "three events at least are gone");
    outside[0].seq = 11;
    log_recover(dir, outside, 2, &got, &error);
    is_verdict(LOG_SOUND, 11, "what it knows is there: nothing is wrong");
    log_maker_write_checkpoint(&maker, dir, 16);
    recover();
    is_verdict(LOG_DAMAGED, 11, "CHECKPOINT is a witness");
    is_str(got.witness, "CHECKPOINT", "and is named");
    memset(maker.header.log_uuid, 7, UUID_SIZE);
    log_maker_write_checkpoint(&maker, dir, 16);
    recover();
    is_verdict(LOG_SOUND, 11, "that of another log is none");
    end();

    begin();
    last = maker.frame_offset;
    maker.durable_seq = 16;
    log_maker_frame(&maker, 0, 5, 700);
    zero_sector(last, 2);
    recover();
    is_verdict(LOG_DAMAGED, 11, "a later frame that knows it to be durable proves damage");
    is_str(got.witness, "a frame", "and is the witness");
    zero_sector(maker.frame_offset, 3);
    recover();
    is_verdict(LOG_DAMAGED, 11, "even when only its header can be read");
    end();
}

static void test_short(void)
{
    char path[4200];
    begin();
    log_maker_write(&maker, dir);
    snprintf(path, sizeof path, "%s/seg-0000000001.log", dir);
    for (uint64_t size = maker.offset + LOG_BLOCK_SIZE; size >= maker.frame_offset; size -= 1000) {
        if (truncate(path, (off_t)size) < 0)
            tap_bail_out("cannot cut");
        log_recover(dir, NULL, 0, &got, &error);
        if (size >= maker.offset + LOG_BLOCK_SIZE)
            is_verdict(LOG_TORN, 16, "a file that is cut behind zeros holds what was acknowledged");
        else
            is_verdict(LOG_DAMAGED, size >= maker.offset ? 16 : 11,
                       "a cut that may have taken a frame is damage");
    }
    log_maker_write_checkpoint(&maker, dir, 16);
    log_recover(dir, NULL, 0, &got, &error);
    is_verdict(LOG_DAMAGED, 11, "with a witness that knows what stood there too");
    ok(strstr(got.reason, "CHECKPOINT") != NULL, "which is named");
    end();

    begin();
    log_maker_seal(&maker, FRAME_CLOSE);
    log_maker_write(&maker, dir);
    if (truncate(path, (off_t)maker.offset) < 0)
        tap_bail_out("cannot cut");
    log_recover(dir, NULL, 0, &got, &error);
    is_verdict(LOG_TORN, 17, "a file that is cut behind CLOSE lost nothing");
    end();
}

static void test_foreign(void)
{
    begin();
    uint64_t salt = maker.header.salt;
    maker.header.salt ^= 1;
    log_maker_frame(&maker, 0, 1, 100);
    maker.header.salt = salt;
    recover();
    is_verdict(LOG_DAMAGED, 16, "a whole frame of another use of the file is damage");
    end();

    begin();
    uint64_t offset = maker.frame_offset;
    memcpy(maker.bytes + maker.offset, maker.bytes + offset, LOG_BLOCK_SIZE);
    recover();
    is_verdict(LOG_DAMAGED, 16, "so is a frame that was written to a wrong place");
    end();

    begin();
    offset = maker.frame_offset;
    memcpy(maker.bytes + maker.offset + 5 * LOG_BLOCK_SIZE, maker.bytes + offset, LOG_BLOCK_SIZE);
    recover();
    is_verdict(LOG_TORN, 16, "one that stands twice takes nothing away");
    memset(maker.bytes + offset, 0, LOG_BLOCK_SIZE);
    recover();
    is_verdict(LOG_DAMAGED, 11, "but one that is missing where it belongs is damage");
    ok(strstr(got.reason, "wrong place") != NULL, "and said to be misplaced");
    end();

    begin();
    maker.next_seq += 3;
    log_maker_frame(&maker, 0, 1, 100);
    recover();
    is_verdict(LOG_DAMAGED, 16, "a whole frame that leaves events out is damage");
    end();
}

/* Blocks that the disk cannot read, at the end and behind it. */
static void test_unreadable(void)
{
    begin();
    uint64_t last = maker.frame_offset;
    log_maker_write(&maker, dir);
    read_fault_set("seg-0000000001.log", last, EIO);
    log_recover(dir, NULL, 0, &got, &error);
    is_verdict(LOG_DAMAGED, 11, "a frame that cannot be read is not left out without a proof");
    ok(got.events_max > 0, "it may have held events");
    read_fault_set("seg-0000000001.log", maker.offset, EIO);
    log_recover(dir, NULL, 0, &got, &error);
    is_verdict(LOG_DAMAGED, 16, "nor is the block where the next one would stand");
    read_fault_set("seg-0000000001.log", maker.offset + LOG_BLOCK_SIZE, EIO);
    log_recover(dir, NULL, 0, &got, &error);
    is_verdict(LOG_TORN, 16, "one behind it holds nothing that was acknowledged");
    ok(got.events_max > 0 && got.tail_bytes == 2 * LOG_BLOCK_SIZE, "but perhaps what was not");
    log_maker_seal(&maker, FRAME_CLOSE);
    log_maker_write(&maker, dir);
    read_fault_set("seg-0000000001.log", maker.offset, EIO);
    log_recover(dir, NULL, 0, &got, &error);
    is_verdict(LOG_SOUND, 17, "and behind CLOSE nothing at all");
    read_fault_set(NULL, 0, 0);
    end();
}

static void write_at(uint64_t segment_no, uint64_t offset, const uint8_t *bytes, size_t size)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/seg-%010llu.log", dir, (unsigned long long)segment_no);
    FILE *file = fopen(path, "r+");
    if (file == NULL || fseek(file, (long)offset, SEEK_SET) != 0 ||
        fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
        tap_bail_out("cannot write %s", path);
}

/* The file behind the last segment, whose first two blocks are zero. */
static void test_lost_beginning(void)
{
    begin();
    log_maker_seal(&maker, FRAME_SEAL);
    log_maker_write(&maker, dir);
    uint64_t sealed_seq = maker.next_seq - 1;
    log_maker_next(&maker, 0);
    for (int i = 0; i < 3; i++)
        log_maker_frame(&maker, 0, 1, 100);
    memset(maker.bytes, 0, 2 * LOG_BLOCK_SIZE);
    recover();
    is_verdict(
        LOG_DAMAGED, sealed_seq,
        "a segment whose header and first frame are gone is no spare while a frame is there");
    ok(strstr(got.reason, "seg-0000000002.log") != NULL, "and is named: %s", got.reason);
    is_int(got.unclean_no, 2, "nobody writes to it");
    end();

    begin();
    uint64_t offset = maker.frame_offset;
    log_maker_write(&maker, dir);
    log_maker_write_spare(dir, 2, CAPACITY);
    write_at(2, 9 * LOG_BLOCK_SIZE, (const uint8_t *)"x", 1);
    log_recover(dir, NULL, 0, &got, &error);
    is_verdict(LOG_SOUND, 16, "a spare with other bytes in it holds no event");
    is_int(got.unclean_no, 2, "and is not written to as it is");
    write_at(2, 9 * LOG_BLOCK_SIZE, maker.bytes + offset, LOG_BLOCK_SIZE);
    log_recover(dir, NULL, 0, &got, &error);
    is_verdict(LOG_SOUND, 16, "nor does one with a frame that stands in its own place too");
    memset(maker.bytes + offset, 0, LOG_BLOCK_SIZE);
    log_maker_write(&maker, dir);
    log_recover(dir, NULL, 0, &got, &error);
    is_verdict(LOG_DAMAGED, 11, "but a missing frame that is found in there is damage");
    end();
}

/* For whoever opens the log next: where it ends, and no look at what lies behind. */
static void test_glance(void)
{
    struct log_recovery glance;
    begin();
    uint64_t offset = maker.frame_offset;
    recover();
    log_maker_write_spare(dir, 2, CAPACITY);
    read_fault_set("seg-0000000002.log", 9 * LOG_BLOCK_SIZE, EIO);
    is_int(log_glance(dir, &glance, &error), 0, "a glance finds the end");
    ok(glance.exists && glance.last_seq == got.last_seq && glance.last_seq == 16 &&
           glance.last_time_ns == got.last_time_ns && glance.end_offset == got.end_offset,
       "that recovery finds");
    is_mem(glance.log_uuid, got.log_uuid, UUID_SIZE, "of the same log");
    is_mem(glance.chain, got.chain, SHA256_SIZE, "with the same chain");
    is_int(read_fault_count(), 0, "and does not read the file behind");
    log_recover(dir, NULL, 0, &got, &error);
    ok(read_fault_count() > 0, "which recovery does");
    read_fault_set(NULL, 0, 0);
    maker.bytes[offset + LOG_BLOCK_SIZE - 1] ^= 1;
    recover();
    is_verdict(LOG_DAMAGED, 11, "where a frame is damaged");
    is_int(log_glance(dir, &glance, &error), 0, "a glance");
    ok(glance.last_seq == 11 && glance.verdict == LOG_SOUND && glance.reason[0] == '\0',
       "judges nothing");
    ok(glance.last_time_ns == got.last_time_ns && glance.last_time_ns > 0, "it knows the time");
    end();
}

static void test_all_gone(void)
{
    struct log_witness outside = { "LMDB", 14 };
    begin();
    memset(maker.bytes, 0, CAPACITY);
    log_maker_write(&maker, dir);
    is_int(log_recover(dir, NULL, 0, &got, &error), 0, "a directory of spares is a new log");
    is_int(log_recover(dir, &outside, 1, &got, &error), ERROR_DAMAGED,
           "unless somebody has seen events of it: %s", error.text);
    end();
}

static void test_runs(void)
{
    begin();
    log_maker_frame(&maker, FRAME_TXN | FRAME_TXN_BEGIN, 2, 700);
    log_maker_frame(&maker, FRAME_TXN, 2, 700);
    recover();
    is_verdict(LOG_TORN, 16, "a command whose frames are not all there is left out");
    is_int(got.events_max, 4, "and counted");
    ok(strstr(got.reason, "not finished") != NULL, "and named");
    is_int(got.tail_bytes > LOG_BLOCK_SIZE, true, "its frames are the tail");
    log_maker_frame(&maker, FRAME_TXN | FRAME_TXN_END, 2, 700);
    recover();
    is_verdict(LOG_SOUND, 22, "with its last frame it is there");
    log_maker_frame(&maker, FRAME_TXN, 1, 10);
    recover();
    is_verdict(LOG_DAMAGED, 22, "a frame of a command that did not begin is damage");
    end();
}

/* Two segments: 1 to 16 with SEAL, and 17 on. */
static void begin_two(uint32_t epoch_more)
{
    begin();
    if (epoch_more == 0)
        log_maker_seal(&maker, FRAME_SEAL);
    log_maker_write(&maker, dir);
    log_maker_next(&maker, epoch_more);
}

static void test_segments(void)
{
    char third[4200], temporary[4210];
    begin_two(0);
    snprintf(third, sizeof third, "%s/seg-0000000003.log", dir);
    snprintf(temporary, sizeof temporary, "%s.tmp", third);
    uint64_t link = maker.link, last_seq = maker.next_seq - 1;
    recover();
    is_verdict(LOG_SOUND, last_seq, "a segment that was begun and holds nothing is a sound end");
    ok(got.last_segment_no == 2 && got.end_offset == LOG_BLOCK_SIZE, "it is the last");
    is_int(got.prev_link, link, "the link comes from the segment before it");
    is_int(got.last_time_ns, maker.last_time_ns, "so does the time");
    is_int(got.first_segment_no, 1, "the first is still there");
    log_maker_frame(&maker, 0, 2, 100);
    log_maker_write_spare(dir, 3, CAPACITY);
    log_maker_write_spare(dir, 4, CAPACITY);
    recover();
    is_verdict(LOG_SOUND, last_seq + 2, "spares behind it say nothing");
    unlink(third);
    recover();
    is_verdict(LOG_DAMAGED, last_seq + 2, "one that is missing before a spare may have been begun");
    ok(strstr(got.reason, "seg-0000000003.log: it is missing") != NULL, "and is named");
    is_int(verify_verdict(), LOG_DAMAGED, "verifying finds it too");
    log_maker_write_spare(dir, 3, CAPACITY);
    rename(third, temporary);
    recover();
    is_verdict(LOG_SOUND, last_seq + 2, "unless it was being made, or was given up");
    is_int(verify_verdict(), LOG_SOUND, "for verifying too");
    unlink(temporary);
    for (unsigned size = 0; size <= 5000; size += 1000) {
        unlink(third);
        log_maker_write_spare(dir, 3, size);
        recover();
        is_verdict(LOG_DAMAGED, last_seq + 2, "one that is too short may have been begun too");
        is_int(verify_verdict(), LOG_DAMAGED, "for verifying too");
    }
    unlink(scratch_path("log/seg-0000000004.log"));
    unlink(third);
    unlink(scratch_path("log/seg-0000000001.log"));
    recover();
    is_verdict(LOG_SOUND, last_seq + 2, "a log whose first segments are gone begins late");
    is_int(got.first_seq, last_seq + 1, "with its first segment's first event");
    end();
}

static void test_headers(void)
{
    begin_two(0);
    uint64_t last_seq = maker.next_seq - 1;
    log_maker_frame(&maker, 0, 2, 100);
    maker.bytes[100] ^= 1;
    recover();
    is_verdict(LOG_DAMAGED, last_seq, "a damaged header of the newest segment is damage");
    memset(maker.bytes, 0, LOG_BLOCK_SIZE);
    recover();
    is_verdict(LOG_DAMAGED, last_seq, "so is one that is gone while a frame is there");
    end();

    begin_two(0);
    log_maker_seal(&maker, FRAME_SEAL);
    log_maker_write(&maker, dir);
    log_maker_next(&maker, 0);
    log_maker_write(&maker, dir);
    unlink(scratch_path("log/seg-0000000002.log"));
    ok(recover() == ERROR_DAMAGED && strstr(error.text, "seg-0000000002.log is missing") != NULL,
       "a missing segment is an error that names it");
    end();

    begin_two(0);
    memset(maker.header.log_uuid, 9, UUID_SIZE);
    segment_header_encode(maker.bytes, &maker.header);
    is_int(recover(), ERROR_MISMATCH, "segments of two logs are an error");
    end();

    begin();
    maker.header.incompat = 8;
    segment_header_encode(maker.bytes, &maker.header);
    is_int(recover(), ERROR_NEWER, "a segment of a newer format is an error");
    end();
}

static void test_fence(void)
{
    begin();
    struct log_maker before = maker;
    uint64_t end_offset = maker.offset;
    log_maker_frame(&maker, 0, 5, 100);
    log_maker_write(&maker, dir);
    /* The next writer did not count the last frame. */
    maker.next_seq = before.next_seq;
    maker.offset = end_offset;
    maker.link = before.link;
    memcpy(maker.chain, before.chain, SHA256_SIZE);
    log_maker_next(&maker, 1);
    log_maker_open(&maker);
    is_int(recover(), 0, "a log with a fenced frame is recovered");
    is_verdict(LOG_SOUND, 17, "what the next segment left out does not count");
    is_int(got.epoch, 2, "the epoch is the newest");
    end();
}

static void test_nothing(void)
{
    dir = scratch_path("log");
    ok(log_recover(dir, NULL, 0, &got, &error) == -ENOENT, "a directory that is not there: %s",
       error.text);
    mkdir(dir, 0700);
    is_int(log_recover(dir, NULL, 0, &got, &error), 0, "an empty directory is read");
    ok(!got.exists, "and holds no log");
    log_maker_write_spare(dir, 1, CAPACITY);
    is_int(log_recover(dir, NULL, 0, &got, &error), 0, "so is one with a spare");
    ok(!got.exists, "and holds no log");
    scratch_remove(dir);
}

int main(void)
{
    test_ends();
    test_torn();
    test_shape();
    test_zero_payload();
    test_witnesses();
    test_short();
    test_foreign();
    test_unreadable();
    test_lost_beginning();
    test_glance();
    test_all_gone();
    test_runs();
    test_segments();
    test_headers();
    test_fence();
    test_nothing();
    return tap_done();
}
