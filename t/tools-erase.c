/* Erasing on the real loop, beside what else takes workflows out of the state. */
#include "core/event/event.h"
#include "log/keyring.h"
#include "log/reader.h"
#include "loop_daemon.h"
#include "scratch.h"
#include "tap.h"
#include "tools/agent/eraser.h"
#include "tools/agent/housekeeper.h"
#include "tools/agent/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HOUR_NS 3600000000000ull

static struct loop_daemon daemon_;
static uint64_t stream;
static pthread_t eraser;
static _Atomic bool begun, is_exclusive;

static void *erase(void *argument)
{
    struct erasure erasure = { .stream = stream };
    struct error error;
    (void)argument;
    erasure.reason = span_of_text("asked for");
    if (eraser_erase(daemon_.boot.eraser, &erasure, &error) < 0)
        tap_note("%s", error.text);
    return NULL;
}

/* The housekeeper knows what is over and has not asked yet: the worst moment for an erasure. Where
 * one is not kept out it is done here, and the housekeeper goes on with what it knew. */
static void erase_before_expiry(void)
{
    if (begun)
        return;
    begun = true;
    is_exclusive = pthread_mutex_trylock(&daemon_.boot.removals) != 0;
    if (!is_exclusive)
        pthread_mutex_unlock(&daemon_.boot.removals);
    if (pthread_create(&eraser, NULL, erase, NULL) != 0)
        tap_bail_out("no thread");
    if (!is_exclusive)
        pthread_join(eraser, NULL);
}

static uint64_t submit_and_complete(uint64_t finished)
{
    static const char source[] = "{\"name\":\"n\",\"steps\":[{\"id\":\"a\",\"sleep\":\"0s\"}]}";
    struct command command = { .kind = COMMAND_SUBMIT };
    struct flow_problem problem;
    struct loop_counts counts;
    uint64_t submitted = 0;
    if (flow_compile(&command.submit.flow, &daemon_.boot.budget, span_of_text(source), &problem) <
            0 ||
        loop_daemon_ask(&daemon_, &command, &submitted) != REQUEST_DURABLE)
        tap_bail_out("a workflow is not taken");
    flow_unref(command.submit.flow);
    do {
        sched_yield();
        loop_counts_get(daemon_.boot.loop, &counts);
    } while (counts.agent.finished < finished);
    return submitted;
}

static void beside_expiry(void)
{
    struct housekeeper_status status = { 0 };
    struct loop_counts counts;
    daemon_ =
        (struct loop_daemon){ .config = "encryption = true\n[state]\nfinished_ttl = \"1h\"\n"
                                        "snapshot_interval = \"0s\"\n[anchor]\ninterval = \"0s\"\n",
                              .before_expiry = erase_before_expiry };
    loop_daemon_start(&daemon_);
    stream = submit_and_complete(1);
    loop_daemon_pass(2 * HOUR_NS);
    inbox_wake(daemon_.boot.inbox);
    do {
        sched_yield();
        loop_counts_get(daemon_.boot.loop, &counts);
        housekeeper_status_get(daemon_.boot.housekeeper, &status);
    } while (!begun || counts.agent.finished > 0 || status.looks < 3);
    ok(is_exclusive, "nothing is erased between the look at what is over and its answer");
    if (is_exclusive)
        pthread_join(eraser, NULL);
    loop_daemon_stop(&daemon_);

    scratch_remove(scratch_path("data/db"));
    loop_daemon_start(&daemon_);
    loop_counts_get(daemon_.boot.loop, &counts);
    is_int(counts.agent.finished, 0,
           "so it left the state once, as a start without documents finds");
    loop_daemon_stop(&daemon_);
}

static void make_empty(const char *path)
{
    FILE *file = fopen(path, "w");
    if (file == NULL || fclose(file) != 0)
        tap_bail_out("%s cannot be made", path);
}

static void make_marker(uint32_t key_id, uint64_t of)
{
    char name[100];
    (void)snprintf(name, sizeof name, "data/keys/erase-%u-%llu", key_id, (unsigned long long)of);
    make_empty(scratch_path(name));
}

static unsigned count_markers(void)
{
    glob_t found;
    unsigned count = 0;
    if (glob(scratch_path("data/keys/erase-*"), 0, NULL, &found) == 0)
        count = (unsigned)found.gl_pathc, globfree(&found);
    return count;
}

