/* create.c - the parent's half of making a container.
 *
 * Everything that can fail for a reason in the configuration is done before the
 * clone: reading, control group, filter, listening socket.  After it the parent
 * maps ids, opens what the child may not, runs the runtime's hooks, and waits for
 * the child's word that all is made.  A failure at any point kills the child and
 * removes the control group and the state directory. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/units.h"
#include "host/cgroup.h"
#include "host/file.h"
#include "virt/container/confine/landlock.h"
#include "virt/container/confine/seccomp.h"
#include "virt/container/mounts.h"
#include "virt/container/private.h"

#define KILL_WAIT_MS     5000
#define LANDLOCK_NOTE    "org.strata.landlock" /* annotation: rules as JSON text */
#define CAP_SYS_RESOURCE 24

void container_warn(const struct log *log, const struct strv *warnings)
{
    for (size_t i = 0; i < warnings->n; i++) {
        log_warn(log, "%s", warnings->items[i]);
    }
}

static bool is_id(const char *id)
{
    size_t n =
        strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.");

    return n > 0 && n < CONTAINER_ID_BYTES && id[n] == '\0' && strcmp(id, ".") != 0 &&
           strcmp(id, "..") != 0;
}

static int make_directory(struct container *c, struct err *e)
{
    char path[PATH_MAX];
    int r = file_make_dirs(c->root, 0711);

    if (r < 0) {
        return err_sys(e, r, "cannot make the state directory '%s'", c->root);
    }
    if (state_path(c, "", path) < 0) {
        return err_set(e, -ENAMETOOLONG, "the state directory's path is too long");
    }
    if (mkdir(path, 0711) < 0) {
        return errno == EEXIST
                   ? err_set(e, -EEXIST, "container '%s' exists already", c->id)
                   : err_sys(e, -errno, "cannot make '%s'", path);
    }
    return 0;
}

static int new_container(const struct container_new *n, struct container **ret,
                         struct err *e)
{
    struct container *c = calloc(1, sizeof *c);
    int r = 0;

    if (c == NULL) {
        return err_set(e, -ENOMEM, "cannot create container '%s': no memory", n->id);
    }
    c->task.ops = &container_task_ops;
    c->sync = -1;
    c->userns = c->netns = -1;
    c->log = n->log;
    c->root = strdup(n->root);
    c->id = strdup(n->id);
    c->bundle = realpath(n->bundle, NULL);
    c->state = json_object();
    if (!is_id(n->id)) {
        r = err_set(e, -EINVAL, "'%s' cannot be the id of a container", n->id);
    } else if (c->bundle == NULL) {
        r = err_sys(e, -errno, "cannot open the bundle '%s'", n->bundle);
    } else if (n->config != NULL) {
        c->config = json_incref(n->config);
    } else {
        r = config_read(c->bundle, &c->config, e);
    }
    if (r == 0) {
        r = config_check(c->config, e);
    }
    if (r == 0 && config_get(c->config, "process") == NULL) {
        r = err_set(e, -EINVAL, "the configuration lacks 'process'");
    }
    if (r == 0 && n->overlay == NULL && config_get(c->config, "root.path") == NULL) {
        r = err_set(e, -EINVAL, "the configuration lacks 'root'");
    }
    if (r < 0) {
        state_free(c);
        return r;
    }
    *ret = c;
    return 0;
}

/* The device rules, once.  On v2 they are a program that the kernel checks and
 * translates, which takes longer than all the rest of the group: the child makes its
 * mounts meanwhile. */
static int close_devices(struct setup *s, struct err *e)
{
    struct cgroup_limits devices = {.devices = s->limits.devices,
                                    .n_devices = s->limits.n_devices,
                                    .has_devices = true};
    const struct strv *warnings;
    size_t said;
    int r;

    if (s->c->cgroup == NULL || !s->limits.has_devices) {
        return 0;
    }
    s->limits.has_devices = false;
    warnings = cgroup_warnings(s->c->cgroup);
    said = warnings->n;
    r = cgroup_apply(s->c->cgroup, &devices, false, e);
    for (; said < warnings->n; said++) {
        log_warn(s->n->log, "%s", warnings->items[said]);
    }
    return r;
}

