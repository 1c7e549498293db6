/* The agent's state: what the files of core/agent share. Others use agent.h.
 *
 * A workflow lies in one arena (BUDGET_WORKFLOWS) that is freed whole. One that has nothing under
 * way may leave memory once its changes were taken, and comes back from its document when somebody
 * asks for it: what goes on without it (its timers, its place in the queue, the counts) is the
 * agent's. Definitions, their usage and idempotency keys are caches over their documents in the
 * same way: what was changed and not yet taken stays, the rest may go.
 *
 * Agent time is log time less what accepted clocks moved it on (clock.stepped): timers and what
 * expires count in it, so that setting the clock lets nothing elapse.
 *
 * What apply needs is prepared by decide and lies in `prepared` until it is applied or the next
 * decision begins: apply itself then takes it and cannot fail. While replaying nothing is prepared
 * and apply allocates for itself.
 *
 * Threads: the agent's. */
#ifndef CORE_AGENT_STATE_H
#define CORE_AGENT_STATE_H

#include "core/agent/agent.h"
#include "core/agent/clock.h"
#include "core/agent/ready.h"
#include "core/agent/timers.h"
#include "core/base/lineage.h"
#include "core/base/table.h"

#define STATE_DEFINITIONS_IDLE_MAX 1024u
#define STATE_DEFINITIONS_IDLE_SHARE 16u /* one part in so many of the budget */
#define STATE_KEYS_MAX 4096u
#define STATE_USAGES_MAX 4096u
#define STATE_ABSENT_MAX 64u
#define STATE_SIGNALS_KEPT_MAX 64u          /* of one workflow */
#define STATE_TEXT_SIZE_MAX 2000u           /* of an error or a reason, bytes */
#define STATE_WORKFLOW_SIZE_MAX (64u << 20) /* bytes, or a 16th of the budget if that is less */
#define STATE_OUTPUT_SIZE_MAX (1u << 20)    /* of a workflow's output, bytes, at most */

struct step {
    uint8_t status;      /* Daa__StepStatus */
    uint8_t outcome;     /* Daa__Outcome; 0: none yet */
    uint16_t blocked_by; /* needs that are not done */
    uint32_t attempt;
    uint64_t started_ns, ended_ns;
    uint64_t due_ns; /* agent time */
    uint64_t since_seq;
    struct span output, error;
    uint64_t pid, start_time;
    uint8_t boot_id[16];
};

/* Of what kind a step's status is, for counting. */
enum step_class { STEP_OTHER, STEP_IS_READY, STEP_IS_RUNNING, STEP_IS_PARKED, STEP_IS_DONE };

struct kept_signal {
    struct kept_signal *next;
    struct span name, payload;
    uint64_t seq;
};

struct signal_digest {
    struct signal_digest *next;
    uint8_t digest[SHA256_SIZE];
};

struct definition {
    struct definition *chain;         /* of the same slot */
    struct definition *newer, *older; /* idle ones, the newest first */
    struct definition *changed_next;
    struct flow *flow;
    uint64_t seq;   /* of the event that installed it */
    uint64_t users; /* workflows in memory */
    bool changed, idle;
    bool removed; /* no workflow is left that uses it: its document goes with the next changes */
};

/* What is cached by a digest (store.c). */
struct stored {
    struct stored *chain; /* of the same slot */
    struct stored *next;  /* the oldest first */
    struct stored *changed_next;
    uint8_t digest[SHA256_SIZE];
    bool changed;
};

struct store {
    struct table table;
    struct stored *oldest, **end;
    struct stored *changed, **changed_end;
    uint64_t count;
    size_t item_size;
};

struct key_entry {
    struct stored stored;
    uint8_t request_digest[SHA256_SIZE];
    uint64_t stream;
    uint64_t expires_ns; /* agent time; 0: its workflow has not ended */
    uint64_t ttl_ns;     /* after it has */
    uint64_t indexed_ns; /* of its `x` document; 0: there is none */
    bool there;          /* it has a document, or will have; otherwise it has expired */
};

/* How many workflow documents use a definition. */
struct usage {
    struct stored stored;
    uint64_t count;
};

/* A document that goes with the next changes; or with a stream, the `e` document that comes. */
struct removal {
    struct removal *next;
    struct document_key key;
    uint64_t erased; /* 0: it goes */
};

enum ready_queue { READY_NONE, READY_IDLE, READY_ACTIVE };

