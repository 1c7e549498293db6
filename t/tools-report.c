/* When daa-pgsync tells the log's directory how far the copy is. */
#include "log/readers.h"
#include "tools/replication/report.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "scratch.h"
#include "tap.h"

#define SECOND UINT64_C(1000000000)

static bool is_required(const struct report *report)
{
    struct log_reader_position position;
    struct error error;
    return log_reader_position_read(report->dir, report->name, &position, &error) == 1 &&
           position.seq == report->seq && position.required;
}

static void set_required(const struct report *report, bool required)
{
    struct log_reader_position position = { .name = "r", .seq = 1, .required = required };
    struct error error;
    if (log_reader_position_write(report->dir, &position, false, &error) < 0)
        tap_bail_out("%s", error.text);
}

/* It says only how far the copy is. */
static void test_required(void)
{
    struct report report = { .dir = scratch_path("log"), .name = "r" };
    uint8_t chain[SHA256_SIZE] = { 1 };
    struct error error;
    is_int(report_write(&report, 7, chain, SECOND, false, &error), 0, "a reader that is new");
    ok(!is_required(&report), "is not required");
    set_required(&report, true);
    is_int(report_write(&report, 8, chain, SECOND, false, &error), 0, "one that was made required");
    ok(is_required(&report), "stays so");
    FILE *file = fopen(scratch_path("log/readers/r"), "w");
    if (file == NULL || fclose(file) != 0)
        tap_bail_out("cannot empty the position");
    is_int(report_write(&report, 9, chain, SECOND, false, &error), 0, "one whose file was emptied");
    ok(is_required(&report), "stays what it was");
    set_required(&report, false);
    is_int(report_write(&report, 10, chain, SECOND, false, &error), 0, "one that no longer is");
    ok(!is_required(&report), "is left alone too");
}

int main(void)
{
    struct report report = { .dir = scratch_path("log"), .name = "r" };
    uint8_t chain[SHA256_SIZE] = { 1 };
    struct error error;
    uint64_t now = 500 * SECOND;
    ok(report_is_due(&report, 0, now, false), "at first it is due");
    ok(report_write(&report, 7, chain, now, false, &error) < 0, "that it cannot be told");
    ok(strstr(error.text, report.dir) != NULL, "is said: %s", error.text);
    is_int(report_write(&report, 7, chain, now, false, &error), 0, "once");
    if (mkdir(report.dir, 0700) < 0)
        tap_bail_out("cannot make %s", report.dir);
    is_int(report_write(&report, 7, chain, now, false, &error), 0, "then it goes well");
    test_required();
    scratch_remove(report.dir);
    ok(report_write(&report, 7, chain, now, false, &error) < 0, "and another failure is said anew");
    ok(!report_is_due(&report, 8, now + SECOND - 1, false), "news wait for a second");
    ok(report_is_due(&report, 8, now + SECOND, false), "and no longer");
    ok(!report_is_due(&report, 7, now + 59 * SECOND, false), "without news nothing is told");
    ok(report_is_due(&report, 7, now + 60 * SECOND, false), "for a minute");
    ok(report_is_due(&report, 8, now + 1, true), "the last news are told at once");
    ok(!report_is_due(&report, 7, now + 1, true), "but not what was told");
    report = (struct report){ .name = "" };
    ok(!report_is_due(&report, 8, now, true), "without a name nothing ever is");
    return tap_done();
}
