#include "tools/agent/definitions.h"

#include "core/agent/document.h"
#include "core/base/crc32c.h"
#include "tools/agent/state.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define PLACES 64u
#define DOCUMENT_KEPT_MAX 16384u

struct kept_document {
    uint8_t digest[SHA256_SIZE];
    uint8_t *bytes;
    size_t size;
};

struct definitions {
    struct budget *budget;
    pthread_mutex_t lock;
    struct flow *flows[PLACES]; /* by checksum of the source */
    struct kept_document documents[PLACES];
};

struct definitions *definitions_new(struct budget *budget)
{
    struct definitions *definitions = calloc(1, sizeof *definitions);
    if (!definitions)
        return NULL;
    definitions->budget = budget;
    pthread_mutex_init(&definitions->lock, NULL);
    return definitions;
}

void definitions_free(struct definitions *definitions)
{
    if (!definitions)
        return;
    for (unsigned i = 0; i < PLACES; i++) {
        flow_unref(definitions->flows[i]);
        free(definitions->documents[i].bytes);
    }
    pthread_mutex_destroy(&definitions->lock);
    free(definitions);
}

int definitions_compile(struct definitions *definitions, struct span source, struct flow **flow,
                        struct flow_problem *problem)
{
    unsigned place = crc32c(source.bytes, source.size) % PLACES;
    pthread_mutex_lock(&definitions->lock);
    struct flow *kept = definitions->flows[place];
    bool same = kept && span_equal(kept->source, source);
    *flow = same ? flow_ref(kept) : NULL;
    pthread_mutex_unlock(&definitions->lock);
    if (same)
        return 0;
    int status = flow_compile(flow, definitions->budget, source, problem);
    if (status < 0)
        return status;
    pthread_mutex_lock(&definitions->lock);
    kept = definitions->flows[place];
    definitions->flows[place] = flow_ref(*flow);
    pthread_mutex_unlock(&definitions->lock);
    flow_unref(kept);
    return 0;
}

static void keep(struct definitions *definitions, const uint8_t digest[SHA256_SIZE],
                 const uint8_t *bytes, size_t size)
{
    uint8_t *copy = size <= DOCUMENT_KEPT_MAX ? malloc(size + 1) : NULL;
    if (!copy)
        return;
    memcpy(copy, bytes, size);
    struct kept_document *place = &definitions->documents[digest[0] % PLACES];
    pthread_mutex_lock(&definitions->lock);
    uint8_t *old = place->bytes;
    memcpy(place->digest, digest, SHA256_SIZE);
    place->bytes = copy;
    place->size = size;
    pthread_mutex_unlock(&definitions->lock);
    free(old);
}

int definitions_document(struct definitions *definitions, struct state *state, struct span digest,
                         struct arena *arena, struct span *document)
{
    *document = span_of(NULL, 0);
    if (digest.size != SHA256_SIZE)
        return 0;
    const struct kept_document *place = &definitions->documents[digest.bytes[0] % PLACES];
    pthread_mutex_lock(&definitions->lock);
    bool found = place->bytes && memcmp(place->digest, digest.bytes, SHA256_SIZE) == 0;
    if (found)
        *document = arena_copy(arena, span_of(place->bytes, place->size));
    pthread_mutex_unlock(&definitions->lock);
    if (found)
        return document->bytes ? 0 : ERROR_BUDGET;
    uint8_t *bytes = NULL;
    size_t size = 0;
    struct document_key key = document_definition_key(digest.bytes);
    int status = state_get(state, document_key_span(&key), &bytes, &size);
    if (status == 1) {
        keep(definitions, digest.bytes, bytes, size);
        *document = arena_copy(arena, span_of(bytes, size));
        status = document->bytes ? 0 : ERROR_BUDGET;
    }
    free(bytes);
    return status;
}
