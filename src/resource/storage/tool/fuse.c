/* fuse.c - serve a disk as a file until nobody has it open any more, or a signal.
 *
 * The mount is made by whoever starts us, who hands over /dev/fuse (fuse=N): so this process
 * needs no rights when the first request comes. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/strand.h"
#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/fuse/fuse.h"
#include "resource/storage/tool/private.h"

#ifndef PR_SET_IO_FLUSHER
#    define PR_SET_IO_FLUSHER 57 /* Linux 5.6 */
#endif

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

/* The kernel waits for us when it writes back what a file system on our file holds: to
 * get us memory it must not wait for that. */
static void be_flusher(void)
{
    (void)prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
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
        be_flusher();
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
