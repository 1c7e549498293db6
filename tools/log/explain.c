/* daa-log explain: where an event lies, byte by byte, what its chain is made of, and what became of
 * it elsewhere. */
#include "tools/log/explain.h"

#include "core/base/bytes.h"
#include "log/inventory.h"
#include "tools/log/dump.h"
#include "tools/log/tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAYLOAD_MAX 512u /* bytes of payload that are shown */

static unsigned long long big(uint64_t number)
{
    return number;
}

int explaining_open(struct explaining *explaining, uint64_t segment_no, struct error *error)
{
    struct error what = { 0 };
    explaining->source.fd = explaining->probe.fd = -1;
    int code = directory_open(&explaining->directory, explaining->dir, error);
    if (code < 0 || segment_no == 0)
        return code;
    ptrdiff_t index = directory_find(&explaining->directory, segment_no);
    if (index < 0)
        return error_set(error, ERROR_NOT_FOUND, "segment %llu was removed meanwhile",
                         big(segment_no));
    int state = directory_segment(&explaining->directory, (size_t)index, &explaining->source,
                                  &explaining->segment, &what);
    return state == SEGMENT_BEGUN ? 0
                                  : error_set(error, state < 0 ? state : ERROR_DAMAGED,
                                              "segment %llu: %s", big(segment_no), what.text);
}

void explaining_close(struct explaining *explaining)
{
    source_close(&explaining->source);
    source_close(&explaining->probe);
    directory_close(&explaining->directory);
}

/* An event and all that is said of it. */
struct subject {
    const struct record *record;
    const struct log_place *place;
    uint8_t *frame; /* all of it */
    struct frame_header header;
    struct chain_inputs chain;
    struct derived derived;
    struct explained_key key;
    char file[LOG_SEGMENT_NAME_SIZE];
    bool sealed; /* offsets are of what it unpacks to */
};

/*--- In words ----------------------------------------------------------------------------------*/

static void print_chain(const struct chain_inputs *chain)
{
    char before[65], body[65], after[65], from[64];
    if (!chain->computed) {
        printf("\nthis log has no chain\n");
        return;
    }
    bytes_to_hex(before, chain->before, SHA256_SIZE);
    bytes_to_hex(body, chain->body, SHA256_SIZE);
    bytes_to_hex(after, chain->after, SHA256_SIZE);
    snprintf(from, sizeof from, "the segment's header");
    if (chain->before_offset != 0)
        snprintf(from, sizeof from, "the frame at 0x%llx", big(chain->before_offset));
    printf("\nits frame's chain: SHA-256 of\n");
    if (chain->known)
        printf("  %s  the chain before it, from %s\n", before, from);
    else
        printf("  %-64s  the chain before it: %s cannot be read\n", "?", from);
    printf("  %-64s  bytes 8 to 95 of its header\n", "");
    printf("  %s  SHA-256 of its body\n", body);
    printf("  gives %s: %s\n", after,
           !chain->known     ? "as it cannot be checked here, run daa-log verify"
           : chain->verified ? "as the frame says"
                             : "the frame says otherwise");
}

static void print_derived(const struct derived *derived, const struct record *record)
{
    printf("\nderived from it\n");
    printf("  Postgres   daa.events      (log, seq) = (%s, %llu)\n", derived->log_uuid,
           big(record->seq));
    if (derived->workflow_row)
        printf("  Postgres   daa.workflows   (log, stream) = (%s, %llu), %s\n",
               derived->workflow_log, big(record->stream), derived->creates ? "made" : "changed");
    if (derived->workflow[0] != '\0')
        printf("  document   w%llu, workflow %s\n", big(record->stream), derived->workflow);
    if (derived->definition[0] != '\0')
        printf("  document   d%s\n", derived->definition);
    if (record->cause != 0)
        printf("\nit was led to by event %llu\n", big(record->cause));
}

