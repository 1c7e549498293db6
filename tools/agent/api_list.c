/* Lists of workflows, out of the agent's own documents or of PostgreSQL, and what is said of a
 * workflow that only PostgreSQL has any more. */
#include "core/base/check.h"
#include "log/event.h"
#include "log/log.h"
#include "tools/agent/filter.h"
#include "tools/agent/host.h"
#include "tools/agent/loop.h"
#include "tools/agent/operation.h"
#include "tools/agent/searcher.h"
#include "tools/agent/state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LIST_BYTES_MAX (4u << 20)
#define LIST_LOOK_MAX 20000u /* documents looked at for one page */

/* A question to PostgreSQL that is under way, and what it is to be answered with. */
struct inquiry {
    struct search search; /* the first, so that done() finds its inquiry */
    struct exchange *exchange;
    struct filter filter; /* of a list */
};

void inquiry_free(struct inquiry *inquiry)
{
    if (!inquiry)
        return;
    search_free(&inquiry->search);
    filter_free(&inquiry->filter);
    free(inquiry);
}

/*--- The agent's own documents -----------------------------------------------------------------*/

struct list {
    struct exchange *exchange;
    const struct filter *filter;
    struct event_keys keys;
    struct document_view view;
    struct text text;
    uint64_t count, looked;
    uint64_t last_stream; /* looked at */
    bool more;
    int failed;
};

static bool list_one(struct span key, struct span bytes, void *context)
{
    struct list *list = context;
    struct arena *arena = &list->exchange->arena;
    struct document_summary summary;
    uint64_t stream;
    if (!document_stream_of_key(key, &stream))
        return true;
    if (list->count == list->filter->limit || list->looked == LIST_LOOK_MAX ||
        list->text.size >= LIST_BYTES_MAX) {
        list->more = true;
        return false;
    }
    list->looked++;
    list->last_stream = stream;
    list->view.keys = &list->keys;
    list->failed = document_workflow_summary(bytes, list->view.keys, arena, &summary);
    if (list->failed < 0 && list->failed != ERROR_DAMAGED && list->failed != ERROR_BUDGET) {
        list->view.keys = NULL; /* one whose key is missing does not hide the others */
        list->failed = document_workflow_summary(bytes, NULL, arena, &summary);
    }
    if (list->failed == 0 && filter_wants(list->filter, &summary, arena)) {
        list->view.log_uuid = lineage_uuid(&list->exchange->api->boot->lineage, stream);
        list->view.stream = stream;
        list->failed =
            document_workflow_to_json(bytes, span_of(NULL, 0), &list->view, arena, &list->text);
        list->count++;
    }
    arena_reset(arena);
    return list->failed == 0;
}

static void add_cursor(struct text *text, const struct filter *filter, enum filter_source source,
                       bool more, uint64_t stream)
{
    char cursor[FILTER_CURSOR_SIZE];
    if (more)
        filter_cursor(filter, source, stream, cursor);
    text_json_cstring(text, "next_cursor", more ? cursor : NULL);
}

/* `why` it is not PostgreSQL that is asked, when it should have been; NULL: it should not. */
static enum MHD_Result list_local(struct exchange *exchange, const struct filter *filter,
                                  const char *why)
{
    struct boot *boot = exchange->api->boot;
    struct list list = { .exchange = exchange,
                         .filter = filter,
                         .keys = event_keys_of(boot->keyring),
                         .view.basic = true };
    struct document_key from = { .size = 0 };
    if (filter->before > 0)
        from = document_workflow_key(filter->before);
    text_init(&list.text);
    text_json_open_object(&list.text, NULL);
    text_json_open_array(&list.text, "items");
    int status =
        state_walk(boot->state, span_of_text("w"), document_key_span(&from), true, list_one, &list);
    if (status == 0)
        status = list.failed;
    text_json_close_array(&list.text);
    add_cursor(&list.text, filter, FILTER_LOCAL, list.more, list.last_stream);
    text_json_cstring(&list.text, "source", "local");
    if (why)
        text_json_cstring(&list.text, "why", why);
    text_json_unsigned(&list.text, "durable_seq", log_durable_seq(boot->log));
    text_json_close_object(&list.text);
    enum MHD_Result result = status < 0 ? workflow_unreadable(exchange, status)
                                        : operation_answer(exchange, 200, &list.text, NULL);
    text_free(&list.text);
    return result;
}

