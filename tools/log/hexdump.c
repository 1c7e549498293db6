/* daa-log hexdump: the bytes of a segment with the names of their fields, and what is wrong. */
#include "core/base/bytes.h"
#include "log/diagnose.h"
#include "log/inventory.h"
#include "log/scan.h"
#include "log/sealed.h"
#include "log/storage.h"
#include "tools/log/dump.h"
#include "tools/log/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct hexdump {
    const struct command *command;
    struct directory directory;
    struct source source, probe;
    struct segment_header header;
    bool sealed;     /* what is shown is what the file unpacks to */
    bool has_header; /* of a segment that was begun: frames can be told from other bytes */
    struct dump dump;
    int status;
};

static unsigned long long big(uint64_t number)
{
    return number;
}

static void tell_damage(struct hexdump *h, uint64_t offset, uint64_t size, const char *what,
                        const char *diagnosis)
{
    char text[1024];
    h->status = COMMAND_FAILED;
    snprintf(text, sizeof text, "%.700s%s%s", what, *diagnosis != '\0' ? "; " : "", diagnosis);
    dump_damage(&h->dump, offset, size, text);
}

/*--- Records and frames ------------------------------------------------------------------------*/

/* The log's own payloads: `size` bytes have names, and what may follow them has not. */
static const struct {
    uint16_t kind;
    unsigned size;
    const struct field *fields;
} payloads[] = {
    { LOG_KIND_OPENED, OPENED_AT_REASON, opened_fields },
    { LOG_KIND_SEALED, SEALED_AT_INDEX, sealed_fields },
    { LOG_KIND_CLOSED, SEALED_AT_INDEX, sealed_fields },
    { LOG_KIND_FAILOVER, FAILOVER_AT_REASON, failover_fields },
    { LOG_KIND_SPACE, SPACE_SIZE, space_fields },
    { LOG_KIND_STALLED, STALLED_SIZE, stalled_fields },
};

static void dump_payload(struct hexdump *h, const struct record *record, uint64_t offset)
{
    const uint8_t *bytes = record->payload.bytes;
    uint64_t size = record->payload.size, named = 0;
    for (size_t i = 0; i < sizeof payloads / sizeof payloads[0]; i++) {
        if (record->kind != payloads[i].kind || size < payloads[i].size)
            continue;
        dump_fields(&h->dump, payloads[i].fields, bytes, size, offset);
        named = payloads[i].size;
    }
    dump_bytes(&h->dump, "payload", bytes + named, size - named, offset + named);
}

/* One record of a frame; returns its size, 0 when nothing behind it can be told apart. */
static uint64_t dump_record(struct hexdump *h, const uint8_t *bytes, uint64_t rest, uint64_t offset)
{
    struct record record;
    size_t size;
    if (record_view(span_of(bytes, rest), &record, &size) < 0) {
        char flip[DIAGNOSIS_TEXT_SIZE] = "";
        struct diagnosis found = diagnose_record(bytes, rest);
        if (found.kind == DIAGNOSIS_FLIPPED)
            diagnosis_describe_flip(&found, offset, flip);
        tell_damage(h, offset, rest, "the sizes of a record are wrong", flip);
        dump_bytes(&h->dump, "damaged", bytes, rest, offset);
        return 0;
    }
    dump_heading(&h->dump, "record", offset, size, "event %llu, %s", big(record.seq),
                 kind_name(record.kind));
    if (record_decode(span_of(bytes, rest), &record, &size) < 0) {
        char flip[DIAGNOSIS_TEXT_SIZE] = "";
        struct diagnosis found = diagnose_record(bytes, rest);
        if (found.kind == DIAGNOSIS_FLIPPED)
            diagnosis_describe_flip(&found, offset, flip);
        tell_damage(h, offset, size, "the record's checksum is wrong", flip);
    }
    dump_fields(&h->dump, record_fields, bytes, size, offset);
    dump_payload(h, &record, offset + RECORD_HEADER_SIZE);
    uint64_t end = RECORD_HEADER_SIZE + record.payload.size;
    dump_bytes(&h->dump, "padding", bytes + end, size - end, offset + end);
    return size;
}

