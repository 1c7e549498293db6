/* The filesystem under the directory, and how long durable writes take there. */
#include "iouring/file.h"
#include "iouring/measure.h"
#include "tools/log/doctor.h"
#include "tools/log/words.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define FILES_FREE_MIN 1000u
#define SLOW_NS 10000000u /* a disk that turns, or a network */
#define UNLIKELY_NS 5000u /* no disk makes a write durable so fast */
#define UNSTEADY 20u      /* p99 to p50 */

static bool is_one_of(const char *name, const char *const *names)
{
    for (; *names != NULL; names++)
        if (strcmp(name, *names) == 0)
            return true;
    return false;
}

static void see_kind(struct findings *findings, const char *dir, const struct device_mount *mount)
{
    static const char *const best[] = { "ext4", "xfs", NULL };
    static const char *const memory[] = { "tmpfs", "ramfs", NULL };
    static const char *const copying[] = { "btrfs", "zfs", "bcachefs", "overlay", NULL };
    static const char *const remote[] = { "nfs", "smb", "cifs", "9p", "ceph", "fuse", NULL };
    char name[32], where[600];
    if (file_system_name(dir, name, sizeof name) < 0)
        snprintf(name, sizeof name, "unknown");
    snprintf(where, sizeof where, "%s%s%s%s", mount->source[0] ? " of " : "", mount->source,
             mount->point[0] ? " at " : "", mount->point);
    findings_text(findings, "name", name);
    findings_text(findings, "source", mount->source[0] ? mount->source : NULL);
    findings_text(findings, "mounted_at", mount->point[0] ? mount->point : NULL);
    if (is_one_of(name, best))
        findings_add(findings, FINDING_OK, "file-system", NULL, "%s%s", name, where);
    else if (is_one_of(name, memory))
        findings_add(findings, FINDING_PROBLEM, "file-system", "choose a directory on a disk",
                     "%s%s loses everything with power: no log is opened here", name, where);
    else if (is_one_of(name, copying))
        findings_add(findings, FINDING_WARNING, "file-system",
                     "put the log on ext4 or xfs; of overlay, into a volume; of btrfs, at least "
                     "chattr +C an empty directory",
                     "%s%s writes each block to a new place: segments that are written ahead save "
                     "nothing, and durable writes cost several times as much",
                     name, where);
    else if (is_one_of(name, remote))
        findings_add(findings, FINDING_WARNING, "file-system",
                     "put the log on a disk of this machine",
                     "%s%s: whether a durable write is on a disk is up to whoever serves it, and "
                     "so are locks",
                     name, where);
    else
        findings_add(findings, FINDING_NOTE, "file-system",
                     "ext4 and xfs are those that the log is tested on", "%s%s", name, where);
}

struct option_meaning {
    const char *option;
    enum finding_level level;
    const char *meaning, *advice;
};

static void see_options(struct findings *findings, const struct device_mount *mount)
{
    static const struct option_meaning meanings[] = {
        { "nobarrier", FINDING_PROBLEM,
          "the disk's cache is never flushed: what was acknowledged "
          "is lost with power",
          "mount it without nobarrier" },
        { "barrier=0", FINDING_PROBLEM,
          "the disk's cache is never flushed: what was acknowledged "
          "is lost with power",
          "mount it without barrier=0" },
        { "ro", FINDING_PROBLEM, "nothing can be written here",
          "see dmesg: a file system turns read-only when its disk fails; then mount it rw" },
        { "data=journal", FINDING_WARNING, "each byte is written twice, and O_DIRECT is refused",
          "mount it with data=ordered" },
        { "sync", FINDING_WARNING, "each write waits for the disk, also those that need not",
          "mount it without sync: the log syncs what must be durable" },
        { "data=writeback", FINDING_NOTE, "files may show old bytes of the disk after a crash",
          "data=ordered is safer for what lies beside the log; the log itself is written ahead and "
          "checks all its bytes" },
        { "discard", FINDING_NOTE,
          "removing a segment makes the disk erase it at once, which may "
          "hold up writes",
          "mount it without discard and run fstrim now and then" },
    };
    bool fine = true;
    findings_text(findings, "options", mount->options);
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++) {
        const struct option_meaning *meaning = &meanings[i];
        if (!device_mount_has(mount, meaning->option))
            continue;
        fine = false;
        findings_add(findings, meaning->level, "mount-options", meaning->advice, "%s: %s",
                     meaning->option, meaning->meaning);
    }
    if (fine)
        findings_add(findings, FINDING_OK, "mount-options", NULL, "nothing that harms a log");
}

