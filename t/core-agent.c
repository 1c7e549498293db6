/* The agent's transitions, one after the other, through a shell in memory. */
#include "agent_shell.h"
#include "core/agent/state.h"
#include "core/event/event.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND SHELL_SECOND
#define DONE DAA__OUTCOME__OUTCOME_DONE
#define NOT_DONE DAA__OUTCOME__OUTCOME_NOT_DONE
#define UNKNOWN DAA__OUTCOME__OUTCOME_UNKNOWN

static const char *const allowed[] = { "/bin/true" };

static const char chain[] = "{\"name\":\"chain\",\"steps\":[{\"id\":\"a\",\"sleep\":\"0s\"},"
                            "{\"id\":\"b\",\"needs\":[\"a\"],\"sleep\":\"0s\"},"
                            "{\"id\":\"c\",\"needs\":[\"b\"],\"sleep\":\"0s\"}]}";

static struct agent_shell a_shell(void)
{
    struct agent_shell shell = { .random = 1 };
    shell.options.exec_enabled = true;
    shell.options.exec_allow = allowed;
    shell.options.exec_allow_count = 1;
    return shell;
}

/* One http step of this method with these members, and a step behind it. */
static const char *http(const char *method, const char *members)
{
    static char source[1024];
    (void)snprintf(source, sizeof source,
                   "{\"name\":\"h\",\"steps\":[{\"id\":\"a\",\"http\":{\"method\":\"%s\",\"url\":"
                   "\"http://h/${{ input.x }}\"}%s},{\"id\":\"b\",\"needs\":[\"a\"],"
                   "\"sleep\":\"0s\"}]}",
                   method, members);
    return source;
}

static bool shows(struct agent_shell *shell, uint64_t stream, const char *part, const char *claim)
{
    const char *shown = shell_show(shell, stream);
    bool holds = ok(strstr(shown, part) != NULL, "%s", claim);
    if (!holds)
        tap_note("%s is not in %s", part, shown);
    return holds;
}

static void is_history(struct agent_shell *shell, uint64_t stream, const char *want,
                       const char *claim)
{
    is_str(shell_history(shell, stream), want, "%s", claim);
}

static void is_refused(struct agent_shell *shell, const struct command *command, int status,
                       const char *code, const char *part)
{
    size_t before = shell->log_count;
    enum decision_kind kind = shell_do(shell, command);
    const struct refusal *refusal = &shell->decision.refusal;
    ok(kind == DECISION_REFUSED && refusal->status == status && strcmp(refusal->code, code) == 0,
       "refused: %d %s", status, code);
    if (!ok(strstr(refusal->text, part) != NULL, "... for: %s", part))
        tap_note("%s", refusal->text);
    is_int(shell->log_count, before, "... and nothing happens");
}

static uint64_t in_memory(struct agent_shell *shell)
{
    struct agent_counts counts;
    agent_counts_get(shell->agent, &counts);
    return counts.workflows;
}

static void sleeping(void)
{
    struct agent_shell shell = a_shell();
    shell_open(&shell);
    uint64_t stream = shell_submit(&shell, chain, "{}");
    is_int(stream, 2, "a definition is installed before its first workflow");
    is_history(&shell, stream,
               "workflow.submitted workflow.started step.completed step.completed step.completed "
               "workflow.completed",
               "a chain of sleeps of 0 s runs to its end with one event a step");
    shows(&shell, stream, "\"output\":{\"c\":null}", "its output is that of its last step");
    is_int(shell.finished, 1, "whoever waits for it is told");
    is_int(in_memory(&shell), 0, "and it leaves memory");
    struct document_key active = document_active_key(stream);
    ok(shell_documents_get(&shell.documents, document_key_span(&active)) == NULL,
       "and the list of those that have not ended");
    is_int(shell_submit(&shell, chain, "{}"), 8, "the second has the same definition");

    uint64_t slow =
        shell_submit(&shell, "{\"name\":\"s\",\"steps\":[{\"id\":\"a\",\"sleep\":\"5s\"}]}", "{}");
    is_history(&shell, slow, "workflow.submitted workflow.started timer.set", "a sleep is a timer");
    shows(&shell, slow, "\"status\":\"sleeping\"", "that its step waits for");
    shell_wait(&shell, 5 * SECOND - 1);
    shows(&shell, slow, "\"status\":\"running\"", "until it is due");
    shell_wait(&shell, 1);
    is_history(&shell, slow,
               "workflow.submitted workflow.started timer.set timer.fired step.completed "
               "workflow.completed",
               "and then it goes on");
    shell_close(&shell);
}

