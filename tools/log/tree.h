/* Events under the events that led to them (`cause`), as a tree.
 *
 * Memory is bounded: a tree holds up to TREE_EVENTS_MAX events, 40 bytes each; what they say is
 * read again when they are printed.
 *
 * Threads: the main thread. */
#ifndef TOOLS_LOG_TREE_H
#define TOOLS_LOG_TREE_H

#include "tools/log/log.h"

#define TREE_EVENTS_MAX 1000000u
#define TREE_DEPTH_MAX 256u

struct tree_options {
    uint64_t depth; /* levels that are shown */
    uint64_t width; /* events that are shown under one */
    uint64_t limit; /* events that are looked at for an event's tree; 0: all */
};

#define TREE_DEFAULTS                                                                              \
    {                                                                                              \
        .depth = 32, .width = 100, .limit = 100000                                                 \
    }

#define TREE_OPTIONS(tree)                                                                         \
    { "depth", 0, "COUNT", COMMAND_NUMBER, &(tree).depth, "levels of the tree (32)" },             \
    {                                                                                              \
        "width", 0, "COUNT", COMMAND_NUMBER, &(tree).width, "events of the tree under one (100)"   \
    }

struct tree_node {
    uint64_t seq;
    uint32_t first_child, last_child, next, parent; /* index + 1; 0: none */
};

struct tree {
    struct tree_node *nodes; /* by sequence number */
    uint32_t count, capacity;
    uint32_t first_root, last_root;
    uint64_t left_out; /* events for which there was no room */
};

void tree_init(struct tree *tree);
void tree_free(struct tree *tree);

/* To be called in the order of the log; under `cause` if that event is in the tree, else a root. 0
 * or -ENOMEM. */
int tree_add(struct tree *tree, uint64_t seq, uint64_t cause);
/* True if the event is in the tree. */
bool tree_has(const struct tree *tree, uint64_t seq);

/* Prints all of it; events are read through `reader`. 0 or negative. */
int tree_print(const struct tree *tree, struct log_reader *reader,
               const struct tree_options *options, struct printer *printer);

/* The tree that an event is in: from the event at which its causes begin, all that it led to among
 * the `limit` events behind that. An exit status. */
int tree_of_event(const struct command *command, const char *dir, uint64_t seq, bool json,
                  struct decryption *decryption, const struct tree_options *options);

#endif
