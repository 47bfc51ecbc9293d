/* setup.c - what can be made ready before there is a process.
 *
 * Everything that can fail for a reason in the configuration is done here, before the
 * clone: namespaces to join, capabilities, filters, the state directory, the control
 * group, the listening socket. */
#include "virt/container/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "host/cgroup.h"
#include "host/file.h"
#include "virt/container/confine/landlock.h"
#include "virt/container/confine/seccomp.h"

#define LANDLOCK_NOTE    "org.strata.landlock" /* annotation: rules as JSON text */
#define CAP_SYS_RESOURCE 24

int setup_run(setup_step *const *steps, size_t n, struct setup *s, struct err *e)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < n; i++) {
        r = steps[i](s, e);
    }
    return r;
}

void setup_init(struct setup *s)
{
    memset(s, 0, sizeof *s);
    memset(s->ns.join, 0xff, sizeof s->ns.join);
    s->sync[0] = s->sync[1] = s->listener = s->report = -1;
    s->stage[0] = s->stage[1] = -1;
    s->proc = s->devpts = s->root = s->null = s->empty = s->master = -1;
    s->rootless = geteuid() != 0;
}

void setup_fini(struct setup *s)
{
    const int fds[] = {s->sync[0], s->sync[1], s->listener, s->master};

    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
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

static int make_directory(struct setup *s, struct err *e)
{
    const struct container *c = s->c;
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
    s->has_directory = true;
    (void)fault_step("container.create.directory");
    return 0;
}

/* The device rules, once.  On v2 they are a program that the kernel checks and
 * translates, which takes longer than all the rest of the group: the child makes its
 * mounts meanwhile. */
int setup_close_devices(struct setup *s, struct err *e)
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
    return cgroup_birth_fd(s->c->cgroup) < 0 ? setup_close_devices(s, e) : 0;
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

static int make_sync(struct setup *s, struct err *e)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s->sync) < 0) {
        return err_sys(e, -errno, "cannot make a socket");
    }
    (void)fault_step("container.create.prepared");
    return 0;
}

static int plan_namespaces(struct setup *s, struct err *e)
{
    int r = ns_plan_read(s->config, &s->ns, e);

    s->new_user = r == 0 && (s->ns.fresh & CLONE_NEWUSER) != 0;
    if (r == 0 && (s->ns.fresh & CLONE_NEWNS) == 0 && s->ns.join[NS_MOUNT] < 0) {
        return err_set(e, -EINVAL, "a container needs a mount namespace");
    }
    return r;
}

/* What programs that come later need to know, too. */
static int note_filter(struct setup *s, struct err *e)
{
    (void)e;
    if (s->n->default_seccomp) {
        (void)json_object_set_new(s->c->state, "defaultSeccomp", json_true());
    }
    if (s->n->seccomp_cache != NULL) {
        (void)json_object_set_new(s->c->state, "seccompCache",
                                  json_string(s->n->seccomp_cache));
    }
    return 0;
}

int setup_prepare(struct setup *s, struct err *e)
{
    static setup_step *const steps[] = {plan_namespaces, note_filter,   setup_process,
                                        setup_filter,    make_landlock, make_directory,
                                        make_cgroup,     make_listener, make_sync};

    return SETUP_RUN(steps, s, e);
}

static int next_kept(const int *kept, size_t n, int from)
{
    int least = -1;

    for (size_t i = 0; i < n; i++) {
        if (kept[i] >= from && (least < 0 || kept[i] < least)) {
            least = kept[i];
        }
    }
    return least;
}

void setup_let_go(const struct setup *s, int also)
{
    const int kept[] = {s->stdio[0],   s->stdio[1],   s->stdio[2],   s->sync[1],
                        s->listener,   s->stage[1],   s->ns.join[0], s->ns.join[1],
                        s->ns.join[2], s->ns.join[3], s->ns.join[4], s->ns.join[5],
                        s->ns.join[6], s->ns.join[7], also};
    int from = 3 + s->preserve_fds;

    _Static_assert(NS_COUNT == 8, "every joined namespace is in `kept`");
    for (;;) {
        int next = next_kept(kept, sizeof kept / sizeof kept[0], from);

        if (next != from) {
            (void)syscall(SYS_close_range, (unsigned)from,
                          next < 0 ? ~0U : (unsigned)next - 1, 0U);
        }
        if (next < 0) {
            return;
        }
        from = next + 1;
    }
}
