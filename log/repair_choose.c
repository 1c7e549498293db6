/* Whose header a segment without one is given. A copy may be of a child: of a log that was one with
 * ours up to some event, and forked there. What it wrote since has our numbers and is not ours. So
 * what is taken is named as our log is, and ends as what goes on behind it says. */
#include "log/repair_inside.h"

#include <string.h>

enum proof {
    CONTRADICTED,
    POSSIBLE, /* it has the right name */
    LIKELY,   /* and frames that stand here have its salt */
    PROVEN,   /* it ends where it must, with the chain that it must have there */
};

struct wanted {
    uint64_t segment_no;
    const struct segment_header *next; /* of ours, behind it; NULL: it is the newest */
    bool salted;                       /* frames of it stand here */
    uint64_t salt;
};

bool repair_flip_header(const uint8_t block[LOG_BLOCK_SIZE], uint64_t segment_no,
                        struct segment_header *header, struct diagnosis *found)
{
    uint8_t copy[LOG_BLOCK_SIZE];
    *found = diagnose_segment_header(block);
    if (found->kind != DIAGNOSIS_FLIPPED)
        return false;
    memcpy(copy, block, sizeof copy);
    copy[found->offset] ^= (uint8_t)(1u << found->bit);
    return segment_header_decode(copy, header, NULL) == 0 && header->segment_no == segment_no;
}

static void scan_copy(struct repair_copy *copy, struct scan *scan)
{
    struct frame_header frame;
    const uint8_t *bytes;
    scan_begin(scan, &copy->source, &copy->header);
    scan->check_chain = true;
    while (scan_next(scan, &frame, &bytes) == SCAN_FRAME)
        continue;
}

uint64_t repair_copy_end(struct repair_copy *copy)
{
    struct scan scan;
    scan_copy(copy, &scan);
    return scan.counted.last_seq;
}

/* Whether what the copy has ends at this place with this event. */
static enum proof judge_end(struct repair_copy *copy, uint64_t end_offset, uint64_t last_seq,
                            const uint8_t chain[SHA256_SIZE])
{
    const struct segment_header *header = &copy->header;
    struct frame_header frame;
    const uint8_t *bytes;
    struct scan scan;
    if (end_offset == LOG_BLOCK_SIZE)
        return header->first_seq - 1 == last_seq &&
                       memcmp(header->prev_chain, chain, SHA256_SIZE) == 0
                   ? PROVEN
                   : CONTRADICTED;
    if (end_offset > header->capacity)
        return CONTRADICTED;
    int found = scan_last_frame(&copy->source, header, end_offset, last_seq, &frame, &bytes);
    if (found == 1)
        return memcmp(frame.chain, chain, SHA256_SIZE) == 0 ? PROVEN : CONTRADICTED;
    /* It was made before that, or is damaged there. */
    scan_copy(copy, &scan);
    return scan.here.last_seq >= last_seq ? CONTRADICTED : POSSIBLE;
}

static bool is_directly_before(const struct wanted *wanted)
{
    return wanted->next != NULL && wanted->next->prev_segment_no == wanted->segment_no;
}

/* A fork's only if one that is ours went on from there. */
static bool is_named_right(const struct repair *repair, const struct wanted *wanted,
                           const struct segment_header *header)
{
    const struct segment_header *next = wanted->next;
    if (next == NULL)
        return repair->named && memcmp(header->log_uuid, repair->log_uuid, UUID_SIZE) == 0;
    if (memcmp(header->log_uuid, next->log_uuid, UUID_SIZE) != 0 &&
        !(segment_is_forked(next) && memcmp(header->log_uuid, next->parent_uuid, UUID_SIZE) == 0))
        return false;
    if (!is_directly_before(wanted))
        return header->first_seq <= next->first_seq;
    return segment_is_of_line(header, next) && header->first_seq <= next->prev_last_seq + 1 &&
           header->epoch <= next->epoch;
}

static enum proof judge_copy(const struct repair *repair, struct repair_copy *copy,
                             const struct wanted *wanted)
{
    const struct segment_header *header = &copy->header, *next = wanted->next;
    const struct checkpoint *checkpoint = &repair->checkpoint;
    if (!repair_open_in_copy(copy, wanted->segment_no))
        return CONTRADICTED;
    bool same_salt = wanted->salted && header->salt == wanted->salt;
    /* Frames of this very segment stand here: it is ours, whatever its name. */
    if (!is_named_right(repair, wanted, header) && !(same_salt && next == NULL))
        return CONTRADICTED;
    enum proof proof = POSSIBLE;
    if (is_directly_before(wanted))
        proof = judge_end(copy, next->prev_end_offset, next->prev_last_seq, next->prev_chain);
    else if (next == NULL && repair->witness.seq != 0 &&
             checkpoint->segment_no == wanted->segment_no &&
             memcmp(checkpoint->log_uuid, header->log_uuid, UUID_SIZE) == 0)
        proof = judge_end(copy, checkpoint->end_offset, checkpoint->durable_seq, checkpoint->chain);
    if (proof != POSSIBLE || !wanted->salted)
        return proof;
    return same_salt ? LIKELY : CONTRADICTED;
}

/* The salt of the frames that stand in its file. */
static void find_salt(struct repair *repair, struct wanted *wanted)
{
    ptrdiff_t index = directory_find(&repair->directory, wanted->segment_no);
    struct segment_header header;
    struct frame_header frame;
    struct error ignored;
    if (index < 0)
        return;
    (void)directory_segment(&repair->directory, (size_t)index, &repair->probe, &header, &ignored);
    repair->probe.sequential = repair->probe.remembers = true;
    wanted->salted = scan_find_any(&repair->probe, &frame);
    wanted->salt = wanted->salted ? frame.salt : 0;
}

void repair_choose(struct repair *repair, struct repair_entry *entry,
                   const struct segment_header *next)
{
    struct wanted wanted = { .segment_no = entry->segment_no, .next = next };
    enum proof best = CONTRADICTED;
    uint64_t best_end = 0;
    if (entry->there && !entry->blank && repair->options->copy_count > 0)
        find_salt(repair, &wanted);
    for (size_t i = 0; i < repair->options->copy_count; i++) {
        struct repair_copy *copy = &repair->copies[i];
        enum proof proof = judge_copy(repair, copy, &wanted);
        uint64_t end = proof != CONTRADICTED && next == NULL ? repair_copy_end(copy) : 0;
        if (proof < best || proof == CONTRADICTED || (proof == best && end <= best_end))
            continue;
        best = proof;
        best_end = end;
        entry->from = (int)i;
        entry->proven = proof == PROVEN;
        entry->header = copy->header;
    }
}
