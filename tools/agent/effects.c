#include "tools/agent/effects.h"

#include "core/base/check.h"
#include "core/base/json.h"
#include "core/event/event.pb-c.h"
#include "tools/agent/effect_parts.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

uint64_t effects_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/*--- Outcomes ----------------------------------------------------------------*/

void effect_outcome_free(struct effect_outcome *outcome)
{
    if (outcome == NULL)
        return;
    if (outcome->budget != NULL)
        budget_release(outcome->budget, BUDGET_EFFECTS, outcome->reserved);
    free((void *)(uintptr_t)outcome->output.bytes);
    free((void *)(uintptr_t)outcome->error.bytes);
    if (outcome->effect != NULL)
        effect_free(outcome->effect);
    free(outcome);
}

/* An outcome cannot be lost: without it a workflow would wait for ever. Memory for it is small and
 * made at once; if even that fails the agent is at its end, and a restart finds an orphan. */
static struct effect_outcome *outcome_new(const struct effect *effect)
{
    struct effect_outcome *outcome = calloc(1, sizeof *outcome);
    CHECK(outcome != NULL);
    outcome->stream = effect->stream;
    outcome->index = effect->index;
    outcome->attempt = effect->attempt;
    return outcome;
}

static struct span take(struct text *text)
{
    size_t size;
    char *bytes = text_take(text, &size);
    return span_of(bytes, bytes != NULL ? size : 0);
}

static void leave(struct effects *effects)
{
    pthread_mutex_lock(&effects->lock);
    if (atomic_fetch_sub(&effects->underway, 1) == 1)
        pthread_cond_broadcast(&effects->idle);
    pthread_mutex_unlock(&effects->lock);
}

void effects_finish(struct effects *effects, struct effect *effect, int outcome,
                    struct text *output, struct text *error)
{
    secrets_redact(effects->secrets, error);
    struct effect_outcome *made = outcome_new(effect);
    made->effect = effect;
    made->outcome = outcome;
    if (budget_reserve(effects->budget, BUDGET_EFFECTS, output->size) == 0) {
        made->budget = effects->budget;
        made->reserved = output->size;
        made->output = take(output);
    } else {
        text_printf(error, "%sno memory in the budget of effects for the output",
                    error->size > 0 ? "; " : "");
    }
    made->error = take(error);
    text_free(output);
    text_free(error);
    if (atomic_load(&effects->muted))
        effect_outcome_free(made);
    else
        effects->post(made, effects->context);
    leave(effects);
}

void effects_finish_error(struct effects *effects, struct effect *effect, int outcome,
                          const char *format, ...)
{
    char sentence[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    struct text output, error;
    text_init(&output);
    text_init(&error);
    text_add_string(&error, sentence);
    effects_finish(effects, effect, outcome, &output, &error);
}

void effects_post_spawned(struct effects *effects, const struct effect *effect, uint64_t pid,
                          uint64_t start_time)
{
    struct effect_outcome *made = outcome_new(effect);
    made->spawned = true;
    made->pid = pid;
    made->start_time = start_time;
    if (atomic_load(&effects->muted))
        effect_outcome_free(made);
    else
        effects->post(made, effects->context);
}

void effects_add_bytes(struct effects *effects, struct text *output, const char *key,
                       struct span bytes, bool parse)
{
    bool is_json = false;
    if (parse && bytes.size > 0) {
        struct arena arena;
        struct json json;
        struct json_problem problem;
        arena_init(&arena, effects->budget, BUDGET_EFFECTS, 4096);
        is_json = json_parse(&json, &arena, bytes, &problem) == 0;
        arena_free(&arena);
    }
    if (is_json)
        text_json_raw(output, key, bytes);
    else
        text_json_string(output, key, bytes);
}

/*--- Opening and closing -----------------------------------------------------*/

int effects_open(struct effects **effects, const struct effects_options *options,
                 struct error *error)
{
    struct effects *made = calloc(1, sizeof *made);
    if (made == NULL)
        return error_set(error, -ENOMEM, "effects: no memory");
    made->config = options->config;
    made->budget = options->budget;
    made->post = options->post;
    made->context = options->context;
    pthread_mutex_init(&made->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&made->idle, &attributes);
    pthread_condattr_destroy(&attributes);
    curl_global_init(CURL_GLOBAL_DEFAULT);

    int failed = secrets_open(&made->secrets, options->config, error);
    if (failed == 0)
        failed = exec_pool_open(made, error);
    if (failed == 0)
        failed = http_client_open(made, error);
    if (failed < 0) {
        effects_close(made, 0);
        return error_wrap(error, failed, "open effects");
    }
    *effects = made;
    return 0;
}

void effects_start(struct effects *effects, struct effect *effect)
{
    atomic_fetch_add(&effects->underway, 1);
    if (effect->kind == EFFECT_HTTP) {
        http_client_start(effects, effect);
    } else {
        CHECK(effect->kind == EFFECT_EXEC);
        exec_pool_start(effects, effect);
    }
}

void effects_cancel(struct effects *effects, uint64_t stream)
{
    http_client_cancel(effects, stream);
    exec_pool_cancel(effects, stream);
}

uint64_t effects_underway(const struct effects *effects)
{
    return atomic_load(&effects->underway);
}

static void wait_until_idle(struct effects *effects, uint64_t grace_ns)
{
    uint64_t end_ns = effects_now_ns() + grace_ns;
    struct timespec end = { (time_t)(end_ns / 1000000000u), (long)(end_ns % 1000000000u) };
    pthread_mutex_lock(&effects->lock);
    while (atomic_load(&effects->underway) > 0)
        if (pthread_cond_timedwait(&effects->idle, &effects->lock, &end) == ETIMEDOUT)
            break;
    pthread_mutex_unlock(&effects->lock);
}

void effects_end(struct effects *effects, uint64_t grace_ns)
{
    wait_until_idle(effects, grace_ns);
    atomic_store(&effects->muted, true);
    http_client_close(effects);
    exec_pool_close(effects);
}

void effects_close(struct effects *effects, uint64_t grace_ns)
{
    if (effects == NULL)
        return;
    effects_end(effects, grace_ns);
    secrets_close(effects->secrets);
    pthread_cond_destroy(&effects->idle);
    pthread_mutex_destroy(&effects->lock);
    free(effects);
}
