/* The public face of the log for reading and verifying: log/daalog.h. */
#include "log/daalog.h"
#include "log/face.h"
#include "log/read_many.h"
#include "log/reader.h"
#include "log/verify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_MS 1000000u

_Static_assert((int)DAALOG_IS_DAMAGED == LOG_DAMAGED && (int)DAALOG_IS_TORN == LOG_TORN &&
                   (int)DAALOG_IS_UNPROVEN == LOG_UNPROVEN && (int)DAALOG_IS_SOUND == LOG_SOUND,
               "the verdicts of daalog.h are the log's");

struct daalog_reader {
    struct log_reader *reader;
    struct budget budget;
    char *dir;
    struct error error;
};

static struct daalog_event event_of(const struct record *record)
{
    return (struct daalog_event){ .seq = record->seq,
                                  .time_ns = record->time_ns,
                                  .stream = record->stream,
                                  .stream_prev_seq = record->stream_prev_seq,
                                  .cause = record->cause,
                                  .payload = record->payload.bytes,
                                  .payload_size = record->payload.size,
                                  .kind = record->kind,
                                  .key_id = record->key_id };
}

/*--- Reading -----------------------------------------------------------------------------------*/

int daalog_reader_open(struct daalog_reader **reader, const char *dir,
                       const struct daalog_reader_options *options, char *why, size_t why_size)
{
    struct error error = { 0 };
    struct daalog_reader_options ours = { .size = 0 };
    int code = face_take_options(&ours, sizeof ours, options, &error);
    if (code == 0)
        code = face_check_flags(ours.flags, DAALOG_SKIP_DAMAGE | DAALOG_CHECK_CHAIN, ours.reserved,
                                &error);
    if (code < 0)
        return face_tell(code, &error, why, why_size);
    struct daalog_reader *opened = calloc(1, sizeof *opened);
    if (opened == NULL || (opened->dir = strdup(dir)) == NULL) {
        free(opened);
        return face_tell(error_set(&error, -ENOMEM, "no memory for a reader"), &error, why,
                         why_size);
    }
    budget_init(&opened->budget, ours.memory_max > 0 ? ours.memory_max : UINT64_MAX);
    struct log_reader_options of_reader = { .dir = dir,
                                            .budget = &opened->budget,
                                            .skip_damage = (ours.flags & DAALOG_SKIP_DAMAGE) != 0,
                                            .verify_chain =
                                                (ours.flags & DAALOG_CHECK_CHAIN) != 0 };
    code = log_reader_open(&opened->reader, &of_reader, &error);
    if (code < 0)
        daalog_reader_close(opened);
    else
        *reader = opened;
    return face_tell(code, &error, why, why_size);
}

void daalog_reader_close(struct daalog_reader *reader)
{
    if (reader == NULL)
        return;
    log_reader_close(reader->reader);
    free(reader->dir);
    free(reader);
}

int daalog_reader_seek(struct daalog_reader *reader, uint64_t seq)
{
    return log_reader_seek(reader->reader, seq, &reader->error);
}

int daalog_reader_next(struct daalog_reader *reader, struct daalog_event *event)
{
    struct record record;
    struct log_place place;
    int found = log_reader_next(reader->reader, &record, &place, &reader->error);
    if (found == 1)
        *event = event_of(&record);
    return found;
}

int daalog_reader_get(struct daalog_reader *reader, uint64_t seq, struct daalog_event *event)
{
    struct record record;
    struct log_place place;
    int found = log_reader_get(reader->reader, seq, &record, &place, &reader->error);
    if (found == 1)
        *event = event_of(&record);
    return found;
}

struct asking {
    daalog_many_function *each;
    void *context;
};

static void pass_on(size_t index, int result, const struct record *record,
                    const struct error *error, void *context)
{
    const struct asking *asking = context;
    struct daalog_event event = { .seq = 0 };
    if (result == 1)
        event = event_of(record);
    asking->each(index, result, &event, result < 0 ? error->text : "", asking->context);
}

int daalog_reader_get_many(struct daalog_reader *reader, const uint64_t *seqs, size_t count,
                           daalog_many_function *each, void *context)
{
    struct log_many *many;
    struct log_many_options options = { .dir = reader->dir, .budget = &reader->budget };
    struct asking asking = { .each = each, .context = context };
    /* Opened anew each time: its ring belongs to one thread, a reader may go to another. */
    int code = log_many_open(&many, &options, &reader->error);
    if (code < 0)
        return code;
    code = log_read_many(many, seqs, count, pass_on, &asking, &reader->error);
    log_many_close(many);
    return code;
}

int daalog_reader_wait(struct daalog_reader *reader, int timeout_ms)
{
    return log_reader_wait(reader->reader,
                           timeout_ms < 0 ? UINT64_MAX : (uint64_t)timeout_ms * NS_PER_MS);
}

uint64_t daalog_reader_first_seq(struct daalog_reader *reader)
{
    return log_reader_first_seq(reader->reader);
}

uint64_t daalog_reader_durable_seq(struct daalog_reader *reader)
{
    return log_reader_durable_seq(reader->reader);
}

uint64_t daalog_reader_skipped(const struct daalog_reader *reader)
{
    return log_reader_skipped(reader->reader);
}

const char *daalog_reader_error(const struct daalog_reader *reader)
{
    return reader->error.text;
}

/*--- Verifying ---------------------------------------------------------------------------------*/

struct telling {
    daalog_finding_function *each;
    void *context;
};

static void tell_finding(const struct log_finding *finding, void *context)
{
    const struct telling *telling = context;
    struct daalog_finding ours = { .verdict = (int)finding->verdict,
                                   .tail = finding->tail,
                                   .file = finding->file,
                                   .text = finding->text,
                                   .offset = finding->offset,
                                   .size = finding->size,
                                   .first_seq = finding->first_seq,
                                   .last_seq = finding->last_seq };
    telling->each(&ours, telling->context);
}

/* Fills as much of the caller's struct as there is of it. */
static void give_verified(struct daalog_verified *verified, const struct log_verify_result *result)
{
    struct daalog_verified ours = { .size = verified->size,
                                    .verdict = (int)result->verdict,
                                    .live = result->live,
                                    .first_seq = result->first_seq,
                                    .last_seq = result->last_seq,
                                    .events = result->records,
                                    .findings = result->findings,
                                    .segments = result->segments,
                                    .bytes_read = result->bytes_read };
    memcpy(ours.chain, result->chain, sizeof ours.chain);
    memcpy(verified, &ours, ours.size < sizeof ours ? ours.size : sizeof ours);
}

int daalog_verify(const char *dir, uint32_t flags, daalog_finding_function *each, void *context,
                  struct daalog_verified *verified, char *why, size_t why_size)
{
    struct error error = { 0 };
    struct log_verify_result result;
    struct telling telling = { .each = each, .context = context };
    struct log_verify_options options = { .dir = dir,
                                          .no_chain = (flags & DAALOG_NO_CHAIN) != 0,
                                          .finding = each != NULL ? tell_finding : NULL,
                                          .context = &telling };
    int code = face_check_flags(flags, DAALOG_NO_CHAIN, 0, &error);
    if (code == 0 && verified->size < sizeof verified->size)
        code = error_set(&error, ERROR_INVALID, "verified: size must be sizeof the struct");
    if (code == 0)
        code = log_verify(&options, &result, &error);
    if (code == 0)
        give_verified(verified, &result);
    return face_tell(code, &error, why, why_size);
}
