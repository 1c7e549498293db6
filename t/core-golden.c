/* The events of each schema as they were first written, in t/golden: what apply makes of them never
 * changes, only the documents' own version does. events-1 is what release 0.1 wrote of workflows;
 * events-1-keeping what came after it: clocks, snapshots, removals, expiry, forks; events-2 are
 * encrypted. GOLDEN_WRITE=<dir> writes all anew into directories of these names, for a new schema.
 */
#include "agent_shell.h"
#include "core/base/bytes.h"
#include "core/event/event.h"
#include "scratch.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DOCUMENTS "documents-2.sha256" /* by DOCUMENT_VERSION */
_Static_assert(DOCUMENT_VERSION == 2, "a new version of the documents has a digest of its own");
/* Seq, stream, time, previous (8 each), kind (2), size (4); in schema 2 the key too (4). */
#define RECORD_HEADER_SIZE 38u
#define RECORD_HEADER_SIZE_MAX 42u

static const char *const programs[] = { "/bin/true" };

static const char everything[] =
    "{\"name\":\"everything\",\"steps\":["
    "{\"id\":\"nap\",\"sleep\":\"2s\"},"
    "{\"id\":\"get\",\"http\":{\"url\":\"http://h/${{ input.id }}\"},"
    "\"retry\":{\"max_attempts\":3,\"initial\":\"1s\"}},"
    "{\"id\":\"post\",\"needs\":[\"nap\"],\"http\":{\"method\":\"POST\",\"url\":\"http://h/\","
    "\"body\":{\"v\":\"${{ input }}\"}}},"
    "{\"id\":\"run\",\"exec\":{\"argv\":[\"/bin/true\"]},\"on_failure\":\"continue\"},"
    "{\"id\":\"go\",\"needs\":[\"run\"],\"signal\":{\"name\":\"go\",\"timeout\":\"1h\"}},"
    "{\"id\":\"stop\",\"signal\":{\"name\":\"stop\"}}]}";

static struct agent_shell a_shell(void)
{
    struct agent_shell shell = { .random = 42 };
    shell.options.exec_enabled = true;
    shell.options.exec_allow = programs;
    shell.options.exec_allow_count = 1;
    return shell;
}

static void signal_it(struct agent_shell *shell, uint64_t stream, const char *name, uint8_t key)
{
    struct command command = { .kind = COMMAND_SIGNAL, .stream = stream };
    command.signal.name = span_of_text(name);
    command.signal.payload = span_of_text("{\"by\":\"hand\"}");
    command.keyed = key != 0;
    command.key_digest[0] = key;
    (void)shell_do(shell, &command);
}

static uint64_t submit_keyed(struct agent_shell *shell, const char *source, uint8_t key)
{
    struct flow *flow = shell_flow(shell, source);
    struct command command = shell_submission(flow, "{\"id\":7,\"text\":\"\\u00e4\"}");
    command.actor = (struct command_actor){ DAA__ACTOR__TYPE__TOKEN, span_of_text("admin") };
    command.request_id = span_of_text("req-1");
    command.submit.metadata = span_of_text("{\"team\":\"blue\"}");
    command.keyed = true;
    command.key = span_of_text("order-7");
    command.key_digest[0] = key;
    (void)shell_decide(shell, &command);
    uint64_t stream = shell->log_count;
    shell_advance(shell);
    flow_unref(flow);
    return stream;
}

/* One workflow that meets nearly every kind of event. */
static void live_through(struct agent_shell *shell)
{
    uint64_t stream = submit_keyed(shell, everything, 1);
    struct command spawned = { .kind = COMMAND_SPAWNED, .stream = stream };
    spawned.spawned.index = 3;
    spawned.spawned.attempt = 1;
    spawned.spawned.pid = 4711;
    spawned.spawned.start_time = 99;
    spawned.spawned.boot_id = span_of_text("0123456789abcdef");
    (void)shell_do(shell, &spawned);
    shell_answer(shell, stream, 1, DAA__OUTCOME__OUTCOME_NOT_DONE, "", "refused");
    shell_wait(shell, 3 * SHELL_SECOND);
    shell_answer(shell, stream, 1, DAA__OUTCOME__OUTCOME_DONE, "{\"status\":200}", "");
    shell_answer(shell, stream, 2, DAA__OUTCOME__OUTCOME_UNKNOWN, "", "timed out");
    signal_it(shell, stream, "go", 3);
    struct command resolve = { .kind = COMMAND_RESOLVE, .stream = stream };
    resolve.resolve.step = span_of_text("post");
    resolve.resolve.resolution = DAA__RESOLUTION__RESOLVE_DONE;
    resolve.resolve.output = span_of_text("{\"status\":201}");
    resolve.resolve.reason = span_of_text("seen in the other system");
    (void)shell_do(shell, &resolve);
    shell_answer(shell, stream, 3, DAA__OUTCOME__OUTCOME_NOT_DONE, "{\"exit\":1}", "exit 1");
    signal_it(shell, stream, "stop", 0);
}

