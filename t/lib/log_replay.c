#include "log_replay.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/bytes.h"
#include "log/sealed.h"
#include "log/source.h"
#include "log/storage.h"
#include "scratch.h"
#include "tap.h"

enum { SEGMENTS_MAX = 4096 };

struct walk {
    struct log_replay *replay;
    log_replay_function *record;
    void *context;
    struct segment_header header; /* of the segment under the walk */
    uint8_t *bytes;
    uint64_t limit; /* bytes: where the next segment says that this one ends */
    bool last;      /* there is no next one */
    uint64_t offset, seq, link;
    uint32_t prev_blocks;
    uint8_t chain[SHA256_SIZE];
    uint64_t run_offset; /* of the first frame of an unfinished run; 0: none */
};

#define FAULT(walk, ...) (fault((walk), __VA_ARGS__), false)

TAP_PRINTF(2, 3) static void fault(struct walk *walk, const char *format, ...)
{
    char text[160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    snprintf(walk->replay->fault, sizeof walk->replay->fault, "segment %llu, offset %llu: %s",
             (unsigned long long)walk->header.segment_no, (unsigned long long)walk->offset, text);
}

static bool index_is_right(struct walk *walk, const struct frame_header *frame)
{
    struct record record;
    struct storage_sealed sealed;
    uint32_t at = 0, delta = 0;
    const uint8_t *bytes = walk->bytes + walk->offset;
    if (!frame_next_record(bytes, frame, &at, &record) ||
        storage_sealed_decode(record.payload, &sealed) < 0)
        return FAULT(walk, "the payload of SEAL cannot be read");
    if (sealed.block_count != walk->offset / LOG_BLOCK_SIZE ||
        sealed.last_seq != frame->first_seq - 1 || sealed.first_seq != walk->header.first_seq ||
        sealed.record_count != sealed.last_seq - sealed.first_seq + 1)
        return FAULT(walk, "the counts in SEAL are wrong");
    for (uint32_t block = 0; block < sealed.block_count; block++) {
        const uint8_t *entry = sealed.index + block * SEALED_ENTRY_SIZE;
        uint32_t start = bytes_get_u16(entry + 4);
        if (start == SEALED_NO_RECORD) {
            if (bytes_get_u32(entry) != delta)
                return FAULT(walk, "block %u does not repeat the one before it", block);
            continue;
        }
        delta = bytes_get_u32(entry);
        uint64_t place = (uint64_t)block * LOG_BLOCK_SIZE + start;
        size_t size;
        if (record_decode(span_of(walk->bytes + place, walk->offset - place), &record, &size) < 0)
            return FAULT(walk, "no record starts where the index says, in block %u", block);
        if (record.seq != sealed.first_seq + delta)
            return FAULT(walk, "the index has another record in block %u", block);
    }
    return true;
}

static bool frame_fits(struct walk *walk, const struct frame_header *frame)
{
    uint8_t chain[SHA256_SIZE];
    const char *what;
    if (frame->salt != walk->header.salt || frame->epoch != walk->header.epoch)
        return FAULT(walk, "salt or epoch is another");
    if (frame->file_offset != walk->offset)
        return FAULT(walk, "it names another place");
    if (frame->first_seq != walk->seq + 1)
        return FAULT(walk, "it begins with event %llu", (unsigned long long)frame->first_seq);
    if (frame->prev_blocks != walk->prev_blocks || frame->prev_link != walk->link)
        return FAULT(walk, "it does not link to the frame before it");
    if (frame_check(walk->bytes + walk->offset, frame, &what) < 0)
        return FAULT(walk, "%s", what);
    frame_chain(chain, walk->chain, walk->bytes + walk->offset, frame);
    if (walk->header.hash != 0 && memcmp(chain, frame->chain, SHA256_SIZE) != 0)
        return FAULT(walk, "its chain does not match");
    return true;
}

static void give_records(struct walk *walk, uint64_t from, uint64_t to)
{
    for (uint64_t offset = from; offset < to;) {
        struct frame_header frame;
        struct record record;
        uint32_t at = 0;
        (void)frame_header_decode(walk->bytes + offset, &frame);
        while (frame_next_record(walk->bytes + offset, &frame, &at, &record)) {
            walk->replay->records++;
            walk->replay->last_seq = record.seq;
            if (walk->record != NULL)
                walk->record(&record, walk->context);
        }
        offset += (uint64_t)frame.block_count * LOG_BLOCK_SIZE;
    }
}

static void take_frame(struct walk *walk, const struct frame_header *frame)
{
    uint64_t start = walk->run_offset != 0 ? walk->run_offset : walk->offset;
    bool unfinished = frame->flags & FRAME_TXN && !(frame->flags & FRAME_TXN_END);
    walk->offset += (uint64_t)frame->block_count * LOG_BLOCK_SIZE;
    walk->seq = frame_last_seq(frame);
    walk->link = frame_link(frame);
    walk->prev_blocks = frame->block_count;
    memcpy(walk->chain, frame->chain, SHA256_SIZE);
    walk->replay->frames++;
    walk->replay->end_flags = frame->flags;
    walk->run_offset = unfinished ? start : 0;
    if (unfinished)
        return;
    walk->replay->runs += (frame->flags & FRAME_TXN) != 0;
    give_records(walk, start, walk->offset);
}

/* The frames of one segment up to its end; a state before an unfinished run is not kept, so such a
 * run must be the last of its segment. */
static bool walk_segment(struct walk *walk)
{
    struct frame_header frame;
    struct walk before_run = *walk;
    walk->offset = LOG_BLOCK_SIZE;
    walk->prev_blocks = 0;
    walk->run_offset = 0;
    while (walk->offset < walk->limit) {
        if (frame_header_decode(walk->bytes + walk->offset, &frame) < 0) {
            if (walk->last)
                break;
            return FAULT(walk, "no frame, though the next segment goes on at %llu",
                         (unsigned long long)walk->limit);
        }
        if (frame.flags & FRAME_TXN_BEGIN)
            before_run = *walk;
        if (walk->last && !frame_fits(walk, &frame)) {
            walk->replay->fault[0] = '\0'; /* torn: the end of the log */
            break;
        }
        if (!walk->last && !frame_fits(walk, &frame))
            return false;
        if (frame.flags & (FRAME_SEAL | FRAME_CLOSE) && !index_is_right(walk, &frame))
            return false;
        take_frame(walk, &frame);
    }
    if (walk->run_offset != 0)
        *walk = before_run;
    walk->run_offset = 0;
    return true;
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static size_t list_segments(const char *dir, uint64_t *numbers)
{
    size_t count = 0;
    DIR *names = opendir(dir);
    if (names == NULL)
        return 0;
    for (struct dirent *entry; (entry = readdir(names)) != NULL && count < SEGMENTS_MAX;)
        count += segment_no_of_name(entry->d_name, &numbers[count]) ||
                 sealed_no_of_name(entry->d_name, &numbers[count]);
    closedir(names);
    qsort(numbers, count, sizeof *numbers, compare_numbers);
    size_t kept = 0; /* both forms of one may be there */
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || numbers[i] != numbers[kept - 1])
            numbers[kept++] = numbers[i];
    return kept;
}

/* The raw bytes that a sealed file stands for, each of its own bytes checked; when that fails a
 * block that is no header. */
static uint8_t *unseal(const char *dir, const char *name, uint64_t number, unsigned long *size)
{
    struct source source;
    const uint8_t *bytes;
    bool good = source_open_sealed(&source, dir, name, number, NULL, NULL) == 0;
    *size = good ? source.size : LOG_BLOCK_SIZE;
    uint8_t *raw = malloc(*size);
    if (raw == NULL)
        tap_bail_out("no memory for %s", name);
    memset(raw, 0xff, *size);
    if (good && source_bytes(&source, 0, *size, &bytes) == 0)
        memcpy(raw, bytes, *size);
    if (good)
        source_close(&source);
    return raw;
}

static uint8_t *read_segment(const char *dir, uint64_t number, unsigned long *size)
{
    char path[4200], name[LOG_SEGMENT_NAME_SIZE];
    segment_name(name, number);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (access(path, F_OK) == 0)
        return scratch_read(path, size);
    sealed_name(name, number);
    return unseal(dir, name, number, size);
}

/* The header of the next segment that was begun, or false when there is none. */
static bool next_header(const char *dir, const uint64_t *numbers, size_t left,
                        struct segment_header *header)
{
    bool begun = false;
    for (size_t i = 0; !begun && i < left; i++) {
        unsigned long size;
        uint8_t *bytes = read_segment(dir, numbers[i], &size);
        begun = size >= LOG_BLOCK_SIZE && segment_header_decode(bytes, header, NULL) == 0;
        free(bytes);
    }
    return begun;
}

/* A header that was written though the log had gone on elsewhere. */
static bool is_passed_over(const struct walk *walk, const struct segment_header *next)
{
    return next->prev_segment_no < walk->header.segment_no && next->epoch > walk->header.epoch &&
           next->first_seq == walk->header.first_seq;
}

static bool header_fits(struct walk *walk)
{
    const struct segment_header *header = &walk->header;
    if (walk->replay->segments == 0) {
        walk->seq = header->prev_last_seq;
        memcpy(walk->chain, header->prev_chain, SHA256_SIZE);
        walk->replay->first_seq = header->first_seq;
    }
    if (header->first_seq != walk->seq + 1)
        return FAULT(walk, "it begins with event %llu, behind %llu",
                     (unsigned long long)header->first_seq, (unsigned long long)walk->seq);
    if (memcmp(header->prev_chain, walk->chain, SHA256_SIZE) != 0)
        return FAULT(walk, "its header has another chain");
    if (header->epoch < walk->replay->epoch)
        return FAULT(walk, "its epoch went back");
    walk->replay->epoch = header->epoch;
    return true;
}

static bool walk_file(struct walk *walk, const char *dir, const uint64_t *numbers, size_t left)
{
    struct segment_header next;
    unsigned long size;
    walk->bytes = read_segment(dir, numbers[0], &size);
    int status = segment_header_decode(walk->bytes, &walk->header, NULL);
    walk->offset = 0;
    bool good;
    if (status == 1) {
        walk->replay->spares++;
        good = bytes_are_zero(walk->bytes, size) || FAULT(walk, "a spare is not all zero");
    } else if (status < 0 || size != walk->header.capacity) {
        good = FAULT(walk, "its header or size is wrong");
    } else if (next_header(dir, numbers + 1, left - 1, &next) && is_passed_over(walk, &next)) {
        walk->replay->spares++;
        good = true;
    } else {
        walk->last = !next_header(dir, numbers + 1, left - 1, &next);
        walk->limit = walk->last ? size : next.prev_end_offset;
        good = header_fits(walk) && walk_segment(walk);
        walk->replay->segments++;
    }
    free(walk->bytes);
    return good;
}

bool log_replay(const char *dir, struct log_replay *replay, log_replay_function *record,
                void *context)
{
    static uint64_t numbers[SEGMENTS_MAX + 1];
    struct walk walk = { .replay = replay, .record = record, .context = context };
    *replay = (struct log_replay){ .segments = 0 };
    size_t count = list_segments(dir, numbers);
    bool good = true;
    for (size_t i = 0; good && i < count; i++)
        good = walk_file(&walk, dir, numbers + i, count - i);
    return good;
}
