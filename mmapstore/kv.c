#include "mmapstore/kv.h"

#include "core/base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lmdb.h>

enum { READERS_MAX = 256 };

/* Address space costs nothing, growing makes everybody wait: so begin large, and be content with
 * less where a limit (RLIMIT_AS) does not give so much. */
static const uint64_t size_default = (uint64_t)1 << 36, size_least = (uint64_t)1 << 26;

struct kv_writer {
    struct kv *kv;
    MDB_txn *txn;
    int error; /* the first one; then nothing more is done */
};

struct kv {
    struct kv_options options;
    MDB_env *env; /* NULL: it has failed and could not be opened again yet */
    MDB_dbi table;
    struct kv_writer writer;
    uint64_t generation;      /* how often it was opened again; changed with map_lock for writing */
    pthread_mutex_t env_lock; /* for who uses the environment without a transaction */
    struct kv_reader *readers; /* all that are open */
    /* Read-locked while a transaction is under way, write-locked while the map grows: LMDB must
     * not move its map under one. */
    pthread_rwlock_t map_lock;
    _Atomic bool wants_to_grow;
    char dir[PATH_MAX];
};

struct kv_reader {
    struct kv *kv;
    MDB_txn *txn; /* reset, and renewed for each read */
    MDB_cursor *cursor;
    bool reading;
    struct kv_reader *next, **at; /* in the environment's list */
};

/* The only place that knows LMDB's codes. */
static int translate(int code)
{
    switch (code) {
    case MDB_SUCCESS:
        return 0;
    case MDB_NOTFOUND:
        return ERROR_NOT_FOUND;
    case MDB_MAP_FULL:
        return ERROR_FULL;
    case MDB_TXN_FULL:
        return ERROR_TOO_LARGE;
    case MDB_BAD_VALSIZE:
    case MDB_KEYEXIST: /* appended out of order */
        return ERROR_INVALID;
    case MDB_VERSION_MISMATCH:
        return ERROR_NEWER;
    case MDB_INVALID:
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INCOMPATIBLE:
    case MDB_CURSOR_FULL:
    case MDB_PAGE_FULL:
    case MDB_BAD_TXN: /* of a read: it has met a damaged page before */
        return ERROR_DAMAGED;
    case MDB_READERS_FULL:
        return -EUSERS;
    case MDB_PANIC: /* a meta page could not be written: LMDB does nothing more with this one */
        return ERROR_UNAVAILABLE;
    case MDB_MAP_RESIZED:
        return -EAGAIN;
    default:
        return code > 0 ? -code : -EINVAL;
    }
}

/* LMDB asserts what it expects of a page, and a damaged one would end the process: what is wrong
 * with a file is an error. A transaction that was left so is good for its end only. */
static _Thread_local jmp_buf *escape;

static void on_assert(MDB_env *env, const char *message)
{
    (void)env;
    (void)message;
    if (escape != NULL)
        longjmp(*escape, 1);
}

#define GUARDED(call)                                                                              \
    ({                                                                                             \
        jmp_buf here;                                                                              \
        escape = &here;                                                                            \
        int guarded = setjmp(here) == 0 ? translate(call) : ERROR_DAMAGED;                         \
        escape = NULL;                                                                             \
        guarded;                                                                                   \
    })

static MDB_val value_of(struct span span)
{
    return (MDB_val){ .mv_size = span.size, .mv_data = (void *)(uintptr_t)span.bytes };
}

static struct span span_of_value(MDB_val value)
{
    return span_of(value.mv_data, value.mv_size);
}

static bool key_is_valid(struct span key)
{
    return key.size > 0 && key.size <= KV_KEY_SIZE_MAX;
}

static void drop_transactions(struct kv *kv)
{
    for (struct kv_reader *reader = kv->readers; reader != NULL; reader = reader->next) {
        if (reader->cursor != NULL)
            mdb_cursor_close(reader->cursor);
        if (reader->txn != NULL)
            mdb_txn_abort(reader->txn);
        reader->cursor = NULL;
        reader->txn = NULL;
    }
}

