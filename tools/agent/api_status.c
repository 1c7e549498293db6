/* The operations that say how the agent is. */
#include "core/base/id.h"
#include "core/base/version.h"
#include "iouring/io.h"
#include "log/log.h"
#include "tools/agent/api_clock.h"
#include "tools/agent/disk.h"
#include "tools/agent/effects.h"
#include "tools/agent/host.h"
#include "tools/agent/housekeeper.h"
#include "tools/agent/loop.h"
#include "tools/agent/operation.h"
#include "tools/agent/scrub.h"
#include "tools/agent/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum MHD_Result status_health(struct exchange *exchange)
{
    struct text text;
    text_init(&text);
    text_json_open_object(&text, NULL);
    text_json_cstring(&text, "status", "ok");
    text_json_cstring(&text, "version", DAA_VERSION);
    text_json_close_object(&text);
    enum MHD_Result result = operation_answer(exchange, 200, &text, NULL);
    text_free(&text);
    return result;
}

/* The segment that is being written may have some room left; soon it will have none. */
static bool is_out_of_room(const struct boot *boot, char *why, size_t size)
{
    struct log_stats stats;
    log_stats_get(boot->log, &stats);
    if (stats.spares > 0 || !stats.spare_error[0])
        return false;
    snprintf(why, size, "the event log has no room: %s; make room", stats.spare_error);
    return true;
}

enum MHD_Result status_ready(struct exchange *exchange)
{
    struct api *api = exchange->api;
    char why[400] = "ready", degraded[320];
    bool ready = atomic_load(&api->ready);
    if (atomic_load(&api->draining)) {
        ready = false;
        snprintf(why, sizeof why, "stopping");
    } else if (!ready) {
        boot_progress(api->boot, why, sizeof why);
    } else if (is_out_of_room(api->boot, why, sizeof why)) {
        ready = false;
    } else if (clock_is_degraded(api->boot, degraded, sizeof degraded)) {
        snprintf(why, sizeof why, "ready, but DEGRADED: %s", degraded);
    } else if (scrub_is_degraded(api->boot->scrub, degraded, sizeof degraded)) {
        snprintf(why, sizeof why, "ready, but DEGRADED: %s", degraded);
    }
    struct text text;
    text_init(&text);
    text_json_open_object(&text, NULL);
    text_json_bool(&text, "ready", ready);
    text_json_cstring(&text, "reason", why);
    if (ready)
        replication_add_ready(api, &text);
    text_json_close_object(&text);
    enum MHD_Result result = operation_answer(exchange, ready ? 200 : 503, &text, NULL);
    text_free(&text);
    return result;
}

/*--- GET /status -------------------------------------------------------------------------------*/

static const char *sync_name(enum log_sync sync)
{
    switch (sync) {
    case LOG_SYNC_DSYNC:
        return "dsync";
    case LOG_SYNC_FDATASYNC:
        return "fdatasync";
    case LOG_SYNC_PROBE:
        break;
    }
    return "probe";
}

static const char *verdict_name(enum log_verdict verdict)
{
    switch (verdict) {
    case LOG_SOUND:
        return "sound";
    case LOG_TORN:
        return "torn";
    case LOG_UNPROVEN:
        return "unproven";
    case LOG_DAMAGED:
        return "damaged";
    }
    return "unknown";
}

/* null: there is none. */
static void add_second(const struct log_stats *stats, struct text *text)
{
    if (!stats->second) {
        text_json_null(text, "second");
        return;
    }
    text_json_open_object(text, "second");
    text_json_bool(text, "in_use", stats->in_second);
    text_json_bool(text, "stuck", stats->stuck);
    text_json_unsigned(text, "spares", stats->second_spares);
    text_json_cstring(text, "trouble", stats->second_error[0] ? stats->second_error : NULL);
    text_json_close_object(text);
}