static int make_cgroup(struct setup *s, struct err *e)
{
    const json_t *resources = config_get(s->config, "linux.resources");
    struct cgroup_want want = {.limits = &s->limits,
                               .account = s->n->account,
                               .optional = s->rootless,
                               .delegate = false};
    char path[CGROUP_PATH_BYTES];
    bool closed;
    int r =
        cgroup_path(config_text(s->config, "linux.cgroupsPath", NULL), s->c->id, path, e);

    if (r == 0) {
        r = cgroup_limits_parse(resources, "linux.resources", !s->rootless, &s->limits,
                                e);
    }
    if (r < 0) {
        return r;
    }
    closed = s->limits.has_devices;
    s->limits.has_devices = false;
    r = cgroup_create(path, &want, &s->c->cgroup, e);
    s->limits.has_devices = closed;
    if (r < 0) {
        return r;
    }
    container_warn(s->n->log, cgroup_warnings(s->c->cgroup));
    (void)json_object_set_new(s->c->state, "cgroupPath", json_string(path));
    s->group = config_text(s->c->state, "cgroupPath", NULL);
    return cgroup_birth_fd(s->c->cgroup) < 0 ? close_devices(s, e) : 0;
}

int setup_filter(struct setup *s, struct err *e)
{
    const json_t *profile = config_get(s->config, "linux.seccomp");
    const char *cache = config_text(s->c->state, "seccompCache", NULL);

    if (config_flag(s->c->state, "defaultSeccomp")) {
        return seccomp_filter_create_default(s->caps.bounding, cache, &s->warnings,
                                             &s->seccomp, e);
    }
    return profile == NULL
               ? 0
               : seccomp_filter_create(profile, cache, &s->warnings, &s->seccomp, e);
}

static int make_landlock(struct setup *s, struct err *e)
{
    const char *text = json_string_value(
        json_object_get(config_get(s->config, "annotations"), LANDLOCK_NOTE));
    SCOPED(scope_json) json_t *rules = NULL;
    int r;

    if (text == NULL) {
        return 0;
    }
    if (landlock_abi() == 0) {
        strv_add(&s->warnings, "this host has no Landlock: its rules are left out");
        return 0;
    }
    r = json_parse(text, strlen(text), LANDLOCK_NOTE, &rules, e);
    return r < 0 ? r : landlock_parse(rules, &s->landlock, e);
}

static void check_score(struct setup *s)
{
    const json_t *score = config_get(s->process, "oomScoreAdj");

    if (score != NULL && json_integer_value(score) < 0 &&
        (s->host_caps & (1ULL << CAP_SYS_RESOURCE)) == 0) {
        strv_add(&s->warnings,
                 "the host withholds CAP_SYS_RESOURCE: oomScoreAdj below 0 is left out");
    }
}

int setup_process(struct setup *s, struct err *e)
{
    uint64_t permitted = 0;
    struct stat st;
    int r;

    if (stat("/proc/self/exe", &st) == 0) {
        s->own_dev = (uint64_t)st.st_dev;
        s->own_ino = (uint64_t)st.st_ino;
    }
    (void)caps_host(&s->host_caps, &permitted);
    r = caps_parse(config_get(s->process, "capabilities"), "process.capabilities",
                   &s->caps, &s->warnings, e);
    if (r == 0) {
        caps_limit(&s->caps, s->new_user || ns_has(&s->ns, NS_USER), &s->warnings);
        r = process_check_limits(s, e);
    }
    check_score(s);
    s->terminal = config_flag(s->process, "terminal");
    return r;
}

static int make_listener(struct setup *s, struct err *e)
{
    SCOPED(scope_close) int dir = -1;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char path[PATH_MAX];

    (void)state_path(s->c, "", path);
    dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    s->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    (void)str_print(at.sun_path, sizeof at.sun_path, "/proc/self/fd/%d/start.sock", dir);
    if (dir < 0 || s->listener < 0 ||
        bind(s->listener, (const struct sockaddr *)&at, sizeof at) < 0 ||
        listen(s->listener, 1) < 0) {
        return err_sys(e, -errno, "cannot make the start socket of container '%s'",
                       s->c->id);
    }
    return 0;
}

