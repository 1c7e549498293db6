/* Power fails at a random moment: while commands are appended, in a roll, while the log is opened,
 * in a failover after a write or a sync failed, and again while it is opened after that. Whatever a
 * disk may then hold, everything that was acknowledged is there, no command is there by half, and
 * the log opens again by itself. In half of the lives segments are sealed meanwhile.
 *
 * SEED=<n> replays one seed and says more; SEEDS=<n> tries so many. */
#include "io_power.h"
#include "log/log.h"
#include "log/reader.h"
#include "log/segment.h"
#include "log/verify.h"
#include "log_commands.h"
#include "scratch.h"
#include "tap.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SEEDS = 300 }; /* each takes many times as long */
#else
enum { SEEDS = 2000 };
#endif
enum { CRASHES_MAX = 4 };

static struct budget budget;
static char dir[256];
static bool loud;

struct random {
    uint64_t state;
};

static uint64_t random_next(struct random *random)
{
    random->state += 0x9e3779b97f4a7c15u;
    uint64_t mixed = random->state;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
    return mixed ^ mixed >> 31;
}

static uint32_t random_below(struct random *random, uint32_t limit)
{
    return (uint32_t)(random_next(random) % limit);
}

static void random_bytes(void *bytes, size_t size, void *context)
{
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)bytes)[i] = (uint8_t)random_next(context);
}

/* What one seed has come to. */
struct trial {
    struct random random;
    struct log_commands commands;
    uint64_t acknowledged;
    unsigned crashes, torn, unproven, lost_opening, rolls, sealed, failovers;
    char fault[400];
};

static struct log_options options_for(struct trial *trial, struct io *io)
{
    return (struct log_options){
        .dir = dir,
        .io = io,
        .budget = &budget,
        .segment_size = LOG_SEGMENT_SIZE_MIN,
        .frames_in_flight_max = 1 + random_below(&trial->random, 8),
        .frame_target_size = 4096u << random_below(&trial->random, 5),
        .spares = 2 + random_below(&trial->random, 4),
        .sync = random_below(&trial->random, 4) == 0 ? LOG_SYNC_FDATASYNC : LOG_SYNC_DSYNC,
        .maintain_inline = true,
        .seal = random_below(&trial->random, 2) == 0,
        .allow_tmpfs = true,
        .start_time_ns = 1700000000000000000u,
        .random = random_bytes,
        .random_context = &trial->random,
    };
}

/* Mostly small ones, some that fill a frame, some that need a run of frames. */
static void choose_command(struct random *random, uint32_t payload_max, uint32_t *count,
                           uint32_t *size)
{
    uint32_t kind = random_below(random, 100);
    *count = 1 + random_below(random, 4);
    if (kind < 75)
        *size = random_below(random, 600);
    else if (kind < 92)
        *size = random_below(random, 8000);
    else if (kind < 97)
        *size = payload_max / *count - random_below(random, 64);
    else
        *size = 10000 + random_below(random, 20000);
}

/* Appends until the power is off, or for a while. */
static void append_for_a_while(struct trial *trial, struct log *log)
{
    struct random *random = &trial->random;
    uint32_t turns = 5 + random_below(random, 60);
    bool good = true;
    while (good && turns-- > 0) {
        uint32_t count, size, choice = random_below(random, 100);
        choose_command(random, log_payload_size_max(log), &count, &size);
        good = log_commands_append(&trial->commands, log, count, size);
        if (good && choice < 70)
            good = log_flush(log) == 0;
        if (good && choice < 50)
            good = log_wait(log, -1, choice == 0 ? 21000000 : 0) == 0;
        if (good && choice > 96)
            good = log_commands_settle(log);
        if (good && choice % 16 == 5)
            while (log_maintain(log, NULL) == 1)
                ;
        trial->acknowledged = log_durable_seq(log);
    }
    struct log_stats stats;
    log_stats_get(log, &stats);
    trial->rolls += (unsigned)stats.rolls;
    trial->sealed += (unsigned)stats.sealed;
    trial->failovers += (unsigned)stats.failovers;
}

static bool failed(struct trial *trial, const char *what)
{
    if (trial->fault[0] == '\0')
        snprintf(trial->fault, sizeof trial->fault, "%.380s", what);
    return false;
}

/* What recovery says must be what the bytes say. */
static bool check_recovery(struct trial *trial, const struct log_recovery *recovery,
                           const struct log_replay *before)
{
    trial->torn += recovery->verdict == LOG_TORN;
    trial->unproven += recovery->verdict == LOG_UNPROVEN;
    if (loud)
        tap_note("recovered %s", recovery->reason);
    if (recovery->verdict == LOG_DAMAGED)
        return failed(trial, recovery->reason);
    if (recovery->last_seq != before->last_seq)
        return failed(trial, "recovery ends elsewhere than the frames do");
    if (recovery->last_seq < trial->acknowledged)
        return failed(trial, "an acknowledged event is gone");
    trial->acknowledged = recovery->last_seq;
    return true;
}

