/* A walk over the frames of one segment, in bounded memory, up to the first place that is not the
 * next valid frame. For log/ only. Threads: a scan belongs to one thread.
 *
 * A frame is the next one if its header and body check out, it names the segment's salt and epoch
 * and its own place, and it goes on where the one before it ended: sequence number, link, and with
 * check_chain the SHA-256 chain. For that the bodies of the next frames, as far as they are at
 * hand, are hashed along with one: two take as long as one. */
#ifndef LOG_SCAN_H
#define LOG_SCAN_H

#include "log/frame.h"
#include "log/segment.h"
#include "log/source.h"

#include <stdbool.h>
#include <stdint.h>

/* A place between two frames. */
struct scan_mark {
    uint64_t end_offset;   /* of the last frame, or of the segment's header */
    uint64_t frame_offset; /* of the last frame; 0: none in this segment yet */
    uint64_t last_seq;
    uint64_t link;    /* of the last frame */
    bool link_known;  /* false at the start, unless the caller knows the segment before it */
    uint32_t blocks;  /* of the last frame in this segment; 0: none */
    bool chain_known; /* false behind damage that was passed over */
    uint8_t chain[SHA256_SIZE];
};

enum scan_result {
    SCAN_FRAME, /* the next valid frame */
    SCAN_END,   /* behind SEAL or CLOSE, at the limit, or at the end of the segment */
    SCAN_BAD,   /* not the next valid frame; `what` says why */
};

/* Of SCAN_BAD: what is wrong, from worst to best. */
enum scan_fault {
    SCAN_NO_HEADER, /* no frame header can be read */
    SCAN_NEWER,     /* the frame is of a newer version */
    SCAN_FOREIGN,   /* a whole header, but of another use of the file or of another place */
    SCAN_MISFIT,    /* ours and whole, but it does not go on where the one before it ended */
    SCAN_BODY,      /* the header is the next one; what follows it is wrong */
};

struct scan {
    struct source *source;
    struct segment_header header;
    uint64_t limit; /* bytes: no frame beyond it counts */
    bool check_chain;

    struct scan_mark here;    /* behind the last valid frame */
    struct scan_mark counted; /* the same, but before a run of frames that is not finished */
    bool in_run;              /* between txn_begin and txn_end */
    bool ended;               /* SEAL or CLOSE was the last */
    uint16_t last_flags;
    uint64_t frames, records; /* so far */
    uint64_t witness_seq;     /* highest durable_seq of header and frames so far */

    enum scan_fault
        fault; /* of SCAN_BAD, with the reason and, but for SCAN_NO_HEADER, the header */
    const char *what;
    struct frame_header bad;
};

/* Starts behind the segment's header. `source` stays the caller's. */
void scan_begin(struct scan *scan, struct source *source, const struct segment_header *header);

/* An enum scan_result, or negative when the bytes cannot be read (ERROR_TRUNCATED: the file ends
 * before). `frame` points into the source until its next use. */
int scan_next(struct scan *scan, struct frame_header *frame, const uint8_t **bytes);

/* True if the frame header at `offset` is whole and names this segment and this place: it had been
 * written here, whatever became of its body. */
bool scan_header_is_ours(const struct segment_header *segment, uint64_t offset,
                         const uint8_t bytes[FRAME_HEADER_SIZE], struct frame_header *header);

/* Where a whole frame stands that may follow the bad one at the scan's place, with its header; the
 * limit if none does. 0; ERROR_BUDGET or -ENOMEM when there was no memory to look, which says
 * nothing of what is there. */
int scan_find_resume(struct scan *scan, struct frame_header *frame, uint64_t *offset);

/* The first whole frame header of `source` that stands where it says, of whatever segment: what
 * has one is no spare. False: there is none that can be read. */
bool scan_find_any(struct source *source, struct frame_header *frame);

/* Finds the frame that ends at `end_offset` with `last_seq` by looking at the blocks before it.
 * 1 found (*bytes is the frame, checked), 0 not, negative. */
int scan_last_frame(struct source *source, const struct segment_header *segment,
                    uint64_t end_offset, uint64_t last_seq, struct frame_header *frame,
                    const uint8_t **bytes);

#endif