struct workflow {
    struct arena arena;
    uint64_t stream, last_seq;
    uint32_t key_id;     /* 0: none */
    bool has_cipher_key; /* else it is destroyed, or there are no keys */
    uint8_t cipher_key[AEAD_KEY_SIZE];
    struct definition *definition;
    const struct flow *flow;                      /* the definition's */
    int status;                                   /* Daa__WorkflowStatus */
    uint32_t ready, running, parked, done, timed; /* steps */
    struct span name, input, metadata, reason, reason_step, output;
    bool has_key;
    uint8_t key_digest[SHA256_SIZE];
    uint64_t submitted_ns, started_ns, ended_ns; /* log time */
    uint64_t ended_shift_ns;                     /* agent->shift_ns then */
    struct step *steps;
    struct kept_signal *signals, **signals_end;
    uint32_t signal_count;
    struct signal_digest *digests, **digests_end;
    struct workflow *queue_next, *queue_previous; /* READY_ACTIVE */
    enum ready_queue queue;
    uint64_t place; /* READY_IDLE: in agent->ready */
    struct workflow *changed_next;
    struct workflow *newer, *older; /* at rest */
    struct workflow_rest *rest;     /* the list that it is in; NULL: none */
    size_t rest_bytes;              /* that it counts for there */
    bool changed;
    bool listed;           /* its `a` document is there */
    uint8_t listed_flags;  /* in it */
    bool timers_changed;   /* since then */
    uint64_t counted_size; /* of its document, in agent->finished_bytes; 0: it has not ended */
    bool expired;          /* leaves memory with the next changes, its document is gone */
    bool aside;            /* agent_give_up(): nothing happens to it any more, and it counts neither
                              as active nor as ready */
};

struct workflow_queue {
    struct workflow *first, *last;
    uint64_t count;
};

/* Workflows that may leave memory: nothing under way, nothing changed. */
struct workflow_rest {
    struct workflow *newest, *oldest;
    uint64_t count, bytes;
};

struct agent {
    struct agent_options options;
    struct table workflows, definitions;
    struct store keys, usages;
    struct timers timers;
    uint64_t active;    /* workflows with a running step */
    struct ready ready; /* workflows that are READY_IDLE */
    struct workflow_queue ready_active;
    struct workflow_rest waiting, queued; /* by whether they are READY_IDLE */
    struct workflow *changed, **changed_end;
    struct definition *changed_definitions, **changed_definitions_end;
    struct definition *idle_newest, *idle_oldest;
    uint64_t idle_count, idle_bytes; /* of these */
    struct arena removals_arena;
    struct removal *removals, **removals_end;
    struct document_key absent[STATE_ABSENT_MAX];
    uint32_t absent_next;
    uint64_t submitted, completed, failed, cancelled; /* since the log began */
    uint64_t unfinished, pending, running, paused;
    uint64_t finished, finished_bytes;      /* that have not expired, and their documents */
    uint64_t keys_there, definitions_there; /* documents */
    uint32_t keys_used;                     /* by workflows, to encrypt */
    uint8_t keyring[UUID_SIZE];             /* that has them; zero: not known */
    struct lineage logs;
    struct agent_snapshot snapshots[2]; /* the newest last; seq 0: none */
    uint64_t removed_segment, removed_seq;
    struct agent_anchor anchor;
    uint64_t shift_ns;        /* how far accepted clocks moved log time on */
    uint64_t shifted_at_ns;   /* log time before the last of these moves; 0: none */
    uint64_t clock_behind_ns; /* how far behind the wall clock was accepted; 0: it has returned */
    bool clock_stepped;       /* DEGRADED */
    bool counts_changed;
    bool live;
    struct effect *effects, **effects_end; /* due */
    struct {
        struct workflow *workflow;
        struct definition *definition;
        struct key_entry *key;
        struct usage *usage;
        struct effect *effects;
    } prepared;
    struct arena scratch; /* for one call */
    uint64_t orphan_at;   /* of workflows */
    struct workflow *orphan;
    uint32_t orphan_index;
};

/* state.c: workflows */
struct workflow *state_workflow(const struct agent *agent, uint64_t stream);
/* A workflow of this definition, not yet in the table, with room for `bytes` more; the table has
 * room for it. NULL: no memory. */
struct workflow *state_workflow_new(struct agent *agent, struct definition *definition,
                                    size_t bytes);
/* The key that its documents are encrypted with. 0; negative: it cannot be had now. */
int state_take_cipher_key(const struct agent *agent, struct workflow *workflow, uint32_t key_id);
void state_workflow_free(struct workflow *workflow);
void state_workflow_enter(struct agent *agent, struct workflow *workflow);
void state_workflow_leave(struct agent *agent, struct workflow *workflow);
void state_set_status(struct agent *agent, struct workflow *workflow, int status);
bool state_is_finished(int status);
/* Its place in the order of ends: agent time. */
struct document_key state_finished_key(const struct workflow *workflow);
/* It has ended, and nothing will change it any more: no effect of it can still say how it ended. */
bool state_is_settled(const struct workflow *workflow);
void state_mark_changed(struct agent *agent, struct workflow *workflow);
uint8_t state_active_flags(const struct workflow *workflow); /* for its `a` document */

/* load.c: the workflow that a document says, whole or not at all: not in the table, in no queue,
 * with no timers; but the agent counts its running steps. `from` is decrypted in place. 0,
 * ERROR_DAMAGED, ERROR_NEWER, ERROR_BUDGET, or why its key cannot be had. */
int state_workflow_read(struct agent *agent, uint64_t stream, Daa__WorkflowDocument *from,
                        size_t size, struct definition *definition, struct workflow **workflow);

