/* Housekeeping on the real loop: what cannot be done now is tried again, and not all the time. */
#include "loop_daemon.h"
#include "scratch.h"
#include "tap.h"
#include "tools/agent/effects.h"
#include "tools/agent/host.h"
#include "tools/agent/housekeeper.h"
#include "tools/agent/loop.h"
#include "tools/agent/snapshots.h"

#include <stdio.h>
#include <time.h>

static uint64_t looks(const struct loop_daemon *daemon)
{
    struct housekeeper_status status;
    housekeeper_status_get(daemon->boot.housekeeper, &status);
    return status.looks;
}

static void wait_for_looks(const struct loop_daemon *daemon, uint64_t count)
{
    for (uint64_t end = looks(daemon) + count; looks(daemon) < end;)
        (void)nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
}

static void a_snapshot_that_cannot_be_recorded(void)
{
    struct loop_daemon daemon = { .config = "[state]\nsnapshot_interval = \"0s\"\n" };
    struct snapshots_status status;
    struct snapshot_info info;
    struct error error = { 0 };
    loop_daemon_start(&daemon);
    wait_for_looks(&daemon, 1);
    inbox_refuse(daemon.boot.inbox); /* as one that is full does, for longer */
    is_int(snapshots_make(daemon.boot.snapshots, &info, &error), 0, "a snapshot is made");
    wait_for_looks(&daemon, 1);
    uint64_t began_ns = host_monotonic_ns();
    wait_for_looks(&daemon, 3);
    ok(host_monotonic_ns() - began_ns > 1000000000ull,
       "while it cannot be recorded the agent is asked now and then");
    snapshots_status_get(daemon.boot.snapshots, &status);
    is_int(status.bound_seq, 0, "and nothing of the log may go");
    loop_daemon_stop(&daemon);

    loop_daemon_start(&daemon);
    struct loop_counts counts = { 0 };
    while (counts.agent.snapshots[1].seq != info.seq) {
        wait_for_looks(&daemon, 1);
        loop_counts_get(daemon.boot.loop, &counts);
    }
    ok(true, "the next start records it");
    wait_for_looks(&daemon, 2);
    loop_counts_get(daemon.boot.loop, &counts);
    is_int(counts.agent.snapshots[0].seq, 0, "once");
    snapshots_status_get(daemon.boot.snapshots, &status);
    ok(!status.unrecorded, "and knows that it is");
    loop_daemon_stop(&daemon);
}

static const char programs[] = "[exec]\nenabled = true\nallow = [\"/bin/sleep\"]\n"
                               "[state]\nfinished_ttl = \"1h\"\n";

/* Its program is ended with no word on what came of it: so its workflow has to be loaded before it
 * may go, and an event names one such alone. */
static uint64_t submit_a_program(struct loop_daemon *daemon)
{
    uint64_t stream = 0;
    struct flow_problem problem;
    struct command command = { .kind = COMMAND_SUBMIT };
    static const char source[] = "{\"name\":\"p\",\"steps\":[{\"id\":\"a\",\"exec\":"
                                 "{\"argv\":[\"/bin/sleep\",\"300\"]},\"timeout\":\"400s\"}]}";
    if (flow_compile(&command.submit.flow, &daemon->boot.budget, span_of_text(source), &problem) <
            0 ||
        loop_daemon_ask(daemon, &command, &stream) != REQUEST_DURABLE)
        tap_bail_out("a workflow is not taken");
    flow_unref(command.submit.flow);
    return stream;
}

/* So many workflows of which each has to be loaded before it may go. */
static void end_programs(struct loop_daemon *daemon, uint64_t count)
{
    uint64_t streams[3];
    for (uint64_t i = 0; i < count; i++)
        streams[i] = submit_a_program(daemon);
    while (effects_underway(daemon->boot.effects) < count)
        (void)nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    for (uint64_t i = 0; i < count; i++) {
        struct command cancel = { .kind = COMMAND_CANCEL, .stream = streams[i] };
        if (loop_daemon_ask(daemon, &cancel, NULL) != REQUEST_DURABLE)
            tap_bail_out("a workflow is not cancelled");
    }
    while (effects_underway(daemon->boot.effects) > 0)
        (void)nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

static void it_counts_what_has_expired(void)
{
    struct loop_daemon daemon = { .config = programs };
    struct housekeeper_status status = { 0 };
    loop_daemon_start(&daemon);
    end_programs(&daemon, 3);
    loop_daemon_pass(7200ull * 1000000000);
    inbox_wake(daemon.boot.inbox);
    struct loop_counts counts = { 0 };
    for (loop_counts_get(daemon.boot.loop, &counts);
         counts.agent.finished > 0 || status.workflows_expired < 3;
         loop_counts_get(daemon.boot.loop, &counts)) {
        wait_for_looks(&daemon, 1);
        housekeeper_status_get(daemon.boot.housekeeper, &status);
    }
    is_int(status.workflows_expired, 3, "each workflow that has expired is counted once");
    loop_daemon_stop(&daemon);
}

/* A client who leaves no place for anybody else: the next one comes with the answer. */
struct crowd {
    struct request request; /* first */
    struct inbox *inbox;
    _Atomic bool goes_on, gone;
};

static void come_again(struct request *request)
{
    struct crowd *crowd = (struct crowd *)request;
    if (!crowd->goes_on || inbox_put_request(crowd->inbox, request) < 0)
        crowd->gone = true;
}

/* One that has to be loaded was asked for in vain: it is its turn again, also when there is none
 * that has not. */
static void the_agent_is_busy(void)
{
    static char config[300];
    (void)snprintf(config, sizeof config, "[orchestrator]\nworkflow_queue_size = 1\n%s", programs);
    struct loop_daemon daemon = { .config = config };
    struct housekeeper_status status = { 0 };
    loop_daemon_start(&daemon);
    end_programs(&daemon, 1);
    struct crowd crowd = { .request = { .done = come_again },
                           .inbox = daemon.boot.inbox,
                           .goes_on = true };
    crowd.request.command.kind = COMMAND_CANCEL;
    crowd.request.command.stream = 1u << 30;
    while (inbox_put_request(crowd.inbox, &crowd.request) < 0)
        (void)nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    loop_daemon_pass(7200ull * 1000000000);
    wait_for_looks(&daemon, 3);
    crowd.goes_on = false;
    while (!crowd.gone)
        (void)nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    for (int i = 0; i < 8 && status.workflows_expired == 0; i++) {
        wait_for_looks(&daemon, 1);
        housekeeper_status_get(daemon.boot.housekeeper, &status);
    }
    is_int(status.workflows_expired, 1, "what could not be asked for is asked for again");
    loop_daemon_stop(&daemon);
}

int main(void)
{
    loop_daemon_set_clocks(1000000000ull, 1700000000000000000ull);
    it_counts_what_has_expired();
    a_snapshot_that_cannot_be_recorded();
    the_agent_is_busy();
    return tap_done();
}
