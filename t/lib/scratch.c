#include "scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tap.h"

static char directory[PATH_MAX];

void scratch_remove(const char *path)
{
    struct stat status;
    if (lstat(path, &status) < 0)
        return;
    if (S_ISDIR(status.st_mode)) {
        DIR *dir = opendir(path);
        for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
            char inner[PATH_MAX];
            if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                continue;
            snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
            scratch_remove(inner);
        }
        if (dir != NULL)
            closedir(dir);
    }
    if (remove(path) < 0)
        tap_note("cannot remove %s: %s", path, strerror(errno));
}

static void remove_all(void)
{
    scratch_remove(directory);
}

const char *scratch_dir(void)
{
    if (directory[0] != '\0')
        return directory;
    const char *parent = getenv("TEST_SCRATCH");
    snprintf(directory, sizeof directory, "%s/c-XXXXXX", parent != NULL ? parent : "/var/tmp");
    if (mkdtemp(directory) == NULL)
        tap_bail_out("cannot make a scratch directory %s: %s", directory, strerror(errno));
    atexit(remove_all);
    return directory;
}

const char *scratch_path(const char *name)
{
    static char paths[8][PATH_MAX];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    if (snprintf(path, PATH_MAX, "%s/%s", scratch_dir(), name) >= PATH_MAX)
        tap_bail_out("scratch path too long: %s", name);
    return path;
}

static char memory_directory[PATH_MAX];

static void remove_memory(void)
{
    scratch_remove(memory_directory);
}

const char *scratch_memory_dir(void)
{
    if (memory_directory[0] != '\0')
        return memory_directory;
    snprintf(memory_directory, sizeof memory_directory, "/dev/shm/daa-test-XXXXXX");
    if (mkdtemp(memory_directory) != NULL) {
        atexit(remove_memory);
        return memory_directory;
    }
    snprintf(memory_directory, sizeof memory_directory, "%s", scratch_path("memory"));
    if (mkdir(memory_directory, 0700) < 0)
        tap_bail_out("cannot make %s: %s", memory_directory, strerror(errno));
    return memory_directory;
}

unsigned char *scratch_read(const char *path, unsigned long *size)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        tap_bail_out("cannot read %s: %s", path, strerror(errno));
    fseek(file, 0, SEEK_END);
    *size = (unsigned long)ftell(file);
    rewind(file);
    unsigned char *bytes = malloc(*size + 1);
    if (bytes == NULL || fread(bytes, 1, *size, file) != *size)
        tap_bail_out("cannot read %s", path);
    fclose(file);
    bytes[*size] = 0;
    return bytes;
}

void scratch_copy(const char *from, const char *to)
{
    DIR *dir = opendir(from);
    if (dir == NULL || mkdir(to, 0700) < 0)
        tap_bail_out("cannot copy %s to %s: %s", from, to, strerror(errno));
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char source[PATH_MAX], target[PATH_MAX];
        struct stat status;
        unsigned long size;
        snprintf(source, sizeof source, "%s/%s", from, entry->d_name);
        snprintf(target, sizeof target, "%s/%s", to, entry->d_name);
        if (stat(source, &status) < 0 || !S_ISREG(status.st_mode))
            continue;
        unsigned char *bytes = scratch_read(source, &size);
        int fd = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
            tap_bail_out("cannot write %s: %s", target, strerror(errno));
        close(fd);
        free(bytes);
    }
    closedir(dir);
}

unsigned scratch_count(const char *path)
{
    unsigned count = 0;
    struct dirent *entry;
    DIR *names = opendir(path);
    while (names != NULL && (entry = readdir(names)) != NULL)
        count += entry->d_name[0] != '.';
    if (names != NULL)
        closedir(names);
    return count;
}
