/* The payloads of the log's own records. */
#include "core/base/bytes.h"
#include "core/base/error.h"
#include "log/storage.h"
#include "tap.h"

#include <stdlib.h>

static uint8_t bytes[OPENED_AT_REASON + OPENED_REASON_SIZE_MAX];
/* What was decoded, encoded: memcmp() of structs would compare what is between their fields. */
static uint8_t again[sizeof bytes];

static struct storage_opened sample_opened(struct span reason)
{
    struct storage_opened opened = { .verdict = LOG_TORN,
                                     .epoch = 7,
                                     .prev_segment_no = 3,
                                     .prev_last_seq = 99,
                                     .prev_end_offset = 8192,
                                     .tail_bytes = 4096,
                                     .events_max = 12,
                                     .sync_mode = 1,
                                     .engine = 2,
                                     .reason = reason };
    memset(opened.log_uuid, 0x11, UUID_SIZE);
    memset(opened.boot_id, 0x22, 16);
    return opened;
}

static void opened_round_trips(void)
{
    char reason[OPENED_REASON_SIZE_MAX];
    memset(reason, 'r', sizeof reason);
    size_t sizes[] = { 0, 1, OPENED_REASON_SIZE_MAX };
    for (size_t i = 0; i < 3; i++) {
        struct storage_opened in = sample_opened(span_of(reason, sizes[i])), out;
        memset(in.parent_uuid, 0x33, UUID_SIZE);
        memset(in.parent_chain, 0x44, SHA256_SIZE);
        in.parent_seq = 5;
        storage_opened_encode(bytes, &in);
        size_t size = storage_opened_size(&in);
        is_int(storage_opened_decode(span_of(bytes, size), &out), 0,
               "storage.opened with a reason of %zu bytes comes back", sizes[i]);
        ok(span_equal(in.reason, out.reason), "with the reason");
        storage_opened_encode(again, &out);
        is_mem(again, bytes, size, "and all its fields");
    }
}

static void opened_refused(void)
{
    struct storage_opened in = sample_opened(span_of_text("torn")), out;
    storage_opened_encode(bytes, &in);
    size_t size = storage_opened_size(&in);
    size_t refused = 0;
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *copy = malloc(cut > 0 ? cut : 1);
        memcpy(copy, bytes, cut);
        refused += storage_opened_decode(span_of(copy, cut), &out) == ERROR_DAMAGED;
        free(copy);
    }
    is_int((intmax_t)refused, (intmax_t)size, "storage.opened is refused when cut at any length");
    is_int(storage_opened_decode(span_of(bytes, size + 1), &out), ERROR_DAMAGED,
           "and with a byte too much");
    bytes[OPENED_AT_VERDICT] = 4;
    is_int(storage_opened_decode(span_of(bytes, size), &out), ERROR_DAMAGED,
           "and with an unknown verdict");
    storage_opened_encode(bytes, &in);
    bytes[OPENED_AT_VERSION] = 2;
    is_int(storage_opened_decode(span_of(bytes, size), &out), ERROR_DAMAGED,
           "and with an unknown version");
}

static void sealed(void)
{
    uint8_t index[3 * SEALED_ENTRY_SIZE] = { 0, 0, 0, 0, 128, 0, 1, 0, 0, 0, 0xff, 0xff };
    struct storage_sealed in = { .first_seq = 10,
                                 .last_seq = 20,
                                 .record_count = 11,
                                 .frame_count = 3,
                                 .payload_bytes = 1234,
                                 .min_time_ns = 1,
                                 .max_time_ns = 2,
                                 .block_count = 3,
                                 .index = index };
    struct storage_sealed out;
    storage_sealed_encode(bytes, &in);
    size_t size = storage_sealed_size(3);
    is_int(storage_sealed_decode(span_of(bytes, size), &out), 0, "storage.sealed comes back");
    is_mem(out.index, index, sizeof index, "with its index");
    storage_sealed_encode(again, &out);
    is_mem(again, bytes, size, "and all its fields");
    size_t refused = 0;
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *copy = malloc(cut > 0 ? cut : 1);
        memcpy(copy, bytes, cut);
        refused += storage_sealed_decode(span_of(copy, cut), &out) == ERROR_DAMAGED;
        free(copy);
    }
    is_int((intmax_t)refused, (intmax_t)size, "it is refused when cut at any length");
    bytes_put_u32(bytes + SEALED_AT_BLOCK_COUNT, 0xffffffff);
    is_int(storage_sealed_decode(span_of(bytes, size), &out), ERROR_DAMAGED,
           "and with an index that no segment has");
    storage_sealed_encode(bytes, &in);
    bytes[SEALED_AT_VERSION + 2] = 1;
    is_int(storage_sealed_decode(span_of(bytes, size), &out), ERROR_DAMAGED,
           "and with reserved bytes in use");
    storage_sealed_encode(bytes, &in);
    bytes_put_u16(bytes + SEALED_AT_INDEX + SEALED_ENTRY_SIZE + 4, LOG_BLOCK_SIZE);
    is_int(storage_sealed_decode(span_of(bytes, size), &out), ERROR_DAMAGED,
           "and with an entry that names no place in its block");
}

