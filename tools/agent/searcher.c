#include "tools/agent/searcher.h"

#include "core/base/check.h"
#include "pgsync/family.h"
#include "tools/agent/host.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 8u
#define OPEN_MAX 256u
#define SECOND UINT64_C(1000000000)
#define TRY_EVERY_NS SECOND /* while the server cannot be had */
#define ANSWER_MS 15000     /* behind the statement's own end: the server has fallen silent */

static const char setup_sql[] =
    "SET default_transaction_read_only = on; SET statement_timeout = '10s'; SET jit = off";

struct searcher {
    struct pool *pool;
    uint64_t timeout_ns;
    uint64_t open_max; /* questions that are not answered yet */
    const char *log_dir;
    searcher_is_erased *is_erased;
    void *context;
    pthread_t threads[THREADS];
    unsigned thread_count;
    pthread_mutex_t lock; /* guards what is below */
    pthread_cond_t news;
    struct search *first, **last;
    struct family family; /* of the log; read for the first question, and not changed after that */
    struct searcher_status status;
    uint64_t next_try_ns; /* while there is trouble */
    bool trying;          /* one question is at it */
    bool stop;
};

/*--- One question ------------------------------------------------------------------------------*/

static void add_time(struct text *text, const char *key, uint64_t us)
{
    if (us > 0)
        text_json_time(text, key, us * 1000);
}

static void add_text(struct text *text, const char *key, const char *value)
{
    if (value != NULL)
        text_json_cstring(text, key, value);
}

static void add_json(struct text *text, const char *key, const char *json)
{
    if (json != NULL)
        text_json_raw(text, key, span_of_text(json));
}

/* As the API shows a workflow (core/agent/document.h), but for what is not copied. */
static void add_row(const struct lookup_row *row, void *context)
{
    struct search *search = context;
    struct text *text = &search->body;
    search->last_stream = row->stream;
    if (search->by->is_erased(row->stream, search->by->context))
        return;
    if (search->stream == 0)
        text_json_open_object(text, NULL);
    add_text(text, "id", row->id);
    add_text(text, "name", row->name);
    add_text(text, "status", row->status);
    add_text(text, "reason", row->reason);
    text_json_unsigned(text, "seq", row->stream);
    text_json_unsigned(text, "last_seq", row->last_seq);
    add_time(text, "submitted", row->submitted_us);
    add_time(text, "started", row->started_us);
    add_time(text, "ended", row->ended_us);
    add_json(text, "metadata", row->metadata);
    if (search->stream != 0)
        add_text(text, "definition", row->definition);
    add_json(text, "input", row->input);
    add_json(text, "output", row->output);
    if (row->lossy)
        text_json_bool(text, "lossy", true);
    add_text(text, "history_of_log", row->history);
    if (search->stream == 0)
        text_json_close_object(text);
    search->count++;
    search->ended = row->ended_us > 0;
}

static void add_step(const struct lookup_step *step, void *context)
{
    struct search *search = context;
    struct text *text = &search->body;
    text_json_open_object(text, NULL);
    add_text(text, "id", step->id);
    add_text(text, "status", step->status);
    text_json_unsigned(text, "attempts", step->attempts);
    add_time(text, "started", step->started_us);
    add_time(text, "ended", step->ended_us);
    add_text(text, "outcome", step->outcome);
    add_json(text, "output", step->output);
    add_text(text, "error", step->error);
    text_json_close_object(text);
}

/* The logs that this one was forked from, as its segments tell: no log forks while it is open. The
 * ids of workflows do not tell it so exactly (core/base/lineage.h). */
static int take_family(struct searcher *searcher, struct family *family, struct error *error)
{
    struct family fresh = { .count = 0 };
    pthread_mutex_lock(&searcher->lock);
    *family = searcher->family;
    pthread_mutex_unlock(&searcher->lock);
    if (family->count > 0)
        return 0;
    int failed = family_read(&fresh, searcher->log_dir, error);
    if (failed < 0)
        return error_set(error, ERROR_INVALID, "which logs this one was forked from: %.400s",
                         error->text);
    pthread_mutex_lock(&searcher->lock);
    if (searcher->family.count == 0)
        searcher->family = fresh;
    else
        family_free(&fresh);
    *family = searcher->family;
    pthread_mutex_unlock(&searcher->lock);
    return 0;
}

static int ask_for_one(struct pg *pg, const struct lineage *lineage, struct search *search)
{
    struct error *error = &search->error;
    int found = lookup_one(pg, lineage, search->stream, add_row, search, error);
    if (found != 1 || search->count == 0)
        return found;
    text_json_open_array(&search->body, "steps");
    int failed = lookup_steps(pg, lineage, search->stream, add_step, search, error);
    text_json_close_array(&search->body);
    return failed;
}

