/* Two tables hold what LMDB does not: `fresh` takes what is handed over, `committing` is what the
 * state thread is writing, and does not change until it is in LMDB. A reader looks in both under
 * the lock and only then begins a snapshot of LMDB, so that a document which leaves the tables in
 * between is in the snapshot. */
#include "tools/agent/state.h"

#include "core/base/check.h"
#include "mmapstore/kv.h"
#include "tools/agent/handover.h"
#include "tools/agent/state_position.h"
#include "tools/agent/state_view.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define RETRY_NS 1000000000ull
#define COMMIT_INTERVAL_NS 50000000ull
#define COMMIT_BYTES (8ull << 20)

struct pooled_reader {
    struct kv_reader *reader;
    struct pooled_reader *next;
};

struct state {
    struct state_options options;
    struct kv *kv;
    pthread_t thread;
    bool thread_runs;

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t work;  /* something to commit, or to hurry for, or to stop */
    pthread_cond_t settled;
    struct handover_table fresh, committing;
    struct state_batch *fresh_first, *fresh_last, *committing_first;
    size_t fresh_bytes, committing_bytes;
    uint64_t handed_seq, committing_seq;
    struct state_mark mark, committing_mark;
    uint64_t commit_interval_ns, commit_bytes;    /* as state_pace() says */
    uint64_t fresh_since_ns, committing_since_ns; /* monotonic; 0: nothing there */
    uint64_t attempts;                            /* commits tried */
    bool hurry, stop;
    struct error trouble; /* code 0: none */
    struct pooled_reader *readers;

    _Atomic uint64_t applied_seq, pending_bytes, pending_since_ns;
};

static uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static void wait_until(struct state *state, uint64_t deadline_ns)
{
    struct timespec at = { .tv_sec = (time_t)(deadline_ns / 1000000000ull),
                           .tv_nsec = (long)(deadline_ns % 1000000000ull) };
    pthread_cond_timedwait(&state->work, &state->lock, &at);
}

/*--- Readers of LMDB ---------------------------------------------------------------------------*/

static int reader_take(struct state *state, struct pooled_reader **taken, struct error *error)
{
    pthread_mutex_lock(&state->lock);
    struct pooled_reader *pooled = state->readers;
    if (pooled)
        state->readers = pooled->next;
    pthread_mutex_unlock(&state->lock);
    if (!pooled) {
        pooled = calloc(1, sizeof *pooled);
        if (!pooled)
            return error_set(error, -ENOMEM, "no memory for a reader of the documents");
        int status = kv_reader_open(state->kv, &pooled->reader, error);
        if (status < 0) {
            free(pooled);
            return status;
        }
    }
    int status = kv_read_begin(pooled->reader, error);
    if (status < 0) {
        kv_reader_close(pooled->reader);
        free(pooled);
        return status;
    }
    *taken = pooled;
    return 0;
}

static void reader_give(struct state *state, struct pooled_reader *pooled)
{
    kv_read_end(pooled->reader);
    pthread_mutex_lock(&state->lock);
    pooled->next = state->readers;
    state->readers = pooled;
    pthread_mutex_unlock(&state->lock);
}

/*--- The state thread --------------------------------------------------------------------------*/

static int compare_entries(const void *a, const void *b)
{
    const struct handover_entry *left = *(struct handover_entry *const *)a;
    const struct handover_entry *right = *(struct handover_entry *const *)b;
    size_t common = left->key_size < right->key_size ? left->key_size : right->key_size;
    int order = memcmp(left->bytes, right->bytes, common);
    if (order != 0)
        return order;
    return left->key_size < right->key_size ? -1 : left->key_size > right->key_size;
}

static int write_transaction(struct state *state, struct handover_entry *const *entries,
                             uint64_t count, struct error *error)
{
    struct kv_writer *writer;
    int status = kv_begin(state->kv, &writer, error);
    if (status < 0)
        return status;
    for (uint64_t i = 0; i < count; i++) {
        if (entries[i]->deleted)
            kv_delete(writer, handover_key(entries[i]));
        else
            kv_put(writer, handover_key(entries[i]), handover_value(entries[i]));
    }
    struct state_position position = { .version = DOCUMENT_VERSION,
                                       .applied_seq = state->committing_seq,
                                       .mark = state->committing_mark };
    memcpy(position.log_uuid, state->options.log_uuid, sizeof position.log_uuid);
    state_position_write(writer, &position);
    return kv_commit(writer, error);
}

