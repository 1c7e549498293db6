#include "log_follower.h"

#include "log/format.h"
#include "tap.h"

int log_follower_open(struct log_follower *follower, const char *dir, struct error *error)
{
    struct log_reader_options options = { .dir = dir };
    *follower = (struct log_follower){ .seen = 0 };
    return log_reader_open(&follower->reader, &options, error);
}

void log_follower_look(struct log_follower *follower, const struct log *log)
{
    struct record record;
    struct error error = { 0 };
    int more;
    while ((more = log_reader_next(follower->reader, &record, NULL, &error)) == 1) {
        bool right = record.seq == follower->seen + 1 && record.seq <= log_durable_seq(log);
        if (!right && !follower->strange)
            tap_note("the reader shows event %llu behind %llu", (unsigned long long)record.seq,
                     (unsigned long long)follower->seen);
        follower->strange = follower->strange || !right;
        follower->seen = record.seq;
        follower->failovers += record.kind == LOG_KIND_FAILOVER;
    }
    if (more < 0 && !follower->strange)
        tap_note("the reader: %s", error.text);
    follower->strange = follower->strange || more < 0;
}

void log_follower_close(struct log_follower *follower)
{
    log_reader_close(follower->reader);
    follower->reader = NULL;
}
