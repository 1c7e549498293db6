/* daa-log keys. */
#include "tools/log/decryption.h"
#include "tools/log/keys_lost.h"
#include "tools/log/log.h"

#include <limits.h>

static unsigned long long big(uint64_t number)
{
    return number;
}

static int open_keys(struct keyring **keyring, const char *dir, struct error *error)
{
    const struct keyring_options options = { .dir = dir, .mode = KEYRING_READ };
    int code = keyring_open(keyring, &options, error);
    if (code == ERROR_NOT_FOUND)
        return error_set(error, code,
                         "%s does not exist: nothing is encrypted, or its keys are elsewhere, "
                         "which --keys says",
                         dir);
    return code;
}

static int add_erasure(uint32_t id, uint64_t stream, void *context, struct error *error)
{
    struct text *text = context;
    (void)error;
    text_json_open_object(text, NULL);
    text_json_unsigned(text, "key_id", id);
    text_json_unsigned(text, "stream", stream);
    text_json_close_object(text);
    return 0;
}

static int print_erasure(uint32_t id, uint64_t stream, void *context, struct error *error)
{
    (void)context, (void)error;
    printf("erasure    under way: of stream %llu, with key %u\n", big(stream), id);
    return 0;
}

/* NULL: it has no files yet. */
static const char *name_of(struct keyring *keyring, char name[UUID_TEXT_SIZE])
{
    uint8_t uuid[UUID_SIZE];
    if (!keyring_uuid(keyring, uuid))
        return NULL;
    uuid_to_text(name, uuid);
    return name;
}

static int print_json(struct keyring *keyring, const struct keyring_counts *counts, const char *dir,
                      struct error *error)
{
    struct text text;
    char name[UUID_TEXT_SIZE];
    text_init(&text);
    text_json_open_object(&text, NULL);
    text_json_cstring(&text, "dir", dir);
    text_json_cstring(&text, "keyring", name_of(keyring, name));
    text_json_unsigned(&text, "files", counts->files);
    text_json_unsigned(&text, "keys", counts->keys);
    text_json_unsigned(&text, "destroyed", counts->destroyed);
    text_json_unsigned(&text, "damaged", counts->damaged);
    text_json_unsigned(&text, "missing_files", counts->missing);
    text_json_open_array(&text, "erasures_under_way");
    int code = keyring_condemned(keyring, add_erasure, &text, error);
    text_json_close_array(&text);
    text_json_close_object(&text);
    if (code == 0)
        printf("%s\n", text_string(&text));
    text_free(&text);
    return code;
}

static int print_text(struct keyring *keyring, const struct keyring_counts *counts,
                      struct error *error)
{
    char name[UUID_TEXT_SIZE];
    if (name_of(keyring, name) != NULL)
        printf("keyring    %s\n", name);
    printf("keys       %llu in %llu files, those made ahead of their use too\n", big(counts->keys),
           big(counts->files));
    printf("destroyed  %llu\n", big(counts->destroyed));
    if (counts->damaged > 0)
        printf("%sdamaged    %llu%s\n", command_style(stdout, COMMAND_RED), big(counts->damaged),
               command_style(stdout, COMMAND_PLAIN));
    if (counts->missing > 0)
        printf("%smissing    %llu files%s\n", command_style(stdout, COMMAND_RED),
               big(counts->missing), command_style(stdout, COMMAND_PLAIN));
    return keyring_condemned(keyring, print_erasure, NULL, error);
}

static int show_keys(const struct command *command, const char *dir, bool json)
{
    struct keyring *keyring;
    struct keyring_counts counts;
    struct error error, problem;
    if (open_keys(&keyring, dir, &error) < 0)
        return command_failed_error(command, &error);
    int found = keyring_count(keyring, &counts, &problem);
    begin_paging(json);
    int code =
        json ? print_json(keyring, &counts, dir, &error) : print_text(keyring, &counts, &error);
    keyring_close(keyring);
    if (found < 0)
        (void)command_failed_error(command, &problem);
    if (code < 0)
        (void)command_failed_error(command, &error);
    return found < 0 || code < 0 ? COMMAND_FAILED : COMMAND_GOOD;
}

int log_keys(int argc, char **argv)
{
    bool json = false, give_up = false;
    struct keys_lost lost = { .dir = NULL };
    const char *keys = NULL;
    char beside[PATH_MAX];
    struct error error;
    const struct command_option options[] = {
        { "json", 'j', NULL, COMMAND_FLAG, &json, "print one JSON object" },
        { "keys", 0, "KEYS", COMMAND_TEXT, &keys, "the directory of the keys" },
        { "give-up", 0, NULL, COMMAND_FLAG, &give_up,
          "what is damaged or missing of the keys of the log in DIR is lost: it counts as\n"
          "destroyed, and what it encrypts as erased, so that its agent starts again" },
        { "up-to", 0, "ID", COMMAND_NUMBER, &lost.up_to,
          "the last key that was used, where the events that say so are not in the log\n"
          "any more; with --give-up" },
        { "keyring", 0, "UUID", COMMAND_TEXT, &lost.keyring,
          "of the keyring, where nothing else says it; with --give-up" },
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-log keys",
        .purpose =
            "Count the keys with which events are encrypted, and those that were destroyed,\n"
            "and list the erasures that are under way, or give up keys that are lost. Never shows\n"
            "a key.",
        .arguments = "DIR",
        .arguments_min = 0,
        .arguments_max = 1,
        .options = options,
        .shared = log_options,
        .notes =
            "The keys of DIR are in the directory \"keys\" beside that of the log, unless KEYS\n"
            "says where they are.\n"
            "Exit status: 0 good; 1 failed, or keys are damaged or missing; 2 wrong usage.",
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    if (!give_up && (lost.up_to != 0 || lost.keyring != NULL))
        return command_misused(&command, "%s is for --give-up alone",
                               lost.up_to != 0 ? "--up-to" : "--keyring");
    if (give_up && first == argc)
        return command_misused(&command, "give the DIR of the log whose keys are lost");
    if (!give_up && (keys != NULL) == (first < argc))
        return command_misused(&command, "give DIR or --keys, %s",
                               keys != NULL ? "not both" : "one of them");
    if (keys == NULL && decryption_keys_beside(beside, argv[first], &error) < 0)
        return command_failed_error(&command, &error);
    lost.is_named = keys != NULL;
    keys = keys != NULL ? keys : beside;
    lost.dir = argv[first];
    lost.keys_dir = keys;
    lost.json = json;
    return give_up ? keys_give_up(&command, &lost) : show_keys(&command, keys, json);
}