/* Writes `committing`, which nobody changes meanwhile; the lock is not held. */
static int commit(struct state *state, struct error *error)
{
    struct handover_entry **entries = handover_table_sorted(&state->committing);
    int status;
    do {
        status = write_transaction(state, entries, state->committing.count, error);
    } while (status == ERROR_FULL);
    free(entries);
    return status;
}

static void move_fresh(struct state *state)
{
    struct handover_table empty = state->committing;
    state->committing = state->fresh;
    state->fresh = empty;
    state->committing_first = state->fresh_first;
    state->fresh_first = state->fresh_last = NULL;
    state->committing_bytes = state->fresh_bytes;
    state->fresh_bytes = 0;
    state->committing_since_ns = state->fresh_since_ns;
    state->fresh_since_ns = 0;
    state->committing_seq = state->handed_seq;
    state->committing_mark = state->mark;
}

static void drop_committed(struct state *state)
{
    handover_table_clear(&state->committing);
    for (struct state_batch *batch = state->committing_first, *next; batch; batch = next) {
        next = batch->next;
        handover_batch_unref(batch);
    }
    state->committing_first = NULL;
    atomic_fetch_sub(&state->pending_bytes, state->committing_bytes);
    state->committing_bytes = 0;
    state->committing_since_ns = 0;
    atomic_store(&state->pending_since_ns, state->fresh_since_ns);
    atomic_store(&state->applied_seq, state->committing_seq);
}

/* Commits once; the lock is held before and after, not meanwhile. */
static int commit_once(struct state *state)
{
    if (state->committing_since_ns == 0)
        move_fresh(state);
    struct error error = { 0 };
    pthread_mutex_unlock(&state->lock);
    int status = commit(state, &error);
    pthread_mutex_lock(&state->lock);
    state->trouble = error;
    state->trouble.code = status;
    if (status == 0)
        drop_committed(state);
    state->attempts++;
    pthread_cond_broadcast(&state->settled);
    return status;
}

static bool has_work(const struct state *state)
{
    return state->handed_seq > atomic_load(&state->applied_seq);
}

static void *run(void *argument)
{
    struct state *state = argument;
    pthread_setname_np(pthread_self(), "daa-state");
    pthread_mutex_lock(&state->lock);
    while (!state->stop) {
        if (!has_work(state)) {
            state->hurry = false;
            pthread_cond_wait(&state->work, &state->lock);
            continue;
        }
        uint64_t deadline_ns = monotonic_ns() + state->commit_interval_ns;
        while (!state->stop && !state->hurry && state->fresh_bytes < state->commit_bytes &&
               monotonic_ns() < deadline_ns)
            wait_until(state, deadline_ns);
        state->hurry = false;
        if (commit_once(state) == 0)
            continue;
        deadline_ns = monotonic_ns() + RETRY_NS;
        while (!state->stop && !state->hurry && monotonic_ns() < deadline_ns)
            wait_until(state, deadline_ns);
    }
    while (has_work(state) && commit_once(state) == 0)
        ;
    pthread_mutex_unlock(&state->lock);
    return NULL;
}

/*--- Open and close ----------------------------------------------------------------------------*/

/* Why documents cannot be used; "" when they can. */
static void judge(uint32_t version, char *why, size_t size)
{
    why[0] = 0;
    if (version == 0)
        snprintf(why, size, "they have no version, or were being loaded when the agent ended");
    else if (version != DOCUMENT_VERSION)
        snprintf(why, size, "they are of version %" PRIu32 ", and this program writes %u", version,
                 DOCUMENT_VERSION);
}

int state_clear(struct state *state, struct error *error)
{
    struct kv_writer *writer;
    CHECK(!has_work(state));
    int status = kv_begin(state->kv, &writer, error);
    if (status < 0)
        return status;
    kv_clear(writer);
    status = kv_commit(writer, error);
    if (status == 0)
        state_moved(state, &(struct state_position){ 0 });
    return status;
}

