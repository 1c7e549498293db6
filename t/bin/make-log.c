/* Writes a log of real events with the real writer, as told on stdin, for tests that are scripts.
 *
 *   make-log DIR [SEED]     begins or goes on; SEED makes uuid and salts the same each time
 *     workflows N           N whole workflows, a command of 5 events each
 *     stepped N             the same, and the events of the step say which one they are of
 *     paced RATE SECONDS    such ones, RATE events a second, for so long, with the time of each
 *     parked                a workflow in 5 commands: submitted, paused, resumed, failed; another
 *                           that is only submitted and paused
 *     open NAME [SIZE]      a workflow that is submitted and started, with an input of SIZE bytes;
 *                           its number is in the answer
 *     complete STREAM TEXT  ends it with a string for its output
 *     pause STREAM TEXT     pauses it for that reason
 *     secret NAME KEY [RUN] RUN (1) whole workflows whose events are encrypted with keys from KEY
 *                           on of the directory $KEYS; the number of the first is in the answer
 *     later STREAM KEY TEXT pauses such a one for that reason
 *     erase STREAM KEY      workflows.erased; the key stays
 *     replaced              values that PostgreSQL cannot hold, each with one behind it that it can
 *     awkward               events that hold what PostgreSQL cannot
 *     fill N SIZE           N definitions of SIZE bytes
 *     give-up SEGMENT       storage.removed for the segments up to this one, which stay
 *     remove SEGMENT        removes them, without an event
 *   After each it answers "durable SEQ". At the end of stdin it closes the log. $SEGMENT_SIZE is
 *   the size of its segments in bytes, if not 1 MiB.
 *
 *   make-log DIR list       "SEQ SHA-256" of each record's bytes as they stand in the segments */
#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/sha256.h"
#include "core/event/event.h"
#include "iouring/io.h"
#include "log/event.h"
#include "log/log.h"
#include "log/reader.h"
#include "log/removal.h"
#include "log/segment.h"
#include "log/source.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SEGMENT_SIZE (1u << 20)
#define EVENT_SIZE_MAX (8u << 20)

static struct log *event_log;
static struct io *io;
static struct budget budget;
static uint64_t clock_ns;
static uint64_t random_state; /* 0: true randomness */
static struct keyring *keyring;
static uint32_t key_id; /* of the command under way; 0: none */

_Noreturn static void give_up(const char *what, const struct error *error)
{
    fprintf(stderr, "make-log: %s: %s\n", what, error->text);
    exit(1);
}

static void seeded_random(void *bytes, size_t size, void *context)
{
    uint8_t *target = bytes;
    (void)context;
    for (size_t i = 0; i < size; i++) {
        random_state = random_state * 6364136223846793005u + 1442695040888963407u;
        target[i] = (uint8_t)(random_state >> 56);
    }
}

/*--- Commands --------------------------------------------------------------------------------*/

enum { COMMAND_EVENTS_MAX = 8 };

/* A command under way: packed events, and the stream that they belong to. */
struct pending {
    uint8_t *payload[COMMAND_EVENTS_MAX];
    size_t size[COMMAND_EVENTS_MAX];
    uint16_t kind[COMMAND_EVENTS_MAX];
    uint32_t count;
    size_t total;
};

static void add_bytes(struct pending *pending, uint16_t kind, const void *bytes, size_t size)
{
    CHECK(pending->count < COMMAND_EVENTS_MAX);
    uint8_t *copy = malloc(size + 1);
    CHECK(copy != NULL);
    memcpy(copy, bytes, size);
    pending->payload[pending->count] = copy;
    pending->size[pending->count] = size;
    pending->kind[pending->count++] = kind;
    pending->total += size;
}

static void add(struct pending *pending, Daa__Event *event)
{
    static uint8_t buffer[EVENT_SIZE_MAX];
    struct arena arena;
    event->has_schema = true;
    event->schema = EVENT_SCHEMA;
    arena_init(&arena, &budget, BUDGET_READERS, 4096);
    if (key_id != 0)
        event = event_withhold(event, &arena);
    CHECK(event != NULL && event_size(event) <= sizeof buffer);
    event_pack(event, buffer);
    add_bytes(pending, event_kind(event), buffer, event_size(event));
    arena_free(&arena);
}

