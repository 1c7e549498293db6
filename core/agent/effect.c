#include "core/agent/effect.h"

#include "core/agent/state.h"
#include "core/base/check.h"
#include "core/base/id.h"
#include "core/flow/template.h"

#include <inttypes.h>
#include <stdio.h>

#define EFFECT_SIZE_MAX (64ull << 20) /* bytes, or a 16th of the budget if that is less */

struct effect *effect_new(struct agent *agent, enum effect_kind kind, uint64_t stream)
{
    struct budget *budget = agent->options.budget;
    struct effect *effect = budget_allocate(budget, BUDGET_EFFECTS, sizeof *effect);
    if (effect == NULL)
        return NULL;
    *effect = (struct effect){ .kind = kind, .stream = stream, .budget = budget };
    arena_init(&effect->arena, budget, BUDGET_EFFECTS, 1024);
    return effect;
}

void effect_free(struct effect *effect)
{
    if (effect == NULL)
        return;
    arena_free(&effect->arena);
    budget_free(effect->budget, BUDGET_EFFECTS, effect, sizeof *effect);
}

/*--- Rendering -------------------------------------------------------------------------------*/

struct rendering {
    const struct workflow *workflow;
    struct effect *effect;
    struct template_values values;
    struct error *error;
};

static bool output_of(void *context, struct span id, struct span *output)
{
    const struct rendering *rendering = context;
    int64_t index = flow_find_step(rendering->workflow->flow, id);
    if (index < 0)
        return false;
    *output = rendering->workflow->steps[index].output;
    return output->size > 0;
}

/* An effect that is larger than the budget can ever hold would be tried for ever. */
static int check_size(const struct rendering *rendering)
{
    uint64_t part = rendering->effect->budget->limit / 16;
    uint64_t limit = part < EFFECT_SIZE_MAX ? part : EFFECT_SIZE_MAX;
    if (rendering->effect->arena.reserved <= limit)
        return 0;
    return error_set(rendering->error, ERROR_TOO_LARGE,
                     "with its values filled in the step needs more than %" PRIu64 " bytes", limit);
}

static int render(struct rendering *rendering, enum template_place place, struct span source,
                  const char *what, struct span *result)
{
    int status = template_render(&rendering->values, place, source, result, rendering->error);
    if (status == 0)
        status = check_size(rendering);
    return status < 0 ? error_wrap(rendering->error, status, "%s", what) : 0;
}

static int copy(struct rendering *rendering, struct span source, struct span *target)
{
    *target = arena_copy(&rendering->effect->arena, source);
    if (target->bytes != NULL)
        return 0;
    return error_set(rendering->error, ERROR_BUDGET, "the memory budget is used up (owner %s)",
                     budget_owner_name(BUDGET_EFFECTS));
}

static int render_pairs(struct rendering *rendering, enum template_place place,
                        const struct flow_header *pairs, uint32_t count,
                        struct flow_header **result)
{
    struct flow_header *rendered =
        arena_allocate(&rendering->effect->arena, count * sizeof *rendered);
    int status = rendered != NULL ? 0 : ERROR_BUDGET;
    for (uint32_t i = 0; status == 0 && i < count; i++) {
        char what[96];
        (void)snprintf(what, sizeof what, "%s \"%.*s\"",
                       place == TEMPLATE_HEADER ? "header" : "variable",
                       pairs[i].name.size > 60 ? 60 : (int)pairs[i].name.size,
                       (const char *)pairs[i].name.bytes);
        status = copy(rendering, pairs[i].name, &rendered[i].name);
        if (status == 0)
            status = render(rendering, place, pairs[i].value, what, &rendered[i].value);
    }
    *result = rendered;
    return status;
}

