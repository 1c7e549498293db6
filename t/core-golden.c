/* The events of schema 1 as they were first written, in t/golden: what apply makes of them never
 * changes. GOLDEN_WRITE=<dir> writes them anew, for a new schema. */
#include "agent_shell.h"
#include "core/base/bytes.h"
#include "core/event/event.h"
#include "scratch.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN "t/golden/events-1"
#define DOCUMENTS "documents-2.sha256" /* by DOCUMENT_VERSION */
_Static_assert(DOCUMENT_VERSION == 2, "a new version of the documents has a digest of its own");
#define RECORD_HEADER_SIZE 38u /* seq, stream, time, previous (8 each), kind (2), size (4) */

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

static void write_golden(const char *dir)
{
    struct agent_shell shell = a_shell();
    uint8_t digest[SHA256_SIZE], header[RECORD_HEADER_SIZE];
    char path[512], hex[2 * SHA256_SIZE + 1];
    shell_open(&shell);
    scenario(&shell);
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
        (void)fwrite(header, 1, sizeof header, out);
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

static void read_events(struct agent_shell *shell, const uint8_t *bytes, size_t size)
{
    shell->log = calloc(4096, sizeof *shell->log);
    for (size_t at = 0; at + RECORD_HEADER_SIZE <= size && shell->log_count < 4096;) {
        struct shell_event *event = &shell->log[shell->log_count++];
        event->header = (struct event_header){ .seq = bytes_get_u64(bytes + at),
                                               .stream = bytes_get_u64(bytes + at + 8),
                                               .time_ns = bytes_get_u64(bytes + at + 16),
                                               .stream_prev_seq = bytes_get_u64(bytes + at + 24),
                                               .kind = bytes_get_u16(bytes + at + 32) };
        event->size = bytes_get_u32(bytes + at + 34);
        at += RECORD_HEADER_SIZE;
        if (event->size > size - at)
            tap_bail_out("%s/events ends too early", GOLDEN);
        event->bytes = malloc(event->size + 1);
        memcpy(event->bytes, bytes + at, event->size);
        at += event->size;
    }
}

/* step.skipped is named in the schema and not written by this version; kinds from 80 on have tests
 * of their own. */
static void has_all_kinds(const struct agent_shell *shell)
{
    unsigned missing = 0;
    for (uint16_t kind = 16; kind < 80; kind++) {
        bool there = event_kind_name(kind) == NULL || kind == DAA__EVENT__BODY_STEP_SKIPPED;
        for (size_t i = 0; i < shell->log_count; i++)
            there |= shell->log[i].header.kind == kind;
        missing += !there;
        if (!there)
            tap_note("no %s", event_kind_name(kind));
    }
    is_int(missing, 0, "every kind that is written is among them");
}

int main(void)
{
    struct shell_documents documents = { NULL, 0, 0 };
    struct agent_shell shell = a_shell();
    uint8_t digest[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1];
    unsigned long size;
    if (getenv("GOLDEN_WRITE") != NULL) {
        write_golden(getenv("GOLDEN_WRITE"));
        return tap_done();
    }
    shell_open(&shell);
    unsigned char *bytes = scratch_read(GOLDEN "/events", &size);
    read_events(&shell, bytes, size);
    free(bytes);
    has_all_kinds(&shell);
    struct agent *agent = shell_replay(&shell, &documents, 0);
    shell_documents_digest(&documents, digest);
    bytes_to_hex(hex, digest, sizeof digest);
    bytes = scratch_read(GOLDEN "/" DOCUMENTS, &size);
    ok(size == sizeof hex && memcmp(hex, bytes, sizeof hex - 1) == 0,
       "the events of schema 1 give the documents that they always gave");
    tap_note("%s", hex);
    free(bytes);
    is_int(agent_check(agent, NULL), 0, "and a sound agent");
    agent_close(agent);
    shell_documents_free(&documents);
    shell_close(&shell);
    return tap_done();
}