/* In place: its size stays. */
static void encrypt(const struct record *record)
{
    const struct event_header header = event_header_of(record);
    uint8_t key[KEYRING_KEY_SIZE], nonce[AEAD_NONCE_SIZE];
    struct error error = { 0 };
    struct arena arena;
    Daa__Event *event;
    arena_init(&arena, &budget, BUDGET_READERS, 4096);
    CHECK(event_unpack(record->kind, record->payload, &arena, &event) == 0);
    if (keyring_get(keyring, record->key_id, key, &error) < 0)
        give_up("key", &error);
    bytes_put_u64(nonce, record->seq);
    bytes_put_u32(nonce + 8, 0);
    event_encrypt(event, &header, key, nonce);
    event_pack(event, (uint8_t *)(uintptr_t)record->payload.bytes);
    arena_free(&arena);
}

static void make_room(uint64_t *first_seq, const struct pending *pending)
{
    struct error error = { 0 };
    for (;;) {
        int failed = log_reserve(event_log, pending->count, pending->total, first_seq);
        if (failed == 0)
            return;
        error_set(&error, failed, "%s", error_text(failed));
        if (failed != ERROR_FULL)
            give_up("reserve", &error);
        CHECK(log_flush(event_log) == 0);
        CHECK(log_wait(event_log, -1, 10000000) == 0);
    }
}

/* Appends it; `stream` 0 makes a new one. Returns the stream. */
static uint64_t append(struct pending *pending, uint64_t stream)
{
    uint64_t first_seq;
    make_room(&first_seq, pending);
    if (stream == 0)
        stream = first_seq;
    for (uint32_t i = 0; i < pending->count; i++) {
        const struct record record = {
            .seq = first_seq + i,
            .stream = stream,
            .time_ns = clock_ns += 1000,
            .cause = i > 0 ? first_seq : 0,
            .stream_prev_seq = i > 0 ? first_seq + i - 1 : 0,
            .key_id = key_id,
            .kind = pending->kind[i],
            .payload = span_of(pending->payload[i], pending->size[i]),
        };
        if (key_id != 0)
            encrypt(&record);
        log_append(event_log, &record);
        free(pending->payload[i]);
    }
    *pending = (struct pending){ .count = 0 };
    return stream;
}

static ProtobufCBinaryData data(const char *text)
{
    return data_of_span(span_of_text(text));
}

static void add_submitted(struct pending *pending, const char *name, const char *input,
                          const char *metadata)
{
    Daa__WorkflowSubmitted body = DAA__WORKFLOW_SUBMITTED__INIT;
    Daa__Actor actor = DAA__ACTOR__INIT;
    Daa__Event event = DAA__EVENT__INIT;
    actor.has_type = actor.has_id = true;
    actor.type = DAA__ACTOR__TYPE__UID;
    actor.id = data("1000");
    body.has_status = body.has_name = body.has_input = body.has_metadata = true;
    body.status = DAA__WORKFLOW_STATUS__WORKFLOW_PENDING;
    body.name = data(name);
    body.input = data(input);
    body.metadata = data(metadata);
    event.actor = &actor;
    event.has_request_id = true;
    event.request_id = data("req-1");
    event.body_case = DAA__EVENT__BODY_WORKFLOW_SUBMITTED;
    event.workflow_submitted = &body;
    add(pending, &event);
}

static void add_started(struct pending *pending)
{
    Daa__WorkflowStarted body = DAA__WORKFLOW_STARTED__INIT;
    Daa__Event event = DAA__EVENT__INIT;
    body.has_status = true;
    body.status = DAA__WORKFLOW_STATUS__WORKFLOW_RUNNING;
    event.body_case = DAA__EVENT__BODY_WORKFLOW_STARTED;
    event.workflow_started = &body;
    add(pending, &event);
}

