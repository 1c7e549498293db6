#include "core/agent/plan.h"

#include "core/base/check.h"
#include "core/base/json.h"
#include "core/base/text.h"
#include "core/base/utf8.h"

#include <stdio.h>

static void out_of_memory(struct plan *plan, enum budget_owner owner)
{
    plan->no_memory = true;
    plan->no_memory_owner = owner;
}

void *plan_allocate(struct plan *plan, size_t size)
{
    void *memory = arena_allocate(&plan->decision->arena, size);
    if (memory == NULL)
        out_of_memory(plan, BUDGET_REQUESTS);
    return memory;
}

bool plan_begin(struct plan *plan, struct workflow *workflow)
{
    plan->workflow = workflow;
    if (workflow == NULL)
        return true;
    uint32_t count = workflow->flow->step_count;
    plan->steps = plan_allocate(plan, count * sizeof *plan->steps);
    plan->ready = plan_allocate(plan, count * sizeof *plan->ready);
    if (plan->no_memory)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        plan->steps[i].status = workflow->steps[i].status;
        plan->steps[i].blocked_by = workflow->steps[i].blocked_by;
        if (workflow->steps[i].status == DAA__STEP_STATUS__STEP_READY)
            plan->ready[plan->ready_end++] = i;
    }
    plan->done = workflow->done;
    plan->parked = workflow->parked;
    plan->status = workflow->status;
    return true;
}

/* Each event sets at most one timer or cancels one, but for the end of a workflow, which cancels
 * those of all its steps; and each may put it into the queue. agent_apply() asks for this much
 * again, and then has it. */
static uint32_t plan_room(const struct plan *plan)
{
    uint32_t steps = plan->workflow != NULL ? plan->workflow->flow->step_count
                     : plan->command->kind == COMMAND_SUBMIT
                         ? plan->command->submit.flow->step_count
                         : 0;
    return 2 * DECISION_EVENTS_MAX + 2 * steps;
}

bool plan_end(struct plan *plan)
{
    if (plan->workflow != NULL && plan->memory > 0 &&
        arena_prepare(&plan->workflow->arena, plan->memory) < 0)
        out_of_memory(plan, BUDGET_WORKFLOWS);
    if (state_reserve(plan->agent, plan_room(plan)) < 0)
        out_of_memory(plan, BUDGET_WORKFLOWS);
    return !plan->no_memory;
}

/*--- Values ----------------------------------------------------------------------------------*/

static void count_memory(struct plan *plan, size_t size)
{
    plan->memory += (size + 1 + 15) / 16 * 16;
}

ProtobufCBinaryData plan_bytes(struct plan *plan, struct span bytes)
{
    count_memory(plan, bytes.size);
    return data_of_span(bytes);
}

static struct span repaired(struct plan *plan, struct span text)
{
    uint8_t *bytes = plan_allocate(plan, STATE_TEXT_SIZE_MAX + 4);
    size_t size = 0, at = 0;
    if (bytes == NULL)
        return span_of_text("");
    while (at < text.size && size < STATE_TEXT_SIZE_MAX - 3) {
        size_t character = utf8_character(text.bytes + at, text.size - at);
        if (character > 0)
            memcpy(bytes + size, text.bytes + at, character);
        else
            bytes[size] = '?';
        size += character > 0 ? character : 1;
        at += character > 0 ? character : 1;
    }
    if (at < text.size) {
        memcpy(bytes + size, "...", 3);
        size += 3;
    }
    return span_of(bytes, size);
}

ProtobufCBinaryData plan_text(struct plan *plan, struct span text)
{
    if (text.size > STATE_TEXT_SIZE_MAX || !utf8_is_valid(text))
        text = repaired(plan, text);
    return plan_bytes(plan, text);
}

ProtobufCBinaryData plan_json(struct plan *plan, struct span value)
{
    struct json json;
    struct arena *arena = &plan->agent->scratch;
    int result = value.size > 0 ? json_parse(&json, arena, value, NULL) : 0;
    arena_reset(arena);
    if (result == ERROR_BUDGET)
        out_of_memory(plan, BUDGET_WORKFLOWS);
    if (result == 0 || result == ERROR_BUDGET)
        return plan_bytes(plan, value);
    struct text text;
    text_init(&text);
    text_json_string(&text, NULL, value);
    struct span copy = arena_copy(&plan->decision->arena, text_span(&text));
    if (copy.bytes == NULL || text.failed != 0)
        out_of_memory(plan, BUDGET_REQUESTS);
    text_free(&text);
    return plan_bytes(plan, copy);
}

/*--- Events ----------------------------------------------------------------------------------*/

static Daa__Actor *actor_of(struct plan *plan)
{
    if (plan->actor != NULL)
        return plan->actor;
    plan->actor = plan_allocate(plan, sizeof *plan->actor);
    if (plan->actor == NULL)
        return NULL;
    daa__actor__init(plan->actor);
    plan->actor->has_type = 1;
    plan->actor->type = (Daa__Actor__Type)plan->command->actor.type;
    struct span id = plan->command->actor.id;
    if (id.size > 0 && id.size <= STATE_TEXT_SIZE_MAX && utf8_is_valid(id)) {
        plan->actor->has_id = 1;
        plan->actor->id = data_of_span(id);
    }
    return plan->actor;
}

static void fill_envelope(struct plan *plan, Daa__Event *event)
{
    struct span request_id = plan->command->request_id, trace = plan->command->traceparent;
    daa__event__init(event);
    event->has_schema = 1;
    event->schema = EVENT_SCHEMA;
    event->actor = actor_of(plan);
    if (request_id.size > 0 && request_id.size <= 256 && utf8_is_valid(request_id)) {
        event->has_request_id = 1;
        event->request_id = data_of_span(request_id);
    }
    if (trace.size > 0 && trace.size <= 256 && utf8_is_valid(trace)) {
        event->has_traceparent = 1;
        event->traceparent = data_of_span(trace);
    }
}