static void close_env(struct kv *kv)
{
    if (kv->env != NULL)
        mdb_env_close(kv->env);
    kv->env = NULL;
}

/* 0 takes the size that another process has given it. Waits until no transaction is under way. When
 * there is no address space for it LMDB has given up the map that it had, and would read where
 * nothing is mapped: then what begins next opens the environment again, as large as may be. */
static int set_map_size(struct kv *kv, uint64_t size)
{
    atomic_store(&kv->wants_to_grow, true);
    pthread_rwlock_wrlock(&kv->map_lock);
    atomic_store(&kv->wants_to_grow, false);
    pthread_mutex_lock(&kv->env_lock);
    int code = kv->env != NULL ? translate(mdb_env_set_mapsize(kv->env, size)) : 0;
    if (code < 0) {
        drop_transactions(kv);
        close_env(kv);
    }
    pthread_mutex_unlock(&kv->env_lock);
    pthread_rwlock_unlock(&kv->map_lock);
    return code;
}

static int begin_first(struct kv *kv, unsigned flags, MDB_txn **txn)
{
    int code;
    while ((code = translate(mdb_txn_begin(kv->env, NULL, flags, txn))) == -EAGAIN)
        if ((code = translate(mdb_env_set_mapsize(kv->env, 0))) < 0) /* another process grew it */
            return code;
    return code;
}

static int open_table(struct kv *kv)
{
    MDB_txn *txn = NULL;
    int code = begin_first(kv, MDB_RDONLY, &txn);
    if (code < 0)
        return code;
    code = translate(mdb_dbi_open(txn, NULL, 0, &kv->table));
    if (code == 0)
        code = translate(mdb_txn_commit(txn));
    else
        mdb_txn_abort(txn);
    return code;
}

/* LMDB would make a lock file for a reader too. Where there is none nobody writes, and a reader of
 * such a copy needs none. */
static bool has_lock_file(const char *dir)
{
    char path[PATH_MAX];
    return snprintf(path, sizeof path, "%s/lock.mdb", dir) < PATH_MAX && access(path, F_OK) == 0;
}

/* By how much the file is shorter than its pages: 0 it is not, negative. */
static int64_t missing_end(struct kv *kv, const char *path, int64_t *size)
{
    MDB_envinfo info;
    MDB_stat stat_of;
    struct stat file;
    int code = translate(mdb_env_info(kv->env, &info));
    if (code == 0)
        code = translate(mdb_env_stat(kv->env, &stat_of));
    if (code < 0)
        return code;
    *size = (int64_t)(info.me_last_pgno + 1) * stat_of.ms_psize;
    return stat(path, &file) == 0 && file.st_size < *size ? *size - file.st_size : 0;
}

/* LMDB reads its pages through a map, so one behind the end of a file that was cut is a signal, not
 * an error. A hole in its place is a page that LMDB itself calls damaged; who only reads gets no
 * further. */
static int fill_cut_end(struct kv *kv, bool read_only)
{
    MDB_txn *txn = NULL;
    char path[PATH_MAX + sizeof "/data.mdb"];
    int64_t size;
    snprintf(path, sizeof path, "%s/data.mdb", kv->dir);
    int64_t missing = missing_end(kv, path, &size);
    if (missing <= 0)
        return (int)missing;
    if (read_only)
        return ERROR_DAMAGED;
    /* Under the writers' lock: the file may not grow between the look and the truncate(), which
     * would cut it then. */
    int code = begin_first(kv, 0, &txn);
    if (code < 0)
        return code;
    missing = missing_end(kv, path, &size);
    if (missing > 0 && truncate(path, size) < 0)
        missing = -errno;
    mdb_txn_abort(txn);
    return missing < 0 ? (int)missing : 0;
}

