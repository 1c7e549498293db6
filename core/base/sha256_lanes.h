/* SHA-256 of many messages in two lanes: the processor's SHA instructions take four cycles and can
 * be begun every second one, so that two messages beside each other take as long as one. For
 * sha256_many() only. Threads: any. */
#ifndef CORE_BASE_SHA256_LANES_H
#define CORE_BASE_SHA256_LANES_H

#include "core/base/sha256.h"

#include <stdbool.h>

/* False: this processor has no such instructions, and nothing was done. */
bool sha256_lanes(struct sha256_message *messages, size_t count);

#endif
