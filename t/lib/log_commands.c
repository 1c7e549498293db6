#include "log_commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/check.h"
#include "log/writer.h"
#include "tap.h"

enum { KIND = 100, STREAM = 7, MAINTENANCE_FAILS_MAX = 64 };

static uint8_t payload[LOG_PAYLOAD_SIZE_MAX];

/* Bytes that only this sequence number gives. */
static struct span payload_of(uint64_t seq, uint32_t size)
{
    uint64_t state = seq * 0x9e3779b97f4a7c15u + 1;
    for (uint32_t i = 0; i < size; i++) {
        if (i % 8 == 0)
            state = state * 6364136223846793005u + 1442695040888963407u;
        payload[i] = (uint8_t)(state >> 8 * (i % 8));
    }
    return span_of(payload, size);
}

void log_commands_free(struct log_commands *commands)
{
    free(commands->items);
    *commands = (struct log_commands){ .count = 0 };
}

void log_commands_expect(struct log_commands *commands, uint64_t first_seq, uint32_t count,
                         uint32_t size)
{
    if (commands->count == commands->capacity) {
        commands->capacity = commands->capacity == 0 ? 64 : commands->capacity * 2;
        commands->items = realloc(commands->items, commands->capacity * sizeof *commands->items);
        CHECK(commands->items != NULL);
    }
    commands->items[commands->count++] =
        (struct log_command){ .first_seq = first_seq, .count = count, .size = size };
}

static int reserve(struct log_commands *commands, struct log *log, uint32_t count, uint64_t size,
                   uint64_t *first_seq)
{
    bool threaded = log->maintenance.threaded;
    for (unsigned fails = 0; fails < MAINTENANCE_FAILS_MAX; commands->refused++) {
        struct error error;
        int done = 0;
        int result = log_reserve(log, count, size, first_seq);
        if (result != ERROR_FULL)
            return result;
        while (!threaded && (done = log_maintain(log, &error)) == 1)
            ;
        fails += done < 0;
        if (log_wait(log, -1, threaded ? 1000000 : 0) < 0)
            return ERROR_UNAVAILABLE;
    }
    return ERROR_UNAVAILABLE; /* nobody will ever make room */
}

bool log_commands_append(struct log_commands *commands, struct log *log, uint32_t count,
                         uint32_t size)
{
    uint64_t first_seq;
    int result = reserve(commands, log, count, (uint64_t)count * size, &first_seq);
    if (result < 0)
        return false;
    log_commands_expect(commands, first_seq, count, size);
    for (uint32_t i = 0; i < count; i++) {
        commands->time_ns += 1000;
        struct record record = { .seq = first_seq + i,
                                 .stream = STREAM,
                                 .time_ns = commands->time_ns,
                                 .kind = KIND,
                                 .cause = i > 0 ? first_seq : 0,
                                 .payload = payload_of(first_seq + i, size) };
        log_append(log, &record);
    }
    return true;
}

bool log_commands_settle(struct log *log)
{
    while (log_durable_seq(log) + 1 < log_next_seq(log))
        if (log_wait(log, -1, UINT64_MAX) < 0)
            return false;
    return true;
}

/* The last command that does not begin behind `seq`; NULL: none. */
static const struct log_command *command_before(const struct log_commands *commands, uint64_t seq)
{
    size_t low = 0, high = commands->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (commands->items[middle].first_seq <= seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? &commands->items[low - 1] : NULL;
}

static uint64_t last_seq_of(const struct log_command *command)
{
    return command->first_seq + command->count - 1;
}

bool log_commands_hold(const struct log_commands *commands, const struct record *record)
{
    const struct log_command *command = command_before(commands, record->seq);
    return command != NULL && record->seq <= last_seq_of(command) && record->kind == KIND &&
           record->stream == STREAM &&
           span_equal(record->payload, payload_of(record->seq, command->size));
}

bool log_commands_cut(struct log_commands *commands, uint64_t last_seq)
{
    const struct log_command *last = command_before(commands, last_seq);
    commands->count = last == NULL ? 0 : (size_t)(last - commands->items) + 1;
    return last == NULL || last_seq_of(last) <= last_seq;
}

struct matching {
    struct log_commands *commands;
    size_t at;     /* command */
    uint32_t done; /* records of it */
    char fault[200];
};

static void match_record(const struct record *record, void *context)
{
    struct matching *matching = context;
    unsigned long long seq = record->seq;
    if (record->kind <= LOG_KIND_OWN_MAX || matching->fault[0] != '\0')
        return;
    if (matching->at == matching->commands->count) {
        snprintf(matching->fault, sizeof matching->fault, "event %llu was never appended", seq);
        return;
    }
    const struct log_command *command = &matching->commands->items[matching->at];
    if (seq != command->first_seq + matching->done)
        snprintf(matching->fault, sizeof matching->fault, "event %llu stands where %llu should",
                 seq, (unsigned long long)command->first_seq + matching->done);
    else if (!span_equal(record->payload, payload_of(seq, command->size)))
        snprintf(matching->fault, sizeof matching->fault, "event %llu has another payload", seq);
    if (++matching->done == command->count) {
        matching->at++;
        matching->done = 0;
    }
}

bool log_commands_match(struct log_commands *commands, const char *dir, uint64_t acknowledged,
                        struct log_replay *replay)
{
    struct matching matching = { .commands = commands };
    bool good = log_replay(dir, replay, match_record, &matching);
    if (!good)
        snprintf(matching.fault, sizeof matching.fault, "%.190s", replay->fault);
    else if (matching.fault[0] == '\0' && matching.done > 0)
        snprintf(matching.fault, sizeof matching.fault, "half of the command at %llu is there",
                 (unsigned long long)commands->items[matching.at].first_seq);
    else if (matching.fault[0] == '\0' && replay->last_seq < acknowledged)
        snprintf(matching.fault, sizeof matching.fault, "it ends at %llu, acknowledged was %llu",
                 (unsigned long long)replay->last_seq, (unsigned long long)acknowledged);
    if (matching.fault[0] == '\0') {
        commands->count = matching.at;
        return true;
    }
    tap_note("%s: %s", dir, matching.fault);
    return false;
}
