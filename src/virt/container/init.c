/* init.c - the first process of a container, from its birth to the program.
 *
 * `init_main` has its whole life as one list of steps; spawn.c has brought it into the
 * world.  What needs the host's rights comes from the parent over the sync socket
 * (the order of words: sync.c); what can be done inside is done here.
 *
 * From its first step, or for an ordinary user from the moment that ids are mapped,
 * it cannot be traced or opened through /proc (PR_SET_DUMPABLE 0), until the program's
 * own execve; and it keeps no descriptor of the host that it does not need.  It
 * reports each failure as an error record, over the sync socket before the start and
 * to whoever starts it afterwards. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/cgroup.h"
#include "host/file.h"
#include "virt/container/setup.h"

#define GROUPS_MOST_BYTES 65536 /* of /proc/self/cgroup */

static void fail(struct setup *s, int to, const struct err *e) __attribute__((noreturn));

static void fail(struct setup *s, int to, const struct err *e)
{
    (void)sync_send_err(to >= 0 ? to : s->sync[1], e);
    _exit(e->code == -ENOENT ? 127 : 126);
}

static int join_namespaces(struct setup *s, struct err *e)
{
    for (int i = 0; i < NS_COUNT; i++) {
        if (s->ns.join[i] >= 0 && setns(s->ns.join[i], (int)ns_table[i].flag) < 0) {
            return err_sys(e, -errno, "cannot join the %s namespace", ns_table[i].type);
        }
    }
    return 0;
}

static int become_root(struct setup *s, struct err *e)
{
    if (!ns_has(&s->ns, NS_USER)) {
        return 0;
    }
    if (setgroups(0, NULL) < 0 && errno != EPERM) {
        return err_sys(e, -errno, "cannot drop the caller's groups");
    }
    if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0) {
        return err_sys(e, -errno,
                       "cannot become root of the user namespace: is id 0 mapped?");
    }
    return 0;
}

/* Offsets can be set only while nobody is in the namespace yet. */
static int enter_time(struct setup *s, struct err *e)
{
    const json_t *offsets = config_get(s->config, "linux.timeOffsets");
    SCOPED(scope_close) int fd = -1;
    const char *clock;
    json_t *item;
    char line[96];

    if ((s->ns.fresh & CLONE_NEWTIME) == 0) {
        return 0;
    }
    if (unshare(CLONE_NEWTIME) < 0) {
        return err_sys(e, -errno, "cannot make a time namespace");
    }
    json_object_foreach((json_t *)(uintptr_t)offsets, clock, item)
    {
        int r;

        (void)str_print(line, sizeof line, "%s %lld %lld\n", clock,
                        (long long)config_number(item, "secs", 0),
                        (long long)config_number(item, "nanosecs", 0));
        r = file_write_existing(AT_FDCWD, "/proc/self/timens_offsets", line);
        if (r < 0) {
            return err_sys(e, r, "cannot set the time offset of '%s'", clock);
        }
    }
    fd = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
    return fd < 0 || setns(fd, CLONE_NEWTIME) < 0
               ? err_sys(e, -errno, "cannot enter the time namespace")
               : 0;
}

/* A namespace without its own address is of little use. */
static void raise_loopback(const struct setup *s)
{
    struct ifreq q = {.ifr_name = "lo"};
    SCOPED(scope_close) int fd = -1;

    if ((s->ns.fresh & CLONE_NEWNET) == 0) {
        return;
    }
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    q.ifr_flags = IFF_UP | IFF_RUNNING;
    (void)ioctl(fd, SIOCSIFFLAGS, &q);
}

int init_enter_network(struct setup *s, struct err *e)
{
    SCOPED(scope_close) int fd = -1;
    int r;

    if (s->has_network) {
        return 0;
    }
    s->has_network = true;
    r = sync_await(s, SYNC_NETWORK, &fd, e);
    if (r < 0) {
        return r;
    }
    if (fd >= 0 && setns(fd, CLONE_NEWNET) < 0) {
        return err_sys(e, -errno, "cannot enter the network namespace");
    }
    raise_loopback(s);
    return 0;
}

