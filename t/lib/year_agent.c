#include "core/agent/agent.h"
#include "log/log.h"
#include "tools/agent/effects.h"
#include "tools/agent/host.h"
#include "tools/agent/housekeeper.h"
#include "tools/agent/loop.h"
#include "tools/agent/snapshots.h"
#include "year_inside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_NS 50000           /* between two looks at the agent */
#define PATIENCE_LOOKS 1000000u /* a minute and more; then it does not come any more */

/* The clocks of the one agent in this process. */
static pthread_mutex_t clock_lock = PTHREAD_MUTEX_INITIALIZER;
static struct year_world *clock_world;

static void read_clocks(uint64_t *elapsed_ns, uint64_t *wall_ns)
{
    pthread_mutex_lock(&clock_lock);
    *elapsed_ns = clock_world->elapsed_ns;
    *wall_ns = clock_world->wall_ns;
    pthread_mutex_unlock(&clock_lock);
}

static const struct host_clock year_clock = { read_clocks };

static double cpu_ms_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/*--- Start and stop ----------------------------------------------------------------------------*/

static void note_ended(uint64_t stream, void *context)
{
    struct year_agent *agent = context;
    pthread_mutex_lock(&agent->lock);
    if (agent->ended_count == agent->ended_capacity) {
        agent->ended_capacity = agent->ended_capacity * 2 + 1024;
        agent->ended = realloc(agent->ended, agent->ended_capacity * sizeof *agent->ended);
        CHECK(agent->ended != NULL);
    }
    agent->ended[agent->ended_count++] = stream;
    pthread_mutex_unlock(&agent->lock);
}

static void ignore_removed(void *context)
{
    (void)context;
}

static void *run(void *argument)
{
    struct year_agent *agent = argument;
    struct boot_hooks hooks = { .ended = note_ended,
                                .segments_removed = ignore_removed,
                                .context = agent };
    double began_ms = cpu_ms_now();
    agent->status = boot_open(&agent->boot, &hooks, &agent->error);
    agent->cpu_ms = cpu_ms_now() - began_ms;
    sem_post(&agent->booted);
    if (agent->status < 0)
        return NULL;
    agent->status = loop_run(agent->boot.loop, &agent->error);
    while (sem_wait(&agent->released) < 0 && errno == EINTR)
        ;
    struct error error;
    int closed = boot_close(&agent->boot, agent->status == 0, &error);
    if (closed < 0 && agent->status == 0) {
        agent->status = closed;
        agent->error = error;
    }
    return NULL;
}

static void note_start(struct year_agent *agent, int kind, bool after_crash)
{
    struct year_world *world = agent->world;
    const struct boot *boot = &agent->boot;
    if (world->result.start_count == YEAR_STARTS_MAX)
        return;
    world->result.starts[world->result.start_count++] =
        (struct year_start){ .day = (double)world->true_ns / (double)YEAR_DAY_NS,
                             .kind = kind,
                             .after_crash = after_crash,
                             .ready_ms = (double)(boot->ready_ns - boot->began_ns) / 1e6,
                             .cpu_ms = agent->cpu_ms,
                             .replayed = boot->rebuild.replayed,
                             .snapshot_seq = boot->rebuild.snapshot_seq,
                             .loaded = boot->rebuild.loaded };
    if ((boot->rebuild.snapshot_seq > 0) != (kind == YEAR_NO_DATABASE))
        year_fail(world, "a start of kind %d began with the snapshot of event %llu", kind,
                  (unsigned long long)boot->rebuild.snapshot_seq);
}

bool year_agent_start(struct year_agent *agent, int kind, bool after_crash)
{
    struct year_world *world = agent->world;
    clock_world = world;
    year_config(world, &agent->config);
    budget_init(&agent->budget, UINT64_C(1) << 32);
    table_init(&agent->by_stream, &agent->budget, BUDGET_REQUESTS);
    pthread_mutex_init(&agent->lock, NULL);
    sem_init(&agent->booted, 0, 0);
    sem_init(&agent->answered, 0, 0);
    sem_init(&agent->released, 0, 0);
    boot_init(&agent->boot, &agent->config);
    agent->boot.host_clock = &year_clock;
    agent->boot.allow_tmpfs = true;
    agent->flow_day = UINT32_MAX;
    if (pthread_create(&agent->thread, NULL, run, agent) != 0) {
        year_fail(world, "no thread");
        return false;
    }
    while (sem_wait(&agent->booted) < 0 && errno == EINTR)
        ;
    if (agent->status < 0) {
        year_fail(world, "the agent does not start: %s", agent->error.text);
        return false;
    }
    note_start(agent, kind, after_crash);
    return true;
}