static void long_chain(void)
{
    struct agent_shell shell = a_shell();
    static char source[16384];
    size_t size = (size_t)snprintf(source, sizeof source, "{\"name\":\"l\",\"steps\":[");
    for (int i = 0; i < 200; i++)
        size += (size_t)snprintf(source + size, sizeof source - size,
                                 i > 0 ? ",{\"id\":\"s%d\",\"sleep\":\"0s\",\"needs\":[\"s%d\"]}"
                                       : "{\"id\":\"s%d\",\"sleep\":\"0s\"}",
                                 i, i - 1);
    (void)snprintf(source + size, sizeof source - size, "]}");
    shell_open(&shell);
    uint64_t stream = shell_submit(&shell, source, "{}");
    shows(&shell, stream, "\"status\":\"completed\"", "a chain longer than a decision goes on");
    is_int(shell.log_count, 204, "with one event a step");
    shell_close(&shell);
}

static void http_done(void)
{
    struct agent_shell shell = a_shell();
    shell_open(&shell);
    uint64_t stream = shell_submit(&shell, http("POST", ""), "{\"x\":\"q 1\"}");
    struct effect *effect = shell_effect(&shell, stream, 0);
    if (!ok(effect != NULL, "a step with a request has an effect"))
        return;
    ok(span_is(effect->http.url, "http://h/q%201"), "rendered with the input");
    is_str(effect->idempotency_key, "wf-0000000000000000-2.0", "with a key of its own");
    is_int(effect->seq, 4, "due when the event that intends it is durable");
    ok(shell_answer(&shell, stream, 0, DONE, "{\"status\":200}", ""), "it is done");
    is_history(&shell, stream,
               "workflow.submitted workflow.started step.started step.completed step.completed "
               "workflow.completed",
               "and the workflow goes on");
    shows(&shell, stream, "\"output\":{\"status\":200}", "with its output kept");

    struct command late = { .kind = COMMAND_OUTCOME, .stream = stream };
    late.outcome.attempt = 1;
    late.outcome.outcome = DONE;
    size_t before = shell.log_count;
    is_int(shell_do(&shell, &late), DECISION_EVENTS, "a second outcome of the same attempt");
    is_int(shell.log_count, before, "changes nothing");
    shell_close(&shell);
}

static void retries(void)
{
    struct agent_shell shell = a_shell();
    shell_open(&shell);
    uint64_t stream = shell_submit(
        &shell, http("GET", ",\"retry\":{\"max_attempts\":3,\"initial\":\"1s\",\"jitter\":0}"),
        "{\"x\":1}");
    shell_answer(&shell, stream, 0, NOT_DONE, "", "refused");
    shows(&shell, stream, "\"status\":\"backoff\"", "what was not done is tried again later");
    struct command stale = { .kind = COMMAND_OUTCOME, .stream = stream };
    stale.outcome.attempt = 1;
    stale.outcome.outcome = DONE;
    size_t before = shell.log_count;
    (void)shell_do(&shell, &stale);
    is_int(shell.log_count, before, "an outcome of the attempt before comes too late");
    shell_wait(&shell, SECOND);
    is_int(shell_effect(&shell, stream, 0)->attempt, 2, "the next attempt has the next number");
    shell_answer(&shell, stream, 0, UNKNOWN, "", "reset");
    shell_wait(&shell, 2 * SECOND);
    is_int(shell_effect(&shell, stream, 0)->attempt, 3, "unknown is repeated if idempotent");
    shell_answer(&shell, stream, 0, NOT_DONE, "", "refused again");
    is_history(&shell, stream,
               "workflow.submitted workflow.started step.started step.retry_scheduled step.started "
               "step.retry_scheduled step.started step.failed workflow.paused",
               "after the last attempt the workflow is parked, which is the default");
    shows(&shell, stream, "\"error\":\"refused again\"", "with the last error");
    shell_close(&shell);
}

