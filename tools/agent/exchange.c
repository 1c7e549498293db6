#include "tools/agent/exchange.h"

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/duration.h"
#include "core/base/id.h"
#include "log/log.h"
#include "tools/agent/host.h"
#include "tools/agent/operation.h"
#include "tools/agent/state.h"
#include "tools/agent/warmer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BODY_KEPT_MAX 16384u
#define ANSWER_SMALL_MAX                                                                           \
    16384u              /* such an answer is always sent; [api] max_connections bounds them */
#define ANSWERS_SHARE 4 /* the others: one part in so many of the memory budget */
#define LAG_BYTES_MAX (256ull << 20)
#define LAG_NS_MAX (10ull * 1000000000)
#define STALL_NS_MAX (2ull * 1000000000) /* of a write to the log */
#define SWALLOW_MAX (8ull << 20) /* of a body that is refused, so that its sender reads why */
#define COMMAND_OVERHEAD 1024u   /* bytes a request counts beside its body */

struct exchange *exchange_new(struct api *api, struct connection *connection)
{
    struct exchange *exchange = calloc(1, sizeof *exchange);
    if (!exchange)
        return NULL;
    exchange->api = api;
    exchange->connection = connection;
    exchange->mhd = connection->mhd;
    arena_init(&exchange->arena, &api->boot->budget, BUDGET_REQUESTS, 4096);
    return exchange;
}

static void free_body(struct exchange *exchange)
{
    budget_free(&exchange->api->boot->budget, BUDGET_REQUESTS, exchange->body,
                exchange->body_capacity);
    exchange->body = NULL;
    exchange->body_capacity = 0;
}

void exchange_free(struct exchange *exchange)
{
    if (!exchange)
        return;
    CHECK(!exchange->under_way);
    if (exchange->body)
        free_body(exchange);
    arena_free(&exchange->arena);
    free(exchange);
}

/*--- Answers -----------------------------------------------------------------------------------*/

static void add_header(struct MHD_Response *response, const char *name, const char *value)
{
    /* Only a lack of memory makes it fail: then the answer goes without. */
    if (MHD_add_response_header(response, name, value) != MHD_YES)
        host_say("an answer goes without its %s header", name);
}

static void add_log_seq(struct exchange *exchange, struct MHD_Response *response)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, exchange->seq);
    if (exchange->seq > 0)
        add_header(response, "X-Log-Seq", text);
}

/* An answer that its client has not read yet. */
struct answer {
    struct api *api;
    uint64_t reserved;
    char *bytes;
};

static void release_answer(struct api *api, uint64_t reserved)
{
    budget_release(&api->boot->budget, BUDGET_REQUESTS, reserved);
    atomic_fetch_sub(&api->answer_bytes, reserved);
}

static void free_answer(void *context)
{
    struct answer *answer = context;
    release_answer(answer->api, answer->reserved);
    free(answer->bytes);
    free(answer);
}

/* Slow readers must not take the memory that workflows need: so all answers have a share only. */
bool operation_reserve(struct exchange *exchange, size_t size)
{
    struct api *api = exchange->api;
    struct budget *budget = &api->boot->budget;
    if (size <= ANSWER_SMALL_MAX || exchange->answer_reserved >= size)
        return true;
    size_t more = size - exchange->answer_reserved;
    uint64_t before = atomic_fetch_add(&api->answer_bytes, more);
    if ((before == 0 || before + more <= budget->limit / ANSWERS_SHARE) &&
        budget_reserve(budget, BUDGET_REQUESTS, more) == 0) {
        exchange->answer_reserved = size;
        return true;
    }
    atomic_fetch_sub(&api->answer_bytes, more);
    return false;
}

