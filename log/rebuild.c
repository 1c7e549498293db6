#include "log/rebuild.h"

#include "core/base/bytes.h"
#include "core/base/crc32c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    CACHE_SIZE = 1024,
    TRIAL_WORK = 256, /* bytes that are hashed for a header */
    ANY = 1 << 30,
};

/* What is tried. A log closes a frame while so many before it are not acknowledged yet, and mostly
 * as many as for the frame before: `lag` is that number, and what differs from it is a slip. */
struct way {
    unsigned lag;
    unsigned choices; /* lags that a slip may have; ANY: every number, not only ends of frames */
    unsigned slips;   /* at most, in all of the gap */
    bool runs;        /* a command of several frames may begin in the gap, which is a slip too */
};

static const struct way ways[] = {
    { ANY, 1, 0, false }, /* nothing was acknowledged meanwhile */
    { 0, 1, 0, false },     { 1, 1, 0, false },    { 2, 1, 0, false },  { 3, 1, 0, false },
    { 4, 1, 0, false },     { 5, 1, 0, false },    { 6, 1, 0, false },  { 7, 1, 0, false },
    { 0, 6, 1, false },     { 1, 6, 1, false },    { 2, 6, 1, false },  { 3, 6, 1, false },
    { 0, 3, 1, true },      { 1, 3, 1, true },     { 0, 3, 2, false },  { 1, 3, 2, false },
    { 2, 4, 2, false },     { 0, 3, 3, false },    { 1, 3, 3, false },  { 0, 64, ANY, false },
    { 0, 3, 2, true },      { 1, 3, 2, true },     { 0, 2, 5, false },  { 1, 2, 5, false },
    { 0, 2, ANY, false },   { 0, 3, ANY, false },  { 0, 5, ANY, true }, { 0, 64, ANY, true },
    { 0, ANY, ANY, false }, { 0, ANY, ANY, true },
};
enum { WAYS = sizeof ways / sizeof *ways };

/* The checksums of a body. */
struct body {
    size_t first, count; /* records; count 0: none is here */
    struct frame_digest digest;
};

struct search {
    const struct rebuild *rebuild;
    uint8_t *target;
    struct body *bodies; /* CACHE_SIZE of them, by their first record */
    const struct way *way;
    uint64_t work, work_max;
};

/* A place between two frames of the gap. */
struct place {
    const struct place *previous; /* NULL: the gap's beginning */
    unsigned depth;
    unsigned slips;    /* so far */
    uint64_t offset;   /* in the gap */
    size_t first;      /* the next record */
    uint64_t last_seq; /* of the frame before */
    uint64_t durable_seq;
    uint64_t link;
    uint32_t blocks;
    bool in_run;
    uint8_t chain[SHA256_SIZE];
};

/* A frame that is tried. */
struct trial {
    const struct place *here;
    size_t count;
    const struct body *body;
    struct frame_header header; /* but for what is tried */
    unsigned slips;             /* with what was tried so far */
};

static uint64_t search_from(struct search *search, const struct place *here);

static uint64_t bytes_of(const struct rebuild *rebuild, size_t first, size_t count)
{
    return rebuild->at[first + count] - rebuild->at[first];
}

static const uint8_t *record_of(const struct rebuild *rebuild, size_t index)
{
    return rebuild->records + rebuild->at[index];
}

/*--- Where a frame may end ---------------------------------------------------------------------*/

/* The flag of the frame that this record has for itself; 0: it is like any. */
static uint16_t own_flag(const struct rebuild *rebuild, size_t index)
{
    switch (bytes_get_u16(record_of(rebuild, index) + RECORD_AT_KIND)) {
    case LOG_KIND_OPENED:
        return FRAME_OPEN;
    case LOG_KIND_SEALED:
        return FRAME_SEAL;
    case LOG_KIND_CLOSED:
        return FRAME_CLOSE;
    default:
        return 0;
    }
}

static bool may_stand_at(const struct rebuild *rebuild, size_t index, uint64_t place)
{
    return rebuild->places[index] == 0 || rebuild->places[index] == place;
}

/* A frame's first record is the first one of its block. */
static bool may_begin_at(const struct rebuild *rebuild, size_t index, uint64_t place)
{
    bool told = rebuild->places[index] != 0 || own_flag(rebuild, index) != 0;
    return may_stand_at(rebuild, index, place) && (told || !rebuild->indexed);
}

