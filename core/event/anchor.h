/* An anchor: a signed head of the log, which the event log.anchored records and which goes to
 * places that whoever changes the log later cannot reach.
 *
 * What is signed is one canonical string of bytes (docs/daa-log-format.5, ANCHORS), integers
 * little-endian:
 *
 *     16 "daa log anchor 1" | 16 log_uuid | u64 seq | 32 chain | u64 segment_no |
 *     u64 signed_ns | u64 previous | u32 count |
 *     count x { u64 segment_no | u64 first_seq | u64 last_seq | 32 merkle_root }
 *
 * Pure. Threads: any. */
#ifndef CORE_EVENT_ANCHOR_H
#define CORE_EVENT_ANCHOR_H

#include "core/base/ed25519.h"
#include "core/base/id.h"
#include "core/base/json.h"
#include "core/base/sha256.h"
#include "core/base/text.h"
#include "core/event/event.h"

#include <stdbool.h>
#include <stdint.h>

#define ANCHOR_SEGMENTS_MAX 64u
#define ANCHOR_SEGMENT_BYTES (3u * 8 + SHA256_SIZE)
#define ANCHOR_MESSAGE_MAX                                                                         \
    (16u + UUID_SIZE + 8 + SHA256_SIZE + 3 * 8 + 4 + ANCHOR_SEGMENTS_MAX * ANCHOR_SEGMENT_BYTES)

/* A sealed segment, and the Merkle root of its records. */
struct anchor_segment {
    uint64_t segment_no, first_seq, last_seq;
    uint8_t merkle_root[SHA256_SIZE];
};

struct anchor {
    uint64_t event; /* the log.anchored that records it; not signed. 0: not known */
    uint8_t log_uuid[UUID_SIZE];
    uint64_t seq;               /* the head: the last event of a frame, */
    uint8_t chain[SHA256_SIZE]; /* the chain after that, */
    uint64_t segment_no;        /* and where it is */
    uint64_t signed_ns;         /* log time */
    uint64_t previous;          /* the log.anchored before it, 0: none */
    uint32_t segment_count;     /* sealed since that one; one may lie behind those of it */
    struct anchor_segment segments[ANCHOR_SEGMENTS_MAX];
    uint8_t public_key[ED25519_KEY_SIZE];
    uint8_t signature[ED25519_SIGNATURE_SIZE];
};

/* What is signed; its size. */
size_t anchor_message(const struct anchor *anchor, uint8_t message[ANCHOR_MESSAGE_MAX]);

/* Sets public_key and signature. */
void anchor_sign(struct anchor *anchor, const uint8_t private_key[ED25519_KEY_SIZE]);
/* By the key that it names: whose that is, the caller must know from elsewhere. */
bool anchor_signature_holds(const struct anchor *anchor);

/* The same event, what was signed, and by which key. */
bool anchor_equal(const struct anchor *a, const struct anchor *b);

/* The body of the event numbered `event`. False: it lacks something. */
bool anchor_of_event(struct anchor *anchor, uint64_t event, const Daa__LogAnchored *body);
/* The same of a record. False: it is no log.anchored, or not whole. Its memory is of `arena`. */
bool anchor_of_record(struct anchor *anchor, uint64_t seq, uint16_t kind, struct span payload,
                      struct arena *arena);
/* `segments` and `list` have room for ANCHOR_SEGMENTS_MAX; the body points into both and into the
 * anchor. */
void anchor_to_event(const struct anchor *anchor, Daa__LogAnchored *body,
                     Daa__AnchoredSegment *segments, Daa__AnchoredSegment **list);

/* One object, without a line's end: as it is exported, shown by the API and put into proofs. */
void anchor_to_json(const struct anchor *anchor, const char *key, struct text *text);
/* The object at `node`. 0 or ERROR_SYNTAX with the member that is wrong in *what. */
int anchor_of_json(struct anchor *anchor, const struct json *json, uint32_t node,
                   const char **what);

#endif
