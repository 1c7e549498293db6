/* daa-log doctor: whether a log is well off on this machine, this disk and this directory. */
#include "tools/log/doctor.h"

#include "iouring/file.h"
#include "tools/log/log.h"

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

struct doctor {
    const struct command *command;
    bool json, no_writes;
};

static int see_device(const struct doctor *doctor, const char *path)
{
    struct findings findings;
    struct device device;
    struct error error;
    if (device_of_path(&device, path, &error) < 0)
        return command_failed_error(doctor->command, &error);
    findings_begin(&findings, doctor->json);
    doctor_device(&findings, &device);
    doctor_direct(&findings, &device);
    return findings_end(&findings) ? COMMAND_FAILED : COMMAND_GOOD;
}

/* What the filesystem makes of the device shows only on a file. */
static void see_device_of(struct findings *findings, const char *dir)
{
    struct device device;
    int fd = file_open_nameless(dir);
    int code = fd < 0 ? fd : device_of_file(&device, fd);
    if (fd >= 0)
        close(fd);
    if (code == 0) {
        doctor_device(findings, &device);
        doctor_direct(findings, &device);
        return;
    }
    findings_add(findings, code == -ENOSPC || code == -EROFS ? FINDING_PROBLEM : FINDING_WARNING,
                 "directory",
                 "run it as the user that runs the agent, and see to it that that one "
                 "can write here",
                 "no file can be made in %s: %s", dir, error_text(code));
}

static int see_directory(const struct doctor *doctor, const char *path)
{
    char inner[PATH_MAX];
    struct findings findings;
    struct stat status;
    /* A data directory: the log lies in it, perhaps mounted from elsewhere. */
    if (snprintf(inner, sizeof inner, "%s/log", path) >= (int)sizeof inner)
        return command_failed(doctor->command, "%s: the path is too long", path);
    const char *dir = stat(inner, &status) == 0 && S_ISDIR(status.st_mode) ? inner : path;
    findings_begin(&findings, doctor->json);
    doctor_machine(&findings);
    doctor_filesystem(&findings, dir);
    see_device_of(&findings, dir);
    if (!doctor->no_writes)
        doctor_writes(&findings, dir);
    doctor_log(&findings, dir);
    return findings_end(&findings) ? COMMAND_FAILED : COMMAND_GOOD;
}

int log_doctor(int argc, char **argv)
{
    struct doctor doctor = { .json = false };
    const struct command_option options[] = {
        { "json", 'j', NULL, COMMAND_FLAG, &doctor.json,
          "print findings and how many there are as JSON, one object a line" },
        { "no-writes", 0, NULL, COMMAND_FLAG, &doctor.no_writes,
          "do not measure how long durable writes take" },
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-log doctor",
        .purpose =
            "Say whether a log is well off here: the machine, the file system, the disk, how long\n"
            "durable writes take, and what the log in DIR has ready; and what to do about it.\n"
            "DIR may also be a directory in which a log is to be. Of a block DEVICE, only what "
            "the\n"
            "kernel says of it, without a write.",
        .arguments = "DIR|DEVICE",
        .arguments_min = 1,
        .arguments_max = 1,
        .options = options,
        .shared = log_options,
        .notes = "Writes are measured on a file without a name in DIR, for a few seconds.\n"
                 "Exit status: 1 when there is a problem; notes and warnings are none.",
    };
    struct stat what;
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    doctor.command = &command;
    if (stat(argv[first], &what) < 0)
        return command_failed(&command, "%s: %s", argv[first], error_text(-errno));
    if (!S_ISDIR(what.st_mode) && !S_ISBLK(what.st_mode))
        return command_misused(&command, "%s is neither a directory nor a block device",
                               argv[first]);
    return S_ISBLK(what.st_mode) ? see_device(&doctor, argv[first])
                                 : see_directory(&doctor, argv[first]);
}
