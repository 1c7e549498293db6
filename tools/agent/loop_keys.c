/* The keys with which the events of workflows are encrypted, on the agent thread. */
#include "tools/agent/loop_inside.h"

#include "log/keyring.h"
#include "tools/agent/eraser.h"
#include "tools/agent/host.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

#define TRIES_MAX 1024u /* for one submission: a restored log may have keys that were destroyed */
#define TELL_EVERY_NS 60000000000ull
#define TOLD_MAX 8u /* sentences in that time: a file that is lost has the keys of many */

void keys_init(struct loop *loop)
{
    loop->keys.used = loop->options.keys_used;
    table_init(&loop->keys.aside, loop->options.budget, BUDGET_WORKFLOWS);
}

void keys_free(struct loop *loop)
{
    table_free(&loop->keys.aside);
}

/* For all events that a decision may have: what was reserved in the log must be written. */
static int draw_nonces(struct loop_keys *keys, struct error *error)
{
    uint8_t *bytes = keys->nonces[0];
    size_t size = sizeof keys->nonces;
    if (keys->nonces_left >= DECISION_EVENTS_MAX)
        return 0;
    while (size > 0) { /* more than 256 bytes may come in parts, when a signal does */
        ssize_t got = getrandom(bytes, size, 0);
        if (got < 0 && errno != EINTR)
            return error_set(error, -errno, "no random bytes to encrypt with: %s",
                             error_text(-errno));
        bytes += got > 0 ? got : 0;
        size -= got > 0 ? (size_t)got : 0;
    }
    keys->nonces_left = LOOP_NONCES;
    return 0;
}

const uint8_t *keys_nonce(struct loop *loop)
{
    CHECK(loop->keys.nonces_left > 0);
    return loop->keys.nonces[--loop->keys.nonces_left];
}

int keys_take(struct loop *loop, uint32_t key_id, struct error *error)
{
    if (key_id == loop->keys.key_id) /* also 0 */
        return 0;
    if (!loop->options.keyring)
        return error_set(
            error, ERROR_UNAVAILABLE,
            "the events of this workflow are encrypted, and there are no keys: put the "
            "directory of the keys back (log.keys_dir), then start the agent again");
    int status = draw_nonces(&loop->keys, error);
    if (status == 0)
        status = keyring_get(loop->options.keyring, key_id, loop->keys.key, error);
    loop->keys.key_id = status == 0 ? key_id : 0;
    return status;
}

void keys_do_without(struct loop *loop, uint32_t key_id)
{
    loop->keys.key_id = key_id;
    loop->keys.without = true;
}

void keys_wipe(struct loop *loop)
{
    explicit_bzero(loop->keys.key, sizeof loop->keys.key);
    loop->keys.key_id = 0;
    loop->keys.without = false;
}

/*--- Keys for new workflows --------------------------------------------------------------------*/

/* The last one that workflows have is in a file that is there, and this one's file is behind all
 * that are: it is not made yet. */
static bool is_to_be_made(struct loop *loop, uint32_t key_id)
{
    uint64_t end;
    uint32_t used = loop->keys.used;
    return keyring_end(loop->options.keyring, &end, NULL) == 0 && key_id >= end &&
           (used == 0 || used < end);
}

/* Of a number that no workflow has: the next one does as well. */
static bool is_lost(struct loop *loop, uint32_t key_id, int code)
{
    uint64_t end;
    if (code == ERROR_UNAVAILABLE)
        return keyring_end(loop->options.keyring, &end, NULL) == 0 && key_id < end;
    return code == ERROR_NOT_FOUND || code == ERROR_DAMAGED || code == -EIO;
}

bool keys_are_to_come(struct loop *loop, uint32_t key_id, int code)
{
    return is_lost(loop, key_id, code) || is_to_be_made(loop, key_id);
}

void keys_used(struct loop *loop, uint32_t key_id)
{
    loop->keys.used = key_id;
    if (loop->options.eraser)
        eraser_used(loop->options.eraser, key_id);
}

uint32_t keys_next(struct loop *loop)
{
    uint32_t id = loop->keys.used;
    for (unsigned tries = 0; tries < TRIES_MAX && id < UINT32_MAX; tries++) {
        int status = keys_take(loop, id + 1, NULL);
        if (status == 0 || !is_lost(loop, id + 1, status))
            break;
        id++;
    }
    if (id > loop->keys.used) /* nothing is tried twice, and those behind them have to be made */
        keys_used(loop, id);
    return id < UINT32_MAX ? id + 1 : UINT32_MAX;
}

/*--- Workflows whose key cannot be had ---------------------------------------------------------*/

/* Into `id`, if something may be said of it. */
static bool may_say(struct loop *loop, uint64_t stream, char id[WORKFLOW_ID_SIZE])
{
    struct loop_keys *keys = &loop->keys;
    if (keys->told_ns == 0 || loop->monotonic_ns - keys->told_ns > TELL_EVERY_NS) {
        keys->told_ns = loop->monotonic_ns;
        keys->told = 0;
    }
    lineage_id_to_text(id, agent_lineage(loop->options.agent), stream);
    return keys->told++ < TOLD_MAX;
}

static void say_set_aside(struct loop *loop, uint64_t stream, const char *why)
{
    char id[WORKFLOW_ID_SIZE];
    const struct loop_keys *keys = &loop->keys;
    if (!may_say(loop, stream, id))
        return;
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

void keys_say_cancelled(struct loop *loop, uint64_t stream)
{
    char id[WORKFLOW_ID_SIZE];
    if (may_say(loop, stream, id))
        host_say("the workflow %s was cancelled: its key was destroyed, so it could not go on", id);
}

bool keys_is_aside(const struct loop *loop, const struct command *command)
{
    return loop->keys.aside.count > 0 && command->stream != 0 &&
           table_get(&loop->keys.aside, command->stream) != NULL;
}
