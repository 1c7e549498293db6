/* daa-log prove. */
#include "tools/log/log.h"
#include "tools/log/proof.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PROOF_SIZE_MAX (128u << 20)

struct proving {
    const struct command *command;
    const char *output, *key;
    bool json, check;
    struct decryption keys; /* for the event of a proof that holds */
};

/*--- Making one --------------------------------------------------------------------------------*/

static int write_text(const struct text *text, const char *path, struct error *error)
{
    FILE *out = path != NULL ? fopen(path, "we") : stdout;
    if (out == NULL)
        return error_set(error, -errno, "cannot make %s: %s", path, strerror(errno));
    bool good = fwrite(text->bytes, 1, text->size, out) == text->size;
    good &= path != NULL ? fclose(out) == 0 : fflush(out) == 0;
    return good ? 0 : error_set(error, -EIO, "cannot write %s", path != NULL ? path : "the proof");
}

/* A proof that does not hold is not written: the log is not what was signed. */
static int make(const struct proving *proving, uint64_t seq, const char *dir)
{
    struct proof *proof = calloc(1, sizeof *proof);
    struct anchor_trust trust;
    struct record record;
    struct error error;
    struct text text;
    if (proof == NULL)
        return command_failed(proving->command, "no memory");
    text_init(&text);
    text.size_max = PROOF_SIZE_MAX;
    int code = anchor_trust_open(&trust, proving->key, dir, &error);
    if (code == 0)
        code = proof_make(proof, dir, seq, &error);
    if (code == 0 && (code = proof_check(proof, &trust, &record, &error)) < 0)
        error_wrap(&error, code, "%s is not what was signed (daa-log verify --anchor)", dir);
    if (code == 0) {
        proof_to_json(proof, &text);
        text_add(&text, "\n", 1);
        code = text.failed < 0
                   ? error_set(&error, text.failed, "the proof: %s", error_text(text.failed))
                   : write_text(&text, proving->output, &error);
    }
    proof_free(proof);
    free(proof);
    text_free(&text);
    return code == 0 ? COMMAND_GOOD : command_failed_error(proving->command, &error);
}

/*--- Checking one ------------------------------------------------------------------------------*/

static int read_text(const char *path, struct text *text, struct error *error)
{
    char buffer[65536];
    size_t size;
    FILE *in = fopen(path, "re");
    if (in == NULL)
        return error_set(error, -errno, "cannot open %s: %s", path, strerror(errno));
    text->size_max = PROOF_SIZE_MAX;
    while ((size = fread(buffer, 1, sizeof buffer, in)) > 0)
        text_add(text, buffer, size);
    int code = ferror(in) ? -errno : text->failed;
    fclose(in);
    return code < 0 ? error_set(error, code, "cannot read %s: %s", path, error_text(code)) : 0;
}

static void print_checked(struct proving *proving, const struct proof *proof,
                          const struct anchor_trust *trust, const struct record *record)
{
    struct printer printer;
    struct text text;
    char uuid[UUID_TEXT_SIZE];
    uuid_to_text(uuid, proof->anchor.log_uuid);
    text_init(&text);
    if (!proving->json) {
        text_json_time(&text, NULL, proof->anchor.signed_ns);
        printf("event %" PRIu64 " was in log %s, as it is here, when its head was signed at %.*s, ",
               record->seq, uuid, (int)text.size - 2, text.bytes + 1);
        text_clear(&text);
        anchor_trust_to_text(trust, &text);
        printf("%s\n", text_string(&text));
    }
    printer_begin(&printer, proving->json, &proving->keys);
    (void)printer_event(&printer, record);
    printer_end(&printer);
    text_free(&text);
}

static int check(struct proving *proving, const char *path)
{
    struct proof *proof = calloc(1, sizeof *proof);
    struct anchor_trust trust;
    struct record record;
    struct error error;
    struct text text;
    if (proof == NULL)
        return command_failed(proving->command, "no memory");
    text_init(&text);
    int code = anchor_trust_open(&trust, proving->key, NULL, &error);
    if (code == 0)
        code = read_text(path, &text, &error);
    if (code == 0 && ((code = proof_of_json(proof, text_span(&text), &error)) < 0 ||
                      (code = proof_check(proof, &trust, &record, &error)) < 0))
        error_wrap(&error, code, "%s", path);
    if (code == 0)
        print_checked(proving, proof, &trust, &record);
    proof_free(proof);
    free(proof);
    text_free(&text);
    return code == 0 ? COMMAND_GOOD : command_failed_error(proving->command, &error);
}

int log_prove(int argc, char **argv)
{
    struct proving proving = { .json = false };
    const struct command_option options[] = {
        { "output", 'o', "FILE", COMMAND_TEXT, &proving.output, "write the proof to it" },
        { "check", 0, NULL, COMMAND_FLAG, &proving.check,
          "check a proof, without the log, and print its event" },
        { "key", 0, "FILE", COMMAND_TEXT, &proving.key,
          "the public key (PEM) that must have signed it" },
        { "json", 'j', NULL, COMMAND_FLAG, &proving.json, "with --check: print the event as JSON" },
        { "keys", 0, "KEYS", COMMAND_TEXT, &proving.keys.keys_dir,
          "with --check: the directory of the keys of encrypted events" },
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-log prove",
        .purpose = "Write a proof, in JSON, that an event is in a log as the agent signed it: it\n"
                   "needs neither the log nor its other events to be checked. Or check one.",
        .arguments = "SEQ DIR | --check FILE",
        .arguments_min = 1,
        .arguments_max = 2,
        .options = options,
        .shared = log_options,
        .notes = "Exit status: 0 proven; 1 not; 2 wrong usage.",
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    proving.command = &command;
    if (proving.check && (argc - first != 1 || proving.output != NULL))
        return command_misused(&command, "--check takes one FILE, and no --output");
    if (!proving.check && proving.keys.keys_dir != NULL)
        return command_misused(&command, "--keys is of --check, which is not given");
    if (proving.check) {
        status = decryption_begin(&proving.keys, &command, NULL);
        if (status == COMMAND_GO_ON)
            status = check(&proving, argv[first]);
        decryption_end(&proving.keys);
        return status;
    }
    char *end;
    uint64_t seq = strtoull(argv[first], &end, 10);
    if (argc - first != 2 || *argv[first] < '1' || *argv[first] > '9' || *end != '\0')
        return command_misused(&command, "expected the sequence number of an event, and DIR");
    return make(&proving, seq, argv[first + 1]);
}
