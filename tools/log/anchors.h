/* Anchors that somebody kept, held against a log: what `daa-log verify --anchor` does while the log
 * is read, and says at the end.
 *
 * Memory: about 200 bytes for each. Threads: belongs to one thread. */
#ifndef TOOLS_LOG_ANCHORS_H
#define TOOLS_LOG_ANCHORS_H

#include "core/event/anchor.h"
#include "log/verify.h"
#include "tools/anchor/trust.h"

#include <stdbool.h>
#include <stddef.h>

enum anchor_state {
    ANCHOR_BEYOND, /* the log ends before it: what it was signed for is gone */
    ANCHOR_BEFORE, /* the log begins behind it: it cannot be checked any more */
    ANCHOR_HOLDS,
    ANCHOR_FORGED,  /* its signature is not right */
    ANCHOR_STRANGE, /* another key signed it than the one that is trusted */
    ANCHOR_CHANGED, /* another history: chain, log, or no frame ends there */
};

struct anchors_item {
    uint64_t event, seq, segment_no, signed_ns, previous;
    uint32_t segment_count, segments_wrong;
    enum anchor_state state;
    uint8_t chain[SHA256_SIZE], log_uuid[UUID_SIZE];
    const char *why; /* of ANCHOR_CHANGED */
};

/* Of a segment, as an anchor has it. */
struct anchors_root {
    struct anchor_segment segment;
    uint64_t event; /* of its anchor */
    bool seen, holds;
};

struct anchors {
    struct anchor_trust trust;
    struct anchors_item *items; /* in the order of their heads, once anchors_begin() was called */
    size_t count, room;
    struct anchors_root *roots; /* of segments, in the order of their numbers */
    size_t root_count, root_room;
    size_t next;       /* the first item that the log may still come to */
    uint64_t read_seq; /* the last event of the log that was read; 0: none yet */
    uint64_t first_seq;
    bool damaged; /* the log is */
    size_t wrong; /* how many of the items and roots do not hold; after anchors_end() */
};

void anchors_init(struct anchors *anchors);
void anchors_free(struct anchors *anchors);

/* Reads a file of lines or, from http(s)://, lines or the answers of GET /api/v1/log/anchors. An
 * error names the line. */
int anchors_read(struct anchors *anchors, const char *from, struct error *error);

/* Puts them in order, and checks each signature. */
void anchors_begin(struct anchors *anchors);
void anchors_frame(struct anchors *anchors, const struct log_verified_frame *frame);
void anchors_segment(struct anchors *anchors, const struct log_verified_file *file);
void anchors_end(struct anchors *anchors, const struct log_verify_result *result);

/* A line for each, and what they cover. */
void anchors_print(const struct anchors *anchors, const struct log_verify_result *result);
/* An object for each on a line of its own. */
void anchors_print_json(const struct anchors *anchors, struct text *line);
/* A member "anchors" of an open object. */
void anchors_to_json(const struct anchors *anchors, const struct log_verify_result *result,
                     struct text *text);

#endif