static void failures(void)
{
    struct agent_shell shell = a_shell();
    shell_open(&shell);
    uint64_t stream = shell_submit(&shell, http("GET", ",\"on_failure\":\"fail\""), "{\"x\":1}");
    shell_answer(&shell, stream, 0, NOT_DONE, "", "gone");
    is_history(&shell, stream,
               "workflow.submitted workflow.started step.started step.failed workflow.failed",
               "on_failure fail fails the workflow");
    shows(&shell, stream, "\"status\":\"cancelled\"", "and ends what waited for the step");

    stream = shell_submit(&shell, http("GET", ",\"on_failure\":\"continue\""), "{\"x\":1}");
    shell_answer(&shell, stream, 0, NOT_DONE, "", "gone");
    is_history(&shell, stream,
               "workflow.submitted workflow.started step.started step.failed step.completed "
               "workflow.completed",
               "on_failure continue goes on");

    stream = shell_submit(&shell, http("GET", ""), "{}");
    is_history(&shell, stream, "workflow.submitted workflow.started step.failed workflow.paused",
               "a template that leads nowhere fails the step before it begins");
    shows(&shell, stream, "${{ input.x }} has no value", "and the error names it");
    shell_close(&shell);
}

static struct command resolution(uint64_t stream, const char *step, int how, const char *output)
{
    struct command command = { .kind = COMMAND_RESOLVE, .stream = stream };
    command.resolve.step = span_of_text(step);
    command.resolve.resolution = how;
    command.resolve.output = span_of_text(output);
    return command;
}

static uint64_t an_uncertain_one(struct agent_shell *shell)
{
    uint64_t stream = shell_submit(shell, http("POST", ""), "{\"x\":1}");
    shell_answer(shell, stream, 0, UNKNOWN, "", "timed out");
    return stream;
}

static void uncertainty(void)
{
    struct agent_shell shell = a_shell();
    shell_open(&shell);
    uint64_t stream = an_uncertain_one(&shell);
    is_history(&shell, stream,
               "workflow.submitted workflow.started step.started step.uncertain workflow.paused",
               "what may have happened and is not idempotent is parked");
    ok(shell_effect(&shell, stream, 0) == NULL, "and not repeated");
    struct command command = resolution(stream, "zz", DAA__RESOLUTION__RESOLVE_DONE, "");
    is_refused(&shell, &command, 404, "not-found", "no step \"zz\"");
    command = resolution(stream, "b", DAA__RESOLUTION__RESOLVE_DONE, "");
    is_refused(&shell, &command, 409, "invalid-transition", "blocked");
    command = resolution(stream, "a", DAA__RESOLUTION__RESOLVE_DONE, "{\"ok\":1}");
    (void)shell_do(&shell, &command);
    is_history(&shell, stream,
               "workflow.submitted workflow.started step.started step.uncertain workflow.paused "
               "step.resolved workflow.resumed step.completed workflow.completed",
               "resolved as done it goes on");
    shows(&shell, stream, "\"output\":{\"ok\":1}", "with the output that was given");

    stream = an_uncertain_one(&shell);
    command = resolution(stream, "a", DAA__RESOLUTION__RESOLVE_RETRY, "");
    (void)shell_do(&shell, &command);
    is_int(shell_effect(&shell, stream, 0)->attempt, 2, "resolved as retry it is done once more");
    shell_answer(&shell, stream, 0, NOT_DONE, "", "no");
    shows(&shell, stream, "\"status\":\"paused\"", "and parked when that fails");
    command = resolution(stream, "a", DAA__RESOLUTION__RESOLVE_FAILED, "");
    (void)shell_do(&shell, &command);
    shows(&shell, stream, "\"status\":\"failed\"", "resolved as failed it fails the workflow");
    is_refused(&shell, &command, 409, "invalid-transition", "nothing to resolve");
    shell_close(&shell);
}

