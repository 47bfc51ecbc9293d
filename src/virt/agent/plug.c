/* plug.c - processors that come to a machine that runs are switched on: a kernel leaves that to
 * its programs, and not every system has one for it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "virt/agent/private.h"

#define CAME "add@/devices/system/cpu/cpu"

/* Its messages for programs that look after devices; -1: none. */
static int listen_kernel(void)
{
    const struct sockaddr_nl at = {.nl_family = AF_NETLINK, .nl_groups = 1};
    int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);

    if (fd >= 0 && bind(fd, (const struct sockaddr *)&at, sizeof at) < 0) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

int agent_cpu_that_came(const char *message)
{
    unsigned n = 0;
    char rest;

    return strncmp(message, CAME, sizeof CAME - 1) == 0 &&
                   sscanf(message + sizeof CAME - 1, "%4u%c", &n, &rest) == 1
               ? (int)n
               : -1;
}

static void switch_on(int root, int cpu)
{
    char path[64];
    int fd;

    (void)snprintf(path, sizeof path, "%ssys/devices/system/cpu/cpu%d/online",
                   root < 0 ? "/" : "", cpu);
    fd = openat(root < 0 ? AT_FDCWD : root, path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!write(fd, "1", 1);
        (void)close(fd);
    }
}

static void look(int fd, int root)
{
    char text[SCRATCH_BYTES];
    struct sockaddr_nl from;
    socklen_t bytes = sizeof from;
    ssize_t n;
    int cpu;

    n = recvfrom(fd, text, sizeof text - 1, 0, (struct sockaddr *)&from, &bytes);
    if (n < 0 && errno != EINTR && errno != ENOBUFS) {
        _exit(1);
    }
    if (n > 0 && from.nl_pid == 0) { /* nobody but the kernel */
        text[n] = '\0';
        cpu = agent_cpu_that_came(text);
        if (cpu >= 0) {
            switch_on(root, cpu);
        }
    }
}

void agent_switch_on_cpus(int root)
{
    int fd = listen_kernel();

    if (fd >= 0 && fork() == 0) {
        (void)prctl(PR_SET_NAME, AGENT_SERVES);
        for (;;) {
            look(fd, root);
        }
    }
    if (fd >= 0) {
        (void)close(fd);
    }
}
