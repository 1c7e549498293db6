/* The writer's memory, from its options to its release. */
#include "log/writer.h"

#include "core/base/check.h"
#include "iouring/file.h"
#include "log/frame.h"
#include "log/storage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FRAMES_IN_FLIGHT_DEFAULT 8u
#define FRAME_TARGET_SIZE_DEFAULT (1u << 20)
#define SPARES_DEFAULT 2u

int writer_set_options(struct log *log, const struct log_options *options, struct error *error)
{
    log->options = *options;
    log->io = options->io;
    log->segment_count = options->second_dir != NULL ? SEGMENTS_MAX : SEGMENTS_MAX - 1;
    log->capacity = options->segment_size > 0 ? options->segment_size : LOG_SEGMENT_SIZE;
    if (log->options.frames_in_flight_max == 0)
        log->options.frames_in_flight_max = FRAMES_IN_FLIGHT_DEFAULT;
    if (log->options.frame_target_size == 0)
        log->options.frame_target_size = FRAME_TARGET_SIZE_DEFAULT;
    if (log->options.event_schema == 0)
        log->options.event_schema = 1;
    if (log->options.spares == 0)
        log->options.spares = SPARES_DEFAULT;
    CHECK(log->options.frames_in_flight_max <= FRAMES_IN_FLIGHT_LIMIT);
    CHECK(log->options.spares < SPARES_MAX);
    if (snprintf(log->dir, sizeof log->dir, "%s", options->dir) >= (int)sizeof log->dir)
        return error_set(error, -ENAMETOOLONG, "the path of the log directory is too long");
    if (options->second_dir != NULL && strlen(options->second_dir) >= sizeof log->second_dir)
        return error_set(error, -ENAMETOOLONG, "the path of the second directory is too long");
    if (log->capacity < LOG_SEGMENT_SIZE_MIN || log->capacity > LOG_SEGMENT_SIZE_MAX ||
        log->capacity % LOG_BLOCK_SIZE != 0)
        return error_set(error, ERROR_INVALID,
                         "a segment of %llu bytes is not possible: choose a multiple of %u from %u "
                         "to %u",
                         (unsigned long long)log->capacity, LOG_BLOCK_SIZE, LOG_SEGMENT_SIZE_MIN,
                         LOG_SEGMENT_SIZE_MAX);
    return 0;
}

static unsigned lane_count(const struct log *log)
{
    return log->segment_count == SEGMENTS_MAX ? LANES_MAX : 1;
}

static uint64_t memory_size(const struct log *log)
{
    uint64_t index = log->capacity / LOG_BLOCK_SIZE * SEALED_ENTRY_SIZE;
    uint64_t lane = log->queue.capacity * sizeof(struct slot) + LOG_BLOCK_SIZE;
    return sizeof *log + log->segment_count * (log->capacity + index) + index +
           OPENED_REASON_SIZE_MAX + lane_count(log) * lane + LOG_BLOCK_SIZE;
}

static int allocate_segment(struct log *log, struct segment *segment, struct error *error)
{
    size_t size = log->capacity / LOG_BLOCK_SIZE * SEALED_ENTRY_SIZE;
    int result = image_create(&segment->image, log->capacity, error);
    if (result < 0)
        return result;
    segment->index = malloc(size);
    if (segment->index == NULL)
        return error_set(error, -ENOMEM, "no memory for the log's index");
    memset(segment->index, 0xff, size);
    return 0;
}

/* The sizes that follow from the capacity. */
static void set_limits(struct log *log)
{
    uint32_t blocks = (uint32_t)(log->capacity / LOG_BLOCK_SIZE);
    uint64_t seal = record_size(storage_sealed_size(blocks));
    log->frame_size_max = segment_frame_size_max(log->capacity);
    log->payload_size_max = segment_payload_size_max(log->capacity);
    log->usable_end = log->capacity - (uint64_t)frame_block_count(seal) * LOG_BLOCK_SIZE;
    log->queue.reserve =
        (uint32_t)(2 * builder_run_frames(log, log->capacity) + 4) + FAILOVERS_IN_A_ROW_MAX;
    log->queue.capacity = 2 * FRAMES_IN_FLIGHT_LIMIT + log->queue.reserve;
    log->depth.max = log->options.frames_in_flight_max;
    log->depth.now = log->depth.max < 2 ? log->depth.max : 2;
    counter_set(&log->counters.depth, log->depth.now);
}

int writer_allocate(struct log *log, struct error *error)
{
    set_limits(log);
    uint64_t size = memory_size(log);
    if (budget_reserve(log->options.budget, BUDGET_LOG, size) < 0)
        return error_set(error, ERROR_BUDGET,
                         "the event log needs %llu bytes of memory, more than the budget leaves: "
                         "raise the memory limit",
                         (unsigned long long)size);
    log->budgeted = size;
    size_t payload_size = storage_sealed_size((uint32_t)(log->capacity / LOG_BLOCK_SIZE));
    log->own_payload = malloc(payload_size + OPENED_AT_REASON + OPENED_REASON_SIZE_MAX);
    log->checkpoint.side.block = file_aligned_buffer(LOG_BLOCK_SIZE);
    bool good = log->own_payload != NULL && log->checkpoint.side.block != NULL;
    for (unsigned i = 0; good && i < lane_count(log); i++) {
        struct lane *lane = &log->lanes[i];
        lane->slots = calloc(log->queue.capacity, sizeof *lane->slots);
        lane->header.block = file_aligned_buffer(LOG_BLOCK_SIZE);
        good = lane->slots != NULL && lane->header.block != NULL;
    }
    if (!good)
        return error_set(error, -ENOMEM, "no memory for the event log");
    for (uint32_t i = 0; i < log->segment_count; i++) {
        int result = allocate_segment(log, &log->segments[i], error);
        if (result < 0)
            return result;
    }
    return 0;
}

