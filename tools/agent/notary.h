/* Signs heads of the log: so that a change of its past, or an end that moved back, shows against
 * what was signed and carried away before.
 *
 *   due (a segment was sealed, news and so much time, or somebody asks) -> the newest durable head,
 *   and the Merkle roots of what was sealed -> signed -> the agent records it (log.anchored) ->
 *   durable -> exported to a file
 *
 * What is exported is read from the log, each anchor by the number of the one before it: a file
 * that was removed, or that a crash left behind, is completed.
 *
 * Threads: a thread of its own. The functions may be called by any, open and close by one. */
#ifndef TOOLS_AGENT_NOTARY_H
#define TOOLS_AGENT_NOTARY_H

#include "core/agent/agent.h"
#include "core/base/budget.h"
#include "core/base/error.h"
#include "core/base/lineage.h"
#include "tools/config/config.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct inbox;
struct log;
struct loop;
struct notary;

struct notary_options {
    const struct config *config;
    struct inbox *inbox;
    struct loop *loop;
    const struct log *log;
    const char *log_dir;
    struct agent_anchor newest; /* that the state knows */
    const struct lineage
        *lineage; /* of the log: what was exported under its names before is ours */
    struct budget *budget;
};

/* Reads the key, or makes it. Nothing is signed before the start. */
int notary_open(struct notary **notary, const struct notary_options *options, struct error *error);
/* Starts its thread, once. */
int notary_start(struct notary *notary, struct error *error);
/* Whoever asks, or waits, gets -ECANCELED from now on. NULL is fine. */
void notary_refuse(struct notary *notary);
/* The last one: signs and exports what was recorded since the newest, as for its time, and waits
 * for that so long at most; then as notary_stop(). NULL is fine. */
void notary_finish(struct notary *notary, uint64_t wait_ns);
/* Nothing more is begun, and whoever waits gets -ECANCELED. NULL is fine. */
void notary_stop(struct notary *notary);
/* The same, joins the thread and releases all; the loop must answer until then, or have refused.
 * Nobody waits any more. NULL is fine. */
void notary_close(struct notary *notary);

/* Signs what is durable now, or joins with others who asked, and waits until that is recorded. 0
 * with the event; the newest one there is, if nothing has happened since. */
int notary_sign(struct notary *notary, uint64_t *event, struct error *error);

struct notary_status {
    struct agent_anchor newest; /* that is durable */
    uint64_t made;              /* by this process */
    uint64_t exported;          /* the newest one in the file; 0: none */
    char file[PATH_MAX];
    struct error trouble; /* of the last try; code 0: none */
};
void notary_status_get(struct notary *notary, struct notary_status *status);

#endif
