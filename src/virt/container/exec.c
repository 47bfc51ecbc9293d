/* exec.c - one more program in a running container.
 *
 * A stage process enters the container's control group and, by one setns on the
 * first program's pidfd, all of its namespaces; then it makes the program's
 * process as a sibling of itself (CLONE_PARENT), so that it is born in the PID
 * namespace and is a child of the caller.  From before the setns the process
 * cannot be traced (PR_SET_DUMPABLE 0), and it carries no descriptor of the host
 * but the three it was given.
 *
 * What the `process` object does not say is taken from the container's own:
 * environment, directory, user, capabilities. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/cgroup.h"
#include "host/file.h"
#include "virt/container/confine/seccomp.h"
#include "virt/container/private.h"

#define FILE_MOST_BYTES (1 << 20)

static void take_default(json_t *process, const json_t *own, const char *key)
{
    if (config_get(process, key) == NULL && json_object_get(own, key) != NULL) {
        (void)json_object_set(process, key, json_object_get(own, key));
    }
}

/* "K=V" replaces the one with the same K. */
static void add_variable(json_t *env, const char *pair)
{
    size_t len = strcspn(pair, "=") + 1;
    size_t i;
    json_t *item;

    json_array_foreach(env, i, item)
    {
        if (strncmp(json_string_value(item), pair, len) == 0) {
            (void)json_array_set_new(env, i, json_string(pair));
            return;
        }
    }
    (void)json_array_append_new(env, json_string(pair));
}

/* "CAP_X" more, in every set that a program can use. */
static void add_capabilities(json_t *process, const json_t *more)
{
    static const char *const sets[] = {"bounding", "effective", "permitted"};
    json_t *caps;
    size_t i;
    json_t *item;

    if (more == NULL) {
        return;
    }
    caps = json_deep_copy(json_object_get(process, "capabilities"));
    caps = caps != NULL ? caps : json_object();
    for (size_t k = 0; k < sizeof sets / sizeof sets[0]; k++) {
        json_t *list = json_object_get(caps, sets[k]);

        if (list == NULL) {
            list = json_array();
            (void)json_object_set_new(caps, sets[k], list);
        }
        json_array_foreach(more, i, item)
        {
            (void)json_array_append(list, item);
        }
    }
    (void)json_object_set_new(process, "capabilities", caps);
}

static json_t *complete(const struct container *c, const json_t *given)
{
    static const char *const keys[] = {"cwd",
                                       "user",
                                       "capabilities",
                                       "rlimits",
                                       "noNewPrivileges",
                                       "apparmorProfile",
                                       "selinuxLabel"};
    const json_t *own = config_get(c->config, "process");
    json_t *out = json_copy((json_t *)(uintptr_t)given);
    json_t *env;
    size_t i;
    json_t *item;

    for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
        take_default(out, own, keys[k]);
    }
    env = json_deep_copy(config_get(given, "env") != NULL ? config_get(given, "env")
                                                          : config_get(own, "env"));
    if (env == NULL) {
        env = json_array();
    }
    json_array_foreach(config_get(given, "addEnv"), i, item)
    {
        add_variable(env, json_string_value(item));
    }
    (void)json_object_set_new(out, "env", env);
    (void)json_object_del(out, "addEnv");
    add_capabilities(out, config_get(given, "addCapabilities"));
    (void)json_object_del(out, "addCapabilities");
    return out;
}

/* The line of a file of the container whose field 0 (or `field`) is `word`. */
static bool find_line(char *text, const char *word, int id_field, long *ret_id,
                      long *ret_more)
{
    char *save = NULL;
    char *end;
    long wanted = strtol(word, &end, 10);
    bool by_id = *end == '\0' && end != word;

    for (char *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        char none[1] = "";
        char *f[4] = {line, none, none, none};

        for (int i = 1; i < 4; i++) {
            char *colon = strchr(f[i - 1], ':');

            if (colon == NULL) {
                break;
            }
            *colon = '\0';
            f[i] = colon + 1;
        }
        if (by_id ? strtol(f[id_field], NULL, 10) == wanted && f[id_field][0] != '\0'
                  : strcmp(f[0], word) == 0) {
            *ret_id = strtol(f[2], NULL, 10);
            *ret_more = strtol(f[3], NULL, 10);
            return true;
        }
    }
    return false;
}

