/* What shows to somebody without the log that a record is in it: taken from a log, and checked.
 *
 * Of a sealed segment: the record and its path to the Merkle root (log/merkle.h). Otherwise: its
 * whole frame, the chain before it, and of each later frame, up to a head whose chain is known,
 * what the chain is made of: header bytes 8 to 95 and the hash of the body
 * (docs/daa-log-format.5, Chain).
 *
 * Threads: any, on values of its own. */
#ifndef LOG_PROOF_H
#define LOG_PROOF_H

#include "core/base/error.h"
#include "log/format.h"
#include "log/merkle.h"
#include "log/record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_LINK_HEADER_SIZE 88u   /* bytes 8 to 95 of a frame's header */
#define LOG_PROOF_LINKS_MAX 65536u /* frames up to the head; more are too long a proof */

struct log_segment_proof {
    uint64_t segment_no, first_seq, last_seq;
    bool sealed;
    uint8_t merkle_root[SHA256_SIZE];
    struct merkle_path path;
    uint8_t *record; /* all of its bytes */
    size_t record_size;
};

struct log_link {
    uint8_t header[LOG_LINK_HEADER_SIZE], body[SHA256_SIZE];
};

struct log_chain_proof {
    uint8_t before[SHA256_SIZE];
    uint8_t *frame; /* that holds the record */
    size_t frame_size;
    struct log_link *links; /* the frames behind it */
    size_t link_count;
};

/* 0; ERROR_NOT_FOUND when the log does not hold the event; ERROR_DAMAGED names the place; -errno. A
 * segment that is not sealed is not read: `sealed` is false then. To be freed in any case. */
int log_segment_proof_make(struct log_segment_proof *proof, const char *dir, uint64_t seq,
                           struct error *error);
void log_segment_proof_free(struct log_segment_proof *proof);

/* Up to the frame that ends with event `head_seq`. ERROR_TOO_LARGE when there are too many between.
 * To be freed in any case. */
int log_chain_proof_make(struct log_chain_proof *proof, const char *dir, uint64_t seq,
                         uint64_t head_seq, struct error *error);
void log_chain_proof_free(struct log_chain_proof *proof);

/* True if the bytes are a record, and the one at that place of a tree with this root. *record
 * points into them. */
bool log_segment_proof_holds(const struct log_segment_proof *proof, struct record *record);

/* True if event `seq` is a record of the frame, the frame is whole, and all link up. Gives the
 * record, which points into the frame, and the head: its event, and the chain after it. */
bool log_chain_proof_holds(const struct log_chain_proof *proof, uint64_t seq, struct record *record,
                           uint64_t *head_seq, uint8_t chain[SHA256_SIZE]);

#endif
