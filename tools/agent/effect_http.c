/* HTTP effects: one thread, one curl multi handle, a bounded number of requests under way.
 *
 * What curl knows decides the outcome. Nothing was sent (CURLINFO_REQUEST_SIZE is 0): not_done,
 * whatever went wrong. Something was sent and no whole answer came: unknown. A whole answer says
 * for itself.
 *
 * Curl sends a request again by itself when a connection that it had kept is closed under it. For a
 * method that is not idempotent this would be doing a thing twice: such a request has its body read
 * through a callback that cannot be rewound, so that curl gives up instead, and without a body it
 * gets a connection of its own. */
#include "core/base/check.h"
#include "core/base/version.h"
#include "core/event/event.pb-c.h"
#include "tools/agent/effect_parts.h"
#include "tools/config/network.h"

#include <curl/curl.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { HEADERS_SIZE_MAX = 64 * 1024, HEADERS_MAX = 500, WAKE_MS = 1000, WAKE_QUEUED_MS = 50 };

/* One request: in the inbox, then waiting, then under way, then gone. */
struct transfer {
    struct effect *effect;
    struct transfer *next, **link; /* of the list it is in */
    uint64_t deadline_ns;
    CURL *easy;
    struct curl_slist *headers;
    struct text url, body_out; /* with secrets: wiped at the end */
    size_t body_sent;
    struct text names;   /* of the answer's headers, as "name: value\n" */
    uint32_t name_count; /* of these */
    struct text body_in; /* of the answer */
    uint64_t reserved;   /* bytes on the budget */
    bool too_large, no_memory;
    char *host;      /* of the url, without brackets; NULL: unknown */
    char denied[64]; /* the address that may not be reached; empty: none */
    char detail[CURL_ERROR_SIZE];
    struct http_client *client;
};

struct http_client {
    struct effects *effects;
    pthread_t thread;
    CURLM *multi;
    CURL **spare; /* easy handles to use again */
    uint32_t spare_count;
    uint32_t active_count;
    struct transfer *waiting, **waiting_end;
    struct transfer *active;

    pthread_mutex_t lock; /* of what follows */
    struct transfer *inbox, **inbox_end;
    uint64_t *cancels; /* streams */
    uint32_t cancel_count, cancel_capacity;
    bool stop;
};

/*--- Callbacks of curl -------------------------------------------------------*/

static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct transfer *transfer = context;
    (void)purpose;
    if (!network_may_connect(transfer->client->effects->config, transfer->host, &address->addr)) {
        if (getnameinfo(&address->addr, address->addrlen, transfer->denied, sizeof transfer->denied,
                        NULL, 0, NI_NUMERICHOST) != 0)
            snprintf(transfer->denied, sizeof transfer->denied, "of family %d", address->family);
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* True if `size` more bytes of the answer may be kept. */
static bool reserve(struct transfer *transfer, size_t size)
{
    if (budget_reserve(transfer->client->effects->budget, BUDGET_EFFECTS, size) < 0) {
        transfer->no_memory = true;
        return false;
    }
    transfer->reserved += size;
    return true;
}

static size_t take_body(char *bytes, size_t one, size_t size, void *context)
{
    struct transfer *transfer = context;
    (void)one;
    uint64_t max = transfer->client->effects->config->http_client.max_response_size;
    if (size > max || transfer->body_in.size > max - size) {
        transfer->too_large = true;
        return 0;
    }
    if (!reserve(transfer, size))
        return 0;
    text_add(&transfer->body_in, bytes, size);
    return transfer->body_in.failed == 0 ? size : 0;
}

static size_t take_header(char *bytes, size_t one, size_t size, void *context)
{
    struct transfer *transfer = context;
    size_t kept = size;
    (void)one;
    if (size > 5 && memcmp(bytes, "HTTP/", 5) == 0) { /* the end of a 1xx answer before this one */
        text_clear(&transfer->names);
        transfer->name_count = 0;
    } else if (transfer->names.size + size > HEADERS_SIZE_MAX ||
               ++transfer->name_count > HEADERS_MAX + 1) /* the empty line counts */
        return transfer->too_large = true, (size_t)0;
    else {
        while (kept > 0 && (bytes[kept - 1] == '\r' || bytes[kept - 1] == '\n'))
            kept--;
        if (kept > 0 && memchr(bytes, ':', kept) != NULL) {
            text_add(&transfer->names, bytes, kept);
            text_add(&transfer->names, "\n", 1);
        }
    }
    return size;
}

static size_t give_body(char *bytes, size_t one, size_t count, void *context)
{
    struct transfer *transfer = context;
    size_t size = transfer->body_out.size - transfer->body_sent;
    if (size > one * count)
        size = one * count;
    memcpy(bytes, transfer->body_out.bytes + transfer->body_sent, size);
    transfer->body_sent += size;
    return size;
}

static int refuse_rewind(void *context, curl_off_t offset, int origin)
{
    (void)context;
    (void)offset;
    (void)origin;
    return CURL_SEEKFUNC_FAIL;
}

/*--- Making a request --------------------------------------------------------*/

static bool is_token(struct span text)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.bytes[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL)))
            return false;
    }
    return text.size > 0;
}

