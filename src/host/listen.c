/* listen.c - sockets that wait for clients. */
#include "host/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/str.h"

#define BACKLOG 64

int listen_path(const char *path, struct err *e)
{
    SCOPED(scope_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int r = str_print(a.sun_path, sizeof a.sun_path, "%s", path);

    if (r == 0 && (fd < 0 || bind(fd, (const struct sockaddr *)&a, sizeof a) < 0 ||
                   listen(fd, BACKLOG) < 0)) {
        r = -errno;
    }
    return r < 0 ? err_sys(e, r, "cannot listen on '%s'", path) : scope_take_fd(&fd);
}

/* ADDRESS:PORT, an address of version 6 in brackets. */
static int parse_address(const char *text, struct sockaddr_storage *ret,
                         socklen_t *ret_len)
{
    struct sockaddr_in *four = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)ret;
    const char *colon = strrchr(text, ':');
    char host[INET6_ADDRSTRLEN + 2];
    char *end = NULL;
    unsigned long port = colon != NULL ? strtoul(colon + 1, &end, 10) : 0;
    size_t n = colon != NULL ? (size_t)(colon - text) : 0;
    bool bracket = n > 2 && text[0] == '[' && text[n - 1] == ']';

    if (n == 0 || n >= sizeof host || port > 65535 || *end != '\0' || end == colon + 1) {
        return -EINVAL;
    }
    (void)str_print(host, sizeof host, "%.*s", (int)(n - 2 * bracket), text + bracket);
    memset(ret, 0, sizeof *ret);
    if (bracket && inet_pton(AF_INET6, host, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons((uint16_t)port);
        *ret_len = sizeof *six;
        return 0;
    }
    four->sin_family = AF_INET;
    four->sin_port = htons((uint16_t)port);
    *ret_len = sizeof *four;
    return !bracket && inet_pton(AF_INET, host, &four->sin_addr) == 1 ? 0 : -EINVAL;
}

int listen_address(const char *address, struct err *e)
{
    struct sockaddr_storage a;
    SCOPED(scope_close) int fd = -1;
    socklen_t len;
    int yes = 1;

    if (parse_address(address, &a, &len) < 0) {
        return err_set(e, -EINVAL, "cannot listen on '%s': not ADDRESS:PORT", address);
    }
    fd = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0 ||
        bind(fd, (const struct sockaddr *)&a, len) < 0 || listen(fd, BACKLOG) < 0) {
        return err_sys(e, -errno, "cannot listen on '%s'", address);
    }
    return scope_take_fd(&fd);
}
