/* Spares of the second directory (log/second.h): made ahead like others, with a link in the log's
 * directory, and kept behind all others by giving them new numbers: what the log goes on in must
 * have a higher number than all that it began. Numbers leave nothing out: a spare of the log's own
 * directory takes the one that a spare of the second gives up, in its place. */
#include "iouring/file.h"
#include "log/directory.h"
#include "log/second.h"
#include "log/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Of a segment behind which the log has gone on. */
static int remove_link(const struct log *log, const char *name, struct error *error)
{
    char path[PATH_MAX + LOG_SEGMENT_NAME_SIZE + 1];
    snprintf(path, sizeof path, "%s/%s", log->dir, name);
    if (unlink(path) == 0 || errno == ENOENT)
        return 0;
    return error_set(error, -errno, "cannot remove %s: %s", path, error_text(-errno));
}

/* Of a spare, `with_file` or only the name. The log's own directory will have one in its place, but
 * not before the next process may die: until then its number is not missing
 * (log/directory.h, directory_gap). */
static int clear_place(const struct log *log, const char *name, bool with_file, struct error *error)
{
    char mark[PATH_MAX + LOG_SEGMENT_NAME_SIZE + 5];
    snprintf(mark, sizeof mark, "%s/%s.tmp", log->dir, name);
    int fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(error, -errno, "cannot make %s: %s", mark, error_text(-errno));
    close(fd);
    int code = file_sync_dir(log->dir, error);
    if (code < 0 || !with_file)
        return code < 0 ? code : remove_link(log, name, error);
    code = second_remove(log->dir, name);
    return code < 0
               ? error_set(error, code, "cannot remove %s/%s: %s", log->dir, name, error_text(code))
               : 0;
}

int spares_move_up(struct log *log, struct spare *spare, const char *heir, struct error *error)
{
    struct maintenance *m = &log->maintenance;
    char name[LOG_SEGMENT_NAME_SIZE], higher[LOG_SEGMENT_NAME_SIZE], target[PATH_MAX];
    char path[PATH_MAX + LOG_SEGMENT_NAME_SIZE + 1];
    segment_name(name, spare->segment_no);
    segment_name(higher, m->top_no + 1);
    snprintf(path, sizeof path, "%s/%s", log->dir, name);
    int result = second_target(log->dir, name, target);
    if (result == 1)
        result = second_link(log->dir, higher, target, error);
    else
        result = error_set(error, result < 0 ? result : -ENOENT, "%s is no link any more", path);
    if (result == 0 && (heir != NULL ? rename(heir, path) : unlink(path)) < 0)
        result = error_set(error, -errno, "cannot replace %s: %s", path, error_text(-errno));
    if (result == 0)
        result = file_sync_dir(log->dir, error);
    if (result < 0) {
        close(spare->fd);
        return result;
    }
    /* Not before: what has two names must not be begun. */
    spare->segment_no = ++m->top_no;
    spares_push(&m->second, spare);
    return 0;
}

static int make_second(struct log *log, struct error *error)
{
    struct maintenance *m = &log->maintenance;
    char name[LOG_SEGMENT_NAME_SIZE];
    struct error what = { 0 };
    uint64_t serial;
    segment_name(name, m->top_no + 1);
    spares_random(log, &serial, sizeof serial);
    int result =
        second_make(log->dir, name, log->second_dir, log->log_uuid, serial, log->capacity, &what);
    if (result == 0)
        result = spares_adopt(log, ++m->top_no, true, &what);
    if (result < 0)
        error_wrap(&what, result, "make a spare segment in the second directory");
    trouble_set(m->second_trouble, &what);
    if (result < 0 && error != NULL)
        *error = what;
    return result;
}

int spares_sweep(struct log *log, struct error *error)
{
    struct maintenance *m = &log->maintenance;
    struct directory directory;
    struct source source = { .fd = -1 };
    struct segment_header header;
    uint64_t newest = counter_get(&log->counters.segment_no);
    bool any = false;
    int code = directory_open(&directory, log->dir, error);
    for (size_t i = 0; code == 0 && i < directory.count && directory.segments[i] < newest; i++) {
        char name[LOG_SEGMENT_NAME_SIZE];
        struct error ignored;
        if (directory.segments[i] < m->first_no ||
            directory_segment(&directory, i, &source, &header, &ignored) != SEGMENT_SPARE)
            continue;
        segment_name(name, directory.segments[i]);
        any = second_remove(log->dir, name) == 0 || any;
    }
    source_close(&source);
    directory_close(&directory);
    return code == 0 && any ? file_sync_dir(log->dir, error) : code;
}

