#include "tools/agent/loop_inside.h"

#include <stdlib.h>

/* A document as this thread must see it: also what is not durable yet. */
static const struct handover_entry *find_in_turns(const struct loop *loop, struct span key)
{
    const struct handover_entry *newest = NULL;
    for (const struct turn *turn = loop->first; turn; turn = turn->next) {
        const struct handover_entry *found =
            turn->batch ? handover_batch_find(turn->batch, key) : NULL;
        newest = found ? found : newest;
    }
    return newest;
}

static int load_document(struct loop *loop, struct span key);

/* A workflow asks for its definition first: one level deep. */
static int load_bytes(struct loop *loop, struct span key, struct span bytes)
{
    struct document_key needs;
    int status = agent_load(loop->options.agent, key, bytes, &needs);
    if (status != 1)
        return status;
    status = load_document(loop, document_key_span(&needs));
    if (status == 0)
        status = agent_load(loop->options.agent, key, bytes, &needs);
    return status == 1 ? ERROR_DAMAGED : status;
}

static int load_document(struct loop *loop, struct span key)
{
    const struct handover_entry *entry = find_in_turns(loop, key);
    if (entry)
        return load_bytes(loop, key, entry->deleted ? span_of(NULL, 0) : handover_value(entry));
    uint8_t *bytes = NULL;
    size_t size = 0;
    int status = state_get(loop->options.state, key, &bytes, &size);
    if (status < 0)
        return status;
    status = load_bytes(loop, key, status == 1 ? span_of(bytes, size) : span_of(NULL, 0));
    free(bytes);
    return status;
}

/*--- Reading ahead -----------------------------------------------------------------------------*/

void documents_look(struct loop *loop)
{
    if (loop->warming && warmer_is_done(loop->warmer))
        loop->warming = false;
}

static bool is_warm(const struct loop *loop, uint64_t stream)
{
    for (uint32_t i = 0; !loop->warming && i < loop->warm_count; i++)
        if (loop->warm[i] == stream)
            return true;
    return false;
}

/* This workflow, and what will be asked for next. */
static void read_ahead(struct loop *loop, uint64_t stream)
{
    uint64_t soon[WARMER_STREAMS_MAX];
    uint32_t count = agent_soon(loop->options.agent, loop->now_ns, soon, WARMER_STREAMS_MAX - 1);
    loop->warm[0] = stream;
    loop->warm_count = 1;
    for (uint32_t i = 0; i < count; i++)
        if (soon[i] != stream)
            loop->warm[loop->warm_count++] = soon[i];
    loop->warming = true;
    loop->reads_ahead++;
    warmer_ask(loop->warmer, loop->warm, loop->warm_count);
}

int documents_load(struct loop *loop, const struct document_key *key, bool may_wait)
{
    struct span span = document_key_span(key);
    uint64_t stream;
    documents_look(loop);
    if (may_wait && document_stream_of_key(span, &stream) && !is_warm(loop, stream) &&
        !find_in_turns(loop, span) && !state_is_handed(loop->options.state, span)) {
        if (!loop->warming)
            read_ahead(loop, stream);
        return 1;
    }
    return load_document(loop, span);
}
