/* What to do about a row that the server refuses: a value that a type cannot hold, a rule of
 * somebody's own. Pure: told of every batch that was refused or went in, it says how long the
 * next one may be and how its first row goes in.
 *
 * The server names the row of a COPY, so the batch is sent again up to the row before it, then
 * the row alone; where it does not (a rule of a derived table), half of the rows are tried, down
 * to one. That one goes in by steps, each until the server takes it: into events without its
 * payload, then not at all; into the derived tables without what users gave, then not at all.
 * daa.rejected has it from the first step on, in the same transaction, so nothing is skipped in
 * silence or stops.
 *
 * Threads: belongs to its owner. */
#ifndef PGSYNC_POISON_H
#define PGSYNC_POISON_H

#include <stdbool.h>
#include <stdint.h>

enum poison_where { POISON_EVENTS, POISON_TABLES };
enum poison_step { POISON_WHOLE = 0, POISON_REDUCED, POISON_LEFT_OUT };

struct poison {
    uint64_t seq; /* behind the position: this one goes in alone, by these steps; 0: none */
    enum poison_step steps[2]; /* by where */
    uint64_t before;           /* one that was refused among others: the batch ends in front of it,
                                * or is that one; 0: none */
    uint64_t suspects; /* so many rows behind the position, one of which was refused; 0: none */
};

/* How many rows the next batch may have, `wanted` or fewer. */
uint64_t poison_rows(const struct poison *poison, uint64_t position, uint64_t wanted);

/* Whether the row behind the position is one that was refused, and how it goes in. */
bool poison_is_next(const struct poison *poison, uint64_t position);
enum poison_step poison_step_of(const struct poison *poison, uint64_t position,
                                enum poison_where where);

/* A batch of `rows` rows behind the position was refused, by its row `line` (from 1; 0: nobody
 * knows). False: the server refuses it though nothing of it goes in there. */
bool poison_met(struct poison *poison, uint64_t position, uint64_t rows, enum poison_where where,
                uint64_t line);

/* `rows` rows went in; the position is behind them now. */
void poison_passed(struct poison *poison, uint64_t position, uint64_t rows);

#endif
