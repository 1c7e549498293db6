/* Checks every byte of a log: headers, frames, records, padding, chain, continuity, indexes,
 * spares, CHECKPOINT, and the end. Reads only, in bounded memory, beside a running writer or on a
 * copy.
 *
 * Threads: any. */
#ifndef LOG_VERIFY_H
#define LOG_VERIFY_H

#include "core/base/budget.h"
#include "core/base/error.h"
#include "iouring/bad_blocks.h"
#include "log/format.h"
#include "log/recovery.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* One finding, in the order of the log. */
struct log_finding {
    enum log_verdict verdict;
    char file[64];                /* its name in the directory */
    uint64_t offset, size;        /* bytes; size 0: not known */
    uint64_t first_seq, last_seq; /* events concerned; 0: not known */
    bool tail;                    /* behind the last event that counts */
    char text[512];               /* one sentence with the reason and what to do */
    /* Who knows that the events had been durable, and up to which; "": nobody. */
    char witness[32];
    uint64_t witness_seq;
    /* What happened to the bytes at `offset`, in a clause; "" when nothing can be said. */
    char diagnosis[256];
    struct bad_blocks unreadable; /* blocks of the file that the disk cannot read */
    bool flipped;                 /* it is one flipped bit: this one */
    uint64_t flipped_offset;
    unsigned flipped_bit;
};

/* A segment or spare that was read to its end, after its findings. */
struct log_verified_file {
    char file[64];
    uint64_t size;
    uint64_t end_offset; /* of the last frame that counts, damaged ones before it included; 0: none
                            could be told apart */
    uint64_t tail_bytes; /* behind it, up to the last that is not zero: what a crash left */
    bool spare;
    bool growing; /* a writer may be writing behind end_offset: nothing there was looked at */

    /* Of a segment that was begun; segment_no 0: it was not. */
    uint64_t segment_no, first_seq, last_seq;
    bool whole;    /* no damage was found up to end_offset */
    bool chained;  /* its frames carry a chain */
    bool has_root; /* merkle_root is there, over first_seq to last_seq */
    uint8_t merkle_root[32];
};

/* A frame that is whole, in order. */
struct log_verified_frame {
    uint64_t last_seq;
    const uint8_t *chain;    /* after it */
    const uint8_t *log_uuid; /* of its segment */
};

typedef void log_finding_function(const struct log_finding *finding, void *context);
struct record;

struct log_verify_options {
    const char *dir;
    bool no_chain; /* skip the SHA-256 chain, and Merkle roots */
    bool roots;    /* take the Merkle roots of all segments, not of sealed ones only */
    const struct log_witness *witnesses;
    unsigned witness_count;
    uint64_t first_segment_no;     /* begin with this one, as if the log did; 0: with the oldest */
    bool closed_only;              /* without the newest segment, spares and CHECKPOINT */
    const _Atomic bool *stop;      /* gives up soon after it is set: -ECANCELED; may be NULL */
    struct budget *budget;         /* may be NULL */
    log_finding_function *finding; /* called for each; may be NULL */
    void (*file)(const struct log_verified_file *file, void *context);        /* may be NULL */
    void (*frame)(const struct log_verified_frame *frame, void *context);     /* may be NULL */
    void (*progress)(uint64_t done_bytes, uint64_t all_bytes, void *context); /* may be NULL */
    /* Each record of a frame that is whole, in order, with its payload as it stands there: what it
     * says is not looked at here. May be NULL. */
    void (*record)(const struct record *record, void *context);
    void *context;
};

struct log_verify_result {
    enum log_verdict verdict;  /* the worst: damaged, then torn or unproven tail, then sound */
    uint64_t segments, sealed; /* of them */
    uint64_t spares, frames, records, payload_bytes, bytes_read, findings;
    uint64_t first_seq, last_seq;
    uint64_t failovers; /* times that the log says it went on elsewhere after a write failed */
    uint64_t first_segment_no;
    bool live;         /* a writer runs; checked up to what was durable */
    bool begins_late;  /* its first segments are gone: first_seq is not 1 */
    bool shortened;    /* segments were removed meanwhile; first_seq is what was left then */
    bool moved;        /* the directory is not where the log was written (log/recovery.h): events
                          that a copy of a live log misses are LOG_UNPROVEN, not LOG_DAMAGED */
    uint8_t chain[32]; /* at last_seq */
};

/* 0 with a result, or negative when the directory cannot be read at all or holds no log. */
int log_verify(const struct log_verify_options *options, struct log_verify_result *result,
               struct error *error);

#endif
