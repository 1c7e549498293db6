/* Erasing a workflow: who may be erased, what goes, what stays, and that a replay without the key
 * knows the same. t/core-agent-replay.c erases at random. */
#include "agent_shell.h"
#include "core/base/error.h"
#include "core/event/private.h"
#include "tap.h"

#include <string.h>

static const char nap[] = "{\"name\":\"nap\",\"steps\":[{\"id\":\"a\",\"sleep\":\"0s\"}]}";
static const char waits[] = "{\"name\":\"waits\",\"steps\":[{\"id\":\"a\",\"http\":{\"method\":"
                            "\"POST\",\"url\":\"http://h/\"}}]}";

static void open_shell(struct agent_shell *shell, bool encrypt)
{
    *shell = (struct agent_shell){ .random = 7 };
    shell->encrypt = encrypt;
    shell_open(shell);
}

static const char *code(const struct agent_shell *shell)
{
    return shell->decision.kind == DECISION_REFUSED ? shell->decision.refusal.code : "";
}

static bool has_document(struct agent_shell *shell, struct document_key key)
{
    shell_take(shell);
    return shell_documents_get(&shell->documents, document_key_span(&key)) != NULL;
}

static uint32_t keys_used(const struct agent_shell *shell)
{
    struct agent_counts counts;
    agent_counts_get(shell->agent, &counts);
    return counts.keys_used;
}

static bool same_when_replayed(struct agent_shell *shell)
{
    struct shell_documents documents = { NULL, 0, 0 };
    uint8_t live[SHA256_SIZE], replayed[SHA256_SIZE];
    shell_take(shell);
    agent_close(shell_replay(shell, &documents, 0));
    shell_documents_digest(&shell->documents, live);
    shell_documents_digest(&documents, replayed);
    shell_documents_free(&documents);
    return memcmp(live, replayed, sizeof live) == 0;
}

static void keys_in_records(void)
{
    struct agent_shell shell;
    open_shell(&shell, true);
    unsigned wrong = 0;
    uint64_t first = shell_submit(&shell, nap, "{}"), second = shell_submit(&shell, nap, "{}");
    for (size_t i = 0; i < shell.log_count; i++) {
        const struct event_header *header = &shell.log[i].header;
        uint32_t key = header->stream == first ? 1 : header->stream == second ? 2 : 0;
        wrong += header->key_id != key;
    }
    is_int(wrong, 0,
           "each workflow has a key of its own in all its records, a definition has none");
    is_int(keys_used(&shell), 2, "and the agent knows how many were used");
    struct shell_documents documents = { NULL, 0, 0 };
    shell_take(&shell);
    shell_documents_copy(&documents, &shell.documents);
    shell_restart(&shell, &documents, shell.log_count);
    is_int(keys_used(&shell), 2, "also after a restart");
    uint64_t third = shell_submit(&shell, nap, "{}");
    is_int(shell.log[third - 1].header.key_id, 3, "the next one gets the next key");
    struct flow *flow = shell_flow(&shell, nap);
    struct command later = shell_submission(flow, "{}");
    later.submit.key_id = 9;
    (void)shell_do(&shell, &later);
    is_int(keys_used(&shell), 9, "or a later one, when the shell says so");
    ok(same_when_replayed(&shell), "of which a replay gives the same");
    flow_unref(flow);
    shell_documents_free(&documents);
    shell_close(&shell);
}

static void who_may_be_erased(void)
{
    struct agent_shell shell;
    open_shell(&shell, true);
    uint64_t running = shell_submit(&shell, waits, "{}"), ended = shell_submit(&shell, nap, "{}");
    is_int(shell_erase(&shell, running), DECISION_REFUSED, "one that has not ended is refused");
    is_str(code(&shell), "invalid-transition", "because of that");
    size_t before = shell.log_count;
    is_int(shell_erase(&shell, ended), DECISION_EVENTS, "one that has is erased");
    is_int(shell.log_count, before + 1, "by one event");
    is_int(shell.log[before].header.kind, DAA__EVENT__BODY_WORKFLOWS_ERASED, "that says so");
    is_int(shell.log[before].header.stream, before + 1, "and is not of the workflow's stream");
    ok(!has_document(&shell, document_workflow_key(ended)), "its document goes");
    ok(has_document(&shell, document_erased_key(2)), "that its key is destroyed is known");
    ok(has_document(&shell, document_workflow_key(running)), "the other stays");
    is_str(shell_check(&shell, &shell.documents, NULL), "", "and the documents are sound");
    ok(same_when_replayed(&shell), "a replay without the key gives the same");
    is_int(shell_erase(&shell, ended), DECISION_EVENTS, "erasing it again is no error");
    ok(same_when_replayed(&shell), "and changes nothing that a replay would not");
    shell_close(&shell);
}

static void without_a_key(void)
{
    struct agent_shell shell;
    open_shell(&shell, false);
    uint64_t ended = shell_submit(&shell, nap, "{}");
    is_int(shell_erase(&shell, ended), DECISION_REFUSED, "one without a key is refused");
    is_str(code(&shell), "not-encrypted", "and why is said");
    is_int(keys_used(&shell), 0, "no key was used");
    shell_close(&shell);
}

static enum decision_kind submit_keyed(struct agent_shell *shell, uint8_t request)
{
    struct flow *flow = shell_flow(shell, nap);
    struct command command = shell_submission(flow, "{}");
    command.keyed = true;
    command.key = span_of_text("order-7");
    command.key_digest[0] = 9;
    command.request_digest[0] = request;
    enum decision_kind kind = shell_do(shell, &command);
    flow_unref(flow);
    return kind;
}