/* How many records the frame may have at most, by their sizes and by where some of them stand. */
static size_t count_most(const struct rebuild *rebuild, const struct place *here)
{
    uint64_t size_max = segment_frame_size_max(rebuild->segment->capacity);
    size_t count = 0, left = rebuild->count - here->first;
    if (size_max > rebuild->size - here->offset)
        size_max = rebuild->size - here->offset;
    while (count < left) {
        size_t index = here->first + count;
        uint64_t before = bytes_of(rebuild, here->first, count) + FRAME_HEADER_SIZE;
        uint64_t end = bytes_of(rebuild, here->first, count + 1) + FRAME_HEADER_SIZE;
        bool alone = own_flag(rebuild, index) != 0;
        if (end > size_max || !may_stand_at(rebuild, index, here->offset + before) ||
            (alone && count > 0))
            break;
        count++;
        if (alone)
            break;
    }
    return count;
}

/* Whether the frame may end behind so many, by what is left for those behind it. */
static bool may_end(const struct rebuild *rebuild, const struct place *here, size_t count)
{
    uint32_t blocks = frame_block_count(bytes_of(rebuild, here->first, count));
    uint64_t end = here->offset + (uint64_t)blocks * LOG_BLOCK_SIZE;
    size_t next = here->first + count, left = rebuild->count - next;
    if (left > 0 && !may_begin_at(rebuild, next, end + FRAME_HEADER_SIZE))
        return false;
    if (!rebuild->all)
        return true;
    if (left == 0)
        return end == rebuild->size &&
               (rebuild->next == NULL || rebuild->next_header.prev_blocks == blocks);
    uint64_t rest = bytes_of(rebuild, next, left) + FRAME_HEADER_SIZE;
    return rest <= rebuild->size - end;
}

/*--- What proves it ----------------------------------------------------------------------------*/

static bool next_agrees(const struct rebuild *rebuild, const struct place *end)
{
    const struct frame_header *next = &rebuild->next_header;
    uint8_t chain[SHA256_SIZE];
    if (rebuild->next == NULL)
        return memcmp(end->chain, rebuild->chain, SHA256_SIZE) == 0;
    if (next->prev_link != end->link || next->prev_blocks != end->blocks)
        return false;
    frame_chain(chain, end->chain, rebuild->next, next);
    return memcmp(chain, next->chain, SHA256_SIZE) == 0;
}

/* The frame from `from` on to `end`, which `end` has the chain of. */
static bool is_proven(const struct rebuild *rebuild, uint64_t from, const struct place *end)
{
    if (memcmp(rebuild->disk + from + FRAME_AT_CHAIN, end->chain, SHA256_SIZE) == 0)
        return true;
    return rebuild->all && end->first == rebuild->count && end->offset == rebuild->size &&
           next_agrees(rebuild, end);
}

/*--- One way to fill in a header ---------------------------------------------------------------*/

static void lay(struct search *search, const struct trial *trial, const uint8_t *header)
{
    const struct rebuild *rebuild = search->rebuild;
    uint8_t *frame = search->target + trial->here->offset;
    uint64_t body = bytes_of(rebuild, trial->here->first, trial->count);
    uint64_t size = (uint64_t)frame_block_count(body) * LOG_BLOCK_SIZE;
    memcpy(frame, header, FRAME_HEADER_SIZE);
    memcpy(frame + FRAME_HEADER_SIZE, record_of(rebuild, trial->here->first), body);
    memset(frame + FRAME_HEADER_SIZE + body, 0, size - FRAME_HEADER_SIZE - body);
}

/* Bytes of the gap that are proven so; 0: none are. */
static uint64_t try_header(struct search *search, const struct trial *trial, uint16_t flags,
                           uint64_t durable_seq)
{
    const struct rebuild *rebuild = search->rebuild;
    const struct place *here = trial->here;
    struct frame_header header = trial->header;
    struct frame_digest digest = trial->body->digest;
    uint8_t bytes[FRAME_HEADER_SIZE];
    search->work += TRIAL_WORK;
    header.flags = (uint16_t)(flags | FRAME_CHAIN);
    header.durable_seq = durable_seq;
    frame_finish_digest(bytes, &header, here->chain, &digest);
    struct place end = {
        .previous = here,
        .depth = here->depth + 1,
        .slips = trial->slips,
        .offset = here->offset + (uint64_t)header.block_count * LOG_BLOCK_SIZE,
        .first = here->first + trial->count,
        .last_seq = frame_last_seq(&header),
        .durable_seq = durable_seq,
        .link = frame_link(&header),
        .blocks = header.block_count,
        .in_run = (flags & FRAME_TXN) != 0 && (flags & FRAME_TXN_END) == 0,
    };
    memcpy(end.chain, header.chain, SHA256_SIZE);
    uint64_t proven = is_proven(rebuild, here->offset, &end) ? end.offset : 0;
    if (proven == 0)
        proven = search_from(search, &end);
    if (proven > 0)
        lay(search, trial, bytes);
    return proven;
}

