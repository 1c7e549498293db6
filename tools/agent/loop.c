#include "tools/agent/loop.h"

#include "core/agent/clock.h"
#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/version.h"
#include "tools/agent/handover.h"
#include "tools/agent/host.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define COMMANDS_MAX 256u
#define TURN_NS 1000000ull
#define LOOK_AT_CLOCK_EVERY 16u
#define STALL_NS 2000000000ull
#define STALLED_LOOK_NS 5000000ull
#define COUNTS_EVERY_NS 100000000ull
#define LOOK_AT_WALL_NS 1000000000ull /* nobody wakes us when the wall clock is set */

/* What waits for one turn's events to be durable. */
struct turn {
    struct turn *next;
    uint64_t last_seq;
    struct state_batch *batch; /* NULL: nothing changed */
    struct request *requests, **requests_last;
    struct effect *effects, **effects_last;
};

struct loop {
    struct loop_options options;
    uint8_t boot_id[16];
    char host[256];
    uint64_t random;

    struct log_clock clock;
    struct clock_watch watch;
    uint64_t monotonic_ns, wall_ns, now_ns; /* when the clocks were read last */

    struct inbox_lists lists; /* taken from the inbox, not done yet */
    struct command held;      /* a timer or an advance that found no room; kind 0: none */
    struct decision decision;
    uint8_t *payload; /* one event, packed */
    size_t payload_capacity;

    struct turn *open;          /* of this turn; NULL: nothing yet */
    struct turn *first, **last; /* not durable yet, oldest first */
    struct turn *spare;
    bool changed; /* events were applied whose documents were not taken */
    bool stalled; /* the log had no room in this turn */
    bool starved; /* a command of our own had no memory in this turn */
    uint64_t stalled_since_ns;
    bool failed;

    uint64_t turns, commands, stalls, counts_ns;

    pthread_mutex_t lock; /* guards what is below */
    pthread_cond_t moved;
    struct loop_counts counts;
    _Atomic bool draining, stopping;
    bool drained, ended;
};

/* NO_ROOM: in the log; nothing else gets on either. NO_MEMORY: for this command alone. */
enum performed { PERFORMED, NO_ROOM, NO_MEMORY };

/*--- Time --------------------------------------------------------------------------------------*/

static void read_clocks_once(struct loop *loop)
{
    loop->options.host_clock->read(&loop->monotonic_ns, &loop->wall_ns);
    loop->now_ns = log_clock_now(&loop->clock, loop->monotonic_ns, loop->wall_ns);
}

/* What looks like a step may be a suspend, or a long wait for a CPU, between the two clocks. */
static void read_clocks(struct loop *loop)
{
    read_clocks_once(loop);
    if (!loop->clock.held && log_clock_stepped(&loop->clock, loop->wall_ns))
        read_clocks_once(loop);
}

/* What was applied may have changed what log time is, also for the rest of this turn. */
static void follow_clock(struct loop *loop)
{
    bool was_held = loop->clock.held;
    loop->now_ns += clock_watch_follow(&loop->watch, loop->options.agent, &loop->clock);
    if (was_held == loop->clock.held)
        return;
    if (was_held)
        host_say("the wall clock is trusted again");
    else
        host_say("DEGRADED: the wall clock is %+.3f s away from log time; what waits for a time of "
                 "day waits until it is back or accepted (daa-cli clock accept)",
                 (double)log_clock_difference_ns(&loop->clock, loop->wall_ns) / 1e9);
}

static uint64_t random_bits(struct loop *loop)
{
    uint64_t bits = loop->random += 0x9e3779b97f4a7c15ull;
    bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9ull;
    bits = (bits ^ bits >> 27) * 0x94d049bb133111ebull;
    return bits ^ bits >> 31;
}

/*--- Turns -------------------------------------------------------------------------------------*/

static struct turn *open_turn(struct loop *loop)
{
    if (loop->open)
        return loop->open;
    struct turn *turn = loop->spare;
    if (turn)
        loop->spare = turn->next;
    else
        turn = malloc(sizeof *turn);
    CHECK(turn);
    *turn = (struct turn){ 0 };
    turn->requests_last = &turn->requests;
    turn->effects_last = &turn->effects;
    return loop->open = turn;
}

