#include "log/read_many.h"

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "iouring/file.h"
#include "iouring/io.h"
#include "log/reader_inside.h"
#include "log/sealed.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define FAILURES_MAX 100      /* of the engine, until reads under way are given up */
#define SLOT_SIZE (32u << 10) /* bytes that one read brings at most */
#define READ_BLOCKS 2u        /* of a raw file at first: most records end in the block behind */

/* A number, and where the walk to its record begins. */
struct wanted {
    uint64_t seq, offset;
    size_t index; /* in the caller's array */
};

/* A segment that is read from. Closed with its last read. */
struct file {
    struct source source;
    uint64_t segment_no, end_offset;
    unsigned users; /* reads under way, and the planning */
};

/* One read, and the numbers that it is for. */
struct slot {
    struct io_op op; /* first: a struct io_op * is a struct slot * */
    struct log_many *many;
    struct slot *next_free;
    struct file *file;
    uint8_t *buffer;
    uint8_t *large;      /* instead of it, for a chunk that did not get small; NULL: none */
    size_t first, count; /* in many->wanted */
    uint64_t start;      /* of the first byte in the buffer: raw offset */
    uint32_t chunk;      /* of a sealed file */
    uint32_t skip;       /* packed bytes before the chunk's first in the buffer */
    bool again;          /* the second read: of one long record, or of one that two chunks hold */
};

struct log_many {
    struct budget own_budget, *budget;
    struct log_reader *reader;
    struct io *io;
    unsigned depth;
    uint64_t budgeted;
    struct slot slots[READ_MANY_DEPTH], *free;
    uint8_t *buffers;  /* depth x SLOT_SIZE */
    uint8_t *unpacked; /* two chunks */
    struct file *file; /* where the planning is; NULL: nowhere */
    bool bound;        /* `thread` has read: the engine is its own from then on */
    bool broken;       /* the engine failed with reads under way: memory stays theirs */
    pthread_t thread;

    struct wanted *wanted; /* of this call, in order */
    log_many_function *each;
    void *context;
    struct log_many_counts counts;
};

/*--- Open and close ----------------------------------------------------------------------------*/

static int make_buffers(struct log_many *many)
{
    uint64_t size = (uint64_t)many->depth * SLOT_SIZE + 2 * SEALED_CHUNK_SIZE_MAX + sizeof *many;
    if (budget_reserve(many->budget, BUDGET_READERS, size) < 0)
        return ERROR_BUDGET;
    many->budgeted = size;
    many->buffers = file_aligned_buffer((size_t)many->depth * SLOT_SIZE);
    many->unpacked = malloc((size_t)2 * SEALED_CHUNK_SIZE_MAX);
    if (many->buffers == NULL || many->unpacked == NULL)
        return -ENOMEM;
    for (unsigned i = 0; i < many->depth; i++) {
        struct slot *slot = &many->slots[i];
        slot->many = many;
        slot->buffer = many->buffers + (size_t)i * SLOT_SIZE;
        slot->next_free = many->free;
        many->free = slot;
    }
    return 0;
}

int log_many_open(struct log_many **opened, const struct log_many_options *options,
                  struct error *error)
{
    struct log_many *many = calloc(1, sizeof *many);
    if (many == NULL)
        return error_set(error, -ENOMEM, "no memory to read from %s", options->dir);
    budget_init(&many->own_budget, UINT64_MAX);
    many->budget = options->budget != NULL ? options->budget : &many->own_budget;
    many->depth = options->depth;
    if (many->depth == 0 || many->depth > READ_MANY_DEPTH)
        many->depth = READ_MANY_DEPTH;
    struct log_reader_options of_reader = { .dir = options->dir, .budget = many->budget };
    int code = log_reader_open(&many->reader, &of_reader, error);
    if (code == 0) {
        code = make_buffers(many);
        if (code == 0)
            code = options->plain_engine ? io_open_plain(&many->io)
                                         : io_open_best(&many->io, many->depth);
        if (code < 0)
            error_set(error, code, "cannot read from %s: %s", options->dir, error_text(code));
    }
    if (code < 0)
        log_many_close(many);
    else
        *opened = many;
    return code;
}

