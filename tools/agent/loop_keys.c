/* The keys with which the events of workflows are encrypted, on the agent thread. */
#include "tools/agent/loop_inside.h"

#include "log/keyring.h"
#include "tools/agent/host.h"

#include <inttypes.h>
#include <string.h>

#define TELL_EVERY_NS 60000000000ull
#define TOLD_MAX 8u /* sentences in that time: a file that is lost has the keys of many */

void keys_init(struct loop *loop)
{
    table_init(&loop->keys.aside, loop->options.budget, BUDGET_WORKFLOWS);
}

void keys_free(struct loop *loop)
{
    table_free(&loop->keys.aside);
}

int keys_take(struct loop *loop, uint32_t key_id, struct error *error)
{
    if (key_id == 0)
        return 0;
    if (!loop->options.keyring)
        return error_set(
            error, ERROR_NOT_FOUND,
            "the events of this workflow are encrypted, and there are no keys: put the "
            "directory of the keys back (log.keys_dir), then start the agent again");
    return keyring_get(loop->options.keyring, key_id, loop->keys.key, error);
}

/*--- Workflows whose key cannot be had ---------------------------------------------------------*/

static void say_set_aside(struct loop *loop, uint64_t stream, const char *why)
{
    char id[WORKFLOW_ID_SIZE];
    struct loop_keys *keys = &loop->keys;
    if (keys->told_ns == 0 || loop->monotonic_ns - keys->told_ns > TELL_EVERY_NS) {
        keys->told_ns = loop->monotonic_ns;
        keys->told = 0;
    }
    if (keys->told++ >= TOLD_MAX)
        return;
    lineage_id_to_text(id, agent_lineage(loop->options.agent), stream);
    host_say(
        "the workflow %s was set aside: %s; it goes on when the agent is started again and its "
        "key is back (waiting for that now: %" PRIu64 ")",
        id, why, keys->aside.count);
}

bool keys_set_aside(struct loop *loop, const struct command *command, const char *why)
{
    struct loop_keys *keys = &loop->keys;
    if (table_reserve(&keys->aside, 1) < 0)
        return false;
    table_put(&keys->aside, command->stream, keys);
    agent_give_up(loop->options.agent, command);
    say_set_aside(loop, command->stream, why);
    return true;
}

bool keys_is_aside(const struct loop *loop, const struct command *command)
{
    return loop->keys.aside.count > 0 && command->stream != 0 &&
           table_get(&loop->keys.aside, command->stream) != NULL;
}
