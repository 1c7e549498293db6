/* daa-log explain: the bytes of one event and of its frame's header, with their names. */
#include "core/base/bytes.h"
#include "iouring/file.h"
#include "log/frame.h"
#include "log/segment.h"
#include "tools/log/log.h"

#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DUMP_MAX 512u /* bytes of payload */

struct field {
    unsigned at, size;
    const char *name;
};

static const struct field frame_fields[] = {
    { FRAME_AT_MAGIC, 4, "magic" },
    { FRAME_AT_HEADER_CRC, 4, "header_crc" },
    { FRAME_AT_SALT, 8, "salt" },
    { FRAME_AT_FIRST_SEQ, 8, "first_seq" },
    { FRAME_AT_FILE_OFFSET, 8, "file_offset" },
    { FRAME_AT_RECORD_COUNT, 4, "record_count" },
    { FRAME_AT_BODY_SIZE, 4, "body_size" },
    { FRAME_AT_BLOCK_COUNT, 4, "block_count" },
    { FRAME_AT_EPOCH, 4, "epoch" },
    { FRAME_AT_DURABLE_SEQ, 8, "durable_seq" },
    { FRAME_AT_BASE_TIME_NS, 8, "base_time_ns" },
    { FRAME_AT_BODY_CRC, 4, "body_crc" },
    { FRAME_AT_FLAGS, 2, "flags" },
    { FRAME_AT_CODEC, 1, "codec" },
    { FRAME_AT_VERSION, 1, "version" },
    { FRAME_AT_RAW_SIZE, 4, "raw_size" },
    { FRAME_AT_PREV_BLOCKS, 4, "prev_blocks" },
    { FRAME_AT_PREV_LINK, 8, "prev_link" },
    { FRAME_AT_RESERVED, 8, "reserved" },
    { FRAME_AT_CHAIN, 32, "chain" },
    { .name = NULL },
};

static const struct field record_fields[] = {
    { RECORD_AT_SIZE, 4, "size" },
    { RECORD_AT_CRC, 4, "crc" },
    { RECORD_AT_SEQ, 8, "seq" },
    { RECORD_AT_STREAM, 8, "stream" },
    { RECORD_AT_TIME_NS, 8, "time_ns" },
    { RECORD_AT_KIND, 2, "kind" },
    { RECORD_AT_FLAGS, 2, "flags" },
    { RECORD_AT_PAYLOAD_SIZE, 4, "payload_size" },
    { RECORD_AT_CAUSE, 8, "cause" },
    { RECORD_AT_STREAM_PREV_SEQ, 8, "stream_prev_seq" },
    { RECORD_AT_KEY_ID, 4, "key_id" },
    { RECORD_AT_RESERVED, 4, "reserved" },
    { .name = NULL },
};

static unsigned long long big(uint64_t number)
{
    return number;
}

static uint64_t field_value(const uint8_t *bytes, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, bytes, size);
    return value;
}

static void print_fields(const struct field *fields, const uint8_t *bytes, uint64_t offset)
{
    for (; fields->name != NULL; fields++) {
        char hex[80];
        bytes_to_hex(hex, bytes + fields->at, fields->size);
        printf("  %10llx  %-64s %s", big(offset + fields->at), hex, fields->name);
        if (fields->size <= 8)
            printf(" = %llu", big(field_value(bytes + fields->at, fields->size)));
        putchar('\n');
    }
}

static void print_dump(const uint8_t *bytes, uint64_t size, uint64_t offset)
{
    for (uint64_t at = 0; at < size && at < DUMP_MAX; at += 16) {
        uint64_t count = size - at < 16 ? size - at : 16;
        printf("  %10llx ", big(offset + at));
        for (uint64_t i = 0; i < 16; i++)
            if (i < count)
                printf(" %02x", bytes[at + i]);
            else
                printf("   ");
        printf("  ");
        for (uint64_t i = 0; i < count; i++)
            putchar(isprint(bytes[at + i]) ? bytes[at + i] : '.');
        putchar('\n');
    }
    if (size > DUMP_MAX)
        printf("  ... %llu bytes more\n", big(size - DUMP_MAX));
}

