/* The history of a workflow, and what is said of one that is not there. */
#include "core/base/check.h"
#include "log/event.h"
#include "log/reader.h"
#include "tools/agent/operation.h"
#include "tools/agent/state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HISTORY_DEFAULT 1000u
#define HISTORY_MAX 10000u
#define HISTORY_BYTES_MAX (4u << 20)

struct history {
    struct exchange *exchange;
    struct text events; /* one after the other, newest first */
    size_t *ends;       /* of each in `events` */
    uint64_t count, limit;
    uint64_t from;    /* that was asked for; 0: the newest */
    uint64_t next;    /* the newest event that is not shown; 0: none */
    uint64_t removed; /* this one is no longer in the log, nor are those before it; 0: none */
};

static void event_text(struct history *history, const struct record *record)
{
    struct text *text = &history->events;
    const char *kind = event_kind_name(record->kind);
    text->comma = false;
    text_json_open_object(text, NULL);
    text_json_unsigned(text, "seq", record->seq);
    text_json_time(text, "time", record->time_ns);
    text_json_unsigned(text, "stream", record->stream);
    text_json_cstring(text, "kind", kind ? kind : "unknown");
    text_json_unsigned(text, "cause", record->cause);
    struct event_header header = event_header_of(record);
    struct event_keys keys = event_keys_of(history->exchange->api->boot->keyring);
    event_to_json(&header, record->payload, &keys, &history->exchange->arena, text);
    text_json_close_object(text);
    arena_reset(&history->exchange->arena);
}

/* Retention took the segment that held it. */
static bool is_removed(struct log_reader *reader, uint64_t seq)
{
    return seq < log_reader_first_seq(reader);
}

/* The event `seq` is not in the log, or of another stream: ERROR_NOT_FOUND when it was removed,
 * ERROR_INVALID when whoever asks named it, else the documents contradict the log. */
static int explain_missing(const struct history *history, bool is_there, uint64_t seq,
                           struct error *error)
{
    if (!is_there && is_removed(history->exchange->api->reader, seq))
        return error_set(error, ERROR_NOT_FOUND,
                         "event %" PRIu64 " and those before it were removed from the log by "
                         "retention",
                         seq);
    return error_set(error,
                     history->count == 0 && history->from > 0 ? ERROR_INVALID : ERROR_DAMAGED,
                     "event %" PRIu64 " is not of this workflow", seq);
}

/* From event to event of the stream, back in time. */
static int walk_history(struct history *history, uint64_t stream, uint64_t seq, struct error *error)
{
    struct log_reader *reader = history->exchange->api->reader;
    struct record record;
    while (seq > 0 && history->count < history->limit && history->events.size < HISTORY_BYTES_MAX) {
        int status = log_reader_get(reader, seq, &record, NULL, error);
        if (status < 0)
            return status;
        if (status == 0 || record.stream != stream)
            status = explain_missing(history, status == 1, seq, error);
        if (status == ERROR_NOT_FOUND && history->count > 0) {
            history->removed = seq;
            seq = 0;
            break;
        }
        if (status < 0)
            return status;
        event_text(history, &record);
        history->ends[history->count++] = history->events.size;
        seq = record.stream_prev_seq;
    }
    history->next = seq;
    return history->events.failed;
}

int operation_take_reader(struct api *api, struct error *error)
{
    int status = 0;
    pthread_mutex_lock(&api->reader_lock);
    if (!api->reader) {
        struct log_reader_options options = { .dir = api->boot->log_dir,
                                              .budget = &api->boot->budget };
        status = log_reader_open(&api->reader, &options, error);
    }
    return status;
}

void operation_give_reader(struct api *api)
{
    pthread_mutex_unlock(&api->reader_lock);
}

static int read_history(struct history *history, uint64_t stream, uint64_t from,
                        struct error *error)
{
    struct api *api = history->exchange->api;
    int status = operation_take_reader(api, error);
    if (status == 0)
        status = walk_history(history, stream, from, error);
    operation_give_reader(api);
    return status;
}

/* The newest event of a workflow, by its document. 1 found, 0 there is none, negative. */
static int newest_event(struct exchange *exchange, uint64_t stream, uint64_t *seq)
{
    struct document_key key = document_workflow_key(stream);
    uint8_t *bytes = NULL;
    size_t size = 0;
    int status = state_get(exchange->api->boot->state, document_key_span(&key), &bytes, &size);
    if (status != 1)
        return status;
    struct document_summary summary;
    status = document_workflow_summary(span_of(bytes, size), NULL, &exchange->arena, &summary);
    free(bytes);
    *seq = summary.last_seq;
    return status < 0 ? status : 1;
}

static enum MHD_Result answer_history(struct history *history)
{
    struct text text;
    text_init(&text);
    text_json_open_object(&text, NULL);
    text_json_open_array(&text, "items");
    for (uint64_t i = history->count; i-- > 0;) {
        size_t start = i > 0 ? history->ends[i - 1] : 0;
        text_json_raw(&text, NULL,
                      span_of(history->events.bytes + start, history->ends[i] - start));
    }
    text_json_close_array(&text);
    if (history->next > 0) {
        char cursor[24];
        snprintf(cursor, sizeof cursor, "%" PRIu64, history->next);
        text_json_cstring(&text, "next_cursor", cursor);
    } else {
        text_json_null(&text, "next_cursor");
    }
    if (history->removed > 0)
        text_json_unsigned(&text, "removed_up_to", history->removed);
    text_json_close_object(&text);
    enum MHD_Result result = operation_answer(history->exchange, 200, &text, NULL);
    text_free(&text);
    return result;
}

