/* A log and those that it was forked from (DESIGN 4, Identity), as its segments and PostgreSQL
 * tell: which log each event belongs to, and where each log was left.
 *
 * Threads: a family belongs to one thread at a time. */
#ifndef PGSYNC_FAMILY_H
#define PGSYNC_FAMILY_H

#include "core/base/lineage.h"
#include "core/base/sha256.h"
#include "pgsync/pg.h"

#include <stddef.h>

struct family_log {
    uint8_t log[UUID_SIZE];
    bool gone;        /* no segment of it is there any more */
    uint64_t end_seq; /* the last event that the next log has of it; UINT64_MAX: it is the newest */
    uint8_t end_chain[SHA256_SIZE];
};

struct family {
    struct family_log *logs; /* oldest first: what the segments tell */
    size_t count;            /* 0: nothing was ever written there */
    struct lineage owners;   /* these, and the older ones that only PostgreSQL knows */
};

/* Reads the segments' headers; what was there is freed. `dir` as for log_reader_open(). 0 or
 * negative; the family is empty then. */
int family_read(struct family *family, const char *dir, struct error *error);

/* Adds what daa.replica knows of logs older than those. 0, or the pg's error. */
int family_ask(struct family *family, struct pg *pg, struct error *error);

/* Which log each event of `log` belongs to, as daa.replica tells. 0, or the pg's error. */
int family_owners(struct lineage *owners, struct pg *pg, const uint8_t log[UUID_SIZE],
                  struct error *error);

void family_free(struct family *family);

#endif
