#include "log_maker.h"

#include "core/base/bytes.h"
#include "log/checkpoint.h"
#include "log/record.h"
#include "log/storage.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void *zeroed(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL)
        tap_bail_out("no memory");
    return memory;
}

void log_maker_init(struct log_maker *maker, uint64_t capacity)
{
    *maker = (struct log_maker){ .next_seq = 1, .time_ns = 1700000000000000000u };
    maker->header = (struct segment_header){
        .segment_no = 1,
        .first_seq = 1,
        .created_ns = maker->time_ns,
        .salt = 0x1122334455667788u,
        .epoch = 1,
        .capacity = capacity,
        .hash = 1,
    };
    memcpy(maker->header.log_uuid, "a log by hand...", UUID_SIZE);
    maker->bytes = zeroed(capacity);
    segment_header_encode(maker->bytes, &maker->header);
    maker->offset = LOG_BLOCK_SIZE;
    maker->segment_first_seq = 1;
}

void log_maker_free(struct log_maker *maker)
{
    free(maker->bytes);
    maker->bytes = NULL;
}

static uint64_t finish_frame(struct log_maker *maker, uint16_t flags, uint32_t count,
                             size_t body_size)
{
    struct frame_header frame = {
        .salt = maker->header.salt,
        .first_seq = maker->next_seq,
        .file_offset = maker->offset,
        .record_count = count,
        .body_size = (uint32_t)body_size,
        .epoch = maker->header.epoch,
        .durable_seq = maker->durable_seq,
        .base_time_ns = maker->time_ns,
        .flags = (uint16_t)(flags | FRAME_CHAIN),
        .prev_blocks = maker->prev_blocks,
        .prev_link = maker->link,
    };
    if (frame_block_count(body_size) * LOG_BLOCK_SIZE > maker->header.capacity - maker->offset)
        tap_bail_out("the made frame does not fit its segment");
    frame_finish(maker->bytes + maker->offset, &frame, maker->chain);
    maker->frame_offset = maker->offset;
    maker->last_time_ns = maker->time_ns;
    maker->offset += (uint64_t)frame.block_count * LOG_BLOCK_SIZE;
    maker->next_seq += count;
    maker->prev_blocks = frame.block_count;
    maker->link = frame_link(&frame);
    memcpy(maker->chain, frame.chain, SHA256_SIZE);
    maker->frames++;
    maker->records += count;
    return maker->frame_offset;
}

uint64_t log_maker_frame(struct log_maker *maker, uint16_t flags, uint32_t count,
                         size_t payload_size)
{
    size_t body_size = 0;
    const struct span given = maker->payload;
    if (given.size > 0)
        payload_size = given.size;
    uint8_t *payload = zeroed(payload_size + 1);
    for (size_t i = 0; i < payload_size; i++)
        payload[i] = (uint8_t)('a' + (maker->next_seq + i) % 26);
    for (uint32_t i = 0; i < count; i++) {
        struct record record = {
            .seq = maker->next_seq + i,
            .stream = 1 + i % 3,
            .time_ns = maker->time_ns,
            .kind = 100,
            .payload = given.size > 0 ? given : span_of(payload, payload_size),
        };
        record_encode(maker->bytes + maker->offset + FRAME_HEADER_SIZE + body_size, &record);
        body_size += record_size(payload_size);
        maker->payload_bytes += payload_size;
    }
    free(payload);
    uint64_t offset = finish_frame(maker, flags, count, body_size);
    maker->time_ns += 1000;
    return offset;
}

uint64_t log_maker_records(struct log_maker *maker, uint16_t flags, const struct record *records,
                           uint32_t count)
{
    size_t body_size = 0;
    maker->time_ns = records[0].time_ns;
    for (uint32_t i = 0; i < count; i++) {
        if (records[i].seq != maker->next_seq + i)
            tap_bail_out("a given record does not follow the one before it");
        record_encode(maker->bytes + maker->offset + FRAME_HEADER_SIZE + body_size, &records[i]);
        body_size += record_size(records[i].payload.size);
        maker->payload_bytes += records[i].payload.size;
    }
    uint64_t offset = finish_frame(maker, flags, count, body_size);
    maker->last_time_ns = maker->time_ns = records[count - 1].time_ns;
    return offset;
}

static uint64_t own_frame(struct log_maker *maker, uint16_t flag, uint16_t kind,
                          struct span payload)
{
    struct record record = {
        .seq = maker->next_seq, .time_ns = maker->time_ns, .kind = kind, .payload = payload
    };
    record_encode(maker->bytes + maker->offset + FRAME_HEADER_SIZE, &record);
    maker->payload_bytes += payload.size;
    return finish_frame(maker, flag, 1, record_size(payload.size));
}

uint64_t log_maker_open(struct log_maker *maker)
{
    uint8_t payload[512];
    struct storage_opened opened = {
        .epoch = maker->header.epoch,
        .prev_segment_no = maker->header.prev_segment_no,
        .prev_last_seq = maker->header.prev_last_seq,
        .prev_end_offset = maker->header.prev_end_offset,
        .sync_mode = 1,
        .engine = 2,
        .reason = span_of_text("made by hand"),
    };
    memcpy(opened.log_uuid, maker->header.log_uuid, UUID_SIZE);
    storage_opened_encode(payload, &opened);
    return own_frame(maker, FRAME_OPEN, LOG_KIND_OPENED,
                     span_of(payload, storage_opened_size(&opened)));
}

