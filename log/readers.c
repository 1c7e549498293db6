#include "log/readers.h"

#include "core/base/bytes.h"
#include "core/base/json.h"
#include "core/base/text.h"
#include "iouring/file.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_SIZE_MAX 4096u
#define MEMORY_MAX (1u << 20) /* to parse one */
#define TEMPORARY ".tmp"

static bool ends_in_tmp(const char *name)
{
    size_t size = strlen(name), end = sizeof TEMPORARY - 1;
    return size >= end && strcmp(name + size - end, TEMPORARY) == 0;
}

bool log_reader_name_is_good(const char *name)
{
    static const char others[] = "-_.";
    size_t size = strlen(name);
    if (size == 0 || size >= LOG_READER_NAME_SIZE || !isalnum((unsigned char)name[0]) ||
        ends_in_tmp(name))
        return false;
    for (const char *at = name; *at != '\0'; at++)
        if (!isalnum((unsigned char)*at) && strchr(others, *at) == NULL)
            return false;
    return true;
}

static int check_name(const char *name, struct error *error)
{
    if (log_reader_name_is_good(name))
        return 0;
    return error_set(error, ERROR_INVALID,
                     "a reader cannot be called \"%.80s\": up to 63 letters, digits, '-', '_' and "
                     "'.', the first a letter or digit, and no .tmp at the end",
                     name);
}

/* The directory of readers of `dir`, which may hold the log as "log". */
static int readers_path(char path[PATH_MAX], const char *dir, struct error *error)
{
    struct stat status;
    int length = snprintf(path, PATH_MAX, "%s/log", dir);
    bool inner = length < PATH_MAX && stat(path, &status) == 0 && S_ISDIR(status.st_mode);
    length = snprintf(path, PATH_MAX, "%s%s/%s", dir, inner ? "/log" : "", LOG_READERS_DIR);
    /* A name of a reader has to fit behind it. */
    if (length >= PATH_MAX - LOG_READER_NAME_SIZE - 8)
        return error_set(error, -ENAMETOOLONG, "log directory %s: the path is too long", dir);
    return 0;
}

/* Writing. */

/* Its name is made durable together with that of a file in it. */
static int make_directory(const char *path, struct error *error)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return 0;
    return error_set(error, -errno, "cannot make %s: %s", path, error_text(-errno));
}

static void encode(struct text *text, const struct log_reader_position *position)
{
    text_json_open_object(text, NULL);
    text_json_unsigned(text, "seq", position->seq);
    text_json_unsigned(text, "flushed_seq", position->flushed_seq);
    if (!bytes_are_zero(position->chain, SHA256_SIZE))
        text_json_hex(text, "chain", span_of(position->chain, SHA256_SIZE));
    text_json_unsigned(text, "pid", position->pid);
    text_json_unsigned(text, "time_ns", position->time_ns);
    text_json_bool(text, "required", position->required);
    text_json_close_object(text);
    text_add_string(text, "\n");
}

static int write_whole(const char *path, struct span bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int result = file_write_at(fd, bytes.bytes, bytes.size, 0);
    if (result == 0 && fdatasync(fd) < 0)
        result = -errno;
    if (close(fd) < 0 && result == 0)
        result = -errno;
    return result;
}

static int replace(const char *readers, const char *name, struct span bytes, bool sync_dir,
                   struct error *error)
{
    char path[PATH_MAX + LOG_READER_NAME_SIZE], temporary[sizeof path + sizeof TEMPORARY];
    (void)snprintf(path, sizeof path, "%s/%s", readers, name);
    (void)snprintf(temporary, sizeof temporary, "%s%s", path, TEMPORARY);
    bool is_new = access(path, F_OK) < 0;
    int result = write_whole(temporary, bytes);
    if (result == 0 && rename(temporary, path) < 0)
        result = -errno;
    if (result < 0) {
        (void)unlink(temporary);
        return error_set(error, result, "cannot write %s: %s", path, error_text(result));
    }
    if (!is_new && !sync_dir)
        return 0;
    result = file_sync_dir(readers, error);
    return result < 0 ? result : file_make_dir(readers, error);
}

