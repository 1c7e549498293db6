/* Point reads: one record by its number, with one or two blocks of file. */
#include "log/reader_inside.h"

#include "core/base/bytes.h"

#include <errno.h>
#include <string.h>

void reader_points_init(struct log_reader *reader)
{
    for (int i = 0; i < READER_POINTS; i++) {
        view_init(&reader->points[i].opened.view);
        reader->points[i].index.budget = reader->budget;
    }
}

void reader_points_close(struct log_reader *reader)
{
    for (int i = 0; i < READER_POINTS; i++) {
        view_close(&reader->points[i].opened.view);
        block_index_free(&reader->points[i].index);
    }
}

void reader_points_trim(struct log_reader *reader)
{
    for (int i = 0; i < READER_POINTS; i++) {
        struct view *view = &reader->points[i].opened.view;
        if (view->open && directory_find(&reader->directory, view->header.segment_no) < 0)
            view_close(view);
    }
}

/* The last event that may be shown of the segment. */
static uint64_t last_seq_of(const struct log_reader *reader, const struct point *point)
{
    const struct view *view = &point->opened.view;
    if (view->closed)
        return view->last_seq;
    return reader_is_newest(reader, &point->opened) ? reader->end.last_seq : 0;
}

/* The point whose segment holds `seq`, or the one that was used longest ago. */
static struct point *choose_point(struct log_reader *reader, uint64_t seq, bool *found)
{
    struct point *oldest = &reader->points[0];
    *found = true;
    for (int i = 0; i < READER_POINTS; i++) {
        struct point *point = &reader->points[i];
        if (point->opened.view.open && point->opened.view.header.first_seq <= seq &&
            seq <= last_seq_of(reader, point))
            return point;
        if (point->used_turn < oldest->used_turn)
            oldest = point;
    }
    *found = false;
    return oldest;
}

/* Takes the index from the segment's last frame, if that is SEAL or CLOSE. */
static int take_index(struct log_reader *reader, struct point *point)
{
    const struct view *view = &point->opened.view;
    uint64_t end_offset = view->closed ? view->end_offset : reader->end.end_offset;
    uint64_t last_seq = view->closed ? view->last_seq : reader->end.last_seq;
    struct frame_header frame;
    struct record record;
    struct storage_sealed sealed;
    const uint8_t *bytes;
    uint32_t at = 0;
    int found = scan_last_frame(&point->opened.view.source, &view->header, end_offset, last_seq,
                                &frame, &bytes);
    if (found == 1 && frame.flags & (FRAME_SEAL | FRAME_CLOSE) &&
        frame_next_record(bytes, &frame, &at, &record) &&
        storage_sealed_decode(record.payload, &sealed) == 0 &&
        sealed.first_seq == view->header.first_seq &&
        sealed.block_count == frame.file_offset / LOG_BLOCK_SIZE) {
        block_index_take(&point->index, &sealed);
        block_index_add(&point->index, bytes, &frame);
        point->complete = true;
    }
    return found < 0 ? found : 0;
}

static int open_point(struct log_reader *reader, struct point *point, uint64_t seq,
                      struct error *error)
{
    struct opened *opened = &point->opened;
    point->complete = false;
    int code = reader_open_for(reader, opened, seq, error);
    if (code <= 0)
        return code;
    code = reader_set_limit(reader, opened, error);
    if (code == 0)
        code = block_index_reset(&point->index, opened->view.header.capacity,
                                 opened->view.header.first_seq);
    bool whole = opened->view.closed || reader->end.mode == LIVE_STOPPED;
    if (code == 0 && whole)
        code = take_index(reader, point);
    if (code < 0)
        view_close(&opened->view);
    return code < 0 ? code : 1;
}

/* Walks on over frames that the index does not know yet, until it knows `seq`. 1, 0 when it is not
 * there, negative. */
static int extend_index(struct log_reader *reader, struct point *point, uint64_t seq,
                        struct error *error)
{
    struct scan *scan = &point->opened.scan;
    struct frame_header frame;
    const uint8_t *bytes;
    int code = reader_set_limit(reader, &point->opened, error);
    if (code < 0 || point->complete)
        return code < 0 ? code : 1;
    point->opened.view.source.sequential = true;
    while (scan->here.last_seq < seq) {
        int result = scan_next(scan, &frame, &bytes);
        if (result != SCAN_FRAME)
            return result == ERROR_CONFLICT ? result : 0;
        block_index_add(&point->index, bytes, &frame);
    }
    return 1;
}

/* Walks the records from `offset` to `seq`. 1 found, 0 not, negative. */
static int find_record(struct point *point, uint64_t seq, uint64_t *offset, struct record *record)
{
    struct source *source = &point->opened.view.source;
    source->sequential = false;
    for (;;) {
        const uint8_t *bytes;
        int code = source_bytes(source, *offset, RECORD_HEADER_SIZE, &bytes);
        if (code < 0)
            return code;
        uint64_t size = bytes_get_u32(bytes + RECORD_AT_SIZE);
        uint64_t here = bytes_get_u64(bytes + RECORD_AT_SEQ);
        size_t decoded;
        if (size < RECORD_HEADER_SIZE || size > LOG_FRAME_SIZE_MAX || here > seq)
            return 0;
        if (here < seq) {
            *offset += size;
            continue;
        }
        code = source_bytes(source, *offset, size, &bytes);
        if (code < 0)
            return code;
        return record_decode(span_of(bytes, size), record, &decoded) == 0;
    }
}

