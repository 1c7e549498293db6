/* The real start and the real loop with clocks that a test sets: log time to the nanosecond. */
#include "core/agent/clock.h"
#include "log/reader.h"
#include "loop_daemon.h"
#include "scratch.h"
#include "tap.h"
#include "tools/agent/clock.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>

#define SECOND 1000000000ull
#define HOUR (3600 * SECOND)
#define YEAR (8760 * HOUR)
#define BEGIN (1700000000 * SECOND)

/* Accepts the clock; the answer, or the status of the refusal. */
static int accept_clock(struct loop_daemon *daemon)
{
    struct command command = { .kind = COMMAND_CLOCK };
    command.clock.change = DAA__CLOCK_STEPPED__CHANGE__ACCEPTED;
    return loop_daemon_ask(daemon, &command, NULL);
}

/* Sets the wall clock and waits until the loop has made it durable. */
static void set(struct loop_daemon *daemon, uint64_t to_ns, bool degraded)
{
    struct clock_view view;
    loop_daemon_set_wall(to_ns);
    do {
        inbox_wake(daemon->boot.inbox);
        sched_yield();
        if (clock_view_get(&daemon->boot, &view) < 0)
            tap_bail_out("the clock cannot be read");
    } while (view.degraded != degraded);
}

/*--- What is in the log ----------------------------------------------------------------------*/

/* "storage.opened +0, agent.registered +0, ..." in seconds since BEGIN. */
static const char *story(void)
{
    static char text[4000];
    struct log_reader_options options = { .dir = scratch_path("data") };
    struct log_reader *reader;
    struct record record;
    struct error error;
    size_t size = 0;
    if (log_reader_open(&reader, &options, &error) < 0 || log_reader_seek(reader, 1, &error) < 0)
        tap_bail_out("%s", error.text);
    text[0] = '\0';
    while (log_reader_next(reader, &record, NULL, &error) == 1 && size < sizeof text - 100) {
        const char *name = event_kind_name(record.kind);
        if (name == NULL)
            name = "storage";
        int64_t since_ns = (int64_t)(record.time_ns - BEGIN);
        size += (size_t)snprintf(text + size, sizeof text - size, "%s%s %+.6f",
                                 size > 0 ? ", " : "", name, (double)since_ns / 1e9);
    }
    log_reader_close(reader);
    return text;
}

static void keeps_log_time(void)
{
    /* An anchor would come into the story whenever a segment happens to be sealed. */
    static struct loop_daemon daemon = { .config = "[anchor]\ninterval = \"0s\"\n" };
    struct clock_view view;
    loop_daemon_set_clocks(5, BEGIN);
    loop_daemon_start(&daemon);
    is_int(accept_clock(&daemon), 409, "there is nothing to accept");
    loop_daemon_pass(HOUR);
    is_int(accept_clock(&daemon), 409, "nor after a suspend of an hour");
    set(&daemon, BEGIN + HOUR + YEAR, true);
    (void)clock_view_get(&daemon.boot, &view);
    is_int(view.difference_ns, YEAR, "a year is a step");
    is_int(view.log_ns, BEGIN + HOUR, "and moves log time by nothing");
    loop_daemon_stop(&daemon);
    loop_daemon_start(&daemon);
    set(&daemon, BEGIN + 3 * HOUR, true);
    (void)clock_view_get(&daemon.boot, &view);
    is_int(view.log_ns, BEGIN + HOUR, "nor does a restart");
    is_int(accept_clock(&daemon), REQUEST_DURABLE, "it is accepted");
    (void)clock_view_get(&daemon.boot, &view);
    ok(!view.degraded, "and trusted");
    is_int(view.log_ns, BEGIN + 3 * HOUR, "log time is wall time");
    is_int(view.shift_ns, 2 * HOUR, "and was moved by so much");
    loop_daemon_stop(&daemon);
    loop_daemon_pass(HOUR);
    loop_daemon_start(&daemon);
    (void)clock_view_get(&daemon.boot, &view);
    is_int(view.log_ns, BEGIN + 4 * HOUR, "a restart an hour later is an hour later");
    loop_daemon_stop(&daemon);
    is_str(story(),
           "storage +0.000000, agent.registered +0.000000, clock.stepped +3600.000000, "
           "agent.stopped +3600.000000, storage +3600.000000, "
           "storage +3600.000000, agent.registered +3600.000000, clock.stepped +3600.000000, "
           "agent.stopped +10800.000000, storage +10800.000000, "
           "storage +14400.000000, agent.registered +14400.000000, agent.stopped +14400.000000, "
           "storage +14400.000000",
           "the log has the times");
}

int main(void)
{
    keeps_log_time();
    return tap_done();
}
