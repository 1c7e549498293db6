/* What events do to rows: one at a time, and merged as a batch does. */
#include "core/event/projection.h"
#include "tap.h"

static const struct event_header header = { .seq = 7, .stream = 5, .time_ns = 1000 };

static ProtobufCBinaryData data(const char *text)
{
    return data_of_span(span_of_text(text));
}

static struct workflow_row submitted_row(void)
{
    struct event_header first = { .seq = 5, .stream = 5, .time_ns = 900 };
    Daa__WorkflowSubmitted body = DAA__WORKFLOW_SUBMITTED__INIT;
    Daa__Event event = DAA__EVENT__INIT;
    struct workflow_row row;
    body.status = DAA__WORKFLOW_STATUS__WORKFLOW_PENDING;
    body.name = data("pay");
    body.input = data("[]");
    event.body_case = DAA__EVENT__BODY_WORKFLOW_SUBMITTED;
    event.workflow_submitted = &body;
    is_int(projection_workflow(&first, &event, &row), 1, "a submission changes a row");
    return row;
}

static struct workflow_row paused_row(const char *reason)
{
    struct workflow_row row;
    Daa__WorkflowPaused body = DAA__WORKFLOW_PAUSED__INIT;
    Daa__Event event = DAA__EVENT__INIT;
    body.status = DAA__WORKFLOW_STATUS__WORKFLOW_PAUSED;
    body.reason = data(reason);
    event.body_case = DAA__EVENT__BODY_WORKFLOW_PAUSED;
    event.workflow_paused = &body;
    is_int(projection_workflow(&header, &event, &row), 1, "a pause changes a row");
    return row;
}

static struct workflow_row completed_row(void)
{
    struct event_header last = { .seq = 9, .stream = 5, .time_ns = 2000 };
    struct workflow_row row;
    Daa__WorkflowCompleted body = DAA__WORKFLOW_COMPLETED__INIT;
    Daa__Event event = DAA__EVENT__INIT;
    body.status = DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED;
    body.output = data("{}");
    event.body_case = DAA__EVENT__BODY_WORKFLOW_COMPLETED;
    event.workflow_completed = &body;
    is_int(projection_workflow(&last, &event, &row), 1, "a completion changes a row");
    return row;
}

static void other_kinds(void)
{
    struct workflow_row row;
    Daa__StepStarted body = DAA__STEP_STARTED__INIT;
    Daa__Event event = DAA__EVENT__INIT;
    event.body_case = DAA__EVENT__BODY_STEP_STARTED;
    event.step_started = &body;
    is_int(projection_workflow(&header, &event, &row), 0, "a step's event changes none");
    Daa__WorkflowResumed resumed = DAA__WORKFLOW_RESUMED__INIT;
    resumed.status = DAA__WORKFLOW_STATUS__WORKFLOW_RUNNING;
    event.body_case = DAA__EVENT__BODY_WORKFLOW_RESUMED;
    event.workflow_resumed = &resumed;
    is_int(projection_workflow(&header, &event, &row), 1, "a resumption does");
    ok(row.has_reason && row.reason.size == 0, "and takes the reason away");
}

int main(void)
{
    struct workflow_row row = submitted_row(), paused = paused_row("asked"),
                        completed = completed_row();
    ok(row.created && span_is(row.name, "pay") && row.submitted_ns == 900,
       "the submission makes the row");
    ok(!row.has_reason && !row.has_ended, "and says nothing of what it does not know");

    projection_workflow_merge(&row, &paused);
    ok(row.created && span_is(row.name, "pay"), "merged, it is still the one that makes it");
    is_int(row.status, DAA__WORKFLOW_STATUS__WORKFLOW_PAUSED, "with the later status");
    ok(row.has_reason && span_is(row.reason, "asked"), "and the later reason");

    projection_workflow_merge(&row, &completed);
    is_int(row.status, DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED, "the last status stays");
    ok(span_is(row.reason, "asked"), "what a later event does not speak of stays");
    ok(row.has_ended && row.ended_ns == 2000 && row.has_output, "the end is the last event's");
    is_int(row.last_seq, 9, "and the row knows the newest event in it");
    other_kinds();
    return tap_done();
}
