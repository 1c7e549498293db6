#include "tools/replication/report.h"

#include "log/readers.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NEWS_NS UINT64_C(1000000000)
#define ALIVE_NS UINT64_C(60000000000)

bool report_is_due(const struct report *report, uint64_t seq, uint64_t now_ns, bool last)
{
    if (report->name[0] == '\0')
        return false;
    if (!report->told)
        return true;
    uint64_t ago_ns = now_ns - report->told_ns;
    return (seq != report->seq && (last || ago_ns >= NEWS_NS)) || ago_ns >= ALIVE_NS;
}

uint64_t report_due_in(const struct report *report, uint64_t seq, uint64_t now_ns)
{
    if (report->name[0] == '\0')
        return UINT64_MAX;
    if (!report->told)
        return 0;
    uint64_t ago_ns = now_ns - report->told_ns, every_ns = seq != report->seq ? NEWS_NS : ALIVE_NS;
    return ago_ns < every_ns ? every_ns - ago_ns : 0;
}

/* A file that says nothing that can be read does not take back what it said before. */
static bool keep_required(struct report *report)
{
    struct log_reader_position was;
    struct error ignored;
    if (log_reader_position_read(report->dir, report->name, &was, &ignored) == 1 &&
        was.problem[0] == '\0')
        report->required = was.required;
    return report->required;
}

int report_write(struct report *report, uint64_t seq, const uint8_t chain[SHA256_SIZE],
                 uint64_t now_ns, bool last, struct error *error)
{
    struct log_reader_position position = {
        .seq = seq, .flushed_seq = seq, .pid = (uint64_t)getpid(), .required = keep_required(report)
    };
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    position.time_ns = (uint64_t)wall.tv_sec * 1000000000u + (uint64_t)wall.tv_nsec;
    (void)snprintf(position.name, sizeof position.name, "%s", report->name);
    memcpy(position.chain, chain, SHA256_SIZE);
    bool failed_before = report->failed;
    int code = log_reader_position_write(report->dir, &position, last, error);
    report->told = true;
    report->failed = code < 0;
    report->seq = seq;
    report->told_ns = now_ns;
    return failed_before ? 0 : code;
}