static void dump_frame(struct hexdump *h, const uint8_t *bytes, const struct frame_header *frame,
                       uint64_t offset)
{
    uint64_t size = (uint64_t)frame->block_count * LOG_BLOCK_SIZE, at = FRAME_HEADER_SIZE;
    uint64_t end = FRAME_HEADER_SIZE + frame->body_size;
    char flags[64], diagnosis[DIAGNOSIS_TEXT_SIZE];
    const char *what;
    dump_flags(frame->flags, flags);
    dump_heading(&h->dump, "frame", offset, size, "events %llu to %llu, %s", big(frame->first_seq),
                 big(frame_last_seq(frame)), flags);
    if (frame_check(bytes, frame, &what) < 0) {
        char why[128];
        snprintf(why, sizeof why, "%s", what);
        (void)diagnose_place(&h->directory, &h->source, &h->probe, &h->header, offset, diagnosis);
        tell_damage(h, offset, size, why, diagnosis);
    }
    dump_fields(&h->dump, frame_fields, bytes, FRAME_HEADER_SIZE, offset);
    while (at < end) {
        uint64_t taken = dump_record(h, bytes + at, end - at, offset + at);
        if (taken == 0)
            return;
        at += taken;
    }
    if (size > end && !bytes_are_zero(bytes + end, size - end))
        dump_bytes(&h->dump, "padding", bytes + end, size - end, offset + end);
    else if (size > end)
        dump_heading(&h->dump, "padding", offset + end, size - end, "zeros");
}

/* A copy, since a diagnosis reads on in the same window; NULL: it cannot be read. */
static uint8_t *copy_bytes(struct hexdump *h, uint64_t offset, uint64_t size)
{
    const uint8_t *bytes;
    if (source_bytes(&h->source, offset, size, &bytes) < 0)
        return NULL;
    uint8_t *copy = malloc(size);
    if (copy != NULL)
        memcpy(copy, bytes, size);
    return copy;
}

/*--- Blocks ------------------------------------------------------------------------------------*/

/* The end of a run of blocks of zeros; `offset` itself when the block there holds anything. */
static uint64_t zeros_end(struct hexdump *h, uint64_t offset, uint64_t end)
{
    const uint8_t *bytes;
    while (offset < end) {
        uint64_t size = end - offset < LOG_BLOCK_SIZE ? end - offset : LOG_BLOCK_SIZE;
        if (source_bytes(&h->source, offset, size, &bytes) < 0 || !bytes_are_zero(bytes, size))
            break;
        offset += size;
    }
    return offset;
}

/* What is no frame of this place. */
static void dump_other(struct hexdump *h, uint64_t offset, uint64_t size)
{
    char diagnosis[DIAGNOSIS_TEXT_SIZE] = "";
    uint8_t *bytes = copy_bytes(h, offset, size);
    dump_heading(&h->dump, "block", offset, size, "%s", "");
    if (bytes == NULL) {
        tell_damage(h, offset, size, "it cannot be read", "");
        return;
    }
    if (h->has_header)
        (void)diagnose_place(&h->directory, &h->source, &h->probe, &h->header, offset, diagnosis);
    tell_damage(h, offset, size, "no frame that belongs here begins with it", diagnosis);
    dump_bytes(&h->dump, "block", bytes, size, offset);
    free(bytes);
}