static void add_step(struct pending *pending, const char *output, bool stepped)
{
    Daa__StepStarted started = DAA__STEP_STARTED__INIT;
    Daa__StepCompleted completed = DAA__STEP_COMPLETED__INIT;
    Daa__Event event = DAA__EVENT__INIT;
    started.has_index = started.has_status = started.has_attempt = stepped;
    completed.has_index = completed.has_status = completed.has_attempt = stepped;
    started.status = DAA__STEP_STATUS__STEP_RUNNING;
    completed.status = DAA__STEP_STATUS__STEP_COMPLETED;
    started.attempt = completed.attempt = 1;
    started.has_step = completed.has_step = completed.has_output = true;
    started.step = completed.step = data("a");
    completed.output = data(output);
    event.body_case = DAA__EVENT__BODY_STEP_STARTED;
    event.step_started = &started;
    add(pending, &event);
    event.body_case = DAA__EVENT__BODY_STEP_COMPLETED;
    event.step_completed = &completed;
    add(pending, &event);
}

static void add_completed(struct pending *pending, const char *output)
{
    Daa__WorkflowCompleted body = DAA__WORKFLOW_COMPLETED__INIT;
    Daa__Event event = DAA__EVENT__INIT;
    body.has_status = body.has_output = true;
    body.status = DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED;
    body.output = data(output);
    event.body_case = DAA__EVENT__BODY_WORKFLOW_COMPLETED;
    event.workflow_completed = &body;
    add(pending, &event);
}

static void add_paused_for(struct pending *pending, struct span reason)
{
    Daa__WorkflowPaused body = DAA__WORKFLOW_PAUSED__INIT;
    Daa__Event event = DAA__EVENT__INIT;
    body.has_status = body.has_reason = true;
    body.status = DAA__WORKFLOW_STATUS__WORKFLOW_PAUSED;
    body.reason = data_of_span(reason);
    event.body_case = DAA__EVENT__BODY_WORKFLOW_PAUSED;
    event.workflow_paused = &body;
    add(pending, &event);
}

static void add_paused(struct pending *pending, const char *reason)
{
    add_paused_for(pending, span_of_text(reason));
}

static void add_resumed(struct pending *pending)
{
    Daa__WorkflowResumed body = DAA__WORKFLOW_RESUMED__INIT;
    Daa__Event event = DAA__EVENT__INIT;
    body.has_status = true;
    body.status = DAA__WORKFLOW_STATUS__WORKFLOW_RUNNING;
    event.body_case = DAA__EVENT__BODY_WORKFLOW_RESUMED;
    event.workflow_resumed = &body;
    add(pending, &event);
}

static void make_workflow(uint64_t number, bool stepped)
{
    struct pending pending = { .count = 0 };
    char input[64];
    (void)snprintf(input, sizeof input, "{\"number\": %" PRIu64 "}", number);
    add_submitted(&pending, "pay", input, "{\"team\": \"blue\"}");
    add_started(&pending);
    add_step(&pending, "{\"status\": 200}", stepped);
    add_completed(&pending, "{\"ok\": true}");
    append(&pending, 0);
}

static void make_workflows(uint64_t count, bool stepped)
{
    for (uint64_t i = 0; i < count; i++)
        make_workflow(i, stepped);
}

static uint64_t wall_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Those that are due are appended in one go, a thousand times a second or as often as the disk
 * lets. */
static void make_paced(uint64_t rate, uint64_t seconds)
{
    uint64_t begun_ns = wall_clock_ns(), made = 0, all = rate * seconds / 5;
    while (made < all) {
        uint64_t now_ns = wall_clock_ns();
        uint64_t due = (now_ns - begun_ns) / 1000 * rate / 5000000;
        if (clock_ns < now_ns)
            clock_ns = now_ns;
        for (; made < due && made < all; made++)
            make_workflow(made, true);
        CHECK(log_flush(event_log) == 0);
        CHECK(log_wait(event_log, -1, 1000000) == 0);
    }
}

