#include "log/removal.h"

#include "core/base/bytes.h"
#include "iouring/file.h"
#include "log/directory.h"
#include "log/sealed.h"
#include "log/second.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* How often the names are read anew when another removal is faster. */
#define ATTEMPTS_MAX 4

struct segments {
    struct directory directory;
    struct source source;
    ptrdiff_t newest; /* index of the newest segment that was begun; -1: none */
    struct segment_header newest_header;
    struct log_segment *items;
    size_t count;
};

static unsigned long long big(uint64_t number)
{
    return number;
}

/* Goes from the highest number down over spares, and over what no opening would go on behind. */
static int find_newest(struct segments *s, struct error *error)
{
    struct error what = { 0 };
    for (s->newest = (ptrdiff_t)s->directory.count - 1; s->newest >= 0; s->newest--) {
        int state = directory_segment(&s->directory, (size_t)s->newest, &s->source,
                                      &s->newest_header, &what);
        if (state < 0)
            return error_set(error, state, "%s", what.text);
        if (state == SEGMENT_BEGUN)
            return 0;
    }
    return 0;
}

static int open_segments(struct segments *s, const char *dir, struct error *error)
{
    *s = (struct segments){ .source = { .fd = -1 }, .newest = -1 };
    int code = directory_open(&s->directory, dir, error);
    return code < 0 ? code : find_newest(s, error);
}

static void close_segments(struct segments *s)
{
    free(s->items);
    source_close(&s->source);
    directory_close(&s->directory);
}

static uint64_t disk_bytes_of(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 ? (uint64_t)status.st_blocks * 512 : 0;
}

static int set_hole(uint64_t segment_no, uint64_t missing_no, const char *what, struct error *error)
{
    char name[LOG_SEGMENT_NAME_SIZE], missing[LOG_SEGMENT_NAME_SIZE];
    segment_name(name, segment_no);
    if (missing_no == 0)
        return error_set(error, ERROR_DAMAGED,
                         "%s says that the log begins with it, though segments before it are "
                         "there: run daa-log verify and put it back from a copy",
                         name);
    segment_name(missing, missing_no);
    return error_set(error, ERROR_DAMAGED,
                     "%s, behind which %s goes on, %s: run daa-log verify and put it back from a "
                     "copy",
                     missing, name, what);
}

/* Appends the segment whose header was just read, and tells the one before it where it ends. */
static int take_segment(struct segments *s, const struct segment_header *header,
                        struct error *error)
{
    struct log_segment *before = s->count > 0 ? &s->items[s->count - 1] : NULL;
    if (before != NULL && header->prev_segment_no != before->segment_no)
        return set_hole(header->segment_no, header->prev_segment_no, "is missing or not whole",
                        error);
    if (before != NULL)
        before->last_seq = header->prev_last_seq;
    s->items[s->count++] = (struct log_segment){
        .segment_no = header->segment_no,
        .first_seq = header->first_seq,
        .created_ns = header->created_ns,
        .disk_bytes = disk_bytes_of(s->source.fd),
        .newest = header->segment_no == s->newest_header.segment_no,
    };
    return 0;
}

/* -ENOENT: another removal was faster. */
static int read_segments(struct segments *s, struct error *error)
{
    struct segment_header header;
    s->items = calloc(s->directory.count + 1, sizeof *s->items);
    if (s->items == NULL)
        return error_set(error, -ENOMEM, "log %s: no memory for the list of its segments",
                         s->directory.path);
    for (ptrdiff_t i = 0; i <= s->newest; i++) {
        struct error what = { 0 };
        char name[LOG_SEGMENT_NAME_SIZE];
        segment_name(name, s->directory.segments[i]);
        int state = directory_segment(&s->directory, (size_t)i, &s->source, &header, &what);
        if (state < 0)
            return error_set(error, state, "%s", what.text);
        /* What nothing goes on behind was never begun. The oldest could have been, so it is. */
        bool passed = state == SEGMENT_SPARE && directory_is_passed_over(&s->directory, (size_t)i);
        if (state != SEGMENT_BEGUN && i == 0 && !passed)
            return error_set(error, ERROR_DAMAGED, "%s: %s: run daa-log verify", name,
                             state == SEGMENT_SPARE ? "it is all zero, though later segments were "
                                                      "begun"
                                                    : what.text);
        int code = state == SEGMENT_BEGUN ? take_segment(s, &header, error) : 0;
        if (code < 0)
            return code;
    }
    return 0;
}