static const char *json_of(uint16_t kind, struct span payload, struct text *text)
{
    text_clear(text);
    text_json_open_object(text, NULL);
    int status = storage_to_json(kind, payload, text);
    text_json_close_object(text);
    return status < 0 ? error_text(status) : text_string(text);
}

static void failover(void)
{
    struct storage_failover in = { .count = 2,
                                   .epoch = 9,
                                   .failed_no = 5,
                                   .segment_no = 6,
                                   .prev_segment_no = 4,
                                   .prev_last_seq = 77,
                                   .prev_end_offset = 12288,
                                   .frames = 3,
                                   .records = 8,
                                   .reason = span_of_text("a \"bad\" disk") };
    struct storage_failover out;
    struct text text;
    storage_failover_encode(bytes, &in);
    size_t size = storage_failover_size(&in);
    is_int(storage_failover_decode(span_of(bytes, size), &out), 0, "storage.failover comes back");
    ok(span_equal(out.reason, in.reason), "with its reason");
    storage_failover_encode(again, &out);
    is_mem(again, bytes, size, "and all its fields");
    size_t refused = 0;
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *copy = malloc(cut > 0 ? cut : 1);
        memcpy(copy, bytes, cut);
        refused += storage_failover_decode(span_of(copy, cut), &out) == ERROR_DAMAGED;
        free(copy);
    }
    is_int((intmax_t)refused, (intmax_t)size, "it is refused when cut at any length");
    is_int(storage_failover_decode(span_of(bytes, size + 1), &out), ERROR_DAMAGED,
           "and with a byte too much");
    text_init(&text);
    is_str(json_of(LOG_KIND_FAILOVER, span_of(bytes, size), &text),
           "{\"count\":2,\"epoch\":9,\"failed_segment_no\":5,\"segment_no\":6,"
           "\"prev_segment_no\":4,\"prev_last_seq\":77,\"prev_end_offset\":12288,\"frames\":3,"
           "\"records\":8,\"reason\":\"a \\\"bad\\\" disk\"}",
           "and shown as JSON");
    text_free(&text);
    bytes[FAILOVER_AT_VERSION] = 2;
    is_int(storage_failover_decode(span_of(bytes, size), &out), ERROR_DAMAGED,
           "an unknown version is refused");
}

static void json(void)
{
    struct text text;
    text_init(&text);
    struct storage_opened opened = sample_opened(span_of_text("a \"torn\" frame"));
    storage_opened_encode(bytes, &opened);
    is_str(json_of(LOG_KIND_OPENED, span_of(bytes, storage_opened_size(&opened)), &text),
           "{\"verdict\":\"torn\",\"epoch\":7,\"log\":\"11111111-1111-1111-1111-111111111111\","
           "\"prev_segment_no\":3,\"prev_last_seq\":99,\"prev_end_offset\":8192,"
           "\"tail_bytes\":4096,\"events_max\":12,"
           "\"boot\":\"22222222-2222-2222-2222-222222222222\",\"sync\":\"dsync\","
           "\"engine\":\"plain\",\"reason\":\"a \\\"torn\\\" frame\"}",
           "storage.opened is shown as JSON");
    is_str(json_of(LOG_KIND_SEALED, span_of(bytes, 3), &text), error_text(ERROR_DAMAGED),
           "a damaged payload is not");
    is_str(json_of(99, span_of(bytes, 3), &text), error_text(ERROR_DAMAGED),
           "nor a kind that is not the log's own");
    text_free(&text);
}

int main(void)
{
    opened_round_trips();
    opened_refused();
    sealed();
    failover();
    json();
    is_str(log_verdict_name(LOG_UNPROVEN), "unproven", "verdicts have names");
    is_str(log_verdict_name(77), "unknown", "also those that there are not");
    return tap_done();
}