static struct command signal_of(uint64_t stream, const char *name, const char *payload)
{
    struct command command = { .kind = COMMAND_SIGNAL, .stream = stream };
    command.signal.name = span_of_text(name);
    command.signal.payload = span_of_text(payload);
    return command;
}

static const char waits[] =
    "{\"name\":\"w\",\"steps\":[{\"id\":\"a\",\"signal\":{\"name\":\"go\"}},"
    "{\"id\":\"b\",\"needs\":[\"a\"],\"signal\":{\"name\":\"go\","
    "\"timeout\":\"1h\"},\"on_failure\":\"fail\"}]}";

static void signals(void)
{
    struct agent_shell shell = a_shell();
    shell_open(&shell);
    uint64_t stream = shell_submit(&shell, waits, "{}");
    shows(&shell, stream, "\"waiting_for\":\"signal\"", "a signal step waits");
    struct command command = signal_of(stream, "go", "{\"n\":1}");
    command.keyed = true;
    command.key_digest[0] = 1;
    (void)shell_do(&shell, &command);
    shows(&shell, stream, "\"output\":{\"n\":1}", "the signal's payload is its output");
    size_t before = shell.log_count;
    is_int(shell_do(&shell, &command), DECISION_EVENTS, "the same signal again");
    ok(shell.log_count == before && shell.decision.replayed, "is not taken twice");
    shell_wait(&shell, 3600 * SECOND);
    shows(&shell, stream, "no signal \\\"go\\\" came in time",
          "one that does not come in time "
          "fails the step");
    is_refused(&shell,
               &(struct command){
                   .kind = COMMAND_SIGNAL, .stream = stream, .signal.name = span_of_text("go") },
               409, "invalid-transition", "failed");

    stream = shell_submit(&shell, waits, "{}");
    command = signal_of(stream, "other", "1");
    (void)shell_do(&shell, &command);
    command = signal_of(stream, "go", "1");
    (void)shell_do(&shell, &command);
    command = signal_of(stream, "go", "2");
    (void)shell_do(&shell, &command);
    shows(&shell, stream, "\"status\":\"completed\"", "signals complete it");

    stream =
        shell_submit(&shell,
                     "{\"name\":\"k\",\"steps\":[{\"id\":\"a\",\"sleep\":\"1s\"},{\"id\":\"b\","
                     "\"needs\":[\"a\"],\"signal\":{\"name\":\"go\"}}]}",
                     "{}");
    command = signal_of(stream, "go", "\"early\"");
    (void)shell_do(&shell, &command);
    shell_wait(&shell, SECOND);
    shows(&shell, stream, "\"output\":{\"b\":\"early\"}", "one that comes early is kept");
    command = signal_of(12345, "go", "1");
    is_refused(&shell, &command, 404, "not-found", "wf-0000000000000000-12345");
    shell_close(&shell);
}

static void too_many_signals(void)
{
    struct agent_shell shell = a_shell();
    shell_open(&shell);
    uint64_t stream = shell_submit(&shell, waits, "{}");
    struct command command = signal_of(stream, "other", "1");
    for (int i = 0; i < 64; i++)
        (void)shell_do(&shell, &command);
    is_refused(&shell, &command, 429, "too-many-signals", "64 signals");
    command = signal_of(stream, "go", "1");
    is_int(shell_do(&shell, &command), DECISION_EVENTS, "one that a step waits for is taken");
    shell_close(&shell);
}