/*--- PostgreSQL --------------------------------------------------------------------------------*/

/* On a thread of the searcher. */
static void found(struct search *search)
{
    struct inquiry *inquiry = search->context;
    MHD_resume_connection(inquiry->exchange->mhd);
}

static struct inquiry *inquiry_new(struct exchange *exchange)
{
    struct inquiry *inquiry = calloc(1, sizeof *inquiry);
    if (!inquiry)
        return NULL;
    inquiry->exchange = exchange;
    inquiry->search.done = found;
    inquiry->search.context = inquiry;
    return inquiry;
}

/* Suspends the connection until the searcher has its answer. 0, or why it cannot be asked; then
 * the connection goes on. */
static int inquire(struct exchange *exchange, struct inquiry *inquiry)
{
    inquiry->search.lookup.bytes_max = LIST_BYTES_MAX;
    exchange->phase = EXCHANGE_SUSPENDED;
    MHD_suspend_connection(exchange->mhd); /* before anybody may resume it */
    int status = searcher_ask(exchange->api->searcher, &inquiry->search, &inquiry->search.error);
    if (status < 0) {
        inquiry->search.error.code = status;
        MHD_resume_connection(exchange->mhd);
    }
    return status;
}

static void set_no_postgres(struct problem *problem, const struct error *error, const char *instead)
{
    if (error->code == ERROR_FULL)
        problem_set(problem, 503, "search-busy", "%.400s; ask again in a moment%s", error->text,
                    instead);
    else if (error->code == ERROR_MISMATCH)
        problem_set(problem, 503, "search-unavailable",
                    "Postgres has no tables to search, or other ones (%.300s): copy the log with "
                    "daa-pgsync of this version%s",
                    error->text, instead);
    else if (error->code == ERROR_UNAVAILABLE)
        problem_set(problem, 503, "search-unavailable",
                    "Postgres cannot answer: %.350s; ask again in a moment%s", error->text,
                    instead);
    else
        problem_set(problem, 503, "search-failed", "Postgres refused the search: %.400s%s",
                    error->text, instead);
}

static const char instead_text[] =
    ", or with source=local for the workflows that the agent itself has";

/* A list that was not asked to come from PostgreSQL is made here when that cannot be had. */
static enum MHD_Result list_instead(struct exchange *exchange, const struct filter *filter,
                                    const struct error *error)
{
    struct problem problem;
    set_no_postgres(&problem, error, instead_text);
    if (filter->source == FILTER_ANY)
        return list_local(exchange, filter, problem.detail);
    return operation_problem(exchange, &problem);
}

static enum MHD_Result answer_page(struct exchange *exchange, struct inquiry *inquiry)
{
    struct search *search = &inquiry->search;
    struct text *text = &search->body;
    exchange->seq = search->copied_seq;
    add_cursor(text, &inquiry->filter, FILTER_POSTGRES, search->more, search->last_stream);
    text_json_cstring(text, "source", "postgres");
    text_json_unsigned(text, "copied_seq", search->copied_seq);
    text_json_unsigned(text, "durable_seq", log_durable_seq(exchange->api->boot->log));
    text_json_close_object(text);
    return operation_answer(exchange, 200, text, NULL);
}

enum MHD_Result workflow_listed(struct exchange *exchange)
{
    struct inquiry *inquiry = exchange->inquiry;
    struct error *error = &inquiry->search.error;
    if (error->code == 0 && inquiry->search.copied_seq == 0)
        error_set(error, ERROR_UNAVAILABLE, "nothing of this log is copied there yet");
    if (error->code == 0)
        return answer_page(exchange, inquiry);
    return list_instead(exchange, &inquiry->filter, error);
}

static enum MHD_Result list_from_postgres(struct exchange *exchange, struct inquiry *inquiry)
{
    bool filled = filter_to_lookup(&inquiry->filter, &exchange->arena, &inquiry->search.lookup);
    arena_reset(&exchange->arena);
    if (!filled)
        return workflow_unreadable(exchange, -ENOMEM);
    (void)inquire(exchange, inquiry);
    return MHD_YES;
}

