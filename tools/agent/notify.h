/* Tells the service manager how we are (the sd_notify protocol: one datagram to $NOTIFY_SOCKET).
 *
 * Threads: any. */
#ifndef TOOLS_AGENT_NOTIFY_H
#define TOOLS_AGENT_NOTIFY_H

/* "READY=1", "STOPPING=1", "STATUS=...". Does nothing when nobody asked to be told. */
void notify_send(const char *state);

#endif
