#include "tools/agent/state_position.h"

#include "core/base/bytes.h"

static const char key_applied_seq[] = "!applied_seq";
static const char key_log[] = "!log";
static const char key_mark[] = "!mark";
static const char key_version[] = "!version";

enum { MARK_SIZE = 8 + SHA256_SIZE };

/* An own key of the size that it has. 1, 0 not there or of another size, negative. */
static int get(struct kv_reader *reader, const char *key, size_t size, struct span *value)
{
    int found = kv_get(reader, span_of_text(key), value);
    return found == 1 && value->size != size ? 0 : found;
}

int state_position_read(struct kv_reader *reader, struct state_position *position)
{
    struct span value;
    *position = (struct state_position){ 0 };
    int found = get(reader, key_version, 4, &value);
    if (found == 1)
        position->version = bytes_get_u32(value.bytes);
    if (found >= 0)
        found = get(reader, key_log, 16, &value);
    if (found != 1)
        return found;
    memcpy(position->log_uuid, value.bytes, 16);
    found = get(reader, key_applied_seq, 8, &value);
    if (found == 1)
        position->applied_seq = bytes_get_u64(value.bytes);
    if (found >= 0)
        found = get(reader, key_mark, MARK_SIZE, &value);
    if (found == 1) {
        position->mark.seq = bytes_get_u64(value.bytes);
        memcpy(position->mark.chain, value.bytes + 8, SHA256_SIZE);
    }
    return found < 0 ? found : 0;
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
