#include "tools/agent/secrets.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* A value that was used. */
struct secret {
    char *value; /* NULL: not used yet */
    size_t size;
    char *quoted; /* as it looks inside a JSON string; NULL: the same */
    size_t quoted_size;
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

static void free_wiped(char *bytes, size_t size)
{
    if (bytes != NULL)
        explicit_bzero(bytes, size);
    free(bytes);
}

static void forget(struct secret *secret)
{
    free_wiped(secret->value, secret->size);
    free_wiped(secret->quoted, secret->quoted_size);
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

/* Remembers a value, to find it again in what comes back. */
static int keep(struct secret *secret, const uint8_t *bytes, size_t size)
{
    if (secret->value != NULL && secret->size == size && memcmp(secret->value, bytes, size) == 0)
        return 0;
    struct text quoted;
    text_init(&quoted);
    text_json_string(&quoted, NULL, span_of(bytes, size));
    forget(secret);
    secret->value = malloc(size + 1);
    bool good = secret->value != NULL && quoted.failed == 0;
    if (good) {
        memcpy(secret->value, bytes, size);
        secret->size = size;
    }
    if (good && quoted.size != size + 2) {
        secret->quoted = malloc(quoted.size);
        good = secret->quoted != NULL;
        if (good) {
            secret->quoted_size = quoted.size - 2;
            memcpy(secret->quoted, quoted.bytes + 1, secret->quoted_size);
        }
    }
    if (quoted.bytes != NULL)
        explicit_bzero(quoted.bytes, quoted.size);
    text_free(&quoted);
    return good ? 0 : -ENOMEM;
}

static int append_secret(struct secrets *secrets, struct span name, struct text *filled,
                         struct error *error)
{
    const struct config *config = secrets->config;
    for (size_t i = 0; i < config->secret_count; i++) {
        if (!span_is(name, config->secrets[i].name))
            continue;
        uint8_t *value = malloc(CONFIG_SECRET_SIZE_MAX);
        size_t size = 0;
        if (value == NULL)
            return error_set(error, -ENOMEM, "secret %s: no memory", config->secrets[i].name);
        int failed = config_secret_read(config, config->secrets[i].name, value, &size, error);
        if (failed == 0) {
            failed = keep(&secrets->list[i], value, size);
            text_add(filled, value, failed == 0 ? size : 0);
        }
        explicit_bzero(value, size);
        free(value);
        return failed;
    }
    return error_set(error, ERROR_NOT_FOUND,
                     "secret %.*s is not configured; add it under [secrets]", (int)name.size,
                     (const char *)name.bytes);
}

static bool is_name(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

/* The size of "${{ secrets.NAME }}" at the start of `text`, with NAME in `name`; 0 if it is not
 * there. */
static size_t match(struct span text, struct span *name)
{
    static const char head[] = "secrets.";
    size_t at = 3;
    if (text.size < 3 || memcmp(text.bytes, "${{", 3) != 0)
        return 0;
    while (at < text.size && text.bytes[at] == ' ')
        at++;
    if (text.size - at < sizeof head - 1 || memcmp(text.bytes + at, head, sizeof head - 1) != 0)
        return 0;
    at += sizeof head - 1;
    size_t start = at;
    while (at < text.size && is_name(text.bytes[at]))
        at++;
    *name = span_of(text.bytes + start, at - start);
    while (at < text.size && text.bytes[at] == ' ')
        at++;
    if (name->size == 0 || text.size - at < 2 || memcmp(text.bytes + at, "}}", 2) != 0)
        return 0;
    return at + 2;
}

int secrets_fill(struct secrets *secrets, struct span text, struct text *filled,
                 struct error *error)
{
    int failed = 0;
    size_t copied = 0;
    for (size_t at = 0; at < text.size && failed == 0;) {
        struct span name;
        size_t size =
            text.bytes[at] == '$' ? match(span_of(text.bytes + at, text.size - at), &name) : 0;
        if (size == 0) {
            at++;
            continue;
        }
        text_add(filled, text.bytes + copied, at - copied);
        pthread_mutex_lock(&secrets->lock);
        failed = append_secret(secrets, name, filled, error);
        pthread_mutex_unlock(&secrets->lock);
        at += size;
        copied = at;
    }
    if (text.size > copied)
        text_add(filled, text.bytes + copied, text.size - copied);
    if (failed == 0 && filled->failed < 0)
        failed = error_set(error, filled->failed, "a text with its secrets filled in: %s",
                           error_text(filled->failed));
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
    for (size_t i = 0; i < secrets->config->secret_count; i++) {
        redact_one(text, secrets->list[i].value, secrets->list[i].size);
        redact_one(text, secrets->list[i].quoted, secrets->list[i].quoted_size);
    }
    pthread_mutex_unlock(&secrets->lock);
}
