#include "core/base/id.h"

#include "core/base/bytes.h"

#include <inttypes.h>
#include <stdio.h>

void uuid_from_random(uint8_t uuid[UUID_SIZE])
{
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40); /* version 4 */
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80); /* variant of RFC 9562 */
}

void uuid_to_text(char text[UUID_TEXT_SIZE], const uint8_t uuid[UUID_SIZE])
{
    static const uint8_t group_sizes[] = { 4, 2, 2, 2, 6 };
    for (size_t i = 0; i < sizeof group_sizes; i++) {
        bytes_to_hex(text, uuid, group_sizes[i]);
        text += 2 * group_sizes[i];
        uuid += group_sizes[i];
        *text++ = i + 1 < sizeof group_sizes ? '-' : '\0';
    }
}

bool uuid_from_text(uint8_t uuid[UUID_SIZE], struct span text)
{
    char again[UUID_TEXT_SIZE], digits[2 * UUID_SIZE];
    size_t count = 0;
    for (size_t i = 0; i < text.size && count < sizeof digits; i++)
        if (text.bytes[i] != '-')
            digits[count++] = (char)text.bytes[i];
    if (count != sizeof digits || !bytes_from_hex(uuid, UUID_SIZE, digits, count))
        return false;
    uuid_to_text(again, uuid);
    return span_is(text, again);
}

void workflow_id_to_text(char text[WORKFLOW_ID_SIZE], const uint8_t log_uuid[UUID_SIZE],
                         uint64_t seq)
{
    char log[17];
    bytes_to_hex(log, log_uuid, 8);
    (void)snprintf(text, WORKFLOW_ID_SIZE, "wf-%s-%" PRIu64, log, seq);
}

/* Digits without a leading zero, from 1 to 2^64-1. */
static bool parse_seq(const uint8_t *at, size_t size, uint64_t *seq)
{
    uint64_t sum = 0;
    if (size == 0 || at[0] == '0')
        return false;
    for (size_t i = 0; i < size; i++) {
        uint64_t digit = (uint64_t)at[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(sum, 10, &sum) ||
            __builtin_add_overflow(sum, digit, &sum))
            return false;
    }
    *seq = sum;
    return true;
}

bool workflow_id_from_text(struct span text, const uint8_t log_uuid[UUID_SIZE], uint64_t *seq)
{
    char prefix[WORKFLOW_ID_SIZE];
    workflow_id_to_text(prefix, log_uuid, 0);
    size_t prefix_size = strlen(prefix) - 1; /* without the number */
    if (text.size <= prefix_size || memcmp(text.bytes, prefix, prefix_size) != 0)
        return false;
    return parse_seq(text.bytes + prefix_size, text.size - prefix_size, seq);
}
