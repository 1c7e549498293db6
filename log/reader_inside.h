/* The inside of a reader: what reader.c, reader_segments.c and reader_point.c share. For log/ only.
 *
 * Threads: as log/reader.h says. */
#ifndef LOG_READER_INSIDE_H
#define LOG_READER_INSIDE_H

#include "log/block_index.h"
#include "log/live_end.h"
#include "log/reader.h"
#include "log/scan.h"
#include "log/view.h"

#include <stdbool.h>
#include <stdint.h>

#define READER_POINTS 16
/* How often a reader looks again when segments are removed faster than it opens them. */
#define READER_ATTEMPTS 4

/* A segment, and a place in it. */
struct opened {
    struct view view;
    struct scan scan;
};

/* A segment kept open for point reads, with where its records begin. */
struct point {
    struct opened opened;
    struct block_index index;
    bool complete;      /* the index came from SEAL or CLOSE */
    uint64_t used_turn; /* of reader->turn, when it was used last */
};

/* How many bytes the segments have from `oldest_no` up to `newest_no`, without that one. */
struct reader_behind {
    uint64_t oldest_no, newest_no; /* 0: not known */
    uint64_t bytes;
    bool rough; /* some were counted as full */
};

struct log_reader {
    struct budget own_budget;
    struct budget *budget;
    bool skip_damage, verify_chain;
    struct directory directory;
    struct source probe; /* for headers and CHECKPOINT */
    struct live_end end;

    struct opened cursor; /* not open: it goes to wanted_seq */
    uint64_t run_end;     /* offset up to which a run of frames was seen whole */
    bool in_frame;        /* `frame` has records left, from `at` on */
    struct frame_header frame;
    const uint8_t *bytes;
    uint32_t at;
    uint64_t wanted_seq;  /* records below are not shown */
    uint64_t idle_seq;    /* end.last_seq when there was nothing more; UINT64_MAX: never */
    uint64_t durable_seq; /* the highest that was answered */
    uint64_t skipped;
    bool past_end, end_counted; /* a damaged end is being passed over, and was counted */
    bool beginning_counted;     /* so was a damaged beginning */
    struct error failed;        /* code 0: none */

    struct point points[READER_POINTS];
    uint64_t turn;

    struct reader_behind behind; /* as it was asked for last */
};

/* True for the newest segment that was begun. */
bool reader_is_newest(const struct log_reader *reader, const struct opened *opened);

/* Opens the first segment at or behind `index` whose header can be read. 1 opened, 0 none. */
int reader_open_from(struct log_reader *reader, struct opened *opened, size_t index,
                     struct error *error);

/* Opens the segment that holds `seq`: the last one that begins at or before it, or the first. 1,
 * 0 none. */
int reader_open_for(struct log_reader *reader, struct opened *opened, uint64_t seq,
                    struct error *error);

/* Sets up to where the segment may be read now, and from where: map, image or file. */
int reader_set_limit(struct log_reader *reader, struct opened *opened, struct error *error);

/* To be asked when a file was not there that the names promise: reads them again. 0: the beginning
 * of the log was removed meanwhile, but nothing that is still wanted: try again.
 * ERROR_NOT_FOUND: what is wanted next went with it. Else what it was: `error` is left as it is. */
int reader_look_again(struct log_reader *reader, struct error *error);

/* To be asked when the first segment that can be read begins behind what is wanted. ERROR_DAMAGED:
 * one before it is there and damaged, which is counted as skipped; 0: all before it was removed. */
int reader_check_beginning(struct log_reader *reader, struct error *error);

/* ERROR_NOT_FOUND with its sentence. */
int reader_set_removed(uint64_t seq, uint64_t first_seq, struct error *error);

/* Where the walk to record `seq` begins, in a segment that is over: 1, the view is valid until the
 * next call on this reader. 0 or negative: log_reader_get() knows. */
int reader_locate(struct log_reader *reader, uint64_t seq, const struct view **view,
                  uint64_t *offset);

void reader_points_init(struct log_reader *reader);
void reader_points_close(struct log_reader *reader);
/* Closes those whose segments were removed, so that their disk is free. */
void reader_points_trim(struct log_reader *reader);

#endif
