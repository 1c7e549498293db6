/* A log that nobody wrote: each record is two bytes of kind, two of stream, two of size, and a
 * payload. Events that contradict the state are refused; nothing crashes, and what the agent gives
 * as documents can be loaded again. */
#include "core/agent/agent.h"
#include "core/base/bytes.h"
#include "core/base/check.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

enum { STREAMS = 256, RECORD_HEADER_SIZE = 6 };

struct target {
    struct budget budget;
    struct agent_options options;
    struct agent *agent, *copy;
};

static void load_again(struct span key, struct span bytes, void *context)
{
    struct target *target = context;
    struct document_key needs;
    /* `f` and `x` are never loaded, `a` at a cold start only. */
    if (strchr("afx", key.bytes[0]) != NULL || bytes.bytes == NULL)
        return;
    int result = agent_load(target->copy, key, bytes, &needs);
    CHECK(result == 0 || (result == 1 && key.bytes[0] == 'w'));
}

static void apply(struct target *target, uint64_t seq, uint16_t kind, uint64_t stream,
                  struct span payload, uint64_t *newest)
{
    Daa__Event *event;
    struct arena arena;
    arena_init(&arena, &target->budget, BUDGET_READERS, 1024);
    struct event_header header = { .seq = seq, .stream = stream, .time_ns = seq, .kind = kind };
    header.stream_prev_seq = newest[stream];
    if (event_unpack(kind, payload, &arena, &event) == 0 &&
        agent_apply(target->agent, &header, event) == 0)
        newest[stream] = seq;
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct target target = { .options = { .budget = &target.budget } };
    uint64_t newest[STREAMS] = { 0 }, seq = 0;
    budget_init(&target.budget, 1 << 28);
    CHECK(agent_open(&target.agent, &target.options, NULL) == 0);
    CHECK(agent_open(&target.copy, &target.options, NULL) == 0);
    while (size >= RECORD_HEADER_SIZE && seq < STREAMS - 1) {
        uint16_t kind = bytes_get_u16(input), stream = bytes_get_u16(input + 2);
        size_t payload = bytes_get_u16(input + 4);
        input += RECORD_HEADER_SIZE;
        size -= RECORD_HEADER_SIZE;
        payload = payload > size ? size : payload;
        apply(&target, ++seq, kind, stream % STREAMS, span_of(input, payload), newest);
        input += payload;
        size -= payload;
    }
    CHECK(agent_take_changes(target.agent, load_again, &target) == 0);
    agent_close(target.agent);
    agent_close(target.copy);
    CHECK(target.budget.used == 0);
    return 0;
}
