#include "agent_log.h"

#include "core/base/error.h"
#include "core/base/sha256.h"
#include "core/event/event.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

#define BEGIN_NS 1700000000000000000ull

static void fail(const struct error *error)
{
    tap_bail_out("%s", error->text);
}

struct agent *agent_log_agent(const struct agent_log *made, const uint8_t log_uuid[16],
                              struct budget *budget)
{
    struct error error;
    struct agent *agent;
    struct agent_options options = { .budget = budget,
                                     .max_concurrent_workflows = 1000,
                                     .max_pending = 10000000,
                                     .idempotency_ttl_ns = 3600000000000 };
    (void)made;
    memcpy(options.log_uuid, log_uuid, sizeof options.log_uuid);
    if (agent_open(&agent, &options, &error) < 0)
        fail(&error);
    return agent;
}

void agent_log_open(struct agent_log *made)
{
    struct error error;
    struct state_found found;
    budget_init(&made->budget, 4ull << 30);
    made->now_ns = BEGIN_NS;
    struct log_options options = { .dir = made->log_dir,
                                   .budget = &made->budget,
                                   .segment_size = made->segment_size,
                                   .allow_tmpfs = true,
                                   .start_time_ns = made->now_ns };
    if (io_open_plain(&made->io) < 0)
        tap_bail_out("no engine");
    options.io = made->io;
    if (log_open(&made->log, &options, NULL, &error) < 0)
        fail(&error);
    struct state_options state = { .dir = made->db_dir, .budget = &made->budget };
    memcpy(state.log_uuid, log_uuid(made->log), 16);
    if (state_open(&made->state, &state, &found, &error) < 0)
        fail(&error);
    made->agent = agent_log_agent(made, log_uuid(made->log), &made->budget);
    decision_init(&made->decision, &made->budget);
    agent_live(made->agent);
}

static void settle(struct agent_log *made)
{
    while (log_durable_seq(made->log) + 1 < log_next_seq(made->log))
        if (log_flush(made->log) < 0 || log_wait(made->log, -1, 10000000) < 0)
            tap_bail_out("%s", log_failure(made->log));
}

static void put(struct span key, struct span bytes, void *batch)
{
    state_batch_add(key, bytes, batch);
}

uint64_t agent_log_commit(struct agent_log *made)
{
    struct state_batch *batch = state_batch_new(made->state);
    struct state_mark mark;
    settle(made);
    uint64_t seq = log_durable_seq(made->log);
    if (agent_take_changes(made->agent, put, batch) < 0)
        tap_bail_out("changes cannot be taken");
    state_hand_over(made->state, batch, seq);
    log_durable_mark(made->log, &mark.seq, mark.chain);
    state_mark(made->state, mark.seq, mark.chain);
    return seq;
}

void agent_log_close(struct agent_log *made)
{
    struct error error;
    (void)agent_log_commit(made);
    agent_close(made->agent);
    decision_free(&made->decision);
    if (state_close(made->state, &error) < 0)
        fail(&error);
    if (log_close(&made->log, &error) < 0)
        fail(&error);
    io_close(made->io);
}

static void load(struct agent_log *made, struct span key)
{
    struct document_key needs;
    uint8_t *bytes = NULL;
    size_t size = 0;
    int found = state_get(made->state, key, &bytes, &size);
    struct span value = found == 1 ? span_of(bytes, size) : span_of(NULL, 0);
    int result = agent_load(made->agent, key, value, &needs);
    if (result == 1) {
        load(made, document_key_span(&needs));
        result = agent_load(made->agent, key, value, &needs);
    }
    free(bytes);
    if (result != 0)
        tap_bail_out("a document cannot be loaded: %s", error_text(result));
}

static uint64_t reserve(struct agent_log *made, uint64_t size)
{
    uint64_t first;
    int status;
    while ((status = log_reserve(made->log, made->decision.event_count, size, &first)) ==
           ERROR_FULL)
        if (log_flush(made->log) < 0 || log_wait(made->log, -1, 10000000) < 0)
            tap_bail_out("%s", log_failure(made->log));
    if (status < 0)
        tap_bail_out("no room in the log: %s", error_text(status));
    return first;
}

static void append(struct agent_log *made, const struct event_header *header,
                   const Daa__Event *event)
{
    static uint8_t bytes[1 << 20];
    size_t size = event_size(event);
    if (size > sizeof bytes)
        tap_bail_out("an event of %zu bytes", size);
    event_pack(event, bytes);
    struct record record = { .seq = header->seq,
                             .stream = header->stream,
                             .time_ns = header->time_ns,
                             .cause = header->cause,
                             .stream_prev_seq = header->stream_prev_seq,
                             .kind = header->kind,
                             .payload = span_of(bytes, size) };
    log_append(made->log, &record);
    made->events++;
}