static void scenario(struct agent_shell *shell)
{
    struct command registered = { .kind = COMMAND_REGISTER };
    registered.registered.version = span_of_text("0.1.0");
    registered.registered.host = span_of_text("host");
    (void)shell_do(shell, &registered);
    live_through(shell);
    uint64_t failed = submit_keyed(
        shell,
        "{\"name\":\"f\",\"steps\":[{\"id\":\"a\",\"signal\":{\"name\":\"x\",\"timeout\":\"5s\"},"
        "\"on_failure\":\"fail\"},{\"id\":\"b\",\"needs\":[\"a\"],\"sleep\":\"0s\"}]}",
        2);
    shell_wait(shell, 6 * SHELL_SECOND);
    uint64_t left = submit_keyed(shell, everything, 4); /* that has not ended */
    uint64_t cancelled = submit_keyed(shell, everything, 5);
    struct command cancel = { .kind = COMMAND_CANCEL, .stream = cancelled };
    cancel.cancel.reason = span_of_text("not wanted");
    (void)shell_do(shell, &cancel);
    shell_answer(shell, cancelled, 1, DAA__OUTCOME__OUTCOME_DONE, "\"late\"", "");
    signal_it(shell, left, "other", 6);
    struct command stop = { .kind = COMMAND_STOP };
    stop.stop.reason = span_of_text("SIGTERM");
    (void)shell_do(shell, &stop);
    ok(failed != left, "the scenario ran");
}

/*--- What keeps the state --------------------------------------------------------------------*/

static void register_as(struct agent_shell *shell, uint8_t log)
{
    struct command registered = { .kind = COMMAND_REGISTER };
    registered.registered.version = span_of_text("0.2.0");
    registered.registered.host = span_of_text("host");
    agent_close(shell->agent);
    shell->options.log_uuid[0] = log;
    struct shell_documents documents = { NULL, 0, 0 };
    shell_documents_copy(&documents, &shell->documents);
    shell->agent = shell_replay(shell, &documents, shell->log_count);
    shell_documents_free(&documents);
    agent_live(shell->agent);
    (void)shell_do(shell, &registered);
}

static void expire(struct agent_shell *shell)
{
    struct expired_key keys[8];
    struct expired_workflow workflows[8];
    struct command command = { .kind = COMMAND_EXPIRE_KEYS };
    uint32_t key_count = 0, count = 0;
    for (size_t i = 0; i < shell->documents.count; i++) {
        const struct shell_document *document = &shell->documents.items[i];
        struct span key = document_key_span(&document->key);
        struct document_finished finished;
        key_count +=
            document_expiry_of_key(key, &keys[key_count].expires_ns, keys[key_count].digest);
        if (!document_finished_of_key(key, &workflows[count].ended_ns, &workflows[count].stream) ||
            !document_finished_decode(span_of(document->bytes, document->size), &finished))
            continue;
        workflows[count].size = finished.size;
        workflows[count].settled = finished.settled;
        memcpy(workflows[count++].definition, finished.definition, SHA256_SIZE);
    }
    command.expire_keys.items = keys;
    command.expire_keys.count = key_count;
    (void)shell_do(shell, &command);
    command = (struct command){ .kind = COMMAND_EXPIRE_WORKFLOWS };
    command.expire_workflows.items = workflows;
    command.expire_workflows.count = count;
    command.expire_workflows.reason = span_of_text("state.finished_ttl");
    (void)shell_do(shell, &command);
}

static void set_clock(struct agent_shell *shell, int change, uint64_t wall_ns)
{
    struct command command = { .kind = COMMAND_CLOCK };
    command.clock.change = change;
    shell->wall_ns = wall_ns;
    (void)shell_do(shell, &command);
}

