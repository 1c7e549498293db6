#include "pgsync/hosts.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>

/* NULL, or what the url says. */
static const char *value_of(const PQconninfoOption *options, const char *keyword)
{
    for (; options != NULL && options->keyword != NULL; options++)
        if (strcmp(options->keyword, keyword) == 0)
            return options->val;
    return NULL;
}

static unsigned count_items(const char *list)
{
    unsigned count = list == NULL || *list == '\0' ? 0 : 1;
    for (; count > 0 && (list = strchr(list, ',')) != NULL; list++)
        count++;
    return count;
}

/* An item that is missing is empty. */
static void copy_item(char *target, size_t size, const char *list, unsigned index)
{
    target[0] = '\0';
    if (list == NULL)
        return;
    for (; index > 0 && list != NULL; index--)
        list = strchr(list, ',') != NULL ? strchr(list, ',') + 1 : NULL;
    if (list != NULL)
        (void)snprintf(target, size, "%.*s", (int)strcspn(list, ","), list);
}

unsigned hosts_count(const char *url)
{
    PQconninfoOption *options = PQconninfoParse(url, NULL);
    const char *wanted = value_of(options, "target_session_attrs");
    unsigned names = count_items(value_of(options, "host"));
    unsigned addresses = count_items(value_of(options, "hostaddr"));
    unsigned count = names > addresses ? names : addresses;
    if (count == 0 || (wanted != NULL && strcmp(wanted, "prefer-standby") == 0))
        count = 1;
    PQconninfoFree(options);
    return count;
}

void hosts_pick(const char *url, unsigned index, struct host *host)
{
    PQconninfoOption *options = PQconninfoParse(url, NULL);
    const char *ports = value_of(options, "port");
    copy_item(host->name, sizeof host->name, value_of(options, "host"), index);
    copy_item(host->address, sizeof host->address, value_of(options, "hostaddr"), index);
    copy_item(host->port, sizeof host->port, ports, count_items(ports) == 1 ? 0 : index);
    /* "one:7000,two" means libpq's own port for the second. */
    if (ports != NULL && host->port[0] == '\0')
        (void)snprintf(host->port, sizeof host->port, "5432");
    PQconninfoFree(options);
}
