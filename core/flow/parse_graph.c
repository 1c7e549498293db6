#include "core/base/error.h"
#include "core/flow/parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ids in order, to find one among a thousand. */
struct named {
    struct span id;
    uint32_t index;
};

struct graph {
    struct parse *parse;
    struct flow *flow;
    struct named *names;
    uint64_t *ancestors; /* a row of `words` for each step: those it needs, and those they need */
    uint32_t words;
    uint32_t *order; /* each step behind those it needs */
};

static int compare_names(const void *a, const void *b)
{
    const struct named *left = a, *right = b;
    size_t size = left->id.size < right->id.size ? left->id.size : right->id.size;
    int order = memcmp(left->id.bytes, right->id.bytes, size);
    if (order != 0)
        return order;
    if (left->id.size != right->id.size)
        return left->id.size < right->id.size ? -1 : 1;
    return 0;
}

static int sort_names(struct graph *graph)
{
    struct flow *flow = graph->flow;
    for (uint32_t i = 0; i < flow->step_count; i++)
        graph->names[i] = (struct named){ flow->steps[i].id, i };
    qsort(graph->names, flow->step_count, sizeof *graph->names, compare_names);
    for (uint32_t i = 1; i < flow->step_count; i++) {
        const struct named *a = &graph->names[i - 1], *b = &graph->names[i];
        if (compare_names(a, b) != 0)
            continue;
        (void)parse_enter_index(graph->parse, a->index > b->index ? a->index : b->index);
        (void)parse_enter(graph->parse, "id");
        return parse_refuse(graph->parse, "two steps have the id \"%.*s\": give each its own",
                            (int)a->id.size, (const char *)a->id.bytes);
    }
    return 0;
}

static bool find_name(const struct graph *graph, struct span id, uint32_t *index)
{
    struct named wanted = { id, 0 };
    const struct named *found = bsearch(&wanted, graph->names, graph->flow->step_count,
                                        sizeof *graph->names, compare_names);
    if (found != NULL)
        *index = found->index;
    return found != NULL;
}

/*--- Needs -----------------------------------------------------------------------------------*/

static int compare_indexes(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return left < right ? -1 : left > right ? 1 : 0;
}

static int parse_need(struct graph *graph, uint32_t step_index, uint32_t node)
{
    struct parse *parse = graph->parse;
    struct flow_step *step = &graph->flow->steps[step_index];
    struct span id;
    uint32_t needed;
    int result = parse_string(parse, node, "the id of a needed step", FLOW_STEP_ID_SIZE_MAX, &id);
    if (result < 0)
        return result;
    if (!find_name(graph, id, &needed))
        return parse_refuse(parse, "no step has the id \"%.*s\"", (int)id.size,
                            (const char *)id.bytes);
    if (needed == step_index)
        return parse_refuse(parse, "the step \"%.*s\" needs itself", (int)id.size,
                            (const char *)id.bytes);
    for (uint32_t i = 0; i < step->needs_count; i++)
        if (step->needs[i] == needed)
            return parse_refuse(parse, "\"%.*s\" is needed twice: take one out", (int)id.size,
                                (const char *)id.bytes);
    step->needs[step->needs_count++] = needed;
    graph->flow->steps[needed].wanted_by_count++;
    return 0;
}

static int parse_needs(struct graph *graph, uint32_t step_index, uint32_t node)
{
    struct parse *parse = graph->parse;
    const struct json *json = &parse->json;
    struct flow_step *step = &graph->flow->steps[step_index];
    if (json->nodes[node].kind != JSON_ARRAY)
        return parse_refuse(parse, "\"needs\" must be an array of ids, not %s",
                            json_kind_name(json->nodes[node].kind));
    uint32_t count = json->nodes[node].count, i = 0;
    if (count > FLOW_NEEDS_MAX)
        return parse_refuse(parse, "a step needs at most %u others, not %u", FLOW_NEEDS_MAX, count);
    step->needs = arena_allocate(parse->arena, count * sizeof *step->needs);
    if (step->needs == NULL)
        return parse_refuse_budget(parse);
    for (uint32_t at = json_first(json, node); at != 0; at = json_next(json, node, at), i++) {
        size_t before = parse_enter_index(parse, i);
        int result = parse_need(graph, step_index, at);
        if (result < 0)
            return result;
        parse_leave(parse, before);
    }
    qsort(step->needs, step->needs_count, sizeof *step->needs, compare_indexes);
    return 0;
}

static int parse_all_needs(struct graph *graph, const uint32_t *nodes)
{
    struct parse *parse = graph->parse;
    for (uint32_t i = 0; i < graph->flow->step_count; i++) {
        uint32_t node = json_member(&parse->json, nodes[i], "needs");
        if (node == 0)
            continue;
        size_t before = parse_enter_index(parse, i);
        (void)parse_enter(parse, "needs");
        int result = parse_needs(graph, i, node);
        if (result < 0)
            return result;
        parse_leave(parse, before);
    }
    return 0;
}

/* The other direction, ascending because the steps are walked in their order. */
static int link_wanted(struct graph *graph)
{
    struct flow *flow = graph->flow;
    for (uint32_t i = 0; i < flow->step_count; i++) {
        struct flow_step *step = &flow->steps[i];
        step->wanted_by =
            arena_allocate(graph->parse->arena, step->wanted_by_count * sizeof *step->wanted_by);
        if (step->wanted_by == NULL)
            return parse_refuse_budget(graph->parse);
        step->wanted_by_count = 0;
    }
    for (uint32_t i = 0; i < flow->step_count; i++)
        for (uint32_t j = 0; j < flow->steps[i].needs_count; j++) {
            struct flow_step *needed = &flow->steps[flow->steps[i].needs[j]];
            needed->wanted_by[needed->wanted_by_count++] = i;
        }
    return 0;
}

