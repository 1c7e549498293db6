/* Two logs side by side, and how that is printed. Threads: the main thread. */
#ifndef TOOLS_LOG_DIFF_H
#define TOOLS_LOG_DIFF_H

#include "log/lineage.h"
#include "tools/command/progress.h"
#include "tools/log/log.h"

struct diff_side {
    const char *dir;
    struct log_reader *reader;
    struct log_lineage lineage;
    struct decryption keys;
    uint8_t log_uuid[UUID_SIZE]; /* as it is written now */
    uint64_t first_seq, last_seq;
};

enum diff_verdict {
    DIFF_SAME,
    DIFF_LONGER,    /* what both hold is the same, and one holds more */
    DIFF_DIFFERENT, /* an event that both hold, or the frames around it, are not the same */
    DIFF_APART,     /* there is no event that both hold */
};

struct diff {
    bool json;
    uint64_t limit; /* of events that differ, where it stops; 0: none */
    struct diff_side sides[2];
    struct progress progress;

    enum diff_verdict verdict;
    uint64_t common_first, common_last; /* that both hold */
    bool chained;                       /* both have a chain */
    uint64_t last_same;                 /* the chains are equal up to it; 0: nowhere */
    uint8_t chain[SHA256_SIZE];         /* there */
    bool parted;                        /* the chains differ behind it */
    uint64_t first_different;           /* event; 0: none was found */
    uint64_t different, equal;          /* events behind last_same that were compared */
    bool more;                          /* not all were */
    uint64_t reads;                     /* of single events */
    int fork;                           /* index + 1 of the side that was forked from the other */
    uint64_t fork_seq;                  /* behind which event */

    struct printer printer;
    struct text line; /* of JSON */
};

bool diff_records_equal(const struct record *a, const struct record *b);

void diff_begin(struct diff *diff);
/* An event that differs; each side's. */
void diff_show(struct diff *diff, const struct record *a, const struct record *b);
/* The result, unless `code` says that there is none. */
void diff_end(struct diff *diff, int code);

#endif
