/* usernet - the network of a guest whose owner may not touch the host's.
 *
 *     usernet --pid=PID [--ready-fd=FD] [--publish=[IP:][HOST:]GUEST[/udp]]...
 *
 *     usernet --frames=FD [--holder-fd=FD] [--ready-fd=FD] [--publish=...]...
 *
 * Makes an interface in the network namespace of process PID and carries its traffic
 * over ordinary sockets.  Says '1' on the descriptor when that works, or why not;
 * ends when PID ends.  For a machine, the frames are messages of a connected unix socket
 * (SOCK_SEQPACKET or SOCK_DGRAM), and the guest may ask for its address by DHCP. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/syscall.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "resource/network/usernet/usernet.h"

static int parse_number(const char *text, int *ret)
{
    char *end = NULL;
    long n = strtol(text, &end, 10);
    if (end == text || *end != '\0' || n < 0 || n > INT32_MAX) {
        return -EINVAL;
    }
    *ret = (int)n;
    return 0;
}

static int add_publish(struct usernet_options *o, const char *text, struct err *e)
{
    struct network_publish p;
    int r = network_publish_parse(text, &p, e);
    if (r < 0) {
        return r;
    }
    struct network_publish *more =
        realloc(o->publishes, (o->n_publishes + 1) * sizeof *more);
    if (more == NULL) {
        return err_set(e, -ENOMEM, "no memory");
    }
    o->publishes = more;
    more[o->n_publishes++] = p;
    return 0;
}

/* The value of "--name=value", or NULL when `arg` is another option. */
static const char *value_of(const char *arg, const char *name)
{
    size_t n = strlen(name);
    return strncmp(arg, name, n) == 0 && arg[n] == '=' ? arg + n + 1 : NULL;
}

static int parse_one(struct usernet_options *o, const char *arg, struct err *e)
{
    const struct {
        const char *name;
        int *to;
    } numbers[] = {{"--pid", &o->pid},          {"--userns-fd", &o->userns},
                   {"--netns-fd", &o->netns},   {"--frames", &o->frames},
                   {"--holder-fd", &o->holder}, {"--ready-fd", &o->ready}};

    const char *value;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        value = value_of(arg, numbers[i].name);
        if (value != NULL && parse_number(value, numbers[i].to) < 0) {
            return err_set(e, -EINVAL, "'%s' is not a number", arg);
        }
        if (value != NULL) {
            return 0;
        }
    }
    if ((value = value_of(arg, "--publish")) != NULL) {
        return add_publish(o, value, e);
    }
    if ((value = value_of(arg, "--ifname")) != NULL) {
        return str_print(o->ifname, sizeof o->ifname, "%s", value);
    }
    if (value_of(arg, "--for") != NULL) {
        return 0; /* for whoever lists processes */
    }
    if (strcmp(arg, "--no-ipv6") == 0) {
        o->no_ipv6 = true;
    } else if (strcmp(arg, "--no-tap") == 0) {
        o->packet = true;
    } else {
        return err_set(e, -EINVAL, "unknown option '%s'", arg);
    }
    return 0;
}

static int open_ns(pid_t pid, const char *what, int *ret, struct err *e)
{
    char path[64];
    (void)str_print(path, sizeof path, "/proc/%d/ns/%s", pid, what);
    *ret = open(path, O_RDONLY | O_CLOEXEC);
    return *ret < 0 ? err_sys(e, -errno, "cannot open '%s'", path) : 0;
}

/* The pidfd first: what it names cannot become another process. */
static int open_guest(struct usernet_options *o, struct err *e)
{
    if (o->frames >= 0) {
        return o->pid != 0 || o->netns >= 0
                   ? err_set(e, -EINVAL, "--frames needs no namespace")
                   : 0;
    }
    if (o->pid == 0) {
        return o->netns < 0 ? err_set(e, -EINVAL, "--pid or --netns-fd is missing") : 0;
    }
    o->holder = (int)syscall(SYS_pidfd_open, o->pid, 0);
    if (o->holder < 0) {
        return err_sys(e, -errno, "cannot find process %d", o->pid);
    }
    int r = open_ns(o->pid, "user", &o->userns, e);
    return r < 0 ? r : open_ns(o->pid, "net", &o->netns, e);
}

static int start(struct usernet_options *o, struct usernet_stack **ret, int *ret_fd,
                 struct err *e)
{
    int fd = -1;
    int r = open_guest(o, e);
    if (r == 0) {
        r = o->frames >= 0 ? usernet_use_socket(o->frames, e) : usernet_enter(o, &fd, e);
    }
    if (r == 0) {
        fd = o->frames >= 0 ? o->frames : fd;
        r = usernet_stack_create(fd, o, ret, e);
    }
    if (o->userns >= 0) {
        (void)close(o->userns);
    }
    if (o->netns >= 0) {
        (void)close(o->netns); /* a namespace that we held would outlive its guest */
    }
    *ret_fd = fd;
    return r < 0 ? r : usernet_confine(e);
}

static void say(int to, const char *text)
{
    if (to >= 0) {
        (void)file_write_all(to, text, strlen(text));
        (void)close(to);
    }
}

int main(int argc, char **argv)
{
    struct usernet_options o = {.userns = -1,
                                .netns = -1,
                                .frames = -1,
                                .holder = -1,
                                .ready = -1,
                                .ifname = "eth0"};
    struct usernet_stack *stack = NULL;
    struct err e = {0};
    int fd = -1;
    int r = 0;
    (void)signal(SIGPIPE, SIG_IGN);
    for (int i = 1; i < argc && r == 0; i++) {
        r = parse_one(&o, argv[i], &e);
    }
    if (r == 0) {
        r = start(&o, &stack, &fd, &e);
    }
    say(o.ready, r == 0 ? "1" : e.text);
    if (r < 0 && o.ready < 0) {
        (void)fprintf(stderr, "usernet: %s\n", e.text);
    }
    if (r == 0) {
        r = usernet_stack_run(stack, o.holder);
    }
    usernet_stack_destroy(stack);
    scope_close(&fd);
    free(o.publishes);
    return r < 0;
}
