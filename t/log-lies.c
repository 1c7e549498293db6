/* A disk that does not keep its word, under the simulator of t/log-power.c: a write that it said
 * was done is lost, or lands at another offset or in another file of the log; a block is read as
 * what it was before, as another block, or not at all. Then power fails, or the log is closed.
 *
 * Nothing of that is ever shown as an event that was not appended. An acknowledged event that is
 * missing is reported: the log does not open, or, where its end is whole, verifying and reading it
 * say so. One boundary is left, and held to exactly: the end of the log, where no byte that is left
 * on the disk knows that more had been durable. Of a single fault that can only be frames that were
 * closed before the first of them was acknowledged: those under way together, and those that waited
 * for them. A consumer outside that has seen the events makes it none at all.
 *
 * A block that cannot be read hides nothing: it never moves the end of the log.
 *
 * SEED=<n> replays one seed and says more; SEEDS=<n> tries so many. */
#include "core/base/bytes.h"
#include "io_power.h"
#include "log/checkpoint.h"
#include "log/directory.h"
#include "log/frame.h"
#include "log/reader.h"
#include "log/segment.h"
#include "log/verify.h"
#include "power_trial.h"
#include "read_fault.h"
#include "scratch.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SEEDS = 150 };
#else
enum { SEEDS = 1000 };
#endif
enum {
    LIVES_BEFORE_MAX = 3,
    FRAMES_MAX = 4096,
    BLOCKS_MAX = LOG_SEGMENT_SIZE_MIN / LOG_BLOCK_SIZE
};

enum fault {
    LOST,
    MISPLACED,
    MISFILED,
    ALL_LOST, /* every write from one on */
    STALE,
    MISREAD,
    UNREADABLE,
    FAULTS
};

static const char *const fault_names[] = {
    [LOST] = "a lost write",
    [MISPLACED] = "a write to a wrong offset",
    [MISFILED] = "a write to a wrong file",
    [ALL_LOST] = "all writes lost from one on",
    [STALE] = "a block read as it was before",
    [MISREAD] = "a block read as another",
    [UNREADABLE] = "a block that cannot be read",
};

/* What became of the trials with one fault. */
struct outcome {
    unsigned trials, refused, found, cut, harmless;
    unsigned frames_most; /* that were cut in one trial */
    uint64_t events;      /* that were cut in all */
};

/* A frame of which the disk said that it was written. */
struct written {
    uint64_t first_seq, last_seq;
    uint64_t durable_seq; /* what it knows itself */
    unsigned life;
};

static struct budget budget;
static char dir[240];
static bool loud;
static struct outcome outcomes[FAULTS];
static struct written frames[FRAMES_MAX];
static size_t frame_count;
/*--- What the disk was told, and what it knows --------------------------------------------------*/

static void note_written(const struct io_op *op, void *context)
{
    const struct trial *trial = context;
    struct frame_header frame;
    if (op->size < FRAME_HEADER_SIZE || memcmp(op->buffer, FRAME_MAGIC, 4) != 0 ||
        frame_header_decode(op->buffer, &frame) < 0)
        return;
    /* A failover writes frames again, and a life gives numbers again that a crash took. */
    for (size_t i = frame_count; i-- > 0;)
        if (frames[i].first_seq == frame.first_seq ||
            (frames[i].life < trial->lives && frames[i].last_seq >= frame.first_seq))
            frames[i] = frames[--frame_count];
    if (frame_count == FRAMES_MAX)
        tap_bail_out("too many frames");
    frames[frame_count++] = (struct written){ frame.first_seq, frame_last_seq(&frame),
                                              frame.durable_seq, trial->lives };
}

/* How many frames are in (last_seq, acknowledged]. *knew: one of them was closed when the first of
 * them had been acknowledged. */
static unsigned frames_between(uint64_t last_seq, uint64_t acknowledged, bool *knew)
{
    unsigned count = 0;
    *knew = false;
    for (size_t i = 0; i < frame_count; i++) {
        if (frames[i].last_seq <= last_seq || frames[i].first_seq > acknowledged)
            continue;
        count++;
        *knew |= frames[i].durable_seq > last_seq;
    }
    return count;
}

/* What is on the disk that speaks of events behind `last_seq`, found by looking at every block of
 * every file up to the first behind the newest segment: the highest event that anything knows to be
 * durable, and whether a frame of the newest segment lies where it does not belong, there or in the
 * file behind it. */
struct evidence {
    uint64_t last_seq;
    uint64_t witness;
    bool displaced;
    uint64_t newest_salt;
};

