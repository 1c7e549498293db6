/* Performs effects: http by one thread with libcurl's multi interface and a connection pool, exec
 * by a bounded pool of threads. Outcomes come back through a callback that may be called on any of
 * these threads.
 *
 * Rules (DESIGN §3, §6): not_done only when the request was certainly never acted upon: not sent,
 * refused at connect, a name that does not resolve, an address that is denied, a program that did
 * not start, or an answer that says so (4xx, and 503 or 429 with nothing done); unknown: a timeout
 * or reset after sending, a killed program; done: any answer below 400 (output {"status",
 * "headers", "body"}), exit 0 (output {"exit", "stdout", "stderr"}). A program that ran and exited
 * non-zero is not_done with its exit in the error and output. 5xx other than 503: unknown.
 *
 * Threads: effects_start() by the agent thread; never blocks. */
#ifndef TOOLS_AGENT_EFFECTS_H
#define TOOLS_AGENT_EFFECTS_H

#include "core/agent/effect.h"
#include "core/base/budget.h"
#include "core/base/error.h"
#include "core/base/span.h"
#include "tools/config/config.h"

#include <stdbool.h>
#include <stdint.h>

struct effects;

/* What became of an effect, or (spawned) of its process. Owned by the receiver; freed with
 * effect_outcome_free(). */
struct effect_outcome {
    struct effect *effect; /* what it was; freed with the outcome; NULL for `spawned` */
    uint64_t stream;
    uint32_t index, attempt;
    bool spawned; /* not the end yet: the process began */
    uint64_t pid, start_time;
    int outcome;                 /* DAA__OUTCOME__... */
    struct span output;          /* JSON, malloc'ed; size 0: none */
    struct span error;           /* text, malloc'ed; size 0: none. Never holds a secret's value */
    struct effect_outcome *next; /* the receiver's */
    struct budget *budget;       /* ours: where `reserved` bytes go back */
    uint64_t reserved;
};

void effect_outcome_free(struct effect_outcome *outcome);

struct effects_options {
    const struct config *config;
    struct budget *budget;
    /* Called on an effect thread. Takes the outcome; must not block for long and cannot refuse. */
    void (*post)(struct effect_outcome *outcome, void *context);
    void *context;
};

int effects_open(struct effects **effects, const struct effects_options *options,
                 struct error *error);

/* Takes the effect (EFFECT_HTTP or EFFECT_EXEC) and will post exactly one outcome for it (and
 * `spawned` before). */
void effects_start(struct effects *effects, struct effect *effect);

/* Asks what is under way to end: its outcome is unknown (not_done if it had not begun). For
 * cancelled workflows. */
void effects_cancel(struct effects *effects, uint64_t stream);

uint64_t effects_underway(const struct effects *effects);

/* Waits up to `grace_ns` for what is under way, then ends the rest without posting (a restart finds
 * them as orphans); no post() is called after it returns. Nothing is started or cancelled any more;
 * effects_underway() may be asked until effects_close(). */
void effects_end(struct effects *effects, uint64_t grace_ns);

/* The same, and releases all. NULL is fine. */
void effects_close(struct effects *effects, uint64_t grace_ns);

/* Ends the process group of an exec that survived us, if pid and start time (and boot) still match.
 * True: it is gone now or was gone. */
bool effects_end_survivor(uint64_t pid, uint64_t start_time, const uint8_t boot_id[16]);

#endif