static void leave_file(struct file *file)
{
    if (file == NULL || --file->users > 0)
        return;
    source_close(&file->source);
    free(file);
}

void log_many_close(struct log_many *many)
{
    if (many == NULL)
        return;
    log_reader_close(many->reader);
    /* The kernel may still write there, and nobody can wait for it. */
    if (many->broken)
        return;
    if (many->io != NULL)
        io_close(many->io);
    free(many->buffers);
    free(many->unpacked);
    if (many->budgeted > 0)
        budget_release(many->budget, BUDGET_READERS, many->budgeted);
    free(many);
}

void log_many_counts_get(const struct log_many *many, struct log_many_counts *counts)
{
    *counts = many->counts;
}

/*--- Answers -----------------------------------------------------------------------------------*/

static void read_alone(struct log_many *many, const struct wanted *wanted)
{
    struct record record;
    struct error error = { 0 };
    many->counts.one_by_one++;
    int result = log_reader_get(many->reader, wanted->seq, &record, NULL, &error);
    many->each(wanted->index, result, result == 1 ? &record : NULL, &error, many->context);
}

/* Walks from where the number's block says to its record, within the bytes [start, start + size).
 * 1: `record` is it, whole. 0: it is, and reaches beyond: *record_size says how large it is.
 * Negative: not this way. */
static int walk(const struct wanted *wanted, uint64_t start, const uint8_t *bytes, uint64_t size,
                struct record *record, uint64_t *offset, uint64_t *record_size_found)
{
    uint64_t at = wanted->offset - start;
    while (at + RECORD_HEADER_SIZE <= size) {
        uint64_t here = bytes_get_u32(bytes + at + RECORD_AT_SIZE);
        uint64_t seq = bytes_get_u64(bytes + at + RECORD_AT_SEQ);
        size_t decoded;
        if (here < RECORD_HEADER_SIZE || here > LOG_FRAME_SIZE_MAX || seq > wanted->seq)
            return ERROR_DAMAGED;
        if (seq == wanted->seq && at + here <= size)
            return record_decode(span_of(bytes + at, here), record, &decoded) == 0 ? 1
                                                                                   : ERROR_DAMAGED;
        if (seq == wanted->seq) {
            *offset = start + at;
            *record_size_found = here;
            return 0;
        }
        at += here;
    }
    return ERROR_TRUNCATED;
}

static uint8_t *buffer_of(const struct slot *slot)
{
    return slot->large != NULL ? slot->large : slot->buffer;
}

/* Room for op.size bytes. False: without memory. */
static bool grow_slot(struct slot *slot)
{
    struct budget *budget = slot->many->budget;
    if (slot->op.size <= SLOT_SIZE)
        return true;
    if (budget_reserve(budget, BUDGET_READERS, slot->op.size) < 0)
        return false;
    slot->large = file_aligned_buffer(slot->op.size);
    if (slot->large == NULL)
        budget_release(budget, BUDGET_READERS, slot->op.size);
    return slot->large != NULL;
}

static void free_slot(struct slot *slot)
{
    struct log_many *many = slot->many;
    if (slot->large != NULL)
        budget_release(many->budget, BUDGET_READERS, slot->op.size);
    free(slot->large);
    slot->large = NULL;
    leave_file(slot->file);
    slot->file = NULL;
    slot->next_free = many->free;
    many->free = slot;
}

static void read_done(struct io_op *op, int result);

/* The second read of a record that the first showed only the beginning of: false if it is too long
 * for that too. */
