/* READY -> COPYING: the rows of a batch, as the server takes them. */
#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/event/event.h"
#include "log/record.h"
#include "pgsync/copier_inside.h"
#include "pgsync/rejected.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t rows_wanted(const struct copier *copier)
{
    uint64_t rows = poison_rows(&copier->poison, copier->position, copier->batch_rows);
    return rows < copier->options.batch_rows_max ? rows : copier->options.batch_rows_max;
}

/* The next record of this log, if it is there. An error comes again with the next batch, after this
 * one is in, and so do the first event behind a fork, and an erasure that this batch is not for. */
static bool next_of_log(struct copier *copier, struct record *record, struct log_place *place)
{
    struct log_reader *reader = copier->options.reader;
    uint64_t seq = copier->batch.last_seq + 1;
    if (log_reader_next(reader, record, place, NULL) != 1 || record->seq != seq)
        return false;
    if (memcmp(place->log_uuid, copier->log, UUID_SIZE) == 0 &&
        (copier->erases || record->kind != DAA__EVENT__BODY_WORKFLOWS_ERASED))
        return true;
    (void)log_reader_seek(reader, seq, NULL);
    return false;
}

static int reject(struct copier *copier, const struct record *record, struct error *error)
{
    const struct rejection rejection = {
        .sqlstate = copier->refusal_state,
        .message = copier->refusal.text,
        .in_events =
            poison_step_of(&copier->poison, copier->position, POISON_EVENTS) != POISON_LEFT_OUT,
    };
    return rejected_add(copier->pg, copier->log_text, record, &rejection, error);
}

/* The row alone that the server refused, as far as it may take it. */
static int add_refused(struct copier *copier, const struct record *record, struct error *error)
{
    struct batch *batch = &copier->batch;
    const struct poison *poison = &copier->poison;
    enum poison_step events = poison_step_of(poison, copier->position, POISON_EVENTS);
    int failed = 0;
    if (events == POISON_LEFT_OUT)
        failed = batch_count(batch, record);
    else
        failed =
            batch_add_event(batch, record, events == POISON_REDUCED ? copier->refusal.text : NULL);
    if (failed == 0 && poison_step_of(poison, copier->position, POISON_TABLES) != POISON_LEFT_OUT)
        failed = batch_add_changes(batch, record);
    return failed < 0 ? error_set(error, failed, "no memory for event %" PRIu64, record->seq) : 0;
}

/* Adds `record` and those that follow it, and sends them on the way. */
static int add_events(struct copier *copier, struct record record, struct log_place place,
                      struct error *error)
{
    struct batch *batch = &copier->batch;
    uint64_t wanted = rows_wanted(copier);
    for (;;) {
        int failed = batch_add(batch, &record, NULL);
        if (failed < 0)
            return error_set(error, failed, "no memory for event %" PRIu64, record.seq);
        memcpy(copier->chain, place.frame_chain, SHA256_SIZE);
        failed = batch_send_events(&copier->batch, copier->pg, BATCH_PIECE_SIZE, error);
        if (failed < 0)
            return failed;
        if (batch->rows >= wanted || batch->payload_size >= BATCH_PAYLOAD_MAX ||
            batch->last_seq + 1 >= copier->schema.partitions_end ||
            batch->last_seq == copier->fork_seq)
            return 0;
        if (!next_of_log(copier, &record, &place))
            return 0;
    }
}

static int send_events(struct copier *copier, const struct record *first,
                       const struct log_place *place, struct error *error)
{
    int failed;
    batch_begin(&copier->batch, copier->log, &copier->family.owners);
    if (poison_is_next(&copier->poison, copier->position)) {
        memcpy(copier->chain, place->frame_chain, SHA256_SIZE);
        failed = add_refused(copier, first, error);
    } else {
        failed = add_events(copier, *first, *place, error);
    }
    if (failed < 0)
        return failed;
    batch_end(&copier->batch);
    return batch_send_events(&copier->batch, copier->pg, 0, error);
}

int copier_send_events(struct copier *copier, const struct record *first,
                       const struct log_place *place, struct error *error)
{
    int failed =
        poison_is_next(&copier->poison, copier->position) ? reject(copier, first, error) : 0;
    if (failed == 0)
        failed = pg_copy_begin(copier->pg, batch_events_sql, error);
    if (failed < 0)
        return failed;
    failed = send_events(copier, first, place, error);
    if (failed < 0) {
        pg_copy_abort(copier->pg);
        return failed;
    }
    return pg_copy_end(copier->pg, error);
}