static int open_env_of(struct kv *kv, const struct kv_options *options, uint64_t size)
{
    unsigned flags = MDB_NOMETASYNC | MDB_NOTLS | MDB_NORDAHEAD;
    if (options->read_only)
        flags |= MDB_RDONLY | (has_lock_file(options->dir) ? 0 : MDB_NOLOCK);
    int code = translate(mdb_env_create(&kv->env));
    if (code == 0)
        code = translate(mdb_env_set_mapsize(kv->env, size));
    if (code == 0)
        code = translate(mdb_env_set_assert(kv->env, on_assert));
    if (code == 0)
        code = translate(mdb_env_set_maxreaders(kv->env, READERS_MAX));
    if (code == 0)
        code = translate(mdb_env_open(kv->env, options->dir, flags, 0600));
    if (code < 0 && kv->env != NULL) {
        mdb_env_close(kv->env);
        kv->env = NULL;
    }
    return code;
}

/* LMDB begins a file with its two meta pages, in one write, and knows a file no more whose first
 * write was cut short. Such a one holds nothing: whatever was committed lies behind them. True when
 * the file is empty now. */
static bool emptied_unbegun(const struct kv_options *options)
{
    char path[PATH_MAX + sizeof "/data.mdb"];
    struct stat file;
    snprintf(path, sizeof path, "%s/data.mdb", options->dir);
    return !options->read_only && stat(path, &file) == 0 && S_ISREG(file.st_mode) &&
           file.st_size <= 2 * sysconf(_SC_PAGESIZE) && truncate(path, 0) == 0;
}

static int open_env_sized(struct kv *kv, const struct kv_options *options)
{
    uint64_t size = options->size_max != 0 ? options->size_max : size_default;
    int code;
    while ((code = open_env_of(kv, options, size)) == -ENOMEM && options->size_max == 0 &&
           size > size_least)
        size /= 2;
    return code;
}

static int open_env(struct kv *kv, const struct kv_options *options)
{
    int dead = 0;
    if (!options->read_only && mkdir(options->dir, 0700) < 0 && errno != EEXIST)
        return -errno;
    int code = open_env_sized(kv, options);
    if (code == ERROR_DAMAGED && emptied_unbegun(options))
        code = open_env_sized(kv, options);
    if (code == 0)
        code = fill_cut_end(kv, options->read_only);
    if (code == 0) /* readers that were killed keep pages from being used again */
        code = translate(mdb_reader_check(kv->env, &dead));
    return code == 0 ? open_table(kv) : code;
}

/*--- After a failure that LMDB does not get over ----------------------------------------------*/

/* Once a meta page could not be written LMDB refuses everything, reads too, until the environment
 * is opened again: the disk may have room or be well by now. Nothing is lost: the transaction that
 * failed counts for nothing, and its meta page is the older of the two. Waits until no transaction
 * is under way. `generation`: of the one that has failed. */
static int open_again(struct kv *kv, uint64_t generation)
{
    int code = 0;
    atomic_store(&kv->wants_to_grow, true); /* who reads for long is to give up, as when it grows */
    pthread_rwlock_wrlock(&kv->map_lock);
    atomic_store(&kv->wants_to_grow, false);
    pthread_mutex_lock(&kv->env_lock);
    if (kv->generation == generation) {
        drop_transactions(kv);
        close_env(kv);
        code = open_env(kv, &kv->options);
        if (code < 0)
            close_env(kv);
        else
            kv->generation++;
    }
    pthread_mutex_unlock(&kv->env_lock);
    pthread_rwlock_unlock(&kv->map_lock);
    return code;
}

static int begin_once(struct kv *kv, MDB_txn **txn, bool writes)
{
    if (kv->env == NULL)
        return ERROR_UNAVAILABLE;
    if (*txn != NULL)
        return translate(mdb_txn_renew(*txn));
    return translate(mdb_txn_begin(kv->env, NULL, writes ? 0 : MDB_RDONLY, txn));
}

