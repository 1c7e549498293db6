#include "tools/anchor/trust.h"

#include "tools/anchor/key.h"

#include <stdio.h>
#include <string.h>

static bool try(struct anchor_trust *trust, const char *dir, const char *name)
{
    return snprintf(trust->path, sizeof trust->path, "%s/%s", dir, name) <
               (int)sizeof trust->path &&
           anchor_key_read_public(trust->path, trust->public_key, NULL) == 0;
}

int anchor_trust_open(struct anchor_trust *trust, const char *given, const char *dir,
                      struct error *error)
{
    *trust = (struct anchor_trust){ .kind = TRUST_NOTHING };
    if (given != NULL) {
        trust->kind = TRUST_GIVEN;
        snprintf(trust->path, sizeof trust->path, "%s", given);
        return anchor_key_read_public(given, trust->public_key, error);
    }
    if (dir != NULL &&
        (try(trust, dir, ANCHOR_PUBLIC_NAME) || try(trust, dir, "../" ANCHOR_PUBLIC_NAME)))
        trust->kind = TRUST_MACHINE;
    return 0;
}

bool anchor_trust_takes(const struct anchor_trust *trust,
                        const uint8_t public_key[ED25519_KEY_SIZE])
{
    return trust->kind == TRUST_NOTHING ||
           memcmp(trust->public_key, public_key, ED25519_KEY_SIZE) == 0;
}

void anchor_trust_to_text(const struct anchor_trust *trust, struct text *text)
{
    if (trust->kind == TRUST_GIVEN)
        text_printf(text, "signed by the key in %s", trust->path);
    else if (trust->kind == TRUST_MACHINE)
        text_printf(text,
                    "signed by the key in %s, which whoever changed the log may have changed too: "
                    "say with --key which one you kept",
                    trust->path);
    else
        text_add_string(text, "signed by some key, and nobody says whose it is: say with --key "
                              "which one you trust");
}