static void cancelling(void)
{
    struct agent_shell shell = a_shell();
    shell_open(&shell);
    uint64_t stream = shell_submit(&shell, http("GET", ""), "{\"x\":1}");
    struct command command = { .kind = COMMAND_CANCEL, .stream = stream };
    command.cancel.reason = span_of_text("enough");
    (void)shell_do(&shell, &command);
    shows(&shell, stream, "\"reason\":\"enough\"", "a workflow is cancelled with its reason");
    is_int(in_memory(&shell), 0, "and leaves memory");
    is_refused(&shell, &command, 409, "invalid-transition", "is cancelled");
    shell_answer(&shell, stream, 0, DONE, "{\"late\":true}", "");
    shows(&shell, stream, "\"output\":{\"late\":true}", "what was under way is still recorded");
    shows(&shell, stream, "\"status\":\"cancelled\"", "and changes nothing more");
    shell_close(&shell);
}

static void programs(void)
{
    struct agent_shell shell = a_shell();
    shell_open(&shell);
    struct flow *bad = shell_flow(
        &shell, "{\"name\":\"x\",\"steps\":[{\"id\":\"a\",\"exec\":{\"argv\":[\"/bin/rm\"]}}]}");
    struct command command = shell_submission(bad, "{}");
    is_refused(&shell, &command, 403, "exec-not-allowed", "/bin/rm");
    flow_unref(bad);
    uint64_t stream = shell_submit(
        &shell, "{\"name\":\"x\",\"steps\":[{\"id\":\"a\",\"exec\":{\"argv\":[\"/bin/true\"]}}]}",
        "{}");
    struct command spawned = { .kind = COMMAND_SPAWNED, .stream = stream };
    spawned.spawned.attempt = 1;
    spawned.spawned.pid = 77;
    spawned.spawned.boot_id = span_of_text("0123456789abcdef");
    (void)shell_do(&shell, &spawned);
    shell_restart(&shell, &shell.documents, shell.log_count);
    shows(&shell, stream, "\"status\":\"uncertain\"",
          "a program that ran when the agent died is uncertain");
    shell.options.exec_enabled = false;
    shell_restart(&shell, &shell.documents, shell.log_count);
    command = resolution(stream, "a", DAA__RESOLUTION__RESOLVE_RETRY, "");
    (void)shell_do(&shell, &command);
    shows(&shell, stream, "set exec.enabled = true", "exec that was turned off starts nothing");
    shell_close(&shell);
}

static void keys(void)
{
    struct agent_shell shell = a_shell();
    shell_open(&shell);
    struct flow *flow = shell_flow(&shell, chain);
    struct command command = shell_submission(flow, "{}");
    command.keyed = true;
    command.key = span_of_text("k1");
    command.key_digest[5] = 9;
    command.request_digest[0] = 1;
    (void)shell_do(&shell, &command);
    size_t before = shell.log_count;
    (void)shell_do(&shell, &command);
    ok(shell.decision.replayed && shell.decision.replayed_stream == 2,
       "the same request with the same key is the same workflow");
    is_int(shell.log_count, before, "and nothing is recorded");
    command.request_digest[0] = 2;
    is_refused(&shell, &command, 422, "idempotency-key-reused", "\"k1\"");
    shell_restart(&shell, &shell.documents, shell.log_count);
    is_refused(&shell, &command, 422, "idempotency-key-reused", "wf-0000000000000000-2");
    shell_wait(&shell, 3600 * SECOND);
    is_int(shell_do(&shell, &command), DECISION_EVENTS, "a key ends its time after the workflow");
    ok(!shell.decision.replayed && shell.log_count > before, "and may be used for another then");
    flow_unref(flow);
    shell_close(&shell);
}

static void limits(void)
{
    struct agent_shell shell = a_shell();
    shell.options.max_pending = 2;
    shell.options.max_concurrent_workflows = 1;
    shell_open(&shell);
    uint64_t first = shell_submit(&shell, http("GET", ""), "{\"x\":1}");
    uint64_t second = shell_submit(&shell, http("GET", ""), "{\"x\":1}");
    ok(shell_effect(&shell, second, 0) == NULL, "one workflow more than may be active waits");
    struct flow *flow = shell_flow(&shell, chain);
    struct command command = shell_submission(flow, "{}");
    is_refused(&shell, &command, 429, "too-many-workflows", "max_pending");
    flow_unref(flow);
    shell_answer(&shell, first, 0, DONE, "1", "");
    ok(shell_effect(&shell, second, 0) != NULL, "and begins when another has ended");
    shell_close(&shell);
}

