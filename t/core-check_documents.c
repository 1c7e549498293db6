/* The checker of documents: what a real agent hands over is clean; each thing that can be broken is
 * found, by name; and no bytes whatever bring it down. */
#include "agent_shell.h"
#include "core/agent/check_documents.h"
#include "core/base/bytes.h"
#include "core/event/document.pb-c.h"
#include "tap.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DONE DAA__OUTCOME__OUTCOME_DONE
#define SLEEPS                                                                                     \
    "{\"name\":\"sleeps\",\"steps\":[{\"id\":\"a\",\"sleep\":\"1h\"},"                             \
    "{\"id\":\"b\",\"needs\":[\"a\"],\"sleep\":\"1s\"}]}"
#define CALLS                                                                                      \
    "{\"name\":\"calls\",\"steps\":[{\"id\":\"a\",\"http\":{\"method\":\"POST\","                  \
    "\"url\":\"http://h/\"}}]}"
#define WAITS                                                                                      \
    "{\"name\":\"waits\",\"steps\":[{\"id\":\"a\",\"signal\":{\"name\":\"go\","                    \
    "\"timeout\":\"90s\"}}]}"

/* Of each kind one; the names are streams. */
static struct {
    struct agent_shell shell;
    struct shell_documents documents; /* to be broken */
    uint64_t sleeping, waiting, calling, parked, completed, cancelled, keyed, ended;
    uint8_t sleeps[SHA256_SIZE]; /* digest of the definition */
    uint8_t keyed_digest[SHA256_SIZE], ended_digest[SHA256_SIZE];
} world;

/*--- The world ---------------------------------------------------------------------------------*/

static uint64_t submit_keyed(const char *source, uint8_t key)
{
    struct flow *flow = shell_flow(&world.shell, source);
    struct command command = shell_submission(flow, "{}");
    command.keyed = true;
    command.key = span_of_text("key");
    command.key_digest[0] = key;
    if (shell_decide(&world.shell, &command) != DECISION_EVENTS)
        tap_bail_out("a submission was refused: %s", world.shell.decision.refusal.text);
    uint64_t stream = world.shell.log_count;
    shell_advance(&world.shell);
    flow_unref(flow);
    return stream;
}

static void record_snapshot(uint8_t digest)
{
    struct command command = { .kind = COMMAND_SNAPSHOT };
    command.snapshot.seq = world.shell.log_count;
    command.snapshot.digest[0] = digest;
    (void)shell_do(&world.shell, &command);
}

static void make_world(void)
{
    struct agent_shell *shell = &world.shell;
    shell_open(shell);
    world.sleeping = shell_submit(shell, SLEEPS, "{}");
    world.waiting = shell_submit(shell, WAITS, "{}");
    world.calling = shell_submit(shell, CALLS, "{}");
    world.parked = shell_submit(shell, CALLS, "{}");
    world.completed = shell_submit(shell, CALLS, "{}");
    world.cancelled = shell_submit(shell, CALLS, "{}");
    world.keyed_digest[0] = 7;
    world.ended_digest[0] = 9;
    world.keyed = submit_keyed(SLEEPS, 7);
    world.ended = submit_keyed(CALLS, 9);
    struct command cancel = { .kind = COMMAND_CANCEL, .stream = world.cancelled };
    (void)shell_do(shell, &cancel);
    bool answered =
        shell_answer(shell, world.parked, 0, DAA__OUTCOME__OUTCOME_UNKNOWN, "", "no answer") &&
        shell_answer(shell, world.completed, 0, DONE, "{\"status\":200}", "") &&
        shell_answer(shell, world.ended, 0, DONE, "{\"status\":200}", "");
    if (!answered)
        tap_bail_out("an effect is missing");
    struct command registered = { .kind = COMMAND_REGISTER };
    (void)shell_do(shell, &registered);
    record_snapshot(1);
    record_snapshot(2);
    struct flow *flow = shell_flow(shell, SLEEPS);
    memcpy(world.sleeps, flow->digest, SHA256_SIZE);
    flow_unref(flow);
}

/*--- Breaking it -------------------------------------------------------------------------------*/

static struct span value_of(struct document_key key)
{
    const struct shell_document *found =
        shell_documents_get(&world.documents, document_key_span(&key));
    if (found == NULL)
        tap_bail_out("the document that is to be broken is not there");
    return span_of(found->bytes, found->size);
}

