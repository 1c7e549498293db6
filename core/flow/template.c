#include "core/flow/template.h"

#include "core/base/json.h"

#include <stdio.h>
#include <string.h>

static const char opening[] = "${{";
enum { OPENING_SIZE = 3, CLOSING_SIZE = 2 };

/*--- Reading one -----------------------------------------------------------------------------*/

static bool is_name_byte(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '_' || byte == '-';
}

static struct span trimmed(struct span text)
{
    while (text.size > 0 && text.bytes[0] == ' ')
        text = span_of(text.bytes + 1, text.size - 1);
    while (text.size > 0 && text.bytes[text.size - 1] == ' ')
        text.size--;
    return text;
}

/* Takes the first name off a path; empty when there is none. */
static struct span take_name(struct span *path)
{
    size_t size = 0;
    while (size < path->size && is_name_byte(path->bytes[size]))
        size++;
    struct span name = span_of(path->bytes, size);
    size_t behind = size < path->size && path->bytes[size] == '.' ? size + 1 : size;
    *path = span_of(path->bytes + behind, path->size - behind);
    return name;
}

/* Names with a dot between each two. */
static bool is_path(struct span path)
{
    if (path.size > 0 && path.bytes[path.size - 1] == '.')
        return false;
    while (path.size > 0) {
        size_t size = take_name(&path).size;
        if (size == 0 || size > TEMPLATE_NAME_SIZE_MAX)
            return false;
    }
    return true;
}

static bool read_expression(struct span expression, struct template_part *part)
{
    struct span rest = expression;
    if (!is_path(expression))
        return false;
    struct span root = take_name(&rest);
    if (span_is(root, "input")) {
        part->root = TEMPLATE_INPUT;
        part->path = rest;
        return true;
    }
    part->name = take_name(&rest);
    if (span_is(root, "secrets")) {
        part->root = TEMPLATE_SECRETS;
        return part->name.size > 0 && rest.size == 0;
    }
    part->root = TEMPLATE_STEPS;
    struct span output = take_name(&rest);
    part->path = rest;
    return span_is(root, "steps") && part->name.size > 0 && span_is(output, "output");
}

static const uint8_t *find(struct span text, size_t from, const char *what, size_t size)
{
    return from < text.size ? memmem(text.bytes + from, text.size - from, what, size) : NULL;
}

int template_next(struct span text, size_t *at, struct template_part *part, struct error *error)
{
    *part = (struct template_part){ .root = TEMPLATE_INPUT };
    const uint8_t *start = find(text, *at, opening, OPENING_SIZE);
    if (start == NULL)
        return 0;
    size_t inside = (size_t)(start - text.bytes) + OPENING_SIZE;
    const uint8_t *end = find(text, inside, "}}", CLOSING_SIZE);
    if (end == NULL)
        return error_set(error, ERROR_SYNTAX, "\"${{\" is not closed with \"}}\"");
    struct span expression =
        trimmed(span_of(text.bytes + inside, (size_t)(end - text.bytes) - inside));
    part->text = span_of(start, (size_t)(end - start) + CLOSING_SIZE);
    *at = (size_t)(end - text.bytes) + CLOSING_SIZE;
    if (read_expression(expression, part))
        return 1;
    int shown = expression.size > 100 ? 100 : (int)expression.size;
    return error_set(error, ERROR_SYNTAX,
                     "\"%.*s\" is no template: write input.PATH, steps.ID.output.PATH or "
                     "secrets.NAME",
                     shown, expression.size > 0 ? (const char *)expression.bytes : "");
}

bool template_place_has_secrets(enum template_place place)
{
    return place != TEMPLATE_ARGUMENT && place != TEMPLATE_STDIN;
}

/*--- Values ----------------------------------------------------------------------------------*/

struct template_document {
    struct template_document *next;
    enum template_root root;
    struct span name;
    struct json json;
};

static int show(struct error *error, int code, struct span text, const char *why)
{
    int shown = text.size > 200 ? 200 : (int)text.size;
    return error_set(error, code, "%.*s %s", shown, (const char *)text.bytes, why);
}

static struct span source_of(struct template_values *values, const struct template_part *part)
{
    struct span text = values->input;
    if (part->root == TEMPLATE_STEPS && !values->output(values->context, part->name, &text))
        text.size = 0;
    return text.size > 0 ? text : span_of_text("null");
}

/* Each document is parsed once, however many templates look into it. */
static int document_of(struct template_values *values, const struct template_part *part,
                       struct template_document **document, struct error *error)
{
    struct template_document *found = values->documents;
    for (; found != NULL; found = found->next)
        if (found->root == part->root && span_equal(found->name, part->name))
            break;
    *document = found;
    if (found != NULL)
        return 0;
    found = arena_allocate(values->arena, sizeof *found);
    if (found == NULL)
        return show(error, ERROR_BUDGET, part->text, "does not fit the memory budget");
    found->root = part->root;
    found->name = part->name;
    int result = json_parse(&found->json, values->arena, source_of(values, part), NULL);
    if (result < 0)
        return show(error, result, part->text, "does not lead into a JSON value");
    found->next = values->documents;
    values->documents = *document = found;
    return 0;
}

