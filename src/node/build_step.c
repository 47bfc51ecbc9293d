/* build_step.c - one RUN of a Containerfile, for the program `image`.
 *
 * Executed as `strata --worker build-step RUN-DIR`, with the step as JSON on standard
 * input:
 *
 *     lowers   directories, the topmost first     upper, work   of the overlay
 *     argv, env, workdir, user                    network       true: the host's
 *     mounts   [{"source", "target", "read_only"}]
 *
 * The command runs in a container of its own, without the host's capabilities but
 * with root's own id, since what it makes belongs to the image as it is; its output
 * is this process' output.  The exit code is the command's; 255 when it could not be
 * started, with the reason on standard error. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "base/word.h"
#include "contract/task.h"
#include "node/id/subid.h"
#include "node/id/user.h"
#include "node/private.h"
#include "node/worker.h"
#include "virt/container/container.h"

#define LAYERS_MOST 500
#define CANNOT_RUN  255
#define STEP_PREFIX "build-"

/* RUN/builds.lock: shared by the steps that run; whoever gets it alone knows of none. */
static int lock_builds(const char *run_dir, int how)
{
    char path[PATH_MAX];
    SCOPED(scope_close) int fd = -1;

    (void)str_print(path, sizeof path, "%s/builds.lock", run_dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 || flock(fd, how) < 0 ? -errno : scope_take_fd(&fd);
}

static bool remove_step(const char *root, const char *id)
{
    struct container *c = NULL;
    char group[64];
    int r = container_open(root, id, &c, NULL);

    if (r == 0) {
        r = container_delete(c, true, NULL);
        task_close(container_task(c));
    } else {
        (void)str_print(group, sizeof group, "/strata/%s", id);
        r = container_sweep(root, id, group, NULL);
    }
    return r == 0;
}

int build_sweep(const char *run_dir)
{
    SCOPED(scope_close) int lock = lock_builds(run_dir, LOCK_EX | LOCK_NB);
    SCOPED(scope_dir) DIR *d = NULL;
    const struct dirent *entry;
    char root[PATH_MAX];
    int n = 0;

    (void)str_print(root, sizeof root, "%s/builds", run_dir);
    d = lock >= 0 ? opendir(root) : NULL;
    while (d != NULL && (entry = readdir(d)) != NULL) {
        if (str_starts(entry->d_name, STEP_PREFIX) && remove_step(root, entry->d_name)) {
            n += 1;
        }
    }
    return n;
}

static json_t *mount_of(const char *to, const char *type, const char *from,
                        json_t *options)
{
    return json_pack("{s:s, s:s, s:s, s:o}", "destination", to, "type", type, "source",
                     from, "options", options);
}

static json_t *mounts_of(const json_t *step)
{
    json_t *out = json_array();
    size_t i;
    json_t *item;

    (void)json_array_append_new(
        out, mount_of("/proc", "proc", "proc",
                      json_pack("[s,s,s]", "nosuid", "noexec", "nodev")));
    (void)json_array_append_new(
        out, mount_of("/dev", "tmpfs", "tmpfs",
                      json_pack("[s,s,s]", "nosuid", "strictatime", "mode=755")));
    (void)json_array_append_new(out, mount_of("/dev/pts", "devpts", "devpts",
                                              json_pack("[s,s,s,s]", "nosuid", "noexec",
                                                        "newinstance", "ptmxmode=0666")));
    (void)json_array_append_new(
        out, mount_of("/dev/shm", "tmpfs", "shm",
                      json_pack("[s,s,s,s]", "nosuid", "noexec", "nodev", "mode=1777")));
    (void)json_array_append_new(
        out,
        mount_of("/sys", "bind", "/sys", json_pack("[s,s,s]", "rbind", "rro", "nosuid")));
    if (json_is_true(json_object_get(step, "network"))) {
        (void)json_array_append_new(out, mount_of("/etc/resolv.conf", "bind",
                                                  "/etc/resolv.conf",
                                                  json_pack("[s,s]", "bind", "ro")));
        (void)json_array_append_new(out, mount_of("/etc/hosts", "bind", "/etc/hosts",
                                                  json_pack("[s,s]", "bind", "ro")));
    }
    json_array_foreach(json_object_get(step, "mounts"), i, item)
    {
        const char *from = json_string_value(json_object_get(item, "source"));
        const char *to = json_string_value(json_object_get(item, "target"));
        bool ro = json_is_true(json_object_get(item, "read_only"));

        if (to != NULL) {
            (void)json_array_append_new(
                out, from != NULL
                         ? mount_of(to, "bind", from,
                                    json_pack("[s,s]", "rbind", ro ? "rro" : "rw"))
                         : mount_of(to, "tmpfs", "tmpfs", json_pack("[s]", "nosuid")));
        }
    }
    return out;
}

/* What package managers need, and nothing that reaches the host. */
static json_t *caps_of(void)
{
    json_t *list = json_pack("[s,s,s,s,s,s,s,s,s,s,s,s]", "CAP_CHOWN", "CAP_DAC_OVERRIDE",
                             "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_SETGID",
                             "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP",
                             "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL");
    json_t *out = json_pack("{s:O, s:O, s:O}", "bounding", list, "effective", list,
                            "permitted", list);

    json_decref(list);
    return out;
}

static int config_of(const json_t *step, const struct strv *lowers, json_t **ret,
                     struct err *e)
{
    const char *word = json_string_value(json_object_get(step, "user"));
    const char *cwd = json_string_value(json_object_get(step, "workdir"));
    bool network = json_is_true(json_object_get(step, "network"));
    json_t *spaces = json_pack("[{s:s},{s:s},{s:s},{s:s}]", "type", "pid", "type", "ipc",
                               "type", "uts", "type", "mount");
    json_t *part;
    struct user user;
    int r = user_find(word != NULL && word[0] != '\0' ? word : "0", lowers, &user, e);

    if (r < 0) {
        json_decref(spaces);
        return r;
    }
    if (!network) {
        (void)json_array_append_new(spaces, json_pack("{s:s}", "type", "network"));
    }
    part = json_pack("{s:o, s:[s,s,s,s], s:[s,s,s]}", "namespaces", spaces, "maskedPaths",
                     "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware",
                     "readonlyPaths", "/proc/sys", "/proc/sysrq-trigger", "/proc/irq");
    if (geteuid() != 0) {
        (void)json_array_append_new(spaces, json_pack("{s:s}", "type", "user"));
        (void)json_object_set_new(part, "uidMappings", subid_map(false));
        (void)json_object_set_new(part, "gidMappings", subid_map(true));
    }
    *ret = json_pack(
        "{s:s, s:s, s:{s:s}, s:{s:O, s:O, s:s, s:o, s:o}, s:o, s:o}", "ociVersion",
        "1.2.0", "hostname", "build", "root", "path", "rootfs", "process", "args",
        json_object_get(step, "argv"), "env", json_object_get(step, "env"), "cwd",
        cwd != NULL && cwd[0] == '/' ? cwd : "/", "user", user_to_json(&user),
        "capabilities", caps_of(), "mounts", mounts_of(step), "linux", part);
    return *ret == NULL ? err_set(e, -EINVAL, "the step is not complete") : 0;
}

static int run(const char *run_dir, const json_t *step, struct err *e)
{
    SCOPED(scope_json) json_t *config = NULL;
    struct strv lowers = {0};
    struct container_overlay o = {
        .upper = json_string_value(json_object_get(step, "upper")),
        .work = json_string_value(json_object_get(step, "work"))};
    char root[PATH_MAX];
    char id[24];
    struct container_new n = {.root = root,
                              .id = id,
                              .bundle = "/",
                              .overlay = &o,
                              .stdio = {0, 1, 2},
                              .default_seccomp = true,
                              .die_with_parent = true};
    struct container *c = NULL;
    struct err ignored = {0};
    size_t i;
    json_t *item;
    int status = 0;
    int r;

    json_array_foreach(json_object_get(step, "lowers"), i, item)
    {
        strv_add(&lowers, json_string_value(item));
    }
    (void)str_print(root, sizeof root, "%s/builds", run_dir);
    (void)str_print(id, sizeof id, STEP_PREFIX);
    (void)word_random_id(id + strlen(id), 12);
    o.lower = (const char *const *)lowers.items;
    o.n = lowers.n < LAYERS_MOST ? lowers.n : LAYERS_MOST;
    r = config_of(step, &lowers, &config, e);
    n.config = config;
    if (r == 0) {
        r = container_create(&n, &c, NULL, e);
    }
    if (r == 0) {
        pid_t pid = container_pid(c);

        r = task_start(container_task(c), e);
        if (r == 0 && waitpid(pid, &status, 0) == pid) {
            r = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        }
        (void)container_delete(c, true, &ignored);
        task_close(container_task(c));
    }
    strv_fini(&lowers);
    return r;
}

int build_step(const char *run_dir)
{
    json_error_t je;
    SCOPED(scope_json) json_t *step = json_loadf(stdin, 0, &je);
    SCOPED(scope_close) int lock = -1;
    struct err e = {0};
    int null;
    int r;

    if (step == NULL) {
        (void)fprintf(stderr, "strata: the step is no JSON: %s\n", je.text);
        return CANNOT_RUN;
    }
    null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null >= 0) {
        (void)dup2(null, 0);
    }
    (void)build_sweep(run_dir);
    lock = lock_builds(run_dir, LOCK_SH);
    r = run(run_dir, step, &e);
    if (r < 0) {
        (void)fprintf(stderr, "strata: %s\n", e.text);
        return CANNOT_RUN;
    }
    return r;
}
