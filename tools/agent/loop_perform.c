#include "tools/agent/loop_inside.h"

#include "tools/agent/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void perform_refuse(struct loop *loop, int http_status, const char *code, const char *text)
{
    struct decision *decision = &loop->decision;
    decision->kind = DECISION_REFUSED;
    decision->refusal = (struct refusal){ .status = http_status,
                                          .code = code,
                                          .safe_to_retry = http_status != 413 };
    snprintf(decision->refusal.text, sizeof decision->refusal.text, "%.500s", text);
}

static void refuse_for_log(struct loop *loop)
{
    struct log_stats stats;
    char text[400] = "the event log takes no writes at the moment; try again";
    log_stats_get(loop->options.log, &stats);
    if (stats.spare_error[0])
        snprintf(text, sizeof text, "the event log has no room: %s; make room and try again",
                 stats.spare_error);
    perform_refuse(loop, 503, "log-unavailable", text);
}

/* New work when there is hardly room for that which is under way. What was answered before is
 * answered again: that is no event. */
static void refuse_for_disk(struct loop *loop)
{
    char text[500];
    if (disk_state(loop->options.disk) < SPACE_CRITICAL)
        return;
    disk_explain(loop->options.disk, text, sizeof text);
    perform_refuse(loop, 507, "disk-space", text);
}

/* 0: decided; COLD: what it needs is being read. */
static enum performed decide(struct loop *loop, const struct command *command, bool own,
                             bool may_wait)
{
    struct agent_moment moment = { .now_ns = loop->now_ns,
                                   .random = loop_random(loop),
                                   .wall_ns = loop->wall_ns };
    struct decision *decision = &loop->decision;
    for (;;) {
        agent_decide(loop->options.agent, command, &moment, decision);
        if (decision->kind != DECISION_NEEDS)
            return PERFORMED;
        /* What it asks for it does not hold, so its changes were taken: they are in a turn, in the
         * hand-over table or in LMDB. */
        for (uint32_t i = 0; i < decision->needs_count; i++) {
            struct document_key key = decision->needs[i];
            int status = documents_load(loop, &key, may_wait);
            if (status == 0)
                continue;
            if (status == 1)
                return COLD;
            struct error error;
            error_set(&error, status, "a document cannot be loaded: %s", error_text(status));
            /* What waits for it would wait for ever, and everything behind it. */
            if (own && status == ERROR_DAMAGED)
                loop->failed = loop->damaged = true;
            perform_refuse(loop, 503,
                           status == ERROR_BUDGET ? "memory-budget" : "document-unreadable",
                           error.text);
            return PERFORMED;
        }
    }
}

/* Sizes of all events of the decision, or 0 when one is larger than a record may be. */
static bool events_fit(struct loop *loop, uint64_t *payload_size)
{
    const struct decision *decision = &loop->decision;
    *payload_size = 0;
    size_t largest = 0;
    for (uint32_t i = 0; i < decision->event_count; i++) {
        size_t size = event_size(&decision->events[i].event);
        *payload_size += size;
        largest = size > largest ? size : largest;
    }
    if (largest > log_payload_size_max(loop->options.log))
        return false;
    if (largest > loop->payload_capacity) {
        free(loop->payload);
        loop->payload_capacity = largest * 2;
        loop->payload = malloc(loop->payload_capacity);
        CHECK(loop->payload);
    }
    return true;
}

static uint64_t newest_of_stream(const struct record *records, uint32_t count, uint64_t stream,
                                 uint64_t before)
{
    for (uint32_t i = count; i-- > 0;)
        if (records[i].stream == stream)
            return records[i].seq;
    return before;
}

static void append_one(struct loop *loop, const struct record *record, struct event_draft *draft)
{
    struct event_header header = { .seq = record->seq,
                                   .stream = record->stream,
                                   .time_ns = record->time_ns,
                                   .cause = record->cause,
                                   .stream_prev_seq = record->stream_prev_seq,
                                   .kind = record->kind };
    int status = agent_apply(loop->options.agent, &header, &draft->event);
    CHECK(status == 0);
    size_t size = event_size(&draft->event);
    event_pack(&draft->event, loop->payload);
    struct record full = *record;
    full.payload = span_of(loop->payload, size);
    log_append(loop->options.log, &full);
}

/* An event of housekeeping may name fewer than it was offered. */
static uint64_t count_expired(const Daa__Event *event)
{
    switch ((int)event->body_case) {
    case DAA__EVENT__BODY_KEYS_EXPIRED:
        return event->keys_expired->n_keys;
    case DAA__EVENT__BODY_WORKFLOWS_EXPIRED:
        return event->workflows_expired->n_workflows;
    default:
        return 0;
    }
}

