/* A workflow definition, compiled: what DESIGN §6 shows as JSON, checked and ready to run.
 *
 * Immutable and shared by reference count; its memory is one arena on the budget
 * (BUDGET_DEFINITIONS). The same source bytes have the same digest and are compiled once by whoever
 * keeps them.
 *
 * In this version: steps `http`, `exec`, `sleep`, `signal`; `needs`, `timeout`, `retry`,
 * `idempotent`, `on_failure: fail|park|continue`. Kinds and keys that the design names but this
 * version does not have are refused with a message that says so.
 *
 * Pure. Threads: a flow may be read by any; the count is atomic. */
#ifndef CORE_FLOW_FLOW_H
#define CORE_FLOW_FLOW_H

#include "core/base/budget.h"
#include "core/base/json.h"
#include "core/base/sha256.h"
#include "core/base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define FLOW_STEPS_MAX 1000u
#define FLOW_NEEDS_MAX 64u
#define FLOW_NAME_SIZE_MAX 128u
#define FLOW_STEP_ID_SIZE_MAX 64u
#define FLOW_SOURCE_SIZE_MAX (1u << 20)

enum flow_kind { FLOW_HTTP = 1, FLOW_EXEC, FLOW_SLEEP, FLOW_SIGNAL };
enum flow_on_failure { FLOW_PARK = 0, FLOW_FAIL, FLOW_CONTINUE };

struct flow_retry {
    uint32_t max_attempts; /* 1: no retry */
    uint64_t initial_ns, max_ns;
    double factor; /* >= 1 */
    double jitter; /* 0 to 1 */
};

struct flow_header {
    struct span name, value; /* value may hold templates */
};

/* Texts that may hold ${{ secrets.NAME }}, ${{ input.a.b }}, ${{ steps.ID.output.c }} are kept as
 * written; core/flow/template.h fills them in. */
struct flow_http {
    struct span method, url;
    struct flow_header *headers;
    uint32_t header_count;
    struct span body; /* JSON text as written; size 0: none */
};

struct flow_exec {
    struct span *argv; /* argv[0] an absolute path */
    uint32_t argv_count;
    struct flow_header *env; /* NAME, value */
    uint32_t env_count;
    struct span stdin_text;
};

struct flow_signal {
    struct span name;
    uint64_t timeout_ns; /* 0: none */
};

struct flow_step {
    struct span id;
    enum flow_kind kind;
    uint32_t *needs; /* indexes of steps, ascending */
    uint32_t needs_count;
    uint32_t *wanted_by; /* indexes of steps that need this one, ascending */
    uint32_t wanted_by_count;
    uint64_t timeout_ns; /* of one attempt; http and exec: 30 s when not said */
    struct flow_retry retry;
    bool idempotent;
    enum flow_on_failure on_failure;
    union {
        struct flow_http http;
        struct flow_exec exec;
        uint64_t sleep_ns;
        struct flow_signal signal;
    };
};

struct flow {
    uint8_t digest[SHA256_SIZE]; /* of source */
    struct span name;
    struct span source; /* the JSON as it came */
    struct flow_step *steps;
    uint32_t step_count;
    bool uses_exec;
};

/* Why a definition is refused. */
struct flow_problem {
    char pointer[256]; /* JSON Pointer from the definition's root: "/steps/1/needs/0" */
    char message[512]; /* one sentence with the name of the thing and the way out */
};

/* Compiles `source` (a JSON object). 0 with a flow whose count is 1; ERROR_INVALID or ERROR_SYNTAX
 * with `problem`; ERROR_BUDGET. */
int flow_compile(struct flow **flow, struct budget *budget, struct span source,
                 struct flow_problem *problem);

struct flow *flow_ref(struct flow *flow);
void flow_unref(struct flow *flow); /* NULL is fine; the last one frees it */

size_t flow_memory(const struct flow *flow); /* bytes on the budget */

/* The index of the step with this id, or -1. */
int64_t flow_find_step(const struct flow *flow, struct span id);

const char *flow_kind_name(enum flow_kind kind); /* "http", ... */

/* The pause before attempt `attempt` + 1 (attempt >= 1), jitter taken from `random` (any 64 bits).
 */
uint64_t flow_retry_pause_ns(const struct flow_retry *retry, uint32_t attempt, uint64_t random);

#endif