int log_reader_position_write(const char *dir, const struct log_reader_position *position,
                              bool sync_dir, struct error *error)
{
    char readers[PATH_MAX];
    struct text text;
    int result = check_name(position->name, error);
    if (result == 0)
        result = readers_path(readers, dir, error);
    if (result == 0)
        result = make_directory(readers, error);
    if (result < 0)
        return result;
    text_init(&text);
    encode(&text, position);
    if (text.failed != 0)
        result = error_set(error, text.failed, "no memory for the position of the reader %s",
                           position->name);
    else
        result = replace(readers, position->name, text_span(&text), sync_dir, error);
    text_free(&text);
    return result;
}

int log_reader_position_remove(const char *dir, const char *name, struct error *error)
{
    char readers[PATH_MAX], path[PATH_MAX + LOG_READER_NAME_SIZE];
    int result = check_name(name, error);
    if (result == 0)
        result = readers_path(readers, dir, error);
    if (result < 0)
        return result;
    (void)snprintf(path, sizeof path, "%s/%s", readers, name);
    if (unlink(path) < 0)
        return errno == ENOENT
                   ? 0
                   : error_set(error, -errno, "cannot remove %s: %s", path, error_text(-errno));
    return file_sync_dir(readers, error);
}

/* Reading. */

static void set_problem(struct log_reader_position *position, const char *format, ...)
    ERROR_PRINTF(2, 3);

static void set_problem(struct log_reader_position *position, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(position->problem, sizeof position->problem, format, arguments);
    va_end(arguments);
}

/* A number that is there and not below zero. */
static bool get_number(const struct json *json, const char *name, uint64_t *value)
{
    int64_t number;
    uint32_t node = json_member(json, 0, name);
    if (node == 0 || !json_get_integer(json, node, &number) || number < 0)
        return false;
    *value = (uint64_t)number;
    return true;
}

static void take_members(const struct json *json, struct arena *arena,
                         struct log_reader_position *position)
{
    struct log_reader_position taken = { .pid = 0 };
    uint32_t chain = json_member(json, 0, "chain"), required = json_member(json, 0, "required");
    bool seq = get_number(json, "seq", &taken.seq);
    bool flushed = get_number(json, "flushed_seq", &taken.flushed_seq);
    bool time = get_number(json, "time_ns", &taken.time_ns);
    (void)get_number(json, "pid", &taken.pid);
    if (json->nodes[0].kind != JSON_OBJECT || (!seq && !flushed) || !time) {
        set_problem(position, "it does not say flushed_seq and time_ns");
        return;
    }
    if (!flushed)
        taken.flushed_seq = taken.seq;
    if (!seq)
        taken.seq = taken.flushed_seq;
    if (chain != 0) {
        struct span hex = json->nodes[chain].kind == JSON_STRING ? json_string(json, chain, arena)
                                                                 : span_of(NULL, 0);
        if (!bytes_from_hex(taken.chain, SHA256_SIZE, (const char *)hex.bytes, hex.size)) {
            set_problem(position, "its chain is not one");
            return;
        }
    }
    if (required != 0 && !json_get_bool(json, required, &taken.required)) {
        set_problem(position, "its member \"required\" is neither true nor false");
        return;
    }
    memcpy(taken.name, position->name, sizeof taken.name);
    *position = taken;
}

static void parse(struct span bytes, struct log_reader_position *position)
{
    struct budget budget;
    struct arena arena;
    struct json json;
    struct json_problem problem;
    budget_init(&budget, MEMORY_MAX);
    arena_init(&arena, &budget, BUDGET_READERS, 1024);
    int result = json_parse(&json, &arena, bytes, &problem);
    if (result == 0)
        take_members(&json, &arena, position);
    else if (result == ERROR_SYNTAX)
        set_problem(position, "it is not JSON: %.100s", problem.message);
    else
        set_problem(position, "%s", error_text(result));
    arena_free(&arena);
}

