/* host/probe.c - the table of probes and the child that each one runs in. */
#include "host/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/cgroup_private.h"
#include "host/file.h"
#include "host/probe_private.h"

#define PROBE_MS 2000

struct row {
    const char *key;
    const char *level;
    const char *what;
    probe_fn *run;
    long arg;
    const char *remedy; /* for an answer other than yes */
};

#define KERNEL(option) "needs a kernel with " option
#define ROOT_OR        "run as root, or "

/* clang-format off */
static const struct row rows[] = {
    {"host.kernel",       "host", "kernel", probe_kernel, 0, "use Linux 5.10 or newer"},
    {"host.cpus",         "host", "processors", probe_cpus, 0, NULL},
    {"host.memory",       "host", "memory", probe_memory, 0, NULL},
    {"host.hugepages",    "host", "huge pages", probe_hugepages, 0,
     "reserve some: sysctl vm.nr_hugepages=N, or let transparent ones be: echo madvise > "
     "/sys/kernel/mm/transparent_hugepage/enabled"},
    {"host.capabilities", "host", "capabilities", probe_caps, 0,
     "start from a session that has them; guests get what is left"},
    {"host.psi",          "host", "pressure figures", probe_psi, 0, "boot with psi=1"},

    {"ns.mount",  "container", "mount namespace",   probe_namespace, CLONE_NEWNS,     KERNEL("CONFIG_NAMESPACES")},
    {"ns.pid",    "container", "process namespace", probe_namespace, CLONE_NEWPID,    KERNEL("CONFIG_PID_NS")},
    {"ns.net",    "container", "network namespace", probe_namespace, CLONE_NEWNET,    KERNEL("CONFIG_NET_NS")},
    {"ns.ipc",    "container", "IPC namespace",     probe_namespace, CLONE_NEWIPC,    KERNEL("CONFIG_IPC_NS")},
    {"ns.uts",    "container", "host name namespace", probe_namespace, CLONE_NEWUTS,  KERNEL("CONFIG_UTS_NS")},
    {"ns.cgroup", "container", "cgroup namespace",  probe_namespace, CLONE_NEWCGROUP, KERNEL("CONFIG_CGROUPS")},
    {"ns.time",   "container", "time namespace",    probe_namespace, CLONE_NEWTIME,   KERNEL("CONFIG_TIME_NS")},
    {"ns.user",   "container", "user namespace",    probe_namespace, CLONE_NEWUSER,   KERNEL("CONFIG_USER_NS")},
    {"userns.unprivileged", "container", "user namespace for ordinary users", probe_userns, 0,
     "sysctl user.max_user_namespaces=15000 kernel.unprivileged_userns_clone=1; with AppArmor also "
     "kernel.apparmor_restrict_unprivileged_userns=0"},
    {"userns.ranges", "container", "ranges of user ids for ordinary users", probe_subuid, 0,
     "apt-get install uidmap; usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER"},
    {"mount.overlay", "container", "overlay file system", probe_overlay, 0, "modprobe overlay"},
    {"mount.overlay.user", "container", "overlay in a user namespace", probe_overlay, 1,
     "use Linux 5.11 or newer"},
    {"mount.api",     "container", "new mount calls", probe_mount_api, 0, "use Linux 5.12 or newer"},
    {"mount.idmap",   "container", "mounts with shifted owners", probe_idmap, 0,
     "use Linux 5.12 or newer; " ROOT_OR "do without"},
    {"seccomp.filter", "container", "system call filter", probe_seccomp, 0, KERNEL("CONFIG_SECCOMP_FILTER")},
    {"seccomp.notify", "container", "system calls answered by a listener", probe_notify, 0,
     "use Linux 5.0 or newer"},
    {"landlock",       "container", "Landlock", probe_landlock, 0,
     KERNEL("CONFIG_SECURITY_LANDLOCK") ", and 'landlock' in lsm= on its command line"},

    {"cgroup.layout",  "container", "control group hierarchies", probe_cgroup_layout, 0,
     "boot with systemd.unified_cgroup_hierarchy=1"},
    {"cgroup.cpu",     "container", "processor limits", probe_cgroup_ctl, CGROUP_CTL_CPU,     "delegate the controller 'cpu'"},
    {"cgroup.memory",  "container", "memory limits",    probe_cgroup_ctl, CGROUP_CTL_MEMORY,  "delegate the controller 'memory' (cgroup_enable=memory on some hosts)"},
    {"cgroup.pids",    "container", "process limits",   probe_cgroup_ctl, CGROUP_CTL_PIDS,    "delegate the controller 'pids'"},
    {"cgroup.io",      "container", "disk limits",      probe_cgroup_ctl, CGROUP_CTL_IO,      "delegate the controller 'io'"},
    {"cgroup.cpuset",  "container", "processor choice", probe_cgroup_ctl, CGROUP_CTL_CPUSET,  "delegate the controller 'cpuset'"},
    {"cgroup.hugetlb", "container", "huge page limits", probe_cgroup_ctl, CGROUP_CTL_HUGETLB, "delegate the controller 'hugetlb'"},
    {"cgroup.birth",   "container", "birth in a control group", probe_cgroup_birth, 0, "mount cgroup2; use Linux 5.7 or newer"},
    {"cgroup.freeze",  "container", "pause",            probe_cgroup_freeze, 0, "mount cgroup2, or the v1 freezer"},
    {"cgroup.kill",    "container", "kill of a whole group", probe_cgroup_kill, 0, "mount cgroup2; use Linux 5.14 or newer"},
    {"devices.bpf",    "container", "device rules",     probe_device_bpf, 0, KERNEL("CONFIG_CGROUP_BPF") ", or the v1 controller 'devices'"},

    {"net.bridge", "network", "bridge",            probe_link, 0, "modprobe bridge"},
    {"net.veth",   "network", "pairs of ports",    probe_link, 1, "modprobe veth"},
    {"net.nft",    "network", "packet rules",      probe_nft,  0, "modprobe nf_tables"},
    {"net.tun",    "network", "tap ports",         probe_tun,  0, "modprobe tun; give the user /dev/net/tun"},
    {"fs.fuse",    "storage", "file systems in user space", probe_fuse, 0, "modprobe fuse; give the user /dev/fuse"},
    {"block.loop", "storage", "loop devices",      probe_loop, 0, "modprobe loop"},

    {"machine.kvm", "machine", "hardware virtualization", probe_kvm, 0,
     "enable VT-x or AMD-V (nested, in a virtual machine), modprobe kvm, give the user /dev/kvm; "
     "machines run without it, slower"},
    {"machine.jit", "machine", "code made at run time", probe_jit, 0,
     "allow executable memory; machines run interpreted without it"},
    {"module.reserve", "module", "address space for guard pages", probe_reserve, 0,
     "raise the limit of address space: ulimit -v unlimited; sysctl vm.overcommit_memory=0"},
    {"program.binfmt", "program", "foreign programs started by name", probe_binfmt, 0,
     "modprobe binfmt_misc"},
    {"program.dispatch", "program", "system calls caught in the process", probe_dispatch, 0,
     "use Linux 5.11 or newer"},
};
/* clang-format on */