static int adopt(struct state *state, struct state_found *found, struct error *error)
{
    struct state_position position;
    struct pooled_reader *pooled;
    *found = (struct state_found){ 0 };
    int status = reader_take(state, &pooled, error);
    if (status < 0)
        return status;
    uint64_t count = 0;
    status = state_position_read(pooled->reader, &position);
    if (status == 0)
        status = kv_count(pooled->reader, &count);
    reader_give(state, pooled);
    if (status < 0)
        return error_set(error, status, "the documents in %s cannot be read: %s",
                         state->options.dir, error_text(status));
    if (count == 0)
        return 0;
    judge(position.version, found->why, sizeof found->why);
    found->rebuilt = found->why[0] != 0;
    if (found->rebuilt)
        return state_clear(state, error);
    found->applied_seq = position.applied_seq;
    found->mark = position.mark;
    memcpy(found->log_uuid, position.log_uuid, sizeof found->log_uuid);
    state_moved(state, &position);
    return 0;
}

static void close_database(struct state *state)
{
    while (state->readers) {
        struct pooled_reader *pooled = state->readers;
        state->readers = pooled->next;
        kv_reader_close(pooled->reader);
        free(pooled);
    }
    if (state->kv)
        kv_close(state->kv);
    state->kv = NULL;
}

static void release(struct state *state)
{
    close_database(state);
    struct state_batch *lists[] = { state->committing_first, state->fresh_first };
    for (int i = 0; i < 2; i++)
        for (struct state_batch *batch = lists[i], *next; batch; batch = next) {
            next = batch->next;
            handover_batch_unref(batch);
        }
    handover_table_free(&state->fresh);
    handover_table_free(&state->committing);
    pthread_cond_destroy(&state->work);
    pthread_cond_destroy(&state->settled);
    pthread_mutex_destroy(&state->lock);
    free(state);
}

static int open_database(struct state *state, struct state_found *found, struct error *error)
{
    struct kv_options options = { .dir = state->options.dir, .size_max = state->options.map_bytes };
    int status = kv_open(&state->kv, &options, error);
    if (status == 0)
        status = adopt(state, found, error);
    if (status < 0)
        close_database(state);
    return status;
}

/* What LMDB cannot read is derived like all of it, and made anew. */
static int open_or_begin_anew(struct state *state, struct state_found *found, struct error *error)
{
    struct error why;
    int status = open_database(state, found, &why);
    if (status != ERROR_DAMAGED && status != ERROR_NEWER) {
        if (status < 0 && error)
            *error = why;
        return status;
    }
    int moved = state_set_aside(state->options.dir, error);
    if (moved == 0)
        moved = open_database(state, found, error);
    if (moved < 0)
        return moved;
    found->rebuilt = found->aside = true;
    snprintf(found->why, sizeof found->why, "%s",
             status == ERROR_NEWER ? "they are of another version of LMDB"
                                   : "LMDB finds them damaged");
    return 0;
}

int state_open(struct state **opened, const struct state_options *options,
               struct state_found *found, struct error *error)
{
    struct state *state = calloc(1, sizeof *state);
    if (!state)
        return error_set(error, -ENOMEM, "no memory for the state");
    state->options = *options;
    pthread_mutex_init(&state->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&state->work, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&state->settled, NULL);
    state_pace(state, 0, 0);

    int status = open_or_begin_anew(state, found, error);
    if (status < 0) {
        release(state);
        return error_wrap(error, status,
                          "documents in %s (they are derived: move the directory away and they "
                          "are rebuilt from the log)",
                          options->dir);
    }
    status = -pthread_create(&state->thread, NULL, run, state);
    if (status < 0) {
        release(state);
        return error_set(error, status, "cannot start the state thread: %s", error_text(status));
    }
    state->thread_runs = true;
    *opened = state;
    return 0;
}

int state_close(struct state *state, struct error *error)
{
    pthread_mutex_lock(&state->lock);
    state->stop = true;
    pthread_cond_signal(&state->work);
    pthread_mutex_unlock(&state->lock);
    pthread_join(state->thread, NULL);
    int status = has_work(state) ? state->trouble.code : 0;
    if (status < 0 && error)
        *error = state->trouble;
    release(state);
    return status;
}

uint64_t state_peek_applied_seq(const char *dir, uint8_t log_uuid[16])
{
    memset(log_uuid, 0, 16);
    struct kv *kv;
    struct kv_reader *reader;
    if (kv_open(&kv, &(struct kv_options){ .dir = dir, .read_only = true }, NULL) < 0)
        return 0;
    struct state_position position = { 0 };
    if (kv_reader_open(kv, &reader, NULL) == 0) {
        if (kv_read_begin(reader, NULL) == 0) {
            (void)state_position_read(reader,
                                      &position); /* no witness is better than a wrong one */
            kv_read_end(reader);
        }
        kv_reader_close(reader);
    }
    kv_close(kv);
    memcpy(log_uuid, position.log_uuid, 16);
    return position.applied_seq;
}

