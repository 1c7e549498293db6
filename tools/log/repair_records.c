#include "tools/log/repair_records.h"

#include <stdlib.h>
#include <string.h>

/* Who ends the repair ends a wait by it. */
static const atomic_bool never;

static int give_record(void *context, const uint8_t log_uuid[UUID_SIZE], uint64_t seq,
                       struct span *record, struct error *error)
{
    struct repair_records *records = context;
    return records_get(records->records, log_uuid, seq, record, error);
}

static int give_last_seq(void *context, const uint8_t log_uuid[UUID_SIZE], uint64_t *seq,
                         struct error *error)
{
    struct repair_records *records = context;
    return records_last_seq(records->records, log_uuid, seq, error);
}

static int connect_to(struct repair_records *records, const char *url, struct error *error)
{
    struct error what = { .code = 0 };
    const struct pg_options options = { .url = url, .stop = &never, .name = "daa-log" };
    int failed = pg_open_with(&records->pg, &options, &what);
    if (failed == ERROR_UNAVAILABLE)
        return error_set(error, failed, "PostgreSQL cannot be had: %s%s; nothing was changed",
                         what.text, pg_hint(&what));
    if (failed < 0)
        *error = what;
    return failed;
}

static int open_records(struct repair_records *records, struct error *error)
{
    struct error what = { .code = 0 };
    int failed = records_open(&records->records, records->pg, &what);
    return failed < 0 ? error_set(error, failed, "PostgreSQL: %s%s; nothing was changed", what.text,
                                  pg_hint(&what))
                      : 0;
}

int repair_records_open(struct repair_records *records, const char *url, struct error *error)
{
    *records = (struct repair_records){ .pg = NULL };
    records->face = (struct log_repair_records){
        .name = "PostgreSQL",
        .context = records,
        .record = give_record,
        .last_seq = give_last_seq,
    };
    if (strcmp(url, "-") == 0) {
        url = getenv("DAA_PG_URL");
        if (url == NULL || *url == '\0')
            return error_set(error, ERROR_NOT_FOUND,
                             "--from-postgres -: $DAA_PG_URL does not say which database");
    } else if (*url == '\0') {
        return error_set(error, ERROR_NOT_FOUND,
                         "--from-postgres: say which database, postgresql://..., or '-' for "
                         "$DAA_PG_URL");
    } else {
        int failed = pg_check_open_url(url, error);
        if (failed < 0)
            return failed;
    }
    int failed = connect_to(records, url, error);
    if (failed == 0)
        failed = open_records(records, error);
    if (failed < 0)
        repair_records_close(records);
    return failed;
}

void repair_records_close(struct repair_records *records)
{
    records_close(&records->records);
    pg_close(&records->pg);
}
