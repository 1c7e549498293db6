/* The operations of the log's reading through. */
#include "tools/agent/operation.h"
#include "tools/agent/scrub.h"

static void add_time(struct text *text, const char *key, uint64_t time_ns)
{
    if (time_ns > 1) /* 1: at once */
        text_json_time(text, key, time_ns);
    else
        text_json_null(text, key);
}

static void add_members(struct text *text, const struct scrub_report *report)
{
    text_json_bool(text, "under_way", report->under_way);
    add_time(text, "began", report->began_ns);
    add_time(text, "last_ended", report->ended_ns);
    add_time(text, "due", report->due_ns);
    if (report->under_way)
        text_json_unsigned(text, "segment", report->segment_no);
    else
        text_json_null(text, "segment");
    text_json_unsigned(text, "segments", report->segments);
    text_json_unsigned(text, "done_bytes", report->done_bytes);
    text_json_unsigned(text, "all_bytes", report->all_bytes);
    text_json_cstring(text, "trouble", report->trouble.code < 0 ? report->trouble.text : NULL);
    text_json_unsigned(text, "damages", report->damage_count);
    text_json_open_array(text, "damaged");
    for (unsigned i = 0; i < report->damage_count && i < SCRUB_DAMAGES_MAX; i++) {
        const struct scrub_damage *damage = &report->damages[i];
        text_json_open_object(text, NULL);
        text_json_cstring(text, "file", damage->file);
        text_json_unsigned(text, "offset", damage->offset);
        text_json_unsigned(text, "size", damage->size);
        text_json_unsigned(text, "first_seq", damage->first_seq);
        text_json_unsigned(text, "last_seq", damage->last_seq);
        text_json_cstring(text, "text", damage->sentence);
        text_json_close_object(text);
    }
    text_json_close_array(text);
}

void scrub_add_status(const struct boot *boot, struct text *text)
{
    struct scrub_report report;
    scrub_report_get(boot->scrub, &report);
    text_json_open_object(text, "scrub");
    add_members(text, &report);
    text_json_close_object(text);
}

static enum MHD_Result answer(struct exchange *exchange, int status)
{
    struct scrub_report report;
    struct text text;
    scrub_report_get(exchange->api->boot->scrub, &report);
    text_init(&text);
    text_json_open_object(&text, NULL);
    add_members(&text, &report);
    text_json_close_object(&text);
    enum MHD_Result result = operation_answer(exchange, status, &text, NULL);
    text_free(&text);
    return result;
}

enum MHD_Result scrub_show(struct exchange *exchange)
{
    return answer(exchange, 200);
}

enum MHD_Result scrub_start(struct exchange *exchange)
{
    struct problem problem = { 0 };
    if (scrub_begin(exchange->api->boot->scrub))
        return answer(exchange, 202);
    problem_set(&problem, 409, "scrub-under-way",
                "the log is being read through already; GET /api/v1/log/scrub says how far that is "
                "and what was found");
    return operation_problem(exchange, &problem);
}
