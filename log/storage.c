#include "log/storage.h"

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/error.h"

_Static_assert(OPENED_AT_VERDICT == OPENED_AT_VERSION + 2, "");
_Static_assert(OPENED_AT_EPOCH == OPENED_AT_VERDICT + 2, "");
_Static_assert(OPENED_AT_LOG_UUID == OPENED_AT_EPOCH + 4, "");
_Static_assert(OPENED_AT_PARENT_UUID == OPENED_AT_LOG_UUID + UUID_SIZE, "");
_Static_assert(OPENED_AT_PARENT_SEQ == OPENED_AT_PARENT_UUID + UUID_SIZE, "");
_Static_assert(OPENED_AT_PARENT_CHAIN == OPENED_AT_PARENT_SEQ + 8, "");
_Static_assert(OPENED_AT_PREV_SEGMENT_NO == OPENED_AT_PARENT_CHAIN + SHA256_SIZE, "");
_Static_assert(OPENED_AT_PREV_LAST_SEQ == OPENED_AT_PREV_SEGMENT_NO + 8, "");
_Static_assert(OPENED_AT_PREV_END_OFFSET == OPENED_AT_PREV_LAST_SEQ + 8, "");
_Static_assert(OPENED_AT_TAIL_BYTES == OPENED_AT_PREV_END_OFFSET + 8, "");
_Static_assert(OPENED_AT_EVENTS_MAX == OPENED_AT_TAIL_BYTES + 8, "");
_Static_assert(OPENED_AT_BOOT_ID == OPENED_AT_EVENTS_MAX + 8, "");
_Static_assert(OPENED_AT_SYNC_MODE == OPENED_AT_BOOT_ID + 16, "");
_Static_assert(OPENED_AT_ENGINE == OPENED_AT_SYNC_MODE + 1, "");
_Static_assert(OPENED_AT_REASON_SIZE == OPENED_AT_ENGINE + 1, "");
_Static_assert(OPENED_AT_REASON == OPENED_AT_REASON_SIZE + 2, "");
_Static_assert(SEALED_AT_BLOCK_COUNT == SEALED_AT_VERSION + 4, "two reserved bytes between");
_Static_assert(SEALED_AT_FIRST_SEQ == SEALED_AT_BLOCK_COUNT + 4, "");
_Static_assert(SEALED_AT_LAST_SEQ == SEALED_AT_FIRST_SEQ + 8, "");
_Static_assert(SEALED_AT_RECORD_COUNT == SEALED_AT_LAST_SEQ + 8, "");
_Static_assert(SEALED_AT_FRAME_COUNT == SEALED_AT_RECORD_COUNT + 8, "");
_Static_assert(SEALED_AT_PAYLOAD_BYTES == SEALED_AT_FRAME_COUNT + 8, "");
_Static_assert(SEALED_AT_MIN_TIME_NS == SEALED_AT_PAYLOAD_BYTES + 8, "");
_Static_assert(SEALED_AT_MAX_TIME_NS == SEALED_AT_MIN_TIME_NS + 8, "");
_Static_assert(SEALED_AT_INDEX == SEALED_AT_MAX_TIME_NS + 8, "");
_Static_assert(FAILOVER_AT_COUNT == FAILOVER_AT_VERSION + 2, "");
_Static_assert(FAILOVER_AT_EPOCH == FAILOVER_AT_COUNT + 2, "");
_Static_assert(FAILOVER_AT_FAILED_NO == FAILOVER_AT_EPOCH + 4, "");
_Static_assert(FAILOVER_AT_SEGMENT_NO == FAILOVER_AT_FAILED_NO + 8, "");
_Static_assert(FAILOVER_AT_PREV_SEGMENT_NO == FAILOVER_AT_SEGMENT_NO + 8, "");
_Static_assert(FAILOVER_AT_PREV_LAST_SEQ == FAILOVER_AT_PREV_SEGMENT_NO + 8, "");
_Static_assert(FAILOVER_AT_PREV_END_OFFSET == FAILOVER_AT_PREV_LAST_SEQ + 8, "");
_Static_assert(FAILOVER_AT_FRAMES == FAILOVER_AT_PREV_END_OFFSET + 8, "");
_Static_assert(FAILOVER_AT_RECORDS == FAILOVER_AT_FRAMES + 8, "");
_Static_assert(FAILOVER_AT_REASON_SIZE == FAILOVER_AT_RECORDS + 8, "");
_Static_assert(FAILOVER_AT_REASON == FAILOVER_AT_REASON_SIZE + 2, "");

