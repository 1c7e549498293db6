/* What may be removed of a log: every limit and every bound, then the same on a directory. */
#include "tools/agent/keeper.h"
#include "tools/agent/retention.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log/readers.h"
#include "log_maker.h"
#include "scratch.h"
#include "tap.h"

#define SEGMENTS 6
#define CAPACITY (256u << 10)
#define HOUR UINT64_C(3600000000000)
#define DAY (24 * HOUR)
#define NOW (1000 * DAY)

/* The rules. */

/* Six segments of ten events and 100 bytes; each was begun a day before the next, the newest a day
 * ago. */
static struct log_segment segments[SEGMENTS];

static void make_segments(void)
{
    for (uint64_t i = 0; i < SEGMENTS; i++)
        segments[i] = (struct log_segment){ .segment_no = i + 1,
                                            .first_seq = 10 * i + 1,
                                            .last_seq = i + 1 < SEGMENTS ? 10 * i + 10 : 0,
                                            .created_ns = NOW - (SEGMENTS - i) * DAY,
                                            .disk_bytes = 100,
                                            .newest = i + 1 == SEGMENTS };
}

static const char *const names[] = { "pgsync", "archive" };

static const struct {
    const char *what;
    uint64_t max_bytes, max_age_ns, shift_ns, shifted_at_ns;
    uint64_t snapshot_seq;
    size_t required; /* how many of `names` */
    struct log_reader_position readers[2];
    size_t reader_count;
    uint64_t wall_ns; /* 0: NOW */
    bool degraded, drops, no_room;
    uint64_t changed_ago_ns; /* of the first reader; 0: it was not */
    size_t wanted, segments;
    const char *reason, *held, *dropped; /* parts of what is said; NULL: nothing */
} cases[] = {
    { "no limit", .snapshot_seq = 60 },
    { "bytes within the limit", .max_bytes = 600, .snapshot_seq = 60 },
    { "a byte too many", .max_bytes = 599, .snapshot_seq = 60, .wanted = 1, .segments = 1,
      .reason = "the log takes 600 bytes, more than retention.max_bytes = 599B" },
    { "half of the bytes", .max_bytes = 300, .snapshot_seq = 60, .wanted = 3, .segments = 3,
      .reason = "max_bytes" },
    { "less than a segment: the newest stays", .max_bytes = 1, .snapshot_seq = 60, .wanted = 5,
      .segments = 5, .reason = "max_bytes" },
    { "age within the limit", .max_age_ns = 6 * DAY, .snapshot_seq = 60 },
    { "of age when the next segment is", .max_age_ns = 5 * DAY, .snapshot_seq = 60, .wanted = 1,
      .segments = 1, .reason = "older than retention.max_age = 5d" },
    { "a little more than its age", .max_age_ns = 5 * DAY + 1, .snapshot_seq = 60 },
    { "a clock that was set made nothing older", .max_age_ns = 5 * DAY, .snapshot_seq = 60,
      .shift_ns = DAY, .shifted_at_ns = UINT64_MAX },
    { "but what came after it grows old", .max_age_ns = 5 * DAY, .snapshot_seq = 60, .wanted = 1,
      .segments = 1, .shift_ns = DAY, .shifted_at_ns = 1, .reason = "max_age" },
    { "all are old: the newest stays", .max_age_ns = 1, .snapshot_seq = 60, .wanted = 5,
      .segments = 5, .reason = "max_age" },
    { "older than time", .max_age_ns = 2000 * DAY, .snapshot_seq = 60 },
    { "the stricter limit: age", .max_bytes = 500, .max_age_ns = 2 * DAY, .snapshot_seq = 60,
      .wanted = 4, .segments = 4, .reason = "max_age" },
    { "the stricter limit: bytes", .max_bytes = 100, .max_age_ns = 4 * DAY, .snapshot_seq = 60,
      .wanted = 5, .segments = 5, .reason = "max_bytes" },
    { "no snapshots", .max_bytes = 300, .wanted = 3, .reason = "max_bytes",
      .held = "not two verified snapshots yet" },
    { "a snapshot at the end of a segment", .max_bytes = 300, .snapshot_seq = 20, .wanted = 3,
      .segments = 2, .reason = "max_bytes",
      .held = "the older of the two newest snapshots stands at event 20" },
    { "a snapshot in the middle", .max_bytes = 300, .snapshot_seq = 19, .wanted = 3, .segments = 1,
      .reason = "max_bytes", .held = "event 19" },
    { "a snapshot just where it is enough", .max_bytes = 300, .snapshot_seq = 30, .wanted = 3,
      .segments = 3, .reason = "max_bytes" },
    { "a reader", .max_bytes = 300, .snapshot_seq = 60,
      .readers = { { .name = "pgsync", .seq = 40, .flushed_seq = 12, .time_ns = NOW - 2 * HOUR } },
      .reader_count = 1, .wanted = 3, .segments = 1, .reason = "max_bytes",
      .held = "the reader pgsync stands at event 12, last seen 2 h ago" },
    { "a reader far ahead", .max_bytes = 300, .snapshot_seq = 60,
      .readers = { { .name = "pgsync", .flushed_seq = 31, .time_ns = NOW - 2 * HOUR } },
      .reader_count = 1, .wanted = 3, .segments = 3, .reason = "max_bytes" },
    { "a reader just within its time", .max_bytes = 300, .snapshot_seq = 60,
      .readers = { { .name = "pgsync", .flushed_seq = 9, .time_ns = NOW - 7 * DAY } },
      .reader_count = 1, .wanted = 3, .reason = "max_bytes",
      .held = "stands at event 9, last seen 7 d ago" },
    { "a reader that was not seen for too long", .max_bytes = 300, .snapshot_seq = 60,
      .readers = { { .name = "pgsync", .flushed_seq = 9, .time_ns = NOW - 7 * DAY - 1 } },
      .reader_count = 1, .wanted = 3, .segments = 3, .reason = "max_bytes" },
    { "a reader whose clock is ahead", .max_bytes = 300, .snapshot_seq = 60,
      .readers = { { .name = "pgsync", .flushed_seq = 9, .time_ns = NOW + 100 * DAY } },
      .reader_count = 1, .wanted = 3, .reason = "max_bytes", .held = "last seen 0 s ago" },
    { "a reader that lives by a wall clock which is behind log time", .max_bytes = 300,
      .snapshot_seq = 60, .wall_ns = NOW - 30 * DAY,
      .readers = { { .name = "pgsync", .flushed_seq = 9, .time_ns = NOW - 30 * DAY - 2 * HOUR } },
      .reader_count = 1, .wanted = 3, .reason = "max_bytes",
      .held = "stands at event 9, last seen 2 h ago" },
    { "one that is gone by that clock", .max_bytes = 300, .snapshot_seq = 60,
      .wall_ns = NOW - 30 * DAY,
      .readers = { { .name = "pgsync", .flushed_seq = 9, .time_ns = NOW - 38 * DAY } },
      .reader_count = 1, .wanted = 3, .segments = 3, .reason = "max_bytes" },
    { "while the clock is not trusted nobody is gone", .max_bytes = 300, .snapshot_seq = 60,
      .wall_ns = NOW + 30 * DAY, .degraded = true,
      .readers = { { .name = "pgsync", .flushed_seq = 9, .time_ns = NOW } }, .reader_count = 1,
      .wanted = 3, .reason = "max_bytes", .held = "stands at event 9" },
    { "when it is accepted nobody is older by that", .max_bytes = 300, .snapshot_seq = 60,
      .wall_ns = NOW, .shift_ns = 30 * DAY, .shifted_at_ns = NOW - 30 * DAY,
      .readers = { { .name = "pgsync", .flushed_seq = 9, .time_ns = NOW - 30 * DAY - HOUR } },
      .reader_count = 1, .wanted = 3, .reason = "max_bytes",
      .held = "stands at event 9, last seen 60 min ago" },
    { "one that was seen to write, whatever its clock says", .max_bytes = 300, .snapshot_seq = 60,
      .readers = { { .name = "pgsync", .flushed_seq = 9, .time_ns = NOW - 30 * DAY } },
      .changed_ago_ns = HOUR, .reader_count = 1, .wanted = 3, .reason = "max_bytes",
      .held = "stands at event 9, last seen 60 min ago" },
    { "long ago", .max_bytes = 300, .snapshot_seq = 60,
      .readers = { { .name = "pgsync", .flushed_seq = 9, .time_ns = NOW - 30 * DAY } },
      .changed_ago_ns = 8 * DAY, .reader_count = 1, .wanted = 3, .segments = 3,
      .reason = "max_bytes" },
    { "one that calls itself required", .max_bytes = 300, .snapshot_seq = 60,
      .readers = { { .name = "pgsync",
                     .flushed_seq = 10,
                     .time_ns = NOW - 99 * DAY,
                     .required = true } },
      .reader_count = 1, .wanted = 3, .segments = 1, .reason = "max_bytes",
      .held = "the required reader pgsync stands at event 10, last seen 99 d ago" },
    { "one that the configuration requires", .max_bytes = 300, .snapshot_seq = 60, .required = 1,
      .readers = { { .name = "pgsync", .flushed_seq = 10, .time_ns = NOW - 99 * DAY } },
      .reader_count = 1, .wanted = 3, .segments = 1, .reason = "max_bytes",
      .held = "the required reader pgsync stands at event 10" },
    { "a required one that was never seen", .max_bytes = 300, .snapshot_seq = 60, .required = 2,
      .readers = { { .name = "pgsync", .flushed_seq = 50, .time_ns = NOW } }, .reader_count = 1,
      .wanted = 3, .reason = "max_bytes", .held = "the required reader archive was never seen" },
    { "the lowest of two readers", .max_bytes = 100, .snapshot_seq = 60,
      .readers = { { .name = "archive", .flushed_seq = 35, .time_ns = NOW - HOUR },
                   { .name = "pgsync", .flushed_seq = 25, .time_ns = NOW - 90 * HOUR / 3600 } },
      .reader_count = 2, .wanted = 5, .segments = 2, .reason = "max_bytes",
      .held = "the reader pgsync stands at event 25, last seen 90 s ago" },
    { "a snapshot below all readers", .max_bytes = 100, .snapshot_seq = 15,
      .readers = { { .name = "archive", .flushed_seq = 35, .time_ns = NOW - HOUR } },
      .reader_count = 1, .wanted = 5, .segments = 1, .reason = "max_bytes", .held = "snapshots" },
    { "a file that says nothing", .max_bytes = 300, .snapshot_seq = 60,
      .readers = { { .name = "junk", .time_ns = NOW - HOUR / 2, .problem = "it is not JSON" } },
      .reader_count = 1, .wanted = 3, .reason = "max_bytes",
      .held = "where the reader junk stands is not known: it is not JSON (last changed 30 min "
              "ago)" },
    { "an old one that says nothing", .max_bytes = 300, .snapshot_seq = 60,
      .readers = { { .name = "junk", .time_ns = NOW - 8 * DAY, .problem = "it is not JSON" } },
      .reader_count = 1, .wanted = 3, .segments = 3, .reason = "max_bytes" },
    { "an old one that says nothing but is required", .max_bytes = 300, .snapshot_seq = 60,
      .required = 1,
      .readers = { { .name = "pgsync", .time_ns = NOW - 8 * DAY, .problem = "it is not JSON" } },
      .reader_count = 1, .wanted = 3, .reason = "max_bytes",
      .held = "where the required reader pgsync stands is not known" },
    { "readers win where there is no room", .max_bytes = 300, .snapshot_seq = 60, .required = 1,
      .no_room = true, .readers = { { .name = "pgsync", .flushed_seq = 10, .time_ns = NOW } },
      .reader_count = 1, .wanted = 3, .segments = 1, .reason = "max_bytes",
      .held = "the required reader pgsync stands at event 10" },
    { "as long as there is room, also those that may be dropped", .max_bytes = 300,
      .snapshot_seq = 60, .required = 1, .drops = true,
      .readers = { { .name = "pgsync", .flushed_seq = 10, .time_ns = NOW } }, .reader_count = 1,
      .wanted = 3, .segments = 1, .reason = "max_bytes",
      .held = "the required reader pgsync stands at event 10" },
    { "then they are", .max_bytes = 300, .snapshot_seq = 60, .required = 1, .drops = true,
      .no_room = true, .readers = { { .name = "pgsync", .flushed_seq = 10, .time_ns = NOW } },
      .reader_count = 1, .wanted = 3, .segments = 3, .reason = "max_bytes",
      .dropped = "the required reader pgsync is dropped for lack of room and lacks the events 11 "
                 "to 30" },
    { "not those that lack nothing, nor those that nothing was kept for", .max_bytes = 300,
      .snapshot_seq = 60, .drops = true, .no_room = true,
      .readers = { { .name = "pgsync", .flushed_seq = 30, .time_ns = NOW },
                   { .name = "old", .flushed_seq = 5, .time_ns = NOW - 8 * DAY } },
      .reader_count = 2, .wanted = 3, .segments = 3, .reason = "max_bytes" },
    { "one that was never seen, and one that is not required", .max_bytes = 300, .snapshot_seq = 60,
      .required = 1, .drops = true, .no_room = true,
      .readers = { { .name = "archive", .flushed_seq = 29, .time_ns = NOW } }, .reader_count = 1,
      .wanted = 3, .segments = 3, .reason = "max_bytes",
      .dropped = "the required reader pgsync is dropped for lack of room and lacks the events 1 to "
                 "30; the reader archive is dropped for lack of room and lacks the events 30 to "
                 "30" },
    { "snapshots hold what they need all the same", .max_bytes = 300, .snapshot_seq = 20,
      .required = 1, .drops = true, .no_room = true,
      .readers = { { .name = "pgsync", .flushed_seq = 10, .time_ns = NOW } }, .reader_count = 1,
      .wanted = 3, .segments = 2, .reason = "max_bytes", .held = "two newest snapshots",
      .dropped = "lacks the events 11 to 20" },
};