static uint32_t element(const struct json *json, uint32_t array, struct span name)
{
    uint64_t index = 0;
    if (name.size > 9)
        return 0;
    for (size_t i = 0; i < name.size; i++) {
        if (name.bytes[i] < '0' || name.bytes[i] > '9')
            return 0;
        index = index * 10 + (name.bytes[i] - '0');
    }
    uint32_t child = json_first(json, array);
    while (child != 0 && index-- > 0)
        child = json_next(json, array, child);
    return child;
}

/* The node a path leads to, or UINT32_MAX. */
static uint32_t walk(const struct json *json, struct span path)
{
    uint32_t node = 0;
    while (path.size > 0) {
        char name[TEMPLATE_NAME_SIZE_MAX + 1];
        struct span step = take_name(&path);
        memcpy(name, step.bytes, step.size);
        name[step.size] = '\0';
        node = json->nodes[node].kind == JSON_ARRAY ? element(json, node, step)
                                                    : json_member(json, node, name);
        if (node == 0)
            return UINT32_MAX;
    }
    return node;
}

struct template_value {
    const struct json *json;
    uint32_t node;
    struct span bytes; /* what is inserted in a text */
};

static int value_of(struct template_values *values, const struct template_part *part,
                    struct template_value *value, struct error *error)
{
    struct template_document *document;
    int result = document_of(values, part, &document, error);
    if (result < 0)
        return result;
    value->json = &document->json;
    value->node = walk(value->json, part->path);
    if (value->node == UINT32_MAX)
        return show(error, ERROR_NOT_FOUND, part->text, "has no value: nothing is at that path");
    if (value->json->nodes[value->node].kind == JSON_STRING)
        value->bytes = json_string(value->json, value->node, values->arena);
    else
        value->bytes = json_text(value->json, value->node);
    if (value->bytes.bytes == NULL)
        return show(error, ERROR_BUDGET, part->text, "does not fit the memory budget");
    return 0;
}

/*--- Putting values in their place -----------------------------------------------------------*/

static bool has_byte_below(struct span text, uint8_t limit)
{
    for (size_t i = 0; i < text.size; i++)
        if ((text.bytes[i] < limit && text.bytes[i] != '\t') || text.bytes[i] == 0x7f)
            return true;
    return false;
}

static bool is_dots(struct span text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.bytes[i] != '.')
            return false;
    return text.size > 0;
}

static void add_url(struct text *target, struct span value)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < value.size; i++) {
        uint8_t byte = value.bytes[i];
        char escape[3] = { '%', digits[byte >> 4], digits[byte & 15] };
        if (is_name_byte(byte) || byte == '.' || byte == '~')
            text_add(target, &value.bytes[i], 1);
        else
            text_add(target, escape, sizeof escape);
    }
}

/* JSON with every "$" as an escape, so that nothing in it can be read as a template. A "$" stands
 * in strings only. */
static void add_json(struct text *target, struct span json)
{
    size_t from = 0;
    for (size_t i = 0; i < json.size; i++)
        if (json.bytes[i] == '$') {
            text_add(target, json.bytes + from, i - from);
            text_add_string(target, "\\u0024");
            from = i + 1;
        }
    text_add(target, json.bytes + from, json.size - from);
}

/* What stands between the quotes. */
static void add_json_string(struct text *target, struct span value, bool literal)
{
    struct text quoted;
    text_init(&quoted);
    text_json_string(&quoted, NULL, value);
    if (quoted.failed != 0) {
        if (target->failed == 0)
            target->failed = quoted.failed;
    } else {
        struct span inside = span_of(quoted.bytes + 1, quoted.size - 2);
        if (literal)
            text_add_span(target, inside);
        else
            add_json(target, inside);
    }
    text_free(&quoted);
}

/* A value or a secret; `what` names it. */
static int add_value(enum template_place place, struct span what, struct span value,
                     struct text *target, struct error *error)
{
    switch (place) {
    case TEMPLATE_URL:
        if (is_dots(value))
            return show(error, ERROR_INVALID, what,
                        "is only dots, which would lead to another path of the URL");
        add_url(target, value);
        return 0;
    case TEMPLATE_JSON:
        add_json_string(target, value, false);
        return 0;
    case TEMPLATE_HEADER:
        if (has_byte_below(value, ' '))
            return show(error, ERROR_INVALID, what,
                        "holds a line end or another control character, which a header may not");
        break;
    case TEMPLATE_ENV:
    case TEMPLATE_ARGUMENT:
        if (value.size > 0 && memchr(value.bytes, 0, value.size) != NULL)
            return show(error, ERROR_INVALID, what,
                        "holds a NUL, which an argument or variable may not");
        break;
    case TEMPLATE_STDIN:
        break;
    }
    text_add_span(target, value);
    return 0;
}

/*--- Rendering -------------------------------------------------------------------------------*/

static void add_literal(enum template_place place, struct span text, size_t from, size_t to,
                        struct text *target)
{
    struct span literal = span_of(text.bytes + from, to - from);
    if (place == TEMPLATE_JSON && literal.size > 0)
        add_json_string(target, literal, true);
    else
        text_add_span(target, literal);
}

