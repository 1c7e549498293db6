/* The files of a log directory. For log/ only. Threads: a directory belongs to one thread. */
#ifndef LOG_DIRECTORY_H
#define LOG_DIRECTORY_H

#include "core/base/error.h"
#include "log/checkpoint.h"
#include "log/segment.h"
#include "log/source.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What the first two blocks of a segment's file say. */
enum segment_state {
    SEGMENT_SPARE,   /* both are zero: not used yet, if no frame lies further behind; or the log
                        passed it over: see below */
    SEGMENT_BEGUN,   /* a valid header */
    SEGMENT_DAMAGED, /* a header that is neither valid nor zero */
    SEGMENT_LOST,    /* the header is zero, and a frame begins behind it */
    SEGMENT_SHORT,   /* shorter than the two */
};

struct directory {
    char path[PATH_MAX];
    uint64_t *segments;   /* numbers, ascending */
    uint64_t *first_seqs; /* of those that were seen to be begun; 0: not known */
    uint64_t *linked;     /* numbers of those whose file lies in the second directory, ascending */
    size_t linked_count;
    size_t count;
};

/* Reads the names. `path` is a log directory, or a data directory that holds it as "log". */
int directory_open(struct directory *directory, const char *path, struct error *error);
void directory_close(struct directory *directory);
int directory_refresh(struct directory *directory, struct error *error);

/* Index of the segment, or -1. */
ptrdiff_t directory_find(const struct directory *directory, uint64_t segment_no);

/* True if the file of segment `index` lies in the second directory (log/second.h). */
bool directory_is_linked(const struct directory *directory, size_t index);

/* True if the next segment that was begun behind segment `index` goes on behind one before it: the
 * log passed it over, and whatever it is it holds nothing. */
bool directory_is_passed_over(const struct directory *directory, size_t index);

/* Files follow upon each other without a gap. When what stands behind `segment_no`, the newest that
 * was begun, does not: 1 with the first number that is missing. A number does not count as missing
 * while a file `<name>.tmp` is there: it was being made when its maker ended, or was given up
 * before it held anything (log/failover.c). 0 none; -ENOENT: the names are not those of now. */
int directory_gap(const struct directory *directory, uint64_t segment_no, uint64_t *missing);

/* Opens segment `index` in `source` (which is open or zero-initialised with fd -1) and reads its
 * header. A state, or negative: the file cannot be read, or ERROR_NEWER. `what` gets the reason of
 * SEGMENT_DAMAGED.
 *
 * A header whose write stalled, or failed in the second directory, may be in its file: a later
 * segment of a higher epoch that goes on behind one before it passes it over (log/failover.c). It
 * holds nothing, and is a spare. */
int directory_segment(const struct directory *directory, size_t index, struct source *source,
                      struct segment_header *header, struct error *what);

/* The newest valid slot of CHECKPOINT, read through `source`. 1 found; 0 none, or none that is
 * valid (*damaged counts the slots that are missing, or neither zero nor valid); negative errno. */
int directory_checkpoint(const struct directory *directory, struct source *source,
                         struct checkpoint *checkpoint, unsigned *damaged);

/* The process that holds LOCK as a writer, 0 for none. Takes no lock itself. */
pid_t directory_writer(const struct directory *directory);

#endif
