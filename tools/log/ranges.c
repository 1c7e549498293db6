#include "tools/log/ranges.h"

#include "log/storage.h"

#include <stdlib.h>
#include <string.h>

static unsigned long long big(uint64_t number)
{
    return number;
}

bool ranges_begin(struct ranges *ranges, bool json)
{
    *ranges = (struct ranges){ .json = json };
    ranges->findings = malloc(RANGES_FINDINGS_MAX * sizeof *ranges->findings);
    text_init(&ranges->line);
    return ranges->findings != NULL;
}

void ranges_end(struct ranges *ranges)
{
    free(ranges->findings);
    text_free(&ranges->line);
}

void ranges_note(struct ranges *ranges, const struct log_finding *finding)
{
    if (finding->size > 0 && ranges->count < RANGES_FINDINGS_MAX)
        ranges->findings[ranges->count++] = *finding;
}

static enum command_style style_of(const char *verdict)
{
    if (strcmp(verdict, "damaged") == 0)
        return COMMAND_RED;
    bool good = strcmp(verdict, "sound") == 0;
    return good ? COMMAND_GREEN : strcmp(verdict, "unused") == 0 ? COMMAND_DIM : COMMAND_YELLOW;
}

/* `finding` is NULL for a range in which nothing was found. */
static void print_range(struct ranges *ranges, const char *file, uint64_t offset, uint64_t end,
                        const char *verdict, const char *what, const struct log_finding *finding)
{
    struct text *line = &ranges->line;
    bool witnessed = finding != NULL && finding->witness[0] != '\0';
    if (!ranges->json) {
        printf("  %s 0x%08llx to 0x%08llx  %s%-8s%s  %s", file, big(offset), big(end),
               command_style(stdout, style_of(verdict)), verdict,
               command_style(stdout, COMMAND_PLAIN), what);
        if (witnessed)
            printf(" (up to event %llu it was durable: %s says so)", big(finding->witness_seq),
                   finding->witness);
        putchar('\n');
        return;
    }
    text_clear(line);
    text_json_open_object(line, NULL);
    text_json_cstring(line, "range", file);
    text_json_unsigned(line, "offset", offset);
    text_json_unsigned(line, "size", end - offset);
    text_json_cstring(line, "verdict", verdict);
    text_json_cstring(line, "what", what);
    text_json_cstring(line, "witness", witnessed ? finding->witness : NULL);
    if (witnessed)
        text_json_unsigned(line, "witness_seq", finding->witness_seq);
    text_json_close_object(line);
    printf("%s\n", text_string(line));
}

/* The part of [from, to) within [begin, end). */
static void print_part(struct ranges *ranges, const char *file, uint64_t from, uint64_t to,
                       uint64_t begin, uint64_t end, const char *verdict, const char *what)
{
    uint64_t first = from > begin ? from : begin, last = to < end ? to : end;
    if (first < last)
        print_range(ranges, file, first, last, verdict, what, NULL);
}

/* What lies between findings. */
static void print_between(struct ranges *ranges, const struct log_verified_file *file,
                          uint64_t from, uint64_t to)
{
    uint64_t frames = file->end_offset > LOG_BLOCK_SIZE ? file->end_offset : LOG_BLOCK_SIZE;
    if (file->spare) {
        print_part(ranges, file->file, from, to, 0, file->size, "unused", "zeros");
        return;
    }
    if (file->end_offset == 0) {
        print_part(ranges, file->file, from, to, 0, file->size, "unread",
                   "its header does not say what lies here");
        return;
    }
    print_part(ranges, file->file, from, to, 0, LOG_BLOCK_SIZE, "sound", "header");
    print_part(ranges, file->file, from, to, LOG_BLOCK_SIZE, frames, "sound", "frames");
    uint64_t rest = frames + file->tail_bytes;
    print_part(ranges, file->file, from, to, frames, rest, "left out",
               "what a crash or a failed write left behind the end: nothing of it counts");
    print_part(ranges, file->file, from, to, rest, file->size, file->growing ? "unread" : "unused",
               file->growing ? "a writer may be writing here" : "zeros");
}

static int by_offset(const void *a, const void *b)
{
    const struct log_finding *first = a, *second = b;
    return first->offset < second->offset ? -1 : first->offset > second->offset;
}

void ranges_print(struct ranges *ranges, const struct log_verified_file *file)
{
    uint64_t at = 0;
    qsort(ranges->findings, ranges->count, sizeof *ranges->findings, by_offset);
    for (size_t i = 0; i < ranges->count; i++) {
        const struct log_finding *finding = &ranges->findings[i];
        uint64_t end = finding->offset + finding->size;
        if (strcmp(finding->file, file->file) != 0 || end <= at)
            continue;
        print_between(ranges, file, at, finding->offset);
        print_range(ranges, file->file, finding->offset > at ? finding->offset : at, end,
                    log_verdict_name((uint16_t)finding->verdict),
                    finding->diagnosis[0] != '\0' ? finding->diagnosis : "see the finding",
                    finding);
        at = end;
    }
    print_between(ranges, file, at, file->size);
    ranges->count = 0;
}
