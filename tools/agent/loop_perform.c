#include "tools/agent/loop_inside.h"

#include "tools/agent/host.h"

#include <errno.h>
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
            if (status == ERROR_UNAVAILABLE || status == -EIO) {
                loop->keys.missing = true;
                perform_refuse(loop, 503, "key-unavailable",
                               "its document cannot be opened, because its key cannot be had: see "
                               "what daa-log keys says, and put the file of it back from a copy");
                return PERFORMED;
            }
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

/* Of this machine at this moment, and not of the key. */
static bool is_passing(int code)
{
    return code == -EMFILE || code == -ENFILE || code == -ENOMEM;
}

static void refuse_for_key(struct loop *loop, const struct command *command,
                           const struct error *error)
{
    loop->keys.destroyed = error->code == ERROR_NOT_FOUND && command->kind != COMMAND_SUBMIT;
    if (loop->keys.destroyed) {
        perform_refuse(loop, 409, "key-destroyed",
                       "the key of this workflow was destroyed, so what was put into it is erased, "
                       "and it cannot go on: it can be cancelled, and erased then");
        return;
    }
    loop->keys.missing = !is_passing(error->code);
    if (command->kind == COMMAND_SUBMIT &&
        keys_are_to_come(loop, command->submit.key_id, error->code))
        perform_refuse(loop, 503, "keys-being-made",
                       "keys for new workflows are being made, or looked for behind many that were "
                       "destroyed: ask again in a moment; when that lasts, /status says why "
                       "(encryption, trouble)");
    else
        perform_refuse(loop, 503, "key-unavailable", error->text);
}

/* The agent could not have the key for a new workflow; the keyring knows why. */
static void explain_key(struct loop *loop, const struct command *command)
{
    struct error error;
    if (command->kind == COMMAND_SUBMIT && keys_take(loop, command->submit.key_id, &error) < 0)
        refuse_for_key(loop, command, &error);
}

/* Nothing of it can be recorded before the next start. */
static enum performed refuse_set_aside(struct loop *loop, const struct command *command,
                                       struct request *request)
{
    if (!request) {
        agent_give_up(loop->options.agent, command);
        return PERFORMED;
    }
    perform_refuse(
        loop, 503, "key-unavailable",
        "the key of this workflow could not be had, so it was set aside; it goes on when "
        "the agent is started again and the key is back (see /status, encryption)");
    perform_answer_refusal(loop, request);
    return PERFORMED;
}

/* Room in the log for the events of the decision. The decision is a refusal when there is none for
 * good; ERROR_FULL: not yet. */
static int reserve(struct loop *loop, const struct command *command, bool gives_up,
                   uint64_t *first_seq)
{
    uint64_t payload_size;
    struct error error = { 0 };
    int status = write_prepare(loop, command->kind == COMMAND_CANCEL, &payload_size, &error);
    if (status < 0 && error.code < 0) {
        refuse_for_key(loop, command, &error);
        return 0;
    }
    if (status == 0)
        status =
            log_reserve(loop->options.log, loop->decision.event_count, payload_size, first_seq);
    if (status == ERROR_FULL && !gives_up)
        return status;
    if (status == ERROR_UNAVAILABLE)
        loop->failed = true;
    if (status == ERROR_TOO_LARGE)
        perform_refuse(loop, 413, "event-too-large",
                       "what this would record is larger than an event may be; send less");
    else if (status == ERROR_BUDGET)
        perform_refuse(loop, 429, "memory-budget", "the memory budget is used up; try again");
    else if (status < 0)
        refuse_for_log(loop);
    return 0;
}

static enum performed perform_one(struct loop *loop, const struct command *command,
                                  struct request *request);

/* It is its turn, and it can never go on. Nothing else is recorded of a workflow whose key was
 * destroyed: it would go on without that if a copy of its key is found. */
static enum performed cancel_erased(struct loop *loop, const struct command *command)
{
    struct command cancel = { .kind = COMMAND_CANCEL, .stream = command->stream };
    cancel.cancel.reason = span_of_text("its key was destroyed, so it cannot go on");
    enum performed performed = perform_one(loop, &cancel, NULL);
    if (performed != PERFORMED)
        return performed;
    if (loop->decision.kind == DECISION_REFUSED)
        return keys_set_aside(loop, command, loop->decision.refusal.text) ? PERFORMED : NO_MEMORY;
    keys_say_cancelled(loop, command->stream);
    return PERFORMED;
}

/* Requests had their documents read ahead by the API's threads; of our own commands, timers and
 * what is ready wait for theirs while others go on. */
static enum performed perform_one(struct loop *loop, const struct command *command,
                                  struct request *request)
{
    struct decision *decision = &loop->decision;
    uint64_t first_seq = 0;
    bool may_wait =
        !request && (command->kind == COMMAND_TIMER || command->kind == COMMAND_ADVANCE);
    loop->commands++;
    loop->keys.missing = loop->keys.destroyed = false;
    if (keys_is_aside(loop, command))
        return refuse_set_aside(loop, command, request);
    if (decide(loop, command, !request, may_wait && loop->held.kind == 0) == COLD)
        return COLD;
    if (decision->kind == DECISION_EVENTS && decision->event_count == 0) {
        answer_without_events(loop, request);
        return PERFORMED;
    }
    if (request && decision->kind == DECISION_EVENTS && command->kind == COMMAND_SUBMIT)
        refuse_for_disk(loop);
    if (decision->kind == DECISION_EVENTS &&
        reserve(loop, command, request && perform_gives_up(loop), &first_seq) == ERROR_FULL)
        return NO_ROOM;
    if (decision->kind == DECISION_REFUSED) {
        if (request && strcmp(decision->refusal.code, "key-unavailable") == 0)
            explain_key(loop, command);
        if (!request && loop->keys.destroyed)
            return cancel_erased(loop, command);
        if (!request && loop->keys.missing)
            return keys_set_aside(loop, command, decision->refusal.text) ? PERFORMED : NO_MEMORY;
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
    write_events(loop, first_seq, request);
    loop_follow_clock(loop);
    turn_answer(loop, request, REQUEST_DURABLE);
    return PERFORMED;
}

enum performed perform(struct loop *loop, const struct command *command, struct request *request)
{
    if (request && command->kind == COMMAND_SUBMIT && loop->options.encrypt)
        request->command.submit.key_id = keys_next(loop);
    enum performed performed = perform_one(loop, command, request);
    keys_wipe(loop);
    return performed;
}
