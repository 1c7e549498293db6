/* A connection to PostgreSQL: statements, their rows, and COPY into it.
 *
 * Every wait has an end: 10 s for a connection, 120 s for an answer, and 10 s for either once
 * `stop` is true, so that a dead server never holds us. A connection that failed so is gone
 * (pg_alive() is false); close it and open another.
 *
 * A session finds names in pg_catalog and nowhere else: all others, those that triggers of others
 * use too, have to say their schema.
 *
 * Errors: what a SQLSTATE means to the copier is decided in one place, pg_class_of(), and each
 * class is one code here (pg_code_of()). The sentences are the server's, with the SQLSTATE; none
 * holds a password.
 *
 * Threads: a pg belongs to one thread at a time. */
#ifndef PGSYNC_PG_H
#define PGSYNC_PG_H

#include "core/base/error.h"
#include "core/base/span.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct pg;
struct pg_rows;

enum pg_class {
    PG_RETRY,    /* the server, the network or a lock: the same may go well later */
    PG_ROW,      /* a value that the server refuses: another batch may go well */
    PG_CONFLICT, /* the row is there already */
    PG_SCHEMA,   /* a table or column is missing or another */
    PG_REFUSED,  /* no right, no such database, wrong password */
    PG_BUG,      /* none of these */
};

/* `sqlstate` has five characters; NULL is a lost connection. Pure. */
enum pg_class pg_class_of(const char *sqlstate);

/* RETRY ERROR_UNAVAILABLE, ROW ERROR_INVALID, CONFLICT ERROR_CONFLICT, SCHEMA ERROR_MISMATCH,
 * REFUSED -EACCES, BUG -EPROTO. */
int pg_code_of(enum pg_class class);

/* What whoever started a program can do about an error of a connection, to be put behind its text;
 * "" nothing more is known than what the text says. Pure. */
const char *pg_hint(const struct error *error);

/* 0, or ERROR_SYNTAX with a sentence that does not repeat the url. Pure. */
int pg_check_url(const char *url, struct error *error);

/* The same, and no password in it: for a url of a command line, which others can read. Pure. */
int pg_check_open_url(const char *url, struct error *error);

/* What a connection may cost and is called; 0 and NULL: what stands above, "daa-pgsync". */
struct pg_options {
    const char *url;         /* as for pg_open() */
    const atomic_bool *stop; /* the caller's, longer there than the connection */
    const char *name;        /* application_name, shown in pg_stat_activity */
    int connect_ms, answer_ms, stop_ms;
};
int pg_open_with(struct pg **pg, const struct pg_options *options, struct error *error);

/* Connects, to the first server that can be had of those that the url names (pgsync/hosts.h), each
 * within the time for a connection. `url` is a libpq URL or key=value string; what it leaves out
 * comes from the PG* environment and the password file. `stop` stays the caller's.
 * ERROR_UNAVAILABLE, or ERROR_SYNTAX for a url that is none. */
int pg_open(struct pg **pg, const char *url, const atomic_bool *stop, struct error *error);
void pg_close(struct pg **pg); /* sets it to NULL; NULL is fine */
bool pg_alive(const struct pg *pg);
bool pg_is_idle(const struct pg *pg);       /* alive, and in no transaction and no statement */
int pg_server_version(const struct pg *pg); /* 150004 for 15.4 */

/* The first warning of the last statement, "" when it gave none: what a server skips for want of a
 * right is a warning, and no error. Valid until the next statement. */
const char *pg_warning(const struct pg *pg);

/* Asks the server for a sign of life, for so long at most. 0; negative: the connection is gone. */
int pg_ping(struct pg *pg, int answer_ms, struct error *error);

/* Whether an answer may take as long as it takes, as that of CREATE INDEX. `stop` still ends it. */
void pg_be_patient(struct pg *pg, bool patient);

/* Runs one or more statements and drops their rows. */
int pg_run(struct pg *pg, const char *sql, struct error *error);
/* The same, and waits for each answer so long at most. */
int pg_run_within(struct pg *pg, const char *sql, int answer_ms, struct error *error);

/* The same, and gives the rows of the last one that has any (free them with pg_rows_free()). */
int pg_query(struct pg *pg, const char *sql, struct pg_rows **rows, struct error *error);

/* One statement whose parameters $1 to $count are these texts, NULL for null: they travel apart
 * from the statement, so nothing in them can become a part of it. */
int pg_query_values(struct pg *pg, const char *sql, const char *const *values, int count,
                    struct pg_rows **rows, struct error *error);
int pg_rows_count(const struct pg_rows *rows);
/* In text form, valid until the rows are freed; NULL for null. */
const char *pg_rows_text(const struct pg_rows *rows, int row, int column);
int64_t pg_rows_integer(const struct pg_rows *rows, int row, int column); /* null: 0 */
void pg_rows_free(struct pg_rows *rows);                                  /* NULL is fine */

/* Of the last statement that the server refused: its SQLSTATE ("" of none), and the row of a COPY
 * into `table` that it names (from 1), or 0. */
const char *pg_sqlstate(const struct pg *pg);
uint64_t pg_copy_line(const struct pg *pg, const char *table);

/* COPY: begin with "COPY ... FROM STDIN ...", send pieces of any size, end. After an error from
 * data or end the statement is over. abort ends it so that the server drops the rows; that leaves
 * a failed transaction. */
int pg_copy_begin(struct pg *pg, const char *sql, struct error *error);
int pg_copy_data(struct pg *pg, struct span bytes, struct error *error);
int pg_copy_end(struct pg *pg, struct error *error);
void pg_copy_abort(struct pg *pg);

#endif
