/* The servers that a url names, one at a time.
 *
 * libpq goes from one to the next by itself, but only when the first refuses: without blocking, its
 * connect_timeout is nobody's, and a machine that is off would be waited for until all time is
 * gone. So each is tried with a time of its own (pg.c).
 *
 * Pure. Threads: any. */
#ifndef PGSYNC_HOSTS_H
#define PGSYNC_HOSTS_H

/* Empty where the url says nothing: libpq's own defaults serve. */
struct host {
    char name[512]; /* or a socket's directory */
    char address[128];
    char port[16];
};

/* How many a url or key=value string names, at least 1. One whose order libpq itself chooses
 * (target_session_attrs=prefer-standby) counts as 1. */
unsigned hosts_count(const char *url);

/* The index-th of several. */
void hosts_pick(const char *url, unsigned index, struct host *host);

#endif