/*--- Hand-over ---------------------------------------------------------------------------------*/

struct state_batch *state_batch_new(struct state *state)
{
    return handover_batch_new(state->options.budget);
}

void state_batch_add(struct span key, struct span bytes, void *batch)
{
    handover_batch_add(batch, key, bytes);
}

bool state_batch_empty(const struct state_batch *batch)
{
    return batch->first == NULL;
}

void state_batch_free(struct state_batch *batch)
{
    handover_batch_unref(batch);
}

void state_hand_over(struct state *state, struct state_batch *batch, uint64_t applied_seq)
{
    pthread_mutex_lock(&state->lock);
    CHECK(applied_seq >= state->handed_seq);
    bool idle = !has_work(state);
    for (struct handover_entry *entry = batch->first; entry; entry = entry->next)
        handover_table_put(&state->fresh, entry);
    *(state->fresh_last ? &state->fresh_last->next : &state->fresh_first) = batch;
    state->fresh_last = batch;
    state->fresh_bytes += batch->bytes;
    atomic_fetch_add(&state->pending_bytes, batch->bytes);
    if (state->fresh_since_ns == 0) {
        state->fresh_since_ns = monotonic_ns();
        if (state->committing_since_ns == 0)
            atomic_store(&state->pending_since_ns, state->fresh_since_ns);
    }
    state->handed_seq = applied_seq;
    if (idle || state->fresh_bytes >= state->commit_bytes)
        pthread_cond_signal(&state->work);
    pthread_mutex_unlock(&state->lock);
}

void state_mark(struct state *state, uint64_t seq, const uint8_t chain[SHA256_SIZE])
{
    pthread_mutex_lock(&state->lock);
    if (seq <= state->handed_seq && seq > state->mark.seq) {
        state->mark.seq = seq;
        memcpy(state->mark.chain, chain, SHA256_SIZE);
    }
    pthread_mutex_unlock(&state->lock);
}

void state_pace(struct state *state, uint64_t commit_interval_ns, uint64_t commit_bytes)
{
    const struct state_options *options = &state->options;
    if (commit_interval_ns == 0)
        commit_interval_ns =
            options->commit_interval_ns ? options->commit_interval_ns : COMMIT_INTERVAL_NS;
    if (commit_bytes == 0)
        commit_bytes = options->commit_bytes ? options->commit_bytes : COMMIT_BYTES;
    pthread_mutex_lock(&state->lock);
    state->commit_interval_ns = commit_interval_ns;
    state->commit_bytes = commit_bytes;
    state->hurry = true; /* the state thread may be waiting as long as it was told before */
    pthread_cond_signal(&state->work);
    pthread_mutex_unlock(&state->lock);
}

/*--- For state_view ----------------------------------------------------------------------------*/

struct kv *state_kv(struct state *state)
{
    return state->kv;
}

const uint8_t *state_log_uuid(const struct state *state)
{
    return state->options.log_uuid;
}

void state_moved(struct state *state, const struct state_position *position)
{
    pthread_mutex_lock(&state->lock);
    CHECK(!has_work(state) && state->fresh_first == NULL);
    state->handed_seq = state->committing_seq = position->applied_seq;
    state->mark = state->committing_mark = position->mark;
    atomic_store(&state->applied_seq, position->applied_seq);
    pthread_mutex_unlock(&state->lock);
}

/*--- Reads -------------------------------------------------------------------------------------*/

static int copy_out(struct span value, uint8_t **bytes, size_t *size)
{
    uint8_t *copy = malloc(value.size + 1);
    if (!copy)
        return -ENOMEM;
    if (value.size > 0)
        memcpy(copy, value.bytes, value.size);
    copy[value.size] = 0;
    *bytes = copy;
    *size = value.size;
    return 1;
}

int state_peek_document(const char *dir, struct span key, uint8_t **bytes, size_t *size)
{
    struct kv *kv;
    struct kv_reader *reader;
    struct span value;
    int status = kv_open(&kv, &(struct kv_options){ .dir = dir, .read_only = true }, NULL);
    if (status < 0)
        return status;
    status = kv_reader_open(kv, &reader, NULL);
    if (status == 0) {
        status = kv_read_begin(reader, NULL);
        if (status == 0) {
            status = kv_get(reader, key, &value);
            if (status == 1)
                status = copy_out(value, bytes, size);
            kv_read_end(reader);
        }
        kv_reader_close(reader);
    }
    kv_close(kv);
    return status;
}

