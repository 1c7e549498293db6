#include "tools/agent/scrub.h"

#include "log/removal.h"
#include "log/verify.h"
#include "tools/agent/host.h"
#include "tools/agent/scrub_file.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NICE 19
#define SECOND UINT64_C(1000000000)
#define REST_MAX_NS (10 * SECOND)
#define LOOK_NS (3600 * SECOND)  /* the clock may have been set: look again */
#define KEEP_NS (600 * SECOND)   /* how much reading a crash makes us do again */
#define AGAIN_NS (3600 * SECOND) /* after trouble */

struct scrub {
    struct scrub_options options;
    pthread_t thread;
    _Atomic bool stop;
    struct error error; /* the thread's */
    uint64_t file_ns;   /* the thread's, monotonic: the file before this one was done then */
    uint64_t kept_ns;   /* the same: what is known was written then */
    uint64_t retry_ns;  /* the same: not before, after trouble */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t work;
    struct scrub_report known;
    struct scrub_report before; /* one is under way: what was known of the one before it */
    bool asked;
};

/*--- One scrub ---------------------------------------------------------------------------------*/

static void rest(struct scrub *scrub, uint64_t ns)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    ns += (uint64_t)until.tv_nsec;
    until.tv_sec += (time_t)(ns / SECOND);
    until.tv_nsec = (long)(ns % SECOND);
    pthread_mutex_lock(&scrub->lock);
    while (!atomic_load(&scrub->stop) &&
           pthread_cond_timedwait(&scrub->work, &scrub->lock, &until) != ETIMEDOUT)
        continue;
    pthread_mutex_unlock(&scrub->lock);
}

static void say_damage(const struct scrub_damage *damage)
{
    host_say("the log is damaged: %s at %" PRIu64 ": %s", damage->file, damage->offset,
             damage->sentence);
}

static bool is_known(const struct scrub_report *report, const char *file, uint64_t offset)
{
    for (unsigned i = 0; i < report->damage_count && i < SCRUB_DAMAGES_MAX; i++)
        if (report->damages[i].offset == offset && strcmp(report->damages[i].file, file) == 0)
            return true;
    return false;
}

/* True: it is news. */
static bool add_damage(struct scrub_report *report, const struct scrub_damage *damage)
{
    if (is_known(report, damage->file, damage->offset))
        return false;
    if (report->damage_count < SCRUB_DAMAGES_MAX)
        report->damages[report->damage_count] = *damage;
    report->damage_count++;
    return true;
}

/* What the one before found stays until this one has read that file through: it may not come so
 * far. Of what is only counted nobody knows where it is. */
static void add_before(struct scrub_report *report, const struct scrub_report *before)
{
    for (unsigned i = 0; i < before->damage_count && i < SCRUB_DAMAGES_MAX; i++) {
        uint64_t number;
        if (sscanf(before->damages[i].file, "seg-%" SCNu64 ".", &number) != 1 ||
            number >= report->segment_no)
            (void)add_damage(report, &before->damages[i]);
    }
    if (before->damage_count > SCRUB_DAMAGES_MAX && report->damage_count < before->damage_count)
        report->damage_count = before->damage_count;
}

static void take_finding(const struct log_finding *finding, void *context)
{
    struct scrub *scrub = context;
    struct scrub_report *known = &scrub->known;
    struct scrub_damage damage = { .offset = finding->offset,
                                   .size = finding->size,
                                   .first_seq = finding->first_seq,
                                   .last_seq = finding->last_seq };
    if (finding->verdict != LOG_DAMAGED)
        return;
    (void)snprintf(damage.file, sizeof damage.file, "%.31s", finding->file);
    (void)snprintf(damage.sentence, sizeof damage.sentence, "%.380s%s%.120s", finding->text,
                   finding->diagnosis[0] ? "; " : "", finding->diagnosis);
    pthread_mutex_lock(&scrub->lock);
    bool news = add_damage(known, &damage);
    bool said = known->damage_count > SCRUB_DAMAGES_MAX;
    pthread_mutex_unlock(&scrub->lock);
    if (news && !said)
        say_damage(&damage);
}

static void keep(struct scrub *scrub)
{
    struct error error = { 0 };
    struct scrub_report report;
    scrub_report_get(scrub, &report);
    scrub->kept_ns = host_monotonic_ns();
    if (scrub_file_write(scrub->options.data_dir, &report, &error) < 0)
        host_say("how far the log was read through is not kept: %s", error.text);
}

