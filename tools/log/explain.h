/* What explain says of one event, in parts. Threads: the main thread. */
#ifndef TOOLS_LOG_EXPLAIN_H
#define TOOLS_LOG_EXPLAIN_H

#include "core/base/sha256.h"
#include "log/directory.h"
#include "log/scan.h"
#include "tools/log/log.h"

/* An event's segment, open. */
struct explaining {
    const struct command *command;
    const char *dir;
    bool json;
    struct decryption keys;
    struct directory directory;
    struct source source, probe;
    struct segment_header segment;
};

/* Opens the directory, and segment `segment_no` of it (0: none yet). */
int explaining_open(struct explaining *explaining, uint64_t segment_no, struct error *error);
void explaining_close(struct explaining *explaining);

/* What the chain of a frame is made of. */
struct chain_inputs {
    bool computed;          /* the log has a chain */
    bool known;             /* the frame before it could be read; else `before` is zero */
    bool verified;          /* what comes out is what the frame says */
    uint64_t before_offset; /* of the frame before it in the segment; 0: the segment's header */
    uint8_t before[SHA256_SIZE], body[SHA256_SIZE], after[SHA256_SIZE];
};

/* `frame` is the whole frame. */
void chain_inputs_read(struct chain_inputs *inputs, struct explaining *explaining,
                       const uint8_t *frame, const struct frame_header *header);

/* What became of the event elsewhere: rows of Postgres, documents of the state. */
struct derived {
    char log_uuid[UUID_TEXT_SIZE];
    char workflow[WORKFLOW_ID_SIZE];      /* "": it is about none */
    char workflow_log[UUID_TEXT_SIZE];    /* that it was submitted in */
    bool workflow_row;                    /* it changes the workflow's row */
    bool creates;                         /* and makes it */
    char definition[2 * SHA256_SIZE + 1]; /* digest of one that it installs; "" */
};
void derived_find(struct derived *derived, const char *dir, const struct record *record,
                  const struct log_place *place);

#define EXPLAINED_FIELDS_MAX 8u

/* What is encrypted of the event, and what its key says to it. */
struct explained_key {
    uint32_t key_id; /* of its stream; 0: none */
    int result;      /* enum decryption_result */
    const char *why; /* of DECRYPTION_UNAVAILABLE */
    size_t bytes;    /* with nonce and tag */
    struct {
        const char *name;
        uint32_t size;
    } fields[EXPLAINED_FIELDS_MAX]; /* those that it has */
    size_t count;
};
void explained_key_find(struct explained_key *explained, struct decryption *keys,
                        const struct record *record);
/* As lines, or none when its stream has no key. */
void explained_key_print(const struct explained_key *explained);
void explained_key_to_json(const struct explained_key *explained, struct text *text);

/* Says what stands where the event should: it cannot be read. An exit status. */
int explain_damage(struct explaining *explaining, uint64_t seq);

#endif
