#include "power_trial.h"

#include "core/base/check.h"
#include "io_power.h"
#include "log/reader.h"
#include "log/segment.h"
#include "log/verify.h"
#include "scratch.h"
#include "space_fault.h"
#include "tap.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TIME_NS 1700000000000000000u

uint64_t random_next(struct random *random)
{
    random->state += 0x9e3779b97f4a7c15u;
    uint64_t mixed = random->state;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
    return mixed ^ mixed >> 31;
}

uint32_t random_below(struct random *random, uint32_t limit)
{
    return (uint32_t)(random_next(random) % limit);
}

static void random_bytes(void *bytes, size_t size, void *context)
{
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)bytes)[i] = (uint8_t)random_next(context);
}

void trial_begin(struct trial *trial, const char *dir, struct budget *budget, uint64_t seed,
                 bool loud)
{
    *trial = (struct trial){ .random = { .state = seed },
                             .budget = budget,
                             .commands = { .time_ns = TIME_NS },
                             .loud = loud };
    snprintf(trial->dir, sizeof trial->dir, "%.240s", dir);
    snprintf(trial->copy, sizeof trial->copy, "%.240s.copy", dir);
    scratch_remove(trial->dir);
    mkdir(trial->dir, 0700);
}

void trial_end(struct trial *trial)
{
    log_commands_free(&trial->commands);
    for (unsigned i = 0; i < trial->lives; i++)
        log_commands_free(&trial->left_out[i]);
    scratch_remove(trial->copy);
}

void trial_add(struct trial_counts *sum, const struct trial_counts *counts)
{
    sum->crashes += counts->crashes;
    sum->torn += counts->torn;
    sum->unproven += counts->unproven;
    sum->lost_opening += counts->lost_opening;
    sum->rolls += counts->rolls;
    sum->sealed += counts->sealed;
    sum->failovers += counts->failovers;
    sum->full += counts->full;
    sum->steps += counts->steps;
}

void trial_note(const struct trial_counts *sum)
{
    tap_note("%u crashes, %u of them while opening, and %u at the steps of openings; %u rolls; %u "
             "sealed; %u failovers; %u times no room; ends: %u torn, %u unproven",
             sum->crashes, sum->lost_opening, sum->steps, sum->rolls, sum->sealed, sum->failovers,
             sum->full, sum->torn, sum->unproven);
}

bool trial_failed(struct trial *trial, const char *what)
{
    if (trial->fault[0] == '\0')
        snprintf(trial->fault, sizeof trial->fault, "%.380s", what);
    return false;
}

bool trial_settle(struct trial *trial, struct log_replay *replay)
{
    const struct log_commands *commands = &trial->commands;
    CHECK(trial->lives < TRIAL_LIVES_MAX);
    for (size_t i = 0; i < commands->count; i++)
        log_commands_expect(&trial->left_out[trial->lives], commands->items[i].first_seq,
                            commands->items[i].count, commands->items[i].size);
    trial->lives++;
    return log_commands_match(&trial->commands, trial->dir, trial->acknowledged, replay) ||
           trial_failed(trial, "the log does not hold what was appended");
}

bool trial_left_out(const struct trial *trial, const struct record *record)
{
    bool found = false;
    for (unsigned i = 0; !found && i < trial->lives; i++)
        found = log_commands_hold(&trial->left_out[i], record);
    return found;
}

