/* The documents: the agent's state as values by key, what LMDB holds and what a cold start reads.
 *
 *   w<8 bytes big-endian stream>   WorkflowDocument
 *   a<8 bytes big-endian stream>   empty: the workflow has not ended (a cold start walks these)
 *   d<32 bytes digest>             DefinitionDocument
 *   k<32 bytes key digest>         KeyDocument
 *   g                              AgentDocument
 *
 * The shell adds keys of its own under "!" (applied_seq, the log's uuid and chain), which no digest
 * covers.
 *
 * Pure. Threads: any. */
#ifndef CORE_AGENT_DOCUMENT_H
#define CORE_AGENT_DOCUMENT_H

#include "core/base/arena.h"
#include "core/base/sha256.h"
#include "core/base/span.h"
#include "core/base/text.h"
#include "core/event/document.pb-c.h"
#include "core/flow/flow.h"

#include <stdbool.h>
#include <stdint.h>

#define DOCUMENT_KEY_SIZE_MAX 40u

struct document_key {
    uint8_t bytes[DOCUMENT_KEY_SIZE_MAX];
    uint8_t size;
};

struct document_key document_workflow_key(uint64_t stream);
struct document_key document_active_key(uint64_t stream);
struct document_key document_definition_key(const uint8_t digest[SHA256_SIZE]);
struct document_key document_idempotency_key(const uint8_t digest[SHA256_SIZE]);
struct document_key document_agent_key(void);

static inline struct span document_key_span(const struct document_key *key)
{
    return span_of(key->bytes, key->size);
}

/* The stream of a `w` or `a` key; false for another key. */
bool document_stream_of_key(struct span key, uint64_t *stream);

/* What the API shows of a workflow (GET /api/v1/workflows/{id}): a JSON object with id, name,
 * status, reason, times, metadata, input, output, error and steps[] {id, kind, status, attempts,
 * started, ended, due, output, error, outcome, waiting_for}. `definition` is the
 * DefinitionDocument's bytes (empty: ids and kinds of steps are left out). `basic` leaves input,
 * output and steps out (lists). 0; ERROR_DAMAGED; ERROR_BUDGET. */
int document_workflow_to_json(struct span document, struct span definition,
                              const uint8_t log_uuid[16], uint64_t stream, bool basic,
                              struct arena *arena, struct text *text);

/* The same, whole, with the definition compiled already; NULL: ids and kinds are left out. */
int document_workflow_show(struct span document, const struct flow *flow,
                           const uint8_t log_uuid[16], uint64_t stream, struct arena *arena,
                           struct text *text);

/* The few fields that are asked for by themselves; spans lie in `arena`. 0, ERROR_DAMAGED or
 * ERROR_BUDGET. */
struct document_summary {
    int status;
    bool parked; /* paused with a reason */
    struct span name;
    struct span definition; /* digest */
    uint64_t last_seq;      /* newest event of its stream */
};
int document_workflow_summary(struct span document, struct arena *arena,
                              struct document_summary *summary);

#endif
