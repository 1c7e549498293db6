/* A small cache of definitions, so that the same one is not compiled, nor looked up, each time. It
 * has a share of the memory budget.
 *
 * Threads: any (one lock). */
#ifndef TOOLS_AGENT_DEFINITIONS_H
#define TOOLS_AGENT_DEFINITIONS_H

#include "core/base/budget.h"
#include "core/base/span.h"
#include "core/flow/flow.h"

struct definitions;
struct state;

struct definitions *definitions_new(struct budget *budget); /* NULL: no memory */
void definitions_free(struct definitions *definitions);

/* flow_compile(), or a flow compiled earlier from the same bytes. The caller unrefs it. */
int definitions_compile(struct definitions *definitions, struct span source, struct flow **flow,
                        struct flow_problem *problem);

/* The flow of the definition document with this digest, to be unreffed; NULL when there is none, or
 * none that compiles. */
struct flow *definitions_flow(struct definitions *definitions, struct state *state,
                              struct span digest);

#endif
