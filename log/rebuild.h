/* Frames that were lost, put together again out of their records. Pure.
 *
 * Records alone are not a frame. Most of a header follows from what stands around it: salt and
 * epoch from the segment, number and link from the frame before, times and sizes from the records.
 * Three things do not: where one frame ended and the next began, whether it was a part of a larger
 * command, and how much was durable when it was closed (durable_seq). There are few ways for those,
 * so they are tried, likely ones first; and a way counts only if the SHA-256 chain comes out as
 * bytes that are still whole demand: those of the frame behind, of the next segment's header or of
 * CHECKPOINT, or the 32 bytes of the chain that stand in the frame's own place. So what comes out
 * is what stood there, bit by bit, or nothing does.
 *
 * Limits: so many frames in a row that nothing tells apart are not found: REBUILD_WORK_MAX.
 * Memory: 170 KiB on the heap, and the stack, up to 2 MiB where a thousand frames are missing.
 * Threads: any. */
#ifndef LOG_REBUILD_H
#define LOG_REBUILD_H

#include "log/scan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REBUILD_WORK_MAX (UINT64_C(1) << 31) /* bytes that are hashed at most: some seconds */
enum { REBUILD_FRAMES_MAX = 1000 };

struct rebuild {
    const struct segment_header *segment;
    const struct scan_mark *before; /* behind the last good frame: the chain is known there */
    bool in_run;                    /* and it is inside a command */
    uint64_t durable_seq;           /* that it, or the segment's header, knew of */
    /* Last numbers of the frames before, newest first, before->last_seq the first of them. */
    const uint64_t *ends;
    size_t end_count;

    const uint8_t *disk; /* what stands there now; what cannot be read is zero */
    uint64_t size;       /* bytes of the gap, whole blocks */

    const uint8_t *records; /* of the gap, in order, beginning with before->last_seq + 1 */
    const uint64_t *at;     /* record i is records[at[i]] up to records[at[i + 1]] */
    const uint64_t *places; /* of record i, in bytes from the gap's beginning; 0: not known */
    size_t count;
    bool indexed; /* places has the first record of each block, but for a frame of the log's own */

    bool all;            /* the records fill the gap, and what follows demands a chain: */
    const uint8_t *next; /* the whole frame behind it; NULL: there is none, */
    struct frame_header next_header;
    uint8_t chain[SHA256_SIZE]; /* and this is the chain at its end */
};

/* Puts the frames at `target`, which has room for the gap. Bytes of them that are proven, from the
 * gap's beginning on; 0: none are. -ENOMEM. */
int64_t rebuild_frames(const struct rebuild *rebuild, uint8_t *target);

#endif
