/* The hand-over table and the state thread. */
#include "core/base/bytes.h"
#include "mmapstore/kv.h"
#include "scratch.h"
#include "tap.h"
#include "tools/agent/state.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct budget budget;

static struct state_options options_for(const char *name, uint8_t log)
{
    struct state_options options = { .dir = scratch_path(name),
                                     .budget = &budget,
                                     .commit_interval_ns = 1000000,
                                     .commit_bytes = 1u << 20 };
    memset(options.log_uuid, log, sizeof options.log_uuid);
    return options;
}

static struct state *open_state(const struct state_options *options, uint64_t *applied_seq,
                                bool *rebuilt)
{
    struct state *state = NULL;
    struct error error = { 0 };
    struct state_found found;
    if (state_open(&state, options, &found, &error) < 0)
        tap_bail_out("%s", error.text);
    *applied_seq = found.applied_seq;
    if (rebuilt)
        *rebuilt = found.rebuilt;
    return state;
}

static void hand_over(struct state *state, uint64_t seq, const char *key, const char *value)
{
    struct state_batch *batch = state_batch_new(state);
    state_batch_add(span_of_text(key), value ? span_of_text(value) : span_of(NULL, 0), batch);
    state_hand_over(state, batch, seq);
}

static bool reads(struct state *state, const char *key, const char *want)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    int found = state_get(state, span_of_text(key), &bytes, &size);
    bool good = want ? found == 1 && span_is(span_of(bytes, size), want) : found == 0;
    free(bytes);
    return good;
}

