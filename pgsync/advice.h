/* What PostgreSQL's settings should be on a machine, for a database that agents copy their logs to.
 *
 * It is arithmetic on a few numbers; who knows the numbers and what the server has now compares.
 * Each setting has a range that is as good as the value advised, so that nobody is sent to restart
 * a server for two percent of its memory. Some settings are only remarked upon: what others need of
 * them we cannot know.
 *
 * Pure. Threads: any. */
#ifndef PGSYNC_ADVICE_H
#define PGSYNC_ADVICE_H

#include <stdbool.h>
#include <stdint.h>

enum advice_unit {
    ADVICE_BYTES,
    ADVICE_NUMBER,
    ADVICE_MS,
    ADVICE_REAL,
    ADVICE_SWITCH, /* 0 off, 1 on */
};

enum advice_verdict {
    ADVICE_FINE,
    ADVICE_CHANGE,
    ADVICE_REMARK, /* unusual, and not ours to change: `why` says when it is right */
};

struct advice_machine {
    uint64_t memory;      /* bytes, all of them the server's */
    unsigned cpus;        /* 0: not known */
    bool rotating;        /* the data lies on a disk with a head */
    uint64_t connections; /* wanted as max_connections; 0: as many as are needed */
    uint64_t connections_now;
    uint64_t agents, pool_size, max_overflow; /* of [database] in each agent's configuration */
    uint64_t reserved; /* that the server keeps for superusers and its own purposes */
};

#define ADVICE_CONNECTIONS_MAX 262143u /* no server takes more as max_connections */

enum { ADVICE_TEXT_SIZE = 32, ADVICE_WHY_SIZE = 240, ADVICE_COUNT = 17 };

struct advice {
    const char *name;
    enum advice_unit unit;
    bool remark_only;
    double value;     /* advised; sizes in bytes, times in ms */
    double low, high; /* as good as `value`, both included */
    char why[ADVICE_WHY_SIZE];
};

/* Connections that must fit: agents x (pool_size + max_overflow), the reserved ones, and
 * ADVICE_SPARE for daa-pgsync, daa-cli, psql and whoever monitors. */
#define ADVICE_SPARE 10
uint64_t advice_connections_needed(const struct advice_machine *machine);

/* Fills all ADVICE_COUNT. */
void advice_make(struct advice items[ADVICE_COUNT], const struct advice_machine *machine);

/* The columns setting and unit of pg_settings (`unit` may be NULL), in the units of struct advice.
 * 0; ERROR_SYNTAX for what is no such number. */
int advice_read(double *value, enum advice_unit unit, const char *setting,
                const char *setting_unit);

enum advice_verdict advice_judge(const struct advice *item, double now);

/* As postgresql.conf has it, without quotes: "2GB", "1.1", "on", "1s"; -1 stays -1. */
void advice_text(char text[ADVICE_TEXT_SIZE], enum advice_unit unit, double value);

#endif
