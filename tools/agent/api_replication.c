/* What clients see of the copy in PostgreSQL that the agent makes itself: in /status and /ready,
 * and as metrics. */
#include "core/base/version.h"
#include "log/log.h"
#include "tools/agent/loop.h"
#include "tools/agent/operation.h"
#include "tools/agent/replicator.h"

/* As the log is now. False: only events are known. */
static bool measure(struct api *api, const struct replication *copy, struct lag *lag)
{
    struct loop_counts counts;
    struct error ignored;
    loop_counts_get(api->boot->loop, &counts);
    *lag = (struct lag){ .durable_seq = log_durable_seq(api->boot->log) };
    if (lag->durable_seq > copy->position)
        lag->events = lag->durable_seq - copy->position;
    int status = operation_take_reader(api, &ignored);
    if (status == 0)
        status = lag_measure(lag, api->reader, copy->position, counts.now_ns, &ignored);
    operation_give_reader(api);
    return status == 0;
}

static void add_lag(struct text *text, struct api *api, const struct replication *copy)
{
    struct lag lag;
    bool known = measure(api, copy, &lag);
    text_json_unsigned(text, "position", copy->position);
    text_json_unsigned(text, "behind", lag.events);
    if (known) {
        text_json_unsigned(text, "behind_bytes", lag.bytes);
        text_json_real(text, "behind_seconds", (double)lag.age_ns / 1e9);
    } else {
        text_json_null(text, "behind_bytes");
        text_json_null(text, "behind_seconds");
    }
}

void replication_add_status(struct api *api, struct text *text)
{
    struct replication copy;
    if (!api->boot->replicator)
        return;
    replicator_status_get(api->boot->replicator, &copy);
    const struct copier_stats *stats = &copy.stats;
    text_json_open_object(text, "copy");
    text_json_cstring(text, "state", replication_state_name(copy.state));
    add_lag(text, api, &copy);
    text_json_cstring(text, "trouble", copy.trouble.code < 0 ? copy.trouble.text : NULL);
    text_json_cstring(text, "untold", copy.untold.code < 0 ? copy.untold.text : NULL);
    text_json_unsigned(text, "connections", stats->connections);
    text_json_unsigned(text, "retries", replication_retries(&copy));
    text_json_unsigned(text, "batches", stats->batches);
    text_json_unsigned(text, "batch_rows", stats->batch_rows);
    text_json_unsigned(text, "commit_us", stats->commit_ns / 1000);
    text_json_unsigned(text, "rows", stats->rows);
    text_json_unsigned(text, "lossy", stats->lossy_rows);
    text_json_unsigned(text, "rejected", stats->refused_rows);
    text_json_unsigned(text, "withheld", stats->withheld_rows);
    text_json_unsigned(text, "forks", stats->forks);
    text_json_close_object(text);
}

void replication_add_ready(const struct api *api, struct text *text)
{
    struct replication copy;
    if (!api->boot->replicator)
        return;
    replicator_status_get(api->boot->replicator, &copy);
    text_json_cstring(text, "replication", replication_state_name(copy.state));
}

enum MHD_Result replication_show_metrics(struct exchange *exchange)
{
    struct api *api = exchange->api;
    struct replication copy;
    struct lag lag;
    struct text text;
    text_init(&text);
    text_printf(&text,
                "# HELP daa_build_info The version that runs.\n"
                "# TYPE daa_build_info gauge\ndaa_build_info{version=\"%s\"} 1\n",
                DAA_VERSION);
    if (api->boot->replicator) {
        replicator_status_get(api->boot->replicator, &copy);
        (void)measure(api, &copy, &lag);
        replication_metrics(&text, &copy, &lag);
    }
    status_add_metrics(api, &text);
    database_add_metrics(api, &text);
    enum MHD_Result result =
        operation_answer_plain(exchange, &text, "text/plain; version=0.0.4; charset=utf-8");
    text_free(&text);
    return result;
}
