/* A proof that one event is in a log as it was signed: what `daa-log prove` writes and checks.
 *
 * One JSON object: "proof" is "merkle" or "chain", "version" 1, "seq" the event, "anchor" the
 * signed head (core/event/anchor.h). With "merkle" there are "record" (its bytes), "segment" and
 * "path"; with "chain" "before", "frame" and "links" (log/proof.h). Bytes are hexadecimal.
 *
 * Threads: any, on values of its own. */
#ifndef TOOLS_LOG_PROOF_H
#define TOOLS_LOG_PROOF_H

#include "core/event/anchor.h"
#include "log/proof.h"
#include "tools/anchor/trust.h"

struct proof {
    uint64_t seq;
    bool by_chain;
    struct log_segment_proof segment; /* or */
    struct log_chain_proof chain;
    struct anchor anchor;
};

/* To be freed in any case. */
int proof_make(struct proof *proof, const char *dir, uint64_t seq, struct error *error);
int proof_of_json(struct proof *proof, struct span text, struct error *error);
void proof_free(struct proof *proof);

void proof_to_json(const struct proof *proof, struct text *text);

/* 0 with the record, which points into the proof; ERROR_INVALID with what does not hold. */
int proof_check(const struct proof *proof, const struct anchor_trust *trust, struct record *record,
                struct error *error);

#endif
