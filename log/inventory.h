/* What the segments of a log are, from their headers and ends alone: cheap beside any writer and
 * whatever the log's size. Of a log that nobody writes the newest segment is read whole, to find
 * its end, and what stands behind it, which is no spare when it holds a frame.
 *
 * Bytes in between may be damaged all the same: log_verify() reads them.
 *
 * Threads: an inventory belongs to one thread. */
#ifndef LOG_INVENTORY_H
#define LOG_INVENTORY_H

#include "core/base/error.h"
#include "log/directory.h"
#include "log/live_end.h"

#include <stdbool.h>
#include <stdint.h>

enum inventory_state {
    INVENTORY_SPARE,       /* not begun */
    INVENTORY_ACTIVE,      /* the newest, and a writer runs */
    INVENTORY_CLOSED,      /* it ended in order: SEAL or CLOSE */
    INVENTORY_CRASHED,     /* it ended without: its writer was killed, or lost power */
    INVENTORY_FAILED_OVER, /* it ended without: writing it failed, and the log went on elsewhere */
    INVENTORY_DAMAGED,     /* its header or its end is not what it should be */
};

enum inventory_end {
    INVENTORY_OPEN, /* it has no last frame yet, or none that can be read */
    INVENTORY_SEAL,
    INVENTORY_CLOSE,
    INVENTORY_CRASH,
    INVENTORY_FAILOVER,
};

/* Fields that are not known are 0. */
struct inventory_segment {
    uint64_t segment_no;
    enum inventory_state state;
    enum inventory_end end;
    bool judged;              /* verdict: of the newest, when nobody writes */
    enum log_verdict verdict; /* on what lies behind its end */
    uint64_t first_seq, last_seq;
    uint64_t first_ns, last_ns; /* log time of the first and the last event */
    uint64_t events, frames, payload_bytes;
    bool frames_known;   /* frames and payload_bytes: a segment that ended in order counts them */
    uint64_t used_bytes; /* up to the end of the last frame */
    bool sealed;         /* it is there in its sealed form (log/sealed.h) */
    uint64_t size;       /* as it is read: of a sealed one, unpacked */
    uint64_t file_size;  /* as it lies there */
    uint64_t capacity;   /* as its header says */
    uint32_t epoch;
    uint8_t log_uuid[UUID_SIZE];
    char problem[512]; /* of DAMAGED: what is wrong */
};

struct inventory {
    struct directory directory;
    struct source source, probe;
    struct live_end end;
    bool live;                /* a writer runs */
    struct error end_problem; /* why the end of a stopped log is not known; code 0: it is */
};

/* `path` is a log directory, or a data directory that holds it as "log". */
int inventory_open(struct inventory *inventory, const char *path, struct error *error);
void inventory_close(struct inventory *inventory);

/* Segment `index` of inventory->directory. 0; -ENOENT when it was removed meanwhile, ERROR_NEWER
 * and others when nothing can be said. */
int inventory_segment(struct inventory *inventory, size_t index, struct inventory_segment *segment,
                      struct error *error);

/* The name of the segment's file, raw or sealed; true if it is sealed. */
bool inventory_file_name(const struct directory *directory, uint64_t segment_no,
                         char name[LOG_SEGMENT_NAME_SIZE]);

const char *inventory_state_name(enum inventory_state state); /* "spare", ... */
const char *inventory_end_name(enum inventory_end end);       /* "SEAL", "CLOSE", "crash", "" */

#endif
