/* A proof comes from anybody: whatever the text is, reading and checking it stays in bounds, and
 * what was read is written the same again. */
#include "core/base/check.h"
#include "tools/log/proof.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    static struct proof proof, again;
    struct anchor_trust trust = { .kind = TRUST_NOTHING };
    struct record record;
    struct error error;
    struct text text, second;
    if (proof_of_json(&proof, span_of(input, size), &error) == 0) {
        text_init(&text);
        text_init(&second);
        proof_to_json(&proof, &text);
        CHECK(proof_of_json(&again, text_span(&text), &error) == 0);
        proof_to_json(&again, &second);
        CHECK(span_equal(text_span(&text), text_span(&second)));
        CHECK(proof_check(&proof, &trust, &record, &error) ==
              proof_check(&again, &trust, &record, &error));
        proof_free(&again);
        text_free(&text);
        text_free(&second);
    }
    proof_free(&proof);
    return 0;
}
