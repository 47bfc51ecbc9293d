/* exec.c - one more program, from a file or from flags. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "virt/container/oci/oci.h"

#define PROCESS_MOST_BYTES (16 << 20)
#define PRESERVE_MOST      1024
#define ID_MOST            4294967294L

static void scope_container(struct container **c)
{
    if (*c != NULL) {
        task_close(container_task(*c));
    }
}

static int read_process(const char *path, json_t **ret, struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    size_t len = 0;
    int r = file_read(AT_FDCWD, path, PROCESS_MOST_BYTES, &text, &len);

    return r < 0 ? err_sys(e, r, "cannot read '%s'", path)
                 : json_parse(text, len, path, ret, e);
}

/* Each value of a flag as a member of the list `key`. */
static void add_each(const struct oci_args *a, const char *flag, json_t *to,
                     const char *key, bool number)
{
    json_t *list = NULL;

    for (size_t i = 0; i < a->n; i++) {
        const char *value = a->given[i].value;

        if (strcmp(a->given[i].flag->name, flag) != 0) {
            continue;
        }
        if (list == NULL) {
            list = json_array();
            (void)json_object_set_new(to, key, list);
        }
        (void)json_array_append_new(list, number ? json_integer(strtol(value, NULL, 10))
                                                 : json_string(value));
    }
}

/* "uid[:gid]" by numbers, else names for the library to look up inside. */
static void set_user(const struct oci_args *a, json_t *process)
{
    const char *text = oci_arg(a, "user");
    char *end = NULL;
    long uid = text != NULL ? strtol(text, &end, 10) : 0;
    long gid = 0;
    json_t *user;

    if (text == NULL) {
        return;
    }
    if (end != text && *end == ':') {
        const char *second = end + 1;

        gid = strtol(second, &end, 10);
        end = end == second ? NULL : end;
    }
    if (end == NULL || end == text || *end != '\0' || uid < 0 || uid > ID_MOST ||
        gid < 0 || gid > ID_MOST) {
        (void)json_object_set_new(process, "userName", json_string(text));
        return;
    }
    user = json_pack("{s:I, s:I}", "uid", (json_int_t)uid, "gid", (json_int_t)gid);
    (void)json_object_set_new(process, "user", user);
}

static int make_process(const struct oci_args *a, json_t **ret, struct err *e)
{
    static const struct {
        const char *flag, *key;
    } texts[] = {{"cwd", "cwd"},
                 {"apparmor", "apparmorProfile"},
                 {"process-label", "selinuxLabel"}};

    json_t *p = json_object();
    json_t *args = json_array();

    if (a->n_rest < 2) {
        json_decref(p);
        json_decref(args);
        return err_set(e, -EINVAL, "exec: no program was named");
    }
    for (int i = 1; i < a->n_rest; i++) {
        if (json_array_append_new(args, json_string(a->rest[i])) < 0) {
            json_decref(p);
            json_decref(args);
            return err_set(e, -EINVAL, "exec: argument %d is not UTF-8", i);
        }
    }
    (void)json_object_set_new(p, "args", args);
    (void)json_object_set_new(p, "terminal", json_boolean(oci_has(a, "tty")));
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (oci_has(a, texts[i].flag)) {
            (void)json_object_set_new(p, texts[i].key,
                                      json_string(oci_arg(a, texts[i].flag)));
        }
    }
    if (oci_has(a, "no-new-privs")) {
        (void)json_object_set_new(p, "noNewPrivileges", json_true());
    }
    add_each(a, "env", p, "addEnv", false);
    set_user(a, p);
    add_each(a, "additional-gids", p, "addGids", true);
    add_each(a, "cap", p, "addCapabilities", false);
    *ret = p;
    return 0;
}

static int write_pid(const struct oci_args *a, pid_t pid, struct err *e)
{
    const char *path = oci_arg(a, "pid-file");
    char text[16];
    int r;

    if (path == NULL) {
        return 0;
    }
    (void)str_print(text, sizeof text, "%d", (int)pid);
    r = file_replace(AT_FDCWD, path, text, strlen(text), 0644, false);
    return r < 0 ? err_sys(e, r, "cannot write '%s'", path) : 0;
}

static int check_running(struct container *c, const struct oci_args *a, struct err *e)
{
    enum task_state s = task_state(container_task(c));

    if (s == TASK_RUNNING || s == TASK_CREATED ||
        (s == TASK_PAUSED && oci_has(a, "ignore-paused"))) {
        return 0;
    }
    return err_set(e, -EBUSY, "cannot run a program in container '%s': it is %s",
                   a->rest[0], task_state_name(s));
}

int oci_exec(struct oci *o, const struct oci_args *a, struct err *e)
{
    SCOPED(scope_container) struct container *c = NULL;
    SCOPED(scope_json) json_t *process = NULL;
    struct container_exec x = {.stdio = {0, 1, 2},
                               .console_socket = oci_arg(a, "console-socket"),
                               .log = &o->log};
    const char *file = oci_arg(a, "process");
    long preserve = 0;
    pid_t pid = 0;
    int master = -1;
    int r = file != NULL ? read_process(file, &process, e) : make_process(a, &process, e);

    r = r == 0 ? oci_number(a, "preserve-fds", PRESERVE_MOST, &preserve, e) : r;
    r = r == 0 ? container_open(o->root, a->rest[0], &c, e) : r;
    r = r == 0 ? check_running(c, a, e) : r;
    if (r < 0) {
        return OCI_EXIT_FAILED;
    }
    if (file != NULL && oci_has(a, "tty")) {
        (void)json_object_set_new(process, "terminal", json_true());
    }
    x.process = process;
    x.preserve_fds = (int)preserve;
    x.want_master = !oci_has(a, "detach") && x.console_socket == NULL;
    if (container_exec(c, &x, &pid, &master, e) < 0) {
        return e->code == -ENOENT ? 127 : e->code == -EACCES ? 126 : OCI_EXIT_FAILED;
    }
    if (write_pid(a, pid, e) < 0) {
        return OCI_EXIT_FAILED;
    }
    return oci_has(a, "detach") ? 0 : oci_follow(pid, master);
}
