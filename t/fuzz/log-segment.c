/* The first byte says what is put right of the checksums; the rest is the beginning of a small
 * segment, which recovery, verify and the reader then get as a file. They agree on it. */
#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/crc32c.h"
#include "log/frame.h"
#include "log/reader.h"
#include "log/segment.h"
#include "log/verify.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

#define CAPACITY LOG_SEGMENT_SIZE_MIN

/* In memory, where there is such a filesystem: each input is a file. */
static char dir[] = "/dev/shm/daa-fuzz-XXXXXX";
static char path[64];
static uint8_t segment[CAPACITY];

static void remove_files(void)
{
    unlink(path);
    rmdir(dir);
}

static void put_header_right(void)
{
    memcpy(segment, SEGMENT_MAGIC, 8);
    bytes_put_u64(segment + SEGMENT_AT_CAPACITY, CAPACITY);
    bytes_put_u64(segment + SEGMENT_AT_SEGMENT_NO, 1);
    bytes_put_u64(segment + SEGMENT_AT_FIRST_SEQ,
                  bytes_get_u64(segment + SEGMENT_AT_PREV_LAST_SEQ) + 1);
    bytes_put_u32(segment + SEGMENT_AT_CRC,
                  crc32c_more(crc32c(segment, SEGMENT_AT_CRC), segment + SEGMENT_AT_LOG_UUID,
                              LOG_BLOCK_SIZE - SEGMENT_AT_LOG_UUID));
}

static void put_records_right(uint8_t *frame, uint32_t body_size)
{
    for (uint32_t at = 0; body_size - at >= RECORD_HEADER_SIZE;) {
        uint8_t *record = frame + FRAME_HEADER_SIZE + at;
        uint32_t size = bytes_get_u32(record + RECORD_AT_SIZE);
        if (size < RECORD_HEADER_SIZE || size > body_size - at)
            return;
        bytes_put_u32(record + RECORD_AT_CRC,
                      crc32c_more(crc32c(record, 4), record + RECORD_AT_SEQ, size - RECORD_AT_SEQ));
        at += size;
    }
}

/* Every block that begins like a frame becomes one with good checksums. */
static void put_frames_right(void)
{
    for (uint32_t at = LOG_BLOCK_SIZE; at < CAPACITY; at += LOG_BLOCK_SIZE) {
        uint8_t *frame = segment + at;
        uint32_t body_size = bytes_get_u32(frame + FRAME_AT_BODY_SIZE);
        if (memcmp(frame, FRAME_MAGIC, 4) != 0)
            continue;
        if (body_size > CAPACITY - at - FRAME_HEADER_SIZE)
            body_size = CAPACITY - at - FRAME_HEADER_SIZE;
        uint32_t blocks = frame_block_count(body_size);
        bytes_put_u32(frame + FRAME_AT_BODY_SIZE, body_size);
        bytes_put_u32(frame + FRAME_AT_RAW_SIZE, body_size);
        bytes_put_u32(frame + FRAME_AT_BLOCK_COUNT, blocks);
        memcpy(frame + FRAME_AT_SALT, segment + SEGMENT_AT_SALT, 8);
        put_records_right(frame, body_size);
        bytes_put_u32(
            frame + FRAME_AT_BODY_CRC,
            crc32c(frame + FRAME_HEADER_SIZE, (size_t)blocks * LOG_BLOCK_SIZE - FRAME_HEADER_SIZE));
        bytes_put_u32(frame + FRAME_AT_HEADER_CRC,
                      crc32c(frame + FRAME_AT_SALT, FRAME_HEADER_SIZE - FRAME_AT_SALT));
    }
}

static void write_segment(const uint8_t *input, size_t size)
{
    static bool made;
    if (!made) {
        if (mkdtemp(dir) == NULL)
            CHECK(mkdtemp(memcpy(dir, "/var/tmp/daa-fuzz-XXXXXX", sizeof dir)) != NULL);
        snprintf(path, sizeof path, "%s/seg-0000000001.log", dir);
        atexit(remove_files);
        made = true;
    }
    memset(segment, 0, sizeof segment);
    memcpy(segment, input + 1, size - 1 < CAPACITY ? size - 1 : CAPACITY);
    if (input[0] & 1)
        put_header_right();
    if (input[0] & 2)
        put_frames_right();
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK(write(fd, segment, CAPACITY) == CAPACITY);
    close(fd);
}

/* Reads all; returns the last event's number and *code. */
static uint64_t read_all(bool skip_damage, int *code)
{
    struct log_reader *reader;
    struct record record;
    struct error error;
    struct log_reader_options options = { .dir = dir, .skip_damage = skip_damage };
    uint64_t last = 0;
    *code = log_reader_open(&reader, &options, &error);
    if (*code < 0)
        return 0;
    while ((*code = log_reader_next(reader, &record, NULL, &error)) == 1) {
        CHECK(record.seq > last);
        last = record.seq;
    }
    for (uint64_t seq = last > 3 ? last - 3 : 1; seq <= last; seq++)
        (void)log_reader_get(reader, seq, &record, NULL, &error);
    log_reader_close(reader);
    return last;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct log_recovery recovery;
    struct log_verify_result result;
    struct log_verify_options options = { .dir = dir };
    struct error error;
    int read, skipped;
    if (size < 1)
        return 0;
    write_segment(input, size);
    int recovered = log_recover(dir, NULL, 0, &recovery, &error);
    int verified = log_verify(&options, &result, &error);
    uint64_t last = read_all(false, &read);
    (void)read_all(true, &skipped);
    if (recovered == 0 && recovery.exists && recovery.end_offset > LOG_BLOCK_SIZE &&
        recovery.last_seq > 0) {
        CHECK(last == recovery.last_seq);
        CHECK((read < 0) == (recovery.verdict == LOG_DAMAGED));
    }
    if (verified == 0 && result.verdict == LOG_SOUND) {
        CHECK(recovered == 0);
        CHECK(recovery.verdict == LOG_SOUND);
        CHECK(read == 0);
    }
    return 0;
}
