/* A reader that follows a log while a test writes it, and what must hold of what it sees: each
 * event is the next one, and durable. Threads: one. */
#ifndef LOG_FOLLOWER_H
#define LOG_FOLLOWER_H

#include "log/log.h"
#include "log/reader.h"

#include <stdbool.h>
#include <stdint.h>

struct log_follower {
    struct log_reader *reader;
    uint64_t seen;      /* the newest event */
    uint64_t failovers; /* records of them that it saw */
    bool strange;       /* what it saw was early, or not the next */
};

/* 0, or negative: the reader's. */
int log_follower_open(struct log_follower *follower, const char *dir, struct error *error);
/* Reads what there is now. */
void log_follower_look(struct log_follower *follower, const struct log *log);
void log_follower_close(struct log_follower *follower);

#endif
