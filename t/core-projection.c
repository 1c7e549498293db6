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

static struct step_row step_row(uint64_t seq, Daa__Event event)
{
    const struct event_header at = { .seq = seq, .stream = 5, .time_ns = seq * 100 };
    struct step_row row;
    is_int(projection_step(&at, &event, &row), 1, "event %d changes a step", (int)seq);
    return row;
}

static Daa__Event event_of(int body_case)
{
    Daa__Event event = DAA__EVENT__INIT;
    event.body_case = (Daa__Event__BodyCase)body_case;
    return event;
}

static struct step_row started_step(uint64_t seq, uint32_t attempt)
{
    Daa__StepStarted body = DAA__STEP_STARTED__INIT;
    Daa__Event event = event_of(DAA__EVENT__BODY_STEP_STARTED);
    body.has_index = 1;
    body.index = 2;
    body.step = data("pay");
    body.attempt = attempt;
    body.status = DAA__STEP_STATUS__STEP_RUNNING;
    event.step_started = &body;
    return step_row(seq, event);
}

static struct step_row retried_step(uint64_t seq)
{
    Daa__StepRetryScheduled body = DAA__STEP_RETRY_SCHEDULED__INIT;
    Daa__Event event = event_of(DAA__EVENT__BODY_STEP_RETRY_SCHEDULED);
    body.has_index = 1;
    body.index = 2;
    body.attempt = 1;
    body.status = DAA__STEP_STATUS__STEP_BACKOFF;
    body.outcome = DAA__OUTCOME__OUTCOME_NOT_DONE;
    body.error = data("refused");
    event.step_retry_scheduled = &body;
    return step_row(seq, event);
}

static struct step_row completed_step(uint64_t seq)
{
    Daa__StepCompleted body = DAA__STEP_COMPLETED__INIT;
    Daa__Event event = event_of(DAA__EVENT__BODY_STEP_COMPLETED);
    body.has_index = 1;
    body.index = 2;
    body.status = DAA__STEP_STATUS__STEP_COMPLETED;
    body.output = data("1");
    event.step_completed = &body;
    return step_row(seq, event);
}

static void steps(void)
{
    struct step_row row = started_step(6, 1), again = started_step(8, 2), retried = retried_step(7),
                    completed = completed_step(9);
    projection_step_merge(&row, &retried);
    ok(row.status == DAA__STEP_STATUS__STEP_BACKOFF && span_is(row.error, "refused") &&
           row.outcome == DAA__OUTCOME__OUTCOME_NOT_DONE && !row.has_ended,
       "a retry says what came of the attempt");
    projection_step_merge(&row, &again);
    ok(row.attempt == 2 && span_is(row.error, "refused") && span_is(row.step, "pay"),
       "the next attempt leaves that as it is");
    projection_step_merge(&row, &completed);
    ok(row.attempt == 2 && row.has_error && row.error.size == 0 && span_is(row.output, "1"),
       "a completion takes the error away");
    ok(row.first_ns == 600 && row.has_ended && row.ended_ns == 900, "and ends what began then");
    is_int(row.last_seq, 9, "the row knows its newest event");
    struct step_row none;
    Daa__StepCompleted body = DAA__STEP_COMPLETED__INIT;
    Daa__Event event = event_of(DAA__EVENT__BODY_STEP_COMPLETED);
    event.step_completed = &body;
    is_int(projection_step(&header, &event, &none), 0, "an event that names no step changes none");
}

static struct agent_row agent_row(uint64_t seq, Daa__Event *event)
{
    const struct event_header at = { .seq = seq, .time_ns = seq * 100 };
    struct agent_row row;
    is_int(projection_agent(&at, event, &row), 1, "every event is a sign of life");
    return row;
}

static void agents(void)
{
    Daa__AgentRegistered registered = DAA__AGENT_REGISTERED__INIT;
    Daa__AgentStopped stopped = DAA__AGENT_STOPPED__INIT;
    Daa__Event begins = event_of(DAA__EVENT__BODY_AGENT_REGISTERED),
               ends = event_of(DAA__EVENT__BODY_AGENT_STOPPED);
    registered.pid = 77;
    registered.host = data("here");
    stopped.reason = data("signal");
    begins.agent_registered = &registered;
    ends.agent_stopped = &stopped;
    struct agent_row row = agent_row(1, &begins), life = agent_row(2, NULL),
                     end = agent_row(3, &ends), anew = agent_row(4, &begins);
    projection_agent_merge(&row, &life);
    ok(row.heartbeat_ns == 200 && row.pid == 77 && !row.has_stopped, "it lives");
    projection_agent_merge(&row, &end);
    ok(row.has_stopped && span_is(row.reason, "signal") && row.stopped_ns == 300, "it stops");
    projection_agent_merge(&row, &anew);
    ok(row.has_registered && !row.has_stopped && row.registered_ns == 400, "and comes back");
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
    steps();
    agents();
    return tap_done();
}
