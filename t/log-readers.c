/* Positions of a log's readers: what is written is read back, and a file that says nothing is told
 * and harms nobody. */
#include "log/readers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scratch.h"
#include "sync_watch.h"
#include "tap.h"

static struct error error;
static const char *dir;

static struct log_reader_position *list(size_t *count)
{
    struct log_reader_position *positions;
    if (log_reader_positions(dir, &positions, count, &error) < 0)
        tap_bail_out("%s", error.text);
    return positions;
}

static void make_file(const char *name, const char *bytes, size_t size)
{
    char path[512];
    snprintf(path, sizeof path, "%s/readers/%s", dir, name);
    FILE *file = fopen(path, "w");
    if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
        tap_bail_out("cannot write %s", path);
}

static void test_names(void)
{
    static const char *const good[] = { "pgsync", "a", "9", "A-b_c.d", "replica-2.eu" };
    static const char *const bad[] = { "",    ".",     "..",    ".hidden", "-x",   "a/b",
                                       "a b", "a.tmp", "\xc3x", "../up",   "x\ny", "_a" };
    char longest[LOG_READER_NAME_SIZE + 1];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        ok(log_reader_name_is_good(good[i]), "\"%s\" is a name", good[i]);
    bool all_bad = true;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct log_reader_position position = { .seq = 1 };
        snprintf(position.name, sizeof position.name, "%s", bad[i]);
        all_bad = all_bad && !log_reader_name_is_good(bad[i]) &&
                  log_reader_position_write(dir, &position, false, &error) == ERROR_INVALID &&
                  log_reader_position_remove(dir, bad[i], &error) == ERROR_INVALID;
    }
    ok(all_bad, "others are none, and nothing is written or removed for them");
    memset(longest, 'x', sizeof longest);
    longest[LOG_READER_NAME_SIZE] = '\0';
    ok(!log_reader_name_is_good(longest), "64 characters are too many");
    longest[LOG_READER_NAME_SIZE - 1] = '\0';
    ok(log_reader_name_is_good(longest), "63 are not");
}

static void test_write(void)
{
    struct log_reader_position position = { .name = "pgsync",
                                            .seq = 120,
                                            .flushed_seq = 100,
                                            .pid = 7,
                                            .time_ns = 1790000000000000001,
                                            .required = true };
    struct stat before, after;
    char path[512];
    size_t count;
    memset(position.chain, 0xa5, sizeof position.chain);
    free(list(&count));
    is_int(count, 0, "a log that nobody reads has no readers");
    snprintf(path, sizeof path, "%s/readers", dir);
    if (mkdir(path, 0700) < 0)
        tap_bail_out("cannot make %s", path);
    sync_watch_begin(dir);
    is_int(log_reader_position_write(dir, &position, false, &error), 0, "a position is written");
    is_int(sync_watch_count(), 1, "and its directory is durable, whoever made that");
    struct log_reader_position *positions = list(&count);
    is_int(count, 1, "there is one reader then");
    if (count == 1)
        is_mem(&positions[0], &position, sizeof position, "and it reads as it was written");
    free(positions);
    snprintf(path, sizeof path, "%s/readers/pgsync", dir);
    stat(path, &before);
    position.flushed_seq = 120;
    position.required = false;
    memset(position.chain, 0, sizeof position.chain);
    is_int(log_reader_position_write(dir, &position, true, &error), 0, "and a newer one over it");
    stat(path, &after);
    ok(before.st_ino != after.st_ino, "as another file under the name, never by half");
    positions = list(&count);
    if (is_int(count, 1, "there is still one"))
        is_mem(&positions[0], &position, sizeof position, "with the newer position");
    free(positions);
    snprintf(position.name, sizeof position.name, "archive");
    is_int(log_reader_position_write(scratch_dir(), &position, false, &error), 0,
           "a data directory will do");
    positions = list(&count);
    ok(count == 2 && strcmp(positions[0].name, "archive") == 0, "readers are told by name");
    free(positions);
    is_int(log_reader_position_remove(dir, "archive", &error), 0, "a reader can be removed");
    is_int(log_reader_position_remove(dir, "archive", &error), 0, "which need not be there");
    free(list(&count));
    is_int(count, 1, "only the other is left");
    is_int(log_reader_position_remove(dir, "pgsync", &error), 0, "until it goes too");
}

