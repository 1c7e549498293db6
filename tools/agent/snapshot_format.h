/* The bytes around a snapshot's documents; for tools/agent/snapshot*.c only. */
#ifndef TOOLS_AGENT_SNAPSHOT_FORMAT_H
#define TOOLS_AGENT_SNAPSHOT_FORMAT_H

#include "tools/agent/snapshot.h"

#define SNAPSHOT_VERSION 1u
#define SNAPSHOT_HEADER_SIZE 128u
#define SNAPSHOT_TRAILER_SIZE 80u
#define SNAPSHOT_TEMPORARY ".snap-new"

/* Sizes of what a document may be: more is damage, found before memory is asked for. */
#define SNAPSHOT_VALUE_SIZE_MAX (1u << 30)

void snapshot_header_encode(uint8_t target[SNAPSHOT_HEADER_SIZE], const struct snapshot_info *info);
/* 0, ERROR_DAMAGED or ERROR_NEWER. */
int snapshot_header_decode(const uint8_t source[SNAPSHOT_HEADER_SIZE], struct snapshot_info *info);

/* `crc`: of all bytes before it, since zstd passes over bits that it has no use for. */
void snapshot_trailer_encode(uint8_t target[SNAPSHOT_TRAILER_SIZE],
                             const struct snapshot_info *info, uint32_t crc);
/* Documents, bytes and digest; ERROR_DAMAGED also when it counts others than the header. */
int snapshot_trailer_decode(const uint8_t source[SNAPSHOT_TRAILER_SIZE], struct snapshot_info *info,
                            uint32_t *crc);

#endif
