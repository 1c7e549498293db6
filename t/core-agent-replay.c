/* Random work over random definitions: whatever happens, the documents of the live agent are those
 * of one that was replayed, from nothing or from documents of any moment before, and what it says
 * of itself (agent_check) holds after every turn, and so does what must hold of the documents
 * (core/agent/check_documents.h). Seeds are printed. */
#include "agent_shell.h"
#include "core/event/event.h"
#include "tap.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FLOWS = 12, COMMANDS = 1500, ROUNDS = 12 };

struct world {
    struct agent_shell shell;
    struct flow *flows[FLOWS];
    struct shell_documents saved;
    uint64_t saved_seq;
    uint64_t random;
    uint64_t replays, wrong_digests, restarts, expired, checks, erased;
};

static const char *const programs[] = { "/bin/true" };

static uint64_t next(struct world *world)
{
    world->random ^= world->random << 13;
    world->random ^= world->random >> 7;
    world->random ^= world->random << 17;
    return world->random;
}

static uint64_t below(struct world *world, uint64_t limit)
{
    return next(world) % limit;
}

/*--- Random definitions ----------------------------------------------------------------------*/

static size_t add_kind(struct world *world, char *text, size_t room, int index)
{
    static const char *const sleeps[] = { "0s", "0s", "1s", "90s" };
    static const char *const methods[] = { "GET", "POST", "PUT" };
    switch (below(world, 6)) {
    case 0:
    case 1:
        return (size_t)snprintf(text, room, "\"sleep\":\"%s\"", sleeps[below(world, 4)]);
    case 2:
        return (size_t)snprintf(text, room, "\"exec\":{\"argv\":[\"/bin/true\",\"%d\"]}", index);
    case 3:
        return (size_t)snprintf(text, room, "\"signal\":{\"name\":\"s%d\"%s}", (int)below(world, 2),
                                below(world, 2) ? ",\"timeout\":\"60s\"" : "");
    default:
        return (size_t)snprintf(
            text, room, "\"http\":{\"method\":\"%s\",\"url\":\"http://h/%s\"}%s",
            methods[below(world, 3)], below(world, 8) ? "" : "${{ input.missing }}",
            below(world, 2) ? ",\"retry\":{\"max_attempts\":3}" : "");
    }
}

static struct flow *random_flow(struct world *world, int number)
{
    static const char *const failures[] = { "park", "fail", "continue" };
    char source[4096];
    size_t size = 0, room = sizeof source;
    int steps = 1 + (int)below(world, 6);
    size += (size_t)snprintf(source, room, "{\"name\":\"f%d\",\"steps\":[", number);
    for (int i = 0; i < steps; i++) {
        size +=
            (size_t)snprintf(source + size, room - size, "%s{\"id\":\"s%d\",", i > 0 ? "," : "", i);
        size += add_kind(world, source + size, room - size, i);
        size += (size_t)snprintf(source + size, room - size, ",\"on_failure\":\"%s\",\"needs\":[",
                                 failures[below(world, 3)]);
        bool any = false;
        for (int j = 0; j < i; j++)
            if (below(world, 3) == 0) {
                size +=
                    (size_t)snprintf(source + size, room - size, "%s\"s%d\"", any ? "," : "", j);
                any = true;
            }
        size += (size_t)snprintf(source + size, room - size, "]}");
    }
    (void)snprintf(source + size, room - size, "]}");
    return shell_flow(&world->shell, source);
}

/*--- Random commands -------------------------------------------------------------------------*/

static uint64_t some_stream(struct world *world)
{
    const struct agent_shell *shell = &world->shell;
    if (shell->log_count == 0 || below(world, 50) == 0)
        return 1 + below(world, 1000);
    for (int i = 0; i < 20; i++) {
        uint64_t back = below(world, shell->log_count < 200 ? shell->log_count : 200);
        const struct shell_event *event = &shell->log[shell->log_count - 1 - back];
        if (event->header.kind != DAA__EVENT__BODY_DEFINITION_INSTALLED)
            return event->header.stream;
    }
    return 1;
}