static bool read_again(struct slot *slot, size_t wanted, uint64_t offset, uint64_t size)
{
    uint64_t start = offset / LOG_BLOCK_SIZE * LOG_BLOCK_SIZE;
    uint64_t bytes = (offset + size - start + LOG_BLOCK_SIZE - 1) / LOG_BLOCK_SIZE * LOG_BLOCK_SIZE;
    struct log_many *many = slot->many;
    if (slot->again || slot->file->source.sealed != NULL || bytes > SLOT_SIZE ||
        start + bytes > slot->file->end_offset)
        return false;
    slot->again = true;
    slot->first = wanted;
    slot->count = 1;
    slot->start = start;
    many->wanted[wanted].offset = offset;
    slot->op.size = (uint32_t)bytes;
    slot->op.offset = start;
    many->counts.reads++;
    many->counts.bytes += bytes;
    io_submit(many->io, &slot->op);
    return true;
}

/* The second read of a record that goes on in the next chunk: of both. False if they are too large
 * for the slot, or there is no other. */
static bool read_next_chunk(struct slot *slot, size_t wanted)
{
    const struct sealed *sealed = slot->file->source.sealed;
    struct log_many *many = slot->many;
    if (sealed == NULL || slot->again || slot->chunk + 2 > sealed->front.chunk_count)
        return false;
    uint64_t bytes = sealed->offsets[slot->chunk + 2] - slot->op.offset;
    bytes = (bytes + LOG_BLOCK_SIZE - 1) / LOG_BLOCK_SIZE * LOG_BLOCK_SIZE;
    if (slot->large != NULL || bytes > SLOT_SIZE)
        return false;
    slot->again = true;
    slot->first = wanted;
    slot->count = 1;
    slot->op.size = (uint32_t)bytes;
    many->counts.reads++;
    many->counts.bytes += bytes;
    io_submit(many->io, &slot->op);
    return true;
}

/* Answers the slot's numbers from these bytes. True: it was given to the engine again. */
static bool answer(struct slot *slot, const uint8_t *bytes, uint64_t size)
{
    struct log_many *many = slot->many;
    size_t end = slot->first + slot->count;
    for (size_t i = slot->first; i < end; i++) {
        const struct wanted *wanted = &many->wanted[i];
        struct record record;
        uint64_t offset = 0, record_bytes = 0;
        int found = walk(wanted, slot->start, bytes, size, &record, &offset, &record_bytes);
        if (found == 1)
            many->each(wanted->index, 1, &record, NULL, many->context);
        /* Those behind it in the slot would begin behind its end: it is the last one. */
        else if (found == 0 && i + 1 == end && read_again(slot, i, offset, record_bytes))
            return true;
        else if ((found == 0 || found == ERROR_TRUNCATED) && i + 1 == end &&
                 read_next_chunk(slot, i))
            return true;
        else
            read_alone(many, wanted);
    }
    return false;
}

/* Unpacks what the slot holds, `there` bytes with those before its chunk: how many bytes it makes,
 * or 0 when it is not whole. */
static uint64_t unpack(struct slot *slot, uint64_t there)
{
    struct sealed *sealed = slot->file->source.sealed;
    uint8_t *target = slot->many->unpacked;
    uint64_t size = 0, at = slot->skip;
    for (uint32_t chunk = slot->chunk; chunk < slot->chunk + (slot->again ? 2 : 1); chunk++) {
        if (at >= there ||
            sealed_unpack(sealed, chunk, buffer_of(slot) + at, there - at, target + size) < 0)
            return 0;
        size += sealed_chunk_bytes(&sealed->front, chunk);
        at += sealed->offsets[chunk + 1] - sealed->offsets[chunk];
    }
    return size;
}

static void read_done(struct io_op *op, int result)
{
    struct slot *slot = (struct slot *)op;
    struct log_many *many = slot->many;
    bool again = false;
    uint64_t size;
    if (result >= 0 && slot->file->source.sealed == NULL) {
        again = answer(slot, buffer_of(slot), (uint64_t)result);
    } else if (result > 0 && (size = unpack(slot, (uint64_t)result)) > 0) {
        again = answer(slot, many->unpacked, size);
    } else {
        for (size_t i = slot->first; i < slot->first + slot->count; i++)
            read_alone(many, &many->wanted[i]);
    }
    if (!again)
        free_slot(slot);
}

