#include "tools/agent/rebuild.h"

#include "core/agent/agent.h"
#include "core/base/bytes.h"
#include "core/base/check.h"
#include "log/event.h"
#include "log/format.h"
#include "log/reader.h"
#include "tools/agent/host.h"
#include "tools/agent/rebuild_inside.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void rebuild_say(const struct rebuild *rebuild, const char *format, ...)
{
    char sentence[1200];
    va_list arguments;
    if (!rebuild->options->say)
        return;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    rebuild->options->say(sentence, rebuild->options->context);
}

void rebuild_stage(struct rebuild *rebuild, enum rebuild_stage stage, uint64_t first, uint64_t last)
{
    struct rebuild_progress *progress = rebuild->progress;
    atomic_store(&progress->first, first);
    atomic_store(&progress->at, first);
    atomic_store(&progress->last, last);
    atomic_store(&progress->bytes, 0);
    atomic_store(&progress->began_ns, host_monotonic_ns());
    atomic_store(&progress->stage, stage);
}

#define LOAD_LEVELS 2

/*--- Of the same history -----------------------------------------------------------------------*/

static bool chain_is_known(const uint8_t chain[SHA256_SIZE])
{
    static const uint8_t zeros[SHA256_SIZE];
    return memcmp(chain, zeros, SHA256_SIZE) != 0;
}

static int mark_agrees(struct log_reader *reader, const struct state_mark *mark, char *why,
                       size_t size)
{
    struct record record;
    struct log_place place;
    struct error ignored;
    if (mark->seq == 0 || !chain_is_known(mark->chain) ||
        log_reader_get(reader, mark->seq, &record, &place, &ignored) != 1 ||
        !chain_is_known(place.frame_chain))
        return 1;
    if (place.frame_last_seq == mark->seq &&
        memcmp(place.frame_chain, mark->chain, SHA256_SIZE) == 0)
        return 1;
    snprintf(why, size, "the log's history up to event %" PRIu64 " is another one", mark->seq);
    return 0;
}

int rebuild_history(struct log_reader *reader, const uint8_t uuid[16], uint64_t seq,
                    const struct state_mark *mark, char *why, size_t why_size, struct error *error)
{
    struct record record;
    struct log_place place;
    bool same_log = memcmp(uuid, log_reader_uuid(reader), 16) == 0;
    uint64_t durable_seq = log_reader_durable_seq(reader);
    why[0] = 0;
    if (seq > durable_seq) {
        snprintf(why, why_size, "they stand for event %" PRIu64 ", and the log ends with %" PRIu64,
                 seq, durable_seq);
        return 0;
    }
    int found = log_reader_get(reader, seq, &record, &place, error);
    if (found < 0 && !same_log)
        return found;
    /* Ours at an event of a log that we forked from: a rebuild was interrupted there. */
    if (!same_log && (found != 1 || memcmp(uuid, place.log_uuid, 16) != 0)) {
        snprintf(why, why_size, "they belong to another event log");
        return 0;
    }
    return mark_agrees(reader, mark, why, why_size);
}

static int check_history(struct rebuild *rebuild, struct error *error)
{
    const struct rebuild_options *options = rebuild->options;
    const struct state_found *found = options->found;
    char why[256];
    if (found->aside)
        rebuild_say(rebuild,
                    "the documents in %s were moved to %s" STATE_ASIDE ", since %s; they are "
                    "rebuilt",
                    options->db_dir, options->db_dir, found->why);
    else if (found->rebuilt)
        rebuild_say(rebuild, "the documents in %s were deleted, since %s; they are rebuilt",
                    options->db_dir, found->why);
    if (found->applied_seq == 0)
        return 0;
    int same = rebuild_history(rebuild->reader, found->log_uuid, found->applied_seq, &found->mark,
                               why, sizeof why, error);
    if (same != 0)
        return same < 0 ? same : 0;
    rebuild_say(rebuild, "the documents in %s are deleted, since %s; they are rebuilt",
                options->db_dir, why);
    rebuild->result->foreign = true;
    return state_clear(options->state, error);
}

/*--- Documents into the agent ------------------------------------------------------------------*/

