/* What a workflow costs from its submission to its end, without a log: allocations, memory, and (as
 * a note, since it says more of the machine than of us) time. */
#include "agent_shell.h"
#include "core/event/event.h"
#include "tap.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

/* A sanitizer has an allocator of its own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { COUNTED = 0 };
static __thread uint64_t allocations;
#else
enum { COUNTED = 1 };
static __thread uint64_t allocations; /* of this thread */

void *__libc_malloc(size_t size);
void *__libc_realloc(void *memory, size_t size);

void *malloc(size_t size)
{
    allocations++;
    return __libc_malloc(size);
}

void *realloc(void *memory, size_t size)
{
    allocations++;
    return __libc_realloc(memory, size);
}
#endif

enum { WORKFLOWS = 20000, IN_A_FRAME = 50 };

static const char chain[] = "{\"name\":\"chain\",\"steps\":[{\"id\":\"a\",\"sleep\":\"0s\"},"
                            "{\"id\":\"b\",\"needs\":[\"a\"],\"sleep\":\"0s\"},"
                            "{\"id\":\"c\",\"needs\":[\"b\"],\"sleep\":\"0s\"}]}";

struct cost {
    struct agent *agent;
    struct decision decision;
    uint64_t seq, events, changes, finished;
    uint8_t payload[4096];
};

static void count_change(struct span key, struct span bytes, void *context)
{
    struct cost *cost = context;
    (void)key;
    (void)bytes;
    cost->changes++;
}

static void perform(struct cost *cost, const struct command *command)
{
    struct agent_moment moment = { .now_ns = 1700000000 * SHELL_SECOND + cost->seq,
                                   .random = cost->seq };
    struct document_key needs;
    for (;;) {
        agent_decide(cost->agent, command, &moment, &cost->decision);
        if (cost->decision.kind != DECISION_NEEDS)
            break;
        for (uint32_t i = 0; i < cost->decision.needs_count; i++)
            (void)agent_load(cost->agent, document_key_span(&cost->decision.needs[i]),
                             span_of(NULL, 0), &needs);
    }
    uint64_t first = cost->seq + 1;
    for (uint32_t i = 0; i < cost->decision.event_count; i++) {
        struct event_draft *draft = &cost->decision.events[i];
        struct event_header header = { .seq = ++cost->seq,
                                       .time_ns = moment.now_ns,
                                       .kind = event_kind(&draft->event) };
        header.stream = draft->creates ? header.seq : draft->stream;
        header.stream_prev_seq = draft->creates ? 0
                                 : i > 0        ? first + i - 1
                                                : draft->stream_prev_seq;
        if (agent_apply(cost->agent, &header, &draft->event) < 0 ||
            event_size(&draft->event) > sizeof cost->payload)
            tap_bail_out("an event cannot be applied");
        event_pack(&draft->event, cost->payload);
        cost->events++;
    }
}

static void run(struct cost *cost, const struct command *submit, uint64_t count)
{
    struct command advance = { .kind = COMMAND_ADVANCE };
    struct effect *effect;
    for (uint64_t i = 0; i < count; i++) {
        perform(cost, submit);
        while (agent_next_ready(cost->agent, &advance.stream))
            perform(cost, &advance);
        while ((effect = agent_next_effect(cost->agent)) != NULL) {
            cost->finished++;
            effect_free(effect);
        }
        if (i % IN_A_FRAME == IN_A_FRAME - 1 &&
            agent_take_changes(cost->agent, count_change, cost) < 0)
            tap_bail_out("changes cannot be taken");
    }
}

int main(void)
{
    static struct cost cost;
    struct budget budget;
    struct agent_options options = { .budget = &budget,
                                     .max_concurrent_workflows = 100,
                                     .max_pending = 1000,
                                     .idempotency_ttl_ns = SHELL_SECOND };
    struct flow *flow;
    struct flow_problem problem;
    struct timespec before, after;
    budget_init(&budget, 64 << 20);
    if (agent_open(&cost.agent, &options, NULL) < 0 ||
        flow_compile(&flow, &budget, span_of_text(chain), &problem) < 0)
        tap_bail_out("no agent");
    decision_init(&cost.decision, &budget);
    agent_live(cost.agent);
    struct command submit = shell_submission(flow, "{\"n\":1}");
    run(&cost, &submit, IN_A_FRAME);

    uint64_t allocated = allocations, used = budget.used, events = cost.events;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    run(&cost, &submit, WORKFLOWS);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    double ns =
        (double)(after.tv_sec - before.tv_sec) * 1e9 + (double)(after.tv_nsec - before.tv_nsec);
    tap_note("%d workflows of 3 sleeps of 0 s: %.0f ns of CPU each, %" PRIu64 " events each",
             WORKFLOWS, ns / WORKFLOWS, (cost.events - events) / WORKFLOWS);
    is_int(cost.events - events, 6 * WORKFLOWS, "a workflow of three steps is six events");
    is_int(cost.finished, WORKFLOWS + IN_A_FRAME, "each of them ended");
    is_int(budget.used, used, "and left no memory behind");
    if (COUNTED)
        is_int((allocations - allocated) / WORKFLOWS, 3,
               "one allocation for the workflow, one for its output, one for who waits for it");
    decision_free(&cost.decision);
    agent_close(cost.agent);
    flow_unref(flow);
    return tap_done();
}