struct log_options trial_options(struct trial *trial, const char *dir, struct io *io)
{
    trial->depth = 1 + random_below(&trial->random, 8);
    return (struct log_options){
        .dir = dir,
        .io = io,
        .budget = trial->budget,
        .segment_size = LOG_SEGMENT_SIZE_MIN,
        .frames_in_flight_max = trial->depth,
        .frame_target_size = 4096u << random_below(&trial->random, 5),
        .spares = 2 + random_below(&trial->random, 4),
        .sync = random_below(&trial->random, 4) == 0 ? LOG_SYNC_FDATASYNC : LOG_SYNC_DSYNC,
        .maintain_inline = true,
        .seal = random_below(&trial->random, 2) == 0,
        .allow_tmpfs = true,
        .start_time_ns = TIME_NS,
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

void trial_append(struct trial *trial, struct log *log)
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
    trial->counts.rolls += (unsigned)stats.rolls;
    trial->counts.sealed += (unsigned)stats.sealed;
    trial->counts.failovers += (unsigned)stats.failovers;
}

bool trial_close(struct trial *trial, struct log *log, struct error *error)
{
    if (log_commands_settle(log))
        trial->acknowledged = log_durable_seq(log);
    uint64_t close_seq = log_next_seq(log);
    if (log_close(&log, error) < 0)
        return false;
    trial->acknowledged = close_seq;
    return true;
}

void trial_prepare_to_break(struct trial *trial, struct log *log, struct io *io)
{
    struct error error;
    uint32_t spares = random_below(&trial->random, 12);
    while (spares-- > 0 && log_maintain(log, &error) == 1)
        continue;
    io_power_break_after(io, random_below(&trial->random, 60), 1 + random_below(&trial->random, 4));
}

/* What recovery says must be what the bytes say. */
static bool check_recovery(struct trial *trial, const struct log_recovery *recovery,
                           const struct log_replay *before)
{
    trial->counts.torn += recovery->verdict == LOG_TORN;
    trial->counts.unproven += recovery->verdict == LOG_UNPROVEN;
    if (trial->loud)
        tap_note("recovered %s", recovery->reason);
    if (recovery->verdict == LOG_DAMAGED)
        return trial_failed(trial, recovery->reason);
    if (recovery->last_seq != before->last_seq)
        return trial_failed(trial, "recovery ends elsewhere than the frames do");
    if (recovery->last_seq < trial->acknowledged)
        return trial_failed(trial, "an acknowledged event is gone");
    trial->acknowledged = recovery->last_seq;
    return true;
}

bool trial_check_readers(struct trial *trial, const struct log_replay *replay)
{
    struct log_verify_options verifying = { .dir = trial->dir };
    struct log_reader_options reading = { .dir = trial->dir };
    struct log_verify_result result;
    struct log_reader *reader;
    struct record record;
    struct error error = { 0 };
    uint64_t records = 0;
    if (replay->segments == 0)
        return true;
    if (log_verify(&verifying, &result, &error) < 0)
        return trial_failed(trial, error.text);
    if (result.verdict == LOG_DAMAGED)
        return trial_failed(trial, "log_verify() finds damage");
    if (log_reader_open(&reader, &reading, &error) < 0)
        return trial_failed(trial, error.text);
    int more;
    while ((more = log_reader_next(reader, &record, NULL, &error)) == 1)
        records++;
    log_reader_close(reader);
    if (more < 0)
        return trial_failed(trial, error.text);
    return records == replay->records ||
           trial_failed(trial, "log_reader_next() gives other records");
}

/* A copy that stands for the same directory, and is none. */
static void copy_log(const struct trial *trial)
{
    char path[300];
    scratch_remove(trial->copy);
    scratch_copy(trial->dir, trial->copy);
    snprintf(path, sizeof path, "%s/%s", trial->copy, LOG_PLACE_NAME);
    (void)unlink(path);
}

/* One opening of the copy, with power for `ops` more. True while it did not come to its end. */
static bool crash_opening(struct trial *trial, uint64_t ops, int *result)
{
    struct error error = { 0 };
    struct log *log = NULL;
    struct io *io;
    if (io_open_power(&io, random_next(&trial->random)) < 0)
        tap_bail_out("no engine");
    io_power_fail_after(io, ops);
    struct log_options options = trial_options(trial, trial->copy, io);
    *result = log_open(&log, &options, NULL, &error);
    bool crashed = io_power_is_off(io);
    io_power_crash(io);
    if (*result == 0)
        log_abandon(&log);
    io_close(io);
    trial->counts.steps += crashed;
    return crashed;
}

static bool is_refused(int code, const struct log_recovery *recovery)
{
    return code < 0 || recovery->verdict == LOG_DAMAGED;
}

/* The opening that was cut short begins nothing new: `found` is the end before it. */
static bool finds_the_same(struct trial *trial, int found_code, const struct log_recovery *found)
{
    struct log_recovery recovery;
    struct error error = { 0 };
    int code = log_recover(trial->copy, NULL, 0, &recovery, &error);
    bool refused = is_refused(code, &recovery);
    if (refused != is_refused(found_code, found))
        return trial_failed(trial, code < 0 ? error.text : recovery.reason);
    /* OPEN alone may be there. */
    return refused || recovery.last_seq == found->last_seq ||
           recovery.last_seq == found->last_seq + 1 ||
           trial_failed(trial, "an opening that was cut short moved the end");
}

bool trial_crash_openings(struct trial *trial)
{
    struct log_recovery found = { .exists = false };
    struct error error = { 0 };
    uint32_t depth = trial->depth;
    bool good = true, crashed = true;
    int code = log_recover(trial->dir, NULL, 0, &found, &error), result;
    for (uint64_t ops = 0; good && crashed; ops++) {
        copy_log(trial);
        crashed = crash_opening(trial, ops, &result);
        good = !crashed ? (result < 0) == is_refused(code, &found) ||
                              trial_failed(trial, "opening and recovery say different things")
                        : finds_the_same(trial, code, &found);
    }
    trial->depth = depth;
    return good;
}

/* Whether an opening may end so. */
static bool may_end(struct trial *trial, struct io *io, int result, const struct error *error)
{
    trial->counts.full += space_fault_count();
    if (result == 0 || io_power_is_off(io) || (result == -ENOSPC && space_fault_count() > 0))
        return true;
    return trial_failed(trial, error->text);
}

bool trial_live(struct trial *trial, bool last)
{
    struct log_replay before;
    struct log_recovery recovery = { .exists = false };
    struct error error = { 0 };
    struct log *log = NULL;
    struct random *random = &trial->random;
    struct io *io;
    if (!trial_settle(trial, &before))
        return false;
    if (random_below(random, 4) == 0 && !trial_check_readers(trial, &before))
        return false;
    if (random_below(random, 16) == 0 && !trial_crash_openings(trial))
        return false;
    if (io_open_power(&io, random_next(random)) < 0)
        return trial_failed(trial, "no engine");
    io_power_watch(io, trial->written, trial);
    if (!last)
        io_power_fail_after(io, random_below(random, random_below(random, 3) == 0 ? 6 : 120));
    if (!last && random_below(random, 4) == 0)
        space_fault_set(random_below(random, 8), 1 + random_below(random, 4));
    struct log_options options = trial_options(trial, trial->dir, io);
    int result = log_open(&log, &options, &recovery, &error);
    bool good = may_end(trial, io, result, &error);
    if (good && recovery.exists)
        good = check_recovery(trial, &recovery, &before);
    trial->counts.lost_opening += result < 0;
    if (result == 0) {
        if (!last && random_below(random, 2) == 0)
            trial_prepare_to_break(trial, log, io);
        trial_append(trial, log);
        if (!last)
            io_power_crash(io);
        if (!last)
            log_abandon(&log);
        else
            good = (trial_close(trial, log, &error) || trial_failed(trial, error.text)) && good;
    }
    space_fault_set(0, 0);
    io_power_crash(io);
    io_close(io);
    trial->counts.crashes += !last;
    return good;
}

unsigned trial_seeds(trial_function *try_seed, uint64_t usual, char dir[240], bool *loud,
                     struct trial_counts *sum)
{
    static struct trial trial;
    const char *one = getenv("SEED"), *many = getenv("SEEDS");
    uint64_t first = one != NULL ? strtoull(one, NULL, 10) : (uint64_t)getpid() * 1000003u;
    uint64_t count = one != NULL ? 1 : many != NULL ? strtoull(many, NULL, 10) : usual;
    unsigned bad = 0;
    *loud = one != NULL;
    *sum = (struct trial_counts){ .crashes = 0 };
    /* Buffers of a mebibyte come and go thousands of times: without a system call each. */
    mallopt(M_MMAP_THRESHOLD, 256 << 20);
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
    snprintf(dir, 240, "%.200s/log", scratch_memory_dir());
    tap_note("seeds %llu to %llu", (unsigned long long)first,
             (unsigned long long)(first + count - 1));
    for (uint64_t seed = first; seed < first + count && bad < 3; seed++) {
        if (!try_seed(&trial, seed)) {
            tap_note("SEED=%llu: %s", (unsigned long long)seed, trial.fault);
            bad++;
        }
        trial_add(sum, &trial.counts);
    }
    trial_note(sum);
    return bad;
}
