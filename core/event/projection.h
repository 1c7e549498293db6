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

#endif
