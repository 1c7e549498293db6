/* What core/event wants of a record and of a keyring, and what it knows of a record for an import.
 * Threads: any, as the parts allow. */
#ifndef LOG_EVENT_H
#define LOG_EVENT_H

#include "core/event/private.h"
#include "log/import.h"
#include "log/keyring.h"
#include "log/record.h"

_Static_assert(KEYRING_KEY_SIZE == AEAD_KEY_SIZE, "keys of the keyring are the cipher's");

static inline struct event_header event_header_of(const struct record *record)
{
    return (struct event_header){ .seq = record->seq,
                                  .stream = record->stream,
                                  .time_ns = record->time_ns,
                                  .cause = record->cause,
                                  .stream_prev_seq = record->stream_prev_seq,
                                  .key_id = record->key_id,
                                  .kind = record->kind };
}

static inline int event_key_find(void *keyring, uint32_t key_id, uint8_t key[AEAD_KEY_SIZE])
{
    return keyring_get(keyring, key_id, key, NULL);
}

/* The keys of a keyring; of none (NULL), all events that are encrypted stay so. */
static inline struct event_keys event_keys_of(struct keyring *keyring)
{
    return (struct event_keys){ .find = event_key_find, .context = keyring };
}

/* log_import_add() of a log of events: what is encrypted has a schema of its own. */
static inline int event_import(struct log_import *import, const uint8_t log_uuid[UUID_SIZE],
                               const struct record *record, struct error *error)
{
    int status =
        record->key_id == 0 ? 0 : log_import_raise_schema(import, EVENT_SCHEMA_ENCRYPTED, error);
    return status < 0 ? status : log_import_add(import, log_uuid, record, error);
}

#endif