static void take_change(struct span key, struct span bytes, void *context)
{
    struct loop *loop = context;
    struct turn *turn = open_turn(loop);
    if (!turn->batch)
        turn->batch = state_batch_new(loop->options.state);
    state_batch_add(key, bytes, turn->batch);
}

/* Binds what this turn did to the newest event. Without memory for the documents the turn stays
 * open and goes on with the next one. */
static void close_turn(struct loop *loop)
{
    if (loop->changed) {
        if (agent_take_changes(loop->options.agent, take_change, loop) < 0) {
            if (loop->open) { /* all of them come again */
                state_batch_free(loop->open->batch);
                loop->open->batch = NULL;
            }
            return;
        }
        loop->changed = false;
    }
    for (struct effect *effect; (effect = agent_next_effect(loop->options.agent));) {
        struct turn *turn = open_turn(loop);
        effect->next = NULL;
        *turn->effects_last = effect;
        turn->effects_last = &effect->next;
    }
    struct turn *turn = loop->open;
    if (!turn)
        return;
    turn->last_seq = log_next_seq(loop->options.log) - 1;
    turn->next = NULL;
    *loop->last = turn;
    loop->last = &turn->next;
    loop->open = NULL;
}

static void start_effects(struct loop *loop, struct turn *turn)
{
    for (struct effect *effect = turn->effects, *next; effect; effect = next) {
        next = effect->next;
        /* Once drained, the effects may be closed: what is intended now is for the next start. */
        if (effect->kind != EFFECT_FINISHED && !loop->drained) {
            effects_start(loop->options.effects, effect);
            continue;
        }
        if (effect->kind != EFFECT_FINISHED) {
            effect_free(effect);
            continue;
        }
        if (!loop->drained && effect->status != DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED &&
            effects_underway(loop->options.effects) > 0)
            effects_cancel(loop->options.effects, effect->stream);
        loop->options.ended(effect->stream, loop->options.context);
        effect_free(effect);
    }
}

static void answer_requests(struct loop *loop, struct turn *turn, enum request_answer answer)
{
    for (struct request *request = turn->requests, *next; request; request = next) {
        next = request->next;
        if (request->answer != REQUEST_REFUSED)
            request->answer = answer;
        inbox_answered(loop->options.inbox, request);
    }
}

static void complete_turns(struct loop *loop)
{
    uint64_t durable_seq = log_durable_seq(loop->options.log);
    while (loop->first && loop->first->last_seq <= durable_seq) {
        struct turn *turn = loop->first;
        loop->first = turn->next;
        if (!loop->first)
            loop->last = &loop->first;
        if (turn->batch)
            state_hand_over(loop->options.state, turn->batch, turn->last_seq);
        answer_requests(loop, turn, REQUEST_DURABLE);
        start_effects(loop, turn);
        turn->next = loop->spare;
        loop->spare = turn;
    }
}

/* The log has failed: nobody knows whether these are durable. */
static void abandon_turns(struct loop *loop)
{
    close_turn(loop);
    if (loop->open) {
        *loop->last = loop->open;
        loop->open = NULL;
    }
    while (loop->first) {
        struct turn *turn = loop->first;
        loop->first = turn->next;
        answer_requests(loop, turn, REQUEST_UNKNOWN);
        state_batch_free(turn->batch);
        for (struct effect *effect = turn->effects, *next; effect; effect = next) {
            next = effect->next;
            effect_free(effect);
        }
        free(turn);
    }
    loop->last = &loop->first;
}

/*--- Documents ---------------------------------------------------------------------------------*/

/* A document as this thread must see it: also what is not durable yet. */
static const struct handover_entry *find_in_turns(const struct loop *loop, struct span key)
{
    const struct handover_entry *newest = NULL;
    for (const struct turn *turn = loop->first; turn; turn = turn->next) {
        const struct handover_entry *found =
            turn->batch ? handover_batch_find(turn->batch, key) : NULL;
        newest = found ? found : newest;
    }
    return newest;
}

static int load_bytes(struct loop *loop, struct span key, struct span bytes);

