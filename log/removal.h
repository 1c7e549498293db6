/* Gives up the beginning of a log: which segments there are, and the removal of the oldest.
 *
 * What may go is the caller's business (snapshots, readers, policy), as is recording that it goes
 * before it does: the log itself only keeps its shape. Segments are removed from the oldest on, so
 * a process that dies in the middle leaves a log whose beginning is gone, never one with a hole;
 * removing again, from the number that was recorded, ends what was begun.
 *
 * No lock is taken and the writer is not made to wait: a segment below the newest is complete and
 * its writer never comes back to it. Readers hold what they have open: their bytes stay until they
 * close it, since the file is unlinked and never used again. A reader that comes too late gets
 * ERROR_NOT_FOUND with the first event that is there (log/reader.h).
 *
 * Threads: any; several removals at once, also in different processes, do no harm. */
#ifndef LOG_REMOVAL_H
#define LOG_REMOVAL_H

#include "core/base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct log_segment {
    uint64_t segment_no;
    uint64_t first_seq;  /* of its first event */
    uint64_t last_seq;   /* of its last one; 0: not known, it is the newest */
    uint64_t created_ns; /* log time at which it was begun */
    uint64_t disk_bytes; /* that its file takes on the disk */
    bool newest;
};

typedef void log_segment_function(const struct log_segment *segment, void *context);

/* Tells of every segment that was begun, the oldest first; spares are left out. Reads one block of
 * each. 0; ERROR_DAMAGED when one between the oldest and the newest is missing or its header is
 * not whole (daa-log verify says more); ERROR_NEWER; -errno. Nothing was told then. */
int log_segments(const char *dir, log_segment_function *each, void *context, struct error *error);

struct log_removed {
    uint64_t segments;
    uint64_t first_segment, last_segment; /* 0: none */
    uint64_t disk_bytes;                  /* freed, once no reader has them open */
};

/* Removes all segments below `segment_no`, the oldest first, but never the newest that was begun,
 * the one before it while the newest holds no frame (the next opening of the log still needs it),
 * nor a spare. `removed` counts what this call removed, also when it fails; it may be NULL.
 *
 * The directory is synced once, at the end: a journal keeps changes of one directory in order, so
 * that after a loss of power, too, the newest of them are missing and not some in the middle; and a
 * name that came back is removed by the next call. So 0 means that they are gone for good. */
int log_remove_before(const char *dir, uint64_t segment_no, struct log_removed *removed,
                      struct error *error);

#endif
