#include "tools/agent/replicator.h"

#include "core/base/budget.h"
#include "log/event.h"
#include "mmapstore/interrupt.h"
#include "tools/agent/host.h"
#include "tools/replication/follow.h"
#include "tools/replication/news.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define NICE 5
#define MEMORY_MAX (UINT64_C(256) << 20)
#define SHORT_NS UINT64_C(5000000000) /* between tries when this process lacks something */

struct replicator {
    const struct config *config;
    const char *log_dir;
    struct event_keys keys;
    struct budget budget;
    struct interrupt stop;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what is below */
    struct replication replication;
};

static void take_event(void *context, const struct follow_event *event)
{
    struct replicator *replicator = context;
    char text[NEWS_SIZE];
    pthread_mutex_lock(&replicator->lock);
    replication_note(&replicator->replication, event);
    pthread_mutex_unlock(&replicator->lock);
    if (news_of(event, text))
        host_say("[database] sync: %s", text);
}

static int copy(struct replicator *replicator, struct copier_stats *stats, struct error *error)
{
    const struct log_reader_options log = { .dir = replicator->log_dir,
                                            .budget = &replicator->budget };
    struct log_reader *reader;
    int code = log_reader_open(&reader, &log, error);
    if (code < 0)
        return code;
    const struct follow_options options = { .url = replicator->config->database.url,
                                            .dir = replicator->log_dir,
                                            .reader_name = REPLICATOR_READER,
                                            .reader = reader,
                                            .keys = &replicator->keys,
                                            .budget = &replicator->budget,
                                            .stop = &replicator->stop,
                                            .tell = take_event,
                                            .context = replicator };
    code = follow_run(&options, stats, error);
    log_reader_close(reader);
    return code;
}

/* What this process lacks just now, it may have again. */
static bool is_short(int code)
{
    return code == -ENOMEM || code == ERROR_BUDGET || code == -EMFILE || code == -ENFILE;
}

static void *run(void *argument)
{
    struct replicator *replicator = argument;
    struct copier_stats stats = { 0 };
    struct error error = { 0 };
    pthread_setname_np(pthread_self(), "daa-replicator");
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE); /* of this thread alone */
    int code = copy(replicator, &stats, &error);
    while (is_short(code) && !atomic_load(&replicator->stop.is_raised)) {
        take_event(replicator,
                   &(struct follow_event){
                       .news = FOLLOW_LOST, .stats = &stats, .error = &error, .tries = 1 });
        if (!interrupt_wait(&replicator->stop, SHORT_NS))
            code = copy(replicator, &stats, &error);
    }
    pthread_mutex_lock(&replicator->lock);
    replication_end(&replicator->replication, code, &stats, &error);
    pthread_mutex_unlock(&replicator->lock);
    if (code < 0)
        host_say("[database] sync: stopped until the agent is started again: %s", error.text);
    return NULL;
}

int replicator_check(const struct config *config, struct error *error)
{
    if (config->database.sync && config->database.url[0] == '\0')
        return error_set(error, ERROR_INVALID,
                         "[database] sync is true, but url does not say where to copy the log");
    return 0;
}

int replicator_open(struct replicator **opened, const struct config *config, const char *log_dir,
                    struct keyring *keyring, struct error *error)
{
    int status = replicator_check(config, error);
    if (status < 0)
        return status;
    struct replicator *replicator = calloc(1, sizeof *replicator);
    if (!replicator)
        return error_set(error, -ENOMEM, "no memory to copy the log into PostgreSQL");
    replicator->config = config;
    replicator->log_dir = log_dir;
    replicator->keys = event_keys_of(keyring);
    budget_init(&replicator->budget, MEMORY_MAX);
    replication_begin(&replicator->replication, log_dir, REPLICATOR_READER);
    pthread_mutex_init(&replicator->lock, NULL);
    status = -pthread_create(&replicator->thread, NULL, run, replicator);
    if (status < 0) {
        free(replicator);
        return error_set(error, status,
                         "cannot start the thread that copies the log into PostgreSQL: %s",
                         error_text(status));
    }
    *opened = replicator;
    return 0;
}

void replicator_stop(struct replicator *replicator)
{
    if (replicator)
        interrupt_raise(&replicator->stop);
}

void replicator_close(struct replicator *replicator)
{
    if (!replicator)
        return;
    replicator_stop(replicator);
    pthread_join(replicator->thread, NULL);
    pthread_mutex_destroy(&replicator->lock);
    free(replicator);
}

void replicator_status_get(struct replicator *replicator, struct replication *status)
{
    pthread_mutex_lock(&replicator->lock);
    *status = replicator->replication;
    pthread_mutex_unlock(&replicator->lock);
}
