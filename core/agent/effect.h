/* What the agent wants done outside, once the event that intends it is durable.
 *
 * An effect is complete in itself: rendered from the definition and the state when it became due,
 * all in its own arena (BUDGET_EFFECTS), so that the thread that performs it needs nothing of the
 * agent. Only secrets are left: texts may still hold ${{ secrets.NAME }}, which the effect thread
 * fills in and never writes anywhere.
 *
 * Threads: one owner at a time; handed from the agent to the effects, which end it with
 * effect_free(). */
#ifndef CORE_AGENT_EFFECT_H
#define CORE_AGENT_EFFECT_H

#include "core/base/arena.h"
#include "core/base/span.h"
#include "core/flow/flow.h"

#include <stdint.h>

enum effect_kind {
    EFFECT_HTTP = 1,
    EFFECT_EXEC,
    EFFECT_FINISHED, /* nothing to do outside: the workflow ended; for whoever waits for it */
};

struct effect {
    enum effect_kind kind;
    uint64_t seq;    /* of the event that intends it: due once this is durable */
    uint64_t stream; /* the workflow */
    uint32_t index;  /* of the step */
    uint32_t attempt;
    uint64_t timeout_ns;
    char idempotency_key[96]; /* stable over attempts: workflow id and step */
    struct flow_http http;    /* HTTP: rendered; body as it is to be sent */
    struct flow_exec exec;    /* EXEC: rendered */
    int status;               /* FINISHED: WorkflowStatus */

    struct arena arena;
    struct budget *budget;
    struct effect *next; /* the owner's */
};

void effect_free(struct effect *effect);

#endif
