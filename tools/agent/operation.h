/* The operations of the API in one table, and what carries one out: an exchange, which is one
 * request and its answer.
 *
 * An operation's `begin` runs once the whole body is there. It answers (operation_answer(),
 * operation_problem()), or sends a command to the agent (operation_ask()), or waits for the end of
 * a workflow (operation_wait()); after these two the connection is suspended, and `go_on` runs when
 * it was resumed. All of it is on an API thread.
 *
 * Threads: an exchange belongs to its API thread; its request to the agent thread meanwhile. */
#ifndef TOOLS_AGENT_OPERATION_H
#define TOOLS_AGENT_OPERATION_H

#include "core/base/arena.h"
#include "core/base/json.h"
#include "core/base/text.h"
#include "tools/agent/auth.h"
#include "tools/agent/boot.h"
#include "tools/agent/connection.h"
#include "tools/agent/definitions.h"
#include "tools/agent/eraser.h"
#include "tools/agent/inbox.h"
#include "tools/agent/problem.h"
#include "tools/agent/snapshot.h"

#include <microhttpd.h>
#include <pthread.h>

#define OPERATION_PARAMETERS_MAX 2u
#define OPERATION_WAIT_MAX_NS (600ull * 1000000000)

struct exchange;
struct inquiry;
struct searcher;

typedef enum MHD_Result operation_function(struct exchange *exchange);

struct operation {
    const char *method;
    const char *path; /* "/api/v1/workflows/{id}/signals/{name}" */
    enum auth_scope scope;
    bool early; /* also before the agent is ready, and while it stops */
    operation_function *begin, *go_on;
    const char *doc;
};

extern const struct operation operations[]; /* ends with method NULL */

/* The operation of a method and path, its parameters taken from the path. NULL: `allowed` lists the
 * methods of the path ("GET, POST"), or is empty when there is no such path. */
const struct operation *operation_find(const char *method, const char *path,
                                       struct span parameters[OPERATION_PARAMETERS_MAX],
                                       char allowed[64]);

struct api {
    struct boot *boot;
    struct auth auth;
    struct connections *connections;
    struct definitions *definitions;
    struct MHD_Daemon *tcp, *unix_socket;
    char url[160];
    char socket_path[108];
    _Atomic bool ready, draining;
    _Atomic uint64_t requests;  /* begun, ever */
    _Atomic uint64_t under_way; /* not answered yet */
    _Atomic uint64_t request_ids;
    _Atomic uint64_t answer_bytes; /* of large answers that are not sent yet */
    /* One of each at a time. */
    _Atomic bool digest_under_way, snapshot_under_way, anchor_under_way, erase_under_way;
    _Atomic unsigned long_under_way;   /* threads that answer one of these */
    _Atomic unsigned checks_under_way; /* requests that wait for one */
    pthread_mutex_t reader_lock;
    struct log_reader *reader; /* of histories; NULL until the first */
    struct searcher *searcher; /* NULL: there is no [database] url */
};

enum exchange_phase { EXCHANGE_BEGINS = 0, EXCHANGE_SUSPENDED, EXCHANGE_ANSWERED };

struct exchange {
    struct api *api;
    struct connection *connection;
    struct MHD_Connection *mhd;
    const struct operation *operation;
    enum exchange_phase phase;
    bool under_way;     /* a request has begun and was not completed */
    struct arena arena; /* emptied after each request */
    const char *path;   /* without the query */
    struct span parameters[OPERATION_PARAMETERS_MAX];
    struct principal principal;
    char request_id[65], traceparent[64];
    const char *key; /* Idempotency-Key; NULL: none */
    uint8_t *body;
    size_t body_size, body_capacity;
    bool body_too_large;
    struct problem problem; /* found in the headers; answered after the body */
    bool waits;
    uint64_t wait_deadline_ns; /* monotonic */
    struct flow *flow;
    struct request request;
    size_t answer_reserved; /* on the budget, for the answer to come */
    uint64_t seq;           /* for X-Log-Seq; 0: none */
    bool replayed;
    uint8_t digest[32];
    struct snapshot_info snapshot;
    uint64_t check; /* number of the check that it waits for */
    struct error error;
    struct erasure erasure;
    struct inquiry *inquiry; /* to PostgreSQL, until the request is completed; NULL: none */
};

/* Room for an answer of so many bytes, until it is sent or the exchange ends; a small one needs
 * none. False: there is none now. */
bool operation_reserve(struct exchange *exchange, size_t size);

/* Answers with `text`, which is taken; with 429 when there is no room for it, so what has changed
 * something reserves first, or answers little. `location` may be NULL. */
enum MHD_Result operation_answer(struct exchange *exchange, int status, struct text *text,
                                 const char *location);
enum MHD_Result operation_problem(struct exchange *exchange, const struct problem *problem);
/* The same with 200, for what is not JSON. */
enum MHD_Result operation_answer_plain(struct exchange *exchange, struct text *text,
                                       const char *type);

