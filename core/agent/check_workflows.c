#include "core/agent/check_inside.h"

#include <inttypes.h>

/* One workflow: read as the agent would read it, then asked what it is waiting for and what its
 * documents should be. */

struct subject {
    struct span key, bytes; /* of its `w` document */
    uint64_t stream;
    Daa__WorkflowDocument *document;
    struct workflow *workflow;
};

static int check_value(struct check_documents *check, const struct subject *subject,
                       const struct document_key *key, struct span wanted, const char *what)
{
    struct span bytes;
    int status = check_get(check, key, &bytes);
    if (status < 0)
        return status;
    if (status == 0)
        return check_found(check, subject->key, "workflow %" PRIu64 " (%s): %s is not there",
                           subject->stream, workflow_status_name(subject->workflow->status), what);
    if (!span_equal(bytes, wanted))
        return check_found(check, document_key_span(key),
                           "workflow %" PRIu64 " (%s): %s is not what its steps say",
                           subject->stream, workflow_status_name(subject->workflow->status), what);
    return 0;
}

static int check_as_active(struct check_documents *check, const struct subject *subject)
{
    struct document_key key = document_active_key(subject->stream);
    struct span wanted;
    int status = state_encode_active(subject->workflow, &check->arena, &wanted);
    return status < 0 ? status
                      : check_value(check, subject, &key, wanted,
                                    "what a start would need to go on with it");
}

static int check_as_finished(struct check_documents *check, const struct subject *subject)
{
    uint8_t wanted[DOCUMENT_FINISHED_SIZE];
    struct document_key key = state_finished_key(subject->workflow),
                        active = document_active_key(subject->stream);
    struct span bytes;
    int status = check_get(check, &active, &bytes);
    if (status < 0)
        return status;
    if (status == 1)
        check_found(check, document_key_span(&active),
                    "workflow %" PRIu64 " has ended, and a start would go on with it",
                    subject->stream);
    state_encode_finished(subject->workflow, subject->bytes.size, wanted);
    return check_value(check, subject, &key, span_of(wanted, sizeof wanted),
                       "its place in the order of ends");
}

/* One that has not ended holds its idempotency key. */
static int check_key_held(struct check_documents *check, const struct subject *subject)
{
    const struct workflow *workflow = subject->workflow;
    struct document_key key = document_idempotency_key(workflow->key_digest);
    ProtobufCMessage *message;
    struct span bytes;
    if (!workflow->has_key)
        return 0;
    int status = check_get(check, &key, &bytes);
    if (status < 0)
        return status;
    if (status == 0)
        return check_found(check, subject->key,
                           "workflow %" PRIu64 " (%s): its idempotency key is not there",
                           subject->stream, workflow_status_name(workflow->status));
    status = check_read(check, bytes, &daa__key_document__descriptor, &message);
    if (status <= 0 || ((const Daa__KeyDocument *)message)->stream == subject->stream)
        return status < 0 ? status : 0;
    return check_found(check, subject->key,
                       "workflow %" PRIu64 " (%s): its idempotency key is another workflow's",
                       subject->stream, workflow_status_name(workflow->status));
}

static int check_bytes(struct check_documents *check, const struct subject *subject)
{
    struct span again;
    if (subject->workflow->key_id != 0 && !subject->workflow->has_cipher_key)
        return 0; /* what is encrypted would not be the same */
    int status = state_encode_workflow(subject->workflow, &check->arena, &again);
    if (status < 0)
        return status;
    /* One that was cancelled without its key, which is there again. */
    if (!span_equal(subject->bytes, again) &&
        !document_workflow_is_wiped(subject->bytes, &check->arena))
        check_found(check, subject->key,
                    "workflow %" PRIu64 ": it is not in the form in which it is written",
                    subject->stream);
    return 0;
}

static int check_whole(struct check_documents *check, const struct subject *subject)
{
    struct error error;
    bool has_ended = state_is_finished(subject->workflow->status);
    if (state_check_workflow(subject->workflow, &error) < 0)
        check_found(check, subject->key, "%.240s", error.text);
    int status = check_bytes(check, subject);
    if (status == 0)
        status = has_ended ? check_as_finished(check, subject) : check_as_active(check, subject);
    return status == 0 && !has_ended ? check_key_held(check, subject) : status;
}