void year_agent_stop(struct year_agent *agent)
{
    struct boot *boot = &agent->boot;
    housekeeper_stop(atomic_load(&boot->housekeeper));
    snapshots_stop(boot->snapshots);
    if (loop_drain(boot->loop)) {
        effects_end(boot->effects, 0);
        loop_stop(boot->loop);
    }
    sem_post(&agent->released);
    pthread_join(agent->thread, NULL);
    if (agent->status < 0)
        year_fail(agent->world, "the agent does not stop in order: %s", agent->error.text);
    for (unsigned i = 0; i < year_kind_count; i++)
        flow_unref(agent->flows[i]);
    table_free(&agent->by_stream);
    config_free(&agent->config);
    free(agent->ended);
}

/*--- Time --------------------------------------------------------------------------------------*/

/* The agent's turn in which it was found so; 0: it is not. */
static uint64_t settled_turn(struct year_agent *agent, uint64_t elapsed_ns)
{
    struct loop_counts counts;
    struct log_stats log;
    loop_counts_get(agent->boot.loop, &counts);
    if (counts.elapsed_ns < elapsed_ns || counts.agent.active > 0 ||
        counts.next_deadline_ns <= counts.now_ns)
        return 0;
    log_stats_get(agent->boot.log, &log);
    return log.durable_seq + 1 == log.next_seq ? counts.turns + 1 : 0;
}

/* Nothing is due, nothing is ready, nothing is under way, all is durable, and a turn later still,
 * so that whoever waited has been told. */
void year_agent_settle(struct year_agent *agent)
{
    struct timespec look = { .tv_nsec = LOOK_NS };
    uint64_t elapsed_ns = agent->world->elapsed_ns; /* nobody else moves it */
    uint64_t before = 0;
    for (unsigned looks = 0; looks < PATIENCE_LOOKS && !agent->world->given_up; looks++) {
        uint64_t turn = settled_turn(agent, elapsed_ns);
        if (turn > before && before > 0)
            return;
        before = turn;
        inbox_wake(agent->boot.inbox);
        nanosleep(&look, NULL);
    }
    struct loop_counts counts;
    loop_counts_get(agent->boot.loop, &counts);
    agent->world->given_up = true;
    year_fail(agent->world,
              "the agent does not settle: %llu active, %llu running, now %llu, next %llu",
              (unsigned long long)counts.agent.active, (unsigned long long)counts.agent.running,
              (unsigned long long)counts.now_ns, (unsigned long long)counts.next_deadline_ns);
}

void year_agent_pass(struct year_agent *agent, uint64_t ns)
{
    struct year_world *world = agent->world;
    pthread_mutex_lock(&clock_lock);
    world->true_ns += ns;
    world->elapsed_ns += ns;
    world->wall_ns += ns;
    pthread_mutex_unlock(&clock_lock);
    inbox_wake(agent->boot.inbox);
    year_agent_settle(agent);
}

void year_agent_set_wall(struct year_agent *agent, int64_t by_ns)
{
    pthread_mutex_lock(&clock_lock);
    agent->world->wall_ns += (uint64_t)by_ns;
    pthread_mutex_unlock(&clock_lock);
    inbox_wake(agent->boot.inbox);
}

/*--- Requests ----------------------------------------------------------------------------------*/

static void answered(struct request *request)
{
    struct year_question *question = (struct year_question *)request;
    sem_post(&question->agent->answered);
}

struct year_question *year_agent_question(struct year_agent *agent, struct year_work *work,
                                          enum command_kind kind)
{
    if (agent->question_count == YEAR_BATCH_MAX)
        return NULL;
    struct year_question *question = &agent->questions[agent->question_count++];
    memset(question, 0, sizeof *question);
    question->agent = agent;
    question->work = work;
    question->request.done = answered;
    question->request.command.kind = kind;
    question->request.command.stream = work && kind != COMMAND_SUBMIT ? work->stream : 0;
    question->request.command.actor.type = DAA__ACTOR__TYPE__ANONYMOUS;
    return question;
}

void year_agent_put(struct year_agent *agent, struct year_question *question)
{
    if (inbox_put_request(agent->boot.inbox, &question->request) == 0)
        return;
    year_fail(agent->world, "a request is not taken");
    question->request.answer = REQUEST_REFUSED;
    sem_post(&agent->answered);
}

void year_agent_wait(struct year_agent *agent)
{
    for (uint32_t i = 0; i < agent->question_count; i++)
        while (sem_wait(&agent->answered) < 0 && errno == EINTR)
            ;
}

void year_agent_accept(struct year_agent *agent)
{
    struct year_question *question = year_agent_question(agent, NULL, COMMAND_CLOCK);
    question->request.command.clock.change = DAA__CLOCK_STEPPED__CHANGE__ACCEPTED;
    year_agent_put(agent, question);
    year_agent_wait(agent);
    if (question->request.answer != REQUEST_DURABLE)
        year_fail(agent->world, "the clock is not accepted: %s", question->request.refusal.text);
    agent->question_count = 0;
}
