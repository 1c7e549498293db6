/* What one event does to one row: the tables of Postgres as a function of events (DESIGN §5, §9).
 *
 * Pure. Threads: any. */
#ifndef CORE_EVENT_PROJECTION_H
#define CORE_EVENT_PROJECTION_H

#include "core/base/span.h"
#include "core/event/event.h"

#include <stdbool.h>
#include <stdint.h>

/* A change of the row of table `workflows` whose key is (log, stream). A field that an event says
 * nothing about keeps its value (the has_ flags say which speak). */
struct workflow_row {
    uint64_t stream;
    uint64_t last_seq;
    bool created; /* the event that makes the row */
    bool has_status, has_started, has_ended, has_reason, has_output;
    int status;                                    /* WorkflowStatus */
    struct span name, definition, input, metadata; /* when created */
    struct span reason, output;
    uint64_t submitted_ns, started_ns, ended_ns;
};

/* 1 when the event changes a row of `workflows` (spans point into `event`), 0 when it does not. */
int projection_workflow(const struct event_header *header, const Daa__Event *event,
                        struct workflow_row *row);

/* Puts a later change of the same row over an earlier one, so that a batch writes each row once. */
void projection_workflow_merge(struct workflow_row *row, const struct workflow_row *later);

/* A change of the row of table `steps` whose key is (log, stream, index): that of the workflow's
 * step. The row comes with the first event that tells of the step. Every such event says the
 * status; what it says nothing else about keeps its value. */
struct step_row {
    uint64_t stream;
    uint64_t last_seq;
    uint32_t index;
    struct span step; /* its id */
    int status;       /* StepStatus */
    bool has_attempt, has_outcome, has_error, has_output, has_ended;
    uint32_t attempt;
    int outcome;       /* Outcome */
    struct span error; /* when has_error; empty: there is none any more */
    struct span output;
    uint64_t first_ns; /* of this event: when the step began, if there was none before */
    uint64_t ended_ns; /* when has_ended; else it has not ended */
};

/* As projection_workflow() and projection_workflow_merge(). A workflow that fails or is cancelled
 * cancels its steps without an event of theirs: whoever keeps the rows does that. */
int projection_step(const struct event_header *header, const Daa__Event *event,
                    struct step_row *row);
void projection_step_merge(struct step_row *row, const struct step_row *later);

/* A change of the row of table `agents` whose key is the log: every event is a sign of life. */
struct agent_row {
    uint64_t last_seq;
    uint64_t heartbeat_ns; /* log time of the newest event */
    bool has_registered, has_stopped;
    struct span version, host; /* when registered */
    uint64_t pid, registered_ns;
    struct span reason; /* when stopped */
    uint64_t stopped_ns;
};

/* As the others; `event` may be NULL, for an event that is not the agent's own. Always 1. */
int projection_agent(const struct event_header *header, const Daa__Event *event,
                     struct agent_row *row);
void projection_agent_merge(struct agent_row *row, const struct agent_row *later);

#endif