enum { PAYLOAD_VERSION = 1 };

size_t storage_opened_size(const struct storage_opened *opened)
{
    return OPENED_AT_REASON + opened->reason.size;
}

void storage_opened_encode(uint8_t *target, const struct storage_opened *opened)
{
    CHECK(opened->reason.size <= OPENED_REASON_SIZE_MAX);
    bytes_put_u16(target + OPENED_AT_VERSION, PAYLOAD_VERSION);
    bytes_put_u16(target + OPENED_AT_VERDICT, opened->verdict);
    bytes_put_u32(target + OPENED_AT_EPOCH, opened->epoch);
    memcpy(target + OPENED_AT_LOG_UUID, opened->log_uuid, UUID_SIZE);
    memcpy(target + OPENED_AT_PARENT_UUID, opened->parent_uuid, UUID_SIZE);
    bytes_put_u64(target + OPENED_AT_PARENT_SEQ, opened->parent_seq);
    memcpy(target + OPENED_AT_PARENT_CHAIN, opened->parent_chain, SHA256_SIZE);
    bytes_put_u64(target + OPENED_AT_PREV_SEGMENT_NO, opened->prev_segment_no);
    bytes_put_u64(target + OPENED_AT_PREV_LAST_SEQ, opened->prev_last_seq);
    bytes_put_u64(target + OPENED_AT_PREV_END_OFFSET, opened->prev_end_offset);
    bytes_put_u64(target + OPENED_AT_TAIL_BYTES, opened->tail_bytes);
    bytes_put_u64(target + OPENED_AT_EVENTS_MAX, opened->events_max);
    memcpy(target + OPENED_AT_BOOT_ID, opened->boot_id, 16);
    target[OPENED_AT_SYNC_MODE] = opened->sync_mode;
    target[OPENED_AT_ENGINE] = opened->engine;
    bytes_put_u16(target + OPENED_AT_REASON_SIZE, (uint16_t)opened->reason.size);
    if (opened->reason.size > 0)
        memcpy(target + OPENED_AT_REASON, opened->reason.bytes, opened->reason.size);
}

static bool opened_agrees(struct span payload)
{
    if (payload.size < OPENED_AT_REASON)
        return false;
    const uint8_t *source = payload.bytes;
    size_t reason_size = bytes_get_u16(source + OPENED_AT_REASON_SIZE);
    return bytes_get_u16(source + OPENED_AT_VERSION) == PAYLOAD_VERSION &&
           bytes_get_u16(source + OPENED_AT_VERDICT) <= LOG_UNPROVEN &&
           reason_size <= OPENED_REASON_SIZE_MAX && payload.size == OPENED_AT_REASON + reason_size;
}