static void over_budget(void)
{
    unsigned refused = 0, wrong = 0;
    for (uint64_t limit = 40000; limit < 120000; limit += 500) {
        struct agent_shell shell = a_shell();
        budget_init(&shell.budget, limit);
        struct flow *flow = shell_flow(&shell, http("GET", ""));
        shell_open(&shell);
        struct command command = shell_submission(flow, "{\"x\":1}");
        for (int i = 0; i < 200; i++) {
            size_t before = shell.log_count;
            if (shell_decide(&shell, &command) == DECISION_EVENTS)
                continue;
            refused++;
            wrong += shell.decision.refusal.status != 429 || shell.log_count != before ||
                     strstr(shell.decision.refusal.text, "owner") == NULL;
            break;
        }
        wrong += agent_check(shell.agent, NULL) < 0;
        flow_unref(flow);
        agent_close(shell.agent);
        decision_free(&shell.decision);
        for (size_t i = 0; i < shell.log_count; i++)
            free(shell.log[i].bytes);
        free(shell.log);
        shell_documents_free(&shell.documents);
        wrong += shell.budget.used != 0;
    }
    ok(refused > 100, "a budget that is used up refuses submissions");
    is_int(wrong, 0, "each time with 429 and the owner, and never by half");
}

static void paused_branches(void)
{
    struct agent_shell shell = a_shell();
    shell_open(&shell);
    uint64_t stream =
        shell_submit(&shell,
                     "{\"name\":\"p\",\"steps\":[{\"id\":\"a\",\"http\":{\"url\":\"http://h/\"}},"
                     "{\"id\":\"b\",\"http\":{\"url\":\"http://h/\"}},"
                     "{\"id\":\"c\",\"sleep\":\"1s\"},"
                     "{\"id\":\"d\",\"needs\":[\"b\",\"c\"],\"http\":{\"url\":\"http://h/\"}}]}",
                     "{}");
    shell_answer(&shell, stream, 0, NOT_DONE, "", "no");
    shell_answer(&shell, stream, 1, DONE, "1", "");
    shell_wait(&shell, SECOND);
    ok(shell_effect(&shell, stream, 3) == NULL, "while a workflow is paused no step of it begins");
    struct command command = resolution(stream, "a", DAA__RESOLUTION__RESOLVE_DONE, "");
    (void)shell_do(&shell, &command);
    ok(shell_effect(&shell, stream, 3) != NULL, "when it is resumed it goes on where it stood");
    shell_answer(&shell, stream, 3, UNKNOWN, "", "reset");
    shows(&shell, stream, "\"status\":\"paused\"", "and parks again");
    shell_close(&shell);
}

static void bad_bytes(void)
{
    struct agent_shell shell = a_shell();
    shell_open(&shell);
    uint64_t stream = shell_submit(&shell, http("GET", ""), "{\"x\":1}");
    shell_answer(&shell, stream, 0, NOT_DONE, "", "bad \xff\xfe bytes");
    shows(&shell, stream, "bad ?? bytes", "an error that is no UTF-8 is made so");
    stream = shell_submit(&shell, http("GET", ""), "{\"x\":1}");
    shell_answer(&shell, stream, 0, DONE, "no json", "");
    shows(&shell, stream, "\"output\":\"no json\"", "an output that is no JSON becomes a string");
    shell_close(&shell);
}

/* A JSON string of so many bytes, in a static buffer. */
static struct span long_string(size_t size)
{
    static uint8_t bytes[6 << 20];
    memset(bytes, 'x', size);
    bytes[0] = bytes[size - 1] = '"';
    return span_of(bytes, size);
}