/* A transaction with the map lock held for reading; without it on error. */
static int begin(struct kv *kv, MDB_txn **txn, bool writes)
{
    for (;;) {
        pthread_rwlock_rdlock(&kv->map_lock);
        uint64_t generation = kv->generation;
        int code = begin_once(kv, txn, writes);
        if (code == 0)
            return 0;
        pthread_rwlock_unlock(&kv->map_lock);
        if (code == -EAGAIN) /* the map was grown by another process */
            code = set_map_size(kv, 0);
        else if (code == ERROR_UNAVAILABLE)
            code = open_again(kv, generation);
        if (code < 0)
            return code;
    }
}

/*--- Open and close ----------------------------------------------------------------------------*/

/* Writers of the map lock first: else readers that overlap could keep it from ever growing. */
static void init_map_lock(struct kv *kv)
{
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&kv->map_lock, &attributes);
    pthread_rwlockattr_destroy(&attributes);
}

int kv_open(struct kv **result, const struct kv_options *options, struct error *error)
{
    struct kv *kv = calloc(1, sizeof *kv);
    *result = NULL;
    if (kv == NULL)
        return error_set(error, -ENOMEM, "cannot open the state in %s: no memory", options->dir);
    init_map_lock(kv);
    pthread_mutex_init(&kv->env_lock, NULL);
    snprintf(kv->dir, sizeof kv->dir, "%s", options->dir);
    kv->options = *options;
    kv->options.dir = kv->dir;
    int code = open_env(kv, options);
    if (code == 0) {
        *result = kv;
        return 0;
    }
    kv_close(kv);
    if (code == -ENOENT)
        code = ERROR_NOT_FOUND;
    return error_set(error, code, "cannot open the state in %s: %s", options->dir,
                     code == ERROR_DAMAGED
                         ? "it is not an LMDB environment, or a damaged one; remove it, and it is "
                           "rebuilt from the log"
                         : error_text(code));
}

void kv_close(struct kv *kv)
{
    if (kv == NULL)
        return;
    CHECK(kv->writer.txn == NULL);
    close_env(kv);
    pthread_mutex_destroy(&kv->env_lock);
    pthread_rwlock_destroy(&kv->map_lock);
    free(kv);
}

int kv_begin(struct kv *kv, struct kv_writer **writer, struct error *error)
{
    CHECK(kv->writer.txn == NULL);
    kv->writer = (struct kv_writer){ .kv = kv };
    int code = begin(kv, &kv->writer.txn, true);
    if (code < 0)
        return error_set(error, code, "cannot begin to write the state in %s: %s", kv->dir,
                         error_text(code));
    *writer = &kv->writer;
    return 0;
}

/* Changes go through a cursor of ours, since those of mdb_put() and mdb_del() lie on the stack: one
 * that an assertion left behind would be freed there when the transaction is aborted. One of ours
 * that had an error is freed with it. A new one each time: LMDB trusts the page that it stands on.
 */
static MDB_cursor *open_cursor(struct kv_writer *writer)
{
    MDB_cursor *cursor = NULL;
    if (writer->error == 0)
        writer->error = translate(mdb_cursor_open(writer->txn, writer->kv->table, &cursor));
    return writer->error == 0 ? cursor : NULL;
}

static void close_cursor(struct kv_writer *writer, MDB_cursor *cursor)
{
    if (writer->error == 0)
        mdb_cursor_close(cursor);
}

static void put(struct kv_writer *writer, struct span key, struct span value, unsigned flags)
{
    CHECK(writer->txn != NULL);
    if (writer->error == 0 && !key_is_valid(key))
        writer->error = ERROR_INVALID;
    MDB_cursor *cursor = open_cursor(writer);
    if (cursor == NULL)
        return;
    MDB_val k = value_of(key), v = value_of(value);
    writer->error = GUARDED(mdb_cursor_put(cursor, &k, &v, flags));
    close_cursor(writer, cursor);
}

void kv_put(struct kv_writer *writer, struct span key, struct span value)
{
    put(writer, key, value, 0);
}

