#include "tools/cli/client.h"

#include "core/base/version.h"
#include "tools/cli/cli.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { ANSWER_SIZE_MAX = 256 << 20, TIMEOUT_MS = 60000 };

static int read_token(char *token, size_t capacity, struct error *error)
{
    FILE *file = fopen(cli.token_file, "re");
    if (file == NULL)
        return error_set(error, -errno, "--token-file: cannot open %s: %s", cli.token_file,
                         strerror(errno));
    size_t size = fread(token, 1, capacity - 1, file);
    bool whole = feof(file) && !ferror(file);
    fclose(file);
    token[size] = '\0';
    token[strcspn(token, "\r\n")] = '\0';
    if (!whole || token[0] == '\0')
        return error_set(error, ERROR_INVALID, "--token-file: %s does not hold a token in one line",
                         cli.token_file);
    for (const char *c = token; *c != '\0'; c++)
        if (*c <= ' ' || *c == 0x7f)
            return error_set(error, ERROR_INVALID,
                             "--token-file: %s holds characters that no token has", cli.token_file);
    return 0;
}

static int take_url(struct client_place *place, struct error *error)
{
    const char *url = cli.url;
    if (strncmp(url, "unix:", 5) == 0) {
        const char *path = url + 5;
        if (strncmp(path, "//", 2) == 0)
            path += 2;
        if (path[0] != '/' || strlen(path) >= sizeof place->socket)
            return error_set(error, ERROR_INVALID,
                             "--url: '%s': expected unix:///PATH with a path of at most %zu bytes",
                             url, sizeof place->socket - 1);
        snprintf(place->socket, sizeof place->socket, "%s", path);
        snprintf(place->base, sizeof place->base, "http://localhost");
        return 0;
    }
    size_t size = strlen(url);
    while (size > 0 && url[size - 1] == '/')
        size--;
    bool web = strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0;
    if (!web || size < 8 || size >= sizeof place->base)
        return error_set(error, ERROR_INVALID,
                         "--url: '%s': expected http://ADDRESS:PORT, https://ADDRESS:PORT or "
                         "unix:///PATH",
                         url);
    snprintf(place->base, sizeof place->base, "%.*s", (int)size, url);
    return 0;
}

int client_place_get(struct client_place *place, struct error *error)
{
    memset(place, 0, sizeof *place);
    int failed = take_url(place, error);
    if (failed == 0 && cli.token_file != NULL)
        failed = read_token(place->token, sizeof place->token, error);
    return failed;
}

void client_escape(struct text *path, const char *part)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (; *part != '\0'; part++)
        if (strchr(plain, *part) != NULL)
            text_add(path, part, 1);
        else
            text_printf(path, "%%%02X", (unsigned)(unsigned char)*part);
}

/*--- One request -------------------------------------------------------------*/

static size_t take_body(char *bytes, size_t one, size_t size, void *context)
{
    struct client_answer *answer = context;
    (void)one;
    text_add(&answer->body, bytes, size);
    return answer->body.failed == 0 ? size : 0;
}

static size_t take_header(char *bytes, size_t one, size_t size, void *context)
{
    struct client_answer *answer = context;
    static const char replayed[] = "idempotent-replayed: true";
    (void)one;
    if (size >= sizeof replayed - 1 && strncasecmp(bytes, replayed, sizeof replayed - 1) == 0)
        answer->replayed = true;
    return size;
}

static struct curl_slist *headers_of(const struct client_request *request,
                                     const struct client_place *place)
{
    char line[768];
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    if (request->body.bytes != NULL)
        headers = curl_slist_append(headers, "Content-Type: application/json");
    if (request->key != NULL) {
        snprintf(line, sizeof line, "Idempotency-Key: %s", request->key);
        headers = curl_slist_append(headers, line);
    }
    if (place->token[0] != '\0') {
        snprintf(line, sizeof line, "Authorization: Bearer %s", place->token);
        headers = curl_slist_append(headers, line);
    }
    return headers;
}

static int not_reached(CURL *easy, CURLcode code, const char *detail, struct error *error)
{
    long sent = 0;
    curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &sent);
    if (code == CURLE_COULDNT_CONNECT)
        return error_set(error, -ECONNREFUSED,
                         "no agent answers at %s; start one with 'daa-agent --data-dir DIR', or "
                         "say with --url or $DAA_URL where it is",
                         cli.url);
    return error_set(error, -EIO, "%s: %s; %s", cli.url,
                     detail[0] != '\0' ? detail : curl_easy_strerror(code),
                     sent > 0 ? "the agent may have acted on the request all the same: look with "
                                "'daa-cli workflow list', or ask again with the same --key"
                              : "nothing was sent");
}

/* The sentence of a problem+json body, else its beginning. */
static int refused(const struct client_answer *answer, struct error *error)
{
    struct cli_json parsed;
    struct span text = text_span(&answer->body);
    struct span detail = { NULL, 0 }, title = { NULL, 0 };
    if (cli_json_parse(&parsed, text, "answer", NULL) == 0) {
        detail = cli_json_value(&parsed, 0, "detail");
        title = cli_json_value(&parsed, 0, "title");
        if (detail.size == 0) {
            detail = title;
            title.size = 0;
        }
    }
    if (detail.size == 0)
        detail = span_of(text.bytes, text.size < 200 ? text.size : 200);
    error_set(error, ERROR_INVALID, "%s answered %ld: %.*s%s%.*s", cli.url, answer->status,
              (int)title.size, (const char *)title.bytes, title.size > 0 ? ": " : "",
              (int)detail.size, (const char *)detail.bytes);
    cli_json_free(&parsed);
    return ERROR_INVALID;
}

static void set_options(CURL *easy, const struct client_request *request,
                        const struct client_place *place, struct client_answer *answer,
                        char *detail)
{
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "daa-cli/" DAA_VERSION);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(request->wait_ns / 1000000) + TIMEOUT_MS);
    if (place->socket[0] != '\0')
        curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, place->socket);
    if (request->body.bytes != NULL) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.size);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body.bytes);
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, answer);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, detail);
}

int client_perform(const struct client_request *request, struct client_answer *answer,
                   struct error *error)
{
    struct client_place place;
    char detail[CURL_ERROR_SIZE] = "";
    memset(answer, 0, sizeof *answer);
    text_init(&answer->body);
    answer->body.size_max = ANSWER_SIZE_MAX;
    int failed = client_place_get(&place, error);
    if (failed < 0)
        return failed;
    CURL *easy = curl_easy_init();
    if (easy == NULL)
        return error_set(error, -ENOMEM, "no memory for a request");

    struct text url;
    text_init(&url);
    text_printf(&url, "%s%s", place.base, request->path);
    struct curl_slist *headers = headers_of(request, &place);
    curl_easy_setopt(easy, CURLOPT_URL, text_string(&url));
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    set_options(easy, request, &place, answer, detail);
    CURLcode code = curl_easy_perform(easy);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &answer->status);
    if (code != CURLE_OK)
        failed = not_reached(easy, code, detail, error);
    else if (answer->status >= 400)
        failed = refused(answer, error);
    curl_slist_free_all(headers);
    curl_easy_cleanup(easy);
    text_free(&url);
    return failed;
}

void client_answer_free(struct client_answer *answer)
{
    text_free(&answer->body);
}
