/* A walk over the events of a log that pass a filter, as cat, tail, grep and export make it: what
 * is damaged, was removed, or lies behind a bad end is named on stderr and left out.
 *
 * Threads: the main thread. */
#ifndef TOOLS_LOG_LISTING_H
#define TOOLS_LOG_LISTING_H

#include "tools/log/log.h"

/* Each event that the filter passes: 1 go on, 0 enough, or negative: stdout takes no more. */
typedef int listing_function(const struct record *record, const struct log_place *place,
                             void *context);

struct listing {
    /* The caller's. */
    const struct command *command;
    const char *dir;
    struct filter filter;
    bool follow;  /* wait for more at the end */
    bool bounded; /* end at what was durable at the beginning: a live log may grow for ever */
    listing_function *show;
    void *context;

    /* The listing's. */
    struct log_reader *reader;
    uint64_t expected; /* the next sequence number, if nothing is missing; 0: any */
    uint64_t last_seq; /* of the last event that was looked at, shown or not */
    uint64_t end_seq;  /* what was durable at the beginning */
    uint64_t skipped;  /* damaged ranges */
    bool live;         /* a writer ran at the beginning */
    int status;
};

/* Makes sense of the filter, opens the log, and walks it; of the last `last_count` events only
 * (UINT64_MAX: all). Returns an exit status. */
int listing_run(struct listing *listing, uint64_t last_count);

/* The first event at or behind a time, by halving, since times never go back in a log: 1 with
 * *seq, 0 when there is none; negative when one on the way cannot be read. */
int listing_find_time(struct log_reader *reader, uint64_t time_ns, uint64_t *seq,
                      struct error *error);

#endif
