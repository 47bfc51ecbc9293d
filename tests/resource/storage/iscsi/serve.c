/* serve.c - a program that serves files over iSCSI, for tests with other initiators.
 *
 *     serve [WORD=VALUE]...   target=NAME file=PATH portal=127.0.0.1:PORT ...
 *
 * Words apply in their order: `user` and `secret` (`own-user`, `own-secret`) before the
 * target that asks for them; `read-only`, `initiator` and `keep` before their file.
 * Prints "ready" and ends with SIGTERM. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <signal.h>

#include "base/err.h"
#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/iscsi/iscsi.h"
#include "resource/storage/leaf/leaf.h"

#define KEPT_MOST 65536

struct serving {
    struct loop *loop;
    struct iscsi_server *server;
    char **words;
    struct iscsi_target_options target;
    struct iscsi_unit_options unit;
    const char *initiators[2];
    char *kept;
    struct err e;
};

static int store(void *arg, const void *bytes, size_t count)
{
    int fd = open(arg, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int r = fd >= 0 && write(fd, bytes, count) == (ssize_t)count ? 0 : -EIO;

    if (fd >= 0) {
        (void)close(fd);
    }
    return r;
}

static void load(struct serving *s, char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    s->unit.keep = (struct iscsi_keep){store, path};
    if (fd >= 0) {
        ssize_t n = read(fd, s->kept, KEPT_MOST);

        s->unit.kept = s->kept;
        s->unit.kept_bytes = n > 0 ? (size_t)n : 0;
        (void)close(fd);
    }
}

static int add_file(struct serving *s, const char *path)
{
    struct leaf_file_options o = {.label = path, .read_only = s->unit.read_only};
    int fd = open(path, (o.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    int r;

    if (fd < 0) {
        return err_sys(&s->e, -errno, "cannot open '%s'", path);
    }
    r = leaf_file_create(s->loop, fd, &o, &s->unit.disk, &s->e);
    if (r == 0) {
        r = iscsi_server_add_unit(s->server, s->target.name, &s->unit, &s->e);
        if (r != 0) {
            blk_drop(s->unit.disk);
        }
    }
    s->unit = (struct iscsi_unit_options){.lun = (uint16_t)(s->unit.lun + 1)};
    return r;
}

static int add_portal(struct serving *s, const char *address)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    const char *colon = strchr(address, ':');
    int yes = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.sin_port = htons((uint16_t)atoi(colon != NULL ? colon + 1 : "0"));
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 64) != 0) {
        int r = -errno;

        (void)close(fd);
        return err_sys(&s->e, r, "cannot listen on '%s'", address);
    }
    return iscsi_server_listen(s->server, fd, address, &s->e);
}

static int apply(struct serving *s, char *word)
{
    char *value = strchr(word, '=');

    if (value == NULL) {
        return err_set(&s->e, -EINVAL, "no value in '%s'", word);
    }
    *value++ = '\0';
    if (strcmp(word, "user") == 0) {
        s->target.chap.user = value;
    } else if (strcmp(word, "secret") == 0) {
        s->target.chap.secret = value;
    } else if (strcmp(word, "own-user") == 0) {
        s->target.chap.own_user = value;
    } else if (strcmp(word, "own-secret") == 0) {
        s->target.chap.own_secret = value;
    } else if (strcmp(word, "read-only") == 0) {
        s->unit.read_only = true;
    } else if (strcmp(word, "initiator") == 0) {
        s->initiators[0] = value;
        s->unit.initiators = s->initiators;
    } else if (strcmp(word, "keep") == 0) {
        load(s, value);
    } else if (strcmp(word, "target") == 0) {
        s->target.name = value;
        s->unit.lun = 0;
        return iscsi_server_add_target(s->server, &s->target, &s->e);
    } else if (strcmp(word, "file") == 0) {
        return add_file(s, value);
    } else if (strcmp(word, "portal") == 0) {
        return add_portal(s, value);
    } else if (strcmp(word, "driver") != 0) {
        return err_set(&s->e, -EINVAL, "'%s' is not known", word);
    }
    return 0;
}

static int wait_for_end(struct serving *s)
{
    sigset_t set;
    int fd;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    (void)puts("ready");
    (void)fflush(stdout);
    (void)loop_wait_fd(s->loop, fd, EPOLLIN, -1);
    return close(fd);
}

static int run(void *arg)
{
    struct serving *s = arg;
    struct iscsi_server_options o = {0};
    int r = iscsi_server_create(s->loop, &o, &s->server, &s->e);

    for (char **w = s->words; r == 0 && *w != NULL; w++) {
        r = apply(s, *w);
    }
    if (r == 0) {
        r = wait_for_end(s);
    }
    iscsi_server_destroy(s->server);
    return r;
}

int main(int argc, char **argv)
{
    struct serving s = {.words = argv + 1};
    int r;

    (void)argc;
    s.kept = malloc(KEPT_MOST);
    r = loop_create(argc > 1 && strcmp(argv[1], "driver=crew") == 0 ? LOOP_DRIVER_CREW
                                                                    : LOOP_DRIVER_AUTO,
                    &s.loop, &s.e);
    if (r == 0) {
        r = loop_do(s.loop, run, &s);
        loop_destroy(s.loop);
    }
    free(s.kept);
    if (r != 0) {
        (void)fprintf(stderr, "%s\n", s.e.text);
    }
    return r != 0;
}
