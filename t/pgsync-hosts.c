/* The servers that a url names, one at a time. */
#include "pgsync/hosts.h"

#include "tap.h"

static const struct {
    const char *url;
    unsigned count;
    struct host hosts[3];
} cases[] = {
    { "postgresql://daa@one/db", 1, { { .name = "one" } } },
    { "postgresql:///db", 1, { { .name = "" } } },
    { "dbname=db", 1, { { .name = "" } } },
    { "postgresql://daa@one:1,two:2,three:3/db?target_session_attrs=read-write",
      3,
      { { "one", "", "1" }, { "two", "", "2" }, { "three", "", "3" } } },
    { "postgresql://daa@one:1,two/db", 2, { { "one", "", "1" }, { "two", "", "5432" } } },
    { "host=one,two port=7 dbname=db", 2, { { "one", "", "7" }, { "two", "", "7" } } },
    { "host=one,two", 2, { { "one", "", "" }, { "two", "", "" } } },
    { "hostaddr=127.0.0.1,127.0.0.2 port=1,2",
      2,
      { { "", "127.0.0.1", "1" }, { "", "127.0.0.2", "2" } } },
    { "host=one,two hostaddr=127.0.0.1,127.0.0.2",
      2,
      { { "one", "127.0.0.1", "" }, { "two", "127.0.0.2", "" } } },
    { "postgresql://%2Fa%2Fb:1,%2Fc:2/db", 2, { { "/a/b", "", "1" }, { "/c", "", "2" } } },
    { "postgresql://one,two/db?target_session_attrs=prefer-standby", 1, { { .name = "" } } },
    { "postgresql://[::1/x", 1, { { .name = "" } } },
};

int main(void)
{
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        is_int(hosts_count(cases[i].url), cases[i].count, "%s", cases[i].url);
        for (unsigned j = 0; cases[i].count > 1 && j < cases[i].count; j++) {
            struct host host;
            hosts_pick(cases[i].url, j, &host);
            is_str(host.name, cases[i].hosts[j].name, "host %u", j);
            is_str(host.address, cases[i].hosts[j].address, "its address");
            is_str(host.port, cases[i].hosts[j].port, "its port");
        }
    }
    return tap_done();
}