/* Shows what begins at `offset`; returns where the next thing does. */
static uint64_t dump_next(struct hexdump *h, uint64_t offset)
{
    struct frame_header frame;
    const uint8_t *head;
    uint64_t end = h->source.size, after = zeros_end(h, offset, end);
    if (after > offset) {
        dump_heading(&h->dump, "zeros", offset, after - offset, "%s", "");
        return after;
    }
    if (h->has_header && source_bytes(&h->source, offset, FRAME_HEADER_SIZE, &head) == 0 &&
        scan_header_is_ours(&h->header, offset, head, &frame)) {
        uint64_t size = (uint64_t)frame.block_count * LOG_BLOCK_SIZE;
        uint8_t *bytes = copy_bytes(h, offset, size);
        if (bytes != NULL) {
            dump_frame(h, bytes, &frame, offset);
            free(bytes);
            return offset + size;
        }
    }
    uint64_t size = end - offset < LOG_BLOCK_SIZE ? end - offset : LOG_BLOCK_SIZE;
    dump_other(h, offset, size);
    return offset + size;
}

/* Where the frame begins in which `offset` lies; its block if it lies in none. */
static uint64_t frame_around(struct hexdump *h, uint64_t offset)
{
    uint64_t block = offset / LOG_BLOCK_SIZE, blocks_max = LOG_FRAME_SIZE_MAX / LOG_BLOCK_SIZE;
    for (uint64_t back = 0; back < blocks_max && back < block; back++) {
        struct frame_header frame;
        const uint8_t *head;
        uint64_t at = (block - back) * LOG_BLOCK_SIZE;
        if (source_bytes(&h->source, at, FRAME_HEADER_SIZE, &head) == 0 &&
            scan_header_is_ours(&h->header, at, head, &frame))
            return frame.block_count > back ? at : block * LOG_BLOCK_SIZE;
    }
    return block * LOG_BLOCK_SIZE;
}

/*--- Segments ----------------------------------------------------------------------------------*/

/* A header that is damaged; with one flipped bit put right its frames can be told apart all the
 * same. */
static void tell_header(struct hexdump *h, const uint8_t *block, const char *what)
{
    uint8_t copy[LOG_BLOCK_SIZE];
    char flip[DIAGNOSIS_TEXT_SIZE] = "";
    struct diagnosis found = diagnose_segment_header(block);
    if (found.kind == DIAGNOSIS_FLIPPED) {
        diagnosis_describe_flip(&found, 0, flip);
        memcpy(copy, block, sizeof copy);
        copy[found.offset] ^= (uint8_t)(1u << found.bit);
        h->has_header = segment_header_decode(copy, &h->header, NULL) == 0;
    }
    tell_damage(h, 0, LOG_BLOCK_SIZE, what, flip);
}

static void dump_header(struct hexdump *h, int state, const char *what)
{
    const uint8_t *block;
    if (state == SEGMENT_SPARE)
        return;
    dump_heading(&h->dump, "segment header", 0, LOG_BLOCK_SIZE, "%s%s", h->dump.file,
                 h->sealed ? ", unpacked" : "");
    if (source_bytes(&h->source, 0, LOG_BLOCK_SIZE, &block) < 0) {
        tell_damage(h, 0, LOG_BLOCK_SIZE, *what != '\0' ? what : "it cannot be read", "");
        return;
    }
    if (!h->has_header)
        tell_header(h, block, what);
    dump_fields(&h->dump, segment_fields, block, LOG_BLOCK_SIZE, 0);
    dump_bytes(&h->dump, "reserved", block + SEGMENT_END_OF_FIELDS,
               LOG_BLOCK_SIZE - SEGMENT_END_OF_FIELDS, SEGMENT_END_OF_FIELDS);
}

static int dump_segment(struct hexdump *h, size_t index, uint64_t from, uint64_t size)
{
    char name[LOG_SEGMENT_NAME_SIZE];
    struct error what = { 0 };
    h->sealed = inventory_file_name(&h->directory, h->directory.segments[index], name);
    int state = directory_segment(&h->directory, index, &h->source, &h->header, &what);
    if (state < 0)
        return command_failed_error(h->command, &what);
    if (from >= h->source.size && from > 0)
        return command_failed(h->command, "%s has %" PRIu64 " bytes, none at %#" PRIx64, name,
                              h->source.size, from);
    h->has_header = state == SEGMENT_BEGUN;
    dump_begin(&h->dump, h->dump.json, name);
    h->dump.from = from;
    h->dump.to = size < UINT64_MAX - from ? from + size : UINT64_MAX;
    dump_header(h, state, what.text);
    h->source.sequential = true;
    uint64_t at = state == SEGMENT_SPARE ? 0 : LOG_BLOCK_SIZE;
    if (from > LOG_BLOCK_SIZE)
        at = h->has_header ? frame_around(h, from) : from / LOG_BLOCK_SIZE * LOG_BLOCK_SIZE;
    while (at < h->source.size && at < h->dump.to && !ferror(stdout))
        at = dump_next(h, at);
    dump_end(&h->dump);
    return h->status;
}

