/* Finds where a log ends, and says what is known about that end. Reads only; whoever appends next
 * opens a new segment behind it and fences off the rest (log/log.h).
 *
 * Bounded: the last segment and the file behind it are read, of the others only headers; memory is
 * one frame and two windows of 1 MiB, whatever the log's size. Only when the last segment holds no
 * frame is the one before it scanned too: the opening that began it died before it could record its
 * verdict on what it left out there, so verdict, events_max and reason tell of that as well.
 *
 * The model (docs/daa-log-format.5): sectors of 512 bytes are written whole or not at all; a write
 * that was completed with DSYNC stays. Witnesses of durability: durable_seq in frames and segment
 * headers, CHECKPOINT, and those the caller brings (LMDB's applied_seq, a Postgres position).
 *
 * No end is moved back over what the disk cannot read without a proof that nothing acknowledged
 * stands there. For the block in which the next frame would stand there is none, whatever witnesses
 * say: the verdict is damaged, and a person decides (daa-log repair, from a copy or with --cut-at).
 * A block that cannot be read further behind does not stop an agent: the first sector of the frame
 * before it is zero, so that frame was not acknowledged, nor was any behind it. A file that begins
 * with zeros and holds a frame is no spare. A file is whole when it gets its name, and files follow
 * upon each other: where the newest is cut off before the block of the next frame, and where a
 * number is missing before a spare, events may have stood, and no crash leaves either: damaged.
 * What is left are events that a disk lost without a trace: t/log-lies.c says which.
 *
 * A directory that was copied while a writer ran holds files of different moments. When it is not
 * where the log was written and misses events that a witness or a later segment knows of, the
 * verdict is damaged and the reason gives the way out. In such a directory only, this costs a look
 * at the end of each segment, and before it is written to for the first time a read of all of it.
 *
 * What it counts is synced first: a reader shows it, and it must not be gone after a loss of power.
 *
 * Threads: any, one call at a time per directory. */
#ifndef LOG_RECOVERY_H
#define LOG_RECOVERY_H

#include "core/base/error.h"
#include "core/base/id.h"
#include "core/base/sha256.h"
#include "log/format.h"

#include <stdbool.h>
#include <stdint.h>

struct log_witness {
    const char *name; /* "LMDB", "Postgres": for messages */
    uint64_t seq;     /* it has seen everything up to here */
};

struct log_recovery {
    bool exists;                 /* false: no segment has been begun; everything below is zero */
    uint8_t log_uuid[UUID_SIZE]; /* of the newest segment */
    bool forked;                 /* the log has a parent (log/fork.h); else the next three are 0 */
    uint8_t parent_uuid[UUID_SIZE];
    uint64_t parent_seq;
    uint8_t parent_chain[SHA256_SIZE];
    uint16_t format_minor;     /* of the newest segment, as the next */
    uint16_t event_schema;     /* the highest that its writer may write */
    bool moved;                /* the directory is not where the log was written (log/place.h) */
    uint64_t capacity;         /* of its segments, bytes */
    uint64_t first_segment_no; /* oldest that is there */
    uint64_t first_seq;        /* of that one */
    uint64_t last_segment_no;  /* the newest that was begun */
    uint32_t epoch;            /* the highest seen */
    uint8_t hash;              /* of the last segment */
    bool clean;                /* it ends with a CLOSE frame */

    uint64_t last_seq;     /* of the last record that counts; 0: none */
    uint64_t last_time_ns; /* log time of that record */
    uint64_t end_offset;   /* end of the last frame that counts, in last_segment_no */
    uint64_t prev_link;    /* of that frame; 0 when there is none */
    uint8_t chain[SHA256_SIZE];

    /* The file behind last_segment_no, when it is not all zero though it was not begun. Where the
     * verdict is not damaged for it, whoever writes next makes it anew. 0: it is zero. */
    uint64_t unclean_no;
    enum log_verdict verdict; /* on what lies behind end_offset */
    uint64_t witness_seq;     /* the highest that any witness knows */
    const char *witness; /* who: "a frame", "CHECKPOINT", "a segment header" or a caller's name */
    uint64_t tail_bytes; /* from end_offset to the last byte that is not zero */
    uint64_t events_max; /* that the tail may have held */
    char reason[512];    /* the verdict in a sentence: segment, offset, expected seq, why */
};

/* Looks at the log in `dir` under its newest segments' LOCK_SH. 0 with a verdict (LOG_DAMAGED is a
 * verdict too); negative when the directory or a file cannot be read, is of a newer version, or
 * segments are missing or belong to another log, unless a later one forked from it. ERROR_LOCKED
 * while the newest segment is held by a writer, or by the last write of one that was killed. */
int log_recover(const char *dir, const struct log_witness *witnesses, unsigned witness_count,
                struct log_recovery *recovery, struct error *error);

/* The same for whoever is about to write: waits for the last write of a process that was killed. Of
 * a directory that is not where the log was written all is read, since a copy may miss events in
 * the middle of a segment too. */
int log_recover_to_write(const char *dir, const struct log_witness *witnesses,
                         unsigned witness_count, struct log_recovery *recovery,
                         struct error *error);

/* Which log it is, and its last record that counts, for whoever opens it for good next, which
 * judges its end: here the verdict is sound and the reason empty whatever lies behind. That is
 * known without reading the rest of the newest segment and the file behind it. Waits as
 * log_recover_to_write(). Of a directory that is not where the log was written the end is judged
 * all the same. */
int log_glance(const char *dir, struct log_recovery *recovery, struct error *error);

#endif
