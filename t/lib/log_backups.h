/* What the tests of backup and restore share: a log to copy, and whether a copy is one.
 *
 * Threads: one. */
#ifndef LOG_BACKUPS_H
#define LOG_BACKUPS_H

#include "log/backup.h"
#include "log/restore.h"
#include "log_commands.h"

#include <stdbool.h>
#include <stdint.h>

#define BACKUP_START_NS 1700000000000000000u

/* Opens a log of small segments with the plain engine, which log_backups_close() closes too. */
struct log *log_backups_open(const char *dir, struct io **io, uint64_t *last_time_ns);
void log_backups_close(struct log **log, struct io **io);
/* As a crash would. */
void log_backups_abandon(struct log **log, struct io **io);

/* Appends `count` commands of all sizes, some larger than a frame, and waits until they are
 * durable. */
bool log_backups_fill(struct log *log, struct log_commands *commands, uint32_t count);

/* Opens the log, appends as much to it and closes it; the last sequence number. */
uint64_t log_backups_go_on(const char *dir, uint32_t count);

/* True if log_verify() calls it sound, and it ends with event `last_seq`; else a note says why. */
bool log_backups_sound(const char *dir, uint64_t last_seq);

/* True if both hold the same records, byte by byte, from the first of `copy` on up to `last_seq`,
 * where `copy` ends; else a note says which differs. */
bool log_backups_same(const char *dir, const char *copy, uint64_t last_seq);

/* Answer an error's code; its sentence is in log_backups_error. */
int log_backups_make(const char *dir, const char *target, uint64_t since_seq,
                     struct log_backup_result *result);
int log_backups_restore(const char *const *backups, size_t count, const char *dir,
                        struct log_restore_result *result);

extern struct error log_backups_error;

/* True if its sentence has `part`; else a note shows it. */
bool log_backups_says(const char *part);

/* Of a file of a backup: whether it is there, its bytes, which the caller frees, and new ones. */
bool log_backups_has(const char *dir, const char *name);
unsigned char *log_backups_keep(const char *dir, const char *name, unsigned long *size);
void log_backups_put(const char *dir, const char *name, const unsigned char *bytes,
                     unsigned long size);

#endif
