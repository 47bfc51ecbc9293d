/* volume_disk.c - volumes that are disks: their file, its size, and who it is served to.
 *
 * A disk is a sparse file beside its record.  Whoever uses it holds its lock
 * (resource/storage/leaf/lock.h), which goes with the process: so a disk that is served,
 * by us or by another tool, is neither resized nor deleted, and needs no record of it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "node/verb/private.h"
#include "resource/storage/leaf/lock.h"

#define SECTOR_BYTES 512
#define WORDS_MOST   12
#define ANSWER_FD    3
#define DISK_FD      4

bool volume_is_disk(const json_t *volume)
{
    const char *kind = json_string_value(json_object_get(volume, "kind"));

    return kind != NULL && strcmp(kind, "disk") == 0;
}

static const char *path_of(const json_t *volume)
{
    const char *path = json_string_value(json_object_get(volume, "path"));

    return path != NULL ? path : "";
}

static const char *name_of(const json_t *volume)
{
    const char *name = json_string_value(json_object_get(volume, "name"));

    return name != NULL ? name : "";
}

int volume_disk_make(const char *path, uint64_t bytes)
{
    SCOPED(scope_close) int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0 || ftruncate(fd, (off_t)((bytes + SECTOR_BYTES - 1) &
                                        ~(uint64_t)(SECTOR_BYTES - 1))) != 0) {
        return -errno;
    }
    return fsync(fd) == 0 ? 0 : -errno;
}

void volume_disk_describe(json_t *volume)
{
    struct stat s;

    if (stat(path_of(volume), &s) == 0) {
        (void)json_object_set_new(volume, "used_bytes",
                                  json_integer((json_int_t)s.st_blocks * SECTOR_BYTES));
    }
}

/* The disk, opened and locked for us alone; -errno. */
static int open_alone(const json_t *volume, struct err *e)
{
    SCOPED(scope_close) int fd = open(path_of(volume), O_RDWR | O_CLOEXEC);
    int r = fd < 0 ? err_sys(e, -errno, "cannot open '%s'", path_of(volume)) : 0;

    if (r == 0 && leaf_lock(fd, true, false, name_of(volume), NULL) != 0) {
        r = err_set(e, -EBUSY, "it is being served, or another program has it open");
    }
    return r < 0 ? r : scope_take_fd(&fd);
}

int volume_disk_free(const json_t *volume, struct err *e)
{
    SCOPED(scope_close) int fd = open_alone(volume, e);

    if (fd == -ENOENT) {
        err_clear(e); /* a deletion that was killed, or a file somebody took away */
    }
    return fd < 0 && fd != -ENOENT ? fd : 0;
}

int volume_disk_resize(json_t *volume, const json_t *order, struct err *e)
{
    json_int_t size = json_integer_value(json_object_get(order, "size"));
    SCOPED(scope_close) int fd = -1;
    struct stat s;

    if (!volume_is_disk(volume)) {
        return err_set(e, -EINVAL, "cannot resize volume '%s': it is a directory",
                       name_of(volume));
    }
    if (size <= 0 || size % SECTOR_BYTES != 0) {
        return err_set(e, -EINVAL, "cannot resize volume '%s': %lld is no multiple of %d",
                       name_of(volume), (long long)size, SECTOR_BYTES);
    }
    fd = open_alone(volume, e);
    if (fd < 0 || fstat(fd, &s) != 0) {
        return err_wrap(e, "cannot resize volume '%s'", name_of(volume));
    }
    if (size < s.st_size && !json_is_true(json_object_get(order, "shrink"))) {
        return err_set(e, -EINVAL,
                       "cannot resize volume '%s': it has %lld bytes, and what is behind "
                       "the new end would be lost (see '--shrink')",
                       name_of(volume), (long long)s.st_size);
    }
    if (ftruncate(fd, size) != 0 || fsync(fd) != 0) {
        return err_sys(e, -errno, "cannot resize volume '%s'", name_of(volume));
    }
    return json_object_set_new(volume, "size_bytes", json_integer(size)) == 0
               ? 0
               : err_set(e, -ENOMEM, "out of memory");
}

/* ---- serving ---- */

struct serving {
    char program[PATH_MAX];
    char socket[PATH_MAX + 16];
    char tls[PATH_MAX + 8];
    char fd[16];
    char *words[WORDS_MOST];
    unsigned count;
};

static void add(struct serving *s, const char *word)
{
    s->words[s->count++] = (char *)(uintptr_t)word; /* exec does not change it */
    s->words[s->count] = NULL;
}

static void add_flag(struct serving *s, const json_t *order, const char *key,
                     const char *word)
{
    if (json_is_true(json_object_get(order, key))) {
        add(s, word);
    }
}

