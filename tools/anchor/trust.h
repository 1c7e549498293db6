/* Whose anchors are believed: a signature shows something only to whoever knows the key from
 * elsewhere.
 *
 * Threads: any, on a value of its own. */
#ifndef TOOLS_ANCHOR_TRUST_H
#define TOOLS_ANCHOR_TRUST_H

#include "core/base/error.h"
#include "core/event/anchor.h"

#include <limits.h>
#include <stdbool.h>

enum anchor_trust_kind {
    TRUST_NOTHING, /* any key: that an anchor was not changed since it was signed, by whomever */
    TRUST_MACHINE, /* the key that lies beside the log */
    TRUST_GIVEN,   /* the one that the caller was given */
};

struct anchor_trust {
    enum anchor_trust_kind kind;
    uint8_t public_key[ED25519_KEY_SIZE];
    char path[PATH_MAX]; /* of it */
};

/* The key in the file `given`; without one, in anchor.pub of the data directory that `dir` is, or
 * whose log it is; without that, none. `dir` may be NULL. Negative when `given` holds no key. */
int anchor_trust_open(struct anchor_trust *trust, const char *given, const char *dir,
                      struct error *error);

bool anchor_trust_takes(const struct anchor_trust *trust,
                        const uint8_t public_key[ED25519_KEY_SIZE]);

/* A sentence on what a good signature shows then. */
void anchor_trust_to_text(const struct anchor_trust *trust, struct text *text);

#endif
