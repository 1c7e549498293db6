#include "tools/agent/disk.h"

#include "log/ballast.h"
#include "log/log.h"
#include "tools/agent/host.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <time.h>

#define LOOK_EVERY_NS 1000000000ull
#define MB (1024ull * 1024)

struct disk {
    struct disk_options options;
    char dir[PATH_MAX];
    _Atomic int state; /* enum space_state */
    pthread_t thread;
    pthread_mutex_t lock; /* guards what is below */
    pthread_cond_t stopped;
    bool stop;
    struct disk_status status;
};

static int measure(const char *dir, uint64_t *free_bytes, uint64_t *total_bytes)
{
    struct statvfs filesystem;
    if (statvfs(dir, &filesystem) < 0)
        return -errno;
    *free_bytes = (uint64_t)filesystem.f_bavail * filesystem.f_frsize;
    *total_bytes = (uint64_t)filesystem.f_blocks * filesystem.f_frsize;
    return 0;
}

static void explain(const struct disk *disk, const struct disk_status *status, char *text,
                    size_t size)
{
    if (status->state == SPACE_OK) {
        snprintf(text, size, "there is room for the event log in %s again", disk->dir);
        return;
    }
    snprintf(text, size,
             "the disk of the event log is %s: %llu MB are free in %.300s; %s; from %llu MB on it "
             "is better by itself: remove what is not needed there, let [retention] remove old "
             "events, or make it larger",
             status->state == SPACE_FULL  ? "full"
             : status->state == SPACE_LOW ? "getting full"
                                          : "nearly full",
             (unsigned long long)(status->free_bytes / MB), disk->dir,
             status->state == SPACE_LOW ? "all goes on"
                                        : "new workflows are refused, those under way go on",
             (unsigned long long)((status->bytes_to_leave + MB - 1) / MB));
}

/* Numbers as they are now, the state as it was. */
static int look(struct disk *disk, struct disk_status *status, bool *refused)
{
    struct log_stats stats;
    int (*how)(const char *, uint64_t *, uint64_t *) =
        disk->options.measure ? disk->options.measure : measure;
    int result = how(disk->dir, &status->free_bytes, &status->total_bytes);
    if (result < 0)
        return error_set(&status->trouble, result, "cannot tell how much room %s has: %s",
                         disk->dir, error_text(result));
    log_stats_get(disk->options.log, &stats);
    status->limits = space_limits_for(&disk->options.wish, status->total_bytes, stats.capacity);
    status->ballast_bytes = ballast_bytes(disk->dir);
    status->spares = stats.spares;
    *refused = stats.spare_code == -ENOSPC || stats.spare_code == -EDQUOT;
    return 0;
}

/* Gives it up when that is what it is for, makes it when there is room for it. */
static void move_ballast(struct disk *disk, struct disk_status *status)
{
    const struct space_limits *limits = &status->limits;
    bool there = status->ballast_bytes >= limits->ballast_bytes;
    int result = 0;
    if (status->state >= SPACE_CRITICAL)
        result = ballast_release(disk->dir, &status->trouble);
    else if (!there && status->free_bytes >= limits->ballast_bytes + limits->critical_bytes)
        result = ballast_make(disk->dir, limits->ballast_bytes, &status->trouble);
    if (result == 1)
        host_say("the ballast of %llu MB was given up",
                 (unsigned long long)(status->ballast_bytes / MB));
    status->ballast_bytes = ballast_bytes(disk->dir);
}

static void look_once(struct disk *disk)
{
    struct disk_status status;
    char text[700];
    bool refused = false;
    disk_status_get(disk, &status);
    enum space_state before = status.state;
    status.trouble = (struct error){ 0 };
    if (look(disk, &status, &refused) == 0) {
        struct space_look seen = { status.free_bytes, status.ballast_bytes, status.spares,
                                   refused };
        status.state = space_next(before, &status.limits, &seen);
        move_ballast(disk, &status);
        seen.ballast_bytes = status.ballast_bytes;
        status.bytes_to_leave = space_bytes_to_leave(status.state, &status.limits, &seen);
    }
    status.changes += status.state != before;
    pthread_mutex_lock(&disk->lock);
    disk->status = status;
    pthread_mutex_unlock(&disk->lock);
    atomic_store(&disk->state, (int)status.state);
    if (status.state == before)
        return;
    explain(disk, &status, text, sizeof text);
    host_say("%s", text);
    disk->options.changed(disk->options.context);
}

/* True: it is time to look again; false: it is to stop. */
static bool pause_between(struct disk *disk)
{
    struct timespec until;
    uint64_t every_ns =
        disk->options.look_every_ns > 0 ? disk->options.look_every_ns : LOOK_EVERY_NS;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + every_ns;
    until.tv_sec += (time_t)(ns / 1000000000ull);
    until.tv_nsec = (long)(ns % 1000000000ull);
    int status = 0;
    pthread_mutex_lock(&disk->lock);
    while (!disk->stop && status == 0)
        status = pthread_cond_timedwait(&disk->stopped, &disk->lock, &until);
    bool stop = disk->stop;
    pthread_mutex_unlock(&disk->lock);
    return !stop;
}

static void *run(void *argument)
{
    struct disk *disk = argument;
    pthread_setname_np(pthread_self(), "daa-disk");
    while (pause_between(disk))
        look_once(disk);
    return NULL;
}

int disk_open(struct disk **opened, const struct disk_options *options, struct error *error)
{
    pthread_condattr_t monotonic;
    struct disk *disk = calloc(1, sizeof *disk);
    if (!disk)
        return error_set(error, -ENOMEM, "no memory to watch the disk");
    disk->options = *options;
    snprintf(disk->dir, sizeof disk->dir, "%s", options->dir);
    pthread_mutex_init(&disk->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&disk->stopped, &monotonic);
    pthread_condattr_destroy(&monotonic);
    look_once(disk);
    int status = -pthread_create(&disk->thread, NULL, run, disk);
    if (status < 0) {
        free(disk);
        return error_set(error, status, "cannot start the thread that watches the disk: %s",
                         error_text(status));
    }
    *opened = disk;
    return 0;
}

void disk_close(struct disk *disk)
{
    if (!disk)
        return;
    pthread_mutex_lock(&disk->lock);
    disk->stop = true;
    pthread_cond_broadcast(&disk->stopped);
    pthread_mutex_unlock(&disk->lock);
    pthread_join(disk->thread, NULL);
    pthread_mutex_destroy(&disk->lock);
    pthread_cond_destroy(&disk->stopped);
    free(disk);
}

enum space_state disk_state(const struct disk *disk)
{
    return disk ? (enum space_state)atomic_load(&disk->state) : SPACE_OK;
}

void disk_status_get(struct disk *disk, struct disk_status *status)
{
    pthread_mutex_lock(&disk->lock);
    *status = disk->status;
    pthread_mutex_unlock(&disk->lock);
}

void disk_explain(struct disk *disk, char *text, size_t size)
{
    struct disk_status status;
    disk_status_get(disk, &status);
    explain(disk, &status, text, size);
}