static void put(struct document_key key, struct span bytes)
{
    uint8_t *copy = malloc(bytes.size + 1); /* it may be what is replaced */
    if (bytes.size > 0)
        memcpy(copy, bytes.bytes, bytes.size);
    shell_documents_put(&world.documents, document_key_span(&key), span_of(copy, bytes.size));
    free(copy);
}

static void drop(struct document_key key)
{
    (void)value_of(key);
    shell_documents_put(&world.documents, document_key_span(&key), span_of(NULL, 0));
}

static void flip(struct document_key key, size_t at, uint8_t bits)
{
    ((uint8_t *)(uintptr_t)value_of(key).bytes)[at] ^= bits;
}

static void pack(struct document_key key, ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(size + 1);
    (void)protobuf_c_message_pack(message, bytes);
    put(key, span_of(bytes, size));
    free(bytes);
    protobuf_c_message_free_unpacked(message, NULL);
}

static Daa__WorkflowDocument *workflow(uint64_t stream)
{
    struct span bytes = value_of(document_workflow_key(stream));
    return daa__workflow_document__unpack(NULL, bytes.size, bytes.bytes);
}

static void pack_workflow(uint64_t stream, Daa__WorkflowDocument *document)
{
    pack(document_workflow_key(stream), &document->base);
}

static Daa__AgentDocument *agent(void)
{
    struct span bytes = value_of(document_agent_key());
    return daa__agent_document__unpack(NULL, bytes.size, bytes.bytes);
}

static Daa__KeyDocument *key_document(const uint8_t *digest)
{
    struct span bytes = value_of(document_idempotency_key(digest));
    return daa__key_document__unpack(NULL, bytes.size, bytes.bytes);
}

static struct document_key finished_key(uint64_t stream)
{
    Daa__WorkflowDocument *document = workflow(stream);
    struct document_key key = document_finished_key(document->ended_ns, stream);
    daa__workflow_document__free_unpacked(document, NULL);
    return key;
}

static struct document_key expiry_key(void)
{
    Daa__KeyDocument *document = key_document(world.ended_digest);
    struct document_key key = document_expiry_key(document->expires_ns, world.ended_digest);
    daa__key_document__free_unpacked(document, NULL);
    return key;
}

static void begin(void)
{
    shell_documents_copy(&world.documents, &world.shell.documents);
}

/* What is broken is found, with these words and by a key of this kind, and nothing remains of the
 * check. */
static void found(char kind, const char *words, const char *name)
{
    uint64_t used = world.shell.budget.used;
    const char *findings = shell_check(&world.shell, &world.documents, NULL);
    bool there = false;
    for (const char *at = findings; *at != 0; at = strchr(at, '\n') + 1) {
        size_t size = strcspn(at, "\n");
        there |= *at == kind && memmem(at, size, words, strlen(words)) != NULL;
    }
    if (!ok(there, "%s", name))
        tap_note("wanted: %c... %s; found: %s", kind, words, findings);
    if (world.shell.budget.used != used)
        tap_bail_out("%s: memory is not given back", name);
    begin();
}

/*--- Each finding ------------------------------------------------------------------------------*/

static void of_starts(void)
{
    drop(document_active_key(world.sleeping));
    found('w', "is not there", "a workflow that no start would go on with");
    put(document_active_key(world.sleeping), span_of("\0", 1));
    found('a', "not what its steps say", "a timer that was lost");
    flip(document_active_key(world.sleeping), 6, 1);
    found('a', "not what its steps say", "a timer at another time");
    flip(document_active_key(world.waiting), 1, 1);
    found('a', "not what its steps say", "a timer of another step");
    flip(document_active_key(world.calling), 0, DOCUMENT_RUNNING);
    found('a', "not what its steps say", "an effect under way that is not said");
    flip(document_active_key(world.sleeping), 0, DOCUMENT_READY);
    found('a', "not what its steps say", "a workflow among the ready that is not");
    put(document_active_key(4711), span_of("\0", 1));
    found('a', "which is not there", "a start that would look for no workflow");
    put(document_active_key(world.completed), span_of("\0", 1));
    found('a', "has ended, and a start would go on", "a start that would go on after the end");
}

