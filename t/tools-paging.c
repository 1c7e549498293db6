/* Workflows that are not in memory: the agent thread does not wait for their documents, and comes
 * back to each when it was read. */
#include "core/agent/document.h"
#include "loop_daemon.h"
#include "scratch.h"
#include "tap.h"
#include "tools/agent/loop.h"
#include "tools/agent/state.h"
#include "tools/agent/warmer.h"

#include <sched.h>
#include <stdlib.h>

#define SECOND 1000000000ull
#define COUNT 40u

static sem_t reads, read_begun; /* of the disk: one for each time that documents are read ahead */
static _Atomic bool slow;

static void wait_for_disk(void)
{
    if (!slow)
        return;
    sem_post(&read_begun);
    sem_wait(&reads);
}

static struct flow *compile(struct budget *budget, const char *source)
{
    struct flow *flow;
    struct flow_problem problem;
    if (flow_compile(&flow, budget, span_of_text(source), &problem) < 0)
        tap_bail_out("%s: %s", problem.pointer, problem.message);
    return flow;
}

static uint64_t submit(struct loop_daemon *daemon, struct flow *flow)
{
    uint64_t stream = 0;
    struct command command = { .kind = COMMAND_SUBMIT };
    command.submit.flow = flow;
    if (loop_daemon_ask(daemon, &command, &stream) != REQUEST_DURABLE)
        tap_bail_out("a workflow is not taken");
    return stream;
}

static int status_of(struct loop_daemon *daemon, uint64_t stream)
{
    struct document_key key = document_workflow_key(stream);
    struct document_summary summary = { 0 };
    struct arena arena;
    uint8_t *bytes = NULL;
    size_t size = 0;
    arena_init(&arena, &daemon->boot.budget, BUDGET_READERS, 4096);
    if (state_get(daemon->boot.state, document_key_span(&key), &bytes, &size) != 1 ||
        document_workflow_summary(span_of(bytes, size), NULL, &arena, &summary) < 0)
        tap_bail_out("workflow %llu has no document", (unsigned long long)stream);
    free(bytes);
    arena_free(&arena);
    return summary.status;
}

static void wait_until(struct loop_daemon *daemon, uint64_t stream, int status)
{
    while (status_of(daemon, stream) != status) {
        inbox_wake(daemon->boot.inbox);
        sched_yield();
    }
}

/* How many of the sleepers have completed. */
static unsigned count_completed(struct loop_daemon *daemon, const uint64_t *streams)
{
    unsigned count = 0;
    for (unsigned i = 0; i < COUNT; i++)
        count += status_of(daemon, streams[i]) == DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED;
    return count;
}

static struct loop_counts counts_of(struct loop_daemon *daemon)
{
    struct loop_counts counts;
    loop_counts_get(daemon->boot.loop, &counts);
    return counts;
}

static void others_go_on(struct loop_daemon *daemon)
{
    struct flow *sleeper = compile(&daemon->boot.budget,
                                   "{\"name\":\"s\",\"steps\":[{\"id\":\"a\",\"sleep\":\"1h\"}]}"),
                *quick = compile(&daemon->boot.budget,
                                 "{\"name\":\"q\",\"steps\":[{\"id\":\"a\",\"sleep\":\"0s\"}]}");
    uint64_t streams[COUNT];
    for (unsigned i = 0; i < COUNT; i++)
        streams[i] = submit(daemon, sleeper);
    wait_until(daemon, submit(daemon, quick), DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED);
    struct error error;
    if (state_commit_now(daemon->boot.state, &error) < 0)
        tap_bail_out("%s", error.text);
    slow = true;
    loop_daemon_pass(7200 * SECOND);
    inbox_wake(daemon->boot.inbox);
    sem_wait(&read_begun);
    is_int(count_completed(daemon, streams), 0, "while documents are read nothing is due of them");
    for (int i = 0; i < 3; i++)
        wait_until(daemon, submit(daemon, quick), DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED);
    ok(true, "workflows that are in memory begin and end meanwhile");
    is_int(count_completed(daemon, streams), 0, "and the others still wait for the disk");
    slow = false;
    sem_post(&reads);
    for (unsigned i = 0; i < COUNT; i++)
        wait_until(daemon, streams[i], DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED);
    ok(true, "when it has answered they go on");
    uint64_t reads_ahead = counts_of(daemon).reads_ahead;
    ok(reads_ahead > 0 && reads_ahead < COUNT, "and are read many at a time");
    flow_unref(sleeper);
    flow_unref(quick);
}

/* What the agent thread will ask for: of one with a key that too, since its end may be next. */
static void reads_all_of_it(struct loop_daemon *daemon)
{
    struct flow *flow = compile(&daemon->boot.budget,
                                "{\"name\":\"w\",\"steps\":[{\"id\":\"a\",\"sleep\":\"9h\"}]}");
    uint64_t without = submit(daemon, flow), with = 0;
    struct command command = { .kind = COMMAND_SUBMIT, .keyed = true, .key_digest = { 7 } };
    command.submit.flow = flow;
    if (loop_daemon_ask(daemon, &command, &with) != REQUEST_DURABLE)
        tap_bail_out("a workflow is not taken");
    struct arena arena;
    arena_init(&arena, &daemon->boot.budget, BUDGET_READERS, 4096);
    is_int(warmer_read_workflow(daemon->boot.state, without, &arena), 2,
           "a workflow is read with its definition");
    is_int(warmer_read_workflow(daemon->boot.state, with, &arena), 3,
           "and with its idempotency key");
    is_int(warmer_read_workflow(daemon->boot.state, 999999, &arena), 0, "or not at all");
    arena_free(&arena);
    flow_unref(flow);
}

int main(void)
{
    static struct loop_daemon daemon = { .config = "[state]\nidle_bytes = \"1B\"\n",
                                         .before_read_ahead = wait_for_disk };
    sem_init(&reads, 0, 0);
    sem_init(&read_begun, 0, 0);
    loop_daemon_set_clocks(5, 1700000000 * SECOND);
    loop_daemon_start(&daemon);
    others_go_on(&daemon);
    reads_all_of_it(&daemon);
    loop_daemon_stop(&daemon);
    return tap_done();
}
