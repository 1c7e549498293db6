/* A stop on the real loop: when loop_stop() has returned, nothing is called back any more, so that
 * whoever is called may go. */
#include "loop_daemon.h"
#include "scratch.h"
#include "tap.h"
#include "tools/agent/loop.h"

#include <stdlib.h>
#include <time.h>

static _Atomic unsigned ended, answered;

/* Takes its time: a stop that does not wait for it is over before. */
static void note_ended(uint64_t stream, void *context)
{
    (void)stream;
    (void)context;
    (void)nanosleep(&(struct timespec){ .tv_nsec = 200000000 }, NULL);
    ended++;
}

static void note_answered(struct request *request)
{
    (void)request;
    answered++;
}

static uint64_t submit(struct loop_daemon *daemon)
{
    uint64_t stream = 0;
    struct flow_problem problem;
    struct command command = { .kind = COMMAND_SUBMIT };
    if (flow_compile(&command.submit.flow, &daemon->boot.budget,
                     span_of_text("{\"name\":\"s\",\"steps\":[{\"id\":\"a\",\"sleep\":\"1h\"}]}"),
                     &problem) < 0 ||
        loop_daemon_ask(daemon, &command, &stream) != REQUEST_DURABLE)
        tap_bail_out("a workflow is not taken");
    flow_unref(command.submit.flow);
    return stream;
}

/* As the outcome of an effect that was waited for does: drained, and then a workflow ends. */
static void the_last_end(void)
{
    static struct loop_daemon daemon = { .ended = note_ended };
    loop_daemon_start(&daemon);
    struct request request = { .done = note_answered };
    request.command.kind = COMMAND_CANCEL;
    request.command.stream = submit(&daemon);
    ok(loop_drain(daemon.boot.loop), "(the loop is drained)");
    is_int(inbox_put_request(daemon.boot.inbox, &request), 0, "(then a workflow is cancelled)");
    loop_stop(daemon.boot.loop);
    is_int(answered, 1, "when the stop returns its client was answered");
    is_int(ended, 1, "and whoever waits for its end was told");
    loop_daemon_stop(&daemon);
}

struct client {
    struct loop_daemon *daemon;
    unsigned taken;
    _Atomic unsigned answered;
    _Atomic bool begun;
};

struct asked {
    struct request request; /* first */
    struct client *client;
};

static void count_answer(struct request *request)
{
    struct asked *asked = (struct asked *)request;
    asked->client->answered++;
    free(asked);
}

/* Asks until it is refused. */
static void *ask_on(void *argument)
{
    struct client *client = argument;
    int status = 0;
    while (status == 0 || status == ERROR_FULL) {
        struct asked *asked = calloc(1, sizeof *asked);
        if (asked == NULL)
            tap_bail_out("no memory");
        asked->client = client;
        asked->request.done = count_answer;
        asked->request.command.kind = COMMAND_CANCEL;
        asked->request.command.stream = 1u << 30;
        status = inbox_put_request(client->daemon->boot.inbox, &asked->request);
        if (status < 0)
            free(asked);
        else
            client->taken++;
        client->begun = true;
    }
    return NULL;
}

/* Whenever it came, whoever waits for it is not left alone. */
static void requests_until_the_end(void)
{
    static struct loop_daemon daemon;
    static struct client client = { .daemon = &daemon };
    pthread_t thread;
    loop_daemon_start(&daemon);
    ok(loop_drain(daemon.boot.loop), "(the loop is drained)");
    if (pthread_create(&thread, NULL, ask_on, &client) != 0)
        tap_bail_out("no thread");
    while (!client.begun)
        (void)nanosleep(&(struct timespec){ .tv_nsec = 1000 }, NULL);
    loop_stop(daemon.boot.loop);
    pthread_join(thread, NULL);
    ok(client.taken > 0 && client.answered == client.taken,
       "each request that was taken while it stopped is answered");
    loop_daemon_stop(&daemon);
}

int main(void)
{
    loop_daemon_set_clocks(1000000000ull, 1700000000000000000ull);
    the_last_end();
    requests_until_the_end();
    return tap_done();
}