static void add_log(const struct boot *boot, struct text *text)
{
    struct log_stats stats;
    char uuid[UUID_TEXT_SIZE];
    log_stats_get(boot->log, &stats);
    uuid_to_text(uuid, boot->log_uuid);
    text_json_open_object(text, "log");
    text_json_cstring(text, "uuid", uuid);
    text_json_unsigned(text, "next_seq", stats.next_seq);
    text_json_unsigned(text, "durable_seq", stats.durable_seq);
    text_json_unsigned(text, "segment", stats.segment_no);
    text_json_unsigned(text, "segment_offset", stats.segment_offset);
    text_json_unsigned(text, "segment_size", stats.capacity);
    text_json_unsigned(text, "epoch", stats.epoch);
    text_json_unsigned(text, "frames", stats.frames);
    text_json_unsigned(text, "records", stats.records);
    text_json_unsigned(text, "payload_bytes", stats.payload_bytes);
    text_json_unsigned(text, "disk_bytes", stats.disk_bytes);
    text_json_unsigned(text, "rolls", stats.rolls);
    text_json_unsigned(text, "checkpoints", stats.checkpoints);
    text_json_unsigned(text, "syncs", stats.syncs);
    text_json_unsigned(text, "frames_in_flight", stats.frames_in_flight);
    text_json_unsigned(text, "frames_in_flight_max", stats.frames_in_flight_max);
    text_json_unsigned(text, "spares", stats.spares);
    text_json_unsigned(text, "spare_waits", stats.spare_waits);
    text_json_unsigned(text, "failovers", stats.failovers);
    text_json_unsigned(text, "stalls", stats.stalls);
    text_json_unsigned(text, "stall_longest_ms", stats.stall_longest_ns / 1000000);
    text_json_unsigned(text, "stalled_ms", log_stalled_ns(boot->log) / 1000000);
    add_second(&stats, text);
    text_json_cstring(text, "trouble", stats.spare_error[0] ? stats.spare_error : NULL);
    text_json_unsigned(text, "sealed", stats.sealed);
    text_json_unsigned(text, "sealed_raw_bytes", stats.sealed_raw_bytes);
    text_json_unsigned(text, "sealed_packed_bytes", stats.sealed_packed_bytes);
    text_json_unsigned(text, "unsealed", stats.unsealed);
    text_json_cstring(text, "seal_trouble", stats.seal_error[0] ? stats.seal_error : NULL);
    text_json_unsigned(text, "commit_ns_mean",
                       stats.frames ? stats.commit_ns_sum / stats.frames : 0);
    text_json_cstring(text, "engine", stats.engine);
    text_json_cstring(text, "sync", sync_name(stats.sync));
    text_json_unsigned(text, "probe_dsync_ns", stats.probe_dsync_ns);
    text_json_unsigned(text, "probe_fdatasync_ns", stats.probe_fdatasync_ns);
    text_json_close_object(text);
}

static void add_disk(const struct boot *boot, struct text *text)
{
    struct disk_status status;
    disk_status_get(boot->disk, &status);
    text_json_open_object(text, "disk");
    text_json_cstring(text, "state", space_state_name(status.state));
    text_json_unsigned(text, "free_bytes", status.free_bytes);
    text_json_unsigned(text, "total_bytes", status.total_bytes);
    text_json_unsigned(text, "low_bytes", status.limits.low_bytes);
    text_json_unsigned(text, "critical_bytes", status.limits.critical_bytes);
    text_json_unsigned(text, "ballast_bytes", status.ballast_bytes);
    text_json_unsigned(text, "bytes_to_leave", status.bytes_to_leave);
    text_json_unsigned(text, "changes", status.changes);
    text_json_cstring(text, "trouble", status.trouble.code < 0 ? status.trouble.text : NULL);
    text_json_close_object(text);
}

