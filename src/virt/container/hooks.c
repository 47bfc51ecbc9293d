/* hooks.c - programs of the host that a configuration wants run at set points.
 *
 * Each gets the container's state as JSON on its standard input (runtime-spec
 * 1.2, "POSIX-platform Hooks").  A hook that outlives its timeout is killed and
 * counts as failed. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/file.h"
#include "virt/container/private.h"

const char *hooks_kind(size_t i)
{
    static const char *const kinds[] = {"prestart",        "createRuntime",
                                        "createContainer", "startContainer",
                                        "poststart",       "poststop"};

    return i < sizeof kinds / sizeof *kinds ? kinds[i] : NULL;
}

static char **text_list(const json_t *list, const char *first)
{
    char **out = calloc(json_array_size(list) + 2, sizeof *out);
    size_t i;
    json_t *item;
    size_t n = 0;

    if (out == NULL) {
        return NULL;
    }
    if (json_array_size(list) == 0 && first != NULL) {
        out[n++] = (char *)(uintptr_t)first;
    }
    json_array_foreach(list, i, item)
    {
        out[n++] = (char *)(uintptr_t)json_string_value(item);
    }
    return out;
}

static void be_hook(const json_t *hook, int input) __attribute__((noreturn));

static void be_hook(const json_t *hook, int input)
{
    const char *path = config_text(hook, "path", "");
    char **argv = text_list(config_get(hook, "args"), path);
    char **env = text_list(config_get(hook, "env"), NULL);
    sigset_t none;

    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)dup2(input, 0);
    (void)syscall(SYS_close_range, 3U, ~0U, 0U);
    if (argv != NULL && env != NULL) {
        (void)execve(path, argv, env);
    }
    _exit(127);
}

static int wait_for(pid_t pid, int64_t timeout_s)
{
    SCOPED(scope_close) int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    int status = 0;
    bool late = timeout_s > 0 && poll(&p, 1, (int)(timeout_s * 1000)) == 0;

    if (late) {
        (void)kill(pid, SIGKILL);
    }
    if (waitpid(pid, &status, 0) < 0) {
        return -errno;
    }
    if (late) {
        return -ETIMEDOUT;
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

static int run_one(const json_t *hook, const char *kind, const char *text, struct err *e)
{
    const char *path = config_text(hook, "path", "");
    void (*before)(int);
    int ends[2];
    pid_t pid;
    int r;

    if (pipe2(ends, O_CLOEXEC) < 0) {
        return err_sys(e, -errno, "cannot run the %s hook '%s'", kind, path);
    }
    pid = fork();
    if (pid == 0) {
        be_hook(hook, ends[0]);
    }
    (void)close(ends[0]);
    before = signal(SIGPIPE, SIG_IGN);
    (void)file_write_all(ends[1], text, strlen(text)); /* a hook need not read it */
    (void)signal(SIGPIPE, before); /* programs inherit what is ignored */
    (void)close(ends[1]);
    r = pid < 0 ? -errno : wait_for(pid, config_number(hook, "timeout", 0));
    if (r == -ETIMEDOUT) {
        return err_set(e, r, "the %s hook '%s' took longer than its timeout", kind, path);
    }
    return r < 0 ? err_set(e, r, "the %s hook '%s' failed", kind, path) : 0;
}

int hooks_run(const json_t *config, const char *kind, const json_t *state, struct err *e)
{
    const json_t *list = json_object_get(config_get(config, "hooks"), kind);
    SCOPED(scope_free) char *text = NULL;
    size_t i;
    json_t *item;
    int r = 0;

    if (json_array_size(list) == 0) {
        return 0;
    }
    text = json_dumps(state, JSON_COMPACT);
    if (text == NULL) {
        return err_set(e, -ENOMEM, "cannot run hooks: no memory");
    }
    json_array_foreach(list, i, item)
    {
        r = r < 0 ? r : run_one(item, kind, text, e);
    }
    return r;
}

int hooks_run_early(struct container *c, const char *kind, const char *status, pid_t pid,
                    struct err *e)
{
    SCOPED(scope_json) json_t *state = NULL;

    if (json_array_size(json_object_get(config_get(c->config, "hooks"), kind)) == 0) {
        return 0;
    }
    state = container_state(c);
    (void)json_object_set_new(state, "status", json_string(status));
    (void)json_object_set_new(state, "pid", json_integer(pid));
    return hooks_run(c->config, kind, state, e);
}
