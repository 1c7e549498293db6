/* What no row can hold changes none: two events of it in one batch would be of one row. */
#include "pgsync/projection.h"
#include "tap.h"

static int change(const struct projection *projection, uint64_t stream, uint32_t index)
{
    Daa__StepStarted body = DAA__STEP_STARTED__INIT;
    Daa__Event event = DAA__EVENT__INIT;
    const struct event_header header = { .seq = 9, .stream = stream, .time_ns = 1 };
    _Alignas(max_align_t) char row[512];
    body.has_index = 1;
    body.index = index;
    body.status = DAA__STEP_STATUS__STEP_RUNNING;
    event.body_case = DAA__EVENT__BODY_STEP_STARTED;
    event.step_started = &body;
    return projection->change(&header, &event, row);
}

int main(void)
{
    is_int(change(&projection_steps, 2, 1), 1, "a step that began");
    is_int(change(&projection_steps, 2, INT32_MAX), 1, "the last index of an integer");
    is_int(change(&projection_steps, 2, UINT32_C(0x80000001)), 0, "an index beyond it");
    is_int(change(&projection_steps, UINT64_MAX, 1), 0, "a stream beyond bigint");
    is_int(change(&projection_steps, 0, 1), 0, "no stream");
    return tap_done();
}
