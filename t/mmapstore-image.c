/* The image of the active segment, as its writer and as readers in other processes see it. */
#include "mmapstore/image.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scratch.h"
#include "tap.h"

enum { SMALL = 256 * 1024, LARGE = 64 * 1024 * 1024, FRAME = 4096, FRAMES = 50, NOBODY = 65534 };

static const uint8_t uuid[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };

static void create(struct image *image, uint64_t size)
{
    struct error error = { 0 };
    if (image_create(image, size, &error) < 0)
        tap_bail_out("%s", error.text);
}

static void announce(const struct image *image, const char *dir)
{
    struct error error = { 0 };
    if (image_announce(image, dir, &error) < 0)
        tap_bail_out("%s", error.text);
}

static const char *new_dir(const char *name)
{
    const char *dir = scratch_path(name);
    if (mkdir(dir, 0755) < 0)
        tap_bail_out("cannot make %s", dir);
    return dir;
}

static void the_memory_is_sealed(void)
{
    struct image image;
    create(&image, SMALL);
    ok((fcntl(image.fd, F_GETFD) & FD_CLOEXEC) != 0, "no program that we start inherits it");
    ok(ftruncate(image.fd, SMALL / 2) < 0 && errno == EPERM, "it cannot shrink");
    ok(ftruncate(image.fd, SMALL * 2) < 0 && errno == EPERM, "nor grow");
    ok(pwrite(image.fd, "x", 1, 0) < 0 && errno == EPERM, "nor be written by descriptor");
    void *other = mmap(NULL, SMALL, PROT_READ | PROT_WRITE, MAP_SHARED, image.fd, 0);
    ok(other == MAP_FAILED && errno == EPERM, "nor mapped for writing once more");
    ok(fcntl(image.fd, F_ADD_SEALS, F_SEAL_WRITE) < 0 && errno == EPERM,
       "nor sealed against its own writer");
    image.bytes[SMALL - 1] = 'x';
    is_int(image.bytes[SMALL - 1], 'x', "only the first mapping can write");
    image_close(&image);
    struct error error = { 0 };
    is_int(image_create(&image, (uint64_t)1 << 60, &error) < 0, true, "what is too large: %s",
           error.text);
}

static void *raise_it(void *interrupt)
{
    interrupt_raise(interrupt);
    return NULL;
}

static void an_interrupt_ends_a_wait(void)
{
    struct image image;
    struct interrupt interrupt = { .word = 0 };
    pthread_t thread;
    create(&image, SMALL);
    uint32_t wake = atomic_load(&image.control->wake);
    ok(!image_wait(&image, wake, 1000000, &interrupt), "one that is not raised lets time pass");
    ok(!interrupt_wait(&interrupt, 1000000), "also without an image");
    if (pthread_create(&thread, NULL, raise_it, &interrupt) != 0)
        tap_bail_out("no thread");
    ok(!image_wait(&image, wake, UINT64_MAX, &interrupt), "raised, it ends a wait without end");
    pthread_join(thread, NULL);
    ok(interrupt_wait(&interrupt, UINT64_MAX), "and every one after that");
    ok(!image_wait(&image, wake, UINT64_MAX, &interrupt), "also for an image");
    image_publish(&image, 1, 2 * FRAME);
    ok(image_wait(&image, wake, UINT64_MAX, &interrupt), "what was published is told all the same");
    image_close(&image);
}

