/* Unpacks any protobuf message into an arena. Pure. Threads: any. */
#ifndef CORE_EVENT_MESSAGE_H
#define CORE_EVENT_MESSAGE_H

#include "core/base/arena.h"
#include "core/base/span.h"

#include <protobuf-c/protobuf-c.h>

/* Never free what it gives: it lies in `arena`. 0; ERROR_DAMAGED for bytes that are not such a
 * message; ERROR_BUDGET. */
int message_unpack(const ProtobufCMessageDescriptor *descriptor, struct span bytes,
                   struct arena *arena, ProtobufCMessage **message);

#endif
