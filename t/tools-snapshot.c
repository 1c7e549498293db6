/* Snapshots, and the state made from them and from the log: the same documents whichever way, and
 * nothing from what is damaged or of another history. */
#include "agent_log.h"
#include "core/base/bytes.h"
#include "core/base/check.h"
#include "log/fork.h"
#include "log/log.h"
#include "log/reader.h"
#include "scratch.h"
#include "tap.h"
#include "tools/agent/rebuild.h"
#include "tools/agent/snapshots.h"
#include "tools/agent/state_view.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define POINTS 24
#define EARLY 4 /* snapshots at these */
#define LATE 16
#define SEGMENT_SIZE (256u << 10)

struct point {
    uint64_t seq;
    uint8_t digest[SHA256_SIZE];
};

static struct point points[POINTS];
static char log_dir[PATH_MAX], db_dir[PATH_MAX], snapshots_dir[PATH_MAX];
static uint64_t seed;

static unsigned next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed >> 32);
}

/*--- A log, and what the live state was at places of it ----------------------------------------*/

static const char *const sources[] = {
    "{\"name\":\"quick\",\"steps\":[{\"id\":\"a\",\"sleep\":\"0s\"},"
    "{\"id\":\"b\",\"sleep\":\"1ms\",\"needs\":[\"a\"]}]}",
    "{\"name\":\"slow\",\"steps\":[{\"id\":\"a\",\"sleep\":\"1h\"}]}",
    "{\"name\":\"signalled\",\"steps\":[{\"id\":\"a\",\"signal\":{\"name\":\"go\"}}]}",
};

/* A page of text that compresses badly, so that a small log has several segments. */
static const char *some_input(void)
{
    static char input[3200];
    size_t size = next_random() % 3000;
    input[0] = '"';
    for (size_t i = 1; i <= size; i++)
        input[i] = (char)('a' + next_random() % 26);
    input[size + 1] = '"';
    input[size + 2] = 0;
    return input;
}

static void some_work(struct agent_log *made, struct flow *flows[3], uint64_t *last_slow)
{
    char key[32];
    for (unsigned count = 1 + next_random() % 40; count > 0; count--) {
        unsigned which = next_random() % 3;
        snprintf(key, sizeof key, "key-%u", next_random());
        uint64_t stream =
            agent_log_submit(made, flows[which], some_input(), next_random() % 2 ? key : NULL);
        struct command cancel = { .kind = COMMAND_CANCEL, .stream = *last_slow };
        if (which == 1 && *last_slow != 0 && next_random() % 2)
            (void)agent_log_do(made, &cancel);
        if (which == 1)
            *last_slow = stream;
    }
    agent_log_wait(made, next_random() % 2 ? 5000000 : 700000000000ull);
}

static void make_log(void)
{
    struct error error;
    struct snapshot_info info;
    struct agent_log made = { .log_dir = log_dir, .db_dir = db_dir, .segment_size = SEGMENT_SIZE };
    struct flow *flows[3];
    uint64_t seq, last_slow = 0;
    agent_log_open(&made);
    for (int i = 0; i < 3; i++)
        flows[i] = agent_log_flow(&made, sources[i]);
    for (int i = 0; i < POINTS; i++) {
        some_work(&made, flows, &last_slow);
        points[i].seq = agent_log_commit(&made);
        if (state_digest(made.state, points[i].digest, &seq, &error) < 0 || seq != points[i].seq)
            tap_bail_out("no digest at %d", i);
        if (i != EARLY && i != LATE)
            continue;
        if (snapshot_write(snapshots_dir, made.state, 1, NULL, &info, &error) < 0)
            tap_bail_out("%s", error.text);
        is_int(info.seq, seq, "a snapshot stands for what LMDB holds");
        is_mem(info.digest, points[i].digest, SHA256_SIZE, "and has the digest of the state");
    }
    for (int i = 0; i < 3; i++)
        flow_unref(flows[i]);
    agent_log_close(&made);
}

/*--- Rebuilding --------------------------------------------------------------------------------*/

static char said[4096];

static void note(const char *sentence, void *context)
{
    (void)context;
    size_t used = strlen(said);
    snprintf(said + used, sizeof said - used, "%s\n", sentence);
}

static struct error rebuild_error;

static int copy_from(const char *log, const char *snapshots, uint64_t until_seq,
                     struct rebuild_copy *copy)
{
    const char *db = scratch_path("copy");
    struct rebuild_copy_options options = { .log_dir = log,
                                            .snapshots_dir = snapshots,
                                            .db_dir = db,
                                            .until_seq = until_seq,
                                            .memory = 1ull << 30,
                                            .say = note };
    said[0] = 0;
    rebuild_error = (struct error){ 0 };
    int status = rebuild_copy(&options, copy, &rebuild_error);
    struct stat stat_of;
    if (status < 0 && stat(db, &stat_of) == 0)
        tap_bail_out("a rebuild that failed left %s", db);
    scratch_remove(db);
    return status;
}

