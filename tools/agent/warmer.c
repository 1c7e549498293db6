#include "tools/agent/warmer.h"

#include "core/base/check.h"
#include "tools/agent/state.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct warmer {
    struct warmer_options options;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what is below */
    pthread_cond_t asked;
    uint64_t streams[WARMER_STREAMS_MAX];
    uint32_t count; /* 0: nothing to do */
    bool stop;
};

/* Documents that cannot be read are for whoever needs them to say. */
bool warmer_read(struct state *state, const struct document_key *key)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    int found = state_get(state, document_key_span(key), &bytes, &size);
    free(bytes);
    return found == 1;
}

static bool read_summary(struct state *state, uint64_t stream, struct arena *arena,
                         struct document_summary *summary)
{
    struct document_key key = document_workflow_key(stream);
    uint8_t *bytes = NULL;
    size_t size = 0;
    bool read = state_get(state, document_key_span(&key), &bytes, &size) == 1 &&
                document_workflow_summary(span_of(bytes, size), NULL, arena, summary) == 0;
    free(bytes);
    return read;
}

unsigned warmer_read_workflow(struct state *state, uint64_t stream, struct arena *arena)
{
    struct document_summary summary = { 0 };
    struct document_key key;
    if (!read_summary(state, stream, arena, &summary))
        return 0;
    unsigned count = 1;
    if (summary.definition.size == SHA256_SIZE) {
        key = document_definition_key(summary.definition.bytes);
        count += warmer_read(state, &key);
    }
    if (summary.key.size == SHA256_SIZE) {
        key = document_idempotency_key(summary.key.bytes);
        count += warmer_read(state, &key);
    }
    return count;
}

static void *run(void *argument)
{
    struct warmer *warmer = argument;
    struct arena arena;
    pthread_setname_np(pthread_self(), "daa-warmer");
    arena_init(&arena, warmer->options.budget, BUDGET_READERS, 4096);
    pthread_mutex_lock(&warmer->lock);
    while (!warmer->stop) {
        if (warmer->count == 0) {
            pthread_cond_wait(&warmer->asked, &warmer->lock);
            continue;
        }
        uint32_t count = warmer->count; /* nobody changes them until it is 0 */
        pthread_mutex_unlock(&warmer->lock);
        if (warmer->options.before)
            warmer->options.before();
        for (uint32_t i = 0; i < count; i++) {
            (void)warmer_read_workflow(warmer->options.state, warmer->streams[i], &arena);
            arena_reset(&arena);
        }
        pthread_mutex_lock(&warmer->lock);
        warmer->count = 0;
        pthread_mutex_unlock(&warmer->lock);
        warmer->options.done(warmer->options.context);
        pthread_mutex_lock(&warmer->lock);
    }
    pthread_mutex_unlock(&warmer->lock);
    arena_free(&arena);
    return NULL;
}

int warmer_open(struct warmer **opened, const struct warmer_options *options, struct error *error)
{
    struct warmer *warmer = calloc(1, sizeof *warmer);
    if (!warmer)
        return error_set(error, -ENOMEM, "no memory to read documents ahead");
    warmer->options = *options;
    pthread_mutex_init(&warmer->lock, NULL);
    pthread_cond_init(&warmer->asked, NULL);
    int status = -pthread_create(&warmer->thread, NULL, run, warmer);
    if (status < 0) {
        free(warmer);
        return error_set(error, status, "cannot start the thread that reads documents ahead: %s",
                         error_text(status));
    }
    *opened = warmer;
    return 0;
}

void warmer_close(struct warmer *warmer)
{
    if (!warmer)
        return;
    pthread_mutex_lock(&warmer->lock);
    warmer->stop = true;
    pthread_cond_signal(&warmer->asked);
    pthread_mutex_unlock(&warmer->lock);
    pthread_join(warmer->thread, NULL);
    pthread_mutex_destroy(&warmer->lock);
    pthread_cond_destroy(&warmer->asked);
    free(warmer);
}

void warmer_ask(struct warmer *warmer, const uint64_t *streams, uint32_t count)
{
    pthread_mutex_lock(&warmer->lock);
    CHECK(warmer->count == 0);
    CHECK(count <= WARMER_STREAMS_MAX);
    memcpy(warmer->streams, streams, count * sizeof *streams);
    warmer->count = count;
    pthread_cond_signal(&warmer->asked);
    pthread_mutex_unlock(&warmer->lock);
}

bool warmer_is_done(struct warmer *warmer)
{
    pthread_mutex_lock(&warmer->lock);
    bool done = warmer->count == 0;
    pthread_mutex_unlock(&warmer->lock);
    return done;
}