static void submit(struct world *world)
{
    struct command command = shell_submission(world->flows[below(world, FLOWS)], "{\"a\":[1]}");
    if (below(world, 3) == 0) {
        command.keyed = true;
        command.key = span_of_text("key");
        command.key_digest[0] = (uint8_t)below(world, 20);
        command.request_digest[0] = (uint8_t)below(world, 2);
    }
    (void)shell_do(&world->shell, &command);
}

static void answer(struct world *world)
{
    static const int outcomes[] = { DAA__OUTCOME__OUTCOME_DONE, DAA__OUTCOME__OUTCOME_DONE,
                                    DAA__OUTCOME__OUTCOME_NOT_DONE, DAA__OUTCOME__OUTCOME_UNKNOWN };
    struct effect *effect = world->shell.effects;
    for (uint64_t skip = below(world, 4); effect != NULL && skip > 0; skip--)
        if (effect->next != NULL)
            effect = effect->next;
    if (effect != NULL)
        (void)shell_answer(&world->shell, effect->stream, effect->index, outcomes[below(world, 4)],
                           "{\"status\":200}", "some reason");
}

/* One that nobody asked for: late, doubled, of another attempt, of no step. */
static void wild_outcome(struct world *world)
{
    struct command command = { .kind = COMMAND_OUTCOME, .stream = some_stream(world) };
    command.outcome.index = (uint32_t)below(world, 8);
    command.outcome.attempt = (uint32_t)below(world, 6) + 10;
    command.outcome.outcome = DAA__OUTCOME__OUTCOME_DONE;
    size_t before = world->shell.log_count;
    (void)shell_decide(&world->shell, &command);
    if (world->shell.log_count != before)
        tap_bail_out("an outcome of no attempt was recorded");
    shell_advance(&world->shell);
}

static void signal_one(struct world *world)
{
    struct command command = { .kind = COMMAND_SIGNAL, .stream = some_stream(world) };
    command.signal.name = span_of_text(below(world, 2) ? "s0" : "s1");
    command.signal.payload = span_of_text("{\"p\":true}");
    command.keyed = below(world, 2) == 0;
    command.key_digest[0] = (uint8_t)below(world, 4);
    (void)shell_do(&world->shell, &command);
}

static void resolve_one(struct world *world)
{
    char step[8];
    struct command command = { .kind = COMMAND_RESOLVE, .stream = some_stream(world) };
    (void)snprintf(step, sizeof step, "s%d", (int)below(world, 6));
    command.resolve.step = span_of_text(step);
    command.resolve.resolution = (int)(1 + below(world, 3));
    command.resolve.output = span_of_text("\"by hand\"");
    (void)shell_do(&world->shell, &command);
}

static void cancel_one(struct world *world)
{
    struct command command = { .kind = COMMAND_CANCEL, .stream = some_stream(world) };
    (void)shell_do(&world->shell, &command);
}

static void spawn_one(struct world *world)
{
    const struct effect *effect = world->shell.effects;
    struct command command = { .kind = COMMAND_SPAWNED };
    if (effect == NULL || effect->kind != EFFECT_EXEC)
        return;
    command.stream = effect->stream;
    command.spawned.index = effect->index;
    command.spawned.attempt = effect->attempt;
    command.spawned.pid = 4242;
    command.spawned.boot_id = span_of_text("0123456789abcdef");
    (void)shell_do(&world->shell, &command);
}

/* What the first `x` and `f` documents say, whether their time has come or not, as if much of it
 * had passed. What was expired before must have been handed over (core/agent/command.h). */
static void expire_keys(struct world *world)
{
    struct expired_key items[COMMAND_EXPIRE_MAX];
    struct command command = { .kind = COMMAND_EXPIRE_KEYS };
    const struct shell_documents *documents = &world->shell.documents;
    uint32_t count = 0;
    shell_take(&world->shell);
    for (size_t i = 0; i < documents->count && count < COMMAND_EXPIRE_MAX; i++)
        count += document_expiry_of_key(document_key_span(&documents->items[i].key),
                                        &items[count].expires_ns, items[count].digest);
    command.expire_keys.items = items;
    command.expire_keys.count = count;
    (void)shell_do(&world->shell, &command);
}

