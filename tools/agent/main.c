/* daa-agent: the daemon. */
#include "pgsync/pg.h"
#include "tools/agent/api.h"
#include "tools/agent/daemon.h"
#include "tools/agent/replicator.h"
#include "tools/command/command.h"
#include "tools/config/config.h"

#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    const char *file = NULL, *data_dir = NULL, *listen_at = NULL;
    bool check = false;
    const struct command_option options[] = {
        { "config", 'c', "FILE", COMMAND_TEXT, &file,
          "the configuration, TOML; without it the defaults serve" },
        { "data-dir", 'd', "DIR", COMMAND_TEXT, &data_dir,
          "where the event log and all else is kept\n([agent] data_dir)" },
        { "listen", 'l', "ADDR:PORT", COMMAND_TEXT, &listen_at,
          "loopback address of the HTTP API ([agent] listen);\nport 0 picks a free one" },
        { "check-config", 0, NULL, COMMAND_FLAG, &check,
          "check the configuration, print what is in effect, and exit" },
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-agent",
        .purpose = "Run workflows durably: the daemon.",
        .options = options,
        .notes = "Prints \"daa-agent ready URL\" when it serves. SIGTERM ends it in order.\n"
                 "Exit status: 0 after an orderly end, 1 when it could not start or the event\n"
                 "log failed, 2 for wrong usage.",
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return command_end(&command, status);
    struct config config;
    struct error error = { 0 };
    if (config_load(&config, file, environ, &error) < 0)
        return command_failed_error(&command, &error);
    for (size_t i = 0; i < config.warnings.count; i++)
        fprintf(stderr, "daa-agent: %s\n", config.warnings.items[i]);
    if ((data_dir && config_set(&config, "agent.data_dir", data_dir, &error) < 0) ||
        (listen_at && config_set(&config, "agent.listen", listen_at, &error) < 0))
        return command_misused(&command, "%s", error.text);
    if (check && api_check_listen(config.agent.listen, &error) < 0)
        return command_failed_error(&command, &error);
    if (check && config.database.url[0] && pg_check_url(config.database.url, &error) < 0)
        return command_failed(&command, "[database] url: %s", error.text);
    if (replicator_check(&config, &error) < 0)
        return command_failed_error(&command, &error);
    if (check) {
        struct text text;
        text_init(&text);
        config_print(&config, &text);
        fputs(text_string(&text), stdout);
        text_free(&text);
        status = COMMAND_GOOD;
    } else {
        status =
            daemon_run(&config, &error) < 0 ? command_failed_error(&command, &error) : COMMAND_GOOD;
    }
    config_free(&config);
    return command_end(&command, status);
}