/*--- What it may have known to be durable ------------------------------------------------------*/

/* The bounds of durable_seq: it never goes back. */
static uint64_t durable_most(const struct search *search, const struct trial *trial)
{
    const struct rebuild *rebuild = search->rebuild;
    uint64_t most = trial->header.first_seq - 1;
    if (rebuild->next != NULL && rebuild->next_header.durable_seq < most)
        most = rebuild->next_header.durable_seq;
    return most;
}

static uint64_t try_every_number(struct search *search, const struct trial *trial, uint16_t flags)
{
    uint64_t proven = 0, least = trial->here->durable_seq;
    for (uint64_t seq = durable_most(search, trial) + 1;
         proven == 0 && seq > least && search->work < search->work_max; seq--)
        proven = try_header(search, trial, flags, seq - 1);
    return proven;
}

/* The index-th end of a frame before this one, newest first; false: there is none. */
static bool end_before(const struct search *search, const struct place *here, size_t index,
                       uint64_t *seq)
{
    while (index > 0 && here->previous != NULL) {
        here = here->previous;
        index--;
    }
    *seq = here->last_seq;
    if (index == 0)
        return true;
    if (index >= search->rebuild->end_count)
        return false;
    *seq = search->rebuild->ends[index];
    return true;
}

/* What it knew with so many frames before it under way; what the one before it knew at least. */
static uint64_t durable_with(const struct search *search, const struct trial *trial, unsigned lag)
{
    uint64_t least = trial->here->durable_seq, most = durable_most(search, trial), seq;
    if (!end_before(search, trial->here, lag, &seq) || seq < least)
        return least;
    return seq < most ? seq : most;
}

static uint64_t try_slips(struct search *search, const struct trial *trial, uint16_t flags)
{
    struct trial slipped = *trial;
    uint64_t usual = durable_with(search, trial, search->way->lag), last = usual, proven = 0;
    slipped.slips++;
    for (unsigned lag = 0; proven == 0 && lag < search->way->choices; lag++) {
        uint64_t seq = durable_with(search, trial, lag);
        if (search->work >= search->work_max || (lag > 0 && seq == last))
            break;
        last = seq;
        if (seq != usual)
            proven = try_header(search, &slipped, flags, seq);
    }
    return proven;
}

/* What was acknowledged when it was closed is where one of the last frames ends. */
static uint64_t try_ends(struct search *search, const struct trial *trial, uint16_t flags)
{
    uint64_t least = trial->here->durable_seq, most = durable_most(search, trial);
    uint64_t stands =
        bytes_get_u64(search->rebuild->disk + trial->here->offset + FRAME_AT_DURABLE_SEQ);
    uint64_t proven = 0;
    if (least > most || search->work >= search->work_max)
        return 0;
    if (stands >= least && stands <= most)
        proven = try_header(search, trial, flags, stands);
    if (proven == 0)
        proven = try_header(search, trial, flags, durable_with(search, trial, search->way->lag));
    if (proven == 0 && trial->slips < search->way->slips)
        proven = try_slips(search, trial, flags);
    return proven;
}

static uint64_t try_flags(struct search *search, const struct trial *trial, uint16_t flags)
{
    return search->way->choices == ANY ? try_every_number(search, trial, flags)
                                       : try_ends(search, trial, flags);
}

/*--- The search --------------------------------------------------------------------------------*/