static void of_ends(void)
{
    struct document_key key = finished_key(world.completed);
    uint8_t value[DOCUMENT_FINISHED_SIZE];
    memcpy(value, value_of(key).bytes, sizeof value);
    drop(key);
    found('w', "place in the order of ends is not there", "an end that will never expire");
    drop(key);
    found('g', "are in the order of their ends", "nor is it counted");
    flip(key, 0, 1);
    found('f', "not what its steps say", "another size");
    flip(key, 8, 1);
    found('f', "not what its steps say", "settled or not");
    flip(key, 9, 1);
    found('f', "not what its steps say", "another definition");
    put(document_finished_key(1, world.completed), span_of(value, sizeof value));
    found('f', "has not ended then", "an end at two times");
    put(document_finished_key(1, world.sleeping), span_of(value, sizeof value));
    found('f', "has not ended then", "an end of what has not ended");
    put(document_finished_key(1, 4711), span_of(value, sizeof value));
    found('f', "is to expire and is not there", "an end of nothing");
    drop(document_workflow_key(world.cancelled));
    found('f', "is to expire and is not there", "a workflow that was lost after its end");
}

static void of_definitions(void)
{
    struct document_key key = document_definition_key(world.sleeps),
                        usage = document_usage_key(world.sleeps);
    uint8_t one[8];
    drop(key);
    found('w', "its definition is not there", "a workflow without its definition");
    drop(key);
    found('u', "a definition that is not there", "a count of uses of no definition");
    drop(key);
    found('g', "it counts 3 definitions, and there are 2", "and a definition less");
    put(key, span_of_text("\xff\xff"));
    found('d', "its bytes are no DefinitionDocument", "a definition that is no document");
    struct span source = value_of(key);
    flip(key, source.size - 12, 1);
    found('d', "does not compile, or is not", "a definition that was changed");
    flip(key, 4, 1);
    found('d', "name or event is not that", "a definition of another name");
    put(key, span_of(value_of(document_definition_key(world.sleeps)).bytes, 0));
    found('d', "does not compile", "a definition without a source");
    drop(usage);
    found('d', "no workflow is counted", "a definition whose uses are not counted");
    drop(usage);
    found('u', "it counts 0 workflows that use the definition, and there are 2",
          "and how many there are");
    flip(usage, 0, 1);
    found('u', "it counts 3 workflows that use the definition, and there are 2", "one too many");
    memset(one, 0, sizeof one);
    put(usage, span_of(one, sizeof one));
    found('u', "counts no workflows", "a count of none");
    put(usage, span_of(one, 3));
    found('u', "counts no workflows", "a count that is too short");
}

static void of_keys(void)
{
    struct document_key keyed = document_idempotency_key(world.keyed_digest),
                        ended = document_idempotency_key(world.ended_digest);
    drop(keyed);
    found('w', "its idempotency key is not there", "a key that was lost");
    drop(keyed);
    found('g', "it counts 2 idempotency keys, and there are 1", "and is not counted");
    put(keyed, span_of_text("\xff"));
    found('k', "its bytes are no KeyDocument", "a key that is no document");
    drop(ended);
    found('x', "that is not there", "an expiry of no key");
    drop(expiry_key());
    found('k', "not in the order of those that do", "a key that never expires");
    drop(expiry_key());
    found('g', "1 idempotency keys expire, and 0", "and how many");
    put(document_expiry_key(1, world.ended_digest), span_of("", 0));
    found('x', "and not at 1", "an expiry at another time");
    put(expiry_key(), span_of("x", 1));
    found('x', "should be empty", "an expiry that says something");

    Daa__KeyDocument *document = key_document(world.keyed_digest);
    document->has_expires_ns = 1;
    document->expires_ns = 5;
    pack(keyed, &document->base);
    found('k', "has not ended, and its idempotency key already expires", "too early");
    document = key_document(world.ended_digest);
    document->has_expires_ns = 0;
    pack(ended, &document->base);
    found('k', "has ended, and its idempotency key never expires", "never");
    document = key_document(world.keyed_digest);
    document->stream = world.sleeping;
    pack(keyed, &document->base);
    found('k', "which has another", "a key of a workflow with none");
    document = key_document(world.keyed_digest);
    document->stream = world.sleeping;
    pack(keyed, &document->base);
    found('w', "is another workflow's", "which its own workflow misses");
    document = key_document(world.keyed_digest);
    document->stream = 4711;
    pack(keyed, &document->base);
    found('k', "waits for the end of workflow 4711, which is not there", "a key of nothing");
    document = key_document(world.keyed_digest);
    document->has_stream = 0;
    pack(keyed, &document->base);
    found('k', "names no workflow", "a key that names nothing");
}