static int prepare(struct setup *s, struct err *e)
{
    int r = ns_plan_read(s->config, &s->ns, e);

    if (r < 0) {
        return r;
    }
    s->new_user = (s->ns.fresh & CLONE_NEWUSER) != 0;
    if ((s->ns.fresh & CLONE_NEWNS) == 0 && s->ns.join[NS_MOUNT] < 0) {
        return err_set(e, -EINVAL, "a container needs a mount namespace");
    }
    if (s->n->default_seccomp) {
        (void)json_object_set_new(s->c->state, "defaultSeccomp", json_true());
    }
    if (s->n->seccomp_cache != NULL) {
        (void)json_object_set_new(s->c->state, "seccompCache",
                                  json_string(s->n->seccomp_cache));
    }
    r = setup_process(s, e);
    if (r == 0) {
        r = setup_filter(s, e);
    }
    if (r == 0) {
        r = make_landlock(s, e);
    }
    if (r == 0) {
        r = make_directory(s->c, e);
    }
    if (r < 0) {
        return r;
    }
    s->has_directory = true;
    (void)fault_step("container.create.directory");
    r = make_cgroup(s, e);
    if (r == 0) {
        r = make_listener(s, e);
    }
    if (r == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s->sync) < 0) {
        r = err_sys(e, -errno, "cannot make a socket");
    }
    return r;
}

/* Namespaces that are made by the clone itself; time must wait for its offsets,
 * cgroup for the groups to be entered, and a joined user namespace must come before all others. */
static uint64_t clone_flags(const struct setup *s)
{
    if (s->ns.join[NS_USER] >= 0) {
        return 0;
    }
    return s->ns.fresh & ~(uint64_t)(CLONE_NEWTIME | CLONE_NEWCGROUP |
                                     (setup_lends_network(s) ? CLONE_NEWNET : 0));
}

static void be_staged(struct setup *s) __attribute__((noreturn));

/* In a joined user namespace: make the rest there, as a sibling of this process. */
static void be_staged(struct setup *s)
{
    struct err e = {0};
    uint64_t flags =
        (s->ns.fresh & ~(uint64_t)(CLONE_NEWTIME | CLONE_NEWCGROUP)) | CLONE_PARENT;
    pid_t pid;

    if (setns(s->ns.join[NS_USER], CLONE_NEWUSER) < 0) {
        (void)err_sys(&e, -errno, "cannot join the user namespace");
    }
    if (e.code == 0 && s->ns.join[NS_PID] >= 0 &&
        setns(s->ns.join[NS_PID], CLONE_NEWPID) < 0) {
        (void)err_sys(&e, -errno, "cannot join the pid namespace");
    }
    if (e.code != 0) {
        (void)sync_send_err(s->sync[1], &e);
        _exit(1);
    }
    (void)close(s->ns.join[NS_USER]);
    s->joined_user = true;
    s->ns.join[NS_USER] = -1;
    if (s->ns.join[NS_PID] >= 0) {
        (void)close(s->ns.join[NS_PID]);
        s->ns.join[NS_PID] = -1;
    }
    pid = ns_clone(flags, -1, NULL);
    if (pid == 0) {
        init_main(s);
    }
    (void)!write(s->stage[1], &pid, sizeof pid);
    _exit(0);
}

static int spawn_staged(struct setup *s, struct err *e)
{
    pid_t stage;
    pid_t pid = -1;
    int status;

    if (pipe2(s->stage, O_CLOEXEC) < 0) {
        return err_sys(e, -errno, "cannot make a pipe");
    }
    stage = ns_clone(0, -1, NULL);
    if (stage == 0) {
        be_staged(s);
    }
    (void)close(s->stage[1]);
    if (stage > 0) {
        (void)file_read_all(s->stage[0], &pid, sizeof pid);
        (void)waitpid(stage, &status, 0);
    }
    (void)close(s->stage[0]);
    if (stage < 0 || pid < 0) {
        return stage < 0
                   ? err_sys(e, stage, "cannot make a process")
                   : err_set(e, -EIO, "cannot make a process in the joined namespaces");
    }
    s->c->pid = pid;
    return 0;
}

