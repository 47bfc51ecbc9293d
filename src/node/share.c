/* share.c - the worker half: a directory of the host for a machine.
 *
 * The program `fsd` serves it over a socket.  It ends when the machine's worker, or whoever
 * else has the other end, is gone: nobody has to end it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "node/worker.h"

static const char *text_of(const json_t *j, const char *key)
{
    return json_string_value(json_object_get(j, key));
}

static void be_server(const json_t *spec, const json_t *share, int socket, int ready)
    __attribute__((noreturn));

static void be_server(const json_t *spec, const json_t *share, int socket, int ready)
{
    const json_t *place = json_object_get(spec, "place");
    struct strv argv = {0};
    char path[PATH_MAX];

    (void)setsid();
    (void)str_print(path, sizeof path, "%s/fsd", text_of(place, "libexec"));
    strv_add(&argv, "fsd");
    strv_addf(&argv, "--for=guest '%s' of the state directory '%s'",
              text_of(spec, "name"), text_of(place, "state"));
    strv_addf(&argv, "--directory=%s", text_of(share, "from"));
    strv_addf(&argv, "--socket=%d", socket);
    strv_addf(&argv, "--ready-fd=%d", ready);
    if (json_is_true(json_object_get(share, "read_only"))) {
        strv_add(&argv, "--read-only");
    }
    (void)fcntl(socket, F_SETFD, 0);
    (void)fcntl(ready, F_SETFD, 0);
    if (!strv_failed(&argv)) {
        (void)execv(path, argv.items);
    }
    (void)dprintf(ready, "cannot execute '%s': %s", path, strerror(errno));
    _exit(127);
}

int worker_share(const json_t *spec, const json_t *share, int *ret_fd, struct err *e)
{
    SCOPED(scope_close) int own = -1;
    SCOPED(scope_close) int from = -1;
    char said[ERR_TEXT_BYTES] = "";
    int pair[2];
    int ends[2];
    pid_t child;
    ssize_t n;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        return err_sys(e, -errno, "cannot share '%s'", text_of(share, "from"));
    }
    own = pair[0];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        (void)close(pair[1]);
        return err_sys(e, -errno, "cannot share '%s'", text_of(share, "from"));
    }
    from = ends[0];
    child = fork();
    if (child == 0) {
        be_server(spec, share, pair[1], ends[1]);
    }
    (void)close(pair[1]);
    (void)close(ends[1]);
    n = child < 0 ? -errno : file_read_all(from, said, sizeof said - 1);
    if (n != 1 || said[0] != '1') {
        return err_set(e, -EIO, "cannot share '%s': %s", text_of(share, "from"),
                       n > 0 ? said : "the program that serves it ended");
    }
    *ret_fd = scope_take_fd(&own);
    return 0;
}
