#include "tools/agent/problem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *title_of(int status)
{
    switch (status) {
    case 400:
        return "The request is malformed";
    case 401:
        return "The token is missing or wrong";
    case 403:
        return "That is not allowed";
    case 404:
        return "There is no such thing";
    case 405:
        return "The method is not allowed here";
    case 408:
        return "The request did not arrive in time";
    case 409:
        return "That contradicts what is there";
    case 410:
        return "It was here and is gone";
    case 413:
        return "The request is too large";
    case 415:
        return "The body must be JSON";
    case 422:
        return "The request breaks a rule";
    case 429:
        return "A limit is reached";
    case 503:
        return "Not available at the moment";
    case 507:
        return "The disk has no room";
    default:
        return "The agent failed";
    }
}

static bool retryable_status(int status)
{
    return status == 408 || status == 429 || status == 503 || status == 507;
}

static void begin(struct problem *problem, int status, const char *code)
{
    problem->status = status;
    problem->code = code;
    problem->retryable = retryable_status(status);
    problem->safe_to_retry = true;
    problem->retry_after_s = status == 429 || status == 503 || status == 507;
    problem->pointer[0] = problem->message[0] = problem->allow[0] = 0;
}

void problem_set(struct problem *problem, int status, const char *code, const char *format, ...)
{
    begin(problem, status, code);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(problem->detail, sizeof problem->detail, format, arguments);
    va_end(arguments);
}

void problem_set_at(struct problem *problem, int status, const char *code, const char *pointer,
                    const char *format, ...)
{
    begin(problem, status, code);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(problem->message, sizeof problem->message, format, arguments);
    va_end(arguments);
    snprintf(problem->pointer, sizeof problem->pointer, "%s", pointer);
    snprintf(problem->detail, sizeof problem->detail, "%s%s%.300s", pointer, pointer[0] ? ": " : "",
             problem->message);
}

void problem_to_json(const struct problem *problem, const char *instance, const char *request_id,
                     struct text *text)
{
    text_json_open_object(text, NULL);
    char type[128];
    snprintf(type, sizeof type, "urn:daa:problem:%s", problem->code);
    text_json_cstring(text, "type", type);
    text_json_cstring(text, "title", title_of(problem->status));
    text_json_integer(text, "status", problem->status);
    text_json_cstring(text, "detail", problem->detail);
    text_json_cstring(text, "instance", instance);
    text_json_cstring(text, "code", problem->code);
    text_json_cstring(text, "request_id", request_id);
    text_json_bool(text, "retryable", problem->retryable);
    text_json_bool(text, "safe_to_retry", problem->safe_to_retry);
    if (problem->message[0]) {
        text_json_open_array(text, "errors");
        text_json_open_object(text, NULL);
        text_json_cstring(text, "pointer", problem->pointer);
        text_json_cstring(text, "message", problem->message);
        text_json_close_object(text);
        text_json_close_array(text);
    }
    text_json_close_object(text);
    text_add(text, "\n", 1);
}