static void print_subject(const struct explaining *explaining, const struct subject *subject)
{
    const struct record *record = subject->record;
    const struct log_place *place = subject->place;
    const uint8_t *bytes = subject->frame + (place->record_offset - place->frame_offset);
    uint64_t size = record->payload.size;
    struct dump dump;
    dump_begin(&dump, false, subject->file);
    printf("event %llu, %s: %s/%s, epoch %u\n", big(record->seq), kind_name(record->kind),
           explaining->directory.path, subject->file, place->epoch);
    if (subject->sealed)
        printf("it is sealed: offsets are those of the segment that it unpacks to\n");
    printf("\nits frame, at offset %llu, with events %llu to %llu\n", big(place->frame_offset),
           big(subject->header.first_seq), big(place->frame_last_seq));
    dump_fields(&dump, frame_fields, subject->frame, FRAME_HEADER_SIZE, place->frame_offset);
    printf("\nits record, at offset %llu\n", big(place->record_offset));
    dump_fields(&dump, record_fields, bytes, RECORD_HEADER_SIZE, place->record_offset);
    printf("\nits payload, %llu bytes\n", big(size));
    dump_bytes(&dump, "payload", bytes + RECORD_HEADER_SIZE,
               size < PAYLOAD_MAX ? size : PAYLOAD_MAX, place->record_offset + RECORD_HEADER_SIZE);
    if (size > PAYLOAD_MAX)
        printf("  ... %llu bytes more: daa-log hexdump --seq %llu\n", big(size - PAYLOAD_MAX),
               big(record->seq));
    explained_key_print(&subject->key);
    print_chain(&subject->chain);
    print_derived(&subject->derived, record);
    dump_end(&dump);
}

/*--- As JSON -----------------------------------------------------------------------------------*/

static void chain_to_json(struct text *text, const struct chain_inputs *chain)
{
    if (!chain->computed) {
        text_json_null(text, "chain");
        return;
    }
    text_json_open_object(text, "chain");
    if (chain->known)
        text_json_hex(text, "before", span_of(chain->before, SHA256_SIZE));
    else
        text_json_null(text, "before");
    text_json_unsigned(text, "before_offset", chain->before_offset);
    text_json_hex(text, "body", span_of(chain->body, SHA256_SIZE));
    text_json_hex(text, "after", span_of(chain->after, SHA256_SIZE));
    text_json_bool(text, "verified", chain->known && chain->verified);
    text_json_close_object(text);
}

static void derived_to_json(struct text *text, const struct derived *derived,
                            const struct record *record)
{
    char key[24], definition[sizeof derived->definition + 1];
    text_json_open_object(text, "derived");
    text_json_cstring(text, "log", derived->log_uuid);
    text_json_cstring(text, "workflow", derived->workflow[0] != '\0' ? derived->workflow : NULL);
    text_json_bool(text, "workflow_row", derived->workflow_row);
    text_json_open_array(text, "documents");
    snprintf(key, sizeof key, "w%llu", big(record->stream));
    snprintf(definition, sizeof definition, "d%s", derived->definition);
    if (derived->workflow[0] != '\0')
        text_json_cstring(text, NULL, key);
    if (derived->definition[0] != '\0')
        text_json_cstring(text, NULL, definition);
    text_json_close_array(text);
    text_json_close_object(text);
}

static void print_json(struct explaining *explaining, const struct subject *subject)
{
    struct printer printer;
    struct text text;
    text_init(&text);
    printer_begin(&printer, true, &explaining->keys);
    text_json_open_object(&text, NULL);
    text_json_raw(&text, "event", span_of_text(printer_line(&printer, subject->record)));
    text_json_cstring(&text, "file", subject->file);
    text_json_bool(&text, "sealed", subject->sealed);
    text_json_unsigned(&text, "epoch", subject->place->epoch);
    text_json_unsigned(&text, "frame_offset", subject->place->frame_offset);
    text_json_unsigned(&text, "frame_size", (uint64_t)subject->header.block_count * LOG_BLOCK_SIZE);
    text_json_unsigned(&text, "frame_first_seq", subject->header.first_seq);
    text_json_unsigned(&text, "frame_last_seq", subject->place->frame_last_seq);
    text_json_unsigned(&text, "record_offset", subject->place->record_offset);
    text_json_unsigned(&text, "record_size", record_size(subject->record->payload.size));
    explained_key_to_json(&subject->key, &text);
    chain_to_json(&text, &subject->chain);
    derived_to_json(&text, &subject->derived, subject->record);
    text_json_close_object(&text);
    printf("%s\n", text_string(&text));
    printer_end(&printer);
    text_free(&text);
}

/*--- The work ----------------------------------------------------------------------------------*/

/* The bytes of the frame, copied; NULL with the reason. */
static uint8_t *read_frame(struct explaining *explaining, uint64_t offset,
                           struct frame_header *header, struct error *error)
{
    const uint8_t *bytes;
    uint8_t *copy = NULL;
    int code = source_bytes(&explaining->source, offset, FRAME_HEADER_SIZE, &bytes);
    if (code == 0)
        code = frame_header_decode(bytes, header);
    uint64_t size = code == 0 ? (uint64_t)header->block_count * LOG_BLOCK_SIZE : 0;
    if (code == 0)
        code = source_bytes(&explaining->source, offset, size, &bytes);
    if (code == 0) {
        copy = malloc(size);
        code = copy == NULL ? -ENOMEM : 0;
    }
    if (copy != NULL)
        memcpy(copy, bytes, size);
    else
        error_set(error, code, "segment %llu, frame at offset %llu: %s",
                  big(explaining->segment.segment_no), big(offset), error_text(code));
    return copy;
}

