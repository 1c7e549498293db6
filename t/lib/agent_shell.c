#include "agent_shell.h"

#include "core/agent/check_documents.h"
#include "core/event/private.h"
#include "tap.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*--- Documents -------------------------------------------------------------------------------*/

static int compare_keys(struct span a, struct span b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    int order = memcmp(a.bytes, b.bytes, size);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

static size_t place_of(const struct shell_documents *documents, struct span key, bool *found)
{
    size_t low = 0, high = documents->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare_keys(document_key_span(&documents->items[middle].key), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *found = low < documents->count &&
             compare_keys(document_key_span(&documents->items[low].key), key) == 0;
    return low;
}

static void remove_at(struct shell_documents *documents, size_t at)
{
    free(documents->items[at].bytes);
    memmove(&documents->items[at], &documents->items[at + 1],
            (documents->count - at - 1) * sizeof *documents->items);
    documents->count--;
}

void shell_documents_put(struct shell_documents *documents, struct span key, struct span bytes)
{
    bool found;
    size_t at = place_of(documents, key, &found);
    if (found)
        remove_at(documents, at);
    if (bytes.bytes == NULL)
        return;
    if (documents->count == documents->capacity) {
        documents->capacity = documents->capacity * 2 + 64;
        documents->items =
            realloc(documents->items, documents->capacity * sizeof *documents->items);
    }
    memmove(&documents->items[at + 1], &documents->items[at],
            (documents->count - at) * sizeof *documents->items);
    documents->count++;
    struct shell_document *item = &documents->items[at];
    *item = (struct shell_document){ .bytes = malloc(bytes.size + 1), .size = bytes.size };
    item->key.size = (uint8_t)key.size;
    memcpy(item->key.bytes, key.bytes, key.size);
    memcpy(item->bytes, bytes.bytes, bytes.size);
}

const struct shell_document *shell_documents_get(const struct shell_documents *documents,
                                                 struct span key)
{
    bool found;
    size_t at = place_of(documents, key, &found);
    return found ? &documents->items[at] : NULL;
}

void shell_documents_free(struct shell_documents *documents)
{
    while (documents->count > 0)
        remove_at(documents, documents->count - 1);
    free(documents->items);
    *documents = (struct shell_documents){ NULL, 0, 0 };
}

void shell_documents_copy(struct shell_documents *to, const struct shell_documents *from)
{
    shell_documents_free(to);
    for (size_t i = 0; i < from->count; i++)
        shell_documents_put(to, document_key_span(&from->items[i].key),
                            span_of(from->items[i].bytes, from->items[i].size));
}

void shell_documents_digest(const struct shell_documents *documents, uint8_t digest[SHA256_SIZE])
{
    struct sha256 sha256;
    sha256_init(&sha256);
    for (size_t i = 0; i < documents->count; i++) {
        const struct shell_document *item = &documents->items[i];
        uint64_t sizes[2] = { item->key.size, item->size };
        sha256_more(&sha256, sizes, sizeof sizes);
        sha256_more(&sha256, item->key.bytes, item->key.size);
        sha256_more(&sha256, item->bytes, item->size);
    }
    sha256_end(&sha256, digest);
}

/*--- What must hold of them ------------------------------------------------------------------*/

struct findings {
    const struct shell_documents *documents;
    char text[32768];
    size_t size;
};

static int get_document(struct span key, struct span *bytes, void *context)
{
    const struct findings *findings = context;
    const struct shell_document *found = shell_documents_get(findings->documents, key);
    if (found != NULL)
        *bytes = span_of(found->bytes, found->size);
    return found != NULL;
}

static void note_finding(struct span key, const char *sentence, void *context)
{
    struct findings *findings = context;
    size_t room = sizeof findings->text - findings->size;
    char shown[CHECK_KEY_TEXT_SIZE];
    check_documents_key_to_text(shown, key);
    int size = snprintf(findings->text + findings->size, room, "%s %s\n", shown, sentence);
    if (size < 0 || (size_t)size >= room)
        tap_bail_out("findings take more room than there is");
    findings->size += (size_t)size;
}

const char *shell_check(struct agent_shell *shell, const struct shell_documents *documents,
                        struct check_documents_result *result)
{
    static struct findings findings;
    struct check_documents *check;
    struct check_documents_result ignored;
    struct error error;
    findings = (struct findings){ .documents = documents };
    const struct check_documents_options options = { .budget = &shell->budget,
                                                     .keys = shell->options.keys,
                                                     .get = get_document,
                                                     .found = note_finding,
                                                     .context = &findings };
    if (check_documents_open(&check, &options, &error) < 0)
        tap_bail_out("%s", error.text);
    for (size_t i = 0; i < documents->count; i++) {
        const struct shell_document *item = &documents->items[i];
        int status = check_documents_add(check, document_key_span(&item->key),
                                         span_of(item->bytes, item->size));
        if (status < 0)
            tap_bail_out("documents cannot be checked: %s", error_text(status));
    }
    if (check_documents_end(check, result != NULL ? result : &ignored) < 0)
        tap_bail_out("documents cannot be checked in the end");
    check_documents_close(check);
    return findings.text;
}

/*--- The turn --------------------------------------------------------------------------------*/

/* Each key is its number, over and over. */
static int find_key(void *context, uint32_t key_id, uint8_t key[AEAD_KEY_SIZE])
{
    const struct agent_shell *shell = context;
    memset(key, (int)key_id, AEAD_KEY_SIZE);
    if (key_id >= sizeof shell->erased)
        tap_bail_out("more keys than a shell has");
    return shell->erased[key_id] ? ERROR_NOT_FOUND : 0;
}

void shell_open(struct agent_shell *shell)
{
    struct error error;
    if (shell->budget.limit == 0)
        budget_init(&shell->budget, 256 << 20);
    shell->options.budget = &shell->budget;
    shell->options.keys = (struct event_keys){ find_key, shell };
    if (shell->options.max_concurrent_workflows == 0)
        shell->options.max_concurrent_workflows = 1000;
    if (shell->options.max_pending == 0)
        shell->options.max_pending = 1000000;
    if (shell->options.idempotency_ttl_ns == 0)
        shell->options.idempotency_ttl_ns = 3600 * SHELL_SECOND;
    if (shell->now_ns == 0)
        shell->now_ns = 1700000000 * SHELL_SECOND;
    if (agent_open(&shell->agent, &shell->options, &error) < 0)
        tap_bail_out("%s", error.text);
    decision_init(&shell->decision, &shell->budget);
    agent_live(shell->agent);
}

static void drop_effects(struct agent_shell *shell)
{
    while (shell->effects != NULL) {
        struct effect *effect = shell->effects;
        shell->effects = effect->next;
        effect_free(effect);
    }
}

void shell_close(struct agent_shell *shell)
{
    drop_effects(shell);
    agent_close(shell->agent);
    decision_free(&shell->decision);
    for (size_t i = 0; i < shell->log_count; i++)
        free(shell->log[i].bytes);
    free(shell->log);
    shell_documents_free(&shell->documents);
    is_int(shell->budget.used, 0, "the agent gives all its memory back");
}

static void load(struct agent *agent, const struct shell_documents *documents, struct span key)
{
    struct document_key needs;
    const struct shell_document *found = shell_documents_get(documents, key);
    struct span bytes = found != NULL ? span_of(found->bytes, found->size) : span_of(NULL, 0);
    int result = agent_load(agent, key, bytes, &needs);
    if (result == 1) { /* of a workflow the definition, of an `a` document the workflow */
        load(agent, documents, document_key_span(&needs));
        result = agent_load(agent, key, bytes, &needs);
    }
    if (result != 0)
        tap_bail_out("a document (%c) cannot be loaded: %d", key.bytes[0], result);
}

int shell_read(struct agent_shell *shell, const struct shell_event *record, struct arena *arena,
               Daa__Event **event)
{
    const struct event_keys keys = { find_key, shell };
    int result =
        event_open(&record->header, span_of(record->bytes, record->size), &keys, arena, event);
    return result < 0 ? result : event_blank(*event, arena);
}

static const Daa__Event *encrypt(struct agent_shell *shell, const struct event_header *header,
                                 const Daa__Event *event)
{
    uint8_t key[AEAD_KEY_SIZE], nonce[AEAD_NONCE_SIZE] = { (uint8_t)header->seq };
    if (header->key_id == 0)
        return event;
    if (find_key(shell, header->key_id, key) < 0)
        tap_bail_out("an event of a workflow that was erased");
    Daa__Event *withheld = event_withhold(event, &shell->decision.arena);
    event_encrypt(withheld, header, key, nonce);
    return withheld;
}

static void append(struct agent_shell *shell, const struct event_header *header,
                   const Daa__Event *event)
{
    event = encrypt(shell, header, event);
    if (shell->log_count == shell->log_capacity) {
        shell->log_capacity = shell->log_capacity * 2 + 256;
        shell->log = realloc(shell->log, shell->log_capacity * sizeof *shell->log);
    }
    struct shell_event *record = &shell->log[shell->log_count++];
    record->header = *header;
    record->size = event_size(event);
    record->bytes = malloc(record->size + 1);
    event_pack(event, record->bytes);
}

static void apply_all(struct agent_shell *shell)
{
    struct decision *decision = &shell->decision;
    uint64_t first = shell->log_count + 1, created = 0;
    for (uint32_t i = 0; i < decision->event_count; i++) {
        struct event_draft *draft = &decision->events[i];
        struct event_header header = { .seq = first + i, .time_ns = shell->now_ns };
        if (draft->creates && created == 0)
            created = header.seq;
        header.stream = draft->creates ? header.seq : draft->stream != 0 ? draft->stream : created;
        header.cause = i > 0 ? header.seq - 1 : 0;
        header.kind = event_kind(&draft->event);
        header.key_id = draft->key_id;
        header.stream_prev_seq = draft->creates ? 0 : draft->stream_prev_seq;
        for (uint32_t j = 0; j < i; j++)
            if (shell->log[first - 1 + j].header.stream == header.stream)
                header.stream_prev_seq = first + j;
        int result = agent_apply(shell->agent, &header, &draft->event);
        if (result < 0)
            tap_bail_out("%s of its own decision cannot be applied: %d",
                         event_kind_name(header.kind), result);
        append(shell, &header, &draft->event);
    }
}

enum decision_kind shell_decide(struct agent_shell *shell, const struct command *command)
{
    struct decision *decision = &shell->decision;
    struct agent_moment moment = { .now_ns = shell->now_ns,
                                   .random = shell->random += 0x9e3779b97f4a7c15ull,
                                   .wall_ns = shell->wall_ns };
    struct command keyed = *command;
    struct agent_counts counts;
    agent_counts_get(shell->agent, &counts);
    if (command->kind == COMMAND_SUBMIT && shell->encrypt && command->submit.key_id == 0)
        keyed.submit.key_id = counts.keys_used + 1;
    shell->commands++;
    for (bool first = true;; first = false) {
        agent_decide(shell->agent, &keyed, &moment, decision);
        if (decision->kind != DECISION_NEEDS)
            break;
        shell->needs++;
        if (shell->lazy_changes && first)
            shell_take(shell); /* once: it lets go of what was loaded */
        for (uint32_t i = 0; i < decision->needs_count; i++) {
            struct document_key key = decision->needs[i];
            load(shell->agent, &shell->documents, document_key_span(&key));
        }
    }
    if (decision->kind == DECISION_EVENTS)
        apply_all(shell);
    return decision->kind;
}

static void collect_effects(struct agent_shell *shell)
{
    struct effect *effect;
    while ((effect = agent_next_effect(shell->agent)) != NULL) {
        if (effect->kind == EFFECT_FINISHED) {
            shell->finished++;
            effect_free(effect);
            continue;
        }
        effect->next = shell->effects;
        shell->effects = effect;
    }
}

static void put_document(struct span key, struct span bytes, void *documents)
{
    shell_documents_put(documents, key, bytes);
}

void shell_take(struct agent_shell *shell)
{
    if (agent_take_changes(shell->agent, put_document, &shell->documents) < 0)
        tap_bail_out("changes cannot be taken");
}

void shell_advance(struct agent_shell *shell)
{
    struct command command = { .kind = COMMAND_ADVANCE };
    struct error error;
    while (agent_next_ready(shell->agent, &command.stream)) {
        if (shell_decide(shell, &command) != DECISION_EVENTS || shell->decision.event_count == 0)
            tap_bail_out("a ready workflow did not advance: %s", shell->decision.refusal.text);
    }
    collect_effects(shell);
    if (!shell->lazy_changes)
        shell_take(shell);
    if (agent_check(shell->agent, &error) < 0)
        tap_bail_out("after a turn: %s", error.text);
}

enum decision_kind shell_do(struct agent_shell *shell, const struct command *command)
{
    enum decision_kind kind = shell_decide(shell, command);
    struct decision kept = shell->decision; /* for whoever looks at the refusal */
    shell_advance(shell);
    shell->decision.refusal = kept.refusal;
    shell->decision.kind = kind;
    shell->decision.replayed = kept.replayed;
    shell->decision.replayed_stream = kept.replayed_stream;
    shell->decision.event_count = kept.event_count;
    return kind;
}

void shell_wait(struct agent_shell *shell, uint64_t ns)
{
    struct command command;
    uint64_t until = shell->now_ns + ns;
    while (agent_next_deadline(shell->agent) <= until) {
        uint64_t due = agent_next_deadline(shell->agent);
        shell->now_ns = due > shell->now_ns ? due : shell->now_ns;
        while (agent_next_timer(shell->agent, shell->now_ns, &command))
            (void)shell_decide(shell, &command);
        shell_advance(shell);
    }
    shell->now_ns = until;
}

/*--- What tests ask for ----------------------------------------------------------------------*/

struct flow *shell_flow(struct agent_shell *shell, const char *source)
{
    struct flow *flow;
    struct flow_problem problem;
    if (flow_compile(&flow, &shell->budget, span_of_text(source), &problem) < 0)
        tap_bail_out("%s: %s", problem.pointer, problem.message);
    return flow;
}

struct command shell_submission(struct flow *flow, const char *input)
{
    struct command command = { .kind = COMMAND_SUBMIT };
    command.actor.type = DAA__ACTOR__TYPE__ANONYMOUS;
    command.submit.flow = flow;
    command.submit.input = span_of_text(input);
    command.submit.metadata = span_of_text("{}");
    return command;
}

static void read_subject(struct agent_shell *shell, struct command *command, struct arena *arena)
{
    Daa__Event *event;
    const struct shell_event *record = &shell->log[command->stream - 1];
    if (record->header.kind != DAA__EVENT__BODY_WORKFLOW_SUBMITTED)
        return;
    command->erase.key_id = record->header.key_id;
    if (event_unpack(record->header.kind, span_of(record->bytes, record->size), arena, &event) < 0)
        tap_bail_out("an event of the log cannot be read");
    if (event->workflow_submitted->has_key_digest)
        command->erase.key_digest = span_of_data(event->workflow_submitted->key_digest);
}

enum decision_kind shell_erase(struct agent_shell *shell, uint64_t stream)
{
    struct command command = { .kind = COMMAND_ERASE, .stream = stream };
    struct arena arena;
    arena_init(&arena, &shell->budget, BUDGET_READERS, 4096);
    if (stream > 0 && stream <= shell->log_count)
        read_subject(shell, &command, &arena);
    enum decision_kind kind = shell_decide(shell, &command);
    arena_free(&arena);
    if (kind == DECISION_EVENTS)
        shell->erased[command.erase.key_id] = true;
    return kind;
}

uint64_t shell_submit(struct agent_shell *shell, const char *source, const char *input)
{
    struct flow *flow = shell_flow(shell, source);
    struct command command = shell_submission(flow, input);
    uint64_t stream = 0;
    if (shell_decide(shell, &command) == DECISION_EVENTS)
        stream = shell->log_count;
    struct refusal refusal = shell->decision.refusal;
    shell_advance(shell);
    shell->decision.refusal = refusal;
    flow_unref(flow);
    return stream;
}

struct effect *shell_effect(struct agent_shell *shell, uint64_t stream, uint32_t index)
{
    struct effect *found = NULL;
    for (struct effect *at = shell->effects; at != NULL; at = at->next)
        if (at->stream == stream && at->index == index)
            found = at;
    return found;
}

bool shell_answer(struct agent_shell *shell, uint64_t stream, uint32_t index, int outcome,
                  const char *output, const char *error)
{
    struct effect *effect = shell_effect(shell, stream, index);
    struct command command = { .kind = COMMAND_OUTCOME, .stream = stream };
    if (effect == NULL)
        return false;
    command.outcome.index = index;
    command.outcome.attempt = effect->attempt;
    command.outcome.outcome = outcome;
    command.outcome.output = span_of_text(output);
    command.outcome.error = span_of_text(error);
    struct effect **at = &shell->effects;
    while (*at != effect)
        at = &(*at)->next;
    *at = effect->next;
    effect_free(effect);
    (void)shell_do(shell, &command);
    return true;
}

const char *shell_history(struct agent_shell *shell, uint64_t stream)
{
    static char text[16384];
    size_t size = 0;
    text[0] = '\0';
    for (size_t i = 0; i < shell->log_count && size < sizeof text - 64; i++)
        if (shell->log[i].header.stream == stream)
            size += (size_t)snprintf(text + size, sizeof text - size, "%s%s", size > 0 ? " " : "",
                                     event_kind_name(shell->log[i].header.kind));
    return text;
}

const char *shell_show(struct agent_shell *shell, uint64_t stream)
{
    static char shown[65536];
    static const uint8_t uuid[16];
    struct document_key key = document_workflow_key(stream);
    const struct shell_document *document =
        shell_documents_get(&shell->documents, document_key_span(&key));
    struct arena arena;
    struct text text;
    shown[0] = '\0';
    if (document == NULL)
        return shown;
    arena_init(&arena, &shell->budget, BUDGET_READERS, 4096);
    text_init(&text);
    struct document_view view = { .log_uuid = uuid,
                                  .stream = stream,
                                  .keys = &shell->options.keys };
    if (document_workflow_to_json(span_of(document->bytes, document->size), span_of(NULL, 0), &view,
                                  &arena, &text) == 0)
        (void)snprintf(shown, sizeof shown, "%s", text_string(&text));
    text_free(&text);
    arena_free(&arena);
    return shown;
}

/*--- Replay ----------------------------------------------------------------------------------*/

static void cold_start(struct agent *agent, const struct shell_documents *documents)
{
    struct document_key counts = document_agent_key();
    load(agent, documents, document_key_span(&counts));
    for (size_t i = 0; i < documents->count; i++) {
        uint64_t stream;
        struct span key = document_key_span(&documents->items[i].key);
        if (key.bytes[0] != 'a' || !document_stream_of_key(key, &stream))
            continue;
        load(agent, documents, key);
    }
}

struct agent *shell_replay(struct agent_shell *shell, struct shell_documents *documents,
                           uint64_t applied_seq)
{
    struct agent *agent;
    struct arena arena;
    struct error error;
    struct document_key key;
    Daa__Event *event;
    if (agent_open(&agent, &shell->options, &error) < 0)
        tap_bail_out("%s", error.text);
    arena_init(&arena, &shell->budget, BUDGET_READERS, 4096);
    cold_start(agent, documents);
    for (size_t i = applied_seq; i < shell->log_count; i++) {
        const struct shell_event *record = &shell->log[i];
        arena_reset(&arena);
        int result = shell_read(shell, record, &arena, &event);
        while (result == 0 && agent_event_needs(agent, &record->header, event, &key))
            load(agent, documents, document_key_span(&key));
        if (result == 0)
            result = agent_apply(agent, &record->header, event);
        if (result < 0)
            tap_bail_out("event %zu (%s) cannot be replayed: %d", i + 1,
                         event_kind_name(record->header.kind), result);
        if (i % 7 == 0 && agent_take_changes(agent, put_document, documents) < 0)
            tap_bail_out("changes cannot be taken");
    }
    if (agent_take_changes(agent, put_document, documents) < 0)
        tap_bail_out("changes cannot be taken");
    arena_free(&arena);
    return agent;
}

void shell_restart(struct agent_shell *shell, const struct shell_documents *saved,
                   uint64_t applied_seq)
{
    struct shell_documents documents = { NULL, 0, 0 };
    struct agent_orphan orphan;
    struct command outcomes[256];
    size_t count = 0;
    shell_documents_copy(&documents, saved);
    agent_close(shell->agent);
    drop_effects(shell);
    shell->agent = shell_replay(shell, &documents, applied_seq);
    shell_documents_free(&shell->documents);
    shell->documents = documents;
    while (count < 256 && agent_next_orphan(shell->agent, &orphan)) {
        struct command *outcome = &outcomes[count++];
        *outcome = (struct command){ .kind = COMMAND_OUTCOME, .stream = orphan.stream };
        outcome->outcome.index = orphan.index;
        outcome->outcome.attempt = orphan.attempt;
        outcome->outcome.outcome = orphan.kind == FLOW_EXEC && orphan.pid == 0
                                       ? DAA__OUTCOME__OUTCOME_NOT_DONE
                                       : DAA__OUTCOME__OUTCOME_UNKNOWN;
        outcome->outcome.error = span_of_text("the agent ended while this was under way");
    }
    agent_live(shell->agent);
    for (size_t i = 0; i < count; i++)
        (void)shell_do(shell, &outcomes[i]);
    shell_advance(shell);
}
