/* Does to a keyring what it is told, for tests that are scripts.
 *
 *   make-keys DIR COMMAND...
 *     'prepare ID'   'condemn ID STREAM'   'spare ID STREAM'   'destroy ID'   'get ID'
 *     'finish'       destroys each key that is condemned
 *     'give-up ID'   gives up what is lost, up to ID; as the only command
 *   Of each that is done it says "done COMMAND"; the first that fails ends it, with a sentence and
 *   exit 1. */
#include "log/keyring.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int destroy(uint32_t id, uint64_t stream, void *context, struct error *error)
{
    (void)stream;
    return keyring_destroy(context, id, error);
}

static int run(struct keyring *keyring, const char *command, struct error *error)
{
    char name[20];
    uint8_t key[KEYRING_KEY_SIZE];
    uint32_t id = 0;
    uint64_t stream = 0;
    (void)sscanf(command, "%19s %" SCNu32 " %" SCNu64, name, &id, &stream);
    if (strcmp(name, "prepare") == 0)
        return keyring_prepare(keyring, id, error);
    if (strcmp(name, "condemn") == 0)
        return keyring_condemn(keyring, id, stream, error);
    if (strcmp(name, "spare") == 0)
        return keyring_spare(keyring, id, stream, error);
    if (strcmp(name, "destroy") == 0)
        return keyring_destroy(keyring, id, error);
    struct keyring_given_up given_up;
    if (strcmp(name, "give-up") == 0)
        return keyring_give_up(keyring, id, &given_up, error);
    if (strcmp(name, "finish") == 0)
        return keyring_condemned(keyring, destroy, keyring, error);
    return keyring_get(keyring, id, key, error);
}

int main(int argc, char **argv)
{
    struct keyring *keyring = NULL;
    struct error error;
    bool mends = argc > 2 && strncmp(argv[2], "give-up ", 8) == 0;
    const struct keyring_options options = { .dir = argv[1],
                                             .mode = mends ? KEYRING_MEND : KEYRING_WRITE };
    int code = argc < 2 ? error_set(&error, ERROR_INVALID, "no directory")
                        : keyring_open(&keyring, &options, &error);
    for (int i = 2; code == 0 && i < argc; i++) {
        code = run(keyring, argv[i], &error);
        char line[200];
        int size = code == 0 ? snprintf(line, sizeof line, "done %s\n", argv[i]) : 0;
        (void)!write(STDOUT_FILENO, line, (size_t)size); /* at once: it may be killed */
    }
    keyring_close(keyring);
    if (code == 0)
        return 0;
    fprintf(stderr, "make-keys: %s\n", error.text);
    return 1;
}
