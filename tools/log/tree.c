#include "tools/log/tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static unsigned long long big(uint64_t number)
{
    return number;
}

void tree_init(struct tree *tree)
{
    *tree = (struct tree){ .count = 0 };
}

void tree_free(struct tree *tree)
{
    free(tree->nodes);
    tree_init(tree);
}

/* Index + 1; 0: it is not there. */
static uint32_t find(const struct tree *tree, uint64_t seq)
{
    uint32_t low = 0, high = tree->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (tree->nodes[middle].seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low < tree->count && tree->nodes[low].seq == seq ? low + 1 : 0;
}

bool tree_has(const struct tree *tree, uint64_t seq)
{
    return find(tree, seq) != 0;
}

static int grow(struct tree *tree)
{
    uint32_t capacity = tree->capacity == 0 ? 1024 : tree->capacity * 2;
    struct tree_node *nodes = realloc(tree->nodes, capacity * sizeof *nodes);
    if (nodes == NULL)
        return -ENOMEM;
    tree->nodes = nodes;
    tree->capacity = capacity;
    return 0;
}

int tree_add(struct tree *tree, uint64_t seq, uint64_t cause)
{
    if (tree->count == TREE_EVENTS_MAX) {
        tree->left_out++;
        return 0;
    }
    if (tree->count == tree->capacity && grow(tree) < 0)
        return -ENOMEM;
    uint32_t parent = cause != 0 && cause < seq ? find(tree, cause) : 0;
    uint32_t own = ++tree->count;
    tree->nodes[own - 1] = (struct tree_node){ .seq = seq, .parent = parent };
    uint32_t *first = parent != 0 ? &tree->nodes[parent - 1].first_child : &tree->first_root;
    uint32_t *last = parent != 0 ? &tree->nodes[parent - 1].last_child : &tree->last_root;
    if (*last != 0)
        tree->nodes[*last - 1].next = own;
    else
        *first = own;
    *last = own;
    return 0;
}

/*--- Printing ----------------------------------------------------------------------------------*/

struct printing {
    const struct tree *tree;
    struct log_reader *reader;
    const struct tree_options *options;
    struct printer *printer;
    /* For each level above: more follows under the same event. */
    bool more[TREE_DEPTH_MAX];
};

static void print_branches(const struct printing *printing, unsigned depth, bool last)
{
    for (unsigned level = 1; level < depth; level++)
        fputs(printing->more[level] ? "│  " : "   ", stdout);
    if (depth > 0)
        fputs(last ? "└─ " : "├─ ", stdout);
}

static int print_node(struct printing *printing, uint32_t node, unsigned depth, bool last)
{
    const struct tree_node *own = &printing->tree->nodes[node - 1];
    struct record record;
    struct error error;
    int found = log_reader_get(printing->reader, own->seq, &record, NULL, &error);
    if (printing->printer->json) {
        if (found == 1)
            return printer_event(printing->printer, &record);
        return 0;
    }
    print_branches(printing, depth, last);
    if (found == 1)
        return printer_event(printing->printer, &record);
    printf("%llu cannot be read any more\n", big(own->seq));
    return 0;
}

static void print_rest(const struct printing *printing, unsigned depth, uint64_t count,
                       const char *what)
{
    if (count == 0 || printing->printer->json)
        return;
    print_branches(printing, depth, true);
    printf("... %llu %s\n", big(count), what);
}

static uint64_t count_children(const struct tree *tree, uint32_t first)
{
    uint64_t count = 0;
    for (uint32_t at = first; at != 0; at = tree->nodes[at - 1].next)
        count++;
    return count;
}

/* The nodes from `first` on, each with what is under it. Depth is bounded, so that is recursion. */
static int print_level(struct printing *printing, uint32_t first, unsigned depth)
{
    const struct tree *tree = printing->tree;
    uint64_t shown = 0, width = depth == 0 ? UINT64_MAX : printing->options->width;
    uint64_t count = count_children(tree, first);
    if (depth >= printing->options->depth || depth >= TREE_DEPTH_MAX) {
        print_rest(printing, depth, count, "and what they led to: see --depth");
        return 0;
    }
    for (uint32_t at = first; at != 0 && shown < width; at = tree->nodes[at - 1].next) {
        bool last = tree->nodes[at - 1].next == 0;
        printing->more[depth] = !last;
        int code = print_node(printing, at, depth, last);
        if (code == 0)
            code = print_level(printing, tree->nodes[at - 1].first_child, depth + 1);
        if (code < 0)
            return code;
        shown++;
    }
    print_rest(printing, depth, count - shown, "more: see --width");
    return 0;
}

int tree_print(const struct tree *tree, struct log_reader *reader,
               const struct tree_options *options, struct printer *printer)
{
    struct printing printing = {
        .tree = tree, .reader = reader, .options = options, .printer = printer
    };
    int code = print_level(&printing, tree->first_root, 0);
    if (code == 0 && tree->left_out > 0)
        fprintf(stderr, "daa-log: %llu more events are left out of the tree, which holds %u\n",
                big(tree->left_out), TREE_EVENTS_MAX);
    return code;
}

/*--- The tree of one event ---------------------------------------------------------------------*/

/* The event at which the causes of `seq` begin, as far as they are there. 1, 0 `seq` is not
 * there, negative. */
static int find_root(struct log_reader *reader, uint64_t seq, uint64_t *root, struct error *error)
{
    struct record record;
    *root = 0;
    for (uint64_t at = seq; at != 0;) {
        int found = log_reader_get(reader, at, &record, NULL, error);
        if (found < 0 || (found == 0 && *root == 0))
            return found;
        if (found == 0)
            break; /* a cause that was removed */
        *root = at;
        at = record.cause < at ? record.cause : 0;
    }
    return 1;
}

/* All that `root` led to. *looked_at is the last event that was looked at. */
static int collect(struct log_reader *reader, uint64_t root, uint64_t limit, struct tree *tree,
                   uint64_t *looked_at, struct error *error)
{
    struct record record;
    uint64_t end = log_reader_durable_seq(reader);
    int code = log_reader_seek(reader, root, error);
    for (uint64_t count = 0; code == 0 && (limit == 0 || count < limit); count++) {
        int found = log_reader_next(reader, &record, NULL, error);
        if (found <= 0)
            return found == ERROR_NOT_FOUND ? 0 : found;
        *looked_at = record.seq;
        if (record.seq == root || (record.cause != 0 && tree_has(tree, record.cause)))
            code = tree_add(tree, record.seq, record.seq == root ? 0 : record.cause);
        if (record.seq >= end)
            break;
    }
    return code;
}

int tree_of_event(const struct command *command, const char *dir, uint64_t seq, bool json,
                  struct decryption *decryption, const struct tree_options *options)
{
    struct log_reader *reader = open_reader(command, dir, true);
    struct tree tree;
    struct printer printer;
    struct error error = { 0 };
    uint64_t root, looked_at = 0;
    if (reader == NULL)
        return COMMAND_FAILED;
    tree_init(&tree);
    printer_begin(&printer, json, decryption);
    int status = COMMAND_GOOD, code = find_root(reader, seq, &root, &error);
    if (code == 0)
        status = command_failed(command,
                                "there is no event %llu that can be read; the log holds "
                                "%llu to %llu",
                                big(seq), big(log_reader_first_seq(reader)),
                                big(log_reader_durable_seq(reader)));
    if (code > 0)
        code = collect(reader, root, options->limit, &tree, &looked_at, &error);
    if (code == 0 && status == COMMAND_GOOD)
        code = tree_print(&tree, reader, options, &printer);
    if (code == 0 && status == COMMAND_GOOD && looked_at < log_reader_durable_seq(reader))
        fprintf(stderr, "%s: events behind %llu were not looked at: see --limit\n", command->name,
                big(looked_at));
    if (code < 0 && code != -EPIPE)
        status = error.text[0] != '\0' ? command_failed_error(command, &error)
                                       : command_failed(command, "%s", error_text(code));
    printer_end(&printer);
    tree_free(&tree);
    log_reader_close(reader);
    return status;
}
