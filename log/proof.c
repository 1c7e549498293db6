#include "log/proof.h"

#include "core/base/bytes.h"
#include "log/directory.h"
#include "log/scan.h"
#include "log/sealed.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Offsets in the header bytes of a link, which begin with byte 8 of the frame's. */
enum { LINK_AT_FIRST_SEQ = 16 - 8, LINK_AT_RECORD_COUNT = 32 - 8 };

_Static_assert(LOG_LINK_HEADER_SIZE == 96 - 8, "what the chain takes of a header");

/*--- A walk over frames ------------------------------------------------------------------------*/

struct walk {
    struct directory directory;
    struct source source, probe;
    struct scan scan;
    size_t index; /* of the segment under way */
};

static int failed(const struct walk *walk, int code, struct error *error)
{
    const char *what = code == ERROR_DAMAGED ? walk->scan.what : error_text(code);
    return error_set(error, code,
                     "segment %" PRIu64 ", frame at offset %" PRIu64 ": %s: run daa-log verify",
                     walk->directory.segments[walk->index], walk->scan.here.end_offset, what);
}

/* The header of the next segment that was begun; 1, 0, negative. */
static int next_segment(struct walk *walk, size_t *index, struct segment_header *header,
                        struct error *error)
{
    for (size_t i = walk->index + 1; i < walk->directory.count; i++) {
        int state = directory_segment(&walk->directory, i, &walk->probe, header, error);
        if (state < 0)
            return state;
        if (state == SEGMENT_BEGUN) {
            *index = i;
            return 1;
        }
    }
    return 0;
}

/* Begins with segment `index`, which ends where the next one says. */
static int begin_segment(struct walk *walk, size_t index, struct error *error)
{
    struct segment_header header, next;
    size_t unused;
    walk->index = index;
    int code = directory_segment(&walk->directory, index, &walk->source, &header, error);
    if (code < 0)
        return code;
    if (code != SEGMENT_BEGUN)
        return error_set(error, ERROR_DAMAGED, "segment %" PRIu64 " is damaged: run daa-log verify",
                         walk->directory.segments[index]);
    scan_begin(&walk->scan, &walk->source, &header);
    code = next_segment(walk, &unused, &next, error);
    if (code == 1 && next.prev_segment_no == header.segment_no)
        walk->scan.limit = next.prev_end_offset;
    return code < 0 ? code : 0;
}

/* The newest segment that begins at or before `seq`. */
static int open_walk(struct walk *walk, const char *dir, uint64_t seq, struct error *error)
{
    struct segment_header header;
    *walk = (struct walk){ .source = { .fd = -1 }, .probe = { .fd = -1 } };
    int code = directory_open(&walk->directory, dir, error);
    if (code < 0)
        return code;
    for (size_t i = walk->directory.count; i-- > 0;) {
        int state = directory_segment(&walk->directory, i, &walk->probe, &header, error);
        if (state < 0 && state != ERROR_DAMAGED)
            return state;
        if (state == SEGMENT_BEGUN && header.first_seq <= seq)
            return begin_segment(walk, i, error);
    }
    return error_set(error, ERROR_NOT_FOUND, "%s does not hold event %" PRIu64, dir, seq);
}

static void close_walk(struct walk *walk)
{
    source_close(&walk->source);
    source_close(&walk->probe);
    directory_close(&walk->directory);
}

/* The next frame, in the next segment too. 1, 0 there is none, negative. */
static int next_frame(struct walk *walk, struct frame_header *frame, const uint8_t **bytes,
                      struct error *error)
{
    int result = scan_next(&walk->scan, frame, bytes);
    while (result == SCAN_END) {
        struct segment_header header;
        size_t index;
        int code = next_segment(walk, &index, &header, error);
        if (code == 1)
            code = begin_segment(walk, index, error);
        if (code <= 0)
            return code;
        result = scan_next(&walk->scan, frame, bytes);
    }
    if (result == SCAN_FRAME)
        return 1;
    return failed(walk, result == SCAN_BAD ? ERROR_DAMAGED : result, error);
}

/*--- In a segment ------------------------------------------------------------------------------*/

