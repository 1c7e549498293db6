/* The operations on workflows. */
#include "core/agent/document.h"
#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "core/base/id.h"
#include "core/event/event.h"
#include "log/event.h"
#include "log/reader.h"
#include "tools/agent/loop.h"
#include "tools/agent/operation.h"
#include "tools/agent/state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*--- What all have in common -------------------------------------------------------------------*/

enum MHD_Result operation_refusal(struct exchange *exchange)
{
    const struct refusal *refusal = &exchange->request.refusal;
    struct problem problem;
    problem_set(&problem, refusal->status, refusal->code, "%s", refusal->text);
    problem.safe_to_retry = refusal->safe_to_retry;
    problem.retryable |= strcmp(refusal->code, "idempotency-key-in-progress") == 0;
    return operation_problem(exchange, &problem);
}

enum MHD_Result operation_unknown(struct exchange *exchange)
{
    struct problem problem;
    problem_set(&problem, 503, "outcome-unknown",
                "the event log failed before this was known to be durable: it may or may not have "
                "happened; %s",
                exchange->key ? "ask again with the same Idempotency-Key"
                              : "look for it when the agent is back before you ask again (with an "
                                "Idempotency-Key asking again is safe)");
    problem.safe_to_retry = exchange->key != NULL;
    return operation_problem(exchange, &problem);
}

/* A member of the body that nobody knows is a mistake in its name. */
static bool only_known(const struct json *json, const char *const *known, struct problem *problem)
{
    for (uint32_t i = json_first(json, 0); i != 0; i = json_next(json, 0, i)) {
        const char *const *name = known;
        while (*name && !json_string_is(json, i, *name))
            name++;
        if (*name)
            continue;
        char pointer[80], names[200] = "";
        snprintf(pointer, sizeof pointer, "/%.*s",
                 json->nodes[i].size > 64 ? 64 : (int)json->nodes[i].size,
                 (const char *)json->text.bytes + json->nodes[i].start);
        for (name = known; *name; name++)
            snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s",
                     name == known ? "" : ", ", *name);
        problem_set_at(problem, 422, "unknown-member", pointer, "is not known here; what is: %s",
                       names);
        return false;
    }
    return true;
}

/* The text of a member, whatever it is; empty when it is not there. */
static struct span member_text(const struct json *json, const char *name)
{
    uint32_t node = json_member(json, 0, name);
    return node ? json_text(json, node) : span_of(NULL, 0);
}

/* A member that must be a string. False: *problem says what is wrong with it. */
static bool member_string(struct exchange *exchange, const struct json *json, const char *name,
                          bool required, struct span *value, struct problem *problem)
{
    uint32_t node = json_member(json, 0, name);
    char pointer[64];
    snprintf(pointer, sizeof pointer, "/%s", name);
    *value = span_of(NULL, 0);
    if (node == 0 && required)
        problem_set_at(problem, 422, "missing-member", pointer, "is missing");
    else if (node != 0 && json->nodes[node].kind != JSON_STRING)
        problem_set_at(problem, 422, "invalid-member", pointer, "expected a string, found %s",
                       json_kind_name(json->nodes[node].kind));
    else if (node != 0)
        *value = json_string(json, node, &exchange->arena);
    return problem->status == 0;
}

/*--- Showing a workflow ------------------------------------------------------------------------*/

static bool has_ended(Daa__WorkflowStatus status)
{
    return status == DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED ||
           status == DAA__WORKFLOW_STATUS__WORKFLOW_FAILED ||
           status == DAA__WORKFLOW_STATUS__WORKFLOW_CANCELLED;
}

static struct document_view view_of(struct boot *boot, const struct event_keys *keys,
                                    uint64_t stream)
{
    struct loop_counts counts;
    loop_counts_get(boot->loop, &counts);
    return (struct document_view){ .log_uuid = lineage_uuid(&boot->lineage, stream),
                                   .stream = stream,
                                   .keys = keys,
                                   .shift_ns = counts.shift_ns };
}

/* One of a backup from before its erasure, or whose key was given up. */
static bool is_erased(const struct event_keys *keys, uint32_t key_id)
{
    uint8_t key[AEAD_KEY_SIZE];
    int found = event_key_get(keys, key_id, key);
    explicit_bzero(key, sizeof key);
    return key_id != 0 && found == 0;
}

