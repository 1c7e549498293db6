#include "iouring/device.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* statx(2) as of Linux 6.1 and 6.11: the headers here may know less than the kernel does. */
enum {
    WANT_MOUNT_ID = 0x1000,
    WANT_DIRECT = 0x2000,
    WANT_ATOMIC = 0x10000,
    AT_MOUNT_ID = 0x90,
    AT_DIRECT_MEMORY = 0x98,
    AT_DIRECT_OFFSET = 0x9c,
    AT_ATOMIC_MIN = 0xa8,
    AT_ATOMIC_MAX = 0xac,
};

static int64_t u32_at(const struct statx *status, size_t offset)
{
    uint32_t value;
    memcpy(&value, (const char *)status + offset, sizeof value);
    return value;
}

static void take_statx(struct device *device, const struct statx *status)
{
    device->direct_memory = device->direct_offset = -1;
    device->atomic_min = device->atomic_max = -1;
    if (status->stx_mask & WANT_DIRECT) {
        device->direct_memory = u32_at(status, AT_DIRECT_MEMORY);
        device->direct_offset = u32_at(status, AT_DIRECT_OFFSET);
    }
    if (status->stx_mask & WANT_ATOMIC) {
        device->atomic_min = u32_at(status, AT_ATOMIC_MIN);
        device->atomic_max = u32_at(status, AT_ATOMIC_MAX);
    }
}

/*--- /sys --------------------------------------------------------------------------------------*/

static void read_text(char text[DEVICE_TEXT_SIZE], const char *path)
{
    ssize_t size = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        size = read(fd, text, DEVICE_TEXT_SIZE - 1);
        close(fd);
    }
    text[size > 0 ? (size_t)size : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
}

static int64_t number_of(const char *text)
{
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    return *text == '\0' || *end != '\0' || errno != 0 ? -1 : number;
}

static int64_t read_number(const char *format, const char *dir, const char *name)
{
    char path[PATH_MAX], text[DEVICE_TEXT_SIZE];
    (void)snprintf(path, sizeof path, "%s%s%s", dir, format, name);
    read_text(text, path);
    return number_of(text);
}

/* "none [mq-deadline] kyber": the one in brackets. */
static void keep_chosen(char text[DEVICE_TEXT_SIZE])
{
    char *open = strchr(text, '['), *close = open != NULL ? strchr(open, ']') : NULL;
    if (close == NULL)
        return;
    *close = '\0';
    memmove(text, open + 1, (size_t)(close - open));
}

/* A partition has the queue of its disk. */
static void read_queue(struct device *device, const char *dir)
{
    char path[PATH_MAX + 32];
    struct stat status;
    (void)snprintf(path, sizeof path, "%s/queue", dir);
    const char *queue = stat(path, &status) == 0 ? "/queue/" : "/../queue/";
    device->rotational = read_number(queue, dir, "rotational");
    device->fua = read_number(queue, dir, "fua");
    device->write_zeroes_max = read_number(queue, dir, "write_zeroes_max_bytes");
    device->logical_block = read_number(queue, dir, "logical_block_size");
    device->physical_block = read_number(queue, dir, "physical_block_size");
    (void)snprintf(path, sizeof path, "%s%swrite_cache", dir, queue);
    read_text(device->write_cache, path);
    (void)snprintf(path, sizeof path, "%s%sscheduler", dir, queue);
    read_text(device->scheduler, path);
    keep_chosen(device->scheduler);
}

static void read_sys(struct device *device)
{
    char link[64], dir[PATH_MAX];
    (void)snprintf(link, sizeof link, "/sys/dev/block/%u:%u", device->major, device->minor);
    device->found = realpath(link, dir) != NULL;
    device->size = device->read_only = -1;
    if (!device->found) {
        device->rotational = device->fua = device->write_zeroes_max = -1;
        device->logical_block = device->physical_block = -1;
        return;
    }
    (void)snprintf(device->name, sizeof device->name, "%s", strrchr(dir, '/') + 1);
    device->size = read_number("/", dir, "size");
    if (device->size >= 0)
        device->size *= 512;
    device->read_only = read_number("/", dir, "ro");
    read_queue(device, dir);
}

int device_of_path(struct device *device, const char *path, struct error *error)
{
    struct statx status;
    *device = (struct device){ .found = false };
    if (statx(AT_FDCWD, path, 0, STATX_BASIC_STATS | WANT_DIRECT | WANT_ATOMIC, &status) < 0)
        return error_set(error, -errno, "%s: %s", path, error_text(-errno));
    if (!S_ISBLK(status.stx_mode))
        return error_set(error, ERROR_INVALID, "%s is not a block device", path);
    device->major = status.stx_rdev_major;
    device->minor = status.stx_rdev_minor;
    take_statx(device, &status);
    read_sys(device);
    return 0;
}

int device_of_file(struct device *device, int fd)
{
    struct statx status;
    *device = (struct device){ .found = false };
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | WANT_DIRECT | WANT_ATOMIC, &status) < 0)
        return -errno;
    device->major = status.stx_dev_major;
    device->minor = status.stx_dev_minor;
    take_statx(device, &status);
    read_sys(device);
    return 0;
}

/*--- Mounts ------------------------------------------------------------------------------------*/

/* "\040" is a blank: proc_pid_mountinfo(5). */
static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; to++) {
        bool octal = from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
                     from[2] <= '7' && from[3] >= '0' && from[3] <= '7';
        int value = from[0];
        if (octal)
            value = (from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0');
        *to = (char)value;
        from += octal ? 4 : 1;
    }
    *to = '\0';
}

/* "36 35 254:0 / /mnt rw,noatime shared:1 - ext4 /dev/vda rw,errors=continue" */
static bool take_mount(struct device_mount *mount, char *line, uint64_t id)
{
    char own[256], filesystem[256];
    int rest = 0;
    if (strtoull(line, NULL, 10) != id ||
        sscanf(line, "%*s %*s %*s %*s %255s %255s%n", mount->point, own, &rest) < 2)
        return false;
    const char *behind = strstr(line + rest, " - ");
    if (behind == NULL || sscanf(behind, " - %*s %255s %255s", mount->source, filesystem) < 2)
        return false;
    unescape(mount->point);
    unescape(mount->source);
    (void)snprintf(mount->options, sizeof mount->options, ",%s,%s,", own, filesystem);
    return true;
}

int device_mount_of(struct device_mount *mount, const char *path)
{
    struct statx status;
    uint64_t id;
    char line[4096];
    bool found = false;
    if (statx(AT_FDCWD, path, 0, WANT_MOUNT_ID, &status) < 0)
        return -errno;
    if ((status.stx_mask & WANT_MOUNT_ID) == 0)
        return ERROR_NOT_FOUND;
    memcpy(&id, (const char *)&status + AT_MOUNT_ID, sizeof id);
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    if (mounts == NULL)
        return -errno;
    while (!found && fgets(line, sizeof line, mounts) != NULL)
        found = take_mount(mount, line, id);
    (void)fclose(mounts);
    return found ? 0 : ERROR_NOT_FOUND;
}

bool device_mount_has(const struct device_mount *mount, const char *option)
{
    char wanted[64];
    (void)snprintf(wanted, sizeof wanted, ",%s,", option);
    return strstr(mount->options, wanted) != NULL;
}