int spares_maintain_second(struct log *log, struct error *error)
{
    struct maintenance *m = &log->maintenance;
    uint64_t next_no = spares_next_in(&m->second);
    struct spare spare;
    int result = 0;
    if (log->second_dir[0] == '\0')
        return 0;
    if (next_no != 0 && next_no < m->next_no)
        result = spares_pop(&m->second, &spare) ? spares_move_up(log, &spare, NULL, error) : 0;
    else if (spares_count(&m->second) < SECOND_SPARES)
        result = make_second(log, error);
    else
        return 0;
    return result < 0 ? result : 1;
}

/*--- Opening -----------------------------------------------------------------------------------*/

/* True if a spare that was found before has this file: a crash may leave one that moves up with two
 * links. */
static bool is_taken(const struct log *log, const char *target)
{
    const struct spare_ring *ring = &log->maintenance.second;
    char taken[PATH_MAX], name[LOG_SEGMENT_NAME_SIZE];
    for (uint32_t i = ring->taken; i < ring->made; i++) {
        segment_name(name, ring->spares[i % SPARES_MAX].segment_no);
        if (second_target(log->dir, name, taken) == 1 && strcmp(taken, target) == 0)
            return true;
    }
    return false;
}

/* A spare that this log made in this directory. */
static bool is_usable(const struct log *log, const uint8_t log_uuid[UUID_SIZE], const char *target)
{
    char uuid[UUID_TEXT_SIZE];
    size_t length = strlen(log->second_dir);
    uuid_to_text(uuid, log_uuid);
    return length > 0 && strncmp(target, log->second_dir, length) == 0 && target[length] == '/' &&
           strncmp(target + length + 1, uuid, strlen(uuid)) == 0 &&
           second_is_own(log->dir, target) &&
           spares_count(&log->maintenance.second) < SECOND_SPARES;
}

/* A link behind the log's end. What cannot be used goes: the log's own directory has a spare in its
 * place before anything is begun behind it, unless the process dies before. */
static int look_at(struct log *log, const struct log_recovery *recovery, uint64_t segment_no,
                   uint64_t clean_no, struct error *error)
{
    char name[LOG_SEGMENT_NAME_SIZE], target[PATH_MAX];
    segment_name(name, segment_no);
    int code = second_target(log->dir, name, target);
    if (code < 0)
        return error_set(error, code, "cannot look at %s/%s: %s", log->dir, name, error_text(code));
    if (is_taken(log, target))
        return clear_place(log, name, false, error);
    if (is_usable(log, recovery->log_uuid, target)) {
        code = segment_no == clean_no ? 1 : spares_look_at(log, segment_no, error);
        return code == 1 ? spares_adopt(log, segment_no, true, error) : code;
    }
    return clear_place(log, name, true, error);
}

/* A crash may leave a spare with another name, that the log has passed over. */
static int drop_second_name(const struct log *log, uint64_t segment_no, struct error *error)
{
    char name[LOG_SEGMENT_NAME_SIZE], target[PATH_MAX];
    segment_name(name, segment_no);
    bool taken = second_target(log->dir, name, target) == 1 && is_taken(log, target);
    return taken ? remove_link(log, name, error) : 0;
}

int spares_find(struct log *log, const struct log_recovery *recovery, uint64_t clean_no,
                struct error *error)
{
    struct maintenance *m = &log->maintenance;
    uint64_t last_no = recovery->last_segment_no;
    struct directory directory;
    int code = directory_open(&directory, log->dir, error);
    m->next_no = last_no + 1;
    m->first_no = last_no > 2 * SPARES_MAX ? last_no - 2 * SPARES_MAX : 1;
    m->top_no = directory.count > 0 ? directory.segments[directory.count - 1] : 0;
    if (m->top_no < last_no)
        m->top_no = last_no;
    atomic_store(&m->floor_no, last_no);
    atomic_store(&m->sweep, directory.linked_count > 0);
    for (size_t i = 0; code == 0 && i < directory.linked_count; i++)
        if (directory.linked[i] > last_no)
            code = look_at(log, recovery, directory.linked[i], clean_no, error);
    for (size_t i = 0; code == 0 && i < directory.linked_count; i++)
        if (directory.linked[i] <= last_no)
            code = drop_second_name(log, directory.linked[i], error);
    directory_close(&directory);
    if (code == 0 && log->second_dir[0] != '\0')
        (void)second_sweep(log->dir, log->second_dir);
    return code;
}