int storage_opened_decode(struct span payload, struct storage_opened *opened)
{
    if (!opened_agrees(payload))
        return ERROR_DAMAGED;
    const uint8_t *source = payload.bytes;
    *opened = (struct storage_opened){
        .verdict = bytes_get_u16(source + OPENED_AT_VERDICT),
        .epoch = bytes_get_u32(source + OPENED_AT_EPOCH),
        .parent_seq = bytes_get_u64(source + OPENED_AT_PARENT_SEQ),
        .prev_segment_no = bytes_get_u64(source + OPENED_AT_PREV_SEGMENT_NO),
        .prev_last_seq = bytes_get_u64(source + OPENED_AT_PREV_LAST_SEQ),
        .prev_end_offset = bytes_get_u64(source + OPENED_AT_PREV_END_OFFSET),
        .tail_bytes = bytes_get_u64(source + OPENED_AT_TAIL_BYTES),
        .events_max = bytes_get_u64(source + OPENED_AT_EVENTS_MAX),
        .sync_mode = source[OPENED_AT_SYNC_MODE],
        .engine = source[OPENED_AT_ENGINE],
        .reason = span_of(source + OPENED_AT_REASON, payload.size - OPENED_AT_REASON),
    };
    memcpy(opened->log_uuid, source + OPENED_AT_LOG_UUID, UUID_SIZE);
    memcpy(opened->parent_uuid, source + OPENED_AT_PARENT_UUID, UUID_SIZE);
    memcpy(opened->parent_chain, source + OPENED_AT_PARENT_CHAIN, SHA256_SIZE);
    memcpy(opened->boot_id, source + OPENED_AT_BOOT_ID, 16);
    return 0;
}

void storage_sealed_encode(uint8_t *target, const struct storage_sealed *sealed)
{
    bytes_put_u32(target + SEALED_AT_VERSION, PAYLOAD_VERSION);
    bytes_put_u32(target + SEALED_AT_BLOCK_COUNT, sealed->block_count);
    bytes_put_u64(target + SEALED_AT_FIRST_SEQ, sealed->first_seq);
    bytes_put_u64(target + SEALED_AT_LAST_SEQ, sealed->last_seq);
    bytes_put_u64(target + SEALED_AT_RECORD_COUNT, sealed->record_count);
    bytes_put_u64(target + SEALED_AT_FRAME_COUNT, sealed->frame_count);
    bytes_put_u64(target + SEALED_AT_PAYLOAD_BYTES, sealed->payload_bytes);
    bytes_put_u64(target + SEALED_AT_MIN_TIME_NS, sealed->min_time_ns);
    bytes_put_u64(target + SEALED_AT_MAX_TIME_NS, sealed->max_time_ns);
    memcpy(target + SEALED_AT_INDEX, sealed->index,
           (size_t)sealed->block_count * SEALED_ENTRY_SIZE);
}

/* Each entry names a place in its block, or says that there is none. */
static bool entries_agree(const struct storage_sealed *sealed)
{
    for (uint32_t i = 0; i < sealed->block_count; i++) {
        uint16_t offset = bytes_get_u16(sealed->index + (size_t)i * SEALED_ENTRY_SIZE + 4);
        if (offset != SEALED_NO_RECORD && offset >= LOG_BLOCK_SIZE)
            return false;
    }
    return true;
}

int storage_sealed_decode(struct span payload, struct storage_sealed *sealed)
{
    const uint8_t *source = payload.bytes;
    /* The two bytes behind the version are reserved: 0. */
    if (payload.size < SEALED_AT_INDEX ||
        bytes_get_u32(source + SEALED_AT_VERSION) != PAYLOAD_VERSION)
        return ERROR_DAMAGED;
    *sealed = (struct storage_sealed){
        .first_seq = bytes_get_u64(source + SEALED_AT_FIRST_SEQ),
        .last_seq = bytes_get_u64(source + SEALED_AT_LAST_SEQ),
        .record_count = bytes_get_u64(source + SEALED_AT_RECORD_COUNT),
        .frame_count = bytes_get_u64(source + SEALED_AT_FRAME_COUNT),
        .payload_bytes = bytes_get_u64(source + SEALED_AT_PAYLOAD_BYTES),
        .min_time_ns = bytes_get_u64(source + SEALED_AT_MIN_TIME_NS),
        .max_time_ns = bytes_get_u64(source + SEALED_AT_MAX_TIME_NS),
        .block_count = bytes_get_u32(source + SEALED_AT_BLOCK_COUNT),
        .index = source + SEALED_AT_INDEX,
    };
    if (sealed->block_count > LOG_SEGMENT_SIZE_MAX / LOG_BLOCK_SIZE)
        return ERROR_DAMAGED;
    if (payload.size != storage_sealed_size(sealed->block_count) || !entries_agree(sealed))
        return ERROR_DAMAGED;
    return 0;
}