static int spawn(struct setup *s, struct err *e)
{
    int birth = s->c->cgroup != NULL ? cgroup_birth_fd(s->c->cgroup) : -1;
    int own_pid_ns = -1;
    pid_t pid;

    if (s->ns.join[NS_USER] >= 0) {
        return spawn_staged(s, e);
    }
    if (s->ns.join[NS_PID] >= 0) { /* for children only; put back right after */
        own_pid_ns = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
        if (own_pid_ns < 0 || setns(s->ns.join[NS_PID], CLONE_NEWPID) < 0) {
            return err_sys(e, -errno, "cannot join the pid namespace");
        }
        (void)close(s->ns.join[NS_PID]);
        s->ns.join[NS_PID] = -1;
    }
    s->born = birth >= 0;
    pid = ns_clone(clone_flags(s), birth, NULL);
    if (pid == 0) {
        init_main(s);
    }
    if (own_pid_ns >= 0) {
        (void)setns(own_pid_ns, CLONE_NEWPID);
        (void)close(own_pid_ns);
    }
    if (pid < 0) {
        return err_sys(e, pid, "cannot make the container's process");
    }
    s->c->pid = pid;
    return 0;
}

static int child_namespace(const struct setup *s, const char *name, struct err *e)
{
    char path[64];
    int fd;

    (void)str_print(path, sizeof path, "/proc/%d/ns/%s", (int)s->c->pid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 ? fd
                   : err_sys(e, -errno, "cannot open the container's %s namespace", name);
}

/* What the child may not do itself. */
static int help_child(struct setup *s, struct err *e)
{
    bool shifted = s->new_user || ns_has(&s->ns, NS_USER);
    SCOPED(scope_close) int userns = -1;
    SCOPED(scope_close) int root = -1;
    int r = 0;

    if (s->new_user) {
        r = ns_write_maps(s->config, s->c->pid, e);
        if (r == 0 &&
            s->rootless) { /* once it cannot be traced, a user may not open these */
            s->c->userns = child_namespace(s, "user", e);
            s->c->netns = child_namespace(s, "net", e);
        }
        if (r == 0) {
            r = sync_send(s->sync[0], SYNC_GO, -1);
        }
    }
    if (r < 0 || !shifted || s->rootless) {
        return r < 0 ? err_sys(e, r, "the container's process is gone") : 0;
    }
    userns = child_namespace(s, "user", e);
    if (userns < 0) {
        return userns;
    }
    root = rootfs_open(s, userns, e);
    if (root < 0) {
        return root;
    }
    r = sync_send(s->sync[0], SYNC_GO, root);
    return r < 0 ? err_sys(e, r, "the container's process is gone") : 0;
}

static int run_runtime_hooks(struct setup *s, struct err *e)
{
    SCOPED(scope_json) json_t *state = NULL;
    int r;

    if (config_get(s->config, "hooks") == NULL) {
        return 0;
    }
    state = container_state(s->c);
    r = hooks_run(s->config, "prestart", state, e);
    return r < 0 ? r : hooks_run(s->config, "createRuntime", state, e);
}

static int move_devices(struct setup *s, struct err *e)
{
    SCOPED(scope_close) int netns = -1;

    if (json_object_size(config_get(s->config, "linux.netDevices")) == 0) {
        return 0;
    }
    if (!ns_has(&s->ns, NS_NET)) {
        return err_set(e, -EINVAL, "'linux.netDevices' needs a network namespace");
    }
    netns = container_netns(s->c);
    return netns < 0 ? err_sys(e, netns, "cannot open the network namespace")
                     : netdev_move_all(s->config, netns, e);
}

/* Descriptors to hand on must be there, or our own would be handed on for them. */
int setup_preserved(int n, struct err *e)
{
    for (int i = 0; i < n; i++) {
        if (fcntl(3 + i, F_GETFD) < 0) {
            return err_set(e, -EBADF, "cannot hand on descriptor %d: it is not open",
                           3 + i);
        }
    }
    return 0;
}

static bool has_hooks(const json_t *config, const char *kind)
{
    return json_array_size(json_object_get(config_get(config, "hooks"), kind)) != 0;
}

bool setup_meets(const struct setup *s)
{
    return has_hooks(s->config, "prestart") || has_hooks(s->config, "createRuntime") ||
           json_object_size(config_get(s->config, "linux.netDevices")) != 0;
}

bool setup_lends_network(const struct setup *s)
{
    return (s->ns.fresh & CLONE_NEWNET) != 0 && !s->is_exec && !s->rootless &&
           !ns_has(&s->ns, NS_USER) && !setup_meets(s);
}

/* The child has come to a failure of its own when it is gone: that one tells more. */
static int ask_child(struct setup *s, int r, struct err *e)
{
    struct err said = {0};

    if (sync_receive(s->sync[0], NULL, &said) < 0 && said.code != 0) {
        err_clear(e);
        r = err_set(e, said.code, "%s", said.text);
    }
    return r;
}

/* Make the network namespace by entering it, and come back. */
static int lend_network(struct setup *s, struct err *e)
{
    SCOPED(scope_close) int own = -1;
    SCOPED(scope_close) int made = -1;
    int r = 0;

    if (!setup_lends_network(s)) {
        return 0;
    }
    own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (own < 0 || unshare(CLONE_NEWNET) < 0) {
        return err_sys(e, -errno, "cannot make a network namespace");
    }
    made = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    r = made < 0 ? -errno : 0;
    if (setns(own, CLONE_NEWNET) < 0) {
        r = -errno;
    }
    if (r < 0) {
        return err_sys(e, r, "cannot make a network namespace");
    }
    r = sync_send(s->sync[0], SYNC_NET, made);
    if (r == -EPIPE || r == -ECONNRESET) {
        r = ask_child(s, r, e);
    }
    return r < 0 ? err_sys(e, r, "the container's process is gone") : 0;
}

static int meet_child(struct setup *s, struct err *e)
{
    int r = sync_receive(s->sync[0], NULL, e);

    if (r != (int)SYNC_HOOKS) {
        return err_set(e, r < 0 ? r : -EPROTO, "the container's process ended early");
    }
    r = move_devices(s, e);
    r = r == 0 ? run_runtime_hooks(s, e) : r;
    return r < 0 ? r : sync_send(s->sync[0], SYNC_GO, -1);
}

/* What the child's mounts need from here. */
static int follow_child(struct setup *s, struct err *e)
{
    int userns = -1;
    int r = setup_meets(s) ? meet_child(s, e) : 0;

    if (r == 0) {
        userns =
            ns_has(&s->ns, NS_USER) && !s->rootless ? child_namespace(s, "user", e) : -1;
        r = mounts_send(s, userns, e);
        if (userns >= 0) {
            (void)close(userns);
        }
    }
    if (r == -EPIPE || r == -ECONNRESET) {
        r = ask_child(s, r, e);
    }
    return r < 0 ? err_sys(e, r, "the container's process is gone") : 0;
}

/* *ret_master is the terminal or -1. */
static int await_ready(struct setup *s, int *ret_master, struct err *e)
{
    int r = sync_receive(s->sync[0], ret_master, e);

    return r == (int)SYNC_READY
               ? 0
               : err_set(e, r < 0 ? r : -EPROTO, "the container's process ended early");
}

/* What others find by; written while the child makes its mounts. */
static int record(struct setup *s, struct err *e)
{
    struct container *c = s->c;
    const json_t *notes = config_get(s->config, "annotations");
    SCOPED(scope_free) char *text = NULL;
    SCOPED(scope_free) char *place = cgroup_place(c->cgroup);
    char path[PATH_MAX];
    char created[UNITS_TEXT_BYTES];
    struct timespec now;
    int r = 0;

    if (place == NULL) {
        return err_set(e, -ENOMEM, "cannot record container '%s': no memory", c->id);
    }
    (void)json_object_set_new(c->state, "cgroup", json_string(place));
    if (config_get(s->config, "hooks") == NULL) {
        (void)json_object_set_new(c->state, "noHooks", json_true());
    }
    (void)clock_gettime(CLOCK_REALTIME, &now);
    units_print_time(now.tv_sec * 1000000000LL + now.tv_nsec, created);
    (void)json_object_set_new(c->state, "created", json_string(created));
    (void)json_object_set_new(c->state, "owner", json_integer((json_int_t)getuid()));
    (void)json_object_set_new(c->state, "rootfs",
                              json_string(config_text(s->config, "root.path", "")));
    if (notes != NULL) {
        (void)json_object_set(c->state, "annotations", (json_t *)(uintptr_t)notes);
    }
    c->pid_started = state_process_start(c->pid);
    if (s->n->config != NULL) {
        text = json_dumps(s->config, JSON_COMPACT);
        (void)state_path(c, "config.json", path);
        r = text == NULL ? -ENOMEM
                         : file_replace(AT_FDCWD, path, text, strlen(text), 0600, false);
    }
    if (r < 0) {
        return err_sys(e, r, "cannot record container '%s'", c->id);
    }
    return state_save(c, e);
}

static int write_pid(const struct setup *s, struct err *e)
{
    char text[24];
    int r;

    if (s->n->pid_file == NULL) {
        return 0;
    }
    (void)str_print(text, sizeof text, "%d", (int)s->c->pid);
    r = file_replace(AT_FDCWD, s->n->pid_file, text, strlen(text), 0644, false);
    return r < 0 ? err_sys(e, r, "cannot write '%s'", s->n->pid_file) : 0;
}

static int hand_over(struct setup *s, int master, int *ret_master, struct err *e)
{
    SCOPED(scope_close) int held = master;

    if (s->n->console_socket != NULL && s->terminal) {
        return console_send(s->n->console_socket, held, e);
    }
    if (ret_master != NULL && s->n->want_master) {
        *ret_master = scope_take_fd(&held);
    }
    return 0;
}

static int make_all(struct setup *s, int *ret_master, struct err *e)
{
    static int (*const meanwhile[])(struct setup *, struct err *) = {
        lend_network, close_devices, follow_child, record};
    int master = -1;
    int r = prepare(s, e);

    if (r == 0) {
        (void)fault_step("container.create.prepared");
        r = spawn(s, e);
    }
    if (r < 0) {
        return r;
    }
    (void)close(s->sync[1]);
    s->sync[1] = -1;
    (void)fault_step("container.create.cloned");
    r = help_child(s, e);
    if (r < 0 && r != -EINVAL) {
        r = ask_child(s, r, e);
    }
    for (size_t i = 0; r == 0 && i < sizeof meanwhile / sizeof meanwhile[0]; i++) {
        r = meanwhile[i](s, e);
    }
    if (r == 0) {
        r = await_ready(s, &master, e);
    }
    if (r == 0) {
        r = hand_over(s, master, ret_master, e);
    }
    if (r == 0) {
        r = write_pid(s, e);
    }
    (void)fault_step("container.create.recorded");
    return r;
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

void setup_init(struct setup *s)
{
    memset(s, 0, sizeof *s);
    memset(s->ns.join, 0xff, sizeof s->ns.join);
    s->sync[0] = s->sync[1] = s->listener = s->report = -1;
    s->proc = s->devpts = s->root = s->null = s->empty = s->master = -1;
    s->rootless = geteuid() != 0;
}

void setup_fini(struct setup *s)
{
    const int fds[] = {s->sync[0], s->sync[1], s->listener};

    for (size_t i = 0; i < 3; i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
    ns_plan_fini(&s->ns);
    cgroup_limits_fini(&s->limits);
    seccomp_filter_destroy(s->seccomp);
    landlock_destroy(s->landlock);
    strv_fini(&s->warnings);
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
    r = make_all(&s, ret_master, e);
    container_warn(n->log, &s.warnings);
    if (r < 0) {
        undo(&s);
        state_free(s.c);
    } else {
        s.c->sync = scope_take_fd(&s.sync[0]);
        *ret = s.c;
    }
    setup_fini(&s);
    return r;
}
