#include "tools/agent/definitions.h"

#include "core/agent/document.h"
#include "core/base/crc32c.h"
#include "core/event/event.h"
#include "tools/agent/state.h"

#include <pthread.h>
#include <stdlib.h>

#define PLACES 64u
#define SHARE 16u /* of the memory budget, one part in so many for all places */

struct definitions {
    struct budget *budget;
    pthread_mutex_t lock;
    struct flow *by_source[PLACES]; /* by checksum */
    struct flow *by_digest[PLACES]; /* by its first byte */
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
        flow_unref(definitions->by_source[i]);
        flow_unref(definitions->by_digest[i]);
    }
    pthread_mutex_destroy(&definitions->lock);
    free(definitions);
}

/* One that is large for its place is compiled each time: nobody asks the cache to give way. */
static void keep(struct definitions *definitions, struct flow **place, struct flow *flow)
{
    if (flow_memory(flow) > definitions->budget->limit / SHARE / (2 * PLACES))
        return;
    pthread_mutex_lock(&definitions->lock);
    struct flow *before = *place;
    *place = flow_ref(flow);
    pthread_mutex_unlock(&definitions->lock);
    flow_unref(before);
}

int definitions_compile(struct definitions *definitions, struct span source, struct flow **flow,
                        struct flow_problem *problem)
{
    struct flow **place = &definitions->by_source[crc32c(source.bytes, source.size) % PLACES];
    pthread_mutex_lock(&definitions->lock);
    *flow = *place && span_equal((*place)->source, source) ? flow_ref(*place) : NULL;
    pthread_mutex_unlock(&definitions->lock);
    if (*flow)
        return 0;
    int status = flow_compile(flow, definitions->budget, source, problem);
    if (status < 0)
        return status;
    keep(definitions, place, *flow);
    keep(definitions, &definitions->by_digest[(*flow)->digest[0] % PLACES], *flow);
    return 0;
}

/* From the state; NULL when it is not there, or does not compile any more. */
static struct flow *compile_document(struct definitions *definitions, struct state *state,
                                     const uint8_t digest[SHA256_SIZE])
{
    struct document_key key = document_definition_key(digest);
    struct flow_problem problem;
    struct flow *flow = NULL;
    uint8_t *bytes = NULL;
    size_t size = 0;
    if (state_get(state, document_key_span(&key), &bytes, &size) != 1)
        return NULL;
    Daa__DefinitionDocument *document = daa__definition_document__unpack(NULL, size, bytes);
    free(bytes);
    if (!document)
        return NULL;
    if (flow_compile(&flow, definitions->budget, span_of_data(document->source), &problem) < 0)
        flow = NULL;
    daa__definition_document__free_unpacked(document, NULL);
    return flow;
}

struct flow *definitions_flow(struct definitions *definitions, struct state *state,
                              struct span digest)
{
    if (digest.size != SHA256_SIZE)
        return NULL;
    struct flow **place = &definitions->by_digest[digest.bytes[0] % PLACES];
    pthread_mutex_lock(&definitions->lock);
    struct flow *flow = *place && memcmp((*place)->digest, digest.bytes, SHA256_SIZE) == 0
                            ? flow_ref(*place)
                            : NULL;
    pthread_mutex_unlock(&definitions->lock);
    if (flow)
        return flow;
    flow = compile_document(definitions, state, digest.bytes);
    if (flow)
        keep(definitions, place, flow);
    return flow;
}
