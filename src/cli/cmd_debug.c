/* cmd_debug.c - machines looked into. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/cmd.h"
#include "host/file.h"
#include "host/listen.h"

/* What comes on `from` goes to `to`; false: no more comes, or goes. */
static bool pass(int from, int to)
{
    char bytes[16384];
    ssize_t n = read(from, bytes, sizeof bytes);

    return (n < 0 && errno == EINTR) ||
           (n > 0 && file_write_all(to, bytes, (size_t)n) >= 0);
}

/* Until either end has gone. */
static void relay(int socket)
{
    struct pollfd p[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                         {.fd = socket, .events = POLLIN}};
    bool goes_on = true;

    while (goes_on) {
        if (poll(p, 2, -1) < 0) {
            goes_on = errno == EINTR;
            continue;
        }
        if (p[0].revents != 0) {
            goes_on = pass(STDIN_FILENO, socket);
        }
        if (goes_on && p[1].revents != 0) {
            goes_on = pass(socket, STDOUT_FILENO);
        }
    }
}

static int join(struct node *n, const char *guest, struct err *e)
{
    SCOPED(scope_close) int mine = -1;
    SCOPED(scope_close) int its = -1;
    int pair[2];
    int r;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        return err_sys(e, -errno, "cannot make a connection");
    }
    mine = pair[0];
    its = pair[1];
    r = node_guest_gdb(n, guest, its, false, e);
    if (r == 0) {
        (void)close(scope_take_fd(&its));
        relay(mine);
    }
    return r;
}

/* The address in words, with the port that the host chose where 0 was wanted. */
static json_t *address_of(const char *wanted, int fd)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof a;
    const char *colon = strrchr(wanted, ':');
    unsigned port = 0;
    char text[128];

    if (getsockname(fd, (struct sockaddr *)&a, &len) == 0) {
        port = a.ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)&a)->sin6_port
                                       : ((const struct sockaddr_in *)&a)->sin_port;
    }
    (void)str_print(text, sizeof text, "%.*s:%u", (int)(colon - wanted), wanted,
                    ntohs((uint16_t)port));
    return json_string(text);
}

int cmd_debug_gdb(struct cli *c, const struct op_debug_gdb *a)
{
    SCOPED(scope_close) int fd = -1;
    SCOPED(scope_json) json_t *where = NULL;
    struct err e = {0};
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : 0;

    if (r == 0 && a->listen == NULL && !a->off) {
        r = join(n, a->guest, &e);
        return r < 0 ? cli_fail(c, &e) : 0;
    }
    if (r == 0 && a->listen != NULL && a->off) {
        r = err_set(&e, -EINVAL, "cannot use --listen and --off together");
    }
    if (r == 0 && a->listen != NULL) {
        fd = listen_address(a->listen, &e);
        r = fd < 0 ? fd : 0;
        where = r == 0 ? address_of(a->listen, fd) : NULL;
    }
    r = r == 0 ? node_guest_gdb(n, a->guest, fd, true, &e) : r;
    return cli_finish(c, r, json_pack("{s:s, s:O*}", "name", a->guest, "listen", where),
                      &e);
}

static int look(struct cli *c, const char *what, const void *args)
{
    struct err e = {0};
    SCOPED(scope_json) json_t *order = NULL;
    json_t *result = NULL;
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : cli_order(c, args, true, &order, &e);

    r = r == 0 ? node_guest_look(n, what, order, &result, &e) : r;
    return cli_finish(c, r, result, &e);
}

int cmd_debug_regs(struct cli *c, const struct op_debug_regs *a)
{
    return look(c, "regs", a);
}

int cmd_debug_memory(struct cli *c, const struct op_debug_memory *a)
{
    return look(c, "memory", a);
}

int cmd_debug_translate(struct cli *c, const struct op_debug_translate *a)
{
    return look(c, "translate", a);
}

int cmd_debug_trace(struct cli *c, const struct op_debug_trace *a)
{
    return look(c, "trace", a);
}
