/* Every constant of the event log's bytes. docs/daa-log-format.5 says the same in words; the golden
 * files in t/golden hold both to it. All integers little-endian; all reserved bytes are 0 and
 * checked.
 *
 * A directory holds segments `seg-<10 digits>.log`, each `capacity` bytes, zero-filled and synced
 * before use (a spare is a segment that is still all zero), CHECKPOINT, LOCK and, while a writer
 * runs, `image`.
 *
 * A segment: block 0 is its header; frames follow from block 1, each starting on a block, spanning
 * whole blocks, written exactly once; behind the last one everything is zero. Its last frame, when
 * it ended in order, is SEAL (the next segment goes on) or CLOSE (clean stop). A segment that ended
 * in a crash has neither: the next one's header says where it ends (prev_last_seq,
 * prev_end_offset). */
#ifndef LOG_FORMAT_H
#define LOG_FORMAT_H

#include <stdint.h>

#define LOG_BLOCK_SIZE 4096u
#define LOG_SECTOR_SIZE 512u /* what a device writes whole or not at all */
#define LOG_SEGMENT_SIZE (64u << 20)
#define LOG_SEGMENT_SIZE_MIN (256u << 10)
#define LOG_SEGMENT_SIZE_MAX (1u << 30)
#define LOG_FRAME_SIZE_MAX (16u << 20)  /* and a quarter of the segment, if that is less */
#define LOG_PAYLOAD_SIZE_MAX (8u << 20) /* and what fits a frame, if that is less */
#define LOG_VERSION_MAJOR 1u
#define LOG_VERSION_MINOR 1u

#define LOG_SEGMENT_NAME_FORMAT "seg-%010llu.log"
#define LOG_SEGMENT_NAME_SIZE 32
#define LOG_CHECKPOINT_NAME "CHECKPOINT"
#define LOG_LOCK_NAME "LOCK"
#define LOG_FORK_NAME "FORK"   /* log/fork.h */
#define LOG_PLACE_NAME "PLACE" /* log/place.h */

/* Segment header: one block. */
#define SEGMENT_MAGIC                                                                              \
    "\x89"                                                                                         \
    "DAAL\r\n\x1a"
enum {
    SEGMENT_AT_MAGIC = 0,           /* 8 */
    SEGMENT_AT_MAJOR = 8,           /* u16 */
    SEGMENT_AT_MINOR = 10,          /* u16 */
    SEGMENT_AT_CRC = 12,            /* u32 CRC-32C over [0,12) and [16,4096) */
    SEGMENT_AT_LOG_UUID = 16,       /* 16 */
    SEGMENT_AT_SEGMENT_NO = 32,     /* u64, from 1 */
    SEGMENT_AT_FIRST_SEQ = 40,      /* u64, of the first record to come */
    SEGMENT_AT_CREATED_NS = 48,     /* u64 log time */
    SEGMENT_AT_SALT = 56,           /* u64 random: tells this use of the file from an earlier one */
    SEGMENT_AT_BLOCK_SIZE = 64,     /* u32 = 4096 */
    SEGMENT_AT_EPOCH = 68,          /* u32, + 1 at each opening of the log */
    SEGMENT_AT_CAPACITY = 72,       /* u64 bytes */
    SEGMENT_AT_PREV_CHAIN = 80,     /* 32, chain of the last frame before this segment */
    SEGMENT_AT_PREV_LAST_SEQ = 112, /* u64, 0 for the first */
    SEGMENT_AT_PREV_END_OFFSET = 120, /* u64, end of the last valid frame of prev_segment_no */
    SEGMENT_AT_COMPAT = 128,          /* u32 */
    SEGMENT_AT_INCOMPAT = 132,        /* u32: an unknown bit means "do not read" */
    SEGMENT_AT_CHECKSUM = 136,        /* u8: 1 CRC-32C */
    SEGMENT_AT_HASH = 137,            /* u8: 0 no chain, 1 SHA-256 */
    SEGMENT_AT_EVENT_SCHEMA = 138,    /* u16, since 1.1: the highest that its writer may write; 0
                                         means 1 */
    SEGMENT_AT_RESERVED = 140,        /* 4 bytes = 0; so are those behind the last field */
    SEGMENT_AT_BOOT_ID = 144,         /* 16, of the kernel that wrote it */
    SEGMENT_AT_PREV_SEGMENT_NO = 160, /* u64, 0 for the first */
    SEGMENT_AT_DURABLE_SEQ = 168,     /* u64, witness: durable when this header was built */
    SEGMENT_END_OF_FIELDS_1_0 = 176,
    /* Since 1.1, with LOG_INCOMPAT_FORKED, else 0: where this log left another. */
    SEGMENT_AT_PARENT_UUID = 176,  /* 16, log_uuid of the other */
    SEGMENT_AT_PARENT_SEQ = 192,   /* u64, its last record that this log has too */
    SEGMENT_AT_PARENT_CHAIN = 200, /* 32, chain after that record's frame */
    SEGMENT_END_OF_FIELDS = 232
};

