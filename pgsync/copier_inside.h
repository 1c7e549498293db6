/* A copier's own state, for the files it is made of. For pgsync/copier*.c only. */
#ifndef PGSYNC_COPIER_INSIDE_H
#define PGSYNC_COPIER_INSIDE_H

#include "pgsync/batch.h"
#include "pgsync/binary.h"
#include "pgsync/copier.h"
#include "pgsync/family.h"
#include "pgsync/pg.h"
#include "pgsync/poison.h"
#include "pgsync/schema.h"

/* What a copier keeps of the row of log %s, the next fork ahead of it that is waited for: that of a
 * log which was registered without this one's events; and the newest erasure. */
#define COPIER_POSITION_SQL                                                                        \
    "SELECT last_seq, encode(last_chain, 'hex'), epoch,"                                           \
    " (SELECT min(c.parent_seq) FROM daa.replica c"                                                \
    " WHERE c.parent = r.log AND c.parent_seq > r.last_seq),"                                      \
    " (SELECT max(number) FROM daa.erased)"                                                        \
    " FROM daa.replica r WHERE log = '%s'"

struct copier {
    struct copier_options options;
    enum copier_state state;
    struct pg *pg;
    struct schema schema;
    struct family family;
    uint8_t log[UUID_SIZE]; /* the one of the family that is copied now */
    char log_text[UUID_TEXT_SIZE];
    bool claimed;   /* this log */
    uint64_t epoch; /* ours, once claimed */
    uint64_t position;
    uint8_t chain[SHA256_SIZE]; /* at the position */
    uint64_t fork_seq;          /* at which a batch ends, and completes others' rows; 0: none */
    bool erases;                /* the batch begins with an erasure */
    struct erased erased;
    uint64_t erased_number; /* the newest row of daa.erased, as it was seen */
    struct batch batch;
    struct binary changes;
    uint64_t batch_rows; /* aimed at */
    struct poison poison;
    uint64_t stranger_seq;  /* the event of another log for which the family was read again */
    struct error refusal;   /* of the row that poison names */
    char refusal_state[6];  /* its SQLSTATE */
    struct error stopped;   /* why, when STOPPED */
    uint64_t rows_in_a_row; /* copied since there was nothing to copy */
    uint64_t analyzed_ns;   /* when the tables were analyzed; 0: never */
    struct copier_stats stats;
};

/* Takes position, chain and next fork from a row of COPIER_POSITION_SQL. 0; ERROR_LOCKED when it is
 * not ours any more; ERROR_MISMATCH. */
int copier_take_position(struct copier *copier, const struct pg_rows *rows, struct error *error);

/* Finds out which log of the family to go on with and from where, holds what was copied against the
 * log, puts the reader behind it, and then claims it: 1 with *ready. Or registers a log that
 * PostgreSQL does not know yet, or finds that the position has moved meanwhile: 1, call again. 0
 * there is no log yet; negative as of the pg and the log. */
int copier_find_position(struct copier *copier, bool *ready, struct error *error);

/* Puts the record `first`, which stands there, and those that follow it into the batch and into
 * daa.events, within the transaction. 0, ERROR_INVALID when a row is refused, the pg's. */
int copier_send_events(struct copier *copier, const struct record *first,
                       const struct log_place *place, struct error *error);

/* Everything durable is copied: after a bulk load the tables are analyzed, within a minute. It is
 * no error when they are not; the connection may be gone. */
void copier_caught_up(struct copier *copier);

#endif