static int load_document(struct loop *loop, struct span key)
{
    const struct handover_entry *entry = find_in_turns(loop, key);
    if (entry)
        return load_bytes(loop, key, entry->deleted ? span_of(NULL, 0) : handover_value(entry));
    uint8_t *bytes = NULL;
    size_t size = 0;
    int status = state_get(loop->options.state, key, &bytes, &size);
    if (status < 0)
        return status;
    status = load_bytes(loop, key, status == 1 ? span_of(bytes, size) : span_of(NULL, 0));
    free(bytes);
    return status;
}

/* A workflow asks for its definition first: one level deep. */
static int load_bytes(struct loop *loop, struct span key, struct span bytes)
{
    struct document_key needs;
    int status = agent_load(loop->options.agent, key, bytes, &needs);
    if (status != 1)
        return status;
    status = load_document(loop, document_key_span(&needs));
    if (status == 0)
        status = agent_load(loop->options.agent, key, bytes, &needs);
    return status == 1 ? ERROR_DAMAGED : status;
}

/*--- One command -------------------------------------------------------------------------------*/

static void refuse(struct loop *loop, int http_status, const char *code, const char *text)
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
    refuse(loop, 503, "log-unavailable", text);
}

static void decide(struct loop *loop, const struct command *command)
{
    struct agent_moment moment = { .now_ns = loop->now_ns,
                                   .random = random_bits(loop),
                                   .wall_ns = loop->wall_ns };
    struct decision *decision = &loop->decision;
    for (;;) {
        agent_decide(loop->options.agent, command, &moment, decision);
        if (decision->kind != DECISION_NEEDS)
            return;
        /* What it asks for it does not hold, so its changes were taken: they are in a turn, in the
         * hand-over table or in LMDB. */
        for (uint32_t i = 0; i < decision->needs_count; i++) {
            struct document_key key = decision->needs[i];
            int status = load_document(loop, document_key_span(&key));
            if (status == 0)
                continue;
            struct error error;
            error_set(&error, status, "a document cannot be loaded: %s", error_text(status));
            refuse(loop, 503, status == ERROR_BUDGET ? "memory-budget" : "document-unreadable",
                   error.text);
            return;
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
    }
    loop->changed = true;
}

static void answer_when_durable(struct loop *loop, struct request *request,
                                enum request_answer answer)
{
    if (!request)
        return;
    struct turn *turn = open_turn(loop);
    request->answer = answer;
    request->next = NULL;
    *turn->requests_last = request;
    turn->requests_last = &request->next;
}

/* A refusal that tells of the state waits until that is durable, as any other answer: "it has
 * completed" must not be said of what a crash may take back. */
static void answer_refusal(struct loop *loop, struct request *request)
{
    if (!request)
        return;
    request->refusal = loop->decision.refusal;
    const struct refusal *refusal = &request->refusal;
    bool for_now = refusal->status == 429 || refusal->status == 503 ||
                   strcmp(refusal->code, "idempotency-key-in-progress") == 0;
    if (!for_now) {
        answer_when_durable(loop, request, REQUEST_REFUSED);
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
        refuse(loop, 409, "idempotency-key-in-progress",
               "the first request with this Idempotency-Key is not durable yet; ask again with the "
               "same key in a moment");
        answer_refusal(loop, request);
        return;
    }
    answer_when_durable(loop, request, REQUEST_DURABLE);
}

static bool give_up_waiting(const struct loop *loop)
{
    return loop->stalled_since_ns != 0 && loop->monotonic_ns - loop->stalled_since_ns > STALL_NS;
}

/* `request` is NULL for the shell's own commands. NO_ROOM: nothing has happened, ask again. */
static enum performed perform(struct loop *loop, const struct command *command,
                              struct request *request)
{
    struct decision *decision = &loop->decision;
    uint64_t first_seq, payload_size;
    loop->commands++;
    decide(loop, command);
    if (decision->kind == DECISION_EVENTS && decision->event_count == 0) {
        answer_without_events(loop, request);
        return PERFORMED;
    }
    int status = 0;
    if (decision->kind == DECISION_EVENTS) {
        status = ERROR_TOO_LARGE;
        if (events_fit(loop, &payload_size))
            status =
                log_reserve(loop->options.log, decision->event_count, payload_size, &first_seq);
        if (status == ERROR_FULL && !(request && give_up_waiting(loop)))
            return NO_ROOM;
        if (status == ERROR_UNAVAILABLE)
            loop->failed = true;
        if (status == ERROR_TOO_LARGE)
            refuse(loop, 413, "event-too-large",
                   "what this would record is larger than an event may be; send less");
        else if (status < 0)
            refuse_for_log(loop);
    }
    if (decision->kind == DECISION_REFUSED) {
        /* Memory comes back; an outcome, a timer or a ready step that was given up would leave its
         * workflow waiting for nothing. */
        if (!request && (decision->refusal.status == 429 || decision->refusal.status == 503))
            return NO_MEMORY;
        answer_refusal(loop, request);
        return PERFORMED;
    }
    loop->stalled_since_ns = 0;
    append_events(loop, first_seq, request);
    follow_clock(loop);
    answer_when_durable(loop, request, REQUEST_DURABLE);
    return PERFORMED;
}

/*--- Where commands come from ------------------------------------------------------------------*/

static bool no_room(struct loop *loop)
{
    loop->stalled = true;
    if (loop->stalled_since_ns == 0) {
        loop->stalled_since_ns = loop->monotonic_ns;
        loop->stalls++;
    }
    return false;
}

/* Requests go on: what they end gives memory back. */
static bool no_memory(struct loop *loop)
{
    loop->starved = true;
    return false;
}

/* An output that does not fit into an event: the outcome stays what it was, and says so. */
static void shorten(const struct loop *loop, struct command *command)
{
    if (command->outcome.output.size <= log_payload_size_max(loop->options.log) / 2)
        return;
    command->outcome.output = span_of(NULL, 0);
    command->outcome.error = span_of_text("its output was larger than an event may be");
}

static bool do_outcome(struct loop *loop)
{
    struct effect_outcome *outcome = loop->lists.outcomes;
    if (!outcome)
        return false;
    struct command command = { .kind = COMMAND_OUTCOME, .stream = outcome->stream };
    if (outcome->spawned) {
        command.kind = COMMAND_SPAWNED;
        command.spawned.index = outcome->index;
        command.spawned.attempt = outcome->attempt;
        command.spawned.pid = outcome->pid;
        command.spawned.start_time = outcome->start_time;
        command.spawned.boot_id = span_of(loop->boot_id, sizeof loop->boot_id);
    } else {
        command.outcome.index = outcome->index;
        command.outcome.attempt = outcome->attempt;
        command.outcome.outcome = outcome->outcome;
        command.outcome.output = outcome->output;
        command.outcome.error = outcome->error;
        shorten(loop, &command);
    }
    enum performed performed = perform(loop, &command, NULL);
    if (performed != PERFORMED)
        return performed == NO_ROOM ? no_room(loop) : no_memory(loop);
    loop->lists.outcomes = outcome->next;
    if (!loop->lists.outcomes)
        loop->lists.outcomes_last = &loop->lists.outcomes;
    effect_outcome_free(outcome);
    return true;
}

static bool do_request(struct loop *loop)
{
    struct request *request = loop->lists.requests;
    if (!request)
        return false;
    struct request *next = request->next;
    if (perform(loop, &request->command, request) == NO_ROOM)
        return no_room(loop);
    loop->lists.requests = next;
    if (!next)
        loop->lists.requests_last = &loop->lists.requests;
    return true;
}

static bool do_own(struct loop *loop, const struct command *command)
{
    struct command kept = *command;
    enum performed performed = perform(loop, &kept, NULL);
    if (performed != PERFORMED) {
        loop->held = kept;
        return performed == NO_ROOM ? no_room(loop) : no_memory(loop);
    }
    loop->held.kind = 0;
    return true;
}

static bool do_held(struct loop *loop)
{
    struct command command = loop->held;
    return command.kind != 0 && do_own(loop, &command);
}

static bool do_timer(struct loop *loop)
{
    struct command command = { 0 };
    return !atomic_load(&loop->draining) && loop->held.kind == 0 &&
           agent_next_timer(loop->options.agent, loop->now_ns, &command) && do_own(loop, &command);
}

static bool do_ready(struct loop *loop)
{
    struct command command = { .kind = COMMAND_ADVANCE };
    return !atomic_load(&loop->draining) && loop->held.kind == 0 &&
           agent_next_ready(loop->options.agent, &command.stream) && do_own(loop, &command);
}

static bool do_clock(struct loop *loop)
{
    struct command command;
    return !atomic_load(&loop->draining) && loop->held.kind == 0 &&
           clock_watch_look(&loop->watch, loop->options.agent, &loop->clock, loop->wall_ns,
                            &command) &&
           do_own(loop, &command);
}

/* Everybody gets a turn, outcomes first. True: there may be more to do. */
static bool do_commands(struct loop *loop)
{
    bool (*const sources[])(struct loop *) = { do_held,    do_clock, do_outcome,
                                               do_request, do_timer, do_ready };
    uint64_t began_ns = loop->monotonic_ns;
    unsigned count = 0, looked_at_clock = 0;
    loop->stalled = loop->starved = false;
    while (count < COMMANDS_MAX) {
        unsigned before = count;
        for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
            count += sources[i](loop);
            if (loop->stalled || loop->failed)
                return false;
        }
        if (count == before)
            return false;
        if (count - looked_at_clock >= LOOK_AT_CLOCK_EVERY) {
            looked_at_clock = count;
            read_clocks(loop);
            if (loop->monotonic_ns - began_ns > TURN_NS)
                return true;
        }
    }
    return true;
}

