/* One answer over HTTP. Threads: the main thread. */
#ifndef TOOLS_LOG_FETCH_H
#define TOOLS_LOG_FETCH_H

#include "core/base/error.h"
#include "core/base/text.h"

#include <stdbool.h>

bool fetch_is_url(const char *name); /* http:// or https:// */

/* GET; the body into `body`, which is initialised. Redirects are not followed. Errors name the
 * URL. */
int fetch(const char *url, struct text *body, struct error *error);

#endif