static void all_ways_agree(void)
{
    struct rebuild_copy copy;
    for (int i = 0; i < POINTS; i++) {
        const struct point *point = &points[i];
        uint64_t snapshot = i >= LATE ? points[LATE].seq : i >= EARLY ? points[EARLY].seq : 0;
        if (!is_int(copy_from(log_dir, NULL, point->seq, &copy), 0, "event %llu: from nothing",
                    (unsigned long long)point->seq))
            tap_note("%s", rebuild_error.text);
        is_int(copy.result.seq, point->seq, "it stands for that event");
        is_mem(copy.digest, point->digest, SHA256_SIZE, "with the digest of the live state");
        is_int(copy_from(log_dir, snapshots_dir, point->seq, &copy), 0, "from a snapshot");
        is_int(copy.result.snapshot_seq, snapshot, "it is the newest that is not too new");
        is_mem(copy.digest, point->digest, SHA256_SIZE, "with the same digest");
    }
}

/* Also in the middle of a frame and of a command, where no live state was looked at. */
static void any_event_will_do(void)
{
    struct rebuild_copy one, other;
    uint64_t last = points[POINTS - 1].seq;
    for (int i = 0; i < 10; i++) {
        uint64_t seq = points[EARLY].seq + next_random() % (last - points[EARLY].seq);
        bool same = copy_from(log_dir, NULL, seq, &one) == 0 &&
                    copy_from(log_dir, snapshots_dir, seq, &other) == 0 && one.result.seq == seq &&
                    other.result.snapshot_seq > 0 &&
                    memcmp(one.digest, other.digest, SHA256_SIZE) == 0;
        ok(same, "event %llu: the same from nothing and from a snapshot %s",
           (unsigned long long)seq, rebuild_error.text);
    }
}

/*--- Damage ------------------------------------------------------------------------------------*/

static void write_file(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size || close(fd) < 0)
        tap_bail_out("%s cannot be written", path);
}