static void keeping(struct agent_shell *shell)
{
    static const char nap[] = "{\"name\":\"nap\",\"steps\":[{\"id\":\"a\",\"sleep\":\"1s\"}]}";
    static const char wait[] = "{\"name\":\"wait\",\"steps\":[{\"id\":\"a\",\"signal\":{\"name\":"
                               "\"x\",\"timeout\":\"9h\"}}]}";
    register_as(shell, 1);
    uint64_t first = submit_keyed(shell, nap, 1), second = submit_keyed(shell, wait, 2);
    shell_wait(shell, 2 * SHELL_SECOND);
    set_clock(shell, DAA__CLOCK_STEPPED__CHANGE__STEPPED, shell->now_ns + 3600 * SHELL_SECOND);
    set_clock(shell, DAA__CLOCK_STEPPED__CHANGE__ACCEPTED, shell->now_ns + 3600 * SHELL_SECOND);
    shell->now_ns += 3600 * SHELL_SECOND;
    struct command snapshot = { .kind = COMMAND_SNAPSHOT };
    snapshot.snapshot.seq = shell->log_count;
    snapshot.snapshot.documents = shell->documents.count;
    snapshot.snapshot.bytes = 1000;
    snapshot.snapshot.digest[0] = 7;
    (void)shell_do(shell, &snapshot);
    struct command removal = { .kind = COMMAND_REMOVE };
    removal.remove.first_segment = removal.remove.last_segment = 1;
    removal.remove.first_seq = 1;
    removal.remove.last_seq = 3;
    removal.remove.bytes = 262144;
    removal.remove.reason = span_of_text("too much");
    (void)shell_do(shell, &removal);
    shell_wait(shell, 3700 * SHELL_SECOND);
    expire(shell);
    register_as(shell, 2);
    uint64_t third = submit_keyed(shell, wait, 3);
    signal_it(shell, second, "x", 0);
    ok(first < second && second < third, "the scenario of what keeps the state ran");
}

/* Two in a row, the second with what was sealed; one that was signed too late is no event. */
static void anchors(struct agent_shell *shell)
{
    struct anchor anchor = { .segment_no = 1, .signed_ns = shell->now_ns };
    struct command command = { .kind = COMMAND_ANCHOR };
    command.anchor.signed_head = &anchor;
    register_as(shell, 1);
    anchor.seq = shell->log_count;
    (void)shell_do(shell, &command);
    anchor.previous = shell->log_count;
    register_as(shell, 2);
    anchor.seq = shell->log_count;
    anchor.segment_count = 1;
    anchor.segments[0] = (struct anchor_segment){ 1, 1, anchor.seq, { 7 } };
    (void)shell_do(shell, &command);
    size_t count = shell->log_count;
    (void)shell_do(shell, &command);
    struct agent_counts counts;
    agent_counts_get(shell->agent, &counts);
    ok(count == shell->log_count && counts.anchor.event == count &&
           counts.anchor.seq == anchor.seq && counts.anchor.segment_no == 1,
       "the anchors are one row, and the agent knows its end");
}

/*--- What is encrypted -----------------------------------------------------------------------*/

/* Two workflows that live through everything and one that waits; of the first nothing can be read
 * any more. */
static void encrypted(struct agent_shell *shell)
{
    static const char wait[] = "{\"name\":\"wait\",\"steps\":[{\"id\":\"a\",\"signal\":{\"name\":"
                               "\"x\",\"timeout\":\"9h\"}}]}";
    agent_close(shell->agent);
    shell->encrypt = true;
    if (agent_open(&shell->agent, &shell->options, NULL) < 0)
        tap_bail_out("no agent");
    agent_live(shell->agent);
    scenario(shell);
    uint64_t left = submit_keyed(shell, wait, 9);
    signal_it(shell, left, "other", 0);
    uint64_t first = 0;
    for (size_t i = 0; first == 0; i++)
        if (shell->log[i].header.kind == DAA__EVENT__BODY_WORKFLOW_SUBMITTED)
            first = i + 1;
    ok(shell_erase(shell, first) == DECISION_EVENTS, "the first workflow is erased");
    shell_take(shell);
}

/*--- Writing and reading ---------------------------------------------------------------------*/

static size_t header_size(const char *name)
{
    return strcmp(name, "events-2") == 0 ? RECORD_HEADER_SIZE_MAX : RECORD_HEADER_SIZE;
}

