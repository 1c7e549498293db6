#include "pgsync/projection.h"

const struct projection *const projections[PROJECTIONS] = {
    &projection_workflows,
    &projection_steps,
    &projection_agents,
};
