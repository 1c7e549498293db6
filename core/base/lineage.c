#include "core/base/lineage.h"

#include <string.h>

bool lineage_add(struct lineage *lineage, const uint8_t uuid[UUID_SIZE], uint64_t first_seq)
{
    if (lineage->count > 0 && memcmp(lineage->logs[lineage->count - 1].uuid, uuid, UUID_SIZE) == 0)
        return false;
    if (lineage->count == LINEAGE_MAX) {
        memmove(&lineage->logs[0], &lineage->logs[1], (LINEAGE_MAX - 1) * sizeof lineage->logs[0]);
        lineage->count--;
    }
    memcpy(lineage->logs[lineage->count].uuid, uuid, UUID_SIZE);
    lineage->logs[lineage->count++].first_seq = first_seq;
    return true;
}

const uint8_t *lineage_uuid(const struct lineage *lineage, uint64_t seq)
{
    uint32_t i = lineage->count;
    while (i > 1 && lineage->logs[i - 1].first_seq > seq)
        i--;
    return lineage->logs[i > 0 ? i - 1 : 0].uuid;
}

void lineage_id_to_text(char text[WORKFLOW_ID_SIZE], const struct lineage *lineage, uint64_t seq)
{
    workflow_id_to_text(text, lineage_uuid(lineage, seq), seq);
}

bool lineage_id_from_text(struct span text, const struct lineage *lineage, uint64_t *seq)
{
    for (uint32_t i = 0; i < lineage->count; i++)
        if (workflow_id_from_text(text, lineage->logs[i].uuid, seq) &&
            lineage_uuid(lineage, *seq) == lineage->logs[i].uuid)
            return true;
    return false;
}
