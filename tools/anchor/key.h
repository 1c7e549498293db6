/* The pair of keys with which heads of the log are signed: PEM files that openssl reads too.
 *
 * The private half never leaves its file and this process: it is in no event, no log and no
 * message.
 *
 * Threads: any. */
#ifndef TOOLS_ANCHOR_KEY_H
#define TOOLS_ANCHOR_KEY_H

#include "core/base/ed25519.h"
#include "core/base/error.h"

#define ANCHOR_KEY_NAME "anchor.key" /* in a data directory */
#define ANCHOR_PUBLIC_NAME "anchor.pub"

/* The private key in the file at `path`, made when there is none (0600, from getrandom), and the
 * public one written to `<dir>/anchor.pub` (0644) unless it is there. ERROR_INVALID when the file
 * is no such key or others may read it. */
int anchor_key_open(const char *path, const char *dir, uint8_t private_key[ED25519_KEY_SIZE],
                    struct error *error);

/* 0; -ENOENT and others; ERROR_INVALID. */
int anchor_key_read_public(const char *path, uint8_t public_key[ED25519_KEY_SIZE],
                           struct error *error);

#endif
