#include "pgsync/pg.h"

#include "core/base/check.h"
#include "pgsync/hosts.h"

#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CONNECT_TIMEOUT_MS 10000
#define ANSWER_TIMEOUT_MS 120000
#define PATIENT_TIMEOUT_MS INT64_C(1000000000000)
#define STOP_TIMEOUT_MS 10000
#define POLL_SLICE_MS 200 /* how late a stop may be seen */

struct pg {
    PGconn *connection;
    const atomic_bool *stop;
    int connect_ms, answer_ms, stop_ms; /* the longest waits */
    bool lost;                          /* an answer is overdue: the connection is of no more use */
    bool patient;
    char warning[256]; /* the first one of the last statement */
    char sqlstate[6];  /* of the last refusal */
    char context[160]; /* as far as the server said where */
};

static bool in_class(const char *sqlstate, const char *classes)
{
    for (const char *class = classes; *class != '\0'; class += 3) {
        if (memcmp(sqlstate, class, 2) == 0)
            return true;
    }
    return false;
}

enum pg_class pg_class_of(const char *sqlstate)
{
    if (sqlstate == NULL || strlen(sqlstate) != 5)
        return PG_RETRY;
    if (strcmp(sqlstate, "23505") == 0)
        return PG_CONFLICT;
    if (strcmp(sqlstate, "42501") == 0 || in_class(sqlstate, "28 3D "))
        return PG_REFUSED;
    if (strcmp(sqlstate, "P0001") == 0 || in_class(sqlstate, "22 23 54 "))
        return PG_ROW;
    if (in_class(sqlstate, "3F 42 "))
        return PG_SCHEMA;
    if (in_class(sqlstate, "08 25 40 53 55 57 58 XX "))
        return PG_RETRY;
    return PG_BUG;
}

int pg_code_of(enum pg_class class)
{
    static const int codes[] = {
        [PG_RETRY] = ERROR_UNAVAILABLE, [PG_ROW] = ERROR_INVALID, [PG_CONFLICT] = ERROR_CONFLICT,
        [PG_SCHEMA] = ERROR_MISMATCH,   [PG_REFUSED] = -EACCES,   [PG_BUG] = -EPROTO,
    };
    return codes[class];
}

static bool has_any(const char *text, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strstr(text, *words) != NULL)
            return true;
    return false;
}

/* libpq gives no SQLSTATE for a connection that did not come about, so its words must do. */
static const char *hint_about_connection(const char *text)
{
    static const char *const told[] = { "does not exist", "too many", "reserved", NULL };
    static const char *const soon[] = { "starting up", "shutting down", "not yet accepting",
                                        "recovery mode", NULL };
    if (strstr(text, "password") != NULL)
        return "; the password comes from PGPASSWORD, or from the file that PGPASSFILE names";
    if (strstr(text, "pg_hba.conf") != NULL)
        return "; the server's pg_hba.conf must let this role in from here";
    if (has_any(text, soon))
        return "; try again once the server is up";
    return has_any(text, told) ? "" : "; does the server run, and is the url right?";
}

const char *pg_hint(const struct error *error)
{
    if (error->code == -EACCES)
        return "; connect as a role that may, or GRANT this one what is missing (daa_reader reads "
               "all of it, daa_writer owns it)";
    if (error->code != ERROR_UNAVAILABLE)
        return "";
    if (strstr(error->text, "SQLSTATE") == NULL)
        return hint_about_connection(error->text);
    if (strstr(error->text, "SQLSTATE 25006") != NULL)
        return "; this server is a standby or read-only: ask its primary";
    if (strstr(error->text, "SQLSTATE 55P03") != NULL)
        return "; 'daa-cli database pool-stats' shows who is in a transaction";
    return "";
}

/* The first line of libpq's message, which ends with a line feed and may have more of them. */
static int set_lost(struct pg *pg, struct error *error)
{
    const char *text = PQerrorMessage(pg->connection);
    pg->lost = true;
    return error_set(error, ERROR_UNAVAILABLE, "%.*s", (int)strcspn(text, "\n"),
                     *text != '\0' ? text : "the connection is gone");
}