static void write_golden(const char *into, const char *name, void (*play)(struct agent_shell *))
{
    struct agent_shell shell = a_shell();
    uint8_t digest[SHA256_SIZE], header[RECORD_HEADER_SIZE_MAX];
    char dir[400], path[512], hex[2 * SHA256_SIZE + 1];
    (void)snprintf(dir, sizeof dir, "%s/%s", into, name);
    (void)mkdir(dir, 0777);
    shell_open(&shell);
    play(&shell);
    (void)snprintf(path, sizeof path, "%s/events", dir);
    FILE *out = fopen(path, "w");
    for (size_t i = 0; out != NULL && i < shell.log_count; i++) {
        const struct shell_event *event = &shell.log[i];
        bytes_put_u64(header, event->header.seq);
        bytes_put_u64(header + 8, event->header.stream);
        bytes_put_u64(header + 16, event->header.time_ns);
        bytes_put_u64(header + 24, event->header.stream_prev_seq);
        bytes_put_u16(header + 32, event->header.kind);
        bytes_put_u32(header + 34, (uint32_t)event->size);
        bytes_put_u32(header + 38, event->header.key_id);
        (void)fwrite(header, 1, header_size(name), out);
        (void)fwrite(event->bytes, 1, event->size, out);
    }
    ok(out != NULL && fclose(out) == 0, "%s is written", path);
    shell_documents_digest(&shell.documents, digest);
    bytes_to_hex(hex, digest, sizeof digest);
    (void)snprintf(path, sizeof path, "%s/" DOCUMENTS, dir);
    out = fopen(path, "w");
    ok(out != NULL && fprintf(out, "%s\n", hex) > 0 && fclose(out) == 0, "%s is written", path);
    shell_close(&shell);
}

static void read_events(struct agent_shell *shell, const uint8_t *bytes, size_t size, size_t head)
{
    shell->log = calloc(4096, sizeof *shell->log);
    for (size_t at = 0; at + head <= size && shell->log_count < 4096;) {
        struct shell_event *event = &shell->log[shell->log_count++];
        event->header = (struct event_header){ .seq = bytes_get_u64(bytes + at),
                                               .stream = bytes_get_u64(bytes + at + 8),
                                               .time_ns = bytes_get_u64(bytes + at + 16),
                                               .stream_prev_seq = bytes_get_u64(bytes + at + 24),
                                               .kind = bytes_get_u16(bytes + at + 32) };
        event->size = bytes_get_u32(bytes + at + 34);
        if (head == RECORD_HEADER_SIZE_MAX)
            event->header.key_id = bytes_get_u32(bytes + at + 38);
        at += head;
        if (event->size > size - at)
            tap_bail_out("the golden events end too early");
        event->bytes = malloc(event->size + 1);
        memcpy(event->bytes, bytes + at, event->size);
        at += event->size;
    }
}

/* step.skipped is named in the schema and not written by this version. */
static void has_all_kinds(const bool kinds[128])
{
    unsigned missing = 0;
    for (uint16_t kind = 16; kind < 128; kind++) {
        bool there = event_kind_name(kind) == NULL || kind == DAA__EVENT__BODY_STEP_SKIPPED;
        missing += !there && !kinds[kind];
        if (!there && !kinds[kind])
            tap_note("no %s", event_kind_name(kind));
    }
    is_int(missing, 0, "every kind that is written is among them");
}

/* `erased`: a key that was destroyed; 0: none was. */
static void replay_golden(const char *name, uint32_t erased, bool kinds[128])
{
    struct shell_documents documents = { NULL, 0, 0 };
    struct agent_shell shell = a_shell();
    uint8_t digest[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1], path[512];
    unsigned long size;
    shell_open(&shell);
    shell.erased[erased] = erased != 0;
    (void)snprintf(path, sizeof path, "t/golden/%s/events", name);
    unsigned char *bytes = scratch_read(path, &size);
    read_events(&shell, bytes, size, header_size(name));
    free(bytes);
    for (size_t i = 0; i < shell.log_count; i++)
        kinds[shell.log[i].header.kind] = true;
    struct agent *agent = shell_replay(&shell, &documents, 0);
    shell_documents_digest(&documents, digest);
    bytes_to_hex(hex, digest, sizeof digest);
    (void)snprintf(path, sizeof path, "t/golden/%s/" DOCUMENTS, name);
    bytes = scratch_read(path, &size);
    if (!ok(size == sizeof hex && memcmp(hex, bytes, sizeof hex - 1) == 0,
            "%s: the events give the documents that they always gave%s", name,
            erased ? ", also without the key of what was erased" : ""))
        tap_note("%s", hex);
    free(bytes);
    is_int(agent_check(agent, NULL), 0, "and a sound agent");
    agent_close(agent);
    shell_documents_free(&documents);
    shell_close(&shell);
}

int main(void)
{
    const char *into = getenv("GOLDEN_WRITE");
    bool kinds[128] = { false };
    if (into != NULL) {
        write_golden(into, "events-1", scenario);
        write_golden(into, "events-1-keeping", keeping);
        write_golden(into, "events-1-anchors", anchors);
        write_golden(into, "events-2", encrypted);
        return tap_done();
    }
    replay_golden("events-1", 0, kinds);
    replay_golden("events-1-keeping", 0, kinds);
    replay_golden("events-1-anchors", 0, kinds);
    replay_golden("events-2", 0, kinds);
    replay_golden("events-2", 1, kinds);
    has_all_kinds(kinds);
    return tap_done();
}
