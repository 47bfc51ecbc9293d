/* frames_bridge.c - a tap in a guest's namespaces, joined to a program that serves frames.
 *
 *     frames_bridge PID NAME PROGRAM [ARGUMENT]...
 *
 * Starts the program with `--frames=FD`, enters the namespaces of process PID, makes the
 * interface NAME there, and carries frames between both until it is killed. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "contract/nic.h"
#include "host/loop/loop.h"
#include "resource/network/nic/nic.h"
#include "resource/network/usernet/usernet.h"

static void must(bool so, const char *what)
{
    if (!so) {
        perror(what);
        exit(1);
    }
}

static void start(char **argv, int count, int fd)
{
    char option[32];
    char *args[64] = {0};

    if (fork() != 0) {
        return;
    }
    (void)snprintf(option, sizeof option, "--frames=%d", fd);
    memcpy(args, argv, (size_t)count * sizeof *argv);
    args[count] = option;
    (void)fcntl(fd, F_SETFD, 0);
    (void)execvp(args[0], args);
    perror(args[0]);
    _exit(127);
}

static void enter(const char *pid, const char *kind, int type)
{
    char path[64];
    int fd;

    (void)snprintf(path, sizeof path, "/proc/%s/ns/%s", pid, kind);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    must(fd >= 0 && setns(fd, type) == 0, path);
    (void)close(fd);
}

static unsigned pass_on(struct nic *n, const struct nic_frame *f, unsigned count)
{
    struct nic *to = n->who;

    return to->ops->send(to, f, count);
}

static void room(struct nic *n)
{
    struct nic *from = n->who;

    from->ops->more(from);
}

int main(int argc, char **argv)
{
    struct ifreq req = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    struct nic *nic[2];
    struct loop *l;
    int pair[2];
    int tap;

    must(argc > 3 && argc < 60, "arguments");
    must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
    start(argv + 3, argc - 3, pair[1]);
    pair[0] = fcntl(pair[0], F_DUPFD_CLOEXEC, 64);
    (void)close_range(3, 63, 0); /* what was meant for the program */
    enter(argv[1], "user", CLONE_NEWUSER);
    enter(argv[1], "net", CLONE_NEWNET);
    tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    (void)strncpy(req.ifr_name, argv[2], sizeof req.ifr_name - 1);
    must(tap >= 0 && ioctl(tap, TUNSETIFF, &req) == 0, "tap");
    must(loop_create(LOOP_DRIVER_AUTO, &l, NULL) == 0, "loop");
    must(nic_frames_create(l, pair[0], USERNET_MTU, &nic[0], NULL) == 0, "frames");
    must(nic_tap_create(l, tap, USERNET_MTU, &nic[1], NULL) == 0, "tap");
    for (unsigned i = 0; i < 2; i++) {
        nic[i]->who = nic[1 - i];
        nic[i]->received = pass_on;
        nic[i]->writable = room;
    }
    nic[0]->ops->more(nic[0]);
    nic[1]->ops->more(nic[1]);
    (void)loop_run(l);
    return 0;
}
