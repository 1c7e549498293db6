#include "tools/agent/state_position.h"

#include "core/base/bytes.h"

static const char key_applied_seq[] = "!applied_seq";
static const char key_log[] = "!log";
static const char key_mark[] = "!mark";
static const char key_version[] = "!version";

enum { MARK_SIZE = 8 + SHA256_SIZE };

void state_position_read(struct kv_reader *reader, struct state_position *position)
{
    struct span value;
    *position = (struct state_position){ 0 };
    if (kv_get(reader, span_of_text(key_version), &value) == 1 && value.size == 4)
        position->version = bytes_get_u32(value.bytes);
    if (kv_get(reader, span_of_text(key_log), &value) != 1 || value.size != 16)
        return;
    memcpy(position->log_uuid, value.bytes, 16);
    if (kv_get(reader, span_of_text(key_applied_seq), &value) == 1 && value.size == 8)
        position->applied_seq = bytes_get_u64(value.bytes);
    if (kv_get(reader, span_of_text(key_mark), &value) == 1 && value.size == MARK_SIZE) {
        position->mark.seq = bytes_get_u64(value.bytes);
        memcpy(position->mark.chain, value.bytes + 8, SHA256_SIZE);
    }
}

void state_position_write(struct kv_writer *writer, const struct state_position *position)
{
    uint8_t seq[8], version[4], mark[MARK_SIZE];
    bytes_put_u64(seq, position->applied_seq);
    bytes_put_u32(version, position->version);
    kv_put(writer, span_of_text(key_applied_seq), span_of(seq, sizeof seq));
    kv_put(writer, span_of_text(key_version), span_of(version, sizeof version));
    kv_put(writer, span_of_text(key_log), span_of(position->log_uuid, 16));
    if (position->mark.seq == 0)
        return;
    bytes_put_u64(mark, position->mark.seq);
    memcpy(mark + 8, position->mark.chain, SHA256_SIZE);
    kv_put(writer, span_of_text(key_mark), span_of(mark, sizeof mark));
}
