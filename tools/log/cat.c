/* daa-log cat and tail. */
#include "tools/log/listing.h"
#include "tools/log/tree.h"

static int show(const struct record *record, const struct log_place *place, void *context)
{
    (void)place;
    int code = printer_event(context, record);
    return code < 0 ? code : 1;
}

static int run(struct listing *listing, struct decryption *keys, bool json, uint64_t last_count)
{
    struct printer printer;
    if (!listing->follow)
        begin_paging(json);
    printer_begin(&printer, json, keys);
    listing->show = show;
    listing->context = &printer;
    int status = listing_run(listing, last_count);
    printer_end(&printer);
    return status;
}

static int add_to_tree(const struct record *record, const struct log_place *place, void *context)
{
    (void)place;
    int code = tree_add(context, record->seq, record->cause);
    return code < 0 ? code : 1;
}

/* The events that pass the filter, each under the one that led to it if that passes too. */
static int run_tree(struct listing *listing, struct decryption *keys, bool json,
                    const struct tree_options *options)
{
    struct printer printer;
    struct tree tree;
    begin_paging(json);
    tree_init(&tree);
    listing->show = add_to_tree;
    listing->context = &tree;
    int status = listing_run(listing, UINT64_MAX);
    struct log_reader *reader =
        status == COMMAND_USAGE ? NULL : open_reader(listing->command, listing->dir, true);
    if (reader != NULL) {
        printer_begin(&printer, json, keys);
        (void)tree_print(&tree, reader, options, &printer);
        printer_end(&printer);
        log_reader_close(reader);
    }
    tree_free(&tree);
    return status;
}

int log_cat(int argc, char **argv)
{
    static struct listing listing;
    struct decryption keys = { .keys_dir = NULL };
    bool json = false, as_tree = false;
    struct tree_options tree = TREE_DEFAULTS;
    const struct command_option options[] = {
        { "json", 'j', NULL, COMMAND_FLAG, &json, "print one JSON object a line" },
        { "limit", 'n', "COUNT", COMMAND_NUMBER, &listing.filter.limit, "stop after COUNT events" },
        { "tree", 't', NULL, COMMAND_FLAG, &as_tree, "print each under the event that led to it" },
        TREE_OPTIONS(tree),
        KEYS_OPTIONS(keys),
        FILTER_OPTIONS(listing.filter),
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-log cat",
        .purpose = "Print the events of a log in order.",
        .arguments = "DIR",
        .arguments_min = 1,
        .arguments_max = 1,
        .options = options,
        .shared = log_options,
        .notes = "What is damaged is left out and named on stderr; the exit status is 1 then.",
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    listing.command = &command;
    listing.dir = argv[first];
    status = decryption_begin(&keys, &command, listing.dir);
    if (status == COMMAND_GO_ON)
        status = as_tree ? run_tree(&listing, &keys, json, &tree)
                         : run(&listing, &keys, json, UINT64_MAX);
    decryption_end(&keys);
    return status;
}

int log_tail(int argc, char **argv)
{
    static struct listing listing;
    struct decryption keys = { .keys_dir = NULL };
    bool json = false;
    uint64_t count = 10;
    const struct command_option options[] = {
        { "json", 'j', NULL, COMMAND_FLAG, &json, "print one JSON object a line" },
        { "lines", 'n', "COUNT", COMMAND_NUMBER, &count, "begin with the last COUNT events (10)" },
        { "follow", 'f', NULL, COMMAND_FLAG, &listing.follow, "go on with those to come" },
        KEYS_OPTIONS(keys),
        FILTER_OPTIONS(listing.filter),
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-log tail",
        .purpose = "Print the last events of a log; of these, the ones that match.",
        .arguments = "DIR",
        .arguments_min = 1,
        .arguments_max = 1,
        .options = options,
        .shared = log_options,
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    listing.command = &command;
    listing.dir = argv[first];
    status = decryption_begin(&keys, &command, listing.dir);
    if (status == COMMAND_GO_ON)
        status = run(&listing, &keys, json, count);
    decryption_end(&keys);
    return status;
}
