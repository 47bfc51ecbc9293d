/* state.c - what is kept of a container between two commands.
 *
 * ROOT/ID/state.json, replaced as a whole; ROOT/ID/start.sock as long as the
 * first program waits; ROOT/ID/config.json for containers without a bundle.  The
 * rest is asked from the kernel: a process is known by its id and the time it
 * started, so that a reused id is not taken for it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/cgroup.h"
#include "host/file.h"
#include "virt/container/private.h"

#define STATE_VERSION    1
#define STATE_MOST_BYTES (1 << 20)

int state_path(const struct container *c, const char *file, char out[PATH_MAX])
{
    return str_print(out, PATH_MAX, "%s/%s%s%s", c->root, c->id,
                     file[0] != '\0' ? "/" : "", file);
}

uint64_t state_process_start(pid_t pid)
{
    SCOPED(scope_free) char *text = NULL;
    char path[64];
    char *p;
    unsigned long long started = 0;

    (void)str_print(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (file_read(AT_FDCWD, path, 4096, &text, NULL) < 0) {
        return 0;
    }
    p = strrchr(text, ')'); /* the name may have anything in it */
    if (p == NULL || p[1] != ' ' || p[2] == 'Z' || p[2] == 'X') {
        return 0;
    }
    /* Field 22 of proc(5); ')' ends field 2. */
    p = strrchr(text, ')') + 1;
    for (int field = 2; field < 21 && p != NULL; field++) {
        p = strchr(p + 1, ' ');
    }
    if (p == NULL || sscanf(p, " %llu", &started) != 1) {
        return 0;
    }
    return started;
}

bool state_is_alive(const struct container *c)
{
    return c->pid > 0 && state_process_start(c->pid) == c->pid_started;
}

int state_save(struct container *c, struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    char path[PATH_MAX];
    int r;

    (void)json_object_set_new(c->state, "version", json_integer(STATE_VERSION));
    (void)json_object_set_new(c->state, "pid", json_integer(c->pid));
    (void)json_object_set_new(c->state, "pidStarted",
                              json_integer((json_int_t)c->pid_started));
    (void)json_object_set_new(c->state, "bundle", json_string(c->bundle));
    text = json_dumps(c->state, JSON_COMPACT);
    if (text == NULL) {
        return err_set(e, -ENOMEM, "cannot record container '%s': no memory", c->id);
    }
    (void)state_path(c, "state.json", path);
    r = file_replace(AT_FDCWD, path, text, strlen(text), 0600, false);
    return r < 0 ? err_sys(e, r, "cannot record container '%s'", c->id) : 0;
}

static int read_json(const char *path, json_t **ret, struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    size_t len = 0;
    int r = file_read(AT_FDCWD, path, STATE_MOST_BYTES * 16, &text, &len);

    return r < 0 ? r : json_parse(text, len, path, ret, e);
}

int state_load(const char *root, const char *id, struct container **ret, struct err *e)
{
    struct container *c = calloc(1, sizeof *c);
    char path[PATH_MAX];
    int r;

    if (c == NULL) {
        return err_set(e, -ENOMEM, "cannot open container '%s': no memory", id);
    }
    c->sync = -1;
    c->userns = c->netns = -1;
    c->root = strdup(root);
    c->id = strdup(id);
    if (c->root == NULL || c->id == NULL || state_path(c, "state.json", path) < 0) {
        state_free(c);
        return err_set(e, -EINVAL, "cannot open container '%s'", id);
    }
    r = read_json(path, &c->state, e);
    if (r < 0) {
        state_free(c);
        return r == -ENOENT
                   ? err_set(e, r, "container '%s' does not exist", id)
                   : err_sys(e, r, "cannot read the state of container '%s'", id);
    }
    if (config_number(c->state, "version", 0) > STATE_VERSION) {
        state_free(c);
        return err_set(e, -EPROTONOSUPPORT, "container '%s' was made by a newer runtime",
                       id);
    }
    c->pid = (pid_t)config_number(c->state, "pid", 0);
    c->pid_started = (uint64_t)config_number(c->state, "pidStarted", 0);
    c->bundle = strdup(config_text(c->state, "bundle", "/"));
    *ret = c;
    return 0;
}