static bool has_control(struct span text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.bytes[i] < 0x20 || text.bytes[i] == 0x7f)
            return true;
    return false;
}

static bool name_is(struct span name, const char *wanted)
{
    return name.size == strlen(wanted) &&
           strncasecmp((const char *)name.bytes, wanted, name.size) == 0;
}

static bool defines_header(const struct flow_http *http, const char *name)
{
    for (uint32_t i = 0; i < http->header_count; i++)
        if (name_is(http->headers[i].name, name))
            return true;
    return false;
}

static int add_line(struct transfer *transfer, const char *line, struct error *error)
{
    struct curl_slist *longer = curl_slist_append(transfer->headers, line);
    if (longer == NULL)
        return error_set(error, -ENOMEM, "header: no memory");
    transfer->headers = longer;
    return 0;
}

static int add_header(struct transfer *transfer, const struct flow_header *header,
                      struct error *error)
{
    if (!is_token(header->name))
        return error_set(error, ERROR_INVALID, "header \"%.*s\": not a header's name",
                         (int)header->name.size, (const char *)header->name.bytes);
    if (name_is(header->name, "content-length") || name_is(header->name, "transfer-encoding"))
        return error_set(error, ERROR_INVALID,
                         "header %.*s is set by the client; take it out of the definition",
                         (int)header->name.size, (const char *)header->name.bytes);
    struct text line;
    text_init(&line);
    text_add_span(&line, header->name);
    text_add_string(&line, ": ");
    size_t value_at = line.size;
    int failed = secrets_fill(transfer->client->effects->secrets, TEMPLATE_HEADER, header->value,
                              &line, error);
    if (failed == 0) {
        struct span value = span_of(line.bytes + value_at, line.size - value_at);
        if (has_control(value))
            failed =
                error_set(error, ERROR_INVALID, "header %.*s: its value holds a control character",
                          (int)header->name.size, (const char *)header->name.bytes);
        else if (value.size == 0) { /* how curl is told to send an empty one */
            text_clear(&line);
            text_add_span(&line, header->name);
            text_add_string(&line, ";");
        }
    }
    if (failed == 0)
        failed = add_line(transfer, text_string(&line), error);
    if (line.bytes != NULL)
        explicit_bzero(line.bytes, line.size);
    text_free(&line);
    return failed;
}

