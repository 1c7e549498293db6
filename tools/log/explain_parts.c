#include "core/base/bytes.h"
#include "core/event/projection.h"
#include "log/diagnose.h"
#include "log/inventory.h"
#include "log/lineage.h"
#include "tools/log/explain.h"

#include <string.h>

#define MEMORY_MAX (64u << 20) /* to unpack one event */

static unsigned long long big(uint64_t number)
{
    return number;
}

/*--- The chain ---------------------------------------------------------------------------------*/

/* The chain before the frame: that of the frame before it, or the segment's. */
static void read_before(struct chain_inputs *inputs, struct explaining *explaining,
                        const struct frame_header *header)
{
    struct frame_header before;
    const uint8_t *bytes;
    uint64_t back = (uint64_t)header->prev_blocks * LOG_BLOCK_SIZE;
    if (back == 0) {
        inputs->known = true;
        memcpy(inputs->before, explaining->segment.prev_chain, SHA256_SIZE);
        return;
    }
    inputs->before_offset = back < header->file_offset ? header->file_offset - back : 0;
    inputs->known =
        source_bytes(&explaining->source, inputs->before_offset, FRAME_HEADER_SIZE, &bytes) == 0 &&
        scan_header_is_ours(&explaining->segment, inputs->before_offset, bytes, &before) &&
        before.block_count == header->prev_blocks;
    if (inputs->known)
        memcpy(inputs->before, before.chain, SHA256_SIZE);
}

void chain_inputs_read(struct chain_inputs *inputs, struct explaining *explaining,
                       const uint8_t *frame, const struct frame_header *header)
{
    *inputs = (struct chain_inputs){ .computed = header->flags & FRAME_CHAIN };
    if (!inputs->computed)
        return;
    read_before(inputs, explaining, header);
    sha256_of(inputs->body, frame + FRAME_HEADER_SIZE,
              (uint64_t)header->block_count * LOG_BLOCK_SIZE - FRAME_HEADER_SIZE);
    frame_chain(inputs->after, inputs->before, frame, header);
    inputs->verified = memcmp(inputs->after, header->chain, SHA256_SIZE) == 0;
}

/*--- What was derived --------------------------------------------------------------------------*/

/* Kinds that are about the workflow that is their stream: see the numbers in event.proto. */
static bool is_of_workflow(const struct record *record)
{
    return record->stream != 0 && record->kind >= DAA__EVENT__BODY_WORKFLOW_SUBMITTED &&
           record->kind < DAA__EVENT__BODY_CLOCK_STEPPED;
}

static void derive_from_body(struct derived *derived, const struct record *record)
{
    struct budget budget;
    struct arena arena;
    struct workflow_row row;
    Daa__Event *event;
    struct event_header header = { .seq = record->seq,
                                   .stream = record->stream,
                                   .time_ns = record->time_ns,
                                   .cause = record->cause,
                                   .kind = record->kind };
    budget_init(&budget, MEMORY_MAX);
    arena_init(&arena, &budget, BUDGET_READERS, 4096);
    if (event_unpack(record->kind, record->payload, &arena, &event) == 0) {
        derived->workflow_row = projection_workflow(&header, event, &row) == 1;
        derived->creates = derived->workflow_row && row.created;
        if (record->kind == DAA__EVENT__BODY_DEFINITION_INSTALLED &&
            event->definition_installed->digest.len == SHA256_SIZE)
            bytes_to_hex(derived->definition, event->definition_installed->digest.data,
                         SHA256_SIZE);
    }
    arena_free(&arena);
}

void derived_find(struct derived *derived, const char *dir, const struct record *record,
                  const struct log_place *place)
{
    struct log_lineage names;
    struct lineage ids;
    struct error ignored;
    *derived = (struct derived){ .log_uuid = "" };
    uuid_to_text(derived->log_uuid, place->log_uuid);
    if (record->kind > LOG_KIND_OWN_MAX)
        derive_from_body(derived, record);
    if (!is_of_workflow(record) || log_lineage_read(&names, dir, &ignored) < 0)
        return;
    log_lineage_ids(&names, &ids);
    log_lineage_free(&names);
    lineage_id_to_text(derived->workflow, &ids, record->stream);
    uuid_to_text(derived->workflow_log, lineage_uuid(&ids, record->stream));
}

/*--- Damage ------------------------------------------------------------------------------------*/

/* The segment in which the event should be, open: 1, or 0 when none of those that can be read
 * begins before it. */
static int open_segment_of(struct explaining *explaining, uint64_t seq, size_t *index)
{
    struct segment_header header;
    struct error ignored;
    for (size_t i = explaining->directory.count; i-- > 0;)
        if (directory_segment(&explaining->directory, i, &explaining->source, &header, &ignored) ==
                SEGMENT_BEGUN &&
            header.first_seq <= seq) {
            explaining->segment = header;
            *index = i;
            return 1;
        }
    return 0;
}