static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text), wanted = strlen(end);
    return size >= wanted && strcmp(text + size - wanted, end) == 0;
}

/* Two SQLSTATEs stand for more than one thing, told apart by the names that come with them. */
static enum pg_class class_of(const PGresult *result, const char *sqlstate)
{
    const char *table = PQresultErrorField(result, PG_DIAG_TABLE_NAME);
    const char *constraint = PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME);
    /* No partition takes the row: one was detached just now, so it is no fault of the row. */
    if (strcmp(sqlstate, "23514") == 0 && table != NULL && constraint == NULL)
        return PG_RETRY;
    /* A unique index of somebody's own is a rule like any other; ours are of keys. */
    if (strcmp(sqlstate, "23505") == 0 && constraint != NULL && !ends_with(constraint, "_pkey") &&
        strcmp(constraint, "workflows_id_key") != 0)
        return PG_ROW;
    return pg_class_of(sqlstate);
}

static int set_refused(struct pg *pg, const PGresult *result, struct error *error)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
    /* A server that only reads: another one, or a connection that is made anew, may write. */
    if (PQstatus(pg->connection) == CONNECTION_BAD ||
        (sqlstate != NULL && strcmp(sqlstate, "25006") == 0))
        pg->lost = true;
    if (sqlstate == NULL)
        return set_lost(pg, error);
    const char *context = PQresultErrorField(result, PG_DIAG_CONTEXT);
    (void)snprintf(pg->sqlstate, sizeof pg->sqlstate, "%s", sqlstate);
    (void)snprintf(pg->context, sizeof pg->context, "%s", context != NULL ? context : "");
    return error_set(error, pg_code_of(class_of(result, sqlstate)), "%s (SQLSTATE %s)%s%.300s",
                     text != NULL ? text : "no message", sqlstate, detail != NULL ? ": " : "",
                     detail != NULL ? detail : "");
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Until when a wait may last. */
struct patience {
    int64_t deadline_ms;
    bool stopping;
};

static struct patience patience_of(int64_t timeout_ms)
{
    return (struct patience){ now_ms() + timeout_ms, false };
}

/* Waits until the socket is ready for `events`. 0, or -ETIMEDOUT. */
static int wait_socket(struct pg *pg, short events, struct patience *patience)
{
    for (;;) {
        int64_t now = now_ms();
        if (!patience->stopping && atomic_load(pg->stop)) {
            patience->stopping = true;
            if (patience->deadline_ms > now + pg->stop_ms)
                patience->deadline_ms = now + pg->stop_ms;
        }
        if (now >= patience->deadline_ms)
            return -ETIMEDOUT;
        struct pollfd fd = { PQsocket(pg->connection), events, 0 };
        int ready = poll(&fd, 1, POLL_SLICE_MS);
        if (ready > 0)
            return 0;
    }
}

static int set_overdue(struct pg *pg, const char *what, struct error *error)
{
    pg->lost = true;
    return error_set(error, ERROR_UNAVAILABLE, "%s did not come in time", what);
}

static int finish_connecting(struct pg *pg, struct error *error)
{
    struct patience patience = patience_of(pg->connect_ms);
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;
    while (status != PGRES_POLLING_OK) {
        if (PQstatus(pg->connection) == CONNECTION_BAD || status == PGRES_POLLING_FAILED)
            return set_lost(pg, error);
        if (wait_socket(pg, status == PGRES_POLLING_READING ? POLLIN : POLLOUT, &patience) < 0)
            return set_overdue(pg, "the server's answer to a new connection", error);
        status = PQconnectPoll(pg->connection);
    }
    return 0;
}

/* libpq's own message quotes the url, and with it the password. */
int pg_check_url(const char *url, struct error *error)
{
    char *message = NULL;
    PQconninfoOption *options = PQconninfoParse(url, &message);
    PQfreemem(message);
    if (options == NULL && (strchr(url, '=') != NULL || strstr(url, "://") != NULL))
        return error_set(error, ERROR_SYNTAX,
                         "the url is not one of PostgreSQL's; it looks like "
                         "postgresql://user@host:5432/database (the password comes from "
                         "PGPASSWORD, or from the file that PGPASSFILE names)");
    PQconninfoFree(options);
    return 0;
}