static void weigh(struct evidence *evidence, uint64_t seq, const char *path, uint64_t offset)
{
    if (seq > evidence->last_seq && loud)
        tap_note("%s at %llu: events up to %llu were durable", path, (unsigned long long)offset,
                 (unsigned long long)seq);
    if (seq > evidence->witness)
        evidence->witness = seq;
}

static void look_at_segment(struct evidence *evidence, const char *path, bool may_hold_newest)
{
    struct segment_header header;
    struct frame_header frame;
    uint8_t block[LOG_BLOCK_SIZE];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool begun = fd >= 0 && pread(fd, block, sizeof block, 0) == sizeof block &&
                 segment_header_decode(block, &header, NULL) == 0;
    if (begun)
        weigh(evidence, header.durable_seq, path, 0);
    for (uint64_t at = LOG_BLOCK_SIZE; fd >= 0 && at < LOG_SEGMENT_SIZE_MIN; at += LOG_BLOCK_SIZE) {
        if (pread(fd, block, sizeof block, (off_t)at) != sizeof block ||
            memcmp(block, FRAME_MAGIC, 4) != 0 || frame_header_decode(block, &frame) < 0)
            continue;
        bool here = frame.file_offset == at && (!begun || frame.salt == header.salt);
        if (here)
            weigh(evidence, frame.durable_seq, path, at);
        else if (may_hold_newest && frame.salt == evidence->newest_salt &&
                 frame.file_offset != at && frame_last_seq(&frame) > evidence->last_seq)
            evidence->displaced = true;
    }
    close(fd);
}

static void look_at_checkpoint(struct evidence *evidence)
{
    char path[300];
    uint8_t block[LOG_BLOCK_SIZE];
    struct checkpoint slot;
    snprintf(path, sizeof path, "%s/%s", dir, LOG_CHECKPOINT_NAME);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    for (off_t at = 0; fd >= 0 && at < CHECKPOINT_SIZE; at += LOG_BLOCK_SIZE)
        if (pread(fd, block, sizeof block, at) == sizeof block &&
            checkpoint_decode(block, &slot) == 0)
            weigh(evidence, slot.durable_seq, path, (uint64_t)at);
    close(fd);
}

static void segment_path(char path[300], uint64_t segment_no)
{
    char name[LOG_SEGMENT_NAME_SIZE];
    segment_name(name, segment_no);
    snprintf(path, 300, "%s/%s", dir, name);
}