static void expire_workflows(struct world *world)
{
    struct expired_workflow items[COMMAND_EXPIRE_MAX];
    struct command command = { .kind = COMMAND_EXPIRE_WORKFLOWS };
    const struct shell_documents *documents = &world->shell.documents;
    uint32_t count = 0, max = (uint32_t)below(world, COMMAND_EXPIRE_MAX + 1);
    shell_take(&world->shell);
    for (size_t i = 0; i < documents->count && count < max; i++) {
        const struct shell_document *document = &documents->items[i];
        struct document_finished finished;
        struct expired_workflow *item = &items[count];
        if (!document_finished_of_key(document_key_span(&document->key), &item->ended_ns,
                                      &item->stream))
            continue;
        if (!document_finished_decode(span_of(document->bytes, document->size), &finished))
            tap_bail_out("a document of what has ended cannot be read");
        item->size = finished.size;
        item->settled = finished.settled;
        memcpy(item->definition, finished.definition, SHA256_SIZE);
        count++;
    }
    command.expire_workflows.items = items;
    command.expire_workflows.count = count;
    command.expire_workflows.reason = span_of_text("their time is over");
    world->expired += (uint64_t)count;
    (void)shell_do(&world->shell, &command);
}

static void note_keeping(struct world *world)
{
    struct command command = { .kind = COMMAND_SNAPSHOT };
    struct anchor anchor = { .seq = 0 };
    command.snapshot.seq = world->shell.log_count;
    if (below(world, 2) == 0) {
        command = (struct command){ .kind = COMMAND_REMOVE };
        command.remove.last_segment = below(world, 100);
        command.remove.last_seq = command.remove.last_segment * 7;
    } else if (below(world, 2) == 0) {
        struct agent_counts counts;
        agent_counts_get(world->shell.agent, &counts);
        anchor.previous = counts.anchor.event;
        anchor.seq = world->shell.log_count;
        anchor.segment_count = (uint32_t)below(world, 3);
        for (uint32_t i = 0; i < anchor.segment_count; i++)
            anchor.segments[i].segment_no = counts.anchor.segment_no + i + 1;
        command = (struct command){ .kind = COMMAND_ANCHOR };
        command.anchor.signed_head = &anchor;
    }
    if (world->shell.log_count > 0)
        (void)shell_do(&world->shell, &command);
}

/* What was erased is not in the log any more, for whoever replays it from then on. */
static void erase_one(struct world *world)
{
    world->erased += shell_erase(&world->shell, some_stream(world)) == DECISION_EVENTS;
}

/*--- Replays ---------------------------------------------------------------------------------*/

static void replay_from(struct world *world, const struct shell_documents *from, uint64_t seq)
{
    struct shell_documents documents = { NULL, 0, 0 };
    uint8_t live[SHA256_SIZE], replayed[SHA256_SIZE];
    struct error error;
    shell_documents_copy(&documents, from);
    struct agent *agent = shell_replay(&world->shell, &documents, seq);
    if (agent_check(agent, &error) < 0)
        tap_bail_out("replayed: %s", error.text);
    agent_close(agent);
    shell_documents_digest(&world->shell.documents, live);
    shell_documents_digest(&documents, replayed);
    world->replays++;
    world->wrong_digests += memcmp(live, replayed, sizeof live) != 0;
    shell_documents_free(&documents);
}

static void check_documents(struct world *world)
{
    const char *findings = shell_check(&world->shell, &world->shell.documents, NULL);
    if (findings[0] != 0)
        tap_bail_out("the documents: %s", findings);
    world->checks++;
}

