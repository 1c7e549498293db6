/* What the files of the effects share: effects.c, effect_http.c, effect_exec.c. Nobody else
 * includes this; the others see tools/agent/effects.h.
 *
 * Threads: `config` and `secrets` may be read by any; the rest has `lock`. */
#ifndef TOOLS_AGENT_EFFECT_PARTS_H
#define TOOLS_AGENT_EFFECT_PARTS_H

#include "core/base/text.h"
#include "tools/agent/effects.h"
#include "tools/agent/secrets.h"

#include <pthread.h>
#include <stdatomic.h>

/* An output larger than this would not fit into an event. */
#define EFFECT_OUTPUT_SIZE_MAX (7u << 20)

struct http_client;
struct exec_pool;

struct effects {
    const struct config *config;
    struct budget *budget;
    void (*post)(struct effect_outcome *outcome, void *context);
    void *context;
    struct secrets *secrets;
    struct http_client *http;
    struct exec_pool *exec;

    _Atomic uint64_t underway;
    _Atomic bool muted;   /* closing: what ends now is not posted */
    pthread_mutex_t lock; /* only for `idle` */
    pthread_cond_t idle;
};

uint64_t effects_now_ns(void); /* CLOCK_MONOTONIC */

/* Ends an effect: redacts, posts, frees. Takes what is in `output` and `error`. */
void effects_finish(struct effects *effects, struct effect *effect, int outcome,
                    struct text *output, struct text *error);

/* The same with a sentence and no output. */
void effects_finish_error(struct effects *effects, struct effect *effect, int outcome,
                          const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Posts that the process of an exec began. */
void effects_post_spawned(struct effects *effects, const struct effect *effect, uint64_t pid,
                          uint64_t start_time);

/* Adds `bytes` to the JSON object in `output` as `key`: as it is when it is JSON and `parse` is
 * set, else as a string. The bytes must be redacted already. */
void effects_add_bytes(struct effects *effects, struct text *output, const char *key,
                       struct span bytes, bool parse);

/* The parts. Each ends by its own means on close; http_client_close() and exec_pool_close() end
 * what is under way, unposted when `muted`. */
int http_client_open(struct effects *effects, struct error *error);
void http_client_start(struct effects *effects, struct effect *effect);
void http_client_cancel(struct effects *effects, uint64_t stream);
void http_client_close(struct effects *effects);

int exec_pool_open(struct effects *effects, struct error *error);
void exec_pool_start(struct effects *effects, struct effect *effect);
void exec_pool_cancel(struct effects *effects, uint64_t stream);
void exec_pool_close(struct effects *effects);

#endif
