/* What the kernel says of the disk. */
#include "log/format.h"
#include "tools/log/doctor.h"
#include "tools/log/words.h"

#include <inttypes.h>
#include <string.h>

static void add_number(struct findings *findings, const char *key, int64_t value)
{
    if (value >= 0)
        findings_number(findings, key, (uint64_t)value);
}

static void see_cache(struct findings *findings, const struct device *device)
{
    bool back = strcmp(device->write_cache, "write back") == 0;
    findings_text(findings, "write_cache", device->write_cache[0] ? device->write_cache : NULL);
    add_number(findings, "fua", device->fua);
    if (device->write_cache[0] == '\0')
        findings_add(findings, FINDING_NOTE, "write-cache", NULL,
                     "the kernel does not say whether the disk has a cache that loses power");
    else if (!back)
        findings_add(findings, FINDING_OK, "write-cache",
                     "if it has a cache that power takes all the same, no program can help: trust "
                     "only disks that keep their word",
                     "%s: a write that is done is on the disk, and a flush costs nothing",
                     device->write_cache);
    else if (device->fua == 1)
        findings_add(findings, FINDING_OK, "write-cache", NULL,
                     "write back with FUA: a durable write is one request");
    else
        findings_add(findings, FINDING_NOTE, "write-cache",
                     "a disk with FUA, or one whose cache is protected against loss of power, "
                     "makes durable writes faster",
                     "write back without FUA: each durable write is followed by a flush of the "
                     "disk's whole cache");
}

static void see_blocks(struct findings *findings, const struct device *device)
{
    int64_t logical = device->logical_block, physical = device->physical_block;
    add_number(findings, "logical", logical);
    add_number(findings, "physical", physical);
    if (logical > LOG_BLOCK_SIZE)
        findings_add(findings, FINDING_PROBLEM, "sectors",
                     "use a disk with sectors of 4096 bytes or less",
                     "sectors of %" PRId64 " bytes are larger than the log's blocks of %u", logical,
                     LOG_BLOCK_SIZE);
    else if (physical > LOG_BLOCK_SIZE)
        findings_add(findings, FINDING_NOTE, "sectors", NULL,
                     "%" PRId64 " bytes, inside the disk %" PRId64
                     ": it may read before it writes a block of %u",
                     logical, physical, LOG_BLOCK_SIZE);
    else if (logical > 0)
        findings_add(findings, FINDING_OK, "sectors", NULL,
                     "%" PRId64 " bytes, inside the disk %" PRId64, logical, physical);
}

static void see_zeroes(struct findings *findings, const struct device *device)
{
    char words[WORDS_SIZE];
    add_number(findings, "write_zeroes_max_bytes", device->write_zeroes_max);
    if (device->write_zeroes_max > 0)
        findings_add(findings, FINDING_OK, "write-zeroes", NULL,
                     "the disk fills up to %s with zeros by itself",
                     words_of_bytes(words, (uint64_t)device->write_zeroes_max));
    else if (device->write_zeroes_max == 0)
        findings_add(findings, FINDING_NOTE, "write-zeroes", NULL,
                     "the disk cannot fill with zeros by itself: each spare segment is written "
                     "once in full before it is used, off the path of commits");
}

void doctor_device(struct findings *findings, const struct device *device)
{
    char words[WORDS_SIZE];
    findings_number(findings, "major", device->major);
    findings_number(findings, "minor", device->minor);
    if (!device->found) {
        findings_add(findings, FINDING_NOTE, "disk",
                     "look at the disks below it with daa-log doctor DEVICE",
                     "the kernel names no block device for this file system (%u:%u)", device->major,
                     device->minor);
        return;
    }
    findings_text(findings, "name", device->name);
    add_number(findings, "size", device->size);
    add_number(findings, "rotational", device->rotational);
    findings_text(findings, "scheduler", device->scheduler[0] ? device->scheduler : NULL);
    findings_add(
        findings, device->rotational == 1 ? FINDING_NOTE : FINDING_OK, "disk",
        device->rotational == 1
            ? "if it does, expect about a hundred durable writes a second; an SSD makes thousands"
            : NULL,
        "%s, %s%s%s%s", device->name,
        words_of_bytes(words, device->size > 0 ? (uint64_t)device->size : 0),
        device->rotational == 1 ? ", which the kernel says turns" : "",
        device->scheduler[0] != '\0' ? ", scheduler " : "", device->scheduler);
    if (device->read_only == 1)
        findings_add(findings, FINDING_PROBLEM, "read-only",
                     "see dmesg for why: a disk that fails turns read-only", "%s can only be read",
                     device->name);
    see_cache(findings, device);
    see_blocks(findings, device);
    see_zeroes(findings, device);
}

void doctor_direct(struct findings *findings, const struct device *device)
{
    int64_t memory = device->direct_memory, offset = device->direct_offset;
    add_number(findings, "memory", memory);
    add_number(findings, "offset", offset);
    if (offset < 0)
        findings_add(findings, FINDING_NOTE, "direct-io", NULL,
                     "the kernel does not say how O_DIRECT must be aligned; 4096 is used");
    else if (offset == 0)
        findings_add(findings, FINDING_WARNING, "direct-io",
                     "choose a file system with O_DIRECT (ext4, xfs): through the page cache a "
                     "writer's reads and writes get in each other's way",
                     "there is no O_DIRECT here");
    else if (offset > LOG_BLOCK_SIZE || memory > LOG_BLOCK_SIZE)
        findings_add(findings, FINDING_PROBLEM, "direct-io",
                     "use a file system and a disk with blocks of 4096 bytes or less",
                     "O_DIRECT asks for offsets in steps of %" PRId64 " and memory of %" PRId64
                     ", and the log's blocks have %u bytes",
                     offset, memory, LOG_BLOCK_SIZE);
    else
        findings_add(findings, FINDING_OK, "direct-io", NULL,
                     "offsets in steps of %" PRId64 ", memory of %" PRId64
                     "; the log uses 4096 for both",
                     offset, memory);
    add_number(findings, "min", device->atomic_min);
    add_number(findings, "max", device->atomic_max);
    if (device->atomic_max >= LOG_BLOCK_SIZE)
        findings_add(findings, FINDING_OK, "atomic-writes", NULL,
                     "from %" PRId64 " to %" PRId64 " bytes: the log counts on sectors of 512",
                     device->atomic_min, device->atomic_max);
    else
        findings_add(findings, FINDING_OK, "atomic-writes", NULL,
                     "%s; the log counts on nothing but sectors of 512 bytes",
                     device->atomic_max < 0 ? "the kernel does not say" : "none are promised");
}