/* An `a` document may ask for its workflow first, and a workflow for its definition: two levels. */
static int load(struct rebuild *rebuild, struct span key, int levels, struct error *error)
{
    const struct rebuild_options *options = rebuild->options;
    struct document_key needs;
    uint8_t *bytes = NULL;
    size_t size = 0;
    int status = state_get(options->state, key, &bytes, &size);
    if (status >= 0) {
        struct span value = status == 1 ? span_of(bytes, size) : span_of(NULL, 0);
        status = agent_load(options->agent, key, value, &needs);
        if (status == 1 && levels > 0 &&
            (status = load(rebuild, document_key_span(&needs), levels - 1, error)) == 0)
            status = agent_load(options->agent, key, value, &needs);
    }
    free(bytes);
    if (status == 0)
        return 0;
    if (status == ERROR_BUDGET)
        return error_set(error, status,
                         "a document of the state cannot be loaded: %s; raise [memory] "
                         "max_heap_size",
                         error_text(status));
    rebuild->result->documents_damaged = status > 0 || status == ERROR_DAMAGED;
    return error_set(error, status < 0 ? status : ERROR_DAMAGED,
                     "a document of the state cannot be loaded: %s; move %s away and it is rebuilt "
                     "from the log",
                     error_text(status < 0 ? status : ERROR_DAMAGED), options->db_dir);
}

struct unfinished {
    struct rebuild *rebuild;
    struct document_key *running; /* `a` documents whose workflows are needed in memory */
    size_t count, capacity;
    uint64_t seen;
    int status;
};

static bool note_running(struct unfinished *unfinished, struct span key)
{
    if (unfinished->count == unfinished->capacity) {
        unfinished->capacity = unfinished->capacity ? unfinished->capacity * 2 : 256;
        unfinished->running =
            realloc(unfinished->running, unfinished->capacity * sizeof *unfinished->running);
        CHECK(unfinished->running);
    }
    struct document_key *noted = &unfinished->running[unfinished->count++];
    *noted = (struct document_key){ .size = (uint8_t)key.size };
    memcpy(noted->bytes, key.bytes, key.size);
    return true;
}

/* Most only wait, and then the agent needs no more than this document. */
static bool load_active(struct span key, struct span bytes, void *context)
{
    struct unfinished *unfinished = context;
    struct rebuild *rebuild = unfinished->rebuild;
    struct document_key needs;
    atomic_store_explicit(&rebuild->progress->at, ++unfinished->seen, memory_order_relaxed);
    unfinished->status = agent_load(rebuild->options->agent, key, bytes, &needs);
    if (unfinished->status != 1)
        return unfinished->status == 0;
    unfinished->status = 0;
    return note_running(unfinished, key);
}

/* Before anything is opened with the keys of another log, which may be destroyed there and not
 * here, or the other way round. */
static int check_keyring(const struct rebuild *rebuild, struct error *error)
{
    const struct rebuild_options *options = rebuild->options;
    char is[UUID_TEXT_SIZE] = "", wanted[UUID_TEXT_SIZE];
    struct agent_counts counts;
    uint8_t uuid[UUID_SIZE];
    agent_counts_get(options->agent, &counts);
    if (options->keyring == NULL || bytes_are_zero(counts.keyring, UUID_SIZE))
        return 0;
    bool has_keys = keyring_uuid(options->keyring, uuid);
    if (has_keys && memcmp(uuid, counts.keyring, UUID_SIZE) == 0)
        return 0;
    uuid_to_text(wanted, counts.keyring);
    if (has_keys)
        uuid_to_text(is, uuid);
    return error_set(
        error, ERROR_CONFLICT,
        "the directory of keys holds %s%s, and this log's are those of keyring %s: say "
        "where they are (log.keys_dir), or put them back there from a copy; what is lost for good "
        "is given up with daa-log keys --give-up",
        has_keys ? "those of keyring " : "none", is, wanted);
}

static int load_unfinished(struct rebuild *rebuild, struct error *error)
{
    rebuild_stage(rebuild, REBUILD_DOCUMENTS, 0, 0);
    struct document_key agent_key = document_agent_key();
    int status = load(rebuild, document_key_span(&agent_key), 0, error);
    if (status == 0)
        status = check_keyring(rebuild, error);
    if (status < 0)
        return status;
    struct unfinished unfinished = { .rebuild = rebuild };
    status = state_walk(rebuild->options->state, span_of_text("a"), span_of(NULL, 0), false,
                        load_active, &unfinished);
    if (status == 0)
        status = unfinished.status;
    if (status < 0) {
        rebuild->result->documents_damaged = status == ERROR_DAMAGED;
        error_set(error, status,
                  "the state cannot be read: %s; move %s away and it is rebuilt from "
                  "the log",
                  error_text(status), rebuild->options->db_dir);
    }
    for (size_t i = 0; i < unfinished.count && status == 0; i++)
        status = load(rebuild, document_key_span(&unfinished.running[i]), LOAD_LEVELS, error);
    rebuild->result->loaded = unfinished.count;
    free(unfinished.running);
    return status;
}