static void make_parked(void)
{
    struct pending pending = { .count = 0 };
    add_submitted(&pending, "first", "{}", "{}");
    uint64_t first = append(&pending, 0);
    add_submitted(&pending, "second", "{}", "{}");
    add_paused(&pending, "look at it");
    append(&pending, 0);
    add_paused(&pending, "no answer");
    append(&pending, first);
    add_resumed(&pending);
    append(&pending, first);
    add_completed(&pending, "7");
    append(&pending, first);
}

static void make_change(const char *what, uint64_t stream, const char *text)
{
    struct pending pending = { .count = 0 };
    char output[80];
    (void)snprintf(output, sizeof output, "\"%s\"", text);
    if (*what == 'c')
        add_completed(&pending, output);
    else
        add_paused(&pending, text);
    append(&pending, stream);
}

static void make_open(const char *name, uint64_t size)
{
    struct pending pending = { .count = 0 };
    char *input = malloc(size + 3);
    CHECK(input != NULL);
    memset(input, '7', size + 2);
    input[0] = input[size + 1] = '"';
    input[size + 2] = '\0';
    add_submitted(&pending, name, size > 0 ? input : "{}", "{}");
    free(input);
    add_started(&pending);
    printf("stream %" PRIu64 " ", append(&pending, 0));
}

static void make_secret(const char *name, uint64_t key, uint64_t count)
{
    uint64_t first = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct pending pending = { .count = 0 };
        char input[200], output[100];
        key_id = (uint32_t)(key + i);
        (void)snprintf(input, sizeof input, "{\"secret\": \"XYZZY-%s-%" PRIu64 "\"}", name, i);
        (void)snprintf(output, sizeof output, "\"XYZZY-%s-out\"", name);
        add_submitted(&pending, name, input, input);
        add_started(&pending);
        add_step(&pending, output, true);
        add_completed(&pending, output);
        uint64_t stream = append(&pending, 0);
        first = first > 0 ? first : stream;
    }
    key_id = 0;
    printf("stream %" PRIu64 " ", first);
}

static void make_later(uint64_t stream, uint64_t key, const char *reason)
{
    struct pending pending = { .count = 0 };
    key_id = (uint32_t)key;
    add_paused(&pending, reason);
    append(&pending, stream);
    key_id = 0;
}

static void make_erased(uint64_t stream, uint64_t key)
{
    struct pending pending = { .count = 0 };
    Daa__ErasedWorkflow one = DAA__ERASED_WORKFLOW__INIT, *list = &one;
    Daa__WorkflowsErased body = DAA__WORKFLOWS_ERASED__INIT;
    Daa__Event event = DAA__EVENT__INIT;
    one.has_stream = one.has_key_id = true;
    one.stream = stream;
    one.key_id = (uint32_t)key;
    body.workflows = &list;
    body.n_workflows = 1;
    event.body_case = DAA__EVENT__BODY_WORKFLOWS_ERASED;
    event.workflows_erased = &body;
    add(&pending, &event);
    append(&pending, 0);
}

static void add_registered(struct pending *pending, const char *version, struct span host,
                           uint64_t pid)
{
    Daa__AgentRegistered body = DAA__AGENT_REGISTERED__INIT;
    Daa__Event event = DAA__EVENT__INIT;
    body.has_version = body.has_host = body.has_pid = true;
    body.version = data(version);
    body.host = data_of_span(host);
    body.pid = pid;
    event.body_case = DAA__EVENT__BODY_AGENT_REGISTERED;
    event.agent_registered = &body;
    add(pending, &event);
}

static void add_stopped(struct pending *pending, const char *reason)
{
    Daa__AgentStopped body = DAA__AGENT_STOPPED__INIT;
    Daa__Event event = DAA__EVENT__INIT;
    body.has_reason = true;
    body.reason = data(reason);
    event.body_case = DAA__EVENT__BODY_AGENT_STOPPED;
    event.agent_stopped = &body;
    add(pending, &event);
}

