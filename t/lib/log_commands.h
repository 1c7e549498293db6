/* Commands for the log's writer whose records can be told from their sequence number alone, and a
 * check of a log against them.
 *
 * Threads: one. */
#ifndef LOG_COMMANDS_H
#define LOG_COMMANDS_H

#include "log/log.h"
#include "log_replay.h"

#include <stdbool.h>
#include <stdint.h>

#define COMMAND_RECORDS_MAX 64

/* One command: what was appended and where it stands. */
struct log_command {
    uint64_t first_seq;
    uint32_t count;
    uint32_t size; /* bytes of each payload */
};

/* What has been appended, in order; grows as needed. */
struct log_commands {
    struct log_command *items;
    size_t count, capacity;
    uint64_t time_ns; /* of the newest record */
    uint64_t refused; /* how often the log was full */
};

void log_commands_free(struct log_commands *commands);

/* Adds a command that somebody else appended. */
void log_commands_expect(struct log_commands *commands, uint64_t first_seq, uint32_t count,
                         uint32_t size);

/* Appends one command of `count` records with payloads of `size` bytes, waiting and maintaining
 * while the log is full. False when the log does not take writes (any more). */
bool log_commands_append(struct log_commands *commands, struct log *log, uint32_t count,
                         uint32_t size);

/* Waits until all that was appended is durable. False when the log failed. */
bool log_commands_settle(struct log *log);

/* True if the record is one that was appended under its number, byte for byte. */
bool log_commands_hold(const struct log_commands *commands, const struct record *record);

/* Drops the commands behind `last_seq`. False when it cuts one in two. */
bool log_commands_cut(struct log_commands *commands, uint64_t last_seq);

/* True if the log in `dir` holds exactly these commands up to the `acknowledged` sequence number,
 * then perhaps more of them in order, each whole or not at all, and nothing else but the log's own
 * records. Commands that are not there are dropped from the list. Else a note says what is wrong.
 */
bool log_commands_match(struct log_commands *commands, const char *dir, uint64_t acknowledged,
                        struct log_replay *replay);

#endif
