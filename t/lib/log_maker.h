/* Makes the bytes of a log by hand, frame by frame, so that a test can then break them. Only the
 * pure codecs are used; nothing of the writer. */
#ifndef LOG_MAKER_H
#define LOG_MAKER_H

#include "log/frame.h"
#include "log/segment.h"

#include <stddef.h>
#include <stdint.h>

struct log_maker {
    struct segment_header header; /* of the segment under way */
    uint8_t *bytes;               /* the segment under way, capacity bytes */
    uint64_t offset;              /* where the next frame goes */
    uint64_t next_seq, time_ns, last_time_ns, durable_seq;
    uint64_t segment_first_seq;
    uint32_t prev_blocks;
    uint64_t link;
    uint8_t chain[SHA256_SIZE];
    struct span payload;   /* of the records to come, instead of text; size 0: none */
    uint64_t frame_offset; /* of the last frame */
    uint64_t frames, records, payload_bytes;
};

/* A log of one empty segment of `capacity` bytes, epoch 1. */
void log_maker_init(struct log_maker *maker, uint64_t capacity);
void log_maker_free(struct log_maker *maker);

/* The next frame with `count` records of kind 100 whose payloads are `payload_size` bytes of text.
 * durable_seq in it is maker->durable_seq. Returns its offset. */
uint64_t log_maker_frame(struct log_maker *maker, uint16_t flags, uint32_t count,
                         size_t payload_size);

/* The next frame with these records, numbered from maker->next_seq on; theirs is the time. Returns
 * its offset. */
uint64_t log_maker_records(struct log_maker *maker, uint16_t flags, const struct record *records,
                           uint32_t count);

/* OPEN, SEAL and CLOSE with their payloads. */
uint64_t log_maker_open(struct log_maker *maker);
uint64_t log_maker_seal(struct log_maker *maker, uint16_t flag);

/* Writes the segment under way into `dir` (made when missing). */
void log_maker_write(const struct log_maker *maker, const char *dir);

/* Goes on in an empty next segment; with `epoch_more` 1 as after a crash. */
void log_maker_next(struct log_maker *maker, uint32_t epoch_more);

/* A file of zeros, as a spare is. */
void log_maker_write_spare(const char *dir, uint64_t segment_no, uint64_t capacity);

/* CHECKPOINT with one slot that knows `durable_seq`. */
void log_maker_write_checkpoint(const struct log_maker *maker, const char *dir,
                                uint64_t durable_seq);

#endif
