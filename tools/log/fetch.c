#include "tools/log/fetch.h"

#include "core/base/version.h"

#include <curl/curl.h>
#include <errno.h>
#include <string.h>

enum { TIMEOUT_MS = 60000 };

bool fetch_is_url(const char *name)
{
    return strncmp(name, "http://", 7) == 0 || strncmp(name, "https://", 8) == 0;
}

static size_t take(char *bytes, size_t one, size_t size, void *context)
{
    struct text *body = context;
    (void)one;
    text_add(body, bytes, size);
    return body->failed == 0 ? size : 0;
}

static void set_up(CURL *easy, const char *url, struct text *body, char *detail)
{
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "daa-log/" DAA_VERSION);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)TIMEOUT_MS);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, body);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, detail);
}

int fetch(const char *url, struct text *body, struct error *error)
{
    char detail[CURL_ERROR_SIZE] = "";
    long status = 0;
    CURL *easy = curl_easy_init();
    if (easy == NULL)
        return error_set(error, -ENOMEM, "%s: no memory to ask for it", url);
    set_up(easy, url, body, detail);
    CURLcode code = curl_easy_perform(easy);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(easy);
    if (body->failed < 0)
        return error_set(error, body->failed, "%s: the answer: %s", url, error_text(body->failed));
    if (code != CURLE_OK)
        return error_set(error, -EIO, "%s: %s", url,
                         detail[0] != '\0' ? detail : curl_easy_strerror(code));
    if (status != 200)
        return error_set(error, ERROR_NOT_FOUND, "%s: the answer is HTTP %ld", url, status);
    return 0;
}