static void add_agent(const struct boot *boot, struct text *text)
{
    struct loop_counts counts;
    loop_counts_get(boot->loop, &counts);
    const struct agent_counts *agent = &counts.agent;
    text_json_open_object(text, "workflows");
    text_json_unsigned(text, "in_memory", agent->workflows);
    text_json_unsigned(text, "unfinished", agent->unfinished);
    text_json_unsigned(text, "active", agent->active);
    text_json_unsigned(text, "pending", agent->pending);
    text_json_unsigned(text, "running", agent->running);
    text_json_unsigned(text, "paused", agent->paused);
    text_json_unsigned(text, "timers", agent->timers);
    text_json_unsigned(text, "definitions", agent->definitions);
    text_json_unsigned(text, "idle_bytes", agent->idle_bytes);
    text_json_unsigned(text, "finished", agent->finished);
    text_json_unsigned(text, "finished_bytes", agent->finished_bytes);
    text_json_unsigned(text, "idempotency_keys", agent->keys);
    text_json_unsigned(text, "submitted", agent->submitted);
    text_json_unsigned(text, "completed", agent->completed);
    text_json_unsigned(text, "failed", agent->failed);
    text_json_unsigned(text, "cancelled", agent->cancelled);
    text_json_close_object(text);
    text_json_open_object(text, "loop");
    text_json_unsigned(text, "turns", counts.turns);
    text_json_unsigned(text, "commands", counts.commands);
    text_json_unsigned(text, "stalls", counts.stalls);
    text_json_unsigned(text, "long_turns", counts.long_turns);
    text_json_unsigned(text, "longest_turn_us", counts.longest_turn_ns / 1000);
    text_json_unsigned(text, "reads_ahead", counts.reads_ahead);
    text_json_time(text, "log_time", counts.now_ns);
    if (counts.next_deadline_ns != UINT64_MAX)
        text_json_time(text, "next_due", counts.next_deadline_ns);
    else
        text_json_null(text, "next_due");
    text_json_close_object(text);
}

static void add_budget(struct boot *boot, struct text *text)
{
    struct budget *budget = &boot->budget;
    text_json_open_object(text, "memory");
    text_json_unsigned(text, "limit", budget->limit);
    text_json_unsigned(text, "used", atomic_load(&budget->used));
    text_json_unsigned(text, "refusals", atomic_load(&budget->refusals));
    for (int owner = 0; owner < BUDGET_OWNERS; owner++) {
        text_json_open_object(text, budget_owner_name((enum budget_owner)owner));
        text_json_unsigned(text, "used", atomic_load(&budget->owner_used[owner]));
        text_json_unsigned(text, "peak", atomic_load(&budget->owner_peak[owner]));
        text_json_close_object(text);
    }
    text_json_close_object(text);
}

static void add_state(struct boot *boot, struct text *text)
{
    struct error trouble;
    text_json_open_object(text, "state");
    text_json_unsigned(text, "applied_seq", state_applied_seq(boot->state));
    text_json_unsigned(text, "pending_bytes", state_pending_bytes(boot->state));
    text_json_unsigned(text, "lag_ms", state_lag_ns(boot->state) / 1000000);
    text_json_cstring(text, "trouble", state_trouble(boot->state, &trouble) ? trouble.text : NULL);
    state_add_snapshots(boot, text);
    doctor_add_status(boot, text);
    text_json_close_object(text);
}

static void add_housekeeping(const struct boot *boot, struct text *text)
{
    struct housekeeper_status status;
    struct loop_counts counts;
    housekeeper_status_get(atomic_load(&boot->housekeeper), &status);
    loop_counts_get(boot->loop, &counts);
    text_json_open_object(text, "housekeeping");
    text_json_unsigned(text, "keys_expired", status.keys_expired);
    text_json_unsigned(text, "workflows_expired", status.workflows_expired);
    text_json_unsigned(text, "segments_removed", status.segments_removed);
    text_json_unsigned(text, "bytes_removed", status.bytes_removed);
    text_json_unsigned(text, "log_removed_up_to", counts.agent.removed_seq);
    text_json_cstring(text, "log_kept_because", status.held[0] ? status.held : NULL);
    text_json_cstring(text, "readers_dropped", status.dropped[0] ? status.dropped : NULL);
    text_json_cstring(text, "trouble", status.trouble.code < 0 ? status.trouble.text : NULL);
    text_json_close_object(text);
}

