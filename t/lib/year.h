/* A simulated year of an agent: the real start, loop, log, state, snapshots and housekeeping under
 * a clock that is moved on as fast as the agent keeps up, with restarts in order and by SIGKILL, a
 * database that is deleted now and then, wall clocks that jump, and an oracle that knows what must
 * become of each workflow.
 *
 * The agent lives in a child process from one restart to the next; what the oracle knows lies in
 * memory that the processes share, so it outlives the SIGKILL of one as a client would.
 *
 * Virtual: both clocks, and with them all that workflows, keys, retention and expiry count in. Not
 * virtual: what the daemon paces by its own monotonic clock. So a snapshot is asked for once a
 * virtual day, and the housekeeper looks then and each real second.
 *
 * Threads: one, and the process must have no other while year_run() forks. */
#ifndef YEAR_H
#define YEAR_H

#include <stdbool.h>
#include <stdint.h>

#define YEAR_DAYS_MAX 400u
#define YEAR_STARTS_MAX 200u
#define YEAR_OWNERS 8u
#define YEAR_FAILURES_TOLD 40u

#define YEAR_SECOND_NS UINT64_C(1000000000)
#define YEAR_HOUR_NS (3600 * YEAR_SECOND_NS)
#define YEAR_DAY_NS (24 * YEAR_HOUR_NS)

/* The wall clock goes wrong. */
struct year_jump {
    double day;           /* when */
    int64_t by_ns;        /* what is added to wall time; with `suspend` to both clocks */
    uint64_t return_ns;   /* it comes back by itself so much later; 0: it stays */
    bool suspend, accept; /* accept: somebody accepts it an hour later */
};

struct year_options {
    const char *dir; /* there, empty; holds the data directory, and nothing afterwards */
    uint64_t seed;
    uint32_t days, workflows_a_day;
    uint64_t tick_ns; /* the clock moves on by so much at a time */
    double restart_days;
    double long_run_from, long_run_to; /* days without a restart between them */
    const char *config;       /* what is not about places, as TOML: ttls, retention, memory */
    uint64_t finished_ttl_ns; /* what it says of state.finished_ttl */
    uint64_t retention_bytes; /* what it says of retention.max_bytes; 0: nothing */
    uint32_t retention_days;  /* of retention.max_age */
    const struct year_jump *jumps;
    uint32_t jump_count;
    double busy_days[4];  /* two weeks of three times the load begin here; 0: none */
    bool nobody_resolves; /* what is parked stays so, which the oracle must find too late */
    /* After each day; may be NULL. */
    void (*progress)(uint32_t day, uint64_t events);
};

/* Of one virtual day, after its housekeeping. */
struct year_sample {
    double day; /* since the beginning */
    uint64_t events;
    uint64_t budget[YEAR_OWNERS], budget_used, budget_peak; /* bytes; the peak of this process */
    uint64_t rss_anon, open_files, threads;                 /* bytes; of the agent's process */
    uint64_t segments, segment_bytes, snapshots, snapshot_bytes, lmdb_bytes, lmdb_file_bytes;
    uint64_t documents, document_bytes;
    uint64_t w, a, f, d, u, k, x; /* documents by kind */
    uint64_t timers, unfinished, definitions, in_memory;
    uint64_t submitted, completed, failed, cancelled, expired_keys, expired_workflows;
    uint64_t first_segment, removed_events; /* the first that is still there, and what is gone */
    bool degraded;
};

enum year_start_kind { YEAR_FIRST, YEAR_CLEAN, YEAR_CRASH, YEAR_NO_DATABASE };

struct year_start {
    double day;
    int kind;         /* enum year_start_kind: what there was to start from */
    bool after_crash; /* NO_DATABASE: also that */
    double ready_ms, cpu_ms;
    uint64_t replayed, snapshot_seq, loaded;
};

struct year_result {
    struct year_sample samples[YEAR_DAYS_MAX];
    uint32_t sample_count;
    struct year_start starts[YEAR_STARTS_MAX];
    uint32_t start_count;
    uint64_t events, workflows; /* in all */
    uint64_t completed, failed, cancelled, waiting;
    uint64_t replays; /* a key that was sent again, and gave the first one's workflow */
    uint64_t resent, resent_there; /* after a crash, since nobody knew; those that were there */
    uint64_t digests;              /* compared: live and rebuilt */
    uint64_t checked;              /* documents, by the checker, in the end */
    uint64_t removed_events;       /* of which the log knows nothing any more */
    uint64_t jumps, kills;
    uint64_t failures; /* what did not hold; 0: all did */
    char failure[YEAR_FAILURES_TOLD][300];
};

/* Runs it. `result` is the caller's until year_free(). NULL: no memory. */
struct year_result *year_run(const struct year_options *options);
void year_free(struct year_result *result);

/* The late days are as bounded as the early ones: the largest value of each column in [late, late +
 * days) is at most `factor` times that in [early, early + days), and some noise. Starts are looked
 * for in twice as many days. What is not so becomes a failure. */
void year_compare(struct year_result *result, double early, double late, double days,
                  double factor);

/* As CSV with a line of names; 0 or a negative errno. */
int year_write_samples(const struct year_result *result, const char *path);
int year_write_starts(const struct year_result *result, const char *path);

#endif