/*--- Replay ------------------------------------------------------------------------------------*/

static void take_change(struct span key, struct span bytes, void *batch)
{
    state_batch_add(key, bytes, batch);
}

static uint64_t at_most(const struct rebuild *rebuild, uint64_t bytes, uint64_t share)
{
    uint64_t part = rebuild->options->budget->limit / share;
    return part < bytes ? part : bytes;
}

/* By what the agent holds: what waits for LMDB has a bound of its own. */
static uint64_t memory_held(const struct rebuild *rebuild)
{
    const struct budget *budget = rebuild->options->budget;
    return atomic_load(&budget->owner_used[BUDGET_WORKFLOWS]) +
           atomic_load(&budget->owner_used[BUDGET_DEFINITIONS]);
}

static int wait_for_disk(struct rebuild *rebuild, struct error *error)
{
    struct state *state = rebuild->options->state;
    struct error trouble;
    while (state_pending_bytes(state) > at_most(rebuild, REPLAY_LAG, REPLAY_LAG_SHARE)) {
        if (state_trouble(state, &trouble))
            return error_set(error, trouble.code, "replay: %s", trouble.text);
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    }
    return 0;
}

static int hand_over(struct rebuild *rebuild, struct error *error)
{
    struct state *state = rebuild->options->state;
    struct state_batch *batch = state_batch_new(state);
    int status = agent_take_changes(rebuild->options->agent, take_change, batch);
    if (status < 0) {
        state_batch_free(batch);
        return error_set(error, status, "replay: %s; raise [memory] max_heap_size",
                         error_text(status));
    }
    state_hand_over(state, batch, rebuild->at);
    if (rebuild->mark.seq > 0)
        state_mark(state, rebuild->mark.seq, rebuild->mark.chain);
    rebuild->count = 0;
    rebuild->handed_bytes = rebuild->bytes;
    rebuild->handed_held = memory_held(rebuild);
    atomic_store(&rebuild->progress->at, rebuild->at);
    atomic_store(&rebuild->progress->bytes, rebuild->bytes);
    return wait_for_disk(rebuild, error);
}

static bool is_enough(const struct rebuild *rebuild)
{
    uint64_t share = rebuild->options->budget->limit / REPLAY_BATCH_SHARE;
    return rebuild->count >= REPLAY_BATCH ||
           rebuild->bytes - rebuild->handed_bytes >= REPLAY_BATCH_BYTES ||
           memory_held(rebuild) > rebuild->handed_held + share;
}

/* All that was applied up to now goes to LMDB, since it holds the memory for what is next. First
 * what was handed over before: to hand over needs some too. */
static int make_room(struct rebuild *rebuild, struct error *error)
{
    struct state *state = rebuild->options->state;
    int status = state_commit_now(state, error);
    if (status == 0)
        status = hand_over(rebuild, error);
    return status == 0 ? state_commit_now(state, error) : status;
}

static int load_needs(struct rebuild *rebuild, struct event_header *header, const Daa__Event *event,
                      struct error *error)
{
    struct document_key key;
    while (agent_event_needs(rebuild->options->agent, header, event, &key)) {
        int status = load(rebuild, document_key_span(&key), LOAD_LEVELS, error);
        if (status == ERROR_BUDGET && rebuild->count > 0)
            status = make_room(rebuild, error);
        if (status < 0)
            return status;
    }
    return 0;
}

static int not_applied(const struct record *record, int status, struct error *error)
{
    if (status == ERROR_NEWER)
        return error_set(error, status,
                         "event %" PRIu64 " of kind %u was written by a newer version of "
                         "daa-agent; start that one, or read the log with daa-log",
                         record->seq, record->kind);
    return error_set(error, status, "event %" PRIu64 " of the log cannot be applied: %s%s",
                     record->seq, error_text(status),
                     status == ERROR_BUDGET ? "; raise [memory] max_heap_size" : "");
}

/* ERROR_UNAVAILABLE with a sentence: its key is missing, or another. One whose key was destroyed is
 * blank. */
