/* Events: names held to the schema, bytes there and back, what is refused, how they are shown. */
#include "core/base/error.h"
#include "core/base/json.h"
#include "core/event/event.h"
#include "tap.h"

#include <stdio.h>
#include <string.h>

static struct budget budget;
static struct arena arena;
static struct text shown;

static ProtobufCBinaryData data(const char *text)
{
    return data_of_span(span_of_text(text));
}

/* Packs into the arena. */
static struct span pack(const Daa__Event *event)
{
    size_t size = event_size(event);
    uint8_t *bytes = arena_allocate(&arena, size);
    event_pack(event, bytes);
    return span_of(bytes, size);
}

static int unpack(uint16_t kind, struct span payload)
{
    Daa__Event *event;
    return event_unpack(kind, payload, &arena, &event);
}

static void names(void)
{
    const ProtobufCMessageDescriptor *type = &daa__event__descriptor;
    unsigned wrong = 0, bodies = 0;
    for (unsigned i = 0; i < type->n_fields; i++) {
        char want[64];
        if (type->fields[i].id < 16)
            continue;
        bodies++;
        (void)snprintf(want, sizeof want, "%s", type->fields[i].name);
        *strchr(want, '_') = '.';
        const char *got = event_kind_name((uint16_t)type->fields[i].id);
        wrong += got == NULL || strcmp(got, want) != 0;
        wrong += event_kind_of_name(span_of_text(want)) != type->fields[i].id;
    }
    ok(bodies > 20, "the schema has the kinds of this version");
    is_int(wrong, 0, "every body of the schema has the name that its field has, there and back");
    ok(event_kind_name(9999) == NULL, "an unknown kind has no name");
    is_int(event_kind_of_name(span_of_text("workflow.exploded")), 0, "an unknown name no kind");
    is_str(workflow_status_name(DAA__WORKFLOW_STATUS__WORKFLOW_PAUSED), "paused",
           "statuses of "
           "workflows");
    is_str(step_status_name(DAA__STEP_STATUS__STEP_BACKOFF), "backoff", "and of steps have names");
    is_str(step_status_name(DAA__STEP_STATUS__STEP_CANCELLED), "cancelled", "to the last");
    is_str(outcome_name(DAA__OUTCOME__OUTCOME_NOT_DONE), "not_done", "and outcomes");
    is_str(workflow_status_name(77), "unknown", "a number that is none has one too");
    is_str(step_status_name(-1), "unknown", "and a negative one");
}

static struct span a_submission(void)
{
    static uint8_t digest[32] = { 0xab, 1 };
    Daa__WorkflowSubmitted body = DAA__WORKFLOW_SUBMITTED__INIT;
    Daa__Actor actor = DAA__ACTOR__INIT;
    Daa__Event event = DAA__EVENT__INIT;
    actor.has_type = actor.has_id = 1;
    actor.type = DAA__ACTOR__TYPE__TOKEN;
    actor.id = data("admin");
    event.has_schema = 1;
    event.schema = EVENT_SCHEMA;
    event.actor = &actor;
    event.has_request_id = 1;
    event.request_id = data("req-1");
    event.body_case = DAA__EVENT__BODY_WORKFLOW_SUBMITTED;
    event.workflow_submitted = &body;
    body.has_status = body.has_name = body.has_definition = body.has_input = 1;
    body.status = DAA__WORKFLOW_STATUS__WORKFLOW_PENDING;
    body.name = data("pay \"now\"");
    body.definition = data_of_span(span_of(digest, sizeof digest));
    body.input = data("{\"a\": [1,2]}");
    return pack(&event);
}

static void round_trip(void)
{
    struct span payload = a_submission();
    Daa__Event *event;
    is_int(event_unpack(DAA__EVENT__BODY_WORKFLOW_SUBMITTED, payload, &arena, &event), 0,
           "a packed event is unpacked");
    is_int(event_kind(event), 32, "and is of its kind");
    ok(span_is(span_of_data(event->workflow_submitted->name), "pay \"now\""), "with its texts");
    ok(!event->workflow_submitted->has_key && !event->has_traceparent, "what was absent is absent");
    struct span again = pack(event);
    ok(span_equal(payload, again), "and packed again it has the same bytes");
}

static void is_shown(uint16_t kind, struct span payload, const char *want, const char *claim)
{
    text_clear(&shown);
    text_json_open_object(&shown, NULL);
    event_to_json(&(struct event_header){ .kind = kind }, payload, NULL, &arena, &shown);
    text_json_close_object(&shown);
    is_str(text_string(&shown), want, "%s", claim);
}

static struct span a_timer(void)
{
    Daa__TimerSet body = DAA__TIMER_SET__INIT;
    Daa__Event event = DAA__EVENT__INIT;
    event.has_schema = 1;
    event.schema = EVENT_SCHEMA;
    event.body_case = DAA__EVENT__BODY_TIMER_SET;
    event.timer_set = &body;
    body.has_status = body.has_index = body.has_due_ns = 1;
    body.status = DAA__STEP_STATUS__STEP_SLEEPING;
    body.due_ns = 1700000000000000001;
    return pack(&event);
}

