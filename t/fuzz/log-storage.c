/* Two bytes of kind, then a payload of one of the log's own events: it is refused, or shown as
 * sound JSON; nothing else is written. */
#include "core/base/arena.h"
#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/json.h"
#include "log/storage.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct budget budget;
    struct arena arena;
    struct text text;
    struct json json;
    struct json_problem problem;
    if (size < 2)
        return 0;
    budget_init(&budget, 1 << 28);
    arena_init(&arena, &budget, BUDGET_READERS, 4096);
    text_init(&text);
    text_json_open_object(&text, NULL);
    int code = storage_to_json(bytes_get_u16(input) % 32, span_of(input + 2, size - 2), &text);
    text_json_close_object(&text);
    CHECK(text.failed == 0);
    if (code == 0) /* its numbers have 64 bits, those of the parser 63 */
        CHECK(json_parse(&json, &arena, text_span(&text), &problem) == 0 ||
              problem.too_large_integer);
    text_free(&text);
    arena_free(&arena);
    CHECK(budget.used == 0);
    return 0;
}
