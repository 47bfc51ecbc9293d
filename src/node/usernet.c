/* usernet.c - start the user-mode network of a guest. */
#include "node/usernet.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"

static void be_usernet(const json_t *spec, const struct usernet_guest *g, int ready)
    __attribute__((noreturn));

static void be_usernet(const json_t *spec, const struct usernet_guest *g, int ready)
{
    int holder = (int)syscall(SYS_pidfd_open, g->pid, 0);
    const char *libexec =
        json_string_value(json_object_get(json_object_get(spec, "place"), "libexec"));
    const json_t *list = json_object_get(json_object_get(spec, "network"), "publish");
    struct strv argv = {0};
    char path[4096];
    size_t i;
    json_t *item;

    (void)setsid();
    (void)str_print(path, sizeof path, "%s/usernet", libexec);
    strv_add(&argv, "usernet");
    strv_addf(&argv, "--userns-fd=%d", g->userns);
    strv_addf(&argv, "--netns-fd=%d", g->netns);
    strv_addf(&argv, "--holder-fd=%d", holder);
    strv_addf(&argv, "--ready-fd=%d", ready);
    json_array_foreach(list, i, item)
    {
        strv_addf(&argv, "--publish=%s", json_string_value(item));
    }
    (void)fcntl(ready, F_SETFD, 0);
    (void)fcntl(g->userns, F_SETFD, 0);
    (void)fcntl(g->netns, F_SETFD, 0);
    (void)fcntl(holder, F_SETFD, 0);
    if (!strv_failed(&argv)) {
        (void)execv(path, argv.items);
    }
    (void)dprintf(ready, "cannot execute '%s': %s", path, strerror(errno));
    _exit(127);
}

int usernet_start(const json_t *spec, const struct usernet_guest *guest, struct err *e)
{
    SCOPED(scope_close) int from = -1;
    char said[ERR_TEXT_BYTES];
    int ends[2];
    pid_t child;
    ssize_t n;

    if (pipe2(ends, O_CLOEXEC) < 0) {
        return err_sys(e, -errno, "cannot start the user-mode network");
    }
    from = ends[0];
    child = fork();
    if (child == 0) {
        be_usernet(spec, guest, ends[1]);
    }
    (void)close(ends[1]);
    if (child < 0) {
        return err_sys(e, -errno, "cannot start the user-mode network");
    }
    n = read(from, said, sizeof said - 1); /* one byte '1', or why not */
    if (n == 1 && said[0] == '1') {
        return 0;
    }
    said[n > 0 ? n : 0] = '\0';
    return err_set(e, -EIO, "the user-mode network did not start%s%s", n > 0 ? ": " : "",
                   said);
}
