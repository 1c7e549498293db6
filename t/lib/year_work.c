#include "core/agent/document.h"
#include "tools/agent/loop.h"
#include "tools/agent/state.h"
#include "year_inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EARLY_NS (15 * YEAR_SECOND_NS) /* a start goes to a trusted wall clock at once */
#define CRASH_BATCH 24u

/*--- What is submitted -------------------------------------------------------------------------*/

static struct flow *flow_of(struct year_agent *agent, const struct year_work *work)
{
    const struct year_kind *kind = &year_kinds[work->kind];
    bool changes = strcmp(kind->name, "changes") == 0;
    char source[YEAR_TEXT_SIZE];
    struct flow_problem problem;
    if (changes && agent->flow_day != work->day) {
        flow_unref(agent->flows[work->kind]);
        agent->flows[work->kind] = NULL;
        agent->flow_day = work->day;
    }
    if (agent->flows[work->kind])
        return agent->flows[work->kind];
    snprintf(source, sizeof source, "%s", kind->source);
    char *place = strstr(source, "%u");
    if (place)
        snprintf(place, sizeof source - (size_t)(place - source), "%u%s", work->day,
                 strstr(kind->source, "%u") + 2);
    if (flow_compile(&agent->flows[work->kind], &agent->boot.budget, span_of_text(source),
                     &problem) < 0) {
        year_fail(agent->world, "%s: %s: %s", kind->name, problem.pointer, problem.message);
        abort();
    }
    return agent->flows[work->kind];
}

static struct year_work *new_work(struct year_world *world)
{
    for (uint32_t i = world->free_from; i < YEAR_WORKS_MAX; i++)
        if (world->works[i].state == WORK_FREE) {
            world->free_from = i + 1;
            if (world->works_end < i + 1)
                world->works_end = i + 1;
            return &world->works[i];
        }
    year_fail(world, "more workflows wait than the oracle can hold");
    return NULL;
}

static void release(struct year_world *world, struct year_work *work)
{
    uint32_t index = (uint32_t)(work - world->works);
    work->state = WORK_FREE;
    if (index < world->free_from)
        world->free_from = index;
}

static uint8_t pick_kind(struct year_world *world)
{
    uint64_t point = year_random(world, 1000);
    uint8_t kind = 0;
    while (point >= year_kinds[kind].share)
        point -= year_kinds[kind++].share;
    return kind;
}

static bool put_submission(struct year_agent *agent, struct year_work *work)
{
    struct year_question *question = year_agent_question(agent, work, COMMAND_SUBMIT);
    if (!question)
        return false;
    struct command *command = &question->request.command;
    snprintf(question->input, sizeof question->input, "{\"order\":%" PRIu64 "}", work->number);
    command->submit.flow = flow_of(agent, work);
    command->submit.input = span_of_text(question->input);
    command->submit.metadata = span_of_text("{\"from\":\"year\"}");
    if (work->keyed) {
        snprintf(question->key, sizeof question->key, "order-%" PRIu64, work->number);
        command->keyed = true;
        command->key = span_of_text(question->key);
        sha256_of(command->key_digest, question->key, strlen(question->key));
        sha256_of(command->request_digest, question->input, strlen(question->input));
    }
    year_agent_put(agent, question);
    return true;
}

static void submit_new(struct year_agent *agent, bool keyed)
{
    struct year_world *world = agent->world;
    if (agent->question_count == YEAR_BATCH_MAX)
        return;
    struct year_work *work = new_work(world);
    if (!work)
        return;
    uint8_t kind = pick_kind(world);
    *work = (struct year_work){ .number = ++world->next_number,
                                .begun_ns = world->true_ns,
                                .suspended_ns = world->suspended_ns,
                                .act_ns = UINT64_MAX,
                                .again_ns = UINT64_MAX,
                                .kind = kind,
                                .state = WORK_ASKED,
                                .keyed = keyed,
                                .day = (uint32_t)(world->true_ns / YEAR_DAY_NS) };
    const struct year_kind *of = &year_kinds[kind];
    if (of->action != ACTION_NONE)
        work->act_ns = world->true_ns + of->act_after_ns +
                       year_random(world, of->act_until_ns - of->act_after_ns);
    if (keyed && year_random(world, 4) == 0)
        work->again_ns = world->true_ns + year_random(world, 20 * YEAR_HOUR_NS);
    (void)put_submission(agent, work);
}

/*--- What is done to it ------------------------------------------------------------------------*/

static bool act(struct year_agent *agent, struct year_work *work)
{
    static const enum command_kind commands[] = { [ACTION_SIGNAL] = COMMAND_SIGNAL,
                                                  [ACTION_RESOLVE] = COMMAND_RESOLVE,
                                                  [ACTION_CANCEL] = COMMAND_CANCEL };
    enum year_action action = year_kinds[work->kind].action;
    struct year_question *question = year_agent_question(agent, work, commands[action]);
    if (!question)
        return false;
    struct command *command = &question->request.command;
    if (action == ACTION_SIGNAL) {
        command->signal.name = span_of_text("go");
        command->signal.payload = span_of_text("{\"by\":\"somebody\"}");
    } else if (action == ACTION_RESOLVE) {
        command->resolve.step = span_of_text("b");
        command->resolve.resolution = DAA__RESOLUTION__RESOLVE_DONE;
        command->resolve.output = span_of_text("{\"by\":\"hand\"}");
        command->resolve.reason = span_of_text("it was done by hand");
    } else {
        command->cancel.reason = span_of_text("not wanted any more");
    }
    year_agent_put(agent, question);
    work->act_ns = UINT64_MAX;
    return true;
}