static bool says(const char *text, const char *part)
{
    return part == NULL ? text[0] == '\0' : strstr(text, part) != NULL;
}

static void test_rules(void)
{
    make_segments();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct retention_decision decision;
        const struct retention_policy policy = { .max_bytes = cases[i].max_bytes,
                                                 .max_age_ns = cases[i].max_age_ns,
                                                 .reader_ttl_ns = 7 * DAY,
                                                 .required = names,
                                                 .required_count = cases[i].required,
                                                 .drops_readers = cases[i].drops };
        const uint64_t changed_ago_ns[] = { cases[i].changed_ago_ns > 0 ? cases[i].changed_ago_ns
                                                                        : UINT64_MAX,
                                            UINT64_MAX };
        const struct retention_bounds bounds = { .now_ns = NOW,
                                                 .wall_ns =
                                                     cases[i].wall_ns > 0 ? cases[i].wall_ns : NOW,
                                                 .degraded = cases[i].degraded,
                                                 .no_room = cases[i].no_room,
                                                 .changed_ago_ns = changed_ago_ns,
                                                 .shift_ns = cases[i].shift_ns,
                                                 .shifted_at_ns = cases[i].shifted_at_ns,
                                                 .snapshot_seq = cases[i].snapshot_seq,
                                                 .readers = cases[i].readers,
                                                 .reader_count = cases[i].reader_count };
        retention_decide(segments, SEGMENTS, &policy, &bounds, &decision);
        if (!ok(decision.wanted == cases[i].wanted && decision.segments == cases[i].segments &&
                    says(decision.reason, cases[i].reason) && says(decision.held, cases[i].held) &&
                    says(decision.dropped, cases[i].dropped),
                "%s", cases[i].what))
            tap_note("%zu of %zu; '%s'; '%s'; '%s'", decision.segments, decision.wanted,
                     decision.reason, decision.held, decision.dropped);
    }
}