static void add_retried(struct pending *pending, struct span error)
{
    Daa__StepRetryScheduled body = DAA__STEP_RETRY_SCHEDULED__INIT;
    Daa__Event event = DAA__EVENT__INIT;
    body.has_index = body.has_step = body.has_status = body.has_error = body.has_outcome = true;
    body.step = data("a");
    body.status = DAA__STEP_STATUS__STEP_READY;
    body.outcome = DAA__OUTCOME__OUTCOME_DONE;
    body.error = data_of_span(error);
    event.body_case = DAA__EVENT__BODY_STEP_RETRY_SCHEDULED;
    event.step_retry_scheduled = &body;
    add(pending, &event);
}

static void make_replaced(void)
{
    static const uint8_t bytes[] = { 'a', 0x00, 'b' };
    const struct span nul = span_of(bytes, sizeof bytes);
    struct pending pending = { .count = 0 };
    add_submitted(&pending, "reason", "{}", "{}");
    add_paused_for(&pending, nul);
    add_resumed(&pending);
    add_completed(&pending, "7");
    append(&pending, 0);
    add_submitted(&pending, "error", "{}", "{}");
    add_retried(&pending, nul);
    add_step(&pending, "7", true);
    add_completed(&pending, "7");
    append(&pending, 0);
    add_registered(&pending, "1.0", nul, 77);
    append(&pending, 0);
    add_stopped(&pending, "asked");
    append(&pending, 0);
    add_registered(&pending, "", span_of(bytes, 0), 0);
    append(&pending, 0);
}

static void make_awkward(void)
{
    static const uint8_t broken[] = { 0xff, 0x00, 0x80 };
    struct pending pending = { .count = 0 };
    add_submitted(&pending, "nul", "{\"a\": \"x\\u0000y\"}", "{\"k\\u0000\": 1}");
    append(&pending, 0);
    add_submitted(&pending, "number", "[1e999999, 3]", "{\"n\": 1e-999999}");
    append(&pending, 0);
    add_submitted(&pending, "surrogate", "\"\\ud800\"", "{}");
    append(&pending, 0);
    add_submitted(&pending, "no json", "{\"a\": ", "{}");
    append(&pending, 0);
    add_bytes(&pending, 999, broken, sizeof broken);
    append(&pending, 0);
    add_bytes(&pending, DAA__EVENT__BODY_STEP_COMPLETED, broken, sizeof broken);
    append(&pending, 0);
    add_bytes(&pending, 60000, broken, 0);
    append(&pending, 0);
    add_submitted(&pending, "poison", "{\"poison\": true}", "{\"poison\": true}");
    append(&pending, 0);
}

/* `size` bytes of `what` between two other texts; the caller frees it. */
static char *long_text(const char *before, char what, size_t size, const char *behind)
{
    size_t first = strlen(before), last = strlen(behind);
    char *text = malloc(first + size + last + 1);
    CHECK(text != NULL);
    memcpy(text, before, first);
    memset(text + first, what, size);
    memcpy(text + first + size, behind, last + 1);
    return text;
}

static void submit_long(const char *name, char *input, const char *metadata)
{
    struct pending pending = { .count = 0 };
    add_submitted(&pending, name, input, metadata);
    append(&pending, 0);
    free(input);
}

/* Values beyond what a type, an index or a stack of PostgreSQL takes (its classes 22 and 54). */
static void make_hostile(void)
{
    char *nested = long_text("", '[', 3000, ""), *tail = long_text("", ']', 3000, "");
    char *label = long_text("{\"", 'k', 5000, "\": \"v\"}");
    char *value = long_text("{\"team\": \"", 'v', 100000, "\"}");
    submit_long("nested", long_text(nested, ' ', 1, tail), "{}");
    submit_long("digits", long_text("[", '9', 200000, "]"), "{}");
    submit_long("fraction", long_text("[0.", '1', 20000, "e-20000]"), "{}");
    submit_long("string", long_text("\"", 's', 200000, "\""), "{}");
    submit_long("label", long_text("", '1', 1, ""), label);
    submit_long("value", long_text("", '1', 1, ""), value);
    submit_long("name \xff\xfe \xed\xa0\x80 \xf4\x90\x80\x80", long_text("", '1', 1, ""), "{}");
    submit_long("twice", long_text("{\"a\": 1, \"a\": [", '2', 3, "]}"), "{}");
    free(nested);
    free(tail);
    free(label);
    free(value);
}

