/* The threads that ask PostgreSQL what clients of the API want to know, over a pool of
 * connections (pgsync/pool.h).
 *
 *   searcher_ask() -> queue (bounded) -> a thread: a connection, the question -> done()
 *
 * Nobody else ever waits for the server: whoever asks is called back. A question has an end: it
 * waits for a thread and a connection within [database] pool_timeout, and a statement that takes
 * longer than SEARCH_STATEMENT_S is given up. While the server cannot be had, one question at a
 * time tries it, once a second, and the others are refused at once.
 *
 * Threads: open, join and close by one; ask, stop and status by any; done() is called by a thread
 * of the searcher. */
#ifndef TOOLS_AGENT_SEARCHER_H
#define TOOLS_AGENT_SEARCHER_H

#include "core/base/error.h"
#include "core/base/text.h"
#include "pgsync/lookup.h"
#include "pgsync/pool.h"
#include "tools/config/config.h"

#include <stdbool.h>
#include <stdint.h>

#define SEARCH_STATEMENT_S 10

struct searcher;

/* A question. What it points to stays until done(), which is where it is answered. */
struct search {
    struct lookup lookup; /* its lineage is the searcher's to fill in */
    uint64_t stream;      /* 0: a page as `lookup` says; else this workflow alone */
    void (*done)(struct search *search);
    void *context;
    /* The answer. */
    struct error error;   /* code 0: it was answered */
    struct text body;     /* {"items": [...] or the members of the one, for more to be added: not
                             closed yet */
    uint64_t count;       /* of workflows */
    uint64_t copied_seq;  /* everything up to there is taken into account; 0: nothing is copied */
    uint64_t last_stream; /* of the last one */
    bool ended;           /* it has */
    bool more;
    /* The searcher's. */
    const struct searcher *by;
    struct search *next;
    uint64_t asked_ns;
    bool tries; /* whether a server that could not be had is back */
};

void search_free(struct search *search); /* what the answer holds */

/* Whether a workflow was erased, though the copy may not say so yet. Called by the searcher's
 * threads. */
typedef bool searcher_is_erased(uint64_t stream, void *context);

/* `config` has a [database] url and stays, as does `log_dir`, where a log is when somebody asks.
 * Connects to nothing. 0, or negative with a sentence. */
int searcher_open(struct searcher **searcher, const struct config *config, const char *log_dir,
                  searcher_is_erased *is_erased, void *context, struct error *error);

/* 0: done() will be called. Else it will not: ERROR_UNAVAILABLE while PostgreSQL cannot be had or
 * the searcher stops, ERROR_FULL when too many wait. */
int searcher_ask(struct searcher *searcher, struct search *search, struct error *error);

/* From the first to the last; NULL is fine. Stop: what was asked is answered with an error, soon,
 * and nothing more is taken. Join: waits until that is done. Close: frees it, for nobody looks at
 * its status any more. */
void searcher_stop(struct searcher *searcher);
void searcher_join(struct searcher *searcher);
void searcher_close(struct searcher *searcher);

struct searcher_status {
    struct pool_stats pool;
    uint64_t asked, answered, failed, refused;
    uint64_t waiting, under_way; /* now */
    uint64_t longest_ns;         /* from question to answer */
    struct error trouble;        /* why PostgreSQL cannot be had; code 0: it can */
};
void searcher_status_get(struct searcher *searcher, struct searcher_status *status);

#endif
