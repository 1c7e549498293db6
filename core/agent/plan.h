/* One decision in the making: the events that it will be, and the workflow as they will leave it.
 * Nothing of the agent is changed by a plan but what lies in agent->prepared.
 *
 * What a plan decides, in short:
 *
 *   a step ends done       step.completed; who waited for it is ready
 *   not done               step.retry_scheduled while attempts are left, else step.failed and then
 *                          on_failure: fail, park (workflow.paused) or continue (as if done, null)
 *   unknown                as not done if the step is idempotent, else step.uncertain and
 *                          workflow.paused, whatever on_failure says
 *
 * While a workflow is paused nothing of it begins: what runs ends and is recorded, timers fire,
 * signals are taken. When nothing is parked any more it goes on where it stood.
 *
 * The output of a workflow is {step id: output} of its last steps, those that nobody needs.
 *
 * Threads: the agent's. */
#ifndef CORE_AGENT_PLAN_H
#define CORE_AGENT_PLAN_H

#include "core/agent/state.h"

struct planned_step {
    uint8_t status;
    uint16_t blocked_by;
    struct span output; /* when planned */
};

struct plan {
    struct agent *agent;
    const struct command *command;
    const struct agent_moment *moment;
    struct decision *decision;
    struct workflow *workflow;
    Daa__Actor *actor;
    struct planned_step *steps;
    uint32_t *ready; /* indexes, first to begin first */
    uint32_t ready_first, ready_end;
    uint32_t done, parked;
    int status;                                     /* the workflow's */
    uint32_t signals_taken[STATE_SIGNALS_KEPT_MAX]; /* indexes of kept signals, ascending */
    uint32_t signals_taken_count;
    size_t memory;       /* that apply will need */
    size_t effects_size; /* bytes of the effects that were rendered */
    bool no_memory;
    enum budget_owner no_memory_owner;
};

/* Copies what plans change of the workflow; `workflow` may be NULL. False: no memory. */
bool plan_begin(struct plan *plan, struct workflow *workflow);
/* Makes sure of what apply needs. False: no memory, which the caller makes a refusal. */
bool plan_end(struct plan *plan);

/* A new event of the workflow; its body has the kind's default values. Never NULL: with no memory
 * left it is a body that nobody uses, and plan->no_memory is set. */
void *plan_event(struct plan *plan, int kind, const ProtobufCMessageDescriptor *type);
/* UTF-8 of at most STATE_TEXT_SIZE_MAX bytes, made so if it is not, as the value of a field; its
 * room in the workflow is counted. */
ProtobufCBinaryData plan_text(struct plan *plan, struct span text);
/* JSON as the value of a field, made a string if it is not JSON; its room is counted. */
ProtobufCBinaryData plan_json(struct plan *plan, struct span json);
ProtobufCBinaryData plan_bytes(struct plan *plan, struct span bytes);

/* Steps. Each adds its events and what follows from them. */
void plan_begin_step(struct plan *plan, uint32_t index);
void plan_start_effect(struct plan *plan, uint32_t index);
void plan_complete_step(struct plan *plan, uint32_t index, struct span output);
void plan_fail_step(struct plan *plan, uint32_t index, int outcome, struct span error,
                    struct span output, bool may_retry);
void plan_fire_timer(struct plan *plan, uint32_t index, int status);
void plan_unblock(struct plan *plan, uint32_t index);

/* The decision is a refusal then; `format` is of a sentence. */
void plan_refuse(struct plan *plan, int status, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Asks for a document; the decision is NEEDS then. */
void plan_need(struct plan *plan, const struct document_key *key);
void *plan_allocate(struct plan *plan, size_t size); /* NULL: plan->no_memory is set */

/* plan_keep.c: what the shell finds out about the state as a whole. */
void plan_expire_keys(struct plan *plan);
void plan_expire_workflows(struct plan *plan);
void plan_snapshot(struct plan *plan);
void plan_remove(struct plan *plan);
void plan_anchor(struct plan *plan);

/* plan_erase.c */
void plan_erase(struct plan *plan);

/* The workflow. */
void plan_pause(struct plan *plan, uint32_t index, const char *why);
void plan_fail(struct plan *plan, uint32_t index, struct span error);
/* workflow.completed if all steps are done and it is running. */
void plan_complete_if_done(struct plan *plan);
/* For whoever waits for the end. */
void plan_prepare_finished(struct plan *plan);

/* Why this definition may not run programs: 0, or a sentence in `error`. */
int plan_exec_allowed(const struct agent *agent, const struct flow_exec *exec, struct error *error);

#endif