/* In every segment of a log that has a parent: uuids change within the directory. */
#define LOG_INCOMPAT_FORKED 1u
#define LOG_INCOMPAT_KNOWN LOG_INCOMPAT_FORKED

/* Frame header: 128 bytes, then the records, then zeros to the end of the last block. */
#define FRAME_MAGIC "DAF1"
#define FRAME_HEADER_SIZE 128u
enum {
    FRAME_AT_MAGIC = 0,         /* 4 */
    FRAME_AT_HEADER_CRC = 4,    /* u32 CRC-32C over [8,128) */
    FRAME_AT_SALT = 8,          /* u64 = the segment's */
    FRAME_AT_FIRST_SEQ = 16,    /* u64 */
    FRAME_AT_FILE_OFFSET = 24,  /* u64, its own place */
    FRAME_AT_RECORD_COUNT = 32, /* u32 */
    FRAME_AT_BODY_SIZE = 36,    /* u32 bytes of the records, padded ones */
    FRAME_AT_BLOCK_COUNT = 40,  /* u32 */
    FRAME_AT_EPOCH = 44,        /* u32 */
    FRAME_AT_DURABLE_SEQ = 48,  /* u64, witness: durable when this frame was built */
    FRAME_AT_BASE_TIME_NS = 56, /* u64 log time of its first record */
    FRAME_AT_BODY_CRC = 64,     /* u32 over [128, block_count * 4096), zero padding too */
    FRAME_AT_FLAGS = 68,        /* u16 */
    FRAME_AT_CODEC = 70,        /* u8: 0 plain */
    FRAME_AT_VERSION = 71,      /* u8: 1 */
    FRAME_AT_RAW_SIZE = 72,     /* u32 body_size before compression; = body_size when plain */
    FRAME_AT_PREV_BLOCKS = 76, /* u32 block_count of the frame before it in this segment, 0: none */
    FRAME_AT_PREV_LINK = 80, /* u64 header_crc << 32 | body_crc of the frame before it in the log */
    FRAME_AT_RESERVED = 88,  /* u64 = 0 */
    FRAME_AT_CHAIN = 96 /* 32 SHA-256(previous chain, header[8..96), SHA-256(body with padding)) */
};

enum frame_flags {
    FRAME_TXN_BEGIN = 1,   /* first frame of a run that counts only as a whole */
    FRAME_TXN_END = 2,     /* last frame of a run */
    FRAME_ZSTD = 4,        /* reserved for sealed segments */
    FRAME_CHAIN = 8,       /* the chain field is computed */
    FRAME_SEAL = 16,       /* holds exactly one record, storage.sealed */
    FRAME_OPEN = 32,       /* holds exactly one record, storage.opened */
    FRAME_CLOSE = 64,      /* holds exactly one record, storage.closed */
    FRAME_ENCRYPTED = 128, /* reserved */
    FRAME_TXN = 256,       /* belongs to a run: begin, end and all between */
    FRAME_FLAGS_KNOWN = FRAME_TXN_BEGIN | FRAME_TXN_END | FRAME_CHAIN | FRAME_SEAL | FRAME_OPEN |
                        FRAME_CLOSE | FRAME_TXN
};

