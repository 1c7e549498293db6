/* Copies a log into PostgreSQL, from the first connection to the end or for ever: steps the copier
 * (pgsync/copier.h), waits for new events and for a server that is away, and tells the log's
 * directory how far the copy is (report.h). daa-pgsync and the agent copy by this.
 *
 * It prints nothing; what happens is told through a callback, within follow_run() and on its
 * thread.
 *
 * Threads: follow_run() belongs to the thread that owns the reader; `stop` may be raised by any,
 * also in a signal's handler. Memory: the copier's. */
#ifndef TOOLS_REPLICATION_FOLLOW_H
#define TOOLS_REPLICATION_FOLLOW_H

#include "core/base/budget.h"
#include "core/base/error.h"
#include "log/reader.h"
#include "mmapstore/interrupt.h"
#include "pgsync/copier.h"

#include <stdbool.h>
#include <stdint.h>

enum follow_news {
    FOLLOW_CONNECTED, /* the position is known: for the first time, or again after FOLLOW_LOST */
    FOLLOW_PROGRESS,  /* a batch is in, or something else was done while connected */
    FOLLOW_FORK,      /* PostgreSQL came to know of a fork: stats->fork */
    FOLLOW_WITHHELD, /* for the first time: an event went in without its private fields, for want of
                         its key: stats->withheld */
    FOLLOW_LOST,     /* a try failed, and there will be another */
    FOLLOW_TOLD,     /* the log's directory was told the position, or does not take it: error */
    FOLLOW_TICK,     /* tick_ns passed since the last one */
};

struct follow_event {
    enum follow_news news;
    const struct copier_stats *stats; /* as of now */
    const struct error *error;        /* of LOST and TOLD, else NULL */
    bool first;                       /* CONNECTED: for the first time */
    uint64_t tries;                   /* LOST: that failed since it was last connected, with this */
};

struct follow_options {
    const char *url, *dir;   /* as the copier's */
    const char *reader_name; /* for the file in the log's directory; "": none */
    struct log_reader *reader;
    const struct event_keys *keys; /* as the copier's */
    struct budget *budget;
    struct interrupt *stop; /* raised: waits end at once, those for the server in 10 s */
    uint64_t batch_rows_max, partition_rows, detach_age_s; /* as the copier's */
    bool detach;
    /* Copies what was durable at the beginning, then ends. A server that cannot be had at first is
     * an error then, and so is one that stays away for a minute. */
    bool once;
    uint64_t tick_ns; /* how often FOLLOW_TICK comes, whatever is waited for but the server's
                         answers; 0: never */
    void (*tell)(void *context, const struct follow_event *event);
    void *context;
};

/* Copies. Everything is the caller's, and must stay until this is back. *stats is how it ended.
 * 0: done, or stopped. Negative: ended for good, with a sentence that says what to do: the
 * copier's, and ERROR_UNAVAILABLE as of `once`. */
int follow_run(const struct follow_options *options, struct copier_stats *stats,
               struct error *error);

#endif