/* 1 shown in `text`, 0 there is none, negative. */
static int show(struct exchange *exchange, uint64_t stream, struct text *text,
                Daa__WorkflowStatus *status_of)
{
    struct boot *boot = exchange->api->boot;
    struct document_key key = document_workflow_key(stream);
    struct document_summary summary = { 0 };
    uint8_t *bytes = NULL;
    size_t size = 0;
    int status = state_get(boot->state, document_key_span(&key), &bytes, &size);
    if (status != 1)
        return status;
    struct span document = span_of(bytes, size);
    struct event_keys keys = event_keys_of(boot->keyring);
    status = document_workflow_summary(document, NULL, &exchange->arena, &summary);
    bool erased = status == 0 && is_erased(&keys, summary.key_id);
    if (erased && has_ended(summary.status)) { /* else somebody has to cancel it */
        free(bytes);
        return 0;
    }
    if (status == 0) {
        struct flow *flow =
            definitions_flow(exchange->api->definitions, boot->state, summary.definition);
        struct document_view view = view_of(boot, &keys, stream);
        status = document_workflow_show(document, flow, &view, &exchange->arena, text);
        flow_unref(flow);
    }
    free(bytes);
    *status_of = summary.status;
    return status < 0 ? status : 1;
}

static enum MHD_Result answer_accepted(struct exchange *exchange, uint64_t stream,
                                       Daa__WorkflowStatus status)
{
    char id[WORKFLOW_ID_SIZE], location[WORKFLOW_ID_SIZE + 32];
    lineage_id_to_text(id, &exchange->api->boot->lineage, stream);
    snprintf(location, sizeof location, "/api/v1/workflows/%s", id);
    struct text text;
    text_init(&text);
    text_json_open_object(&text, NULL);
    text_json_cstring(&text, "id", id);
    text_json_cstring(&text, "status", workflow_status_name(status));
    text_json_unsigned(&text, "seq", stream);
    text_json_close_object(&text);
    enum MHD_Result result = operation_answer(exchange, 202, &text, location);
    text_free(&text);
    return result;
}

static enum MHD_Result answer_missing(struct exchange *exchange, uint64_t stream)
{
    if (exchange->api->searcher && workflow_was_there(exchange, stream) &&
        !workflow_is_erased(stream, exchange->api))
        return workflow_ask_postgres(exchange, stream);
    return workflow_missing(exchange, stream);
}

/* 200 when it has ended; else it is waited for, once; then `accepted` says what to answer: also
 * when there is no room to show it, since the submission itself was not refused. */
static enum MHD_Result answer_workflow(struct exchange *exchange, uint64_t stream, bool accepted,
                                       bool may_wait)
{
    struct text text;
    Daa__WorkflowStatus is = DAA__WORKFLOW_STATUS__WORKFLOW_PENDING;
    text_init(&text);
    int status = show(exchange, stream, &text, &is);
    bool ended = has_ended(is);
    if (status == 1 && !ended && may_wait && exchange->waits) {
        text_free(&text);
        return operation_wait(exchange, stream);
    }
    enum MHD_Result result;
    if (status < 0)
        result = workflow_unreadable(exchange, status);
    else if (status == 1 && (!accepted || (ended && operation_reserve(exchange, text.size + 1))))
        result = operation_answer(exchange, 200, &text, NULL);
    else
        result =
            accepted ? answer_accepted(exchange, stream, is) : answer_missing(exchange, stream);
    text_free(&text);
    return result;
}

/*--- POST /api/v1/workflows --------------------------------------------------------------------*/