static int open_event(struct rebuild *rebuild, const struct record *record, Daa__Event **event,
                      struct error *error)
{
    struct keyring *keyring = rebuild->options->keyring;
    struct event_header header = event_header_of(record);
    struct event_keys keys = event_keys_of(keyring);
    struct error why = { 0 };
    uint8_t key[KEYRING_KEY_SIZE];
    int status = event_open(&header, record->payload, &keys, &rebuild->arena, event);
    if (status == 0 && event_is_withheld(*event) && keyring == NULL)
        return error_set(error, ERROR_UNAVAILABLE,
                         "event %" PRIu64 " is encrypted, and there are no keys: put the directory "
                         "of the keys back, or say where it is",
                         record->seq);
    if (status == 0)
        return event_blank(*event, &rebuild->arena);
    if (record->key_id == 0 || keyring == NULL)
        return status;
    int found = keyring_get(keyring, record->key_id, key, &why);
    explicit_bzero(key, sizeof key);
    if (found < 0)
        return error_set(error, ERROR_UNAVAILABLE, "event %" PRIu64 " is encrypted: %s",
                         record->seq, why.text);
    if (event_unpack(record->kind, record->payload, &rebuild->arena, event) < 0 ||
        !event_is_withheld(*event))
        return status;
    return error_set(error, ERROR_UNAVAILABLE,
                     "event %" PRIu64 " is encrypted, and key %" PRIu32 " does not fit it; are "
                     "these the keys of this log?",
                     record->seq, record->key_id);
}

static int replay_event(struct rebuild *rebuild, const struct record *record, struct error *error)
{
    struct agent *agent = rebuild->options->agent;
    struct event_header header = event_header_of(record);
    Daa__Event *event;
    arena_reset(&rebuild->arena);
    int status = open_event(rebuild, record, &event, error);
    if (status == ERROR_UNAVAILABLE)
        return status;
    if (status == 0) {
        status = load_needs(rebuild, &header, event, error);
        if (status < 0)
            return status;
        status = agent_apply(agent, &header, event);
    }
    if (status < 0)
        return not_applied(record, status, error);
    rebuild->result->replayed++;
    rebuild->count++;
    return record->kind == DAA__EVENT__BODY_AGENT_REGISTERED ? check_keyring(rebuild, error) : 0;
}

static void note_applied(struct rebuild *rebuild, const struct record *record,
                         const struct log_place *place)
{
    rebuild->at = record->seq;
    rebuild->bytes += record_size(record->payload.size);
    rebuild->result->time_ns = record->time_ns;
    if (place->frame_last_seq != record->seq)
        return;
    rebuild->mark.seq = record->seq;
    memcpy(rebuild->mark.chain, place->frame_chain, SHA256_SIZE);
}

static int replay_records(struct rebuild *rebuild, uint64_t last, struct error *error)
{
    struct record record;
    struct log_place place;
    while (rebuild->at < last) {
        int status = log_reader_next(rebuild->reader, &record, &place, error);
        if (status < 0)
            return status;
        if (status == 0)
            return error_set(error, ERROR_DAMAGED,
                             "replay: the log's durable end is %" PRIu64 ", but its reader ends at "
                             "%" PRIu64,
                             last, rebuild->at);
        if (record.seq > last)
            break;
        if (record.kind > LOG_KIND_OWN_MAX && (status = replay_event(rebuild, &record, error)) < 0)
            return status;
        note_applied(rebuild, &record, &place);
        if (is_enough(rebuild) && (status = hand_over(rebuild, error)) < 0)
            return status;
    }
    return 0;
}

static int replay(struct rebuild *rebuild, uint64_t applied_seq, struct error *error)
{
    struct state *state = rebuild->options->state;
    uint64_t last = log_reader_durable_seq(rebuild->reader);
    if (rebuild->options->until_seq > 0 && rebuild->options->until_seq < last)
        last = rebuild->options->until_seq;
    rebuild_stage(rebuild, REBUILD_REPLAY, applied_seq, last);
    rebuild->at = applied_seq;
    if (applied_seq >= last)
        return 0;
    int status = log_reader_seek(rebuild->reader, applied_seq + 1, error);
    if (status < 0)
        return status;
    arena_init(&rebuild->arena, rebuild->options->budget, BUDGET_READERS, 4096);
    rebuild->handed_held = memory_held(rebuild);
    state_pace(state, REPLAY_COMMIT_NS, at_most(rebuild, REPLAY_COMMIT_BYTES, REPLAY_COMMIT_SHARE));
    status = replay_records(rebuild, last, error);
    if (status == 0)
        status = hand_over(rebuild, error);
    state_pace(state, 0, 0);
    arena_free(&rebuild->arena);
    return status;
}

/*--- All of it ---------------------------------------------------------------------------------*/

