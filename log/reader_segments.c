#include "log/reader_inside.h"

#include <errno.h>

bool reader_is_newest(const struct log_reader *reader, const struct opened *opened)
{
    return reader->end.mode != LIVE_NOTHING &&
           opened->view.header.segment_no == reader->end.segment_no;
}

int reader_open_from(struct log_reader *reader, struct opened *opened, size_t index,
                     struct error *error)
{
    struct segment_header header;
    for (; index < reader->directory.count; index++) {
        struct error what = { 0 };
        int state = directory_segment(&reader->directory, index, &reader->probe, &header, &what);
        if (state < 0)
            return error_set(error, state, "%s", what.text);
        if (state != SEGMENT_BEGUN || header.segment_no > reader->end.segment_no)
            continue;
        int code = view_open(&opened->view, &reader->directory, index, reader->budget, error);
        if (code < 0)
            return code;
        scan_begin(&opened->scan, &opened->view.source, &opened->view.header);
        opened->scan.check_chain = reader->verify_chain;
        if (opened == &reader->cursor)
            reader->run_end = 0;
        return 1;
    }
    return 0;
}

int reader_check_beginning(struct log_reader *reader, struct error *error)
{
    struct directory *directory = &reader->directory;
    struct segment_header header;
    struct error what, first = { 0 };
    char name[LOG_SEGMENT_NAME_SIZE];
    uint64_t damaged_no = 0;
    int state = SEGMENT_SPARE;
    for (size_t i = 0; i < directory->count && state != SEGMENT_BEGUN; i++) {
        state = directory_segment(directory, i, &reader->probe, &header, &what);
        bool damaged = state == SEGMENT_DAMAGED || state == SEGMENT_LOST || state == -EIO;
        if (state < 0 && state != -EIO && state != -ENOENT) /* nobody knows what it holds */
            return error_set(error, state, "%s", what.text);
        if (damaged && damaged_no == 0) {
            damaged_no = directory->segments[i];
            first = what;
        }
    }
    /* What nothing goes on behind was never begun. */
    if (state != SEGMENT_BEGUN || damaged_no == 0 || damaged_no > header.prev_segment_no)
        return 0;
    reader->skipped += reader->skip_damage && !reader->beginning_counted;
    reader->beginning_counted = true;
    segment_name(name, damaged_no);
    return error_set(
        error, ERROR_DAMAGED,
        "%s: %.700s: events before %llu cannot be read: run daa-log verify and put the "
        "file back from a copy",
        name, first.text, (unsigned long long)header.first_seq);
}

int reader_look_again(struct log_reader *reader, struct error *error)
{
    struct directory *directory = &reader->directory;
    struct error ignored;
    if (directory_refresh(directory, &ignored) < 0 || directory->count == 0)
        return -ENOENT;
    reader_points_trim(reader);
    uint64_t first_seq = log_reader_first_seq(reader);
    if (first_seq == 0)
        return -ENOENT;
    if (reader->wanted_seq != 0 && reader->wanted_seq < first_seq) {
        int code = reader_check_beginning(reader, error);
        if (code == 0)
            return reader_set_removed(reader->wanted_seq, first_seq, error);
        if (!reader->skip_damage || code != ERROR_DAMAGED)
            return code;
    }
    /* It is found again by what is wanted. */
    view_close(&reader->cursor.view);
    return 0;
}

int reader_set_removed(uint64_t seq, uint64_t first_seq, struct error *error)
{
    return error_set(error, ERROR_NOT_FOUND,
                     "event %llu is not in the log any more; it begins with event %llu",
                     (unsigned long long)seq, (unsigned long long)first_seq);
}