/*--- The turn ----------------------------------------------------------------------------------*/

static void publish_counts(struct loop *loop)
{
    loop->counts_ns = loop->monotonic_ns;
    pthread_mutex_lock(&loop->lock);
    agent_counts_get(loop->options.agent, &loop->counts.agent);
    loop->counts.turns = loop->turns;
    loop->counts.commands = loop->commands;
    loop->counts.stalls = loop->stalls;
    loop->counts.now_ns = loop->now_ns;
    loop->counts.elapsed_ns = loop->monotonic_ns;
    loop->counts.shift_ns = loop->watch.shift_ns;
    loop->counts.next_deadline_ns = agent_next_deadline(loop->options.agent);
    pthread_mutex_unlock(&loop->lock);
}

static bool idle(const struct loop *loop)
{
    return !loop->lists.outcomes && !loop->lists.requests && loop->held.kind == 0 && !loop->open &&
           !loop->first && !loop->changed;
}

static uint64_t time_to_sleep(struct loop *loop, bool more)
{
    if (more || (atomic_load(&loop->stopping) && idle(loop)))
        return 0;
    if (loop->stalled || loop->starved || loop->changed) /* no room, or no memory */
        return STALLED_LOOK_NS;
    uint64_t due_ns =
        atomic_load(&loop->draining) ? UINT64_MAX : agent_next_deadline(loop->options.agent);
    if (due_ns <= loop->now_ns)
        return 0;
    return due_ns - loop->now_ns < LOOK_AT_WALL_NS ? due_ns - loop->now_ns : LOOK_AT_WALL_NS;
}

