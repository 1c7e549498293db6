/* The agent: workflows as a pure function of events. No clock, no randomness, no I/O: all come in
 * as arguments.
 *
 * The shell's turn (tools/agent/loop):
 *
 *   agent_decide(agent, command, moment) -> EVENTS | REFUSED | NEEDS documents
 *       NEEDS: load each key (hand-over table, then LMDB), agent_load() it, decide again
 *       EVENTS: log_reserve(count, bytes) -> first_seq (may refuse; then nothing has happened)
 *               for each event i: agent_apply(agent, header{seq = first_seq + i, ...}, event),
 *                                 log_append(...)
 *   then, in the same turn:
 *       agent_next_ready() -> COMMAND_ADVANCE, until there is none (or the turn is long enough)
 *       agent_next_effect(): effects due; the shell holds each until its seq is durable
 *   before each frame is closed, and never between a command's first agent_decide() and its last
 *   agent_apply() (it lets go of what was loaded):
 *       agent_take_changes(): changed documents, handed over when the frame is durable
 *
 * decide never changes state. apply never refuses, never allocates beyond what agent_decide() has
 * made sure of (except when replaying, where -- as in decide -- ERROR_BUDGET is an answer), and
 * gives the same documents for the same events: live, replayed and rebuilt.
 *
 * A workflow that has nothing under way may leave memory once its changes were taken, and one that
 * has ended does; asked for later, it is NEEDED again and the shell loads its document. Its timers
 * and its place among those that are ready stay, so a cold start loads `a` documents and not
 * workflows. Definitions stay while a workflow in memory uses them, and then in a bounded cache.
 *
 * Every unfinished workflow waits for something that exists: a ready step is in the ready queue, a
 * running one has an effect under way, the others have a timer, a signal or a person to wait for.
 * agent_check() proves it.
 *
 * Threads: one owner. */
#ifndef CORE_AGENT_AGENT_H
#define CORE_AGENT_AGENT_H

#include "core/agent/command.h"
#include "core/agent/document.h"
#include "core/agent/effect.h"
#include "core/base/budget.h"
#include "core/base/error.h"
#include "core/base/lineage.h"
#include "core/event/event.h"
#include "core/event/private.h"

#include <stdbool.h>
#include <stdint.h>

struct agent;

struct agent_options {
    struct budget *budget;
    uint8_t log_uuid[16];              /* of the log as it is written now */
    uint32_t max_concurrent_workflows; /* with a ready or running step */
    uint64_t max_pending;        /* unfinished workflows in all; beyond it SUBMIT is refused */
    uint64_t idempotency_ttl_ns; /* after the workflow ended */
    uint64_t keys_max;        /* idempotency keys; beyond it keyed SUBMITs are refused; 0: none */
    uint64_t idle_bytes_max;  /* of workflows in memory with nothing under way; 0: a quarter of
                                    the budget */
    uint32_t output_size_max; /* of a workflow's output, bytes; 0 or over 1 MiB: 1 MiB */
    struct event_keys keys;   /* of workflows that have one; `context` must stay. Without a context
                               what is encrypted is blank */
    bool exec_enabled;
    const char *const *exec_allow; /* absolute paths; the caller's, for ever */
    uint32_t exec_allow_count;
};

/* When a decision is made. */
struct agent_moment {
    uint64_t now_ns;  /* log time, not before that of any event applied */
    uint64_t random;  /* 64 random bits, for jitter */
    uint64_t wall_ns; /* wall time, for COMMAND_CLOCK */
};

enum decision_kind { DECISION_EVENTS = 1, DECISION_REFUSED, DECISION_NEEDS };

/* An event to be appended. stream 0: the thing that the first event of this decision with `creates`
 * makes. */
struct event_draft {
    bool creates; /* its own seq is its stream */
    uint64_t stream;
    uint64_t stream_prev_seq; /* newest event of that stream before this decision */
    uint64_t cause;           /* 0: the event before it in this decision, if there is one */
    uint32_t key_id;          /* with which its private fields are to be encrypted; 0: none */
    Daa__Event event;         /* bodies and bytes in the decision's arena or the command's spans */
};

#define DECISION_EVENTS_MAX 64u /* a long piece of work goes on in the next ADVANCE */
#define DECISION_NEEDS_MAX 64u

struct refusal {
    int status; /* HTTP: 403, 404, 409, 422, 429, 503 */
    const char
        *code;      /* "not-found", "invalid-transition", "idempotency-key-reused", ... (stable) */
    char text[512]; /* a sentence with the name of the thing and the way out */
    bool safe_to_retry;
};

struct decision {
    enum decision_kind kind;
    struct event_draft events[DECISION_EVENTS_MAX];
    uint32_t event_count;     /* EVENTS; 0 is legal: nothing to record (see `replayed_stream`) */
    uint64_t replayed_stream; /* SUBMIT with a known key and the same request: this workflow */
    bool replayed;
    struct refusal refusal;
    struct document_key needs[DECISION_NEEDS_MAX];
    uint32_t needs_count;
    struct arena arena; /* for the events; reset by each agent_decide() */
};

struct agent_snapshot {
    uint64_t seq; /* 0: none */
    uint8_t digest[SHA256_SIZE];
};

int agent_open(struct agent **agent, const struct agent_options *options, struct error *error);
void agent_close(struct agent *agent);

void decision_init(struct decision *decision, struct budget *budget);
void decision_free(struct decision *decision);

