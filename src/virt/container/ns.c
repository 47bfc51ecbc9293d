/* ns.c - which namespaces a container has, and how it comes into them.
 *
 * New ones are made by one clone3.  Joined ones are entered by the new process
 * with setns; a joined PID namespace needs a process born in it, a joined user
 * namespace must be entered before others are made: see init.c. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/file.h"
#include "virt/container/private.h"

#define MAPS_MOST 340 /* user_namespaces(7) */

const struct ns_row ns_table[NS_COUNT] = {
    [NS_USER] = {"user", "user", CLONE_NEWUSER},
    [NS_MOUNT] = {"mount", "mnt", CLONE_NEWNS},
    [NS_PID] = {"pid", "pid", CLONE_NEWPID},
    [NS_NET] = {"network", "net", CLONE_NEWNET},
    [NS_IPC] = {"ipc", "ipc", CLONE_NEWIPC},
    [NS_UTS] = {"uts", "uts", CLONE_NEWUTS},
    [NS_CGROUP] = {"cgroup", "cgroup", CLONE_NEWCGROUP},
    [NS_TIME] = {"time", "time", CLONE_NEWTIME},
};

static int kind_of(const char *type)
{
    for (int i = 0; i < NS_COUNT; i++) {
        if (strcmp(ns_table[i].type, type) == 0) {
            return i;
        }
    }
    return -1;
}

int ns_plan_read(const json_t *config, struct ns_plan *ret, struct err *e)
{
    size_t i;
    json_t *item;

    memset(ret, 0, sizeof *ret);
    memset(ret->join, 0xff, sizeof ret->join);
    json_array_foreach(config_get(config, "linux.namespaces"), i, item)
    {
        const char *type = config_text(item, "type", "");
        const char *path = config_text(item, "path", NULL);
        int kind = kind_of(type);

        if (kind < 0) {
            return err_set(e, -EINVAL,
                           "'linux.namespaces[%zu].type' is '%s', no namespace", i, type);
        }
        if ((ret->fresh & ns_table[kind].flag) != 0 || ret->join[kind] >= 0) {
            return err_set(e, -EINVAL, "'linux.namespaces' has '%s' twice", type);
        }
        if (path == NULL || path[0] == '\0') {
            ret->fresh |= ns_table[kind].flag;
            continue;
        }
        ret->joined |= ns_table[kind].flag;
        ret->join[kind] = open(path, O_RDONLY | O_CLOEXEC);
        if (ret->join[kind] < 0) {
            return err_sys(e, -errno, "cannot join the %s namespace '%s'", type, path);
        }
    }
    return 0;
}

int ns_plan_read_kinds(const json_t *config, struct ns_plan *ret, struct err *e)
{
    size_t i;
    json_t *item;

    memset(ret, 0, sizeof *ret);
    memset(ret->join, 0xff, sizeof ret->join);
    json_array_foreach(config_get(config, "linux.namespaces"), i, item)
    {
        int kind = kind_of(config_text(item, "type", ""));

        if (kind < 0) {
            return err_set(e, -EINVAL, "'linux.namespaces[%zu].type' is no namespace", i);
        }
        ret->fresh |= ns_table[kind].flag;
    }
    return 0;
}

void ns_plan_fini(struct ns_plan *p)
{
    for (int i = 0; i < NS_COUNT; i++) {
        if (p->join[i] >= 0) {
            (void)close(p->join[i]);
        }
        p->join[i] = -1;
    }
}

bool ns_has(const struct ns_plan *p, enum ns_kind kind)
{
    return ((p->fresh | p->joined) & ns_table[kind].flag) != 0;
}

pid_t ns_clone(uint64_t flags, int cgroup_fd, int *ret_pidfd)
{
    int pidfd = -1;
    struct clone_args args = {
        .flags = flags | (ret_pidfd != NULL ? CLONE_PIDFD : 0),
        .pidfd = (uint64_t)(uintptr_t)&pidfd,
        .exit_signal = (flags & CLONE_PARENT) != 0 ? 0 : SIGCHLD,
    };
    long pid;

    if (cgroup_fd >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)cgroup_fd;
    }
    pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid < 0) {
        return -errno;
    }
    if (pid > 0 && ret_pidfd != NULL) {
        *ret_pidfd = pidfd;
    }
    return (pid_t)pid;
}

static int write_file(pid_t pid, const char *name, const char *text)
{
    char path[64];

    (void)str_print(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    return file_write_existing(AT_FDCWD, path, text);
}

static void map_text(const json_t *list, struct str *out)
{
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        str_addf(out, "%lld %lld %lld\n",
                 (long long)config_number(item, "containerID", 0),
                 (long long)config_number(item, "hostID", 0),
                 (long long)config_number(item, "size", 0));
    }
}

/* newuidmap and newgidmap check /etc/subuid for us. */
static int run_helper(const char *program, pid_t pid, const json_t *list)
{
    struct strv argv = {0};
    size_t i;
    json_t *item;
    int status = 0;
    pid_t child;

    strv_add(&argv, program);
    strv_addf(&argv, "%d", (int)pid);
    json_array_foreach(list, i, item)
    {
        strv_addf(&argv, "%lld", (long long)config_number(item, "containerID", 0));
        strv_addf(&argv, "%lld", (long long)config_number(item, "hostID", 0));
        strv_addf(&argv, "%lld", (long long)config_number(item, "size", 0));
    }
    child = strv_failed(&argv) ? -1 : fork();
    if (child == 0) {
        (void)execvp(program, argv.items);
        _exit(127);
    }
    strv_fini(&argv);
    if (child < 0 || waitpid(child, &status, 0) < 0) {
        return -errno;
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

static int write_map(pid_t pid, const char *file, const char *helper, const json_t *list,
                     struct err *e)
{
    struct str text = {0};
    int r;

    if (json_array_size(list) == 0 || json_array_size(list) > MAPS_MOST) {
        return err_set(e, -EINVAL, "a user namespace needs 1 to %d id mappings",
                       MAPS_MOST);
    }
    map_text(list, &text);
    r = str_failed(&text) ? -ENOMEM : write_file(pid, file, str_text(&text));
    str_fini(&text);
    if (r == -EPERM && geteuid() != 0) {
        r = run_helper(helper, pid, list);
        return r < 0
                   ? err_set(
                         e, r,
                         "cannot map user ids: %s refused (see subuid(5) and the package "
                         "uidmap)",
                         helper)
                   : 0;
    }
    return r < 0 ? err_sys(e, r, "cannot map ids in %s", file) : 0;
}

int ns_write_maps(const json_t *config, pid_t pid, struct err *e)
{
    const json_t *uid = config_get(config, "linux.uidMappings");
    const json_t *gid = config_get(config, "linux.gidMappings");
    bool single = json_array_size(gid) == 1 &&
                  config_number(json_array_get(gid, 0), "size", 0) == 1;
    int r;

    /* An ordinary user may map its own group only without setgroups(2). */
    if (geteuid() != 0 && single) {
        r = write_file(pid, "setgroups", "deny");
        if (r < 0) {
            return err_sys(e, r, "cannot map group ids");
        }
    }
    r = write_map(pid, "uid_map", "newuidmap", uid, e);
    return r < 0 ? r : write_map(pid, "gid_map", "newgidmap", gid, e);
}