int pg_check_open_url(const char *url, struct error *error)
{
    bool secret = false;
    int failed = pg_check_url(url, error);
    if (failed < 0)
        return failed;
    PQconninfoOption *options = PQconninfoParse(url, NULL);
    for (PQconninfoOption *one = options; one != NULL && one->keyword != NULL; one++)
        secret = secret || (one->val != NULL && strstr(one->keyword, "password") != NULL);
    PQconninfoFree(options);
    return secret ? error_set(error, ERROR_SYNTAX,
                              "the url has a password, which others can read on a command line; "
                              "it belongs into PGPASSWORD, or into the file that PGPASSFILE names")
                  : 0;
}

static void keep_warning(void *context, const PGresult *result)
{
    struct pg *pg = context;
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (severity != NULL && strcmp(severity, "WARNING") == 0 && text != NULL &&
        pg->warning[0] == '\0')
        (void)snprintf(pg->warning, sizeof pg->warning, "%s", text);
}

static struct pg *new_pg(const struct pg_options *options, const struct host *host)
{
    /* What comes later wins, but nothing that is empty. */
    static const char *const names[] = {
        "application_name",
        "client_encoding",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
        "dbname",
        "host",
        "hostaddr",
        "port",
        NULL,
    };
    const char *name = options->name != NULL ? options->name : "daa-pgsync";
    const char *const values[] = { name,          "UTF8",     "30",         "10",
                                   "3",           "30000",    options->url, host->name,
                                   host->address, host->port, NULL };
    struct pg *pg = calloc(1, sizeof *pg);
    if (pg == NULL)
        return NULL;
    pg->stop = options->stop;
    pg->connect_ms = options->connect_ms > 0 ? options->connect_ms : CONNECT_TIMEOUT_MS;
    pg->answer_ms = options->answer_ms > 0 ? options->answer_ms : ANSWER_TIMEOUT_MS;
    pg->stop_ms = options->stop_ms > 0 ? options->stop_ms : STOP_TIMEOUT_MS;
    pg->connection = PQconnectStartParams(names, values, 1);
    if (pg->connection == NULL)
        pg_close(&pg);
    return pg;
}

/* Whatever the role or the database has set: no function, operator or table of somebody's own is
 * taken for one of the server's (whoever may create in a schema of the search_path could run code
 * with our rights), '\\x' begins bytes, and what is looked at under a lock is what is there. */
static int settle_session(struct pg *pg, struct error *error)
{
    int usual_ms = pg->answer_ms;
    pg->answer_ms = pg->connect_ms;
    int failed = pg_run(pg,
                        "SET search_path = pg_catalog, pg_temp; SET standard_conforming_strings = "
                        "on; SET default_transaction_isolation = 'read committed'",
                        error);
    pg->answer_ms = usual_ms;
    return failed;
}

static int connect_to(struct pg **out, const struct pg_options *options, const struct host *host,
                      struct error *error)
{
    struct pg *pg = new_pg(options, host);
    if (pg == NULL)
        return error_set(error, -ENOMEM, "no memory for a connection");
    int failed = finish_connecting(pg, error);
    if (failed == 0) {
        PQsetNoticeReceiver(pg->connection, keep_warning, pg);
        CHECK(PQsetnonblocking(pg->connection, 1) == 0);
        failed = settle_session(pg, error);
    }
    if (failed < 0)
        pg_close(&pg);
    *out = pg;
    return failed;
}

int pg_open_with(struct pg **out, const struct pg_options *options, struct error *error)
{
    struct host host = { .name = "" };
    int failed = pg_check_url(options->url, error);
    if (failed < 0)
        return failed;
    unsigned count = hosts_count(options->url);
    for (unsigned i = 0; i < count; i++) {
        if (count > 1)
            hosts_pick(options->url, i, &host);
        failed = connect_to(out, options, &host, error);
        if (failed != ERROR_UNAVAILABLE || atomic_load(options->stop))
            break;
    }
    return failed;
}

int pg_open(struct pg **out, const char *url, const atomic_bool *stop, struct error *error)
{
    const struct pg_options options = { .url = url, .stop = stop };
    return pg_open_with(out, &options, error);
}