int state_get(struct state *state, struct span key, uint8_t **bytes, size_t *size)
{
    uint64_t hash = handover_hash(key);
    pthread_mutex_lock(&state->lock);
    struct handover_entry *entry = handover_table_get(&state->fresh, key, hash);
    if (!entry)
        entry = handover_table_get(&state->committing, key, hash);
    if (entry)
        atomic_fetch_add(&entry->batch->references, 1);
    pthread_mutex_unlock(&state->lock);
    if (entry) {
        int found = entry->deleted ? 0 : copy_out(handover_value(entry), bytes, size);
        handover_batch_unref(entry->batch);
        return found;
    }
    struct pooled_reader *pooled;
    int status = reader_take(state, &pooled, NULL);
    if (status < 0)
        return status;
    struct span value;
    status = kv_get(pooled->reader, key, &value);
    if (status == 1)
        status = copy_out(value, bytes, size);
    reader_give(state, pooled);
    return status;
}

bool state_is_handed(struct state *state, struct span key)
{
    uint64_t hash = handover_hash(key);
    pthread_mutex_lock(&state->lock);
    bool found = handover_table_get(&state->fresh, key, hash) ||
                 handover_table_get(&state->committing, key, hash);
    pthread_mutex_unlock(&state->lock);
    return found;
}

/* What the tables hold of a walk's range, in order. */
struct overlay {
    struct handover_entry **entries; /* each holds a reference on its batch */
    uint64_t count, capacity;
};

static int compare_spans(struct span a, struct span b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common ? memcmp(a.bytes, b.bytes, common) : 0;
    if (order != 0)
        return order;
    return a.size < b.size ? -1 : a.size > b.size;
}

static bool in_range(struct span key, struct span prefix, struct span from, bool backwards)
{
    if (key.size < prefix.size || memcmp(key.bytes, prefix.bytes, prefix.size) != 0)
        return false;
    if (from.size == 0)
        return true;
    int order = compare_spans(key, from);
    return backwards ? order < 0 : order > 0;
}

static void overlay_add(struct overlay *overlay, const struct handover_table *table,
                        const struct handover_table *newer, struct span prefix, struct span from,
                        bool backwards)
{
    for (uint64_t i = 0; i < table->capacity; i++) {
        struct handover_entry *entry = table->slots[i];
        if (!entry || !in_range(handover_key(entry), prefix, from, backwards) ||
            (newer && handover_table_get(newer, handover_key(entry), entry->hash)))
            continue;
        if (overlay->count == overlay->capacity) {
            overlay->capacity = overlay->capacity ? overlay->capacity * 2 : 64;
            overlay->entries =
                realloc(overlay->entries, overlay->capacity * sizeof(struct handover_entry *));
            CHECK(overlay->entries);
        }
        atomic_fetch_add(&entry->batch->references, 1);
        overlay->entries[overlay->count++] = entry;
    }
}

static void overlay_free(struct overlay *overlay)
{
    for (uint64_t i = 0; i < overlay->count; i++)
        handover_batch_unref(overlay->entries[i]->batch);
    free(overlay->entries);
}

/* The end of a prefix's range: the first key behind it. False: there is none. */
static bool behind(struct span prefix, uint8_t end[KV_KEY_SIZE_MAX], size_t *size)
{
    memcpy(end, prefix.bytes, prefix.size);
    for (*size = prefix.size; *size > 0; --*size)
        if (end[*size - 1] != 0xff) {
            end[*size - 1]++;
            return true;
        }
    return false;
}

static int seek(struct kv_reader *reader, struct span prefix, struct span from, bool backwards,
                struct span *key, struct span *value)
{
    uint8_t end[KV_KEY_SIZE_MAX];
    size_t size;
    if (!backwards) {
        int found = kv_seek(reader, from.size > 0 ? from : prefix, false, key, value);
        if (found == 1 && from.size > 0 && span_equal(*key, from))
            found = kv_next(reader, false, key, value);
        return found;
    }
    if (from.size > 0)
        return kv_seek(reader, from, true, key, value);
    return behind(prefix, end, &size) ? kv_seek(reader, span_of(end, size), true, key, value)
                                      : kv_seek(reader, span_of(NULL, 0), true, key, value);
}

