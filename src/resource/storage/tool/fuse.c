/* fuse.c - serve a disk as a file until nobody has it open any more, or a signal.
 *
 * The mount is made by whoever starts us, who hands over /dev/fuse (fuse=N): so this process
 * needs no rights when the first request comes. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/strand.h"
#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/fuse/fuse.h"
#include "resource/storage/tool/exporter.h"
#include "resource/storage/tool/private.h"

static const char *const keys[] = {"file",   "fd",   "format",    "read-only", "direct",
                                   "driver", "fuse", "resizable", NULL};

struct serving {
    struct loop_watch signals; /* first */
    struct strand_queue end;
    bool over;
};

static void wake(struct serving *s)
{
    s->over = true;
    (void)strand_wake_all(&s->end);
}

static void gone(void *arg)
{
    wake(arg);
}

static void interrupted(struct loop_watch *w, uint32_t events)
{
    (void)events;
    (void)loop_watch_change(w, 0);
    wake((struct serving *)w);
}

static int open_fuse(const struct request *r, int *ret_fd)
{
    const char *fd = request_get(r, "fuse");
    int got;

    if (fd == NULL) {
        return err_set(r->e, -EINVAL, "no /dev/fuse is named (fuse=DESCRIPTOR)");
    }
    got = fcntl(atoi(fd), F_DUPFD_CLOEXEC, 3);
    if (got < 0) {
        return err_sys(r->e, -errno, "cannot use descriptor %s", fd);
    }
    (void)close(atoi(fd)); /* ours is the last: the file system ends with us */
    *ret_fd = got;
    return 0;
}

static int set_up(struct request *r, struct serving *s, struct fuse_server **ret)
{
    struct fuse_options o = {.read_only = request_has(r, "read-only"),
                             .resizable = request_has(r, "resizable"),
                             .uid = geteuid(),
                             .gid = getegid(),
                             .gone = gone,
                             .arg = s};
    SCOPED(scope_close) int fd = -1;
    int e = open_fuse(r, &fd);

    e = e != 0 ? e : request_plan_file(r);
    e = e != 0 ? e : tool_confine(r, NULL);
    e = e != 0 ? e : request_make(r, &o.disk);
    return e != 0 ? e : fuse_server_create(r->loop, scope_take_fd(&fd), &o, ret, r->e);
}

static int catch_signals(struct request *r, struct serving *s)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    s->signals = (struct loop_watch){.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
                                     .events = EPOLLIN,
                                     .fn = interrupted};
    return s->signals.fd < 0 ? -errno : loop_watch(r->loop, &s->signals);
}

int tool_fuse(struct request *r)
{
    struct fuse_server *server = NULL;
    struct serving s = {.over = false};
    int e = request_check(r, keys);

    if (e == 0) {
        e = catch_signals(r, &s);
        e = e != 0 ? err_sys(r->e, e, "cannot wait for signals") : 0;
    }
    if (e == 0) {
        e = set_up(r, &s, &server);
    }
    if (e == 0) {
        (void)request_answer(r, "serving", "file");
        while (!s.over) {
            strand_wait(loop_strands(r->loop), &s.end);
        }
    }
    fuse_server_destroy(server);
    loop_unwatch(&s.signals);
    (void)close(s.signals.fd);
    return e;
}

/* ---- in the worker ---- */

static const char *const words[] = {"read-only", "resizable", NULL};
static const char *const sockets[] = {"socket", NULL};

static bool takes(int fd)
{
    struct stat s;

    return fstat(fd, &s) == 0 && S_ISCHR(s.st_mode);
}

static int start(const struct export_ask *ask, void **ret_server, struct err *e)
{
    struct fuse_options o = {.disk = ask->disk,
                             .read_only = request_has(ask->words, "read-only"),
                             .resizable = request_has(ask->words, "resizable"),
                             .uid = (uint32_t)getauxval(AT_EUID), /* asks nobody */
                             .gid = (uint32_t)getauxval(AT_EGID),
                             .gone = ask->gone,
                             .arg = ask->gone_arg};
    int fd = fcntl(ask->sockets[0], F_DUPFD_CLOEXEC, 3);
    struct fuse_server *s;
    int r = fd < 0 ? err_sys(e, -errno, "cannot serve a file")
                   : fuse_server_create(ask->words->loop, fd, &o, &s, e);

    if (r == 0) {
        *ret_server = s;
    }
    return r;
}

static void stop(void *server)
{
    fuse_server_destroy(server);
}

static uint64_t clients(const void *server)
{
    return fuse_server_counts(server).opened;
}

static uint64_t accepted(const void *server)
{
    return fuse_server_counts(server).served;
}

const struct exporter exporter_fuse = {
    .name = "fuse",
    .keys = words,
    .sockets = sockets,
    .takes = takes,
    .start = start,
    .stop = stop,
    .clients = clients,
    .accepted = accepted,
};
