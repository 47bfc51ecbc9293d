/* create.c - the parent's half of making a container.
 *
 * `steps` is all of it, from the configuration to a child that waits for its start;
 * the child's half is in init.c, and what they say to each other in sync.c.  A
 * failure at any step kills the child and removes the control group and the state
 * directory. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "host/cgroup.h"
#include "host/file.h"
#include "virt/container/setup.h"

#define KILL_WAIT_MS 5000

void container_warn(const struct log *log, const struct strv *warnings)
{
    for (size_t i = 0; i < warnings->n; i++) {
        size_t before = 0;

        while (strcmp(warnings->items[before], warnings->items[i]) != 0) {
            before++;
        }
        if (before == i) { /* what several parts ask for is said once */
            log_warn(log, "%s", warnings->items[i]);
        }
    }
}

static bool is_id(const char *id)
{
    size_t n =
        strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.");

    return n > 0 && n < CONTAINER_ID_BYTES && id[n] == '\0' && strcmp(id, ".") != 0 &&
           strcmp(id, "..") != 0;
}

static int check_new(const struct container_new *n, struct container *c, struct err *e)
{
    int r;

    if (!is_id(n->id)) {
        return err_set(e, -EINVAL, "'%s' cannot be the id of a container", n->id);
    }
    if (c->bundle == NULL) {
        return err_sys(e, -errno, "cannot open the bundle '%s'", n->bundle);
    }
    if (n->config != NULL) {
        c->config = json_incref(n->config);
        r = 0;
    } else {
        r = config_read(c->bundle, &c->config, e);
    }
    r = r == 0 ? config_check(c->config, e) : r;
    if (r == 0 && config_get(c->config, "process") == NULL) {
        r = err_set(e, -EINVAL, "the configuration lacks 'process'");
    }
    if (r == 0 && n->overlay == NULL && config_get(c->config, "root.path") == NULL) {
        r = err_set(e, -EINVAL, "the configuration lacks 'root'");
    }
    return r;
}

static int new_container(const struct container_new *n, struct container **ret,
                         struct err *e)
{
    struct container *c = calloc(1, sizeof *c);
    int r;

    if (c == NULL) {
        return err_set(e, -ENOMEM, "cannot create container '%s': no memory", n->id);
    }
    c->task.ops = &container_task_ops;
    c->sync = -1;
    c->userns = c->netns = -1;
    c->log = n->log;
    c->root = strdup(n->root);
    c->id = strdup(n->id);
    c->state = json_object();
    c->bundle = realpath(n->bundle, NULL);
    r = check_new(n, c, e);
    if (r < 0) {
        state_free(c);
        return r;
    }
    *ret = c;
    return 0;
}

static int keep_parents_end(struct setup *s, struct err *e)
{
    (void)e;
    (void)close(s->sync[1]);
    s->sync[1] = -1;
    (void)fault_step("container.create.cloned");
    return 0;
}

static int await_ready(struct setup *s, struct err *e)
{
    return sync_await(s, SYNC_READY, &s->master, e);
}

static int send_terminal(struct setup *s, struct err *e)
{
    return s->n->console_socket != NULL && s->terminal
               ? console_send(s->n->console_socket, s->master, e)
               : 0;
}

static int make_all(struct setup *s, struct err *e)
{
    static setup_step *const before[] = {setup_prepare, spawn_child};
    static setup_step *const beside[] = {
        keep_parents_end,    meet_map_ids,  meet_open_root, meet_lend_network,
        setup_close_devices, meet_hooks,    meet_mounts,    record_container,
        await_ready,         send_terminal, record_pid};
    int r = SETUP_RUN(before, s, e);

    if (r < 0) {
        return r;
    }
    r = SETUP_RUN(beside, s, e);
    (void)fault_step("container.create.recorded");
    return r < 0 ? sync_ask_child(s, r, e) : 0;
}

static void undo(struct setup *s)
{
    char path[PATH_MAX];

    if (s->c->pid > 0) {
        (void)kill(s->c->pid, SIGKILL);
        (void)waitpid(s->c->pid, NULL, 0);
    }
    if (s->c->cgroup != NULL) {
        (void)cgroup_destroy(s->c->cgroup, KILL_WAIT_MS, NULL);
        s->c->cgroup = NULL;
    }
    if (s->has_directory && state_path(s->c, "", path) == 0) {
        (void)file_remove_tree(AT_FDCWD, path);
    }
}

int container_create(const struct container_new *n, struct container **ret,
                     int *ret_master, struct err *e)
{
    struct setup s;
    int r;

    setup_init(&s);
    s.n = n;
    s.preserve_fds = n->preserve_fds;
    s.die_with_parent = n->die_with_parent;
    memcpy(s.stdio, n->stdio, sizeof s.stdio);
    if (ret_master != NULL) {
        *ret_master = -1;
    }
    r = setup_preserved(n->preserve_fds, e);
    r = r == 0 ? new_container(n, &s.c, e) : r;
    if (r < 0) {
        return r;
    }
    s.config = s.c->config;
    s.process = config_get(s.config, "process");
    r = make_all(&s, e);
    container_warn(n->log, &s.warnings);
    if (r < 0) {
        undo(&s);
        state_free(s.c);
    } else {
        s.c->sync = scope_take_fd(&s.sync[0]);
        if (ret_master != NULL && n->want_master && n->console_socket == NULL) {
            *ret_master = scope_take_fd(&s.master);
        }
        *ret = s.c;
    }
    setup_fini(&s);
    return r;
}