size_t storage_failover_size(const struct storage_failover *failover)
{
    return FAILOVER_AT_REASON + failover->reason.size;
}

void storage_failover_encode(uint8_t *target, const struct storage_failover *failover)
{
    CHECK(failover->reason.size <= FAILOVER_REASON_SIZE_MAX);
    bytes_put_u16(target + FAILOVER_AT_VERSION, PAYLOAD_VERSION);
    bytes_put_u16(target + FAILOVER_AT_COUNT, failover->count);
    bytes_put_u32(target + FAILOVER_AT_EPOCH, failover->epoch);
    bytes_put_u64(target + FAILOVER_AT_FAILED_NO, failover->failed_no);
    bytes_put_u64(target + FAILOVER_AT_SEGMENT_NO, failover->segment_no);
    bytes_put_u64(target + FAILOVER_AT_PREV_SEGMENT_NO, failover->prev_segment_no);
    bytes_put_u64(target + FAILOVER_AT_PREV_LAST_SEQ, failover->prev_last_seq);
    bytes_put_u64(target + FAILOVER_AT_PREV_END_OFFSET, failover->prev_end_offset);
    bytes_put_u64(target + FAILOVER_AT_FRAMES, failover->frames);
    bytes_put_u64(target + FAILOVER_AT_RECORDS, failover->records);
    bytes_put_u16(target + FAILOVER_AT_REASON_SIZE, (uint16_t)failover->reason.size);
    if (failover->reason.size > 0)
        memcpy(target + FAILOVER_AT_REASON, failover->reason.bytes, failover->reason.size);
}

int storage_failover_decode(struct span payload, struct storage_failover *failover)
{
    const uint8_t *source = payload.bytes;
    if (payload.size < FAILOVER_AT_REASON ||
        bytes_get_u16(source + FAILOVER_AT_VERSION) != PAYLOAD_VERSION)
        return ERROR_DAMAGED;
    size_t reason_size = bytes_get_u16(source + FAILOVER_AT_REASON_SIZE);
    if (reason_size > FAILOVER_REASON_SIZE_MAX || payload.size != FAILOVER_AT_REASON + reason_size)
        return ERROR_DAMAGED;
    *failover = (struct storage_failover){
        .count = bytes_get_u16(source + FAILOVER_AT_COUNT),
        .epoch = bytes_get_u32(source + FAILOVER_AT_EPOCH),
        .failed_no = bytes_get_u64(source + FAILOVER_AT_FAILED_NO),
        .segment_no = bytes_get_u64(source + FAILOVER_AT_SEGMENT_NO),
        .prev_segment_no = bytes_get_u64(source + FAILOVER_AT_PREV_SEGMENT_NO),
        .prev_last_seq = bytes_get_u64(source + FAILOVER_AT_PREV_LAST_SEQ),
        .prev_end_offset = bytes_get_u64(source + FAILOVER_AT_PREV_END_OFFSET),
        .frames = bytes_get_u64(source + FAILOVER_AT_FRAMES),
        .records = bytes_get_u64(source + FAILOVER_AT_RECORDS),
        .reason = span_of(source + FAILOVER_AT_REASON, reason_size),
    };
    return 0;
}

void storage_space_encode(uint8_t target[SPACE_SIZE], const struct storage_space *space)
{
    bytes_put_u16(target + SPACE_AT_VERSION, PAYLOAD_VERSION);
    target[SPACE_AT_BEFORE] = (uint8_t)space->before;
    target[SPACE_AT_STATE] = (uint8_t)space->state;
    bytes_put_u32(target + SPACE_AT_RESERVED, 0);
    bytes_put_u64(target + SPACE_AT_FREE_BYTES, space->free_bytes);
    bytes_put_u64(target + SPACE_AT_TOTAL_BYTES, space->total_bytes);
    bytes_put_u64(target + SPACE_AT_BALLAST_BYTES, space->ballast_bytes);
    bytes_put_u64(target + SPACE_AT_SPARES, space->spares);
}

