#include "core/flow/flow.h"

#include "core/base/check.h"
#include "core/base/error.h"
#include "core/flow/parse.h"

#include <stdatomic.h>
#include <stdio.h>

/* A flow and what only this file knows of it; all of it lies in its own arena. */
struct flow_box {
    struct flow flow;
    struct arena arena;
    _Atomic uint32_t references;
};

_Static_assert(offsetof(struct flow_box, flow) == 0, "a flow is cast back to its box");

static int parse_name(struct parse *parse, uint32_t node)
{
    size_t before = parse_enter(parse, "name");
    if (node == 0)
        return parse_refuse(parse, "the definition has no \"name\": give it one");
    int result = parse_string(parse, node, "the name of a definition", FLOW_NAME_SIZE_MAX,
                              &parse->flow->name);
    if (result == 0)
        parse_leave(parse, before);
    return result;
}

static int parse_steps(struct parse *parse, uint32_t node)
{
    const struct json *json = &parse->json;
    struct flow *flow = parse->flow;
    size_t before = parse_enter(parse, "steps");
    if (node == 0)
        return parse_refuse(parse, "the definition has no \"steps\": give it at least one");
    if (json->nodes[node].kind != JSON_ARRAY)
        return parse_refuse(parse, "\"steps\" must be an array of steps, not %s",
                            json_kind_name(json->nodes[node].kind));
    uint32_t count = json->nodes[node].count, i = 0;
    if (count == 0 || count > FLOW_STEPS_MAX)
        return parse_refuse(parse, "a definition has 1 to %u steps, not %u", FLOW_STEPS_MAX, count);
    flow->steps = arena_allocate(parse->arena, count * sizeof *flow->steps);
    uint32_t *nodes = arena_allocate(parse->scratch, count * sizeof *nodes);
    if (flow->steps == NULL || nodes == NULL)
        return parse_refuse_budget(parse);
    flow->step_count = count;
    for (uint32_t at = json_first(json, node); at != 0; at = json_next(json, node, at), i++) {
        size_t outer = parse_enter_index(parse, i);
        parse->step = i;
        parse->templates = 0;
        nodes[i] = at;
        int result = parse_step(parse, at, &flow->steps[i]);
        if (result < 0)
            return result;
        parse_leave(parse, outer);
    }
    int result = parse_graph(parse, nodes);
    if (result == 0)
        parse_leave(parse, before);
    return result;
}

static int parse_definition(struct parse *parse)
{
    static const struct parse_key keys[] = {
        { "name", false }, { "steps", false }, { "input", true }, { NULL, false }
    };
    int result = parse_object(parse, 0, "a definition", keys);
    if (result == 0)
        result = parse_name(parse, json_member(&parse->json, 0, "name"));
    if (result == 0)
        result = parse_steps(parse, json_member(&parse->json, 0, "steps"));
    return result;
}

static int parse_source(struct parse *parse)
{
    struct json_problem problem;
    int result = json_parse(&parse->json, parse->scratch, parse->flow->source, &problem);
    if (result == ERROR_BUDGET)
        return parse_refuse_budget(parse);
    if (result < 0) {
        (void)snprintf(parse->problem->pointer, sizeof parse->problem->pointer, "%s",
                       problem.pointer);
        (void)parse_refuse(parse, "line %u, column %u: %s", problem.line, problem.column,
                           problem.message);
        return result;
    }
    return parse_definition(parse);
}

int flow_compile(struct flow **flow, struct budget *budget, struct span source,
                 struct flow_problem *problem)
{
    struct arena arena, scratch;
    struct parse parse = { .arena = &arena, .scratch = &scratch, .problem = problem };
    *problem = (struct flow_problem){ .pointer = "" };
    *flow = NULL;
    if (source.size > FLOW_SOURCE_SIZE_MAX)
        return parse_refuse(&parse, "the definition has %zu bytes; the limit is %u", source.size,
                            FLOW_SOURCE_SIZE_MAX);
    arena_init(&arena, budget, BUDGET_DEFINITIONS, 2048);
    arena_init(&scratch, budget, BUDGET_DEFINITIONS, 4096);
    int result = ERROR_BUDGET;
    struct flow_box *box = arena_allocate(&arena, sizeof *box);
    if (box == NULL) {
        result = parse_refuse_budget(&parse);
        goto done;
    }
    parse.flow = &box->flow;
    box->flow.source = arena_copy(&arena, source);
    result = box->flow.source.bytes != NULL ? parse_source(&parse) : parse_refuse_budget(&parse);
done:
    arena_free(&scratch);
    if (result < 0) {
        arena_free(&arena);
        return result;
    }
    sha256_of(box->flow.digest, source.bytes, source.size);
    atomic_init(&box->references, 1);
    box->arena = arena;
    *flow = &box->flow;
    return 0;
}

struct flow *flow_ref(struct flow *flow)
{
    struct flow_box *box = (struct flow_box *)flow;
    atomic_fetch_add_explicit(&box->references, 1, memory_order_relaxed);
    return flow;
}

void flow_unref(struct flow *flow)
{
    struct flow_box *box = (struct flow_box *)flow;
    if (box == NULL || atomic_fetch_sub_explicit(&box->references, 1, memory_order_acq_rel) > 1)
        return;
    struct arena arena = box->arena; /* it frees the box that it lies in */
    arena_free(&arena);
}

size_t flow_memory(const struct flow *flow)
{
    return ((const struct flow_box *)flow)->arena.reserved;
}

int64_t flow_find_step(const struct flow *flow, struct span id)
{
    for (uint32_t i = 0; i < flow->step_count; i++)
        if (span_equal(flow->steps[i].id, id))
            return i;
    return -1;
}

const char *flow_kind_name(enum flow_kind kind)
{
    switch (kind) {
    case FLOW_HTTP:
        return "http";
    case FLOW_EXEC:
        return "exec";
    case FLOW_SLEEP:
        return "sleep";
    case FLOW_SIGNAL:
        return "signal";
    }
    return "unknown";
}

uint64_t flow_retry_pause_ns(const struct flow_retry *retry, uint32_t attempt, uint64_t random)
{
    CHECK(attempt >= 1);
    double pause = (double)retry->initial_ns, limit = (double)retry->max_ns;
    for (uint32_t i = 1; i < attempt && pause < limit && retry->factor > 1; i++)
        pause *= retry->factor;
    if (!(pause < limit))
        pause = limit;
    /* From 1 - jitter to 1 + jitter of it, by the 53 bits that a double holds. */
    double part = (double)(random >> 11) / 9007199254740992.0;
    pause *= 1 - retry->jitter + 2 * retry->jitter * part;
    return pause < limit ? (uint64_t)pause : retry->max_ns;
}
