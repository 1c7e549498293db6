#include "tools/agent/secrets.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum form { AS_IT_IS, IN_JSON, IN_URL, FORMS };

/* A value that was used, in each form in which it may come back. */
struct secret {
    char *forms[FORMS]; /* NULL: not used yet, or like the first */
    size_t sizes[FORMS];
};

struct secrets {
    pthread_mutex_t lock;
    const struct config *config;
    struct secret *list; /* as in config->secrets */
};

int secrets_open(struct secrets **secrets, const struct config *config, struct error *error)
{
    struct secrets *made = calloc(1, sizeof *made);
    struct secret *list = calloc(config->secret_count + 1, sizeof *list);
    if (made == NULL || list == NULL) {
        free(made);
        free(list);
        return error_set(error, -ENOMEM, "secrets: no memory");
    }
    pthread_mutex_init(&made->lock, NULL);
    made->config = config;
    made->list = list;
    *secrets = made;
    return 0;
}

static void forget(struct secret *secret)
{
    for (int i = 0; i < FORMS; i++) {
        if (secret->forms[i] != NULL)
            explicit_bzero(secret->forms[i], secret->sizes[i]);
        free(secret->forms[i]);
    }
    *secret = (struct secret){ 0 };
}

void secrets_close(struct secrets *secrets)
{
    if (secrets == NULL)
        return;
    for (size_t i = 0; i < secrets->config->secret_count; i++)
        forget(&secrets->list[i]);
    free(secrets->list);
    pthread_mutex_destroy(&secrets->lock);
    free(secrets);
}

static bool keep_form(struct secret *secret, enum form form, struct span bytes)
{
    const char *first = secret->forms[AS_IT_IS];
    if (form != AS_IT_IS && span_equal(bytes, span_of(first, secret->sizes[AS_IT_IS])))
        return true;
    secret->forms[form] = malloc(bytes.size + 1);
    if (secret->forms[form] == NULL)
        return false;
    if (bytes.size > 0)
        memcpy(secret->forms[form], bytes.bytes, bytes.size);
    secret->sizes[form] = bytes.size;
    return true;
}

static void add_in_url(struct text *text, struct span value)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (size_t i = 0; i < value.size; i++)
        if (value.bytes[i] != 0 && strchr(plain, value.bytes[i]) != NULL)
            text_add(text, value.bytes + i, 1);
        else
            text_printf(text, "%%%02X", value.bytes[i]);
}

/* Remembers a value, to find it again in what comes back. */
static int keep(struct secret *secret, struct span value)
{
    if (secret->forms[AS_IT_IS] != NULL &&
        span_equal(value, span_of(secret->forms[AS_IT_IS], secret->sizes[AS_IT_IS])))
        return 0;
    struct text json, url;
    text_init(&json);
    text_init(&url);
    text_json_string(&json, NULL, value);
    add_in_url(&url, value);
    forget(secret);
    bool good = json.failed == 0 && url.failed == 0 && keep_form(secret, AS_IT_IS, value) &&
                keep_form(secret, IN_JSON, span_of(json.bytes + 1, json.size - 2)) &&
                keep_form(secret, IN_URL, text_span(&url));
    if (json.bytes != NULL)
        explicit_bzero(json.bytes, json.size);
    if (url.bytes != NULL)
        explicit_bzero(url.bytes, url.size);
    text_free(&json);
    text_free(&url);
    return good ? 0 : -ENOMEM;
}

/* A fill under way. */
struct fill {
    struct secrets *secrets;
    struct error *error;
    uint8_t *value; /* of the secret asked for last */
    size_t size;
};

static void wipe(struct fill *fill)
{
    explicit_bzero(fill->value, fill->size);
    fill->size = 0;
}

/* A template_secret_function. */
static int find(void *context, struct span name, struct span *value)
{
    struct fill *fill = context;
    const struct config *config = fill->secrets->config;
    for (size_t i = 0; i < config->secret_count; i++) {
        if (!span_is(name, config->secrets[i].name))
            continue;
        wipe(fill);
        int failed = config_secret_read(config, config->secrets[i].name, fill->value, &fill->size,
                                        fill->error);
        if (failed == 0)
            failed = keep(&fill->secrets->list[i], span_of(fill->value, fill->size));
        *value = span_of(fill->value, fill->size);
        return failed;
    }
    return ERROR_NOT_FOUND;
}

int secrets_fill(struct secrets *secrets, enum template_place place, struct span text,
                 struct text *filled, struct error *error)
{
    struct error reading = { 0 };
    struct fill fill = { .secrets = secrets, .error = &reading };
    fill.value = malloc(CONFIG_SECRET_SIZE_MAX);
    if (fill.value == NULL)
        return error_set(error, -ENOMEM, "no memory to fill the secrets in");
    pthread_mutex_lock(&secrets->lock);
    int failed = template_fill_secrets(place, text, find, &fill, filled, error);
    pthread_mutex_unlock(&secrets->lock);
    wipe(&fill);
    free(fill.value);
    /* That the source cannot be read says more than that there is no such secret. */
    if (failed < 0 && reading.text[0] != '\0')
        return error_set(error, failed, "%s", reading.text);
    return failed;
}

static void redact_one(struct text *text, const char *value, size_t size)
{
    if (value == NULL || size == 0 || text->size < size)
        return;
    const char *found = memmem(text->bytes, text->size, value, size);
    if (found == NULL)
        return;
    struct text clean;
    text_init(&clean);
    const char *from = text->bytes;
    const char *end = text->bytes + text->size;
    while (found != NULL) {
        text_add(&clean, from, (size_t)(found - from));
        text_add_string(&clean, "[redacted]");
        from = found + size;
        found = memmem(from, (size_t)(end - from), value, size);
    }
    text_add(&clean, from, (size_t)(end - from));
    explicit_bzero(text->bytes, text->size);
    text_clear(text);
    if (clean.failed < 0)
        text_add_string(text, "[redacted]");
    else
        text_add(text, clean.bytes, clean.size);
    text_free(&clean);
}

void secrets_redact(struct secrets *secrets, struct text *text)
{
    pthread_mutex_lock(&secrets->lock);
    for (size_t i = 0; i < secrets->config->secret_count; i++)
        for (int form = 0; form < FORMS; form++)
            redact_one(text, secrets->list[i].forms[form], secrets->list[i].sizes[form]);
    pthread_mutex_unlock(&secrets->lock);
}
