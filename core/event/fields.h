/* What the fields of events hold, by reflection over their descriptors: for what treats all fields
 * alike (checking, showing, encrypting). Pure. Threads: any. */
#ifndef CORE_EVENT_FIELDS_H
#define CORE_EVENT_FIELDS_H

#include "core/event/event.pb-c.h"

#include <stdbool.h>
#include <stddef.h>

/* Every bytes field of the events is a digest, an id or a signature of fixed size, JSON, text, or
 * bytes that only a key makes something of. */
enum content {
    CONTENT_TEXT,
    CONTENT_JSON,
    CONTENT_DIGEST, /* or what has its size */
    CONTENT_ID,
    CONTENT_SIGNATURE,
    CONTENT_ENCRYPTED
};

enum content field_content(const ProtobufCFieldDescriptor *field);

/* What people and their programs put in or got out, or a digest of that: what is encrypted when a
 * stream has a key. The rest (status, step, attempt, times, names) is what the state is made of,
 * and stays readable for ever. */
bool field_is_private(const ProtobufCFieldDescriptor *field);

/* "ended_ns" is a time, "shift_ns" is not. */
bool field_name_is_time(const char *name);

/* Where the field's value lies; NULL when the message does not have it. */
const void *field_value(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field);

/* Only messages and numbers are repeated. How many `value`, a field_value(), holds. */
size_t field_count(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field);

/* Gives a bytes field of a message a value, or takes it away (bytes NULL). */
void field_set(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, uint8_t *bytes,
               size_t size);

/* NULL: the event has none. */
ProtobufCMessage *event_body(const Daa__Event *event);

#endif