static void of_counts(void)
{
    static const struct {
        size_t has, value;
        const char *what;
    } counts[] = {
#define COUNT(name, what)                                                                          \
    { offsetof(Daa__AgentDocument, has_##name), offsetof(Daa__AgentDocument, name), what }
        COUNT(running, "running workflows"),
        COUNT(pending, "pending workflows"),
        COUNT(paused, "paused workflows"),
        COUNT(finished, "workflows that have ended"),
        COUNT(finished_bytes, "bytes of workflows that have ended"),
        COUNT(keys, "idempotency keys"),
        COUNT(definitions, "definitions"),
        COUNT(completed, "submitted workflows"),
        COUNT(failed, "submitted workflows"),
        COUNT(cancelled, "submitted workflows"),
#undef COUNT
    };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        Daa__AgentDocument *document = agent();
        *(protobuf_c_boolean *)((char *)document + counts[i].has) = 1;
        ++*(uint64_t *)(void *)((char *)document + counts[i].value);
        pack(document_agent_key(), &document->base);
        found('g', counts[i].what, counts[i].what);
    }
    Daa__AgentDocument *document = agent();
    is_int(document->n_snapshots, 2, "there are two snapshots");
    is_int(document->n_logs, 1, "and one log");
    document->snapshots[0]->seq = document->snapshots[1]->seq + 1;
    pack(document_agent_key(), &document->base);
    found('g', "snapshots that it names do not ascend", "which are in order");
    document = agent();
    document->logs[0]->uuid.len = 3;
    pack(document_agent_key(), &document->base);
    found('g', "logs that it names do not ascend", "and whose log has a name");
    put(document_agent_key(), span_of_text("\xff"));
    found('g', "its bytes are no AgentDocument", "counts that are no document");
    drop(document_agent_key());
    found('g', "is not there", "no counts at all");
    put((struct document_key){ .bytes = "z1", .size = 2 }, span_of("", 0));
    found('z', "no such kind", "a document of no kind");
    put((struct document_key){ .bytes = "a1", .size = 2 }, span_of("", 0));
    found('a', "no such kind", "a key of no size");
}

/* One field of a step or workflow each. */
static void step_is(uint64_t stream, Daa__StepStatus status, const char *words, const char *name)
{
    Daa__WorkflowDocument *document = workflow(stream);
    document->steps[0]->status = status;
    pack_workflow(stream, document);
    found('w', words, name);
}

static void workflow_is(uint64_t stream, Daa__WorkflowStatus status, const char *words,
                        const char *name)
{
    Daa__WorkflowDocument *document = workflow(stream);
    document->status = status;
    pack_workflow(stream, document);
    found('w', words, name);
}

static void of_workflows(void)
{
    step_is(world.sleeping, DAA__STEP_STATUS__STEP_BLOCKED, "a step waits for steps that are done",
            "a step that waits for nothing");
    step_is(world.sleeping, DAA__STEP_STATUS__STEP_COMPLETED,
            "a step waits for steps that are done", "a step that was not unblocked");
    step_is(world.sleeping, DAA__STEP_STATUS__STEP_RUNNING, "no step of its kind does",
            "a sleep with an effect");
    step_is(world.calling, DAA__STEP_STATUS__STEP_SLEEPING, "no step of its kind does",
            "a request that sleeps");
    step_is(world.calling, DAA__STEP_STATUS__STEP_BACKOFF, "waits for a timer that was never set",
            "a retry that will never be");
    step_is(world.calling, DAA__STEP_STATUS__STEP_COMPLETED, "it waits for nothing",
            "a workflow that waits for nothing");
    step_is(world.calling, DAA__STEP_STATUS__STEP_UNCERTAIN, "parked and it is not paused",
            "a step that nobody knows to be parked");
    step_is(world.parked, DAA__STEP_STATUS__STEP_COMPLETED, "nothing of it is parked",
            "a pause for nothing");
    step_is(world.completed, DAA__STEP_STATUS__STEP_RUNNING, "one of its steps has not",
            "a step left behind");
    step_is(world.calling, (Daa__StepStatus)99, "cannot be read", "a step in no status");
    workflow_is(world.completed, DAA__WORKFLOW_STATUS__WORKFLOW_RUNNING, "contradict each other",
                "an end that is taken back");
    workflow_is(world.calling, DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED, "one of its steps has not",
                "an end before that of a step");
    workflow_is(world.calling, (Daa__WorkflowStatus)99, "cannot be read",
                "a workflow in no status");
    workflow_is(world.sleeping, DAA__WORKFLOW_STATUS__WORKFLOW_PAUSED, "nothing of it is parked",
                "a sleep that is paused");
    workflow_is(world.calling, DAA__WORKFLOW_STATUS__WORKFLOW_PENDING,
                "time of its start contradict", "a start that is taken back");

    Daa__WorkflowDocument *document = workflow(world.sleeping);
    document->n_steps = 1;
    struct document_key key = document_workflow_key(world.sleeping);
    Daa__StepDocument *kept = document->steps[1];
    pack_workflow(world.sleeping, document);
    daa__step_document__free_unpacked(kept, NULL);
    found('w', "has 1 steps, and its definition 2", "a step that was lost");
    document = workflow(world.sleeping);
    document->definition.data[0] ^= 1;
    pack_workflow(world.sleeping, document);
    found('w', "its definition is not there", "a definition that nobody knows");
    document = workflow(world.completed);
    document->has_ended_ns = 0;
    pack_workflow(world.completed, document);
    found('w', "the time of its end contradict", "an end at no time");
    document = workflow(world.sleeping);
    document->definition.len = 3;
    pack_workflow(world.sleeping, document);
    found('w', "names no definition", "no definition");
    put(key, span_of_text("\xff"));
    found('w', "its bytes are no WorkflowDocument", "no document");
    document = workflow(world.sleeping);
    document->has_reason = 1; /* empty: left out when it is written */
    pack_workflow(world.sleeping, document);
    found('w', "not in the form in which it is written", "a field that is never written");
    drop(key);
    found('g', "running workflows", "a workflow less");
}

/*--- All of it ---------------------------------------------------------------------------------*/

static void clean(void)
{
    struct check_documents_result result;
    static const struct shell_documents nothing;
    make_world();
    begin();
    is_str(shell_check(&world.shell, &world.documents, &result), "",
           "what an agent hands over is clean");
    is_int(result.findings, 0, "nothing is found");
    is_int(result.documents, world.documents.count, "every document was looked at");
    is_int(result.workflows, 8, "workflows,");
    is_int(result.definitions, 3, "definitions");
    is_int(result.keys, 2, "and keys");
    ok(result.usages_checked, "and how often definitions are used");
    is_str(shell_check(&world.shell, &nothing, NULL), "", "and so is nothing at all");
}

static int get_nothing(struct span key, struct span *bytes, void *context)
{
    (void)key;
    (void)bytes;
    return *(const int *)context;
}

static void count_told(struct span key, const char *sentence, void *context)
{
    (void)key;
    (void)sentence;
    (void)context;
}

static uint64_t told;
static void count_one(struct span key, const char *sentence, void *context)
{
    count_told(key, sentence, context);
    told++;
}

static void of_the_check_itself(void)
{
    struct check_documents *check = NULL;
    struct check_documents_result result;
    struct budget budget;
    struct error error;
    int answer = ERROR_DAMAGED;
    struct check_documents_options options = {
        .budget = &budget, .get = get_nothing, .found = count_one, .context = &answer
    };
    budget_init(&budget, 1 << 20);
    if (check_documents_open(&check, &options, &error) < 0)
        tap_bail_out("%s", error.text);
    struct document_key key = document_active_key(1);
    is_int(check_documents_add(check, document_key_span(&key), span_of("\0", 1)), ERROR_DAMAGED,
           "documents that cannot be read end the check");
    answer = 0;
    for (int i = 0; i < 150; i++)
        (void)check_documents_add(check, span_of("?", 1), span_of("", 0));
    is_int(check_documents_end(check, &result), 0, "it ends");
    is_int(result.findings, 151, "all findings are counted");
    is_int(told, CHECK_FINDINGS_TOLD_MAX, "the first hundred are told");
    check_documents_close(check);
    is_int(budget.used, 0, "all memory is given back");
    budget_init(&budget, 3000);
    is_int(check_documents_open(&check, &options, &error), ERROR_BUDGET, "too little memory");
    is_int(budget.used, 0, "leaves nothing behind");
}

/* A budget that ends anywhere: an error, and never a finding. */
static void of_memory(void)
{
    struct budget budget;
    unsigned ended = 0, whole = 0;
    for (uint64_t limit = 4000; limit < 400000; limit += limit / 16) {
        struct check_documents *check = NULL;
        struct check_documents_result result = { 0 };
        struct error error;
        budget_init(&budget, limit);
        int answer = 0, status;
        struct check_documents_options options = {
            .budget = &budget, .get = get_nothing, .found = count_one, .context = &answer
        };
        status = check_documents_open(&check, &options, &error);
        for (size_t i = 0; status == 0 && i < world.documents.count; i++)
            if (world.documents.items[i].key.bytes[0] == 'd')
                status = check_documents_add(
                    check, document_key_span(&world.documents.items[i].key),
                    span_of(world.documents.items[i].bytes, world.documents.items[i].size));
        if (status == 0)
            status = check_documents_end(check, &result);
        check_documents_close(check);
        ended += status == ERROR_BUDGET;
        whole += status == 0 && result.definitions == 3;
        if (status != 0 && status != ERROR_BUDGET)
            tap_bail_out("%s", error_text(status));
        if (budget.used != 0)
            tap_bail_out("memory is not given back at a limit of %" PRIu64, limit);
    }
    ok(ended > 0, "too little memory ends the check: %u times", ended);
    ok(whole > 0, "enough does not: %u times", whole);
}

/*--- Any bytes ---------------------------------------------------------------------------------*/

static uint64_t seed;

static uint64_t below(uint64_t limit)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % limit;
}