/* The two answers that every operation_ask() may get: REQUEST_REFUSED, REQUEST_UNKNOWN. */
enum MHD_Result operation_refusal(struct exchange *exchange);
enum MHD_Result operation_unknown(struct exchange *exchange);

/* Fills in what all commands have in common: who asks, under which names. */
void operation_fill_command(struct exchange *exchange);

/* Suspends the connection and sends exchange->request, whose command is filled in but for what all
 * have in common. */
enum MHD_Result operation_ask(struct exchange *exchange);

/* Suspends the connection until the workflow has ended, or the deadline. */
enum MHD_Result operation_wait(struct exchange *exchange, uint64_t stream);

/* The body as JSON, an object. False: *problem says why not. */
bool operation_body(struct exchange *exchange, struct json *json, struct problem *problem);
void operation_json_problem(const struct json_problem *found, struct problem *problem);

const char *operation_query(struct exchange *exchange, const char *name); /* NULL: none */

/* Reads ?wait= into the exchange, ?limit=. */
bool operation_read_wait(struct exchange *exchange, struct problem *problem);
bool operation_read_number(struct exchange *exchange, const char *name, uint64_t min, uint64_t max,
                           uint64_t *value, struct problem *problem);

/* The workflow that {id} names, or a 404 in *problem. */
bool operation_stream(struct exchange *exchange, uint64_t *stream, struct problem *problem);

operation_function workflow_submit, workflow_submitted;
operation_function workflow_list, workflow_listed, workflow_get, workflow_history;
operation_function workflow_signal, workflow_cancel, workflow_resolve, workflow_changed;
operation_function workflow_erase, workflow_erase_end;
/* The command is there, but for what all have in common. */
enum MHD_Result workflow_erase_begin(struct exchange *exchange);
bool workflow_is_erased(uint64_t stream, void *api); /* as its key says; by any thread */
void eraser_add_status(const struct boot *boot, struct text *text); /* a member "encryption" */
operation_function status_health, status_ready, status_all;
operation_function state_digest_begin, state_digest_end;
operation_function state_snapshot_begin, state_snapshot_end, state_snapshot_list;
operation_function doctor_show, doctor_check, doctor_checked;
operation_function scrub_show, scrub_start;

/* What /status says of them: a member "snapshots" of an open object. */
void state_add_snapshots(const struct boot *boot, struct text *text);

/* And of the last check of the state: a member "check". */
void doctor_add_status(const struct boot *boot, struct text *text);

/* And of the log's reading through: a member "scrub". */
void scrub_add_status(const struct boot *boot, struct text *text);
operation_function clock_show, clock_accept, clock_accepted;
operation_function replication_show_metrics;

/* What /status and /ready say of the copy that the agent makes in PostgreSQL, if it does: a member
 * "copy" of an open object, and a member "replication". */
void replication_add_status(struct api *api, struct text *text);
void replication_add_ready(const struct api *api, struct text *text);
operation_function anchor_newest, anchor_list, anchor_sign_begin, anchor_sign_end;
void anchor_add_status(const struct boot *boot, struct text *text); /* a member "anchors" */

/* Runs run(exchange) on a thread of its own, because it takes its time, while the connection is
 * suspended. `under_way`, which the caller has set, is for one at a time; run() ends with
 * operation_end_long(). */
enum MHD_Result operation_begin_long(struct exchange *exchange, void *(*run)(void *),
                                     _Atomic bool *under_way);
void operation_end_long(struct exchange *exchange, _Atomic bool *under_way);

/* The log's reader that all share, until operation_give_reader(), which is due in any case. 0 or
 * negative. */
int operation_take_reader(struct api *api, struct error *error);
void operation_give_reader(struct api *api);

/* There is no document of this workflow: 410 when the log says that there was one, else 404. */
enum MHD_Result workflow_missing(struct exchange *exchange, uint64_t stream);
bool workflow_was_there(struct exchange *exchange, uint64_t stream); /* as the log says */

enum MHD_Result workflow_gone(struct exchange *exchange, bool asked_postgres); /* the 410 */

/* It was there, and PostgreSQL may have it: suspends the connection until that has answered, and
 * then answers as it says. */
enum MHD_Result workflow_ask_postgres(struct exchange *exchange, uint64_t stream);
enum MHD_Result workflow_from_postgres(struct exchange *exchange);
void inquiry_free(struct inquiry *inquiry); /* NULL is fine */

void database_add_status(struct api *api, struct text *text);        /* a member "database" */
void database_add_metrics(const struct api *api, struct text *text); /* in the text format */
void status_add_metrics(const struct api *api, struct text *text);   /* of the log, likewise */

/* One number of GET /metrics. */
struct metric {
    const char *name, *type, *help;
    uint64_t value;
};
void metric_add(struct text *text, const struct metric *metric);
enum MHD_Result workflow_unreadable(struct exchange *exchange, int status);

#endif
