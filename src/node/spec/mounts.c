/* node/spec/mounts.c - the mounts of a guest: the usual ones, its own files, volumes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "node/spec/private.h"

#define SHM_BYTES "67108864"

static void add_mount(json_t *mounts, const char *to, const char *type, const char *from,
                      const char *options)
{
    json_t *list = json_array();
    char copy[256];
    char *save = NULL;

    (void)str_print(copy, sizeof copy, "%s", options);
    for (char *w = strtok_r(copy, ",", &save); w != NULL;
         w = strtok_r(NULL, ",", &save)) {
        spec_add_text(list, w);
    }
    (void)json_array_append_new(mounts,
                                json_pack("{s:s, s:s, s:s, s:o}", "destination", to,
                                          "type", type, "source", from, "options", list));
}

static void add_own_files(const struct plan *p, json_t *mounts)
{
    static const char *const files[] = {"hosts", "resolv.conf", "hostname"};
    char from[PATH_MAX];
    char to[64];

    for (size_t i = 0; i < COUNT(files); i++) {
        (void)guest_run_path(p->n, p->g->id, files[i], from);
        (void)str_print(to, sizeof to, "/etc/%s", files[i]);
        add_mount(mounts, to, "bind", from, "bind,ro,nosuid,nodev,noexec");
    }
    if (spec_flag(p->config, "init")) {
        (void)str_print(from, sizeof from, "%s/init", p->n->libexec);
        add_mount(mounts, "/dev/init", "bind", from, "bind,ro,nosuid,nodev");
    }
}

/* One that is a disk is mounted once for the guest, for all places that want it. */
static void add_disk(const struct plan *p, json_t *disk, bool read_only,
                     char from[PATH_MAX])
{
    const char *name = spec_text(disk, "name", "");
    size_t i;
    json_t *item;

    json_array_foreach(p->disks, i, item)
    {
        if (strcmp(spec_text(item, "name", ""), name) == 0) {
            break;
        }
    }
    if (i == json_array_size(p->disks)) {
        (void)str_print(from, PATH_MAX, "%s/disks/%s.%zu", p->n->run, p->g->id, i);
        (void)json_object_set_new(disk, "at", json_string(from));
        (void)json_object_set_new(disk, "read_only", json_boolean(read_only));
        (void)json_array_append(p->disks, disk);
        return;
    }
    item = json_array_get(p->disks, i);
    (void)str_print(from, PATH_MAX, "%s", spec_text(item, "at", ""));
    if (!read_only) {
        (void)json_object_set_new(item, "read_only", json_false());
    }
}

/* Where a volume's files are. */
static int find_volume(const struct plan *p, const char *name, bool read_only,
                       char from[PATH_MAX], struct err *e)
{
    SCOPED(scope_json) json_t *disk = NULL;
    int r = volume_plan(p->n, name, &disk, e);

    if (r < 0) {
        return r;
    }
    if (disk != NULL) {
        add_disk(p, disk, read_only, from);
        return 0;
    }
    (void)str_print(from, PATH_MAX, "%s/volumes/%s/data", p->n->state, name);
    if (access(from, F_OK) < 0) {
        return err_set(e, -ENOENT,
                       "cannot use volume '%s': it does not exist (see 'strata volume "
                       "create')",
                       name);
    }
    return 0;
}

/* NAME|DIR:/PATH[:ro] */
static int add_volume(const struct plan *p, json_t *mounts, const char *text,
                      struct err *e)
{
    char from[PATH_MAX];
    char name[PATH_MAX];
    char options[64];
    const char *colon = strchr(text, ':');
    const char *end = strchr(colon + 1, ':');
    bool read_only = end != NULL && strcmp(end, ":ro") == 0;
    SCOPED(scope_free) char *to = NULL;

    if (end != NULL && !read_only && strcmp(end, ":rw") != 0) {
        return err_set(e, -EINVAL, "cannot use --volume '%s': '%s' is neither ro nor rw",
                       text, end + 1);
    }
    to = end != NULL ? strndup(colon + 1, (size_t)(end - colon - 1)) : strdup(colon + 1);
    (void)str_print(name, sizeof name, "%.*s", (int)(colon - text), text);
    if (name[0] == '/' || name[0] == '.') {
        if (realpath(name, from) == NULL) {
            return err_sys(e, -errno, "cannot use volume '%s'", name);
        }
    } else {
        int r = find_volume(p, name, read_only, from, e);

        if (r < 0) {
            return r;
        }
    }
    (void)str_print(options, sizeof options, "rbind,%s,nodev%s", read_only ? "rro" : "rw",
                    p->shifted && !p->n->rootless ? ",idmap" : "");
    if (to == NULL) {
        return err_set(e, -ENOMEM, "cannot use volume '%s': no memory", name);
    }
    add_mount(mounts, to, "bind", from, options);
    return 0;
}

/* "/PATH[:OPTION,OPTION...]" */
static void add_tmpfs(json_t *mounts, const char *text)
{
    const char *colon = strchr(text, ':');
    char to[PATH_MAX];
    char options[256];

    (void)str_print(to, sizeof to, "%.*s",
                    colon != NULL ? (int)(colon - text) : PATH_MAX - 1, text);
    (void)str_print(options, sizeof options, "nosuid,nodev,%s",
                    colon != NULL ? colon + 1 : "mode=1777");
    add_mount(mounts, to, "tmpfs", "tmpfs", options);
}

int spec_build_mounts(const struct plan *p, struct err *e)
{
    json_t *mounts = json_array();
    bool all = spec_flag(p->config, "privileged");
    bool own_net = strcmp(spec_text(p->config, "network", ""), "host") != 0;
    size_t i;
    json_t *item;

    (void)json_object_set_new(p->oci, "mounts", mounts);
    add_mount(mounts, "/proc", "proc", "proc", "nosuid,noexec,nodev");
    add_mount(mounts, "/dev", "tmpfs", "tmpfs",
              "nosuid,strictatime,mode=755,size=65536k");
    add_mount(mounts, "/dev/pts", "devpts", "devpts",
              "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5");
    add_mount(mounts, "/dev/shm", "tmpfs", "shm",
              "nosuid,noexec,nodev,mode=1777,size=" SHM_BYTES);
    add_mount(mounts, "/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev");
    if (own_net) {
        add_mount(mounts, "/sys", "sysfs", "sysfs",
                  all ? "nosuid,noexec,nodev,rw" : "nosuid,noexec,nodev,ro");
    } else {
        add_mount(mounts, "/sys", "bind", "/sys", "rbind,nosuid,noexec,nodev,rro");
    }
    if (own_net) {
        add_mount(mounts, "/sys/fs/cgroup", "cgroup", "cgroup",
                  all ? "nosuid,noexec,nodev,relatime,rw"
                      : "nosuid,noexec,nodev,relatime,ro");
    }
    add_own_files(p, mounts);
    json_array_foreach(json_object_get(p->config, "tmpfs"), i, item)
    {
        add_tmpfs(mounts, json_string_value(item));
    }
    json_array_foreach(json_object_get(p->config, "volume"), i, item)
    {
        int r = add_volume(p, mounts, json_string_value(item), e);

        if (r < 0) {
            return r;
        }
    }
    return 0;
}
