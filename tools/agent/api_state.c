/* The operations on all documents: their digest, and snapshots of them. */
#include "core/base/id.h"
#include "tools/agent/operation.h"
#include "tools/agent/snapshots.h"
#include "tools/agent/state.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

/* Who gets the answer may ask again at once; the API is not released before the thread is done. */
void operation_end_long(struct exchange *exchange, _Atomic bool *under_way)
{
    struct api *api = exchange->api;
    atomic_store(under_way, false);
    MHD_resume_connection(exchange->mhd);
    atomic_fetch_sub(&api->long_under_way, 1);
}

/* Each reads every document, which takes its time: on a thread of its own. */
enum MHD_Result operation_begin_long(struct exchange *exchange, void *(*run)(void *),
                                     _Atomic bool *under_way)
{
    pthread_t thread;
    struct api *api = exchange->api;
    exchange->error = (struct error){ 0 };
    atomic_fetch_add(&api->long_under_way, 1);
    exchange->phase = EXCHANGE_SUSPENDED;
    MHD_suspend_connection(exchange->mhd);
    int status = pthread_create(&thread, NULL, run, exchange);
    if (status == 0) {
        pthread_detach(thread);
    } else {
        error_set(&exchange->error, -status, "no thread: %s", error_text(-status));
        operation_end_long(exchange, under_way);
    }
    return MHD_YES;
}

/*--- GET /api/v1/state/digest ------------------------------------------------------------------*/

static void *take_digest(void *argument)
{
    struct exchange *exchange = argument;
    struct api *api = exchange->api;
    if (state_digest(api->boot->state, exchange->digest, &exchange->seq, &exchange->error) == 0)
        exchange->error.code = 0;
    operation_end_long(exchange, &api->digest_under_way);
    return NULL;
}

enum MHD_Result state_digest_begin(struct exchange *exchange)
{
    struct problem problem = { 0 };
    if (!atomic_exchange(&exchange->api->digest_under_way, true))
        return operation_begin_long(exchange, take_digest, &exchange->api->digest_under_way);
    problem_set(&problem, 429, "digest-under-way",
                "another digest is being taken; ask again in a moment");
    return operation_problem(exchange, &problem);
}

enum MHD_Result state_digest_end(struct exchange *exchange)
{
    struct problem problem = { 0 };
    if (exchange->error.code < 0) {
        problem_set(&problem, 503, "state-unreadable", "no digest: %.500s", exchange->error.text);
        return operation_problem(exchange, &problem);
    }
    struct text text;
    text_init(&text);
    text_json_open_object(&text, NULL);
    text_json_hex(&text, "digest", span_of(exchange->digest, sizeof exchange->digest));
    text_json_unsigned(&text, "seq", exchange->seq);
    text_json_close_object(&text);
    enum MHD_Result result = operation_answer(exchange, 200, &text, NULL);
    text_free(&text);
    return result;
}

/*--- Snapshots ---------------------------------------------------------------------------------*/

static void add_info(struct text *text, const struct snapshot_info *info)
{
    char uuid[UUID_TEXT_SIZE], name[SNAPSHOT_NAME_SIZE];
    uuid_to_text(uuid, info->log_uuid);
    snapshot_name(name, info->seq);
    text_json_unsigned(text, "seq", info->seq);
    text_json_time(text, "time", info->time_ns);
    text_json_cstring(text, "file", name);
    text_json_unsigned(text, "documents", info->documents);
    text_json_unsigned(text, "bytes", info->bytes);
    text_json_unsigned(text, "file_bytes", info->file_bytes);
    text_json_hex(text, "digest", span_of(info->digest, sizeof info->digest));
    text_json_cstring(text, "log", uuid);
    text_json_unsigned(text, "document_version", info->document_version);
}

void state_add_snapshots(const struct boot *boot, struct text *text)
{
    struct snapshots_status status;
    snapshots_status_get(boot->snapshots, &status);
    text_json_open_object(text, "snapshots");
    text_json_unsigned(text, "count", status.count);
    text_json_unsigned(text, "newest_seq", status.newest.seq);
    text_json_unsigned(text, "log_needed_from", status.bound_seq + 1);
    text_json_unsigned(text, "made", status.made);
    text_json_bool(text, "under_way", status.under_way);
    text_json_unsigned(text, "last_ms", status.last_ns / 1000000);
    text_json_cstring(text, "trouble", status.trouble.code < 0 ? status.trouble.text : NULL);
    text_json_close_object(text);
}

static void *make_snapshot(void *argument)
{
    struct exchange *exchange = argument;
    struct api *api = exchange->api;
    if (snapshots_make(api->boot->snapshots, &exchange->snapshot, &exchange->error) == 0)
        exchange->error.code = 0;
    operation_end_long(exchange, &api->snapshot_under_way);
    return NULL;
}

enum MHD_Result state_snapshot_begin(struct exchange *exchange)
{
    struct problem problem = { 0 };
    if (!atomic_exchange(&exchange->api->snapshot_under_way, true))
        return operation_begin_long(exchange, make_snapshot, &exchange->api->snapshot_under_way);
    problem_set(&problem, 429, "snapshot-under-way",
                "somebody else waits for a snapshot; ask again in a moment");
    return operation_problem(exchange, &problem);
}

enum MHD_Result state_snapshot_end(struct exchange *exchange)
{
    struct problem problem = { 0 };
    struct text text;
    if (exchange->error.code < 0) {
        problem_set(&problem, exchange->error.code == -ENOSPC ? 507 : 503, "no-snapshot", "%.550s",
                    exchange->error.text);
        return operation_problem(exchange, &problem);
    }
    text_init(&text);
    text_json_open_object(&text, NULL);
    add_info(&text, &exchange->snapshot);
    text_json_close_object(&text);
    enum MHD_Result result = operation_answer(exchange, 200, &text, NULL);
    text_free(&text);
    return result;
}

static void add_file(struct text *text, const char *dir, uint64_t seq)
{
    char path[PATH_MAX], name[SNAPSHOT_NAME_SIZE];
    struct snapshot_info info;
    struct error error = { 0 };
    snapshot_name(name, seq);
    text_json_open_object(text, NULL);
    if (snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path &&
        snapshot_look(path, &info, &error) == 0) {
        add_info(text, &info);
    } else {
        text_json_unsigned(text, "seq", seq);
        text_json_cstring(text, "file", name);
    }
    text_json_cstring(text, "trouble", error.code < 0 ? error.text : NULL);
    text_json_close_object(text);
}

enum MHD_Result state_snapshot_list(struct exchange *exchange)
{
    const char *dir = exchange->api->boot->snapshots_dir;
    struct problem problem = { 0 };
    struct error error;
    struct text text;
    uint64_t *items;
    size_t count;
    if (snapshot_list(dir, &items, &count, &error) < 0) {
        problem_set(&problem, 503, "state-unreadable", "%.550s", error.text);
        return operation_problem(exchange, &problem);
    }
    text_init(&text);
    text_json_open_object(&text, NULL);
    text_json_open_array(&text, "items");
    for (size_t i = 0; i < count; i++)
        add_file(&text, dir, items[i]);
    text_json_close_array(&text);
    text_json_null(&text, "next_cursor");
    text_json_close_object(&text);
    free(items);
    enum MHD_Result result = operation_answer(exchange, 200, &text, NULL);
    text_free(&text);
    return result;
}
