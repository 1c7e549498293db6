/* The life of one exchange, as libmicrohttpd calls it: headers, body, and on from there.
 *
 * Threads: the API thread of its connection. */
#ifndef TOOLS_AGENT_EXCHANGE_H
#define TOOLS_AGENT_EXCHANGE_H

#include <microhttpd.h>
#include <stddef.h>

struct api;
struct connection;
struct exchange;

struct exchange *exchange_new(struct api *api, struct connection *connection); /* NULL: no memory */
void exchange_free(struct exchange *exchange);                                 /* NULL is fine */

/* The headers are there: checks everything that can be known without the body. */
enum MHD_Result exchange_begin(struct exchange *exchange, const char *method, const char *url);
enum MHD_Result exchange_body(struct exchange *exchange, const char *bytes, size_t size);
/* The body is complete, or the connection was resumed. */
enum MHD_Result exchange_go_on(struct exchange *exchange);
/* The answer was sent, or the connection is lost. */
void exchange_end(struct exchange *exchange);

#endif
