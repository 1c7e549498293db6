#include "log/reader.h"

#include "core/base/bytes.h"
#include "log/reader_inside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static unsigned long long big(uint64_t number)
{
    return number;
}

static int fail(struct log_reader *reader, struct error *error)
{
    if (error != NULL)
        *error = reader->failed;
    return reader->failed.code;
}

/* Segments. */

/* The segment behind the one that was read to its end. 1 opened, 0 none yet. */
static int open_next(struct log_reader *reader, struct error *error)
{
    struct scan_mark last = reader->cursor.scan.counted;
    const struct segment_header before = reader->cursor.view.header;
    uint64_t segment_no = before.segment_no;
    size_t index = 0;
    while (index < reader->directory.count && reader->directory.segments[index] <= segment_no)
        index++;
    int opened = reader_open_from(reader, &reader->cursor, index, error);
    if (opened <= 0)
        return opened;
    const struct segment_header *header = &reader->cursor.view.header;
    if (reader->cursor.scan.here.last_seq == last.last_seq) {
        reader->cursor.scan.here.link = last.link;
        reader->cursor.scan.here.link_known = last.link_known;
    }
    reader_points_trim(reader);
    bool ours = segment_is_of_line(&before, header);
    if (ours && header->prev_segment_no == segment_no && header->prev_last_seq == last.last_seq)
        return 1;
    if (header->prev_segment_no != segment_no && directory_find(&reader->directory, segment_no) < 0)
        /* Removed from the oldest on, beyond the one that was read. */
        return error_set(error, -ENOENT, "segment %llu was removed", big(segment_no + 1));
    if (reader->skip_damage) {
        reader->skipped += header->prev_last_seq > last.last_seq || !ours;
        return 1;
    }
    if (!ours && header->prev_segment_no == segment_no)
        return error_set(error, ERROR_DAMAGED,
                         "segment %llu belongs to another log than segment %llu: put the files of "
                         "one log into a directory of their own",
                         big(header->segment_no), big(segment_no));
    return error_set(error, ERROR_DAMAGED,
                     "segment %llu ends with event %llu, but segment %llu goes on behind segment "
                     "%llu and event %llu: events between are missing",
                     big(segment_no), big(last.last_seq), big(header->segment_no),
                     big(header->prev_segment_no), big(header->prev_last_seq));
}

/* The end. */

/* The cursor is at its limit. 1 go on, 0 nothing more now, negative. */
static int at_limit(struct log_reader *reader, struct error *error)
{
    if (!reader->cursor.view.closed) {
        uint64_t limit = reader->cursor.scan.limit;
        int code = live_end_refresh(&reader->end, &reader->directory, &reader->probe, error);
        if (code == 0)
            code = reader_set_limit(reader, &reader->cursor, error);
        if (code < 0)
            return code;
        if (reader->cursor.scan.limit > limit && !reader->cursor.scan.ended)
            return 1;
    }
    if (reader->cursor.view.closed)
        return open_next(reader, error);
    const struct live_end *end = &reader->end;
    if (end->mode != LIVE_STOPPED || end->recovery.verdict != LOG_DAMAGED || reader->past_end)
        return 0;
    if (!reader->skip_damage)
        return error_set(error, ERROR_DAMAGED, "%s", end->recovery.reason);
    reader->past_end = true;
    return 1;
}

/* Damage. */

static int describe_fault(struct log_reader *reader, int result, struct error *error)
{
    const struct scan *scan = &reader->cursor.scan;
    char name[LOG_SEGMENT_NAME_SIZE];
    segment_name(name, scan->header.segment_no);
    if (result == SCAN_BAD)
        return error_set(error, scan->fault == SCAN_NEWER ? ERROR_NEWER : ERROR_DAMAGED,
                         "%s, frame at offset %llu, where event %llu should stand: %s", name,
                         big(scan->here.end_offset), big(scan->here.last_seq + 1), scan->what);
    if (result == ERROR_TRUNCATED)
        return error_set(error, ERROR_DAMAGED,
                         "%s is %llu bytes long; the frame at offset %llu with event %llu is not "
                         "all there",
                         name, big(scan->source->size), big(scan->here.end_offset),
                         big(scan->here.last_seq + 1));
    return error_set(error, result, "%s, frame at offset %llu with event %llu: %s", name,
                     big(scan->here.end_offset), big(scan->here.last_seq + 1), error_text(result));
}