void kv_append(struct kv_writer *writer, struct span key, struct span value)
{
    put(writer, key, value, MDB_APPEND);
}

void kv_clear(struct kv_writer *writer)
{
    CHECK(writer->txn != NULL);
    if (writer->error == 0)
        writer->error = GUARDED(mdb_drop(writer->txn, writer->kv->table, 0));
}

void kv_delete(struct kv_writer *writer, struct span key)
{
    CHECK(writer->txn != NULL);
    if (writer->error == 0 && !key_is_valid(key))
        writer->error = ERROR_INVALID;
    MDB_cursor *cursor = open_cursor(writer);
    if (cursor == NULL)
        return;
    MDB_val k = value_of(key), v;
    int code = GUARDED(mdb_cursor_get(cursor, &k, &v, MDB_SET));
    if (code == 0)
        code = GUARDED(mdb_cursor_del(cursor, 0));
    writer->error = code == ERROR_NOT_FOUND ? 0 : code;
    close_cursor(writer, cursor);
}

static int grow(struct kv *kv)
{
    MDB_envinfo info = { 0 };
    pthread_mutex_lock(&kv->env_lock); /* somebody may just open it again */
    int code = kv->env != NULL ? translate(mdb_env_info(kv->env, &info)) : ERROR_UNAVAILABLE;
    pthread_mutex_unlock(&kv->env_lock);
    return code == 0 ? set_map_size(kv, (uint64_t)info.me_mapsize * 2) : code;
}

/* Ends the transaction either way. LMDB's list of free pages may be damaged too, and is looked at
 * here. */
static int end_by_commit(MDB_txn *txn)
{
    jmp_buf here;
    int code = ERROR_DAMAGED;
    escape = &here;
    if (setjmp(here) == 0)
        code = translate(mdb_txn_commit(txn));
    else
        mdb_txn_abort(txn);
    escape = NULL;
    return code;
}

int kv_commit(struct kv_writer *writer, struct error *error)
{
    struct kv *kv = writer->kv;
    int code = writer->error;
    if (code == 0) {
        code = end_by_commit(writer->txn);
        writer->txn = NULL;
        pthread_rwlock_unlock(&kv->map_lock);
    } else {
        kv_abort(writer);
    }
    if (code == 0)
        return 0;
    int grown = code == ERROR_FULL ? grow(kv) : 0;
    if (grown < 0)
        code = grown;
    return error_set(error, code, "cannot write the state in %s: %s", kv->dir, error_text(code));
}

void kv_abort(struct kv_writer *writer)
{
    CHECK(writer->txn != NULL);
    mdb_txn_abort(writer->txn);
    writer->txn = NULL;
    pthread_rwlock_unlock(&writer->kv->map_lock);
}

static void enlist(struct kv_reader *reader)
{
    struct kv *kv = reader->kv;
    pthread_mutex_lock(&kv->env_lock);
    reader->next = kv->readers;
    reader->at = &kv->readers;
    if (reader->next != NULL)
        reader->next->at = &reader->next;
    kv->readers = reader;
    pthread_mutex_unlock(&kv->env_lock);
}

int kv_reader_open(struct kv *kv, struct kv_reader **result, struct error *error)
{
    struct kv_reader *reader = calloc(1, sizeof *reader);
    int code = -ENOMEM;
    *result = NULL;
    if (reader != NULL) {
        reader->kv = kv;
        code = begin(kv, &reader->txn, false);
    }
    if (code == 0) {
        code = translate(mdb_cursor_open(reader->txn, kv->table, &reader->cursor));
        mdb_txn_reset(reader->txn);
        enlist(reader);
        pthread_rwlock_unlock(&kv->map_lock);
    }
    if (code == 0) {
        *result = reader;
        return 0;
    }
    kv_reader_close(reader);
    return error_set(error, code, "cannot read the state in %s: %s", kv->dir, error_text(code));
}