/* Fills in what the file says, or its problem. -ENOENT: it is gone; others are problems. */
static int read_position(const char *readers, const char *name,
                         struct log_reader_position *position)
{
    char path[PATH_MAX + NAME_MAX + 2], bytes[FILE_SIZE_MAX + 1];
    struct stat status;
    *position = (struct log_reader_position){ .pid = 0 };
    (void)snprintf(position->name, sizeof position->name, "%.63s", name);
    (void)snprintf(path, sizeof path, "%s/%s", readers, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno == ENOENT)
        return -ENOENT;
    int64_t size = fd < 0 ? -errno : 0;
    if (fd >= 0 && fstat(fd, &status) == 0) {
        position->time_ns =
            (uint64_t)status.st_mtim.tv_sec * 1000000000u + (uint64_t)status.st_mtim.tv_nsec;
        size = S_ISREG(status.st_mode) ? file_read_at(fd, bytes, sizeof bytes, 0) : ERROR_INVALID;
    }
    if (fd >= 0)
        close(fd);
    if (!log_reader_name_is_good(name))
        set_problem(position, "its name is none for a reader");
    else if (size == ERROR_INVALID)
        set_problem(position, "it is not a file");
    else if (size < 0)
        set_problem(position, "it cannot be read: %s", error_text((int)size));
    else if (size > (int64_t)FILE_SIZE_MAX)
        set_problem(position, "it is longer than %u bytes", FILE_SIZE_MAX);
    else
        parse(span_of(bytes, (size_t)size), position);
    return 0;
}

int log_reader_position_read(const char *dir, const char *name,
                             struct log_reader_position *position, struct error *error)
{
    char readers[PATH_MAX];
    int result = check_name(name, error);
    if (result == 0)
        result = readers_path(readers, dir, error);
    if (result < 0)
        return result;
    return read_position(readers, name, position) == 0;
}

struct list {
    struct log_reader_position *items;
    size_t count, capacity;
};

static int add_position(struct list *list, const char *readers, const char *name)
{
    if (list->count == list->capacity) {
        size_t more = list->capacity == 0 ? 8 : list->capacity * 2;
        struct log_reader_position *grown = realloc(list->items, more * sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        list->items = grown;
        list->capacity = more;
    }
    if (read_position(readers, name, &list->items[list->count]) == 0)
        list->count++;
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    const struct log_reader_position *left = a, *right = b;
    return strcmp(left->name, right->name);
}

static int read_all(struct list *list, DIR *names, const char *readers)
{
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(names);
        if (entry == NULL)
            return -errno;
        /* A temporary is a position that is being written, or was when its writer died. */
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            ends_in_tmp(entry->d_name))
            continue;
        int code = add_position(list, readers, entry->d_name);
        if (code < 0)
            return code;
    }
}

int log_reader_positions(const char *dir, struct log_reader_position **positions, size_t *count,
                         struct error *error)
{
    char readers[PATH_MAX];
    struct list list = { .items = NULL };
    *positions = NULL;
    *count = 0;
    int code = readers_path(readers, dir, error);
    if (code < 0)
        return code;
    DIR *names = opendir(readers);
    if (names == NULL && errno == ENOENT)
        return 0;
    code = names == NULL ? -errno : read_all(&list, names, readers);
    if (names != NULL)
        closedir(names);
    if (code < 0) {
        free(list.items);
        return error_set(error, code, "cannot read the positions of the log's readers in %s: %s",
                         readers, error_text(code));
    }
    if (list.count > 1)
        qsort(list.items, list.count, sizeof *list.items, compare_names);
    *positions = list.items;
    *count = list.count;
    return 0;
}