static bool is_forgotten(const struct year_world *world, const struct year_work *work)
{
    return world->options.nobody_resolves && year_kinds[work->kind].action == ACTION_RESOLVE;
}

static void act_all(struct year_agent *agent)
{
    struct year_world *world = agent->world;
    for (uint32_t i = 0; i < world->works_end; i++) {
        struct year_work *work = &world->works[i];
        if (work->state != WORK_WAITS)
            continue;
        if (work->act_ns <= world->true_ns && !is_forgotten(world, work) && !act(agent, work))
            return;
        if (work->again_ns <= world->true_ns) {
            if (!put_submission(agent, work))
                return;
            work->again_ns = UINT64_MAX;
        }
    }
}

/*--- What is answered --------------------------------------------------------------------------*/

static void take_submitted(struct year_agent *agent, const struct request *request,
                           struct year_work *work)
{
    struct year_world *world = agent->world;
    if (work->state == WORK_WAITS) {
        world->result.replays++;
        if (!request->replayed || request->stream != work->stream)
            year_fail(world, "workflow %" PRIu64 ": its key gives %" PRIu64 " when sent again",
                      work->stream, request->stream);
        return;
    }
    world->result.resent_there += request->replayed;
    work->stream = request->stream;
    work->state = WORK_WAITS;
    world->result.workflows++;
    table_put(&agent->by_stream, work->stream, work);
}

static void take_answers(struct year_agent *agent)
{
    year_agent_wait(agent);
    for (uint32_t i = 0; i < agent->question_count; i++) {
        const struct request *request = &agent->questions[i].request;
        struct year_work *work = agent->questions[i].work;
        if (request->answer != REQUEST_DURABLE) {
            year_fail(agent->world, "day %.2f: command %d for a workflow \"%s\" was refused: %s",
                      (double)agent->world->true_ns / (double)YEAR_DAY_NS,
                      (int)request->command.kind, year_kinds[work->kind].name,
                      request->refusal.text);
            if (work->state == WORK_ASKED)
                release(agent->world, work);
        } else if (request->command.kind == COMMAND_SUBMIT) {
            take_submitted(agent, request, work);
        }
    }
    agent->question_count = 0;
}

/*--- What became of it -------------------------------------------------------------------------*/

/* Its status, or negative: there is no such document. */
static int status_of(struct year_agent *agent, uint64_t stream)
{
    struct document_key key = document_workflow_key(stream);
    struct document_summary summary = { .status = -1 };
    struct arena arena;
    uint8_t *bytes = NULL;
    size_t size = 0;
    if (state_get(agent->boot.state, document_key_span(&key), &bytes, &size) != 1)
        return -1;
    arena_init(&arena, &agent->budget, BUDGET_READERS, 4096);
    int status = document_workflow_summary(span_of(bytes, size), NULL, &arena, &summary);
    arena_free(&arena);
    free(bytes);
    return status < 0 ? status : summary.status;
}

static bool has_ended(int status)
{
    return status == DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED ||
           status == DAA__WORKFLOW_STATUS__WORKFLOW_FAILED ||
           status == DAA__WORKFLOW_STATUS__WORKFLOW_CANCELLED;
}

static uint64_t most_ns(const struct year_world *world, const struct year_work *work)
{
    uint64_t most = year_kinds[work->kind].most_ns;
    return most + most / 500 + 6 * world->options.tick_ns + YEAR_HOUR_NS + world->suspended_ns -
           work->suspended_ns;
}

static void check_ended(struct year_agent *agent, struct year_work *work, int status)
{
    struct year_world *world = agent->world;
    const struct year_kind *kind = &year_kinds[work->kind];
    uint64_t took_ns = world->true_ns - work->begun_ns;
    uint64_t least_ns = kind->least_ns - kind->least_ns / 1500; /* 500 ppm of slewing, and some */
    if (status != kind->want)
        year_fail(world, "workflow %" PRIu64 " \"%s\" ended as %s", work->stream, kind->name,
                  workflow_status_name(status));
    if (took_ns + EARLY_NS < least_ns || took_ns > most_ns(world, work))
        year_fail(world, "workflow %" PRIu64 " \"%s\" ended after %.3f h", work->stream, kind->name,
                  (double)took_ns / (double)YEAR_HOUR_NS);
    world->ended[status == DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED ? 0
                 : status == DAA__WORKFLOW_STATUS__WORKFLOW_FAILED  ? 1
                                                                    : 2]++;
    (void)table_remove(&agent->by_stream, work->stream);
    release(world, work);
}

