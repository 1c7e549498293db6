#include "tools/log/decryption.h"

#include "log/event.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

static unsigned long long big(uint64_t number)
{
    return number;
}

/*--- The keys ----------------------------------------------------------------------------------*/

int decryption_keys_beside(char keys[PATH_MAX], const char *dir, struct error *error)
{
    struct stat status;
    int length = snprintf(keys, PATH_MAX, "%s/log", dir);
    bool inner = length < PATH_MAX && stat(keys, &status) == 0 && S_ISDIR(status.st_mode);
    length = snprintf(keys, PATH_MAX, "%s/%skeys", dir, inner ? "" : "../");
    if (length >= PATH_MAX)
        return error_set(error, -ENAMETOOLONG, "the path is too long: %s", dir);
    return 0;
}

int decryption_begin(struct decryption *decryption, const struct command *command, const char *dir)
{
    struct error error;
    struct keyring_options options = { .dir = decryption->keys_dir, .mode = KEYRING_READ };
    decryption->command = command;
    decryption->log_dir = dir;
    if (decryption->no_keys && decryption->keys_dir != NULL)
        return command_misused(command, "--keys and --no-keys say the opposite of each other");
    decryption->looked = decryption->no_keys || decryption->keys_dir != NULL;
    if (decryption->keys_dir == NULL)
        return COMMAND_GO_ON;
    int code = keyring_open(&decryption->keyring, &options, &error);
    return code < 0 ? command_failed_error(command, &error) : COMMAND_GO_ON;
}

void decryption_end(struct decryption *decryption)
{
    keyring_close(decryption->keyring);
    decryption->keyring = NULL;
}

static void open_beside(struct decryption *decryption)
{
    char dir[PATH_MAX];
    struct error error;
    const struct keyring_options options = { .dir = dir, .mode = KEYRING_READ };
    int code = decryption_keys_beside(dir, decryption->log_dir, &error);
    if (code == 0)
        code = keyring_open(&decryption->keyring, &options, &error);
    if (code == 0 || code == ERROR_NOT_FOUND)
        return;
    fflush(stdout);
    (void)command_failed(decryption->command, "%s: what is encrypted is left out", error.text);
}

struct keyring *decryption_keyring(struct decryption *decryption)
{
    if (!decryption->looked && decryption->log_dir != NULL)
        open_beside(decryption);
    decryption->looked = true;
    return decryption->keyring;
}

/*--- Events ------------------------------------------------------------------------------------*/

/* Whatever is wrong with the key, the event stays withheld. */
static int find_key(void *context, uint32_t key_id, uint8_t key[AEAD_KEY_SIZE])
{
    struct decryption *decryption = context;
    struct keyring *keyring = decryption_keyring(decryption);
    decryption->asked = true;
    if (keyring == NULL)
        return ERROR_NOT_FOUND;
    decryption->found = keyring_get(keyring, key_id, key, &decryption->why);
    return decryption->found == 0 ? 0 : ERROR_NOT_FOUND;
}

int decryption_open(struct decryption *decryption, const struct record *record, struct arena *arena,
                    Daa__Event **event)
{
    struct event_header header = event_header_of(record);
    const struct event_keys keys = { .find = find_key, .context = decryption };
    decryption->asked = false;
    int code = event_open(&header, record->payload, &keys, arena, event);
    if (code == 0 && !event_is_withheld(*event))
        return decryption->asked ? DECRYPTION_DONE : DECRYPTION_NONE;
    if (code == 0 && event_is_wiped(*event))
        return DECRYPTION_ERASED;
    if (code == 0 && decryption->keyring == NULL)
        return DECRYPTION_NO_KEYS;
    if (code == 0)
        return decryption->found == ERROR_NOT_FOUND ? DECRYPTION_ERASED : DECRYPTION_UNAVAILABLE;
    if (event_unpack(record->kind, record->payload, arena, event) == 0 && event_is_withheld(*event))
        return DECRYPTION_MISFIT;
    *event = NULL;
    return code;
}

/* Once a run, of each kind of reason. */
static void warn(struct decryption *decryption, const struct record *record, int result)
{
    bool *warned =
        result == DECRYPTION_MISFIT ? &decryption->warned_of_misfit : &decryption->warned;
    if (*warned)
        return;
    *warned = true;
    fflush(stdout);
    if (result == DECRYPTION_MISFIT)
        (void)command_failed(decryption->command,
                             "event %llu is encrypted, and shown without that: key %u does not "
                             "fit it; are these the keys of this log?",
                             big(record->seq), record->key_id);
    else
        (void)command_failed(decryption->command,
                             "event %llu is encrypted, and shown without that: %s",
                             big(record->seq), decryption->why.text);
}

int decryption_show(struct decryption *decryption, const struct record *record, struct arena *arena,
                    Daa__Event **event)
{
    int result = decryption_open(decryption, record, arena, event);
    decryption->withheld += result >= DECRYPTION_NO_KEYS;
    if (result == DECRYPTION_UNAVAILABLE || result == DECRYPTION_MISFIT)
        warn(decryption, record, result);
    return result;
}
