/* life.c - create, start, run, state, kill, delete, pause, resume. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "virt/container/oci/oci.h"

#define PRESERVE_MOST     1024
#define CONFIG_MOST_BYTES (16 << 20)

static void scope_container(struct container **c)
{
    if (*c != NULL) {
        task_close(container_task(*c));
    }
}

static int open_one(struct oci *o, const struct oci_args *a, struct container **ret,
                    struct err *e)
{
    return container_open(o->root, a->rest[0], ret, e);
}

/* Sockets that a service manager hands down (sd_listen_fds(3)) go on to the
 * program, who is told so in its environment. */
static int pass_sockets(json_t *config, long *preserve)
{
    const char *text = getenv("LISTEN_FDS");
    long n = text != NULL ? strtol(text, NULL, 10) : 0;
    json_t *process = json_object_get(config, "process");
    json_t *env = json_object_get(process, "env");
    char pair[32];

    if (n <= 0 || n > PRESERVE_MOST || !json_is_object(process)) {
        return 0;
    }
    if (!json_is_array(env)) {
        env = json_array();
        if (json_object_set_new(process, "env", env) < 0) {
            return -ENOMEM;
        }
    }
    (void)str_print(pair, sizeof pair, "LISTEN_FDS=%ld", n);
    if (json_array_append_new(env, json_string(pair)) < 0 ||
        json_array_append_new(env, json_string("LISTEN_PID=1")) < 0) {
        return -ENOMEM;
    }
    *preserve += n;
    return 0;
}

static int read_config(const struct oci_args *a, const char *bundle, json_t **ret,
                       struct err *e)
{
    const char *file = oci_arg(a, "config");
    SCOPED(scope_free) char *text = NULL;
    char path[4096];
    size_t len = 0;
    int r = str_print(
        path, sizeof path, "%s%s%s", file != NULL && file[0] == '/' ? "" : bundle,
        file != NULL && file[0] == '/' ? "" : "/", file != NULL ? file : "config.json");

    if (r == 0) {
        r = file_read(AT_FDCWD, path, CONFIG_MOST_BYTES, &text, &len);
    }
    return r < 0 ? err_sys(e, r, "cannot read '%s'", path)
                 : json_parse(text, len, path, ret, e);
}

static int make(struct oci *o, const struct oci_args *a, bool want_master,
                struct container **ret, int *ret_master, struct err *e)
{
    SCOPED(scope_json) json_t *config = NULL;
    struct container_new n = {.root = o->root,
                              .id = a->rest[0],
                              .bundle = oci_arg(a, "bundle"),
                              .stdio = {0, 1, 2},
                              .console_socket = oci_arg(a, "console-socket"),
                              .want_master = want_master,
                              .pid_file = oci_arg(a, "pid-file"),
                              .no_pivot = oci_has(a, "no-pivot"),
                              .log = &o->log};
    char cache[4096 + 16];
    long preserve = 0;
    int r = oci_number(a, "preserve-fds", PRESERVE_MOST, &preserve, e);

    n.bundle = n.bundle != NULL ? n.bundle : ".";
    if (r == 0 && str_print(cache, sizeof cache, "%s/.filters", o->root) == 0) {
        n.seccomp_cache = cache;
    }
    if (r == 0 && (oci_has(a, "config") || getenv("LISTEN_FDS") != NULL)) {
        r = read_config(a, n.bundle, &config, e);
        r = r == 0 ? pass_sockets(config, &preserve) : r;
        n.config = config;
    }
    n.preserve_fds = (int)preserve;
    return r < 0 ? r : container_create(&n, ret, ret_master, e);
}

int oci_create(struct oci *o, const struct oci_args *a, struct err *e)
{
    SCOPED(scope_container) struct container *c = NULL;

    return make(o, a, false, &c, NULL, e) < 0 ? OCI_EXIT_FAILED : 0;
}

int oci_start(struct oci *o, const struct oci_args *a, struct err *e)
{
    SCOPED(scope_container) struct container *c = NULL;
    int r = open_one(o, a, &c, e);

    return r < 0 || task_start(container_task(c), e) < 0 ? OCI_EXIT_FAILED : 0;
}

int oci_run(struct oci *o, const struct oci_args *a, struct err *e)
{
    SCOPED(scope_container) struct container *c = NULL;
    bool detach = oci_has(a, "detach");
    int master = -1;
    int code;
    int r = make(o, a, !detach && !oci_has(a, "console-socket"), &c, &master, e);

    if (r < 0) {
        return OCI_EXIT_FAILED;
    }
    code = (int)container_pid(c);
    if (task_start(container_task(c), e) < 0) {
        (void)container_delete(c, true, NULL);
        return OCI_EXIT_FAILED;
    }
    if (detach) {
        return 0;
    }
    code = oci_follow((pid_t)code, master);
    if (!oci_has(a, "keep") && container_delete(c, true, e) < 0) {
        return OCI_EXIT_FAILED;
    }
    return code;
}

int oci_state(struct oci *o, const struct oci_args *a, struct err *e)
{
    SCOPED(scope_container) struct container *c = NULL;
    SCOPED(scope_json) json_t *state = NULL;

    if (open_one(o, a, &c, e) < 0) {
        return OCI_EXIT_FAILED;
    }
    state = container_state(c);
    return oci_print(state, e) < 0 ? OCI_EXIT_FAILED : 0;
}

int oci_kill(struct oci *o, const struct oci_args *a, struct err *e)
{
    SCOPED(scope_container) struct container *c = NULL;
    const char *word = a->n_rest > 1 ? a->rest[1] : "TERM";
    int signal = oci_signal(word);

    if (signal == 0 && strcmp(word, "0") != 0) {
        (void)err_set(e, -EINVAL, "'%s' is not a signal", word);
        return OCI_EXIT_FAILED;
    }
    if (open_one(o, a, &c, e) < 0) {
        return OCI_EXIT_FAILED;
    }
    if (container_pid(c) == 0 && !oci_has(a, "all")) { /* engines look for these words */
        (void)err_set(e, -ESRCH, "container not running");
        return OCI_EXIT_FAILED;
    }
    return task_signal(container_task(c), signal, oci_has(a, "all"), e) < 0
               ? OCI_EXIT_FAILED
               : 0;
}

int oci_delete(struct oci *o, const struct oci_args *a, struct err *e)
{
    SCOPED(scope_container) struct container *c = NULL;
    bool force = oci_has(a, "force");
    struct err why = {0};
    int r = open_one(o, a, &c, &why);

    if (r == -ENOENT && force) { /* nothing, or what a killed create has left */
        return container_sweep(o->root, a->rest[0], NULL, e) < 0 ? OCI_EXIT_FAILED : 0;
    }
    if (r < 0) {
        (void)err_set(e, r, "%s", why.text);
        return OCI_EXIT_FAILED;
    }
    return container_delete(c, force, e) < 0 ? OCI_EXIT_FAILED : 0;
}

int oci_pause(struct oci *o, const struct oci_args *a, struct err *e)
{
    SCOPED(scope_container) struct container *c = NULL;

    return open_one(o, a, &c, e) < 0 || task_pause(container_task(c), e) < 0
               ? OCI_EXIT_FAILED
               : 0;
}

int oci_resume(struct oci *o, const struct oci_args *a, struct err *e)
{
    SCOPED(scope_container) struct container *c = NULL;

    return open_one(o, a, &c, e) < 0 || task_resume(container_task(c), e) < 0
               ? OCI_EXIT_FAILED
               : 0;
}