/* True if a whole frame that may follow what was read stands at `offset`. */
static bool resumes_at(struct scan *scan, uint64_t offset, struct frame_header *frame)
{
    const uint8_t *bytes;
    const char *what;
    if (source_bytes(scan->source, offset, FRAME_HEADER_SIZE, &bytes) < 0 ||
        !scan_header_is_ours(&scan->header, offset, bytes, frame) ||
        frame->first_seq <= scan->here.last_seq)
        return false;
    uint64_t size = (uint64_t)frame->block_count * LOG_BLOCK_SIZE;
    return size <= scan->limit - offset && source_bytes(scan->source, offset, size, &bytes) == 0 &&
           frame_check(bytes, frame, &what) == 0 &&
           /* In the middle of a run: its beginning is lost, so the rest does not count. */
           ((frame->flags & FRAME_TXN) == 0 || frame->flags & FRAME_TXN_BEGIN);
}

/* Moves the scan behind the bad frame to the next valid one, or to the limit. */
static void skip_damage(struct log_reader *reader)
{
    struct scan *scan = &reader->cursor.scan;
    struct frame_header frame;
    uint64_t offset = scan->here.end_offset + LOG_BLOCK_SIZE;
    while (offset < scan->limit && !resumes_at(scan, offset, &frame))
        offset += LOG_BLOCK_SIZE;
    bool found = offset < scan->limit;
    if (found) {
        scan->here.last_seq = frame.first_seq - 1;
        scan->here.blocks = frame.prev_blocks;
    }
    /* Behind a damaged end there is always a place where nothing more stands. */
    const uint8_t *block;
    bool nothing = reader->past_end &&
                   source_bytes(scan->source, scan->here.end_offset, LOG_BLOCK_SIZE, &block) == 0 &&
                   bytes_are_zero(block, LOG_BLOCK_SIZE);
    reader->skipped += found || !(nothing || reader->end_counted);
    reader->end_counted = reader->past_end;
    scan->in_run = false;
    scan->here.end_offset = offset;
    scan->here.link_known = scan->here.chain_known = false;
    scan->counted = scan->here;
}

/* Frames. */

static bool is_damage(int result)
{
    return result == SCAN_BAD ||
           (result < 0 && result != ERROR_CONFLICT && result != ERROR_BUDGET && result != -ENOMEM);
}

/* Looks whether the run that begins with the frame just read ends before the limit. SCAN_FRAME: it
 * does. At damage the scan is left there. */
static int see_run(struct log_reader *reader)
{
    struct scan ahead = reader->cursor.scan;
    struct frame_header frame;
    const uint8_t *bytes;
    while (ahead.in_run) {
        int result = scan_next(&ahead, &frame, &bytes);
        if (result == SCAN_FRAME)
            continue;
        if (is_damage(result))
            reader->cursor.scan = ahead;
        return result;
    }
    reader->run_end = ahead.here.end_offset;
    return SCAN_FRAME;
}

/* scan_next(), but a run of frames comes whole or not at all. */
static int read_frame(struct log_reader *reader)
{
    struct scan before = reader->cursor.scan;
    int result = scan_next(&reader->cursor.scan, &reader->frame, &reader->bytes);
    if (result != SCAN_FRAME || !reader->cursor.scan.in_run ||
        reader->cursor.scan.here.end_offset <= reader->run_end)
        return result;
    result = see_run(reader);
    if (result == SCAN_FRAME) {
        uint64_t size = (uint64_t)reader->frame.block_count * LOG_BLOCK_SIZE;
        int code =
            source_bytes(&reader->cursor.view.source, before.here.end_offset, size, &reader->bytes);
        if (code < 0)
            result = code;
    }
    if (result != SCAN_FRAME && !is_damage(result))
        reader->cursor.scan = before;
    return result;
}

/* What to do when scan_next() gave no frame. 1 go on, 0 nothing more now, negative. */
static int without_frame(struct log_reader *reader, int result, struct error *error)
{
    if (result == SCAN_END)
        return at_limit(reader, error);
    if (result == ERROR_CONFLICT) {
        int code = live_end_refresh(&reader->end, &reader->directory, &reader->probe, error);
        return code < 0 ? code : 1;
    }
    bool newer = result == SCAN_BAD && reader->cursor.scan.fault == SCAN_NEWER;
    if (!reader->skip_damage || newer || !is_damage(result))
        return describe_fault(reader, result, error);
    skip_damage(reader);
    return 1;
}

