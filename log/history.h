/* A log as it is to be copied: its segments, up to an end that is fixed when it is opened, each
 * checked frame by frame on the way. For log/ only.
 *
 * The log may be written meanwhile. Its end is the live one of a reader (log/live_end.h): a place
 * between two commands up to which all is durable. All segments, the active one too, are read from
 * their files with O_DIRECT and never beyond that end: what is durable is on the disk, so a copy
 * needs no image, does not touch the page cache, and a roll in the middle of it changes nothing.
 *
 * Memory: the window of a source, the buffer of a copying. Threads: belongs to one thread. */
#ifndef LOG_HISTORY_H
#define LOG_HISTORY_H

#include "log/copying.h"
#include "log/directory.h"
#include "log/live_end.h"
#include "log/manifest.h"

#include <stdbool.h>
#include <stdint.h>

typedef void history_progress_function(uint64_t done_bytes, uint64_t all_bytes, void *context);

struct history {
    struct directory directory;
    bool live;     /* a writer runs */
    bool salvage;  /* the caller's: damage ends the history instead of failing */
    bool data_dir; /* the path was that of a data directory */
    uint64_t last_segment_no, end_offset, last_seq; /* the end */
    struct live_end end;
    struct source source, probe;
    struct copying copying;

    history_progress_function *progress; /* the caller's; may be NULL */
    void *context;
    uint64_t done_bytes, all_bytes;

    /* Of salvage. */
    bool cut;           /* the last segment copied ends at damage: nothing follows it */
    char reason[1024];  /* what is wrong there, or with the tail that was left out; "" nothing */
    uint64_t known_seq; /* the highest event that anything in the log knows of */
};

/* `path` is a log directory, or a data directory that holds it as "log". ERROR_NOT_FOUND when no
 * segment was begun; ERROR_DAMAGED when acknowledged events behind the end are damaged, unless
 * `salvage`. */
int history_open(struct history *history, const char *path, bool salvage, struct error *error);
void history_close(struct history *history);

/* The first segment at or behind *index that was begun and belongs to the history: 1, with its
 * index and header; 0 none, or, of salvage, damage ends it here; negative: one that stands between
 * cannot be read as a segment. */
int history_find(struct history *history, size_t *index, struct segment_header *header,
                 struct error *error);

/* The segment that holds `seq`: 1, or 0 when the log ends before; the first one if it begins
 * later. */
int history_find_seq(struct history *history, uint64_t seq, size_t *index, struct error *error);

/* Copies segment `index` to a file of its name in `target`. `known` is what the file holds already
 * (NULL: nothing): those bytes are compared and stay. `before` is the segment that this one must
 * follow (NULL: none). ERROR_MISMATCH: it does not go on where they end, so it is another history.
 * ERROR_DAMAGED and others with the place. The file is synced, its name not yet. 0, or 1 when
 * damage cut it (history->cut); with `made` all zero then if nothing of it could be used. */
int history_copy(struct history *history, size_t index, const char *target,
                 const struct backup_segment *known, const struct backup_segment *before,
                 struct backup_segment *made, struct error *error);

/* Of salvage: nothing behind what was copied counts, and why; and what an event's number proves. */
void history_cut(struct history *history, const char *format, ...) ERROR_PRINTF(2, 3);
void history_know(struct history *history, uint64_t seq);

/* True if `header` goes on behind the segment `before`. */
bool history_follows(const struct segment_header *header, const struct backup_segment *before);

#endif