/*--- Planning ----------------------------------------------------------------------------------*/

static int compare(const void *a, const void *b)
{
    uint64_t left = ((const struct wanted *)a)->seq, right = ((const struct wanted *)b)->seq;
    return left < right ? -1 : left > right;
}

/* Opens the segment's file for the reads to come. 0, or negative: read it another way. */
static int enter_file(struct log_many *many, const struct view *view)
{
    char name[LOG_SEGMENT_NAME_SIZE];
    if (many->file != NULL && many->file->segment_no == view->header.segment_no)
        return 0;
    leave_file(many->file);
    many->file = calloc(1, sizeof *many->file);
    if (many->file == NULL)
        return -ENOMEM;
    struct file *file = many->file;
    file->segment_no = view->header.segment_no;
    file->end_offset = view->end_offset;
    file->users = 1;
    segment_name(name, file->segment_no);
    int code = source_open(&file->source, many->reader->directory.path, name, many->budget, NULL);
    if (code == 0 && file->source.sealed != NULL)
        code = sealed_load(file->source.sealed, file->source.fd, &many->counts.bytes);
    if (code == 0)
        return 0;
    leave_file(file);
    many->file = NULL;
    return code;
}

/* A slot that is not in use, once there is one. */
static int take_slot(struct log_many *many, struct slot **slot)
{
    while (many->free == NULL) {
        int ran = io_run(many->io);
        if (ran < 0)
            return ran;
    }
    *slot = many->free;
    many->free = many->free->next_free;
    return 0;
}

/* Where the slot reads for the number: false if there is no memory for that, or no such place. */
static bool aim(struct slot *slot, const struct file *file, const struct wanted *wanted)
{
    const struct sealed *sealed = file->source.sealed;
    uint64_t size;
    if (wanted->offset >= file->end_offset) /* a forged index */
        return false;
    if (sealed == NULL) {
        slot->start = wanted->offset / LOG_BLOCK_SIZE * LOG_BLOCK_SIZE;
        size = READ_BLOCKS * LOG_BLOCK_SIZE;
        if (size > file->end_offset - slot->start)
            size = file->end_offset - slot->start;
        slot->op.offset = slot->start;
    } else {
        slot->chunk = (uint32_t)(wanted->offset / sealed->front.chunk_size);
        if (slot->chunk >= sealed->front.chunk_count)
            return false;
        slot->start = (uint64_t)slot->chunk * sealed->front.chunk_size;
        uint64_t from = sealed->offsets[slot->chunk], to = sealed->offsets[slot->chunk + 1];
        slot->skip = (uint32_t)(from % LOG_BLOCK_SIZE);
        slot->op.offset = from - slot->skip;
        size = (to - slot->op.offset + LOG_BLOCK_SIZE - 1) / LOG_BLOCK_SIZE * LOG_BLOCK_SIZE;
    }
    slot->op.size = (uint32_t)size;
    return grow_slot(slot);
}

/* Takes the next number into the slot too if the same read brings it; of a raw file the read may
 * grow for that. */
static bool takes(struct slot *slot, const struct file *file, const struct wanted *wanted)
{
    const struct sealed *sealed = file->source.sealed;
    if (sealed != NULL)
        return wanted->offset / sealed->front.chunk_size == slot->chunk;
    uint64_t start = wanted->offset / LOG_BLOCK_SIZE * LOG_BLOCK_SIZE;
    if (start < slot->start || start + LOG_BLOCK_SIZE > slot->start + slot->op.size)
        return false;
    uint64_t end = start + READ_BLOCKS * LOG_BLOCK_SIZE;
    if (end > file->end_offset)
        end = file->end_offset;
    if (end - slot->start > SLOT_SIZE)
        return false;
    if (end > slot->start + slot->op.size)
        slot->op.size = (uint32_t)(end - slot->start);
    return true;
}