static void a_reader_sees_what_was_published(void)
{
    struct image writer, reader;
    struct error error = { 0 };
    const char *dir = new_dir("published");
    is_int(image_attach(&reader, dir, &error), ERROR_NOT_FOUND, "no announcement, no image");
    create(&writer, SMALL);
    image_assign(&writer, uuid, 7, 99, 1000, FRAME);
    announce(&writer, dir);
    if (!ok(image_attach(&reader, dir, &error) == 0, "a reader finds the image"))
        tap_note("%s", error.text);
    const struct image_control *control = reader.control;
    is_mem(control->log_uuid, uuid, 16, "it is of this log");
    ok(control->segment_no == 7 && control->salt == 99, "of this segment");
    is_int(control->capacity, SMALL, "as large as it is");
    is_int(atomic_load(&control->generation), 2, "in its first generation");
    is_int(atomic_load(&control->durable_seq), 1000, "with what is durable already");

    uint32_t wake = atomic_load(&control->wake);
    ok(!image_wait(&reader, wake, 0, NULL), "waiting for nothing ends by its timeout");
    ok(!image_wait(&reader, wake, 1000000, NULL), "a short one too");
    memset(writer.bytes + FRAME, 'f', FRAME);
    image_publish(&writer, 1001, 2 * FRAME);
    ok(image_wait(&reader, wake, UINT64_MAX, NULL), "what was published ends a wait at once");
    is_int(atomic_load(&control->durable_seq), 1001, "the sequence number has moved");
    is_int(atomic_load(&control->durable_end), 2 * FRAME, "and the end");
    ok(reader.bytes[FRAME] == 'f' && reader.bytes[2 * FRAME - 1] == 'f', "the bytes are there");
    void *writable = mmap(NULL, SMALL, PROT_READ | PROT_WRITE, MAP_SHARED, reader.fd, 0);
    ok(writable == MAP_FAILED, "a reader cannot write");

    wake = atomic_load(&control->wake);
    image_end(&writer);
    ok(image_wait(&reader, wake, UINT64_MAX, NULL) && atomic_load(&control->ended) == 1,
       "the end of the segment is told");
    wake = atomic_load(&control->wake);
    image_assign(&writer, uuid, 9, 100, 2000, FRAME);
    ok(image_wait(&reader, wake, UINT64_MAX, NULL), "so is that the image is another segment's");
    is_int(atomic_load(&control->generation), 4, "by its generation");
    is_int(atomic_load(&control->ended), 0, "which has not ended");
    image_close(&reader);
    is_int(image_attach(&reader, dir, &error), ERROR_MISMATCH, "an old announcement is no use");
    announce(&writer, dir);
    is_int(image_attach(&reader, dir, &error), 0, "a new one is");
    is_int(reader.control->segment_no, 9, "for the new segment");
    image_close(&reader);
    image_withdraw(dir);
    is_int(image_attach(&reader, dir, &error), ERROR_NOT_FOUND, "a withdrawn one is none");
    image_close(&writer);
    struct stat status;
    ok(stat(scratch_path("published/image.tmp"), &status) < 0, "no temporary file is left");
}

static int attach_to(const char *dir, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* What a reader makes of an announcement. */
static int attach_to(const char *dir, const char *format, ...)
{
    char line[256], path[4200];
    snprintf(path, sizeof path, "%s/image", dir);
    va_list arguments;
    struct error error = { 0 };
    struct image image;
    va_start(arguments, format);
    int size = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, line, (size_t)size) != size)
        tap_bail_out("cannot write %s", path);
    close(fd);
    int code = image_attach(&image, dir, &error);
    if (code == 0)
        image_close(&image);
    else if (error.text[0] == '\0')
        tap_note("no sentence for \"%s\"", line);
    return code;
}