/* Makes the next frame with records to show the current one. 1, 0 no more now, negative. */
static int next_frame(struct log_reader *reader, struct error *error)
{
    for (;;) {
        int code = reader_set_limit(reader, &reader->cursor, error);
        if (code < 0)
            return code;
        int result = read_frame(reader);
        if (result == SCAN_FRAME) {
            if (frame_last_seq(&reader->frame) < reader->wanted_seq)
                continue;
            reader->in_frame = true;
            reader->at = 0;
            return 1;
        }
        code = without_frame(reader, result, error);
        if (code <= 0)
            return code;
    }
}

/* Records. */

static void fill_place(const struct log_reader *reader, uint32_t at, struct log_place *place)
{
    const struct scan_mark *here = &reader->cursor.scan.here;
    place->segment_no = reader->cursor.view.header.segment_no;
    place->frame_offset = here->frame_offset;
    place->record_offset = here->frame_offset + FRAME_HEADER_SIZE + at;
    place->epoch = reader->frame.epoch;
    memcpy(place->frame_chain, reader->frame.chain, SHA256_SIZE);
    place->frame_last_seq = frame_last_seq(&reader->frame);
    place->frame_durable_seq = reader->frame.durable_seq;
    memcpy(place->log_uuid, reader->cursor.view.header.log_uuid, UUID_SIZE);
}

/* 1, or 0 when no segment has been begun. */
static int open_at_wanted(struct log_reader *reader, struct error *error)
{
    if (reader->end.mode == LIVE_NOTHING) {
        int code = live_end_refresh(&reader->end, &reader->directory, &reader->probe, error);
        if (code < 0)
            return code;
    }
    if (reader->end.mode == LIVE_NOTHING)
        return 0;
    int opened = reader_open_for(reader, &reader->cursor, reader->wanted_seq, error);
    if (opened == 0) { /* the names are older than what is known of the end */
        int code = directory_refresh(&reader->directory, error);
        if (code < 0)
            return code;
        opened = reader_open_for(reader, &reader->cursor, reader->wanted_seq, error);
    }
    uint64_t first_seq = reader->cursor.view.header.first_seq;
    if (opened <= 0 || (reader->wanted_seq != 0 && first_seq <= reader->wanted_seq))
        return opened;
    int code = reader_check_beginning(reader, reader->skip_damage ? NULL : error);
    if (code < 0 ? reader->skip_damage : reader->wanted_seq == 0)
        return opened;
    view_close(&reader->cursor.view);
    return code < 0 ? code : reader_set_removed(reader->wanted_seq, first_seq, error);
}

static int next_record(struct log_reader *reader, struct record *record, struct log_place *place,
                       struct error *error)
{
    for (;;) {
        uint32_t at = reader->at;
        if (reader->in_frame &&
            frame_next_record(reader->bytes, &reader->frame, &reader->at, record)) {
            if (record->seq < reader->wanted_seq)
                continue;
            reader->wanted_seq = record->seq + 1;
            if (place != NULL)
                fill_place(reader, at, place);
            return 1;
        }
        reader->in_frame = false;
        int code = reader->cursor.view.open ? 1 : open_at_wanted(reader, error);
        if (code > 0)
            code = next_frame(reader, error);
        if (code <= 0)
            return code;
    }
}

int log_reader_next(struct log_reader *reader, struct record *record, struct log_place *place,
                    struct error *error)
{
    if (reader->failed.code != 0)
        return fail(reader, error);
    int code = next_record(reader, record, place, &reader->failed);
    for (int i = 0; code == -ENOENT && i < READER_ATTEMPTS; i++) {
        code = reader_look_again(reader, &reader->failed);
        if (code < 0)
            break;
        code = next_record(reader, record, place, &reader->failed);
    }
    if (code < 0) {
        reader->failed.code = code;
        return fail(reader, error);
    }
    reader->failed.code = 0;
    if (code == 0)
        reader->idle_seq = reader->end.last_seq;
    return code;
}

