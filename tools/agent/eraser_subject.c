#include "tools/agent/eraser_subject.h"

#include "core/agent/document.h"
#include "core/base/arena.h"
#include "core/event/event.h"
#include "log/reader.h"
#include "tools/agent/state.h"
#include "tools/agent/warmer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What the record says that submitted it. */
static int read_submission(const struct record *record, struct budget *budget,
                           struct eraser_subject *subject)
{
    struct arena arena;
    Daa__Event *event;
    if (record->kind != DAA__EVENT__BODY_WORKFLOW_SUBMITTED)
        return ERASER_NONE;
    arena_init(&arena, budget, BUDGET_REQUESTS, 4096);
    int status = event_unpack(record->kind, record->payload, &arena, &event);
    if (status == 0) {
        subject->key_id = record->key_id;
        subject->has_key_digest = event->workflow_submitted->has_key_digest;
        if (subject->has_key_digest)
            memcpy(subject->key_digest, event->workflow_submitted->key_digest.data, SHA256_SIZE);
    }
    arena_free(&arena);
    return status < 0 ? status : ERASER_FOUND;
}

static int look_into_log(const char *log_dir, struct budget *budget, uint64_t stream,
                         struct eraser_subject *subject, struct error *error)
{
    struct log_reader_options options = { .dir = log_dir, .budget = budget };
    struct log_reader *reader;
    struct record record;
    int status = log_reader_open(&reader, &options, error);
    if (status < 0)
        return status;
    status = log_reader_get(reader, stream, &record, NULL, error);
    if (status == 1) {
        status = read_submission(&record, budget, subject);
        if (status < 0)
            error_set(error, status, "event %" PRIu64 " of the log cannot be read: %s", stream,
                      error_text(status));
    } else if (status == 0) {
        status = stream < log_reader_first_seq(reader) ? ERASER_REMOVED : ERASER_NONE;
    }
    log_reader_close(reader);
    return status;
}

/* Its document and what that says; 1: it is there, 0: not. */
static int read_summary(struct state *state, uint64_t stream, struct arena *arena,
                        struct document_summary *summary)
{
    struct document_key key = document_workflow_key(stream);
    uint8_t *bytes = NULL;
    size_t size = 0;
    int status = state_get(state, document_key_span(&key), &bytes, &size);
    if (status == 1) {
        status = document_workflow_summary(span_of(bytes, size), NULL, arena, summary);
        status = status < 0 ? status : 1;
    }
    free(bytes);
    return status;
}

/* Of its idempotency key the agent knows. */
static int look_into_state(struct state *state, struct budget *budget, uint64_t stream,
                           struct eraser_subject *subject, struct error *error)
{
    struct document_summary summary = { 0 };
    struct arena arena;
    arena_init(&arena, budget, BUDGET_REQUESTS, 4096);
    int status = read_summary(state, stream, &arena, &summary);
    subject->key_id = summary.key_id;
    arena_free(&arena);
    if (status < 0)
        return error_set(error, status, "the workflow cannot be read: %s", error_text(status));
    return status == 1 ? ERASER_FOUND : ERASER_REMOVED;
}

int eraser_look_up(const char *log_dir, struct state *state, struct budget *budget, uint64_t stream,
                   struct eraser_subject *subject, struct error *error)
{
    *subject = (struct eraser_subject){ 0 };
    int status = look_into_log(log_dir, budget, stream, subject, error);
    return status == ERASER_REMOVED ? look_into_state(state, budget, stream, subject, error)
                                    : status;
}

void eraser_read_ahead(struct state *state, struct budget *budget, uint64_t stream,
                       const struct eraser_subject *subject)
{
    struct document_summary summary = { 0 };
    struct document_key key;
    struct arena arena;
    arena_init(&arena, budget, BUDGET_REQUESTS, 4096);
    if (read_summary(state, stream, &arena, &summary) == 1 &&
        summary.definition.size == SHA256_SIZE) {
        key = document_usage_key(summary.definition.bytes);
        (void)warmer_read(state, &key);
    }
    arena_reset(&arena);
    (void)warmer_read_workflow(state, stream, &arena);
    arena_free(&arena);
    if (subject->has_key_digest) {
        key = document_idempotency_key(subject->key_digest);
        (void)warmer_read(state, &key);
    }
}