static void mutate(void)
{
    struct shell_documents *documents = &world.documents;
    if (documents->count == 0)
        return;
    const struct shell_document *one = &documents->items[below(documents->count)];
    struct document_key key = one->key;
    uint8_t bytes[4096];
    size_t size = one->size < sizeof bytes / 2 ? one->size : sizeof bytes / 2;
    memcpy(bytes, one->bytes, size);
    switch (below(6)) {
    case 0:
        drop(key);
        return;
    case 1: /* under another key */
        key.bytes[below(key.size)] ^= (uint8_t)(1u << below(8));
        break;
    case 2:
        size = below(size + 1);
        break;
    case 3:
        for (uint64_t more = below(20); more > 0; more--)
            bytes[size++] = (uint8_t)below(256);
        break;
    case 4: /* another one's value */
        key = documents->items[below(documents->count)].key;
        break;
    default:
        for (uint64_t flips = size > 0 ? 1 + below(8) : 0; flips > 0; flips--)
            bytes[below(size)] ^= (uint8_t)(1u << below(8));
        break;
    }
    if (key.bytes[0] != '!')
        put(key, span_of(bytes, size));
}

static void any_bytes(void)
{
    const char *given = getenv("SEED");
    uint64_t rounds = 4000, noticed = 0, used = world.shell.budget.used;
    seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) % 1000000 + 1;
    tap_note("SEED=%" PRIu64 " runs the same again", seed);
    for (uint64_t i = 0; i < rounds; i++) {
        begin();
        for (uint64_t count = 1 + below(4); count > 0; count--)
            mutate();
        noticed += shell_check(&world.shell, &world.documents, NULL)[0] != 0;
        if (world.shell.budget.used != used)
            tap_bail_out("memory is not given back");
    }
    ok(noticed > rounds * 8 / 10, "%" PRIu64 " of %" PRIu64 " random changes are noticed", noticed,
       rounds);
}

int main(void)
{
    clean();
    of_starts();
    of_ends();
    of_definitions();
    of_keys();
    of_counts();
    of_workflows();
    of_the_check_itself();
    of_memory();
    any_bytes();
    shell_documents_free(&world.documents);
    shell_close(&world.shell);
    return tap_done();
}
