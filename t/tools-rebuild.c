/* A rebuild needs no more memory than the agent had that wrote the log. */
#include "agent_log.h"
#include "scratch.h"
#include "tap.h"
#include "tools/agent/rebuild.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT 60
#define INPUT (400u << 10)
#define MEMORY (16ull << 20) /* for some 35 such workflows */

static struct agent_log made;
static uint8_t digest[SHA256_SIZE];

static void end(void)
{
    struct error error;
    uint64_t seq;
    (void)agent_log_commit(&made);
    if (state_digest(made.state, digest, &seq, &error) < 0)
        tap_bail_out("%s", error.text);
    agent_log_close(&made);
}

static const char *large_input(void)
{
    static char input[INPUT];
    memset(input, 'x', sizeof input);
    input[0] = input[sizeof input - 2] = '"';
    input[sizeof input - 1] = 0;
    return input;
}

/* Many large workflows wait; then short events, close to each other, change all of them. */
static void make_log(void)
{
    uint64_t streams[COUNT];
    agent_log_open(&made);
    struct flow *flow = agent_log_flow(
        &made, "{\"name\":\"s\",\"steps\":[{\"id\":\"a\",\"signal\":{\"name\":\"go\"}}]}");
    for (int i = 0; i < COUNT; i++)
        streams[i] = agent_log_submit(&made, flow, large_input(), NULL);
    agent_log_wait(&made, 1000000);
    for (int i = 0; i < COUNT; i++) {
        struct command command = { .kind = COMMAND_SIGNAL, .stream = streams[i] };
        command.signal.name = span_of_text("go");
        command.signal.payload = span_of_text("1");
        if (!agent_log_do(&made, &command))
            tap_bail_out("a signal is refused: %s", made.decision.refusal.text);
    }
    agent_log_wait(&made, 1000000);
    flow_unref(flow);
    end();
}

static void short_events_of_large_workflows(void)
{
    struct rebuild_copy copy;
    struct error error = { 0 };
    struct rebuild_copy_options options = { .log_dir = made.log_dir,
                                            .db_dir = scratch_path("copy"),
                                            .memory = MEMORY };
    if (is_int(rebuild_copy(&options, &copy, &error), 0,
               "%d workflows of %u KiB are rebuilt in %llu MiB", COUNT, INPUT >> 10, MEMORY >> 20))
        is_mem(copy.digest, digest, SHA256_SIZE, "to the documents that there were");
    else
        tap_note("%s", error.text);
}

int main(void)
{
    made.log_dir = strdup(scratch_path("log"));
    made.db_dir = strdup(scratch_path("db"));
    make_log();
    short_events_of_large_workflows();
    return tap_done();
}
