/* UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF.
 *
 * Threads: any. */
#ifndef CORE_BASE_UTF8_H
#define CORE_BASE_UTF8_H

#include "core/base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the character that begins at `at`, 1 to 4; 0 if the `size` bytes there do not begin
 * with a whole, well-formed one. */
size_t utf8_character(const uint8_t *at, size_t size);

/* True if all of it is well-formed. */
bool utf8_is_valid(struct span text);

/* Writes the 1 to 4 bytes of a code point, which must not be a surrogate, and says how many. */
size_t utf8_put(uint8_t *target, uint32_t code_point);

#endif