static void say_drained(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    loop->drained = true;
    pthread_cond_broadcast(&loop->moved);
    pthread_mutex_unlock(&loop->lock);
}

static int one_turn(struct loop *loop)
{
    struct log *log = loop->options.log;
    bool draining = atomic_load(&loop->draining);
    inbox_take(loop->options.inbox, &loop->lists);
    read_clocks(loop);
    bool more = do_commands(loop);
    loop->turns++;
    close_turn(loop);
    if (loop->failed || log_flush(log) < 0)
        return ERROR_UNAVAILABLE;
    complete_turns(loop);
    if (draining && !loop->drained && !loop->first && !loop->open)
        say_drained(loop);
    if (loop->monotonic_ns - loop->counts_ns > COUNTS_EVERY_NS || (!more && !loop->first))
        publish_counts(loop);
    bool slept = inbox_sleep(loop->options.inbox);
    uint64_t timeout_ns = slept ? time_to_sleep(loop, more) : 0;
    int status = log_wait(log, inbox_wake_fd(loop->options.inbox), timeout_ns);
    if (slept)
        inbox_awake(loop->options.inbox);
    if (status < 0)
        return ERROR_UNAVAILABLE;
    complete_turns(loop);
    return 0;
}

static void finish(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    loop->ended = loop->drained = true;
    pthread_cond_broadcast(&loop->moved);
    pthread_mutex_unlock(&loop->lock);
}

