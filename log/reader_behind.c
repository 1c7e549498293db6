#include "log/reader_inside.h"

/* Headers that are read to say it exactly; of more segments the rest counts as full. */
#define EXACT_MAX 100u

/* Adds up where the segments before `newest_no` end, back to `oldest_no`. True: *bytes is all. */
static bool add_up(struct log_reader *reader, uint64_t newest_no, uint64_t oldest_no,
                   uint64_t *bytes, bool *rough)
{
    struct segment_header header;
    struct error ignored;
    *bytes = 0;
    for (unsigned read = 0; newest_no > oldest_no; read++) {
        ptrdiff_t index = directory_find(&reader->directory, newest_no);
        if (index < 0 || directory_segment(&reader->directory, (size_t)index, &reader->probe,
                                           &header, &ignored) != SEGMENT_BEGUN)
            return false;
        if (read == EXACT_MAX) {
            *rough = true;
            *bytes += (newest_no - oldest_no) * header.capacity;
            return true;
        }
        *bytes += header.prev_end_offset;
        newest_no = header.prev_segment_no;
    }
    return newest_no == oldest_no;
}

/* From what is known of the last time: only segments are read that came since, or that the record
 * has moved over. */
static bool go_on(struct log_reader *reader, uint64_t newest_no, uint64_t oldest_no,
                  struct reader_behind *now)
{
    const struct reader_behind *last = &reader->behind;
    uint64_t more, less;
    bool rough = false;
    if (last->newest_no == 0 || oldest_no < last->oldest_no || oldest_no > last->newest_no ||
        newest_no < last->newest_no || (last->rough && oldest_no != last->oldest_no))
        return false;
    if (!add_up(reader, newest_no, last->newest_no, &more, &rough) ||
        !add_up(reader, oldest_no, last->oldest_no, &less, &rough) || rough)
        return false;
    *now = (struct reader_behind){ oldest_no, newest_no, last->bytes + more - less, last->rough };
    return last->bytes + more >= less;
}

uint64_t log_reader_bytes_from(struct log_reader *reader, const struct log_place *place)
{
    const struct live_end *end = &reader->end;
    struct error ignored;
    uint64_t newest_no = end->segment_no, oldest_no = place->segment_no;
    if (end->mode == LIVE_NOTHING || newest_no < oldest_no ||
        directory_refresh(&reader->directory, &ignored) < 0)
        return 0;
    struct reader_behind now;
    if (!go_on(reader, newest_no, oldest_no, &now)) {
        now = (struct reader_behind){ oldest_no, newest_no, 0, false };
        if (!add_up(reader, newest_no, oldest_no, &now.bytes, &now.rough))
            return end->end_offset + now.bytes;
    }
    reader->behind = now;
    uint64_t bytes = end->end_offset + now.bytes;
    return bytes > place->record_offset ? bytes - place->record_offset : 0;
}
