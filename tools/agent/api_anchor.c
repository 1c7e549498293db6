/* The operations on signed heads of the log: they are read from the log itself. */
#include "core/event/anchor.h"
#include "log/reader.h"
#include "tools/agent/notary.h"
#include "tools/agent/operation.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define LIST_DEFAULT 100u
#define LIST_MAX 1000u

/* The log.anchored `event`. 1, 0 it is not there (any more) or is something else, negative. */
static int read_anchor(struct exchange *exchange, uint64_t event, struct anchor *anchor,
                       struct error *error)
{
    struct record record;
    int code = log_reader_get(exchange->api->reader, event, &record, NULL, error);
    if (code == ERROR_NOT_FOUND)
        return 0;
    if (code == 1)
        code = anchor_of_record(anchor, record.seq, record.kind, record.payload, &exchange->arena);
    arena_reset(&exchange->arena);
    return code;
}

/* The newest that is durable; 0: none. */
static uint64_t newest_event(const struct exchange *exchange)
{
    struct notary_status *status = malloc(sizeof *status);
    if (status == NULL)
        return 0;
    notary_status_get(exchange->api->boot->notary, status);
    uint64_t event = status->newest.event;
    free(status);
    return event;
}

/* From anchor to anchor, back in time, as an object with "items". */
static int add_anchors(struct exchange *exchange, uint64_t event, uint64_t limit,
                       struct anchor *anchor, struct text *text, struct error *error)
{
    char cursor[24];
    uint64_t count = 0;
    int code = 1;
    text_json_open_object(text, NULL);
    text_json_open_array(text, "items");
    for (; event > 0 && count < limit; count++, event = anchor->previous) {
        code = read_anchor(exchange, event, anchor, error);
        if (code < 0)
            return code;
        if (code == 0 && count == 0)
            return ERROR_NOT_FOUND;
        if (code == 0) {
            event = 0; /* older ones were removed from the log */
            break;
        }
        anchor_to_json(anchor, NULL, text);
    }
    text_json_close_array(text);
    snprintf(cursor, sizeof cursor, "%" PRIu64, event);
    text_json_cstring(text, "next_cursor", event > 0 ? cursor : NULL);
    text_json_close_object(text);
    return text->failed;
}

static enum MHD_Result unreadable(struct exchange *exchange, const struct error *error)
{
    struct problem problem = { 0 };
    problem_set(&problem, 503, "log-unreadable", "the log cannot be read: %.500s", error->text);
    return operation_problem(exchange, &problem);
}

static enum MHD_Result missing(struct exchange *exchange, uint64_t event)
{
    struct problem problem = { 0 };
    if (event > 0)
        problem_set(&problem, 404, "no-anchor", "event %" PRIu64 " is not there, or no anchor",
                    event);
    else
        problem_set(&problem, 404, "no-anchor",
                    "no head of this log was signed yet; POST /api/v1/log:anchor signs one");
    return operation_problem(exchange, &problem);
}

/*--- GET /api/v1/log/anchors -------------------------------------------------------------------*/

enum MHD_Result anchor_list(struct exchange *exchange)
{
    struct problem problem = { 0 };
    struct error error = { 0 };
    struct text text;
    uint64_t limit = LIST_DEFAULT, cursor = 0;
    if (!operation_read_number(exchange, "limit", 1, LIST_MAX, &limit, &problem) ||
        !operation_read_number(exchange, "cursor", 1, UINT64_MAX, &cursor, &problem))
        return operation_problem(exchange, &problem);
    struct anchor *anchor = malloc(sizeof *anchor);
    text_init(&text);
    int code = anchor == NULL ? error_set(&error, -ENOMEM, "no memory")
                              : operation_take_reader(exchange->api, &error);
    if (code == 0)
        code = add_anchors(exchange, cursor > 0 ? cursor : newest_event(exchange), limit, anchor,
                           &text, &error);
    if (anchor != NULL)
        operation_give_reader(exchange->api);
    enum MHD_Result result = code == ERROR_NOT_FOUND ? missing(exchange, cursor)
                             : code < 0              ? unreadable(exchange, &error)
                                                     : operation_answer(exchange, 200, &text, NULL);
    text_free(&text);
    free(anchor);
    return result;
}

/*--- GET /api/v1/log/anchor, POST /api/v1/log:anchor -------------------------------------------*/

static enum MHD_Result answer(struct exchange *exchange, uint64_t event)
{
    struct error error = { 0 };
    struct text text;
    struct anchor *anchor = malloc(sizeof *anchor);
    int code = 0;
    text_init(&text);
    if (anchor == NULL)
        code = error_set(&error, -ENOMEM, "no memory");
    else if (event > 0) {
        code = operation_take_reader(exchange->api, &error);
        if (code == 0)
            code = read_anchor(exchange, event, anchor, &error);
        operation_give_reader(exchange->api);
    }
    if (code == 1)
        anchor_to_json(anchor, NULL, &text);
    enum MHD_Result result = code == 0  ? missing(exchange, event)
                             : code < 0 ? unreadable(exchange, &error)
                                        : operation_answer(exchange, 200, &text, NULL);
    text_free(&text);
    free(anchor);
    return result;
}

enum MHD_Result anchor_newest(struct exchange *exchange)
{
    return answer(exchange, newest_event(exchange));
}

static void *sign(void *argument)
{
    struct exchange *exchange = argument;
    struct api *api = exchange->api;
    if (notary_sign(api->boot->notary, &exchange->seq, &exchange->error) == 0)
        exchange->error.code = 0;
    operation_end_long(exchange, &api->anchor_under_way);
    return NULL;
}

enum MHD_Result anchor_sign_begin(struct exchange *exchange)
{
    struct problem problem = { 0 };
    if (!atomic_exchange(&exchange->api->anchor_under_way, true))
        return operation_begin_long(exchange, sign, &exchange->api->anchor_under_way);
    problem_set(&problem, 429, "anchor-under-way",
                "somebody else waits for an anchor; ask again in a moment");
    return operation_problem(exchange, &problem);
}

enum MHD_Result anchor_sign_end(struct exchange *exchange)
{
    struct problem problem = { 0 };
    if (exchange->error.code == 0)
        return answer(exchange, exchange->seq);
    problem_set(&problem, exchange->error.code == ERROR_INVALID ? 409 : 503, "not-anchored",
                "%.550s", exchange->error.text);
    return operation_problem(exchange, &problem);
}

/*--- /status -----------------------------------------------------------------------------------*/

void anchor_add_status(const struct boot *boot, struct text *text)
{
    struct notary_status *status = malloc(sizeof *status);
    if (status == NULL)
        return;
    notary_status_get(boot->notary, status);
    text_json_open_object(text, "anchors");
    text_json_unsigned(text, "newest", status->newest.event);
    text_json_unsigned(text, "signed_up_to", status->newest.seq);
    text_json_unsigned(text, "sealed_up_to_segment", status->newest.segment_no);
    text_json_unsigned(text, "made", status->made);
    text_json_cstring(text, "file", status->file);
    text_json_unsigned(text, "exported", status->exported);
    text_json_cstring(text, "trouble", status->trouble.code < 0 ? status->trouble.text : NULL);
    text_json_close_object(text);
    free(status);
}
