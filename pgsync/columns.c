#include "pgsync/columns.h"

#include "core/base/json.h"
#include "pgsync/plain.h"

void columns_number(struct binary *target, uint64_t value, bool *lossy)
{
    if (value > INT64_MAX) {
        *lossy = true;
        value = INT64_MAX;
    }
    binary_bigint(target, (int64_t)value);
}

void columns_optional_number(struct binary *target, uint64_t value, bool *lossy)
{
    if (value == 0)
        binary_null(target);
    else
        columns_number(target, value, lossy);
}

void columns_optional_time(struct binary *target, bool given, uint64_t time_ns)
{
    if (given)
        binary_time(target, time_ns);
    else
        binary_null(target);
}

void columns_optional_bytes(struct binary *target, struct span bytes)
{
    if (bytes.size == 0)
        binary_null(target);
    else
        binary_bytes(target, bytes);
}

void columns_text(struct columns_scratch *scratch, struct binary *target, struct span text,
                  bool *lossy)
{
    text_clear(&scratch->plain);
    plain_text(&scratch->plain, text, lossy);
    if (text.size == 0 || scratch->plain.failed != 0)
        binary_null(target);
    else
        binary_bytes(target, text_span(&scratch->plain));
}

void columns_json(struct columns_scratch *scratch, struct binary *target, struct span json,
                  bool *lossy, const char **refusal)
{
    text_clear(&scratch->plain);
    int failed = plain_json(&scratch->plain, json, lossy);
    if (failed < 0 || scratch->plain.failed != 0) {
        *lossy = true;
        *refusal = failed < 0 ? "nested too deep for jsonb" : "too large for jsonb";
        binary_null(target);
        return;
    }
    binary_jsonb(target, text_span(&scratch->plain));
}

/* The JSON that the bytes are, or a string of them; it may be in scratch->json. */
static struct span as_json(struct columns_scratch *scratch, struct span bytes)
{
    struct json json;
    if (json_parse(&json, &scratch->arena, bytes, NULL) == 0)
        return bytes;
    text_clear(&scratch->json);
    text_json_string(&scratch->json, NULL, bytes);
    return text_span(&scratch->json);
}

void columns_user_json(struct columns_scratch *scratch, struct binary *target, struct span bytes,
                       bool *lossy)
{
    const char *refusal = NULL;
    if (bytes.size == 0)
        binary_null(target);
    else
        columns_json(scratch, target, as_json(scratch, bytes), lossy, &refusal);
}

static bool is_kept(struct span before, struct span after)
{
    return before.size == 0 || before.bytes == after.bytes;
}

void columns_replaced_text(struct columns_scratch *scratch, struct span before, struct span after,
                           bool *lossy)
{
    if (is_kept(before, after))
        return;
    text_clear(&scratch->plain);
    plain_text(&scratch->plain, before, lossy);
}

void columns_replaced_json(struct columns_scratch *scratch, struct span before, struct span after,
                           bool *lossy)
{
    if (is_kept(before, after))
        return;
    text_clear(&scratch->plain);
    if (plain_json(&scratch->plain, as_json(scratch, before), lossy) < 0 ||
        scratch->plain.failed != 0)
        *lossy = true;
}