static void cannot_show(struct problem *problem, int status, const struct error *error)
{
    const char *why = error->text[0] ? error->text : error_text(status);
    if (status == ERROR_NOT_FOUND)
        problem_set(problem, 410, "events-removed", "the history cannot be read: %.400s", why);
    else if (status == ERROR_INVALID)
        problem_set(problem, 400, "invalid-parameter",
                    "?from= and ?cursor=: %.400s; take what next_cursor said, or neither", why);
    else
        problem_set(problem, 503, "log-unreadable", "the history cannot be read: %.400s", why);
}

enum MHD_Result workflow_history(struct exchange *exchange)
{
    struct history history = { .exchange = exchange, .limit = HISTORY_DEFAULT };
    struct problem problem = { 0 };
    uint64_t stream, newest = 0;
    if (!operation_stream(exchange, &stream, &problem) ||
        !operation_read_number(exchange, "limit", 1, HISTORY_MAX, &history.limit, &problem) ||
        !operation_read_number(exchange, "from", 1, UINT64_MAX, &history.from, &problem) ||
        !operation_read_number(exchange, "cursor", 1, UINT64_MAX, &history.from, &problem))
        return operation_problem(exchange, &problem);
    int status = newest_event(exchange, stream, &newest);
    if (status <= 0)
        return status == 0 ? workflow_missing(exchange, stream)
                           : workflow_unreadable(exchange, status);
    history.ends = calloc(history.limit, sizeof *history.ends);
    if (!history.ends)
        return workflow_unreadable(exchange, -ENOMEM);
    text_init(&history.events);
    struct error error = { 0 };
    status = read_history(&history, stream, history.from > 0 ? history.from : newest, &error);
    if (status < 0)
        cannot_show(&problem, status, &error);
    enum MHD_Result result =
        status < 0 ? operation_problem(exchange, &problem) : answer_history(&history);
    text_free(&history.events);
    free(history.ends);
    return result;
}

/*--- What is not there -------------------------------------------------------------------------*/

enum MHD_Result workflow_unreadable(struct exchange *exchange, int status)
{
    struct problem problem;
    if (status == ERROR_UNAVAILABLE) {
        problem_set(&problem, 503, "key-unavailable",
                    "the workflow is encrypted, and its key cannot be read: put the file back that "
                    "daa-log keys %s says is missing or damaged",
                    exchange->api->boot->log_dir);
        return operation_problem(exchange, &problem);
    }
    problem_set(
        &problem, 503, "state-unreadable",
        "the documents cannot be read: %s; stop the agent and move %s away: the next start makes "
        "them again from the log",
        error_text(status), exchange->api->boot->db_dir);
    return operation_problem(exchange, &problem);
}

bool workflow_was_there(struct exchange *exchange, uint64_t stream)
{
    struct api *api = exchange->api;
    struct record record;
    struct error error;
    if (stream == 0)
        return false;
    int status = operation_take_reader(api, &error);
    if (status == 0)
        status = log_reader_get(api->reader, stream, &record, NULL, &error);
    bool there = status == 1 ? record.kind == DAA__EVENT__BODY_WORKFLOW_SUBMITTED
                             : status == 0 && is_removed(api->reader, stream);
    pthread_mutex_unlock(&api->reader_lock);
    return there;
}

enum MHD_Result workflow_gone(struct exchange *exchange, bool asked_postgres)
{
    struct problem problem;
    uint64_t stream;
    struct span id = exchange->parameters[0];
    if (operation_stream(exchange, &stream, &problem) &&
        workflow_is_erased(stream, exchange->api)) {
        problem_set(&problem, 410, "erased",
                    "the workflow %.*s was erased: what it was given and gave cannot be read any "
                    "more",
                    (int)id.size, (const char *)id.bytes);
        return operation_problem(exchange, &problem);
    }
    problem_set(&problem, 410, "expired",
                "the workflow %.*s has ended and left the state (state.finished_ttl and "
                "state.finished_max_bytes): its events are in the log (daa-log cat --stream) as "
                "long as that is kept%s",
                (int)id.size, (const char *)id.bytes,
                asked_postgres ? "; Postgres does not have it"
                               : ", and in Postgres when they were copied");
    return operation_problem(exchange, &problem);
}

enum MHD_Result workflow_missing(struct exchange *exchange, uint64_t stream)
{
    struct problem problem;
    struct span id = exchange->parameters[0];
    if (workflow_was_there(exchange, stream))
        return workflow_gone(exchange, false);
    problem_set(&problem, 404, "not-found", "there is no workflow %.*s in this agent's log",
                (int)id.size, (const char *)id.bytes);
    return operation_problem(exchange, &problem);
}
