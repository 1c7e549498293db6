/* The operations of the check of the state. */
#include "tools/agent/doctor.h"
#include "tools/agent/operation.h"

static void add_head(struct text *text, const struct doctor_report *report)
{
    const struct check_documents_result *result = &report->result;
    text_json_unsigned(text, "checks", report->checks);
    text_json_bool(text, "under_way", report->under_way);
    if (report->checks == 0)
        return;
    text_json_time(text, "time", report->time_ns);
    text_json_unsigned(text, "took_ms", report->took_ns / 1000000);
    text_json_unsigned(text, "seq", report->seq);
    text_json_cstring(text, "trouble", report->error.code < 0 ? report->error.text : NULL);
    if (report->error.code < 0)
        return;
    text_json_unsigned(text, "documents", result->documents);
    text_json_unsigned(text, "findings", result->findings);
}

static void add_report(struct text *text, const struct doctor_report *report)
{
    const struct check_documents_result *result = &report->result;
    text_json_open_object(text, NULL);
    add_head(text, report);
    if (report->checks > 0 && report->error.code == 0) {
        text_json_unsigned(text, "bytes", result->bytes);
        text_json_unsigned(text, "workflows", result->workflows);
        text_json_unsigned(text, "definitions", result->definitions);
        text_json_unsigned(text, "keys", result->keys);
        text_json_bool(text, "usages_checked", result->usages_checked);
    }
    text_json_open_array(text, "items");
    for (uint32_t i = 0; i < report->finding_count; i++) {
        text_json_open_object(text, NULL);
        text_json_cstring(text, "document", report->findings[i].key);
        text_json_cstring(text, "finding", report->findings[i].sentence);
        text_json_close_object(text);
    }
    text_json_close_array(text);
    text_json_close_object(text);
}

void doctor_add_status(const struct boot *boot, struct text *text)
{
    struct doctor_report report;
    doctor_report_get(boot->doctor, &report);
    text_json_open_object(text, "check");
    add_head(text, &report);
    if (report.finding_count > 0)
        text_json_cstring(text, "first_finding", report.findings[0].sentence);
    text_json_close_object(text);
}

static enum MHD_Result answer(struct exchange *exchange, const struct doctor_report *report)
{
    struct text text;
    text_init(&text);
    add_report(&text, report);
    enum MHD_Result result = operation_answer(exchange, 200, &text, NULL);
    text_free(&text);
    return result;
}

/*--- GET /api/v1/state/check -------------------------------------------------------------------*/

enum MHD_Result doctor_show(struct exchange *exchange)
{
    struct doctor_report report;
    doctor_report_get(exchange->api->boot->doctor, &report);
    return answer(exchange, &report);
}

/*--- POST /api/v1/state:check ------------------------------------------------------------------*/

/* The report is read again by doctor_checked(): it is too large to be kept in every exchange. */
static void *wait_for_check(void *argument)
{
    struct exchange *exchange = argument;
    struct api *api = exchange->api;
    struct doctor_report report;
    int status = doctor_wait(api->boot->doctor, exchange->check, &report);
    if (status < 0)
        error_set(&exchange->error, status, "the agent stops");
    else
        exchange->error = report.error;
    MHD_resume_connection(exchange->mhd);
    atomic_fetch_sub(&api->checks_under_way, 1);
    return NULL;
}

enum MHD_Result doctor_check(struct exchange *exchange)
{
    struct api *api = exchange->api;
    struct problem problem = { 0 };
    pthread_t thread;
    if (!doctor_begin(api->boot->doctor, &exchange->check)) {
        problem_set(&problem, 409, "check-under-way",
                    "the state is being checked already; GET /api/v1/state/check says when it is "
                    "done, and what was found");
        return operation_problem(exchange, &problem);
    }
    exchange->error = (struct error){ 0 };
    exchange->phase = EXCHANGE_SUSPENDED;
    atomic_fetch_add(&api->checks_under_way, 1);
    MHD_suspend_connection(exchange->mhd);
    int status = pthread_create(&thread, NULL, wait_for_check, exchange);
    if (status == 0) {
        pthread_detach(thread);
        return MHD_YES;
    }
    error_set(&exchange->error, -status, "no thread: %s", error_text(-status));
    atomic_fetch_sub(&api->checks_under_way, 1);
    MHD_resume_connection(exchange->mhd);
    return MHD_YES;
}

enum MHD_Result doctor_checked(struct exchange *exchange)
{
    struct problem problem = { 0 };
    struct doctor_report report;
    if (exchange->error.code < 0) {
        problem_set(&problem, 503, "state-unreadable", "the state was not checked: %.500s",
                    exchange->error.text);
        return operation_problem(exchange, &problem);
    }
    doctor_report_get(exchange->api->boot->doctor, &report);
    return answer(exchange, &report);
}
