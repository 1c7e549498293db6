/* What the events of a log add up to, in bounded memory. Threads: one. */
#ifndef TOOLS_LOG_STATISTICS_H
#define TOOLS_LOG_STATISTICS_H

#include "log/lineage.h"
#include "tools/log/beginning.h"
#include "tools/log/log.h"
#include "tools/log/top.h"

#define KINDS 65536
#define OPENINGS_SHOWN 1000
#define RATE_BUCKETS 128

#define SPREAD_GROUPS 65

/* How often values of a size came: in groups of 0, 1, 2 to 3, 4 to 7, ... */
struct spread {
    uint64_t groups[SPREAD_GROUPS];
    uint64_t count, sum, max;
};

void spread_add(struct spread *spread, uint64_t value);
/* The smallest value of a group. */
static inline uint64_t spread_least(unsigned group)
{
    return group == 0 ? 0 : 1ull << (group - 1);
}

/* Events in spans of time of equal width, which doubles when they are too many. */
struct rate {
    uint64_t first_ns, width_ns;
    uint64_t events[RATE_BUCKETS];
    unsigned used;
};

void rate_add(struct rate *rate, uint64_t time_ns);

#define COMMITS_MAX 256u

/* How long frames took to become durable, as far as later ones know: each says what was durable
 * when it was built. Only of frames behind which another was built meanwhile, since else nobody
 * knows when they were; what is measured ends with the frame that knows, so it is never too short.
 */
struct commits {
    struct {
        uint64_t last_seq, begun_ns;
        bool overlapped; /* another frame was built while it was not durable */
    } open[COMMITS_MAX];
    uint32_t first, count;
    struct spread latency_ns;
};

void commits_add(struct commits *commits, uint64_t begun_ns, uint64_t last_seq,
                 uint64_t durable_seq);

struct kind_count {
    uint64_t events, bytes;
};

struct opening {
    uint64_t seq, time_ns, tail_bytes, events_max;
    uint32_t epoch;
    uint16_t verdict;
    bool clean; /* the one before it ended with CLOSE */
};

/* What is encrypted; streams with a key are counted with the first event of each. */
struct encrypted {
    uint64_t events, bytes; /* events of which a part is, and these parts */
    uint64_t streams, erased;
    bool keys; /* there were some, else nobody knows what was erased */
};

struct statistics {
    struct kind_count *kinds; /* KINDS of them */
    struct opening *openings; /* the last OPENINGS_SHOWN */
    uint64_t opening_count, crashes;
    uint64_t events, payload_bytes, segments;
    uint64_t first_seq, last_seq, first_ns, last_ns;
    uint64_t frame_bytes, header_bytes; /* of frames and records */
    struct spread frame_records, frame_sizes, frame_gaps_ns, payload_sizes;
    struct rate rate;
    struct commits commits;
    struct top stream_events, stream_bytes;
    struct encrypted encrypted;
    struct log_lineage lineage;
    bool live, closed;
    uint64_t skipped;

    struct beginning beginning;
    enum beginning_state begins;
    uint64_t files, file_bytes, disk_bytes;

    /* The frame under way. */
    uint64_t segment_no, frame_offset, frame_count, frame_body, frame_ns, frame_before_ns;
};

bool statistics_init(struct statistics *statistics); /* false: no memory */
void statistics_free(struct statistics *statistics);

/* To be called with each event in order, and once at the end. */
void statistics_add(struct statistics *statistics, const struct record *record,
                    const struct log_place *place);
void statistics_finish(struct statistics *statistics);

/* Bytes that are neither payload nor headers. */
static inline uint64_t statistics_padding(const struct statistics *s)
{
    return s->frame_bytes - s->header_bytes - s->payload_bytes;
}

void statistics_to_json(const struct statistics *statistics, struct text *text);

#endif
