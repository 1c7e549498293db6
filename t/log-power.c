/* Power fails at a random moment: while commands are appended, in a roll, while the log is opened,
 * in a failover after a write or a sync failed or was short, and again while it is opened after
 * that. Whatever a disk may then hold, everything that was acknowledged is there, no command is
 * there by half, and the log opens again by itself. In half of the lives segments are sealed
 * meanwhile; now and then there is no room for a spare, or power fails at every step of an opening
 * in turn.
 *
 * SEED=<n> replays one seed and says more; SEEDS=<n> tries so many. */
#include "power_trial.h"
#include "scratch.h"
#include "tap.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SEEDS = 300 }; /* each takes many times as long */
#else
enum { SEEDS = 2000 };
#endif
enum { CRASHES_MAX = 4 };

static struct budget budget;
static char dir[240];
static bool loud;

static bool try_seed(struct trial *trial, uint64_t seed)
{
    struct log_replay replay;
    trial_begin(trial, dir, &budget, seed, loud);
    unsigned crashes = 1 + random_below(&trial->random, CRASHES_MAX);
    bool good = true;
    for (unsigned i = 0; good && i < crashes; i++)
        good = trial_live(trial, false);
    good = good && trial_live(trial, true);
    if (good && !log_commands_match(&trial->commands, trial->dir, trial->acknowledged, &replay))
        good = trial_failed(trial, "the log does not hold what was appended");
    if (good && !(replay.end_flags & FRAME_CLOSE))
        good = trial_failed(trial, "the log does not end with CLOSE");
    good = good && trial_check_readers(trial, &replay);
    trial_end(trial);
    return good;
}

int main(void)
{
    const char *one = getenv("SEED"), *many = getenv("SEEDS");
    struct trial trial;
    struct trial_counts sum = { .crashes = 0 };
    uint64_t first = one != NULL ? strtoull(one, NULL, 10) : (uint64_t)getpid() * 1000003u;
    uint64_t count = one != NULL ? 1 : many != NULL ? strtoull(many, NULL, 10) : SEEDS;
    loud = one != NULL;
    budget_init(&budget, 1ull << 30);
    /* Buffers of a mebibyte come and go thousands of times: without a system call each. */
    mallopt(M_MMAP_THRESHOLD, 256 << 20);
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
    snprintf(dir, sizeof dir, "%.200s/log", scratch_memory_dir());
    tap_note("seeds %llu to %llu", (unsigned long long)first,
             (unsigned long long)(first + count - 1));
    uint64_t bad = 0;
    for (uint64_t seed = first; seed < first + count && bad < 3; seed++) {
        if (!try_seed(&trial, seed)) {
            tap_note("SEED=%llu: %s", (unsigned long long)seed, trial.fault);
            bad++;
        }
        trial_add(&sum, &trial.counts);
    }
    trial_note(&sum);
    is_int((intmax_t)bad, 0, "after any loss of power what was acknowledged is there, whole");
    if (one == NULL) {
        ok(sum.torn > 0, "some of the crashes left a torn end");
        ok(sum.rolls > 0, "there were rolls among them");
        ok(sum.sealed > 0, "and segments were sealed");
        ok(sum.failovers > sum.rolls / 20, "and failovers");
        ok(sum.lost_opening > 0, "and openings that did not come to their end");
        ok(sum.full > 0, "and disks without room");
        ok(sum.steps > 0, "and openings all of whose steps failed");
    }
    return tap_done();
}