/* A segment was read: its number is in its name. */
static void take_file(const struct log_verified_file *file, void *context)
{
    struct scrub *scrub = context;
    uint64_t now_ns = host_monotonic_ns(), took_ns = now_ns - scrub->file_ns, number;
    pthread_mutex_lock(&scrub->lock);
    if (sscanf(file->file, "seg-%" SCNu64 ".", &number) == 1)
        scrub->known.segment_no = number + 1;
    scrub->known.segments++;
    pthread_mutex_unlock(&scrub->lock);
    if (now_ns - scrub->kept_ns > KEEP_NS)
        keep(scrub);
    rest(scrub, took_ns < REST_MAX_NS ? took_ns : REST_MAX_NS);
    scrub->file_ns = host_monotonic_ns();
}

static void take_progress(uint64_t done_bytes, uint64_t all_bytes, void *context)
{
    struct scrub *scrub = context;
    pthread_mutex_lock(&scrub->lock);
    scrub->known.done_bytes = done_bytes;
    scrub->known.all_bytes = all_bytes;
    pthread_mutex_unlock(&scrub->lock);
}

/* 0, negative with scrub->error. */
static int read_through(struct scrub *scrub, uint64_t first_segment_no)
{
    struct log_verify_options options = { .dir = scrub->options.log_dir,
                                          .first_segment_no = first_segment_no,
                                          .closed_only = true,
                                          .stop = &scrub->stop,
                                          .budget = scrub->options.budget,
                                          .finding = take_finding,
                                          .file = take_file,
                                          .progress = take_progress,
                                          .context = scrub };
    struct log_verify_result result;
    scrub->error = (struct error){ 0 };
    scrub->file_ns = scrub->kept_ns = host_monotonic_ns();
    int status = log_verify(&options, &result, &scrub->error);
    if (status == 0 && atomic_load(&scrub->stop))
        status = error_set(&scrub->error, -ECANCELED, "the agent stops");
    return status;
}

/* With the lock held. Damage is looked at again at each start: it may have been repaired. */
static void set_due(struct scrub *scrub, bool start)
{
    struct scrub_report *known = &scrub->known;
    uint64_t interval_ns = scrub->options.interval_ns;
    if (interval_ns == 0)
        known->due_ns = 0;
    else if (known->ended_ns != 0 || known->damage_count > 0)
        known->due_ns = start && known->damage_count > 0 ? 1 : known->ended_ns + interval_ns;
    else if (!start)
        known->due_ns = host_wall_ns() + interval_ns;
}

static void end_one(struct scrub *scrub, int status)
{
    pthread_mutex_lock(&scrub->lock);
    struct scrub_report *known = &scrub->known;
    if (status == -ECANCELED) { /* it is under way still, and the next start goes on with it */
        pthread_mutex_unlock(&scrub->lock);
        keep(scrub);
        return;
    }
    if (status < 0)
        add_before(known, &scrub->before);
    known->under_way = false;
    known->segment_no = 0;
    known->trouble = scrub->error;
    known->trouble.code = status;
    if (status == 0)
        known->ended_ns = host_wall_ns();
    else
        scrub->retry_ns = host_monotonic_ns() + AGAIN_NS;
    set_due(scrub, false);
    uint64_t damage_count = known->damage_count;
    pthread_mutex_unlock(&scrub->lock);
    if (status < 0)
        host_say("the log was not read through: %s", scrub->error.text);
    if (damage_count > SCRUB_DAMAGES_MAX)
        host_say("and in %" PRIu64 " more places (daa-log verify)",
                 damage_count - SCRUB_DAMAGES_MAX);
    keep(scrub);
}

/* With the lock held. A scrub that an earlier agent left is gone on with. */
static uint64_t begin_one(struct scrub *scrub)
{
    struct scrub_report *known = &scrub->known;
    uint64_t first = known->under_way ? known->segment_no : 0;
    if (first == 0) {
        scrub->before = *known;
        *known = (struct scrub_report){ .ended_ns = known->ended_ns };
    }
    known->under_way = true;
    known->began_ns = host_wall_ns();
    known->trouble = (struct error){ 0 };
    scrub->asked = false;
    return first;
}

/*--- When --------------------------------------------------------------------------------------*/

static void note_oldest(const struct log_segment *segment, void *context)
{
    uint64_t *oldest_ns = context;
    if (*oldest_ns == 0)
        *oldest_ns = segment->created_ns;
}

/* Of a log that was never read through, nothing is older than its oldest segment. */
static void read_known(struct scrub *scrub)
{
    struct error ignored;
    uint64_t oldest_ns = 0;
    struct scrub_report *known = &scrub->known;
    if (scrub_file_read(scrub->options.data_dir, known)) {
        known->under_way = known->segment_no != 0;
        return;
    }
    if (log_segments(scrub->options.log_dir, note_oldest, &oldest_ns, &ignored) == 0)
        known->due_ns = oldest_ns + scrub->options.interval_ns;
}

