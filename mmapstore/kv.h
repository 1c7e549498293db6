/* An LMDB environment with one table, and transactions with a sticky error.
 *
 * One environment per process and directory. Writes go through one struct kv_writer at a time: the
 * first error is kept, later calls do nothing, and kv_commit() returns it. Reads go through struct
 * kv_reader, one per thread, renewed for each use; spans it gives are valid until kv_read_end().
 *
 * Flags: MDB_NOMETASYNC | MDB_NOTLS | MDB_NORDAHEAD (DESIGN §8): a crash may lose the newest
 * transactions whole, never tear one; the event log gives them back.
 *
 * To grow, kv_commit() waits until no read is under way, and everything that begins meanwhile waits
 * with it: keep reads short, end a read on the thread that began it, and never begin a transaction
 * or commit it with a read of one's own under way. A long read looks at kv_wants_to_grow() now and
 * then, and gives up when it is true. The map begins so large that this is rare.
 *
 * Threads: open and close by one; writer by one at a time, from kv_begin() to its end on the same
 * thread; a reader by one at a time. Never across fork(). */
#ifndef MMAPSTORE_KV_H
#define MMAPSTORE_KV_H

#include "core/base/error.h"
#include "core/base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define KV_KEY_SIZE_MAX 128u

struct kv;
struct kv_writer;
struct kv_reader;

struct kv_options {
    const char *dir;   /* made when missing (0700) */
    uint64_t size_max; /* bytes of address space, grown by doubling when full; 0: 64 GiB, or as
                          much of it as the process may have */
    bool read_only;    /* for tools: never makes or changes anything; grows with what is there */
};

/* ERROR_NOT_FOUND: `read_only` and nothing there; ERROR_DAMAGED: not an environment, or a broken
 * one, or `read_only` and its file was cut; ERROR_NEWER: of another version of LMDB. A file that is
 * too short to hold anything, because its creation was cut short, is begun anew unless `read_only`.
 */
int kv_open(struct kv **kv, const struct kv_options *options, struct error *error);
void kv_close(struct kv *kv);

int kv_begin(struct kv *kv, struct kv_writer **writer, struct error *error);
/* Keys have 1 to KV_KEY_SIZE_MAX bytes: others are ERROR_INVALID, kept as every error is. */
void kv_put(struct kv_writer *writer, struct span key, struct span value);
/* The same for a key behind all others that are there, much cheaper; ERROR_INVALID if it is not. */
void kv_append(struct kv_writer *writer, struct span key, struct span value);
void kv_delete(struct kv_writer *writer, struct span key); /* missing is fine */
void kv_clear(struct kv_writer *writer);                   /* deletes everything */
/* Ends the transaction either way. Once LMDB's own pages could not be written it refuses all that
 * begins; what begins next then opens the environment again (and waits as for growing). -ENOSPC:
 * the disk is full. ERROR_FULL: the map was full; it has been grown, and the caller repeats the
 * whole transaction. -ENOMEM: it was full, and there is no address space for a larger one. */
int kv_commit(struct kv_writer *writer, struct error *error);
void kv_abort(struct kv_writer *writer);

int kv_reader_open(struct kv *kv, struct kv_reader **reader, struct error *error);
void kv_reader_close(struct kv_reader *reader);
int kv_read_begin(struct kv_reader *reader, struct error *error); /* a snapshot of now */
void kv_read_end(struct kv_reader *reader);
/* 1 found, 0 not there, negative error. */
int kv_get(struct kv_reader *reader, struct span key, struct span *value);
/* The first entry with key >= `from` (or, backwards, the last with key < `from`; an empty `from`
 * backwards is the very last). 1 found, 0 none. */
int kv_seek(struct kv_reader *reader, struct span from, bool backwards, struct span *key,
            struct span *value);
int kv_next(struct kv_reader *reader, bool backwards, struct span *key, struct span *value);

/* True while a commit waits for reads to end. Any thread. */
bool kv_wants_to_grow(const struct kv *kv);

uint64_t kv_bytes_used(struct kv *kv); /* pages in use times page size */
/* Entries in the snapshot that is being read. 0, negative. */
int kv_count(struct kv_reader *reader, uint64_t *count);

#endif
