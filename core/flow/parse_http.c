#include "core/base/error.h"
#include "core/flow/parse.h"

#include <string.h>
#include <strings.h>

static bool is_token_byte(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || (byte != 0 && strchr("!#$%&'*+-.^_`|~", byte) != NULL);
}

static bool equal_ignoring_case(struct span name, const char *text)
{
    return name.size == strlen(text) && strncasecmp((const char *)name.bytes, text, name.size) == 0;
}

static bool ends_ignoring_case(struct span name, const char *end)
{
    size_t size = strlen(end);
    return name.size >= size &&
           strncasecmp((const char *)name.bytes + name.size - size, end, size) == 0;
}

static int parse_method(struct parse *parse, uint32_t node, struct flow_http *http)
{
    static const char *const methods[] = { "GET",   "HEAD",   "POST",   "PUT",
                                           "PATCH", "DELETE", "OPTIONS" };
    http->method = span_of_text("GET");
    if (node == 0)
        return 0;
    size_t before = parse_enter(parse, "method");
    int result = parse_string(parse, node, "the method", 16, &http->method);
    if (result < 0)
        return result;
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (span_is(http->method, methods[i])) {
            parse_leave(parse, before);
            return 0;
        }
    return parse_refuse(parse,
                        "\"%.*s\" is no method: write GET, HEAD, POST, PUT, PATCH, DELETE or "
                        "OPTIONS",
                        (int)http->method.size, (const char *)http->method.bytes);
}

/* What stands between "//" and the path: a host, perhaps a port, no user. */
static int check_authority(struct parse *parse, struct span url, size_t from)
{
    size_t end = from;
    while (end < url.size && strchr("/?#", url.bytes[end]) == NULL)
        end++;
    struct span authority = span_of(url.bytes + from, end - from);
    if (authority.size > 0 && memchr(authority.bytes, '@', authority.size) != NULL)
        return parse_refuse(parse, "the url holds a user before \"@\": put it into a header "
                                   "\"authorization\" with ${{ secrets.NAME }}");
    if (authority.size == 0 || authority.bytes[0] == ':')
        return parse_refuse(parse, "the url has no host");
    return 0;
}

/* Spaces stand inside templates only. */
static int check_url_bytes(struct parse *parse, struct span url)
{
    struct template_part part;
    size_t at = 0, from = 0;
    int more;
    do {
        more = template_next(url, &at, &part, NULL);
        size_t to = more > 0 ? at - part.text.size : url.size;
        for (size_t i = from; i < to; i++)
            if (url.bytes[i] <= ' ' || url.bytes[i] >= 0x7f || strchr("\"<>\\^`", url.bytes[i]))
                return parse_refuse(parse,
                                    "byte %zu of the url is 0x%02x, which must be "
                                    "percent-encoded",
                                    i, url.bytes[i]);
        from = at;
    } while (more > 0);
    return 0;
}

static int parse_url(struct parse *parse, uint32_t node, struct flow_http *http)
{
    size_t before = parse_enter(parse, "url");
    if (node == 0)
        return parse_refuse(parse, "an http step needs a \"url\"");
    int result = parse_string(parse, node, "the url", PARSE_TEXT_SIZE_MAX, &http->url);
    if (result == 0)
        result = parse_templates(parse, TEMPLATE_URL, http->url);
    if (result < 0)
        return result;
    const char *text = (const char *)http->url.bytes;
    size_t scheme = http->url.size >= 7 && strncasecmp(text, "http://", 7) == 0    ? 7
                    : http->url.size >= 8 && strncasecmp(text, "https://", 8) == 0 ? 8
                                                                                   : 0;
    if (scheme == 0)
        return parse_refuse(parse, "the url must begin with \"http://\" or \"https://\"");
    result = check_url_bytes(parse, http->url);
    if (result == 0)
        result = check_authority(parse, http->url, scheme);
    if (result == 0)
        parse_leave(parse, before);
    return result;
}

static bool is_secret_header(struct span name)
{
    if (equal_ignoring_case(name, "idempotency-key"))
        return false;
    return equal_ignoring_case(name, "authorization") ||
           equal_ignoring_case(name, "proxy-authorization") ||
           equal_ignoring_case(name, "cookie") || ends_ignoring_case(name, "-key") ||
           ends_ignoring_case(name, "-token");
}