static void large_values(void)
{
    struct agent_shell shell = a_shell();
    shell_open(&shell);
    uint64_t stream =
        shell_submit(&shell,
                     "{\"name\":\"s\",\"steps\":[{\"id\":\"gate\",\"signal\":{\"name\":\"gate\"}},"
                     "{\"id\":\"a\",\"needs\":[\"gate\"],\"signal\":{\"name\":\"go\"}},"
                     "{\"id\":\"b\",\"needs\":[\"gate\"],\"signal\":{\"name\":\"go\"}},"
                     "{\"id\":\"c\",\"needs\":[\"gate\"],\"signal\":{\"name\":\"go\"}}]}",
                     "{}");
    struct command signal = { .kind = COMMAND_SIGNAL, .stream = stream };
    signal.signal.name = span_of_text("go");
    signal.signal.payload = long_string(2 << 20);
    for (int i = 0; i < 3; i++)
        (void)shell_do(&shell, &signal);
    signal.signal.payload = long_string(6 << 20);
    is_refused(&shell, &signal, 413, "workflow-too-large", "send less");
    signal.signal.name = span_of_text("gate");
    signal.signal.payload = span_of_text("1");
    (void)shell_decide(&shell, &signal);
    struct command advance = { .kind = COMMAND_ADVANCE, .stream = stream };
    (void)shell_decide(&shell, &advance);
    is_int(shell.decision.event_count, 1, "one decision records no more than a frame may hold");
    shell_advance(&shell);
    shows(&shell, stream, "\"status\":\"completed\"", "the next ones go on");
    shell_close(&shell);
}

/* Each text is within its limit, all together are not. */
static void large_effects(void)
{
    struct agent_shell shell = a_shell();
    static char source[8192];
    size_t size = (size_t)snprintf(source, sizeof source, "%s",
                                   "{\"name\":\"l\",\"steps\":[{\"id\":\"a\",\"http\":{\"url\":"
                                   "\"http://h/\",\"headers\":{");
    for (int i = 0; i < 100; i++)
        size += (size_t)snprintf(source + size, sizeof source - size, "%s\"h%d\":\"${{ input }}\"",
                                 i > 0 ? "," : "", i);
    (void)snprintf(source + size, sizeof source - size, "}}}]}");
    shell_open(&shell);
    struct flow *flow = shell_flow(&shell, source);
    struct command submit = shell_submission(flow, "");
    submit.submit.input = long_string(1 << 20);
    is_int(shell_do(&shell, &submit), DECISION_EVENTS, "a step that repeats a large input");
    flow_unref(flow);
    shows(&shell, 2, "\"status\":\"paused\"", "fails before it takes all memory");
    shell_close(&shell);
}

static void lost_outputs(void)
{
    struct agent_shell shell = a_shell();
    shell_open(&shell);
    uint64_t stream = shell_submit(&shell, http("POST", ""), "{\"x\":1}");
    shell_answer(&shell, stream, 0, DONE, "", "no memory for the output");
    is_history(&shell, stream,
               "workflow.submitted workflow.started step.started step.failed workflow.paused",
               "what was done, but its output lost, is not passed on as if it were null");
    shows(&shell, stream, "\"outcome\":\"done\"", "nor tried again: it was done");
    shows(&shell, stream, "no memory for the output", "and says why it stopped");

    stream = shell_submit(&shell, http("GET", ",\"retry\":{}"), "{\"x\":1}");
    char *large = calloc(1, (9 << 20) + 1);
    memset(large, 'x', 9 << 20);
    large[0] = large[(9 << 20) - 1] = '"';
    shell_answer(&shell, stream, 0, DONE, large, "");
    shows(&shell, stream, "bytes is not kept", "so is an output that makes a workflow too large");
    free(large);
    shell_close(&shell);
}

