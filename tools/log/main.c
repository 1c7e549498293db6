/* daa-log: inspects, follows, verifies and explains the event log; needs no daemon. */
#include "tools/command/pager.h"
#include "tools/log/log.h"

static bool no_pager;

const struct command_option log_options[] = {
    { "no-pager", 0, NULL, COMMAND_FLAG, &no_pager,
      "do not show long output through $PAGER (less)" },
    { .name = NULL },
};

void begin_paging(bool json)
{
    if (!json && !no_pager)
        pager_begin();
}

static const struct command_entry entries[] = {
    { "ls", "list the files of a log with what they hold", log_ls },
    { "cat", "print events", log_cat },
    { "tail", "print the last events, and with -f those to come", log_tail },
    { "grep", "print the events that match a pattern", log_grep },
    { "stat", "count events, bytes, frames and openings", log_stat },
    { "verify", "check every byte", log_check },
    { "hexdump", "show bytes with the names of their fields", log_hexdump },
    { "explain", "show where an event lies, byte by byte", log_explain },
    { "prove", "prove that an event is in a log, or check such a proof", log_prove },
    { "keys", "count the keys of encrypted events, and erasures", log_keys },
    { "doctor", "say what is wrong with the disk, the machine or the spares", log_doctor },
    { "bench", "measure how fast a log is on a disk", log_bench },
    { "repair", "mend what is damaged, from a copy where one is given", log_mend },
    { "backup", "copy a live log", log_make_backup },
    { "restore", "make a log of a backup", log_restore_backup },
    { "export", "write events in another format", log_export },
    { "import", "make a log of an export", log_make_import },
    { "replay", "rebuild the state as of an event or a time", log_state_replay },
    { "diff", "compare two logs", log_diff },
    { .name = NULL },
};

int main(int argc, char **argv)
{
    static const struct command command = {
        .name = "daa-log",
        .options = log_options,
        .purpose = "Inspect an event log: a live one, a stopped one, a copy or a damaged copy.\n"
                   "DIR is an agent's data directory, or the log directory in it.",
        .notes = "Exit status: 0 good, 1 failed or damaged, 2 wrong usage; verify: see its help.",
    };
    return command_end(&command, command_dispatch(&command, entries, argc, argv));
}
