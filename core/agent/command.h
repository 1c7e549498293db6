/* What can be asked of the agent. A command is a value: its spans and flow belong to whoever made
 * it and must stay until agent_decide() (and the agent_apply()s of its events) are over.
 *
 * Threads: any. */
#ifndef CORE_AGENT_COMMAND_H
#define CORE_AGENT_COMMAND_H

#include "core/base/sha256.h"
#include "core/base/span.h"
#include "core/event/anchor.h"
#include "core/event/event.h"
#include "core/flow/flow.h"

#include <stdbool.h>
#include <stdint.h>

enum command_kind {
    /* From clients. */
    COMMAND_SUBMIT = 1,
    COMMAND_SIGNAL,
    COMMAND_CANCEL,
    COMMAND_RESOLVE,
    /* From the shell itself. */
    COMMAND_ADVANCE,          /* agent_next_ready() gave this workflow: begin what is ready */
    COMMAND_TIMER,            /* agent_next_timer() gave this one */
    COMMAND_OUTCOME,          /* an effect ended */
    COMMAND_SPAWNED,          /* an exec's process began */
    COMMAND_REGISTER,         /* the agent starts */
    COMMAND_STOP,             /* the agent stops in order */
    COMMAND_EXPIRE_KEYS,      /* `x` documents whose time is over */
    COMMAND_EXPIRE_WORKFLOWS, /* `f` documents whose time is over, or that are too much */
    COMMAND_ERASE,            /* of a workflow nothing shall be readable any more */
    COMMAND_SNAPSHOT,         /* a snapshot was made and verified */
    COMMAND_REMOVE,           /* segments of the log are to be deleted */
    COMMAND_ANCHOR,           /* a head of the log was signed */
    COMMAND_CLOCK, /* clock_watch_look() gave this one; or a client accepts the wall clock */
};

/* What a shell finds in `x` and `f` documents. It must have been handed over. EXPIRE_WORKFLOWS and
 * ERASE take workflows out of the state, and the agent believes an EXPIRE_WORKFLOWS about one that
 * is not in memory. So of both together one at a time: a shell looks for the next one's documents
 * only when what the one before did is durable. Of EXPIRE_KEYS too. */
struct expired_key {
    uint8_t digest[SHA256_SIZE];
    uint64_t expires_ns;
};
struct expired_workflow {
    uint64_t stream, size;
    uint64_t ended_ns; /* agent time, as the key says */
    bool settled;
    uint8_t definition[SHA256_SIZE];
};
#define COMMAND_EXPIRE_MAX 64u

struct command_actor {
    int type; /* DAA__ACTOR__TYPE__... */
    struct span id;
};

struct command {
    enum command_kind kind;
    uint64_t stream; /* the workflow; 0 for SUBMIT, REGISTER, STOP, CLOCK */
    struct command_actor actor;
    struct span request_id;
    struct span traceparent;
    bool keyed; /* SUBMIT, SIGNAL: came with an idempotency key */
    struct span key;
    uint8_t key_digest[SHA256_SIZE];     /* of (token scope, route, key) */
    uint8_t request_digest[SHA256_SIZE]; /* of the body */
    union {
        struct {
            struct flow *flow;           /* the agent takes its own reference when it applies */
            struct span input, metadata; /* JSON, checked */
            uint32_t key_id; /* of its events, which no workflow had before; 0: not encrypted */
        } submit;
        struct {
            struct span name, payload; /* JSON, checked */
        } signal;
        struct {
            struct span reason;
        } cancel;
        struct {
            struct span step;   /* id */
            int resolution;     /* DAA__RESOLUTION__... */
            struct span output; /* JSON, checked */
            struct span reason;
        } resolve;
        struct {
            uint32_t index, attempt;
            int outcome;        /* DAA__OUTCOME__... */
            struct span output; /* JSON */
            struct span error;  /* text */
        } outcome;
        struct {
            uint32_t index, attempt;
            uint64_t pid, start_time;
            struct span boot_id;
        } spawned;
        struct {
            uint32_t index;
            uint64_t due_ns; /* agent time */
        } timer;
        struct {
            struct span version, host;
            struct span keyring; /* uuid of the one that is open; empty: none, or it has no keys */
            uint64_t pid;
        } registered;
        struct {
            struct span reason;
        } stop;
        struct {
            const struct expired_key *items;
            uint32_t count; /* at most COMMAND_EXPIRE_MAX */
        } expire_keys;
        struct {
            const struct expired_workflow *items;
            uint32_t count; /* at most COMMAND_EXPIRE_MAX */
            struct span reason;
        } expire_workflows;
        struct {
            /* As the record says that submitted it: its documents may have expired. */
            uint32_t key_id;
            struct span key_digest; /* of its idempotency key; empty: it had none */
            struct span reason;
        } erase;
        struct {
            uint64_t seq, documents, bytes;
            uint8_t digest[SHA256_SIZE];
        } snapshot;
        struct {
            uint64_t first_segment, last_segment, first_seq, last_seq, bytes;
            struct span reason;
        } remove;
        struct {
            const struct anchor *signed_head;
        } anchor;
        struct {
            int change; /* DAA__CLOCK_STEPPED__CHANGE__... */
        } clock;
    };
};

#endif
