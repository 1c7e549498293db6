#include "tools/agent/loop_inside.h"

#include "tools/agent/host.h"

#include <stdlib.h>
#include <string.h>

/*--- Before room is asked for ------------------------------------------------------------------*/

/* All events of a decision that have a key have the same. 0: none has. */
static uint32_t key_of(const struct decision *decision)
{
    for (uint32_t i = 0; i < decision->event_count; i++)
        if (decision->events[i].key_id != 0)
            return decision->events[i].key_id;
    return 0;
}

static int make_room(struct loop *loop, size_t size)
{
    if (size > log_payload_size_max(loop->options.log))
        return ERROR_TOO_LARGE;
    if (size <= loop->payload_capacity)
        return 0;
    free(loop->payload);
    loop->payload_capacity = size * 2;
    loop->payload = malloc(loop->payload_capacity);
    CHECK(loop->payload);
    return 0;
}

int write_prepare(struct loop *loop, bool also_erased, uint64_t *payload_size, struct error *error)
{
    struct decision *decision = &loop->decision;
    uint32_t key_id = key_of(decision);
    int status = keys_take(loop, key_id, error);
    if (status == ERROR_NOT_FOUND && also_erased) {
        keys_do_without(loop, key_id);
        *error = (struct error){ .code = 0 };
        status = 0;
    }
    *payload_size = 0;
    for (uint32_t i = 0; status == 0 && i < decision->event_count; i++) {
        struct event_draft *draft = &decision->events[i];
        loop->written[i] =
            draft->key_id == 0 ? &draft->event : event_withhold(&draft->event, &decision->arena);
        if (!loop->written[i])
            return ERROR_BUDGET;
        size_t size = event_size(loop->written[i]);
        *payload_size += size;
        status = make_room(loop, size);
    }
    return status;
}

/*--- Writing -----------------------------------------------------------------------------------*/

static uint64_t newest_of_stream(const struct record *records, uint32_t count, uint64_t stream,
                                 uint64_t before)
{
    for (uint32_t i = count; i-- > 0;)
        if (records[i].stream == stream)
            return records[i].seq;
    return before;
}

/* The state is made of what the event says, the log holds what of it may be read. */
static void append_one(struct loop *loop, const struct record *record, uint32_t index)
{
    struct event_header header = event_header_of(record);
    Daa__Event *event = loop->written[index];
    int status = agent_apply(loop->options.agent, &header, &loop->decision.events[index].event);
    CHECK(status == 0);
    if (record->key_id != 0 && loop->keys.without)
        event_wipe(event);
    else if (record->key_id != 0)
        event_encrypt(event, &header, loop->keys.key, keys_nonce(loop));
    size_t size = event_size(event);
    event_pack(event, loop->payload);
    struct record full = *record;
    full.payload = span_of(loop->payload, size);
    log_append(loop->options.log, &full);
}

/* An event of housekeeping may name fewer than it was offered. */
static uint64_t count_expired(const Daa__Event *event)
{
    switch ((int)event->body_case) {
    case DAA__EVENT__BODY_KEYS_EXPIRED:
        return event->keys_expired->n_keys;
    case DAA__EVENT__BODY_WORKFLOWS_EXPIRED:
        return event->workflows_expired->n_workflows;
    default:
        return 0;
    }
}

static void note_used(struct loop *loop, const struct record *record, struct request *request)
{
    if (record->kind != DAA__EVENT__BODY_WORKFLOW_SUBMITTED)
        return;
    if (request)
        request->stream = request->seq = record->seq;
    if (record->key_id != 0)
        keys_used(loop, record->key_id);
}

void write_events(struct loop *loop, uint64_t first_seq, struct request *request)
{
    struct decision *decision = &loop->decision;
    struct record records[DECISION_EVENTS_MAX];
    uint64_t created = 0;
    for (uint32_t i = 0; i < decision->event_count; i++) {
        struct event_draft *draft = &decision->events[i];
        uint64_t seq = first_seq + i;
        if (draft->creates && created == 0)
            created = seq;
        uint64_t stream = draft->creates ? seq : draft->stream ? draft->stream : created;
        uint64_t cause = draft->cause ? draft->cause : i > 0 ? seq - 1 : 0;
        records[i] = (struct record){ .seq = seq,
                                      .stream = stream,
                                      .time_ns = loop->now_ns,
                                      .cause = cause,
                                      .key_id = draft->key_id,
                                      .kind = event_kind(&draft->event) };
        records[i].stream_prev_seq =
            newest_of_stream(records, i, stream, draft->creates ? 0 : draft->stream_prev_seq);
        append_one(loop, &records[i], i);
        note_used(loop, &records[i], request);
    }
    if (request && request->command.kind != COMMAND_SUBMIT) {
        request->stream = request->command.stream;
        request->seq = first_seq;
        request->expired = count_expired(&decision->events[0].event);
    }
    loop->changed = true;
}
