/* What the files of the documents' checker share; others use check_documents.h. */
#ifndef CORE_AGENT_CHECK_INSIDE_H
#define CORE_AGENT_CHECK_INSIDE_H

#include "core/agent/check_documents.h"
#include "core/agent/state.h"

/* What a `u` document says and what was counted. */
struct counted {
    struct usage said;
    uint64_t found;
};

struct check_documents {
    struct check_documents_options options;
    struct agent *agent;     /* of the check's own: compiled definitions, and `counted` as usages */
    size_t definitions_size; /* of those, on the budget */
    struct arena arena;      /* for one document */
    uint64_t statuses[DAA__WORKFLOW_STATUS__WORKFLOW_CANCELLED + 1];
    uint64_t finished, finished_bytes, finished_listed; /* workflows; `f` documents */
    uint64_t expiries, keys_ended;                      /* `x` documents; keys that want one */
    bool has_agent;                                     /* `g` was there */
    struct agent_counts said;                           /* by it */
    struct check_documents_result result;
};

/* Counts a finding and tells it. Returns 0, so that a check can end with it. */
int check_found(struct check_documents *check, struct span key, const char *format, ...)
    ERROR_PRINTF(3, 4);

/* The document of a key: 1 found, 0 not there, negative. */
int check_get(struct check_documents *check, const struct document_key *key, struct span *bytes);

/* 1 with the message in the check's arena; 0 it is none, which is a finding; negative. */
int check_unpack(struct check_documents *check, struct span key, struct span bytes,
                 const ProtobufCMessageDescriptor *type, ProtobufCMessage **message);

/* Of another document, which was or will be given itself: what cannot be read is a finding there,
 * and 0 here. */
int check_read(struct check_documents *check, struct span bytes,
               const ProtobufCMessageDescriptor *type, ProtobufCMessage **message);

/* The definition of a digest, compiled: 1; 0 it is not there or not sound; negative. */
int check_definition(struct check_documents *check, const uint8_t digest[SHA256_SIZE],
                     struct definition **definition);

/* How often a definition is used; NULL with 0: there are too many, and it is not counted. */
int check_counted(struct check_documents *check, const uint8_t digest[SHA256_SIZE],
                  struct counted **counted);

/* check_workflows.c */
int check_workflow(struct check_documents *check, struct span key, struct span bytes);
int check_active(struct check_documents *check, struct span key, struct span bytes);
int check_finished(struct check_documents *check, struct span key, struct span bytes);

/* check_keys.c */
int check_key(struct check_documents *check, struct span key, struct span bytes);
int check_expiry(struct check_documents *check, struct span key, struct span bytes);

#endif