static void see_mode(struct findings *findings, const char *dir)
{
    struct stat status;
    if (stat(dir, &status) < 0)
        return;
    bool open = (status.st_mode & 077) != 0;
    findings_number(findings, "mode", status.st_mode & 07777);
    findings_add(findings, open ? FINDING_NOTE : FINDING_OK, "permissions",
                 open ? "chmod 700: its files are 0600, but their names and sizes show" : NULL,
                 "%s has mode %04o", dir, status.st_mode & 07777);
}

static void see_files(struct findings *findings, const char *dir)
{
    struct statvfs status;
    if (statvfs(dir, &status) < 0 || status.f_files == 0)
        return;
    findings_number(findings, "free", status.f_favail);
    bool few = status.f_favail < FILES_FREE_MIN;
    findings_add(findings, few ? FINDING_WARNING : FINDING_OK, "inodes",
                 few ? "remove files, or make the file system anew with more inodes" : NULL,
                 "%llu more files can be made here", (unsigned long long)status.f_favail);
}

void doctor_filesystem(struct findings *findings, const char *dir)
{
    struct device_mount mount = { .options = "" };
    int code = device_mount_of(&mount, dir);
    see_kind(findings, dir, &mount);
    if (code == 0)
        see_options(findings, &mount);
    see_mode(findings, dir);
    see_files(findings, dir);
}

/*--- Durable writes ----------------------------------------------------------------------------*/

static void see_way(struct findings *findings, const char *check, const char *what,
                    const struct measure_times *times)
{
    char p50[WORDS_SIZE], p99[WORDS_SIZE];
    if (times->code < 0) {
        findings_add(findings, FINDING_NOTE, check, NULL, "%s: not measured: %s", what,
                     error_text(times->code));
        return;
    }
    enum finding_level level = FINDING_OK;
    const char *advice = NULL;
    if (times->p50_ns > SLOW_NS) {
        level = FINDING_WARNING;
        advice = "a log commits no faster than that: choose an SSD, best one whose cache is "
                 "protected against loss of power";
    } else if (times->p50_ns < UNLIKELY_NS) {
        level = FINDING_WARNING;
        advice = "no disk is that fast: find out who answers before the bytes are safe (a host's "
                 "cache, a controller without battery)";
    } else if (times->p99_ns / UNSTEADY > times->p50_ns) {
        level = FINDING_NOTE;
        advice = "something else may use the disk; try again when it is quiet";
    }
    findings_number(findings, "p50_ns", times->p50_ns);
    findings_number(findings, "p99_ns", times->p99_ns);
    findings_number(findings, "rounds", times->rounds);
    findings_add(findings, level, check, advice, "%s: half within %s, 99 %% within %s", what,
                 words_of_duration(p50, times->p50_ns), words_of_duration(p99, times->p99_ns));
}

void doctor_writes(struct findings *findings, const char *dir)
{
    struct measure measure;
    struct error error;
    if (measure_writes(dir, &measure, &error) < 0) {
        findings_add(findings, FINDING_NOTE, "durable-write", NULL, "%s", error.text);
        return;
    }
    const struct measure_times *dsync = &measure.of[MEASURE_DSYNC];
    const struct measure_times *fdatasync = &measure.of[MEASURE_FDATASYNC];
    see_way(findings, "dsync", "a write of 4096 bytes with RWF_DSYNC", dsync);
    see_way(findings, "fdatasync", "a write and fdatasync", fdatasync);
    see_way(findings, "linked", "a write and a sync linked to it in the ring",
            &measure.of[MEASURE_LINKED]);
    if (fdatasync->code < 0)
        return;
    bool faster = fdatasync->p50_ns * 115 < dsync->p50_ns * 100;
    findings_text(findings, "sync", faster ? "fdatasync" : "dsync");
    findings_add(findings, FINDING_OK, "choice", NULL, "a log that is opened here now would use %s",
                 faster ? "write and fdatasync, which is over 15 % faster" : "RWF_DSYNC");
}
