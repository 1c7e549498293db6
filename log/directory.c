#include "log/directory.h"

#include "core/base/bytes.h"
#include "log/sealed.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { READS_MAX = 3 }; /* of CHECKPOINT */
enum { LOOKS_MAX = 3 }; /* at the list of locks, for one that is not there */
/* How far behind a segment that was passed over the one can be that went on: there are no more
 * spares. */
enum { PASSED_OVER_MAX = 128 };

static int compare_numbers(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

struct numbers {
    uint64_t *items;
    size_t count, capacity;
};

static int add_number(struct numbers *numbers, uint64_t segment_no)
{
    if (numbers->count == numbers->capacity) {
        size_t more = numbers->capacity == 0 ? 64 : numbers->capacity * 2;
        uint64_t *grown = realloc(numbers->items, more * sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        numbers->items = grown;
        numbers->capacity = more;
    }
    numbers->items[numbers->count++] = segment_no;
    return 0;
}

/* A segment that is being sealed has two names. And some filesystems (tmpfs of Linux 6.18) list a
 * directory from its beginning again when what was to come next is removed meanwhile, as retention
 * does. */
static void order(struct numbers *numbers)
{
    size_t kept = 0;
    if (numbers->count > 1)
        qsort(numbers->items, numbers->count, sizeof *numbers->items, compare_numbers);
    for (size_t i = 0; i < numbers->count; i++)
        if (kept == 0 || numbers->items[i] != numbers->items[kept - 1])
            numbers->items[kept++] = numbers->items[i];
    numbers->count = kept;
}

static bool is_link(DIR *dir, const struct dirent *entry)
{
    struct stat status;
    if (entry->d_type != DT_UNKNOWN)
        return entry->d_type == DT_LNK;
    return fstatat(dirfd(dir), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISLNK(status.st_mode);
}

static int add_entry(DIR *dir, const struct dirent *entry, struct numbers *all,
                     struct numbers *linked)
{
    uint64_t segment_no;
    bool raw = segment_no_of_name(entry->d_name, &segment_no);
    if (!raw && !sealed_no_of_name(entry->d_name, &segment_no))
        return 0;
    int code = add_number(all, segment_no);
    return code == 0 && raw && is_link(dir, entry) ? add_number(linked, segment_no) : code;
}

/* Reads the names into an empty directory. */
static int read_names(struct directory *directory)
{
    struct numbers all = { .count = 0 }, linked = { .count = 0 };
    DIR *dir = opendir(directory->path);
    if (dir == NULL)
        return -errno;
    int code = 0;
    while (code == 0) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            code = -errno;
            break;
        }
        code = add_entry(dir, entry, &all, &linked);
    }
    closedir(dir);
    order(&all);
    order(&linked);
    directory->segments = all.items;
    directory->count = all.count;
    directory->linked = linked.items;
    directory->linked_count = linked.count;
    directory->first_seqs = calloc(directory->count + 1, sizeof *directory->first_seqs);
    return code == 0 && directory->first_seqs == NULL ? -ENOMEM : code;
}

/* A segment that was begun never begins with another event. */
static void keep_first_seqs(struct directory *directory, const struct directory *before)
{
    for (size_t i = 0, j = 0; i < directory->count && j < before->count;) {
        if (directory->segments[i] == before->segments[j])
            directory->first_seqs[i] = before->first_seqs[j];
        if (directory->segments[i] <= before->segments[j])
            i++;
        else
            j++;
    }
}

int directory_refresh(struct directory *directory, struct error *error)
{
    struct directory before = *directory;
    directory->segments = directory->first_seqs = directory->linked = NULL;
    directory->count = directory->linked_count = 0;
    int code = read_names(directory);
    if (code == 0)
        keep_first_seqs(directory, &before);
    else
        directory_close(directory);
    directory_close(&before);
    if (code < 0)
        return error_set(error, code, "log directory %s: %s", directory->path, error_text(code));
    return 0;
}

int directory_open(struct directory *directory, const char *path, struct error *error)
{
    *directory = (struct directory){ .count = 0 };
    struct error ignored;
    int length = snprintf(directory->path, sizeof directory->path, "%s/log", path);
    if (length >= (int)sizeof directory->path)
        return error_set(error, -ENAMETOOLONG, "log directory %s: the path is too long", path);
    /* A data directory holds the log as "log"; a log directory holds no such thing. */
    if (directory_refresh(directory, &ignored) == 0)
        return 0;
    directory->path[length - 4] = '\0';
    return directory_refresh(directory, error);
}

void directory_close(struct directory *directory)
{
    free(directory->segments);
    free(directory->first_seqs);
    free(directory->linked);
    directory->segments = directory->first_seqs = directory->linked = NULL;
    directory->count = directory->linked_count = 0;
}

/* Index of the first that is not below. */
static size_t find_from(const uint64_t *numbers, size_t count, uint64_t segment_no)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (numbers[middle] < segment_no)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

ptrdiff_t directory_find(const struct directory *directory, uint64_t segment_no)
{
    size_t at = find_from(directory->segments, directory->count, segment_no);
    bool found = at < directory->count && directory->segments[at] == segment_no;
    return found ? (ptrdiff_t)at : -1;
}

bool directory_is_linked(const struct directory *directory, size_t index)
{
    uint64_t segment_no = directory->segments[index];
    size_t at = find_from(directory->linked, directory->linked_count, segment_no);
    return at < directory->linked_count && directory->linked[at] == segment_no;
}

static bool is_there(const struct directory *directory, const char *name, const char *suffix)
{
    char path[PATH_MAX + LOG_SEGMENT_NAME_SIZE + 8];
    struct stat ignored;
    snprintf(path, sizeof path, "%s/%s%s", directory->path, name, suffix);
    return lstat(path, &ignored) == 0;
}

int directory_gap(const struct directory *directory, uint64_t segment_no, uint64_t *missing)
{
    char name[LOG_SEGMENT_NAME_SIZE];
    size_t next = 0;
    while (next < directory->count && directory->segments[next] <= segment_no)
        next++;
    if (next == directory->count)
        return 0;
    for (segment_no++; segment_no < directory->segments[next]; segment_no++) {
        segment_name(name, segment_no);
        if (is_there(directory, name, ""))
            return -ENOENT;
        *missing = segment_no;
        if (!is_there(directory, name, ".tmp"))
            return 1;
    }
    return 0;
}

/* The header says which segment of which capacity it is; the name must agree. */
static int check_header(uint64_t segment_no, const struct segment_header *header,
                        struct error *what)
{
    if (header->segment_no != segment_no) {
        error_set(what, ERROR_DAMAGED, "its header says that it is segment %llu",
                  (unsigned long long)header->segment_no);
        return SEGMENT_DAMAGED;
    }
    return SEGMENT_BEGUN;
}

/* The header of segment `index`; false when it has none that is whole. */
static bool read_header(const struct directory *directory, size_t index,
                        struct segment_header *header)
{
    char name[LOG_SEGMENT_NAME_SIZE];
    struct source source;
    const uint8_t *bytes;
    segment_name(name, directory->segments[index]);
    int code = source_open(&source, directory->path, name, NULL, NULL);
    if (code == 0)
        code = source_bytes(&source, 0, LOG_BLOCK_SIZE, &bytes);
    if (code == 0)
        code = segment_header_decode(bytes, header, NULL);
    source_close(&source);
    return code == 0 && header->segment_no == directory->segments[index];
}

/* The next segment behind `index` that was begun. */
static bool next_begun(const struct directory *directory, size_t index,
                       struct segment_header *header)
{
    for (size_t i = index + 1; i < directory->count; i++)
        if (read_header(directory, i, header))
            return true;
    return false;
}

bool directory_is_passed_over(const struct directory *directory, size_t index)
{
    struct segment_header later;
    return next_begun(directory, index, &later) &&
           later.prev_segment_no < directory->segments[index];
}

/* Though it has a header. It takes a second directory, and that segment or one behind it in there.
 */
static bool header_is_passed_over(const struct directory *directory, size_t index,
                                  const struct segment_header *header)
{
    struct segment_header later;
    uint64_t segment_no = header->segment_no;
    size_t at = find_from(directory->linked, directory->linked_count, segment_no);
    if (at == directory->linked_count || directory->linked[at] - segment_no > PASSED_OVER_MAX)
        return false;
    return next_begun(directory, index, &later) && later.prev_segment_no < segment_no &&
           later.epoch > header->epoch && later.first_seq <= header->first_seq;
}

int directory_segment(const struct directory *directory, size_t index, struct source *source,
                      struct segment_header *header, struct error *what)
{
    char name[LOG_SEGMENT_NAME_SIZE];
    const uint8_t *bytes;
    segment_name(name, directory->segments[index]);
    int code = source_reopen(source, directory->path, name, what);
    if (code == ERROR_DAMAGED) /* of a sealed form */
        return SEGMENT_DAMAGED;
    if (code < 0)
        return code;
    code = source_bytes(source, 0, LOG_BLOCK_SIZE, &bytes);
    if (code == ERROR_TRUNCATED) {
        error_set(what, code, "it is %llu bytes long, shorter than a header",
                  (unsigned long long)source->size);
        return SEGMENT_SHORT;
    }
    if (code < 0)
        return error_set(what, code, "%s: header: %s", name, error_text(code));
    code = segment_header_decode(bytes, header, what);
    if (code == ERROR_NEWER)
        return error_wrap(what, code, "%s", name);
    if (code < 0)
        return SEGMENT_DAMAGED;
    if (code == 0) {
        int state = check_header(directory->segments[index], header, what);
        if (state == SEGMENT_BEGUN && header_is_passed_over(directory, index, header))
            return SEGMENT_SPARE;
        directory->first_seqs[index] = state == SEGMENT_BEGUN ? header->first_seq : 0;
        return state;
    }
    code = source_bytes(source, LOG_BLOCK_SIZE, LOG_BLOCK_SIZE, &bytes);
    if (code == ERROR_TRUNCATED) {
        error_set(what, code, "it is %llu bytes long, shorter than a header and a block",
                  (unsigned long long)source->size);
        return SEGMENT_SHORT;
    }
    if (code < 0)
        return error_set(what, code, "%s: first frame: %s", name, error_text(code));
    if (bytes_are_zero(bytes, LOG_BLOCK_SIZE))
        return SEGMENT_SPARE;
    error_set(what, ERROR_DAMAGED, "its header is zero, but what lies behind it is not");
    return SEGMENT_LOST;
}

/* Both slots as they are now. 1 found, 0 none. */
static int read_slots(struct source *source, struct checkpoint *checkpoint, unsigned *damaged)
{
    int found = 0;
    *damaged = 0;
    source_forget(source);
    for (unsigned slot = 0; slot < 2; slot++) {
        struct checkpoint one;
        const uint8_t *block;
        int code = source_bytes(source, slot * LOG_BLOCK_SIZE, LOG_BLOCK_SIZE, &block);
        if (code == 0)
            code = checkpoint_decode(block, &one);
        if (code < 0)
            ++*damaged;
        if (code != 0 || (found && one.generation <= checkpoint->generation))
            continue;
        *checkpoint = one;
        found = 1;
    }
    return found;
}

int directory_checkpoint(const struct directory *directory, struct source *source,
                         struct checkpoint *checkpoint, unsigned *damaged)
{
    *damaged = 0;
    int code = source_reopen(source, directory->path, LOG_CHECKPOINT_NAME, NULL);
    if (code < 0)
        return code == -ENOENT ? 0 : code;
    /* A slot that is being written may be read by half: look again before calling it damaged. */
    int found = 0;
    for (int i = 0; i < READS_MAX && (i == 0 || *damaged > 0); i++)
        found = read_slots(source, checkpoint, damaged);
    return found;
}

static pid_t find_writer(const struct stat *lock)
{
    char line[256];
    FILE *locks = fopen("/proc/locks", "re");
    if (locks == NULL)
        return 0;
    pid_t found = 0;
    while (found == 0 && fgets(line, sizeof line, locks) != NULL) {
        int pid;
        unsigned device_major, device_minor;
        unsigned long inode;
        if (sscanf(line, "%*d: FLOCK ADVISORY WRITE %d %x:%x:%lu", &pid, &device_major,
                   &device_minor, &inode) == 4 &&
            inode == lock->st_ino && device_major == major(lock->st_dev) &&
            device_minor == minor(lock->st_dev))
            found = pid;
    }
    fclose(locks);
    return found;
}

pid_t directory_writer(const struct directory *directory)
{
    char path[PATH_MAX + sizeof LOG_LOCK_NAME + 1];
    struct stat status;
    pid_t found = 0;
    snprintf(path, sizeof path, "%s/%s", directory->path, LOG_LOCK_NAME);
    if (stat(path, &status) < 0)
        return 0;
    /* The kernel gives the list in pages and counts on in it: while locks come and go, one that
     * stays may be left out. Once missed is not missed twice. */
    for (int i = 0; found == 0 && i < LOOKS_MAX; i++)
        found = find_writer(&status);
    return found;
}