/* Takes the text, and what was reserved for it until it is sent. NULL: no memory. */
static struct MHD_Response *make_response(struct exchange *exchange, struct text *text)
{
    size_t size = 0;
    struct answer *answer = malloc(sizeof *answer);
    char *bytes = text_take(text, &size);
    struct MHD_Response *response = NULL;
    if (answer && bytes)
        response = MHD_create_response_from_buffer_with_free_callback_cls(size, bytes, free_answer,
                                                                          answer);
    if (!response) {
        free(bytes);
        free(answer);
        return NULL;
    }
    *answer = (struct answer){ exchange->api, exchange->answer_reserved, bytes };
    exchange->answer_reserved = 0;
    return response;
}

static enum MHD_Result send_answer(struct exchange *exchange, int status, struct text *text,
                                   const char *type, const char *location,
                                   const struct problem *problem)
{
    struct MHD_Response *response = make_response(exchange, text);
    if (!response)
        return MHD_NO;
    add_header(response, "Content-Type", type);
    add_header(response, "X-Request-Id", exchange->request_id);
    add_log_seq(exchange, response);
    if (location)
        add_header(response, "Location", location);
    if (exchange->replayed)
        add_header(response, "Idempotent-Replayed", "true");
    if (problem && problem->retry_after_s > 0)
        add_header(response, "Retry-After", "1");
    if (problem && status == 401)
        add_header(response, "WWW-Authenticate", "Bearer");
    if (problem && status == 405)
        add_header(response, "Allow", problem->allow);
    if (atomic_load(&exchange->api->draining))
        add_header(response, "Connection", "close");
    exchange->phase = EXCHANGE_ANSWERED;
    enum MHD_Result result = MHD_NO;
    if (connection_enter(exchange->connection, CONNECTION_WRITING))
        result = MHD_queue_response(exchange->mhd, (unsigned)status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_as(struct exchange *exchange, int status, struct text *text,
                                 const char *type, const char *location)
{
    int failed = text->failed;
    if (failed == 0 && operation_reserve(exchange, text->size))
        return send_answer(exchange, status, text, type, location, NULL);
    text_free(text);
    struct problem problem;
    if (failed == 0)
        problem_set(&problem, 429, "memory-budget",
                    "answers that their clients have not read yet take all the memory there is for "
                    "them; try again in a moment, ask for less, or raise [memory] max_heap_size");
    else
        problem_set(&problem, 503, "memory-budget",
                    "there is no memory for the answer at the moment");
    return operation_problem(exchange, &problem);
}

enum MHD_Result operation_answer(struct exchange *exchange, int status, struct text *text,
                                 const char *location)
{
    text_add(text, "\n", 1);
    return answer_as(exchange, status, text, "application/json", location);
}

enum MHD_Result operation_answer_plain(struct exchange *exchange, struct text *text,
                                       const char *type)
{
    return answer_as(exchange, 200, text, type, NULL);
}

enum MHD_Result operation_problem(struct exchange *exchange, const struct problem *problem)
{
    struct text text;
    text_init(&text);
    problem_to_json(problem, exchange->path ? exchange->path : "", exchange->request_id, &text);
    enum MHD_Result result =
        send_answer(exchange, problem->status, &text, "application/problem+json", NULL, problem);
    text_free(&text);
    return result;
}

/*--- Headers -----------------------------------------------------------------------------------*/

struct headers {
    const char *host, *origin, *content_type, *authorization, *key, *request_id, *traceparent;
    const char *content_length, *transfer_encoding, *expect;
    unsigned content_lengths, hosts;
};

static enum MHD_Result note_header(void *context, enum MHD_ValueKind kind, const char *name,
                                   const char *value)
{
    struct headers *headers = context;
    const struct {
        const char *name;
        const char **target;
    } wanted[] = {
        { "Host", &headers->host },
        { "Content-Length", &headers->content_length },
        { "Content-Type", &headers->content_type },
        { "Origin", &headers->origin },
        { "Authorization", &headers->authorization },
        { "Idempotency-Key", &headers->key },
        { "X-Request-Id", &headers->request_id },
        { "traceparent", &headers->traceparent },
        { "Transfer-Encoding", &headers->transfer_encoding },
        { "Expect", &headers->expect },
    };
    (void)kind;
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        if (strcasecmp(name, wanted[i].name) != 0)
            continue;
        *wanted[i].target = value ? value : "";
        headers->hosts += i == 0;
        headers->content_lengths += i == 1;
        break;
    }
    return MHD_YES;
}

static bool printable(const char *text, size_t size_max)
{
    size_t size = strlen(text);
    if (size == 0 || size > size_max)
        return false;
    for (size_t i = 0; i < size; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return false;
    return true;
}

static void name_request(struct exchange *exchange, const struct headers *headers)
{
    if (headers->request_id && printable(headers->request_id, sizeof exchange->request_id - 1)) {
        memcpy(exchange->request_id, headers->request_id, strlen(headers->request_id) + 1);
    } else {
        uint64_t number = atomic_fetch_add(&exchange->api->request_ids, 0x9e3779b97f4a7c15ull);
        memcpy(exchange->request_id, "req-", 4);
        bytes_to_hex(exchange->request_id + 4, &number, sizeof number);
    }
    exchange->traceparent[0] = 0;
    if (headers->traceparent && printable(headers->traceparent, sizeof exchange->traceparent - 1))
        memcpy(exchange->traceparent, headers->traceparent, strlen(headers->traceparent) + 1);
}

static bool is_json(const char *type)
{
    size_t size = strlen("application/json");
    return type && strncasecmp(type, "application/json", size) == 0 &&
           (type[size] == 0 || type[size] == ';' || type[size] == ' ');
}

/* What makes the bytes behind these headers untrustworthy: answered at once, and closed. */
static bool check_framing(const struct headers *headers, struct problem *problem)
{
    if (headers->content_lengths > 1 || (headers->content_length && headers->transfer_encoding))
        problem_set(problem, 400, "ambiguous-length",
                    "the request has %s; send one Content-Length, or chunks",
                    headers->content_lengths > 1 ? "more than one Content-Length"
                                                 : "both Content-Length and Transfer-Encoding");
    else if (headers->hosts > 1)
        problem_set(problem, 400, "ambiguous-host", "the request has more than one Host; send one");
    return problem->status == 0;
}

/* True: answered at once. A body that is on its way goes by first, up to a limit: a client that is
 * still sending when its connection is closed does not get to read why. */
static bool check_length(const struct headers *headers, uint64_t body_max, struct problem *problem)
{
    uint64_t size = headers->content_length ? strtoull(headers->content_length, NULL, 10) : 0;
    if (size <= body_max)
        return false;
    problem_set(problem, 413, "body-too-large",
                "the body has %s bytes, and [api] max_body_size allows %" PRIu64,
                headers->content_length, body_max);
    return headers->expect || size > body_max + SWALLOW_MAX;
}

static bool check_origin(struct exchange *exchange, const struct headers *headers)
{
    const struct auth *auth = &exchange->api->auth;
    if (!exchange->connection->is_unix && headers->host && !auth_host_is_ours(auth, headers->host))
        problem_set(&exchange->problem, 403, "foreign-host",
                    "Host \"%.100s\" is not this agent; use %s", headers->host, exchange->api->url);
    else if (headers->origin && !auth_origin_is_ours(auth, headers->origin))
        problem_set(&exchange->problem, 403, "foreign-origin",
                    "web pages of \"%.100s\" may not use this agent", headers->origin);
    return exchange->problem.status == 0;
}

static bool check_principal(struct exchange *exchange, const struct headers *headers)
{
    struct problem *problem = &exchange->problem;
    bool known = true;
    if (exchange->connection->is_unix)
        auth_of_uid(exchange->connection->uid, &exchange->principal);
    else
        known =
            auth_of_loopback(&exchange->api->auth, headers->authorization, &exchange->principal);
    unsigned scope = (unsigned)exchange->operation->scope;
    if (!known)
        problem_set(problem, 401, "token-wrong",
                    "the token is not this agent's; it is in admin.token in the data directory");
    else if ((exchange->principal.scopes & scope) == scope)
        return true;
    else if (exchange->principal.actor_type == DAA__ACTOR__TYPE__ANONYMOUS)
        problem_set(problem, 401, "token-needed",
                    "this needs the token in admin.token in the data directory, as Authorization: "
                    "Bearer TOKEN, or the Unix socket");
    else
        problem_set(problem, 403, "forbidden", "uid %s may not do this", exchange->principal.id);
    return false;
}

/* Everything but the framing: found here, answered when the body has gone by, so that the
 * connection stays good. */
static void check_head(struct exchange *exchange, const char *method, const char *url,
                       const struct headers *headers)
{
    char allowed[64];
    struct problem *problem = &exchange->problem;
    bool posts = strcmp(method, "POST") == 0;
    exchange->operation = operation_find(method, url, exchange->parameters, allowed);
    if (!check_origin(exchange, headers))
        return;
    if (!exchange->operation && allowed[0])
        problem_set(problem, 405, "method-not-allowed", "%s is not allowed here; use %s", method,
                    allowed);
    else if (!exchange->operation)
        problem_set(problem, 404, "no-such-route", "there is nothing at %.200s", url);
    memcpy(problem->allow, allowed, sizeof problem->allow);
    if (problem->status != 0 || !check_principal(exchange, headers))
        return;
    if (posts && !is_json(headers->content_type))
        problem_set(problem, 415, "not-json", "a POST needs Content-Type: application/json");
    else if (headers->key && (headers->key[0] == 0 || strlen(headers->key) > 255))
        problem_set(problem, 400, "idempotency-key-invalid",
                    "an Idempotency-Key has 1 to 255 characters");
    exchange->key = headers->key;
}

enum MHD_Result exchange_begin(struct exchange *exchange, const char *method, const char *url)
{
    struct api *api = exchange->api;
    struct headers headers = { 0 };
    CHECK(!exchange->under_way);
    exchange->under_way = true;
    atomic_fetch_add(&api->under_way, 1);
    atomic_fetch_add(&api->requests, 1);
    exchange->path = url;
    MHD_get_connection_values(exchange->mhd, MHD_HEADER_KIND, note_header, &headers);
    name_request(exchange, &headers);
    if (!connection_enter(exchange->connection, CONNECTION_BODY))
        return MHD_NO;
    if (!check_framing(&headers, &exchange->problem) ||
        check_length(&headers, api->boot->config->api.max_body_size, &exchange->problem))
        return operation_problem(exchange, &exchange->problem);
    if (exchange->problem.status == 0)
        check_head(exchange, method, url, &headers);
    return MHD_YES;
}

/*--- The body ----------------------------------------------------------------------------------*/

static bool grow_body(struct exchange *exchange, size_t size)
{
    size_t capacity = exchange->body_capacity ? exchange->body_capacity : 1024;
    while (capacity < size)
        capacity *= 2;
    if (capacity == exchange->body_capacity)
        return true;
    uint8_t *body = budget_allocate(&exchange->api->boot->budget, BUDGET_REQUESTS, capacity);
    if (!body) {
        problem_set(&exchange->problem, 429, "memory-budget",
                    "the memory budget is used up (requests); try again, or raise [memory] "
                    "max_heap_size");
        return false;
    }
    if (exchange->body) {
        memcpy(body, exchange->body, exchange->body_size);
        free_body(exchange);
    }
    exchange->body = body;
    exchange->body_capacity = capacity;
    return true;
}

enum MHD_Result exchange_body(struct exchange *exchange, const char *bytes, size_t size)
{
    uint64_t body_max = exchange->api->boot->config->api.max_body_size;
    exchange->body_size += exchange->body_too_large || exchange->problem.status != 0 ? size : 0;
    if (exchange->body_size > body_max + SWALLOW_MAX)
        return MHD_NO; /* chunks without end: nothing can be answered in between */
    if (exchange->body_too_large || exchange->problem.status != 0)
        return MHD_YES;
    if (exchange->body_size + size > body_max) {
        exchange->body_too_large = true;
        problem_set(&exchange->problem, 413, "body-too-large",
                    "the body has more than the %" PRIu64 " bytes that [api] max_body_size allows",
                    body_max);
        return MHD_YES;
    }
    if (!grow_body(exchange, exchange->body_size + size))
        return MHD_YES;
    memcpy(exchange->body + exchange->body_size, bytes, size);
    exchange->body_size += size;
    return MHD_YES;
}

static bool check_admission(struct exchange *exchange, struct problem *problem)
{
    struct api *api = exchange->api;
    char progress[200];
    if (exchange->operation->early)
        return true;
    if (atomic_load(&api->draining)) {
        problem_set(problem, 503, "stopping", "the agent stops; ask again in a moment");
    } else if (!atomic_load(&api->ready)) {
        boot_progress(api->boot, progress, sizeof progress);
        problem_set(problem, 503, "starting", "the agent is not ready: %s", progress);
    } else if (exchange->operation->scope != AUTH_READ &&
               (state_pending_bytes(api->boot->state) > LAG_BYTES_MAX ||
                state_lag_ns(api->boot->state) > LAG_NS_MAX)) {
        struct error trouble = { 0 };
        bool told = state_trouble(api->boot->state, &trouble);
        problem_set(problem, 503, "state-lags",
                    "the state database is too far behind the log (%.200s); try again in a moment",
                    told ? trouble.text : "the disk is slow");
    } else if (exchange->operation->scope != AUTH_READ &&
               log_stalled_ns(api->boot->log) > STALL_NS_MAX) {
        problem_set(problem, 503, "log-stalled",
                    "a write to the event log has been under way for %.0f s; ask again in a moment",
                    (double)log_stalled_ns(api->boot->log) / 1e9);
    }
    return problem->status == 0;
}

enum MHD_Result exchange_go_on(struct exchange *exchange)
{
    if (exchange->phase == EXCHANGE_ANSWERED)
        return MHD_YES;
    if (exchange->phase == EXCHANGE_SUSPENDED) {
        if (connection_gone(exchange->connection) && exchange->waits)
            return MHD_NO;
        return exchange->operation->go_on(exchange);
    }
    if (!connection_enter(exchange->connection, CONNECTION_BUSY))
        return MHD_NO;
    if (exchange->problem.status == 0)
        check_admission(exchange, &exchange->problem);
    if (exchange->problem.status != 0)
        return operation_problem(exchange, &exchange->problem);
    return exchange->operation->begin(exchange);
}

void exchange_end(struct exchange *exchange)
{
    if (!exchange->under_way)
        return;
    flow_unref(exchange->flow);
    exchange->flow = NULL;
    inquiry_free(exchange->inquiry);
    exchange->inquiry = NULL;
    exchange->operation = NULL;
    exchange->phase = EXCHANGE_BEGINS;
    exchange->path = NULL;
    exchange->key = NULL;
    exchange->body_size = 0;
    exchange->body_too_large = exchange->waits = exchange->replayed = false;
    exchange->seq = 0;
    release_answer(exchange->api, exchange->answer_reserved);
    exchange->answer_reserved = 0;
    exchange->problem.status = 0;
    if (exchange->body_capacity > BODY_KEPT_MAX)
        free_body(exchange);
    if (exchange->arena.reserved > BODY_KEPT_MAX)
        arena_free(&exchange->arena); /* it would keep its largest piece */
    else
        arena_reset(&exchange->arena);
    connection_enter(exchange->connection, CONNECTION_HEAD);
    exchange->under_way = false;
    atomic_fetch_sub(&exchange->api->under_way, 1);
}

/*--- Commands ----------------------------------------------------------------------------------*/

static struct exchange *exchange_of(struct request *request)
{
    return (struct exchange *)((char *)request - offsetof(struct exchange, request));
}

/* On the agent thread. */
static void answered(struct request *request)
{
    struct exchange *exchange = exchange_of(request);
    bool to_wait = exchange->waits && request->answer == REQUEST_DURABLE && !request->replayed &&
                   request->command.kind == COMMAND_SUBMIT;
    if (to_wait &&
        connection_wait(exchange->connection, request->stream, exchange->wait_deadline_ns))
        return;
    MHD_resume_connection(exchange->mhd);
}

static void sign(struct exchange *exchange, const char *path, struct sha256 *sha256)
{
    sha256_more(sha256, exchange->principal.id, strlen(exchange->principal.id) + 1);
    sha256_more(sha256, path, strlen(path) + 1);
    sha256_more(sha256, exchange->key, strlen(exchange->key));
}

void operation_fill_command(struct exchange *exchange)
{
    struct command *command = &exchange->request.command;
    command->actor.type = exchange->principal.actor_type;
    command->actor.id = span_of_text(exchange->principal.id);
    command->request_id = span_of_text(exchange->request_id);
    command->traceparent = span_of_text(exchange->traceparent);
    command->keyed = exchange->key != NULL;
    if (!exchange->key)
        return;
    struct sha256 sha256;
    command->key = span_of_text(exchange->key);
    sha256_init(&sha256);
    sign(exchange, exchange->path, &sha256);
    sha256_end(&sha256, command->key_digest);
    sha256_of(command->request_digest, exchange->body, exchange->body_size);
}

static void refuse(struct exchange *exchange, int status)
{
    struct refusal *refusal = &exchange->request.refusal;
    exchange->request.answer = REQUEST_REFUSED;
    *refusal = (struct refusal){ .status = 429, .code = "queue-full", .safe_to_retry = true };
    const char *text = "as many requests wait as [orchestrator] workflow_queue_size allows; try "
                       "again in a moment";
    if (status == ERROR_TOO_LARGE)
        text = "requests of 64 MiB in all wait already; try again in a moment";
    if (status == ERROR_UNAVAILABLE) {
        refusal->status = 503;
        refusal->code = "stopping";
        text = "the agent stops; ask again in a moment";
    }
    snprintf(refusal->text, sizeof refusal->text, "%s", text);
}

/* Reads what the decision will ask for, so that the agent thread finds it in memory (LMDB is a
 * mapped file) and does not wait for a disk. */
static void read_ahead(struct exchange *exchange)
{
    const struct command *command = &exchange->request.command;
    struct boot *boot = exchange->api->boot;
    if (command->stream != 0) {
        struct arena arena;
        arena_init(&arena, &boot->budget, BUDGET_REQUESTS, 4096);
        (void)warmer_read_workflow(boot->state, command->stream, &arena);
        arena_free(&arena);
    } else if (command->kind == COMMAND_SUBMIT) {
        const uint8_t *digest = command->submit.flow->digest;
        struct document_key keys[] = { document_definition_key(digest), document_usage_key(digest),
                                       document_idempotency_key(command->key_digest) };
        for (int i = 0; i < (command->keyed ? 3 : 2); i++)
            (void)warmer_read(boot->state, &keys[i]);
    }
}

enum MHD_Result operation_ask(struct exchange *exchange)
{
    operation_fill_command(exchange);
    read_ahead(exchange);
    exchange->request.size = exchange->body_size + COMMAND_OVERHEAD;
    exchange->request.done = answered;
    exchange->request.replayed = false;
    exchange->phase = EXCHANGE_SUSPENDED;
    MHD_suspend_connection(exchange->mhd); /* before anybody may resume it */
    int status = inbox_put_request(exchange->api->boot->inbox, &exchange->request);
    if (status < 0) {
        refuse(exchange, status);
        MHD_resume_connection(exchange->mhd);
    }
    return MHD_YES;
}

enum MHD_Result operation_wait(struct exchange *exchange, uint64_t stream)
{
    exchange->phase = EXCHANGE_SUSPENDED;
    MHD_suspend_connection(exchange->mhd);
    if (!connection_wait(exchange->connection, stream, exchange->wait_deadline_ns)) {
        MHD_resume_connection(exchange->mhd);
        return MHD_YES;
    }
    /* It may have ended just before; then nobody else tells us. */
    uint8_t *bytes = NULL;
    size_t size = 0;
    struct document_key key = document_active_key(stream);
    int found = state_get(exchange->api->boot->state, document_key_span(&key), &bytes, &size);
    free(bytes);
    if (found != 1 && connection_unwait(exchange->connection))
        MHD_resume_connection(exchange->mhd);
    return MHD_YES;
}

/*--- What operations read ----------------------------------------------------------------------*/

const char *operation_query(struct exchange *exchange, const char *name)
{
    return MHD_lookup_connection_value(exchange->mhd, MHD_GET_ARGUMENT_KIND, name);
}

bool operation_read_wait(struct exchange *exchange, struct problem *problem)
{
    const char *text = operation_query(exchange, "wait");
    uint64_t ns = 0;
    if (!text)
        return true;
    if (duration_parse(span_of_text(text), &ns) < 0) {
        problem_set(problem, 400, "invalid-parameter",
                    "?wait=%.60s is no duration; write it as in wait=30s", text);
        return false;
    }
    if (ns > OPERATION_WAIT_MAX_NS)
        ns = OPERATION_WAIT_MAX_NS;
    exchange->waits = ns > 0;
    exchange->wait_deadline_ns = host_monotonic_ns() + ns;
    return true;
}

bool operation_read_number(struct exchange *exchange, const char *name, uint64_t min, uint64_t max,
                           uint64_t *value, struct problem *problem)
{
    const char *text = operation_query(exchange, name);
    if (!text)
        return true;
    char *end = NULL;
    errno = 0;
    uint64_t number = strtoull(text, &end, 10);
    if (errno == 0 && end != text && *end == 0 && text[0] != '-' && number >= min &&
        number <= max) {
        *value = number;
        return true;
    }
    problem_set(problem, 400, "invalid-parameter",
                "?%s=%.60s: expected a number from %" PRIu64 " to %" PRIu64, name, text, min, max);
    return false;
}

bool operation_stream(struct exchange *exchange, uint64_t *stream, struct problem *problem)
{
    struct span id = exchange->parameters[0];
    if (lineage_id_from_text(id, &exchange->api->boot->lineage, stream))
        return true;
    problem_set(problem, 404, "not-found", "there is no workflow %.*s in this agent's log",
                id.size > 100 ? 100 : (int)id.size, (const char *)id.bytes);
    return false;
}

void operation_json_problem(const struct json_problem *found, struct problem *problem)
{
    if (found->too_deep)
        problem_set_at(problem, 422, "json-too-deep", found->pointer,
                       "nested deeper than %d levels", JSON_DEPTH_MAX);
    else if (found->too_large_integer)
        problem_set_at(problem, 422, "integer-too-large", found->pointer,
                       "an integer beyond 64 bits; send it as a string");
    else
        problem_set_at(problem, 400, "malformed-json", found->pointer, "line %u, column %u: %s",
                       found->line, found->column, found->message);
}

bool operation_body(struct exchange *exchange, struct json *json, struct problem *problem)
{
    struct json_problem found = { 0 };
    int status =
        json_parse(json, &exchange->arena, span_of(exchange->body, exchange->body_size), &found);
    if (status == ERROR_BUDGET)
        problem_set(problem, 429, "memory-budget",
                    "the memory budget is used up (requests); try again");
    else if (status < 0)
        operation_json_problem(&found, problem);
    else if (json->nodes[0].kind != JSON_OBJECT)
        problem_set_at(problem, 422, "invalid-body", "", "expected an object, found %s",
                       json_kind_name(json->nodes[0].kind));
    else
        return true;
    return false;
}