/* Record: 64-byte header, payload, zeros to a multiple of 8. */
#define RECORD_HEADER_SIZE 64u
enum {
    RECORD_AT_SIZE = 0,     /* u32, header and payload and padding */
    RECORD_AT_CRC = 4,      /* u32 CRC-32C over size and [8, size) */
    RECORD_AT_SEQ = 8,      /* u64 */
    RECORD_AT_STREAM = 16,  /* u64: seq of the event that created the thing; 0: the log itself */
    RECORD_AT_TIME_NS = 24, /* u64 log time, nanoseconds since 1970 */
    RECORD_AT_KIND = 32,    /* u16 */
    RECORD_AT_FLAGS = 34,   /* u16: none known yet; 1 zstd, 4 tombstone, 8 blob-ref, 16 encrypted */
    RECORD_AT_PAYLOAD_SIZE = 36,    /* u32 */
    RECORD_AT_CAUSE = 40,           /* u64: seq of the event that led to this one, 0: none */
    RECORD_AT_STREAM_PREV_SEQ = 48, /* u64: previous event of the stream, 0: the first */
    RECORD_AT_KEY_ID = 56,          /* u32: encryption key, 0 none */
    RECORD_AT_RESERVED = 60         /* u32 = 0 */
};

/* Kinds 1 to 15 are the log's own, with the payloads below; the rest are core/event's. */
enum log_kind {
    LOG_KIND_OPENED = 1,
    LOG_KIND_SEALED = 2,
    LOG_KIND_CLOSED = 3,
    LOG_KIND_FAILOVER = 4,
    LOG_KIND_SPACE = 5,
    LOG_KIND_STALLED = 6,
    LOG_KIND_OWN_MAX = 15
};

/* storage.opened: why and from what state this epoch began. */
enum {
    OPENED_AT_VERSION = 0,          /* u16 = 1 */
    OPENED_AT_VERDICT = 2,          /* u16 enum log_verdict on the tail that was found */
    OPENED_AT_EPOCH = 4,            /* u32 */
    OPENED_AT_LOG_UUID = 8,         /* 16 */
    OPENED_AT_PARENT_UUID = 24,     /* 16, zero: this log has no parent */
    OPENED_AT_PARENT_SEQ = 40,      /* u64 */
    OPENED_AT_PARENT_CHAIN = 48,    /* 32 */
    OPENED_AT_PREV_SEGMENT_NO = 80, /* u64 */
    OPENED_AT_PREV_LAST_SEQ = 88,   /* u64 */
    OPENED_AT_PREV_END_OFFSET = 96, /* u64 */
    OPENED_AT_TAIL_BYTES = 104,     /* u64 bytes behind it that hold anything and were left out */
    OPENED_AT_EVENTS_MAX = 112,     /* u64 events that they may have held, none acknowledged */
    OPENED_AT_BOOT_ID = 120,        /* 16 */
    OPENED_AT_SYNC_MODE = 136,      /* u8 1 RWF_DSYNC, 2 write and fdatasync */
    OPENED_AT_ENGINE = 137,         /* u8 1 ring, 2 plain, 3 another */
    OPENED_AT_REASON_SIZE = 138,    /* u16 */
    OPENED_AT_REASON = 140          /* text: the verdict in words */
};

/* storage.sealed and storage.closed: what the segment holds before this frame, and its index. */
enum {
    SEALED_AT_VERSION = 0,        /* u16 = 1 */
    SEALED_AT_BLOCK_COUNT = 4,    /* u32 entries of the index: blocks before this frame */
    SEALED_AT_FIRST_SEQ = 8,      /* u64 */
    SEALED_AT_LAST_SEQ = 16,      /* u64, of the last record before this one */
    SEALED_AT_RECORD_COUNT = 24,  /* u64 */
    SEALED_AT_FRAME_COUNT = 32,   /* u64 */
    SEALED_AT_PAYLOAD_BYTES = 40, /* u64 */
    SEALED_AT_MIN_TIME_NS = 48,   /* u64 */
    SEALED_AT_MAX_TIME_NS = 56,   /* u64 */
    SEALED_AT_INDEX = 64 /* block_count x { u32 seq - first_seq, u16 offset in the block } */
};
#define SEALED_ENTRY_SIZE 6u
/* No record starts in this block: its number is that of the block before it, 0 in block 0. */
#define SEALED_NO_RECORD 0xffffu