/*--- CHECKPOINT --------------------------------------------------------------------------------*/

static void dump_slot(struct hexdump *h, const uint8_t *block, uint64_t offset)
{
    struct checkpoint checkpoint;
    char flip[DIAGNOSIS_TEXT_SIZE] = "";
    int code = checkpoint_decode(block, &checkpoint);
    dump_heading(&h->dump, "slot", offset, LOG_BLOCK_SIZE, "%s", code == 1 ? "never written" : "");
    if (code < 0) {
        struct diagnosis found = diagnose_checkpoint(block);
        if (found.kind == DIAGNOSIS_FLIPPED)
            diagnosis_describe_flip(&found, offset, flip);
        tell_damage(h, offset, LOG_BLOCK_SIZE, "it is damaged, or was being written", flip);
    }
    dump_fields(&h->dump, checkpoint_fields, block, LOG_BLOCK_SIZE, offset);
    dump_bytes(&h->dump, "reserved", block + CHECKPOINT_END_OF_FIELDS,
               LOG_BLOCK_SIZE - CHECKPOINT_END_OF_FIELDS, offset + CHECKPOINT_END_OF_FIELDS);
}

static int dump_checkpoint(struct hexdump *h)
{
    struct error error = { 0 };
    const uint8_t *block;
    int code = source_reopen(&h->source, h->directory.path, LOG_CHECKPOINT_NAME, &error);
    if (code < 0)
        return command_failed_error(h->command, &error);
    dump_begin(&h->dump, h->dump.json, LOG_CHECKPOINT_NAME);
    for (uint64_t offset = 0; offset < 2ull * LOG_BLOCK_SIZE; offset += LOG_BLOCK_SIZE)
        if (source_bytes(&h->source, offset, LOG_BLOCK_SIZE, &block) == 0)
            dump_slot(h, block, offset);
        else
            tell_damage(h, offset, LOG_BLOCK_SIZE, "it cannot be read", "");
    dump_end(&h->dump);
    return h->status;
}

/*--- Places ------------------------------------------------------------------------------------*/

/* A number, also in hexadecimal; *text moves behind it. */
static bool take_number(const char **text, uint64_t *number)
{
    char *end;
    errno = 0;
    *number = strtoull(*text, &end, **text == '0' ? 0 : 10);
    if (**text < '0' || **text > '9' || errno != 0)
        return false;
    *text = end;
    return true;
}

/* What the segment's number is for CHECKPOINT. */
#define CHECKPOINT_PLACE UINT64_MAX

/* SEGMENT[:OFFSET[+SIZE]], the segment by its number or its file's name; or CHECKPOINT. */
static bool parse_place(const char *text, uint64_t *segment_no, uint64_t *from, uint64_t *size)
{
    char name[LOG_SEGMENT_NAME_SIZE];
    size_t length = strcspn(text, ":");
    *from = 0;
    *size = UINT64_MAX;
    if (strcmp(text, LOG_CHECKPOINT_NAME) == 0) {
        *segment_no = CHECKPOINT_PLACE;
        return true;
    }
    snprintf(name, sizeof name, "%.*s", (int)length, text);
    if (length < sizeof name &&
        (segment_no_of_name(name, segment_no) || sealed_no_of_name(name, segment_no)))
        text += length;
    else if (!take_number(&text, segment_no))
        return false;
    if (*text == '\0')
        return true;
    if (*text++ != ':' || !take_number(&text, from))
        return false;
    return *text == '\0' || (*text++ == '+' && take_number(&text, size) && *text == '\0');
}

