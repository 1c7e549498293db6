#include "log/scan.h"

#include "core/base/bytes.h"

#include <errno.h>
#include <string.h>

void scan_begin(struct scan *scan, struct source *source, const struct segment_header *header)
{
    *scan = (struct scan){ .source = source, .header = *header };
    scan->limit = header->capacity;
    source->sequential = true;
    scan->here.end_offset = LOG_BLOCK_SIZE;
    scan->here.last_seq = header->first_seq - 1;
    memcpy(scan->here.chain, header->prev_chain, SHA256_SIZE);
    scan->here.chain_known = true;
    scan->counted = scan->here;
    scan->witness_seq = header->durable_seq;
}

static uint64_t frame_size(const struct frame_header *frame)
{
    return (uint64_t)frame->block_count * LOG_BLOCK_SIZE;
}

bool scan_header_is_ours(const struct segment_header *segment, uint64_t offset,
                         const uint8_t bytes[FRAME_HEADER_SIZE], struct frame_header *header)
{
    return memcmp(bytes, FRAME_MAGIC, 4) == 0 && frame_header_decode(bytes, header) == 0 &&
           header->salt == segment->salt && header->file_offset == offset &&
           header->epoch >= segment->epoch;
}

static const char *foreign_fault(const struct scan *scan, const struct frame_header *frame)
{
    if (frame->salt != scan->header.salt)
        return "its salt is of another use of the file";
    if (frame->file_offset != scan->here.end_offset)
        return "it names another place";
    if (frame->epoch != scan->header.epoch)
        return "it names another epoch";
    return NULL;
}

/* Why this header does not go on where the frame before it ended, or NULL. */
static const char *order_fault(const struct scan *scan, const struct frame_header *frame)
{
    const struct scan_mark *here = &scan->here;
    if (frame_size(frame) > segment_frame_size_max(scan->header.capacity) ||
        frame_size(frame) > scan->header.capacity - here->end_offset)
        return "it is larger than its segment allows";
    if (frame_size(frame) > scan->limit - here->end_offset)
        return "it reaches beyond the place where the next segment goes on";
    if (frame->first_seq != here->last_seq + 1)
        return "it is not the next in order";
    if (frame->prev_blocks != here->blocks)
        return "it names another size of the frame before it";
    if (here->link_known && frame->prev_link != here->link)
        return "it does not link to the frame before it";
    return NULL;
}

/* Why the frame cannot stand here for its place in a run, or NULL. */
static const char *run_fault(const struct scan *scan, const struct frame_header *frame)
{
    bool run = frame->flags & FRAME_TXN;
    if ((frame->flags & (FRAME_TXN_BEGIN | FRAME_TXN_END)) && !run)
        return "its transaction flags contradict each other";
    if (scan->in_run && (!run || frame->flags & FRAME_TXN_BEGIN))
        return "it stands inside a command that it does not belong to";
    if (!scan->in_run && run && !(frame->flags & FRAME_TXN_BEGIN))
        return "it belongs to a command that did not begin";
    if (run && frame->flags & (FRAME_OPEN | FRAME_SEAL | FRAME_CLOSE))
        return "its flags contradict each other";
    return NULL;
}

/* The frames that stand behind the one that is messages[0], as far as they are at hand; whether
 * they are what they seem is not asked. How many there are with it. */
static unsigned find_bodies(const struct scan *scan, uint64_t at, struct sha256_message *messages)
{
    const uint8_t *bytes;
    uint64_t there = source_at_hand(scan->source, at, scan->limit - at, &bytes);
    unsigned count = 1;
    while (count <= SOURCE_HASHES_MAX && there >= FRAME_HEADER_SIZE &&
           memcmp(bytes, FRAME_MAGIC, 4) == 0) {
        uint32_t blocks = bytes_get_u32(bytes + FRAME_AT_BLOCK_COUNT);
        uint64_t size = (uint64_t)blocks * LOG_BLOCK_SIZE;
        if (blocks == 0 || size > there)
            break;
        struct span body = frame_body(bytes, blocks);
        messages[count++] = (struct sha256_message){ .bytes = body.bytes, .size = body.size };
        bytes += size;
        there -= size;
    }
    return count;
}

