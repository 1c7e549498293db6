/* Mends a log that nobody has open: what one flipped bit made wrong, and what a copy of the same
 * log still has whole.
 *
 *   for each segment, oldest first: read it as it would be, frame by frame
 *     a frame is wrong -> flip the one bit that makes it whole, or take it from a copy;
 *                         it counts only if the scan, chain and all, then goes on behind it
 *     nothing helps    -> it is lost; go on behind it
 *   a segment that got better is written anew beside itself, compared, and takes the old one's
 *   name; the old file, as it is, stays in `<dir>/quarantine/<time>/` (a hard link: also what the
 *   disk cannot read stays what it was)
 *
 * Records that somebody else has (Postgres) mend frames too: a frame is built out of them, of what
 * is still whole here, and of what stands around it (log/rebuild.h). It is taken only when the
 * chain comes out as bytes of this log that are whole demand: then it is what was there. The header
 * of a segment is under no chain, and is not built.
 *
 * Nothing is ever cut but the end of a log, with a number that the caller names: when the events
 * behind it cannot be mended the log goes on from there under a new uuid (log/fork.h).
 *
 * What a copy has counts by its proof: a child that forked has our numbers and not our events. So a
 * header is taken only under our log's uuid, and a segment only when it ends as the one behind it
 * says. A copy that goes further than the log is a witness that more was durable.
 *
 * A crash leaves each segment old or new; the next call goes on. Memory: three windows of a source,
 * one more for each copy, a header for each segment, what is built of a segment, and while that is
 * done three times the gap, which is of 64 MiB at most. Threads: any, one call at a time per
 * directory. */
#ifndef LOG_REPAIR_H
#define LOG_REPAIR_H

#include "core/base/error.h"
#include "core/base/id.h"
#include "core/base/span.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_QUARANTINE_NAME "quarantine"
enum { LOG_REPAIR_COPIES_MAX = 8 };

enum log_repair_kind {
    LOG_REPAIR_FLIP,  /* one bit is flipped back */
    LOG_REPAIR_TAKE,  /* bytes are taken from a copy */
    LOG_REPAIR_BUILD, /* frames are built anew out of their records */
    LOG_REPAIR_CLEAR, /* bytes where nothing was ever written are zero again */
    LOG_REPAIR_ASIDE, /* a file that holds no event is moved into the quarantine */
    LOG_REPAIR_LOST,  /* nothing here and no copy has it */
    LOG_REPAIR_CUT,   /* the log's end, which cannot be mended, is left out from here on */
};

struct log_repair_step {
    enum log_repair_kind kind;
    char file[64];                /* its name in the directory */
    uint64_t offset, size;        /* bytes, of the segment as it is read; size 0: not known */
    uint64_t first_seq, last_seq; /* events concerned; 0: none, or not known */
    unsigned bit;                 /* of FLIP: of the byte at `offset` */
    const char *from;             /* of TAKE: the copy, as the caller named it; of BUILD: who has
                                     the records; else NULL */
    char text[512];               /* a sentence */
};

/* Somebody who has records of the log, each with its exact bytes, and nothing of their frames. */
struct log_repair_records {
    const char *name; /* for a person */
    void *context;
    /* The record with this number of the log with this uuid: its bytes are valid until the next
     * call. 0; ERROR_NOT_FOUND, ERROR_DAMAGED: it is not there, or of no use, and `error` says it;
     * whatever else is negative ends the repair. */
    int (*record)(void *context, const uint8_t log_uuid[UUID_SIZE], uint64_t seq,
                  struct span *record, struct error *error);
    /* The last one that is there, which says that it was durable; 0: none is. 0, or negative, which
     * ends the repair. May be NULL. */
    int (*last_seq)(void *context, const uint8_t log_uuid[UUID_SIZE], uint64_t *seq,
                    struct error *error);
};

struct log_repair_options {
    const char *dir;           /* a log directory, or a data directory that holds it as "log" */
    const char *const *copies; /* of the same log: backups, data or log directories */
    size_t copy_count;
    const struct log_repair_records *records; /* asked where no copy helps; NULL: there is none */
    bool plan;                                /* change nothing */
    uint64_t cut_seq;   /* the last event to keep when the end cannot be mended; 0: cut nothing */
    uint64_t begin_seq; /* the log should begin with this event; 0: wherever it begins is fine */
    uint64_t time_ns;   /* wall clock, for the name of the quarantine */
    /* Called before the log is cut, while it is locked; `dir` is the log's. What it says ends the
     * repair when it is negative. May be NULL. */
    int (*before_cut)(const char *dir, void *context, struct error *error);
    void (*step)(const struct log_repair_step *step, void *context);          /* may be NULL */
    void (*progress)(uint64_t done_bytes, uint64_t all_bytes, void *context); /* may be NULL */
    void *context;
};

struct log_repair_result {
    uint64_t segments; /* read */
    uint64_t mended;   /* segments that are better than before, or would be */
    uint64_t lost;     /* places that are not */
    uint64_t last_seq; /* of the log as it is then */
    /* The end cannot be mended: a cut is possible behind this event, and only there, and these are
     * the events that it may give up. 0: the end is well. */
    uint64_t cut_seq, gone_first, gone_last;
    bool cut;                  /* it was, or would be */
    char quarantine[PATH_MAX]; /* where the old files are; "": none was changed */
};

/* Errors: ERROR_LOCKED (somebody has the log open), ERROR_MISMATCH (a copy is of another log),
 * ERROR_INVALID (no cut is possible there, and where one is), ERROR_NEWER, -ENOSPC and others. */
int log_repair(const struct log_repair_options *options, struct log_repair_result *result,
               struct error *error);

#endif