/* Applies and appends what was decided; the workflow that was submitted, if one was. */
static uint64_t apply_all(struct agent_log *made)
{
    struct decision *decision = &made->decision;
    uint64_t size = 0, created = 0, previous = 0, submitted = 0;
    for (uint32_t i = 0; i < decision->event_count; i++)
        size += event_size(&decision->events[i].event);
    uint64_t first = reserve(made, size);
    for (uint32_t i = 0; i < decision->event_count; i++) {
        struct event_draft *draft = &decision->events[i];
        struct event_header header = { .seq = first + i, .time_ns = made->now_ns };
        if (draft->creates && created == 0)
            created = header.seq;
        header.stream = draft->creates ? header.seq : draft->stream ? draft->stream : created;
        header.cause = i > 0 ? header.seq - 1 : 0;
        header.kind = event_kind(&draft->event);
        header.stream_prev_seq = draft->creates ? 0 : previous ? previous : draft->stream_prev_seq;
        previous = header.seq;
        int result = agent_apply(made->agent, &header, &draft->event);
        if (result < 0)
            tap_bail_out("%s of its own decision cannot be applied: %s",
                         event_kind_name(header.kind), error_text(result));
        append(made, &header, &draft->event);
        if (header.kind == DAA__EVENT__BODY_WORKFLOW_SUBMITTED)
            submitted = header.seq;
    }
    return submitted;
}

static uint64_t decide(struct agent_log *made, const struct command *command)
{
    struct decision *decision = &made->decision;
    struct agent_moment moment = { .now_ns = made->now_ns,
                                   .random = made->random += 0x9e3779b97f4a7c15ull };
    for (;;) {
        agent_decide(made->agent, command, &moment, decision);
        if (decision->kind != DECISION_NEEDS)
            break;
        for (uint32_t i = 0; i < decision->needs_count; i++) {
            struct document_key key = decision->needs[i];
            load(made, document_key_span(&key));
        }
    }
    return decision->kind == DECISION_EVENTS && decision->event_count > 0 ? apply_all(made) : 0;
}

/* Effects are let go: nobody carries them out. */
static void advance(struct agent_log *made)
{
    struct command command = { .kind = COMMAND_ADVANCE };
    struct effect *effect;
    while (agent_next_ready(made->agent, &command.stream))
        (void)decide(made, &command);
    while ((effect = agent_next_effect(made->agent)) != NULL)
        effect_free(effect);
}

bool agent_log_do(struct agent_log *made, const struct command *command)
{
    (void)decide(made, command);
    bool done = made->decision.kind == DECISION_EVENTS;
    advance(made);
    return done;
}

struct flow *agent_log_flow(struct agent_log *made, const char *source)
{
    struct flow *flow;
    struct flow_problem problem;
    if (flow_compile(&flow, &made->budget, span_of_text(source), &problem) < 0)
        tap_bail_out("%s: %s", problem.pointer, problem.message);
    return flow;
}

uint64_t agent_log_submit(struct agent_log *made, struct flow *flow, const char *input,
                          const char *key)
{
    struct command command = { .kind = COMMAND_SUBMIT };
    command.actor.type = DAA__ACTOR__TYPE__ANONYMOUS;
    command.submit.flow = flow;
    command.submit.input = span_of_text(input);
    command.submit.metadata = span_of_text("{}");
    if (key) {
        command.keyed = true;
        command.key = span_of_text(key);
        sha256_of(command.key_digest, key, strlen(key));
        sha256_of(command.request_digest, input, strlen(input));
    }
    uint64_t stream = decide(made, &command);
    if (made->decision.kind != DECISION_EVENTS)
        tap_bail_out("refused: %s", made->decision.refusal.text);
    advance(made);
    return stream;
}

void agent_log_wait(struct agent_log *made, uint64_t ns)
{
    struct command command;
    uint64_t until = made->now_ns + ns;
    while (agent_next_deadline(made->agent) <= until) {
        uint64_t due = agent_next_deadline(made->agent);
        made->now_ns = due > made->now_ns ? due : made->now_ns;
        while (agent_next_timer(made->agent, made->now_ns, &command))
            (void)decide(made, &command);
        advance(made);
    }
    made->now_ns = until;
}
