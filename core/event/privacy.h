/* The private fields of any message, taken out of it and encrypted. For events there is private.h,
 * for documents core/agent/document.h.
 *
 * The private fields (fields.h) of a message and of those repeated in it, in the order of the
 * descriptors, are a row. What stands for them is
 *
 *   12 bytes of nonce | AES-256-GCM of those that are there, one behind the other | 16 bytes of tag
 *
 * and the size of each + 1, or 0 for one that is not there. Sizes that the row has more than there
 * are (a later version added a field, at the end) are of fields that are not there.
 *
 * Pure. Threads: any. */
#ifndef CORE_EVENT_PRIVACY_H
#define CORE_EVENT_PRIVACY_H

#include "core/base/aead.h"
#include "core/base/arena.h"
#include "core/base/sha256.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#define PRIVACY_OVERHEAD (AEAD_NONCE_SIZE + AEAD_TAG_SIZE)

struct privacy {
    ProtobufCBinaryData encrypted; /* nonce, bytes, tag */
    uint32_t *sizes;
    size_t count;
};

/* Whether any private field is there. */
bool privacy_wanted(const ProtobufCMessage *message);

/* Takes the private fields out of the message: all in `arena`, and not encrypted yet. 0 or
 * ERROR_BUDGET, with the message as it was. */
int privacy_take(ProtobufCMessage *message, struct arena *arena, struct privacy *privacy);

/* Puts them back; the message points into privacy->encrypted. */
void privacy_give(ProtobufCMessage *message, const struct privacy *privacy);

/* That sizes and bytes agree with each other and with the message, which has no private field: 0,
 * ERROR_DAMAGED, or ERROR_NEWER for more of them than this version knows. */
int privacy_check(const ProtobufCMessage *message, const struct privacy *privacy);

/* The tag vouches for `place` and the sizes too. */
void privacy_encrypt(struct privacy *privacy, const uint8_t key[AEAD_KEY_SIZE],
                     const uint8_t nonce[AEAD_NONCE_SIZE], struct span place);
/* With a nonce that is made of them: the same fields give the same bytes. */
void privacy_encrypt_again(struct privacy *privacy, const uint8_t key[AEAD_KEY_SIZE],
                           struct span place);
/* In place. False: it is not what was encrypted with this key at this place. */
bool privacy_decrypt(struct privacy *privacy, const uint8_t key[AEAD_KEY_SIZE], struct span place);

/* Of fields whose key is gone: nothing can be made of these bytes, and of no others. */
void privacy_wipe(struct privacy *privacy);
bool privacy_is_wiped(const struct privacy *privacy);

/* Gives the message fields of the old sizes with content that is as good as any: JSON null, blanks,
 * zeros. 0 or ERROR_BUDGET. */
int privacy_blank(ProtobufCMessage *message, const struct privacy *privacy, struct arena *arena);

#endif