/* The library's own readers agree: nothing is damaged, and reading gives every record. */
static bool check_readers(struct trial *trial, const struct log_replay *replay)
{
    struct log_verify_options verifying = { .dir = dir };
    struct log_reader_options reading = { .dir = dir };
    struct log_verify_result result;
    struct log_reader *reader;
    struct record record;
    struct error error = { 0 };
    uint64_t records = 0;
    if (replay->segments == 0)
        return true;
    if (log_verify(&verifying, &result, &error) < 0)
        return failed(trial, error.text);
    if (result.verdict == LOG_DAMAGED)
        return failed(trial, "log_verify() finds damage");
    if (log_reader_open(&reader, &reading, &error) < 0)
        return failed(trial, error.text);
    int more;
    while ((more = log_reader_next(reader, &record, NULL, &error)) == 1)
        records++;
    log_reader_close(reader);
    if (more < 0)
        return failed(trial, error.text);
    return records == replay->records || failed(trial, "log_reader_next() gives other records");
}

/* Some ops will fail before the power does; most often there are spares to go on in. */
static void prepare_to_break(struct trial *trial, struct log *log, struct io *io)
{
    struct error error;
    uint32_t spares = random_below(&trial->random, 12);
    while (spares-- > 0 && log_maintain(log, &error) == 1)
        continue;
    io_power_break_after(io, random_below(&trial->random, 60), 1 + random_below(&trial->random, 4));
}

/* One life of the writer, from opening to crash; the last one ends in order. */
static bool live(struct trial *trial, bool last)
{
    struct log_replay before;
    struct log_recovery recovery = { .exists = false };
    struct error error = { 0 };
    struct log *log = NULL;
    struct io *io;
    if (!log_commands_match(&trial->commands, dir, trial->acknowledged, &before))
        return failed(trial, "the log does not hold what was appended");
    if (random_below(&trial->random, 4) == 0 && !check_readers(trial, &before))
        return false;
    if (io_open_power(&io, random_next(&trial->random)) < 0)
        return failed(trial, "no engine");
    uint32_t reach = random_below(&trial->random, 3) == 0 ? 6 : 120;
    if (!last)
        io_power_fail_after(io, random_below(&trial->random, reach));
    struct log_options options = options_for(trial, io);
    int result = log_open(&log, &options, &recovery, &error);
    bool good = result == 0 || io_power_is_off(io) || failed(trial, error.text);
    if (good && recovery.exists)
        good = check_recovery(trial, &recovery, &before);
    trial->lost_opening += result < 0;
    if (result == 0) {
        if (!last && random_below(&trial->random, 2) == 0)
            prepare_to_break(trial, log, io);
        append_for_a_while(trial, log);
        if (!last)
            io_power_crash(io);
        if (!last)
            log_abandon(&log);
        else if (log_close(&log, &error) < 0)
            good = failed(trial, error.text);
    }
    io_power_crash(io);
    io_close(io);
    trial->crashes += !last;
    return good;
}

static bool try_seed(struct trial *trial, uint64_t seed)
{
    struct log_replay replay;
    *trial = (struct trial){ .random = { .state = seed },
                             .commands = { .time_ns = 1700000000000000000u } };
    scratch_remove(dir);
    mkdir(dir, 0700);
    unsigned crashes = 1 + random_below(&trial->random, CRASHES_MAX);
    bool good = true;
    for (unsigned i = 0; good && i < crashes; i++)
        good = live(trial, false);
    good = good && live(trial, true);
    if (good && !log_commands_match(&trial->commands, dir, trial->acknowledged, &replay))
        good = failed(trial, "the log does not hold what was appended");
    if (good && !(replay.end_flags & FRAME_CLOSE))
        good = failed(trial, "the log does not end with CLOSE");
    good = good && check_readers(trial, &replay);
    log_commands_free(&trial->commands);
    return good;
}

int main(void)
{
    const char *one = getenv("SEED"), *many = getenv("SEEDS");
    struct trial trial, sum = { .crashes = 0 };
    uint64_t first = one != NULL ? strtoull(one, NULL, 10) : (uint64_t)getpid() * 1000003u;
    uint64_t count = one != NULL ? 1 : many != NULL ? strtoull(many, NULL, 10) : SEEDS;
    loud = one != NULL;
    budget_init(&budget, 1ull << 30);
    /* Buffers of a mebibyte come and go thousands of times: without a system call each. */
    mallopt(M_MMAP_THRESHOLD, 256 << 20);
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
    snprintf(dir, sizeof dir, "%s/log", scratch_memory_dir());
    tap_note("seeds %llu to %llu", (unsigned long long)first,
             (unsigned long long)(first + count - 1));
    uint64_t bad = 0;
    for (uint64_t seed = first; seed < first + count && bad < 3; seed++) {
        if (!try_seed(&trial, seed)) {
            tap_note("SEED=%llu: %s", (unsigned long long)seed, trial.fault);
            bad++;
        }
        sum.crashes += trial.crashes;
        sum.torn += trial.torn;
        sum.unproven += trial.unproven;
        sum.lost_opening += trial.lost_opening;
        sum.rolls += trial.rolls;
        sum.sealed += trial.sealed;
        sum.failovers += trial.failovers;
    }
    tap_note("%u crashes, %u of them while opening; %u rolls; %u sealed; %u failovers; ends: %u "
             "torn, %u unproven",
             sum.crashes, sum.lost_opening, sum.rolls, sum.sealed, sum.failovers, sum.torn,
             sum.unproven);
    is_int((intmax_t)bad, 0, "after any loss of power what was acknowledged is there, whole");
    if (one == NULL) {
        ok(sum.torn > 0, "some of the crashes left a torn end");
        ok(sum.rolls > 0, "there were rolls among them");
        ok(sum.sealed > 0, "and segments were sealed");
        ok(sum.failovers > sum.rolls / 20, "and failovers");
        ok(sum.lost_opening > 0, "and openings that did not come to their end");
    }
    return tap_done();
}