static struct evidence look_everywhere(const struct log_recovery *recovery)
{
    struct evidence evidence = { .last_seq = recovery->last_seq };
    struct segment_header header;
    struct directory directory;
    struct error error;
    char path[300];
    if (directory_open(&directory, dir, &error) < 0)
        tap_bail_out("%s", error.text);
    uint8_t block[LOG_BLOCK_SIZE];
    int fd = -1;
    if (recovery->exists) {
        segment_path(path, recovery->last_segment_no);
        fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    if (fd >= 0 && pread(fd, block, sizeof block, 0) == sizeof block &&
        segment_header_decode(block, &header, NULL) == 0)
        evidence.newest_salt = header.salt;
    close(fd);
    ptrdiff_t last = directory_find(&directory, recovery->last_segment_no);
    for (ptrdiff_t i = 0; i < (ptrdiff_t)directory.count && i <= last + 1; i++) {
        segment_path(path, directory.segments[i]);
        look_at_segment(&evidence, path, i >= last);
    }
    look_at_checkpoint(&evidence);
    directory_close(&directory);
    return evidence;
}

/*--- What the log says --------------------------------------------------------------------------*/

/* What reading gives, with what is damaged left out. */
struct view {
    bool failed;      /* it says that it cannot */
    uint64_t missing; /* the first acknowledged event that it does not give; 0: none */
    uint64_t last_seq;
};

/* Behind damage, where nobody knows any more where the log had ended before, what a crash left out
 * may be shown too. */
static bool is_right(const struct trial *trial, const struct record *record, bool skip_damage)
{
    if (record->kind <= LOG_KIND_OWN_MAX)
        return true;
    return log_commands_hold(&trial->commands, record) ||
           (skip_damage && trial_left_out(trial, record));
}

/* False when an event is given that was never appended. */
static bool read_all(struct trial *trial, bool skip_damage, uint64_t up_to, struct view *view)
{
    struct log_reader_options options = { .dir = dir, .skip_damage = skip_damage };
    struct log_reader *reader;
    struct record record;
    struct error error = { 0 };
    *view = (struct view){ .failed = true, .missing = 1 };
    if (log_reader_open(&reader, &options, &error) < 0)
        return true;
    uint64_t next = 1;
    int more;
    bool right = true;
    view->missing = 0;
    while (right && (more = log_reader_next(reader, &record, NULL, &error)) == 1) {
        right = record.seq >= next && is_right(trial, &record, skip_damage);
        if (record.seq > next && next <= up_to && view->missing == 0)
            view->missing = next;
        view->last_seq = record.seq;
        next = record.seq + 1;
    }
    log_reader_close(reader);
    if (!right) {
        char text[100];
        snprintf(text, sizeof text, "event %llu is shown, of kind %u, and was never appended",
                 (unsigned long long)record.seq, record.kind);
        return trial_failed(trial, text);
    }
    view->failed = more < 0;
    if (view->missing == 0 && next <= up_to)
        view->missing = next;
    return true;
}

static bool verify_finds(uint64_t outside)
{
    struct log_witness witness = { "LMDB", outside };
    struct log_verify_options options = { .dir = dir,
                                          .witnesses = &witness,
                                          .witness_count = outside > 0 };
    struct log_verify_result result;
    struct error error = { 0 };
    return log_verify(&options, &result, &error) < 0 || result.verdict == LOG_DAMAGED;
}

static bool recovery_refuses(uint64_t outside, struct log_recovery *recovery)
{
    struct log_witness witness = { "LMDB", outside };
    struct error error = { 0 };
    int code = log_recover(dir, &witness, outside > 0, recovery, &error);
    if (loud)
        tap_note("%s%s", outside > 0 ? "with LMDB: " : "",
                 code < 0 ? error.text : recovery->reason);
    return code < 0 || recovery->verdict == LOG_DAMAGED;
}

/*--- The oracle ---------------------------------------------------------------------------------*/

/* Acknowledged events are behind the end that recovery finds: nothing on the disk may know that. */
static bool judge_cut(struct trial *trial, enum fault fault, const struct log_recovery *recovery)
{
    struct outcome *outcome = &outcomes[fault];
    struct evidence evidence = look_everywhere(recovery);
    char text[200];
    uint64_t acknowledged = trial->acknowledged;
    bool knew;
    unsigned count = frames_between(recovery->last_seq, acknowledged, &knew);
    snprintf(text, sizeof text,
             "of %llu acknowledged events %llu are left, %s, though %s knew more",
             (unsigned long long)acknowledged, (unsigned long long)recovery->last_seq,
             log_verdict_name((uint16_t)recovery->verdict),
             evidence.displaced ? "a misplaced frame" : "a witness in the log");
    if (evidence.witness > recovery->last_seq || evidence.displaced)
        return trial_failed(trial, text);
    outcome->cut++;
    outcome->events += acknowledged - recovery->last_seq;
    if (count > outcome->frames_most)
        outcome->frames_most = count;
    if (fault == UNREADABLE)
        return trial_failed(trial, "a block that cannot be read moved the end");
    return !knew || fault == ALL_LOST ||
           trial_failed(trial, "one fault took more than what was under way at the same time");
}

/* What the log in its directory says of itself. *refused: it does not open. */
static bool judge(struct trial *trial, enum fault fault, bool *refused)
{
    struct outcome *outcome = &outcomes[fault];
    struct log_recovery recovery, outside;
    struct view view, strict;
    *refused = recovery_refuses(0, &recovery);
    if (!read_all(trial, true, trial->acknowledged, &view) ||
        !read_all(trial, false, trial->acknowledged, &strict))
        return false;
    bool found = verify_finds(0);
    bool cut = !*refused && recovery.last_seq < trial->acknowledged;
    outcome->trials++;
    outcome->refused += *refused;
    outcome->found += found && !*refused && !cut;
    outcome->harmless += !found && !*refused && !cut;
    if (cut && !judge_cut(trial, fault, &recovery))
        return false;
    if (cut && !recovery_refuses(trial->acknowledged, &outside))
        return trial_failed(trial, "a consumer knows more, and the log opens all the same");
    uint64_t end = cut ? recovery.last_seq : trial->acknowledged;
    bool missing = view.missing != 0 && view.missing <= end;
    if (missing && !*refused && !found)
        return trial_failed(trial, "an event is missing, and log_verify() finds nothing");
    if (missing && !strict.failed && strict.missing != 0 && strict.missing <= end)
        return trial_failed(trial, "an event is missing, and reading says nothing");
    if (view.missing != 0 && !verify_finds(trial->acknowledged))
        return trial_failed(trial, "log_verify() does not find what a consumer knows");
    return true;
}

/*--- The trials ---------------------------------------------------------------------------------*/

/* Opens, appends, and closes. *opened: it did. */
static bool go_on(struct trial *trial, bool *opened)
{
    struct log_recovery recovery;
    struct error error = { 0 };
    struct log *log = NULL;
    struct io *io;
    if (io_open_power(&io, random_next(&trial->random)) < 0)
        tap_bail_out("no engine");
    struct log_options options = trial_options(trial, dir, io);
    bool good = true;
    *opened = log_open(&log, &options, &recovery, &error) == 0;
    if (*opened) {
        good = log_commands_cut(&trial->commands, recovery.last_seq) ||
               trial_failed(trial, "half of a command is left");
        trial_append(trial, log);
        if (log_commands_settle(log))
            trial->acknowledged = log_durable_seq(log);
        if (log_close(&log, &error) < 0)
            log = NULL;
    }
    io_close(io);
    return good;
}

/* A life on a disk that lies about some writes. */
static bool live_with_lies(struct trial *trial, enum fault fault, bool *lied)
{
    static const enum io_power_lie lies[] = { [LOST] = IO_POWER_LOST,
                                              [MISPLACED] = IO_POWER_MISPLACED,
                                              [MISFILED] = IO_POWER_MISFILED,
                                              [ALL_LOST] = IO_POWER_LOST };
    struct random *random = &trial->random;
    struct log_recovery recovery;
    struct error error = { 0 };
    struct log *log = NULL;
    struct io *io;
    if (io_open_power(&io, random_next(random)) < 0)
        tap_bail_out("no engine");
    bool closes = random_below(random, 4) == 0;
    if (!closes)
        io_power_fail_after(io, random_below(random, 120));
    io_power_lie_after(io, random_below(random, random_below(random, 2) == 0 ? 8 : 80),
                       fault == ALL_LOST ? UINT64_MAX : 1, lies[fault]);
    io_power_watch(io, note_written, trial);
    struct log_options options = trial_options(trial, dir, io);
    bool opened = log_open(&log, &options, &recovery, &error) == 0;
    bool good = opened || io_power_is_off(io) || trial_failed(trial, error.text);
    if (opened) {
        trial->acknowledged = log_durable_seq(log);
        if (random_below(random, 2) == 0)
            trial_prepare_to_break(trial, log, io);
        trial_append(trial, log);
        if (!closes)
            io_power_crash(io);
        if (closes) /* or not, when a write of CLOSE fails too */
            (void)trial_close(trial, log, &error);
        else
            log_abandon(&log);
    }
    io_power_crash(io);
    *lied = io_power_lies(io) > 0;
    io_close(io);
    trial->counts.crashes++;
    return good;
}

static bool try_lies(struct trial *trial, enum fault fault)
{
    bool lied, refused, opened;
    struct log_replay replay;
    if (!trial_settle(trial, &replay))
        return false;
    if (!live_with_lies(trial, fault, &lied))
        return false;
    if (!lied)
        return true;
    if (!judge(trial, fault, &refused) ||
        (fault != ALL_LOST && random_below(&trial->random, 8) == 0 &&
         !trial_crash_openings(trial)) ||
        !go_on(trial, &opened))
        return false;
    if (opened == refused)
        return trial_failed(trial, "opening and recovery say different things");
    struct view view;
    if (!opened)
        return true;
    if (!read_all(trial, true, trial->acknowledged, &view))
        return false;
    return view.missing == 0 || verify_finds(0) ||
           trial_failed(trial, "an event is missing later, and nobody finds it");
}

/* Chooses a block that the opening will look at: mostly near the end of the newest segment. */
static void choose_block(struct trial *trial, char name[LOG_SEGMENT_NAME_SIZE], uint64_t *offset)
{
    struct random *random = &trial->random;
    struct log_recovery recovery;
    struct error error = { 0 };
    uint32_t choice = random_below(random, 10);
    char path[300];
    if (log_recover(dir, NULL, 0, &recovery, &error) < 0)
        tap_bail_out("%s", error.text);
    uint64_t end = recovery.end_offset / LOG_BLOCK_SIZE, no = recovery.last_segment_no;
    if (choice == 0) {
        snprintf(name, LOG_SEGMENT_NAME_SIZE, "%s", LOG_CHECKPOINT_NAME);
        *offset = (uint64_t)random_below(random, 2) * LOG_BLOCK_SIZE;
        return;
    }
    if (choice == 1 && no > recovery.first_segment_no)
        no--;
    segment_path(path, no + 1);
    if (choice == 2 && access(path, F_OK) == 0)
        no++;
    segment_name(name, no);
    uint64_t block = choice < 5 || end < 3 ? random_below(random, BLOCKS_MAX)
                                           : end - 3 + random_below(random, 5);
    *offset = (block < BLOCKS_MAX ? block : BLOCKS_MAX - 1) * LOG_BLOCK_SIZE;
}

/* What is wrong with that block from now on. */
static void set_fault(struct trial *trial, enum fault fault, const char *name, uint64_t offset)
{
    static uint8_t bytes[LOG_BLOCK_SIZE];
    static char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    memset(bytes, 0, sizeof bytes);
    if (fault == MISREAD) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        off_t other = (off_t)random_below(&trial->random, BLOCKS_MAX) * LOG_BLOCK_SIZE;
        (void)!pread(fd, bytes, sizeof bytes, other);
        close(fd);
    }
    if (fault == UNREADABLE)
        read_fault_set(path, offset, EIO);
    else
        read_fault_give(path, offset, bytes);
}