static int merge(struct kv_reader *reader, const struct overlay *overlay, struct span prefix,
                 struct span from, bool backwards, state_each_function *each, void *context)
{
    struct span key, value;
    uint64_t done = 0;
    int found = seek(reader, prefix, from, backwards, &key, &value);
    for (;;) {
        if (found == 1 && !in_range(key, prefix, span_of(NULL, 0), backwards))
            found = 0;
        if (found < 0)
            return found;
        const struct handover_entry *entry = NULL;
        if (done < overlay->count)
            entry = overlay->entries[backwards ? overlay->count - 1 - done : done];
        if (!entry && found == 0)
            return 0;
        int order = !entry ? 1 : found == 0 ? -1 : compare_spans(handover_key(entry), key);
        if (backwards && entry && found == 1)
            order = -order;
        bool go_on = true;
        if (order > 0)
            go_on = each(key, value, context);
        else if (!entry->deleted)
            go_on = each(handover_key(entry), handover_value(entry), context);
        if (!go_on)
            return 0;
        done += order <= 0;
        if (order >= 0)
            found = kv_next(reader, backwards, &key, &value);
    }
}

int state_walk(struct state *state, struct span prefix, struct span from, bool backwards,
               state_each_function *each, void *context)
{
    CHECK(prefix.size < KV_KEY_SIZE_MAX);
    struct overlay overlay = { 0 };
    pthread_mutex_lock(&state->lock);
    overlay_add(&overlay, &state->fresh, NULL, prefix, from, backwards);
    overlay_add(&overlay, &state->committing, &state->fresh, prefix, from, backwards);
    pthread_mutex_unlock(&state->lock);
    if (overlay.count > 0)
        qsort(overlay.entries, overlay.count, sizeof(struct handover_entry *), compare_entries);
    struct pooled_reader *pooled;
    int status = reader_take(state, &pooled, NULL);
    if (status == 0) {
        status = merge(pooled->reader, &overlay, prefix, from, backwards, each, context);
        reader_give(state, pooled);
    }
    overlay_free(&overlay);
    return status;
}

uint64_t state_applied_seq(const struct state *state)
{
    return atomic_load(&state->applied_seq);
}

uint64_t state_pending_bytes(const struct state *state)
{
    return atomic_load(&state->pending_bytes);
}

uint64_t state_lag_ns(const struct state *state)
{
    uint64_t since_ns = atomic_load(&state->pending_since_ns);
    return since_ns == 0 ? 0 : monotonic_ns() - since_ns;
}

bool state_trouble(struct state *state, struct error *error)
{
    pthread_mutex_lock(&state->lock);
    bool trouble = state->trouble.code < 0;
    if (trouble)
        *error = state->trouble;
    pthread_mutex_unlock(&state->lock);
    return trouble;
}

/*--- Digest ------------------------------------------------------------------------------------*/

int state_commit_now(struct state *state, struct error *error)
{
    pthread_mutex_lock(&state->lock);
    uint64_t target = state->handed_seq, attempts = state->attempts;
    int status = 0;
    while (atomic_load(&state->applied_seq) < target && status == 0) {
        state->hurry = true;
        pthread_cond_signal(&state->work);
        pthread_cond_wait(&state->settled, &state->lock);
        /* One attempt may have begun before we asked. */
        if (state->trouble.code < 0 && state->attempts > attempts + 1) {
            status = state->trouble.code;
            if (error)
                *error = state->trouble;
        }
    }
    pthread_mutex_unlock(&state->lock);
    return status;
}

int state_digest(struct state *state, uint8_t digest[SHA256_SIZE], uint64_t *seq,
                 struct error *error)
{
    struct state_view *view;
    struct state_sum sum;
    struct span key, value;
    int status = state_commit_now(state, error);
    uint64_t applied_seq = state_applied_seq(state);
    if (status == 0)
        status = state_view_open(state, &view, error);
    if (status < 0)
        return status;
    state_sum_begin(&sum);
    while ((status = state_view_next(view, &key, &value, error)) == 1)
        state_sum_add(&sum, key, value);
    *seq = state_view_position(view)->applied_seq;
    state_view_close(view);
    if (status == 0 && *seq < applied_seq)
        status =
            error_set(error, ERROR_DAMAGED, "cannot read the documents: their position is gone");
    if (status == 0)
        state_sum_end(&sum, digest);
    return status;
}
