#include "tools/log/keys_lost.h"

#include "core/base/arena.h"
#include "core/base/bytes.h"
#include "core/base/text.h"
#include "core/event/event.h"
#include "log/keyring.h"
#include "log/reader.h"
#include "tools/command/progress.h"
#include "tools/log/log.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the log says of its keys. */
struct used {
    uint8_t keyring[UUID_SIZE]; /* zero: nothing */
    uint32_t last_id;
    uint64_t skipped; /* events that could not be read */
    struct budget budget;
    struct arena arena;
};

/* Each start says it, so the newest counts. */
static void note_keyring(struct used *used, const struct record *record)
{
    Daa__Event *event;
    if (event_unpack(record->kind, record->payload, &used->arena, &event) == 0 &&
        event->agent_registered->keyring.len == UUID_SIZE)
        memcpy(used->keyring, event->agent_registered->keyring.data, UUID_SIZE);
    arena_reset(&used->arena);
}

static int read_all(struct used *used, struct log_reader *reader, struct error *error)
{
    struct record record;
    struct progress progress;
    int code;
    progress_begin(&progress, "reading", PROGRESS_ITEMS, log_reader_durable_seq(reader));
    while ((code = log_reader_next(reader, &record, NULL, error)) == 1) {
        if (record.key_id > used->last_id)
            used->last_id = record.key_id;
        if (record.kind == DAA__EVENT__BODY_AGENT_REGISTERED)
            note_keyring(used, &record);
        progress_update(&progress, record.seq);
    }
    progress_end(&progress);
    used->skipped = log_reader_skipped(reader);
    return code;
}

static int look_at_log(struct used *used, const char *dir, struct error *error)
{
    struct log_reader *reader;
    *used = (struct used){ .last_id = 0 };
    budget_init(&used->budget, UINT64_MAX);
    const struct log_reader_options options = { .dir = dir, .budget = &used->budget };
    int code = log_reader_open(&reader, &options, error);
    if (code < 0)
        return code;
    arena_init(&used->arena, &used->budget, BUDGET_READERS, 4096);
    code = read_all(used, reader, error);
    arena_free(&used->arena);
    log_reader_close(reader);
    return code;
}

#define BEYOND_MAX (64u << 20) /* keys: 4 GiB of files */

/* A mistyped number is not to fill the disk, nor to use up all numbers. */
static int choose_last(const struct keys_lost *lost, const struct used *used,
                       struct keyring *keyring, uint32_t *last_id, struct error *error)
{
    uint64_t end;
    int code = keyring_end(keyring, &end, error);
    if (code < 0)
        return code;
    *last_id = lost->up_to > used->last_id ? (uint32_t)lost->up_to : used->last_id;
    if (end < used->last_id)
        end = used->last_id;
    if (lost->up_to <= end + BEYOND_MAX)
        return 0;
    return error_set(error, ERROR_INVALID,
                     "--up-to %llu: that is %llu keys behind all that the log and %s know: say at "
                     "most %llu",
                     (unsigned long long)lost->up_to, (unsigned long long)(lost->up_to - end),
                     lost->keys_dir, (unsigned long long)(end + BEYOND_MAX));
}

static int give_up(const struct keys_lost *lost, const struct used *used, char name[UUID_TEXT_SIZE],
                   struct keyring_given_up *result, struct error *error)
{
    struct keyring *keyring;
    uint8_t uuid[UUID_SIZE];
    uint32_t last_id;
    const struct keyring_options options = {
        .dir = lost->keys_dir,
        .mode = KEYRING_MEND,
        .uuid = bytes_are_zero(used->keyring, UUID_SIZE) ? NULL : used->keyring,
    };
    int code = keyring_open(&keyring, &options, error);
    if (code < 0)
        return code;
    code = choose_last(lost, used, keyring, &last_id, error);
    if (code == 0)
        code = keyring_give_up(keyring, last_id, result, error);
    if (keyring_uuid(keyring, uuid))
        uuid_to_text(name, uuid);
    keyring_close(keyring);
    return code;
}