void kv_reader_close(struct kv_reader *reader)
{
    if (reader == NULL)
        return;
    CHECK(!reader->reading);
    pthread_mutex_lock(&reader->kv->env_lock);
    if (reader->at != NULL) {
        *reader->at = reader->next;
        if (reader->next != NULL)
            reader->next->at = reader->at;
    }
    if (reader->cursor != NULL)
        mdb_cursor_close(reader->cursor);
    if (reader->txn != NULL)
        mdb_txn_abort(reader->txn);
    pthread_mutex_unlock(&reader->kv->env_lock);
    free(reader);
}

int kv_read_begin(struct kv_reader *reader, struct error *error)
{
    CHECK(!reader->reading);
    int code = begin(reader->kv, &reader->txn, false);
    if (code == 0) {
        reader->reading = true;
        code = translate(reader->cursor != NULL
                             ? mdb_cursor_renew(reader->txn, reader->cursor)
                             : mdb_cursor_open(reader->txn, reader->kv->table, &reader->cursor));
        if (code < 0)
            kv_read_end(reader);
    }
    if (code < 0)
        return error_set(error, code, "cannot read the state in %s: %s", reader->kv->dir,
                         error_text(code));
    return 0;
}

void kv_read_end(struct kv_reader *reader)
{
    CHECK(reader->reading);
    mdb_txn_reset(reader->txn);
    reader->reading = false;
    pthread_rwlock_unlock(&reader->kv->map_lock);
}

int kv_get(struct kv_reader *reader, struct span key, struct span *value)
{
    CHECK(reader->reading);
    if (!key_is_valid(key))
        return 0;
    MDB_val k = value_of(key), v;
    int code = GUARDED(mdb_get(reader->txn, reader->kv->table, &k, &v));
    if (code == ERROR_NOT_FOUND)
        return 0;
    if (code == 0)
        *value = span_of_value(v);
    return code == 0 ? 1 : code;
}

static int move(struct kv_reader *reader, MDB_cursor_op operation, struct span from,
                struct span *key, struct span *value)
{
    CHECK(reader->reading);
    MDB_val k = value_of(from), v;
    int code = GUARDED(mdb_cursor_get(reader->cursor, &k, &v, operation));
    if (code == ERROR_NOT_FOUND)
        return 0;
    if (code < 0)
        return code;
    *key = span_of_value(k);
    *value = span_of_value(v);
    return 1;
}

int kv_seek(struct kv_reader *reader, struct span from, bool backwards, struct span *key,
            struct span *value)
{
    if (from.size > KV_KEY_SIZE_MAX)
        return ERROR_INVALID;
    if (from.size == 0)
        return move(reader, backwards ? MDB_LAST : MDB_FIRST, from, key, value);
    int found = move(reader, MDB_SET_RANGE, from, key, value);
    if (!backwards || found < 0)
        return found;
    return move(reader, found > 0 ? MDB_PREV : MDB_LAST, from, key, value);
}

int kv_next(struct kv_reader *reader, bool backwards, struct span *key, struct span *value)
{
    return move(reader, backwards ? MDB_PREV : MDB_NEXT, span_of(NULL, 0), key, value);
}

uint64_t kv_bytes_used(struct kv *kv)
{
    MDB_stat stat = { 0 };
    pthread_mutex_lock(&kv->env_lock);
    if (kv->env != NULL)
        CHECK(mdb_env_stat(kv->env, &stat) == 0);
    pthread_mutex_unlock(&kv->env_lock);
    uint64_t pages = stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
    return (pages + 2) * stat.ms_psize; /* and the two meta pages */
}

bool kv_wants_to_grow(const struct kv *kv)
{
    return atomic_load(&kv->wants_to_grow);
}

int kv_count(struct kv_reader *reader, uint64_t *count)
{
    MDB_stat stat;
    CHECK(reader->reading);
    int code = GUARDED(mdb_stat(reader->txn, reader->kv->table, &stat));
    *count = code == 0 ? stat.ms_entries : 0;
    return code;
}
