/* private.h - what the files of this folder share. */
#ifndef VIRT_CONTAINER_PRIVATE_H
#define VIRT_CONTAINER_PRIVATE_H

#include <limits.h>
#include <signal.h>

#include "base/err.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "host/cgroup_limits.h"
#include "virt/container/confine/caps.h"
#include "virt/container/container.h"

#define CONTAINER_ID_BYTES   129
#define CONTAINER_HOOK_KINDS 6

struct cgroup;
struct landlock;
struct seccomp_filter;

struct container {
    struct task task;
    char *root;            /* owned */
    char *id;              /* owned */
    char *bundle;          /* owned, absolute */
    json_t *config;        /* owned */
    json_t *state;         /* owned; state.json */
    pid_t pid;             /* first program */
    uint64_t pid_started;  /* clock ticks since boot: tells a reused pid */
    struct cgroup *cgroup; /* owned; NULL: none, or not opened yet */
    int sync;              /* to the first program while it waits for the start; -1 */
    int userns; /* without root, between creation and start: its namespaces; -1 */
    int netns;
    const struct log *log;
};

/* path.c ---------------------------------------------------------------- */

/* The member at a dotted path ("linux.resources"), or NULL; null is NULL. */
json_t *config_get(const json_t *config, const char *path);
const char *config_text(const json_t *config, const char *path, const char *other);
bool config_flag(const json_t *config, const char *path);
int64_t config_number(const json_t *config, const char *path, int64_t other);

/* config.c: check every member that this runtime reads; -EINVAL names it. */
int config_check(const json_t *config, struct err *e);
int config_check_process(const json_t *process, const char *where, struct err *e);
int config_read(const char *bundle, json_t **ret, struct err *e);

/* config_sense.c, config_process.c: what `config_check` asks, when types are right. */
int config_sense(const json_t *config, struct err *e);
int config_sense_process(const json_t *process, const char *where, struct err *e);

/* ns.c ------------------------------------------------------------------ */

enum ns_kind {
    NS_USER,
    NS_MOUNT,
    NS_PID,
    NS_NET,
    NS_IPC,
    NS_UTS,
    NS_CGROUP,
    NS_TIME,
    NS_COUNT
};

struct ns_plan {
    uint64_t fresh;     /* CLONE_NEW... that are made new */
    uint64_t joined;    /* ... that are joined, also when their descriptor is closed */
    int join[NS_COUNT]; /* owned descriptors, or -1 */
};

extern const struct ns_row {
    const char *type; /* in the configuration */
    const char *proc; /* below /proc/PID/ns */
    uint64_t flag;
} ns_table[NS_COUNT];

int ns_plan_read(const json_t *config, struct ns_plan *ret, struct err *e);

/* Which kinds a running container has, without opening anything: all in `fresh`. */
int ns_plan_read_kinds(const json_t *config, struct ns_plan *ret, struct err *e);
void ns_plan_fini(struct ns_plan *p);
bool ns_has(const struct ns_plan *p, enum ns_kind kind); /* new or joined */

/* clone3; `cgroup_fd` -1: none.  *ret_pidfd is owned. */
pid_t ns_clone(uint64_t flags, int cgroup_fd, int *ret_pidfd);

/* Write the mappings of `config` for `pid` (uid_map, gid_map, or the setuid helpers
 * of the host when this user may not). */
int ns_write_maps(const json_t *config, pid_t pid, struct err *e);

/* setup: everything the new process needs, made before the clone --------- */

struct setup {
    const struct container_new *n;
    struct container *c;
    const json_t *config;
    const json_t *process;
    struct ns_plan ns;
    struct caps caps;
    struct seccomp_filter *seccomp; /* or NULL */
    struct landlock *landlock;      /* or NULL */
    struct strv warnings;           /* said once by the parent */
    int stdio[3];                   /* of the program */
    int sync[2];                    /* [0] parent's end, [1] child's */
    int listener;                   /* start.sock, accepting; -1: none */
    int terminal_fd;                /* where the child sends the terminal's master; -1 */
    bool terminal;
    bool new_user;               /* a user namespace of its own */
    bool rootless;               /* the caller is not root */
    bool has_directory;          /* parent: ROOT/ID was made by us */
    bool joined_user;            /* child: came through a joined user namespace */
    int stage[2];                /* pipe for the pid, when cloned in two stages */
    bool has_network;            /* child: it came, or is there from birth */
    bool born;                   /* CLONE_INTO_CGROUP put the child into its group */
    struct cgroup_limits limits; /* parent: owned; its device rules follow the clone */
    int report;                  /* child: where the start is waited for; -1 before */
    char *groups;       /* child: /proc/self/cgroup before its own namespace; or NULL */
    const char *group;  /* path of the container's own control group, or NULL */
    bool is_exec;       /* one more program of a running container */
    uint64_t host_caps; /* bounding set of the caller */
    int preserve_fds;
    bool die_with_parent;
    uint64_t own_dev, own_ino; /* of this program: never executed inside */
    int proc;                  /* child: the container's own /proc; -1 */
    int devpts;                /* child: the container's own terminals; -1 */
    int root;                  /* child: its root file system; -1 */
    int null;                  /* child: the host's null device; -1 */
    int empty;                 /* child: the empty directory that hides others; -1 */
    int master;                /* child: of the terminal, until it is handed over; -1 */
};

