#include "log/roots.h"

#include "log/directory.h"
#include "log/sealed.h"

#include <errno.h>
#include <string.h>

/* 1, 0 when there is nothing to be shown of it, negative. */
static int root_of(const struct directory *directory, size_t index, struct source *source,
                   struct log_root *root, struct error *error)
{
    struct segment_header header;
    int state = directory_segment(directory, index, source, &header, error);
    *root = (struct log_root){ .segment_no = directory->segments[index] };
    if (state == -ENOENT) /* removed meanwhile */
        return 0;
    if (state < 0 && state != ERROR_DAMAGED)
        return state;
    if (state != SEGMENT_BEGUN || source->sealed == NULL)
        return 1;
    const struct sealed_front *front = &source->sealed->front;
    root->sealed = true;
    root->first_seq = header.first_seq;
    root->last_seq = front->last_seq;
    memcpy(root->merkle_root, front->merkle_root, SHA256_SIZE);
    return front->record_count > 0;
}

int log_roots(const char *dir, const struct log_roots_visitor *visitor, struct error *error)
{
    struct directory directory;
    struct source source = { .fd = -1 };
    struct log_root root;
    int code = directory_open(&directory, dir, error);
    if (code < 0)
        return code;
    for (size_t i = 0; code == 0 && i < directory.count; i++) {
        if (!visitor->wants(directory.segments[i], visitor->context))
            continue;
        code = root_of(&directory, i, &source, &root, error);
        if (code == 1)
            code = visitor->take(&root, visitor->context, error);
    }
    source_close(&source);
    directory_close(&directory);
    return code;
}
