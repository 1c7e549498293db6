#include "core/event/projection.h"

#include "core/base/check.h"

static void set_status(struct workflow_row *row, int status)
{
    row->has_status = true;
    row->status = status;
}

static void set_reason(struct workflow_row *row, struct span reason)
{
    row->has_reason = true;
    row->reason = reason;
}

static void set_ended(struct workflow_row *row, const struct event_header *header)
{
    row->has_ended = true;
    row->ended_ns = header->time_ns;
}

static void submitted(struct workflow_row *row, const struct event_header *header,
                      const Daa__WorkflowSubmitted *body)
{
    row->created = true;
    set_status(row, (int)body->status);
    row->name = span_of_data(body->name);
    row->definition = span_of_data(body->definition);
    row->input = span_of_data(body->input);
    row->metadata = span_of_data(body->metadata);
    row->submitted_ns = header->time_ns;
}

static void completed(struct workflow_row *row, const struct event_header *header,
                      const Daa__WorkflowCompleted *body)
{
    set_status(row, (int)body->status);
    set_ended(row, header);
    row->has_output = true;
    row->output = span_of_data(body->output);
}

int projection_workflow(const struct event_header *header, const Daa__Event *event,
                        struct workflow_row *row)
{
    *row = (struct workflow_row){ .stream = header->stream, .last_seq = header->seq };
    /* Only these kinds change the row; the rest, known or not, leave it alone. */
    switch ((int)event->body_case) {
    case DAA__EVENT__BODY_WORKFLOW_SUBMITTED:
        submitted(row, header, event->workflow_submitted);
        return 1;
    case DAA__EVENT__BODY_WORKFLOW_STARTED:
        set_status(row, (int)event->workflow_started->status);
        row->has_started = true;
        row->started_ns = header->time_ns;
        return 1;
    case DAA__EVENT__BODY_WORKFLOW_COMPLETED:
        completed(row, header, event->workflow_completed);
        return 1;
    case DAA__EVENT__BODY_WORKFLOW_FAILED:
        set_status(row, (int)event->workflow_failed->status);
        set_ended(row, header);
        set_reason(row, span_of_data(event->workflow_failed->error));
        return 1;
    case DAA__EVENT__BODY_WORKFLOW_CANCELLED:
        set_status(row, (int)event->workflow_cancelled->status);
        set_ended(row, header);
        set_reason(row, span_of_data(event->workflow_cancelled->reason));
        return 1;
    case DAA__EVENT__BODY_WORKFLOW_PAUSED:
        set_status(row, (int)event->workflow_paused->status);
        set_reason(row, span_of_data(event->workflow_paused->reason));
        return 1;
    case DAA__EVENT__BODY_WORKFLOW_RESUMED:
        set_status(row, (int)event->workflow_resumed->status);
        set_reason(row, (struct span){ NULL, 0 });
        return 1;
    default:
        return 0;
    }
}

void projection_workflow_merge(struct workflow_row *row, const struct workflow_row *later)
{
    CHECK(row->stream == later->stream);
    CHECK(row->last_seq < later->last_seq);
    if (later->created) {
        *row = *later;
        return;
    }
    row->last_seq = later->last_seq;
    if (later->has_status)
        set_status(row, later->status);
    if (later->has_reason)
        set_reason(row, later->reason);
    if (later->has_started) {
        row->has_started = true;
        row->started_ns = later->started_ns;
    }
    if (later->has_ended) {
        row->has_ended = true;
        row->ended_ns = later->ended_ns;
    }
    if (later->has_output) {
        row->has_output = true;
        row->output = later->output;
    }
}
