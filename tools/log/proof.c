#include "tools/log/proof.h"

#include "log/reader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void proof_free(struct proof *proof)
{
    log_segment_proof_free(&proof->segment);
    log_chain_proof_free(&proof->chain);
}

/*--- Making ------------------------------------------------------------------------------------*/

static bool signs_segment(const struct anchor *anchor, uint64_t segment_no)
{
    for (uint32_t i = 0; i < anchor->segment_count; i++)
        if (anchor->segments[i].segment_no == segment_no)
            return true;
    return false;
}

/* Looks behind the event for the first anchor that signs its segment's root, when it has one; else
 * for the first that signs its frame, or a later one. 1 for the former, 2 for the latter; 0 none;
 * negative. */
static int find_anchor(struct proof *proof, struct log_reader *reader, uint64_t frame_last_seq,
                       struct error *error)
{
    struct budget budget;
    struct arena arena;
    struct record record;
    struct anchor *anchor = malloc(sizeof *anchor);
    int code, found = 0;
    if (anchor == NULL)
        return error_set(error, -ENOMEM, "no memory to look for anchors");
    budget_init(&budget, 64u << 20);
    arena_init(&arena, &budget, BUDGET_READERS, 4096);
    while (found != 1 && (code = log_reader_next(reader, &record, NULL, error)) == 1) {
        arena_reset(&arena);
        if (record.kind != DAA__EVENT__BODY_LOG_ANCHORED ||
            !anchor_of_record(anchor, record.seq, record.kind, record.payload, &arena))
            continue;
        bool root = proof->segment.sealed && signs_segment(anchor, proof->segment.segment_no);
        if (!root && (found == 2 || anchor->seq < frame_last_seq))
            continue;
        proof->anchor = *anchor;
        found = root ? 1 : 2;
        if (!proof->segment.sealed)
            break;
    }
    arena_free(&arena);
    free(anchor);
    return found == 0 && code < 0 ? code : found;
}

static int make_from(struct proof *proof, struct log_reader *reader, const char *dir,
                     struct error *error)
{
    struct record record;
    struct log_place place;
    int code = log_reader_get(reader, proof->seq, &record, &place, error);
    if (code == 0)
        code =
            error_set(error, ERROR_NOT_FOUND, "%s does not hold event %" PRIu64, dir, proof->seq);
    if (code < 0)
        return code;
    code = log_segment_proof_make(&proof->segment, dir, proof->seq, error);
    if (code == 0)
        code = find_anchor(proof, reader, place.frame_last_seq, error);
    if (code == 0)
        return error_set(error, ERROR_NOT_FOUND,
                         "no head of the log was signed since event %" PRIu64
                         ": daa-cli log anchor signs one",
                         proof->seq);
    proof->by_chain = code == 2;
    if (code == 2)
        code = log_chain_proof_make(&proof->chain, dir, proof->seq, proof->anchor.seq, error);
    return code < 0 ? code : 0;
}

int proof_make(struct proof *proof, const char *dir, uint64_t seq, struct error *error)
{
    struct log_reader_options options = { .dir = dir };
    struct log_reader *reader;
    memset(proof, 0, sizeof *proof);
    proof->seq = seq;
    int code = log_reader_open(&reader, &options, error);
    if (code < 0)
        return code;
    code = make_from(proof, reader, dir, error);
    log_reader_close(reader);
    return code;
}

/*--- Checking ----------------------------------------------------------------------------------*/

static int wrong(struct error *error, const char *what)
{
    return error_set(error, ERROR_INVALID, "it proves nothing: %s", what);
}

static int check_segment(const struct proof *proof, struct record *record, struct error *error)
{
    const struct log_segment_proof *segment = &proof->segment;
    if (!log_segment_proof_holds(segment, record))
        return wrong(error, "the record and its path do not lead to the Merkle root");
    if (record->seq != proof->seq)
        return wrong(error, "the record is of another event");
    for (uint32_t i = 0; i < proof->anchor.segment_count; i++) {
        const struct anchor_segment *is = &proof->anchor.segments[i];
        if (is->segment_no == segment->segment_no && is->first_seq == segment->first_seq &&
            is->last_seq == segment->last_seq &&
            memcmp(is->merkle_root, segment->merkle_root, SHA256_SIZE) == 0)
            return 0;
    }
    return wrong(error, "the anchor does not sign that Merkle root");
}

static int check_chain(const struct proof *proof, struct record *record, struct error *error)
{
    uint64_t head_seq;
    uint8_t chain[SHA256_SIZE];
    if (!log_chain_proof_holds(&proof->chain, proof->seq, record, &head_seq, chain))
        return wrong(error, "its frame is not whole, or does not hold the event");
    if (head_seq != proof->anchor.seq || memcmp(chain, proof->anchor.chain, SHA256_SIZE) != 0)
        return wrong(error, "its frames do not lead to the chain that was signed");
    return 0;
}

int proof_check(const struct proof *proof, const struct anchor_trust *trust, struct record *record,
                struct error *error)
{
    if (!anchor_trust_takes(trust, proof->anchor.public_key))
        return error_set(error, ERROR_INVALID,
                         "it proves nothing: another key signed it than the one in %s",
                         trust->path);
    if (!anchor_signature_holds(&proof->anchor))
        return wrong(error, "the signature is wrong");
    return proof->by_chain ? check_chain(proof, record, error)
                           : check_segment(proof, record, error);
}