static void make_fill(uint64_t count, uint64_t size)
{
    struct pending pending = { .count = 0 };
    Daa__DefinitionInstalled body = DAA__DEFINITION_INSTALLED__INIT;
    Daa__Event event = DAA__EVENT__INIT;
    char *source = malloc(size + 3);
    CHECK(source != NULL);
    memset(source, 'f', size + 2);
    source[0] = source[size + 1] = '"';
    body.has_source = true;
    body.source = data_of_span(span_of(source, size + 2));
    event.body_case = DAA__EVENT__BODY_DEFINITION_INSTALLED;
    event.definition_installed = &body;
    for (uint64_t i = 0; i < count; i++) {
        add(&pending, &event);
        append(&pending, 0);
    }
    free(source);
}

/* Of the segments that are to go. */
struct giving_up {
    uint64_t segment_no;
    Daa__StorageRemoved *body;
};

static void take_segment(const struct log_segment *segment, void *context)
{
    struct giving_up *giving_up = context;
    Daa__StorageRemoved *body = giving_up->body;
    if (segment->segment_no > giving_up->segment_no || segment->newest)
        return;
    if (!body->has_first_segment) {
        body->first_segment = segment->segment_no;
        body->first_seq = segment->first_seq;
    }
    body->last_segment = segment->segment_no;
    body->last_seq = segment->last_seq;
    body->bytes += segment->disk_bytes;
    body->has_first_segment = body->has_first_seq = body->has_last_segment = true;
    body->has_last_seq = body->has_bytes = true;
}

static void make_removed(const char *dir, uint64_t segment_no)
{
    struct error error = { 0 };
    struct pending pending = { .count = 0 };
    Daa__StorageRemoved body = DAA__STORAGE_REMOVED__INIT;
    Daa__Event event = DAA__EVENT__INIT;
    struct giving_up giving_up = { segment_no, &body };
    if (log_segments(dir, take_segment, &giving_up, &error) < 0)
        give_up("list segments", &error);
    event.body_case = DAA__EVENT__BODY_STORAGE_REMOVED;
    event.storage_removed = &body;
    add(&pending, &event);
    append(&pending, 0);
}

static void remove_segments(const char *dir, uint64_t segment_no)
{
    struct error error = { 0 };
    if (log_remove_before(dir, segment_no + 1, NULL, &error) < 0)
        give_up("remove segments", &error);
}

/*--- Running ---------------------------------------------------------------------------------*/

static void settle(void)
{
    while (log_durable_seq(event_log) + 1 < log_next_seq(event_log)) {
        CHECK(log_flush(event_log) == 0);
        CHECK(log_wait(event_log, -1, 100000000) == 0);
    }
}

/* Of encrypted workflows; false: the line says another thing. */
static bool obey_secret(const char *line)
{
    uint64_t first, key, count = 1;
    char text[64];
    if (sscanf(line, "secret %63s %" SCNu64 " %" SCNu64, text, &key, &count) >= 2)
        make_secret(text, key, count);
    else if (sscanf(line, "later %" SCNu64 " %" SCNu64 " %63s", &first, &key, text) == 3)
        make_later(first, key, text);
    else if (sscanf(line, "erase %" SCNu64 " %" SCNu64, &first, &key) == 2)
        make_erased(first, key);
    else
        return false;
    return true;
}