/* create.c: an empty one; what the process itself asks for; free it. */
void setup_init(struct setup *s);
int setup_preserved(int n, struct err *e); /* whether 3 .. 3+n-1 are open */
int setup_process(struct setup *s, struct err *e);
int setup_filter(struct setup *s, struct err *e);

/* Whether the parent has something to do between the birth and the mounts. */
bool setup_meets(const struct setup *s);

/* Whether the parent makes the network namespace, while the child begins: it takes
 * the kernel as long as all the mounts. */
bool setup_lends_network(const struct setup *s);
void setup_fini(struct setup *s);

/* What the two tell each other over `sync`. */
enum sync_word {
    SYNC_GO = 1, /* parent: maps are written; a root descriptor may come with it */
    SYNC_HOOKS,  /* child, if `setup_meets`: namespaces stand, run the runtime's hooks */
    SYNC_READY,  /* child: all is made, waits for the start */
    SYNC_START,  /* parent: run the program */
    SYNC_NET,    /* parent, if `setup_lends_network`: the namespace comes with it */
    SYNC_NOTIFY, /* child: here is the seccomp listener */
    SYNC_FAILED  /* child: struct err follows */
};

int sync_send(int fd, enum sync_word word, int pass_fd);
int sync_send_err(int fd, const struct err *e);

/* The next word; -errno.  *ret_fd -1: none came with it.  SYNC_FAILED fills `e`. */
int sync_receive(int fd, int *ret_fd, struct err *e);

/* rootfs.c */
int rootfs_overlay(const struct setup *s, int userns_fd, struct err *e);
int rootfs_open(struct setup *s, int userns_fd, struct err *e);
int rootfs_enter(struct setup *s, struct err *e); /* attach, no pivot yet */
int rootfs_pivot(struct setup *s, struct err *e);
int rootfs_finish(struct setup *s, struct err *e); /* masked, read-only */

/* mounts.c */
int mounts_make(struct setup *s, struct err *e);

/* Attach the detached mount `fd` at `path` inside the root, making the mount
 * point when missing. */
int mounts_attach(const struct setup *s, int fd, const char *path, bool is_dir,
                  struct err *e);

/* An empty file or directory at `path` inside the root; its O_PATH descriptor. */
int mounts_point(const struct setup *s, const char *path, bool is_dir, struct err *e);

/* cgroup_mount.c: what type "cgroup" means on this host. */
int mounts_cgroup(struct setup *s, const char *to, bool read_only, struct err *e);

/* devices.c */
int devices_make(struct setup *s, struct err *e);

/* console.c: a terminal of the container's own devpts. */
int console_make(struct setup *s, struct err *e);
int console_send(const char *socket_path, int master, struct err *e);

/* netdev.c: move the devices of `linux.netDevices` into the network namespace. */
int netdev_move_all(const json_t *config, int netns, struct err *e);

/* hooks.c */
int hooks_run(const json_t *config, const char *kind, const json_t *state, struct err *e);

int process_limit(const char *name); /* "RLIMIT_NOFILE"; -1: unknown */

/* process.c: from the privileged new process to the program itself. */
/* Check the resource limits, with a warning for those that cannot be had. */
int process_check_limits(struct setup *s, struct err *e);
int process_prepare(struct setup *s, struct err *e);   /* rlimits, cwd, ids, caps */
int process_lock_down(struct setup *s, struct err *e); /* filters, the last step */

/* schedule.c: policy, I/O priority, processors, memory nodes, personality. */
int process_schedule(struct setup *s, struct err *e);
int schedule_check(const json_t *process, const char *where, struct err *e);

/* program.c: whether it is there and may be executed, asked when all else is made. */
int process_look(const struct setup *s, struct err *e);

/* Find, check and execute it; returns on failure. */
int process_execute(struct setup *s, struct err *e);

/* init.c: enter the network namespace that the parent lends, if not done yet. */
int init_enter_network(struct setup *s, struct err *e);

/* init.c: the child's whole life; does not return. */
void init_main(struct setup *s) __attribute__((noreturn));

/* state.c */
int state_save(struct container *c, struct err *e);
int state_load(const char *root, const char *id, struct container **ret, struct err *e);
int state_remove(const struct container *c); /* the directory of `state_path` */
void state_free(struct container *c);
uint64_t state_process_start(pid_t pid);
bool state_is_alive(const struct container *c);
int state_path(const struct container *c, const char *file, char out[PATH_MAX]);
int state_cgroup(struct container *c, struct err *e);      /* opens `c->cgroup` */
int state_need_config(struct container *c, struct err *e); /* reads `c->config` */

/* Open what waits for the start; -ENOENT or -ECONNREFUSED when nothing does, and
 * without `wait` -EAGAIN when it is there, but busy. */
int start_connect(struct container *c, bool wait, int *ret_fd);

/* task.c: hand a filter's listener to who is named in `linux.seccomp`. */
int listener_pass(struct container *c, int notify, struct err *e);
extern const struct task_ops container_task_ops;

/* Say what `warnings` holds. */
void container_warn(const struct log *log, const struct strv *warnings);

#endif