int storage_space_decode(struct span payload, struct storage_space *space)
{
    const uint8_t *source = payload.bytes;
    if (payload.size != SPACE_SIZE || bytes_get_u16(source + SPACE_AT_VERSION) != PAYLOAD_VERSION ||
        source[SPACE_AT_BEFORE] > SPACE_FULL || source[SPACE_AT_STATE] > SPACE_FULL ||
        bytes_get_u32(source + SPACE_AT_RESERVED) != 0)
        return ERROR_DAMAGED;
    *space = (struct storage_space){
        .before = source[SPACE_AT_BEFORE],
        .state = source[SPACE_AT_STATE],
        .free_bytes = bytes_get_u64(source + SPACE_AT_FREE_BYTES),
        .total_bytes = bytes_get_u64(source + SPACE_AT_TOTAL_BYTES),
        .ballast_bytes = bytes_get_u64(source + SPACE_AT_BALLAST_BYTES),
        .spares = bytes_get_u64(source + SPACE_AT_SPARES),
    };
    return 0;
}

void storage_stalled_encode(uint8_t target[STALLED_SIZE], const struct storage_stalled *stalled)
{
    bytes_put_u32(target + STALLED_AT_VERSION, PAYLOAD_VERSION); /* and the reserved bytes */
    bytes_put_u32(target + STALLED_AT_COUNT, stalled->count);
    bytes_put_u64(target + STALLED_AT_LONGEST_NS, stalled->longest_ns);
}

int storage_stalled_decode(struct span payload, struct storage_stalled *stalled)
{
    const uint8_t *source = payload.bytes;
    if (payload.size != STALLED_SIZE ||
        bytes_get_u32(source + STALLED_AT_VERSION) != PAYLOAD_VERSION)
        return ERROR_DAMAGED;
    stalled->count = bytes_get_u32(source + STALLED_AT_COUNT);
    stalled->longest_ns = bytes_get_u64(source + STALLED_AT_LONGEST_NS);
    return 0;
}

const char *log_verdict_name(uint16_t verdict)
{
    static const char *const names[] = { [LOG_SOUND] = "sound",
                                         [LOG_DAMAGED] = "damaged",
                                         [LOG_TORN] = "torn",
                                         [LOG_UNPROVEN] = "unproven" };
    return verdict < sizeof names / sizeof names[0] ? names[verdict] : "unknown";
}

static void uuid_to_json(struct text *text, const char *key, const uint8_t uuid[UUID_SIZE])
{
    char name[UUID_TEXT_SIZE];
    uuid_to_text(name, uuid);
    text_json_cstring(text, key, name);
}

static const char *sync_mode_name(uint8_t mode)
{
    return mode == 1 ? "dsync" : mode == 2 ? "fdatasync" : "unknown";
}

static const char *engine_name(uint8_t engine)
{
    return engine == 1 ? "ring" : engine == 2 ? "plain" : "another";
}