/* A log that is whole is looked at and opened while one block of it is read wrongly. */
static bool try_reading(struct trial *trial, enum fault fault)
{
    char name[LOG_SEGMENT_NAME_SIZE];
    uint64_t offset;
    struct log_replay replay;
    bool refused, opened;
    if (!trial_settle(trial, &replay))
        return false;
    if (replay.segments == 0)
        return true;
    choose_block(trial, name, &offset);
    set_fault(trial, fault, name, offset);
    if (loud)
        tap_note("%s: %s, block at %llu", fault_names[fault], name, (unsigned long long)offset);
    bool good = judge(trial, fault, &refused) && go_on(trial, &opened);
    read_fault_set(NULL, 0, 0);
    if (good && opened == refused)
        return trial_failed(trial, "opening and recovery say different things");
    /* What was refused was not changed, and is whole again. */
    if (good && refused && (!go_on(trial, &opened) || !opened))
        return trial_failed(trial, "it does not open when it can be read again");
    return good && (log_commands_match(&trial->commands, dir, trial->acknowledged, &replay) ||
                    trial_failed(trial, "it does not hold what was appended"));
}

static bool try_seed(struct trial *trial, uint64_t seed)
{
    trial_begin(trial, dir, &budget, seed, loud);
    trial->written = note_written;
    frame_count = 0;
    unsigned lives = random_below(&trial->random, LIVES_BEFORE_MAX);
    enum fault fault = random_below(&trial->random, FAULTS);
    bool good = true;
    for (unsigned i = 0; good && i < lives; i++)
        good = trial_live(trial, false);
    if (good && loud)
        tap_note("%s", fault_names[fault]);
    if (good)
        good = fault >= STALE ? trial_live(trial, random_below(&trial->random, 4) == 0) &&
                                    try_reading(trial, fault)
                              : try_lies(trial, fault);
    trial_end(trial);
    return good;
}