static bool compile(struct exchange *exchange, const struct json *json, struct problem *problem)
{
    struct flow_problem found;
    uint32_t node = json_member(json, 0, "definition");
    if (node == 0) {
        problem_set_at(problem, 422, "missing-member", "/definition",
                       "is missing; a body is {\"definition\": {...}, \"input\": ..., "
                       "\"metadata\": {...}}");
        return false;
    }
    int status = definitions_compile(exchange->api->definitions, json_text(json, node),
                                     &exchange->flow, &found);
    if (status == ERROR_BUDGET) {
        problem_set(problem, 429, "memory-budget",
                    "the memory budget is used up (definitions); try again");
    } else if (status < 0) {
        char pointer[280];
        snprintf(pointer, sizeof pointer, "/definition%s", found.pointer);
        problem_set_at(problem, 422, "invalid-definition", pointer, "%s", found.message);
    } else if (exchange->flow->uses_exec && !(exchange->principal.scopes & AUTH_ADMIN)) {
        problem_set(problem, 403, "exec-needs-token",
                    "a workflow with exec steps needs the token in admin.token in the data "
                    "directory, or the Unix socket");
    }
    return problem->status == 0;
}

static bool read_submission(struct exchange *exchange, struct problem *problem)
{
    static const char *const known[] = { "definition", "input", "metadata", NULL };
    struct json json;
    if (!operation_read_wait(exchange, problem) || !operation_body(exchange, &json, problem) ||
        !only_known(&json, known, problem) || !compile(exchange, &json, problem))
        return false;
    uint32_t metadata = json_member(&json, 0, "metadata");
    if (metadata != 0 && json.nodes[metadata].kind != JSON_OBJECT) {
        problem_set_at(problem, 422, "invalid-member", "/metadata", "expected an object, found %s",
                       json_kind_name(json.nodes[metadata].kind));
        return false;
    }
    struct command *command = &exchange->request.command;
    *command = (struct command){ .kind = COMMAND_SUBMIT };
    command->submit.flow = exchange->flow;
    command->submit.input = member_text(&json, "input");
    command->submit.metadata = member_text(&json, "metadata");
    return true;
}

enum MHD_Result workflow_submit(struct exchange *exchange)
{
    struct problem problem = { 0 };
    if (!read_submission(exchange, &problem))
        return operation_problem(exchange, &problem);
    return operation_ask(exchange);
}

enum MHD_Result workflow_submitted(struct exchange *exchange)
{
    const struct request *request = &exchange->request;
    if (request->answer == REQUEST_REFUSED)
        return operation_refusal(exchange);
    if (request->answer == REQUEST_UNKNOWN)
        return operation_unknown(exchange);
    exchange->seq = request->seq;
    bool first_time = exchange->replayed != request->replayed;
    exchange->replayed = request->replayed;
    if (!exchange->waits)
        return answer_accepted(exchange, request->stream, DAA__WORKFLOW_STATUS__WORKFLOW_PENDING);
    return answer_workflow(exchange, request->stream, true, request->replayed && first_time);
}

/*--- GET /api/v1/workflows/{id} ----------------------------------------------------------------*/

enum MHD_Result workflow_get(struct exchange *exchange)
{
    struct problem problem = { 0 };
    uint64_t stream;
    bool again = exchange->phase == EXCHANGE_SUSPENDED;
    if (exchange->inquiry)
        return workflow_from_postgres(exchange);
    if (!operation_stream(exchange, &stream, &problem) ||
        (!again && !operation_read_wait(exchange, &problem)))
        return operation_problem(exchange, &problem);
    return answer_workflow(exchange, stream, false, !again);
}

/*--- POST .../signals/{name}, :cancel, :resolve ------------------------------------------------*/

/* An empty body stands for {}. */
static bool optional_body(struct exchange *exchange, struct json *json, struct problem *problem)
{
    static const uint8_t empty[] = "{}";
    if (exchange->body_size > 0)
        return operation_body(exchange, json, problem);
    struct json_problem ignored;
    int status = json_parse(json, &exchange->arena, span_of(empty, 2), &ignored);
    if (status < 0)
        problem_set(problem, 429, "memory-budget", "the memory budget is used up; try again");
    return status == 0;
}