/* Copies the record at `index` of the tree, if it is in this frame. */
static int take_record(struct log_segment_proof *proof, uint64_t seq, const uint8_t *bytes,
                       const struct frame_header *frame)
{
    struct record record;
    for (uint32_t at = 0, from = 0; frame_next_record(bytes, frame, &at, &record); from = at) {
        if (record.seq != seq)
            continue;
        proof->record_size = at - from;
        proof->record = malloc(proof->record_size);
        if (proof->record == NULL)
            return -ENOMEM;
        memcpy(proof->record, bytes + FRAME_HEADER_SIZE + from, proof->record_size);
    }
    return 0;
}

static int read_segment(struct log_segment_proof *proof, struct walk *walk, uint64_t seq,
                        struct error *error)
{
    struct frame_header frame;
    struct merkle tree;
    const uint8_t *bytes;
    int result;
    merkle_init(&tree, &proof->path);
    proof->path.index = seq - proof->first_seq;
    while ((result = scan_next(&walk->scan, &frame, &bytes)) == SCAN_FRAME) {
        merkle_add_frame(&tree, bytes, &frame);
        int code = take_record(proof, seq, bytes, &frame);
        if (code < 0)
            return error_set(error, code, "no memory for event %" PRIu64, seq);
    }
    if (result != SCAN_END)
        return failed(walk, result == SCAN_BAD ? ERROR_DAMAGED : result, error);
    merkle_root(&tree, proof->merkle_root);
    proof->last_seq = walk->scan.counted.last_seq;
    if (memcmp(proof->merkle_root, walk->source.sealed->front.merkle_root, SHA256_SIZE) != 0)
        return error_set(error, ERROR_DAMAGED,
                         "segment %" PRIu64
                         " names another Merkle root than its records have: run daa-log verify",
                         proof->segment_no);
    return 0;
}

int log_segment_proof_make(struct log_segment_proof *proof, const char *dir, uint64_t seq,
                           struct error *error)
{
    struct walk walk;
    memset(proof, 0, sizeof *proof);
    int code = open_walk(&walk, dir, seq, error);
    if (code == 0) {
        proof->segment_no = walk.scan.header.segment_no;
        proof->first_seq = walk.scan.header.first_seq;
        proof->sealed = walk.source.sealed != NULL;
        if (proof->sealed)
            code = read_segment(proof, &walk, seq, error);
        if (code == 0 && proof->sealed && proof->record == NULL)
            code = error_set(error, ERROR_NOT_FOUND, "%s does not hold event %" PRIu64, dir, seq);
    }
    close_walk(&walk);
    return code;
}

void log_segment_proof_free(struct log_segment_proof *proof)
{
    free(proof->record);
    proof->record = NULL;
}

bool log_segment_proof_holds(const struct log_segment_proof *proof, struct record *record)
{
    uint8_t leaf[SHA256_SIZE];
    size_t size;
    struct span bytes = span_of(proof->record, proof->record_size);
    if (record_decode(bytes, record, &size) < 0 || size != bytes.size ||
        record->seq < proof->first_seq || record->seq > proof->last_seq ||
        proof->path.index != record->seq - proof->first_seq)
        return false;
    merkle_leaf(leaf, bytes);
    return merkle_path_holds(&proof->path, proof->last_seq + 1 - proof->first_seq, leaf,
                             proof->merkle_root);
}

/*--- By the chain ------------------------------------------------------------------------------*/

static uint64_t link_last_seq(const struct log_link *link)
{
    return bytes_get_u64(link->header + LINK_AT_FIRST_SEQ) +
           bytes_get_u32(link->header + LINK_AT_RECORD_COUNT) - 1;
}

static void link_of(struct log_link *link, const uint8_t *frame, size_t size)
{
    memcpy(link->header, frame + 8, LOG_LINK_HEADER_SIZE);
    sha256_of(link->body, frame + FRAME_HEADER_SIZE, size - FRAME_HEADER_SIZE);
}

static void follow(uint8_t chain[SHA256_SIZE], const struct log_link *link)
{
    struct sha256 sha256;
    sha256_init(&sha256);
    sha256_more(&sha256, chain, SHA256_SIZE);
    sha256_more(&sha256, link->header, LOG_LINK_HEADER_SIZE);
    sha256_more(&sha256, link->body, SHA256_SIZE);
    sha256_end(&sha256, chain);
}