static int add_headers(struct transfer *transfer, struct error *error)
{
    const struct flow_http *http = &transfer->effect->http;
    int failed = 0;
    for (uint32_t i = 0; i < http->header_count && failed == 0; i++)
        failed = add_header(transfer, &http->headers[i], error);
    if (failed == 0 && transfer->effect->idempotency_key[0] != '\0' &&
        !defines_header(http, "idempotency-key")) {
        char line[sizeof transfer->effect->idempotency_key + 32];
        snprintf(line, sizeof line, "Idempotency-Key: %s", transfer->effect->idempotency_key);
        failed = add_line(transfer, line, error);
    }
    if (failed == 0 && http->body.size > 0 && !defines_header(http, "content-type"))
        failed = add_line(transfer, "Content-Type: application/json", error);
    if (failed == 0 && !defines_header(http, "expect"))
        failed = add_line(transfer, "Expect:", error); /* no pause before a large body */
    if (failed == 0)
        curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers);
    return failed;
}

/* The host as the address check wants it. */
static char *host_of(const char *url)
{
    CURLU *parts = curl_url();
    char *found = NULL, *host = NULL;
    if (parts != NULL && curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_get(parts, CURLUPART_HOST, &found, 0) == CURLUE_OK) {
        size_t size = strlen(found);
        bool bracketed = size > 2 && found[0] == '[' && found[size - 1] == ']';
        host = bracketed ? strndup(found + 1, size - 2) : strdup(found);
    }
    curl_free(found);
    curl_url_cleanup(parts);
    return host;
}

static bool may_be_repeated(struct span method)
{
    return !span_is(method, "POST") && !span_is(method, "PATCH");
}

static int set_request(struct transfer *transfer, struct error *error)
{
    const struct flow_http *http = &transfer->effect->http;
    struct secrets *secrets = transfer->client->effects->secrets;
    char method[32];
    if (!is_token(http->method) || http->method.size >= sizeof method)
        return error_set(error, ERROR_INVALID, "http.method: not a method");
    memcpy(method, http->method.bytes, http->method.size);
    method[http->method.size] = '\0';

    int failed = secrets_fill(secrets, TEMPLATE_URL, http->url, &transfer->url, error);
    if (failed == 0 && has_control(text_span(&transfer->url)))
        failed = error_set(error, ERROR_INVALID, "http.url holds a control character");
    if (failed == 0 && http->body.size > 0)
        failed = secrets_fill(secrets, TEMPLATE_JSON, http->body, &transfer->body_out, error);
    if (failed < 0)
        return failed;

    transfer->host = host_of(text_string(&transfer->url));
    CURL *easy = transfer->easy;
    curl_easy_setopt(easy, CURLOPT_URL, text_string(&transfer->url));
    if (strcmp(method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
        return 0;
    }
    if (transfer->body_out.size > 0 && !may_be_repeated(http->method)) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_READFUNCTION, give_body);
        curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
        curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, refuse_rewind);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)transfer->body_out.size);
    } else if (transfer->body_out.size > 0) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)transfer->body_out.size);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, transfer->body_out.bytes);
    } else if (!may_be_repeated(http->method)) {
        curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, "");
    } else {
        curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    return 0;
}

static void set_limits(struct transfer *transfer)
{
    const struct config *config = transfer->client->effects->config;
    CURL *easy = transfer->easy;
    uint64_t now = effects_now_ns();
    uint64_t left = transfer->deadline_ns > now ? transfer->deadline_ns - now : 1;
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(left / 1000000 + 1));
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN,
                     (long)(config->http_client.keep_alive_timeout / 1000000000));
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
                     config->http_client.enable_http2 ? CURL_HTTP_VERSION_2TLS
                                                      : CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    /* A proxy from the environment would be reached in place of the address that is checked. */
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "daa-agent/" DAA_VERSION);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->detail);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
}

/*--- Lists -------------------------------------------------------------------*/

static void unlink_transfer(struct http_client *client, struct transfer *transfer)
{
    *transfer->link = transfer->next;
    if (transfer->next != NULL)
        transfer->next->link = transfer->link;
    else if (client->waiting_end == &transfer->next)
        client->waiting_end = transfer->link;
    transfer->next = NULL;
}