static int fail(struct loop *loop, struct error *error)
{
    const char *why = log_failure(loop->options.log);
    if (!why)
        why = "the event log has no room, so that the agent stopped is not in it; free disk space, "
              "the next start goes on";
    inbox_refuse(loop->options.inbox);
    inbox_take(loop->options.inbox, &loop->lists);
    abandon_turns(loop);
    for (struct request *request = loop->lists.requests, *next; request; request = next) {
        next = request->next;
        refuse(loop, 503, "log-failed", "the event log takes no writes any more; the agent ends");
        answer_refusal(loop, request);
    }
    loop->lists.requests = NULL;
    loop->lists.requests_last = &loop->lists.requests;
    finish(loop);
    return error_set(error, ERROR_UNAVAILABLE, "%s", why);
}

int loop_run(struct loop *loop, struct error *error)
{
    char reason[] = "stopped in order";
    struct command begin = { .kind = COMMAND_REGISTER };
    begin.registered.version = span_of_text(DAA_VERSION);
    begin.registered.host = span_of_text(loop->host);
    begin.registered.pid = (uint64_t)getpid();
    struct command end = { .kind = COMMAND_STOP };
    end.stop.reason = span_of_text(reason);

    read_clocks(loop);
    (void)do_own(loop, &begin); /* held when there is no room yet */
    bool ending = false;
    for (;;) {
        bool stopping = atomic_load(&loop->stopping);
        if (one_turn(loop) < 0)
            return fail(loop, error);
        if (stopping && loop->stalled && give_up_waiting(loop))
            return fail(loop, error); /* nobody can make room while we are being stopped */
        if (!stopping || !idle(loop))
            continue;
        if (ending)
            break;
        ending = true;
        (void)do_own(loop, &end);
        inbox_wake(loop->options.inbox);
    }
    finish(loop);
    return 0;
}

bool loop_drain(struct loop *loop)
{
    atomic_store(&loop->draining, true);
    inbox_wake(loop->options.inbox);
    pthread_mutex_lock(&loop->lock);
    while (!loop->drained)
        pthread_cond_wait(&loop->moved, &loop->lock);
    bool runs = !loop->ended;
    pthread_mutex_unlock(&loop->lock);
    return runs;
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->stopping, true);
    inbox_refuse(loop->options.inbox);
}

void loop_counts_get(struct loop *loop, struct loop_counts *counts)
{
    pthread_mutex_lock(&loop->lock);
    *counts = loop->counts;
    pthread_mutex_unlock(&loop->lock);
}

int loop_open(struct loop **opened, const struct loop_options *options, struct error *error)
{
    struct loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return error_set(error, -ENOMEM, "no memory for the agent's loop");
    loop->options = *options;
    loop->clock = options->clock;
    clock_watch_init(&loop->watch, options->agent, options->accepts_clock);
    loop->last = &loop->first;
    loop->lists.requests_last = &loop->lists.requests;
    loop->lists.outcomes_last = &loop->lists.outcomes;
    if (getrandom(&loop->random, sizeof loop->random, 0) != sizeof loop->random)
        loop->random = host_wall_ns();
    host_boot_id(loop->boot_id);
    if (gethostname(loop->host, sizeof loop->host - 1) != 0)
        loop->host[0] = 0;
    decision_init(&loop->decision, options->budget);
    pthread_mutex_init(&loop->lock, NULL);
    pthread_cond_init(&loop->moved, NULL);
    read_clocks(loop);
    publish_counts(loop);
    *opened = loop;
    return 0;
}

void loop_close(struct loop *loop)
{
    if (!loop)
        return;
    CHECK(!loop->lists.requests);
    while (loop->lists.outcomes) {
        struct effect_outcome *outcome = loop->lists.outcomes;
        loop->lists.outcomes = outcome->next;
        effect_outcome_free(outcome);
    }
    abandon_turns(loop);
    while (loop->spare) {
        struct turn *turn = loop->spare;
        loop->spare = turn->next;
        free(turn);
    }
    decision_free(&loop->decision);
    free(loop->payload);
    pthread_mutex_destroy(&loop->lock);
    pthread_cond_destroy(&loop->moved);
    free(loop);
}
