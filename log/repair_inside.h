/* What log/repair.c and log/repair_*.c share. For log/ only. */
#ifndef LOG_REPAIR_INSIDE_H
#define LOG_REPAIR_INSIDE_H

#include "log/copying.h"
#include "log/diagnose.h"
#include "log/directory.h"
#include "log/repair.h"
#include "log/scan.h"
#include "log/tail.h"

/* Bytes of a segment that are not what its file says. */
struct repair_patch {
    uint64_t offset, size;
    int copy;       /* index of the copy that has them, or one of the two below */
    uint8_t mask;   /* of a flip: of the byte at `offset` */
    uint8_t *bytes; /* of what was built, the patch's own */
};
enum { PATCH_FLIPPED = -1, PATCH_BUILT = -2 };

struct repair_copy {
    const char *path;
    struct directory directory;
    struct source source;
    uint64_t segment_no; /* open in `source`; 0: none */
    struct segment_header header;
};

/* Where the header of a segment comes from, when it is no index of a copy. */
enum { REPAIR_NOBODY = -1, REPAIR_OWN = -2, REPAIR_FLIPPED = -3 };

/* A segment of the log as it should be. */
struct repair_entry {
    uint64_t segment_no;
    bool there;                   /* it has a file */
    bool blank;                   /* that file was never begun: nothing of it is wanted */
    int from;                     /* a copy, or one of the above */
    bool proven;                  /* from a copy: it ends where what comes behind it says */
    struct segment_header header; /* unless from is REPAIR_NOBODY */
};

/* The segment under way. */
struct repair_segment {
    const struct repair_entry *entry;
    uint64_t segment_no;
    char raw_name[LOG_SEGMENT_NAME_SIZE], name[LOG_SEGMENT_NAME_SIZE]; /* the latter: as it lies */
    struct segment_header header;
    const struct repair_entry *next; /* a later one says where this one ends; NULL: none does */
    bool is_last;                    /* the newest that was begun: only its end is the log's */
    struct source base;              /* its file */
    int base_copy; /* -1; or it was never begun here, and this copy's lies below the patches */
    struct source healed;         /* the file with its patches */
    struct repair_patch *patches; /* in the order of the segment */
    unsigned patch_count, patch_capacity;
    uint64_t size;                 /* of the file that is written */
    bool resized;                  /* that is another than it has */
    uint64_t zero_unreadable_from; /* what cannot be read from here on reads as zeros */
    uint64_t zero_from;            /* bytes from here on read as zeros */
    struct scan scan;
    struct tail_witness witness;    /* of the newest: the best of all */
    bool lost;                      /* a part of it */
    bool refused;                   /* what was put together is of another history */
    char unbuilt[200];              /* why the last place that was bad could not be built */
    struct log_repair_step pending; /* frames taken from one copy, one behind the other */
    bool is_pending;
};

struct repair {
    const struct log_repair_options *options;
    struct log_repair_result *result;
    struct directory directory;
    struct source probe;
    struct repair_copy copies[LOG_REPAIR_COPIES_MAX];
    int lock_fd;
    struct repair_entry *line; /* the log as it should be, oldest first */
    size_t line_count, line_capacity;
    uint64_t last_no; /* the newest segment that was begun */
    bool named;       /* under which uuid that was written is known: */
    uint8_t log_uuid[UUID_SIZE];
    struct checkpoint checkpoint; /* with its flipped bits flipped back */
    struct tail_witness witness;  /* that; seq 0: none of this log is there */
    bool forks;                   /* where it ends is meant to be its end: log/fork.h */
    struct copying copying;
    uint64_t done_bytes, all_bytes;
    struct error failed; /* what the caller's records said; code 0: nothing */

    bool joined; /* the two below are of the segment before this one, and whole */
    struct segment_header before;
    size_t before_index; /* in the line */
    struct scan_mark mark;
    bool gap;      /* a number is missing before a spare */
    bool headless; /* a begun segment behind the last good one has no header that can be had */

    struct repair_segment segment;
};

/* repair_line.c: finds the segments of the log, what says so, and where their headers come from.
 * Nothing is told. 0 or negative. */
int repair_line_read(struct repair *repair, struct error *error);
/* The last event that a copy of the segment has in one piece from its beginning on. */
uint64_t repair_copy_end(struct repair_copy *copy);

/* repair_choose.c */
/* One bit of the block makes it the header of this segment again: what is to be flipped. */
bool repair_flip_header(const uint8_t block[LOG_BLOCK_SIZE], uint64_t segment_no,
                        struct segment_header *header, struct diagnosis *found);