static void test_few(void)
{
    struct retention_decision decision;
    const struct retention_policy policy = { .max_bytes = 1, .max_age_ns = 1 };
    const struct retention_bounds bounds = { .now_ns = NOW, .snapshot_seq = 60 };
    retention_decide(segments, 0, &policy, &bounds, &decision);
    is_int(decision.wanted, 0, "no segment, nothing to remove");
    retention_decide(segments + SEGMENTS - 1, 1, &policy, &bounds, &decision);
    is_int(decision.wanted, 0, "nor of one alone");
}

/* A directory. */

static const char *dir;
static struct error error;

/* Four segments of ten frames of one event, with OPEN and SEALs. */
static void make_log(void)
{
    struct log_maker maker;
    log_maker_init(&maker, CAPACITY);
    for (int segment = 0; segment < 4; segment++) {
        if (segment == 0)
            log_maker_open(&maker);
        for (int i = 0; i < 10; i++)
            log_maker_frame(&maker, 0, 1, 1000);
        if (segment < 3)
            log_maker_seal(&maker, FRAME_SEAL);
        log_maker_write(&maker, dir);
        if (segment < 3)
            log_maker_next(&maker, 0);
    }
    log_maker_free(&maker);
}

static unsigned count_segments(void)
{
    unsigned count = 0;
    for (unsigned i = 1; i < 9; i++) {
        char name[64];
        snprintf(name, sizeof name, "data/log/seg-%010u.log", i);
        count += access(scratch_path(name), F_OK) == 0;
    }
    return count;
}

