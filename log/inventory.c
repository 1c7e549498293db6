#include "log/inventory.h"

#include "core/base/bytes.h"
#include "log/scan.h"
#include "log/sealed.h"
#include "log/storage.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static unsigned long long big(uint64_t number)
{
    return number;
}

int inventory_open(struct inventory *inventory, const char *path, struct error *error)
{
    *inventory = (struct inventory){ .source = { .fd = -1 }, .probe = { .fd = -1 } };
    live_end_init(&inventory->end);
    inventory->end.tolerant = true;
    int code = directory_open(&inventory->directory, path, error);
    if (code < 0)
        return code;
    struct error *problem = &inventory->end_problem;
    code = live_end_refresh(&inventory->end, &inventory->directory, &inventory->probe, problem);
    problem->code = code < 0 ? code : 0;
    inventory->live = inventory->end.mode == LIVE_IMAGE || inventory->end.mode == LIVE_PROVEN;
    return 0;
}

void inventory_close(struct inventory *inventory)
{
    source_close(&inventory->source);
    source_close(&inventory->probe);
    live_end_close(&inventory->end);
    directory_close(&inventory->directory);
}

static void damaged(struct inventory_segment *segment, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The first problem is the one to tell. */
static void damaged(struct inventory_segment *segment, const char *format, ...)
{
    va_list arguments;
    segment->state = INVENTORY_DAMAGED;
    if (segment->problem[0] != '\0')
        return;
    va_start(arguments, format);
    vsnprintf(segment->problem, sizeof segment->problem, format, arguments);
    va_end(arguments);
}

/* The next segment behind `index` that was begun: 1, 0 none, negative. */
static int next_begun(struct inventory *inventory, size_t index, struct segment_header *header,
                      struct error *error)
{
    struct directory *directory = &inventory->directory;
    for (size_t i = index + 1; i < directory->count; i++) {
        struct error what = { 0 };
        int state = directory_segment(directory, i, &inventory->probe, header, &what);
        if (state < 0 && state != -ENOENT)
            return error_set(error, state, "%s", what.text);
        if (state == SEGMENT_BEGUN)
            return 1;
    }
    return 0;
}

/* The end of the newest segment. */
static void find_newest_end(const struct inventory *inventory, struct inventory_segment *segment)
{
    const struct live_end *end = &inventory->end;
    segment->state = inventory->live ? INVENTORY_ACTIVE : INVENTORY_CRASHED;
    if (inventory->end_problem.code != 0) {
        damaged(segment, "%s", inventory->end_problem.text);
        return;
    }
    if (end->segment_no != segment->segment_no)
        return; /* the writer has just begun it */
    segment->last_seq = end->last_seq;
    segment->used_bytes = end->end_offset;
    if (end->mode != LIVE_STOPPED)
        return;
    segment->judged = true;
    segment->verdict = end->recovery.verdict;
    if (segment->verdict == LOG_DAMAGED)
        damaged(segment, "%s", end->recovery.reason);
}

/* A writer that goes on in another segment (log/failover.c) opens no log again: OPEN does not come
 * first there. `next` is open in the probe. */
static bool was_failed_over(struct inventory *inventory, const struct segment_header *next)
{
    struct frame_header frame;
    const uint8_t *bytes;
    return source_bytes(&inventory->probe, LOG_BLOCK_SIZE, FRAME_HEADER_SIZE, &bytes) == 0 &&
           scan_header_is_ours(next, LOG_BLOCK_SIZE, bytes, &frame) && !(frame.flags & FRAME_OPEN);
}

/* Where it ends, as the next segment says, or as is known of the newest. */
static int find_end(struct inventory *inventory, size_t index, struct inventory_segment *segment,
                    struct error *error)
{
    struct segment_header next;
    int found = next_begun(inventory, index, &next, error);
    if (found < 0)
        return found;
    segment->state = INVENTORY_CRASHED;
    if (found == 0) {
        find_newest_end(inventory, segment);
    } else if (next.prev_segment_no == segment->segment_no) {
        segment->last_seq = next.prev_last_seq;
        segment->used_bytes = next.prev_end_offset;
        if (was_failed_over(inventory, &next))
            segment->state = INVENTORY_FAILED_OVER;
    } else {
        damaged(segment, "segment %llu, which says where it ends, is missing or damaged",
                big(segment->segment_no + 1));
    }
    return 0;
}

static void read_first_frame(struct source *source, const struct segment_header *header,
                             struct inventory_segment *segment)
{
    struct frame_header frame;
    const uint8_t *bytes;
    if (segment->used_bytes <= LOG_BLOCK_SIZE)
        return;
    if (source_bytes(source, LOG_BLOCK_SIZE, FRAME_HEADER_SIZE, &bytes) == 0 &&
        scan_header_is_ours(header, LOG_BLOCK_SIZE, bytes, &frame))
        segment->first_ns = frame.base_time_ns;
    else
        damaged(segment, "the header of its first frame, at offset %u, is damaged", LOG_BLOCK_SIZE);
}

/* What SEAL or CLOSE counts; that frame itself is one more. */
static void take_counts(struct inventory_segment *segment, const struct record *record)
{
    struct storage_sealed sealed;
    if (storage_sealed_decode(record->payload, &sealed) < 0) {
        damaged(segment, "its record of the end cannot be decoded");
        return;
    }
    segment->frames = sealed.frame_count + 1;
    segment->payload_bytes = sealed.payload_bytes + record->payload.size;
    segment->frames_known = true;
}

static void read_last_frame(struct source *source, const struct segment_header *header,
                            struct inventory_segment *segment)
{
    struct frame_header frame;
    struct record record = { .seq = 0 };
    const uint8_t *bytes;
    if (segment->used_bytes <= LOG_BLOCK_SIZE)
        return;
    if (scan_last_frame(source, header, segment->used_bytes, segment->last_seq, &frame, &bytes) !=
        1) {
        damaged(segment, "no whole frame with event %llu ends at offset %llu",
                big(segment->last_seq), big(segment->used_bytes));
        return;
    }
    for (uint32_t at = 0; frame_next_record(bytes, &frame, &at, &record);)
        segment->last_ns = record.time_ns;
    segment->end = frame.flags & FRAME_SEAL    ? INVENTORY_SEAL
                   : frame.flags & FRAME_CLOSE ? INVENTORY_CLOSE
                                               : segment->end;
    if (segment->end != INVENTORY_SEAL && segment->end != INVENTORY_CLOSE)
        return;
    take_counts(segment, &record);
    if (segment->state == INVENTORY_CRASHED || segment->state == INVENTORY_FAILED_OVER)
        segment->state = INVENTORY_CLOSED;
}

static int read_segment(struct inventory *inventory, size_t index,
                        const struct segment_header *header, struct inventory_segment *segment,
                        struct error *error)
{
    segment->first_seq = header->first_seq;
    segment->capacity = header->capacity;
    segment->epoch = header->epoch;
    memcpy(segment->log_uuid, header->log_uuid, UUID_SIZE);
    int code = find_end(inventory, index, segment, error);
    if (code < 0)
        return code;
    segment->end = segment->state == INVENTORY_CRASHED       ? INVENTORY_CRASH
                   : segment->state == INVENTORY_FAILED_OVER ? INVENTORY_FAILOVER
                                                             : INVENTORY_OPEN;
    read_first_frame(&inventory->source, header, segment);
    read_last_frame(&inventory->source, header, segment);
    if (segment->last_seq >= segment->first_seq)
        segment->events = segment->last_seq - segment->first_seq + 1;
    if (segment->size != segment->capacity)
        damaged(segment, "it is %llu bytes long instead of %llu", big(segment->size),
                big(segment->capacity));
    return 0;
}

/* While a segment is being sealed both are there, and the raw one is what is read. */
static bool find_file(const struct directory *directory, uint64_t segment_no,
                      char name[LOG_SEGMENT_NAME_SIZE], struct stat *status)
{
    char path[PATH_MAX + LOG_SEGMENT_NAME_SIZE + 1], sealed[LOG_SEGMENT_NAME_SIZE];
    segment_name(name, segment_no);
    snprintf(path, sizeof path, "%s/%s", directory->path, name);
    if (stat(path, status) == 0)
        return false;
    sealed_name(sealed, segment_no);
    snprintf(path, sizeof path, "%s/%s", directory->path, sealed);
    if (stat(path, status) < 0) {
        status->st_size = 0;
        return false;
    }
    memcpy(name, sealed, sizeof sealed);
    return true;
}

bool inventory_file_name(const struct directory *directory, uint64_t segment_no,
                         char name[LOG_SEGMENT_NAME_SIZE])
{
    struct stat ignored;
    return find_file(directory, segment_no, name, &ignored);
}

int inventory_segment(struct inventory *inventory, size_t index, struct inventory_segment *segment,
                      struct error *error)
{
    struct directory *directory = &inventory->directory;
    struct segment_header header;
    struct error what = { 0 };
    struct stat status;
    char name[LOG_SEGMENT_NAME_SIZE];
    *segment = (struct inventory_segment){ .segment_no = directory->segments[index] };
    int state = directory_segment(directory, index, &inventory->source, &header, &what);
    if (state < 0)
        return error_set(error, state, "%s", what.text);
    segment->size = inventory->source.size;
    segment->sealed = find_file(directory, segment->segment_no, name, &status);
    segment->file_size = (uint64_t)status.st_size;
    struct frame_header frame;
    switch ((enum segment_state)state) {
    case SEGMENT_SPARE:
        segment->state = INVENTORY_SPARE;
        inventory->source.sequential = true;
        if (!inventory->live && scan_find_any(&inventory->source, &frame))
            damaged(segment, "its header is zero, but it holds frames, the first with event %llu",
                    big(frame.first_seq));
        return 0;
    case SEGMENT_BEGUN:
        return read_segment(inventory, index, &header, segment, error);
    case SEGMENT_DAMAGED:
    case SEGMENT_LOST:
    case SEGMENT_SHORT:
        break;
    }
    damaged(segment, "%s", what.text);
    return 0;
}

const char *inventory_state_name(enum inventory_state state)
{
    static const char *const names[] = {
        [INVENTORY_SPARE] = "spare",     [INVENTORY_ACTIVE] = "active",
        [INVENTORY_CLOSED] = "closed",   [INVENTORY_CRASHED] = "crashed",
        [INVENTORY_DAMAGED] = "damaged", [INVENTORY_FAILED_OVER] = "failed-over",
    };
    return names[state];
}

const char *inventory_end_name(enum inventory_end end)
{
    static const char *const names[] = {
        [INVENTORY_OPEN] = "",       [INVENTORY_SEAL] = "SEAL",         [INVENTORY_CLOSE] = "CLOSE",
        [INVENTORY_CRASH] = "crash", [INVENTORY_FAILOVER] = "failover",
    };
    return names[end];
}