static void a_false_announcement_is_refused(void)
{
    struct image image;
    struct error error = { 0 };
    const char *dir = new_dir("false");
    long pid;
    unsigned long long start, namespace, generation;
    int fd;
    create(&image, SMALL);
    image_assign(&image, uuid, 7, 99, 0, FRAME);
    announce(&image, dir);
    FILE *file = fopen(scratch_path("false/image"), "re");
    int fields = fscanf(file, "%ld %llu %d %llu %llu", &pid, &start, &fd, &namespace, &generation);
    fclose(file);
    ok(fields == 5 && pid == getpid() && fd == image.fd, "an announcement is five numbers");
#define LINE "%ld %llu %d %llu %llu\n"
    is_int(attach_to(dir, LINE, pid, start, fd, namespace, generation), 0, "the true one is good");
    is_int(attach_to(dir, "%s", ""), ERROR_MISMATCH, "an empty one is not");
    is_int(attach_to(dir, "noise %ld", pid), ERROR_MISMATCH, "nor is noise");
    is_int(attach_to(dir, LINE, -1L, start, fd, namespace, generation), ERROR_MISMATCH,
           "nor a negative pid");
    is_int(attach_to(dir, LINE, pid, start + 1, fd, namespace, generation), ERROR_NOT_FOUND,
           "a process that started at another time is another process");
    is_int(attach_to(dir, LINE, pid, start, fd, namespace + 1, generation), ERROR_NOT_FOUND,
           "so is one of another pid namespace");
    is_int(attach_to(dir, LINE, 4194305L, start, fd, namespace, generation), ERROR_NOT_FOUND,
           "a pid that cannot be is none");
    is_int(attach_to(dir, LINE, pid, start, 999, namespace, generation), ERROR_NOT_FOUND,
           "a descriptor that is not open is none");
    is_int(attach_to(dir, LINE, pid, start, fd, namespace, generation + 2), ERROR_MISMATCH,
           "another generation is another segment");

    int other = open(scratch_path("false/other"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ok(ftruncate(other, SMALL) == 0, "a file that can be cut");
    is_int(attach_to(dir, LINE, pid, start, other, namespace, generation), ERROR_MISMATCH,
           "is not an image");
    close(other);
    other = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    ok(ftruncate(other, SMALL) == 0, "memory that can be cut");
    is_int(attach_to(dir, LINE, pid, start, other, namespace, generation), ERROR_MISMATCH,
           "is not one either");
    fcntl(other, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE);
    is_int(attach_to(dir, LINE, pid, start, other, namespace, 0ULL), ERROR_MISMATCH,
           "nor is sealed memory without the magic");
    close(other);
    image.control->capacity++;
    is_int(attach_to(dir, LINE, pid, start, fd, namespace, generation), ERROR_MISMATCH,
           "nor an image of another size than it says");
    image.control->capacity--;

    pid_t child = fork();
    if (child == 0) { /* its own image, announced; then it is gone */
        _exit(image_announce(&image, dir, &error) == 0 ? 0 : 1);
    }
    waitpid(child, NULL, 0);
    struct image reader;
    is_int(image_attach(&reader, dir, &error), ERROR_NOT_FOUND, "a process that is gone has none");
    ok(strstr(error.text, "gone") != NULL, "and is named: %s", error.text);
    image_close(&image);
}

/* Below: a writer and a reader, two processes. They take turns over two pipes, so that each frame
 * finds the reader waiting or about to wait; a wake that is lost hangs, and the alarm ends it. */

static bool tell(int fd)
{
    return write(fd, "x", 1) == 1;
}

static bool hear(int fd)
{
    char byte;
    return read(fd, &byte, 1) == 1;
}

static const char *follow(const struct image *image, int to_writer)
{
    const struct image_control *control = image->control;
    uint32_t seen = atomic_load_explicit(&control->wake, memory_order_acquire);
    uint64_t checked = 1;
    while (checked <= FRAMES) {
        if (!tell(to_writer) || !image_wait(image, seen, UINT64_MAX, NULL))
            return "reader: woken for nothing";
        seen = atomic_load_explicit(&control->wake, memory_order_acquire);
        uint64_t end = atomic_load_explicit(&control->durable_end, memory_order_acquire);
        for (; checked < end / FRAME; checked++) {
            const uint8_t *frame = image->bytes + checked * FRAME;
            if (frame[0] != (uint8_t)checked || memcmp(frame, frame + 1, FRAME - 1) != 0)
                return "reader: a published frame has other bytes";
        }
    }
    uint64_t generation = atomic_load_explicit(&control->generation, memory_order_acquire);
    if (!tell(to_writer) || !image_wait(image, seen, UINT64_MAX, NULL) || generation != 2 ||
        atomic_load_explicit(&control->generation, memory_order_acquire) == 2)
        return "reader: a new generation is not seen";
    return "";
}

static const char *read_image(const char *dir, int to_writer, int from_writer)
{
    struct image image, again;
    struct error error = { 0 };
    static char text[1200];
    if (image_attach(&image, dir, &error) < 0) {
        snprintf(text, sizeof text, "reader: %s", error.text);
        return text;
    }
    const char *wrong = follow(&image, to_writer);
    if (wrong[0] == '\0' && (!tell(to_writer) || !hear(from_writer)))
        wrong = "reader: the writer is gone";
    if (wrong[0] == '\0' && image_attach(&again, dir, &error) < 0)
        wrong = "reader: the new announcement is no good";
    if (wrong[0] == '\0' && again.control->segment_no != 8)
        wrong = "reader: the new announcement is for another segment";
    return wrong;
}

static const char *write_image(struct image *image, const char *dir, int to_reader, int from_reader)
{
    struct error error = { 0 };
    for (unsigned i = 1; i <= FRAMES; i++) {
        if (!hear(from_reader))
            return "writer: the reader is gone";
        memset(image->bytes + (size_t)i * FRAME, (int)i, FRAME);
        image_publish(image, i, (uint64_t)(i + 1) * FRAME);
    }
    if (!hear(from_reader))
        return "writer: the reader is gone";
    image_assign(image, uuid, 8, 100, FRAMES, FRAME);
    if (image_announce(image, dir, &error) < 0)
        return "writer: the image cannot be announced again";
    return hear(from_reader) && tell(to_reader) ? "" : "writer: the reader is gone";
}

static _Noreturn void finish(int report, const char *wrong)
{
    _exit(write(report, wrong, strlen(wrong)) < 0);
}

/* In a process of its own, as `uid` (0: as it is), with an ordinary user's limit on locked
 * memory. What goes wrong is written to `report`. */
static _Noreturn void be_a_writer(const char *dir, uint64_t size, uid_t uid, int report)
{
    struct rlimit locked = { 8 << 20, 8 << 20 };
    struct image image;
    struct error error = { 0 };
    int to_reader[2], to_writer[2];
    alarm(100);
    setrlimit(RLIMIT_MEMLOCK, &locked);
    if (uid != 0 && (setgroups(0, NULL) < 0 || setgid(uid) < 0 || setuid(uid) < 0))
        finish(report, "cannot become another user");
    prctl(PR_SET_DUMPABLE, 1); /* as after exec(): else /proc/PID/fd stays root's */
    if (image_create(&image, size, &error) < 0)
        finish(report, error.text);
    image_assign(&image, uuid, 7, 99, 0, FRAME);
    if (image_announce(&image, dir, &error) < 0)
        finish(report, error.text);
    if (pipe2(to_reader, O_CLOEXEC) < 0 || pipe2(to_writer, O_CLOEXEC) < 0)
        finish(report, "no pipe");
    pid_t reader = fork();
    if (reader == 0) {
        alarm(100);
        close(to_writer[0]);
        close(to_reader[1]);
        munmap(image.bytes, image.size); /* it has to find its own way in */
        close(image.fd);
        finish(report, read_image(dir, to_writer[1], to_reader[0]));
    }
    close(to_writer[1]);
    close(to_reader[0]);
    const char *wrong = write_image(&image, dir, to_reader[1], to_writer[0]);
    close(to_reader[1]);
    waitpid(reader, NULL, 0);
    image_withdraw(dir);
    finish(report, wrong);
}

static const char *wrong_with(const char *dir, uint64_t size, uid_t uid)
{
    static char text[2048];
    int report[2];
    if (pipe2(report, O_CLOEXEC) < 0)
        tap_bail_out("no pipe");
    pid_t writer = fork();
    if (writer == 0)
        be_a_writer(dir, size, uid, report[1]);
    close(report[1]);
    size_t length = 0;
    for (ssize_t got = 1; got > 0; length += got > 0 ? (size_t)got : 0)
        got = read(report[0], text + length, sizeof text - 1 - length);
    text[length] = '\0';
    close(report[0]);
    int status;
    waitpid(writer, &status, 0);
    if (status != 0 && length == 0)
        snprintf(text, sizeof text, "the writer ended with status 0x%x", status);
    return text;
}

static void another_process_follows(void)
{
    const char *dir = new_dir("follow");
    is_str(wrong_with(dir, SMALL, 0), "", "another process follows %d frames and a roll", FRAMES);
    is_str(wrong_with(dir, LARGE, 0), "", "also with an image of 64 MiB");
    if (getuid() != 0) {
        tap_note("as an unprivileged user, which is the harder case");
        return;
    }
    if (chmod(scratch_dir(), 0711) < 0 || chown(dir, NOBODY, NOBODY) < 0)
        tap_bail_out("cannot give %s away", dir);
    is_str(wrong_with(dir, LARGE, NOBODY), "", "also as an unprivileged user who may lock 8 MiB");
}

static void another_user_is_refused(void)
{
    struct image image, reader;
    struct error error = { 0 };
    const char *dir = new_dir("refused");
    bool root = getuid() == 0;
    chmod(scratch_dir(), 0711);
    create(&image, SMALL);
    image_assign(&image, uuid, 7, 99, 0, FRAME);
    announce(&image, dir);
    if (!root) /* one user cannot be two, but can close his own /proc/PID/fd to himself */
        prctl(PR_SET_DUMPABLE, 0);
    pid_t child = fork();
    if (child == 0) {
        close(image.fd);
        if (root && (setgroups(0, NULL) < 0 || setgid(NOBODY) < 0 || setuid(NOBODY) < 0))
            _exit(2);
        _exit(image_attach(&reader, dir, &error) == -EACCES ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    is_int(status, 0, "a reader who may not look into the writer's process gets -EACCES");
    prctl(PR_SET_DUMPABLE, 1);
    image_close(&image);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    the_memory_is_sealed();
    an_interrupt_ends_a_wait();
    a_reader_sees_what_was_published();
    a_false_announcement_is_refused();
    another_process_follows();
    another_user_is_refused();
    return tap_done();
}
