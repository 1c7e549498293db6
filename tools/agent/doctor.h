/* Runs the checker of documents (core/agent/check_documents.h) over what is in LMDB, beside the
 * running agent: once in the background after the start, and whenever somebody asks.
 *
 * A check waits until what was handed over is in LMDB and then reads it all from one read
 * transaction. What it finds is kept until the next one, said on stderr, and changes nothing: a
 * broken invariant is for people to know, and the agent goes on.
 *
 * Threads: a thread of its own, of the lowest priority, which lets others go first every few
 * documents. The functions may be called by any, open and close by one. */
#ifndef TOOLS_AGENT_DOCTOR_H
#define TOOLS_AGENT_DOCTOR_H

#include "core/agent/check_documents.h"
#include "core/base/budget.h"
#include "core/base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct doctor;
struct keyring;
struct state;

struct doctor_options {
    struct state *state;
    struct budget *budget;
    struct keyring *keyring; /* NULL: there is none */
};

struct doctor_finding {
    char key[CHECK_KEY_TEXT_SIZE];
    char sentence[CHECK_SENTENCE_SIZE];
};

/* The last check that ended; checks 0: none has. */
struct doctor_report {
    uint64_t checks;  /* that have ended, by this process */
    bool under_way;   /* another one */
    uint64_t time_ns; /* wall time of its beginning */
    uint64_t took_ns;
    uint64_t seq;       /* what the documents stand for */
    struct error error; /* why it found out nothing; code 0: it did */
    struct check_documents_result result;
    struct doctor_finding findings[CHECK_FINDINGS_TOLD_MAX];
    uint32_t finding_count; /* of them */
};

int doctor_open(struct doctor **doctor, const struct doctor_options *options, struct error *error);
/* Nothing more is begun, one under way is given up, and whoever waits gets -ECANCELED. NULL is
 * fine. */
void doctor_stop(struct doctor *doctor);
/* The same, and releases all. Nobody waits any more. NULL is fine. */
void doctor_close(struct doctor *doctor);

/* Begins a check, whose number it gives, and does not wait for it. False: one is under way, or the
 * agent stops. */
bool doctor_begin(struct doctor *doctor, uint64_t *number);

/* Waits until that check is over. 0 with the report, in which an error may be; -ECANCELED. */
int doctor_wait(struct doctor *doctor, uint64_t number, struct doctor_report *report);

/* A copy of what is known (35 KB). */
void doctor_report_get(struct doctor *doctor, struct doctor_report *report);

#endif