static void restart(struct world *world)
{
    static const struct shell_documents nothing;
    world->restarts++;
    if (below(world, 2) == 0)
        shell_restart(&world->shell, &nothing, 0);
    else
        shell_restart(&world->shell, &world->saved, world->saved_seq);
}

static void act(struct world *world)
{
    static void (*const acts[])(struct world *) = {
        submit,     submit,       submit,      answer,       answer,      answer,
        answer,     wild_outcome, signal_one,  signal_one,   resolve_one, resolve_one,
        cancel_one, spawn_one,    expire_keys, note_keeping, erase_one
    };
    static const struct shell_documents nothing;
    uint64_t what = below(world, 100);
    if (what >= 90)
        shell_take(&world->shell);
    if (what < 2)
        expire_workflows(world);
    else if (what < 80)
        acts[below(world, sizeof acts / sizeof acts[0])](world);
    else if (what < 90)
        shell_wait(&world->shell, below(world, 40) * SHELL_SECOND);
    else if (what < 94)
        replay_from(world, &world->saved, world->saved_seq);
    else if (what < 95)
        replay_from(world, &nothing, 0);
    else if (what < 98) {
        check_documents(world);
        shell_documents_copy(&world->saved, &world->shell.documents);
        world->saved_seq = world->shell.log_count;
    } else {
        restart(world);
        check_documents(world);
    }
}

/*--- What must hold of the whole log ---------------------------------------------------------*/

struct doing {
    int last_kind, last_outcome;
};

/* Counts starts of steps that may have happened before, are not idempotent, and were not asked
 * for by a person. */
static void follow(struct world *world, struct doing (*doing)[8], struct flow **flows,
                   const struct shell_event *record, struct arena *arena, uint64_t *doubled)
{
    Daa__Event *event;
    uint64_t stream = record->header.stream;
    if (shell_read(&world->shell, record, arena, &event) < 0)
        tap_bail_out("an event of the log cannot be read");
    switch ((int)event->body_case) {
    case DAA__EVENT__BODY_WORKFLOW_SUBMITTED:
        for (int i = 0; i < FLOWS; i++)
            if (memcmp(world->flows[i]->digest, event->workflow_submitted->definition.data,
                       SHA256_SIZE) == 0)
                flows[stream] = world->flows[i];
        break;
    case DAA__EVENT__BODY_STEP_STARTED: {
        struct doing *at = &doing[stream][event->step_started->index];
        bool again = at->last_kind == DAA__EVENT__BODY_STEP_STARTED ||
                     (at->last_kind == DAA__EVENT__BODY_STEP_RETRY_SCHEDULED &&
                      at->last_outcome != DAA__OUTCOME__OUTCOME_NOT_DONE);
        *doubled += again && !flows[stream]->steps[event->step_started->index].idempotent;
        at->last_kind = DAA__EVENT__BODY_STEP_STARTED;
        break;
    }
    case DAA__EVENT__BODY_STEP_RETRY_SCHEDULED:
        doing[stream][event->step_retry_scheduled->index].last_kind = (int)event->body_case;
        doing[stream][event->step_retry_scheduled->index].last_outcome =
            (int)event->step_retry_scheduled->outcome;
        break;
    case DAA__EVENT__BODY_STEP_RESOLVED:
        doing[stream][event->step_resolved->index].last_kind = (int)event->body_case;
        break;
    default:
        break;
    }
}

static uint64_t count_doubled(struct world *world)
{
    struct agent_shell *shell = &world->shell;
    struct doing(*doing)[8] = calloc(shell->log_count + 1, sizeof *doing);
    struct flow **flows = calloc(shell->log_count + 1, sizeof(struct flow *));
    struct arena arena;
    uint64_t doubled = 0;
    arena_init(&arena, &shell->budget, BUDGET_READERS, 4096);
    for (size_t i = 0; i < shell->log_count; i++) {
        arena_reset(&arena);
        follow(world, doing, flows, &shell->log[i], &arena, &doubled);
    }
    arena_free(&arena);
    free(doing);
    free(flows);
    return doubled;
}

