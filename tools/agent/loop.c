#include "tools/agent/loop_inside.h"

#include "core/base/version.h"
#include "log/storage.h"
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
#define LONG_NS 1000000ull
#define LOOK_AT_CLOCK_EVERY 16u
#define STALLED_LOOK_NS 5000000ull
#define COUNTS_EVERY_NS 100000000ull
#define LOOK_AT_WALL_NS 1000000000ull /* nobody wakes us when the wall clock is set */

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
void loop_follow_clock(struct loop *loop)
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

uint64_t loop_random(struct loop *loop)
{
    uint64_t bits = loop->random += 0x9e3779b97f4a7c15ull;
    bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9ull;
    bits = (bits ^ bits >> 27) * 0x94d049bb133111ebull;
    return bits ^ bits >> 31;
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
    if (performed == COLD) /* it is given again when its document was read */
        return false;
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
    documents_look(loop);
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
    loop->counts.long_turns = loop->long_turns;
    loop->counts.longest_turn_ns = loop->longest_turn_ns;
    loop->counts.reads_ahead = loop->reads_ahead;
    loop->counts.waiting_for_keys = loop->keys.aside.count;
    loop->counts.now_ns = loop->now_ns;
    loop->counts.elapsed_ns = loop->monotonic_ns;
    loop->counts.wall_ns = loop->wall_ns;
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
    if (loop->warming && !warmer_is_done(loop->warmer))
        return LOOK_AT_WALL_NS; /* what is due waits for it, and it wakes us */
    if (due_ns <= loop->now_ns || loop->warming)
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

/* From one wait to the next: whoever asks for something meanwhile waits for its end. */
static void count_work(struct loop *loop)
{
    if (loop->woke_ns == 0)
        return;
    uint64_t worked_ns = host_monotonic_ns() - loop->woke_ns;
    loop->long_turns += worked_ns > LONG_NS;
    if (worked_ns > loop->longest_turn_ns)
        loop->longest_turn_ns = worked_ns;
}

static void say_failover(struct loop *loop)
{
    uint64_t count;
    const char *text = log_failover(loop->options.log, &count);
    if (count != loop->failovers)
        host_say("%s", text);
    loop->failovers = count;
}

/* A record of the log's own; there is room for it. */
static void append_own(struct loop *loop, uint64_t seq, uint16_t kind, struct span payload)
{
    struct record record = {
        .seq = seq, .time_ns = loop->now_ns, .kind = kind, .payload = payload
    };
    log_append(loop->options.log, &record);
}

/* In the log, once there is room for it. What has passed by then is left out. */
static void record_space(struct loop *loop)
{
    struct disk_status status;
    uint8_t payload[SPACE_SIZE];
    uint64_t seq;
    if (disk_state(loop->options.disk) == loop->space || atomic_load(&loop->stopping))
        return;
    disk_status_get(loop->options.disk, &status);
    if (log_reserve(loop->options.log, 1, sizeof payload, &seq) < 0)
        return;
    struct storage_space space = { .before = loop->space,
                                   .state = status.state,
                                   .free_bytes = status.free_bytes,
                                   .total_bytes = status.total_bytes,
                                   .ballast_bytes = status.ballast_bytes,
                                   .spares = status.spares };
    storage_space_encode(payload, &space);
    append_own(loop, seq, LOG_KIND_SPACE, span_of(payload, sizeof payload));
    loop->space = status.state;
}

/* Once a minute at most, and not when all that was written since is the last such record: a disk
 * that is always slow would have the agent write for ever about its own writing. */
static void record_stalls(struct loop *loop)
{
    struct storage_stalled stalled;
    uint8_t payload[STALLED_SIZE];
    uint64_t seq;
    bool told = loop->stall_told_ns != 0;
    if (!log_stalls(loop->options.log) || atomic_load(&loop->stopping) ||
        (told && (loop->monotonic_ns - loop->stall_told_ns < TELL_STALL_EVERY_NS ||
                  log_next_seq(loop->options.log) == loop->stall_told_seq + 1)) ||
        log_reserve(loop->options.log, 1, sizeof payload, &seq) < 0)
        return;
    log_take_stalls(loop->options.log, &stalled);
    storage_stalled_encode(payload, &stalled);
    append_own(loop, seq, LOG_KIND_STALLED, span_of(payload, sizeof payload));
    loop->stall_told_ns = loop->monotonic_ns;
    loop->stall_told_seq = seq;
    host_say("a write to the event log took %.1f s: is its disk well?",
             (double)stalled.longest_ns / 1e9);
}

static int one_turn(struct loop *loop)
{
    struct log *log = loop->options.log;
    bool draining = atomic_load(&loop->draining);
    inbox_take(loop->options.inbox, &loop->lists);
    read_clocks(loop);
    record_space(loop);
    record_stalls(loop);
    bool more = do_commands(loop);
    loop->turns++;
    turn_close(loop);
    if (loop->failed || log_flush(log) < 0)
        return ERROR_UNAVAILABLE;
    turns_complete(loop);
    if (draining && !loop->drained && !loop->first && !loop->open)
        say_drained(loop);
    if (loop->monotonic_ns - loop->counts_ns > COUNTS_EVERY_NS || (!more && !loop->first))
        publish_counts(loop);
    bool slept = inbox_sleep(loop->options.inbox);
    uint64_t timeout_ns = slept ? time_to_sleep(loop, more) : 0;
    count_work(loop);
    int status = log_wait(log, inbox_wake_fd(loop->options.inbox), timeout_ns);
    loop->woke_ns = host_monotonic_ns();
    if (slept)
        inbox_awake(loop->options.inbox);
    say_failover(loop);
    if (status < 0)
        return ERROR_UNAVAILABLE;
    turns_complete(loop);
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
    if (loop->damaged)
        why = "a document of the state is damaged and cannot be read; nothing is lost, the next "
              "start makes the documents anew from the log";
    if (!why)
        why = "the event log has no room, so that the agent stopped is not in it; free disk space, "
              "the next start goes on";
    inbox_refuse(loop->options.inbox);
    inbox_take(loop->options.inbox, &loop->lists);
    turns_abandon(loop);
    for (struct request *request = loop->lists.requests, *next; request; request = next) {
        next = request->next;
        perform_refuse(loop, 503, "log-failed",
                       "the event log takes no writes any more; the agent ends");
        perform_answer_refusal(loop, request);
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
    uint8_t keyring[UUID_SIZE];
    if (loop->options.keyring && keyring_uuid(loop->options.keyring, keyring))
        begin.registered.keyring = span_of(keyring, sizeof keyring);
    struct command end = { .kind = COMMAND_STOP };
    end.stop.reason = span_of_text(reason);

    read_clocks(loop);
    (void)do_own(loop, &begin); /* held when there is no room yet */
    bool ending = false;
    for (;;) {
        bool stopping = atomic_load(&loop->stopping);
        if (one_turn(loop) < 0)
            return fail(loop, error);
        if (stopping && loop->stalled && perform_gives_up(loop))
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
    /* In this order: a loop that knows that it is to stop takes once more, and then nothing comes
     * behind. */
    inbox_refuse(loop->options.inbox);
    atomic_store(&loop->stopping, true);
    inbox_wake(loop->options.inbox);
    pthread_mutex_lock(&loop->lock);
    while (!loop->ended)
        pthread_cond_wait(&loop->moved, &loop->lock);
    pthread_mutex_unlock(&loop->lock);
}

void loop_counts_get(struct loop *loop, struct loop_counts *counts)
{
    pthread_mutex_lock(&loop->lock);
    *counts = loop->counts;
    pthread_mutex_unlock(&loop->lock);
}

static void wake(void *context)
{
    struct loop *loop = context;
    inbox_wake(loop->options.inbox);
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
    struct warmer_options warmer = { .state = options->state,
                                     .budget = options->budget,
                                     .done = wake,
                                     .before = options->before_read_ahead,
                                     .context = loop };
    int status = warmer_open(&loop->warmer, &warmer, error);
    if (status < 0) {
        free(loop);
        return status;
    }
    decision_init(&loop->decision, options->budget);
    keys_init(loop);
    pthread_mutex_init(&loop->lock, NULL);
    pthread_cond_init(&loop->moved, NULL);
    read_clocks(loop);
    publish_counts(loop);
    *opened = loop;
    return 0;
}

bool loop_documents_damaged(const struct loop *loop)
{
    return loop->damaged;
}

void loop_close(struct loop *loop)
{
    if (!loop)
        return;
    CHECK(!loop->lists.requests);
    warmer_close(loop->warmer);
    while (loop->lists.outcomes) {
        struct effect_outcome *outcome = loop->lists.outcomes;
        loop->lists.outcomes = outcome->next;
        effect_outcome_free(outcome);
    }
    turns_abandon(loop);
    while (loop->spare) {
        struct turn *turn = loop->spare;
        loop->spare = turn->next;
        free(turn);
    }
    decision_free(&loop->decision);
    keys_free(loop);
    free(loop->payload);
    pthread_mutex_destroy(&loop->lock);
    pthread_cond_destroy(&loop->moved);
    free(loop);
}
