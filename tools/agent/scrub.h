/* Reads the log's closed segments through now and then, so that damage is found while there are
 * still copies to mend it from: a disk loses sectors in silence, and what nobody reads nobody
 * misses.
 *
 * Checks what daa-log verify checks, but for the segment that is being written: one segment at a
 * time, with O_DIRECT, at the lowest priority of CPU and disk, and rests after each as long as it
 * took. What it finds is said on stderr, shown, and makes the agent DEGRADED; it changes nothing.
 * When it last ended, how far it is and what it found is kept in `<data_dir>/scrub`, so that an
 * agent that is started anew goes on there.
 *
 * Threads: a thread of its own. The functions may be called by any, open and close by one. */
#ifndef TOOLS_AGENT_SCRUB_H
#define TOOLS_AGENT_SCRUB_H

#include "core/base/budget.h"
#include "core/base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct scrub;

enum { SCRUB_DAMAGES_MAX = 16 };

struct scrub_options {
    const char *data_dir, *log_dir;
    uint64_t interval_ns; /* from the end of one to the beginning of the next; 0: only when asked */
    struct budget *budget;
};

struct scrub_damage {
    char file[32];
    uint64_t offset, size;        /* bytes; size 0: not known */
    uint64_t first_seq, last_seq; /* events concerned; 0: not known */
    char sentence[512];
};

struct scrub_report {
    bool under_way;
    uint64_t began_ns;   /* wall time; 0: none under way since the agent's start */
    uint64_t ended_ns;   /* of the last that came to its end; 0: none ever has */
    uint64_t due_ns;     /* of the next; 0: only when asked */
    uint64_t segment_no; /* under way: the next one to be read */
    uint64_t done_bytes, all_bytes;
    uint64_t segments;     /* read by the last one, or so far */
    struct error trouble;  /* why the last one did not come to its end; code 0: it did */
    uint64_t damage_count; /* places */
    struct scrub_damage damages[SCRUB_DAMAGES_MAX]; /* the first of them */
};

int scrub_open(struct scrub **scrub, const struct scrub_options *options, struct error *error);
/* Gives up what is under way. NULL is fine. */
void scrub_stop(struct scrub *scrub);
/* The same, and releases all. NULL is fine. */
void scrub_close(struct scrub *scrub);

/* Begins now, without waiting. False: one is under way, or the agent stops. */
bool scrub_begin(struct scrub *scrub);

/* A copy of what is known (9 KB). */
void scrub_report_get(struct scrub *scrub, struct scrub_report *report);

/* A sentence when the log is known to be damaged. */
bool scrub_is_degraded(struct scrub *scrub, char *sentence, size_t size);

#endif