static void add_start(const struct boot *boot, struct text *text)
{
    const struct log_recovery *found = &boot->recovery;
    text_json_open_object(text, "start");
    text_json_unsigned(text, "ms", (boot->ready_ns - boot->began_ns) / 1000000);
    text_json_unsigned(text, "workflows_loaded", boot->rebuild.loaded);
    text_json_unsigned(text, "events_replayed", boot->rebuild.replayed);
    text_json_unsigned(text, "snapshot_loaded", boot->rebuild.snapshot_seq);
    text_json_unsigned(text, "effects_orphaned", boot->orphans);
    text_json_bool(text, "documents_rebuilt", boot->rebuilt);
    text_json_cstring(text, "log_end", found->exists ? verdict_name(found->verdict) : "new");
    text_json_bool(text, "log_closed_in_order", found->exists && found->clean);
    text_json_cstring(text, "log_end_reason", found->exists ? found->reason : NULL);
    text_json_close_object(text);
}

static void add_queue(struct api *api, struct text *text)
{
    const struct config *config = api->boot->config;
    text_json_open_object(text, "queue");
    text_json_unsigned(text, "requests", inbox_requests(api->boot->inbox));
    text_json_unsigned(text, "requests_max", config->orchestrator.workflow_queue_size);
    text_json_unsigned(text, "bytes", inbox_bytes(api->boot->inbox));
    text_json_close_object(text);
    text_json_open_object(text, "effects");
    text_json_unsigned(text, "under_way", effects_underway(api->boot->effects));
    text_json_close_object(text);
}

enum MHD_Result status_all(struct exchange *exchange)
{
    struct api *api = exchange->api;
    struct boot *boot = api->boot;
    bool ready = atomic_load(&api->ready);
    char progress[200];
    boot_progress(boot, progress, sizeof progress);
    struct text text;
    text_init(&text);
    text_json_open_object(&text, NULL);
    text_json_cstring(&text, "version", DAA_VERSION);
    text_json_integer(&text, "pid", getpid());
    text_json_real(&text, "uptime_s", (double)(host_monotonic_ns() - boot->began_ns) / 1e9);
    text_json_cstring(&text, "state_of_agent", atomic_load(&api->draining) ? "stopping" : progress);
    text_json_open_object(&text, "api");
    text_json_unsigned(&text, "requests", atomic_load(&api->requests));
    text_json_unsigned(&text, "under_way", atomic_load(&api->under_way));
    text_json_unsigned(&text, "connections", connections_count(api->connections));
    text_json_close_object(&text);
    if (ready) {
        add_queue(api, &text);
        add_agent(boot, &text);
        add_log(boot, &text);
        add_disk(boot, &text);
        anchor_add_status(boot, &text);
        eraser_add_status(boot, &text);
        scrub_add_status(boot, &text);
        add_state(boot, &text);
        add_housekeeping(boot, &text);
        add_start(boot, &text);
        clock_add_status(boot, &text);
        database_add_status(api, &text);
    }
    add_budget(boot, &text);
    text_json_close_object(&text);
    enum MHD_Result result = operation_answer(exchange, 200, &text, NULL);
    text_free(&text);
    return result;
}

/*--- GET /metrics, of the log ------------------------------------------------------------------*/

void status_add_metrics(const struct api *api, struct text *text)
{
    struct log_stats stats;
    if (!atomic_load(&api->ready))
        return;
    log_stats_get(api->boot->log, &stats);
    const struct metric metrics[] = {
        { "daa_log_failovers_total", "counter", "Times that the log went on in another segment.",
          stats.failovers },
        { "daa_log_stalls_total", "counter", "Writes that took long.", stats.stalls },
        { "daa_log_second_dir", "gauge", "Whether there is a second directory.", stats.second },
        { "daa_log_second_dir_in_use", "gauge", "Whether the log is written there now.",
          stats.in_second },
        { "daa_log_second_dir_spares", "gauge", "Segments made ahead there.", stats.second_spares },
        { "daa_log_write_stuck", "gauge",
          "Whether a write that was left behind for it is still under way.", stats.stuck },
    };
    for (size_t i = 0; i < sizeof metrics / sizeof metrics[0]; i++)
        metric_add(text, &metrics[i]);
}
