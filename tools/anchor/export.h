/* The file to which anchors are exported: one JSON object a line (core/event/anchor.h), in the
 * order of their events, each line durable before the next. It only grows: what a crash left of a
 * line is completed by the same line, since an anchor's line is always the same. Only what is the
 * beginning of a line of ours, behind an anchor, and not of the one to be added, is cut off.
 *
 * It may be a file of another machine, or one that cannot be changed, only appended to: that is
 * what it is for. A file of something else is left as it is.
 *
 * Threads: belongs to one thread. */
#ifndef TOOLS_ANCHOR_EXPORT_H
#define TOOLS_ANCHOR_EXPORT_H

#include "core/base/error.h"
#include "core/event/anchor.h"

#include <stdbool.h>

#define ANCHOR_EXPORT_NAME "anchors.jsonl" /* in a data directory */

struct anchor_export {
    const char *path; /* the caller's */
    int fd;
    bool any;           /* there is a line; */
    struct anchor last; /* the last one */
    uint64_t end;       /* where it ends; behind that */
    char *torn;         /* the beginning of another, NULL: nothing */
    size_t torn_size;
};

/* Opens the file, makes it (0644) when it is missing, and reads its last line: changes nothing.
 * ERROR_INVALID for a file of something else. Close it in any case. */
int anchor_export_open(struct anchor_export *export, const char *path, struct error *error);
void anchor_export_close(struct anchor_export *export);

/* Appends the anchor, durably. */
int anchor_export_add(struct anchor_export *export, const struct anchor *anchor,
                      struct error *error);

#endif