/* Two bodies are hashed in the time of one, and need nothing of each other: those of the next
 * frames are taken along, and the source keeps their hashes as long as their bytes. */
static void hash_body(const struct scan *scan, struct span body, uint8_t digest[SHA256_SIZE])
{
    struct sha256_message messages[1 + SOURCE_HASHES_MAX];
    struct source *source = scan->source;
    uint64_t offset = scan->here.end_offset;
    for (unsigned i = 0; i < source->hash_count; i++) {
        const struct source_hash *hash = &source->hashes[i];
        if (hash->offset == offset && hash->size == body.size) {
            memcpy(digest, hash->digest, SHA256_SIZE);
            return;
        }
    }
    messages[0] = (struct sha256_message){ .bytes = body.bytes, .size = body.size };
    offset += FRAME_HEADER_SIZE + body.size;
    unsigned count = find_bodies(scan, offset, messages);
    sha256_many(messages, count);
    memcpy(digest, messages[0].digest, SHA256_SIZE);
    source->hash_count = count - 1;
    for (unsigned i = 0; i < count - 1; i++) {
        struct source_hash *hash = &source->hashes[i];
        *hash = (struct source_hash){ .offset = offset, .size = messages[i + 1].size };
        memcpy(hash->digest, messages[i + 1].digest, SHA256_SIZE);
        offset += FRAME_HEADER_SIZE + hash->size;
    }
}

static const char *chain_fault(const struct scan *scan, const struct frame_header *frame,
                               const uint8_t *bytes)
{
    uint8_t chain[SHA256_SIZE], body[SHA256_SIZE];
    if ((scan->header.hash != 0) != ((frame->flags & FRAME_CHAIN) != 0))
        return "its chain flag contradicts the segment's header";
    if (!scan->check_chain || !scan->here.chain_known || scan->header.hash == 0)
        return NULL;
    hash_body(scan, frame_body(bytes, frame->block_count), body);
    frame_chain_of_body(chain, scan->here.chain, bytes, body);
    return memcmp(chain, frame->chain, SHA256_SIZE) == 0 ? NULL : "its chain does not match";
}

static void take_frame(struct scan *scan, const struct frame_header *frame)
{
    struct scan_mark *here = &scan->here;
    here->frame_offset = here->end_offset;
    here->end_offset += frame_size(frame);
    here->last_seq = frame_last_seq(frame);
    here->link = frame_link(frame);
    here->link_known = true;
    here->blocks = frame->block_count;
    memcpy(here->chain, frame->chain, SHA256_SIZE);
    here->chain_known = true;
    if (frame->flags & FRAME_TXN)
        scan->in_run = !(frame->flags & FRAME_TXN_END);
    if (!scan->in_run)
        scan->counted = *here;
    scan->ended = frame->flags & (FRAME_SEAL | FRAME_CLOSE);
    scan->last_flags = frame->flags;
    scan->frames++;
    scan->records += frame->record_count;
    if (frame->durable_seq > scan->witness_seq)
        scan->witness_seq = frame->durable_seq;
}

static int bad(struct scan *scan, enum scan_fault fault, const char *what)
{
    scan->fault = fault;
    scan->what = what;
    return SCAN_BAD;
}

/* The frame's header, or why it is not the next one. */
static int next_header(struct scan *scan, struct frame_header *frame)
{
    uint64_t offset = scan->here.end_offset;
    const uint8_t *bytes;
    int code = source_bytes(scan->source, offset, LOG_BLOCK_SIZE, &bytes);
    if (code < 0)
        return code;
    code = frame_header_decode(bytes, frame);
    if (code == ERROR_NEWER)
        return bad(scan, SCAN_NEWER, "a newer version wrote it");
    if (code < 0)
        return bad(scan, SCAN_NO_HEADER, "header checksum");
    scan->bad = *frame;
    const char *fault = foreign_fault(scan, frame);
    if (fault != NULL)
        return bad(scan, SCAN_FOREIGN, fault);
    fault = order_fault(scan, frame);
    if (fault == NULL)
        fault = run_fault(scan, frame);
    return fault == NULL ? SCAN_FRAME : bad(scan, SCAN_MISFIT, fault);
}

