/* Makes text and JSON such that PostgreSQL takes them, and says when that lost something.
 *
 * PostgreSQL refuses in text and jsonb what our log may hold: NUL (\u0000 in JSON), bytes that are
 * not UTF-8, lone surrogates, numbers of more digits than `numeric` has, nesting that overruns its
 * stack. Each such place becomes U+FFFD, or a string with the number's digits; the rest stays as
 * it is. The exact bytes are in the column `record`.
 *
 * Pure. Threads: any. */
#ifndef PGSYNC_PLAIN_H
#define PGSYNC_PLAIN_H

#include "core/base/span.h"
#include "core/base/text.h"

#include <stdbool.h>

#define PLAIN_DEPTH_MAX 512u        /* arrays and objects within each other */
#define PLAIN_NUMBER_SIZE_MAX 1000u /* characters of a number */
#define PLAIN_EXPONENT_MAX 1000u

/* Appends `json`, which is valid JSON but for what is named above. Sets *lossy when something was
 * replaced (else leaves it). 0, or ERROR_TOO_LARGE when it is nested too deep (`target` holds the
 * beginning then). */
int plain_json(struct text *target, struct span json, bool *lossy);

/* Appends `text`. Sets *lossy when something was replaced. */
void plain_text(struct text *target, struct span text, bool *lossy);

#endif