void pg_close(struct pg **pg)
{
    if (*pg == NULL)
        return;
    PQfinish((*pg)->connection);
    free(*pg);
    *pg = NULL;
}

bool pg_alive(const struct pg *pg)
{
    return pg != NULL && !pg->lost && PQstatus(pg->connection) == CONNECTION_OK;
}

int pg_server_version(const struct pg *pg)
{
    return PQserverVersion(pg->connection);
}

void pg_be_patient(struct pg *pg, bool patient)
{
    pg->patient = patient;
}

bool pg_is_idle(const struct pg *pg)
{
    return pg_alive(pg) && PQtransactionStatus(pg->connection) == PQTRANS_IDLE;
}

const char *pg_warning(const struct pg *pg)
{
    return pg->warning;
}

/* Sends what libpq still holds; reads meanwhile, since a server that wants to be read first would
 * block both. */
static int flush(struct pg *pg, struct patience *patience, struct error *error)
{
    int left;
    while ((left = PQflush(pg->connection)) > 0) {
        if (wait_socket(pg, POLLIN | POLLOUT, patience) < 0)
            return set_overdue(pg, "room to send", error);
        if (PQconsumeInput(pg->connection) == 0)
            return set_lost(pg, error);
    }
    return left < 0 ? set_lost(pg, error) : 0;
}

/* The next result; NULL in *result behind the last one. */
static int next_result(struct pg *pg, PGresult **result, struct error *error)
{
    struct patience patience = patience_of(pg->patient ? PATIENT_TIMEOUT_MS : pg->answer_ms);
    int failed = flush(pg, &patience, error);
    while (failed == 0 && PQisBusy(pg->connection)) {
        if (wait_socket(pg, POLLIN, &patience) < 0)
            failed = set_overdue(pg, "the server's answer", error);
        else if (PQconsumeInput(pg->connection) == 0)
            failed = set_lost(pg, error);
    }
    if (failed == 0)
        *result = PQgetResult(pg->connection);
    return failed;
}

/* Reads all results of what was sent. The first error counts; the last rows are kept. */
static int read_results(struct pg *pg, PGresult **rows, struct error *error)
{
    PGresult *result;
    int first = 0;
    for (;;) {
        int failed = next_result(pg, &result, error);
        if (failed < 0)
            return failed;
        if (result == NULL)
            return first;
        ExecStatusType status = PQresultStatus(result);
        bool good =
            status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY;
        if (!good && first == 0)
            first = set_refused(pg, result, error);
        if (status == PGRES_TUPLES_OK && rows != NULL) {
            PQclear(*rows);
            *rows = result;
        } else {
            PQclear(result);
        }
        if (pg->lost)
            return first;
    }
}

static int send(struct pg *pg, const char *sql, struct error *error)
{
    if (!pg_alive(pg))
        return error_set(error, ERROR_UNAVAILABLE, "the connection is gone");
    pg->warning[0] = '\0';
    return PQsendQuery(pg->connection, sql) == 1 ? 0 : set_lost(pg, error);
}

int pg_run(struct pg *pg, const char *sql, struct error *error)
{
    int failed = send(pg, sql, error);
    return failed < 0 ? failed : read_results(pg, NULL, error);
}

int pg_run_within(struct pg *pg, const char *sql, int answer_ms, struct error *error)
{
    int usual_ms = pg->answer_ms;
    pg->answer_ms = answer_ms;
    int failed = pg_run(pg, sql, error);
    pg->answer_ms = usual_ms;
    return failed;
}

int pg_ping(struct pg *pg, int answer_ms, struct error *error)
{
    int failed = pg_run_within(pg, "", answer_ms, error);
    pg->lost = pg->lost || failed < 0;
    return failed;
}

/* A struct pg_rows is a PGresult that others cannot see into. */
static struct pg_rows *rows_of(PGresult *result)
{
    return (struct pg_rows *)(void *)result;
}

static const PGresult *result_of(const struct pg_rows *rows)
{
    return (const PGresult *)(const void *)rows;
}