/* The position first: what is read after it has at least so much. */
static int ask(struct searcher *searcher, struct pg *pg, struct search *search)
{
    struct error *error = &search->error;
    struct family family;
    int failed = take_family(searcher, &family, error);
    if (failed == 0)
        failed = family_ask(&family, pg, error);
    search->lookup.lineage = &family.owners;
    if (failed == 0)
        failed = lookup_position(pg, &family.owners, &search->copied_seq, error);
    text_json_open_object(&search->body, NULL);
    if (failed == 0 && search->stream != 0) {
        failed = ask_for_one(pg, &family.owners, search);
    } else if (failed == 0) {
        text_json_open_array(&search->body, "items");
        failed = lookup_page(pg, &search->lookup, add_row, search, &search->more, error);
        text_json_close_array(&search->body);
    }
    search->lookup.lineage = NULL; /* which is on this stack */
    if (failed >= 0 && search->body.failed < 0)
        failed = error_set(error, search->body.failed,
                           "the answer is too large, or there is no "
                           "memory for it");
    return failed < 0 ? failed : 0;
}

static int set_overdue(struct searcher *searcher, struct error *error)
{
    return error_set(error, ERROR_FULL,
                     "the question waited %.1f s for its turn: too many are asked at once "
                     "([database] pool_timeout says how long it may)",
                     (double)searcher->timeout_ns / 1e9);
}

/* Since it was asked: then it does not find that out for itself. */
static bool is_in_trouble(struct searcher *searcher, struct error *error)
{
    pthread_mutex_lock(&searcher->lock);
    bool trouble = searcher->status.trouble.code < 0;
    if (trouble)
        *error = searcher->status.trouble;
    pthread_mutex_unlock(&searcher->lock);
    return trouble;
}

/* What a question tells about the server. */
enum verdict { NOTHING = 0, ANSWERS, LOST };

static int perform(struct searcher *searcher, struct search *search, enum verdict *verdict)
{
    struct pool_loan loan;
    uint64_t waited_ns = host_monotonic_ns() - search->asked_ns;
    *verdict = NOTHING;
    if (!search->tries && is_in_trouble(searcher, &search->error))
        return ERROR_UNAVAILABLE;
    if (waited_ns >= searcher->timeout_ns)
        return set_overdue(searcher, &search->error);
    int failed =
        pool_borrow(searcher->pool, searcher->timeout_ns - waited_ns, &loan, &search->error);
    if (failed < 0) {
        *verdict = failed == ERROR_FULL ? NOTHING : LOST;
        return failed;
    }
    failed = ask(searcher, loan.pg, search);
    *verdict = pg_alive(loan.pg) ? ANSWERS : LOST;
    pool_return(searcher->pool, &loan);
    return failed < 0 && *verdict == LOST ? ERROR_UNAVAILABLE : failed;
}

/*--- The threads -------------------------------------------------------------------------------*/

/* Under the lock. */
static void note_end(struct searcher *searcher, const struct search *search, int failed,
                     enum verdict verdict)
{
    struct searcher_status *status = &searcher->status;
    uint64_t now_ns = host_monotonic_ns(), took_ns = now_ns - search->asked_ns;
    status->under_way--;
    status->answered += failed == 0;
    status->failed += failed < 0;
    if (took_ns > status->longest_ns)
        status->longest_ns = took_ns;
    if (search->tries)
        searcher->trying = false;
    if (verdict == LOST && failed < 0) {
        status->trouble = search->error;
        searcher->next_try_ns = now_ns + TRY_EVERY_NS;
    } else if (verdict == ANSWERS) {
        status->trouble = (struct error){ 0 };
    }
}

/* Under the lock. NULL: it stops, and nothing is left. */
static struct search *take(struct searcher *searcher)
{
    while (searcher->first == NULL && !searcher->stop)
        pthread_cond_wait(&searcher->news, &searcher->lock);
    struct search *search = searcher->first;
    if (search == NULL)
        return NULL;
    searcher->first = search->next;
    if (searcher->first == NULL)
        searcher->last = &searcher->first;
    searcher->status.waiting--;
    searcher->status.under_way++;
    return search;
}

static void *run(void *argument)
{
    struct searcher *searcher = argument;
    struct search *search;
    pthread_setname_np(pthread_self(), "daa-search");
    pthread_mutex_lock(&searcher->lock);
    while ((search = take(searcher)) != NULL) {
        enum verdict verdict;
        pthread_mutex_unlock(&searcher->lock);
        int failed = perform(searcher, search, &verdict);
        search->error.code = failed;
        pthread_mutex_lock(&searcher->lock);
        note_end(searcher, search, failed, verdict);
        pthread_mutex_unlock(&searcher->lock);
        search->done(search); /* and it is gone */
        pthread_mutex_lock(&searcher->lock);
    }
    pthread_mutex_unlock(&searcher->lock);
    return NULL;
}

static int start_threads(struct searcher *searcher, struct error *error)
{
    int status = 0;
    while (searcher->thread_count < THREADS && status == 0) {
        status = -pthread_create(&searcher->threads[searcher->thread_count], NULL, run, searcher);
        searcher->thread_count += status == 0;
    }
    return status < 0 ? error_set(error, status, "cannot start the threads that search: %s",
                                  error_text(status))
                      : 0;
}