static void load(struct config *config, const char *toml)
{
    if (config_load_text(config, "daa.toml", span_of_text(toml), NULL, &error) < 0)
        tap_bail_out("%s", error.text);
}

static void test_keeper(void)
{
    struct keeper keeper;
    struct keeper_removal removal;
    struct log_removed removed;
    struct keeper_bounds bounds = { .now_ns = NOW, .snapshot_seq = 1000 };
    struct config config;
    load(&config, "[retention]\nmax_bytes = \"1B\"\n");
    is_int(keeper_init(&keeper, &config, dir, &error), 0, "a keeper knows its log");
    is_int(keeper_plan(&keeper, &bounds, &removal, &error), 1, "and what should go of it");
    ok(removal.first_segment == 1 && removal.last_segment == 3 && removal.first_seq == 1 &&
           removal.last_seq == 34 && removal.bytes > 0 &&
           strstr(removal.reason, "max_bytes = 1B") != NULL && removal.held[0] == '\0',
       "with what the event has to say");
    is_int(count_segments(), 4, "and removes nothing yet");
    bounds.removed_segment = 2;
    is_int(keeper_plan(&keeper, &bounds, &removal, &error), 1, "what an event gave up already");
    ok(removal.first_segment == 3 && removal.last_segment == 3 && removal.first_seq == 24,
       "is not given up again");
    bounds.removed_segment = 3;
    is_int(keeper_plan(&keeper, &bounds, &removal, &error), 0,
           "nor is there anything when all was");
    is_int(keeper_remove(&keeper, 1, &removed, &error), 0, "it removes up to a segment");
    ok(removed.segments == 1 && count_segments() == 3, "and with it");
    is_int(keeper_remove(&keeper, 3, &removed, &error), 0, "and further after a crash");
    ok(removed.segments == 2 && count_segments() == 1, "up to the newest");
    is_int(keeper_remove(&keeper, 3, &removed, &error), 0, "again it has nothing to do");
    is_int(removed.segments, 0, "and says so");
    config_free(&config);
}