/*--- Cycles ----------------------------------------------------------------------------------*/

/* `left[i]` counts needs that are not in the order: those steps lie on a cycle or behind one.
 * Following needs among them runs into a cycle. */
static int refuse_cycle(struct graph *graph, const uint32_t *left, uint32_t *seen_at)
{
    struct flow *flow = graph->flow;
    struct parse *parse = graph->parse;
    char path[400] = "";
    size_t size = 0;
    uint32_t step = 0, walked = 0;
    while (left[step] == 0)
        step++;
    for (; seen_at[step] == 0; walked++) {
        seen_at[step] = walked + 1;
        const struct flow_step *at = &flow->steps[step];
        uint32_t i = 0;
        while (left[at->needs[i]] == 0)
            i++;
        step = at->needs[i];
    }
    uint32_t first = step;
    (void)parse_enter_index(parse, first);
    (void)parse_enter(parse, "needs");
    do {
        const struct flow_step *at = &flow->steps[step];
        if (size < sizeof path - 80)
            size += (size_t)snprintf(path + size, sizeof path - size, "\"%.*s\" needs ",
                                     (int)at->id.size, (const char *)at->id.bytes);
        else if (size < sizeof path - 10 && path[size - 2] != '.')
            size += (size_t)snprintf(path + size, sizeof path - size, "... ");
        uint32_t i = 0;
        while (left[at->needs[i]] == 0)
            i++;
        step = at->needs[i];
    } while (step != first);
    return parse_refuse(parse, "steps wait for each other: %s\"%.*s\"", path,
                        (int)flow->steps[first].id.size, (const char *)flow->steps[first].id.bytes);
}

static int sort_steps(struct graph *graph)
{
    struct flow *flow = graph->flow;
    uint32_t count = flow->step_count, placed = 0;
    uint32_t *left = arena_allocate(graph->parse->scratch, count * sizeof *left);
    uint32_t *seen_at = arena_allocate(graph->parse->scratch, count * sizeof *seen_at);
    if (left == NULL || seen_at == NULL)
        return parse_refuse_budget(graph->parse);
    for (uint32_t i = 0; i < count; i++) {
        left[i] = flow->steps[i].needs_count;
        if (left[i] == 0)
            graph->order[placed++] = i;
    }
    for (uint32_t next = 0; next < placed; next++) {
        const struct flow_step *step = &flow->steps[graph->order[next]];
        for (uint32_t i = 0; i < step->wanted_by_count; i++)
            if (--left[step->wanted_by[i]] == 0)
                graph->order[placed++] = step->wanted_by[i];
    }
    return placed == count ? 0 : refuse_cycle(graph, left, seen_at);
}

/*--- References ------------------------------------------------------------------------------*/

static void find_ancestors(struct graph *graph)
{
    for (uint32_t next = 0; next < graph->flow->step_count; next++) {
        uint32_t index = graph->order[next];
        const struct flow_step *step = &graph->flow->steps[index];
        uint64_t *row = graph->ancestors + (size_t)index * graph->words;
        for (uint32_t i = 0; i < step->needs_count; i++) {
            uint32_t needed = step->needs[i];
            const uint64_t *theirs = graph->ancestors + (size_t)needed * graph->words;
            for (uint32_t word = 0; word < graph->words; word++)
                row[word] |= theirs[word];
            row[needed / 64] |= 1ull << needed % 64;
        }
    }
}

/* A step may look only at outputs that are there when it begins. */
static int check_references(struct graph *graph)
{
    struct parse *parse = graph->parse;
    for (struct parse_reference *at = parse->references; at != NULL; at = at->next) {
        uint32_t index;
        bool known = find_name(graph, at->id, &index);
        const uint64_t *row = graph->ancestors + (size_t)at->step * graph->words;
        if (known && (row[index / 64] >> index % 64 & 1) != 0)
            continue;
        (void)snprintf(parse->problem->pointer, sizeof parse->problem->pointer, "%s", at->pointer);
        const struct span id = graph->flow->steps[at->step].id;
        if (!known)
            return parse_refuse(parse,
                                "a template looks at the output of \"%.*s\", and no step "
                                "has that id",
                                (int)at->id.size, (const char *)at->id.bytes);
        return parse_refuse(parse,
                            "a template looks at the output of \"%.*s\", which may not be there "
                            "yet: let \"%.*s\" need it",
                            (int)at->id.size, (const char *)at->id.bytes, (int)id.size,
                            (const char *)id.bytes);
    }
    return 0;
}

int parse_graph(struct parse *parse, const uint32_t *nodes)
{
    struct flow *flow = parse->flow;
    uint32_t count = flow->step_count;
    struct graph graph = { .parse = parse, .flow = flow, .words = (count + 63) / 64 };
    graph.names = arena_allocate(parse->scratch, count * sizeof *graph.names);
    graph.order = arena_allocate(parse->scratch, count * sizeof *graph.order);
    graph.ancestors =
        arena_allocate(parse->scratch, (size_t)count * graph.words * sizeof *graph.ancestors);
    if (graph.names == NULL || graph.order == NULL || graph.ancestors == NULL)
        return parse_refuse_budget(parse);
    int result = sort_names(&graph);
    if (result == 0)
        result = parse_all_needs(&graph, nodes);
    if (result == 0)
        result = link_wanted(&graph);
    if (result == 0)
        result = sort_steps(&graph);
    if (result < 0)
        return result;
    find_ancestors(&graph);
    return check_references(&graph);
}
