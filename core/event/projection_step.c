#include "core/base/check.h"
#include "core/event/projection.h"

static bool is_over(int status)
{
    return status == DAA__STEP_STATUS__STEP_COMPLETED || status == DAA__STEP_STATUS__STEP_FAILED ||
           status == DAA__STEP_STATUS__STEP_SKIPPED || status == DAA__STEP_STATUS__STEP_CANCELLED;
}

static void set_error(struct step_row *row, ProtobufCBinaryData error)
{
    row->has_error = true;
    row->error = span_of_data(error);
}

static void set_output(struct step_row *row, ProtobufCBinaryData output)
{
    row->has_output = output.len > 0;
    row->output = span_of_data(output);
}

static void set_outcome(struct step_row *row, int outcome)
{
    row->has_outcome = true;
    row->outcome = outcome;
}

/* 0: of a step that has none, or that did not begin. */
static void set_attempt(struct step_row *row, uint32_t attempt)
{
    if (attempt == 0)
        return;
    row->has_attempt = true;
    row->attempt = attempt;
}

/* What all events of steps have, under names of their own in each body. */
#define SET_STEP(row, body)                                                                        \
    do {                                                                                           \
        if (!(body)->has_index)                                                                    \
            return 0;                                                                              \
        (row)->index = (body)->index;                                                              \
        (row)->step = span_of_data((body)->step);                                                  \
        (row)->status = (int)(body)->status;                                                       \
    } while (0)

static int started(struct step_row *row, const Daa__StepStarted *body)
{
    SET_STEP(row, body);
    set_attempt(row, body->attempt);
    return 1;
}

static int spawned(struct step_row *row, const Daa__StepSpawned *body)
{
    SET_STEP(row, body);
    set_attempt(row, body->attempt);
    return 1;
}

static int completed(struct step_row *row, const Daa__StepCompleted *body)
{
    SET_STEP(row, body);
    set_attempt(row, body->attempt);
    set_outcome(row, DAA__OUTCOME__OUTCOME_DONE);
    set_error(row, (ProtobufCBinaryData){ 0, NULL });
    set_output(row, body->output);
    return 1;
}

static int failed(struct step_row *row, const Daa__StepFailed *body)
{
    SET_STEP(row, body);
    set_attempt(row, body->attempt);
    set_outcome(row, (int)body->outcome);
    set_error(row, body->error);
    set_output(row, body->output);
    return 1;
}

static int retry_scheduled(struct step_row *row, const Daa__StepRetryScheduled *body)
{
    SET_STEP(row, body);
    set_attempt(row, body->attempt);
    set_outcome(row, (int)body->outcome);
    set_error(row, body->error);
    return 1;
}

static int skipped(struct step_row *row, const Daa__StepSkipped *body)
{
    SET_STEP(row, body);
    set_error(row, body->reason);
    return 1;
}

static int uncertain(struct step_row *row, const Daa__StepUncertain *body)
{
    SET_STEP(row, body);
    set_attempt(row, body->attempt);
    set_outcome(row, DAA__OUTCOME__OUTCOME_UNKNOWN);
    set_error(row, body->error);
    return 1;
}

static int resolved(struct step_row *row, const Daa__StepResolved *body)
{
    SET_STEP(row, body);
    if (body->status == DAA__STEP_STATUS__STEP_COMPLETED) {
        set_outcome(row, DAA__OUTCOME__OUTCOME_DONE);
        set_error(row, (ProtobufCBinaryData){ 0, NULL });
        set_output(row, body->output);
    }
    return 1;
}

static int timer_set(struct step_row *row, const Daa__TimerSet *body)
{
    SET_STEP(row, body);
    return 1;
}

static int timer_fired(struct step_row *row, const Daa__TimerFired *body)
{
    SET_STEP(row, body);
    return 1;
}

static int change(struct step_row *row, const Daa__Event *event)
{
    switch ((int)event->body_case) {
    case DAA__EVENT__BODY_STEP_STARTED:
        return started(row, event->step_started);
    case DAA__EVENT__BODY_STEP_SPAWNED:
        return spawned(row, event->step_spawned);
    case DAA__EVENT__BODY_STEP_COMPLETED:
        return completed(row, event->step_completed);
    case DAA__EVENT__BODY_STEP_FAILED:
        return failed(row, event->step_failed);
    case DAA__EVENT__BODY_STEP_RETRY_SCHEDULED:
        return retry_scheduled(row, event->step_retry_scheduled);
    case DAA__EVENT__BODY_STEP_SKIPPED:
        return skipped(row, event->step_skipped);
    case DAA__EVENT__BODY_STEP_UNCERTAIN:
        return uncertain(row, event->step_uncertain);
    case DAA__EVENT__BODY_STEP_RESOLVED:
        return resolved(row, event->step_resolved);
    case DAA__EVENT__BODY_TIMER_SET:
        return timer_set(row, event->timer_set);
    case DAA__EVENT__BODY_TIMER_FIRED:
        return timer_fired(row, event->timer_fired);
    default:
        return 0;
    }
}

int projection_step(const struct event_header *header, const Daa__Event *event,
                    struct step_row *row)
{
    *row = (struct step_row){
        .stream = header->stream,
        .last_seq = header->seq,
        .first_ns = header->time_ns,
    };
    if (!change(row, event))
        return 0;
    row->has_ended = is_over(row->status);
    row->ended_ns = row->has_ended ? header->time_ns : 0;
    return 1;
}

void projection_step_merge(struct step_row *row, const struct step_row *later)
{
    CHECK(row->stream == later->stream && row->index == later->index);
    CHECK(row->last_seq < later->last_seq);
    row->last_seq = later->last_seq;
    row->status = later->status;
    row->has_ended = later->has_ended;
    row->ended_ns = later->ended_ns;
    if (later->step.size > 0)
        row->step = later->step;
    if (later->has_attempt)
        set_attempt(row, later->attempt);
    if (later->has_outcome)
        set_outcome(row, later->outcome);
    if (later->has_error) {
        row->has_error = true;
        row->error = later->error;
    }
    if (later->has_output) {
        row->has_output = true;
        row->output = later->output;
    }
}