/* "Bearer ", "session=": a word that names the scheme may stand beside the secret. */
static bool is_made_of_secrets(struct span value)
{
    struct template_part part;
    size_t at = 0, from = 0, literal = 0, secrets = 0;
    int more;
    do {
        more = template_next(value, &at, &part, NULL);
        size_t to = more > 0 ? at - part.text.size : value.size;
        for (size_t i = from; i < to; i++, literal++) {
            uint8_t byte = value.bytes[i];
            if (!((byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                  strchr(" =;:_-", byte) != NULL))
                return false;
        }
        if (more > 0 && part.root != TEMPLATE_SECRETS)
            return false;
        secrets += more > 0;
        from = at;
    } while (more > 0);
    return secrets > 0 && literal <= 24 * secrets;
}

static int check_header_name(struct parse *parse, struct span name)
{
    static const char *const ours[] = { "host",       "content-length", "transfer-encoding",
                                        "connection", "upgrade",        "expect",
                                        "te",         "trailer",        "keep-alive" };
    bool good = name.size > 0 && name.size <= 256;
    for (size_t i = 0; good && i < name.size; i++)
        good = is_token_byte(name.bytes[i]);
    if (!good)
        return parse_refuse(parse, "that is no name of a header: letters, digits and \"-\"");
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (equal_ignoring_case(name, ours[i]))
            return parse_refuse(parse, "the header \"%s\" is set by the client itself: take it out",
                                ours[i]);
    return 0;
}

static int parse_header(struct parse *parse, uint32_t node, struct flow_header *header)
{
    header->name = json_string(&parse->json, node, parse->arena);
    if (header->name.bytes == NULL)
        return parse_refuse_budget(parse);
    int result = check_header_name(parse, header->name);
    if (result == 0)
        result = parse_string(parse, node + 1, "the value of a header", PARSE_TEXT_SIZE_MAX,
                              &header->value);
    if (result == 0)
        result = parse_templates(parse, TEMPLATE_HEADER, header->value);
    if (result == 0 && is_secret_header(header->name) && !is_made_of_secrets(header->value))
        return parse_refuse(parse,
                            "the header \"%.*s\" carries a secret, and a definition is stored for "
                            "ever: write ${{ secrets.NAME }}, with at most a word like Bearer "
                            "before it, and put the secret into the configuration",
                            (int)header->name.size, (const char *)header->name.bytes);
    return result;
}

static int parse_headers(struct parse *parse, uint32_t node, struct flow_http *http)
{
    const struct json *json = &parse->json;
    if (node == 0)
        return 0;
    size_t before = parse_enter(parse, "headers");
    if (json->nodes[node].kind != JSON_OBJECT)
        return parse_refuse(parse, "\"headers\" must be an object of strings, not %s",
                            json_kind_name(json->nodes[node].kind));
    uint32_t count = json->nodes[node].count;
    if (count > PARSE_LIST_MAX)
        return parse_refuse(parse, "a request has at most %u headers, not %u", PARSE_LIST_MAX,
                            count);
    http->headers = arena_allocate(parse->arena, count * sizeof *http->headers);
    if (http->headers == NULL)
        return parse_refuse_budget(parse);
    for (uint32_t at = json_first(json, node); at != 0; at = json_next(json, node, at)) {
        struct span name = json_string(json, at, parse->scratch);
        char text[80] = "";
        if (name.bytes != NULL && name.size < sizeof text)
            memcpy(text, name.bytes, name.size);
        size_t outer = parse_enter(parse, text);
        int result = parse_header(parse, at, &http->headers[http->header_count++]);
        if (result < 0)
            return result;
        parse_leave(parse, outer);
    }
    parse_leave(parse, before);
    return 0;
}

int parse_http(struct parse *parse, uint32_t node, struct flow_http *http)
{
    static const struct parse_key keys[] = { { "method", false },  { "url", false },
                                             { "headers", false }, { "body", false },
                                             { "follow", true },   { NULL, false } };
    const struct json *json = &parse->json;
    int result = parse_object(parse, node, "\"http\"", keys);
    if (result == 0)
        result = parse_method(parse, json_member(json, node, "method"), http);
    if (result == 0)
        result = parse_url(parse, json_member(json, node, "url"), http);
    if (result == 0)
        result = parse_headers(parse, json_member(json, node, "headers"), http);
    uint32_t body = json_member(json, node, "body");
    if (result < 0 || body == 0)
        return result;
    size_t before = parse_enter(parse, "body");
    if (span_is(http->method, "GET") || span_is(http->method, "HEAD"))
        return parse_refuse(parse,
                            "a %.*s request has no body: take it out, or write another "
                            "\"method\"",
                            (int)http->method.size, (const char *)http->method.bytes);
    http->body = json_text(json, body);
    result = parse_json_templates(parse, body);
    if (result == 0)
        parse_leave(parse, before);
    return result;
}