/* If a later segment was begun: this one's end is what its header says. */
static int find_end(struct log_reader *reader, struct opened *opened, struct error *error)
{
    struct segment_header header;
    struct view *view = &opened->view;
    uint64_t segment_no = view->header.segment_no;
    if (view->closed || reader_is_newest(reader, opened))
        return 0;
    ptrdiff_t index = directory_find(&reader->directory, segment_no);
    for (size_t i = (size_t)(index + 1); i < reader->directory.count; i++) {
        struct error what = { 0 };
        int state = directory_segment(&reader->directory, i, &reader->probe, &header, &what);
        if (state < 0)
            return error_set(error, state, "%s", what.text);
        if (state != SEGMENT_BEGUN)
            continue;
        /* It was removed, and those behind it that would say where it ends. */
        if (index < 0 && header.prev_segment_no != segment_no)
            return error_set(error, -ENOENT, "segment %llu was removed",
                             (unsigned long long)segment_no);
        int code = view_set_end(view, &reader->directory, &header, error);
        if (code < 0)
            return code;
        /* Another segment stood between: nothing says where this one ends. */
        if (header.prev_segment_no != segment_no) {
            view->end_offset = view->header.capacity;
            view->last_seq = header.prev_last_seq;
        }
        return 0;
    }
    return 0;
}

/* The nearest segment at or below `index` that was begun: *index is its, or -1. */
static int begun_at_or_below(struct log_reader *reader, ptrdiff_t *index, struct error *error)
{
    struct segment_header header;
    for (; *index >= 0 && reader->directory.first_seqs[*index] == 0; --*index) {
        struct error what = { 0 };
        int state =
            directory_segment(&reader->directory, (size_t)*index, &reader->probe, &header, &what);
        if (state < 0)
            return error_set(error, state, "%s", what.text);
        if (state == SEGMENT_BEGUN)
            break;
    }
    return 0;
}

int reader_open_for(struct log_reader *reader, struct opened *opened, uint64_t seq,
                    struct error *error)
{
    size_t low = 0, high = reader->directory.count;
    ptrdiff_t begun;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        begun = (ptrdiff_t)middle;
        int code = begun_at_or_below(reader, &begun, error);
        if (code < 0)
            return code;
        if (begun < 0 || reader->directory.first_seqs[begun] <= seq)
            low = middle + 1;
        else
            high = middle;
    }
    begun = (ptrdiff_t)low - 1;
    int code = begun_at_or_below(reader, &begun, error);
    return code < 0 ? code : reader_open_from(reader, opened, begun < 0 ? 0 : (size_t)begun, error);
}

int reader_set_limit(struct log_reader *reader, struct opened *opened, struct error *error)
{
    struct view *view = &opened->view;
    struct live_end *end = &reader->end;
    int code = find_end(reader, opened, error);
    /* Newer segments than when the names were read. */
    if (code == 0 && !view->closed && !reader_is_newest(reader, opened)) {
        code = directory_refresh(&reader->directory, error);
        if (code == 0)
            code = find_end(reader, opened, error);
    }
    if (code < 0)
        return code;
    if (view->closed) {
        opened->scan.limit = view->end_offset;
        return 0;
    }
    bool of_image = view->source.image != NULL;
    if (!reader_is_newest(reader, opened)) {
        opened->scan.limit = opened->scan.here.end_offset;
        return of_image ? view_use_file(view, &reader->directory, error) : 0;
    }
    const struct image *image = live_end_image(end);
    if (end->mode == LIVE_IMAGE &&
        (view->source.image != image || view->source.generation != end->generation))
        view_use_image(view, image, end->generation);
    if (end->mode == LIVE_IMAGE)
        view->source.size = end->end_offset;
    else if (of_image) {
        code = view_use_file(view, &reader->directory, error);
        if (code < 0)
            return code;
    }
    bool past_end = opened == &reader->cursor && reader->past_end;
    uint64_t limit = past_end ? view->header.capacity : end->end_offset;
    /* The window may hold what stood behind the limit before. */
    if (limit != opened->scan.limit && view->source.fd >= 0)
        source_forget(&view->source);
    opened->scan.limit = limit;
    return 0;
}
