/* Keys that came back with a copy of the keys, though the state says that their workflows were
 * erased. Threads: one, before any key is used. */
#ifndef TOOLS_AGENT_ERASER_REVIVED_H
#define TOOLS_AGENT_ERASER_REVIVED_H

#include "core/base/error.h"

struct keyring;
struct state;

/* Destroys them again: reads a slot for each workflow that was ever erased. */
int eraser_destroy_revived(struct keyring *keyring, struct state *state, struct error *error);

#endif