/*--- With its definition -----------------------------------------------------------------------*/

static void count_status(struct check_documents *check, const struct subject *subject)
{
    int status = (int)subject->document->status;
    if (!subject->document->has_status || status < 0 ||
        status > DAA__WORKFLOW_STATUS__WORKFLOW_CANCELLED)
        return;
    check->statuses[status]++;
    check->finished += state_is_finished(status);
    check->finished_bytes += state_is_finished(status) ? subject->bytes.size : 0;
}

/* 1 with its definition; 0 it has none, which is a finding; negative. */
static int find_definition(struct check_documents *check, const struct subject *subject,
                           struct definition **definition)
{
    const ProtobufCBinaryData *digest = &subject->document->definition;
    struct counted *counted;
    if (digest->len != SHA256_SIZE)
        return check_found(check, subject->key, "workflow %" PRIu64 " names no definition",
                           subject->stream);
    int status = check_counted(check, digest->data, &counted);
    if (status < 0)
        return status;
    if (counted != NULL)
        counted->found++;
    status = check_definition(check, digest->data, definition);
    return status != 0 ? status
                       : check_found(check, subject->key,
                                     "workflow %" PRIu64 ": its definition is not there, or cannot "
                                     "be used",
                                     subject->stream);
}

int check_workflow(struct check_documents *check, struct span key, struct span bytes)
{
    struct subject subject = { .key = key, .bytes = bytes };
    struct definition *definition;
    (void)document_stream_of_key(key, &subject.stream);
    check->result.workflows++;
    ProtobufCMessage *message;
    int status = check_unpack(check, key, bytes, &daa__workflow_document__descriptor, &message);
    if (status <= 0)
        return status;
    subject.document = (Daa__WorkflowDocument *)message;
    count_status(check, &subject);
    status = find_definition(check, &subject, &definition);
    if (status <= 0)
        return status;
    if (subject.document->n_steps != definition->flow->step_count)
        return check_found(check, key, "workflow %" PRIu64 " has %zu steps, and its definition %u",
                           subject.stream, subject.document->n_steps, definition->flow->step_count);
    status = state_workflow_read(check->agent, subject.stream, subject.document, bytes.size,
                                 definition, &subject.workflow);
    if (status == ERROR_DAMAGED)
        return check_found(check, key, "workflow %" PRIu64 " cannot be read", subject.stream);
    if (status < 0)
        return status;
    status = check_whole(check, &subject);
    state_workflow_free(subject.workflow);
    return status;
}

/*--- Documents that lead to a workflow ---------------------------------------------------------*/

/* What it says is compared with the workflow. */
int check_active(struct check_documents *check, struct span key, struct span bytes)
{
    struct document_key workflow_key;
    struct span workflow;
    uint64_t stream = 0;
    (void)bytes;
    (void)document_stream_of_key(key, &stream);
    workflow_key = document_workflow_key(stream);
    int status = check_get(check, &workflow_key, &workflow);
    return status != 0
               ? (status < 0 ? status : 0)
               : check_found(check, key,
                             "a start would go on with workflow %" PRIu64 ", which is not there",
                             stream);
}

int check_finished(struct check_documents *check, struct span key, struct span bytes)
{
    ProtobufCMessage *message;
    struct document_key workflow_key;
    struct span workflow;
    uint64_t stream = 0, ended_ns = 0;
    (void)bytes;
    (void)document_finished_of_key(key, &ended_ns, &stream);
    check->finished_listed++;
    workflow_key = document_workflow_key(stream);
    int status = check_get(check, &workflow_key, &workflow);
    if (status < 0)
        return status;
    if (status == 0)
        return check_found(check, key, "workflow %" PRIu64 " is to expire and is not there",
                           stream);
    status = check_read(check, workflow, &daa__workflow_document__descriptor, &message);
    if (status <= 0)
        return status;
    const Daa__WorkflowDocument *document = (const Daa__WorkflowDocument *)message;
    if (!state_is_finished((int)document->status) ||
        document->ended_ns - document->ended_shift_ns != ended_ns)
        return check_found(check, key, "workflow %" PRIu64 " is to expire and has not ended then",
                           stream);
    return 0;
}
