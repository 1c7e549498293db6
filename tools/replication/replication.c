#include "tools/replication/replication.h"

#include "log/readers.h"

#include <inttypes.h>
#include <string.h>

static const char *const state_names[REPLICATION_STATES] = {
    [REPLICATION_CONNECTING] = "connecting",
    [REPLICATION_FOLLOWING] = "following",
    [REPLICATION_AWAY] = "away",
    [REPLICATION_STOPPED] = "stopped",
    [REPLICATION_ENDED] = "ended",
};

/* Those of PG_RETRY (pgsync/pg.c); the first also stands for a connection that is gone. */
static const char *const classes[REPLICATION_CLASSES] = { "08", "25", "40", "53",
                                                          "55", "57", "58", "XX" };

const char *replication_state_name(enum replication_state state)
{
    return state_names[state];
}

uint64_t replication_retries(const struct replication *replication)
{
    uint64_t all = 0;
    for (unsigned i = 0; i < REPLICATION_CLASSES; i++)
        all += replication->retries[i];
    return all;
}

/* As pgsync/pg.c writes it behind the server's sentence. */
static unsigned class_of(const struct error *error)
{
    static const char before[] = "(SQLSTATE ";
    const char *at = strstr(error->text, before);
    for (unsigned i = 0; at != NULL && i < REPLICATION_CLASSES; i++)
        if (strncmp(at + sizeof before - 1, classes[i], 2) == 0)
            return i;
    return 0;
}

void replication_begin(struct replication *replication, const char *dir, const char *reader_name)
{
    struct log_reader_position told;
    struct error ignored;
    *replication = (struct replication){ .state = REPLICATION_CONNECTING };
    if (reader_name[0] != '\0' &&
        log_reader_position_read(dir, reader_name, &told, &ignored) == 1 && told.problem[0] == '\0')
        replication->position = told.flushed_seq;
}

/* Before the first connection they do not say where it is. */
static void take_stats(struct replication *replication, const struct copier_stats *stats)
{
    replication->stats = *stats;
    if (replication->state == REPLICATION_FOLLOWING || stats->position > 0)
        replication->position = stats->position;
}

void replication_note(struct replication *replication, const struct follow_event *event)
{
    if (event->stats->batches > replication->stats.batches)
        replication->commit_ns_sum += event->stats->commit_ns;
    if (event->news == FOLLOW_CONNECTED)
        replication->state = REPLICATION_FOLLOWING;
    take_stats(replication, event->stats);
    switch (event->news) {
    case FOLLOW_CONNECTED:
        replication->trouble = (struct error){ 0 };
        break;
    case FOLLOW_LOST:
        replication->state = REPLICATION_AWAY;
        replication->trouble = *event->error;
        replication->retries[class_of(event->error)]++;
        break;
    case FOLLOW_TOLD:
        replication->untold = event->error != NULL ? *event->error : (struct error){ 0 };
        break;
    case FOLLOW_PROGRESS:
    case FOLLOW_FORK:
    case FOLLOW_WITHHELD:
    case FOLLOW_TICK:
        break;
    }
}

void replication_end(struct replication *replication, int code, const struct copier_stats *stats,
                     const struct error *error)
{
    take_stats(replication, stats);
    replication->state = code < 0 ? REPLICATION_STOPPED : REPLICATION_ENDED;
    replication->trouble = code < 0 ? *error : (struct error){ 0 };
}

/*--- Metrics ---------------------------------------------------------------------------------*/

static void head(struct text *text, const char *name, const char *type, const char *help)
{
    text_printf(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void add(struct text *text, const char *name, const char *type, uint64_t value,
                const char *help)
{
    head(text, name, type, help);
    text_printf(text, "%s %" PRIu64 "\n", name, value);
}

static void add_seconds(struct text *text, const char *name, uint64_t ns)
{
    text_printf(text, "%s %" PRIu64 ".%09" PRIu64 "\n", name, ns / 1000000000, ns % 1000000000);
}

static void add_states(struct text *text, enum replication_state state)
{
    head(text, "daa_replication_state", "gauge", "1 for the state that the copy is in.");
    for (int i = 0; i < REPLICATION_STATES; i++)
        text_printf(text, "daa_replication_state{state=\"%s\"} %d\n", state_names[i],
                    i == (int)state);
}

static void add_retries(struct text *text, const struct replication *replication)
{
    head(text, "daa_replication_retries_total", "counter", "Tries that failed, and were repeated.");
    for (unsigned i = 0; i < REPLICATION_CLASSES; i++)
        text_printf(text, "daa_replication_retries_total{sqlstate_class=\"%s\"} %" PRIu64 "\n",
                    classes[i], replication->retries[i]);
}

void replication_metrics(struct text *text, const struct replication *replication,
                         const struct lag *lag)
{
    const struct copier_stats *stats = &replication->stats;
    add_states(text, replication->state);
    add(text, "daa_replication_position_seq", "gauge", replication->position,
        "The newest event that is in PostgreSQL.");
    add(text, "daa_replication_lag_events", "gauge", lag->events,
        "Durable events that are not in PostgreSQL.");
    add(text, "daa_replication_lag_bytes", "gauge", lag->bytes, "Bytes of the log that hold them.");
    head(text, "daa_replication_lag_seconds", "gauge", "The age of the oldest of them.");
    add_seconds(text, "daa_replication_lag_seconds", lag->age_ns);
    head(text, "daa_replication_rows_total", "counter", "Rows that were copied.");
    text_printf(text, "daa_replication_rows_total{table=\"events\"} %" PRIu64 "\n", stats->rows);
    add(text, "daa_replication_lossy_rows_total", "counter", stats->lossy_rows,
        "Of these, rows that jsonb could not hold as they are.");
    add(text, "daa_replication_dlq_rows_total", "counter", stats->refused_rows,
        "Of these, rows whose payload PostgreSQL refused.");
    add(text, "daa_replication_withheld_rows_total", "counter", stats->withheld_rows,
        "Of these, rows without their private fields, for want of keys.");
    add(text, "daa_replication_connections_total", "counter", stats->connections,
        "Connections that were made.");
    add(text, "daa_replication_batch_rows", "gauge", stats->batch_rows,
        "Rows in one transaction, as aimed at now.");
    head(text, "daa_replication_commit_duration_seconds", "summary",
         "How long the transactions took.");
    add_seconds(text, "daa_replication_commit_duration_seconds_sum", replication->commit_ns_sum);
    text_printf(text, "daa_replication_commit_duration_seconds_count %" PRIu64 "\n",
                stats->batches);
    add_retries(text, replication);
}