/* Of a segment whose header nobody has: the copy whose header it is, if there is one, by what
 * `next` demands of its end, or CHECKPOINT of the newest (NULL). Fills in the entry. */
void repair_choose(struct repair *repair, struct repair_entry *entry,
                   const struct segment_header *next);

/* repair_healed.c */
/* Opens the segment in a copy. False: it has none that can be used. */
bool repair_open_in_copy(struct repair_copy *copy, uint64_t segment_no);
void repair_begin_healed(struct repair *repair);
/* Patches are added in the order of the segment. 0 or -ENOMEM. `mask`: of a flip, PATCH_FLIPPED. */
int repair_add_patch(struct repair_segment *segment, uint64_t offset, uint64_t size, int copy,
                     uint8_t mask);
/* The same for bytes that are nowhere else: they are the segment's to free, whatever comes. */
int repair_add_built(struct repair_segment *segment, uint64_t offset, uint64_t size,
                     uint8_t *bytes);
/* Takes `size` bytes of the last one away again. */
void repair_drop_patch(struct repair_segment *segment, uint64_t size);
/* True if the segment, as it would be, is not what its file says. */
bool repair_is_changed(const struct repair_segment *segment);
void repair_close_segment(struct repair_segment *segment);

/* repair_heal.c: opens the segment of line[index] and finds what makes it better. 1; 0: nobody has
 * its header; negative. */
int repair_heal(struct repair *repair, size_t index, struct error *error);
void repair_tell(struct repair *repair, const struct log_repair_step *step);
/* Tells of the frames that were taken from a copy so far. */
void repair_tell_pending(struct repair *repair);
void repair_tell_format(struct repair *repair, struct log_repair_step *step, const char *format,
                        ...) ERROR_PRINTF(3, 4);

/* The segment behind this one, which says where it ends; NULL: none says so. */
const struct segment_header *repair_told_end(const struct repair_segment *segment);

/* repair_build.c: the frame or frames that should stand at the scan's place are built out of their
 * records, and proven. 1; 0, and segment->unbuilt says why; negative, and repair->failed says it.
 */
int repair_build(struct repair *repair);
/* The record with this number, from whoever has them: 0; 1, and segment->unbuilt says why it cannot
 * be had; negative. It is whole, and valid until the next call. */
int repair_ask(struct repair *repair, uint64_t seq, struct span *record);
void repair_cannot_build(struct repair_segment *segment, const char *format, ...)
    ERROR_PRINTF(2, 3);
/* What stands at `offset` of the segment, as far as it can be read; zeros for the rest. */
void repair_read_rest(struct repair_segment *segment, uint64_t offset, uint64_t size,
                      uint8_t *target);
/* The frame behind this header, as it must have been: the caller frees it. 0, 1, negative. *asked:
 * how many of its records are not from here. */
int repair_build_body(struct repair *repair, uint64_t offset, const uint8_t *header_bytes,
                      const struct frame_header *header, uint8_t **frame, uint64_t *asked);

/* Frames that are built. */
struct repair_built {
    uint8_t *bytes;
    uint64_t size;
    uint64_t records, asked; /* in them, and how many of these are not from here */
};
/* repair_gap.c: frames at the scan's place whose headers are gone. 0, 1, negative. */
int repair_build_gap(struct repair *repair, struct repair_built *built);

/* repair_rest.c: what is no frame. Bytes behind the last frame; the size of the file; files that
 * are no segment; CHECKPOINT. */
int repair_behind_end(struct repair *repair);
void repair_judge_size(struct repair *repair);
int repair_spares(struct repair *repair, struct error *error);
/* CHECKPOINT as it would be: true if it is there. */
bool repair_read_checkpoint(struct repair *repair, struct checkpoint *checkpoint);
int repair_checkpoint(struct repair *repair, struct error *error);

/* repair_apply.c */
/* A second name for the file in the quarantine. */
int repair_keep(struct repair *repair, const char *name, struct error *error);
int repair_lock(struct repair *repair, struct error *error);
/* Writes the segment as it would be, and gives it its name; the old one stays in the quarantine. */
int repair_write(struct repair *repair, struct error *error);
/* Moves a file into the quarantine; fine when it is not there. */
int repair_move_aside(struct repair *repair, const char *name, struct error *error);
/* The log ends behind the segment's last command that counts, or before it when the newest has no
 * header. */
int repair_cut(struct repair *repair, struct error *error);

#endif
