/* Housekeeping on the real loop: what cannot be done now is tried again, and not all the time. */
#include "loop_daemon.h"
#include "scratch.h"
#include "tap.h"
#include "tools/agent/host.h"
#include "tools/agent/housekeeper.h"
#include "tools/agent/loop.h"
#include "tools/agent/snapshots.h"

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

int main(void)
{
    loop_daemon_set_clocks(1000000000ull, 1700000000000000000ull);
    a_snapshot_that_cannot_be_recorded();
    return tap_done();
}