/* storage.failover: a write failed, and the log went on in another segment. */
enum {
    FAILOVER_AT_VERSION = 0,          /* u16 = 1 */
    FAILOVER_AT_COUNT = 2,            /* u16 failovers that it tells of; of the newest, if many */
    FAILOVER_AT_EPOCH = 4,            /* u32 that began */
    FAILOVER_AT_FAILED_NO = 8,        /* u64 the segment that could not be written */
    FAILOVER_AT_SEGMENT_NO = 16,      /* u64 the one in which the log went on */
    FAILOVER_AT_PREV_SEGMENT_NO = 24, /* u64 the next three are that one's header's */
    FAILOVER_AT_PREV_LAST_SEQ = 32,   /* u64 */
    FAILOVER_AT_PREV_END_OFFSET = 40, /* u64 */
    FAILOVER_AT_FRAMES = 48,      /* u64 that were not acknowledged and were written again, there */
    FAILOVER_AT_RECORDS = 56,     /* u64 in them */
    FAILOVER_AT_REASON_SIZE = 64, /* u16 */
    FAILOVER_AT_REASON = 66       /* text: what failed, in words */
};

/* storage.space: how much room there is has changed (log/space.h). */
enum {
    SPACE_AT_VERSION = 0,        /* u16 = 1 */
    SPACE_AT_BEFORE = 2,         /* u8 enum space_state */
    SPACE_AT_STATE = 3,          /* u8 enum space_state */
    SPACE_AT_RESERVED = 4,       /* u32 = 0 */
    SPACE_AT_FREE_BYTES = 8,     /* u64 of the filesystem */
    SPACE_AT_TOTAL_BYTES = 16,   /* u64 of the filesystem */
    SPACE_AT_BALLAST_BYTES = 24, /* u64 that the ballast took then */
    SPACE_AT_SPARES = 32,        /* u64 segments made ahead */
    SPACE_SIZE = 40
};

/* storage.stalled: writes took long, and are done. */
enum {
    STALLED_AT_VERSION = 0,    /* u16 = 1 */
    STALLED_AT_RESERVED = 2,   /* u16 = 0 */
    STALLED_AT_COUNT = 4,      /* u32 times, since the record before this one or the opening */
    STALLED_AT_LONGEST_NS = 8, /* u64 that the longest of them took */
    STALLED_SIZE = 16
};

/* CHECKPOINT: two blocks, written in turns; the valid one with the higher generation counts. */
#define CHECKPOINT_MAGIC "DAACKPT1"
enum {
    CHECKPOINT_AT_MAGIC = 0,        /* 8 */
    CHECKPOINT_AT_VERSION = 8,      /* u32 = 1 */
    CHECKPOINT_AT_CRC = 12,         /* u32 over [0,12) and [16,4096) */
    CHECKPOINT_AT_LOG_UUID = 16,    /* 16 */
    CHECKPOINT_AT_DURABLE_SEQ = 32, /* u64 */
    CHECKPOINT_AT_SEGMENT_NO = 40,  /* u64 */
    CHECKPOINT_AT_END_OFFSET = 48,  /* u64 */
    CHECKPOINT_AT_CHAIN = 56,       /* 32 */
    CHECKPOINT_AT_TIME_NS = 88,     /* u64 */
    CHECKPOINT_AT_GENERATION = 96,  /* u64 */
    CHECKPOINT_END_OF_FIELDS = 104
};

/* What is known about the end of a log, or about a range of it. */
enum log_verdict {
    LOG_SOUND = 0,    /* every byte is what was written */
    LOG_DAMAGED = 1,  /* it had been written whole: a witness or its shape proves it */
    LOG_TORN = 2,     /* its shape proves a partial write and no witness contradicts */
    LOG_UNPROVEN = 3, /* neither can be shown */
};

#endif