static int open_pool(struct searcher *searcher, const struct config *config, struct error *error)
{
    const struct pool_options options = {
        .url = config->database.url,
        .name = "daa-agent",
        .setup = setup_sql,
        .size = (uint32_t)config->database.pool_size,
        .overflow = (uint32_t)config->database.max_overflow,
        .timeout_ns = config->database.pool_timeout,
        .recycle_ns = config->database.pool_recycle,
        .pre_ping = config->database.pool_pre_ping,
        .answer_ms = ANSWER_MS,
    };
    int status = pg_check_url(config->database.url, error);
    if (status < 0)
        return error_wrap(error, status, "[database] url");
    return pool_open(&searcher->pool, &options, error);
}

/* Each holds a connection of the API meanwhile: half of those are left for others. */
static uint64_t open_max(const struct config *config)
{
    uint64_t half = config->api.max_connections / 2;
    return half < 1 ? 1 : half < OPEN_MAX ? half : OPEN_MAX;
}

int searcher_open(struct searcher **opened, const struct config *config, const char *log_dir,
                  searcher_is_erased *is_erased, void *context, struct error *error)
{
    struct searcher *searcher = calloc(1, sizeof *searcher);
    if (searcher == NULL)
        return error_set(error, -ENOMEM, "no memory for searches");
    searcher->timeout_ns = config->database.pool_timeout;
    searcher->open_max = open_max(config);
    searcher->log_dir = log_dir;
    searcher->is_erased = is_erased;
    searcher->context = context;
    searcher->last = &searcher->first;
    pthread_mutex_init(&searcher->lock, NULL);
    pthread_cond_init(&searcher->news, NULL);
    int status = open_pool(searcher, config, error);
    if (status == 0)
        status = start_threads(searcher, error);
    if (status < 0) {
        searcher_stop(searcher);
        searcher_close(searcher);
        return status;
    }
    *opened = searcher;
    return 0;
}

/*--- Asking ------------------------------------------------------------------------------------*/

/* Under the lock. 1: it is to try for all whether the server is back. */
static int admit(struct searcher *searcher, struct error *error)
{
    const struct error *trouble = &searcher->status.trouble;
    uint64_t now_ns = host_monotonic_ns();
    if (searcher->stop)
        return error_set(error, ERROR_UNAVAILABLE, "the agent stops");
    if (searcher->status.waiting + searcher->status.under_way >= searcher->open_max)
        return error_set(error, ERROR_FULL, "%" PRIu64 " questions wait for Postgres already",
                         searcher->open_max);
    if (trouble->code == 0)
        return 0;
    if (searcher->trying || now_ns < searcher->next_try_ns)
        return error_set(error, ERROR_UNAVAILABLE, "%s", trouble->text);
    return 1;
}

int searcher_ask(struct searcher *searcher, struct search *search, struct error *error)
{
    pthread_mutex_lock(&searcher->lock);
    int status = admit(searcher, error);
    if (status >= 0) {
        search->tries = status == 1;
        searcher->trying |= search->tries;
        text_init(&search->body);
        search->error = (struct error){ 0 };
        search->by = searcher;
        search->count = search->copied_seq = search->last_stream = 0;
        search->more = search->ended = false;
        search->next = NULL;
        search->asked_ns = host_monotonic_ns();
        *searcher->last = search;
        searcher->last = &search->next;
        searcher->status.waiting++;
        searcher->status.asked++;
        pthread_cond_signal(&searcher->news);
    } else {
        searcher->status.refused++;
    }
    pthread_mutex_unlock(&searcher->lock);
    return status < 0 ? status : 0;
}

void search_free(struct search *search)
{
    text_free(&search->body);
}

void searcher_stop(struct searcher *searcher)
{
    if (searcher == NULL)
        return;
    pthread_mutex_lock(&searcher->lock);
    searcher->stop = true;
    pthread_cond_broadcast(&searcher->news);
    pthread_mutex_unlock(&searcher->lock);
    if (searcher->pool != NULL)
        pool_stop(searcher->pool);
}

void searcher_join(struct searcher *searcher)
{
    if (searcher == NULL)
        return;
    for (unsigned i = 0; i < searcher->thread_count; i++)
        pthread_join(searcher->threads[i], NULL);
    searcher->thread_count = 0;
}

void searcher_close(struct searcher *searcher)
{
    if (searcher == NULL)
        return;
    searcher_join(searcher);
    CHECK(searcher->first == NULL);
    pool_close(&searcher->pool);
    family_free(&searcher->family);
    pthread_mutex_destroy(&searcher->lock);
    pthread_cond_destroy(&searcher->news);
    free(searcher);
}

void searcher_status_get(struct searcher *searcher, struct searcher_status *status)
{
    pthread_mutex_lock(&searcher->lock);
    *status = searcher->status;
    pthread_mutex_unlock(&searcher->lock);
    pool_stats_get(searcher->pool, &status->pool);
}
