/* One segment, opened for reading: mapped when it no longer changes, else through a window. For
 * log/ only.
 *
 * A mapped segment is held with LOCK_SH, so that its file is not given to another segment while it
 * is mapped. Threads: a view belongs to one thread. */
#ifndef LOG_VIEW_H
#define LOG_VIEW_H

#include "log/directory.h"
#include "log/segment.h"
#include "log/source.h"

#include <stdbool.h>
#include <stdint.h>

struct view {
    bool open;
    struct segment_header header;
    struct source source;
    struct map map;
    int lock_fd; /* of the mapped file; -1: none */
    /* Where frames that count end, once a later segment says so. */
    bool closed;
    uint64_t end_offset, last_seq, next_segment_no;
};

/* A view is zero-initialised with view_init() and then opened any number of times. */
void view_init(struct view *view);

/* Opens segment `index` of the directory. Negative: ERROR_DAMAGED with what is wrong with its
 * header, ERROR_NEWER, -errno. */
int view_open(struct view *view, const struct directory *directory, size_t index,
              struct budget *budget, struct error *error);
void view_close(struct view *view);

/* Says where the segment ends; its file is mapped from here on where that is possible. Bytes given
 * out before are not valid any more. */
int view_set_end(struct view *view, const struct directory *directory,
                 const struct segment_header *next, struct error *error);

/* Reads from the writer's image, or from the file again, from here on. */
void view_use_image(struct view *view, const struct image *image, uint64_t generation);
int view_use_file(struct view *view, const struct directory *directory, struct error *error);

#endif
