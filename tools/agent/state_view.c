#include "tools/agent/state_view.h"

#include "core/base/bytes.h"

#include <errno.h>
#include <stdlib.h>

#define LOAD_COMMIT_BYTES (64ull << 20)
#define LOOK_EVERY 256u /* documents, for whether the map wants to grow */

struct state_view {
    struct state *state;
    struct kv_reader *reader;
    struct state_position position;
    uint64_t entries, own, seen;
    bool begun;
};

static int count_own(struct kv_reader *reader, uint64_t *count)
{
    struct span key, value;
    int found = kv_seek(reader, span_of_text("!"), false, &key, &value);
    for (; found == 1 && state_key_is_own(key); found = kv_next(reader, false, &key, &value))
        ++*count;
    return found < 0 ? found : 0;
}

static int look(struct state_view *view, struct error *error)
{
    int status = state_position_read(view->reader, &view->position);
    if (status == 0)
        status = kv_count(view->reader, &view->entries);
    if (status == 0)
        status = count_own(view->reader, &view->own);
    if (status < 0)
        error_set(error, status, "cannot read the documents: %s", error_text(status));
    return status;
}

int state_view_open(struct state *state, struct state_view **opened, struct error *error)
{
    struct state_view *view = calloc(1, sizeof *view);
    if (!view)
        return error_set(error, -ENOMEM, "no memory to read the documents");
    view->state = state;
    int status = kv_reader_open(state_kv(state), &view->reader, error);
    if (status == 0)
        status = kv_read_begin(view->reader, error);
    if (status < 0) {
        kv_reader_close(view->reader);
        free(view);
        return status;
    }
    status = look(view, error);
    if (status < 0) {
        state_view_close(view);
        return status;
    }
    *opened = view;
    return 0;
}

void state_view_close(struct state_view *view)
{
    kv_read_end(view->reader);
    kv_reader_close(view->reader);
    free(view);
}

const struct state_position *state_view_position(const struct state_view *view)
{
    return &view->position;
}

uint64_t state_view_documents(const struct state_view *view)
{
    return view->entries - view->own;
}

int state_view_next(struct state_view *view, struct span *key, struct span *value,
                    struct error *error)
{
    int found;
    if (view->seen++ % LOOK_EVERY == 0 && kv_wants_to_grow(state_kv(view->state)))
        return error_set(error, ERROR_UNAVAILABLE,
                         "the database of documents has to grow first; try again");
    do {
        found = view->begun ? kv_next(view->reader, false, key, value)
                            : kv_seek(view->reader, span_of(NULL, 0), false, key, value);
        view->begun = true;
    } while (found == 1 && state_key_is_own(*key));
    if (found < 0)
        return error_set(error, found, "cannot read the documents: %s", error_text(found));
    return found;
}

int state_view_get(struct state_view *view, struct span key, struct span *value)
{
    return kv_get(view->reader, key, value);
}

/*--- The sum -----------------------------------------------------------------------------------*/

void state_sum_begin(struct state_sum *sum)
{
    *sum = (struct state_sum){ 0 };
    sha256_init(&sum->sha256);
}

static void add_part(struct state_sum *sum, struct span part)
{
    uint8_t size[8];
    bytes_put_u64(size, part.size);
    sha256_more(&sum->sha256, size, sizeof size);
    sha256_more(&sum->sha256, part.bytes, part.size);
    sum->bytes += part.size;
}

void state_sum_add(struct state_sum *sum, struct span key, struct span value)
{
    add_part(sum, key);
    add_part(sum, value);
    sum->documents++;
}

void state_sum_end(struct state_sum *sum, uint8_t digest[SHA256_SIZE])
{
    sha256_end(&sum->sha256, digest);
}

/*--- Loading -----------------------------------------------------------------------------------*/

int state_load_begin(struct state_load *load, struct state *state, struct error *error)
{
    *load = (struct state_load){ .state = state };
    return state_clear(state, error);
}

static int load_commit(struct state_load *load, struct error *error)
{
    struct kv_writer *writer = load->writer;
    load->writer = NULL;
    load->pending_bytes = 0;
    return writer ? kv_commit(writer, error) : 0;
}

int state_load_add(struct state_load *load, struct span key, struct span value, struct error *error)
{
    if (!load->writer) {
        int status = kv_begin(state_kv(load->state), &load->writer, error);
        if (status < 0)
            return status;
    }
    kv_append(load->writer, key, value);
    load->pending_bytes += key.size + value.size;
    return load->pending_bytes < LOAD_COMMIT_BYTES ? 0 : load_commit(load, error);
}

int state_load_end(struct state_load *load, const struct state_position *position,
                   struct error *error)
{
    struct state_position whole = *position;
    whole.version = DOCUMENT_VERSION;
    memcpy(whole.log_uuid, state_log_uuid(load->state), sizeof whole.log_uuid);
    int status = load_commit(load, error);
    if (status == 0)
        status = kv_begin(state_kv(load->state), &load->writer, error);
    if (status < 0)
        return status;
    state_position_write(load->writer, &whole);
    status = load_commit(load, error);
    if (status == 0)
        state_moved(load->state, &whole);
    return status;
}

int state_load_abandon(struct state_load *load, struct error *error)
{
    if (load->writer)
        kv_abort(load->writer);
    load->writer = NULL;
    return state_clear(load->state, error);
}
