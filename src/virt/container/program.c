/* program.c - the program: found, looked at beforehand, and executed. */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/scope.h"
#include "virt/container/target.h"

static const char *path_variable(char *const *env)
{
    for (size_t i = 0; env[i] != NULL; i++) {
        if (strncmp(env[i], "PATH=", 5) == 0) {
            return env[i] + 5;
        }
    }
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

/* The file that `name` means; as execvpe looks for it. */
static int find_program(const char *name, char *const *env, char out[PATH_MAX])
{
    const char *at = path_variable(env);
    int best = -ENOENT;

    if (strchr(name, '/') != NULL) {
        return str_print(out, PATH_MAX, "%s", name);
    }
    for (;;) {
        size_t len = strcspn(at, ":");
        struct stat st;

        if (str_print(out, PATH_MAX, "%.*s/%s", (int)len, at, name) == 0 &&
            stat(out, &st) == 0 && S_ISREG(st.st_mode)) {
            if (access(out, X_OK) == 0) {
                return 0;
            }
            best = -EACCES;
        }
        if (at[len] == '\0') {
            return best;
        }
        at += len + 1;
    }
}

static char **texts(const json_t *list)
{
    char **out = calloc(json_array_size(list) + 1, sizeof *out);
    size_t i;
    json_t *item;

    if (out != NULL) {
        json_array_foreach(list, i, item)
        {
            out[i] = (char *)(uintptr_t)json_string_value(item);
        }
    }
    return out;
}

/* The file that is to be executed, if it may be. */
static int choose(const struct setup *s, char *const *argv, char *const *env,
                  char path[PATH_MAX], struct target *t, struct err *e)
{
    int r = find_program(argv[0], env, path);

    r = r == 0 ? target_find(s, path, argv, t) : r;
    if (r == -EXDEV) {
        return err_set(e, -EPERM, "cannot run '%s': it is the container runtime itself",
                       argv[0]);
    }
    return r < 0 ? err_sys(e, r, "cannot run '%s'", argv[0]) : 0;
}

int process_look(const struct setup *s, struct err *e)
{
    SCOPED(scope_free) char **argv = texts(config_get(s->process, "args"));
    SCOPED(scope_free) char **env = texts(config_get(s->process, "env"));
    SCOPED(target_fini) struct target t = {.file = -1, .dir = -1};
    char path[PATH_MAX];

    if (argv == NULL || env == NULL || argv[0] == NULL) {
        return err_set(e, -EINVAL, "no program to run was named");
    }
    if (argv[0][0] != '/' && strchr(argv[0], '/') != NULL) {
        return 0; /* relative to a directory that is not entered yet */
    }
    return choose(s, argv, env, path, &t, e);
}

int process_execute(struct setup *s, struct err *e)
{
    char **argv = texts(config_get(s->process, "args"));
    char **env = texts(config_get(s->process, "env"));
    struct target t;
    char path[PATH_MAX];
    sigset_t none;
    int r;

    if (argv == NULL || env == NULL || argv[0] == NULL) {
        return err_set(e, -EINVAL, "no program to run was named");
    }
    r = choose(s, argv, env, path, &t, e);
    if (r < 0) {
        return r;
    }
    r = target_move_above(&t, 3 + s->preserve_fds);
    if (r < 0) {
        return err_sys(e, r, "cannot run '%s'", argv[0]);
    }
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)syscall(SYS_close_range, 3U + (unsigned)s->preserve_fds, ~0U,
                  CLOSE_RANGE_CLOEXEC);
    for (int i = 0; i < s->preserve_fds; i++) {
        (void)fcntl(3 + i, F_SETFD, 0);
    }
    if (s->die_with_parent) { /* the change of user has undone it */
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    }
    r = process_lock_down(s, e);
    if (r < 0) {
        return r;
    }
    r = target_execute(s, &t, path, env);
    return err_sys(e, r, "cannot run '%s'", argv[0]);
}
