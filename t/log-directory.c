/* The names in a log's directory, also as a filesystem lists them that begins again. */
#include "log/directory.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "scratch.h"
#include "tap.h"

#define SEGMENTS 5

/* As tmpfs does when its next entry was removed: at the end the listing begins again, once. */
static bool begins_again;
struct dirent *readdir(DIR *dir)
{
    struct dirent *(*list)(DIR *);
    void *symbol = dlsym(RTLD_NEXT, "readdir");
    memcpy(&list, &symbol, sizeof list);
    struct dirent *entry = list(dir);
    if (entry == NULL && begins_again) {
        begins_again = false;
        rewinddir(dir);
        entry = list(dir);
    }
    return entry;
}

static void make_files(const char *dir)
{
    for (unsigned i = 1; i <= SEGMENTS; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/seg-%010u.log", dir, i * 3);
        int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        if (fd < 0)
            tap_bail_out("cannot make %s", path);
        close(fd);
    }
}

static void test_names(const char *dir, const char *how)
{
    struct directory directory;
    struct error error;
    if (directory_open(&directory, dir, &error) < 0)
        tap_bail_out("%s", error.text);
    is_int(directory.count, SEGMENTS, "each segment is there once, listed %s", how);
    bool ascending = true;
    for (size_t i = 0; i < directory.count; i++)
        ascending &= directory.segments[i] == 3 * (i + 1);
    ok(ascending, "in order");
    is_int(directory_find(&directory, 9), 2, "and found");
    directory_close(&directory);
}

int main(void)
{
    make_files(scratch_dir());
    test_names(scratch_dir(), "once");
    begins_again = true;
    test_names(scratch_dir(), "twice");
    ok(!begins_again, "it was listed twice");
    return tap_done();
}
