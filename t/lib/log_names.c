#include "log_names.h"

#include "scratch.h"
#include "tap.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_SIZE = 4400, HEADERS_MAX = 64 };

struct log_options log_names_options(const char *dir, struct io *io, struct budget *budget)
{
    return (struct log_options){ .dir = dir,
                                 .io = io,
                                 .budget = budget,
                                 .segment_size = LOG_SEGMENT_SIZE_MIN,
                                 .sync = LOG_SYNC_DSYNC,
                                 .maintain_inline = true,
                                 .allow_tmpfs = true,
                                 .start_time_ns = LOG_NAMES_TIME_NS };
}

unsigned log_names_headers(const char *dir, struct segment_header *headers, unsigned max)
{
    unsigned count = 0;
    for (uint64_t segment_no = 1; segment_no <= HEADERS_MAX && count < max; segment_no++) {
        char name[LOG_SEGMENT_NAME_SIZE], path[PATH_SIZE];
        unsigned long size;
        segment_name(name, segment_no);
        if (!log_names_exists(dir, name))
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, name);
        unsigned char *bytes = scratch_read(path, &size);
        if (size >= LOG_BLOCK_SIZE && segment_header_decode(bytes, &headers[count], NULL) == 0)
            count++;
        free(bytes);
    }
    return count;
}

unsigned log_names_count(const char *dir)
{
    struct segment_header headers[HEADERS_MAX];
    unsigned count = log_names_headers(dir, headers, HEADERS_MAX), names = 0;
    for (unsigned i = 0; i < count; i++)
        names += i == 0 || memcmp(headers[i].log_uuid, headers[i - 1].log_uuid, UUID_SIZE) != 0;
    return names;
}

bool log_names_opened(const char *dir, struct storage_opened *opened, char *reason, size_t size)
{
    struct log_reader_options options = { .dir = dir };
    struct log_reader *reader;
    struct record record;
    struct error error = { 0 };
    bool found = false;
    if (log_reader_open(&reader, &options, &error) < 0) {
        tap_note("%s", error.text);
        return false;
    }
    int code;
    while ((code = log_reader_next(reader, &record, NULL, &error)) == 1) {
        if (record.kind != LOG_KIND_OPENED || storage_opened_decode(record.payload, opened) < 0)
            continue;
        found = true;
        snprintf(reason, size, "%.*s", (int)opened->reason.size,
                 (const char *)opened->reason.bytes);
    }
    opened->reason = span_of(NULL, 0); /* it is the reader's */
    log_reader_close(reader);
    if (code < 0)
        tap_note("%s", error.text);
    return found && code == 0;
}

struct seen {
    unsigned findings;
    char *text;
    size_t size;
};

static void see(const struct log_finding *finding, void *context)
{
    struct seen *seen = context;
    tap_note("%s at %llu: %s", finding->file, (unsigned long long)finding->offset, finding->text);
    if (seen->findings++ == 0 && seen->text != NULL)
        snprintf(seen->text, seen->size, "%s", finding->text);
}

enum log_verdict log_names_verify(const char *dir, unsigned *findings, char *text, size_t size)
{
    struct seen seen = { .text = text, .size = size };
    struct log_verify_options options = { .dir = dir, .finding = see, .context = &seen };
    struct log_verify_result result;
    struct error error = { 0 };
    int code = log_verify(&options, &result, &error);
    if (code < 0)
        tap_note("%s", error.text);
    *findings = seen.findings;
    return code < 0 ? LOG_DAMAGED : result.verdict;
}

bool log_names_exists(const char *dir, const char *name)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

static bool same_file(const char *a, const char *b, const char *name)
{
    char path[PATH_SIZE];
    unsigned long size, other_size;
    if (!log_names_exists(b, name))
        return false;
    snprintf(path, sizeof path, "%s/%s", a, name);
    unsigned char *bytes = scratch_read(path, &size);
    snprintf(path, sizeof path, "%s/%s", b, name);
    unsigned char *other = scratch_read(path, &other_size);
    bool same = size == other_size && memcmp(bytes, other, size) == 0;
    free(bytes);
    free(other);
    return same;
}

/* Trying to open a log changes LOCK and image, which hold nothing of it. */
static bool is_ours(const char *name)
{
    return name[0] != '.' && strcmp(name, LOG_LOCK_NAME) != 0 && strcmp(name, "image") != 0;
}

static bool holds(const char *a, const char *b)
{
    DIR *names = opendir(a);
    struct dirent *entry;
    bool same = names != NULL;
    while (same && (entry = readdir(names)) != NULL) {
        if (!is_ours(entry->d_name))
            continue;
        same = same_file(a, b, entry->d_name);
        if (!same)
            tap_note("%s differs", entry->d_name);
    }
    if (names != NULL)
        closedir(names);
    return same;
}

bool log_names_same_files(const char *a, const char *b)
{
    return holds(a, b) && holds(b, a);
}