static void idempotency_keys(void)
{
    struct agent_shell shell;
    open_shell(&shell, true);
    (void)submit_keyed(&shell, 1);
    uint64_t stream = 2; /* behind the definition */
    is_int(shell_erase(&shell, stream), DECISION_EVENTS, "one with an idempotency key is erased");
    is_int(submit_keyed(&shell, 1), DECISION_REFUSED,
           "the same request with that key does not do it again");
    is_str(code(&shell), "idempotency-key-reused", "the key is taken, what was asked is forgotten");
    ok(same_when_replayed(&shell), "as it is by a replay");
    shell_wait(&shell, 7200 * SHELL_SECOND);
    is_int(submit_keyed(&shell, 1), DECISION_EVENTS, "after its time it may be used again");
    is_int(shell_erase(&shell, stream), DECISION_EVENTS, "erasing the first again is no error");
    is_int(submit_keyed(&shell, 1), DECISION_EVENTS, "and leaves the key to the second");
    ok(shell.decision.replayed, "which is the answer");
    ok(same_when_replayed(&shell), "by a replay too");
    shell_close(&shell);
}

/* An effect that was under way when its workflow was cancelled, and ends when that is erased. */
static void late_outcome(void)
{
    struct agent_shell shell;
    open_shell(&shell, true);
    uint64_t stream = shell_submit(&shell, waits, "{}");
    struct command cancel = { .kind = COMMAND_CANCEL, .stream = stream };
    (void)shell_do(&shell, &cancel);
    is_int(shell_erase(&shell, stream), DECISION_EVENTS, "one whose effect is under way is erased");
    size_t before = shell.log_count;
    shell_answer(&shell, stream, 0, DAA__OUTCOME__OUTCOME_DONE, "{\"late\":true}", "");
    is_int(shell.log_count, before, "how that ends is not recorded any more");
    ok(same_when_replayed(&shell), "and a replay agrees");
    shell_close(&shell);
}

static void expired_before(void)
{
    struct agent_shell shell;
    open_shell(&shell, true);
    uint64_t stream = shell_submit(&shell, nap, "{}");
    struct expired_workflow item = { .stream = 0 };
    struct document_finished finished;
    shell_take(&shell);
    for (size_t i = 0; i < shell.documents.count; i++) {
        const struct shell_document *document = &shell.documents.items[i];
        if (document_finished_of_key(document_key_span(&document->key), &item.ended_ns,
                                     &item.stream) &&
            document_finished_decode(span_of(document->bytes, document->size), &finished)) {
            item.size = finished.size;
            item.settled = finished.settled;
            memcpy(item.definition, finished.definition, SHA256_SIZE);
        }
    }
    struct command expire = { .kind = COMMAND_EXPIRE_WORKFLOWS };
    expire.expire_workflows.items = &item;
    expire.expire_workflows.count = 1;
    expire.expire_workflows.reason = span_of_text("its time is over");
    (void)shell_do(&shell, &expire);
    ok(!has_document(&shell, document_workflow_key(stream)), "one that has expired");
    is_int(shell_erase(&shell, stream), DECISION_EVENTS, "is erased");
    ok(has_document(&shell, document_erased_key(1)), "which is known");
    ok(same_when_replayed(&shell), "and a replay gives the same");
    shell_close(&shell);
}

static unsigned words_in_documents(struct agent_shell *shell)
{
    unsigned count = 0;
    shell_take(shell);
    for (size_t i = 0; i < shell->documents.count; i++) {
        const struct shell_document *document = &shell->documents.items[i];
        for (size_t at = 0; at + 5 <= document->size; at++)
            count += memcmp(document->bytes + at, "XYZZY", 5) == 0;
    }
    return count;
}

static uint64_t live(struct agent_shell *shell)
{
    uint64_t stream = shell_submit(shell, waits, "{\"name\":\"XYZZY\"}");
    struct command signal = { .kind = COMMAND_SIGNAL, .stream = stream };
    signal.signal.name = span_of_text("later");
    signal.signal.payload = span_of_text("\"XYZZY\"");
    (void)shell_do(shell, &signal);
    shell_answer(shell, stream, 0, DAA__OUTCOME__OUTCOME_UNKNOWN, "", "XYZZY");
    return stream;
}

/* What is derived of the log is in snapshots, backups and pages of a database that are free again:
 * there it is no more readable than in the log. */
static void documents(void)
{
    struct agent_shell shell, plain;
    open_shell(&plain, false);
    (void)live(&plain);
    ok(words_in_documents(&plain) >= 3, "without a key the documents hold what is private");
    shell_close(&plain);
    open_shell(&shell, true);
    uint64_t stream = live(&shell);
    is_int(words_in_documents(&shell), 0, "with one none of them does");
    ok(strstr(shell_show(&shell, stream), "XYZZY") != NULL, "whoever has the key reads it");
    struct shell_documents saved = { NULL, 0, 0 };
    shell_documents_copy(&saved, &shell.documents);
    shell_restart(&shell, &saved, shell.log_count);
    ok(strstr(shell_show(&shell, stream), "XYZZY") != NULL, "also after a restart");
    ok(same_when_replayed(&shell), "and a replay gives the same bytes");
    shell.erased[1] = true;
    const char *shown = shell_show(&shell, stream);
    ok(strstr(shown, "XYZZY") == NULL && strstr(shown, "\"status\":\"paused\"") != NULL,
       "without the key what it was is shown, and not what is private");
    shell.erased[1] = false;
    shell_documents_free(&saved);
    shell_close(&shell);
}

int main(void)
{
    documents();
    keys_in_records();
    who_may_be_erased();
    without_a_key();
    idempotency_keys();
    late_outcome();
    expired_before();
    return tap_done();
}
