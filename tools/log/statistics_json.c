#include "log/storage.h"
#include "tools/log/statistics.h"

#define TOP_SHOWN 10

static void json_kinds(const struct statistics *s, struct text *text)
{
    text_json_open_object(text, "kinds");
    for (unsigned kind = 0; kind < KINDS; kind++) {
        if (s->kinds[kind].events == 0)
            continue;
        text_json_open_object(text, kind_name((uint16_t)kind));
        text_json_unsigned(text, "events", s->kinds[kind].events);
        text_json_unsigned(text, "payload_bytes", s->kinds[kind].bytes);
        text_json_close_object(text);
    }
    text_json_close_object(text);
}

/* How many values there are from the number in the key on, up to that in the next. */
static void json_spread(struct text *text, const char *key, const struct spread *spread)
{
    text_json_open_object(text, key);
    for (unsigned group = 0; group < SPREAD_GROUPS; group++) {
        char least[24];
        snprintf(least, sizeof least, "%llu", (unsigned long long)spread_least(group));
        if (spread->groups[group] > 0)
            text_json_unsigned(text, least, spread->groups[group]);
    }
    text_json_close_object(text);
}

static void json_rate(struct text *text, const struct rate *rate)
{
    text_json_open_object(text, "rate");
    text_json_time(text, "first_time", rate->first_ns);
    text_json_unsigned(text, "width_ns", rate->width_ns);
    text_json_open_array(text, "events");
    for (unsigned i = 0; i < rate->used; i++)
        text_json_unsigned(text, NULL, rate->events[i]);
    text_json_close_array(text);
    text_json_close_object(text);
}

static void json_top(struct text *text, const char *key, const char *unit, const struct top *top)
{
    struct top_entry largest[TOP_SHOWN];
    uint32_t count = top_largest(top, largest, TOP_SHOWN);
    text_json_open_array(text, key);
    for (uint32_t i = 0; i < count; i++) {
        text_json_open_object(text, NULL);
        text_json_unsigned(text, "stream", largest[i].key);
        text_json_unsigned(text, unit, largest[i].weight);
        text_json_close_object(text);
    }
    text_json_close_array(text);
}

static void json_openings(const struct statistics *s, struct text *text)
{
    uint64_t first = s->opening_count > OPENINGS_SHOWN ? s->opening_count - OPENINGS_SHOWN : 0;
    text_json_open_array(text, "openings");
    for (uint64_t i = first; i < s->opening_count; i++) {
        const struct opening *opening = &s->openings[i % OPENINGS_SHOWN];
        text_json_open_object(text, NULL);
        text_json_unsigned(text, "epoch", opening->epoch);
        text_json_unsigned(text, "seq", opening->seq);
        text_json_time(text, "time", opening->time_ns);
        text_json_bool(text, "clean", opening->clean);
        text_json_cstring(text, "verdict", log_verdict_name(opening->verdict));
        text_json_unsigned(text, "tail_bytes", opening->tail_bytes);
        text_json_unsigned(text, "events_max", opening->events_max);
        text_json_close_object(text);
    }
    text_json_close_array(text);
}

static void json_encrypted(struct text *text, const struct encrypted *encrypted)
{
    text_json_open_object(text, "encrypted");
    text_json_unsigned(text, "events", encrypted->events);
    text_json_unsigned(text, "bytes", encrypted->bytes);
    text_json_unsigned(text, "streams", encrypted->streams);
    if (encrypted->keys)
        text_json_unsigned(text, "streams_erased", encrypted->erased);
    else
        text_json_null(text, "streams_erased");
    text_json_close_object(text);
}

static void json_format(struct text *text, const char *key, uint16_t minor)
{
    char version[16];
    snprintf(version, sizeof version, "%u.%u", LOG_VERSION_MAJOR, minor);
    text_json_cstring(text, key, version);
}

static void json_names(const struct log_lineage *lineage, struct text *text)
{
    char uuid[UUID_TEXT_SIZE];
    if (lineage->count > 0) {
        uuid_to_text(uuid, lineage->names[lineage->count - 1].log_uuid);
        text_json_cstring(text, "log", uuid);
        json_format(text, "format_min", lineage->minor_min);
        json_format(text, "format_max", lineage->minor_max);
        text_json_unsigned(text, "event_schema", lineage->event_schema);
    }
    text_json_open_array(text, "forks");
    for (size_t i = 0; i < lineage->count; i++) {
        const struct log_name *name = &lineage->names[i];
        if (!name->forked)
            continue;
        text_json_open_object(text, NULL);
        uuid_to_text(uuid, name->log_uuid);
        text_json_cstring(text, "log", uuid);
        uuid_to_text(uuid, name->parent_uuid);
        text_json_cstring(text, "parent", uuid);
        text_json_unsigned(text, "parent_seq", name->parent_seq);
        text_json_close_object(text);
    }
    text_json_close_array(text);
}

void statistics_to_json(const struct statistics *s, struct text *text)
{
    text_json_open_object(text, NULL);
    text_json_unsigned(text, "events", s->events);
    text_json_unsigned(text, "first_seq", s->first_seq);
    text_json_unsigned(text, "last_seq", s->last_seq);
    text_json_time(text, "first_time", s->first_ns);
    text_json_time(text, "last_time", s->last_ns);
    text_json_unsigned(text, "payload_bytes", s->payload_bytes);
    text_json_unsigned(text, "frames", s->frame_sizes.count);
    text_json_unsigned(text, "frame_bytes", s->frame_bytes);
    text_json_unsigned(text, "header_bytes", s->header_bytes);
    text_json_unsigned(text, "padding_bytes", statistics_padding(s));
    text_json_unsigned(text, "segments", s->segments);
    text_json_unsigned(text, "files", s->files);
    text_json_unsigned(text, "file_bytes", s->file_bytes);
    text_json_unsigned(text, "disk_bytes", s->disk_bytes);
    text_json_unsigned(text, "crashes", s->crashes);
    text_json_unsigned(text, "skipped", s->skipped);
    text_json_bool(text, "live", s->live);
    beginning_to_json(&s->beginning, s->begins, s->first_seq, text);
    json_names(&s->lineage, text);
    json_encrypted(text, &s->encrypted);
    json_kinds(s, text);
    json_spread(text, "events_in_frame", &s->frame_records);
    json_spread(text, "frame_sizes", &s->frame_sizes);
    json_spread(text, "payload_sizes", &s->payload_sizes);
    json_spread(text, "frame_gaps_ns", &s->frame_gaps_ns);
    json_spread(text, "commit_latency_ns", &s->commits.latency_ns);
    json_rate(text, &s->rate);
    json_top(text, "streams_by_events", "events", &s->stream_events);
    json_top(text, "streams_by_bytes", "payload_bytes", &s->stream_bytes);
    text_json_unsigned(text, "streams_by_events_error", s->stream_events.error);
    text_json_unsigned(text, "streams_by_bytes_error", s->stream_bytes.error);
    json_openings(s, text);
    text_json_close_object(text);
}