/* Steps that have not ended of workflows that have. */
static uint64_t count_left_behind(struct agent_shell *shell)
{
    static const char *const ends[] = { "\"status\":\"completed\"", "\"status\":\"failed\"",
                                        "\"status\":\"cancelled\"" };
    static const char *const open[] = { "\"blocked\"",  "\"ready\"",    "\"running\"",
                                        "\"waiting\"",  "\"sleeping\"", "\"backoff\"",
                                        "\"uncertain\"" };
    uint64_t count = 0, stream;
    for (size_t i = 0; i < shell->documents.count; i++) {
        struct span key = document_key_span(&shell->documents.items[i].key);
        if (key.bytes[0] != 'w' || !document_stream_of_key(key, &stream))
            continue;
        const char *shown = shell_show(shell, stream), *status = strstr(shown, "\"status\":");
        bool ended = false;
        for (int j = 0; j < 3; j++)
            ended |= status != NULL && strncmp(status, ends[j], strlen(ends[j])) == 0;
        for (int j = 0; ended && j < 7; j++)
            count += strstr(status, open[j]) != NULL;
    }
    return count;
}

static uint64_t count_broken_chains(const struct agent_shell *shell)
{
    uint64_t *newest = calloc(shell->log_count + 2, sizeof *newest), broken = 0;
    for (size_t i = 0; i < shell->log_count; i++) {
        const struct event_header *header = &shell->log[i].header;
        broken += header->stream_prev_seq != newest[header->stream];
        newest[header->stream] = header->seq;
    }
    free(newest);
    return broken;
}

static void round_of(uint64_t seed)
{
    static const struct shell_documents nothing;
    struct world world = { .random = seed * 0x9e3779b97f4a7c15ull + 1 };
    world.shell.random = seed;
    world.shell.encrypt = seed % 4 != 0;
    world.shell.options.exec_enabled = true;
    world.shell.options.exec_allow = programs;
    world.shell.options.exec_allow_count = 1;
    world.shell.options.max_concurrent_workflows = 1 + (uint32_t)(seed % 8);
    world.shell.options.idempotency_ttl_ns = 60 * SHELL_SECOND;
    world.shell.options.idle_bytes_max = seed % 3 == 0 ? 1 : 0; /* 1: what may leave memory does */
    world.shell.lazy_changes = seed % 2 == 0;
    shell_open(&world.shell);
    for (int i = 0; i < FLOWS; i++)
        world.flows[i] = random_flow(&world, i);
    for (int i = 0; i < COMMANDS; i++)
        act(&world);
    shell_take(&world.shell);
    check_documents(&world);
    replay_from(&world, &nothing, 0);
    replay_from(&world, &world.saved, world.saved_seq);
    tap_note("seed %" PRIu64 ": %zu events, %zu documents, %" PRIu64 " replays, %" PRIu64
             " restarts, %" PRIu64 " documents loaded, %" PRIu64 " workflows to expire, %" PRIu64
             " erased, %" PRIu64 " checks",
             seed, world.shell.log_count, world.shell.documents.count, world.replays,
             world.restarts, world.shell.needs, world.expired, world.erased, world.checks);
    is_int(world.wrong_digests, 0, "every replay has the documents of the live agent");
    is_int(count_doubled(&world), 0, "nothing that may have happened is repeated by itself");
    is_int(count_left_behind(&world.shell), 0, "no step is left behind in a workflow that ended");
    is_int(count_broken_chains(&world.shell), 0, "every event knows the one before in its stream");
    for (int i = 0; i < FLOWS; i++)
        flow_unref(world.flows[i]);
    shell_documents_free(&world.saved);
    shell_close(&world.shell);
}

int main(void)
{
    const char *given = getenv("SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) % 1000000;
    tap_note("SEED=%" PRIu64 " runs the same again", seed);
    for (uint64_t i = 0; i < (given != NULL ? 1 : ROUNDS); i++)
        round_of(seed + i);
    return tap_done();
}