static void tell(uint64_t bad)
{
    unsigned refused = 0, found = 0, cut = 0;
    for (int i = 0; i < FAULTS; i++) {
        const struct outcome *o = &outcomes[i];
        tap_note("%s: %u trials; refused %u; found by verify %u; nothing was lost %u; without any "
                 "witness %u (%llu events, at most %u frames)",
                 fault_names[i], o->trials, o->refused, o->found, o->harmless, o->cut,
                 (unsigned long long)o->events, o->frames_most);
        refused += o->refused;
        found += o->found;
        cut += o->cut;
    }
    is_int((intmax_t)bad, 0,
           "an acknowledged event that a lying disk lost is reported, unless no byte that is left "
           "knows of it; no other event is ever shown");
    if (getenv("SEED") != NULL)
        return;
    ok(refused > 0, "some of the logs did not open");
    ok(found > 0, "in some log_verify() found it");
    ok(cut > 0, "and in some nothing was left that could have known");
    is_int(outcomes[UNREADABLE].cut, 0, "no block that cannot be read moves the end");
}

int main(void)
{
    struct trial_counts sum;
    budget_init(&budget, 1ull << 30);
    unsigned bad = trial_seeds(try_seed, SEEDS, dir, &loud, &sum);
    tell(bad);
    return tap_done();
}