static void push_waiting(struct http_client *client, struct transfer *transfer)
{
    transfer->next = NULL;
    transfer->link = client->waiting_end;
    *client->waiting_end = transfer;
    client->waiting_end = &transfer->next;
}

static void push_active(struct http_client *client, struct transfer *transfer)
{
    transfer->next = client->active;
    transfer->link = &client->active;
    if (client->active != NULL)
        client->active->link = &transfer->next;
    client->active = transfer;
}

/*--- Ending a request --------------------------------------------------------*/

static void wipe(struct text *text)
{
    if (text->bytes != NULL)
        explicit_bzero(text->bytes, text->size);
    text_free(text);
}

static void give_back(struct http_client *client, CURL *easy)
{
    curl_easy_reset(easy);
    if (client->spare_count < client->effects->config->http_client.pool_size)
        client->spare[client->spare_count++] = easy;
    else
        curl_easy_cleanup(easy);
}

/* Frees everything but the effect, which has been finished. */
static void transfer_free(struct transfer *transfer)
{
    struct http_client *client = transfer->client;
    if (transfer->easy != NULL)
        give_back(client, transfer->easy);
    for (struct curl_slist *line = transfer->headers; line != NULL; line = line->next)
        explicit_bzero(line->data, strlen(line->data));
    curl_slist_free_all(transfer->headers);
    free(transfer->host);
    wipe(&transfer->url);
    wipe(&transfer->body_out);
    text_free(&transfer->names);
    text_free(&transfer->body_in);
    budget_release(client->effects->budget, BUDGET_EFFECTS, transfer->reserved);
    free(transfer);
}

/* A header that comes more than once is one member, its values joined by ", ". */
static void add_answer_headers(struct text *output, struct text *lines)
{
    text_json_open_object(output, "headers");
    char *end = lines->bytes + lines->size;
    for (char *line = lines->bytes; line < end;) {
        char *stop = memchr(line, '\n', (size_t)(end - line));
        char *colon = memchr(line, ':', (size_t)(stop - line));
        char name[128];
        size_t size = (size_t)(colon - line);
        bool seen = size == 0 || size >= sizeof name;
        for (size_t i = 0; i < size && !seen; i++)
            name[i] = (char)(line[i] >= 'A' && line[i] <= 'Z' ? line[i] + 32 : line[i]);
        if (!seen)
            name[size] = '\0';
        for (char *before = lines->bytes; before < line && !seen;) {
            char *before_stop = memchr(before, '\n', (size_t)(end - before));
            seen = strncasecmp(before, name, size) == 0 && before[size] == ':';
            before = before_stop + 1;
        }
        struct text value;
        text_init(&value);
        for (char *other = line; other < end && !seen;) {
            char *other_stop = memchr(other, '\n', (size_t)(end - other));
            if (strncasecmp(other, name, size) == 0 && other[size] == ':') {
                char *from = other + size + 1;
                while (from < other_stop && (*from == ' ' || *from == '\t'))
                    from++;
                if (value.size > 0)
                    text_add_string(&value, ", ");
                text_add(&value, from, (size_t)(other_stop - from));
            }
            other = other_stop + 1;
        }
        if (!seen)
            text_json_string(output, name, text_span(&value));
        text_free(&value);
        line = stop + 1;
    }
    text_json_close_object(output);
}

static void write_answer(struct transfer *transfer, long status, struct text *output)
{
    struct effects *effects = transfer->client->effects;
    secrets_redact(effects->secrets, &transfer->names);
    secrets_redact(effects->secrets, &transfer->body_in);
    output->size_max = EFFECT_OUTPUT_SIZE_MAX;
    text_json_open_object(output, NULL);
    text_json_integer(output, "status", status);
    add_answer_headers(output, &transfer->names);
    effects_add_bytes(effects, output, "body", text_span(&transfer->body_in), true);
    text_json_close_object(output);
}

/* "POST http://host:port": enough to know which one it was, without a path or query that may hold
 * a secret. */
