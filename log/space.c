#include "log/space.h"

#include "iouring/file.h"

enum { MARGIN_PERCENT = 25 };

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

struct space_limits space_limits_for(const struct space_limits *wish, uint64_t total_bytes,
                                     uint64_t segment_size)
{
    uint64_t ballast_bytes = least(wish->ballast_bytes, total_bytes / 100);
    return (struct space_limits){
        .low_bytes = most(least(wish->low_bytes, total_bytes / 10), 4 * segment_size),
        .critical_bytes = most(least(wish->critical_bytes, total_bytes / 40), 2 * segment_size),
        .ballast_bytes = ballast_bytes / FILE_BLOCK_SIZE * FILE_BLOCK_SIZE,
    };
}

static uint64_t missing_ballast(const struct space_limits *limits, const struct space_look *look)
{
    return limits->ballast_bytes > look->ballast_bytes ? limits->ballast_bytes - look->ballast_bytes
                                                       : 0;
}

static uint64_t with_margin(uint64_t bytes, uint64_t margin_percent)
{
    return bytes + bytes / 100 * margin_percent;
}

/* The state that these numbers ask for, each limit higher by `margin_percent`. */
static enum space_state judge(const struct space_limits *limits, const struct space_look *look,
                              uint64_t margin_percent)
{
    uint64_t missing = missing_ballast(limits, look);
    uint64_t free_bytes = look->free_bytes > missing ? look->free_bytes - missing : 0;
    if (look->refused && look->spares == 0)
        return SPACE_FULL;
    if (look->refused || free_bytes < with_margin(limits->critical_bytes, margin_percent))
        return SPACE_CRITICAL;
    return free_bytes < with_margin(limits->low_bytes, margin_percent) ? SPACE_LOW : SPACE_OK;
}

enum space_state space_next(enum space_state now, const struct space_limits *limits,
                            const struct space_look *look)
{
    enum space_state at_least = judge(limits, look, 0);
    enum space_state at_most = judge(limits, look, MARGIN_PERCENT);
    if (now < at_least)
        return at_least;
    return now > at_most ? at_most : now;
}

uint64_t space_bytes_to_leave(enum space_state now, const struct space_limits *limits,
                              const struct space_look *look)
{
    if (now == SPACE_OK)
        return 0;
    uint64_t limit = now == SPACE_LOW ? limits->low_bytes : limits->critical_bytes;
    return with_margin(limit, MARGIN_PERCENT) + missing_ballast(limits, look);
}

const char *space_state_name(enum space_state state)
{
    static const char *const names[] = {
        [SPACE_OK] = "ok", [SPACE_LOW] = "low", [SPACE_CRITICAL] = "critical", [SPACE_FULL] = "full"
    };
    return state <= SPACE_FULL ? names[state] : "unknown";
}