static void name_file(char path[PATH_MAX], const char *dir, uint64_t segment_no)
{
    char name[LOG_SEGMENT_NAME_SIZE];
    struct stat status;
    segment_name(name, segment_no);
    snprintf(path, PATH_MAX, "%s/log/%s", dir, name);
    if (stat(path, &status) < 0)
        snprintf(path, PATH_MAX, "%s/%s", dir, name);
}

/* The bytes [offset, offset + size) of the file, past the page cache: the writer may be writing
 * it. The caller frees *buffer. */
static const uint8_t *read_bytes(const char *path, uint64_t offset, uint64_t size, void **buffer,
                                 struct error *error)
{
    bool direct;
    uint64_t start = offset / LOG_BLOCK_SIZE * LOG_BLOCK_SIZE;
    uint64_t blocks = (offset + size - start + LOG_BLOCK_SIZE - 1) / LOG_BLOCK_SIZE;
    int fd = file_open_direct(path, false, &direct, error);
    *buffer = fd < 0 ? NULL : file_aligned_buffer(blocks * LOG_BLOCK_SIZE);
    if (*buffer == NULL) {
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    int64_t got = file_read_at(fd, *buffer, blocks * LOG_BLOCK_SIZE, start);
    close(fd);
    if (got >= 0 && (uint64_t)got >= offset + size - start)
        return (const uint8_t *)*buffer + (offset - start);
    error_set(error, got < 0 ? (int)got : ERROR_TRUNCATED, "%s cannot be read at %llu", path,
              big(offset));
    return NULL;
}

static int explain(const struct command *command, const char *dir, const struct record *record,
                   const struct log_place *place)
{
    char path[PATH_MAX];
    void *frame = NULL, *own = NULL;
    struct error error = { 0 };
    uint64_t size = record_size(record->payload.size);
    int status = COMMAND_GOOD;
    name_file(path, dir, place->segment_no);
    const uint8_t *header =
        read_bytes(path, place->frame_offset, FRAME_HEADER_SIZE, &frame, &error);
    const uint8_t *bytes =
        header == NULL ? NULL : read_bytes(path, place->record_offset, size, &own, &error);
    if (bytes == NULL) {
        status = command_failed_error(command, &error);
    } else {
        printf("event %llu, %s: %s, epoch %u\n", big(record->seq), kind_name(record->kind), path,
               place->epoch);
        printf("\nits frame, at offset %llu\n", big(place->frame_offset));
        print_fields(frame_fields, header, place->frame_offset);
        printf("\nits record, at offset %llu\n", big(place->record_offset));
        print_fields(record_fields, bytes, place->record_offset);
        printf("\nits payload, %zu bytes\n", record->payload.size);
        print_dump(bytes + RECORD_HEADER_SIZE, record->payload.size,
                   place->record_offset + RECORD_HEADER_SIZE);
    }
    free(frame);
    free(own);
    return status;
}

static int find_and_explain(const struct command *command, const char *dir, uint64_t seq)
{
    struct log_reader *reader = open_reader(command, dir, true);
    struct record record;
    struct log_place place;
    struct error error;
    if (reader == NULL)
        return COMMAND_FAILED;
    int status, code = log_reader_get(reader, seq, &record, &place, &error);
    if (code == 1)
        status = explain(command, dir, &record, &place);
    else if (code < 0)
        status = command_failed_error(command, &error);
    else
        status =
            command_failed(command, "there is no event %llu; the log holds %llu to %llu", big(seq),
                           big(log_reader_first_seq(reader)), big(log_reader_durable_seq(reader)));
    log_reader_close(reader);
    return status;
}

int log_explain(int argc, char **argv)
{
    const struct command_option options[] = { { .name = NULL } };
    const struct command command = {
        .name = "daa-log explain",
        .purpose = "Show where an event lies: its file, frame and record, byte by byte.",
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
    begin_paging(false);
    return find_and_explain(&command, argv[first + 1], seq);
}