static void test_keeper_readers(void)
{
    struct log_reader_position position = { .name = "pgsync", .seq = 30, .flushed_seq = 15 };
    struct keeper_bounds bounds = { .now_ns = NOW, .wall_ns = NOW, .snapshot_seq = 1000 };
    struct keeper_removal removal;
    struct keeper keeper;
    struct config config;
    char path[512];
    position.time_ns = NOW - HOUR;
    load(&config, "[retention]\nmax_bytes = \"1B\"\nrequired_readers = [\"archive\"]\n");
    keeper_init(&keeper, &config, dir, &error);
    is_int(keeper_plan(&keeper, &bounds, &removal, &error), 0, "a required reader");
    is_str(removal.held, "the required reader archive was never seen", "holds everything");
    config_free(&config);
    load(&config, "[retention]\nmax_bytes = \"1B\"\n");
    keeper_init(&keeper, &config, dir, &error);
    log_reader_position_write(dir, &position, false, &error);
    is_int(keeper_plan(&keeper, &bounds, &removal, &error), 1, "a reader holds what it needs");
    is_int(removal.last_segment, 1, "and nothing else");
    is_str(removal.held, "the reader pgsync stands at event 15, last seen 60 min ago",
           "and is named");
    bounds.wall_ns = NOW + 100 * DAY;
    is_int(keeper_plan(&keeper, &bounds, &removal, &error), 1, "(much later by the wall clock)");
    is_int(removal.last_segment, 3, "it is gone");
    bounds.elapsed_ns = HOUR;
    position.seq = 31;
    log_reader_position_write(dir, &position, false, &error);
    is_int(keeper_plan(&keeper, &bounds, &removal, &error), 1, "(then it writes)");
    is_int(removal.last_segment, 1, "and is not, whatever the clock says");
    bounds.elapsed_ns += 7 * DAY + 1;
    is_int(keeper_plan(&keeper, &bounds, &removal, &error), 1, "(it writes no more)");
    is_int(removal.last_segment, 3, "and is gone when so much has elapsed");
    config_free(&config);
    load(&config, "");
    keeper_init(&keeper, &config, dir, &error);
    is_int(keeper_plan(&keeper, &bounds, &removal, &error), 0, "without a limit nothing goes");
    config_free(&config);
    load(&config, "[retention]\nmax_age = \"1s\"\n");
    keeper_init(&keeper, &config, dir, &error);
    scratch_remove(scratch_path("data/log/readers"));
    snprintf(path, sizeof path, "%s/readers", dir);
    FILE *file = fopen(path, "w");
    if (file == NULL || fclose(file) != 0)
        tap_bail_out("cannot make %s", path);
    ok(keeper_plan(&keeper, &bounds, &removal, &error) < 0 && removal.last_segment == 0,
       "when the readers cannot be read nothing goes: %s", error.text);
    config_free(&config);
}

int main(void)
{
    char path[512];
    test_rules();
    test_few();
    snprintf(path, sizeof path, "%s/data", scratch_dir());
    for (int i = 0; i < 2; i++) {
        char log[600];
        snprintf(log, sizeof log, "%s/log", path);
        dir = log;
        if (mkdir(path, 0700) < 0)
            tap_bail_out("cannot make %s", path);
        make_log();
        if (i == 0)
            test_keeper();
        else
            test_keeper_readers();
        scratch_remove(path);
    }
    return tap_done();
}
