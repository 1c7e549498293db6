/* When daa-pgsync tells the log's directory how far the copy is. */
#include "tools/pgsync/report.h"

#include <string.h>
#include <sys/stat.h>

#include "scratch.h"
#include "tap.h"

#define SECOND UINT64_C(1000000000)

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