int scan_next(struct scan *scan, struct frame_header *frame, const uint8_t **bytes)
{
    uint64_t offset = scan->here.end_offset;
    if (scan->ended || offset >= scan->limit)
        return SCAN_END;
    int code = next_header(scan, frame);
    if (code != SCAN_FRAME)
        return code;
    code = source_bytes(scan->source, offset, frame_size(frame), bytes);
    if (code < 0)
        return code;
    const char *what;
    if (frame_check(*bytes, frame, &what) < 0)
        return bad(scan, SCAN_BODY, what);
    what = chain_fault(scan, frame, *bytes);
    if (what != NULL)
        return bad(scan, SCAN_MISFIT, what);
    take_frame(scan, frame);
    return SCAN_FRAME;
}

/* 1 a whole frame stands there that may follow, 0, negative: not even that can be said. */
static int resumes_at(struct scan *scan, uint64_t offset, struct frame_header *frame)
{
    const uint8_t *bytes;
    const char *what;
    int code = source_bytes(scan->source, offset, FRAME_HEADER_SIZE, &bytes);
    if (code == 0 &&
        (!scan_header_is_ours(&scan->header, offset, bytes, frame) ||
         frame->first_seq <= scan->here.last_seq || frame_size(frame) > scan->limit - offset))
        return 0;
    if (code == 0)
        code = source_bytes(scan->source, offset, frame_size(frame), &bytes);
    if (code == 0)
        return frame_check(bytes, frame, &what) == 0;
    return code == ERROR_BUDGET || code == -ENOMEM ? code : 0;
}

int scan_find_resume(struct scan *scan, struct frame_header *frame, uint64_t *offset)
{
    int found = 0;
    *offset = scan->here.end_offset + LOG_BLOCK_SIZE;
    while (*offset < scan->limit && (found = resumes_at(scan, *offset, frame)) == 0)
        *offset += LOG_BLOCK_SIZE;
    if (found == 0)
        *offset = scan->limit;
    return found < 0 ? found : 0;
}

bool scan_find_any(struct source *source, struct frame_header *frame)
{
    const uint8_t *bytes;
    for (uint64_t offset = LOG_BLOCK_SIZE; offset + LOG_BLOCK_SIZE <= source->size;
         offset += LOG_BLOCK_SIZE)
        if (source_bytes(source, offset, FRAME_HEADER_SIZE, &bytes) == 0 &&
            memcmp(bytes, FRAME_MAGIC, 4) == 0 && frame_header_decode(bytes, frame) == 0 &&
            frame->file_offset == offset)
            return true;
    return false;
}

/* Walking backwards: once a window, reads the whole window before `end`. */
static int read_before(struct source *source, uint64_t end, uint64_t size, const uint8_t **bytes)
{
    if (size % SOURCE_WINDOW_SIZE != LOG_BLOCK_SIZE)
        return 0;
    uint64_t start = end > SOURCE_WINDOW_SIZE ? end - SOURCE_WINDOW_SIZE : 0;
    return source_bytes(source, start, end - start, bytes);
}

int scan_last_frame(struct source *source, const struct segment_header *segment,
                    uint64_t end_offset, uint64_t last_seq, struct frame_header *frame,
                    const uint8_t **bytes)
{
    uint64_t size_max = segment_frame_size_max(segment->capacity);
    for (uint64_t size = LOG_BLOCK_SIZE; size <= size_max && size + LOG_BLOCK_SIZE <= end_offset;
         size += LOG_BLOCK_SIZE) {
        uint64_t offset = end_offset - size;
        int code = read_before(source, offset + LOG_BLOCK_SIZE, size, bytes);
        if (code == 0)
            code = source_bytes(source, offset, FRAME_HEADER_SIZE, bytes);
        if (code < 0)
            return code;
        if (!scan_header_is_ours(segment, offset, *bytes, frame) || frame_size(frame) != size ||
            frame_last_seq(frame) != last_seq)
            continue;
        const char *what;
        code = source_bytes(source, offset, size, bytes);
        if (code < 0)
            return code;
        return frame_check(*bytes, frame, &what) == 0;
    }
    return 0;
}
