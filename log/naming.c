/* Who the log is: its uuid and its parent, and what a fork leaves behind on disk (log/fork.h). */
#include "log/place.h"
#include "log/readers.h"
#include "log/storage.h"
#include "log/writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a copied directory says of readers is from when that file was copied, which may be behind
 * the log's end here. From now on events of another log get those numbers: nobody has them yet. */
static int draw_back_readers(const struct log *log, const struct log_recovery *recovery,
                             struct error *error)
{
    struct log_reader_position *readers;
    size_t count;
    int result = log_reader_positions(log->dir, &readers, &count, error);
    for (size_t i = 0; result == 0 && i < count; i++) {
        struct log_reader_position *reader = &readers[i];
        if (reader->problem[0] != '\0' ||
            (reader->seq <= recovery->last_seq && reader->flushed_seq <= recovery->last_seq))
            continue;
        reader->seq = recovery->last_seq;
        if (reader->flushed_seq >= recovery->last_seq) {
            reader->flushed_seq = recovery->last_seq;
            memcpy(reader->chain, recovery->chain, SHA256_SIZE);
        }
        result = log_reader_position_write(log->dir, reader, true, error);
    }
    free(readers);
    return result;
}

int naming_prepare(struct log *log, const struct log_recovery *recovery, struct error *error)
{
    struct fork_wish *wish = &log->wish;
    int result = fork_read(log->dir, wish, error);
    if (result < 0 || !recovery->exists)
        return result;
    bool copied = recovery->moved && !recovery->clean;
    bool happened =
        wish->exists && wish->bound && memcmp(wish->from, recovery->log_uuid, UUID_SIZE) != 0;
    log->forking = copied || (!happened && (wish->exists || log->options.fork));
    if (log->forking) {
        if (!wish->exists || happened)
            snprintf(wish->why, sizeof wish->why, "%s",
                     copied ? "the directory is a copy of a log that was not closed"
                            : "it was asked for");
        wish->exists = wish->bound = true;
        memcpy(wish->from, recovery->log_uuid, UUID_SIZE);
        result = fork_write(log->dir, wish, error);
        /* Before the fork: where it has happened nobody looks again. */
        if (result == 0)
            result = draw_back_readers(log, recovery, error);
    }
    return result < 0 ? result : place_note(log->dir, recovery->log_uuid, error);
}

static void new_uuid(struct log *log)
{
    spares_random(log, log->log_uuid, UUID_SIZE);
    uuid_from_random(log->log_uuid);
}

/* True if nothing was written under the newest name: its parent stays the one that counts. */
static bool name_is_unused(const struct log_recovery *recovery)
{
    return recovery->forked && recovery->last_seq == recovery->parent_seq;
}

void naming_take(struct log *log, const struct log_recovery *recovery)
{
    if (!recovery->exists) {
        new_uuid(log);
        return;
    }
    memcpy(log->log_uuid, recovery->log_uuid, UUID_SIZE);
    log->forked = recovery->forked;
    log->parent_seq = recovery->parent_seq;
    memcpy(log->parent_uuid, recovery->parent_uuid, UUID_SIZE);
    memcpy(log->parent_chain, recovery->parent_chain, SHA256_SIZE);
    if (!log->forking)
        return;
    if (!name_is_unused(recovery)) {
        memcpy(log->parent_uuid, recovery->log_uuid, UUID_SIZE);
        log->parent_seq = recovery->last_seq;
        memcpy(log->parent_chain, recovery->chain, SHA256_SIZE);
    }
    log->forked = true;
    new_uuid(log);
    log->checkpoint.last.durable_seq = 0; /* of another log */
}

size_t naming_reason(char *reason, const struct log *log, const struct log_recovery *recovery,
                     const char *note)
{
    char parent[UUID_TEXT_SIZE];
    int size = snprintf(reason, OPENED_REASON_SIZE_MAX, "%s%s%s",
                        recovery->exists ? recovery->reason : "a new log",
                        note[0] != '\0' ? "; it lies on " : "", note);
    if (!log->forked || log->parent_seq != recovery->last_seq)
        return (size_t)size;
    uuid_to_text(parent, log->parent_uuid);
    size +=
        snprintf(reason + size, OPENED_REASON_SIZE_MAX - (size_t)size,
                 "; here it leaves log %s behind event %llu: %s", parent,
                 (unsigned long long)log->parent_seq,
                 log->wish.why[0] != '\0' ? log->wish.why : "an opening before this one did so");
    return (size_t)size;
}

int naming_settle(const struct log *log, struct error *error)
{
    int result = place_note(log->dir, log->log_uuid, error);
    return result < 0 || !log->wish.exists ? result : fork_remove(log->dir, error);
}