int log_reader_seek(struct log_reader *reader, uint64_t seq, struct error *error)
{
    reader->failed.code = 0;
    reader->in_frame = false;
    reader->past_end = false;
    reader->idle_seq = UINT64_MAX;
    view_close(&reader->cursor.view);
    reader->wanted_seq = seq;
    uint64_t first_seq = log_reader_first_seq(reader);
    if (first_seq == 0 || (seq != 0 && first_seq <= seq))
        return 0;
    int code = reader_check_beginning(reader, error);
    if (seq == 0 || (code < 0 && (code != ERROR_DAMAGED || !reader->skip_damage)))
        return code;
    reader->wanted_seq = first_seq;
    return code < 0 ? code : reader_set_removed(seq, first_seq, error);
}

void log_reader_trim(struct log_reader *reader)
{
    struct error ignored;
    if (directory_refresh(&reader->directory, &ignored) == 0)
        reader_points_trim(reader);
}

int log_reader_wait(struct log_reader *reader, uint64_t timeout_ns)
{
    return log_reader_wait_interruptible(reader, timeout_ns, NULL);
}

int log_reader_wait_interruptible(struct log_reader *reader, uint64_t timeout_ns,
                                  struct interrupt *interrupt)
{
    if (reader->end.last_seq != reader->idle_seq)
        return 1;
    return live_end_wait(&reader->end, &reader->directory, &reader->probe, timeout_ns, interrupt);
}

static void refresh(struct log_reader *reader)
{
    struct error ignored;
    (void)live_end_refresh(&reader->end, &reader->directory, &reader->probe, &ignored);
}

uint64_t log_reader_first_seq(struct log_reader *reader)
{
    struct segment_header header;
    struct error ignored;
    if (reader->end.mode == LIVE_NOTHING)
        refresh(reader);
    else /* a writer's image says all of the end, and nothing of the beginning */
        (void)directory_refresh(&reader->directory, &ignored);
    for (size_t i = 0; reader->end.mode != LIVE_NOTHING && i < reader->directory.count; i++)
        if (reader->directory.first_seqs[i] != 0 ||
            directory_segment(&reader->directory, i, &reader->probe, &header, &ignored) ==
                SEGMENT_BEGUN)
            return reader->directory.first_seqs[i];
    return 0;
}

uint64_t log_reader_durable_seq(struct log_reader *reader)
{
    refresh(reader);
    /* What witnesses prove may be less for a moment than what the image said before. */
    if (reader->end.mode != LIVE_NOTHING && reader->end.last_seq > reader->durable_seq)
        reader->durable_seq = reader->end.last_seq;
    return reader->durable_seq;
}

const uint8_t *log_reader_uuid(struct log_reader *reader)
{
    if (reader->end.mode == LIVE_NOTHING)
        refresh(reader);
    return reader->end.log_uuid;
}

bool log_reader_live(struct log_reader *reader)
{
    return reader->end.mode == LIVE_IMAGE;
}

uint64_t log_reader_skipped(const struct log_reader *reader)
{
    return reader->skipped;
}

int log_reader_open(struct log_reader **reader, const struct log_reader_options *options,
                    struct error *error)
{
    struct log_reader *opened = calloc(1, sizeof *opened);
    if (opened == NULL)
        return error_set(error, -ENOMEM, "log %s: no memory for a reader", options->dir);
    budget_init(&opened->own_budget, UINT64_MAX);
    opened->budget = options->budget != NULL ? options->budget : &opened->own_budget;
    opened->skip_damage = options->skip_damage;
    opened->verify_chain = options->verify_chain;
    opened->idle_seq = UINT64_MAX;
    opened->probe = (struct source){ .fd = -1, .budget = opened->budget };
    view_init(&opened->cursor.view);
    reader_points_init(opened);
    live_end_init(&opened->end);
    opened->end.tolerant = options->skip_damage;
    opened->end.glance = options->glance;
    int code = directory_open(&opened->directory, options->dir, error);
    if (code == 0)
        code = live_end_refresh(&opened->end, &opened->directory, &opened->probe, error);
    if (code < 0) {
        log_reader_close(opened);
        return code;
    }
    *reader = opened;
    return 0;
}

void log_reader_close(struct log_reader *reader)
{
    if (reader == NULL)
        return;
    view_close(&reader->cursor.view);
    reader_points_close(reader);
    live_end_close(&reader->end);
    source_close(&reader->probe);
    directory_close(&reader->directory);
    free(reader);
}