static void look_at_ended(struct year_agent *agent)
{
    pthread_mutex_lock(&agent->lock);
    uint64_t *ended = agent->ended;
    uint32_t count = agent->ended_count;
    agent->ended = NULL;
    agent->ended_count = agent->ended_capacity = 0;
    pthread_mutex_unlock(&agent->lock);
    for (uint32_t i = 0; i < count; i++) {
        struct year_work *work = table_get(&agent->by_stream, ended[i]);
        if (work)
            check_ended(agent, work, status_of(agent, ended[i]));
        else
            year_fail(agent->world, "workflow %" PRIu64 " ended, which nobody waits for", ended[i]);
    }
    free(ended);
}

/*--- From outside ------------------------------------------------------------------------------*/

/* What a crash left: what was durable is there, what nobody knows is sent again. What ended since
 * the start was told, what ended before it has to be looked up. */
void year_work_begin(struct year_agent *agent)
{
    struct year_world *world = agent->world;
    if (table_reserve(&agent->by_stream, YEAR_WORKS_MAX) < 0)
        abort();
    for (uint32_t i = 0; i < world->works_end; i++) {
        struct year_work *work = &world->works[i];
        if (work->state == WORK_WAITS)
            table_put(&agent->by_stream, work->stream, work);
        world->result.resent += work->state == WORK_ASKED;
        if (work->state == WORK_ASKED)
            (void)put_submission(agent, work);
    }
    take_answers(agent);
    year_agent_settle(agent);
    look_at_ended(agent);
    for (uint32_t i = 0; i < world->works_end; i++) {
        struct year_work *work = &world->works[i];
        if (work->state != WORK_WAITS)
            continue;
        int status = status_of(agent, work->stream);
        if (status < 0)
            year_fail(world, "workflow %" PRIu64 " was acknowledged and is gone", work->stream);
        else if (has_ended(status))
            check_ended(agent, work, status);
    }
}

static bool is_busy(const struct year_world *world)
{
    double day = (double)world->true_ns / (double)YEAR_DAY_NS;
    for (size_t i = 0; i < sizeof world->options.busy_days / sizeof(double); i++) {
        double from = world->options.busy_days[i];
        if (from > 0 && day >= from && day < from + 14)
            return true;
    }
    return false;
}

void year_work_tick(struct year_agent *agent)
{
    struct year_world *world = agent->world;
    const struct year_options *options = &world->options;
    double mean = (double)options->workflows_a_day * (double)options->tick_ns /
                  (double)YEAR_DAY_NS * (is_busy(world) ? 3 : 1);
    uint64_t count = year_random(world, (uint64_t)(mean * 2000) + 1000) / 1000;
    look_at_ended(agent);
    act_all(agent);
    for (uint64_t i = 0; i < count; i++)
        submit_new(agent, year_random(world, 5) == 0);
    take_answers(agent);
}

/* One that never ends is not among those that ended. Told once a day. */
static void check_late(struct year_world *world)
{
    for (uint32_t i = 0; i < world->works_end; i++) {
        const struct year_work *work = &world->works[i];
        uint64_t took_ns = world->true_ns - work->begun_ns;
        if (work->state == WORK_WAITS && took_ns > most_ns(world, work))
            year_fail(world, "day %.2f: workflow %" PRIu64 " \"%s\" has not ended after %.3f h",
                      (double)world->true_ns / (double)YEAR_DAY_NS, work->stream,
                      year_kinds[work->kind].name, (double)took_ns / (double)YEAR_HOUR_NS);
    }
}

/* With a key each, so that they can be sent again. */
void year_work_crash(struct year_agent *agent)
{
    for (unsigned i = 0; i < CRASH_BATCH; i++)
        submit_new(agent, true);
}

void year_work_put_off(struct year_world *world, uint64_t ns)
{
    for (uint32_t i = 0; i < world->works_end; i++)
        if (world->works[i].act_ns != UINT64_MAX)
            world->works[i].act_ns += ns;
}

void year_work_totals(struct year_agent *agent)
{
    struct year_world *world = agent->world;
    struct loop_counts counts;
    uint64_t waiting = 0;
    look_at_ended(agent);
    check_late(world);
    for (uint32_t i = 0; i < world->works_end; i++)
        waiting += world->works[i].state == WORK_WAITS;
    loop_counts_get(agent->boot.loop, &counts);
    const struct agent_counts *is = &counts.agent;
    if (is->submitted != world->result.workflows || is->completed != world->ended[0] ||
        is->failed != world->ended[1] || is->cancelled != world->ended[2] ||
        is->unfinished != waiting)
        year_fail(world,
                  "day %.2f: the agent counts %" PRIu64 " submitted, %" PRIu64
                  " completed, %" PRIu64 " failed, %" PRIu64 " cancelled, %" PRIu64
                  " unfinished; we %" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64,
                  (double)world->true_ns / (double)YEAR_DAY_NS, is->submitted, is->completed,
                  is->failed, is->cancelled, is->unfinished, world->result.workflows,
                  world->ended[0], world->ended[1], world->ended[2], waiting);
    world->result.waiting = waiting;
}
