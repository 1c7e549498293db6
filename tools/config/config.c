#include "tools/config/config.h"

#include "core/base/check.h"
#include "core/base/nearest.h"
#include "tools/config/keys.h"
#include "tools/config/toml.h"
#include "tools/config/value.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void config_free(struct config *config)
{
    for (size_t i = 0; i < key_count; i++) {
        if (keys[i].kind == KEY_TEXT)
            free(*(char **)value_member(config, &keys[i]));
        else if (keys[i].kind == KEY_LIST)
            value_list_free(value_member(config, &keys[i]));
    }
    for (size_t i = 0; i < config->secret_count; i++) {
        free(config->secrets[i].name);
        free(config->secrets[i].source);
    }
    free(config->secrets);
    free(config->api.socket_path);
    value_list_free(&config->warnings);
    *config = (struct config){ .secrets = NULL };
}

static int warn(struct config *config, const char *format, ...) ERROR_PRINTF(2, 3);
static int warn(struct config *config, const char *format, ...)
{
    char sentence[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    return value_list_add(&config->warnings, sentence, strlen(sentence));
}

/*--- Names that nobody knows --------------------------------------------------------------------*/

enum { NAMES_MAX = 128 };

struct names {
    char items[NAMES_MAX][KEY_PATH_SIZE];
    size_t count;
};

static const char *nth_name(const void *table, size_t index)
{
    const struct names *names = table;
    return index < names->count ? names->items[index] : NULL;
}

static void add_name(struct names *names, void (*write)(char *, const struct key *),
                     const struct key *key)
{
    CHECK(names->count < NAMES_MAX);
    write(names->items[names->count++], key);
}

static void write_section(char *name, const struct key *key)
{
    (void)snprintf(name, KEY_PATH_SIZE, "[%s]", key->section);
}

/* ": did you mean X?", or nothing. `write` gives the name of a key as it would be written here. */
static void suggest(char suggestion[120], const char *given,
                    void (*write)(char *, const struct key *))
{
    struct names names = { .count = 0 };
    for (size_t i = 0; i < key_count; i++)
        add_name(&names, write, &keys[i]);
    const char *nearest = nearest_name(given, nth_name, &names);
    suggestion[0] = '\0';
    if (nearest != NULL)
        (void)snprintf(suggestion, 120, "; did you mean %s?", nearest);
}

/* A key without its section: the one that has this name, if there is one. */
static const struct key *key_by_name(const char *name)
{
    for (size_t i = 0; i < key_count; i++)
        if (strcmp(keys[i].name, name) == 0)
            return &keys[i];
    return NULL;
}

static int refuse_unknown(const struct toml_entry *entry, const struct value_source *source,
                          struct error *error)
{
    char suggestion[120], section[KEY_PATH_SIZE];
    const struct key *key = key_by_name(entry->path);
    if (entry->kind == TOML_TABLE) {
        (void)snprintf(section, sizeof section, "[%.70s]", entry->path);
        suggest(suggestion, section, write_section);
        return error_set(error, ERROR_INVALID, "%sunknown section %s%s", source->text, section,
                         suggestion);
    }
    if (key != NULL)
        (void)snprintf(suggestion, sizeof suggestion, "; did you mean %s.%s?", key->section,
                       key->name);
    else
        suggest(suggestion, entry->path, key_path);
    return error_set(error, ERROR_INVALID, "%sunknown key %.80s%s", source->text, entry->path,
                     suggestion);
}

static bool is_section(const char *name)
{
    for (size_t i = 0; i < key_count; i++)
        if (strcmp(keys[i].section, name) == 0)
            return true;
    return strcmp(name, "secrets") == 0;
}

/*--- Secrets ------------------------------------------------------------------------------------*/

static bool is_secret_source(const char *source)
{
    if (strncmp(source, "file:/", 6) == 0)
        return source[6] != '\0';
    return strncmp(source, "env:", 4) == 0 && key_is_variable_name(source + 4);
}

/* No message holds the value: it may be the secret itself. */
static int add_secret(struct config *config, const char *name, const struct toml_entry *entry,
                      const struct value_source *source, struct error *error)
{
    if (!key_is_variable_name(name))
        return error_set(error, ERROR_INVALID,
                         "%ssecrets.%s: a name of a secret is letters, digits and _", source->text,
                         name);
    if (entry->kind != TOML_TEXT || !is_secret_source(entry->text))
        return error_set(error, ERROR_INVALID,
                         "%ssecrets.%s is neither \"file:/path\" nor \"env:VARIABLE\"; a secret "
                         "itself does not belong in the configuration",
                         source->text, name);
    struct config_secret *secrets =
        realloc(config->secrets, (config->secret_count + 1) * sizeof *secrets);
    if (secrets == NULL)
        return error_set(error, -ENOMEM, "%sout of memory", source->text);
    config->secrets = secrets;
    struct config_secret secret = { strdup(name), strdup(entry->text) };
    if (secret.name == NULL || secret.source == NULL) {
        free(secret.name);
        free(secret.source);
        return error_set(error, -ENOMEM, "%sout of memory", source->text);
    }
    secrets[config->secret_count++] = secret;
    return 0;
}

/* As much of a file as fits, and one byte more if there is more. */
static int read_file(const char *path, uint8_t *bytes, size_t size_max, size_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    int failed = 0;
    *size = 0;
    if (fd < 0)
        return -errno;
    while (*size < size_max && failed == 0) {
        ssize_t got = read(fd, bytes + *size, size_max - *size);
        if (got == 0)
            break;
        if (got > 0)
            *size += (size_t)got;
        else if (errno != EINTR)
            failed = -errno;
    }
    (void)close(fd);
    return failed;
}

static int read_secret_file(const struct config_secret *secret, uint8_t *value, size_t *size,
                            struct error *error)
{
    const char *path = secret->source + strlen("file:");
    uint8_t *bytes = malloc(CONFIG_SECRET_SIZE_MAX + 1);
    if (bytes == NULL)
        return error_set(error, -ENOMEM, "secrets.%s: out of memory", secret->name);
    int failed = read_file(path, bytes, CONFIG_SECRET_SIZE_MAX + 1, size);
    if (failed < 0)
        (void)error_set(error, failed, "secrets.%s: %s: %s", secret->name, path,
                        error_text(failed));
    else if (*size > CONFIG_SECRET_SIZE_MAX)
        failed =
            error_set(error, ERROR_TOO_LARGE, "secrets.%s: %s: over 64 KiB", secret->name, path);
    else
        memcpy(value, bytes, *size);
    explicit_bzero(bytes, CONFIG_SECRET_SIZE_MAX + 1);
    free(bytes);
    if (failed == 0 && *size > 0 && value[*size - 1] == '\n')
        --*size;
    return failed;
}

int config_secret_read(const struct config *config, const char *name,
                       uint8_t value[CONFIG_SECRET_SIZE_MAX], size_t *size, struct error *error)
{
    const struct config_secret *secret = NULL;
    for (size_t i = 0; i < config->secret_count; i++)
        if (strcmp(config->secrets[i].name, name) == 0)
            secret = &config->secrets[i];
    *size = 0;
    if (secret == NULL)
        return error_set(error, ERROR_NOT_FOUND,
                         "secrets.%.80s is not configured; add it to [secrets]", name);
    if (secret->source[0] == 'f')
        return read_secret_file(secret, value, size, error);
    const char *variable = secret->source + strlen("env:"), *text = getenv(variable);
    if (text == NULL)
        return error_set(error, ERROR_NOT_FOUND,
                         "secrets.%s: the environment variable %s is not set", name, variable);
    if (strlen(text) > CONFIG_SECRET_SIZE_MAX)
        return error_set(error, ERROR_TOO_LARGE, "secrets.%s: %s is over 64 KiB", name, variable);
    *size = strlen(text);
    memcpy(value, text, *size);
    return 0;
}

/*--- Loading ------------------------------------------------------------------------------------*/

static int apply_entry(struct config *config, const struct toml_entry *entry,
                       const struct value_source *source, struct error *error)
{
    const struct key *key = key_find(entry->path);
    if (key != NULL)
        return value_set(config, key, entry, source, error);
    if (strncmp(entry->path, "secrets.", 8) == 0)
        return add_secret(config, entry->path + 8, entry, source, error);
    if (entry->kind == TOML_TABLE && is_section(entry->path))
        return 0;
    if (!key_is_absent(entry->path))
        return refuse_unknown(entry, source, error);
    /* One warning for a section that is absent as a whole; its keys follow it. */
    const char *dot = strchr(entry->path, '.');
    char section[KEY_PATH_SIZE];
    (void)snprintf(section, sizeof section, "%.*s", (int)(dot != NULL ? dot - entry->path : 0),
                   entry->path);
    if (dot != NULL && key_is_absent(section))
        return 0;
    bool is_table = entry->kind == TOML_TABLE;
    if (warn(config, "%s%s%s%s is not in this version and has no effect", source->text,
             is_table ? "[" : "", entry->path, is_table ? "]" : "") < 0)
        return error_set(error, -ENOMEM, "%sout of memory", source->text);
    return 0;
}

static int apply_toml(struct config *config, const char *name, struct span toml,
                      struct error *error)
{
    struct toml_document document;
    int failed = toml_read(&document, name, toml, error);
    if (failed < 0)
        return failed;
    for (size_t i = 0; i < document.count && failed == 0; i++) {
        struct value_source source;
        (void)snprintf(source.text, sizeof source.text, "%.250s:%u: ", name,
                       document.entries[i].line);
        failed = apply_entry(config, &document.entries[i], &source, error);
    }
    toml_free(&document);
    return failed;
}

static int apply_variable(struct config *config, const char *variable, struct error *error)
{
    char name[KEY_PATH_SIZE], known[KEY_PATH_SIZE], suggestion[120];
    struct value_source source;
    size_t size = strcspn(variable, "=");
    if (strncmp(variable, "DAA_", 4) != 0 || variable[size] != '=' || size >= sizeof name)
        return 0;
    memcpy(name, variable, size);
    name[size] = '\0';
    (void)snprintf(source.text, sizeof source.text, "environment variable %s: ", name);
    for (size_t i = 0; i < key_count; i++) {
        key_variable(known, &keys[i]);
        if (strcmp(known, name) == 0)
            return value_set_text(config, &keys[i], variable + size + 1, &source, error);
    }
    /* It may belong to another program, so it is no error. */
    suggest(suggestion, name, key_variable);
    if (suggestion[0] != '\0' &&
        warn(config, "the environment variable %s has no effect%s", name, suggestion) < 0)
        return error_set(error, -ENOMEM, "%sout of memory", source.text);
    return 0;
}

bool config_path(const struct config *config, const char *name, char path[PATH_MAX])
{
    int size = name[0] == '/' ? snprintf(path, PATH_MAX, "%s", name)
                              : snprintf(path, PATH_MAX, "%s/%s", config->agent.data_dir, name);
    return size < PATH_MAX;
}

static int derive(struct config *config, struct error *error)
{
    const char *socket = config->api.socket, *dir = config->agent.data_dir;
    size_t size = strlen(dir) + strlen(socket) + 2;
    free(config->api.socket_path);
    config->api.socket_path = NULL;
    if (socket[0] == '\0')
        return 0;
    config->api.socket_path = malloc(size);
    if (config->api.socket_path == NULL)
        return error_set(error, -ENOMEM, "configuration: out of memory");
    if (socket[0] == '/')
        (void)snprintf(config->api.socket_path, size, "%s", socket);
    else
        (void)snprintf(config->api.socket_path, size, "%s/%s", dir, socket);
    return 0;
}

static int apply_defaults(struct config *config, struct error *error)
{
    struct value_source source = { "default: " };
    int failed = 0;
    for (size_t i = 0; i < key_count && failed == 0; i++)
        failed = value_set_text(config, &keys[i], keys[i].fallback, &source, error);
    return failed;
}

int config_load_text(struct config *config, const char *name, struct span toml,
                     char *const *environment, struct error *error)
{
    *config = (struct config){ .secrets = NULL };
    int failed = apply_defaults(config, error);
    if (failed == 0 && toml.size > 0)
        failed = apply_toml(config, name, toml, error);
    for (; failed == 0 && environment != NULL && *environment != NULL; environment++)
        failed = apply_variable(config, *environment, error);
    if (failed == 0)
        failed = derive(config, error);
    if (failed < 0)
        config_free(config);
    return failed;
}

int config_load(struct config *config, const char *path, char *const *environment,
                struct error *error)
{
    size_t size;
    if (path == NULL)
        return config_load_text(config, "", span_of(NULL, 0), environment, error);
    uint8_t *bytes = malloc(TOML_SIZE_MAX + 1);
    if (bytes == NULL)
        return error_set(error, -ENOMEM, "%s: out of memory", path);
    int failed = read_file(path, bytes, TOML_SIZE_MAX + 1, &size);
    if (failed < 0)
        (void)error_set(error, failed, "configuration %s: %s", path, error_text(failed));
    else
        failed = config_load_text(config, path, span_of(bytes, size), environment, error);
    free(bytes);
    return failed;
}

int config_set(struct config *config, const char *key, const char *value, struct error *error)
{
    struct value_source source = { "" };
    const struct key *found = key_find(key);
    CHECK(found != NULL);
    int failed = value_set_text(config, found, value, &source, error);
    return failed < 0 ? failed : derive(config, error);
}
