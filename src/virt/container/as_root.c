/* as_root.c - run a function as root of a user namespace, for a user who is not.
 *
 * What an ordinary user's guests write may belong to ids that only his user
 * namespace gives him; there he can copy and remove it, and mount overlays. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/file.h"
#include "virt/container/private.h"

static void be_root(int from, int to, container_root_fn *fn, void *arg)
    __attribute__((noreturn));

static void be_root(int from, int to, container_root_fn *fn, void *arg)
{
    struct err e = {0};
    char go;

    if (read(from, &go, 1) != 1) {
        _exit(1);
    }
    if ((setgroups(0, NULL) < 0 && errno != EPERM) || setresgid(0, 0, 0) < 0 ||
        setresuid(0, 0, 0) < 0 || mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0) {
        (void)err_sys(&e, -errno, "cannot become root of a user namespace");
    } else {
        int r = fn(arg, &e);

        if (r < 0) {
            (void)err_sys(&e, r, "failed");
        }
    }
    (void)file_write_all(to, &e, sizeof e);
    _exit(0);
}

int container_as_root(const json_t *config, container_root_fn *fn, void *arg,
                      struct err *e)
{
    SCOPED(scope_close) int hear = -1;
    SCOPED(scope_close) int tell = -1;
    struct err said = {0};
    int down[2];
    int up[2];
    pid_t pid;
    int r;

    if (pipe2(down, O_CLOEXEC) < 0) {
        return err_sys(e, -errno, "cannot make a pipe");
    }
    if (pipe2(up, O_CLOEXEC) < 0) {
        (void)close(down[0]);
        (void)close(down[1]);
        return err_sys(e, -errno, "cannot make a pipe");
    }
    hear = up[0];
    tell = down[1];
    pid = ns_clone(CLONE_NEWUSER | CLONE_NEWNS, -1, NULL);
    if (pid == 0) {
        (void)close(up[0]);
        (void)close(down[1]);
        be_root(down[0], up[1], fn, arg);
    }
    (void)close(down[0]);
    (void)close(up[1]);
    if (pid < 0) {
        return err_sys(e, pid, "cannot make a user namespace");
    }
    r = ns_write_maps(config, pid, e);
    if (r < 0) {
        (void)kill(pid, SIGKILL);
    } else {
        (void)!write(tell, "g", 1);
        if (file_read_all(hear, &said, sizeof said) != (ssize_t)sizeof said) {
            r = err_set(e, -EIO, "the helper process ended early");
        } else if (said.code < 0) {
            said.text[sizeof said.text - 1] = '\0';
            r = err_set(e, said.code, "%s", said.text);
        }
    }
    (void)waitpid(pid, NULL, 0);
    return r;
}
