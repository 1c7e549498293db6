/* The inside of the agent thread's loop: what loop.c, loop_turns.c, loop_documents.c,
 * loop_keys.c, loop_write.c and loop_perform.c share. For these only.
 *
 * Threads: the agent thread, but for what the lock guards. */
#ifndef TOOLS_AGENT_LOOP_INSIDE_H
#define TOOLS_AGENT_LOOP_INSIDE_H

#include "core/agent/clock.h"
#include "core/base/check.h"
#include "core/base/table.h"
#include "core/event/private.h"
#include "log/event.h"
#include "tools/agent/handover.h"
#include "tools/agent/loop.h"
#include "tools/agent/warmer.h"

#include <pthread.h>
#include <stdatomic.h>

#define TELL_STALL_EVERY_NS 60000000000ull
#define STALL_NS 2000000000ull /* without room in the log, until requests are refused */

/* The key of the decision's workflow, wiped when the command is over; and random bytes that were
 * not used yet. */
#define LOOP_NONCES 256u
struct loop_keys {
    uint8_t key[AEAD_KEY_SIZE];
    uint32_t key_id;    /* of `key`; 0: it is wiped */
    bool without;       /* it was destroyed: there is no `key` */
    uint32_t used;      /* up to here each key has a workflow, or cannot be had */
    bool missing;       /* the command under way was refused for want of its key */
    bool destroyed;     /* the same, for good */
    struct table aside; /* workflows that wait for the next start, for want of theirs */
    uint64_t told_ns;   /* when the first of the last `told` sentences of keys was said */
    unsigned told;
    uint8_t nonces[LOOP_NONCES][AEAD_NONCE_SIZE];
    unsigned nonces_left;
};

/* What waits for one turn's events to be durable. */
struct turn {
    struct turn *next;
    uint64_t last_seq;
    struct state_batch *batch; /* NULL: nothing changed */
    struct request *requests, **requests_last;
    struct effect *effects, **effects_last;
};

struct loop {
    struct loop_options options;
    uint8_t boot_id[16];
    char host[256];
    uint64_t random;

    struct log_clock clock;
    struct clock_watch watch;
    uint64_t monotonic_ns, wall_ns, now_ns; /* when the clocks were read last */

    struct inbox_lists lists; /* taken from the inbox, not done yet */
    struct command held;      /* a timer or an advance that found no room; kind 0: none */
    struct decision decision;
    struct warmer *warmer;
    bool warming;                      /* it is at work for us */
    uint64_t warm[WARMER_STREAMS_MAX]; /* workflows whose documents it has read for us */
    uint32_t warm_count;
    Daa__Event *written[DECISION_EVENTS_MAX]; /* the decision's events as they go into the log */
    uint8_t *payload;                         /* one of them, packed */
    size_t payload_capacity;
    struct loop_keys keys;

    struct turn *open;          /* of this turn; NULL: nothing yet */
    struct turn *first, **last; /* not durable yet, oldest first */
    struct turn *spare;
    bool changed; /* events were applied whose documents were not taken */
    bool stalled; /* the log had no room in this turn */
    bool starved; /* a command of our own had no memory in this turn */
    uint64_t stalled_since_ns;
    bool failed;
    bool damaged; /* the documents: that is why */

    uint64_t turns, commands, stalls, counts_ns;
    uint64_t woke_ns; /* from the last wait, monotonic; 0: not yet */
    uint64_t long_turns, longest_turn_ns;
    uint64_t reads_ahead;                   /* times that the warmer was asked */
    uint64_t failovers;                     /* of the log, that were told of */
    enum space_state space;                 /* that was recorded last */
    uint64_t stall_told_ns, stall_told_seq; /* of the last record of a stall: when, and which */

    pthread_mutex_t lock; /* guards what is below */
    pthread_cond_t moved;
    struct loop_counts counts;
    _Atomic bool draining, stopping;
    bool drained, ended;
};

/* NO_ROOM: in the log; nothing else gets on either. NO_MEMORY: for this command alone. COLD: what
 * it needs is being read; it comes again by itself. */
enum performed { PERFORMED, NO_ROOM, NO_MEMORY, COLD };

/* loop_turns.c: what is bound to the durability of events. */
struct turn *turn_open(struct loop *loop);
/* Binds what this turn did to the newest event. Without memory for the documents the turn stays
 * open and goes on with the next one. */
void turn_close(struct loop *loop);
void turns_complete(struct loop *loop);
/* The log has failed: nobody knows whether these are durable. */
void turns_abandon(struct loop *loop);
/* When what was done up to now is durable. `request` may be NULL. */
void turn_answer(struct loop *loop, struct request *request, enum request_answer answer);

/* loop_documents.c: what decisions need. */

/* Gives the agent a document: 0, or 1: it must be read from disk, which has begun; or negative.
 * `may_wait` false: it is read now, whatever it takes. */
int documents_load(struct loop *loop, const struct document_key *key, bool may_wait);
/* What was read ahead is there now? */
void documents_look(struct loop *loop);

/* loop_keys.c: the keys of workflows. */

void keys_init(struct loop *loop);
void keys_free(struct loop *loop);
/* Into loop->keys.key, with nonces for all events of a decision: 0, or negative and `error` says
 * why. perform() wipes it. 0: no key is needed. */
int keys_take(struct loop *loop, uint32_t key_id, struct error *error);
/* Where it says ERROR_NOT_FOUND: what the key would encrypt is not kept. */
void keys_do_without(struct loop *loop, uint32_t key_id);
void keys_wipe(struct loop *loop);
const uint8_t *keys_nonce(struct loop *loop); /* AEAD_NONCE_SIZE random bytes, each once */
/* The number of the key for the next workflow: the first that can be had, unless many in a row
 * cannot, or it is not made yet; keys_take() tells. */
uint32_t keys_next(struct loop *loop);
/* keys_take() of what keys_next() gave said this, and another time there will be one. */
bool keys_are_to_come(struct loop *loop, uint32_t key_id, int code);
void keys_used(struct loop *loop, uint32_t key_id); /* by a new workflow */
/* A command of our own cannot be recorded, and `why` says what is the matter with its key: it is
 * given up, and its workflow waits for the next start. False: no memory for that. */
bool keys_set_aside(struct loop *loop, const struct command *command, const char *why);
void keys_say_cancelled(struct loop *loop, uint64_t stream); /* since its key was destroyed */
bool keys_is_aside(const struct loop *loop, const struct command *command);

/* loop_write.c: the events of a decision, into the log. */

/* Makes loop->written of them; *payload_size: of all of them. `also_erased`: where their key was
 * destroyed, what it would encrypt is not kept, which is no error. 0; ERROR_TOO_LARGE: one is
 * larger than a record may be; ERROR_BUDGET; else their key cannot be had, and `error` says why. */
int write_prepare(struct loop *loop, bool also_erased, uint64_t *payload_size, struct error *error);
/* Applies and appends them. */
void write_events(struct loop *loop, uint64_t first_seq, struct request *request);

/* loop_perform.c: one command. `request` is NULL for the shell's own. */
enum performed perform(struct loop *loop, const struct command *command, struct request *request);
bool perform_gives_up(const struct loop *loop);
void perform_refuse(struct loop *loop, int http_status, const char *code, const char *text);
uint64_t loop_random(struct loop *loop);
void loop_follow_clock(struct loop *loop); /* after events of the clock */
void perform_answer_refusal(struct loop *loop, struct request *request);

#endif
