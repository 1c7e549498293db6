/* tail_judge() on ends that a crash can leave and that look like something else. */
#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "log/recovery.h"

#include <stdlib.h>
#include <string.h>

#include "log_maker.h"
#include "scratch.h"
#include "tap.h"

#define CAPACITY (256u << 10)

/* A log of one frame whose only record ends with `last` as the first byte of a sector of its own.
 * Gives the frame's offset. */
static uint64_t make(struct log_maker *maker, uint8_t *payload, size_t size, uint8_t last)
{
    log_maker_init(maker, CAPACITY);
    log_maker_open(maker);
    maker->durable_seq = maker->next_seq - 1;
    memset(payload, 'x', size);
    payload[size - 1] = last;
    maker->payload = span_of(payload, size);
    return log_maker_frame(maker, 0, 1, 0);
}

static enum log_verdict recover(const struct log_maker *maker, uint64_t *last_seq)
{
    const char *dir = scratch_path("log");
    struct log_recovery got;
    struct error error = { 0 };
    log_maker_write(maker, dir);
    int result = log_recover(dir, NULL, 0, &got, &error);
    if (!is_int(result, 0, "the log is recovered"))
        tap_note("%s", error.text);
    scratch_remove(dir);
    *last_seq = got.last_seq;
    return got.verdict;
}

/* 'C' is of three bits and '@' of one: a sector that was not written is all zero in both. */
static void test_sector_of_one_bit(uint8_t last, enum log_verdict verdict, const char *name)
{
    enum { SIZE = 3 * LOG_SECTOR_SIZE - FRAME_HEADER_SIZE - RECORD_HEADER_SIZE + 1 };
    static uint8_t payload[SIZE];
    struct log_maker maker;
    uint64_t last_seq, frame = make(&maker, payload, SIZE, last);
    uint8_t *sector = maker.bytes + frame + 3 * LOG_SECTOR_SIZE;
    ok(sector[0] == last && bytes_are_zero(sector + 1, LOG_SECTOR_SIZE - 1),
       "the record's last byte stands alone in its sector");
    memset(sector, 0, LOG_SECTOR_SIZE);
    is_int(recover(&maker, &last_seq), verdict, "%s", name);
    is_int(last_seq, 1, "and the event before it stays");
    log_maker_free(&maker);
}

/* A frame is torn; the next opening writes its header and dies before OPEN; then the one after. */
static void test_opening_that_died(unsigned openings)
{
    static uint8_t payload[5000];
    struct log_maker maker;
    struct log_recovery got;
    struct error error = { 0 };
    const char *dir = scratch_path("died");
    uint64_t frame = make(&maker, payload, sizeof payload, 'x');
    memset(maker.bytes + frame + LOG_BLOCK_SIZE, 0, LOG_BLOCK_SIZE);
    log_maker_write(&maker, dir);
    /* It counts OPEN alone. */
    struct log_maker before = maker;
    log_maker_init(&maker, CAPACITY);
    log_maker_open(&maker);
    log_maker_free(&before);
    for (unsigned i = 0; i < openings; i++) {
        log_maker_next(&maker, 1);
        log_maker_write(&maker, dir);
    }
    is_int(log_recover(dir, NULL, 0, &got, &error), 0, "behind %u such openings it is recovered",
           openings);
    is_int(got.verdict, LOG_TORN, "the verdict on what they left out is not lost");
    is_int(got.events_max, 1, "nor how many events that may have held");
    is_int(got.tail_bytes, 0, "behind its own end there is nothing");
    ok(strstr(got.reason, "seg-0000000001.log that held at most 1 events (torn)") != NULL, "%s",
       got.reason);
    log_maker_open(&maker);
    log_maker_write(&maker, dir);
    log_recover(dir, NULL, 0, &got, &error);
    is_int(got.verdict, LOG_SOUND, "once it stands in the log it is not told again");
    log_maker_free(&maker);
    scratch_remove(dir);
}

static int compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

/* A sector without which the CRC of `size` bytes is wrong as if one bit of them were flipped:
 * `sector` ends with bytes to choose, and `rest` bytes follow it. */
static bool find_collision(uint8_t sector[LOG_SECTOR_SIZE], size_t rest, size_t size)
{
    static uint32_t of_one_bit[64 * 1024 * 8];
    static uint8_t zeros[64 * 1024], behind[64 * 1024];
    uint32_t shifted = 1;
    for (size_t bit = 0; bit < size * 8; bit++) {
        shifted = shifted & 1 ? shifted >> 1 ^ 0x82f63b78u : shifted >> 1;
        of_one_bit[bit] = shifted;
    }
    qsort(of_one_bit, size * 8, sizeof *of_one_bit, compare);
    uint32_t without = crc32c(zeros, LOG_SECTOR_SIZE + rest);
    for (uint32_t choice = 1; choice < 1000000; choice++) {
        bytes_put_u32(sector + LOG_SECTOR_SIZE - 4, choice);
        memcpy(behind, sector, LOG_SECTOR_SIZE);
        uint32_t syndrome = crc32c(behind, LOG_SECTOR_SIZE + rest) ^ without;
        if (bsearch(&syndrome, of_one_bit, size * 8, sizeof syndrome, compare) != NULL)
            return true;
    }
    return false;
}

static void test_collision(void)
{
    enum { SIZE = 60000, SECTOR = 50 * LOG_SECTOR_SIZE, BLOCKS = 15 };
    static uint8_t payload[SIZE];
    struct log_maker maker;
    uint64_t last_seq;
    memset(payload, 'x', sizeof payload);
    bool found = find_collision(payload + SECTOR - FRAME_HEADER_SIZE - RECORD_HEADER_SIZE,
                                BLOCKS * LOG_BLOCK_SIZE - SECTOR - LOG_SECTOR_SIZE,
                                BLOCKS * LOG_BLOCK_SIZE - FRAME_HEADER_SIZE);
    ok(found, "there is a sector without which the checksum is one bit away");
    log_maker_init(&maker, CAPACITY);
    log_maker_open(&maker);
    maker.durable_seq = maker.next_seq - 1;
    maker.payload = span_of(payload, sizeof payload);
    uint64_t frame = log_maker_frame(&maker, 0, 1, 0);
    memset(maker.bytes + frame + SECTOR, 0, LOG_SECTOR_SIZE);
    is_int(recover(&maker, &last_seq), LOG_UNPROVEN, "nor is a frame without it taken for damage");
    log_maker_free(&maker);
}

int main(void)
{
    test_collision();
    test_opening_that_died(1);
    test_opening_that_died(2);
    test_sector_of_one_bit('C', LOG_TORN, "without it the frame is torn");
    test_sector_of_one_bit('@', LOG_UNPROVEN,
                           "a missing sector of one bit is not taken for damage");
    test_sector_of_one_bit(1, LOG_UNPROVEN, "whichever bit it is");
    return tap_done();
}
