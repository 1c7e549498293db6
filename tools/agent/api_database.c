/* What /status and /metrics say of PostgreSQL: the pool of connections, and the searches. */
#include "tools/agent/operation.h"
#include "tools/agent/searcher.h"

#include <inttypes.h>

static void add_pool(struct text *text, const struct pool_stats *pool)
{
    text_json_open_object(text, "pool");
    text_json_unsigned(text, "size", pool->size);
    text_json_unsigned(text, "max_overflow", pool->overflow_max);
    text_json_unsigned(text, "idle", pool->idle);
    text_json_unsigned(text, "in_use", pool->in_use);
    text_json_unsigned(text, "overflow", pool->overflow);
    text_json_unsigned(text, "waiting", pool->waiting);
    text_json_unsigned(text, "borrowed", pool->borrowed);
    text_json_unsigned(text, "waits", pool->waits);
    text_json_unsigned(text, "wait_ms", pool->wait_ns / 1000000);
    text_json_unsigned(text, "timeouts", pool->timeouts);
    text_json_unsigned(text, "opened", pool->opened);
    text_json_unsigned(text, "failed_opens", pool->failed_opens);
    text_json_unsigned(text, "recycled", pool->recycled);
    text_json_unsigned(text, "pings", pool->pings);
    text_json_unsigned(text, "pings_failed", pool->pings_failed);
    text_json_close_object(text);
}

static void add_searches(struct text *text, const struct searcher_status *status)
{
    text_json_open_object(text, "searches");
    text_json_unsigned(text, "asked", status->asked);
    text_json_unsigned(text, "answered", status->answered);
    text_json_unsigned(text, "failed", status->failed);
    text_json_unsigned(text, "refused", status->refused);
    text_json_unsigned(text, "waiting", status->waiting);
    text_json_unsigned(text, "under_way", status->under_way);
    text_json_unsigned(text, "longest_ms", status->longest_ns / 1000000);
    text_json_close_object(text);
}

void database_add_status(struct api *api, struct text *text)
{
    struct searcher_status status;
    text_json_open_object(text, "database");
    text_json_bool(text, "configured", api->searcher != NULL);
    text_json_bool(text, "sync", api->boot->config->database.sync);
    if (api->searcher) {
        searcher_status_get(api->searcher, &status);
        add_pool(text, &status.pool);
        add_searches(text, &status);
        text_json_cstring(text, "trouble", status.trouble.code < 0 ? status.trouble.text : NULL);
    }
    replication_add_status(api, text);
    text_json_close_object(text);
}

/*--- GET /metrics ------------------------------------------------------------------------------*/

static void add_pool_metrics(struct text *text, const struct pool_stats *pool)
{
    const struct metric metrics[] = {
        { "daa_pool_size", "gauge", "Connections that may be kept.", pool->size },
        { "daa_pool_max_overflow", "gauge", "Connections more that may be lent.",
          pool->overflow_max },
        { "daa_pool_idle", "gauge", "Connections that are kept and not lent.", pool->idle },
        { "daa_pool_in_use", "gauge", "Connections that are lent.", pool->in_use },
        { "daa_pool_overflow", "gauge", "How many there are over the size.", pool->overflow },
        { "daa_pool_waiting", "gauge", "Who waits for one.", pool->waiting },
        { "daa_pool_borrowed_total", "counter", "Times that one was lent.", pool->borrowed },
        { "daa_pool_waits_total", "counter", "Times that somebody had to wait.", pool->waits },
        { "daa_pool_timeouts_total", "counter", "Waits that came to nothing.", pool->timeouts },
        { "daa_pool_opened_total", "counter", "Connections that were opened.", pool->opened },
        { "daa_pool_failed_opens_total", "counter", "Tries to open one that failed.",
          pool->failed_opens },
        { "daa_pool_recycled_total", "counter", "Connections that had become too old.",
          pool->recycled },
        { "daa_pool_pings_total", "counter", "Connections that were tried before use.",
          pool->pings },
        { "daa_pool_pings_failed_total", "counter", "Of these, the dead ones.",
          pool->pings_failed },
    };
    for (size_t i = 0; i < sizeof metrics / sizeof metrics[0]; i++)
        metric_add(text, &metrics[i]);
    text_printf(text,
                "# HELP daa_pool_wait_seconds_total What the waits took.\n"
                "# TYPE daa_pool_wait_seconds_total counter\ndaa_pool_wait_seconds_total %.9f\n",
                (double)pool->wait_ns / 1e9);
}

void database_add_metrics(const struct api *api, struct text *text)
{
    struct searcher_status status;
    if (!api->searcher)
        return;
    searcher_status_get(api->searcher, &status);
    const struct metric metrics[] = {
        { "daa_searches_answered_total", "counter", "Searches that PostgreSQL answered.",
          status.answered },
        { "daa_searches_failed_total", "counter", "Searches that it did not.", status.failed },
        { "daa_searches_refused_total", "counter", "Searches that it was not asked.",
          status.refused },
        { "daa_searches_waiting", "gauge", "Searches that wait for their turn.", status.waiting },
        { "daa_searches_under_way", "gauge", "Searches that PostgreSQL is asked.",
          status.under_way },
        { "daa_search_database_up", "gauge", "Whether PostgreSQL could be had the last time.",
          status.trouble.code == 0 },
    };
    add_pool_metrics(text, &status.pool);
    for (size_t i = 0; i < sizeof metrics / sizeof metrics[0]; i++)
        metric_add(text, &metrics[i]);
}
