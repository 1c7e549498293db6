#include "tools/agent/eraser_revived.h"

#include "core/agent/document.h"
#include "log/keyring.h"
#include "tools/agent/host.h"
#include "tools/agent/state.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

static bool has_key(struct keyring *keyring, uint32_t key_id)
{
    uint8_t key[KEYRING_KEY_SIZE];
    int status = keyring_get(keyring, key_id, key, NULL);
    explicit_bzero(key, sizeof key);
    return status == 0;
}

#define REVIVED_MAX 256u

struct revived {
    struct keyring *keyring;
    uint32_t keys[REVIVED_MAX], count;
    struct document_key last; /* looked at */
    bool more;
};

static bool look_at_erased(struct span key, struct span bytes, void *context)
{
    struct revived *revived = context;
    uint32_t key_id;
    (void)bytes;
    if (!document_erased_of_key(key, &key_id))
        return true;
    revived->last = document_erased_key(key_id);
    if (has_key(revived->keyring, key_id))
        revived->keys[revived->count++] = key_id;
    revived->more = revived->count == REVIVED_MAX;
    return !revived->more;
}

int eraser_destroy_revived(struct keyring *keyring, struct state *state, struct error *error)
{
    struct revived revived = { .keyring = keyring };
    uint64_t count = 0;
    int status = 0;
    do {
        struct document_key from = revived.last;
        revived.count = 0;
        revived.more = false;
        status = state_walk(state, span_of_text("e"), document_key_span(&from), false,
                            look_at_erased, &revived);
        if (status < 0)
            return error_set(error, status, "the documents cannot be read: %s", error_text(status));
        for (uint32_t i = 0; status == 0 && i < revived.count; i++, count++)
            status = keyring_destroy(keyring, revived.keys[i], error);
    } while (status == 0 && revived.more);
    if (count > 0)
        host_say("%" PRIu64 " keys of workflows that were erased had come back with a copy of the "
                 "keys: they are destroyed again",
                 count);
    return status;
}