static void write_target(struct transfer *transfer, struct text *text)
{
    struct span url = transfer->effect->http.url;
    size_t end = 0;
    for (int slashes = 0; end < url.size; end++)
        if ((url.bytes[end] == '/' && ++slashes == 3) || url.bytes[end] == '?' ||
            url.bytes[end] == '#')
            break;
    size_t start = 0;
    for (size_t i = 0; i < end; i++)
        if (url.bytes[i] == '@')
            start = i + 1;
    text_add_span(text, transfer->effect->http.method);
    text_add_string(text, " ");
    text_add(text, url.bytes + start, end - start);
}

static void write_failure(struct transfer *transfer, CURLcode code, bool sent, struct text *text)
{
    const struct config *config = transfer->client->effects->config;
    write_target(transfer, text);
    if (transfer->denied[0] != '\0' && code == CURLE_COULDNT_CONNECT)
        text_printf(text,
                    ": the address %s is denied by network.deny; add it to network.allow in the "
                    "configuration if it should be reached",
                    transfer->denied);
    else if (transfer->too_large)
        text_printf(text,
                    ": the answer is larger than http_client.max_response_size (%llu bytes) or "
                    "has more than %d headers or %d bytes of them",
                    (unsigned long long)config->http_client.max_response_size, HEADERS_MAX,
                    HEADERS_SIZE_MAX);
    else if (transfer->no_memory)
        text_add_string(text, ": the memory budget of effects is used up");
    else if (code == CURLE_OPERATION_TIMEDOUT)
        text_printf(text, ": %s; no answer within the time limit", sent ? "sent" : "not sent");
    else
        text_printf(text, ": %s",
                    transfer->detail[0] != '\0' ? transfer->detail : curl_easy_strerror(code));
}

/* What a whole status line says. */
static int outcome_of_status(long status)
{
    if (status < 400)
        return DAA__OUTCOME__OUTCOME_DONE;
    return status < 500 || status == 503 ? DAA__OUTCOME__OUTCOME_NOT_DONE
                                         : DAA__OUTCOME__OUTCOME_UNKNOWN;
}

/* The transfer is out of the multi handle and of its list. */
static void conclude(struct transfer *transfer, CURLcode code)
{
    struct effects *effects = transfer->client->effects;
    long status = 0, request_size = 0;
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(transfer->easy, CURLINFO_REQUEST_SIZE, &request_size);
    bool sent = request_size > 0;

    struct text output, error;
    text_init(&output);
    text_init(&error);
    int outcome = sent ? DAA__OUTCOME__OUTCOME_UNKNOWN : DAA__OUTCOME__OUTCOME_NOT_DONE;
    if (code == CURLE_OK && status > 0) {
        outcome = outcome_of_status(status);
        write_answer(transfer, status, &output);
        if (output.failed < 0) {
            text_free(&output);
            transfer->too_large = true;
            code = CURLE_WRITE_ERROR;
        }
    } else if (status >= 400 && outcome_of_status(status) == DAA__OUTCOME__OUTCOME_NOT_DONE) {
        outcome = DAA__OUTCOME__OUTCOME_NOT_DONE; /* said so before it broke off */
    }
    if (code != CURLE_OK && outcome == DAA__OUTCOME__OUTCOME_DONE)
        outcome = DAA__OUTCOME__OUTCOME_UNKNOWN;
    if (code != CURLE_OK) {
        write_failure(transfer, code, sent, &error);
    } else if (outcome != DAA__OUTCOME__OUTCOME_DONE) {
        write_target(transfer, &error);
        text_printf(&error, " answered %ld", status);
    }
    effects_finish(effects, transfer->effect, outcome, &output, &error);
    transfer_free(transfer);
}

static void take_out(struct http_client *client, struct transfer *transfer)
{
    curl_multi_remove_handle(client->multi, transfer->easy);
    unlink_transfer(client, transfer);
    client->active_count--;
}