/* The rows of what was sent. */
static int read_rows(struct pg *pg, struct pg_rows **rows, struct error *error)
{
    PGresult *last = NULL;
    int failed = read_results(pg, &last, error);
    if (failed == 0 && last == NULL)
        failed = error_set(error, -EPROTO, "the server gave no rows where there must be some");
    if (failed < 0) {
        PQclear(last);
        return failed;
    }
    *rows = rows_of(last);
    return 0;
}

int pg_query(struct pg *pg, const char *sql, struct pg_rows **rows, struct error *error)
{
    int failed = send(pg, sql, error);
    return failed < 0 ? failed : read_rows(pg, rows, error);
}

int pg_query_values(struct pg *pg, const char *sql, const char *const *values, int count,
                    struct pg_rows **rows, struct error *error)
{
    if (!pg_alive(pg))
        return error_set(error, ERROR_UNAVAILABLE, "the connection is gone");
    pg->warning[0] = '\0';
    if (PQsendQueryParams(pg->connection, sql, count, NULL, values, NULL, NULL, 0) != 1)
        return set_lost(pg, error);
    return read_rows(pg, rows, error);
}

const char *pg_sqlstate(const struct pg *pg)
{
    return pg->sqlstate;
}

/* "COPY events, line 17, column payload", perhaps behind lines of functions that it called. */
uint64_t pg_copy_line(const struct pg *pg, const char *table)
{
    char wanted[80];
    int size = snprintf(wanted, sizeof wanted, "COPY %.60s, line ", table);
    const char *found = strstr(pg->context, wanted);
    return found != NULL ? strtoull(found + size, NULL, 10) : 0;
}

int pg_rows_count(const struct pg_rows *rows)
{
    return PQntuples(result_of(rows));
}

const char *pg_rows_text(const struct pg_rows *rows, int row, int column)
{
    const PGresult *result = result_of(rows);
    return PQgetisnull(result, row, column) ? NULL : PQgetvalue(result, row, column);
}

int64_t pg_rows_integer(const struct pg_rows *rows, int row, int column)
{
    const char *text = pg_rows_text(rows, row, column);
    return text == NULL ? 0 : strtoll(text, NULL, 10);
}

void pg_rows_free(struct pg_rows *rows)
{
    PQclear((PGresult *)(void *)rows);
}

int pg_copy_begin(struct pg *pg, const char *sql, struct error *error)
{
    PGresult *result = NULL;
    int failed = send(pg, sql, error);
    if (failed == 0)
        failed = next_result(pg, &result, error);
    if (failed < 0)
        return failed;
    if (result == NULL)
        return set_lost(pg, error);
    if (PQresultStatus(result) == PGRES_COPY_IN) {
        PQclear(result);
        return 0;
    }
    failed = set_refused(pg, result, error);
    PQclear(result);
    if (!pg->lost)
        (void)read_results(pg, NULL, NULL);
    return failed;
}

int pg_copy_data(struct pg *pg, struct span bytes, struct error *error)
{
    struct patience patience = patience_of(pg->answer_ms);
    CHECK(bytes.size <= INT32_MAX);
    for (;;) {
        int sent = PQputCopyData(pg->connection, (const char *)bytes.bytes, (int)bytes.size);
        if (sent < 0)
            return set_lost(pg, error);
        /* libpq would keep all that the server does not take: its buffer grows without end. */
        int failed = flush(pg, &patience, error);
        if (failed < 0 || sent == 1)
            return failed;
    }
}

static int end_copy(struct pg *pg, const char *reason, struct error *error)
{
    struct patience patience = patience_of(pg->answer_ms);
    int sent;
    while ((sent = PQputCopyEnd(pg->connection, reason)) == 0) {
        int failed = flush(pg, &patience, error);
        if (failed < 0)
            return failed;
    }
    return sent < 0 ? set_lost(pg, error) : read_results(pg, NULL, error);
}

int pg_copy_end(struct pg *pg, struct error *error)
{
    return end_copy(pg, NULL, error);
}

void pg_copy_abort(struct pg *pg)
{
    if (pg_alive(pg))
        (void)end_copy(pg, "the batch is given up", NULL);
}
