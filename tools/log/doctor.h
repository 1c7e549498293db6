/* The parts of daa-log doctor. Each looks and adds its findings. Threads: the main thread. */
#ifndef TOOLS_LOG_DOCTOR_H
#define TOOLS_LOG_DOCTOR_H

#include "iouring/device.h"
#include "tools/log/findings.h"

void doctor_device(struct findings *findings, const struct device *device);
/* What O_DIRECT asks for there, and what is written whole or not at all. */
void doctor_direct(struct findings *findings, const struct device *device);
/* The filesystem of the directory, how it is mounted, and what is free. */
void doctor_filesystem(struct findings *findings, const char *dir);
/* How long durable writes take; writes to a file without a name in `dir`. */
void doctor_writes(struct findings *findings, const char *dir);
/* The kernel, io_uring and the limits of a process. */
void doctor_machine(struct findings *findings);
/* The log in `dir`, if there is one: spares, room for more, and what its newest opening chose. */
void doctor_log(struct findings *findings, const char *dir);

#endif