int writer_failed(const struct log *log, struct error *error)
{
    return error_set(error, ERROR_UNAVAILABLE, "%s/%s", log->dir, log->failure);
}

static void release_segment(struct segment *segment)
{
    image_close(&segment->image);
    free(segment->index);
    if (segment->fd >= 0)
        close(segment->fd);
}

static struct trouble *trouble_new(void)
{
    struct trouble *trouble = calloc(1, sizeof *trouble);
    if (trouble != NULL)
        pthread_mutex_init(&trouble->lock, NULL);
    return trouble;
}

static void trouble_free(struct trouble *trouble)
{
    if (trouble == NULL)
        return;
    pthread_mutex_destroy(&trouble->lock);
    free(trouble);
}

void trouble_set(struct trouble *trouble, const struct error *error)
{
    pthread_mutex_lock(&trouble->lock);
    trouble->error = *error;
    pthread_mutex_unlock(&trouble->lock);
}

int trouble_get(struct trouble *trouble, char *text, size_t size)
{
    pthread_mutex_lock(&trouble->lock);
    snprintf(text, size, "%s", trouble->error.text);
    int code = trouble->error.code;
    pthread_mutex_unlock(&trouble->lock);
    return code;
}

struct segment *writer_free_segment(struct log *log)
{
    for (uint32_t i = 0; i < log->segment_count; i++)
        if (atomic_load_explicit(&log->segments[i].image_state, memory_order_acquire) ==
            IMAGE_CLEAN)
            return &log->segments[i];
    return NULL;
}

static void release_lane(struct lane *lane)
{
    free(lane->header.block);
    free(lane->slots);
    for (int i = 0; i < 2; i++)
        if (lane->fds[i] >= 0)
            close(lane->fds[i]);
}

/* Nothing is under way. */
static void release_all(struct log *log)
{
    spares_close(log);
    for (unsigned i = 0; i < SEGMENTS_MAX; i++)
        release_segment(&log->segments[i]);
    for (unsigned i = 0; i < LANES_MAX; i++)
        release_lane(&log->lanes[i]);
    if (log->checkpoint.fd >= 0)
        close(log->checkpoint.fd);
    if (atomic_load(&log->checkpoint.fresh_fd) >= 0)
        close(atomic_load(&log->checkpoint.fresh_fd));
    free(log->checkpoint.side.block);
    free(log->own_payload);
    if (log->budgeted > 0)
        budget_release(log->options.budget, BUDGET_LOG, log->budgeted);
    sem_destroy(&log->maintenance.wake);
    sem_destroy(&log->sealer.wake);
    trouble_free(log->maintenance.trouble);
    trouble_free(log->maintenance.second_trouble);
    trouble_free(log->sealer.trouble);
    /* Last: whoever waits for the lock finds everything at rest. */
    if (log->lock_fd >= 0)
        close(log->lock_fd);
    free(log);
}

int writer_release(struct log *log)
{
    /* A thread that waits for a device which does not answer cannot be ended. */
    bool spares = spares_stop_thread(log), sealer = sealer_stop_thread(log);
    log->left_threads = !sealer || !spares;
    bool ops = pipeline_stop(log);
    if (ops && !log->left_threads) {
        release_all(log);
        return 0;
    }
    log->left = true;
    for (unsigned i = 0; i < LANES_MAX; i++)
        log->lanes[i].aside = log->lanes[i].underway > 0;
    return 1;
}

void writer_came_back(struct log *log)
{
    if (pipeline_underway(log) == 0 && !log->left_threads)
        release_all(log);
}

struct log *writer_new(void)
{
    struct log *log = calloc(1, sizeof *log);
    if (log == NULL)
        return NULL;
    log->maintenance.trouble = trouble_new();
    log->maintenance.second_trouble = trouble_new();
    log->sealer.trouble = trouble_new();
    if (log->maintenance.trouble == NULL || log->maintenance.second_trouble == NULL ||
        log->sealer.trouble == NULL) {
        trouble_free(log->maintenance.trouble);
        trouble_free(log->maintenance.second_trouble);
        trouble_free(log->sealer.trouble);
        free(log);
        return NULL;
    }
    log->lock_fd = log->checkpoint.fd = -1;
    atomic_store(&log->checkpoint.fresh_fd, -1);
    for (unsigned i = 0; i < SEGMENTS_MAX; i++) {
        log->segments[i].fd = -1;
        log->segments[i].image.fd = -1;
    }
    log->lane = &log->lanes[0];
    log->checkpoint.side.log = log;
    for (unsigned i = 0; i < LANES_MAX; i++) {
        struct lane *lane = &log->lanes[i];
        lane->log = lane->header.log = lane->sync_op.log = log;
        lane->header.lane = lane->sync_op.lane = lane;
        lane->fds[0] = lane->fds[1] = -1;
    }
    log->building = log->writing = &log->segments[0];
    sem_init(&log->maintenance.wake, 0, 0);
    sem_init(&log->sealer.wake, 0, 0);
    return log;
}