static char *read_inside(const struct container *c, const char *path)
{
    char root_path[64];
    SCOPED(scope_close) int root = -1;
    SCOPED(scope_close) int fd = -1;
    char *text = NULL;
    ssize_t n;

    (void)str_print(root_path, sizeof root_path, "/proc/%d/root", (int)c->pid);
    root = open(root_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    fd = root >= 0 ? file_open_in_root(root, path, O_RDONLY | O_NONBLOCK, 0) : -1;
    text = fd >= 0 ? malloc(FILE_MOST_BYTES + 1) : NULL;
    n = text != NULL ? file_read_all(fd, text, FILE_MOST_BYTES) : -1;
    if (n < 0) {
        free(text);
        return NULL;
    }
    text[n] = '\0';
    return text;
}

/* "user[:group]" by the container's own files, to numbers. */
static int resolve_user(const struct container *c, json_t *process, struct err *e)
{
    const char *word = config_text(process, "userName", NULL);
    SCOPED(scope_free) char *passwd = NULL;
    SCOPED(scope_free) char *group = NULL;
    char name[256];
    const char *colon;
    char *end;
    long uid;
    long gid = 0;
    long more = 0;

    if (word == NULL) {
        return 0;
    }
    colon = strchr(word, ':');
    if (str_print(name, sizeof name, "%.*s", colon != NULL ? (int)(colon - word) : 255,
                  word) < 0) {
        return err_set(e, -EINVAL, "the user '%s' is too long", word);
    }
    passwd = read_inside(c, "/etc/passwd");
    if (passwd == NULL || !find_line(passwd, name, 2, &uid, &gid)) {
        uid = strtol(name, &end, 10);
        if (*end != '\0' || end == name) {
            return err_set(e, -ENOENT, "container '%s' has no user '%s'", c->id, name);
        }
    }
    if (colon != NULL) {
        group = read_inside(c, "/etc/group");
        if (group == NULL || !find_line(group, colon + 1, 2, &gid, &more)) {
            gid = strtol(colon + 1, &end, 10);
            if (*end != '\0' || end == colon + 1) {
                return err_set(e, -ENOENT, "container '%s' has no group '%s'", c->id,
                               colon + 1);
            }
        }
    }
    (void)json_object_del(process, "userName");
    (void)json_object_set_new(
        process, "user",
        json_pack("{s:I, s:I}", "uid", (json_int_t)uid, "gid", (json_int_t)gid));
    return 0;
}

/* A user other than root runs without capabilities it was not given. */
static void limit_user(json_t *process, const json_t *given)
{
    json_t *caps = json_object_get(process, "capabilities");
    json_t *copy;

    if (config_get(given, "capabilities") != NULL ||
        config_number(process, "user.uid", 0) == 0 || caps == NULL) {
        return;
    }
    copy = json_copy(caps);
    (void)json_object_set_new(copy, "effective", json_array());
    (void)json_object_set_new(copy, "permitted", json_array());
    (void)json_object_set_new(copy, "ambient", json_array());
    (void)json_object_set_new(process, "capabilities", copy);
}

static void be_program(struct setup *s) __attribute__((noreturn));

static void be_program(struct setup *s)
{
    struct err e = {0};
    bool ok = true;

    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)setsid();
    if (s->joined_user && (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)) {
        (void)err_sys(&e, -errno, "cannot become root of the user namespace");
        ok = false;
    }
    if (s->terminal && ok) {
        ok = console_make(s, &e) == 0;
    }
    if (ok) {
        ok = sync_send(s->sync[1], SYNC_READY, s->master) == 0;
    }
    if (ok && process_prepare(s, &e) == 0) {
        (void)process_execute(s, &e);
    }
    (void)sync_send_err(s->sync[1], &e);
    _exit(e.code == -ENOENT ? 127 : 126);
}

/* The namespaces that differ from our own; setns refuses some that are the same. */
static int foreign_namespaces(pid_t pid, bool *ret_user)
{
    int flags = 0;

    for (int i = 0; i < NS_COUNT; i++) {
        char path[64];
        struct stat own;
        struct stat theirs;

        (void)str_print(path, sizeof path, "/proc/%d/ns/%s", (int)pid, ns_table[i].proc);
        if (stat(path, &theirs) < 0) {
            continue;
        }
        (void)str_print(path, sizeof path, "/proc/self/ns/%s", ns_table[i].proc);
        if (stat(path, &own) == 0 && own.st_ino != theirs.st_ino) {
            flags |= (int)ns_table[i].flag;
        }
    }
    *ret_user = (flags & CLONE_NEWUSER) != 0;
    return flags;
}

static void be_stage(struct setup *s, int pidfd) __attribute__((noreturn));

