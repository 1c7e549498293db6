#include "log/fork.h"

#include "iouring/file.h"

#include <string.h>

int log_fork_request(const char *dir, struct error *error)
{
    static const char text[] = "the next opening of this log goes on under a new uuid\n";
    int result = file_replace(dir, LOG_FORK_NAME, text, strlen(text), error);
    return result < 0 ? error_wrap(error, result, "ask for a fork of log %s", dir) : 0;
}
