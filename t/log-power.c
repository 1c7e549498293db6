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
    struct trial_counts sum;
    budget_init(&budget, 1ull << 30);
    unsigned bad = trial_seeds(try_seed, SEEDS, dir, &loud, &sum);
    is_int(bad, 0, "after any loss of power what was acknowledged is there, whole");
    if (!loud) {
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
