/* Two bytes of kind, then a payload: it is refused or comes back the same, and is always shown as
 * sound JSON. */
#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/json.h"
#include "core/event/event.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static void again(uint16_t kind, const Daa__Event *event, struct arena *arena)
{
    Daa__Event *second;
    size_t size = event_size(event);
    uint8_t *bytes = malloc(size + 1);
    CHECK(bytes != NULL);
    event_pack(event, bytes);
    CHECK(event_unpack(kind, span_of(bytes, size), arena, &second) == 0);
    CHECK(event_size(second) == size);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct budget budget;
    struct arena arena;
    struct text text;
    struct json json;
    struct json_problem problem;
    Daa__Event *event;
    if (size < 2)
        return 0;
    uint16_t kind = bytes_get_u16(input);
    struct span payload = span_of(input + 2, size - 2);
    budget_init(&budget, 1 << 28);
    arena_init(&arena, &budget, BUDGET_REQUESTS, 4096);
    text_init(&text);
    /* Only this version's events are ever packed: the library writes no unknown field of tag 0. */
    if (event_unpack(kind, payload, &arena, &event) == 0 && event->base.n_unknown_fields == 0 &&
        event->agent_registered->base.n_unknown_fields == 0 &&
        (event->actor == NULL || event->actor->base.n_unknown_fields == 0))
        again(kind, event, &arena);
    text_json_open_object(&text, NULL);
    event_to_json(&(struct event_header){ .kind = kind }, payload, NULL, &arena, &text);
    text_json_close_object(&text);
    CHECK(text.failed == 0);
    /* Values as deep as they may be lie deeper here. */
    CHECK(json_parse(&json, &arena, text_span(&text), &problem) == 0 || problem.too_deep);
    text_free(&text);
    arena_free(&arena);
    CHECK(budget.used == 0);
    return 0;
}