/* ... when it is there from birth: names of devices are known before hooks run. */
static int enter_own_network(struct setup *s, struct err *e)
{
    return sync_happens(s, SYNC_NETWORK) ? 0 : init_enter_network(s, e);
}

static int set_names(struct setup *s, struct err *e)
{
    const char *host = config_text(s->config, "hostname", "");
    const char *domain = config_text(s->config, "domainname", "");

    if (host[0] != '\0' && ns_has(&s->ns, NS_UTS) &&
        sethostname(host, strlen(host)) < 0) {
        return err_sys(e, -errno, "cannot set the host name '%s'", host);
    }
    if (domain[0] != '\0' && ns_has(&s->ns, NS_UTS) &&
        setdomainname(domain, strlen(domain)) < 0) {
        return err_sys(e, -errno, "cannot set the domain name '%s'", domain);
    }
    return 0;
}

/* Only parameters that belong to a namespace the container has. */
static int set_sysctls(struct setup *s, struct err *e)
{
    const json_t *all = config_get(s->config, "linux.sysctl");
    const char *key;
    json_t *item;

    if ((s->ns.fresh & CLONE_NEWNS) == 0) {
        return 0; /* its /proc was filled by whoever made it */
    }
    json_object_foreach((json_t *)(uintptr_t)all, key, item)
    {
        bool ipc = str_starts(key, "kernel.msg") || str_starts(key, "kernel.sem") ||
                   str_starts(key, "kernel.shm") || str_starts(key, "fs.mqueue.");
        bool uts =
            strcmp(key, "kernel.domainname") == 0 || strcmp(key, "kernel.hostname") == 0;
        bool fits = (ipc && ns_has(&s->ns, NS_IPC)) ||
                    (str_starts(key, "net.") && ns_has(&s->ns, NS_NET)) ||
                    (uts && ns_has(&s->ns, NS_UTS)) ||
                    (str_starts(key, "user.") && ns_has(&s->ns, NS_USER));
        char path[PATH_MAX];
        int r;

        if (!fits || strstr(key, "..") != NULL || s->proc < 0) {
            return err_set(e, -EPERM, "sysctl '%s' is not the container's own", key);
        }
        (void)str_print(path, sizeof path, "sys/%s", key);
        for (char *p = path + 4; *p != '\0'; p++) {
            *p = *p == '.' ? '/' : *p == '/' ? '.' : *p;
        }
        r = file_write_existing(s->proc, path, json_string_value(item));
        if (r < 0) {
            return err_sys(e, r, "cannot set sysctl '%s'", key);
        }
    }
    return 0;
}

static int await_ids(struct setup *s, struct err *e)
{
    return sync_await(s, SYNC_MAPPED, NULL, e);
}

static int await_root(struct setup *s, struct err *e)
{
    return sync_happens(s, SYNC_ROOT) ? sync_await(s, SYNC_ROOT, &s->root, e) : 0;
}

static int meet_runtime(struct setup *s, struct err *e)
{
    int r = sync_tell(s, SYNC_MEET, -1, e);

    return r < 0 ? r : sync_await(s, SYNC_MET, NULL, e);
}

/* The file tree, in a mount namespace of its own; a joined one has it already. */
static int build_tree(struct setup *s, struct err *e)
{
    static setup_step *const steps[] = {rootfs_enter, mounts_make, devices_make};

    return (s->ns.fresh & CLONE_NEWNS) != 0 ? SETUP_RUN(steps, s, e) : 0;
}

static int make_terminal(struct setup *s, struct err *e)
{
    (void)setsid();
    return s->terminal ? console_make(s, e) : 0;
}

static int enclose(struct setup *s, struct err *e)
{
    static setup_step *const steps[] = {rootfs_finish, rootfs_pivot};
    int r = hooks_run_early(s->c, "createContainer", "creating", getpid(), e);

    return r == 0 && (s->ns.fresh & CLONE_NEWNS) != 0 ? SETUP_RUN(steps, s, e) : r;
}

/* Wait for the start: from the parent, or from another process by the socket.
 * Returns where to report a failure. */