enum MHD_Result workflow_signal(struct exchange *exchange)
{
    struct problem problem = { 0 };
    struct command *command = &exchange->request.command;
    struct json json = { 0 };
    struct json_problem found = { 0 };
    *command = (struct command){ .kind = COMMAND_SIGNAL };
    if (!operation_stream(exchange, &command->stream, &problem))
        return operation_problem(exchange, &problem);
    command->signal.name = exchange->parameters[1];
    if (command->signal.name.size > FLOW_NAME_SIZE_MAX) {
        problem_set(&problem, 422, "invalid-signal", "a signal's name has at most %u bytes",
                    FLOW_NAME_SIZE_MAX);
        return operation_problem(exchange, &problem);
    }
    /* The body is the payload, any JSON value; none is null. */
    if (exchange->body_size > 0 &&
        json_parse(&json, &exchange->arena, span_of(exchange->body, exchange->body_size), &found) <
            0) {
        operation_json_problem(&found, &problem);
        return operation_problem(exchange, &problem);
    }
    if (exchange->body_size > 0)
        command->signal.payload = json_text(&json, 0);
    return operation_ask(exchange);
}

/* The workflow, and a body that may say why. */
static bool read_reason(struct exchange *exchange, enum command_kind kind, struct span *reason,
                        struct problem *problem)
{
    static const char *const known[] = { "reason", NULL };
    struct command *command = &exchange->request.command;
    struct json json;
    *command = (struct command){ .kind = kind };
    return operation_stream(exchange, &command->stream, problem) &&
           optional_body(exchange, &json, problem) && only_known(&json, known, problem) &&
           member_string(exchange, &json, "reason", false, reason, problem);
}

enum MHD_Result workflow_cancel(struct exchange *exchange)
{
    struct problem problem = { 0 };
    struct command *command = &exchange->request.command;
    if (!read_reason(exchange, COMMAND_CANCEL, &command->cancel.reason, &problem))
        return operation_problem(exchange, &problem);
    return operation_ask(exchange);
}

enum MHD_Result workflow_erase(struct exchange *exchange)
{
    struct problem problem = { 0 };
    struct command *command = &exchange->request.command;
    if (!read_reason(exchange, COMMAND_ERASE, &command->erase.reason, &problem))
        return operation_problem(exchange, &problem);
    return workflow_erase_begin(exchange);
}

static bool read_resolution(struct span as, int *resolution, struct problem *problem)
{
    if (span_is(as, "done"))
        *resolution = DAA__RESOLUTION__RESOLVE_DONE;
    else if (span_is(as, "failed"))
        *resolution = DAA__RESOLUTION__RESOLVE_FAILED;
    else if (span_is(as, "retry"))
        *resolution = DAA__RESOLUTION__RESOLVE_RETRY;
    else
        problem_set_at(problem, 422, "invalid-member", "/as",
                       "expected \"done\", \"failed\" or \"retry\"");
    return problem->status == 0;
}

enum MHD_Result workflow_resolve(struct exchange *exchange)
{
    static const char *const known[] = { "step", "as", "output", "reason", NULL };
    struct problem problem = { 0 };
    struct command *command = &exchange->request.command;
    struct json json;
    struct span as;
    *command = (struct command){ .kind = COMMAND_RESOLVE };
    if (!operation_stream(exchange, &command->stream, &problem) ||
        !operation_body(exchange, &json, &problem) || !only_known(&json, known, &problem) ||
        !member_string(exchange, &json, "step", true, &command->resolve.step, &problem) ||
        !member_string(exchange, &json, "as", true, &as, &problem) ||
        !member_string(exchange, &json, "reason", false, &command->resolve.reason, &problem) ||
        !read_resolution(as, &command->resolve.resolution, &problem))
        return operation_problem(exchange, &problem);
    command->resolve.output = member_text(&json, "output");
    return operation_ask(exchange);
}

enum MHD_Result workflow_changed(struct exchange *exchange)
{
    const struct request *request = &exchange->request;
    if (request->answer == REQUEST_REFUSED)
        return operation_refusal(exchange);
    if (request->answer == REQUEST_UNKNOWN)
        return operation_unknown(exchange);
    exchange->seq = request->seq;
    exchange->replayed = request->replayed;
    char id[WORKFLOW_ID_SIZE];
    lineage_id_to_text(id, &exchange->api->boot->lineage, request->command.stream);
    struct text text;
    text_init(&text);
    text_json_open_object(&text, NULL);
    text_json_cstring(&text, "id", id);
    text_json_unsigned(&text, "seq", request->seq);
    text_json_close_object(&text);
    enum MHD_Result result = operation_answer(exchange, 202, &text, NULL);
    text_free(&text);
    return result;
}