void *plan_event(struct plan *plan, int kind, const ProtobufCMessageDescriptor *type)
{
    static _Alignas(16) _Thread_local uint8_t nobody[512];
    struct decision *decision = plan->decision;
    CHECK(type->sizeof_message <= sizeof nobody);
    CHECK(decision->event_count < DECISION_EVENTS_MAX);
    ProtobufCMessage *body = plan_allocate(plan, type->sizeof_message);
    if (body == NULL)
        body = (void *)nobody;
    protobuf_c_message_init(type, body);
    struct event_draft *draft = &decision->events[decision->event_count++];
    *draft = (struct event_draft){ .creates = plan->workflow == NULL };
    if (plan->workflow != NULL) {
        draft->stream = plan->workflow->stream;
        draft->stream_prev_seq = plan->workflow->last_seq;
        draft->key_id = plan->workflow->key_id;
    }
    fill_envelope(plan, &draft->event);
    draft->event.body_case = (Daa__Event__BodyCase)kind;
    draft->event.agent_registered = (void *)body;
    return body;
}

/*--- The workflow ----------------------------------------------------------------------------*/

static struct span id_of(const struct plan *plan, uint32_t index)
{
    return plan->workflow->flow->steps[index].id;
}

void plan_prepare_finished(struct plan *plan)
{
    struct effect *effect = effect_new(plan->agent, EFFECT_FINISHED, plan->workflow->stream);
    if (effect == NULL)
        out_of_memory(plan, BUDGET_EFFECTS);
    else
        effect_prepare(plan->agent, effect);
}

void plan_pause(struct plan *plan, uint32_t index, const char *why)
{
    Daa__WorkflowPaused *body =
        plan_event(plan, DAA__EVENT__BODY_WORKFLOW_PAUSED, &daa__workflow_paused__descriptor);
    struct span id = id_of(plan, index);
    char reason[256];
    int size = snprintf(reason, sizeof reason, "step \"%.*s\" %s", (int)id.size,
                        (const char *)id.bytes, why);
    struct span copy = arena_copy(&plan->decision->arena, span_of(reason, (size_t)size));
    if (copy.bytes == NULL)
        out_of_memory(plan, BUDGET_REQUESTS);
    body->has_status = body->has_reason = body->has_step = 1;
    body->status = DAA__WORKFLOW_STATUS__WORKFLOW_PAUSED;
    body->reason = plan_bytes(plan, copy);
    body->step = plan_bytes(plan, id);
    plan->status = DAA__WORKFLOW_STATUS__WORKFLOW_PAUSED;
}

void plan_fail(struct plan *plan, uint32_t index, struct span error)
{
    Daa__WorkflowFailed *body =
        plan_event(plan, DAA__EVENT__BODY_WORKFLOW_FAILED, &daa__workflow_failed__descriptor);
    body->has_status = body->has_step = body->has_error = 1;
    body->status = DAA__WORKFLOW_STATUS__WORKFLOW_FAILED;
    body->step = plan_bytes(plan, id_of(plan, index));
    body->error = plan_text(plan, error);
    plan->status = DAA__WORKFLOW_STATUS__WORKFLOW_FAILED;
    plan_prepare_finished(plan);
}

static struct span output_of(const struct plan *plan, uint32_t index)
{
    const struct planned_step *planned = &plan->steps[index];
    return planned->output.size > 0 ? planned->output : plan->workflow->steps[index].output;
}

/* Outputs that are too large together are left out where they are the reason; they stay with their
 * steps. */
static size_t output_limit(const struct plan *plan)
{
    const struct flow *flow = plan->workflow->flow;
    size_t size = 0, count = 0;
    for (uint32_t i = 0; i < flow->step_count; i++)
        if (flow->steps[i].wanted_by_count == 0) {
            size += output_of(plan, i).size;
            count++;
        }
    size_t size_max = plan->agent->options.output_size_max;
    return size <= size_max ? SIZE_MAX : size_max / count;
}

static void write_output(const struct plan *plan, struct text *text)
{
    const struct flow *flow = plan->workflow->flow;
    size_t limit = output_limit(plan);
    char key[FLOW_STEP_ID_SIZE_MAX + 1];
    text_json_open_object(text, NULL);
    for (uint32_t i = 0; i < flow->step_count; i++) {
        const struct flow_step *step = &flow->steps[i];
        struct span output = output_of(plan, i);
        if (step->wanted_by_count > 0)
            continue;
        memcpy(key, step->id.bytes, step->id.size);
        key[step->id.size] = '\0';
        if (output.size <= limit)
            text_json_raw(text, key, output);
        else
            text_json_cstring(text, key, "too large to be shown here: it is the step's output");
    }
    text_json_close_object(text);
}

void plan_complete_if_done(struct plan *plan)
{
    struct text text;
    if (plan->status != DAA__WORKFLOW_STATUS__WORKFLOW_RUNNING ||
        plan->done < plan->workflow->flow->step_count)
        return;
    text_init(&text);
    write_output(plan, &text);
    struct span output = arena_copy(&plan->decision->arena, text_span(&text));
    if (text.failed != 0 || output.bytes == NULL)
        out_of_memory(plan, BUDGET_REQUESTS);
    text_free(&text);
    Daa__WorkflowCompleted *body =
        plan_event(plan, DAA__EVENT__BODY_WORKFLOW_COMPLETED, &daa__workflow_completed__descriptor);
    body->has_status = body->has_output = 1;
    body->status = DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED;
    body->output = plan_bytes(plan, output);
    plan->status = DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED;
    plan_prepare_finished(plan);
}
