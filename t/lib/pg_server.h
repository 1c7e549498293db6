/* A throw-away PostgreSQL server for tests in C: t/lib/PgServer.pm in a Perl of its own, which ends
 * with the test and takes the server along.
 *
 * Threads: one at a time. */
#ifndef PG_SERVER_H
#define PG_SERVER_H

/* The url of a server that answers. Skips the whole test when there can be none here. `settings`
 * is a piece of Perl: "max_connections => 10". */
const char *pg_server_start(const char *settings);

/* Runs Perl with the server in $server, and gives what it gives, as one line:
 * pg_server_do("$server->crash"). */
const char *pg_server_do(const char *perl);

/* Stops it. */
void pg_server_end(void);

#endif
