#include "tools/command/progress.h"

#include <inttypes.h>
#include <time.h>
#include <unistd.h>

enum { BAR_WIDTH = 20, LINE_SIZE = 160 };

static const uint64_t draw_interval_ns = 100 * 1000 * 1000;

static uint64_t monotonic_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void progress_begin(struct progress *progress, const char *what, enum progress_unit unit,
                    uint64_t total)
{
    *progress = (struct progress){
        .file = isatty(STDERR_FILENO) ? stderr : NULL,
        .what = what,
        .unit = unit,
        .total = total,
        .begun_ns = monotonic_ns(),
    };
}

static void amount(char *text, size_t size, enum progress_unit unit, double value)
{
    static const char *const units[] = { "B", "KB", "MB", "GB", "TB" };
    size_t i = 0;
    if (unit == PROGRESS_ITEMS) {
        (void)snprintf(text, size, "%.0f", value);
        return;
    }
    for (; value >= 1024 && i + 1 < sizeof units / sizeof units[0]; i++)
        value /= 1024;
    (void)snprintf(text, size, i == 0 ? "%.0f %s" : "%.1f %s", value, units[i]);
}

void progress_line(const struct progress *progress, uint64_t done, uint64_t elapsed_ns, char *line,
                   uint64_t line_size)
{
    char part[32], whole[32], rate[32], bar[BAR_WIDTH + 1];
    double seconds = elapsed_ns > 0 ? (double)elapsed_ns / 1e9 : 1e-9;
    amount(part, sizeof part, progress->unit, (double)done);
    amount(whole, sizeof whole, progress->unit, (double)progress->total);
    amount(rate, sizeof rate, progress->unit, (double)done / seconds);
    if (progress->total == 0) {
        (void)snprintf(line, line_size, "%s  %s  %s/s", progress->what, part, rate);
        return;
    }
    double share = (double)done / (double)progress->total;
    share = share > 1 ? 1 : share;
    for (int i = 0; i < BAR_WIDTH; i++)
        bar[i] = i < (int)(share * BAR_WIDTH) ? '#' : '.';
    bar[BAR_WIDTH] = '\0';
    (void)snprintf(line, line_size, "%s  [%s] %3.0f %%  %s of %s  %s/s", progress->what, bar,
                   share * 100, part, whole, rate);
}

void progress_update(struct progress *progress, uint64_t done)
{
    char line[LINE_SIZE];
    if (progress->file == NULL)
        return;
    uint64_t now_ns = monotonic_ns();
    if (progress->visible && now_ns - progress->drawn_ns < draw_interval_ns)
        return;
    progress_line(progress, done, now_ns - progress->begun_ns, line, sizeof line);
    fprintf(progress->file, "\r%s\033[K", line);
    (void)fflush(progress->file);
    progress->drawn_ns = now_ns;
    progress->visible = true;
}

void progress_show(uint64_t done, uint64_t total, void *context)
{
    struct progress *progress = context;
    progress->total = total;
    progress_update(progress, done);
}

void progress_clear(struct progress *progress)
{
    if (progress->file == NULL || !progress->visible)
        return;
    fputs("\r\033[K", progress->file);
    (void)fflush(progress->file);
    progress->visible = false;
}

void progress_end(struct progress *progress)
{
    progress_clear(progress);
    progress->file = NULL;
}
