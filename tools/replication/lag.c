#include "tools/replication/lag.h"

int lag_measure(struct lag *lag, struct log_reader *reader, uint64_t position, uint64_t now_ns,
                struct error *error)
{
    struct record record;
    struct log_place place;
    uint64_t oldest = position + 1, first = log_reader_first_seq(reader);
    *lag = (struct lag){ .durable_seq = log_reader_durable_seq(reader) };
    if (lag->durable_seq <= position)
        return 0;
    lag->events = lag->durable_seq - position;
    int found = log_reader_get(reader, oldest < first ? first : oldest, &record, &place, error);
    if (found != 1)
        return found;
    lag->bytes = log_reader_bytes_from(reader, &place);
    lag->age_ns = now_ns > record.time_ns ? now_ns - record.time_ns : 0;
    return 0;
}