/* Ends a transfer that is not under way yet. */
static void refuse(struct http_client *client, struct transfer *transfer, const char *reason)
{
    struct text output, error;
    text_init(&output);
    text_init(&error);
    write_target(transfer, &error);
    text_printf(&error, ": %s", reason);
    effects_finish(client->effects, transfer->effect, DAA__OUTCOME__OUTCOME_NOT_DONE, &output,
                   &error);
    transfer_free(transfer);
}

/*--- The thread --------------------------------------------------------------*/

static void begin(struct http_client *client, struct transfer *transfer)
{
    struct error error = { 0 };
    transfer->easy =
        client->spare_count > 0 ? client->spare[--client->spare_count] : curl_easy_init();
    if (transfer->easy == NULL) {
        refuse(client, transfer, "no memory for a request");
        return;
    }
    int failed = set_request(transfer, &error);
    if (failed == 0)
        failed = add_headers(transfer, &error);
    if (failed < 0) {
        refuse(client, transfer, error.text);
        return;
    }
    set_limits(transfer);
    if (curl_multi_add_handle(client->multi, transfer->easy) != CURLM_OK) {
        refuse(client, transfer, "no memory for a request");
        return;
    }
    push_active(client, transfer);
    client->active_count++;
}

static void begin_waiting(struct http_client *client)
{
    uint64_t now = client->waiting != NULL ? effects_now_ns() : 0;
    for (struct transfer *transfer = client->waiting, *next; transfer != NULL; transfer = next) {
        next = transfer->next;
        if (now >= transfer->deadline_ns) {
            unlink_transfer(client, transfer);
            refuse(client, transfer,
                   "not sent within its time limit, because all http_client.pool_size "
                   "connections were in use");
        } else if (client->active_count < client->effects->config->http_client.pool_size) {
            unlink_transfer(client, transfer);
            begin(client, transfer);
        }
    }
}

static void cancel_stream(struct http_client *client, uint64_t stream)
{
    for (struct transfer *transfer = client->waiting, *next; transfer != NULL; transfer = next) {
        next = transfer->next;
        if (transfer->effect->stream == stream) {
            unlink_transfer(client, transfer);
            refuse(client, transfer, "cancelled before it was sent");
        }
    }
    for (struct transfer *transfer = client->active, *next; transfer != NULL; transfer = next) {
        next = transfer->next;
        if (transfer->effect->stream == stream) {
            take_out(client, transfer);
            snprintf(transfer->detail, sizeof transfer->detail, "cancelled while under way");
            conclude(transfer, CURLE_ABORTED_BY_CALLBACK);
        }
    }
}

/* Takes what others left: new transfers, then cancels. True if it is time to stop. */
static bool take_inbox(struct http_client *client)
{
    pthread_mutex_lock(&client->lock);
    struct transfer *inbox = client->inbox;
    client->inbox = NULL;
    client->inbox_end = &client->inbox;
    uint64_t *cancels = client->cancels;
    uint32_t cancel_count = client->cancel_count;
    client->cancels = NULL;
    client->cancel_count = client->cancel_capacity = 0;
    bool stop = client->stop;
    pthread_mutex_unlock(&client->lock);

    while (inbox != NULL) {
        struct transfer *next = inbox->next;
        push_waiting(client, inbox);
        inbox = next;
    }
    for (uint32_t i = 0; i < cancel_count; i++)
        cancel_stream(client, cancels[i]);
    free(cancels);
    return stop;
}

static void take_finished(struct http_client *client)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode code = message->data.result;
        char *private = NULL;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
        struct transfer *transfer = (struct transfer *)(void *)private;
        take_out(client, transfer);
        conclude(transfer, code);
    }
}