/* The place of an event. */
static int find_event(const struct command *command, const char *dir, uint64_t seq,
                      struct log_place *place, uint64_t *size)
{
    struct log_reader *reader = open_reader(command, dir, true);
    struct record record;
    struct error error;
    if (reader == NULL)
        return COMMAND_FAILED;
    int status = COMMAND_GO_ON, found = log_reader_get(reader, seq, &record, place, &error);
    if (found < 0)
        status = command_failed_error(command, &error);
    else if (found == 0)
        status =
            command_failed(command, "there is no event %llu; the log holds %llu to %llu", big(seq),
                           big(log_reader_first_seq(reader)), big(log_reader_durable_seq(reader)));
    else
        *size = record_size(record.payload.size);
    log_reader_close(reader);
    return status;
}

static int dump_all(struct hexdump *h, uint64_t segment_no, uint64_t from, uint64_t size)
{
    if (segment_no == CHECKPOINT_PLACE)
        return dump_checkpoint(h);
    ptrdiff_t index = directory_find(&h->directory, segment_no);
    if (segment_no != 0 && index < 0)
        return command_failed(h->command, "there is no segment %llu in %s", big(segment_no),
                              h->directory.path);
    if (segment_no != 0)
        return dump_segment(h, (size_t)index, from, size);
    int status = COMMAND_GOOD;
    for (size_t i = 0; i < h->directory.count && !ferror(stdout); i++)
        if (dump_segment(h, i, 0, UINT64_MAX) != COMMAND_GOOD)
            status = COMMAND_FAILED;
    return status;
}

int log_hexdump(int argc, char **argv)
{
    struct hexdump h = { .source = { .fd = -1 }, .probe = { .fd = -1 } };
    uint64_t seq = 0, segment_no = 0, from = 0, size = UINT64_MAX;
    const struct command_option options[] = {
        { "json", 'j', NULL, COMMAND_FLAG, &h.dump.json, "print one JSON object a line" },
        { "seq", 0, "SEQ", COMMAND_NUMBER, &seq, "the bytes of this event" },
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-log hexdump",
        .purpose = "Show the bytes of a log with the names of their fields, and what is wrong "
                   "with them.",
        .arguments = "DIR [SEGMENT[:OFFSET[+SIZE]] | CHECKPOINT]",
        .arguments_min = 1,
        .arguments_max = 2,
        .options = options,
        .shared = log_options,
        .notes = "Numbers may be hexadecimal (0x1000). Without a segment all are shown.\n"
                 "Exit status: 1 when something shown is damaged.",
    };
    int first, status = command_parse(&command, argc, argv, &first);
    struct log_place place;
    struct error error;
    if (status != COMMAND_GO_ON)
        return status;
    if (argc - first == 2 && (seq != 0 || !parse_place(argv[first + 1], &segment_no, &from, &size)))
        return command_misused(&command,
                               "'%s' is not a place: write SEGMENT, SEGMENT:OFFSET, "
                               "SEGMENT:OFFSET+SIZE or CHECKPOINT, without --seq",
                               argv[first + 1]);
    h.command = &command;
    if (seq != 0) {
        status = find_event(&command, argv[first], seq, &place, &size);
        if (status != COMMAND_GO_ON)
            return status;
        segment_no = place.segment_no;
        from = place.record_offset;
    }
    if (directory_open(&h.directory, argv[first], &error) < 0)
        return command_failed_error(&command, &error);
    begin_paging(h.dump.json);
    status = h.directory.count == 0
                 ? command_failed(&command, "%s holds no segment of a log", argv[first])
                 : dump_all(&h, segment_no, from, size);
    source_close(&h.source);
    source_close(&h.probe);
    directory_close(&h.directory);
    return status;
}