static int opened_to_json(struct span payload, struct text *text)
{
    struct storage_opened opened;
    int status = storage_opened_decode(payload, &opened);
    if (status < 0)
        return status;
    text_json_cstring(text, "verdict", log_verdict_name(opened.verdict));
    text_json_unsigned(text, "epoch", opened.epoch);
    uuid_to_json(text, "log", opened.log_uuid);
    if (!bytes_are_zero(opened.parent_uuid, UUID_SIZE)) {
        uuid_to_json(text, "parent", opened.parent_uuid);
        text_json_unsigned(text, "parent_seq", opened.parent_seq);
        text_json_hex(text, "parent_chain", span_of(opened.parent_chain, SHA256_SIZE));
    }
    text_json_unsigned(text, "prev_segment_no", opened.prev_segment_no);
    text_json_unsigned(text, "prev_last_seq", opened.prev_last_seq);
    text_json_unsigned(text, "prev_end_offset", opened.prev_end_offset);
    text_json_unsigned(text, "tail_bytes", opened.tail_bytes);
    text_json_unsigned(text, "events_max", opened.events_max);
    uuid_to_json(text, "boot", opened.boot_id);
    text_json_cstring(text, "sync", sync_mode_name(opened.sync_mode));
    text_json_cstring(text, "engine", engine_name(opened.engine));
    text_json_string(text, "reason", opened.reason);
    return 0;
}

static int sealed_to_json(struct span payload, struct text *text)
{
    struct storage_sealed sealed;
    int status = storage_sealed_decode(payload, &sealed);
    if (status < 0)
        return status;
    text_json_unsigned(text, "first_seq", sealed.first_seq);
    text_json_unsigned(text, "last_seq", sealed.last_seq);
    text_json_unsigned(text, "records", sealed.record_count);
    text_json_unsigned(text, "frames", sealed.frame_count);
    text_json_unsigned(text, "payload_bytes", sealed.payload_bytes);
    text_json_unsigned(text, "blocks", sealed.block_count);
    text_json_time(text, "min_time", sealed.min_time_ns);
    text_json_time(text, "max_time", sealed.max_time_ns);
    return 0;
}

static int failover_to_json(struct span payload, struct text *text)
{
    struct storage_failover failover;
    int status = storage_failover_decode(payload, &failover);
    if (status < 0)
        return status;
    text_json_unsigned(text, "count", failover.count);
    text_json_unsigned(text, "epoch", failover.epoch);
    text_json_unsigned(text, "failed_segment_no", failover.failed_no);
    text_json_unsigned(text, "segment_no", failover.segment_no);
    text_json_unsigned(text, "prev_segment_no", failover.prev_segment_no);
    text_json_unsigned(text, "prev_last_seq", failover.prev_last_seq);
    text_json_unsigned(text, "prev_end_offset", failover.prev_end_offset);
    text_json_unsigned(text, "frames", failover.frames);
    text_json_unsigned(text, "records", failover.records);
    text_json_string(text, "reason", failover.reason);
    return 0;
}

static int space_to_json(struct span payload, struct text *text)
{
    struct storage_space space;
    int status = storage_space_decode(payload, &space);
    if (status < 0)
        return status;
    text_json_cstring(text, "state", space_state_name(space.state));
    text_json_cstring(text, "before", space_state_name(space.before));
    text_json_unsigned(text, "free_bytes", space.free_bytes);
    text_json_unsigned(text, "total_bytes", space.total_bytes);
    text_json_unsigned(text, "ballast_bytes", space.ballast_bytes);
    text_json_unsigned(text, "spares", space.spares);
    return 0;
}

static int stalled_to_json(struct span payload, struct text *text)
{
    struct storage_stalled stalled;
    int status = storage_stalled_decode(payload, &stalled);
    if (status < 0)
        return status;
    text_json_unsigned(text, "count", stalled.count);
    text_json_unsigned(text, "longest_ns", stalled.longest_ns);
    return 0;
}

int storage_to_json(uint16_t kind, struct span payload, struct text *text)
{
    switch (kind) {
    case LOG_KIND_OPENED:
        return opened_to_json(payload, text);
    case LOG_KIND_SEALED:
    case LOG_KIND_CLOSED:
        return sealed_to_json(payload, text);
    case LOG_KIND_FAILOVER:
        return failover_to_json(payload, text);
    case LOG_KIND_SPACE:
        return space_to_json(payload, text);
    case LOG_KIND_STALLED:
        return stalled_to_json(payload, text);
    default:
        return ERROR_DAMAGED;
    }
}