static void be_stage(struct setup *s, int pidfd)
{
    struct err e = {0};
    int flags = foreign_namespaces(s->c->pid, &s->joined_user);
    pid_t pid = -1;

    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)close(s->sync[0]);
    if (s->c->cgroup != NULL) {
        int r = cgroup_join_self(s->c->cgroup, s->born);

        if (r < 0) {
            (void)err_sys(&e, r, "cannot enter the control group");
        }
    }
    if (e.code == 0 && setns(pidfd, flags) < 0) {
        (void)err_sys(&e, -errno, "cannot enter the container's namespaces");
    }
    if (e.code == 0) {
        pid = ns_clone(CLONE_PARENT, -1, NULL);
        if (pid == 0) {
            be_program(s);
        }
        if (pid < 0) {
            (void)err_sys(&e, pid, "cannot make a process");
        }
    }
    (void)!write(s->stage[1], &pid, sizeof pid);
    if (e.code != 0) {
        (void)sync_send_err(s->sync[1], &e);
    }
    _exit(0);
}

static int spawn_stage(struct setup *s, pid_t *ret_pid, struct err *e)
{
    SCOPED(scope_close) int pidfd = (int)syscall(SYS_pidfd_open, s->c->pid, 0);
    int birth = s->c->cgroup != NULL ? cgroup_birth_fd(s->c->cgroup) : -1;
    pid_t stage;
    pid_t pid = -1;

    if (pidfd < 0 || !state_is_alive(s->c)) {
        return err_set(e, -ESRCH, "container '%s' is not running", s->c->id);
    }
    if (pipe2(s->stage, O_CLOEXEC) < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s->sync) < 0) {
        return err_sys(e, -errno, "cannot make a pipe");
    }
    s->born = birth >= 0;
    stage = ns_clone(0, birth, NULL);
    if (stage == 0) {
        be_stage(s, pidfd);
    }
    (void)close(s->stage[1]);
    (void)close(s->sync[1]);
    s->sync[1] = -1;
    if (stage > 0) {
        (void)file_read_all(s->stage[0], &pid, sizeof pid);
        (void)waitpid(stage, NULL, 0);
    }
    (void)close(s->stage[0]);
    *ret_pid = pid;
    return stage < 0 ? err_sys(e, stage, "cannot make a process") : 0;
}

/* Until the program runs, or it is known why not. */
static int hear(struct setup *s, const struct container_exec *x, pid_t pid,
                int *ret_master, struct err *e)
{
    for (;;) {
        SCOPED(scope_close) int came = -1;
        int r = sync_receive(s->sync[0], &came, e);

        if (r == -ECONNRESET) {
            return pid > 0 ? 0 : err_set(e, -EIO, "the program's process ended early");
        }
        if (r < 0) {
            return r;
        }
        if (r == (int)SYNC_READY && came >= 0 && x->console_socket != NULL) {
            r = console_send(x->console_socket, came, e);
            if (r < 0) {
                return r;
            }
        } else if (r == (int)SYNC_NOTIFY && came >= 0) {
            r = listener_pass(s->c, came, e);
            if (r < 0) {
                return r;
            }
        } else if (r == (int)SYNC_READY && came >= 0 && ret_master != NULL) {
            *ret_master = scope_take_fd(&came);
        }
    }
}

int container_exec(struct container *c, const struct container_exec *x, pid_t *ret_pid,
                   int *ret_master, struct err *e)
{
    static const struct container_new nothing;
    SCOPED(scope_json) json_t *process = NULL;
    struct setup s;
    pid_t pid = -1;
    int r = setup_preserved(x->preserve_fds, e);

    r = r == 0 ? state_need_config(c, e) : r;
    if (ret_master != NULL) {
        *ret_master = -1;
    }
    if (r == 0) {
        r = state_cgroup(c, e);
    }
    if (r < 0) {
        return r;
    }
    process = complete(c, x->process);
    r = resolve_user(c, process, e);
    if (r == 0) {
        limit_user(process, x->process);
        r = config_check_process(process, "process", e);
    }
    if (r < 0) {
        return r;
    }
    setup_init(&s);
    s.n = &nothing;
    s.c = c;
    s.config = c->config;
    s.process = process;
    s.is_exec = true;
    s.preserve_fds = x->preserve_fds;
    memcpy(s.stdio, x->stdio, sizeof s.stdio);
    r = ns_plan_read_kinds(c->config, &s.ns, e);
    if (r == 0) {
        r = setup_process(&s, e);
    }
    if (r == 0) {
        r = setup_filter(&s, e);
    }
    if (r == 0) {
        r = spawn_stage(&s, &pid, e);
    }
    if (r == 0) {
        r = hear(&s, x, pid, ret_master, e);
    }
    container_warn(x->log, &s.warnings);
    if (r < 0 && pid > 0) {
        (void)waitpid(pid, NULL, 0);
    }
    if (r == 0) {
        *ret_pid = pid;
    }
    setup_fini(&s);
    return r;
}
