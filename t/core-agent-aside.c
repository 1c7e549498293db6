/* Workflows that are set aside (agent_give_up): nothing of them comes again, none of the others
 * waits for them, and a start with the same documents takes them up. */
#include "agent_shell.h"
#include "tap.h"

static const char sleeps[] = "{\"name\":\"s\",\"steps\":[{\"id\":\"a\",\"sleep\":\"1s\"},"
                             "{\"id\":\"b\",\"sleep\":\"0s\",\"needs\":[\"a\"]}]}";
static const char calls[] =
    "{\"name\":\"c\",\"steps\":[{\"id\":\"a\",\"http\":{\"method\":\"POST\","
    "\"url\":\"http://h/\"}}]}";

static void check(struct agent_shell *shell, const char *claim)
{
    struct error error = { .text = "" };
    is_int(agent_check(shell->agent, &error), 0, "%s", claim);
    if (error.text[0] != '\0')
        tap_note("%s", error.text);
}

static void restart(struct agent_shell *shell)
{
    struct shell_documents documents = { NULL, 0, 0 };
    shell_take(shell);
    shell_documents_copy(&documents, &shell->documents);
    shell_restart(shell, &documents, shell->log_count);
    shell_documents_free(&documents);
}

static void timers(void)
{
    struct agent_shell shell = { .random = 7 };
    struct command timer;
    shell_open(&shell);
    uint64_t stream = shell_submit(&shell, sleeps, "{}");
    shell.now_ns += 2 * SHELL_SECOND;
    ok(agent_next_timer(shell.agent, shell.now_ns, &timer), "(a timer is due)");
    agent_give_up(shell.agent, &timer);
    ok(!agent_next_timer(shell.agent, shell.now_ns, &timer), "a timer that is given up is gone");
    check(&shell, "and what is left is sound");
    restart(&shell);
    shell_wait(&shell, 0);
    is_str(shell_history(&shell, stream),
           "workflow.submitted workflow.started timer.set timer.fired step.completed "
           "step.completed workflow.completed",
           "the next start takes it up, and it ends");
    shell_close(&shell);
}

/* One that waits for its turn, and one whose effect is under way. */
static void places(void)
{
    struct agent_shell shell = { .random = 7 };
    struct command advance = { .kind = COMMAND_ADVANCE };
    shell.options.max_concurrent_workflows = 1;
    shell_open(&shell);
    uint64_t first = shell_submit(&shell, calls, "{}"), second = shell_submit(&shell, calls, "{}");
    uint64_t third = shell_submit(&shell, calls, "{}");
    ok(!agent_next_ready(shell.agent, &advance.stream), "(the first has the only place)");
    agent_give_up(shell.agent, &(struct command){ .kind = COMMAND_OUTCOME, .stream = first });
    check(&shell, "one whose effect is under way is set aside, and what is left is sound");
    ok(agent_next_ready(shell.agent, &advance.stream) && advance.stream == second,
       "its place is for the next one");
    agent_give_up(shell.agent, &advance);
    check(&shell, "which is set aside as well");
    ok(agent_next_ready(shell.agent, &advance.stream) && advance.stream == third,
       "and does not come again: the third does");
    shell_advance(&shell);
    ok(shell_effect(&shell, third, 0) != NULL, "and begins");
    shell.options.max_concurrent_workflows = 9;
    restart(&shell);
    ok(shell_effect(&shell, second, 0) != NULL, "the next start takes up the one that was ready");
    is_str(shell_history(&shell, first),
           "workflow.submitted workflow.started step.started step.uncertain workflow.paused",
           "and the first, of which nobody knows whether it was done");
    shell_close(&shell);
}

int main(void)
{
    timers();
    places();
    return tap_done();
}
