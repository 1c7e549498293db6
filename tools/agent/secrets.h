/* Secrets on their way into an effect, and kept out of what comes back.
 *
 * ${{ secrets.NAME }} in a text is filled in on the effect thread with the value that its source
 * has at that time (tools/config/config.h). Before an output or an error leaves the effects, every
 * value used so far is replaced in it by "[redacted]", as it is and as it looks inside a JSON
 * string.
 *
 * Threads: any; one lock inside. */
#ifndef TOOLS_AGENT_SECRETS_H
#define TOOLS_AGENT_SECRETS_H

#include "core/base/error.h"
#include "core/base/span.h"
#include "core/base/text.h"
#include "core/flow/template.h"
#include "tools/config/config.h"

struct secrets;

/* `config` must stay as long as the secrets. */
int secrets_open(struct secrets **secrets, const struct config *config, struct error *error);
void secrets_close(struct secrets *secrets); /* wipes the values */

/* Appends the rendered `text` to `filled` with its secrets in place, as template_fill_secrets()
 * does. 0; negative with a sentence that names the secret and its source, never its value. */
int secrets_fill(struct secrets *secrets, enum template_place place, struct span text,
                 struct text *filled, struct error *error);

/* Replaces values in `text`, in place of its bytes. */
void secrets_redact(struct secrets *secrets, struct text *text);

#endif
