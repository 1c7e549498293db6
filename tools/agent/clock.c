#include "tools/agent/clock.h"

#include "core/agent/agent.h"
#include "core/agent/document.h"
#include "core/event/document.pb-c.h"
#include "core/event/message.h"
#include "log/format.h"
#include "log/reader.h"
#include "tools/agent/boot.h"
#include "tools/agent/host.h"
#include "tools/agent/loop.h"
#include "tools/agent/state.h"

#include <stdlib.h>

/* Takes `bytes`. An agent without such a document never saw a clock go wrong. */
static int read_document(uint8_t *bytes, size_t size, bool *stepped, uint64_t *shift_ns)
{
    struct budget budget;
    struct arena arena;
    ProtobufCMessage *message;
    budget_init(&budget, size * 4 + 65536);
    arena_init(&arena, &budget, BUDGET_READERS, 4096);
    int status =
        message_unpack(&daa__agent_document__descriptor, span_of(bytes, size), &arena, &message);
    if (status == 0) {
        const Daa__AgentDocument *document = (const void *)message;
        *stepped = document->clock_stepped;
        *shift_ns = document->shift_ns;
    }
    arena_free(&arena);
    free(bytes);
    return status;
}

/*--- At the start ------------------------------------------------------------------------------*/

static int read_change(const struct record *record, bool *stepped, uint64_t *shift_ns)
{
    struct budget budget;
    struct arena arena;
    Daa__Event *event;
    budget_init(&budget, record->payload.size * 4 + 65536);
    arena_init(&arena, &budget, BUDGET_READERS, 4096);
    int status = event_unpack(record->kind, record->payload, &arena, &event);
    if (status == 0)
        *stepped = event->clock_stepped->change == DAA__CLOCK_STEPPED__CHANGE__STEPPED;
    if (status == 0)
        *shift_ns = event->clock_stepped->shift_ns;
    arena_free(&arena);
    return status;
}

static int look_through(struct log_reader *reader, uint64_t from_seq, bool *stepped)
{
    struct record record;
    struct error error;
    uint64_t shift_ns;
    int status = log_reader_seek(reader, from_seq, &error);
    while (status >= 0) {
        status = log_reader_next(reader, &record, NULL, &error);
        if (status == 0)
            return 0;
        if (status == 1 && record.kind == DAA__EVENT__BODY_CLOCK_STEPPED)
            status = read_change(&record, stepped, &shift_ns);
    }
    return status;
}

bool clock_was_trusted(const struct boot *boot, uint64_t applied_seq)
{
    struct document_key key = document_agent_key();
    struct log_reader *reader;
    struct log_reader_options options = { .dir = boot->log_dir, .glance = true };
    struct error error;
    uint8_t *bytes = NULL;
    size_t size = 0;
    bool stepped = false;
    uint64_t shift_ns;
    int status = state_peek_document(boot->db_dir, document_key_span(&key), &bytes, &size);
    if (status == 1)
        status = read_document(bytes, size, &stepped, &shift_ns);
    if (status < 0 || log_reader_open(&reader, &options, &error) < 0)
        return false;
    status = look_through(reader, applied_seq + 1, &stepped);
    log_reader_close(reader);
    return status == 0 && !stepped;
}

/* The newest event that the agent itself has appended: 1 found, else not. */
static int find_newest(struct log_reader *reader, struct record *record)
{
    struct error error;
    int status = 0;
    for (uint64_t seq = log_reader_durable_seq(reader); seq > 0; seq--) {
        status = log_reader_get(reader, seq, record, NULL, &error);
        if (status != 1 || record->kind > LOG_KIND_OWN_MAX)
            break;
    }
    return status;
}

uint64_t clock_least_ns(const struct boot *boot)
{
    struct agent_counts counts;
    struct log_reader *reader;
    struct log_reader_options options = { .dir = boot->log_dir };
    struct record record;
    struct error error;
    bool stepped;
    uint64_t shift_ns = 0, last_ns = boot->clock.last_ns;
    agent_counts_get(boot->agent, &counts);
    if (counts.shifted_at_ns == 0 || log_reader_open(&reader, &options, &error) < 0)
        return last_ns;
    if (find_newest(reader, &record) == 1 && record.kind == DAA__EVENT__BODY_CLOCK_STEPPED &&
        record.time_ns <= counts.shifted_at_ns)
        (void)read_change(&record, &stepped, &shift_ns);
    log_reader_close(reader);
    uint64_t least_ns = counts.shifted_at_ns + shift_ns;
    return shift_ns > 0 && least_ns > last_ns ? least_ns : last_ns;
}

/*--- Now ---------------------------------------------------------------------------------------*/

int clock_view_get(const struct boot *boot, struct clock_view *view)
{
    struct document_key key = document_agent_key();
    struct loop_counts counts;
    uint8_t *bytes = NULL;
    size_t size = 0;
    *view = (struct clock_view){ 0 };
    int status = state_get(boot->state, document_key_span(&key), &bytes, &size);
    if (status == 1)
        status = read_document(bytes, size, &view->degraded, &view->shift_ns);
    if (status < 0)
        return status;
    loop_counts_get(boot->loop, &counts);
    uint64_t elapsed_ns;
    boot->host_clock->read(&elapsed_ns, &view->wall_ns);
    /* What was accepted is durable a moment before, or after, the counts say it. */
    view->log_ns = counts.now_ns + view->shift_ns - counts.shift_ns;
    if (elapsed_ns > counts.elapsed_ns)
        view->log_ns += elapsed_ns - counts.elapsed_ns;
    struct log_clock clock = { .last_ns = view->log_ns };
    view->difference_ns = log_clock_difference_ns(&clock, view->wall_ns);
    if (!view->degraded)
        view->slewing_ns = log_clock_slewing_ns(view->difference_ns);
    return 0;
}
