#include "core/agent/check_inside.h"

#include <inttypes.h>

/* Until its workflow ends a key does not expire. */
static int check_holder(struct check_documents *check, struct span key,
                        const Daa__KeyDocument *document)
{
    struct document_key workflow_key = document_workflow_key(document->stream);
    ProtobufCMessage *message;
    struct span bytes;
    int status = check_get(check, &workflow_key, &bytes);
    if (status < 0)
        return status;
    if (status == 0)
        return document->expires_ns != 0 ? 0
                                         : check_found(check, key,
                                                       "the idempotency key waits for the end of "
                                                       "workflow %" PRIu64 ", which is not there",
                                                       document->stream);
    status = check_read(check, bytes, &daa__workflow_document__descriptor, &message);
    if (status <= 0)
        return status;
    const Daa__WorkflowDocument *workflow = (const Daa__WorkflowDocument *)message;
    bool has_ended = state_is_finished((int)workflow->status);
    if (!span_equal(span_of_data(workflow->key_digest), span_of(key.bytes + 1, SHA256_SIZE)))
        return check_found(check, key,
                           "the idempotency key names workflow %" PRIu64 ", which has another",
                           document->stream);
    if (has_ended != (document->expires_ns != 0))
        return check_found(check, key,
                           "workflow %" PRIu64 " %s, and its idempotency key %s expires",
                           document->stream, has_ended ? "has ended" : "has not ended",
                           has_ended ? "never" : "already");
    return 0;
}

int check_key(struct check_documents *check, struct span key, struct span bytes)
{
    ProtobufCMessage *message;
    struct span expiry;
    check->result.keys++;
    int status = check_unpack(check, key, bytes, &daa__key_document__descriptor, &message);
    if (status <= 0)
        return status;
    const Daa__KeyDocument *document = (const Daa__KeyDocument *)message;
    if (document->stream == 0 || document->request_digest.len != SHA256_SIZE)
        return check_found(check, key, "the idempotency key names no workflow or no request");
    if (document->expires_ns != 0) {
        struct document_key expiry_key = document_expiry_key(document->expires_ns, key.bytes + 1);
        check->keys_ended++;
        status = check_get(check, &expiry_key, &expiry);
        if (status < 0)
            return status;
        if (status == 0)
            check_found(check, key,
                        "the idempotency key expires at %" PRIu64
                        " ns, and is not in the order of those that do",
                        document->expires_ns);
    }
    return check_holder(check, key, document);
}

int check_expiry(struct check_documents *check, struct span key, struct span bytes)
{
    uint8_t digest[SHA256_SIZE];
    uint64_t expires_ns;
    ProtobufCMessage *message;
    struct span value;
    if (!document_expiry_of_key(key, &expires_ns, digest) || bytes.size != 0)
        return check_found(check, key, "it should be empty");
    check->expiries++;
    struct document_key of = document_idempotency_key(digest);
    int status = check_get(check, &of, &value);
    if (status < 0)
        return status;
    if (status == 0)
        return check_found(check, key, "an idempotency key expires that is not there");
    status = check_read(check, value, &daa__key_document__descriptor, &message);
    if (status <= 0)
        return status;
    const Daa__KeyDocument *document = (const Daa__KeyDocument *)message;
    return document->expires_ns == expires_ns
               ? 0
               : check_found(check, key,
                             "the idempotency key expires at %" PRIu64 " ns, and not at %" PRIu64,
                             document->expires_ns, expires_ns);
}
