/* What log/verify.c and verify_rest.c share. For log/ only. */
#ifndef LOG_VERIFY_INSIDE_H
#define LOG_VERIFY_INSIDE_H

#include "log/block_index.h"
#include "log/diagnose.h"
#include "log/directory.h"
#include "log/live_end.h"
#include "log/merkle.h"
#include "log/scan.h"
#include "log/tail.h"
#include "log/verify.h"

struct verifying {
    const struct log_verify_options *options;
    struct log_verify_result *result;
    struct directory directory;
    struct source source, probe;
    struct live_end end; /* of a live log */
    struct block_index index;
    ptrdiff_t last; /* index of the newest segment with a valid header */
    struct checkpoint checkpoint;
    bool checkpoint_valid;
    struct tail_witness witness;
    uint64_t done_bytes, all_bytes, told_bytes;

    /* What the segments before this one said. */
    bool joined; /* `before` and `mark` are of the segment before this one, and whole */
    struct segment_header before;
    struct scan_mark mark;
    bool ended;          /* it ended with SEAL or CLOSE */
    uint64_t tail_bytes; /* that lie behind its end */
    uint64_t resume_seq; /* last event known, however it was known */

    /* The segment under way. */
    struct scan scan;
    const char *name;
    bool whole; /* no damage in it so far */
    uint64_t payload_bytes, min_time_ns, max_time_ns;
    bool takes_root;    /* `tree` is wanted */
    struct merkle tree; /* of its records */
};

/* Fills in the file and the sentence, counts it and tells the caller. */
void verify_report(struct verifying *v, struct log_finding *finding, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* What happened to the bytes: for verify_report(), which comes next. */
void verify_add_diagnosis(struct log_finding *finding, const struct diagnosis *diagnosis);
/* Which blocks cannot be read between the finding's offset and `end`, if any. */
void verify_find_bad_blocks(struct verifying *v, struct log_finding *finding, uint64_t end);
void verify_tell_progress(struct verifying *v, uint64_t bytes);

/* verify_rest.c: what is no frame. */

int verify_checkpoint(struct verifying *v, struct error *error);
/* The chain at the place that CHECKPOINT names. */
void verify_check_checkpoint(struct verifying *v);
/* What lies behind the last frame of a segment. */
void verify_rest(struct verifying *v);
/* That no number behind the newest segment is missing. 0; -ENOENT: the names are not those of now.
 */
int verify_numbers(struct verifying *v, uint64_t newest_no, struct error *error);
void verify_spare(struct verifying *v, uint64_t capacity);

#endif
