#include "tools/agent/scrub_file.h"

#include "core/base/text.h"
#include "iouring/file.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEAD "daa scrub 1"
#define FILE_SIZE_MAX (16u << 10)

int scrub_file_write(const char *data_dir, const struct scrub_report *report, struct error *error)
{
    struct text text;
    text_init(&text);
    text_printf(&text, HEAD "\nended %" PRIu64 "\nsegment %" PRIu64 "\ndamages %" PRIu64 "\n",
                report->ended_ns, report->under_way ? report->segment_no : 0, report->damage_count);
    for (unsigned i = 0; i < report->damage_count && i < SCRUB_DAMAGES_MAX; i++) {
        const struct scrub_damage *damage = &report->damages[i];
        text_printf(&text, "damage %s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %s\n",
                    damage->file, damage->offset, damage->size, damage->first_seq, damage->last_seq,
                    damage->sentence);
    }
    int status = text.failed;
    if (status == 0)
        status = file_replace(data_dir, SCRUB_FILE_NAME, text.bytes, text.size, error);
    else
        error_set(error, status, "no memory to write %s/" SCRUB_FILE_NAME, data_dir);
    text_free(&text);
    return status;
}

static bool take_line(struct scrub_report *report, const char *line)
{
    struct scrub_damage damage;
    int at = 0;
    if (sscanf(line, "ended %" SCNu64, &report->ended_ns) == 1 ||
        sscanf(line, "segment %" SCNu64, &report->segment_no) == 1 ||
        sscanf(line, "damages %" SCNu64, &report->damage_count) == 1)
        return true;
    if (sscanf(line, "damage %31s %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %n", damage.file,
               &damage.offset, &damage.size, &damage.first_seq, &damage.last_seq, &at) < 5)
        return false;
    (void)snprintf(damage.sentence, sizeof damage.sentence, "%s", line + at);
    for (unsigned i = 0; i < SCRUB_DAMAGES_MAX; i++)
        if (report->damages[i].file[0] == '\0') {
            report->damages[i] = damage;
            break;
        }
    return true;
}

static bool take_lines(struct scrub_report *report, char *bytes)
{
    char *rest, *line = strtok_r(bytes, "\n", &rest);
    if (line == NULL || strcmp(line, HEAD) != 0)
        return false;
    while ((line = strtok_r(NULL, "\n", &rest)) != NULL)
        if (!take_line(report, line))
            return false;
    return true;
}

bool scrub_file_read(const char *data_dir, struct scrub_report *report)
{
    char path[PATH_MAX];
    struct scrub_report *found = calloc(1, sizeof *found);
    char *bytes = malloc(FILE_SIZE_MAX);
    int64_t size = -1;
    (void)snprintf(path, sizeof path, "%s/" SCRUB_FILE_NAME, data_dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && bytes != NULL)
        size = file_read_at(fd, bytes, FILE_SIZE_MAX - 1, 0);
    bool good = size > 0 && found != NULL;
    if (good) {
        bytes[size] = '\0';
        good = take_lines(found, bytes);
    }
    if (good)
        *report = *found;
    if (fd >= 0)
        close(fd);
    free(bytes);
    free(found);
    return good;
}
