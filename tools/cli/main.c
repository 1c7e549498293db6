/* daa-cli: talks to a running agent. */
#include "tools/cli/cli.h"

#include <curl/curl.h>
#include <stdlib.h>

static const struct command_entry entries[] = {
    { "workflow", "submit workflows, look at them, signal, cancel, resolve, erase", cli_workflow },
    { "status", "show what the agent says about itself", cli_status },
    { "state", "show what the agent's state amounts to", cli_state },
    { "clock", "show log time and wall time, accept a wall clock that jumped", cli_clock },
    { "log", "sign the head of the event log, read it through for damage", cli_log },
    { "benchmark", "measure a running agent", cli_benchmark },
    { "rule", "install, test and explain rules", NULL },
    { "approval", "list and decide what waits for a person", NULL },
    { "ledger", "show accounts and postings", NULL },
    { "schedule", "run workflows at given times", NULL },
    { "worker", "show queues and workers of task steps", NULL },
    { "peer", "show other agents", NULL },
    { "database", "look at Postgres, and say how to tune it", cli_database },
    { "profile", "profile a running agent", NULL },
    { "doctor", "look for what is wrong with the state or the machine", cli_doctor },
    { "config", "show and check the configuration", NULL },
    { .name = NULL },
};

int main(int argc, char **argv)
{
    static const struct command command = {
        .name = "daa-cli",
        .purpose = "Talk to a running daa-agent.",
        .shared = cli_options,
        .notes = "Exit status: 0 good, 1 failed, 2 wrong usage.",
    };
    const char *url = getenv("DAA_URL"), *token_file = getenv("DAA_TOKEN_FILE");
    if (url != NULL && url[0] != '\0')
        cli.url = url;
    if (token_file != NULL && token_file[0] != '\0')
        cli.token_file = token_file;
    budget_init(&cli.budget, CLI_MEMORY_MAX);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int status = command_dispatch(&command, entries, argc, argv);
    curl_global_cleanup();
    return command_end(&command, status);
}