static void obey(const char *dir, const char *line)
{
    uint64_t count, size = 0;
    char text[64];
    if (obey_secret(line))
        ;
    else if (sscanf(line, "open %63s %" SCNu64, text, &size) >= 1)
        make_open(text, size);
    else if (sscanf(line, "complete %" SCNu64 " %63s", &count, text) == 2 ||
             sscanf(line, "pause %" SCNu64 " %63s", &count, text) == 2)
        make_change(line, count, text);
    else if (sscanf(line, "workflows %" SCNu64, &count) == 1)
        make_workflows(count, false);
    else if (sscanf(line, "stepped %" SCNu64, &count) == 1)
        make_workflows(count, true);
    else if (sscanf(line, "paced %" SCNu64 " %" SCNu64, &count, &size) == 2)
        make_paced(count, size);
    else if (sscanf(line, "fill %" SCNu64 " %" SCNu64, &count, &size) == 2)
        make_fill(count, size);
    else if (sscanf(line, "give-up %" SCNu64, &count) == 1)
        make_removed(dir, count);
    else if (sscanf(line, "remove %" SCNu64, &count) == 1)
        remove_segments(dir, count);
    else if (strcmp(line, "parked\n") == 0)
        make_parked();
    else if (strcmp(line, "awkward\n") == 0)
        make_awkward();
    else if (strcmp(line, "replaced\n") == 0)
        make_replaced();
    else if (strcmp(line, "hostile\n") == 0)
        make_hostile();
    else
        CHECK(!"a command that make-log knows");
    settle();
    printf("durable %" PRIu64 "\n", log_durable_seq(event_log));
    fflush(stdout);
}

static int write_log(const char *dir, const char *seed)
{
    struct error error = { 0 };
    char line[200];
    if (io_open_plain(&io) < 0)
        give_up("engine", &error);
    struct log_options options = {
        .dir = dir,
        .io = io,
        .budget = &budget,
        .segment_size = getenv("SEGMENT_SIZE") != NULL ? strtoull(getenv("SEGMENT_SIZE"), NULL, 10)
                                                       : SEGMENT_SIZE,
        .sync = LOG_SYNC_FDATASYNC,
        .event_schema = EVENT_SCHEMA_NEWEST,
        .start_time_ns = clock_ns = wall_clock_ns(),
    };
    if (seed != NULL) {
        random_state = strtoull(seed, NULL, 10);
        options.random = seeded_random;
    }
    const struct keyring_options keys = { .dir = getenv("KEYS"), .mode = KEYRING_READ };
    if (keys.dir != NULL && keyring_open(&keyring, &keys, &error) < 0)
        give_up("keys", &error);
    if (log_open(&event_log, &options, NULL, &error) < 0)
        give_up("open", &error);
    while (fgets(line, sizeof line, stdin) != NULL)
        obey(dir, line);
    if (log_close(&event_log, &error) < 0)
        give_up("close", &error);
    io_close(io);
    keyring_close(keyring);
    return 0;
}

/* Straight from the file: what the reader made of the record must not vouch for itself. */
static void list_record(const char *dir, const struct record *record, const struct log_place *place)
{
    char name[LOG_SEGMENT_NAME_SIZE], hex[2 * SHA256_SIZE + 1];
    uint8_t digest[SHA256_SIZE];
    const uint8_t *bytes;
    size_t size = record_size(record->payload.size);
    struct source source;
    segment_name(name, place->segment_no);
    CHECK(source_open(&source, dir, name, NULL, NULL) == 0);
    CHECK(source_bytes(&source, place->record_offset, size, &bytes) == 0);
    sha256_of(digest, bytes, size);
    bytes_to_hex(hex, digest, SHA256_SIZE);
    printf("%" PRIu64 " %s\n", record->seq, hex);
    source_close(&source);
}

static int list_log(const char *dir)
{
    struct error error = { 0 };
    struct log_reader *reader;
    struct record record;
    struct log_place place;
    const struct log_reader_options options = { .dir = dir, .budget = &budget };
    int found = log_reader_open(&reader, &options, &error);
    if (found < 0)
        give_up("open", &error);
    while ((found = log_reader_next(reader, &record, &place, &error)) == 1)
        list_record(dir, &record, &place);
    if (found < 0)
        give_up("read", &error);
    log_reader_close(reader);
    return 0;
}

int main(int argc, char **argv)
{
    CHECK(argc == 2 || argc == 3);
    budget_init(&budget, UINT64_C(1) << 30);
    if (argc == 3 && strcmp(argv[2], "list") == 0)
        return list_log(argv[1]);
    return write_log(argv[1], argc == 3 ? argv[2] : NULL);
}
