/* The invariant checker over the documents (core/agent/document.h): what must hold of them whatever
 * happened, above all that every workflow that has not ended waits for something that exists.
 * agent_check() looks at what is in memory; this at all there is.
 *
 * The caller gives every document, each once, in the order of keys, from one consistent read, and
 * answers look-ups from the same read. Each document is checked by itself and against those that
 * it must agree with:
 *
 *   w  its definition is there and it has as many steps; its steps make sense and it waits for
 *      something; its `a` or `f` document, and itself, are to the byte what the agent would write;
 *      an unfinished one holds its idempotency key
 *   a, f  the workflow is there, unfinished or ended then
 *   d, u  one is there with the other; the digest is that of the source; as many workflows are
 *      counted as there are
 *   k, x  one is there with the other, from the end of the workflow on
 *   g  the counts are those of what was given; logs and snapshots ascend
 *
 * Memory is bounded whatever the number of documents: one workflow and a small cache of compiled
 * definitions at a time, and about 100 bytes for each definition, on the budget.
 *
 * What is wrong with documents is a finding, never an error; errors are about the check itself.
 * Pure. Threads: one owner. */
#ifndef CORE_AGENT_CHECK_DOCUMENTS_H
#define CORE_AGENT_CHECK_DOCUMENTS_H

#include "core/base/budget.h"
#include "core/base/error.h"
#include "core/base/span.h"
#include "core/event/private.h"

#include <stdbool.h>
#include <stdint.h>

#define CHECK_FINDINGS_TOLD_MAX 100u
#define CHECK_SENTENCE_SIZE 256u  /* of a finding, terminated */
#define CHECK_KEY_TEXT_SIZE 84u   /* terminated */
#define CHECK_USAGES_MAX 1000000u /* definitions whose workflows are counted */

struct check_documents_options {
    struct budget *budget;
    struct event_keys keys; /* without a context, or the key, what is encrypted is not looked at */
    /* The document of a key: 1 with *bytes, valid until the check is closed; 0 there is none;
     * negative ends the check with this code. */
    int (*get)(struct span key, struct span *bytes, void *context);
    /* Something does not hold. The first CHECK_FINDINGS_TOLD_MAX are told; all are counted. */
    void (*found)(struct span key, const char *sentence, void *context);
    void *context;
};

struct check_documents_result {
    uint64_t documents, bytes; /* of keys and values */
    uint64_t workflows, definitions, keys;
    uint64_t findings;
    bool usages_checked; /* false: there are more than CHECK_USAGES_MAX definitions */
};

struct check_documents;

int check_documents_open(struct check_documents **check,
                         const struct check_documents_options *options, struct error *error);
void check_documents_close(struct check_documents *check); /* NULL is fine */

/* The next document. 0; ERROR_BUDGET; what `get` said. */
int check_documents_add(struct check_documents *check, struct span key, struct span bytes);

/* There are no more: checks what they add up to. 0; what `get` said. */
int check_documents_end(struct check_documents *check, struct check_documents_result *result);

/* A key for people: its letter, then hexadecimal digits; a long one is cut. */
void check_documents_key_to_text(char text[CHECK_KEY_TEXT_SIZE], struct span key);

#endif
