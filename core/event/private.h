/* Private fields of events, encrypted.
 *
 * A stream may have a key of its own (log/keyring.h), whose number is in the headers of its
 * records. Then the private fields of its events (fields.h: what was put in and what came out) are
 * not in the body but in Event.encrypted, and Event.private_sizes says how large each was
 * (privacy.h). The tag vouches for the event's place too (its number, stream, kind and key). All
 * else of an event can be read without the key, so that the state can be made of the log when the
 * key is gone: destroying a key erases what people put in, wherever a copy of the log may be, and
 * not what happened.
 *
 * Nonces are random: a number may be used twice (an event that a crash took back), a stream too (a
 * directory that was copied).
 *
 * Pure. Threads: any. */
#ifndef CORE_EVENT_PRIVATE_H
#define CORE_EVENT_PRIVATE_H

#include "core/base/aead.h"
#include "core/base/arena.h"
#include "core/event/event.h"

#include <stdbool.h>

/* Where keys are found. `find` is called from the threads that open events. Without a context there
 * are no keys. */
struct event_keys {
    /* 0; ERROR_NOT_FOUND: it was destroyed, for good; else it cannot be had now. */
    int (*find)(void *context, uint32_t key_id, uint8_t key[AEAD_KEY_SIZE]);
    void *context;
};

/* 1 found; 0 there is none, or no more; negative: it cannot be had now. */
int event_key_get(const struct event_keys *keys, uint32_t key_id, uint8_t key[AEAD_KEY_SIZE]);

/* What `event` becomes in the log, but not encrypted yet: its size is the final one. The event
 * itself, if none of its fields is private; `event` does not change, and must stay. NULL:
 * ERROR_BUDGET. */
Daa__Event *event_withhold(const Daa__Event *event, struct arena *arena);

/* Encrypts what event_withhold() gave, once. */
void event_encrypt(Daa__Event *withheld, const struct event_header *header,
                   const uint8_t key[AEAD_KEY_SIZE], const uint8_t nonce[AEAD_NONCE_SIZE]);

/* Instead of it, where the key was destroyed before: nobody was to read that. */
void event_wipe(Daa__Event *withheld);
bool event_is_wiped(const Daa__Event *event); /* it is withheld from everybody, whatever the keys */

/* event_unpack(), and the private fields are where they were. When its key was destroyed, or
 * without keys (also NULL), the event is withheld: its private fields are absent. Else
 * ERROR_DAMAGED when the key does not fit, or what keys->find() said. */
int event_open(const struct event_header *header, struct span payload,
               const struct event_keys *keys, struct arena *arena, Daa__Event **event);

/* That `encrypted` and `private_sizes` agree with each other and with the body: 0 or ERROR_DAMAGED.
 * For event_check(). */
int event_check_private(const Daa__Event *event);

/* Private fields of it could not be read. */
bool event_is_withheld(const Daa__Event *event);

/* Gives the private fields of a withheld event their sizes back, and content that is as good as
 * any (JSON null, blanks, zeros): the state that is made of such events differs from what it was
 * in these values only. 0 or ERROR_BUDGET. */
int event_blank(Daa__Event *event, struct arena *arena);

#endif
