/* Templates in the texts of a definition: ${{ input.a.b }}, ${{ steps.ID.output.c.0 }} and
 * ${{ secrets.NAME }}.
 *
 * A path walks JSON: names (letters, digits, "_", "-") into objects, numbers into arrays. A string
 * is inserted as its bytes, any other value as its JSON text. In a JSON body a string that is one
 * template and nothing else becomes the value itself.
 *
 * Two steps, so that no secret is ever in an event or a document: template_render() fills in values
 * on the agent's side and leaves secrets as they are written; template_fill_secrets() puts them in
 * where the effect is performed. What a value holds is never read as a template, nor does it leave
 * its place: it is escaped in URLs and JSON, and refused where it cannot be (line ends in headers,
 * NUL in arguments).
 *
 * Pure. Threads: any; template_values belong to one at a time. */
#ifndef CORE_FLOW_TEMPLATE_H
#define CORE_FLOW_TEMPLATE_H

#include "core/base/arena.h"
#include "core/base/error.h"
#include "core/base/span.h"
#include "core/base/text.h"

#include <stdbool.h>
#include <stddef.h>

#define TEMPLATE_COUNT_MAX 256u             /* in one step */
#define TEMPLATE_NAME_SIZE_MAX 128u         /* of one name in a path */
#define TEMPLATE_RESULT_SIZE_MAX (8u << 20) /* of one rendered text, bytes */

enum template_place {
    TEMPLATE_URL = 1,  /* values are percent-encoded */
    TEMPLATE_HEADER,   /* the value of one; no control characters */
    TEMPLATE_JSON,     /* a JSON text; values are escaped */
    TEMPLATE_ENV,      /* of a program; no NUL */
    TEMPLATE_ARGUMENT, /* of a program; no NUL, no secrets */
    TEMPLATE_STDIN,    /* of a program; no secrets */
};

enum template_root { TEMPLATE_INPUT = 1, TEMPLATE_STEPS, TEMPLATE_SECRETS };

struct template_part {
    enum template_root root;
    struct span name; /* STEPS: the id; SECRETS: the name */
    struct span path; /* INPUT, STEPS: "a.b"; empty: the whole value */
    struct span text; /* all of it, "${{" to "}}" */
};

/* The next template at or behind offset *at, which moves behind it. 1 found; 0 there is none;
 * ERROR_SYNTAX with a sentence. */
int template_next(struct span text, size_t *at, struct template_part *part, struct error *error);

/* True where ${{ secrets.NAME }} may stand. */
bool template_place_has_secrets(enum template_place place);

struct template_document;

/* What templates are filled with, and what was parsed of it already. */
struct template_values {
    struct arena *arena; /* results and parsed documents */
    struct span input;   /* JSON; empty: null */
    /* The output of a step as JSON; false when there is none. */
    bool (*output)(void *context, struct span step, struct span *output);
    void *context;
    struct template_document *documents; /* NULL at first */
};

/* Renders one text into the arena; secrets stay. 0; ERROR_NOT_FOUND for a path that leads nowhere;
 * ERROR_INVALID for a value that may not stand there; ERROR_TOO_LARGE; ERROR_BUDGET. */
int template_render(struct template_values *values, enum template_place place, struct span source,
                    struct span *result, struct error *error);

/* 0 and the secret's value, valid until the next call; ERROR_NOT_FOUND. */
typedef int template_secret_function(void *context, struct span name, struct span *value);

/* Adds `rendered` to `target` with the secrets filled in. 0; ERROR_NOT_FOUND naming a secret that
 * does not exist; ERROR_INVALID naming one whose value may not stand there; -ENOMEM. No sentence
 * holds a value. */
int template_fill_secrets(enum template_place place, struct span rendered,
                          template_secret_function *secret, void *context, struct text *target,
                          struct error *error);

#endif