static int add_link(struct log_chain_proof *proof, const uint8_t *bytes, size_t size)
{
    if (proof->link_count == LOG_PROOF_LINKS_MAX)
        return ERROR_TOO_LARGE;
    if ((proof->link_count & (proof->link_count - 1)) == 0) {
        size_t room = proof->link_count == 0 ? 1 : 2 * proof->link_count;
        struct log_link *links = realloc(proof->links, room * sizeof *links);
        if (links == NULL)
            return -ENOMEM;
        proof->links = links;
    }
    link_of(&proof->links[proof->link_count++], bytes, size);
    return 0;
}

static int take_frame(struct log_chain_proof *proof, const struct scan_mark *before,
                      const uint8_t *bytes, size_t size)
{
    memcpy(proof->before, before->chain, SHA256_SIZE);
    proof->frame_size = size;
    proof->frame = malloc(size);
    if (proof->frame == NULL)
        return -ENOMEM;
    memcpy(proof->frame, bytes, size);
    return 0;
}

static int read_chain(struct log_chain_proof *proof, struct walk *walk, uint64_t seq,
                      uint64_t head_seq, struct error *error)
{
    struct scan_mark before = walk->scan.here;
    struct frame_header frame;
    const uint8_t *bytes;
    int code;
    while ((code = next_frame(walk, &frame, &bytes, error)) == 1) {
        size_t size = (size_t)frame.block_count * LOG_BLOCK_SIZE;
        uint64_t last_seq = frame_last_seq(&frame);
        if (last_seq >= seq)
            code = proof->frame == NULL ? take_frame(proof, &before, bytes, size)
                                        : add_link(proof, bytes, size);
        if (code < 0)
            return error_set(error, code,
                             code == ERROR_TOO_LARGE
                                 ? "from event %" PRIu64 " to the signed event %" PRIu64
                                   " there are more frames than a proof may have: ask again when "
                                   "the segment is sealed and signed"
                                 : "no memory for what lies between events %" PRIu64
                                   " and %" PRIu64,
                             seq, head_seq);
        if (last_seq >= head_seq)
            return 0;
        before = walk->scan.here;
    }
    return code < 0 ? code
                    : error_set(error, ERROR_NOT_FOUND, "the log does not hold event %" PRIu64,
                                head_seq);
}

int log_chain_proof_make(struct log_chain_proof *proof, const char *dir, uint64_t seq,
                         uint64_t head_seq, struct error *error)
{
    struct walk walk;
    memset(proof, 0, sizeof *proof);
    int code = open_walk(&walk, dir, seq, error);
    if (code == 0 && walk.scan.header.hash == 0)
        code = error_set(error, ERROR_NOT_FOUND, "segment %" PRIu64 " has no chain",
                         walk.scan.header.segment_no);
    if (code == 0)
        code = read_chain(proof, &walk, seq, head_seq, error);
    close_walk(&walk);
    return code;
}

void log_chain_proof_free(struct log_chain_proof *proof)
{
    free(proof->frame);
    free(proof->links);
    proof->frame = NULL;
    proof->links = NULL;
}

/* The whole frame, and the record in it. */
static bool find_record(const struct log_chain_proof *proof, uint64_t seq, struct record *record)
{
    struct frame_header frame;
    const char *what;
    if (proof->frame_size < LOG_BLOCK_SIZE || frame_header_decode(proof->frame, &frame) < 0 ||
        (uint64_t)frame.block_count * LOG_BLOCK_SIZE != proof->frame_size ||
        frame_check(proof->frame, &frame, &what) < 0)
        return false;
    for (uint32_t at = 0; frame_next_record(proof->frame, &frame, &at, record);)
        if (record->seq == seq)
            return true;
    return false;
}

bool log_chain_proof_holds(const struct log_chain_proof *proof, uint64_t seq, struct record *record,
                           uint64_t *head_seq, uint8_t chain[SHA256_SIZE])
{
    struct log_link link;
    if (!find_record(proof, seq, record))
        return false;
    link_of(&link, proof->frame, proof->frame_size);
    memcpy(chain, proof->before, SHA256_SIZE);
    follow(chain, &link);
    *head_seq = link_last_seq(&link);
    for (size_t i = 0; i < proof->link_count; i++) {
        follow(chain, &proof->links[i]);
        if (link_last_seq(&proof->links[i]) <= *head_seq)
            return false;
        *head_seq = link_last_seq(&proof->links[i]);
    }
    return true;
}
