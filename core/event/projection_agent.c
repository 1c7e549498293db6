#include "core/base/check.h"
#include "core/event/projection.h"

static void registered(struct agent_row *row, const struct event_header *header,
                       const Daa__AgentRegistered *body)
{
    row->has_registered = true;
    row->version = span_of_data(body->version);
    row->host = span_of_data(body->host);
    row->pid = body->pid;
    row->registered_ns = header->time_ns;
}

static void stopped(struct agent_row *row, const struct event_header *header,
                    const Daa__AgentStopped *body)
{
    row->has_stopped = true;
    row->reason = span_of_data(body->reason);
    row->stopped_ns = header->time_ns;
}

int projection_agent(const struct event_header *header, const Daa__Event *event,
                     struct agent_row *row)
{
    *row = (struct agent_row){ .last_seq = header->seq, .heartbeat_ns = header->time_ns };
    if (event == NULL)
        return 1;
    if (event->body_case == DAA__EVENT__BODY_AGENT_REGISTERED)
        registered(row, header, event->agent_registered);
    else if (event->body_case == DAA__EVENT__BODY_AGENT_STOPPED)
        stopped(row, header, event->agent_stopped);
    return 1;
}

void projection_agent_merge(struct agent_row *row, const struct agent_row *later)
{
    CHECK(row->last_seq < later->last_seq);
    row->last_seq = later->last_seq;
    row->heartbeat_ns = later->heartbeat_ns;
    if (later->has_registered) {
        struct agent_row fresh = *later; /* what it was stopped for is over */
        *row = fresh;
        return;
    }
    if (later->has_stopped) {
        row->has_stopped = true;
        row->reason = later->reason;
        row->stopped_ns = later->stopped_ns;
    }
}
