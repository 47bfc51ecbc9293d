/* serve.c - volumes that are disks, served to others.
 *
 * Whoever uses a disk holds the lock of its top layer's file
 * (resource/storage/leaf/lock.h), which goes with the process: so a disk that is served,
 * by us or by another tool, is neither changed nor deleted, and needs no record of it. */
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
#include "node/volume/private.h"
#include "resource/storage/leaf/lock.h"

#define WORDS_MOST 12
#define ANSWER_FD  3
#define DISK_FD    4

static int open_locked(struct node *n, const struct volume *v, const struct layer *top,
                       bool writes, struct err *e)
{
    SCOPED(scope_close) int fd = piece_open(n, top, writes ? O_RDWR : O_RDONLY, e);
    int r = fd < 0 ? fd : 0;

    if (r == 0 && leaf_lock(fd, writes, false, v->name, NULL) != 0) {
        r = err_set(e, -EBUSY, "it is being served, or another program has it open");
    }
    return r < 0 ? r : scope_take_fd(&fd);
}

int disk_open_alone(struct node *n, const struct volume *v, const struct layer *top,
                    struct err *e)
{
    return open_locked(n, v, top, true, e);
}

int disk_open_steady(struct node *n, const struct volume *v, const struct layer *top,
                     struct err *e)
{
    return open_locked(n, v, top, false, e);
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

int disk_volume_serve(struct node *n, const struct volume *v, const json_t *order,
                      void (*ready)(void *arg, const char *address), void *arg,
                      struct err *e)
{
    bool read_only = json_is_true(json_object_get(order, "read_only"));
    bool tls = json_object_get(order, "tls") != NULL;
    struct serving s = {.count = 0};
    struct chain chain = {0};
    char address[PATH_MAX + 64];
    void (*was)(int) = NULL;
    SCOPED(scope_close) int fd = -1;
    int r;

    r = describe(&s, n, order, e);
    r = r == 0 ? chain_load_most(n, volume_text(v->record, "top"), 1, &chain, e) : r;
    if (r < 0) {
        return r;
    }
    fd = piece_open(n, &chain.layers[0], read_only ? O_RDONLY : O_RDWR, e);
    chain_fini(&chain);
    if (fd < 0) {
        return err_wrap(e, "cannot export volume '%s'", v->name);
    }
    (void)str_print(address, sizeof address, "nbd%s+unix:///?%s", tls ? "s" : "",
                    s.socket);
    was = signal(SIGINT, SIG_IGN); /* the program gets it, too, and ends in order */
    r = run(&s, fd, address, ready, arg, e);
    (void)signal(SIGINT, was);
    return r < 0 ? err_wrap(e, "cannot export volume '%s'", v->name) : 0;
}
