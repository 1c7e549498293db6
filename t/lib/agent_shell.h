/* The turn of core/agent/agent.h with a log and documents in memory, for tests of the agent. */
#ifndef AGENT_SHELL_H
#define AGENT_SHELL_H

#include "core/agent/agent.h"

#define SHELL_SECOND 1000000000ull

struct shell_event {
    struct event_header header;
    uint8_t *bytes;
    size_t size;
};

/* One document; the array is kept in the order of keys. */
struct shell_document {
    struct document_key key;
    uint8_t *bytes;
    size_t size;
};

struct shell_documents {
    struct shell_document *items;
    size_t count, capacity;
};

struct agent_shell {
    struct agent_options options;
    struct budget budget;
    struct agent *agent;
    struct decision decision;
    struct shell_event *log;
    size_t log_count, log_capacity;
    struct shell_documents documents; /* what the live agent handed over */
    uint64_t now_ns, random;
    uint64_t wall_ns;       /* for COMMAND_CLOCK */
    struct effect *effects; /* due and not answered, the newest first */
    uint64_t finished;      /* EFFECT_FINISHED seen */
    uint64_t commands, needs;
    bool encrypt;      /* each submission gets the next key */
    bool erased[4096]; /* by key: it is destroyed (shell_erase) */
    bool lazy_changes; /* agent_take_changes() only when shell_take() is called */
};

void shell_open(struct agent_shell *shell);
void shell_close(struct agent_shell *shell);

/* Decides and, if there are events, applies and logs them; then advances what is ready. */
enum decision_kind shell_do(struct agent_shell *shell, const struct command *command);
/* Only the command, nothing that follows from it. */
enum decision_kind shell_decide(struct agent_shell *shell, const struct command *command);
void shell_advance(struct agent_shell *shell);
/* Moves log time and fires what is due by then. */
void shell_wait(struct agent_shell *shell, uint64_t ns);
void shell_take(struct agent_shell *shell);

struct flow *shell_flow(struct agent_shell *shell, const char *source);
struct command shell_submission(struct flow *flow, const char *input);
/* Submits; the stream, or 0 when it was refused. */
uint64_t shell_submit(struct agent_shell *shell, const char *source, const char *input);
/* Erases a workflow, whose key is destroyed when that is not refused. */
enum decision_kind shell_erase(struct agent_shell *shell, uint64_t stream);
/* As whoever reads the log does: 0, or negative. */
int shell_read(struct agent_shell *shell, const struct shell_event *record, struct arena *arena,
               Daa__Event **event);
/* Answers the oldest effect of this step; false when there is none. */
bool shell_answer(struct agent_shell *shell, uint64_t stream, uint32_t index, int outcome,
                  const char *output, const char *error);
struct effect *shell_effect(struct agent_shell *shell, uint64_t stream, uint32_t index);

/* The kinds of a stream's events, "workflow.submitted workflow.started ..."; in a static buffer. */
const char *shell_history(struct agent_shell *shell, uint64_t stream);
/* A workflow's document as the API shows it, in a static buffer; "" when there is none. */
const char *shell_show(struct agent_shell *shell, uint64_t stream);

void shell_documents_put(struct shell_documents *documents, struct span key, struct span bytes);
const struct shell_document *shell_documents_get(const struct shell_documents *documents,
                                                 struct span key);
void shell_documents_copy(struct shell_documents *to, const struct shell_documents *from);
void shell_documents_free(struct shell_documents *documents);
void shell_documents_digest(const struct shell_documents *documents, uint8_t digest[SHA256_SIZE]);

/* Checks documents (core/agent/check_documents.h): the findings, each "key sentence\n", in a static
 * buffer; "" when there are none. `result` may be NULL. */
struct check_documents_result;
const char *shell_check(struct agent_shell *shell, const struct shell_documents *documents,
                        struct check_documents_result *result);

/* A new agent from `documents`, which stand for everything up to `applied_seq`, and the rest of the
 * log; the documents are brought up to date. The caller closes the agent. */
struct agent *shell_replay(struct agent_shell *shell, struct shell_documents *documents,
                           uint64_t applied_seq);
/* The live agent dies and is replaced by a replay from these documents; its effects are lost and
 * answered as those of orphans are. */
void shell_restart(struct agent_shell *shell, const struct shell_documents *saved,
                   uint64_t applied_seq);

#endif
