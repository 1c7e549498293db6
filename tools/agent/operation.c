#include "tools/agent/operation.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const struct operation operations[] = {
    { "GET", "/health", AUTH_NOTHING, true, status_health, NULL, "whether the process lives" },
    { "GET", "/ready", AUTH_NOTHING, true, status_ready, NULL,
      "200 when workflows are accepted, else 503 and why" },
    { "GET", "/status", AUTH_READ, true, status_all, NULL, "what the agent is doing, in numbers" },
    { "GET", "/metrics", AUTH_READ, false, replication_show_metrics, NULL,
      "the log, the copy in PostgreSQL and the searches there, as Prometheus reads it" },
    { "POST", "/api/v1/workflows", AUTH_SUBMIT, false, workflow_submit, workflow_submitted,
      "submits a workflow" },
    { "GET", "/api/v1/workflows", AUTH_READ, false, workflow_list, workflow_listed,
      "lists workflows, or searches them by metadata" },
    { "POST", "/api/v1/workflows/{id}:cancel", AUTH_SUBMIT, false, workflow_cancel,
      workflow_changed, "cancels a workflow" },
    { "POST", "/api/v1/workflows/{id}:resolve", AUTH_ADMIN, false, workflow_resolve,
      workflow_changed, "decides an uncertain step: done, failed or retry" },
    { "POST", "/api/v1/workflows/{id}:erase", AUTH_ADMIN, false, workflow_erase, workflow_erase_end,
      "makes what a workflow that has ended was given and gave unreadable for ever" },
    { "GET", "/api/v1/workflows/{id}", AUTH_READ, false, workflow_get, workflow_get,
      "shows a workflow" },
    { "GET", "/api/v1/workflows/{id}/history", AUTH_READ, false, workflow_history, NULL,
      "shows the events of a workflow" },
    { "POST", "/api/v1/workflows/{id}/signals/{name}", AUTH_SUBMIT, false, workflow_signal,
      workflow_changed, "sends a signal to a workflow" },
    { "GET", "/api/v1/state/digest", AUTH_READ, false, state_digest_begin, state_digest_end,
      "SHA-256 over all documents" },
    { "GET", "/api/v1/state/snapshots", AUTH_READ, false, state_snapshot_list, NULL,
      "lists the snapshots of all documents" },
    { "POST", "/api/v1/state:snapshot", AUTH_ADMIN, false, state_snapshot_begin, state_snapshot_end,
      "writes a snapshot of all documents" },
    { "GET", "/api/v1/state/check", AUTH_READ, false, doctor_show, NULL,
      "shows what the last check of the state found" },
    { "POST", "/api/v1/state:check", AUTH_ADMIN, false, doctor_check, doctor_checked,
      "checks all documents of the state" },
    { "GET", "/api/v1/log/scrub", AUTH_READ, false, scrub_show, NULL,
      "shows when the log was read through, how far that is, and what is damaged" },
    { "POST", "/api/v1/log:scrub", AUTH_ADMIN, false, scrub_start, NULL,
      "begins to read the log through" },
    { "GET", "/api/v1/clock", AUTH_READ, false, clock_show, NULL,
      "shows log time, wall time and whether the latter is trusted" },
    { "POST", "/api/v1/clock:accept", AUTH_ADMIN, false, clock_accept, clock_accepted,
      "accepts a wall clock that was stepped" },
    { "GET", "/api/v1/log/anchor", AUTH_READ, false, anchor_newest, NULL,
      "shows the newest signed head of the log" },
    { "GET", "/api/v1/log/anchors", AUTH_READ, false, anchor_list, NULL,
      "lists the signed heads of the log" },
    { "POST", "/api/v1/log:anchor", AUTH_ADMIN, false, anchor_sign_begin, anchor_sign_end,
      "signs the head of the log now" },
    { .method = NULL },
};

/* "{id}" takes what is up to the next '/', or up to ':' where the pattern goes on with one. */
static bool matches(const char *pattern, const char *path,
                    struct span parameters[OPERATION_PARAMETERS_MAX])
{
    unsigned count = 0;
    while (*pattern) {
        if (*pattern != '{') {
            if (*pattern++ != *path++)
                return false;
            continue;
        }
        pattern = strchr(pattern, '}') + 1;
        size_t size = strcspn(path, *pattern == ':' ? "/:" : "/");
        if (size == 0)
            return false;
        parameters[count++] = span_of(path, size);
        path += size;
    }
    return *path == 0;
}

const struct operation *operation_find(const char *method, const char *path,
                                       struct span parameters[OPERATION_PARAMETERS_MAX],
                                       char allowed[64])
{
    allowed[0] = 0;
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    for (const struct operation *operation = operations; operation->method; operation++) {
        struct span found[OPERATION_PARAMETERS_MAX] = { { 0 } };
        if (!matches(operation->path, path, found))
            continue;
        memcpy(parameters, found, sizeof found);
        if (strcmp(operation->method, wanted) == 0)
            return operation;
        size_t used = strlen(allowed);
        snprintf(allowed + used, 64 - used, "%s%s", used ? ", " : "", operation->method);
    }
    return NULL;
}

void metric_add(struct text *text, const struct metric *metric)
{
    text_printf(text, "# HELP %s %s\n# TYPE %s %s\n%s %" PRIu64 "\n", metric->name, metric->help,
                metric->name, metric->type, metric->name, metric->value);
}
