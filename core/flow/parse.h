/* Compiling a definition: what the files of core/flow share while they do it. Others use flow.h.
 *
 * parse_* functions return 0, or the code of the problem that they have set. The place of a problem
 * is the pointer of whoever is being parsed: parse_enter() and parse_leave() move it.
 *
 * Threads: one compilation belongs to one. */
#ifndef CORE_FLOW_PARSE_H
#define CORE_FLOW_PARSE_H

#include "core/base/arena.h"
#include "core/base/json.h"
#include "core/flow/flow.h"
#include "core/flow/template.h"

#define PARSE_LIST_MAX 128u        /* headers, arguments, variables of one step */
#define PARSE_TEXT_SIZE_MAX 65536u /* of one of them, bytes */

/* A template that looks at the output of another step: checked when all needs are known. */
struct parse_reference {
    struct parse_reference *next;
    uint32_t step;
    struct span id;
    char *pointer;
};

struct parse {
    struct flow *flow;
    struct arena *arena;   /* the flow's */
    struct arena *scratch; /* until compiling ends */
    struct json json;
    struct flow_problem *problem;
    size_t pointer_size; /* of problem->pointer */
    uint32_t step;       /* being parsed */
    uint32_t templates;  /* in it */
    struct parse_reference *references;
};

/* What a key of an object is for. */
struct parse_key {
    const char *name;
    bool later; /* the design has it, this version has not */
};

/* Sets the problem at the pointer of now. */
int parse_refuse(struct parse *parse, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int parse_refuse_budget(struct parse *parse);

/* Moves the pointer to a member or an element, and back to what parse_enter*() returned. */
size_t parse_enter(struct parse *parse, const char *name);
size_t parse_enter_index(struct parse *parse, uint32_t index);
void parse_leave(struct parse *parse, size_t before);

/* `node` is an object and has only the `keys` (ended by a NULL name). */
int parse_object(struct parse *parse, uint32_t node, const char *what,
                 const struct parse_key *keys);

/* The decoded bytes of a string without control characters other than those of text, 1 to
 * `size_max` bytes. */
int parse_string(struct parse *parse, uint32_t node, const char *what, size_t size_max,
                 struct span *value);
int parse_duration(struct parse *parse, uint32_t node, const char *what, uint64_t *ns);

/* Every template in a text is one that may stand there; steps it looks at are noted. */
int parse_templates(struct parse *parse, enum template_place place, struct span text);
/* The same for the strings of a JSON value. */
int parse_json_templates(struct parse *parse, uint32_t node);

/* The kinds: `node` is the value of the key that names it. */
int parse_http(struct parse *parse, uint32_t node, struct flow_http *http);
int parse_exec(struct parse *parse, uint32_t node, struct flow_exec *exec);
/* A step without its needs. */
int parse_step(struct parse *parse, uint32_t node, struct flow_step *step);

/* Needs, cycles and references, when all steps are there. nodes[i] is that of step i. */
int parse_graph(struct parse *parse, const uint32_t *nodes);

#endif
