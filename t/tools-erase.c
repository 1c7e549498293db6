/* Erasing on the real loop, beside what else takes workflows out of the state. */
#include "loop_daemon.h"
#include "scratch.h"
#include "tap.h"
#include "tools/agent/eraser.h"
#include "tools/agent/housekeeper.h"
#include "tools/agent/loop.h"

#include <sched.h>

#define HOUR_NS 3600000000000ull

static struct loop_daemon daemon_;
static uint64_t stream;
static pthread_t eraser;
static _Atomic bool begun, is_exclusive;

static void *erase(void *argument)
{
    struct erasure erasure = { .stream = stream };
    struct error error;
    (void)argument;
    erasure.reason = span_of_text("asked for");
    if (eraser_erase(daemon_.boot.eraser, &erasure, &error) < 0)
        tap_note("%s", error.text);
    return NULL;
}

/* The housekeeper knows what is over and has not asked yet: the worst moment for an erasure. Where
 * one is not kept out it is done here, and the housekeeper goes on with what it knew. */
static void erase_before_expiry(void)
{
    if (begun)
        return;
    begun = true;
    is_exclusive = pthread_mutex_trylock(&daemon_.boot.removals) != 0;
    if (!is_exclusive)
        pthread_mutex_unlock(&daemon_.boot.removals);
    if (pthread_create(&eraser, NULL, erase, NULL) != 0)
        tap_bail_out("no thread");
    if (!is_exclusive)
        pthread_join(eraser, NULL);
}

static uint64_t submit_and_complete(void)
{
    static const char source[] = "{\"name\":\"n\",\"steps\":[{\"id\":\"a\",\"sleep\":\"0s\"}]}";
    struct command command = { .kind = COMMAND_SUBMIT };
    struct flow_problem problem;
    struct loop_counts counts;
    uint64_t submitted = 0;
    if (flow_compile(&command.submit.flow, &daemon_.boot.budget, span_of_text(source), &problem) <
            0 ||
        loop_daemon_ask(&daemon_, &command, &submitted) != REQUEST_DURABLE)
        tap_bail_out("a workflow is not taken");
    flow_unref(command.submit.flow);
    do {
        sched_yield();
        loop_counts_get(daemon_.boot.loop, &counts);
    } while (counts.agent.finished == 0);
    return submitted;
}

static void beside_expiry(void)
{
    struct housekeeper_status status = { 0 };
    struct loop_counts counts;
    daemon_ =
        (struct loop_daemon){ .config = "encryption = true\n[state]\nfinished_ttl = \"1h\"\n"
                                        "snapshot_interval = \"0s\"\n[anchor]\ninterval = \"0s\"\n",
                              .before_expiry = erase_before_expiry };
    loop_daemon_start(&daemon_);
    stream = submit_and_complete();
    loop_daemon_pass(2 * HOUR_NS);
    inbox_wake(daemon_.boot.inbox);
    do {
        sched_yield();
        loop_counts_get(daemon_.boot.loop, &counts);
        housekeeper_status_get(daemon_.boot.housekeeper, &status);
    } while (!begun || counts.agent.finished > 0 || status.looks < 3);
    ok(is_exclusive, "nothing is erased between the look at what is over and its answer");
    if (is_exclusive)
        pthread_join(eraser, NULL);
    loop_daemon_stop(&daemon_);

    scratch_remove(scratch_path("data/db"));
    loop_daemon_start(&daemon_);
    loop_counts_get(daemon_.boot.loop, &counts);
    is_int(counts.agent.finished, 0,
           "so it left the state once, as a start without documents finds");
    loop_daemon_stop(&daemon_);
}

int main(void)
{
    loop_daemon_set_clocks(1000000000ull, 1700000000000000000ull);
    beside_expiry();
    return tap_done();
}
