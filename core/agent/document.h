/* The documents: the agent's state as values by key, what LMDB holds and what a cold start reads.
 *
 *   w<stream>                WorkflowDocument
 *   a<stream>                the workflow has not ended: what a cold start needs (document_active)
 *   f<ended_ns><stream>      it has ended: document_finished; in the order of their ends, in agent
 *                            time (core/agent/clock.h)
 *   d<digest>                DefinitionDocument
 *   u<digest>                document_usage: how many `w` documents use this definition
 *   k<key digest>            KeyDocument
 *   x<expires_ns><digest>    empty: an idempotency key whose time will be over
 *   e<key id>                document_erased: a workflow was erased, and its key is destroyed
 *   g                        AgentDocument
 *
 * Numbers in keys are 8 bytes, big-endian, so that keys sort as the numbers do. A cold start walks
 * `a` and reads `g`; expiry walks `f` and `x` from their beginnings.
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
#include "core/event/private.h"
#include "core/flow/flow.h"

#include <stdbool.h>
#include <stdint.h>

#define DOCUMENT_KEY_SIZE_MAX 41u

/* Of keys and values. Another one in the database: it is rebuilt, not guessed. */
#define DOCUMENT_VERSION 2u

struct document_key {
    uint8_t bytes[DOCUMENT_KEY_SIZE_MAX];
    uint8_t size;
};

struct document_key document_workflow_key(uint64_t stream);
struct document_key document_active_key(uint64_t stream);
struct document_key document_definition_key(const uint8_t digest[SHA256_SIZE]);
struct document_key document_idempotency_key(const uint8_t digest[SHA256_SIZE]);
struct document_key document_usage_key(const uint8_t digest[SHA256_SIZE]);
struct document_key document_expiry_key(uint64_t expires_ns, const uint8_t digest[SHA256_SIZE]);
struct document_key document_finished_key(uint64_t ended_ns, uint64_t stream);
struct document_key document_erased_key(uint32_t key_id);
struct document_key document_agent_key(void);

/* Splits keys again; false for another kind of key. */
bool document_expiry_of_key(struct span key, uint64_t *expires_ns, uint8_t digest[SHA256_SIZE]);
bool document_finished_of_key(struct span key, uint64_t *ended_ns, uint64_t *stream);

static inline struct span document_key_span(const struct document_key *key)
{
    return span_of(key->bytes, key->size);
}

/* The stream of a `w` or `a` key; false for another key. */
bool document_stream_of_key(struct span key, uint64_t *stream);

/* The value of an `a` document: one byte of flags, then 12 bytes for each step that waits for a
 * timer: its index and when it is due (agent time: log time less what accepted clocks moved it
 * on). */
enum document_active_flags {
    DOCUMENT_READY = 1,   /* a step may begin: into the queue */
    DOCUMENT_RUNNING = 2, /* a step is under way: into memory */
};
#define DOCUMENT_TIMER_SIZE 12u
static inline size_t document_active_size(uint32_t timers)
{
    return 1 + (size_t)timers * DOCUMENT_TIMER_SIZE;
}
void document_active_timer_put(uint8_t *value, uint32_t i, uint32_t index, uint64_t due_ns);
/* How many timers; -1: not such a value. */
int64_t document_active_timers(struct span value);
void document_active_timer_get(struct span value, uint32_t i, uint32_t *index, uint64_t *due_ns);

/* The value of an `f` document: what must be known to expire the workflow. */
struct document_finished {
    uint64_t size; /* of its `w` document's value */
    bool settled;  /* that will not change any more: no effect of it is under way */
    uint8_t definition[SHA256_SIZE];
};
#define DOCUMENT_FINISHED_SIZE (9u + SHA256_SIZE)
void document_finished_encode(uint8_t value[DOCUMENT_FINISHED_SIZE],
                              const struct document_finished *finished);
bool document_finished_decode(struct span value, struct document_finished *finished);

/* The value of an `e` document: the stream. */
#define DOCUMENT_ERASED_SIZE 8u
/* The key that it stands for; false for another key. */
bool document_erased_of_key(struct span key, uint32_t *key_id);

/* The value of a `u` document: 8 bytes. */
#define DOCUMENT_USAGE_SIZE 8u

/* The private fields of a WorkflowDocument whose workflow has a key are encrypted. Takes them out,
 * with the key, or NULL when it is destroyed: then nothing can be made of them, but the size is the
 * same. The same document and key give the same bytes. 0 or ERROR_BUDGET. */
int document_workflow_encrypt(Daa__WorkflowDocument *document, const uint8_t *key,
                              struct arena *arena);
/* Puts them back; without the key (NULL), or when it was destroyed when this was written, with
 * content of the old sizes (privacy_blank()). 0; ERROR_DAMAGED; ERROR_NEWER; ERROR_BUDGET. */
int document_workflow_decrypt(Daa__WorkflowDocument *document, const uint8_t *key,
                              struct arena *arena);
/* What is private in it is not there: it was written when its key had been destroyed. */
bool document_workflow_is_wiped(struct span bytes, struct arena *arena);

/* What the API shows of a workflow (GET /api/v1/workflows/{id}): a JSON object with id, name,
 * status, reason, times, erased (its key was destroyed), metadata, input, output, error and steps[]
 * {id, kind, status, attempts, started, ended, due, output, error, outcome, waiting_for}.
 * `definition` is the DefinitionDocument's bytes (empty: ids and kinds of steps are left out).
 * `basic` leaves input, output and steps out (lists). 0; ERROR_DAMAGED; ERROR_BUDGET. */
struct document_view {
    const uint8_t *log_uuid; /* that the workflow was submitted in, for its id */
    uint64_t stream;
    uint64_t
        shift_ns; /* between agent time and log time now (core/agent/clock.h): when it is due */
    bool basic;
    const struct event_keys *keys; /* NULL: what is encrypted is blank */
};
int document_workflow_to_json(struct span document, struct span definition,
                              const struct document_view *view, struct arena *arena,
                              struct text *text);

/* The same, whole, with the definition compiled already; NULL: ids and kinds are left out. */
int document_workflow_show(struct span document, const struct flow *flow,
                           const struct document_view *view, struct arena *arena,
                           struct text *text);

/* The few fields that are asked for by themselves; spans lie in `arena`. `keys` as in
 * document_view. 0, ERROR_DAMAGED or ERROR_BUDGET, or why its key cannot be had. */
struct document_summary {
    int status;
    bool parked; /* paused with a reason */
    struct span name;
    struct span definition; /* digest */
    struct span key;        /* digest of its idempotency key; empty: it has none */
    struct span metadata;   /* JSON; empty: none */
    uint64_t submitted_ns;
    uint64_t last_seq; /* newest event of its stream */
    uint32_t key_id;   /* with which its events are encrypted; 0: they are not */
};
int document_workflow_summary(struct span document, const struct event_keys *keys,
                              struct arena *arena, struct document_summary *summary);

/* A few of what `g` counts. 0, or ERROR_DAMAGED. */
struct document_totals {
    uint64_t finished, finished_bytes; /* that have not expired, and their `w` documents */
    uint64_t keys, definitions;
};
int document_totals(struct span document, struct document_totals *totals);

#endif