static void memory_for_the_end(void)
{
    struct agent_shell shell = a_shell();
    shell_open(&shell);
    uint64_t stream =
        shell_submit(&shell, "{\"name\":\"s\",\"steps\":[{\"id\":\"a\",\"sleep\":\"5s\"}]}", "{}");
    uint64_t most = shell.budget.limit / 10 * 9 - shell.budget.used;
    is_int(budget_reserve(&shell.budget, BUDGET_REQUESTS, most), 0, "when memory is short");
    struct flow *flow = shell_flow(&shell, chain);
    struct command submit = shell_submission(flow, "{}");
    is_refused(&shell, &submit, 429, "memory-budget", "max_heap_size");
    flow_unref(flow);
    shell_wait(&shell, 5 * SECOND);
    shows(&shell, stream, "\"status\":\"completed\"", "what was begun can end");
    budget_release(&shell.budget, BUDGET_REQUESTS, most);
    shell_close(&shell);
}

/* Loads the document of a workflow with every lack of memory that there may be. */
static void half_loaded(void)
{
    struct agent_shell shell = a_shell();
    shell_open(&shell);
    uint64_t stream = shell_submit(&shell, http("POST", ""), "{\"x\":1}");
    struct span output = long_string(3000);
    char text[3001] = "";
    memcpy(text, output.bytes, output.size);
    shell_answer(&shell, stream, 0, DONE, text, "");
    is_int(in_memory(&shell), 0, "a finished workflow is loaded again");
    struct document_key key = document_workflow_key(stream), needs;
    const struct shell_document *document =
        shell_documents_get(&shell.documents, document_key_span(&key));
    uint64_t limit = shell.budget.limit, tries = 0, halves = 0;
    int status = ERROR_BUDGET;
    for (; status == ERROR_BUDGET; tries++) {
        shell.budget.limit = shell.budget.used + tries * 100;
        status = agent_load(shell.agent, document_key_span(&key),
                            span_of(document->bytes, document->size), &needs);
        halves += status < 0 && in_memory(&shell) > 0;
    }
    shell.budget.limit = limit;
    is_int(status, 0, "in the end with success");
    ok(tries > 10, "after many refusals");
    is_int(halves, 0, "none of which left half of it behind");
    shell_take(&shell);
    shell_close(&shell);
}

static uint64_t ring_capacity(const struct agent *agent)
{
    return agent->ready.capacity;
}

/* Each time that a workflow is ready takes an entry, which is dropped when the first is asked for:
 * in a replay nobody does, and neither does anybody while enough is under way. */
static void much_left_behind(void)
{
    struct agent_shell shell = a_shell();
    shell_open(&shell);
    for (int i = 0; i < 8000; i++)
        (void)shell_submit(&shell, chain, "{}");
    ok(ring_capacity(shell.agent) <= 4096, "what was ready is not remembered");
    struct shell_documents documents = { NULL, 0, 0 };
    struct agent *replayed = shell_replay(&shell, &documents, 0);
    ok(ring_capacity(replayed) <= 4096, "nor in a replay, however long it is");
    agent_close(replayed);
    shell_documents_free(&documents);

    struct agent_shell busy = a_shell();
    busy.options.max_concurrent_workflows = 1;
    shell_open(&busy);
    uint64_t first = shell_submit(&busy, http("GET", ""), "{\"x\":1}");
    for (int i = 0; i < 8000; i++) {
        struct command cancel = { .kind = COMMAND_CANCEL };
        cancel.stream = shell_submit(&busy, chain, "{}");
        (void)shell_do(&busy, &cancel);
    }
    ok(shell_effect(&busy, first, 0) != NULL, "as many are under way as may be");
    ok(ring_capacity(busy.agent) <= 4096, "those that came and went meanwhile are forgotten");
    shell_close(&busy);
    shell_close(&shell);
}

int main(void)
{
    sleeping();
    long_chain();
    http_done();
    retries();
    failures();
    uncertainty();
    signals();
    too_many_signals();
    cancelling();
    programs();
    keys();
    limits();
    over_budget();
    paused_branches();
    bad_bytes();
    large_values();
    large_effects();
    lost_outputs();
    memory_for_the_end();
    half_loaded();
    much_left_behind();
    return tap_done();
}
