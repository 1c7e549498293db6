#include "tap.h"

#include "core/base/id.h"

#include <string.h>

int main(void)
{
    uint8_t uuid[UUID_SIZE], other[UUID_SIZE];
    char text[UUID_TEXT_SIZE], id[WORKFLOW_ID_SIZE];
    uint64_t seq;
    memset(uuid, 0xff, sizeof uuid);
    uuid_from_random(uuid);
    uuid_to_text(text, uuid);
    is_str(text, "ffffffff-ffff-4fff-bfff-ffffffffffff", "a uuid of all ones is version 4");
    memset(uuid, 0, sizeof uuid);
    uuid_from_random(uuid);
    uuid_to_text(text, uuid);
    is_str(text, "00000000-0000-4000-8000-000000000000", "and so is one of zeros");

    memcpy(uuid, "\x01\x23\x45\x67\x89\xab\xcd\xef", 8);
    workflow_id_to_text(id, uuid, 42);
    is_str(id, "wf-0123456789abcdef-42", "a workflow id names log and sequence number");
    ok(workflow_id_from_text(span_of_text(id), uuid, &seq) && seq == 42, "and is read back");
    workflow_id_to_text(id, uuid, UINT64_MAX);
    is_int(strlen(id), WORKFLOW_ID_SIZE - 1, "the longest one fits");
    ok(workflow_id_from_text(span_of_text(id), uuid, &seq) && seq == UINT64_MAX,
       "and is read back");
    memcpy(other, uuid, sizeof other);
    other[7] ^= 1;
    ok(!workflow_id_from_text(span_of_text(id), other, &seq), "another log's id is none of ours");

    static const char *const bad[] = {
        "",
        "wf-",
        "wf-0123456789abcdef",
        "wf-0123456789abcdef-",
        "wf-0123456789abcdef-0",
        "wf-0123456789abcdef-042",
        "wf-0123456789abcdef-+42",
        "wf-0123456789abcdef- 42",
        "wf-0123456789abcdef-42 ",
        "wf-0123456789abcdef-4a",
        "wf-0123456789abcdef--1",
        "wf-0123456789ABCDEF-42",
        "WF-0123456789abcdef-42",
        "wf-0123456789abcdef-18446744073709551616",
        "wf-0123456789abcdef-99999999999999999999",
        "wf-0123456789abcdef-100000000000000000000",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ok(!workflow_id_from_text(span_of_text(bad[i]), uuid, &seq), "\"%s\" is refused", bad[i]);
    ok(!workflow_id_from_text(span_of("wf-0123456789abcdef-4\0", 22), uuid, &seq),
       "so is a NUL behind it");
    return tap_done();
}