static void append_events(struct loop *loop, uint64_t first_seq, struct request *request)
{
    struct decision *decision = &loop->decision;
    struct record records[DECISION_EVENTS_MAX];
    uint64_t created = 0;
    for (uint32_t i = 0; i < decision->event_count; i++) {
        struct event_draft *draft = &decision->events[i];
        uint64_t seq = first_seq + i;
        if (draft->creates && created == 0)
            created = seq;
        uint64_t stream = draft->creates ? seq : draft->stream ? draft->stream : created;
        uint64_t cause = draft->cause ? draft->cause : i > 0 ? seq - 1 : 0;
        records[i] = (struct record){ .seq = seq,
                                      .stream = stream,
                                      .time_ns = loop->now_ns,
                                      .cause = cause,
                                      .kind = event_kind(&draft->event) };
        records[i].stream_prev_seq =
            newest_of_stream(records, i, stream, draft->creates ? 0 : draft->stream_prev_seq);
        append_one(loop, &records[i], draft);
        if (request && records[i].kind == DAA__EVENT__BODY_WORKFLOW_SUBMITTED)
            request->stream = request->seq = seq;
    }
    if (request && request->command.kind != COMMAND_SUBMIT) {
        request->stream = request->command.stream;
        request->seq = first_seq;
        request->expired = count_expired(&decision->events[0].event);
    }
    loop->changed = true;
}

/* A refusal that tells of the state waits until that is durable, as any other answer: "it has
 * completed" must not be said of what a crash may take back. */
void perform_answer_refusal(struct loop *loop, struct request *request)
{
    if (!request)
        return;
    request->refusal = loop->decision.refusal;
    const struct refusal *refusal = &request->refusal;
    bool for_now = refusal->status == 429 || refusal->status == 503 || refusal->status == 507 ||
                   strcmp(refusal->code, "idempotency-key-in-progress") == 0;
    if (!for_now) {
        turn_answer(loop, request, REQUEST_REFUSED);
        return;
    }
    request->answer = REQUEST_REFUSED;
    inbox_answered(loop->options.inbox, request);
}

/* Nothing to record: what is there already is the answer. */
static void answer_without_events(struct loop *loop, struct request *request)
{
    if (!request)
        return;
    const struct decision *decision = &loop->decision;
    request->replayed = decision->replayed;
    request->stream = decision->replayed ? decision->replayed_stream : request->command.stream;
    request->seq = request->stream;
    if (decision->replayed && request->command.kind == COMMAND_SUBMIT &&
        request->stream > log_durable_seq(loop->options.log)) {
        perform_refuse(
            loop, 409, "idempotency-key-in-progress",
            "the first request with this Idempotency-Key is not durable yet; ask again with the "
            "same key in a moment");
        perform_answer_refusal(loop, request);
        return;
    }
    turn_answer(loop, request, REQUEST_DURABLE);
}

bool perform_gives_up(const struct loop *loop)
{
    return loop->stalled_since_ns != 0 && loop->monotonic_ns - loop->stalled_since_ns > STALL_NS;
}

/* The document of a workflow that waits for this command is not there. */
static void give_up(struct loop *loop, const struct command *command)
{
    host_say("a broken invariant, please report it: %s", loop->decision.refusal.text);
    agent_give_up(loop->options.agent, command);
}

/* Requests had their documents read ahead by the API's threads; of our own commands, timers and
 * what is ready wait for theirs while others go on. */
enum performed perform(struct loop *loop, const struct command *command, struct request *request)
{
    struct decision *decision = &loop->decision;
    uint64_t first_seq, payload_size;
    bool may_wait =
        !request && (command->kind == COMMAND_TIMER || command->kind == COMMAND_ADVANCE);
    loop->commands++;
    if (decide(loop, command, !request, may_wait && loop->held.kind == 0) == COLD)
        return COLD;
    if (decision->kind == DECISION_EVENTS && decision->event_count == 0) {
        answer_without_events(loop, request);
        return PERFORMED;
    }
    int status = 0;
    if (request && decision->kind == DECISION_EVENTS && command->kind == COMMAND_SUBMIT)
        refuse_for_disk(loop);
    if (decision->kind == DECISION_EVENTS) {
        status = ERROR_TOO_LARGE;
        if (events_fit(loop, &payload_size))
            status =
                log_reserve(loop->options.log, decision->event_count, payload_size, &first_seq);
        if (status == ERROR_FULL && !(request && perform_gives_up(loop)))
            return NO_ROOM;
        if (status == ERROR_UNAVAILABLE)
            loop->failed = true;
        if (status == ERROR_TOO_LARGE)
            perform_refuse(loop, 413, "event-too-large",
                           "what this would record is larger than an event may be; send less");
        else if (status < 0)
            refuse_for_log(loop);
    }
    if (decision->kind == DECISION_REFUSED) {
        /* Memory comes back; an outcome, a timer or a ready step that was given up would leave its
         * workflow waiting for nothing. */
        if (!request && (decision->refusal.status == 429 || decision->refusal.status == 503))
            return NO_MEMORY;
        if (may_wait && decision->refusal.status == 404)
            give_up(loop, command);
        perform_answer_refusal(loop, request);
        return PERFORMED;
    }
    loop->stalled_since_ns = 0;
    append_events(loop, first_seq, request);
    loop_follow_clock(loop);
    turn_answer(loop, request, REQUEST_DURABLE);
    return PERFORMED;
}
