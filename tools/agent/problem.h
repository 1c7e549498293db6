/* Error answers: application/problem+json (RFC 9457).
 *
 *   {"type", "title", "status", "detail", "instance", "code", "request_id", "retryable",
 *    "safe_to_retry", "errors": [{"pointer", "message"}]}
 *
 * retryable: the same request may go well later. safe_to_retry: asking again cannot do anything
 * twice, because nothing has happened, or because of the idempotency key.
 *
 * Threads: any. */
#ifndef TOOLS_AGENT_PROBLEM_H
#define TOOLS_AGENT_PROBLEM_H

#include "core/base/error.h"
#include "core/base/text.h"

#include <stdbool.h>

struct problem {
    int status;       /* HTTP; 0: no problem */
    const char *code; /* stable: "not-found", "queue-full", ... */
    char detail[600]; /* a sentence with the name of the thing and the way out */
    bool retryable, safe_to_retry;
    unsigned retry_after_s; /* 0: no Retry-After */
    char allow[64];         /* of a 405 */
    char pointer[280];      /* JSON Pointer into the body; empty with no message: no `errors` */
    char message[520];
};

/* Nothing has happened: safe to retry; retryable when the status says so (408, 429, 503,
 * 507). */
void problem_set(struct problem *problem, int status, const char *code, const char *format, ...)
    ERROR_PRINTF(4, 5);

/* The same about one value of the body. */
void problem_set_at(struct problem *problem, int status, const char *code, const char *pointer,
                    const char *format, ...) ERROR_PRINTF(5, 6);

void problem_to_json(const struct problem *problem, const char *instance, const char *request_id,
                     struct text *text);

#endif
