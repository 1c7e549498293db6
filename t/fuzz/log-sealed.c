/* A whole sealed file is changed by the input: a byte that says what is put right of the checksums,
 * then changes of 5 bytes each (u32 place, u8 what is XORed there). What unpacks of it must be in
 * bounds, and without a checksum put right it is what was packed. */
#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/crc32c.h"
#include "log/sealed.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

#define USED (SEALED_CHUNK_SIZE + 3 * LOG_BLOCK_SIZE)
#define FILE_MAX (USED + SEALED_FRONT_SIZE + 65536)

static uint8_t raw[2 * SEALED_CHUNK_SIZE], whole[FILE_MAX], file[FILE_MAX];
static uint8_t unpacked[2 * SEALED_CHUNK_SIZE];
static struct sealed_front front;
static int fd = -1;

/* Two chunks. */
static void make_whole(void)
{
    uint32_t sizes[2], checksums[2];
    struct segment_header header = { .segment_no = 1,
                                     .first_seq = 1,
                                     .epoch = 1,
                                     .capacity = LOG_SEGMENT_SIZE_MIN,
                                     .event_schema = 1 };
    segment_header_encode(raw, &header);
    for (size_t i = LOG_BLOCK_SIZE; i < USED; i++)
        raw[i] = (uint8_t)(i * i >> 7);
    front = (struct sealed_front){ .used = USED,
                                   .end_offset = USED,
                                   .last_seq = 5,
                                   .record_count = 5,
                                   .chunk_size = SEALED_CHUNK_SIZE,
                                   .chunk_count = 2 };
    memcpy(front.block, raw, LOG_BLOCK_SIZE);
    uint64_t offset = SEALED_FRONT_SIZE;
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t bytes = sealed_chunk_bytes(&front, i);
        sizes[i] = (uint32_t)ZSTD_compress(whole + offset, FILE_MAX - offset,
                                           raw + (size_t)i * SEALED_CHUNK_SIZE, bytes, 1);
        CHECK(!ZSTD_isError(sizes[i]));
        checksums[i] = crc32c(whole + offset, sizes[i]);
        offset += sizes[i];
    }
    front.index_offset = offset;
    front.file_size = offset + sealed_index_size(2) + sealed_table_size(2);
    sealed_tables_encode(whole + offset, &front, sizes, checksums);
    sealed_front_encode(whole, &front);
    fd = memfd_create("sealed", MFD_CLOEXEC);
    CHECK(fd >= 0);
}

static void put_right(uint8_t what)
{
    uint8_t *index = file + front.index_offset;
    if (what & 1) {
        uint64_t offset = SEALED_FRONT_SIZE;
        for (uint32_t i = 0; i < 2; i++) {
            uint32_t size = bytes_get_u32(index + 8 + (size_t)i * 8);
            if (size > front.index_offset - offset)
                size = (uint32_t)(front.index_offset - offset);
            bytes_put_u32(index + 12 + (size_t)i * 8, crc32c(file + offset, size));
            offset += size;
        }
    }
    if (what & 2)
        bytes_put_u32(index + sealed_index_size(2) - 4, crc32c(index, sealed_index_size(2) - 4));
    if (what & 4)
        bytes_put_u32(file + FRONT_AT_CRC,
                      crc32c_more(crc32c(file, FRONT_AT_CRC), file + FRONT_AT_CRC + 4,
                                  SEALED_FRONT_SIZE - FRONT_AT_CRC - 4));
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct sealed *sealed;
    uint64_t bytes_read = 0;
    if (fd < 0)
        make_whole();
    if (size < 1)
        return 0;
    memcpy(file, whole, front.file_size);
    for (size_t at = 1; at + 5 <= size; at += 5)
        file[bytes_get_u32(input + at) % front.file_size] ^= input[at + 4];
    put_right(input[0]);
    CHECK(pwrite(fd, file, front.file_size, 0) == (ssize_t)front.file_size);
    if (sealed_open(&sealed, fd, front.file_size, NULL, NULL) < 0)
        return 0;
    uint32_t count = sealed->front.chunk_count;
    bool fits = (uint64_t)count * sealed->front.chunk_size <= sizeof unpacked;
    int code = fits ? sealed_read(sealed, fd, 0, count, false, unpacked, &bytes_read) : -1;
    if (code == 0 && (input[0] & 7) == 0)
        CHECK(memcmp(unpacked, raw, USED) == 0);
    sealed_close(sealed);
    return 0;
}
