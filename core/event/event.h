/* Events: their names, their bytes, and their JSON.
 *
 * A record of the log carries one packed Daa__Event (event.proto); its kind is the number of the
 * body's field. Kinds below 16 are the log's own (log/storage.h).
 *
 * Pure. Threads: any. */
#ifndef CORE_EVENT_EVENT_H
#define CORE_EVENT_EVENT_H

#include "core/base/arena.h"
#include "core/base/span.h"
#include "core/base/text.h"
#include "core/event/event.pb-c.h"

#include <stdint.h>

#define EVENT_SCHEMA 1u
#define EVENT_SCHEMA_ENCRYPTED 2u /* of an event whose private fields are encrypted */
#define EVENT_SCHEMA_NEWEST 2u    /* that this version may write */

struct event_keys; /* private.h */

/* What the log's record header says about an event. */
struct event_header {
    uint64_t seq;
    uint64_t stream;
    uint64_t time_ns;
    uint64_t cause;
    uint64_t stream_prev_seq;
    uint32_t key_id; /* of the stream; 0: it has none */
    uint16_t kind;
};

/* "workflow.submitted", ...; NULL for a kind this version does not know. */
const char *event_kind_name(uint16_t kind);
/* 0 for an unknown name. */
uint16_t event_kind_of_name(struct span name);

/* The kind of a message: its body_case. */
uint16_t event_kind(const Daa__Event *event);

/* Unpacks into `arena` (never free_unpacked it). Checks that the body is the one `kind` says and
 * that texts which must be UTF-8 are. What is encrypted stays so: event_open() in private.h. 0;
 * ERROR_DAMAGED for bytes that are no event or another kind's; ERROR_NEWER for a schema or kind
 * this version does not know; ERROR_BUDGET. */
int event_unpack(uint16_t kind, struct span payload, struct arena *arena, Daa__Event **event);

/* The same checks alone. */
int event_check(uint16_t kind, const Daa__Event *event);

size_t event_size(const Daa__Event *event);
void event_pack(const Daa__Event *event, uint8_t *target); /* exactly event_size() bytes */

/* Writes the members "actor" (null when nobody is named), "request_id" and "traceparent" (when they
 * are there) and "payload" {...} of an open JSON object, and of an event that stays encrypted
 * (private.h; `keys` may be NULL) "withheld" {"key_id", "bytes"}. An event of an unknown kind or
 * schema, or one that cannot be opened, is shown as "payload": {"undecoded": "<hex>"}. JSON in
 * bytes fields is put in as JSON when it is valid, else as a string. Digests are hex, enums their
 * names in lower case ("running"), times RFC 3339 beside *_ns. */
void event_to_json(const struct event_header *header, struct span payload,
                   const struct event_keys *keys, struct arena *arena, struct text *text);

/* The same of an event that is open already; NULL: one that cannot be opened. */
void event_opened_to_json(const struct event_header *header, struct span payload,
                          const Daa__Event *event, struct arena *arena, struct text *text);

/* The payload alone, of an event that is unpacked already, as that object. `key` may be NULL. */
void event_payload_to_json(const Daa__Event *event, const char *key, struct arena *arena,
                           struct text *text);

/* "pending", "running", ...; "step.completed"-like names are event_kind_name's. Never NULL. */
const char *workflow_status_name(int status);
const char *step_status_name(int status);
const char *outcome_name(int outcome);

static inline struct span span_of_data(ProtobufCBinaryData data)
{
    return span_of(data.data, data.len);
}

/* protobuf-c wants a pointer that is not const; it does not write through it when packing. */
ProtobufCBinaryData data_of_span(struct span span);

#endif