static void settle(struct state *state, uint64_t seq)
{
    while (state_applied_seq(state) < seq)
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

struct walked {
    char keys[256];
    int left;
};

static bool note_key(struct span key, struct span bytes, void *context)
{
    struct walked *walked = context;
    size_t used = strlen(walked->keys);
    snprintf(walked->keys + used, sizeof walked->keys - used, "%.*s=%.*s ", (int)key.size,
             (const char *)key.bytes, (int)bytes.size, (const char *)bytes.bytes);
    return --walked->left != 0;
}

static const char *walk(struct state *state, const char *from, bool backwards, int limit)
{
    static struct walked walked;
    walked = (struct walked){ .left = limit };
    if (state_walk(state, span_of_text("w"), span_of_text(from), backwards, note_key, &walked) < 0)
        return "failed";
    return walked.keys;
}

static void reads_are_at_once(void)
{
    struct state_options options = options_for("at-once", 1);
    options.commit_interval_ns = 3600ull * 1000000000;
    uint64_t applied = 99;
    struct state *state = open_state(&options, &applied, NULL);
    is_int(applied, 0, "a new database stands for nothing");
    hand_over(state, 3, "w1", "one");
    ok(reads(state, "w1", "one"), "a document is read as soon as it was handed over");
    hand_over(state, 5, "w1", "two");
    ok(reads(state, "w1", "two"), "the newer one replaces it");
    hand_over(state, 6, "w1", NULL);
    ok(reads(state, "w1", NULL), "a deleted one is gone");
    is_int(state_applied_seq(state), 0, "and all that without a commit");
    ok(state_pending_bytes(state) > 0, "which shows in the pending bytes");
    is_int(state_close(state, NULL), 0, "closing commits");

    state = open_state(&options, &applied, NULL);
    is_int(applied, 6, "the next start knows the position");
    ok(reads(state, "w1", NULL), "and the documents");
    is_int(state_close(state, NULL), 0, "and closes");
}

static void walks_are_merged(void)
{
    struct state_options options = options_for("walk", 1);
    uint64_t applied, seq;
    uint8_t digest[SHA256_SIZE];
    struct state *state = open_state(&options, &applied, NULL);
    hand_over(state, 1, "w1", "a");
    hand_over(state, 2, "w3", "a");
    hand_over(state, 3, "w5", "a");
    hand_over(state, 4, "x", "a");
    hand_over(state, 5, "a", "a");
    is_int(state_digest(state, digest, &seq, NULL), 0, "(what is there is committed)");
    is_int(state_close(state, NULL), 0, "(and closed)");

    options.commit_interval_ns = 3600ull * 1000000000;
    state = open_state(&options, &applied, NULL);
    hand_over(state, 6, "w2", "b");
    hand_over(state, 7, "w3", "b");
    hand_over(state, 8, "w5", NULL);
    hand_over(state, 9, "w6", "b");
    hand_over(state, 9, "v", "b");
    is_str(walk(state, "", false, 0), "w1=a w2=b w3=b w6=b ", "a walk merges both, in order");
    is_str(walk(state, "", true, 0), "w6=b w3=b w2=b w1=a ", "and backwards");
    is_str(walk(state, "w2", false, 0), "w3=b w6=b ", "it begins behind a key");
    is_str(walk(state, "w3", true, 0), "w2=b w1=a ", "or before it");
    is_str(walk(state, "w6", true, 1), "w3=b ", "and ends when told to");
    is_str(walk(state, "w9", false, 0), "", "nothing is behind the last one");
    is_int(state_close(state, NULL), 0, "(closed)");
}

/* The same documents in as many commits as `interval_ns` makes of them. */
static void digest_of(const char *name, uint64_t interval_ns, uint8_t digest[SHA256_SIZE])
{
    struct state_options options = options_for(name, 1);
    options.commit_interval_ns = interval_ns;
    uint64_t applied, seq;
    struct state *state = open_state(&options, &applied, NULL);
    for (unsigned i = 1; i <= 500; i++) {
        char key[16], value[32];
        snprintf(key, sizeof key, "w%03u", i % 100);
        snprintf(value, sizeof value, "value %u", i);
        hand_over(state, i, key, i % 7 ? value : NULL);
    }
    struct error error = { 0 };
    ok(state_digest(state, digest, &seq, &error) == 0, "a digest can be taken: %s", error.text);
    is_int(seq, 500, "it stands for everything handed over before it was asked for");
    is_int(state_close(state, NULL), 0, "(closed)");
}

static void digests_are_equal(void)
{
    uint8_t often[SHA256_SIZE], once[SHA256_SIZE];
    digest_of("often", 1, often);
    digest_of("once", 3600ull * 1000000000, once);
    is_mem(often, once, SHA256_SIZE, "the digest does not depend on when commits happened");
}

static struct state_found reopen(const struct state_options *options, struct state **state)
{
    struct state_found found;
    struct error error = { 0 };
    if (state_open(state, options, &found, &error) < 0)
        tap_bail_out("%s", error.text);
    return found;
}

static void another_log_is_seen(void)
{
    struct state_options options = options_for("other", 1);
    uint64_t applied;
    uint8_t uuid[16];
    bool rebuilt = true;
    struct state *state = open_state(&options, &applied, &rebuilt);
    ok(!rebuilt, "a new database is not a rebuilt one");
    hand_over(state, 7, "w1", "one");
    is_int(state_close(state, NULL), 0, "(closed)");
    is_int(state_peek_applied_seq(options.dir, uuid), 7, "the position can be looked up");
    is_mem(uuid, options.log_uuid, 16, "with the log it belongs to");
    is_int(state_peek_applied_seq(scratch_path("none"), uuid), 0, "and is 0 where nothing is");

    struct state_options other = options_for("other", 2);
    struct state_found found = reopen(&other, &state);
    ok(!found.rebuilt && found.applied_seq == 7, "the documents of another log are kept at first");
    is_mem(found.log_uuid, options.log_uuid, 16, "and whose they are is said");
    is_int(state_clear(state, NULL), 0, "whoever knows better deletes them");
    is_int(state_applied_seq(state), 0, "the position is the beginning");
    ok(reads(state, "w1", NULL), "and they are gone");
    hand_over(state, 3, "w2", "two");
    is_int(state_close(state, NULL), 0, "(closed)");
    found = reopen(&other, &state);
    ok(found.applied_seq == 3 && memcmp(found.log_uuid, other.log_uuid, 16) == 0,
       "the new ones are ours");
    is_int(state_close(state, NULL), 0, "(closed)");
}

/* Puts `value` under a key of the database's own, or deletes the key. */
static void tamper(const char *dir, const char *key, struct span value)
{
    struct kv *kv;
    struct kv_writer *writer;
    if (kv_open(&kv, &(struct kv_options){ .dir = dir }, NULL) < 0 ||
        kv_begin(kv, &writer, NULL) < 0)
        tap_bail_out("no LMDB");
    if (value.bytes)
        kv_put(writer, span_of_text(key), value);
    else
        kv_delete(writer, span_of_text(key));
    is_int(kv_commit(writer, NULL), 0, "(%s was changed)", key);
    kv_close(kv);
}

static void another_version_starts_anew(void)
{
    static const uint8_t newer[4] = { DOCUMENT_VERSION + 1 };
    const struct span versions[] = { span_of(newer, 4), span_of(newer, 3), span_of(NULL, 0) };
    for (unsigned i = 0; i < 3; i++) {
        struct state_options options = options_for("version", 1);
        struct state *state;
        (void)reopen(&options, &state);
        hand_over(state, 5 + i, "w1", "one");
        is_int(state_close(state, NULL), 0, "(closed)");
        struct state_found found = reopen(&options, &state);
        ok(!found.rebuilt && found.applied_seq == 5 + i, "documents of our version are kept");
        is_int(state_close(state, NULL), 0, "(closed)");

        tamper(options.dir, "!version", versions[i]);
        found = reopen(&options, &state);
        ok(found.rebuilt && found.applied_seq == 0 && found.why[0],
           "of another version, or none, they are deleted: %s", found.why);
        ok(reads(state, "w1", NULL), "and gone");
        is_int(state_close(state, NULL), 0, "(closed)");
    }
}

/* The database's file is not one of LMDB's. */
static void spoil(const char *dir)
{
    static char noise[16384];
    char path[4096];
    snprintf(path, sizeof path, "%s/data.mdb", dir);
    memset(noise, 'n', sizeof noise);
    FILE *file = fopen(path, "w");
    if (!file || fwrite(noise, sizeof noise, 1, file) != 1 || fclose(file) != 0)
        tap_bail_out("%s cannot be written", path);
}

static void a_damaged_database_is_set_aside(void)
{
    struct state_options options = options_for("damaged", 1);
    struct state *state;
    for (int i = 0; i < 2; i++) {
        (void)reopen(&options, &state);
        hand_over(state, 5, "w1", "one");
        is_int(state_close(state, NULL), 0, "(closed)");
        spoil(options.dir);
        struct state_found found = reopen(&options, &state);
        ok(found.rebuilt && found.aside && found.applied_seq == 0,
           "documents that are damaged are none: %s", found.why);
        ok(access(scratch_path("damaged.aside/data.mdb"), F_OK) == 0, "they are set aside");
        is_int(state_close(state, NULL), 0, "(closed)");
    }
    spoil(options.dir);
    struct state_found found;
    struct error error = { 0 };
    close(open(scratch_path("damaged.aside/mine"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    ok(state_open(&state, &options, &found, &error) < 0, "unless there is no place for them");
    ok(strstr(error.text, "damaged.aside") != NULL, "which is said: %s", error.text);
    ok(access(scratch_path("damaged/data.mdb"), F_OK) == 0, "then they stay");
}

static void a_mark_is_kept(void)
{
    struct state_options options = options_for("mark", 1);
    options.commit_interval_ns = 3600ull * 1000000000;
    struct state *state;
    uint8_t first[SHA256_SIZE], second[SHA256_SIZE];
    memset(first, 1, sizeof first);
    memset(second, 2, sizeof second);
    struct state_found found = reopen(&options, &state);
    is_int(found.mark.seq, 0, "a new database has no mark");
    hand_over(state, 5, "w1", "one");
    state_mark(state, 4, first);
    state_mark(state, 9, second);
    is_int(state_close(state, NULL), 0, "(closed)");
    found = reopen(&options, &state);
    is_int(found.mark.seq, 4,
           "a mark is committed with the documents, a later one than theirs not");
    is_mem(found.mark.chain, first, SHA256_SIZE, "and its chain");
    hand_over(state, 6, "w1", "two");
    is_int(state_commit_now(state, NULL), 0, "(committed)");
    hand_over(state, 8, "w1", "three");
    state_mark(state, 8, second);
    state_mark(state, 7, first);
    is_int(state_close(state, NULL), 0, "(closed)");
    found = reopen(&options, &state);
    is_int(found.mark.seq, 8, "a commit without news keeps it, and only a newer one replaces it");
    is_mem(found.mark.chain, second, SHA256_SIZE, "with its chain");
    is_int(state_close(state, NULL), 0, "(closed)");
}

static void a_killed_process_loses_nothing_committed(void)
{
    struct state_options options = options_for("killed", 1);
    int pipe_fds[2];
    if (pipe(pipe_fds) != 0)
        tap_bail_out("no pipe");
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        uint64_t applied;
        struct state *state = open_state(&options, &applied, NULL);
        for (uint64_t seq = 1;; seq++) {
            char key[32];
            snprintf(key, sizeof key, "w%06llu", (unsigned long long)seq);
            hand_over(state, seq, key, key);
            uint64_t position = state_applied_seq(state);
            if (write(pipe_fds[1], &position, sizeof position) < 0)
                _exit(1);
        }
    }
    close(pipe_fds[1]);
    uint64_t committed = 0, applied;
    while (committed < 2000 && read(pipe_fds[0], &committed, sizeof committed) > 0)
        ;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    for (uint64_t last; read(pipe_fds[0], &last, sizeof last) == sizeof last;)
        committed = last;
    close(pipe_fds[0]);

    struct state *state = open_state(&options, &applied, NULL);
    ok(applied >= committed, "after kill -9 the position is not before what was committed");
    unsigned long long wrong = 0;
    for (uint64_t seq = 1; seq <= applied + 1; seq++) {
        char key[32];
        snprintf(key, sizeof key, "w%06llu", (unsigned long long)seq);
        wrong += !reads(state, key, seq <= applied ? key : NULL);
    }
    is_int(wrong, 0, "and exactly the documents up to the position are there");
    is_int(state_close(state, NULL), 0, "(closed)");
}

static void *read_all_the_time(void *argument)
{
    struct state *state = argument;
    static struct walked walked;
    uintptr_t wrong = 0;
    for (int i = 0; i < 300; i++) {
        uint8_t *bytes = NULL;
        size_t size = 0;
        if (state_get(state, span_of_text("w0"), &bytes, &size) != 1)
            wrong++;
        free(bytes);
        walked = (struct walked){ .left = 3 };
        if (state_walk(state, span_of_text("w"), span_of(NULL, 0), false, note_key, &walked) < 0)
            wrong++;
    }
    return (void *)wrong;
}

static void readers_run_beside_it(void)
{
    struct state_options options = options_for("beside", 1);
    options.commit_interval_ns = 1;
    uint64_t applied;
    struct state *state = open_state(&options, &applied, NULL);
    hand_over(state, 1, "w0", "0");
    pthread_t reader;
    if (pthread_create(&reader, NULL, read_all_the_time, state) != 0)
        tap_bail_out("no thread");
    uint64_t seq = 2;
    for (; seq < 3000; seq++) {
        char key[16];
        snprintf(key, sizeof key, "w%u", (unsigned)(seq % 50));
        hand_over(state, seq, key, key);
    }
    void *wrong;
    pthread_join(reader, &wrong);
    is_int((uintptr_t)wrong, 0, "a reader beside commits always finds a document that is there");
    settle(state, seq - 1);
    is_int(state_pending_bytes(state), 0, "after the last commit nothing is pending");
    is_int(state_lag_ns(state), 0, "and nothing lags");
    is_int(state_close(state, NULL), 0, "(closed)");
}

static void a_full_map_grows(void)
{
    struct state_options options = options_for("full", 1);
    uint64_t applied, seq;
    uint8_t digest[SHA256_SIZE];
    options.map_bytes = 1u << 20;
    struct state *state = open_state(&options, &applied, NULL);
    static char value[60000];
    memset(value, 'x', sizeof value - 1);
    for (seq = 1; seq <= 50; seq++) {
        char key[16];
        snprintf(key, sizeof key, "w%u", (unsigned)seq);
        hand_over(state, seq, key, value);
    }
    is_int(state_digest(state, digest, &seq, NULL), 0, "more than the map held is committed");
    is_int(state_close(state, NULL), 0, "(closed)");
}

int main(void)
{
    budget_init(&budget, 1u << 30);
    a_killed_process_loses_nothing_committed();
    reads_are_at_once();
    walks_are_merged();
    digests_are_equal();
    another_log_is_seen();
    another_version_starts_anew();
    a_damaged_database_is_set_aside();
    a_mark_is_kept();
    readers_run_beside_it();
    a_full_map_grows();
    is_int(budget.owner_used[BUDGET_DOCUMENTS], 0, "all memory of documents was given back");
    return tap_done();
}
