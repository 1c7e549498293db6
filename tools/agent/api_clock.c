/* The operations of the clock. */
#include "tools/agent/api_clock.h"

#include "tools/agent/clock.h"
#include "tools/agent/loop.h"
#include "tools/agent/operation.h"

#include <stdio.h>

static void describe(const struct clock_view *view, char *text, size_t size)
{
    double difference_s = (double)view->difference_ns / 1e9;
    const char *where = difference_s < 0 ? "behind" : "ahead of";
    double away_s = difference_s < 0 ? -difference_s : difference_s;
    if (view->degraded)
        snprintf(
            text, size,
            "the wall clock is %.3f s %s log time and not trusted: timers go on, what waits "
            "for a time of day waits; set the clock right, or accept it (daa-cli clock accept)",
            away_s, where);
    else if (view->difference_ns < -(int64_t)LOG_CLOCK_STEPPED_NS)
        snprintf(text, size,
                 "the wall clock was accepted and is %.3f s behind log time, which cannot go back "
                 "and is slowed down by %u ppm: they agree in %.0f s",
                 away_s, LOG_CLOCK_SLEW_PPM, (double)view->slewing_ns / 1e9);
    else
        snprintf(text, size, "the wall clock is trusted");
}

static void add_members(const struct boot *boot, const struct clock_view *view, struct text *text)
{
    char reason[400];
    describe(view, reason, sizeof reason);
    text_json_cstring(text, "state", view->degraded ? "degraded" : "ok");
    text_json_cstring(text, "reason", reason);
    text_json_time(text, "log_time", view->log_ns);
    text_json_time(text, "wall_time", view->wall_ns);
    text_json_integer(text, "difference_ns", view->difference_ns);
    text_json_unsigned(text, "shift_ns", view->shift_ns);
    if (view->degraded)
        text_json_null(text, "agree_in_ns");
    else
        text_json_unsigned(text, "agree_in_ns", view->slewing_ns);
    text_json_cstring(text, "on_step",
                      boot->config->clock.on_step == CONFIG_ON_STEP_ACCEPT ? "accept" : "wait");
}

void clock_add_status(const struct boot *boot, struct text *text)
{
    struct clock_view view;
    if (clock_view_get(boot, &view) < 0)
        return;
    text_json_open_object(text, "clock");
    add_members(boot, &view, text);
    text_json_close_object(text);
}

bool clock_is_degraded(const struct boot *boot, char *why, size_t size)
{
    struct clock_view view;
    if (clock_view_get(boot, &view) < 0 || !view.degraded)
        return false;
    describe(&view, why, size);
    return true;
}

/*--- GET /api/v1/clock, POST /api/v1/clock:accept ----------------------------------------------*/

static enum MHD_Result answer(struct exchange *exchange, uint64_t seq)
{
    const struct boot *boot = exchange->api->boot;
    struct problem problem = { 0 };
    struct clock_view view;
    int status = clock_view_get(boot, &view);
    if (status < 0) {
        problem_set(&problem, 503, "state-unreadable", "the state cannot be read: %s",
                    error_text(status));
        return operation_problem(exchange, &problem);
    }
    struct text text;
    text_init(&text);
    text_json_open_object(&text, NULL);
    add_members(boot, &view, &text);
    if (seq > 0)
        text_json_unsigned(&text, "seq", seq);
    text_json_close_object(&text);
    enum MHD_Result result = operation_answer(exchange, 200, &text, NULL);
    text_free(&text);
    return result;
}

enum MHD_Result clock_show(struct exchange *exchange)
{
    return answer(exchange, 0);
}

enum MHD_Result clock_accept(struct exchange *exchange)
{
    struct command *command = &exchange->request.command;
    struct problem problem = { 0 };
    struct json json;
    if (exchange->body_size > 0 && !operation_body(exchange, &json, &problem))
        return operation_problem(exchange, &problem);
    if (exchange->body_size > 0 && json_first(&json, 0) != 0) {
        problem_set(&problem, 422, "unknown-member",
                    "accepting the clock takes no members; send {}");
        return operation_problem(exchange, &problem);
    }
    *command = (struct command){ .kind = COMMAND_CLOCK };
    command->clock.change = DAA__CLOCK_STEPPED__CHANGE__ACCEPTED;
    return operation_ask(exchange);
}

enum MHD_Result clock_accepted(struct exchange *exchange)
{
    const struct request *request = &exchange->request;
    if (request->answer == REQUEST_REFUSED)
        return operation_refusal(exchange);
    if (request->answer == REQUEST_UNKNOWN)
        return operation_unknown(exchange);
    exchange->seq = request->seq;
    return answer(exchange, request->seq);
}