static const struct body *body_of(struct search *search, size_t first, size_t count)
{
    static const uint8_t zeros[LOG_BLOCK_SIZE];
    const struct rebuild *rebuild = search->rebuild;
    struct body *body = &search->bodies[first % CACHE_SIZE];
    if (body->first == first && body->count == count)
        return body;
    uint64_t size = bytes_of(rebuild, first, count);
    uint64_t all = (uint64_t)frame_block_count(size) * LOG_BLOCK_SIZE - FRAME_HEADER_SIZE;
    body->first = first;
    body->count = count;
    frame_digest_init(&body->digest, true);
    body->digest.crc = crc32c_more(0, record_of(rebuild, first), size);
    body->digest.crc = crc32c_more(body->digest.crc, zeros, all - size);
    sha256_more(&body->digest.sha256, record_of(rebuild, first), size);
    sha256_more(&body->digest.sha256, zeros, all - size);
    body->digest.size = (uint32_t)all;
    search->work += all;
    return body;
}

static uint64_t try_count(struct search *search, const struct place *here, size_t count)
{
    const struct rebuild *rebuild = search->rebuild;
    const struct body body = *body_of(search, here->first, count); /* the cache goes on */
    struct trial trial = { .here = here, .count = count, .body = &body, .slips = here->slips };
    uint16_t own = own_flag(rebuild, here->first);
    trial.header = (struct frame_header){
        .salt = rebuild->segment->salt,
        .first_seq = here->last_seq + 1,
        .file_offset = rebuild->before->end_offset + here->offset,
        .record_count = (uint32_t)count,
        .body_size = (uint32_t)bytes_of(rebuild, here->first, count),
        .epoch = rebuild->segment->epoch,
        .base_time_ns = bytes_get_u64(record_of(rebuild, here->first) + RECORD_AT_TIME_NS),
        .prev_blocks = here->blocks,
        .prev_link = here->link,
    };
    if (own != 0)
        return here->in_run ? 0 : try_flags(search, &trial, own);
    uint64_t proven = try_flags(search, &trial, here->in_run ? FRAME_TXN : 0);
    if (proven == 0 && here->in_run)
        proven = try_flags(search, &trial, FRAME_TXN | FRAME_TXN_END);
    if (proven > 0 || here->in_run || !search->way->runs || here->slips >= search->way->slips)
        return proven;
    trial.slips++;
    proven = try_flags(search, &trial, FRAME_TXN | FRAME_TXN_BEGIN);
    return proven > 0 ? proven
                      : try_flags(search, &trial, FRAME_TXN | FRAME_TXN_BEGIN | FRAME_TXN_END);
}

static uint64_t search_from(struct search *search, const struct place *here)
{
    uint64_t proven = 0;
    if (here->depth >= REBUILD_FRAMES_MAX || here->first == search->rebuild->count ||
        here->offset >= search->rebuild->size)
        return 0;
    for (size_t count = count_most(search->rebuild, here); proven == 0 && count > 0; count--) {
        if (search->work >= search->work_max)
            return 0;
        if (may_end(search->rebuild, here, count))
            proven = try_count(search, here, count);
    }
    return proven;
}

/* Of the frame before the first of a segment nothing may be left: what stands there may be whole.
 */
static uint64_t link_before(const struct rebuild *rebuild)
{
    if (rebuild->before->link_known)
        return rebuild->before->link;
    if (rebuild->segment->prev_segment_no == 0 && rebuild->before->frame_offset == 0)
        return 0;
    return bytes_get_u64(rebuild->disk + FRAME_AT_PREV_LINK);
}

int64_t rebuild_frames(const struct rebuild *rebuild, uint8_t *target)
{
    struct search search = { .rebuild = rebuild, .target = target };
    struct place here = {
        .last_seq = rebuild->before->last_seq,
        .durable_seq = rebuild->durable_seq,
        .link = link_before(rebuild),
        .blocks = rebuild->before->blocks,
        .in_run = rebuild->in_run,
    };
    uint64_t proven = 0;
    if (rebuild->segment->hash == 0 || !rebuild->before->chain_known || rebuild->count == 0)
        return 0;
    search.bodies = calloc(CACHE_SIZE, sizeof *search.bodies);
    if (search.bodies == NULL)
        return -ENOMEM;
    memcpy(here.chain, rebuild->before->chain, SHA256_SIZE);
    /* A way that is unlikely leaves time for the others. */
    for (unsigned i = 0; proven == 0 && i < WAYS; i++) {
        search.way = &ways[i];
        search.work_max = REBUILD_WORK_MAX / WAYS * (i + 1);
        proven = search_from(&search, &here);
    }
    free(search.bodies);
    return (int64_t)proven;
}