/* changes.c: the values of a workflow's documents. 0 or ERROR_BUDGET; the bytes lie in `arena`. */
int state_encode_workflow(const struct workflow *workflow, struct arena *arena, struct span *bytes);
int state_encode_active(const struct workflow *workflow, struct arena *arena, struct span *bytes);
void state_encode_finished(const struct workflow *workflow, uint64_t size,
                           uint8_t value[DOCUMENT_FINISHED_SIZE]);

/* check.c: what must hold of a workflow wherever it is: 0, or ERROR_CONFLICT and what does not. */
int state_check_workflow(const struct workflow *workflow, struct error *error);

/* rest.c: what may leave memory */
void rest_enter(struct agent *agent, struct workflow *workflow); /* if it may */
void rest_leave(struct workflow *workflow);
void rest_trim(
    struct agent *agent); /* lets workflows go that are too many, or when memory is short */

/* state.c: steps */
bool state_step_is_terminal(int status);
enum step_class state_step_class(const struct flow_step *step, int status);
bool state_step_is_timed(const struct step *step);
/* Room for as many state_set_step() and state_settle() as there are steps. 0 or ERROR_BUDGET. */
int state_reserve(struct agent *agent, uint32_t count);
void state_set_step(struct agent *agent, struct workflow *workflow, uint32_t index, int status,
                    uint64_t due_ns);
/* As its document says it is: its timers and counts are the agent's already. */
void state_load_step(struct agent *agent, struct workflow *workflow, uint32_t index, int status,
                     uint64_t due_ns);
/* After any change: into the queue it belongs to. */
void state_settle(struct agent *agent, struct workflow *workflow);
/* agent_give_up() of a workflow in memory. */
void state_give_up(struct agent *agent, struct workflow *workflow);
/* Drops what was left behind in agent->ready when it is much: also while nobody asks for the first,
 * because enough is under way, or because it is a replay. */
void state_pack_ready(struct agent *agent);
/* The first of agent->ready; 0: none. */
uint64_t state_first_ready(struct agent *agent);

/* store.c: definitions, their usage and keys, caches over documents */
struct definition *store_definition(const struct agent *agent, const uint8_t *digest);
struct definition *store_definition_new(struct agent *agent, struct flow *flow);
void store_definition_free(struct agent *agent, struct definition *definition);
void store_definition_enter(struct agent *agent, struct definition *definition);
void store_definition_use(struct agent *agent, struct definition *definition);
void store_definition_release(struct agent *agent, struct definition *definition);
void store_definition_changed(struct agent *agent, struct definition *definition);
void store_definition_remove(struct agent *agent, struct definition *definition); /* idle */
void store_init(struct store *store, struct budget *budget, size_t item_size);
struct key_entry *store_key(const struct agent *agent, const uint8_t *digest);
struct usage *store_usage(const struct agent *agent, const uint8_t *digest);
void *store_new(struct agent *agent, struct store *store, const uint8_t *digest);
void store_enter(struct agent *agent, struct store *store, void *item);
void store_drop(struct agent *agent, struct store *store,
                void *item); /* one not entered, or NULL */
void store_changed(struct store *store, void *item);
void store_take_changes(struct store *store); /* forgets what was changed */
void store_trim(struct agent *agent);         /* what the caches hold too much and nobody uses */
/* The same for definitions alone, but never the one that came last: it may be needed at once. */
void store_trim_definitions(struct agent *agent);
void store_free(struct agent *agent);
bool store_is_absent(const struct agent *agent, const struct document_key *key);
void store_set_absent(struct agent *agent, const struct document_key *key);
void store_forget_absent(struct agent *agent, const struct document_key *key);
/* Room for `count` removals. 0 or ERROR_BUDGET. */
int store_reserve_removals(struct agent *agent, uint32_t count);
int store_remove_document(struct agent *agent, const struct document_key *key);
/* The `e` document of this key; counts as a removal. */
int store_note_erased(struct agent *agent, uint32_t key_id, uint64_t stream);

/* expire.c */
int expire_keys(struct agent *agent, const Daa__KeysExpired *body);
int expire_workflows(struct agent *agent, const Daa__WorkflowsExpired *body);
#define ERASE_REMOVALS 4u /* of each workflow: its two documents, its definition, and `e` */
int erase_workflows(struct agent *agent, const Daa__WorkflowsErased *body);

/* effect.c */
struct effect *effect_new(struct agent *agent, enum effect_kind kind, uint64_t stream);
/* The effect of a step's next attempt. 0; ERROR_BUDGET; else why it cannot be rendered. */
int effect_render(struct agent *agent, const struct workflow *workflow, uint32_t index,
                  struct effect **effect, struct error *error);
void effect_prepare(struct agent *agent, struct effect *effect);
/* Makes the prepared effect due: what the event `seq` intends. */
void effect_due(struct agent *agent, enum effect_kind kind, uint64_t stream, uint32_t index,
                uint64_t seq, int status);

/* apply.c */
void agent_drop_prepared(struct agent *agent);

#endif
