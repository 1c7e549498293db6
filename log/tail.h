/* The verdict on what lies behind the last valid frame of a log. For log/ only.
 *
 * The model: a sector of 512 bytes is written whole or not at all, a write that was completed
 * durably stays, a segment is all zero before its first use. So:
 *   - a witness that knew an event behind the end to be durable proves damage;
 *   - where the block of the next frame cannot be read, or the file ends before it though it had
 *     its size when it got its name, that frame may have been acknowledged: damaged, since nothing
 *     proves that it was not;
 *   - where its first sector can be read and is zero it was not, nor was any behind it, whatever
 *     block there cannot be read or is not there: torn, and behind SEAL and CLOSE sound unless the
 *     file is too short;
 *   - a whole frame where it does not belong proves that the disk writes to wrong places: damaged;
 *   - a frame whose first sector is there has a valid header, or is damaged;
 *   - a frame whose body is wrong while each of its sectors is written is damaged;
 *   - a frame with a sector that should hold bytes and is still zero was being written: torn;
 *   - but unproven when one flipped bit would make it right too. That does not prove a flipped bit:
 *     the sector that is missing may have held nothing but that bit, and of the wrong checksums of
 *     a frame of 1 MiB every 512th is one of its 2^23 bits away from the right one.
 * Several frames are written at a time and land in any order, so valid frames behind a torn one
 * contradict nothing as long as they do not claim that it was durable.
 *
 * Threads: any, one call at a time per source. */
#ifndef LOG_TAIL_H
#define LOG_TAIL_H

#include "log/scan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A witness and the highest sequence number that it knows to be durable. */
struct tail_witness {
    uint64_t seq;
    uint64_t offset; /* of the frame, when that is who says so; else 0 */
    const char *name;
};

struct tail {
    enum log_verdict verdict;
    enum log_verdict shape;      /* the verdict from the bytes alone, without witnesses */
    struct tail_witness witness; /* in: the best from outside; out: the best of all */
    uint64_t unreadable;         /* offset of the first block there that cannot be read; 0: none */
    uint64_t bytes;      /* from the end to the last byte that is not zero, or cannot be read */
    uint64_t events_max; /* that they may have held */
    char reason[400];    /* the verdict in a clause, "at <offset> ..." */
};

/* Judges what lies behind scan->counted, after scan_next() answered `result` (SCAN_END, SCAN_BAD or
 * negative) at scan->here. Fills all of `tail`, which comes with the best outside witness. 0, or
 * negative for ERROR_BUDGET and -ENOMEM; what cannot be read is a verdict. */
int tail_judge(struct tail *tail, struct scan *scan, int result);

#endif
