#include "core/agent/check_documents.h"
#include "core/agent/document.h"
#include "log/verify.h"
#include "scratch.h"
#include "tools/agent/state_view.h"
#include "tools/rebuild/rebuild.h"
#include "year_inside.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY (UINT64_C(256) << 20)

/*--- The documents -----------------------------------------------------------------------------*/

struct look_up {
    struct year_world *world;
    struct kv_reader *reader;
};

static int get(struct span key, struct span *bytes, void *context)
{
    const struct look_up *look_up = context;
    return kv_get(look_up->reader, key, bytes);
}

static void found(struct span key, const char *sentence, void *context)
{
    const struct look_up *look_up = context;
    char text[CHECK_KEY_TEXT_SIZE];
    check_documents_key_to_text(text, key);
    year_fail(look_up->world, "document %s: %s", text, sentence);
}

static int give_all(struct check_documents *check, struct state *state, struct error *error)
{
    struct state_view *view;
    struct span key, value;
    int status = state_view_open(state, &view, error);
    if (status < 0)
        return status;
    while ((status = state_view_next(view, &key, &value, error)) == 1) {
        status = check_documents_add(check, key, value);
        if (status < 0)
            break;
    }
    state_view_close(view);
    return status;
}

/* Nobody writes: two readers see the same. */
static void check_documents(struct year_world *world, struct state *state, struct budget *budget)
{
    struct look_up look_up = { .world = world };
    struct check_documents_options options = {
        .budget = budget, .get = get, .found = found, .context = &look_up
    };
    struct check_documents_result result = { 0 };
    struct check_documents *check = NULL;
    struct error error = { 0 };
    int status = kv_reader_open(state_kv(state), &look_up.reader, &error);
    if (status == 0 && (status = kv_read_begin(look_up.reader, &error)) == 0) {
        status = check_documents_open(&check, &options, &error);
        if (status == 0)
            status = give_all(check, state, &error);
        if (status == 0)
            status = check_documents_end(check, &result);
        check_documents_close(check);
        kv_read_end(look_up.reader);
    }
    if (look_up.reader)
        kv_reader_close(look_up.reader);
    if (status < 0)
        year_fail(world, "the documents cannot be checked: %s", error.text);
    world->result.checked += result.documents;
}

/* The digest of what is there, after a check of it. */
static int look_at_live(struct year_world *world, uint8_t digest[SHA256_SIZE], struct error *error)
{
    static struct budget budget;
    struct state_found there;
    struct state *state;
    struct error ignored;
    char db[PATH_MAX];
    uint64_t seq;
    year_path(world, "db", db);
    budget_init(&budget, MEMORY);
    struct state_options options = { .dir = db, .budget = &budget };
    (void)state_peek_applied_seq(db, options.log_uuid);
    int status = state_open(&state, &options, &there, error);
    if (status < 0)
        return status;
    status = state_digest(state, digest, &seq, error);
    check_documents(world, state, &budget);
    (void)state_close(state, &ignored);
    return status;
}

void year_check_state(struct year_world *world)
{
    char log[PATH_MAX], snapshots[PATH_MAX], again[PATH_MAX];
    uint8_t digest[SHA256_SIZE];
    struct rebuild_copy copy;
    struct error error;
    year_path(world, "log", log);
    year_path(world, "snapshots", snapshots);
    year_path(world, "again", again);
    struct rebuild_copy_options options = {
        .log_dir = log, .snapshots_dir = snapshots, .db_dir = again, .memory = MEMORY
    };
    if (look_at_live(world, digest, &error) < 0 || rebuild_copy(&options, &copy, &error) < 0)
        year_fail(world, "the documents cannot be rebuilt: %s", error.text);
    else if (memcmp(digest, copy.digest, SHA256_SIZE) != 0)
        year_fail(world, "day %.2f: the rebuilt documents differ from the live ones",
                  (double)world->true_ns / (double)YEAR_DAY_NS);
    else if (copy.result.snapshot_seq == 0 && world->next_sample_day > 0)
        year_fail(world, "they were rebuilt without a snapshot");
    world->result.digests++;
    scratch_remove(again);
}

/*--- The log -----------------------------------------------------------------------------------*/

/* The last event that is gone, as the documents say. */
static uint64_t removed_seq(struct year_world *world)
{
    char db[PATH_MAX];
    struct document_key key = document_agent_key();
    uint8_t *bytes = NULL;
    size_t size = 0;
    uint64_t seq = 0;
    year_path(world, "db", db);
    if (state_peek_document(db, document_key_span(&key), &bytes, &size) != 1)
        return 0;
    Daa__AgentDocument *document = daa__agent_document__unpack(NULL, size, bytes);
    if (document)
        seq = document->removed_seq;
    daa__agent_document__free_unpacked(document, NULL);
    free(bytes);
    return seq;
}

static void note_finding(const struct log_finding *finding, void *context)
{
    year_fail(context, "verify: %s at %" PRIu64 ": %s", finding->file, finding->offset,
              finding->text);
}

void year_check_log(struct year_world *world)
{
    char log[PATH_MAX];
    struct error error;
    struct log_verify_result result;
    year_path(world, "log", log);
    world->result.removed_events = removed_seq(world);
    struct log_verify_options options = { .dir = log, .finding = note_finding, .context = world };
    if (log_verify(&options, &result, &error) < 0)
        year_fail(world, "the log cannot be verified: %s", error.text);
    else if (result.first_seq != world->result.removed_events + 1)
        year_fail(world, "the log begins with event %" PRIu64 ", but %" PRIu64 " was removed",
                  result.first_seq, world->result.removed_events);
    world->result.events = result.last_seq;
}