int log_segments(const char *dir, log_segment_function *each, void *context, struct error *error)
{
    int code = -ENOENT;
    for (int i = 0; code == -ENOENT && i < ATTEMPTS_MAX; i++) {
        struct segments segments;
        code = open_segments(&segments, dir, error);
        if (code == 0)
            code = read_segments(&segments, error);
        for (size_t at = 0; code == 0 && at < segments.count; at++)
            each(&segments.items[at], context);
        close_segments(&segments);
    }
    return code;
}

/* An opening that died before its first frame went on behind the segment before, which the next
 * one asks for its last event. *first: the lowest segment that has to stay. */
static int find_first_kept(struct segments *s, uint64_t *first, struct error *error)
{
    const struct segment_header *newest = &s->newest_header;
    const uint8_t *block;
    char name[LOG_SEGMENT_NAME_SIZE];
    segment_name(name, newest->segment_no);
    int code = source_reopen(&s->source, s->directory.path, name, error);
    if (code < 0)
        return code;
    code = source_bytes(&s->source, LOG_BLOCK_SIZE, LOG_BLOCK_SIZE, &block);
    if (code < 0)
        return error_set(error, code, "%s: first frame: %s", name, error_text(code));
    *first = newest->segment_no;
    if (bytes_are_zero(block, LOG_BLOCK_SIZE) && newest->prev_segment_no != 0)
        *first = newest->prev_segment_no;
    return 0;
}

/* Removes one file: 1, 0 when it was gone already, or negative. */
static int remove_file(const struct segments *s, uint64_t segment_no, const char *name,
                       struct log_removed *removed, struct error *error)
{
    char path[PATH_MAX + LOG_SEGMENT_NAME_SIZE];
    struct stat status;
    snprintf(path, sizeof path, "%s/%s", s->directory.path, name);
    bool known = stat(path, &status) == 0;
    int code = second_remove(s->directory.path, name);
    if (code == -ENOENT)
        return 0;
    if (code < 0)
        return error_set(error, code, "cannot remove segment %llu of the log, %s: %s",
                         big(segment_no), path, error_text(code));
    removed->disk_bytes += known ? (uint64_t)status.st_blocks * 512 : 0;
    return 1;
}

/* The raw file first: whoever is about to seal it looks for that when the sealed one has its name
 * (log/sealing.c). */
static int remove_segment(const struct segments *s, uint64_t segment_no,
                          struct log_removed *removed, struct error *error)
{
    char raw[LOG_SEGMENT_NAME_SIZE], sealed[LOG_SEGMENT_NAME_SIZE];
    segment_name(raw, segment_no);
    sealed_name(sealed, segment_no);
    int first = remove_file(s, segment_no, raw, removed, error);
    int second = first < 0 ? first : remove_file(s, segment_no, sealed, removed, error);
    if (second < 0)
        return second;
    if (first + second == 0)
        return 0;
    if (removed->segments++ == 0)
        removed->first_segment = segment_no;
    removed->last_segment = segment_no;
    return 0;
}

static int remove_below(struct segments *s, uint64_t segment_no, struct log_removed *removed,
                        struct error *error)
{
    uint64_t kept = 0;
    if (s->newest < 0)
        return 0;
    int code = find_first_kept(s, &kept, error);
    if (code < 0)
        return code;
    if (segment_no < kept)
        kept = segment_no;
    for (size_t i = 0; code == 0 && i < s->directory.count && s->directory.segments[i] < kept; i++)
        code = remove_segment(s, s->directory.segments[i], removed, error);
    /* Also when there was nothing to do: a call that died may not have come this far. */
    int synced = file_sync_dir(s->directory.path, code == 0 ? error : NULL);
    return code < 0 ? code : synced;
}

int log_remove_before(const char *dir, uint64_t segment_no, struct log_removed *removed,
                      struct error *error)
{
    struct log_removed ignored;
    struct segments segments;
    if (removed == NULL)
        removed = &ignored;
    *removed = (struct log_removed){ .segments = 0 };
    int code = open_segments(&segments, dir, error);
    if (code == 0)
        code = remove_below(&segments, segment_no, removed, error);
    close_segments(&segments);
    return code;
}
