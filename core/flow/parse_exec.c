#include "core/base/error.h"
#include "core/flow/parse.h"

#include <string.h>

/* A string that may be empty and hold line ends, as arguments and standard input may; no NUL. */
static int parse_free_string(struct parse *parse, uint32_t node, const char *what,
                             enum template_place place, struct span *value)
{
    const struct json *json = &parse->json;
    if (json->nodes[node].kind != JSON_STRING)
        return parse_refuse(parse, "%s must be a string, not %s", what,
                            json_kind_name(json->nodes[node].kind));
    *value = json_string(json, node, parse->arena);
    if (value->bytes == NULL)
        return parse_refuse_budget(parse);
    if (value->size > PARSE_TEXT_SIZE_MAX)
        return parse_refuse(parse, "%s has %zu bytes; the limit is %u", what, value->size,
                            PARSE_TEXT_SIZE_MAX);
    if (place != TEMPLATE_STDIN && value->size > 0 && memchr(value->bytes, 0, value->size) != NULL)
        return parse_refuse(parse, "%s must not hold a NUL", what);
    return parse_templates(parse, place, *value);
}

static int parse_argv(struct parse *parse, uint32_t node, struct flow_exec *exec)
{
    const struct json *json = &parse->json;
    size_t before = parse_enter(parse, "argv");
    if (node == 0 || json->nodes[node].kind != JSON_ARRAY || json->nodes[node].count == 0)
        return parse_refuse(parse, "an exec step needs \"argv\", an array of strings that begins "
                                   "with the program");
    uint32_t count = json->nodes[node].count;
    if (count > PARSE_LIST_MAX)
        return parse_refuse(parse, "\"argv\" has at most %u strings, not %u", PARSE_LIST_MAX,
                            count);
    exec->argv = arena_allocate(parse->arena, count * sizeof *exec->argv);
    if (exec->argv == NULL)
        return parse_refuse_budget(parse);
    for (uint32_t at = json_first(json, node); at != 0; at = json_next(json, node, at)) {
        uint32_t index = exec->argv_count++;
        size_t outer = parse_enter_index(parse, index);
        struct span *argument = &exec->argv[index];
        int result = parse_free_string(parse, at, "an argument", TEMPLATE_ARGUMENT, argument);
        if (result < 0)
            return result;
        if (index == 0 && (argument->size < 2 || argument->bytes[0] != '/'))
            return parse_refuse(parse,
                                "\"%.*s\" is no absolute path of a program, such as "
                                "\"/usr/bin/true\"",
                                argument->size > 100 ? 100 : (int)argument->size,
                                (const char *)argument->bytes);
        if (index == 0 && memmem(argument->bytes, argument->size, "${{", 3) != NULL)
            return parse_refuse(parse, "the program may not be a template: name it, so that it can "
                                       "be held to the list of allowed ones");
        parse_leave(parse, outer);
    }
    parse_leave(parse, before);
    return 0;
}

static bool is_variable_name(struct span name)
{
    for (size_t i = 0; i < name.size; i++) {
        uint8_t byte = name.bytes[i];
        bool letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_';
        if (!letter && (i == 0 || byte < '0' || byte > '9'))
            return false;
    }
    return name.size > 0 && name.size <= 128;
}

static int parse_env(struct parse *parse, uint32_t node, struct flow_exec *exec)
{
    const struct json *json = &parse->json;
    if (node == 0)
        return 0;
    size_t before = parse_enter(parse, "env");
    if (json->nodes[node].kind != JSON_OBJECT)
        return parse_refuse(parse, "\"env\" must be an object of strings, not %s",
                            json_kind_name(json->nodes[node].kind));
    uint32_t count = json->nodes[node].count;
    if (count > PARSE_LIST_MAX)
        return parse_refuse(parse, "\"env\" has at most %u variables, not %u", PARSE_LIST_MAX,
                            count);
    exec->env = arena_allocate(parse->arena, count * sizeof *exec->env);
    if (exec->env == NULL)
        return parse_refuse_budget(parse);
    for (uint32_t at = json_first(json, node); at != 0; at = json_next(json, node, at)) {
        struct flow_header *variable = &exec->env[exec->env_count++];
        variable->name = json_string(json, at, parse->arena);
        if (variable->name.bytes == NULL)
            return parse_refuse_budget(parse);
        if (!is_variable_name(variable->name))
            return parse_refuse(parse, "a name of a variable has letters, digits and \"_\", and no "
                                       "digit first");
        int result = parse_free_string(parse, at + 1, "the value of a variable", TEMPLATE_ENV,
                                       &variable->value);
        if (result < 0)
            return result;
    }
    parse_leave(parse, before);
    return 0;
}

int parse_exec(struct parse *parse, uint32_t node, struct flow_exec *exec)
{
    static const struct parse_key keys[] = {
        { "argv", false }, { "env", false }, { "stdin", false }, { NULL, false }
    };
    const struct json *json = &parse->json;
    int result = parse_object(parse, node, "\"exec\"", keys);
    if (result == 0)
        result = parse_argv(parse, json_member(json, node, "argv"), exec);
    if (result == 0)
        result = parse_env(parse, json_member(json, node, "env"), exec);
    uint32_t input = json_member(json, node, "stdin");
    if (result < 0 || input == 0)
        return result;
    size_t before = parse_enter(parse, "stdin");
    result = parse_free_string(parse, input, "\"stdin\"", TEMPLATE_STDIN, &exec->stdin_text);
    if (result == 0)
        parse_leave(parse, before);
    return result;
}