static const char *snapshot_path(const char *dir, uint64_t seq)
{
    static char path[PATH_MAX + SNAPSHOT_NAME_SIZE];
    char name[SNAPSHOT_NAME_SIZE];
    snapshot_name(name, seq);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static bool is_sound(const char *path)
{
    struct snapshot_info info;
    struct error error;
    return snapshot_read(path, &info, NULL, NULL, NULL, &error) == 0;
}

static void damage_is_found(void)
{
    unsigned long size;
    unsigned char *bytes = scratch_read(snapshot_path(snapshots_dir, points[EARLY].seq), &size);
    const char *path = scratch_path("damaged.zst");
    write_file(path, bytes, size);
    ok(is_sound(path), "a whole copy of a snapshot is sound");
    unsigned missed = 0, flips = 0;
    for (unsigned long i = 0; i < size; i += i < 256 || i + 256 > size ? 1 : 97, flips++) {
        bytes[i] ^= (unsigned char)(1u << (next_random() % 8));
        write_file(path, bytes, size);
        missed += is_sound(path);
        scratch_remove(path);
        unsigned long same;
        free(bytes);
        bytes = scratch_read(snapshot_path(snapshots_dir, points[EARLY].seq), &same);
    }
    is_int(missed, 0, "each of %u flipped bits is found", flips);
    missed = 0;
    for (int i = 0; i < 200; i++) {
        write_file(path, bytes, i < 100 ? size - 1 - (unsigned)i : next_random() % size);
        missed += is_sound(path);
    }
    is_int(missed, 0, "and that it was cut");
    unsigned char *longer = calloc(1, size + 1);
    CHECK(longer);
    memcpy(longer, bytes, size);
    write_file(path, longer, size + 1);
    ok(!is_sound(path), "or has grown");
    free(longer);
    free(bytes);
    scratch_remove(path);
}

static void a_damaged_one_is_passed_over(void)
{
    struct rebuild_copy copy;
    const char *dir = scratch_path("some-damaged");
    const struct point *last = &points[POINTS - 1];
    scratch_copy(snapshots_dir, dir);
    const char *path = snapshot_path(dir, points[LATE].seq);
    unsigned long size;
    unsigned char *bytes = scratch_read(path, &size);
    bytes[size / 2] ^= 1;
    write_file(path, bytes, size);
    free(bytes);
    is_int(copy_from(log_dir, dir, 0, &copy), 0, "with the newest snapshot damaged");
    is_int(copy.result.snapshot_seq, points[EARLY].seq, "the one before it is taken");
    ok(strstr(said, "damaged") != NULL, "which is said");
    is_mem(copy.digest, last->digest, SHA256_SIZE, "and the digest is right");
    write_file(snapshot_path(dir, points[EARLY].seq), "nothing", 7);
    is_int(copy_from(log_dir, dir, 0, &copy), 0, "with both damaged");
    is_int(copy.result.snapshot_seq, 0, "none is taken");
    is_mem(copy.digest, last->digest, SHA256_SIZE, "and the digest is right");
    scratch_remove(dir);
}

/*--- A log whose beginning is gone -------------------------------------------------------------*/

/* Removes segments, the oldest first, while the log still begins at or before `seq` + 1. */
static uint64_t remove_beginning(const char *dir, uint64_t seq)
{
    struct dirent **entries;
    char path[PATH_MAX], moved[PATH_MAX];
    struct error error;
    int count = scandir(dir, &entries, NULL, alphasort);
    uint64_t first_seq = 0;
    bool stop = false;
    for (int i = 0; i < count; i++) {
        struct log_reader *reader;
        snprintf(path, sizeof path, "%s/%s", dir, entries[i]->d_name);
        snprintf(moved, sizeof moved, "%s/../moved", dir);
        if (!stop && strncmp(entries[i]->d_name, "seg", 3) == 0 && rename(path, moved) == 0) {
            struct log_reader_options options = { .dir = dir };
            bool left = log_reader_open(&reader, &options, &error) == 0; /* else CHECKPOINT minds */
            uint64_t first = left ? log_reader_first_seq(reader) : 0;
            log_reader_close(left ? reader : NULL);
            stop = first == 0 || first > seq + 1;
            if (stop && rename(moved, path) < 0)
                tap_bail_out("no rename");
            first_seq = stop ? first_seq : first;
        }
        free(entries[i]);
    }
    free(entries);
    unlink(moved);
    return first_seq;
}

static void a_beginning_may_be_gone(void)
{
    struct rebuild_copy copy;
    const char *dir = scratch_path("cut-log");
    scratch_copy(log_dir, dir);
    uint64_t first_seq = remove_beginning(dir, points[LATE].seq);
    if (!ok(first_seq > points[EARLY].seq + 1, "(the log begins with event %llu now)",
            (unsigned long long)first_seq))
        return;
    is_int(copy_from(dir, snapshots_dir, 0, &copy), 0, "a snapshot bridges what is gone");
    is_int(copy.result.snapshot_seq, points[LATE].seq, "the newest");
    is_mem(copy.digest, points[POINTS - 1].digest, SHA256_SIZE, "and the digest is right");
    is_int(copy_from(dir, NULL, 0, &copy), ERROR_NOT_FOUND, "without one there is no state");
    ok(strstr(rebuild_error.text, "snapshot") != NULL, "and the sentence says what is needed: %s",
       rebuild_error.text);
    const char *few = scratch_path("old-snapshots");
    scratch_copy(snapshots_dir, few);
    unlink(snapshot_path(few, points[LATE].seq));
    is_int(copy_from(dir, few, 0, &copy), ERROR_NOT_FOUND, "one that is too old does not help");
    ok(strstr(said, "begins later") != NULL, "which is said");
    scratch_remove(few);
    scratch_remove(dir);
}

/*--- Other histories ---------------------------------------------------------------------------*/

/* A start on the database in `db`; what it was made from. */
static struct rebuild_result start_on(const char *log, const char *db, uint8_t digest[SHA256_SIZE])
{
    struct error error = { 0 };
    struct state_found found;
    struct rebuild_result result;
    struct log_reader *reader;
    struct budget budget;
    uint64_t seq;
    budget_init(&budget, 1ull << 30);
    struct state_options options = { .dir = db, .budget = &budget };
    struct rebuild_options how = { .log_dir = log, .db_dir = db, .budget = &budget, .say = note };
    if (log_reader_open(&reader, &(struct log_reader_options){ .dir = log }, &error) < 0)
        tap_bail_out("%s", error.text);
    memcpy(options.log_uuid, log_reader_uuid(reader), 16);
    log_reader_close(reader);
    if (state_open(&how.state, &options, &found, &error) < 0)
        tap_bail_out("%s", error.text);
    how.found = &found;
    how.agent = agent_log_agent(NULL, options.log_uuid, &budget);
    said[0] = 0;
    if (rebuild_run(&how, &result, &error) < 0 || state_digest(how.state, digest, &seq, &error) < 0)
        tap_bail_out("%s", error.text);
    agent_close(how.agent);
    if (state_close(how.state, &error) < 0)
        tap_bail_out("%s", error.text);
    return result;
}

static void change_mark(const char *db)
{
    struct kv *kv;
    struct kv_writer *writer;
    struct kv_reader *reader;
    struct state_position position;
    if (kv_open(&kv, &(struct kv_options){ .dir = db }, NULL) < 0 ||
        kv_reader_open(kv, &reader, NULL) < 0 || kv_read_begin(reader, NULL) < 0)
        tap_bail_out("no LMDB");
    state_position_read(reader, &position);
    kv_read_end(reader);
    kv_reader_close(reader);
    ok(position.mark.seq > 0, "the database has a mark");
    position.mark.chain[3] ^= 1;
    if (kv_begin(kv, &writer, NULL) < 0)
        tap_bail_out("no LMDB");
    state_position_write(writer, &position);
    is_int(kv_commit(writer, NULL), 0, "(which is changed)");
    kv_close(kv);
}

static void another_history_is_noticed(void)
{
    uint8_t digest[SHA256_SIZE];
    const char *db = scratch_path("history-db");
    const struct point *last = &points[POINTS - 1];
    scratch_copy(db_dir, db);
    struct rebuild_result result = start_on(log_dir, db, digest);
    ok(!result.foreign && result.replayed == 0, "documents of this log are kept");
    is_mem(digest, last->digest, SHA256_SIZE, "(with their digest)");
    change_mark(db);
    result = start_on(log_dir, db, digest);
    ok(result.foreign && result.replayed > 0,
       "with another chain at their mark they are made anew");
    ok(strstr(said, "history") != NULL, "which is said");
    is_mem(digest, last->digest, SHA256_SIZE, "and the digest is right");
    scratch_remove(db);

    static char other[PATH_MAX];
    snprintf(other, sizeof other, "%s", scratch_path("other-log"));
    struct agent_log made = { .log_dir = other,
                              .db_dir = scratch_path("other-db"),
                              .segment_size = SEGMENT_SIZE };
    agent_log_open(&made);
    struct flow *flow = agent_log_flow(&made, sources[1]);
    for (int i = 0; i < 50; i++)
        (void)agent_log_submit(&made, flow, "1", NULL);
    flow_unref(flow);
    agent_log_close(&made);
    result = start_on(log_dir, made.db_dir, digest);
    ok(result.foreign, "documents of another log are not used");
    is_mem(digest, last->digest, SHA256_SIZE, "and the digest is right");

    struct rebuild_copy copy;
    const char *mixed = scratch_path("mixed");
    scratch_copy(snapshots_dir, mixed);
    is_int(copy_from(other, mixed, 0, &copy), 0, "with snapshots of another log");
    is_int(copy.result.snapshot_seq, 0, "none is taken");
    struct budget budget;
    budget_init(&budget, 1ull << 30);
    said[0] = 0;
    rebuild_set_aside(other, mixed, &budget, note, NULL);
    uint64_t *items;
    size_t count;
    is_int(snapshot_list(mixed, &items, &count, NULL), 0, "(the directory can be listed)");
    is_int(count, 0, "and they can be set aside");
    free(items);
    rebuild_set_aside(log_dir, snapshots_dir, &budget, note, NULL);
    is_int(snapshot_list(snapshots_dir, &items, &count, NULL), 0, "(and so can this one)");
    is_int(count, 2, "while those of the log stay");
    free(items);
    scratch_remove(mixed);
}

/* Goes on in the log of `dir` under a new name. */
static void fork_log(const char *dir)
{
    struct error error;
    struct budget budget;
    struct log *log;
    struct io *io;
    budget_init(&budget, 1ull << 30);
    if (log_fork_request(dir, &error) < 0)
        tap_bail_out("%s", error.text);
    if (io_open_plain(&io) < 0)
        tap_bail_out("no engine");
    struct log_options options = { .dir = dir,
                                   .io = io,
                                   .budget = &budget,
                                   .allow_tmpfs = true,
                                   .start_time_ns = 1800000000000000000ull };
    if (log_open(&log, &options, NULL, &error) < 0 || log_close(&log, &error) < 0)
        tap_bail_out("%s", error.text);
    io_close(io);
}

static void a_fork_keeps_what_it_shares(void)
{
    uint8_t digest[SHA256_SIZE];
    struct rebuild_copy copy;
    static char forked[PATH_MAX];
    snprintf(forked, sizeof forked, "%s", scratch_path("forked-log"));
    const char *db = scratch_path("forked-db");
    scratch_copy(log_dir, forked);
    scratch_copy(db_dir, db);
    fork_log(forked);
    struct rebuild_result result = start_on(forked, db, digest);
    ok(!result.foreign && result.replayed == 0, "a log that goes on from ours keeps the documents");
    is_mem(digest, points[POINTS - 1].digest, SHA256_SIZE, "with their digest");
    is_int(copy_from(forked, snapshots_dir, 0, &copy), 0, "and the snapshots");
    is_int(copy.result.snapshot_seq, points[LATE].seq, "the newest of them");
    is_mem(copy.digest, points[POINTS - 1].digest, SHA256_SIZE, "with the same digest");
    result = start_on(log_dir, db, digest);
    ok(result.foreign, "documents of what is behind the fork are not those of the first log");
    is_mem(digest, points[POINTS - 1].digest, SHA256_SIZE, "which has its own");
    scratch_remove(db);
    scratch_remove(forked);
}

/* A restored log is forked before its documents are made, which may be interrupted before that. */
static void a_fork_goes_on_when_interrupted(void)
{
    uint8_t digest[SHA256_SIZE];
    struct rebuild_copy copy;
    char *half_dir = strdup(scratch_path("half-log"));
    struct rebuild_copy_options half = { .log_dir = half_dir,
                                         .db_dir = scratch_path("half-db"),
                                         .until_seq = points[LATE].seq,
                                         .memory = 1ull << 30 };
    scratch_copy(log_dir, half.log_dir);
    fork_log(half.log_dir);
    is_int(rebuild_copy(&half, &copy, &rebuild_error), 0, "(a rebuild of a fork is interrupted)");
    struct rebuild_result result = start_on(half.log_dir, half.db_dir, digest);
    ok(!result.foreign && result.replayed < copy.result.replayed, "the next one goes on from it");
    is_mem(digest, points[POINTS - 1].digest, SHA256_SIZE, "to the digest that there was");
    free(half_dir);
}

/*--- The thread --------------------------------------------------------------------------------*/

struct thread_case {
    struct snapshots *snapshots;
    uint64_t made;
};

static void count_made(const struct snapshot_info *info, void *context)
{
    struct thread_case *the = context;
    (void)info;
    the->made++;
}

static size_t files_in(const char *dir)
{
    uint64_t *items;
    size_t count;
    if (snapshot_list(dir, &items, &count, NULL) < 0)
        return 0;
    free(items);
    return count;
}

static void wait_for_files(const char *dir, size_t count)
{
    while (files_in(dir) != count)
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

static void put_document(struct state *state, uint64_t seq)
{
    char key[16], value[4000];
    struct state_batch *batch = state_batch_new(state);
    snprintf(key, sizeof key, "w%llu", (unsigned long long)seq);
    for (size_t i = 0; i < sizeof value; i++)
        value[i] = (char)next_random();
    state_batch_add(span_of_text(key), span_of(value, sizeof value), batch);
    state_hand_over(state, batch, seq);
    if (state_commit_now(state, NULL) < 0)
        tap_bail_out("no commit");
}

/* Snapshot 5 was made and not recorded. */
static void the_next_start_knows(struct thread_case *the, const struct snapshots_options *how)
{
    struct snapshots_status status;
    struct snapshot_info info;
    struct error error = { 0 };
    if (snapshots_open(&the->snapshots, how, &error) < 0)
        tap_bail_out("%s", error.text);
    snapshots_status_get(the->snapshots, &status);
    is_int(status.newest.seq, 5, "the next start knows the newest");
    ok(status.unrecorded && status.bound_seq == 0, "of which the log does not know yet");
    snapshots_recorded(the->snapshots, 5);
    snapshots_status_get(the->snapshots, &status);
    ok(!status.unrecorded, "until it is recorded");
    is_int(status.bound_seq, 4, "and then the one before it");
    snapshots_stop(the->snapshots);
    is_int(snapshots_make(the->snapshots, &info, &error), -ECANCELED, "one that stops makes none");
    snapshots_close(the->snapshots);
}

static void two_are_kept(void)
{
    static struct budget budget;
    static char dir[PATH_MAX], leftover[PATH_MAX + 16];
    struct state_found found;
    struct state *state;
    struct error error = { 0 };
    struct snapshot_info info;
    struct snapshots_status status;
    struct thread_case the = { 0 };
    budget_init(&budget, 1ull << 30);
    snprintf(dir, sizeof dir, "%s", scratch_path("thread-snapshots"));
    struct state_options options = { .dir = scratch_path("thread-db"), .budget = &budget };
    if (state_open(&state, &options, &found, &error) < 0 || mkdir(dir, 0700) < 0)
        tap_bail_out("%s", error.text);
    snprintf(leftover, sizeof leftover, "%s/.snap-new", dir);
    write_file(leftover, "half", 4);
    struct snapshots_options how = {
        .dir = dir, .state = state, .made = count_made, .context = &the
    };
    if (snapshots_open(&the.snapshots, &how, &error) < 0)
        tap_bail_out("%s", error.text);
    ok(access(leftover, F_OK) < 0, "what a crash left of a snapshot is removed");
    is_int(snapshots_make(the.snapshots, &info, &error), ERROR_INVALID, "of nothing there is none");

    for (uint64_t seq = 1; seq <= 4; seq++) {
        put_document(state, seq);
        is_int(snapshots_make(the.snapshots, &info, &error), 0, "one is made when asked for");
        is_int(info.seq, seq, "of what is there");
    }
    is_int(the.made, 4, "the agent hears of each");
    is_int(files_in(dir), 4, "until they are recorded all are kept");
    snapshots_status_get(the.snapshots, &status);
    is_int(status.bound_seq, 0, "and nothing of the log may go");
    snapshots_recorded(the.snapshots, 4);
    wait_for_files(dir, 2);
    ok(access(snapshot_path(dir, 4), F_OK) == 0 && access(snapshot_path(dir, 3), F_OK) == 0,
       "then the two newest are");
    snapshots_status_get(the.snapshots, &status);
    is_int(status.bound_seq, 3, "and the log is needed from the older of them on");

    /* No file may be longer than this: the disk is full, in effect. */
    struct rlimit limit, before;
    getrlimit(RLIMIT_FSIZE, &before);
    limit = before;
    limit.rlim_cur = 2000;
    put_document(state, 5);
    setrlimit(RLIMIT_FSIZE, &limit);
    int failed = snapshots_make(the.snapshots, &info, &error);
    setrlimit(RLIMIT_FSIZE, &before);
    is_int(failed, -EFBIG, "a snapshot that cannot be written fails: %s", error.text);
    ok(access(leftover, F_OK) < 0, "and leaves nothing");
    is_int(files_in(dir), 2, "and the others");
    snapshots_status_get(the.snapshots, &status);
    is_int(status.trouble.code, -EFBIG, "the status says so");
    is_int(snapshots_make(the.snapshots, &info, &error), 0, "later it goes well again");
    snapshots_close(the.snapshots);

    how.recorded_seq = 4;
    the_next_start_knows(&the, &how);
    is_int(state_close(state, NULL), 0, "(closed)");
}

static uint64_t pretended_position(void *context)
{
    return atomic_load((_Atomic uint64_t *)context);
}

static void one_is_made_when_due(void)
{
    static struct budget budget;
    static char dir[PATH_MAX];
    struct state_found found;
    struct state *state;
    struct error error = { 0 };
    struct snapshots *snapshots;
    struct snapshots_status status;
    _Atomic uint64_t position = 1000;
    budget_init(&budget, 1ull << 30);
    snprintf(dir, sizeof dir, "%s", scratch_path("due-snapshots"));
    struct state_options options = { .dir = scratch_path("due-db"), .budget = &budget };
    if (state_open(&state, &options, &found, &error) < 0)
        tap_bail_out("%s", error.text);
    put_document(state, 1);
    struct snapshots_options how = { .dir = dir,
                                     .state = state,
                                     .log_bytes = 100,
                                     .log_position = pretended_position,
                                     .last_position = 900,
                                     .context = &position };
    if (snapshots_open(&snapshots, &how, &error) < 0)
        tap_bail_out("%s", error.text);
    wait_for_files(dir, 1);
    ok(true, "after so much log one is made by itself");
    snapshots_close(snapshots);

    put_document(state, 2);
    how.log_bytes = 0;
    how.interval_ns = 1;
    if (snapshots_open(&snapshots, &how, &error) < 0)
        tap_bail_out("%s", error.text);
    wait_for_files(dir, 2);
    ok(true, "and after so much time");
    snapshots_status_get(snapshots, &status);
    snapshots_close(snapshots);
    is_int(state_close(state, NULL), 0, "(closed)");
}

/*--- Failures ----------------------------------------------------------------------------------*/

static struct rlimit limit_files(rlim_t bytes)
{
    struct rlimit before, limit;
    getrlimit(RLIMIT_FSIZE, &before);
    limit = before;
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
    return before;
}

/* The disk is full at each of many places. */
static void a_full_disk_leaves_nothing(void)
{
    struct budget budget;
    struct state *state;
    struct state_found found;
    struct snapshot_info info;
    struct error error = { 0 };
    static char dir[PATH_MAX], leftover[PATH_MAX + 16];
    snprintf(dir, sizeof dir, "%s", scratch_path("full-snapshots"));
    snprintf(leftover, sizeof leftover, "%s/.snap-new", dir);
    budget_init(&budget, 1ull << 30);
    struct state_options options = { .dir = scratch_path("full-db"), .budget = &budget };
    if (mkdir(dir, 0700) < 0 || state_open(&state, &options, &found, &error) < 0)
        tap_bail_out("%s", error.text);
    for (uint64_t seq = 1; seq <= 500; seq++)
        put_document(state, seq);
    if (snapshot_write(dir, state, 1, NULL, &info, &error) < 0)
        tap_bail_out("%s", error.text);
    uint64_t size = info.file_bytes;
    int wrong = 0, tried = 0;
    for (uint64_t at = 0; at < size; at += at < 200 ? 40 : size / 40, tried++) {
        struct rlimit before = limit_files(at);
        int status = snapshot_write(dir, state, 1, NULL, &info, &error);
        setrlimit(RLIMIT_FSIZE, &before);
        wrong += status != -EFBIG || files_in(dir) != 1 || !is_sound(snapshot_path(dir, 500)) ||
                 access(leftover, F_OK) == 0;
    }
    is_int(wrong, 0, "a disk that is full after each of %d sizes: an error, and nothing else",
           tried);
    is_int(state_close(state, NULL), 0, "(closed)");

    struct rebuild_copy copy;
    struct rlimit before = limit_files(100000);
    int status = copy_from(log_dir, snapshots_dir, 0, &copy);
    struct error why = rebuild_error;
    int other = copy_from(log_dir, NULL, 0, &copy);
    setrlimit(RLIMIT_FSIZE, &before);
    ok(status < 0 && other < 0, "a rebuild on a full disk fails: %s", why.text);
    is_int(copy_from(log_dir, snapshots_dir, 0, &copy), 0, "and goes well when there is room");
    is_mem(copy.digest, points[POINTS - 1].digest, SHA256_SIZE, "with the right digest");
}

/* LMDB's count of entries lies in its meta pages, on which there is no checksum. */
static void count_wrong(const char *db)
{
    char path[PATH_MAX];
    uint64_t entries;
    snprintf(path, sizeof path, "%s/data.mdb", db);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    for (off_t at = 120; at < 8192; at += 4096) { /* page header, 24 bytes, one of two tables, 32 */
        if (pread(fd, &entries, sizeof entries, at) != sizeof entries)
            tap_bail_out("no LMDB");
        entries += 3;
        if (pwrite(fd, &entries, sizeof entries, at) != sizeof entries)
            tap_bail_out("no LMDB");
    }
    close(fd);
}

static void a_wrong_count_is_damage(void)
{
    static struct budget budget;
    static char dir[PATH_MAX];
    struct state *state;
    struct state_found found;
    struct snapshot_info info;
    struct error error = { 0 };
    snprintf(dir, sizeof dir, "%s", scratch_path("miscounted-snapshots"));
    budget_init(&budget, 1ull << 30);
    struct state_options options = { .dir = scratch_path("miscounted-db"), .budget = &budget };
    if (mkdir(dir, 0700) < 0 || state_open(&state, &options, &found, &error) < 0)
        tap_bail_out("%s", error.text);
    for (uint64_t seq = 1; seq <= 5; seq++)
        put_document(state, seq);
    is_int(state_close(state, NULL), 0, "(closed)");
    count_wrong(options.dir);
    if (state_open(&state, &options, &found, &error) < 0)
        tap_bail_out("%s", error.text);
    is_int(found.applied_seq, 5, "(a database that counts wrong opens)");
    is_int(snapshot_write(dir, state, 1, NULL, &info, &error), ERROR_DAMAGED,
           "a database that counts its documents wrong gives no snapshot: %s", error.text);
    is_int(files_in(dir), 0, "and nothing is left");
    is_int(state_close(state, NULL), 0, "(closed)");
}

static _Noreturn void snapshot_until_killed(const char *dir, const char *db, int pipe_fd)
{
    struct budget budget;
    struct state *state;
    struct state_found found;
    struct snapshot_info info;
    budget_init(&budget, 1ull << 30);
    struct state_options options = { .dir = db, .budget = &budget };
    if (state_open(&state, &options, &found, NULL) < 0)
        _exit(1);
    for (uint64_t seq = found.applied_seq + 1;; seq++) {
        put_document(state, seq);
        if (snapshot_write(dir, state, 1, NULL, &info, NULL) < 0 ||
            write(pipe_fd, &seq, sizeof seq) != sizeof seq)
            _exit(1);
    }
}

static void a_kill_leaves_whole_ones(void)
{
    static char dir[PATH_MAX], db[PATH_MAX];
    snprintf(dir, sizeof dir, "%s", scratch_path("killed-snapshots"));
    snprintf(db, sizeof db, "%s", scratch_path("killed-db"));
    if (mkdir(dir, 0700) < 0)
        tap_bail_out("no directory");
    int wrong = 0;
    uint64_t seq = 0, last = 0;
    for (int round = 0; round < 10; round++) {
        int pipe_fds[2];
        fflush(stdout);
        pid_t child = pipe(pipe_fds) < 0 ? -1 : fork();
        if (child == 0)
            snapshot_until_killed(dir, db, pipe_fds[1]);
        close(pipe_fds[1]);
        for (unsigned i = next_random() % 8; i > 0 && read(pipe_fds[0], &seq, sizeof seq) > 0; i--)
            ;
        nanosleep(&(struct timespec){ .tv_nsec = next_random() % 3000000 }, NULL);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        while (read(pipe_fds[0], &seq, sizeof seq) == sizeof seq)
            ;
        close(pipe_fds[0]);
        last = seq > last ? seq : last;
        uint64_t *items;
        size_t count;
        if (snapshot_list(dir, &items, &count, NULL) < 0)
            tap_bail_out("no list");
        wrong += last > 0 && (count == 0 || items[0] < last);
        for (size_t i = 0; i < count; i++)
            wrong += !is_sound(snapshot_path(dir, items[i]));
        free(items);
    }
    is_int(wrong, 0, "killed while it writes: what has a name is whole, what was said is there");
}

/*--- Words -------------------------------------------------------------------------------------*/

static void progress_has_words(void)
{
    struct rebuild_progress progress = { .stage = REBUILD_REPLAY };
    struct timespec now;
    char text[300];
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    progress.first = 1000;
    progress.at = 11000;
    progress.last = 3011000;
    progress.bytes = 1000000;
    progress.began_ns = now_ns - 1000000000;
    rebuild_progress_text(&progress, text, sizeof text);
    ok(strstr(text, "at event 11000 of 1001 to 3011000, ") &&
           strstr(text, " events/s; about 300.0 MB"),
       "a replay says where it is, how fast, and what is left: %s", text);
    progress.stage = REBUILD_SNAPSHOT;
    rebuild_progress_text(&progress, text, sizeof text);
    ok(strstr(text, "document 11000 of 3011000; about "), "and so does loading a snapshot: %s",
       text);
    progress.at = progress.bytes = 0;
    progress.stage = REBUILD_REPLAY;
    rebuild_progress_text(&progress, text, sizeof text);
    ok(!strstr(text, "left"), "which is not guessed at the beginning: %s", text);
}

/*--- Loading -----------------------------------------------------------------------------------*/

static void half_a_load_is_nothing(void)
{
    struct budget budget;
    struct state *state;
    struct state_found found;
    struct state_load load;
    struct error error = { 0 };
    budget_init(&budget, 1ull << 30);
    struct state_options options = { .dir = scratch_path("half-db"), .budget = &budget };
    static char value[100000];
    if (state_open(&state, &options, &found, &error) < 0 ||
        state_load_begin(&load, state, &error) < 0)
        tap_bail_out("%s", error.text);
    for (unsigned i = 0; i < 1500; i++) {
        char key[16];
        snprintf(key, sizeof key, "w%06u", i);
        if (state_load_add(&load, span_of_text(key), span_of(value, sizeof value), &error) < 0)
            tap_bail_out("%s", error.text);
    }
    kv_abort(load.writer); /* as a crash would: some transactions are there, the last is not */
    is_int(state_close(state, NULL), 0, "(closed)");
    if (state_open(&state, &options, &found, &error) < 0)
        tap_bail_out("%s", error.text);
    ok(found.rebuilt && found.applied_seq == 0, "a load that was cut off is deleted: %s",
       found.why);
    is_int(state_close(state, NULL), 0, "(closed)");
}

int main(int argc, char **argv)
{
    seed = argc > 1 ? strtoull(argv[1], NULL, 10) : (uint64_t)time(NULL) * 2654435761u + 1;
    tap_note("seed %llu (give it as the argument to repeat)", (unsigned long long)seed);
    signal(SIGXFSZ, SIG_IGN);
    snprintf(log_dir, sizeof log_dir, "%s", scratch_path("log"));
    snprintf(db_dir, sizeof db_dir, "%s", scratch_path("db"));
    snprintf(snapshots_dir, sizeof snapshots_dir, "%s", scratch_path("snapshots"));
    if (mkdir(snapshots_dir, 0700) < 0)
        tap_bail_out("no directory");
    make_log();
    all_ways_agree();
    any_event_will_do();
    damage_is_found();
    a_damaged_one_is_passed_over();
    a_beginning_may_be_gone();
    another_history_is_noticed();
    a_fork_keeps_what_it_shares();
    a_fork_goes_on_when_interrupted();
    two_are_kept();
    one_is_made_when_due();
    a_full_disk_leaves_nothing();
    a_wrong_count_is_damage();
    a_kill_leaves_whole_ones();
    progress_has_words();
    half_a_load_is_nothing();
    return tap_done();
}