static int without_beginning(const struct rebuild *rebuild, uint64_t applied_seq, uint64_t first,
                             struct error *error)
{
    const struct rebuild_options *options = rebuild->options;
    return error_set(
        error, ERROR_NOT_FOUND,
        "the documents in %s stand for event %" PRIu64 ", and the log in %s begins with event "
        "%" PRIu64 "; what lies between needs a snapshot, and none in %s can be used: put the "
        "snapshots, the documents or the log's older segments back from a copy",
        options->db_dir, applied_seq, options->log_dir, first,
        options->snapshots_dir ? options->snapshots_dir : "(no directory)");
}

static int find_beginning(struct rebuild *rebuild, uint64_t *applied_seq, struct error *error)
{
    const struct rebuild_options *options = rebuild->options;
    uint64_t first = log_reader_first_seq(rebuild->reader);
    int status = check_history(rebuild, error);
    if (status < 0)
        return status;
    *applied_seq = state_applied_seq(options->state);
    if ((*applied_seq == 0 || *applied_seq + 1 < first) && options->snapshots_dir)
        status = rebuild_load_snapshot(rebuild, error);
    *applied_seq = state_applied_seq(options->state);
    if (status == 0 && *applied_seq + 1 < first)
        status = without_beginning(rebuild, *applied_seq, first, error);
    return status;
}

static int run(struct rebuild *rebuild, struct error *error)
{
    uint64_t applied_seq = 0;
    int status = find_beginning(rebuild, &applied_seq, error);
    if (status == 0)
        status = load_unfinished(rebuild, error);
    if (status < 0)
        return status;
    status = replay(rebuild, applied_seq, error);
    rebuild->result->seq = rebuild->at;
    if (status == ERROR_DAMAGED || status == ERROR_TRUNCATED || status == ERROR_NOT_FOUND)
        return error_wrap(
            error, status,
            "the documents cannot be made from the log, so put its damaged or missing "
            "segments back from a copy (daa-log verify %s names them)",
            rebuild->options->log_dir);
    return status;
}

int rebuild_run(const struct rebuild_options *options, struct rebuild_result *result,
                struct error *error)
{
    struct rebuild_progress unseen = { 0 };
    struct rebuild rebuild = { .options = options,
                               .result = result,
                               .progress = options->progress ? options->progress : &unseen };
    *result = (struct rebuild_result){ 0 };
    struct log_reader_options reader = { .dir = options->log_dir, .budget = options->budget };
    int status = log_reader_open(&rebuild.reader, &reader, error);
    if (status < 0)
        return status;
    status = run(&rebuild, error);
    log_reader_close(rebuild.reader);
    if (status == 0)
        atomic_store(&rebuild.progress->stage, REBUILD_ENDED);
    return status;
}

/*--- Progress ----------------------------------------------------------------------------------*/

static void replay_text(const struct rebuild_progress *progress, uint64_t elapsed_ns, char *text,
                        size_t size)
{
    uint64_t first = atomic_load(&progress->first), at = atomic_load(&progress->at);
    uint64_t last = atomic_load(&progress->last), bytes = atomic_load(&progress->bytes);
    int used =
        snprintf(text, size, "replays the log, at event %" PRIu64 " of %" PRIu64 " to %" PRIu64, at,
                 first + 1, last);
    if (used < 0 || (size_t)used >= size || at <= first || elapsed_ns < 100000000 || at > last)
        return;
    double per_second = (double)(at - first) * 1e9 / (double)elapsed_ns;
    double left = (double)(last - at);
    snprintf(text + used, size - (size_t)used, ", %.0f events/s; about %.1f MB and %.0f s are left",
             per_second, left * (double)bytes / (double)(at - first) / 1e6, left / per_second);
}

void rebuild_progress_text(const struct rebuild_progress *progress, char *text, size_t size)
{
    uint64_t at = atomic_load(&progress->at), last = atomic_load(&progress->last);
    uint64_t elapsed_ns = host_monotonic_ns() - atomic_load(&progress->began_ns);
    switch (atomic_load(&progress->stage)) {
    case REBUILD_SNAPSHOT: {
        double left = at > 0 ? (double)(last - at) * (double)elapsed_ns / (double)at / 1e9 : 0;
        snprintf(text, size,
                 "loads a snapshot, document %" PRIu64 " of %" PRIu64 "; about %.0f s are left", at,
                 last, left);
        break;
    }
    case REBUILD_DOCUMENTS:
        snprintf(text, size, "takes up workflows that have not ended, %" PRIu64 " so far", at);
        break;
    case REBUILD_REPLAY:
        replay_text(progress, elapsed_ns, text, size);
        break;
    default:
        snprintf(text, size, "reads the state");
    }
}
