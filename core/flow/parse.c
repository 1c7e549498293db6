#include "core/flow/parse.h"

#include "core/base/duration.h"
#include "core/base/error.h"
#include "core/base/nearest.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/*--- Problems and their place ----------------------------------------------------------------*/

int parse_refuse(struct parse *parse, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(parse->problem->message, sizeof parse->problem->message, format, arguments);
    va_end(arguments);
    return ERROR_INVALID;
}

int parse_refuse_budget(struct parse *parse)
{
    (void)parse_refuse(parse, "the memory budget has no room for this definition (owner %s)",
                       budget_owner_name(BUDGET_DEFINITIONS));
    return ERROR_BUDGET;
}

static void add_pointer_byte(struct parse *parse, char byte)
{
    if (parse->pointer_size + 1 >= sizeof parse->problem->pointer)
        return;
    parse->problem->pointer[parse->pointer_size++] = byte;
    parse->problem->pointer[parse->pointer_size] = '\0';
}

size_t parse_enter(struct parse *parse, const char *name)
{
    size_t before = parse->pointer_size;
    add_pointer_byte(parse, '/');
    for (; *name != '\0'; name++) {
        if (*name == '~' || *name == '/')
            add_pointer_byte(parse, '~');
        add_pointer_byte(parse, *name == '~' ? '0' : *name == '/' ? '1' : *name);
    }
    return before;
}

size_t parse_enter_index(struct parse *parse, uint32_t index)
{
    char digits[16];
    (void)snprintf(digits, sizeof digits, "%u", index);
    return parse_enter(parse, digits);
}

void parse_leave(struct parse *parse, size_t before)
{
    parse->pointer_size = before;
    parse->problem->pointer[before] = '\0';
}

/*--- Objects and their keys ------------------------------------------------------------------*/

static const char *key_name(const void *table, size_t index)
{
    const struct parse_key *keys = table;
    return keys[index].name;
}

/* The key as a C string for messages and the pointer, cut when it is too long for them. */
static void key_text(struct parse *parse, uint32_t node, char text[80])
{
    struct span name = json_string(&parse->json, node, parse->scratch);
    size_t size = name.bytes == NULL ? 0 : name.size < 79 ? name.size : 79;
    for (size_t i = 0; i < size; i++)
        text[i] = (char)(name.bytes[i] < ' ' ? '?' : name.bytes[i]);
    text[size] = '\0';
}

static int refuse_key(struct parse *parse, uint32_t node, const char *what,
                      const struct parse_key *keys)
{
    char text[80];
    key_text(parse, node, text);
    (void)parse_enter(parse, text);
    const char *nearest = nearest_name(text, key_name, keys);
    if (nearest != NULL)
        return parse_refuse(parse, "%s has no key \"%s\"; did you mean \"%s\"?", what, text,
                            nearest);
    return parse_refuse(parse, "%s has no key \"%s\": take it out", what, text);
}

int parse_object(struct parse *parse, uint32_t node, const char *what, const struct parse_key *keys)
{
    const struct json *json = &parse->json;
    if (json->nodes[node].kind != JSON_OBJECT)
        return parse_refuse(parse, "%s must be an object, not %s", what,
                            json_kind_name(json->nodes[node].kind));
    for (uint32_t at = json_first(json, node); at != 0; at = json_next(json, node, at)) {
        const struct parse_key *key = keys;
        while (key->name != NULL && !json_string_is(json, at, key->name))
            key++;
        if (key->name == NULL)
            return refuse_key(parse, at, what, keys);
        if (key->later) {
            (void)parse_enter(parse, key->name);
            return parse_refuse(parse, "\"%s\" is not in this version: take it out", key->name);
        }
    }
    return 0;
}

/*--- Values ----------------------------------------------------------------------------------*/