/*--- GET /api/v1/workflows ---------------------------------------------------------------------*/

struct reading {
    struct filter *filter;
    struct problem *problem;
    uint64_t now_ns;
};

static enum MHD_Result read_parameter(void *context, enum MHD_ValueKind kind, const char *name,
                                      size_t name_size, const char *value, size_t value_size)
{
    struct reading *reading = context;
    (void)kind;
    if (strlen(name) != name_size) {
        problem_set(reading->problem, 400, "invalid-parameter", "a name of the query has a NUL");
        return MHD_NO;
    }
    return filter_add(reading->filter, name, value, value ? value_size : 0, reading->now_ns,
                      reading->problem)
               ? MHD_YES
               : MHD_NO;
}

static bool read_filter(struct exchange *exchange, struct filter *filter, struct problem *problem)
{
    struct reading reading = { filter, problem, host_wall_ns() };
    MHD_get_connection_values_n(exchange->mhd, MHD_GET_ARGUMENT_KIND, read_parameter, &reading);
    if (problem->status == 0)
        (void)filter_end(filter, problem);
    if (problem->status == 0 && filter->source == FILTER_POSTGRES && !exchange->api->searcher)
        problem_set(problem, 400, "no-postgres",
                    "this agent has no [database] url in its configuration");
    return problem->status == 0;
}

enum MHD_Result workflow_list(struct exchange *exchange)
{
    struct problem problem = { 0 };
    struct inquiry *inquiry = inquiry_new(exchange);
    if (!inquiry)
        return workflow_unreadable(exchange, -ENOMEM);
    exchange->inquiry = inquiry;
    struct filter *filter = &inquiry->filter;
    if (!read_filter(exchange, filter, &problem))
        return operation_problem(exchange, &problem);
    bool local = filter->source == FILTER_LOCAL || !exchange->api->searcher ||
                 (filter->source == FILTER_ANY && !filter_is_search(filter));
    return local ? list_local(exchange, filter, NULL) : list_from_postgres(exchange, inquiry);
}

/*--- A workflow that has left the state --------------------------------------------------------*/

enum MHD_Result workflow_ask_postgres(struct exchange *exchange, uint64_t stream)
{
    struct inquiry *inquiry = inquiry_new(exchange);
    if (!inquiry)
        return workflow_unreadable(exchange, -ENOMEM);
    exchange->inquiry = inquiry;
    exchange->waits = false; /* it has ended */
    inquiry->search.stream = stream;
    (void)inquire(exchange, inquiry);
    return MHD_YES;
}

/* Ended, as everything is that left the state: what shows it otherwise is not there yet. */
static bool is_behind(const struct search *search)
{
    return search->count == 0 ? search->copied_seq < search->stream : !search->ended;
}

static void set_behind(struct exchange *exchange, const struct search *search,
                       struct problem *problem)
{
    problem_set(problem, 503, "copy-behind",
                "the workflow has ended and left the state, and the copy in Postgres is not that "
                "far yet: it has the log up to event %" PRIu64 " of %" PRIu64
                "; ask again when daa-pgsync has caught up",
                search->copied_seq, log_durable_seq(exchange->api->boot->log));
}

enum MHD_Result workflow_from_postgres(struct exchange *exchange)
{
    struct search *search = &exchange->inquiry->search;
    struct problem problem, why;
    if (search->error.code < 0) {
        set_no_postgres(&why, &search->error, "");
        problem_set(&problem, 503, why.code, "the workflow has ended and left the state. %.500s",
                    why.detail);
        return operation_problem(exchange, &problem);
    }
    if (is_behind(search)) {
        set_behind(exchange, search, &problem);
        return operation_problem(exchange, &problem);
    }
    if (search->count == 0)
        return workflow_gone(exchange, true);
    exchange->seq = search->copied_seq;
    text_json_cstring(&search->body, "source", "postgres");
    text_json_unsigned(&search->body, "copied_seq", search->copied_seq);
    text_json_close_object(&search->body);
    return operation_answer(exchange, 200, &search->body, NULL);
}