#define ROWS (sizeof rows / sizeof rows[0])

void probe_say(struct probe_result *r, enum probe_answer a, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(r->detail, sizeof r->detail, fmt, args);
    va_end(args);
    r->answer = a;
}

void probe_no(struct probe_result *r, const char *what)
{
    probe_say(r, PROBE_NO, "%s: %s", what, strerror(errno));
}

const char *probe_answer_name(enum probe_answer a)
{
    static const char *const names[PROBE_ANSWER_COUNT] = {"yes", "partial", "no"};

    return a < PROBE_ANSWER_COUNT ? names[a] : "?";
}

struct answer {
    enum probe_answer answer;
    char detail[PROBE_DETAIL_BYTES];
};

/* In a process group of its own, so that helpers of a probe end with it. */
static void run_child(const struct row *row, int out)
{
    struct probe_result r = {.answer = PROBE_NO, .detail = "the probe did not answer"};
    struct answer a;

    (void)setpgid(0, 0);
    row->run(&r, row->arg);
    a.answer = r.answer;
    memcpy(a.detail, r.detail, sizeof a.detail);
    _exit(file_write_all(out, &a, sizeof a) == 0 ? 0 : 1);
}

static void wait_answer(int in, struct probe_result *r)
{
    struct pollfd p = {.fd = in, .events = POLLIN};
    struct answer a;

    if (poll(&p, 1, PROBE_MS) <= 0) {
        probe_say(r, PROBE_NO, "no answer within %d ms", PROBE_MS);
    } else if (file_read_all(in, &a, sizeof a) != (ssize_t)sizeof a) {
        probe_say(r, PROBE_NO, "the try was ended by the kernel");
    } else {
        r->answer = a.answer;
        memcpy(r->detail, a.detail, sizeof r->detail);
    }
}

static bool is_other(void *arg, const char *name)
{
    return strcmp(arg, name) != 0;
}

/* A probe that was cut short may have left its control group. */
static void clean_up(pid_t pid)
{
    char name[32];

    (void)str_print(name, sizeof name, "probe-%d", (int)pid);
    (void)cgroup_sweep("/strata", is_other, name, NULL);
}

static void run_row(const struct row *row, struct probe_result *r)
{
    int ends[2];
    pid_t pid;

    *r = (struct probe_result){
        .key = row->key, .level = row->level, .what = row->what, .answer = PROBE_NO};
    if (pipe2(ends, O_CLOEXEC) < 0) {
        probe_no(r, "cannot ask");
        return;
    }
    (void)fflush(NULL);
    pid = fork();
    if (pid == 0) {
        (void)close(ends[0]);
        run_child(row, ends[1]);
    }
    (void)close(ends[1]);
    if (pid < 0) {
        probe_no(r, "cannot ask");
    } else {
        wait_answer(ends[0], r);
        (void)kill(-pid, SIGKILL);
        (void)kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
        }
        if (r->answer == PROBE_NO && str_starts(r->key, "cgroup.")) {
            clean_up(pid);
        }
    }
    (void)close(ends[0]);
    r->remedy = r->answer != PROBE_YES ? row->remedy : NULL;
}

static bool is_live(void *arg, const char *name)
{
    (void)arg;
    (void)name;
    return true;
}

int probe_run(const char *level, struct probe_result **ret, size_t *ret_n, struct err *e)
{
    struct probe_result *all = fault_calloc(ROWS, sizeof *all);
    size_t n = 0;

    if (all == NULL) {
        return err_sys(e, -ENOMEM, "cannot examine the host");
    }
    for (size_t i = 0; i < ROWS; i++) {
        if (level == NULL || strcmp(rows[i].level, level) == 0) {
            run_row(&rows[i], &all[n++]);
        }
    }
    (void)cgroup_sweep("/strata", is_live, NULL, NULL); /* the parent, if it is empty */
    if (n == 0) {
        free(all);
        return err_set(e, -EINVAL, "there is no level '%s'", level);
    }
    *ret = all;
    *ret_n = n;
    return 0;
}

int probe_one(const char *key, struct probe_result *ret)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (strcmp(rows[i].key, key) == 0) {
            run_row(&rows[i], ret);
            return 0;
        }
    }
    return -ENOENT;
}