static int explain(struct explaining *explaining, const struct record *record,
                   const struct log_place *place)
{
    struct error error = { 0 };
    struct subject subject = { .record = record, .place = place };
    int code = explaining_open(explaining, place->segment_no, &error);
    if (code == 0)
        subject.frame = read_frame(explaining, place->frame_offset, &subject.header, &error);
    if (subject.frame == NULL) {
        explaining_close(explaining);
        return command_failed_error(explaining->command, &error);
    }
    subject.sealed = inventory_file_name(&explaining->directory, place->segment_no, subject.file);
    chain_inputs_read(&subject.chain, explaining, subject.frame, &subject.header);
    explained_key_find(&subject.key, &explaining->keys, record);
    derived_find(&subject.derived, explaining->dir, record, place);
    if (explaining->json)
        print_json(explaining, &subject);
    else
        print_subject(explaining, &subject);
    free(subject.frame);
    explaining_close(explaining);
    bool wrong = subject.chain.computed && subject.chain.known && !subject.chain.verified;
    wrong |= subject.key.result == DECRYPTION_MISFIT;
    return wrong ? COMMAND_FAILED : COMMAND_GOOD;
}

static int explain_absent(struct explaining *explaining, struct log_reader *reader, uint64_t seq)
{
    uint64_t first = log_reader_first_seq(reader), last = log_reader_durable_seq(reader);
    struct error error;
    if (seq < first || seq > last)
        return command_failed(explaining->command,
                              "there is no event %llu; the log holds %llu to %llu", big(seq),
                              big(first), big(last));
    int code = explaining_open(explaining, 0, &error);
    int status = code < 0 ? command_failed_error(explaining->command, &error)
                          : explain_damage(explaining, seq);
    explaining_close(explaining);
    return status;
}

static int find_and_explain(struct explaining *explaining, uint64_t seq)
{
    struct log_reader *reader = open_reader(explaining->command, explaining->dir, true);
    struct record record;
    struct log_place place;
    struct error error;
    if (reader == NULL)
        return COMMAND_FAILED;
    int status, code = log_reader_get(reader, seq, &record, &place, &error);
    if (code == 1)
        status = explain(explaining, &record, &place);
    else if (code < 0)
        status = command_failed_error(explaining->command, &error);
    else
        status = explain_absent(explaining, reader, seq);
    log_reader_close(reader);
    return status;
}

int log_explain(int argc, char **argv)
{
    struct explaining explaining = { .json = false };
    struct tree_options tree = TREE_DEFAULTS;
    bool as_tree = false;
    const struct command_option options[] = {
        { "json", 'j', NULL, COMMAND_FLAG, &explaining.json, "print JSON" },
        { "tree", 't', NULL, COMMAND_FLAG, &as_tree,
          "show what led to the event, and what it led to, as a tree" },
        KEYS_OPTIONS(explaining.keys),
        TREE_OPTIONS(tree),
        { "limit", 'n', "COUNT", COMMAND_NUMBER, &tree.limit,
          "events that are looked at for the tree (100000; 0: all)" },
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-log explain",
        .purpose = "Show where an event lies: its file, frame and record, byte by byte; what its\n"
                   "chain is made of, what of it is encrypted, and what was derived from it. Of\n"
                   "one that is damaged, what happened to its bytes.",
        .arguments = "SEQ DIR",
        .arguments_min = 2,
        .arguments_max = 2,
        .options = options,
        .shared = log_options,
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    char *end;
    uint64_t seq = strtoull(argv[first], &end, 10);
    if (*argv[first] < '0' || *argv[first] > '9' || *end != '\0' || seq == 0)
        return command_misused(&command, "'%s' is not a sequence number", argv[first]);
    explaining.command = &command;
    explaining.dir = argv[first + 1];
    status = decryption_begin(&explaining.keys, &command, explaining.dir);
    if (status != COMMAND_GO_ON)
        return status;
    begin_paging(explaining.json);
    status = as_tree ? tree_of_event(&command, explaining.dir, seq, explaining.json,
                                     &explaining.keys, &tree)
                     : find_and_explain(&explaining, seq);
    decryption_end(&explaining.keys);
    return status;
}
