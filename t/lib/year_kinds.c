#include "core/event/event.h"
#include "year_inside.h"

#define S YEAR_SECOND_NS
#define H YEAR_HOUR_NS
#define D YEAR_DAY_NS

#define SLEEPS(name, a, b, c)                                                                      \
    "{\"name\":\"" name "\",\"steps\":[{\"id\":\"a\",\"sleep\":\"" a "\"},"                        \
    "{\"id\":\"b\",\"sleep\":\"" b "\",\"needs\":[\"a\"]},"                                        \
    "{\"id\":\"c\",\"sleep\":\"" c "\",\"needs\":[\"b\"]}]}"
#define ASKS(name)                                                                                 \
    "{\"name\":\"" name "\",\"steps\":[{\"id\":\"a\",\"sleep\":\"1m\"},"                           \
    "{\"id\":\"b\",\"signal\":{\"name\":\"go\",\"timeout\":\"14d\"},\"needs\":[\"a\"],"            \
    "\"on_failure\":\"fail\"},{\"id\":\"c\",\"sleep\":\"10s\",\"needs\":[\"b\"]}]}"

/* Addresses on the loopback are denied to steps: that fails at once, and nothing is sent. */
#define CALLS(name, method, attempts, then)                                                        \
    "{\"name\":\"" name "\",\"steps\":[{\"id\":\"b\",\"http\":{\"method\":\"" method "\","         \
    "\"url\":\"http://127.0.0.1:9/\"},\"retry\":{\"max_attempts\":" attempts ","                   \
    "\"initial\":\"10m\",\"max\":\"1h\"},\"on_failure\":\"" then "\"}]}"

const struct year_kind year_kinds[] = {
    { .name = "quick",
      .source = SLEEPS("quick", "5s", "20s", "40s"),
      .share = 330,
      .least_ns = 65 * S,
      .most_ns = 65 * S,
      .want = DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED },
    { .name = "hours",
      .source = SLEEPS("hours", "20m", "1h", "3h"),
      .share = 200,
      .least_ns = 4 * H + H / 3,
      .most_ns = 4 * H + H / 3,
      .want = DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED },
    { .name = "days",
      .source = SLEEPS("days", "12h", "1d", "2d"),
      .share = 100,
      .least_ns = 84 * H,
      .most_ns = 84 * H,
      .want = DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED },
    { .name = "months",
      .source = SLEEPS("months", "1d", "60d", "5d"),
      .share = 1,
      .least_ns = 66 * D,
      .most_ns = 66 * D,
      .want = DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED },
    { .name = "changes", /* a definition of its own each day */
      .source = SLEEPS("changes-%u", "1m", "1h", "2h"),
      .share = 59,
      .least_ns = 3 * H + 60 * S,
      .most_ns = 3 * H + 60 * S,
      .want = DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED },
    { .name = "answered",
      .source = ASKS("answered"),
      .share = 90,
      .action = ACTION_SIGNAL,
      .act_after_ns = H,
      .act_until_ns = 5 * D,
      .least_ns = H,
      .most_ns = 5 * D,
      .want = DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED },
    { .name = "unanswered",
      .source = ASKS("unanswered"),
      .share = 50,
      .least_ns = 14 * D,
      .most_ns = 14 * D + 60 * S,
      .want = DAA__WORKFLOW_STATUS__WORKFLOW_FAILED },
    { .name = "retried",
      .source = CALLS("retried", "GET", "4", "fail"),
      .share = 50,
      .least_ns = H / 2,
      .most_ns = 3 * H,
      .want = DAA__WORKFLOW_STATUS__WORKFLOW_FAILED },
    { .name = "parked",
      .source = CALLS("parked", "POST", "2", "park"),
      .share = 40,
      .action = ACTION_RESOLVE,
      .act_after_ns = 6 * H,
      .act_until_ns = 2 * D,
      .least_ns = 6 * H,
      .most_ns = 2 * D,
      .want = DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED },
    { .name = "cancelled",
      .source = SLEEPS("cancelled", "1m", "30d", "1m"),
      .share = 80,
      .action = ACTION_CANCEL,
      .act_after_ns = H,
      .act_until_ns = 4 * D,
      .least_ns = H,
      .most_ns = 4 * D,
      .want = DAA__WORKFLOW_STATUS__WORKFLOW_CANCELLED },
};

const unsigned year_kind_count = sizeof year_kinds / sizeof year_kinds[0];
