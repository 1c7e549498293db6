/* What /status says of PostgreSQL: the pool of connections, and the searches over it. */
#include "tools/agent/operation.h"
#include "tools/agent/searcher.h"

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
