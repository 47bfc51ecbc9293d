/* serve.c - a vhost-user-blk back end for tests.
 *
 *     serve SOCKET FILE|memory=BYTES [read-only] [queues=N] [id=TEXT] [delay-ms=N] [once] [crew]
 *           [direct] [block=BYTES]
 *
 * SIGUSR1: the disk grows by 1 MiB.  SIGTERM: end.  At the end it writes its counts. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/filter/fault.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/vhost_user/vhost_user.h"

#define GROW_BYTES (1u << 20)
#define LOOK_NS    50000000

struct serving {
    struct loop *loop;
    char **words;
    struct err e;
    struct vhost_user_server *server;
    struct blk *disk;
};

static const char *word(const struct serving *s, const char *key)
{
    size_t n = strlen(key);

    for (char **w = s->words; *w != NULL; w++) {
        if (strncmp(*w, key, n) == 0) {
            return *w + n;
        }
    }
    return NULL;
}

static int open_disk(struct serving *s)
{
    const char *memory = word(s, "memory=");
    const char *block = word(s, "block=");
    const char *delay = word(s, "delay-ms=");
    struct leaf_file_options o = {.read_only = word(s, "read-only") != NULL,
                                  .direct = word(s, "direct") != NULL,
                                  .no_lock = true,
                                  .label = "disk"};
    struct filter_fault_plan plan = {.seed = 1, .delay_one_in = 1};
    uint32_t block_bytes = block != NULL ? (uint32_t)atoi(block) : 0;
    int r;

    if (memory != NULL) {
        r = leaf_memory_create(loop_strands(s->loop), strtoull(memory, NULL, 0),
                               block_bytes != 0 ? block_bytes : 512, &s->disk, &s->e);
    } else {
        int fd = open(s->words[2], (o.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);

        o.block_bytes = block_bytes;
        r = fd < 0 ? err_sys(&s->e, -errno, "open")
                   : leaf_file_create(s->loop, fd, &o, &s->disk, &s->e);
    }
    if (r == 0 && delay != NULL) {
        plan.delay_ns = strtoull(delay, NULL, 0) * 1000000;
        r = filter_fault_create(s->loop, s->disk, &plan, &s->disk, &s->e);
    }
    return r;
}

static int listen_on(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)unlink(path);
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    return fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 8) == 0
               ? fd
               : -1;
}

/* Until it is told to end, or with `once` the first front end has gone. */
static void wait_for_end(struct serving *s, int signals)
{
    for (;;) {
        struct vhost_user_counts n = vhost_user_server_counts(s->server);
        struct signalfd_siginfo info;

        if (word(s, "once") != NULL && n.accepted > 0 && n.clients == 0) {
            return;
        }
        if (loop_wait_fd(s->loop, signals, EPOLLIN, LOOK_NS) <= 0) {
            continue;
        }
        if (read(signals, &info, sizeof info) != sizeof info ||
            info.ssi_signo != SIGUSR1) {
            return;
        }
        if (blk_resize(s->disk, blk_size(s->disk) + GROW_BYTES, &s->e) != 0) {
            (void)fprintf(stderr, "%s\n", s->e.text);
        }
        vhost_user_server_resized(s->server);
    }
}

static int run(void *arg)
{
    struct serving *s = arg;
    const char *queues = word(s, "queues=");
    struct vhost_user_options o = {.id = word(s, "id="),
                                   .queues = queues != NULL ? (unsigned)atoi(queues) : 0};
    struct vhost_user_counts n;
    sigset_t set;
    int r = open_disk(s);

    (void)signal(SIGPIPE, SIG_IGN); /* nobody may want the counts */
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGUSR1);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    o.disk = s->disk;
    if (r == 0) {
        r = vhost_user_server_create(s->loop, &o, &s->server, &s->e);
    }
    if (r == 0) {
        r = vhost_user_server_listen(s->server, listen_on(s->words[1]), &s->e);
    }
    if (r != 0) {
        return r;
    }
    (void)puts("listening");
    (void)fflush(stdout);
    wait_for_end(s, signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    n = vhost_user_server_counts(s->server);
    (void)printf("accepted %llu served %llu again %llu broken %llu\n",
                 (unsigned long long)n.accepted, (unsigned long long)n.served,
                 (unsigned long long)n.again, (unsigned long long)n.broken);
    vhost_user_server_destroy(s->server);
    return 0;
}

int main(int argc, char **argv)
{
    struct serving s = {.words = argv};
    int r;

    if (argc < 3) {
        return 2;
    }
    r = loop_create(word(&s, "crew") != NULL ? LOOP_DRIVER_CREW : LOOP_DRIVER_AUTO,
                    &s.loop, &s.e);
    if (r == 0) {
        r = loop_do(s.loop, run, &s);
        loop_destroy(s.loop);
    }
    if (r != 0) {
        (void)fprintf(stderr, "%s\n", s.e.text);
    }
    return r != 0;
}
