#include "log/roots.h"

#include "log/directory.h"
#include "log/sealed.h"

#include <errno.h>
#include <string.h>

/* 1 when the segment is sealed and holds a record. */
static int root_of(const struct directory *directory, size_t index, struct source *source,
                   struct log_root *root, struct error *error)
{
    struct segment_header header;
    int state = directory_segment(directory, index, source, &header, error);
    if (state == -ENOENT) /* removed meanwhile */
        return 0;
    if (state < 0 || state != SEGMENT_BEGUN || source->sealed == NULL)
        return state < 0 && state != ERROR_DAMAGED ? state : 0;
    const struct sealed_front *front = &source->sealed->front;
    *root = (struct log_root){ .segment_no = header.segment_no,
                               .first_seq = header.first_seq,
                               .last_seq = front->last_seq };
    memcpy(root->merkle_root, front->merkle_root, SHA256_SIZE);
    return front->record_count > 0;
}

int log_roots(const char *dir, uint64_t after_no, struct log_root *roots, size_t max,
              struct error *error)
{
    struct directory directory;
    struct source source = { .fd = -1 };
    size_t count = 0;
    int code = directory_open(&directory, dir, error);
    if (code < 0)
        return code;
    for (size_t i = 0; code >= 0 && count < max && i < directory.count; i++) {
        if (directory.segments[i] <= after_no)
            continue;
        code = root_of(&directory, i, &source, &roots[count], error);
        count += code == 1;
    }
    source_close(&source);
    directory_close(&directory);
    return code < 0 ? code : (int)count;
}