static void json(void)
{
    struct span submission = a_submission(), timer = a_timer();
    is_shown(
        DAA__EVENT__BODY_WORKFLOW_SUBMITTED, submission,
        "{\"actor\":{\"type\":\"token\",\"id\":\"admin\"},\"request_id\":\"req-1\",\"payload\":{"
        "\"status\":\"pending\",\"name\":\"pay \\\"now\\\"\",\"definition\":"
        "\"ab01000000000000000000000000000000000000000000000000000000000000\","
        "\"input\":{\"a\": [1,2]}}}",
        "JSON goes in as JSON, digests as hex, enums by name");
    is_shown(DAA__EVENT__BODY_TIMER_SET, timer,
             "{\"actor\":null,\"payload\":{\"status\":\"sleeping\",\"index\":0,\"due_ns\":"
             "1700000000000000001,"
             "\"due\":\"2023-11-14T22:13:20.000000001Z\"}}",
             "a time is shown for people beside its number");
    is_shown(4711, span_of("\x01\xff", 2), "{\"actor\":null,\"payload\":{\"undecoded\":\"01ff\"}}",
             "a kind that is not known is shown as its bytes");
}

static void bad_json_inside(void)
{
    Daa__WorkflowCompleted body = DAA__WORKFLOW_COMPLETED__INIT;
    Daa__Event event = DAA__EVENT__INIT;
    event.has_schema = 1;
    event.schema = EVENT_SCHEMA;
    event.body_case = DAA__EVENT__BODY_WORKFLOW_COMPLETED;
    event.workflow_completed = &body;
    body.has_output = 1;
    body.output = data("{\"a\":");
    is_shown(DAA__EVENT__BODY_WORKFLOW_COMPLETED, pack(&event),
             "{\"actor\":null,\"payload\":{\"output\":\"{\\\"a\\\":\"}}",
             "what is no JSON is shown as a string");
}

static void unknown_field(void)
{
    /* timer_set (64) with its field 15, a varint; this version has no such field. */
    static const uint8_t bytes[] = { 0x08, 1, 0x82, 0x04, 2, 0x78, 5 };
    is_shown(DAA__EVENT__BODY_TIMER_SET, span_of(bytes, sizeof bytes),
             "{\"actor\":null,\"payload\":{\"field_15_0\":\"05\"}}",
             "a field that is not known is shown too");
}

static void refusals(void)
{
    struct span timer = a_timer(), submission = a_submission();
    is_int(unpack(DAA__EVENT__BODY_TIMER_FIRED, timer), ERROR_DAMAGED,
           "a body of another kind than the record says is damage");
    is_int(unpack(999, timer), ERROR_NEWER, "a kind that is not known is a newer one's");
    unsigned accepted = 0;
    for (size_t size = 0; size < submission.size; size++) {
        /* A cut between two fields is a shorter message; the record's length and checksum are
         * what catches that. */
        accepted += unpack(32, span_of(submission.bytes, size)) == 0;
    }
    is_int(accepted, 0, "no cut of a packed event passes, since the body comes last");

    Daa__StepFailed failed = DAA__STEP_FAILED__INIT;
    Daa__Event event = DAA__EVENT__INIT;
    event.body_case = DAA__EVENT__BODY_STEP_FAILED;
    event.step_failed = &failed;
    is_int(unpack(50, pack(&event)), ERROR_DAMAGED, "an event without a schema is damage");
    event.has_schema = 1;
    event.schema = EVENT_SCHEMA_NEWEST + 1;
    is_int(unpack(50, pack(&event)), ERROR_NEWER, "a newer schema is said to be newer");
    event.schema = EVENT_SCHEMA;
    failed.has_error = 1;
    failed.error = data("a\xff");
    is_int(unpack(50, pack(&event)), ERROR_DAMAGED, "text that is not UTF-8 is damage");
    failed.error = data("a");
    failed.has_outcome = 1;
    failed.outcome = 17;
    is_int(unpack(50, pack(&event)), ERROR_NEWER, "so is an enum's value that is not known newer");

    Daa__DefinitionInstalled installed = DAA__DEFINITION_INSTALLED__INIT;
    event.body_case = DAA__EVENT__BODY_DEFINITION_INSTALLED;
    event.definition_installed = &installed;
    installed.has_digest = 1;
    installed.digest = data("short");
    is_int(unpack(20, pack(&event)), ERROR_DAMAGED, "a digest of another size is damage");
}

static void over_budget(void)
{
    struct budget small;
    struct arena tight;
    Daa__Event *event;
    struct span submission = a_submission();
    budget_init(&small, 100);
    arena_init(&tight, &small, BUDGET_REQUESTS, 64);
    is_int(event_unpack(32, submission, &tight, &event), ERROR_BUDGET,
           "unpacking past the budget is refused as that");
    arena_free(&tight);
    is_int(small.used, 0, "and leaves nothing behind");
}

int main(void)
{
    budget_init(&budget, 1 << 24);
    arena_init(&arena, &budget, BUDGET_REQUESTS, 4096);
    text_init(&shown);
    names();
    round_trip();
    json();
    bad_json_inside();
    unknown_field();
    refusals();
    over_budget();
    arena_free(&arena);
    text_free(&shown);
    is_int(budget.used, 0, "nothing is left on the budget");
    return tap_done();
}