static int await_start(struct setup *s)
{
    struct pollfd p[2] = {{.fd = s->sync[1], .events = POLLIN},
                          {.fd = s->listener, .events = POLLIN}};

    for (;;) {
        if (poll(p, 2, -1) < 0 && errno != EINTR) {
            _exit(1);
        }
        if (p[1].revents != 0) {
            int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);

            if (fd >= 0 && sync_receive(fd, NULL, NULL) == (int)SYNC_START &&
                sync_send(fd, SYNC_STARTING, -1) == 0) {
                return fd;
            }
            if (fd >= 0) { /* somebody who only looked whether we wait */
                (void)close(fd);
            }
        }
        if (p[0].revents != 0) {
            int word = sync_receive(s->sync[1], NULL, NULL);

            if (word == (int)SYNC_START &&
                sync_send(s->sync[1], SYNC_STARTING, -1) == 0) {
                return s->sync[1];
            }
            if (s->listener < 0) {
                _exit(1); /* the creator is gone, and nobody else could start us */
            }
            p[0].fd = -1;
        }
    }
}

/* The group's path in a fresh cgroup namespace is that of its maker at that moment:
 * so it is made here, inside the container's groups, and not by the clone. */
static int enter_cgroup_namespace(struct setup *s, struct err *e)
{
    size_t i;
    json_t *item;

    json_array_foreach(config_get(s->config, "mounts"), i, item)
    {
        if (s->groups == NULL && str_starts(config_text(item, "type", ""), "cgroup")) {
            (void)file_read(AT_FDCWD, "/proc/self/cgroup", GROUPS_MOST_BYTES, &s->groups,
                            NULL);
        }
    }
    if ((s->ns.fresh & CLONE_NEWCGROUP) != 0 && unshare(CLONE_NEWCGROUP) < 0) {
        return err_sys(e, -errno, "cannot make a cgroup namespace");
    }
    return 0;
}

static int hide(struct setup *s, struct err *e)
{
    (void)s;
    (void)e;
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    return 0;
}

/* An ordinary user's parent must still reach our maps in /proc. */
static int hide_early(struct setup *s, struct err *e)
{
    return s->new_user && s->rootless ? 0 : hide(s, e);
}

static int enter_group(struct setup *s, struct err *e)
{
    int r = s->c->cgroup != NULL ? cgroup_join_self(s->c->cgroup, s->born) : 0;

    s->c->cgroup = NULL; /* the parent's; its descriptors are about to be closed */
    setup_let_go(s, -1);
    return r < 0 ? err_sys(e, r, "cannot enter the control group") : 0;
}

static int tie_to_parent(struct setup *s, struct err *e)
{
    (void)e;
    if (s->die_with_parent) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    }
    return 0;
}

/* What the tree was made with; its own /proc is still written to. */
static int close_tree(struct setup *s, struct err *e)
{
    int *const fds[] = {&s->root, &s->devpts, &s->null, &s->empty};

    (void)e;
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        if (*fds[i] >= 0) {
            (void)close(*fds[i]);
        }
        *fds[i] = -1;
    }
    return 0;
}

static int find_program(struct setup *s, struct err *e)
{
    return process_look(s, e);
}

void init_main(struct setup *s)
{
    static setup_step *const steps[] = {
        hide_early,         enter_group,  join_namespaces,        await_ids,
        become_root,        hide, /* again: the change of user has undone it */
        tie_to_parent,      enter_time,   enter_cgroup_namespace, await_root,
        enter_own_network,  set_names,    meet_runtime,           build_tree,
        init_enter_network, set_sysctls,  make_terminal,          enclose,
        close_tree,         find_program,
    };
    struct err e = {0};
    int to;

    (void)close(s->sync[0]);
    s->sync[0] = s->stage[0] = s->stage[1] = -1;
    (void)umask(0);
    if (SETUP_RUN(steps, s, &e) < 0 || sync_tell(s, SYNC_READY, s->master, &e) < 0) {
        fail(s, -1, &e);
    }
    to = await_start(s);
    s->report = to;
    if (hooks_run_early(s->c, "startContainer", "created", getpid(), &e) < 0 ||
        process_prepare(s, &e) < 0) {
        fail(s, to, &e);
    }
    (void)process_execute(s, &e);
    fail(s, to, &e);
}