/* Nobody can open the first file of keys for writing, until that is closed. */
static int keep_from_writers(void)
{
    int fd = open(scratch_path("data/keys/keys-0000000000"), O_RDONLY | O_CLOEXEC);
    (void)signal(SIGIO, SIG_IGN); /* somebody tried */
    if (fd < 0 || fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
        tap_bail_out("no lease of a file: %s", strerror(errno));
    return fd;
}

static struct eraser_status status_of(struct loop_daemon *daemon)
{
    struct eraser_status status;
    eraser_status_get(daemon->boot.eraser, &status);
    return status;
}

/* In the log. */
static unsigned erased_events(void)
{
    struct log_reader_options options = { .dir = scratch_path("data/log") };
    struct log_reader *reader;
    struct record record;
    struct error error;
    unsigned count = 0;
    if (log_reader_open(&reader, &options, &error) < 0 || log_reader_seek(reader, 1, &error) < 0)
        tap_bail_out("%s", error.text);
    while (log_reader_next(reader, &record, NULL, &error) == 1)
        count += record.kind == DAA__EVENT__BODY_WORKFLOWS_ERASED;
    log_reader_close(reader);
    return count;
}

static uint64_t others[2]; /* the workflows with the keys 2 and 3 */

static void nothing_was_left(void)
{
    daemon_ = (struct loop_daemon){ .config = "encryption = true\n" };
    loop_daemon_start(&daemon_);
    is_int(status_of(&daemon_).trouble.code, 0, "where the first keys could be made is no trouble");
    stream = submit_and_complete(1);
    others[0] = submit_and_complete(2);
    others[1] = submit_and_complete(3);
    loop_daemon_stop(&daemon_);
}

/* The key cannot be destroyed: that is tried again now and then; keys are needed all the time. */
static void a_key_that_cannot_be_destroyed(void)
{
    uint8_t key[KEYRING_KEY_SIZE];
    struct erasure erasure = { .stream = stream };
    struct error error;
    int fd = keep_from_writers();
    make_marker(1, stream);
    loop_daemon_start(&daemon_);
    while (status_of(&daemon_).trouble.code == 0)
        sched_yield();
    ok(strstr(status_of(&daemon_).trouble.text, "keys-0000000000") != NULL,
       "an erasure whose key cannot be destroyed is trouble");
    ok(eraser_erase(daemon_.boot.eraser, &erasure, &error) < 0, "and is not done when asked for");
    is_int(erased_events(), 0, "nor does an event say that it were");
    eraser_used(daemon_.boot.eraser, 3 * KEYRING_AHEAD / 2);
    for (int i = 0;
         i < 2000 && keyring_get(daemon_.boot.keyring, 5 * KEYRING_AHEAD / 2, key, &error) < 0; i++)
        (void)nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    is_int(keyring_get(daemon_.boot.keyring, 5 * KEYRING_AHEAD / 2, key, &error), 0,
           "keys do not wait for it");
    close(fd);
    is_int(eraser_erase(daemon_.boot.eraser, &erasure, &error), 0, "asked for again it is done");
    is_int(count_markers(), 0, "and nothing of it is left");
    loop_daemon_stop(&daemon_);
}

/* A marker that is a directory cannot be removed. */
static void one_that_does_not_end(void)
{
    char name[100];
    (void)snprintf(name, sizeof name, "data/keys/erase-2-%llu", (unsigned long long)others[0]);
    if (mkdir(scratch_path(name), 0700) < 0)
        tap_bail_out("%s cannot be made", name);
    make_marker(3, others[1]);
    for (int i = 0; i < 2; i++) {
        loop_daemon_start(&daemon_);
        while (status_of(&daemon_).trouble.code == 0 || count_markers() > 1)
            sched_yield();
        loop_daemon_stop(&daemon_);
        is_int(erased_events(), 3,
               i == 0 ? "one that cannot be ended does not hold up another"
                      : "and no second event tells of it at the next start");
    }
    (void)rmdir(scratch_path(name));
}

/* Such as a log that was put back to an earlier state has. */
static void markers_of_others(void)
{
    uint64_t wrong[][2] = { { 60000, stream }, { 60001, 1 }, { 60002, 1u << 30 } };
    for (int i = 0; i < 3; i++)
        make_marker((uint32_t)wrong[i][0], wrong[i][1]);
    unsigned before = erased_events();
    loop_daemon_start(&daemon_);
    while (count_markers() > 0)
        sched_yield();
    uint8_t key[KEYRING_KEY_SIZE];
    unsigned lost = 0;
    for (int i = 0; i < 3; i++)
        lost += keyring_get(daemon_.boot.keyring, (uint32_t)wrong[i][0], key, NULL) != 0;
    is_int(lost, 0, "a marker whose workflow has another key, or is none, destroys none");
    loop_daemon_stop(&daemon_);
    is_int(erased_events(), before, "and no event says so");
}

/* The agent takes nothing more, as one that stops: what is begun is not given up. */
static void the_agent_is_busy(void)
{
    struct erasure erasure = { 0 };
    struct error error;
    loop_daemon_start(&daemon_);
    erasure.stream = submit_and_complete(1);
    inbox_refuse(daemon_.boot.inbox);
    is_int(eraser_erase(daemon_.boot.eraser, &erasure, &error), 0, "an erasure while it is busy");
    ok(erasure.answer == ERASURE_WAITS && erasure.status == 503 &&
           strstr(erasure.text, "will be gone on with") != NULL,
       "is answered as one that waits");
    is_int(count_markers(), 1, "as its marker does");
    loop_daemon_stop(&daemon_);
    is_int(count_markers(), 1, "also beyond the end");
    unsigned before = erased_events();
    loop_daemon_start(&daemon_);
    while (count_markers() > 0)
        sched_yield();
    loop_daemon_stop(&daemon_);
    is_int(erased_events(), before + 1, "and the next start goes on with it");
}

int main(void)
{
    loop_daemon_set_clocks(1000000000ull, 1700000000000000000ull);
    beside_expiry();
    scratch_remove(scratch_path("data"));
    nothing_was_left();
    a_key_that_cannot_be_destroyed();
    one_that_does_not_end();
    markers_of_others();
    the_agent_is_busy();
    return tap_done();
}
