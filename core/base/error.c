#include "core/base/error.h"

#include "core/base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void mark_cut(struct error *error, int length)
{
    if (length >= (int)sizeof error->text)
        memcpy(error->text + sizeof error->text - 4, "...", 4);
}

int error_set(struct error *error, int code, const char *format, ...)
{
    CHECK(code < 0);
    if (error == NULL)
        return code;
    va_list arguments;
    va_start(arguments, format);
    error->code = code;
    mark_cut(error, vsnprintf(error->text, sizeof error->text, format, arguments));
    va_end(arguments);
    return code;
}

int error_wrap(struct error *error, int code, const char *format, ...)
{
    CHECK(code < 0);
    if (error == NULL)
        return code;
    char inner[sizeof error->text];
    va_list arguments;
    memcpy(inner, error->text, sizeof inner);
    va_start(arguments, format);
    int length = vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    if (length < 0 || length >= (int)sizeof error->text) {
        mark_cut(error, (int)sizeof error->text);
        return code;
    }
    size_t room = sizeof error->text - (size_t)length;
    mark_cut(error, length + snprintf(error->text + length, room, ": %s", inner));
    return code;
}

const char *error_text(int code)
{
    switch (code) {
#define X(name, value, text)                                                                       \
    case value:                                                                                    \
        return text;
        ERROR_CODES(X)
#undef X
    default:
        return strerror(-code);
    }
}
