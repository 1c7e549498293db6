/* Frames in memory: built in the image at their final place, closed, and queued. */
#include "core/base/bytes.h"
#include "core/base/check.h"
#include "log/frame.h"
#include "log/storage.h"
#include "log/writer.h"

/* Bytes of records after which they are taken into the checksums of the open frame: what is left
 * when it is closed delays its write. */
enum { DIGEST_SIZE = 16384 };

void builder_place(struct log *log, struct segment *segment, const struct segment_header *header,
                   const struct spare *file)
{
    segment->fd = file->fd;
    segment->second = file->second;
    segment->begun = false;
    segment->header = *header;
    segment->end = LOG_BLOCK_SIZE;
    segment->submitted = LOG_BLOCK_SIZE;
    segment->prev_blocks = 0;
    segment->record_count = segment->frame_count = segment->payload_bytes = 0;
    segment->min_time_ns = segment->max_time_ns = 0;
    log->building = segment;
}

void builder_begin(struct log *log, struct segment *segment, const struct segment_header *header,
                   const struct spare *file)
{
    CHECK(atomic_load(&segment->image_state) == IMAGE_CLEAN);
    atomic_store(&segment->image_state, IMAGE_USED);
    builder_place(log, segment, header, file);
}

/* Bytes of file that a frame with a body of this size takes. */
static uint64_t file_size(uint64_t body_size)
{
    return (uint64_t)frame_block_count(body_size) * LOG_BLOCK_SIZE;
}

static uint64_t body_size_max(const struct log *log)
{
    return log->frame_size_max - FRAME_HEADER_SIZE;
}

/* True if `more` bytes of records fit the open frame. */
static bool frame_has_room(const struct log *log, uint64_t more)
{
    uint64_t body = log->open.body_size + more;
    return body <= body_size_max(log) && log->building->end + file_size(body) <= log->usable_end;
}

static uint64_t open_frame_end(const struct log *log)
{
    uint64_t size = log->open.record_count > 0 ? file_size(log->open.body_size) : 0;
    return log->building->end + size;
}

uint64_t builder_run_frames(const struct log *log, uint64_t bytes)
{
    /* Two in a row hold more than one full body, else the second would be in the first. */
    return 2 * (bytes / body_size_max(log)) + 2;
}

uint64_t builder_run_size(const struct log *log, uint64_t bytes)
{
    return bytes + builder_run_frames(log, bytes) * (FRAME_HEADER_SIZE + LOG_BLOCK_SIZE);
}

/* Seals the segment and goes on building in another one. The disk follows (pipeline.c). */
static int roll(struct log *log)
{
    struct segment *old = log->building;
    struct segment *next = writer_free_segment(log);
    struct spare spare;
    /* In the second directory the log goes on only while its own device does not answer. */
    if (!pipeline_is_steady(log) || next == NULL ||
        (!spares_take(log, false, &spare) && !(old->second && spares_take(log, true, &spare)))) {
        counter_add(&log->counters.spare_waits, 1);
        spares_wake(log);
        return ERROR_FULL;
    }
    builder_close_frame(log, 0);
    builder_end_segment(log, LOG_KIND_SEALED, FRAME_SEAL);
    struct segment_header header = old->header;
    header.segment_no = spare.segment_no;
    header.salt = spare.salt;
    header.first_seq = log->next_seq;
    header.created_ns = log->last_time_ns;
    header.prev_segment_no = old->header.segment_no;
    header.prev_last_seq = log->next_seq - 1;
    header.prev_end_offset = old->end;
    memcpy(header.prev_chain, log->chain, SHA256_SIZE);
    builder_begin(log, next, &header, &spare);
    counter_add(&log->counters.rolls, 1);
    failover_record(log);
    return 0;
}

int builder_make_room(struct log *log, uint64_t bytes, bool run)
{
    if (log->queue.count + log->queue.reserve > log->queue.capacity)
        return ERROR_FULL;
    if (!run && frame_has_room(log, bytes))
        return 0;
    uint64_t size = run ? builder_run_size(log, bytes) : file_size(bytes);
    if (open_frame_end(log) + size > log->usable_end)
        return roll(log);
    builder_close_frame(log, 0);
    return 0;
}

static void index_record(struct segment *segment, uint64_t at, uint64_t seq)
{
    uint8_t *entry = segment->index + at / LOG_BLOCK_SIZE * SEALED_ENTRY_SIZE;
    if (bytes_get_u16(entry + 4) != SEALED_NO_RECORD)
        return;
    bytes_put_u32(entry, (uint32_t)(seq - segment->header.first_seq));
    bytes_put_u16(entry + 4, (uint16_t)(at % LOG_BLOCK_SIZE));
}

/* Where the next record of the open frame stands in its segment. */
static uint64_t record_offset(const struct log *log)
{
    return log->building->end + FRAME_HEADER_SIZE + log->open.body_size;
}

/* Makes the record that stands there a part of the open frame. */
static void take_record(struct log *log, const struct record *record)
{
    struct segment *segment = log->building;
    struct open_frame *open = &log->open;
    size_t size = record_size(record->payload.size);
    index_record(segment, record_offset(log), record->seq);
    if (open->record_count == 0) {
        open->first_seq = record->seq;
        open->base_time_ns = record->time_ns;
        frame_digest_init(&open->digest, log->hash != 0);
    }
    open->record_count++;
    open->body_size += (uint32_t)size;
    if (open->body_size - open->digest.size >= DIGEST_SIZE)
        frame_digest_more(&open->digest, segment->image.bytes + segment->end, open->body_size);
    if (segment->record_count == 0)
        segment->min_time_ns = record->time_ns;
    segment->max_time_ns = record->time_ns;
    segment->record_count++;
    segment->payload_bytes += record->payload.size;
    log->last_time_ns = record->time_ns;
    log->next_seq = record->seq + 1;
}

