/* The deterministic simulator of the log: lives of a writer over an engine that loses power
 * (io_power.h), one behind the other in one directory in memory, all of it chosen by a seed.
 * t/log-power.c lets power fail on a disk that keeps its word, t/log-lies.c on one that does not.
 *
 * A life opens the log, appends commands, rolls, seals, fails over, finds the disk full now and
 * then, and ends with power or in order. What it acknowledged is the oracle.
 *
 * Threads: one. */
#ifndef POWER_TRIAL_H
#define POWER_TRIAL_H

#include "core/base/budget.h"
#include "log/log.h"
#include "log_commands.h"

#include <stdbool.h>
#include <stdint.h>

enum { TRIAL_LIVES_MAX = 8 };

struct random {
    uint64_t state;
};

uint64_t random_next(struct random *random);
uint32_t random_below(struct random *random, uint32_t limit);

/* What one seed has come to, or the sum of many. */
struct trial_counts {
    unsigned crashes, torn, unproven, lost_opening, rolls, sealed, failovers, full, steps;
};

struct trial {
    struct random random;
    char dir[256], copy[256];
    struct budget *budget;
    /* The caller's, with the trial as context: io_power_watch() of each life. NULL: none. */
    void (*written)(const struct io_op *op, void *context);
    struct log_commands commands;
    struct log_commands left_out[TRIAL_LIVES_MAX]; /* by crashes: what there was to lose before */
    unsigned lives;
    uint64_t acknowledged;
    uint32_t depth; /* frames that the newest life may have had under way */
    struct trial_counts counts;
    bool loud;
    char fault[400];
};

/* Empties the directory `dir`, which is made; `dir`.copy is for the trial's own use. */
void trial_begin(struct trial *trial, const char *dir, struct budget *budget, uint64_t seed,
                 bool loud);
void trial_end(struct trial *trial);
void trial_add(struct trial_counts *sum, const struct trial_counts *counts);
void trial_note(const struct trial_counts *sum);

/* Notes the first thing that went wrong; false. */
bool trial_failed(struct trial *trial, const char *what);

struct log_options trial_options(struct trial *trial, const char *dir, struct io *io);

/* Appends until the log takes nothing more, or for a while. */
void trial_append(struct trial *trial, struct log *log);

/* Ends in order: true, with CLOSE as the last event that is acknowledged. The log is released in
 * any case. */
bool trial_close(struct trial *trial, struct log *log, struct error *error);

/* Some ops will fail before power does; most often there are spares to go on in. */
void trial_prepare_to_break(struct trial *trial, struct log *log, struct io *io);

/* After a crash on a disk that keeps its word: the log holds what was acknowledged, whole, and what
 * it does not hold is from now on left out. */
bool trial_settle(struct trial *trial, struct log_replay *replay);

/* True if the record is one that was appended and that a crash may have left out. */
bool trial_left_out(const struct trial *trial, const struct record *record);

/* One life on a disk that keeps its word, from opening to crash, with all that must hold before it
 * and of its opening; the last one ends in order. */
bool trial_live(struct trial *trial, bool last);

/* The library's own readers agree: nothing is damaged, and reading gives every record. */
bool trial_check_readers(struct trial *trial, const struct log_replay *replay);

/* Power fails at each step of an opening of the log as it is now, each time on a copy of it: the
 * opening after that finds the same end, or says again that it is damaged. */
bool trial_crash_openings(struct trial *trial);

/* Tries seeds: SEED one, loudly; else SEEDS or `usual` of them from a random one on, up to the
 * third that is bad, which is said. `dir` lies in memory; *loud says that there is one seed. *sum
 * is noted. How many were bad. */
typedef bool trial_function(struct trial *trial, uint64_t seed);
unsigned trial_seeds(trial_function *try_seed, uint64_t usual, char dir[240], bool *loud,
                     struct trial_counts *sum);

#endif
