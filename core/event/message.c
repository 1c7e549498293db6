#include "core/event/message.h"

#include "core/base/error.h"

#include <stdbool.h>

struct unpacking {
    struct arena *arena;
    bool refused; /* the budget, not the bytes */
};

static void *unpack_allocate(void *context, size_t size)
{
    struct unpacking *unpacking = context;
    void *memory = arena_allocate(unpacking->arena, size);
    if (memory == NULL)
        unpacking->refused = true;
    return memory;
}

static void unpack_free(void *context, void *memory)
{
    (void)context;
    (void)memory;
}

int message_unpack(const ProtobufCMessageDescriptor *descriptor, struct span bytes,
                   struct arena *arena, ProtobufCMessage **message)
{
    struct unpacking unpacking = { arena, false };
    ProtobufCAllocator allocator = { unpack_allocate, unpack_free, &unpacking };
    *message = protobuf_c_message_unpack(descriptor, &allocator, bytes.size, bytes.bytes);
    if (*message != NULL)
        return 0;
    return unpacking.refused ? ERROR_BUDGET : ERROR_DAMAGED;
}
