/* POST /api/v1/workflows/{id}:erase. It takes a few writes that must be durable one after the
 * other, so it is on a thread of its own. */
#include "log/keyring.h"
#include "log/reader.h"
#include "tools/agent/eraser.h"
#include "tools/agent/loop.h"
#include "tools/agent/operation.h"

#include <string.h>

static int erase(struct exchange *exchange)
{
    const struct command *command = &exchange->request.command;
    exchange->erasure = (struct erasure){ .stream = command->stream,
                                          .actor = command->actor,
                                          .request_id = command->request_id,
                                          .traceparent = command->traceparent,
                                          .reason = command->erase.reason };
    return eraser_erase(exchange->api->boot->eraser, &exchange->erasure, &exchange->error);
}

static void *run(void *argument)
{
    struct exchange *exchange = argument;
    if (erase(exchange) == 0)
        exchange->error.code = 0;
    operation_end_long(exchange, &exchange->api->erase_under_way);
    return NULL;
}

enum MHD_Result workflow_erase_begin(struct exchange *exchange)
{
    struct problem problem = { 0 };
    struct api *api = exchange->api;
    if (!api->boot->eraser)
        problem_set(
            &problem, 409, "not-encrypted",
            "no event of this log is encrypted, so none can be erased: they are there until "
            "retention removes them (new workflows are encrypted with "
            "log.encryption = true)");
    else if (atomic_exchange(&api->erase_under_way, true))
        problem_set(&problem, 429, "erasure-under-way",
                    "another workflow is being erased; ask again in a moment");
    if (problem.status != 0)
        return operation_problem(exchange, &problem);
    operation_fill_command(exchange);
    return operation_begin_long(exchange, run, &api->erase_under_way);
}

static enum MHD_Result answer_erased(struct exchange *exchange)
{
    struct text text;
    exchange->seq = exchange->erasure.seq;
    text_init(&text);
    text_json_open_object(&text, NULL);
    text_json_string(&text, "id", exchange->parameters[0]);
    if (exchange->erasure.seq != 0)
        text_json_unsigned(&text, "seq", exchange->erasure.seq);
    text_json_bool(&text, "erased", true);
    text_json_close_object(&text);
    enum MHD_Result result = operation_answer(exchange, 200, &text, NULL);
    text_free(&text);
    return result;
}

enum MHD_Result workflow_erase_end(struct exchange *exchange)
{
    struct problem problem = { 0 };
    const struct erasure *erasure = &exchange->erasure;
    if (exchange->error.code < 0) {
        problem_set(&problem, 503, "not-erased", "%.550s", exchange->error.text);
        return operation_problem(exchange, &problem);
    }
    if (erasure->answer == ERASURE_MISSING)
        return workflow_missing(exchange, exchange->request.command.stream);
    if (erasure->answer == ERASURE_UNKNOWN)
        return operation_unknown(exchange);
    if (erasure->answer == ERASURE_DONE)
        return answer_erased(exchange);
    problem_set(&problem, erasure->status, erasure->code, "%.550s", erasure->text);
    return operation_problem(exchange, &problem);
}

bool workflow_is_erased(uint64_t stream, void *context)
{
    uint8_t key[KEYRING_KEY_SIZE];
    struct record record;
    struct error ignored;
    struct api *api = context;
    if (!api->boot->keyring)
        return false;
    int status = operation_take_reader(api, &ignored);
    if (status == 0)
        status = log_reader_get(api->reader, stream, &record, NULL, &ignored);
    uint32_t key_id = status == 1 ? record.key_id : 0;
    operation_give_reader(api);
    if (key_id == 0)
        return false;
    status = keyring_get(api->boot->keyring, key_id, key, NULL);
    explicit_bzero(key, sizeof key);
    return status == ERROR_NOT_FOUND;
}

void eraser_add_status(const struct boot *boot, struct text *text)
{
    struct eraser_status status;
    struct loop_counts counts;
    if (!boot->eraser)
        return;
    eraser_status_get(boot->eraser, &status);
    loop_counts_get(boot->loop, &counts);
    text_json_open_object(text, "encryption");
    text_json_bool(text, "new_workflows", boot->config->log.encryption);
    text_json_cstring(text, "keys", boot->keys_dir);
    text_json_unsigned(text, "erased", status.erased);
    text_json_unsigned(text, "waiting_for_keys", counts.waiting_for_keys);
    text_json_cstring(text, "trouble", status.trouble.code < 0 ? status.trouble.text : NULL);
    text_json_close_object(text);
}