int parse_string(struct parse *parse, uint32_t node, const char *what, size_t size_max,
                 struct span *value)
{
    const struct json *json = &parse->json;
    if (json->nodes[node].kind != JSON_STRING)
        return parse_refuse(parse, "%s must be a string, not %s", what,
                            json_kind_name(json->nodes[node].kind));
    struct span decoded = json_string(json, node, parse->arena);
    if (decoded.bytes == NULL)
        return parse_refuse_budget(parse);
    if (decoded.size == 0 || decoded.size > size_max)
        return parse_refuse(parse, "%s must have 1 to %zu bytes, not %zu", what, size_max,
                            decoded.size);
    for (size_t i = 0; i < decoded.size; i++)
        if (decoded.bytes[i] < ' ' || decoded.bytes[i] == 0x7f)
            return parse_refuse(parse, "%s must not hold control characters (byte %zu is 0x%02x)",
                                what, i, decoded.bytes[i]);
    *value = decoded;
    return 0;
}

int parse_duration(struct parse *parse, uint32_t node, const char *what, uint64_t *ns)
{
    struct span text;
    int result = parse_string(parse, node, what, 64, &text);
    if (result < 0)
        return result;
    result = duration_parse(text, ns);
    if (result == ERROR_TOO_LARGE)
        return parse_refuse(parse, "%s \"%.*s\" is over 100 years", what, (int)text.size,
                            (const char *)text.bytes);
    if (result < 0)
        return parse_refuse(parse, "%s \"%.*s\" is no duration: write \"250ms\", \"1.5h\", \"2d\"",
                            what, (int)text.size, (const char *)text.bytes);
    return 0;
}

/*--- Templates -------------------------------------------------------------------------------*/

static int note_reference(struct parse *parse, struct span id)
{
    struct parse_reference *reference = arena_allocate(parse->scratch, sizeof *reference);
    char *pointer = arena_allocate(parse->scratch, parse->pointer_size + 1);
    if (reference == NULL || pointer == NULL)
        return parse_refuse_budget(parse);
    memcpy(pointer, parse->problem->pointer, parse->pointer_size);
    *reference = (struct parse_reference){ parse->references, parse->step, id, pointer };
    parse->references = reference;
    return 0;
}

int parse_templates(struct parse *parse, enum template_place place, struct span text)
{
    struct template_part part;
    struct error error;
    size_t at = 0;
    int result;
    while ((result = template_next(text, &at, &part, &error)) > 0) {
        if (++parse->templates > TEMPLATE_COUNT_MAX)
            return parse_refuse(parse, "a step may hold at most %u templates", TEMPLATE_COUNT_MAX);
        if (part.root == TEMPLATE_SECRETS && !template_place_has_secrets(place))
            return parse_refuse(parse,
                                "%.*s may not stand here: secrets work in the headers, url and "
                                "body of http and in the env of exec",
                                (int)part.text.size, (const char *)part.text.bytes);
        if (part.root == TEMPLATE_STEPS) {
            result = note_reference(parse, part.name);
            if (result < 0)
                return result;
        }
    }
    return result == 0 ? 0 : parse_refuse(parse, "%s", error.text);
}

/* What follows the closing quote tells a key from a value. */
static bool is_key(const struct json *json, uint32_t node)
{
    size_t at = (size_t)json->nodes[node].start + json->nodes[node].size + 1;
    while (at < json->text.size && strchr(" \t\r\n", json->text.bytes[at]) != NULL)
        at++;
    return at < json->text.size && json->text.bytes[at] == ':';
}

int parse_json_templates(struct parse *parse, uint32_t node)
{
    const struct json *json = &parse->json;
    for (uint32_t i = node; i < json->nodes[node].end; i++) {
        if (json->nodes[i].kind != JSON_STRING)
            continue;
        struct span string = json_string(json, i, parse->scratch);
        if (string.bytes == NULL)
            return parse_refuse_budget(parse);
        if (is_key(json, i) && string.size > 0 &&
            memmem(string.bytes, string.size, "${{", 3) != NULL)
            return parse_refuse(parse, "a template stands in the name of a member; templates work "
                                       "in values only");
        int result = parse_templates(parse, TEMPLATE_JSON, string);
        if (result < 0)
            return result;
    }
    return 0;
}
