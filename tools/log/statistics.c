#include "tools/log/statistics.h"

#include "log/frame.h"
#include "log/storage.h"

#include <stdlib.h>

#define WIDTH_FIRST_NS 1000000u

bool statistics_init(struct statistics *s)
{
    *s = (struct statistics){ .kinds = calloc(KINDS, sizeof *s->kinds),
                              .openings = calloc(OPENINGS_SHOWN, sizeof *s->openings) };
    return top_init(&s->stream_events) & top_init(&s->stream_bytes) && s->kinds != NULL &&
           s->openings != NULL;
}

void statistics_free(struct statistics *s)
{
    log_lineage_free(&s->lineage);
    top_free(&s->stream_events);
    top_free(&s->stream_bytes);
    free(s->kinds);
    free(s->openings);
}

void spread_add(struct spread *spread, uint64_t value)
{
    unsigned group = value == 0 ? 0 : 64 - (unsigned)__builtin_clzll(value);
    spread->groups[group]++;
    spread->count++;
    spread->sum += value;
    if (value > spread->max)
        spread->max = value;
}

static void double_width(struct rate *rate)
{
    for (unsigned i = 0; i < RATE_BUCKETS; i++) {
        uint64_t events = rate->events[i];
        rate->events[i] = 0;
        rate->events[i / 2] += events;
    }
    rate->width_ns *= 2;
    rate->used = (rate->used + 1) / 2;
}

void rate_add(struct rate *rate, uint64_t time_ns)
{
    if (rate->width_ns == 0) {
        rate->first_ns = time_ns;
        rate->width_ns = WIDTH_FIRST_NS;
    }
    uint64_t behind = time_ns > rate->first_ns ? time_ns - rate->first_ns : 0;
    while (behind / rate->width_ns >= RATE_BUCKETS)
        double_width(rate);
    unsigned bucket = (unsigned)(behind / rate->width_ns);
    rate->events[bucket]++;
    if (bucket >= rate->used)
        rate->used = bucket + 1;
}

void commits_add(struct commits *commits, uint64_t begun_ns, uint64_t last_seq,
                 uint64_t durable_seq)
{
    while (commits->count > 0) {
        uint32_t at = commits->first % COMMITS_MAX;
        if (commits->open[at].last_seq > durable_seq)
            break;
        if (commits->open[at].overlapped && begun_ns >= commits->open[at].begun_ns)
            spread_add(&commits->latency_ns, begun_ns - commits->open[at].begun_ns);
        commits->first++;
        commits->count--;
    }
    for (uint32_t i = 0; i < commits->count; i++)
        commits->open[(commits->first + i) % COMMITS_MAX].overlapped = true;
    if (commits->count == COMMITS_MAX) { /* no writer has so many under way */
        commits->first++;
        commits->count--;
    }
    uint32_t own = (commits->first + commits->count++) % COMMITS_MAX;
    commits->open[own].last_seq = last_seq;
    commits->open[own].begun_ns = begun_ns;
    commits->open[own].overlapped = false;
}

static void end_frame(struct statistics *s)
{
    if (s->frame_count == 0)
        return;
    uint64_t size = (uint64_t)frame_block_count(s->frame_body) * LOG_BLOCK_SIZE;
    spread_add(&s->frame_records, s->frame_count);
    spread_add(&s->frame_sizes, size);
    if (s->frame_before_ns != 0 && s->frame_ns >= s->frame_before_ns)
        spread_add(&s->frame_gaps_ns, s->frame_ns - s->frame_before_ns);
    s->frame_bytes += size;
    s->header_bytes += FRAME_HEADER_SIZE;
    s->frame_before_ns = s->frame_ns;
    s->frame_count = s->frame_body = 0;
}

static void count_opening(struct statistics *s, const struct record *record)
{
    struct storage_opened opened;
    if (storage_opened_decode(record->payload, &opened) < 0)
        return;
    bool clean = s->closed || opened.prev_segment_no == 0;
    s->openings[s->opening_count++ % OPENINGS_SHOWN] =
        (struct opening){ .seq = record->seq,
                          .time_ns = record->time_ns,
                          .tail_bytes = opened.tail_bytes,
                          .events_max = opened.events_max,
                          .epoch = opened.epoch,
                          .verdict = opened.verdict,
                          .clean = clean };
    s->crashes += !clean;
    s->frame_before_ns = 0; /* nobody wrote in between */
    s->commits.count = 0;
}

static void count_frame(struct statistics *s, const struct record *record,
                        const struct log_place *place)
{
    if (place->segment_no != s->segment_no || place->frame_offset != s->frame_offset)
        end_frame(s);
    if (s->frame_count == 0) {
        s->frame_ns = record->time_ns;
        commits_add(&s->commits, record->time_ns, place->frame_last_seq, place->frame_durable_seq);
    }
    s->segments += place->segment_no != s->segment_no;
    s->segment_no = place->segment_no;
    s->frame_offset = place->frame_offset;
    s->frame_count++;
    s->frame_body += record_size(record->payload.size);
    s->header_bytes += RECORD_HEADER_SIZE;
}

void statistics_add(struct statistics *s, const struct record *record,
                    const struct log_place *place)
{
    count_frame(s, record, place);
    s->kinds[record->kind].events++;
    s->kinds[record->kind].bytes += record->payload.size;
    s->events++;
    s->payload_bytes += record->payload.size;
    spread_add(&s->payload_sizes, record->payload.size);
    rate_add(&s->rate, record->time_ns);
    if (record->stream != 0) {
        top_add(&s->stream_events, record->stream, 1);
        top_add(&s->stream_bytes, record->stream, record->payload.size);
    }
    if (s->first_seq == 0) {
        s->first_seq = record->seq;
        s->first_ns = record->time_ns;
    }
    s->last_seq = record->seq;
    s->last_ns = record->time_ns;
    if (record->kind == LOG_KIND_OPENED)
        count_opening(s, record);
    s->closed = record->kind == LOG_KIND_CLOSED;
    beginning_note(&s->beginning, record);
}

void statistics_finish(struct statistics *s)
{
    end_frame(s);
}
