#include "tools/agent/doctor.h"

#include "log/event.h"
#include "tools/agent/host.h"
#include "tools/agent/state_view.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define NICE 19
#define YIELD_EVERY 64u /* documents */
#define TRIES 5         /* when the database has to grow meanwhile */
#define SAID_MAX 10u    /* findings on stderr */

struct doctor {
    struct doctor_options options;
    pthread_t thread;
    _Atomic bool stop;
    struct doctor_report next; /* the thread's: under construction */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t work, done;
    struct doctor_report last;
};

/*--- One check ---------------------------------------------------------------------------------*/

struct checking {
    struct state_view *view;
    struct doctor_report *report;
};

static int get_document(struct span key, struct span *bytes, void *context)
{
    const struct checking *checking = context;
    return state_view_get(checking->view, key, bytes);
}

static void note_finding(struct span key, const char *sentence, void *context)
{
    const struct checking *checking = context;
    struct doctor_report *report = checking->report;
    struct doctor_finding *finding = &report->findings[report->finding_count++];
    check_documents_key_to_text(finding->key, key);
    snprintf(finding->sentence, sizeof finding->sentence, "%s", sentence);
}

static int check_all(struct doctor *doctor, struct state_view *view, struct check_documents *check,
                     struct error *error)
{
    struct doctor_report *report = &doctor->next;
    struct span key, bytes;
    uint64_t count = 0;
    int status;
    while ((status = state_view_next(view, &key, &bytes, error)) == 1) {
        if (atomic_load_explicit(&doctor->stop, memory_order_relaxed))
            return error_set(error, -ECANCELED, "the agent stops");
        status = check_documents_add(check, key, bytes);
        if (status < 0)
            return error_set(error, status, "the documents cannot be checked: %s",
                             error_text(status));
        if (++count % YIELD_EVERY == 0)
            sched_yield();
    }
    if (status == 0 && (status = check_documents_end(check, &report->result)) < 0)
        error_set(error, status, "the documents cannot be checked: %s", error_text(status));
    return status;
}

static int check_once(struct doctor *doctor, struct error *error)
{
    struct doctor_report *report = &doctor->next;
    struct checking checking = { .report = report };
    struct check_documents *check = NULL;
    const struct check_documents_options options = { .budget = doctor->options.budget,
                                                     .keys = event_keys_of(doctor->options.keyring),
                                                     .get = get_document,
                                                     .found = note_finding,
                                                     .context = &checking };
    report->finding_count = 0;
    int status = state_commit_now(doctor->options.state, error);
    if (status == 0)
        status = state_view_open(doctor->options.state, &checking.view, error);
    if (status < 0)
        return status;
    report->seq = state_view_position(checking.view)->applied_seq;
    status = check_documents_open(&check, &options, error);
    if (status == 0)
        status = check_all(doctor, checking.view, check, error);
    check_documents_close(check);
    state_view_close(checking.view);
    return status;
}

static void check(struct doctor *doctor)
{
    struct doctor_report *report = &doctor->next;
    struct error error = { 0 };
    uint64_t began_ns = host_monotonic_ns();
    int status = ERROR_UNAVAILABLE;
    memset(report, 0, sizeof *report);
    report->time_ns = host_wall_ns();
    for (unsigned i = 0; i < TRIES && status == ERROR_UNAVAILABLE; i++)
        status = check_once(doctor, &error);
    report->took_ns = host_monotonic_ns() - began_ns;
    if (status == 0)
        return;
    report->finding_count = 0; /* of half a check: not known to be all that there are */
    report->error = error;
    report->error.code = status;
}

static void say(const struct doctor_report *report)
{
    if (report->error.code < 0 && report->error.code != -ECANCELED)
        host_say("the state was not checked: %s", report->error.text);
    for (uint32_t i = 0; i < report->finding_count && i < SAID_MAX; i++)
        host_say("a broken invariant, please report it: document %s: %s", report->findings[i].key,
                 report->findings[i].sentence);
    if (report->result.findings > SAID_MAX)
        host_say("and %" PRIu64 " more (daa-cli doctor state)", report->result.findings - SAID_MAX);
}

/*--- The thread --------------------------------------------------------------------------------*/

static void *run(void *argument)
{
    struct doctor *doctor = argument;
    pthread_setname_np(pthread_self(), "daa-doctor");
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE); /* of this thread alone */
    pthread_mutex_lock(&doctor->lock);
    while (!atomic_load(&doctor->stop)) {
        if (!doctor->last.under_way) {
            pthread_cond_wait(&doctor->work, &doctor->lock);
            continue;
        }
        pthread_mutex_unlock(&doctor->lock);
        check(doctor);
        say(&doctor->next);
        pthread_mutex_lock(&doctor->lock);
        if (doctor->next.error.code == -ECANCELED)
            continue; /* what was known before stays */
        doctor->next.checks = doctor->last.checks + 1;
        doctor->last = doctor->next;
        pthread_cond_broadcast(&doctor->done);
    }
    pthread_cond_broadcast(&doctor->done);
    pthread_mutex_unlock(&doctor->lock);
    return NULL;
}

int doctor_open(struct doctor **opened, const struct doctor_options *options, struct error *error)
{
    struct doctor *doctor = calloc(1, sizeof *doctor);
    if (!doctor)
        return error_set(error, -ENOMEM, "no memory to check the state");
    doctor->options = *options;
    pthread_mutex_init(&doctor->lock, NULL);
    pthread_cond_init(&doctor->work, NULL);
    pthread_cond_init(&doctor->done, NULL);
    int status = -pthread_create(&doctor->thread, NULL, run, doctor);
    if (status < 0) {
        free(doctor);
        return error_set(error, status, "cannot start the thread that checks the state: %s",
                         error_text(status));
    }
    *opened = doctor;
    return 0;
}

void doctor_stop(struct doctor *doctor)
{
    if (!doctor)
        return;
    pthread_mutex_lock(&doctor->lock);
    atomic_store(&doctor->stop, true);
    pthread_cond_signal(&doctor->work);
    pthread_cond_broadcast(&doctor->done);
    pthread_mutex_unlock(&doctor->lock);
}

void doctor_close(struct doctor *doctor)
{
    if (!doctor)
        return;
    doctor_stop(doctor);
    pthread_join(doctor->thread, NULL);
    pthread_cond_destroy(&doctor->work);
    pthread_cond_destroy(&doctor->done);
    pthread_mutex_destroy(&doctor->lock);
    free(doctor);
}

/*--- For others --------------------------------------------------------------------------------*/

bool doctor_begin(struct doctor *doctor, uint64_t *number)
{
    pthread_mutex_lock(&doctor->lock);
    bool begins = !doctor->last.under_way && !atomic_load(&doctor->stop);
    if (begins) {
        *number = doctor->last.checks + 1;
        doctor->last.under_way = true;
        pthread_cond_signal(&doctor->work);
    }
    pthread_mutex_unlock(&doctor->lock);
    return begins;
}

int doctor_wait(struct doctor *doctor, uint64_t number, struct doctor_report *report)
{
    pthread_mutex_lock(&doctor->lock);
    while (doctor->last.checks < number && !atomic_load(&doctor->stop))
        pthread_cond_wait(&doctor->done, &doctor->lock);
    bool ended = doctor->last.checks >= number;
    *report = doctor->last;
    pthread_mutex_unlock(&doctor->lock);
    return ended ? 0 : -ECANCELED;
}

void doctor_report_get(struct doctor *doctor, struct doctor_report *report)
{
    pthread_mutex_lock(&doctor->lock);
    *report = doctor->last;
    pthread_mutex_unlock(&doctor->lock);
}