/* The header of the frame that holds the record: 1 found, 0 not, negative. */
static int find_frame(struct point *point, uint64_t seq, uint64_t offset,
                      struct frame_header *frame)
{
    struct view *view = &point->opened.view;
    for (uint64_t block = offset / LOG_BLOCK_SIZE; block > 0; block--) {
        const uint8_t *bytes;
        if (!block_index_may_begin(&point->index, block))
            continue;
        int code = source_bytes(&view->source, block * LOG_BLOCK_SIZE, FRAME_HEADER_SIZE, &bytes);
        if (code < 0)
            return code;
        if (scan_header_is_ours(&view->header, block * LOG_BLOCK_SIZE, bytes, frame))
            return frame->first_seq <= seq && seq <= frame_last_seq(frame);
    }
    return 0;
}

/* 1 found, 0 not this way, negative. */
static int read_point(struct log_reader *reader, struct point *point, uint64_t seq,
                      struct record *record, struct log_place *place, struct error *error)
{
    struct frame_header frame;
    uint64_t offset;
    int code = extend_index(reader, point, seq, error);
    if (code <= 0 || !block_index_find(&point->index, seq, &offset))
        return code < 0 ? code : 0;
    code = find_record(point, seq, &offset, record);
    if (code <= 0 || place == NULL)
        return code;
    code = find_frame(point, seq, offset, &frame);
    if (code <= 0)
        return code;
    *place = (struct log_place){ .segment_no = point->opened.view.header.segment_no,
                                 .frame_offset = frame.file_offset,
                                 .record_offset = offset,
                                 .epoch = frame.epoch,
                                 .frame_last_seq = frame_last_seq(&frame),
                                 .frame_durable_seq = frame.durable_seq };
    memcpy(place->frame_chain, frame.chain, SHA256_SIZE);
    memcpy(place->log_uuid, point->opened.view.header.log_uuid, UUID_SIZE);
    return find_record(point, seq, &offset, record); /* the window may have moved */
}

int reader_locate(struct log_reader *reader, uint64_t seq, const struct view **view,
                  uint64_t *offset)
{
    struct error ignored;
    bool found;
    if (seq == 0 || reader->end.mode == LIVE_NOTHING || seq > reader->end.last_seq)
        return 0;
    struct point *point = choose_point(reader, seq, &found);
    int code = found ? 1 : open_point(reader, point, seq, &ignored);
    if (code <= 0 || !point->opened.view.closed)
        return code < 0 ? code : 0;
    point->used_turn = ++reader->turn;
    code = extend_index(reader, point, seq, &ignored);
    *view = &point->opened.view;
    return code == 1 && block_index_find(&point->index, seq, offset);
}

static int get_by_index(struct log_reader *reader, uint64_t seq, struct record *record,
                        struct log_place *place, struct error *error)
{
    bool found;
    struct point *point = choose_point(reader, seq, &found);
    if (!found) {
        int code = open_point(reader, point, seq, error);
        if (code <= 0)
            return code;
    }
    point->used_turn = ++reader->turn;
    return read_point(reader, point, seq, record, place, error);
}

/* Reads on from the place in the ordinary way: slower, and it knows what to say of damage. */
static int get_by_walk(struct log_reader *reader, uint64_t seq, struct record *record,
                       struct log_place *place, struct error *error)
{
    int code = log_reader_seek(reader, seq, error);
    if (code == ERROR_NOT_FOUND)
        return 0;
    if (code == 0)
        code = log_reader_next(reader, record, place, error);
    if (code == ERROR_NOT_FOUND)
        return 0;
    return code == 1 && record->seq != seq ? 0 : code;
}

int log_reader_get(struct log_reader *reader, uint64_t seq, struct record *record,
                   struct log_place *place, struct error *error)
{
    struct error ignored;
    if (seq == 0)
        return 0;
    if (reader->end.mode == LIVE_NOTHING || seq > reader->end.last_seq) {
        int code = live_end_refresh(&reader->end, &reader->directory, &reader->probe, error);
        if (code < 0)
            return code;
        /* Behind a damaged end there may be more, for those who want it. */
        if (reader->end.mode == LIVE_NOTHING ||
            (seq > reader->end.last_seq && !reader->skip_damage))
            return 0;
    }
    int code = get_by_index(reader, seq, record, place, &ignored);
    if (code == ERROR_CONFLICT)
        (void)live_end_refresh(&reader->end, &reader->directory, &reader->probe, &ignored);
    if (code != 1)
        return get_by_walk(reader, seq, record, place, error);
    reader->failed.code = 0;
    reader->in_frame = reader->past_end = false;
    reader->idle_seq = UINT64_MAX;
    view_close(&reader->cursor.view);
    reader->wanted_seq = seq + 1;
    return 1;
}
