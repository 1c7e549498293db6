#include "log/reader_inside.h"

/* Headers that are read to say it exactly; of more segments the rest counts as full. */
#define EXACT_MAX 1000u

uint64_t log_reader_bytes_from(struct log_reader *reader, const struct log_place *place)
{
    const struct live_end *end = &reader->end;
    struct segment_header header;
    struct error ignored;
    uint64_t bytes = end->end_offset, segment_no = end->segment_no;
    if (end->mode == LIVE_NOTHING || segment_no < place->segment_no ||
        directory_refresh(&reader->directory, &ignored) < 0)
        return 0;
    for (unsigned read = 0; segment_no > place->segment_no; read++) {
        ptrdiff_t index = directory_find(&reader->directory, segment_no);
        if (index < 0 || directory_segment(&reader->directory, (size_t)index, &reader->probe,
                                           &header, &ignored) != SEGMENT_BEGUN)
            return bytes;
        if (read == EXACT_MAX)
            return bytes + (segment_no - place->segment_no) * header.capacity -
                   place->record_offset;
        bytes += header.prev_end_offset;
        segment_no = header.prev_segment_no;
    }
    return bytes > place->record_offset ? bytes - place->record_offset : 0;
}