/* The next whole frame behind the scan's place; *offset is the scan's limit when there is none. */
static bool find_resume(struct scan *scan, uint64_t *offset, struct frame_header *frame)
{
    const uint8_t *bytes;
    const char *what;
    for (*offset = scan->here.end_offset + LOG_BLOCK_SIZE; *offset < scan->limit;
         *offset += LOG_BLOCK_SIZE) {
        if (source_bytes(scan->source, *offset, FRAME_HEADER_SIZE, &bytes) < 0 ||
            !scan_header_is_ours(&scan->header, *offset, bytes, frame) ||
            frame->first_seq <= scan->here.last_seq)
            continue;
        uint64_t size = (uint64_t)frame->block_count * LOG_BLOCK_SIZE;
        if (source_bytes(scan->source, *offset, size, &bytes) == 0 &&
            frame_check(bytes, frame, &what) == 0)
            return true;
    }
    return false;
}

/* Walks to the damage that holds `seq`. True with the reason, and where the log goes on: at *end
 * behind *last_seq (0: not in this segment). */
static bool walk_to_damage(struct scan *scan, uint64_t seq, char why[128], uint64_t *end,
                           uint64_t *last_seq)
{
    struct frame_header frame;
    const uint8_t *bytes;
    for (;;) {
        int result = scan_next(scan, &frame, &bytes);
        if (result == SCAN_FRAME && scan->here.last_seq < seq)
            continue;
        if (result == SCAN_FRAME || result == SCAN_END)
            return false;
        snprintf(why, 128, "%s", result == SCAN_BAD ? scan->what : error_text(result));
        bool found = find_resume(scan, end, &frame);
        *last_seq = found ? frame.first_seq - 1 : 0;
        if (!found || frame.first_seq > seq)
            return true;
        scan->here.end_offset = *end;
        scan->here.last_seq = frame.first_seq - 1;
        scan->here.blocks = frame.prev_blocks;
        scan->here.link_known = scan->here.chain_known = false;
        scan->in_run = (frame.flags & FRAME_TXN) && !(frame.flags & FRAME_TXN_BEGIN);
    }
}

static void tell_damage(struct explaining *explaining, uint64_t seq, const struct scan *scan,
                        const char *why, uint64_t end, uint64_t last_seq)
{
    char name[LOG_SEGMENT_NAME_SIZE], diagnosis[DIAGNOSIS_TEXT_SIZE];
    uint64_t offset = scan->here.end_offset, first_seq = scan->here.last_seq + 1;
    struct diagnosis found =
        diagnose_place(&explaining->directory, &explaining->source, &explaining->probe,
                       &explaining->segment, offset, diagnosis);
    (void)inventory_file_name(&explaining->directory, explaining->segment.segment_no, name);
    if (!explaining->json) {
        printf("event %llu is damaged: in %s the frame at offset %llu, where event %llu should "
               "stand, is wrong (%s)\n",
               big(seq), name, big(offset), big(first_seq), why);
        if (last_seq != 0)
            printf("  the log goes on at offset %llu behind event %llu\n", big(end), big(last_seq));
        if (diagnosis[0] != '\0')
            printf("  %s\n", diagnosis);
        printf("  its bytes: daa-log hexdump %s %llu:0x%llx\n", explaining->dir,
               big(explaining->segment.segment_no), big(offset));
        return;
    }
    struct text text;
    text_init(&text);
    text_json_open_object(&text, NULL);
    text_json_unsigned(&text, "seq", seq);
    text_json_cstring(&text, "damaged", why);
    text_json_cstring(&text, "file", name);
    text_json_unsigned(&text, "offset", offset);
    text_json_unsigned(&text, "first_seq", first_seq);
    text_json_unsigned(&text, "last_seq", last_seq);
    text_json_cstring(&text, "diagnosis", diagnosis[0] != '\0' ? diagnosis : NULL);
    if (found.kind == DIAGNOSIS_FLIPPED) {
        text_json_open_object(&text, "flipped");
        text_json_unsigned(&text, "offset", offset + found.offset);
        text_json_unsigned(&text, "bit", found.bit);
        text_json_close_object(&text);
    }
    text_json_close_object(&text);
    printf("%s\n", text_string(&text));
    text_free(&text);
}

int explain_damage(struct explaining *explaining, uint64_t seq)
{
    struct scan scan;
    size_t index;
    uint64_t end, last_seq;
    char why[128];
    if (open_segment_of(explaining, seq, &index) == 0)
        return command_failed(explaining->command,
                              "event %llu cannot be read, nor the header of its segment: run "
                              "daa-log verify %s",
                              big(seq), explaining->dir);
    scan_begin(&scan, &explaining->source, &explaining->segment);
    if (walk_to_damage(&scan, seq, why, &end, &last_seq)) {
        tell_damage(explaining, seq, &scan, why, end, last_seq);
        return COMMAND_FAILED;
    }
    return command_failed(explaining->command,
                          "event %llu is missing behind segment %llu: run daa-log verify %s",
                          big(seq), big(explaining->segment.segment_no), explaining->dir);
}