/* One entry for each block before `end`: the first record that starts in it. */
static uint8_t *make_index(const struct log_maker *maker, uint32_t block_count)
{
    uint8_t *index = zeroed((size_t)block_count * SEALED_ENTRY_SIZE + 1);
    for (uint32_t block = 0; block < block_count; block++)
        bytes_put_u16(index + block * SEALED_ENTRY_SIZE + 4, SEALED_NO_RECORD);
    for (uint64_t offset = LOG_BLOCK_SIZE; offset < maker->offset;) {
        struct frame_header frame;
        struct record record;
        uint32_t at = 0, before = 0;
        if (frame_header_decode(maker->bytes + offset, &frame) < 0)
            tap_bail_out("a made frame does not decode");
        for (; frame_next_record(maker->bytes + offset, &frame, &at, &record); before = at) {
            uint64_t place = offset + FRAME_HEADER_SIZE + before;
            uint8_t *entry = index + place / LOG_BLOCK_SIZE * SEALED_ENTRY_SIZE;
            if (bytes_get_u16(entry + 4) != SEALED_NO_RECORD)
                continue;
            bytes_put_u32(entry, (uint32_t)(record.seq - maker->segment_first_seq));
            bytes_put_u16(entry + 4, (uint16_t)(place % LOG_BLOCK_SIZE));
        }
        offset += (uint64_t)frame.block_count * LOG_BLOCK_SIZE;
    }
    return index;
}

uint64_t log_maker_seal(struct log_maker *maker, uint16_t flag)
{
    uint32_t block_count = (uint32_t)(maker->offset / LOG_BLOCK_SIZE);
    uint8_t *index = make_index(maker, block_count);
    uint8_t *payload = zeroed(storage_sealed_size(block_count));
    struct storage_sealed sealed = {
        .first_seq = maker->segment_first_seq,
        .last_seq = maker->next_seq - 1,
        .record_count = maker->records,
        .frame_count = maker->frames,
        .payload_bytes = maker->payload_bytes,
        .min_time_ns = maker->header.created_ns,
        .max_time_ns = maker->last_time_ns,
        .block_count = block_count,
        .index = index,
    };
    storage_sealed_encode(payload, &sealed);
    uint64_t offset = own_frame(maker, flag, flag == FRAME_SEAL ? LOG_KIND_SEALED : LOG_KIND_CLOSED,
                                span_of(payload, storage_sealed_size(block_count)));
    free(index);
    free(payload);
    return offset;
}

static void write_file(const char *dir, const char *name, const void *bytes, size_t size)
{
    char path[4096];
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        tap_bail_out("cannot make %s: %s", dir, strerror(errno));
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
        tap_bail_out("cannot write %s: %s", path, strerror(errno));
    close(fd);
}

void log_maker_write(const struct log_maker *maker, const char *dir)
{
    char name[LOG_SEGMENT_NAME_SIZE];
    segment_name(name, maker->header.segment_no);
    write_file(dir, name, maker->bytes, maker->header.capacity);
}

void log_maker_next(struct log_maker *maker, uint32_t epoch_more)
{
    struct segment_header *header = &maker->header;
    header->prev_segment_no = header->segment_no++;
    header->prev_last_seq = maker->next_seq - 1;
    header->prev_end_offset = maker->offset;
    header->first_seq = maker->next_seq;
    header->created_ns = maker->time_ns;
    header->salt += 0x9e3779b97f4a7c15u;
    header->epoch += epoch_more;
    header->durable_seq = maker->durable_seq;
    memcpy(header->prev_chain, maker->chain, SHA256_SIZE);
    free(maker->bytes); /* rather than cleared: most of it was never touched */
    maker->bytes = zeroed(header->capacity);
    segment_header_encode(maker->bytes, header);
    maker->offset = LOG_BLOCK_SIZE;
    maker->prev_blocks = 0;
    maker->segment_first_seq = maker->next_seq;
    maker->frames = maker->records = maker->payload_bytes = 0;
}

void log_maker_write_spare(const char *dir, uint64_t segment_no, uint64_t capacity)
{
    char name[LOG_SEGMENT_NAME_SIZE];
    uint8_t *zeros = zeroed(capacity);
    segment_name(name, segment_no);
    write_file(dir, name, zeros, capacity);
    free(zeros);
}

void log_maker_write_checkpoint(const struct log_maker *maker, const char *dir,
                                uint64_t durable_seq)
{
    uint8_t blocks[2][LOG_BLOCK_SIZE] = { { 0 } };
    struct checkpoint checkpoint = {
        .durable_seq = durable_seq,
        .segment_no = maker->header.segment_no,
        .end_offset = maker->offset,
        .time_ns = maker->time_ns,
        .generation = 1,
    };
    memcpy(checkpoint.log_uuid, maker->header.log_uuid, UUID_SIZE);
    memcpy(checkpoint.chain, maker->chain, SHA256_SIZE);
    checkpoint_encode(blocks[1], &checkpoint);
    write_file(dir, LOG_CHECKPOINT_NAME, blocks, sizeof blocks);
}
