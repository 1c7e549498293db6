/* What the files of the simulated year share. For these only. */
#ifndef YEAR_INSIDE_H
#define YEAR_INSIDE_H

#include "core/base/check.h"
#include "core/base/table.h"
#include "tools/agent/boot.h"
#include "tools/agent/inbox.h"
#include "tools/config/config.h"
#include "year.h"

#include <pthread.h>
#include <semaphore.h>

#define YEAR_WORKS_MAX 65536u /* not ended at once */
#define YEAR_BATCH_MAX 512u   /* requests under way at once */
#define YEAR_TEXT_SIZE 1200u

enum year_state { WORK_FREE, WORK_ASKED /* nobody knows */, WORK_WAITS };

/* A workflow that has not ended, as whoever submitted it knows it. */
struct year_work {
    uint64_t number, stream;
    uint64_t begun_ns;     /* true time of the first try */
    uint64_t suspended_ns; /* of the world, then */
    uint64_t act_ns;       /* when its action is due; UINT64_MAX: none */
    uint64_t again_ns;     /* when its key is sent again */
    uint8_t kind, state;
    bool keyed;
    uint32_t day; /* of its definition, for the kind that changes */
};

/* What the processes share. */
struct year_world {
    struct year_options options;
    struct year_result result;
    uint64_t random;

    uint64_t true_ns; /* elapsed since the beginning, whatever any clock says */
    uint64_t elapsed_ns, wall_ns;
    uint64_t suspended_ns; /* what the machine slept in all: timers fire so much later */
    uint32_t jumps_done;
    uint64_t return_at_ns, accept_at_ns; /* of the jump under way; 0: none */
    int64_t return_by_ns;

    uint64_t next_number;
    uint32_t free_from; /* no work before it is free */
    uint32_t works_end; /* behind the last that was ever used */
    struct year_work works[YEAR_WORKS_MAX];
    uint64_t ended[3]; /* completed, failed, cancelled, as the oracle has seen */
    uint64_t expired_keys, expired_workflows; /* as processes that ended said last */
    uint32_t next_sample_day;
    bool given_up; /* the agent does not come any more */
    bool done;     /* the child has left in order */
    char data[PATH_MAX];
};

/*--- year.c ---*/
void year_fail(struct year_world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void year_path(const struct year_world *world, const char *name, char path[PATH_MAX]);
uint64_t year_random(struct year_world *world, uint64_t below);
void year_config(struct year_world *world, struct config *config);

/*--- year_kinds.c: what is submitted and what must become of it ---*/
enum year_action { ACTION_NONE, ACTION_SIGNAL, ACTION_RESOLVE, ACTION_CANCEL };
struct year_kind {
    const char *name, *source; /* with one %u: the day */
    unsigned share;            /* of 1000 */
    enum year_action action;
    uint64_t act_after_ns, act_until_ns; /* the action comes between these, after the submission */
    uint64_t least_ns, most_ns;          /* until it has ended; beside the action */
    int want;                            /* Daa__WorkflowStatus */
};
extern const struct year_kind year_kinds[];
extern const unsigned year_kind_count;

/*--- year_agent.c: the agent in this process ---*/
struct year_question {
    struct request request; /* first */
    struct year_agent *agent;
    struct year_work *work;
    char key[32], input[64];
};

struct year_agent {
    struct year_world *world;
    struct config config;
    struct boot boot;
    pthread_t thread;
    sem_t booted, answered, released;
    int status;
    struct error error;
    double cpu_ms;
    struct table by_stream; /* of world->works */
    struct budget budget;   /* of the table and the flows */

    pthread_mutex_t lock; /* guards the two */
    uint64_t *ended;
    uint32_t ended_count, ended_capacity;

    struct flow *flows[16];
    uint32_t flow_day;
    struct year_question questions[YEAR_BATCH_MAX];
    uint32_t question_count;
};

bool year_agent_start(struct year_agent *agent, int kind, bool after_crash);
void year_agent_stop(struct year_agent *agent);
/* Moves the clocks on and waits until the agent has done all that is due. */
void year_agent_pass(struct year_agent *agent, uint64_t ns);
void year_agent_settle(struct year_agent *agent);
void year_agent_set_wall(struct year_agent *agent, int64_t by_ns);
/* Accepts the wall clock. */
void year_agent_accept(struct year_agent *agent);
/* Puts a request; year_agent_wait() waits for all that were put. NULL: too many. */
struct year_question *year_agent_question(struct year_agent *agent, struct year_work *work,
                                          enum command_kind kind);
void year_agent_put(struct year_agent *agent, struct year_question *question);
void year_agent_wait(struct year_agent *agent);

/*--- year_work.c: the oracle ---*/
void year_work_begin(struct year_agent *agent); /* after a start: compares with the documents */
void year_work_tick(struct year_agent *agent);  /* submits, acts, looks at what ended */
void year_work_crash(struct year_agent *agent); /* submits, waits for nothing */
/* The machine sleeps, and with it whoever acts. */
void year_work_put_off(struct year_world *world, uint64_t ns);
/* The agent counts as the oracle does, and nothing waits for longer than it may. */
void year_work_totals(struct year_agent *agent);

/*--- year_check.c: what holds of an agent's files when it has stopped in order ---*/
/* The documents make sense, and snapshot and log give the same ones. */
void year_check_state(struct year_world *world);
/* The log is whole, and begins where the documents say. Afterwards result.events is its last. */
void year_check_log(struct year_world *world);

/*--- year_sample.c ---*/
void year_sample(struct year_agent *agent);
/* Asks for a snapshot and waits until it is recorded, the oldest one is gone and what is over has
 * expired. */
void year_housekeep(struct year_agent *agent);

#endif