static int render_http(struct rendering *rendering, const struct flow_http *http)
{
    struct flow_http *target = &rendering->effect->http;
    int status = copy(rendering, http->method, &target->method);
    if (status == 0)
        status = render(rendering, TEMPLATE_URL, http->url, "url", &target->url);
    if (status == 0)
        status = render_pairs(rendering, TEMPLATE_HEADER, http->headers, http->header_count,
                              &target->headers);
    target->header_count = http->header_count;
    if (status == 0 && http->body.size > 0)
        status = render(rendering, TEMPLATE_JSON, http->body, "body", &target->body);
    return status;
}

static int render_exec(struct rendering *rendering, const struct flow_exec *exec)
{
    struct flow_exec *target = &rendering->effect->exec;
    target->argv =
        arena_allocate(&rendering->effect->arena, exec->argv_count * sizeof(struct span));
    int status = target->argv != NULL ? 0 : ERROR_BUDGET;
    for (uint32_t i = 0; status == 0 && i < exec->argv_count; i++)
        status = render(rendering, TEMPLATE_ARGUMENT, exec->argv[i], "argv", &target->argv[i]);
    target->argv_count = exec->argv_count;
    if (status == 0)
        status = render_pairs(rendering, TEMPLATE_ENV, exec->env, exec->env_count, &target->env);
    target->env_count = exec->env_count;
    if (status == 0 && exec->stdin_text.size > 0)
        status = render(rendering, TEMPLATE_STDIN, exec->stdin_text, "stdin", &target->stdin_text);
    return status;
}

int effect_render(struct agent *agent, const struct workflow *workflow, uint32_t index,
                  struct effect **result, struct error *error)
{
    char id[WORKFLOW_ID_SIZE];
    const struct flow_step *step = &workflow->flow->steps[index];
    struct effect *effect =
        effect_new(agent, step->kind == FLOW_HTTP ? EFFECT_HTTP : EFFECT_EXEC, workflow->stream);
    *result = effect;
    if (effect == NULL)
        return error_set(error, ERROR_BUDGET, "the memory budget is used up (owner %s)",
                         budget_owner_name(BUDGET_EFFECTS));
    effect->index = index;
    effect->attempt = workflow->steps[index].attempt + 1;
    effect->timeout_ns = step->timeout_ns;
    lineage_id_to_text(id, &agent->logs, workflow->stream);
    (void)snprintf(effect->idempotency_key, sizeof effect->idempotency_key, "%s.%u", id, index);
    struct rendering rendering = { .workflow = workflow, .effect = effect, .error = error };
    rendering.values = (struct template_values){ .arena = &effect->arena,
                                                 .input = workflow->input,
                                                 .output = output_of,
                                                 .context = &rendering };
    int status = step->kind == FLOW_HTTP ? render_http(&rendering, &step->http)
                                         : render_exec(&rendering, &step->exec);
    if (status < 0) {
        effect_free(effect);
        *result = NULL;
    }
    return status;
}

/*--- Prepared, due ---------------------------------------------------------------------------*/

void effect_prepare(struct agent *agent, struct effect *effect)
{
    effect->next = agent->prepared.effects;
    agent->prepared.effects = effect;
}

void effect_due(struct agent *agent, enum effect_kind kind, uint64_t stream, uint32_t index,
                uint64_t seq, int status)
{
    struct effect **at = &agent->prepared.effects;
    while (*at != NULL && ((*at)->kind != kind || (*at)->stream != stream || (*at)->index != index))
        at = &(*at)->next;
    struct effect *effect = *at;
    CHECK(effect != NULL);
    *at = effect->next;
    effect->next = NULL;
    effect->seq = seq;
    effect->status = status;
    *agent->effects_end = effect;
    agent->effects_end = &effect->next;
}

struct effect *agent_next_effect(struct agent *agent)
{
    struct effect *effect = agent->effects;
    if (effect == NULL)
        return NULL;
    agent->effects = effect->next;
    if (agent->effects == NULL)
        agent->effects_end = &agent->effects;
    effect->next = NULL;
    return effect;
}
