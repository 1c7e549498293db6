/* What the agent gets to know of a copy: `<log dir>/readers/NAME` (log/readers.h), so that nothing
 * is removed from the log that PostgreSQL does not have yet.
 *
 * Threads: belongs to one thread. */
#ifndef TOOLS_REPLICATION_REPORT_H
#define TOOLS_REPLICATION_REPORT_H

#include "core/base/error.h"
#include "core/base/sha256.h"

#include <stdbool.h>
#include <stdint.h>

struct report {
    const char *dir;  /* the log's, or a data directory; the caller's */
    const char *name; /* "": nothing is ever due */
    bool told, failed;
    bool required;    /* as the file said when it was last read: an administrator's to decide */
    uint64_t seq;     /* what was told last */
    uint64_t told_ns; /* monotonic */
};

/* At most once a second while there is news; now and then also without, so that the agent sees that
 * somebody still reads. `last`: whatever was not told yet. */
bool report_is_due(const struct report *report, uint64_t seq, uint64_t now_ns, bool last);

/* How long until it is due when nothing else happens; UINT64_MAX: never. */
uint64_t report_due_in(const struct report *report, uint64_t seq, uint64_t now_ns);

/* Everything up to `seq` is safe in PostgreSQL; whether the reader is required stays as it is.
 * 0, or an error the first time that it cannot be written: copying goes on all the same, and it is
 * tried again when it is due again. */
int report_write(struct report *report, uint64_t seq, const uint8_t chain[SHA256_SIZE],
                 uint64_t now_ns, bool last, struct error *error);

#endif