/* Appends to the open frame, which has room. */
static void put_record(struct log *log, const struct record *record)
{
    uint64_t at = record_offset(log);
    CHECK(at + record_size(record->payload.size) <= log->capacity);
    record_encode(log->building->image.bytes + at, record);
    take_record(log, record);
}

static void queue_frame(struct log *log, const struct frame_header *header, uint8_t *frame)
{
    struct slot *slot = pipeline_add(log);
    bool inside_run = header->flags & FRAME_TXN && !(header->flags & FRAME_TXN_END);
    slot->segment = log->building;
    slot->op.buffer = frame;
    slot->op.size = header->block_count * LOG_BLOCK_SIZE;
    slot->op.offset = header->file_offset;
    slot->end_offset = header->file_offset + slot->op.size;
    slot->ack_seq = inside_run ? 0 : frame_last_seq(header);
    slot->record_count = header->record_count;
    slot->flags = header->flags;
    slot->link = frame_link(header);
    memcpy(slot->chain, header->chain, SHA256_SIZE);
}

void builder_close_frame(struct log *log, uint16_t flags)
{
    struct segment *segment = log->building;
    struct open_frame *open = &log->open;
    if (open->record_count == 0)
        return;
    uint8_t *frame = segment->image.bytes + segment->end;
    struct frame_header header = {
        .salt = segment->header.salt,
        .first_seq = open->first_seq,
        .file_offset = segment->end,
        .record_count = open->record_count,
        .body_size = open->body_size,
        .epoch = log->epoch,
        .durable_seq = log->durable_seq,
        .base_time_ns = open->base_time_ns,
        .flags = (uint16_t)(flags | (log->hash ? FRAME_CHAIN : 0)),
        .prev_blocks = segment->prev_blocks,
        .prev_link = log->prev_link,
    };
    frame_finish_digest(frame, &header, log->chain, &open->digest);
    if (log->options.verify) {
        const char *what;
        CHECK(frame_check(frame, &header, &what) == 0);
    }
    queue_frame(log, &header, frame);
    segment->end += (uint64_t)header.block_count * LOG_BLOCK_SIZE;
    segment->prev_blocks = header.block_count;
    segment->frame_count++;
    log->prev_link = frame_link(&header);
    memcpy(log->chain, header.chain, SHA256_SIZE);
    open->record_count = open->body_size = 0;
}

void builder_take_frame(struct log *log, const struct frame_header *frame)
{
    const uint8_t *bytes = log->building->image.bytes + log->building->end;
    struct record record;
    CHECK(log->open.record_count == 0);
    for (uint32_t at = 0; frame_next_record(bytes, frame, &at, &record);)
        take_record(log, &record);
    CHECK(log->open.record_count == frame->record_count);
    CHECK(log->open.body_size == frame->body_size);
    builder_close_frame(log, frame->flags & (uint16_t)~FRAME_CHAIN);
}

static void close_frame_of_run(struct log *log, uint16_t end)
{
    unsigned begin = log->command.begun ? 0 : FRAME_TXN_BEGIN;
    log->command.begun = true;
    builder_close_frame(log, (uint16_t)(FRAME_TXN | begin | end));
}

void builder_append(struct log *log, const struct record *record)
{
    uint64_t size = record_size(record->payload.size);
    struct command *command = &log->command;
    if (command->run && log->open.body_size + size > body_size_max(log))
        close_frame_of_run(log, 0);
    CHECK(log->open.body_size + size <= body_size_max(log));
    put_record(log, record);
    if (command->run && command->left == 0)
        close_frame_of_run(log, FRAME_TXN_END);
}

void builder_own_frame(struct log *log, uint16_t kind, uint16_t flags, size_t payload_size)
{
    struct record record = { .seq = log->next_seq,
                             .time_ns = log->last_time_ns,
                             .kind = kind,
                             .payload = span_of(log->own_payload, payload_size) };
    CHECK(log->open.record_count == 0);
    put_record(log, &record);
    builder_close_frame(log, flags);
}

/* A block in which no record starts repeats the number of the block before it. */
static void complete_index(struct segment *segment)
{
    uint32_t last = 0;
    for (uint64_t block = 0; block < segment->end / LOG_BLOCK_SIZE; block++) {
        uint8_t *entry = segment->index + block * SEALED_ENTRY_SIZE;
        if (bytes_get_u16(entry + 4) == SEALED_NO_RECORD)
            bytes_put_u32(entry, last);
        last = bytes_get_u32(entry);
    }
}

void builder_end_segment(struct log *log, uint16_t kind, uint16_t flag)
{
    struct segment *segment = log->building;
    struct storage_sealed sealed = {
        .first_seq = segment->header.first_seq,
        .last_seq = log->next_seq - 1,
        .record_count = segment->record_count,
        .frame_count = segment->frame_count,
        .payload_bytes = segment->payload_bytes,
        .min_time_ns = segment->min_time_ns,
        .max_time_ns = segment->max_time_ns,
        .block_count = (uint32_t)(segment->end / LOG_BLOCK_SIZE),
        .index = segment->index,
    };
    complete_index(segment);
    storage_sealed_encode(log->own_payload, &sealed);
    builder_own_frame(log, kind, flag, storage_sealed_size(sealed.block_count));
}
