/* One request to the agent, and its answer.
 *
 * Threads: the main thread. */
#ifndef TOOLS_CLI_CLIENT_H
#define TOOLS_CLI_CLIENT_H

#include "core/base/error.h"
#include "core/base/span.h"
#include "core/base/text.h"

#include <stdbool.h>
#include <stdint.h>

/* Where the agent is, taken apart. */
struct client_place {
    char base[512];   /* "http://127.0.0.1:8080": what paths are put behind */
    char socket[108]; /* path of a Unix socket; empty: none */
    char token[512];  /* empty: none */
};

/* Reads --url and --token-file. ERROR_INVALID for an url that is neither http nor unix. */
int client_place_get(struct client_place *place, struct error *error);

struct client_request {
    const char *method; /* "GET" */
    const char *path;   /* "/api/v1/workflows", escaped, with its query */
    struct span body;   /* JSON; bytes == NULL: none */
    const char *key;    /* Idempotency-Key, or NULL */
    uint64_t wait_ns;   /* how long the agent may take on purpose */
};

struct client_answer {
    long status;
    bool replayed; /* Idempotent-Replayed: true */
    struct text body;
};

/* 0 with any answer below 400. Negative with a sentence that names the url and the way out: the
 * agent is not there (not_sent: certainly nothing has happened), it broke off, or it said no (the
 * sentence is its own, `answer` has the rest). Free the answer in any case. */
int client_perform(const struct client_request *request, struct client_answer *answer,
                   struct error *error);
void client_answer_free(struct client_answer *answer);

/* Appends a part of a path, escaped. */
void client_escape(struct text *path, const char *part);

#endif
