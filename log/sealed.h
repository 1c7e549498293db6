/* A sealed segment, `seg-<10 digits>.zlog`: the bytes of a segment that is over, compressed, and
 * nothing else: unpacked it is the raw file again, bit by bit, with its checksums, its chain and
 * what a crash left behind its end. docs/daa-log-format.5 has the bytes. `zstd -dc` unpacks it too:
 *
 *     a skippable zstd frame of 8 KiB, the FRONT: what the file holds, and the segment's own header
 *     zstd frames, one for each CHUNK of the raw bytes
 *     a skippable frame, the INDEX: size and CRC-32C of each chunk
 *     a skippable frame, zstd's own seek table (contrib/seekable_format of zstd)
 *
 * For log/ only: the rest reads it through log/source.h.
 *
 * Memory: the index (12 bytes a chunk), zstd's own and one buffer for packed bytes, on the budget.
 * Threads: belongs to one thread. */
#ifndef LOG_SEALED_H
#define LOG_SEALED_H

#include "core/base/budget.h"
#include "core/base/error.h"
#include "core/base/sha256.h"
#include "log/segment.h"

#include <stdbool.h>
#include <stdint.h>

#define SEALED_NAME_FORMAT "seg-%010llu.zlog"
#define SEALED_CHUNK_SIZE (128u << 10) /* a point read unpacks one; larger hardly gets smaller */
#define SEALED_CHUNK_SIZE_MIN (64u << 10)
#define SEALED_CHUNK_SIZE_MAX (256u << 10)

/* The front: little-endian, in the file's first 8 KiB. All that is not named is zero. */
#define SEALED_FRONT_SIZE (2u * LOG_BLOCK_SIZE)
#define SEALED_FRONT_MAGIC 0x184d2a50u /* of a skippable frame */
#define SEALED_INDEX_MAGIC 0x184d2a51u
#define SEALED_TABLE_MAGIC 0x184d2a5eu
#define SEALED_TABLE_END 0x8f92eab1u
#define SEALED_NAME_MAGIC "DAAZSEG1"
#define SEALED_VERSION 1u
enum {
    FRONT_AT_ZSTD_MAGIC = 0,    /* u32 SEALED_FRONT_MAGIC */
    FRONT_AT_ZSTD_SIZE = 4,     /* u32 8184 */
    FRONT_AT_MAGIC = 8,         /* 8 */
    FRONT_AT_VERSION = 16,      /* u32 = 1 */
    FRONT_AT_CRC = 20,          /* u32 CRC-32C over [0,20) and [24,8192) */
    FRONT_AT_USED = 24,         /* u64 raw bytes that are here: all behind them are zero */
    FRONT_AT_END_OFFSET = 32,   /* u64 end of the last frame that counts */
    FRONT_AT_LAST_SEQ = 40,     /* u64 of that frame */
    FRONT_AT_CHAIN = 48,        /* 32, chain after that frame */
    FRONT_AT_RECORD_COUNT = 80, /* u64 */
    FRONT_AT_MIN_TIME_NS = 88,  /* u64, UINT64_MAX without a record */
    FRONT_AT_MAX_TIME_NS = 96,  /* u64, 0 without a record */
    FRONT_AT_FILE_SIZE = 104,   /* u64 of this file */
    FRONT_AT_INDEX = 112,       /* u64 offset of the INDEX */
    FRONT_AT_CHUNK_SIZE = 120,  /* u32 raw bytes; the last chunk may be shorter */
    FRONT_AT_CHUNK_COUNT = 124, /* u32 */
    FRONT_AT_MERKLE_ROOT = 128, /* 32, over the records that count (log/merkle.h) */
    FRONT_END_OF_FIELDS = 160,
    FRONT_AT_HEADER = 4096 /* 4096: block 0 of the segment, as it is in the first chunk too */
};

/* The index, behind the 8 bytes of its skippable frame: chunk_count x { u32 packed size, u32
 * CRC-32C of the packed bytes }, u32 CRC-32C over all before it, those 8 bytes too. */
#define SEALED_ENTRY_BYTES 8u

struct sealed_front {
    uint64_t used, end_offset, last_seq, record_count, min_time_ns, max_time_ns;
    uint64_t file_size, index_offset;
    uint32_t chunk_size, chunk_count;
    uint8_t chain[SHA256_SIZE], merkle_root[SHA256_SIZE];
    uint8_t block[LOG_BLOCK_SIZE]; /* the segment's header, encoded */
    struct segment_header header;  /* decoded */
};