static bool has_problem(const char *name, const char *bytes, const char *problem)
{
    size_t count;
    make_file(name, bytes, strlen(bytes));
    struct log_reader_position *positions = list(&count);
    bool right = count == 1 && strcmp(positions[0].name, name) == 0 &&
                 strstr(positions[0].problem, problem) != NULL && positions[0].time_ns > 0 &&
                 positions[0].flushed_seq == 0 && !positions[0].required;
    if (!right && count == 1)
        tap_note("%s", positions[0].problem);
    free(positions);
    log_reader_position_remove(dir, name, &error);
    return right;
}

static void test_bad(void)
{
    static const char nothing[] = "does not say flushed_seq and time_ns";
    ok(has_problem("empty", "", "not JSON"), "an empty file says nothing");
    ok(has_problem("text", "seq=12\n", "not JSON"), "nor does text");
    ok(has_problem("cut", "{\"seq\": 12, \"time_ns\"", "not JSON"), "nor half of an object");
    ok(has_problem("list", "[1, 2]", nothing), "nor something else than an object");
    ok(has_problem("less", "{\"time_ns\": 1}", nothing), "nor one without a position");
    ok(has_problem("when", "{\"seq\": 1}", nothing), "or without a time");
    ok(has_problem("below", "{\"seq\": -1, \"time_ns\": 1}", nothing), "or with one below zero");
    ok(has_problem("text-seq", "{\"seq\": \"1\", \"time_ns\": 1}", nothing),
       "or one that is no number");
    ok(has_problem("chain", "{\"seq\": 1, \"time_ns\": 1, \"chain\": \"beef\"}", "chain"),
       "or with a chain that is none");
    ok(has_problem("number", "{\"seq\": 1, \"time_ns\": 1, \"chain\": 5}", "chain"),
       "or that is no text");
    ok(has_problem("required", "{\"seq\": 1, \"time_ns\": 1, \"required\": 1}", "required"),
       "or one that is required by a number");
}

static void test_beside_bad(void)
{
    char large[5000], path[512], link[512];
    size_t count;
    memset(large, ' ', sizeof large);
    make_file("large", large, sizeof large);
    make_file("good", "{\"seq\":5,\"time_ns\":6,\"more\":[1]}", 32);
    make_file("no name", "{}", 2);
    make_file("good.tmp", "{\"se", 4);
    snprintf(path, sizeof path, "%s/readers/folder", dir);
    snprintf(link, sizeof link, "%s/readers/link", dir);
    if (mkdir(path, 0700) < 0 || symlink("nowhere", link) < 0)
        tap_bail_out("cannot make %s", path);
    struct log_reader_position *positions = list(&count);
    is_int(count, 4, "what is bad is told beside what is good; what is being written is not");
    ok(count == 4 && strstr(positions[0].problem, "not a file") != NULL &&
           strcmp(positions[1].name, "good") == 0 && positions[1].problem[0] == '\0' &&
           positions[1].seq == 5 && positions[1].flushed_seq == 5 &&
           strstr(positions[2].problem, "longer") != NULL &&
           strstr(positions[3].problem, "name") != NULL,
       "a good one with one number and a member that is not known is good");
    free(positions);
    scratch_remove(path);
}

static void test_failures(void)
{
    struct log_reader_position position = { .name = "r", .seq = 1, .time_ns = 1 };
    struct log_reader_position *positions;
    char path[512];
    size_t count = 9;
    scratch_remove(scratch_path("log/readers"));
    snprintf(path, sizeof path, "%s/readers", dir);
    FILE *file = fopen(path, "w");
    if (file == NULL || fclose(file) != 0)
        tap_bail_out("cannot make %s", path);
    is_int(log_reader_positions(dir, &positions, &count, &error), -ENOTDIR,
           "when the directory cannot be read nothing is known");
    ok(count == 0 && positions == NULL && strstr(error.text, path) != NULL, "and it is named: %s",
       error.text);
    ok(log_reader_position_write(dir, &position, false, &error) < 0 &&
           strstr(error.text, path) != NULL,
       "nor can a position be written: %s", error.text);
    is_int(log_reader_position_write(scratch_path("nowhere"), &position, false, &error), -ENOENT,
           "or where there is no log");
}

int main(void)
{
    dir = scratch_path("log");
    if (mkdir(dir, 0700) < 0)
        tap_bail_out("cannot make %s", dir);
    test_write();
    test_names();
    test_bad();
    test_beside_bad();
    test_failures();
    return tap_done();
}