static int describe(struct serving *s, const struct node *n, const json_t *order,
                    struct err *e)
{
    const char *socket = json_string_value(json_object_get(order, "nbd"));
    const char *tls = json_string_value(json_object_get(order, "tls"));

    if (socket == NULL) {
        return err_set(e, -EINVAL, "say how to serve it: --nbd SOCKET");
    }
    if (tls == NULL && json_is_true(json_object_get(order, "tls_verify"))) {
        return err_set(e, -EINVAL, "--tls-verify wants --tls DIRECTORY");
    }
    (void)str_print(s->program, sizeof s->program, "%s/volume", n->libexec);
    (void)str_print(s->socket, sizeof s->socket, "socket=%s", socket);
    (void)str_print(s->fd, sizeof s->fd, "fd=%d", DISK_FD);
    add(s, "volume");
    add(s, "nbd");
    add(s, s->fd);
    add(s, s->socket);
    if (tls != NULL) {
        (void)str_print(s->tls, sizeof s->tls, "tls=%s", tls);
        add(s, s->tls);
    }
    add_flag(s, order, "read_only", "read-only");
    add_flag(s, order, "tls_verify", "tls-verify");
    add_flag(s, order, "once", "once");
    return 0;
}

static _Noreturn void become_server(const struct serving *s, int disk, int answer)
{
    int out =
        fcntl(answer, F_DUPFD_CLOEXEC, 10); /* out of the way of the numbers below */
    int in = fcntl(disk, F_DUPFD_CLOEXEC, 10);

    if (out >= 0 && in >= 0 && dup2(out, ANSWER_FD) >= 0 && dup2(in, DISK_FD) >= 0) {
        (void)close_range(DISK_FD + 1, ~0u, 0);
        (void)execv(s->program, s->words);
    }
    _exit(127);
}

/* Lines of the program until its end: 0 after "ok". */
static int follow(int from, const char *address,
                  void (*ready)(void *arg, const char *address), void *arg, struct err *e)
{
    SCOPED(scope_file) FILE *f = fdopen(from, "r");
    char line[ERR_TEXT_BYTES + 64];

    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        char *end = NULL;

        line[strcspn(line, "\n")] = '\0';
        if (strcmp(line, "ok") == 0) {
            return 0;
        }
        if (strncmp(line, "listening=", 10) == 0) {
            ready(arg, address);
        } else if (strncmp(line, "error ", 6) == 0) {
            long code = strtol(line + 6, &end, 10);

            return err_set(e, code < 0 && code > -4096 ? (int)code : -EIO, "%s",
                           end + strspn(end, " "));
        }
    }
    return err_set(e, -EIO, "the program 'volume' ended without a word");
}

static int run(const struct serving *s, int disk, const char *address,
               void (*ready)(void *arg, const char *address), void *arg, struct err *e)
{
    int ends[2];
    int status;
    pid_t child;
    int r;

    if (access(s->program, X_OK) < 0 || pipe2(ends, O_CLOEXEC) < 0) {
        return err_sys(e, -errno, "cannot use '%s'", s->program);
    }
    child = fork();
    if (child == 0) {
        become_server(s, disk, ends[1]);
    }
    (void)close(ends[1]);
    if (child < 0) {
        (void)close(ends[0]);
        return err_sys(e, -errno, "cannot make a process");
    }
    r = follow(ends[0], address, ready, arg, e);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return r;
}

int volume_disk_serve(struct node *n, const json_t *volume, const json_t *order,
                      void (*ready)(void *arg, const char *address), void *arg,
                      struct err *e)
{
    bool read_only = json_is_true(json_object_get(order, "read_only"));
    bool tls = json_object_get(order, "tls") != NULL;
    struct serving s = {.count = 0};
    char address[PATH_MAX + 64];
    void (*was)(int) = NULL;
    SCOPED(scope_close) int fd = -1;
    int r;

    if (!volume_is_disk(volume)) {
        return err_set(e, -EINVAL, "cannot export volume '%s': it is a directory",
                       name_of(volume));
    }
    r = describe(&s, n, order, e);
    if (r < 0) {
        return r;
    }
    fd = open(path_of(volume), (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (fd < 0) {
        return err_sys(e, -errno, "cannot export volume '%s'", name_of(volume));
    }
    (void)str_print(address, sizeof address, "nbd%s+unix:///?%s", tls ? "s" : "",
                    s.socket);
    was = signal(SIGINT, SIG_IGN); /* the program gets it, too, and ends in order */
    r = run(&s, fd, address, ready, arg, e);
    (void)signal(SIGINT, was);
    return r < 0 ? err_wrap(e, "cannot export volume '%s'", name_of(volume)) : 0;
}
