#include "log/view.h"

#include "core/base/check.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

void view_init(struct view *view)
{
    *view = (struct view){ .lock_fd = -1, .source = { .fd = -1 } };
}

int view_open(struct view *view, const struct directory *directory, size_t index,
              struct budget *budget, struct error *error)
{
    struct error what = { 0 };
    char name[LOG_SEGMENT_NAME_SIZE];
    view_close(view);
    view->source.budget = budget;
    int state = directory_segment(directory, index, &view->source, &view->header, &what);
    if (state == SEGMENT_BEGUN) {
        view->open = true;
        return 0;
    }
    view_close(view);
    segment_name(name, directory->segments[index]);
    return error_set(error, state < 0 ? state : ERROR_DAMAGED, "%s: %s", name,
                     state == SEGMENT_SPARE ? "it is all zero" : what.text);
}

void view_close(struct view *view)
{
    source_close(&view->source);
    if (view->map.bytes != NULL)
        map_close(&view->map);
    if (view->lock_fd >= 0)
        close(view->lock_fd);
    view_init(view);
}

static bool names_same_file(int fd, const char *path)
{
    struct stat by_fd, by_name;
    return fstat(fd, &by_fd) == 0 && stat(path, &by_name) == 0 && by_fd.st_ino == by_name.st_ino &&
           by_fd.st_dev == by_name.st_dev;
}

/* True when the file under the lock is still the segment that the view was opened on. */
static bool is_same_segment(const struct view *view, struct map *map)
{
    struct segment_header header;
    struct span block;
    return map_slice(map, 0, LOG_BLOCK_SIZE, &block) == 0 &&
           segment_header_decode(block.bytes, &header, NULL) == 0 &&
           header.salt == view->header.salt && header.segment_no == view->header.segment_no;
}

/* Maps the file under LOCK_SH; where that does not work the window does. */
static void map_file(struct view *view, const struct directory *directory)
{
    char path[PATH_MAX + LOG_SEGMENT_NAME_SIZE], name[LOG_SEGMENT_NAME_SIZE];
    struct error ignored;
    struct map map;
    segment_name(name, view->header.segment_no);
    snprintf(path, sizeof path, "%s/%s", directory->path, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (flock(fd, LOCK_SH | LOCK_NB) < 0 || !names_same_file(fd, path) ||
        map_open(&map, fd, name, &ignored) < 0) {
        close(fd);
        return;
    }
    if (!is_same_segment(view, &map)) {
        map_close(&map);
        close(fd);
        return;
    }
    struct budget *budget = view->source.budget;
    source_close(&view->source);
    view->lock_fd = fd;
    view->map = map;
    source_of_map(&view->source, &view->map);
    view->source.budget = budget;
}

int view_set_end(struct view *view, const struct directory *directory,
                 const struct segment_header *next, struct error *error)
{
    CHECK(view->open);
    if (view->source.image != NULL) {
        int code = view_use_file(view, directory, error);
        if (code < 0)
            return code;
    }
    view->closed = true;
    /* Only checksums vouch for `next`, and a forged one has them: nothing is looked for behind the
     * segment. */
    view->end_offset = next->prev_end_offset < view->header.capacity ? next->prev_end_offset
                                                                     : view->header.capacity;
    view->last_seq = next->prev_last_seq;
    view->next_segment_no = next->segment_no;
    if (view->lock_fd < 0)
        map_file(view, directory);
    return 0;
}

void view_use_image(struct view *view, const struct image *image, uint64_t generation)
{
    struct budget *budget = view->source.budget;
    source_close(&view->source);
    source_of_image(&view->source, image, generation, budget);
}

int view_use_file(struct view *view, const struct directory *directory, struct error *error)
{
    char name[LOG_SEGMENT_NAME_SIZE];
    struct budget *budget = view->source.budget;
    segment_name(name, view->header.segment_no);
    source_close(&view->source);
    int code = source_open(&view->source, directory->path, name, budget, error);
    view->source.sequential = true;
    return code;
}