/* Decides. Memory that apply will need is made sure of here: a lack of it is a refusal (429, naming
 * the owner). */
void agent_decide(struct agent *agent, const struct command *command,
                  const struct agent_moment *moment, struct decision *decision);

/* Applies one event. 0; ERROR_BUDGET only outside of a decision just made; ERROR_NOT_FOUND when
 * replaying an event whose document was not loaded first (agent_event_needs); ERROR_DAMAGED when
 * the event contradicts the state (a log that this agent did not write). */
int agent_apply(struct agent *agent, const struct event_header *header, const Daa__Event *event);

/* When replaying: the key that must be loaded before this event can be applied. False: none. */
bool agent_event_needs(struct agent *agent, const struct event_header *header,
                       const Daa__Event *event, struct document_key *key);

/* Gives the agent a document it needs; `bytes` NULL: there is none. 0, ERROR_DAMAGED, ERROR_BUDGET.
 * A workflow's definition must be loaded before the workflow itself, and the workflow after an `a`
 * document that says that it has something under way: agent_load() answers 1 and says which in
 * `needs`; load that, then this again. `a` documents are loaded at a cold start only, each once,
 * and `g` before them. */
int agent_load(struct agent *agent, struct span key, struct span bytes, struct document_key *needs);

/* After all documents are loaded and the rest of the log is replayed: effects that were under way
 * when the agent died have no owner any more. Gives them one by one; the shell (after ending
 * surviving processes) makes of each a COMMAND_OUTCOME with outcome unknown: also of an exec
 * without a pid, whose process may have begun before the event that says so was durable. False: no
 * more. */
struct agent_orphan {
    uint64_t stream;
    uint32_t index, attempt;
    enum flow_kind kind;
    uint64_t pid, start_time; /* exec: 0 when not known */
    uint8_t boot_id[16];
};
bool agent_next_orphan(struct agent *agent, struct agent_orphan *orphan);

/* The next workflow with something ready, within max_concurrent_workflows, in memory or not. False:
 * none. The same one again until events of it were applied. */
bool agent_next_ready(struct agent *agent, uint64_t *stream);

/* The next timer that is due at `now_ns`, as a COMMAND_TIMER. False: none. The same one again until
 * events of it were applied. */
bool agent_next_timer(struct agent *agent, uint64_t now_ns, struct command *command);

/* When the next timer is due (log time); UINT64_MAX: none. */
uint64_t agent_next_deadline(const struct agent *agent);

/* The command of a workflow cannot be decided, because its document is not there, or not be
 * recorded, because its key is not: sets the workflow aside. The timer of the command and the place
 * among the ready are dropped, and it counts as active no more. Its documents stay what they are,
 * so that the next start takes it up again. Until then no event of it may be applied, unless it has
 * ended: its commands are given up too. */
void agent_give_up(struct agent *agent, const struct command *command);

/* Workflows that are not in memory and will be asked for next, by due timers and by their place
 * among the ready, so that their documents can be read ahead: how many of at most `max`. */
uint32_t agent_soon(struct agent *agent, uint64_t now_ns, uint64_t *streams, uint32_t max);

/* The next effect that became due by an applied event (only for events applied live, after
 * agent_live()). NULL: none. The caller owns it. */
struct effect *agent_next_effect(struct agent *agent);

/* From now on applied events make effects (before it, they are history). */
void agent_live(struct agent *agent);

/* One changed document. bytes.bytes == NULL: deleted. Spans are valid until the callback returns.
 */
typedef void agent_change_function(struct span key, struct span bytes, void *context);

/* Encodes every document changed since the last call, each once, and forgets that they changed. 0
 * or ERROR_BUDGET (nothing is forgotten then). */
int agent_take_changes(struct agent *agent, agent_change_function *change, void *context);

/* The newest anchor of the log; zeros: none. */
struct agent_anchor {
    uint64_t event;      /* its log.anchored */
    uint64_t seq;        /* the head that it signs */
    uint64_t segment_no; /* the newest segment whose Merkle root was signed, by it or one before */
};

struct agent_counts {
    uint64_t workflows;  /* in memory */
    uint64_t unfinished; /* pending, running, paused */
    uint64_t active;     /* with a ready or running step, in memory or not */
    uint64_t pending, running, paused;
    uint64_t timers, definitions;
    uint64_t finished, finished_bytes; /* that have not expired, and their documents */
    uint64_t keys;                     /* idempotency keys */
    uint64_t definitions_there;        /* in the documents */
    uint64_t idle_bytes;               /* of workflows in memory that may leave it */
    uint32_t keys_used;                /* the highest number of a key that a workflow has */
    uint8_t keyring[16];               /* uuid of the one that has these keys; zero: not known */
    uint64_t removed_segment, removed_seq;
    struct agent_anchor anchor;
    struct agent_snapshot snapshots[2]; /* the newest last */
    bool clock_stepped;
    uint64_t shift_ns, shifted_at_ns;                 /* core/agent/clock.h */
    uint64_t submitted, completed, failed, cancelled; /* since the log began */
};
void agent_counts_get(const struct agent *agent, struct agent_counts *counts);

/* The log and those it was forked from, for ids. */
const struct lineage *agent_lineage(const struct agent *agent);

/* The invariant checker over what is in memory: 0, or ERROR_CONFLICT with what waits for nothing.
 * Sorts the timers; the documents have a checker of their own. */
int agent_check(struct agent *agent, struct error *error);

#endif