/* One text; of a body, one string without its quotes. `secrets` counts the templates left in. */
static int render(struct template_values *values, enum template_place place, struct span source,
                  struct text *target, uint32_t *secrets, struct error *error)
{
    struct template_part part;
    struct template_value value;
    size_t at = 0, from = 0;
    int result;
    while ((result = template_next(source, &at, &part, error)) > 0) {
        add_literal(place, source, from, at - part.text.size, target);
        from = at;
        if (part.root == TEMPLATE_SECRETS) {
            text_add_span(target, part.text);
            ++*secrets;
            continue;
        }
        result = value_of(values, &part, &value, error);
        if (result == 0)
            result = add_value(place, part.text, value.bytes, target, error);
        if (result < 0)
            return result;
    }
    add_literal(place, source, from, source.size, target);
    return result;
}

/* A string of a body: with its quotes, or the value itself when it is nothing but a template. */
static int render_string(struct template_values *values, struct span source, struct text *target,
                         uint32_t *secrets, struct error *error)
{
    struct template_part part;
    struct template_value value;
    size_t at = 0;
    int result = template_next(source, &at, &part, error);
    if (result < 0)
        return result;
    if (part.text.size == source.size && part.root != TEMPLATE_SECRETS) {
        result = value_of(values, &part, &value, error);
        if (result == 0)
            add_json(target, json_text(value.json, value.node));
        return result;
    }
    text_add_string(target, "\"");
    result = render(values, TEMPLATE_JSON, source, target, secrets, error);
    text_add_string(target, "\"");
    return result;
}

static int render_json(struct template_values *values, struct span source, struct text *target,
                       uint32_t *secrets, struct error *error)
{
    struct json json;
    size_t from = 0;
    int result = json_parse(&json, values->arena, source, NULL);
    if (result < 0)
        return error_set(error, result, "the body is no JSON");
    for (uint32_t i = 0; i < json.count; i++) {
        const struct json_node *node = &json.nodes[i];
        if (node->kind != JSON_STRING)
            continue;
        struct span string = json_string(&json, i, values->arena);
        if (string.bytes == NULL)
            return error_set(error, ERROR_BUDGET, "the body does not fit the memory budget");
        if (find(string, 0, opening, OPENING_SIZE) == NULL)
            continue;
        text_add(target, source.bytes + from, node->start - 1 - from);
        from = node->start + node->size + 1;
        result = render_string(values, string, target, secrets, error);
        if (result < 0)
            return result;
    }
    text_add(target, source.bytes + from, source.size - from);
    return 0;
}

static uint32_t count_openings(struct span text)
{
    uint32_t count = 0;
    const uint8_t *at = text.bytes;
    while ((at = find(text, (size_t)(at - text.bytes), opening, OPENING_SIZE)) != NULL) {
        count++;
        at += OPENING_SIZE;
    }
    return count;
}

int template_render(struct template_values *values, enum template_place place, struct span source,
                    struct span *result, struct error *error)
{
    struct text target;
    uint32_t secrets = 0;
    text_init(&target);
    target.size_max = TEMPLATE_RESULT_SIZE_MAX;
    int status = place == TEMPLATE_JSON ? render_json(values, source, &target, &secrets, error)
                                        : render(values, place, source, &target, &secrets, error);
    if (status == 0 && target.failed != 0)
        status = error_set(error, target.failed, "it is over %u bytes with its values filled in",
                           TEMPLATE_RESULT_SIZE_MAX);
    /* A value with "${{" in it would be taken for a secret's template later. */
    if (status == 0 && template_place_has_secrets(place) &&
        count_openings(text_span(&target)) != secrets)
        status = error_set(error, ERROR_INVALID,
                           "a value to be filled in holds \"${{\", which may not stand there");
    if (status == 0) {
        *result = arena_copy(values->arena, text_span(&target));
        if (result->bytes == NULL)
            status = error_set(error, ERROR_BUDGET, "it does not fit the memory budget");
    }
    text_free(&target);
    return status;
}

/*--- Secrets ---------------------------------------------------------------------------------*/

int template_fill_secrets(enum template_place place, struct span rendered,
                          template_secret_function *secret, void *context, struct text *target,
                          struct error *error)
{
    struct template_part part;
    struct span value;
    size_t at = 0, from = 0;
    int result;
    while ((result = template_next(rendered, &at, &part, error)) > 0) {
        text_add(target, rendered.bytes + from, at - part.text.size - from);
        from = at;
        if (part.root != TEMPLATE_SECRETS || !template_place_has_secrets(place))
            return show(error, ERROR_INVALID, part.text, "is no secret that may stand there");
        if (secret(context, part.name, &value) < 0)
            return show(error, ERROR_NOT_FOUND, part.text,
                        "does not exist: put that secret into the configuration");
        result = add_value(place, part.text, value, target, error);
        if (result < 0)
            return result;
    }
    if (result == 0)
        text_add(target, rendered.bytes + from, rendered.size - from);
    if (result == 0 && target->failed != 0)
        result = error_set(error, target->failed, "no memory to fill the secrets in");
    return result;
}
