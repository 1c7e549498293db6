/* The file to which anchors are exported: what a crash left of a line is completed without anything
 * being cut off, and a file of something else stays as it is. */
#include "scratch.h"
#include "tap.h"
#include "tools/anchor/export.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool appended_to_only; /* as after chattr +a */
static unsigned cuts;

/* In the place of the C library's. */
int ftruncate(int fd, off_t size)
{
    cuts++;
    if (!appended_to_only)
        return (int)syscall(SYS_ftruncate, fd, size);
    errno = EPERM;
    return -1;
}

static struct anchor anchor_of(uint64_t event)
{
    struct anchor anchor = { .event = event, .seq = event - 1, .segment_no = 1, .signed_ns = 5 };
    memset(anchor.log_uuid, 7, sizeof anchor.log_uuid);
    return anchor;
}

static char *line_of(uint64_t event)
{
    struct anchor anchor = anchor_of(event);
    struct text text;
    text_init(&text);
    anchor_to_json(&anchor, NULL, &text);
    text_add_string(&text, "\n");
    char *line = strdup(text_string(&text));
    text_free(&text);
    return line;
}

static const char *path_of_file(void)
{
    return scratch_path("anchors");
}

static void spew(const char *bytes, size_t size)
{
    FILE *file = fopen(path_of_file(), "we");
    if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
        tap_bail_out("cannot write %s", path_of_file());
}

static bool holds(const char *bytes, size_t size)
{
    unsigned long found;
    unsigned char *there = scratch_read(path_of_file(), &found);
    bool same = found == size && memcmp(there, bytes, size) == 0;
    free(there);
    return same;
}

/* Adds the anchor of event 20 to the file. */
static int add(struct error *error)
{
    struct anchor_export export;
    struct anchor anchor = anchor_of(20);
    *error = (struct error){ 0 };
    int code = anchor_export_open(&export, path_of_file(), error);
    if (code == 0)
        code = anchor_export_add(&export, &anchor, error);
    anchor_export_close(&export);
    return code;
}

static void a_torn_line_is_completed(void)
{
    char *first = line_of(10), *second = line_of(20), both[8192];
    (void)snprintf(both, sizeof both, "%s%s", first, second);
    size_t from = strlen(first), to = strlen(both), wrong = 0;
    struct error error;
    appended_to_only = true;
    for (size_t size = from; size < to; size++) {
        spew(both, size);
        wrong += add(&error) < 0 || !holds(both, to);
    }
    is_int(wrong, 0, "a line that is torn anywhere is completed where nothing can be cut off");
    for (size_t size = 0; size < to - from; size++) {
        spew(second, size);
        wrong += add(&error) < 0 || !holds(second, to - from);
    }
    is_int(wrong, 0, "and so is the first one");
    is_int(cuts, 0, "nor is anything");
    free(first);
    free(second);
}

static void a_line_of_another(void)
{
    char *first = line_of(10), *second = line_of(20), torn[4096], whole[8192];
    struct error error;
    int torn_size = snprintf(torn, sizeof torn, "%s{\"event\":999", first);
    int size = snprintf(whole, sizeof whole, "%s%s", first, second);
    spew(torn, (size_t)torn_size);
    appended_to_only = true;
    is_int(add(&error), -EPERM, "one that is torn and not the next is an error there: %s",
           error.text);
    ok(holds(torn, (size_t)torn_size), "and stays");
    appended_to_only = false;
    is_int(add(&error), 0, "elsewhere it is cut off behind an anchor");
    ok(holds(whole, (size_t)size), "and the next one stands in its place");
    spew("{\"event\":999", 12);
    is_int(add(&error), ERROR_INVALID, "without an anchor before it nothing is");
    ok(holds("{\"event\":999", 12), "and it stays");
    free(first);
    free(second);
}

static void a_file_of_something_else(void)
{
    static char large[100000];
    char *first = line_of(10), note[4096];
    struct error error;
    memset(large, 'x', sizeof large);
    (void)snprintf(note, sizeof note, "%sa note", first);
    const struct {
        const char *bytes, *what;
        size_t size;
    } files[] = { { "root::0:0", "one line that does not end", 9 },
                  { "one\ntwo", "lines", 7 },
                  { "one\ntwo\n", "lines that end", 8 },
                  { large, "many bytes", sizeof large },
                  { note, "a note behind an anchor", strlen(note) } };
    cuts = 0;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        spew(files[i].bytes, files[i].size);
        is_int(add(&error), ERROR_INVALID, "%s: %s", files[i].what, error.text);
        ok(holds(files[i].bytes, files[i].size), "stays as it is");
    }
    is_int(cuts, 0, "nothing is cut off");
    free(first);
}

int main(void)
{
    a_torn_line_is_completed();
    a_line_of_another();
    a_file_of_something_else();
    return tap_done();
}