static void *run(void *context)
{
    struct http_client *client = context;
    pthread_setname_np(pthread_self(), "daa-http");
    while (!take_inbox(client)) {
        int running, events;
        begin_waiting(client);
        curl_multi_perform(client->multi, &running);
        take_finished(client);
        begin_waiting(client);
        curl_multi_poll(client->multi, NULL, 0, client->waiting != NULL ? WAKE_QUEUED_MS : WAKE_MS,
                        &events);
    }
    while (client->waiting != NULL) {
        struct transfer *transfer = client->waiting;
        unlink_transfer(client, transfer);
        refuse(client, transfer, "the agent stops");
    }
    while (client->active != NULL) {
        struct transfer *transfer = client->active;
        take_out(client, transfer);
        snprintf(transfer->detail, sizeof transfer->detail, "the agent stops");
        conclude(transfer, CURLE_ABORTED_BY_CALLBACK);
    }
    return NULL;
}

/*--- For the others ----------------------------------------------------------*/

int http_client_open(struct effects *effects, struct error *error)
{
    struct http_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        return error_set(error, -ENOMEM, "http client: no memory");
    client->effects = effects;
    client->waiting_end = &client->waiting;
    client->inbox_end = &client->inbox;
    pthread_mutex_init(&client->lock, NULL);
    uint64_t size = effects->config->http_client.pool_size;
    client->spare = calloc(size + 1, sizeof *client->spare);
    client->multi = curl_multi_init();
    int failed = client->spare == NULL || client->multi == NULL ? -ENOMEM : 0;
    if (failed == 0) {
        curl_multi_setopt(client->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
        curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)size);
        failed = -pthread_create(&client->thread, NULL, run, client);
    }
    if (failed < 0) {
        curl_multi_cleanup(client->multi);
        free(client->spare);
        pthread_mutex_destroy(&client->lock);
        free(client);
        return error_set(error, failed, "http client: cannot start: %s", error_text(failed));
    }
    effects->http = client;
    return 0;
}

void http_client_start(struct effects *effects, struct effect *effect)
{
    struct http_client *client = effects->http;
    struct transfer *transfer = calloc(1, sizeof *transfer);
    if (transfer == NULL) {
        effects_finish_error(effects, effect, DAA__OUTCOME__OUTCOME_NOT_DONE,
                             "no memory for a request");
        return;
    }
    transfer->client = client;
    transfer->effect = effect;
    transfer->deadline_ns = effects_now_ns() + effect->timeout_ns;
    text_init(&transfer->url);
    text_init(&transfer->body_out);
    text_init(&transfer->names);
    text_init(&transfer->body_in);
    pthread_mutex_lock(&client->lock);
    bool first = client->inbox == NULL;
    *client->inbox_end = transfer;
    client->inbox_end = &transfer->next;
    pthread_mutex_unlock(&client->lock);
    if (first)
        curl_multi_wakeup(client->multi);
}

void http_client_cancel(struct effects *effects, uint64_t stream)
{
    struct http_client *client = effects->http;
    pthread_mutex_lock(&client->lock);
    if (client->cancel_count == client->cancel_capacity) {
        uint32_t capacity = client->cancel_capacity > 0 ? client->cancel_capacity * 2 : 16;
        uint64_t *longer = reallocarray(client->cancels, capacity, sizeof *longer);
        if (longer != NULL) {
            client->cancels = longer;
            client->cancel_capacity = capacity;
        }
    }
    /* Without memory the request goes on to its own end, which a cancel allows. */
    if (client->cancel_count < client->cancel_capacity)
        client->cancels[client->cancel_count++] = stream;
    pthread_mutex_unlock(&client->lock);
    curl_multi_wakeup(client->multi);
}

void http_client_close(struct effects *effects)
{
    struct http_client *client = effects->http;
    if (client == NULL)
        return;
    pthread_mutex_lock(&client->lock);
    client->stop = true;
    pthread_mutex_unlock(&client->lock);
    curl_multi_wakeup(client->multi);
    pthread_join(client->thread, NULL);
    for (uint32_t i = 0; i < client->spare_count; i++)
        curl_easy_cleanup(client->spare[i]);
    curl_multi_cleanup(client->multi);
    free(client->spare);
    pthread_mutex_destroy(&client->lock);
    free(client);
    effects->http = NULL;
}