void sealed_name(char name[LOG_SEGMENT_NAME_SIZE], uint64_t segment_no);
/* False unless it is exactly a sealed segment's name. */
bool sealed_no_of_name(const char *name, uint64_t *segment_no);

/* Encoding writes `block`, not `header`. Decoding: 0, ERROR_DAMAGED, ERROR_NEWER. */
void sealed_front_encode(uint8_t bytes[SEALED_FRONT_SIZE], const struct sealed_front *front);
int sealed_front_decode(const uint8_t bytes[SEALED_FRONT_SIZE], struct sealed_front *front,
                        struct error *error);

static inline uint64_t sealed_index_size(uint32_t chunk_count)
{
    return 8 + (uint64_t)chunk_count * SEALED_ENTRY_BYTES + 4;
}
/* zstd's seek table has an entry for each frame, the two skippable ones too. */
static inline uint64_t sealed_table_size(uint32_t chunk_count)
{
    return 8 + ((uint64_t)chunk_count + 2) * 8 + 9;
}
/* Raw bytes of chunk `chunk`. */
static inline uint32_t sealed_chunk_bytes(const struct sealed_front *front, uint32_t chunk)
{
    uint64_t left = front->used - (uint64_t)chunk * front->chunk_size;
    return left < front->chunk_size ? (uint32_t)left : front->chunk_size;
}

/* INDEX and seek table of these sizes and checksums, as they stand behind the chunks. */
void sealed_tables_encode(uint8_t *bytes, const struct sealed_front *front, const uint32_t *sizes,
                          const uint32_t *checksums);
/* Takes them apart: offsets gets chunk_count + 1 places in the file, checksums chunk_count. 0 or
 * ERROR_DAMAGED; every byte is checked. */
int sealed_tables_decode(const uint8_t *bytes, const struct sealed_front *front, uint64_t *offsets,
                         uint32_t *checksums, struct error *error);

enum { SEALED_FLIPS_MAX = 16 };

/* An open sealed file. */
struct sealed {
    struct budget *budget; /* may be NULL */
    uint64_t budgeted;
    struct sealed_front front;
    bool loaded;         /* the tables were read */
    uint64_t *offsets;   /* chunk_count + 1 */
    uint32_t *checksums; /* chunk_count */
    uint8_t *packed;     /* aligned */
    uint64_t packed_capacity, packed_offset, packed_size;
    bool near_only; /* reading ahead failed: for want of memory, or for a bad sector that the disk
                       is not to be asked for again and again */
    void *zstd;
    /* Bits of the file that are wrong on the disk and right here: sealed_mend(). */
    struct sealed_flip {
        uint64_t offset;
        uint8_t mask;
    } flips[SEALED_FLIPS_MAX];
    unsigned flip_count;
};

/* Reads the front of the open file `fd`. *sealed is NULL on error: ERROR_DAMAGED, ERROR_NEWER,
 * ERROR_BUDGET, -errno; `error` says what is wrong, without a name. */
int sealed_open(struct sealed **sealed, int fd, uint64_t file_size, struct budget *budget,
                struct error *error);
void sealed_close(struct sealed *sealed);

/* Reads the tables, if that was not done: `offsets` says where the chunks are then. */
int sealed_load(struct sealed *sealed, int fd, uint64_t *bytes_read);
/* Unpacks one chunk of which `there` packed bytes are at hand: 0, ERROR_TRUNCATED, ERROR_DAMAGED.
 */
int sealed_unpack(struct sealed *sealed, uint32_t chunk, const uint8_t *packed, uint64_t there,
                  uint8_t *target);

/* Unpacks chunks [first, first + count) to `target`. Reads packed bytes `ahead` for whoever will
 * want the chunks behind them next, up to 1 MiB. 0, ERROR_DAMAGED, ERROR_BUDGET, -errno. What comes
 * from disk is counted in *bytes_read. */
int sealed_read(struct sealed *sealed, int fd, uint32_t first, uint32_t count, bool ahead,
                uint8_t *target, uint64_t *bytes_read);

/* A chunk that sealed_read() calls damaged: true if one bit of its packed bytes, flipped, makes it
 * whole. From then on it is read so; *offset is the byte in the file. */
bool sealed_mend(struct sealed *sealed, int fd, uint32_t chunk, uint64_t *offset, unsigned *bit);

#endif