/* With the lock held. A wall clock behind the end of the last one was set back. */
static bool is_due(const struct scrub *scrub)
{
    const struct scrub_report *known = &scrub->known;
    uint64_t now_ns = host_wall_ns();
    if (scrub->asked || known->under_way)
        return true;
    if (known->due_ns == 0 || host_monotonic_ns() < scrub->retry_ns)
        return false;
    return now_ns >= known->due_ns || now_ns < known->ended_ns;
}

/* With the lock held, which it lets go of meanwhile. */
static void wait_for_work(struct scrub *scrub)
{
    struct timespec until;
    uint64_t now_ns = host_wall_ns(), due_ns = scrub->known.due_ns, ns = LOOK_NS;
    if (due_ns > now_ns && due_ns - now_ns < ns)
        ns = due_ns - now_ns;
    clock_gettime(CLOCK_MONOTONIC, &until);
    ns += (uint64_t)until.tv_nsec;
    until.tv_sec += (time_t)(ns / SECOND);
    until.tv_nsec = (long)(ns % SECOND);
    (void)pthread_cond_timedwait(&scrub->work, &scrub->lock, &until);
}

static void *run(void *argument)
{
    struct scrub *scrub = argument;
    const int idle_class = 3 << 13, who_process = 1; /* ioprio_set(2): no header has them */
    pthread_setname_np(pthread_self(), "daa-scrub");
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE); /* of this thread alone */
    (void)syscall(SYS_ioprio_set, who_process, 0, idle_class);
    pthread_mutex_lock(&scrub->lock);
    while (!atomic_load(&scrub->stop)) {
        if (!is_due(scrub)) {
            wait_for_work(scrub);
            continue;
        }
        uint64_t first = begin_one(scrub);
        pthread_mutex_unlock(&scrub->lock);
        int status = read_through(scrub, first);
        end_one(scrub, status);
        pthread_mutex_lock(&scrub->lock);
    }
    pthread_mutex_unlock(&scrub->lock);
    return NULL;
}

/*--- For others --------------------------------------------------------------------------------*/

int scrub_open(struct scrub **opened, const struct scrub_options *options, struct error *error)
{
    pthread_condattr_t attributes;
    struct scrub *scrub = calloc(1, sizeof *scrub);
    if (!scrub)
        return error_set(error, -ENOMEM, "no memory to read the log through");
    scrub->options = *options;
    read_known(scrub);
    set_due(scrub, true);
    pthread_mutex_init(&scrub->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&scrub->work, &attributes);
    pthread_condattr_destroy(&attributes);
    int status = -pthread_create(&scrub->thread, NULL, run, scrub);
    if (status < 0) {
        free(scrub);
        return error_set(error, status, "cannot start the thread that reads the log through: %s",
                         error_text(status));
    }
    *opened = scrub;
    return 0;
}

void scrub_stop(struct scrub *scrub)
{
    if (!scrub)
        return;
    pthread_mutex_lock(&scrub->lock);
    atomic_store(&scrub->stop, true);
    pthread_cond_signal(&scrub->work);
    pthread_mutex_unlock(&scrub->lock);
}

void scrub_close(struct scrub *scrub)
{
    if (!scrub)
        return;
    scrub_stop(scrub);
    pthread_join(scrub->thread, NULL);
    pthread_cond_destroy(&scrub->work);
    pthread_mutex_destroy(&scrub->lock);
    free(scrub);
}

bool scrub_begin(struct scrub *scrub)
{
    pthread_mutex_lock(&scrub->lock);
    bool begins = !scrub->known.under_way && !scrub->asked && !atomic_load(&scrub->stop);
    if (begins) {
        scrub->asked = true;
        pthread_cond_signal(&scrub->work);
    }
    pthread_mutex_unlock(&scrub->lock);
    return begins;
}

void scrub_report_get(struct scrub *scrub, struct scrub_report *report)
{
    pthread_mutex_lock(&scrub->lock);
    *report = scrub->known;
    report->under_way = report->under_way || scrub->asked;
    if (scrub->known.under_way)
        add_before(report, &scrub->before);
    pthread_mutex_unlock(&scrub->lock);
}

bool scrub_is_degraded(struct scrub *scrub, char *sentence, size_t size)
{
    struct scrub_report report;
    scrub_report_get(scrub, &report);
    if (report.damage_count == 0)
        return false;
    (void)snprintf(sentence, size,
                   "the log is damaged in %" PRIu64 " places, the first %s at %" PRIu64
                   ": daa-log verify says more, daa-log repair mends what can be",
                   report.damage_count, report.damages[0].file, report.damages[0].offset);
    return true;
}