/* Plans the number at `at` and those behind it that one read brings: how many, or negative. */
static int64_t plan(struct log_many *many, size_t at, size_t count)
{
    struct wanted *wanted = &many->wanted[at];
    const struct view *view;
    struct slot *slot;
    if (reader_locate(many->reader, wanted->seq, &view, &wanted->offset) != 1 ||
        enter_file(many, view) < 0) {
        read_alone(many, wanted);
        return 1;
    }
    int code = take_slot(many, &slot);
    if (code < 0)
        return code;
    struct file *file = many->file;
    slot->again = false;
    slot->first = at;
    slot->count = 1;
    if (!aim(slot, file, wanted)) {
        slot->next_free = many->free;
        many->free = slot;
        read_alone(many, wanted);
        return 1;
    }
    for (size_t next = at + 1; next < count; next++, slot->count++) {
        struct wanted *other = &many->wanted[next];
        if (reader_locate(many->reader, other->seq, &view, &other->offset) != 1 ||
            view->header.segment_no != file->segment_no || !takes(slot, file, other))
            break;
    }
    slot->file = file;
    file->users++;
    slot->op.kind = IO_READ;
    slot->op.fd = file->source.fd;
    slot->op.buffer = buffer_of(slot);
    slot->op.done = read_done;
    many->counts.reads++;
    many->counts.bytes += slot->op.size;
    io_submit(many->io, &slot->op);
    return (int64_t)slot->count;
}

/* Until nothing is under way, also after a failure: it is answered as everything else. */
static int drain(struct log_many *many)
{
    for (int failures = 0; io_underway(many->io) > 0;) {
        int ran = io_run(many->io);
        if (ran < 0 && ++failures == FAILURES_MAX) {
            many->broken = true;
            return ran;
        }
    }
    return 0;
}

static int run(struct log_many *many, size_t count)
{
    int64_t code = 0;
    for (size_t at = 0; at < count && code >= 0; at += (size_t)code)
        code = plan(many, at, count);
    int drained = drain(many);
    if (drained < 0)
        return drained;
    leave_file(many->file);
    many->file = NULL;
    return code < 0 ? (int)code : 0;
}

/* A ring takes submissions from one thread. */
static int bind_thread(struct log_many *many, struct error *error)
{
    if (many->broken)
        return error_set(error, ERROR_UNAVAILABLE,
                         "a read from the log never ended: open it anew to read many records");
    if (many->bound && !pthread_equal(many->thread, pthread_self()))
        return error_set(error, ERROR_INVALID,
                         "many records are read on one thread: the one that was first");
    many->thread = pthread_self();
    many->bound = true;
    return 0;
}

int log_read_many(struct log_many *many, const uint64_t *seqs, size_t count,
                  log_many_function *each, void *context, struct error *error)
{
    uint64_t bytes = count * sizeof *many->wanted;
    int code = bind_thread(many, error);
    if (code < 0 || count == 0)
        return code;
    if (budget_reserve(many->budget, BUDGET_READERS, bytes) < 0)
        return error_set(error, ERROR_BUDGET, "no memory to read %zu records at once", count);
    many->wanted = malloc(bytes);
    code = many->wanted == NULL ? -ENOMEM : 0;
    for (size_t i = 0; code == 0 && i < count; i++)
        many->wanted[i] = (struct wanted){ .seq = seqs[i], .index = i };
    if (code == 0) {
        qsort(many->wanted, count, sizeof *many->wanted, compare);
        many->each = each;
        many->context = context;
        code = run(many, count);
    }
    if (!many->broken)
        free(many->wanted);
    many->wanted = NULL;
    budget_release(many->budget, BUDGET_READERS, bytes);
    return code < 0 ? error_set(error, code, "reading %zu records: %s", count, error_text(code))
                    : 0;
}