static void print(const struct keys_lost *lost, const char *name,
                  const struct keyring_given_up *result)
{
    struct text text;
    if (!lost->json) {
        printf("directory  %s\nkeyring    %s\n", lost->keys_dir, name);
        printf("given up   %llu keys; %llu files were missing, and %llu were mended\n",
               (unsigned long long)result->keys, (unsigned long long)result->files_made,
               (unsigned long long)result->files_mended);
        return;
    }
    text_init(&text);
    text_json_open_object(&text, NULL);
    text_json_cstring(&text, "dir", lost->keys_dir);
    text_json_cstring(&text, "keyring", name);
    text_json_unsigned(&text, "given_up", result->keys);
    text_json_unsigned(&text, "files_made", result->files_made);
    text_json_unsigned(&text, "files_mended", result->files_mended);
    text_json_close_object(&text);
    printf("%s\n", text_string(&text));
    text_free(&text);
}

/* What is made belongs to the user who asks, and a directory that nobody uses helps nobody. 0, or
 * an exit status. */
static int check_place(const struct command *command, const struct keys_lost *lost)
{
    struct stat status;
    char log_dir[PATH_MAX];
    const char *like = lost->keys_dir;
    if (access(like, F_OK) < 0) {
        (void)snprintf(log_dir, sizeof log_dir, "%s/log", lost->dir);
        like = access(log_dir, F_OK) == 0 ? log_dir : lost->dir;
    }
    if (stat(like, &status) == 0 && status.st_uid != geteuid())
        return command_failed(command,
                              "%s belongs to the user with uid %ld: run this as that user, since "
                              "files of keys are made",
                              like, (long)status.st_uid);
    if (!lost->is_named && access(lost->keys_dir, F_OK) < 0 && errno == ENOENT)
        return command_failed(command,
                              "%s does not exist: if the keys were there, say --keys %s, else "
                              "where they were (log.keys_dir)",
                              lost->keys_dir, lost->keys_dir);
    return 0;
}

/* 0, or an exit status. */
static int check_usage(const struct command *command, const struct keys_lost *lost)
{
    uint8_t uuid[UUID_SIZE];
    if (lost->keyring != NULL && !uuid_from_text(uuid, span_of_text(lost->keyring)))
        return command_misused(command, "--keyring: %s is no uuid", lost->keyring);
    if (lost->up_to > UINT32_MAX)
        return command_misused(command, "--up-to: there is no key %llu",
                               (unsigned long long)lost->up_to);
    return 0;
}

/* What the user says, where the log says nothing. 0, or an exit status. */
static int take_keyring(const struct command *command, const struct keys_lost *lost,
                        struct used *used)
{
    char name[UUID_TEXT_SIZE];
    uuid_to_text(name, used->keyring);
    if (lost->keyring == NULL)
        return 0;
    if (!bytes_are_zero(used->keyring, UUID_SIZE) && strcmp(lost->keyring, name) != 0)
        return command_failed(command, "--keyring %s: the keys of this log are of keyring %s",
                              lost->keyring, name);
    (void)uuid_from_text(used->keyring, span_of_text(lost->keyring));
    return 0;
}

int keys_give_up(const struct command *command, const struct keys_lost *lost)
{
    struct used used;
    struct error error = { 0 };
    struct keyring_given_up result;
    char name[UUID_TEXT_SIZE] = "";
    int status = check_usage(command, lost);
    if (status == 0)
        status = check_place(command, lost);
    if (status != 0)
        return status;
    if (look_at_log(&used, lost->dir, &error) < 0)
        return command_failed_error(command, &error);
    if (used.skipped > 0)
        return command_failed(command,
                              "%s: %llu events cannot be read, which may have keys of their own: "
                              "mend the log first (daa-log repair)",
                              lost->dir, (unsigned long long)used.skipped);
    status = take_keyring(command, lost, &used);
    if (status != 0)
        return status;
    if (used.last_id == 0 && lost->up_to == 0 && bytes_are_zero(used.keyring, UUID_SIZE))
        return command_failed(command, "%s: no event in it has a key, and it names no keyring",
                              lost->dir);
    if (give_up(lost, &used, name, &result, &error) < 0)
        return command_failed_error(command, &error);
    print(lost, name, &result);
    return COMMAND_GOOD;
}
