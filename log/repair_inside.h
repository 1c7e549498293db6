/* What log/repair.c, repair_heal.c and repair_apply.c share. For log/ only. */
#ifndef LOG_REPAIR_INSIDE_H
#define LOG_REPAIR_INSIDE_H

#include "log/copying.h"
#include "log/directory.h"
#include "log/repair.h"
#include "log/scan.h"
#include "log/tail.h"

enum { REPAIR_PATCHES_MAX = 256 };

/* Bytes of a segment that are not what its file says. */
struct repair_patch {
    uint64_t offset, size;
    int copy;     /* index of the copy that has them; -1: one bit is flipped */
    uint8_t mask; /* of the byte at `offset` */
};

struct repair_copy {
    const char *path;
    struct directory directory;
    struct source source;
    uint64_t segment_no; /* open in `source`; 0: none */
    struct segment_header header;
};

/* The segment under way. */
struct repair_segment {
    uint64_t segment_no;
    bool there;                                                        /* it has a file */
    char raw_name[LOG_SEGMENT_NAME_SIZE], name[LOG_SEGMENT_NAME_SIZE]; /* the latter: as it lies */
    struct segment_header header, next;
    bool is_last;         /* the newest that was begun: only its end is the log's */
    bool has_next;        /* a later one says where this one ends */
    struct source base;   /* its file */
    struct source healed; /* the file with its patches */
    struct repair_patch patches[REPAIR_PATCHES_MAX];
    unsigned patch_count;
    bool resized;         /* the file has another size than its header says */
    bool zero_unreadable; /* what cannot be read reads as zeros */
    uint64_t zero_from;   /* bytes from here on read as zeros */
    struct scan scan;
    bool lost;                      /* a part of it */
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
    uint64_t last_no;            /* the newest segment that was begun */
    struct tail_witness witness; /* CHECKPOINT */
    struct copying copying;
    uint64_t done_bytes, all_bytes;

    bool joined; /* the two below are of the segment before this one, and whole */
    struct segment_header before;
    struct scan_mark mark;
    bool headless; /* a begun segment behind the last good one has no header that can be had */

    struct repair_segment segment;
};

/* repair_heal.c: finds the header of a segment, as it is, or as it would be: 1, 0, negative. With
 * `segment` the patches that make it so go there. */
int repair_header(struct repair *repair, uint64_t segment_no, struct segment_header *header,
                  struct repair_segment *segment, struct error *error);
/* Opens the segment and finds what makes it better. 0 or negative. */
int repair_heal(struct repair *repair, uint64_t segment_no, struct error *error);
void repair_close_segment(struct repair_segment *segment);
/* True if the segment, as it would be, is not what its file says. */
bool repair_is_changed(const struct repair_segment *segment);
void repair_tell(struct repair *repair, const struct log_repair_step *step);
void repair_tell_format(struct repair *repair, struct log_repair_step *step, const char *format,
                        ...) ERROR_PRINTF(3, 4);

/* repair_rest.c: what is no frame. Bytes behind the last frame of a segment that ended in order;
 * files that are no segment; CHECKPOINT. */
void repair_behind_end(struct repair *repair);
int repair_spares(struct repair *repair, struct error *error);
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