/* Mostly the record is all there is; listing the directory costs as much as all this. */
int state_remove(const struct container *c)
{
    char path[PATH_MAX];

    (void)state_path(c, "state.json", path);
    (void)unlink(path);
    (void)state_path(c, "", path);
    return rmdir(path) == 0 ? 0 : file_remove_tree(AT_FDCWD, path);
}

int state_need_config(struct container *c, struct err *e)
{
    char path[PATH_MAX];
    int r;

    if (c->config != NULL) {
        return 0;
    }
    (void)state_path(c, "config.json", path);
    r = read_json(path, &c->config, e);
    return r == -ENOENT ? config_read(c->bundle, &c->config, e) : r;
}

int state_cgroup(struct container *c, struct err *e)
{
    const char *place = config_text(c->state, "cgroup", NULL);

    if (c->cgroup != NULL || place == NULL || place[0] == '\0') {
        return 0;
    }
    return cgroup_open(place, &c->cgroup, e);
}

void state_free(struct container *c)
{
    if (c == NULL) {
        return;
    }
    cgroup_close(c->cgroup);
    json_decref(c->config);
    json_decref(c->state);
    if (c->sync >= 0) {
        (void)close(c->sync);
    }
    if (c->userns >= 0) {
        (void)close(c->userns);
    }
    if (c->netns >= 0) {
        (void)close(c->netns);
    }
    free(c->root);
    free(c->id);
    free(c->bundle);
    free(c);
}

/* Whether the first program has not begun: a killed start may have left the socket,
 * but nobody listens at it then. */
static bool awaits_start(struct container *c)
{
    SCOPED(scope_close) int fd = -1;
    char path[PATH_MAX];
    int r;

    (void)state_path(c, "start.sock", path);
    if (access(path, F_OK) < 0) {
        return false;
    }
    r = start_connect(c, false, &fd);
    return r == 0 || r == -EAGAIN;
}

static const char *status_word(struct container *c)
{
    struct cgroup_events events = {0};

    if (!state_is_alive(c)) {
        return c->pid == 0 && json_object_get(c->state, "pid") == NULL ? "creating"
                                                                       : "stopped";
    }
    if (c->sync >= 0 || awaits_start(c)) {
        return "created";
    }
    if (state_cgroup(c, NULL) == 0 && c->cgroup != NULL &&
        cgroup_events(c->cgroup, &events) == 0 && events.frozen) {
        return "paused";
    }
    return "running";
}

json_t *container_state(struct container *c)
{
    const char *status = status_word(c);
    json_t *out = json_pack(
        "{s:s, s:s, s:s, s:i, s:s}", "ociVersion", "1.2.0", "id", c->id, "status", status,
        "pid", strcmp(status, "stopped") == 0 ? 0 : (int)c->pid, "bundle", c->bundle);
    json_t *notes = json_object_get(c->state, "annotations");

    if (notes != NULL) {
        (void)json_object_set(out, "annotations", notes);
    }
    return out;
}

int container_list(const char *root, json_t **ret, struct err *e)
{
    SCOPED(scope_dir) DIR *d = opendir(root);
    const struct dirent *entry;

    *ret = json_array();
    if (d == NULL) {
        return errno == ENOENT ? 0 : err_sys(e, -errno, "cannot list '%s'", root);
    }
    while ((entry = readdir(d)) != NULL) {
        struct container *c = NULL;
        json_t *one;

        if (entry->d_name[0] == '.' || state_load(root, entry->d_name, &c, NULL) < 0) {
            continue;
        }
        one = container_state(c);
        (void)json_object_set(one, "rootfs", json_object_get(c->state, "rootfs"));
        (void)json_object_set(one, "created", json_object_get(c->state, "created"));
        (void)json_object_set(one, "owner", json_object_get(c->state, "owner"));
        (void)json_array_append_new(*ret, one);
        state_free(c);
    }
    return 0;
}
