/* setup.h - what making a container, or one more program in it, works on.
 *
 * One `struct setup` is filled by the parent, copied into the child by the clone,
 * and from then on each side has its own.  The order of the steps of the two is
 * the table in sync.c. */
#ifndef VIRT_CONTAINER_SETUP_H
#define VIRT_CONTAINER_SETUP_H

#include "virt/container/private.h"

/* What the two tell each other, in this order; SYNC_FAILED at any time. */
enum sync_word {
    SYNC_NOTHING,
    SYNC_MAPPED,   /* parent: the ids of the user namespace are mapped */
    SYNC_ROOT,     /* parent: the root file system, shifted */
    SYNC_NETWORK,  /* parent: the network namespace that it made meanwhile */
    SYNC_MEET,     /* child: namespaces stand: devices and the runtime's hooks, please */
    SYNC_MET,      /* parent: they have moved and run */
    SYNC_MOUNT,    /* parent: the source of a mount; once for each */
    SYNC_READY,    /* child: all is made, with the terminal's master; waits */
    SYNC_START,    /* starter: run the program */
    SYNC_STARTING, /* child: no other starter is listened to any more */
    SYNC_NOTIFY,   /* child: the listener of its filter */
    SYNC_FAILED,   /* child: `struct err` follows */
    SYNC_COUNT
};

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
    enum sync_word step;            /* the last word said or heard */
    int listener;                   /* start.sock, accepting; -1: none */
    bool terminal;
    bool new_user;               /* a user namespace of its own */
    bool rootless;               /* the caller is not root */
    bool has_directory;          /* parent: ROOT/ID was made by us */
    bool joined_user;            /* child: came through a joined user namespace */
    int stage[2];                /* pipe for the pid, when cloned in two stages */
    bool has_network;            /* child: it came, or is there from birth */
    bool born;                   /* CLONE_INTO_CGROUP put the child into its group */
    struct cgroup_limits limits; /* parent: owned; its device rules follow the clone */
    int master;                  /* of the terminal: the child's, then the parent's; -1 */
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
};

typedef int setup_step(struct setup *s, struct err *e);

/* Do the steps one after another until one fails. */
#define SETUP_RUN(steps, s, e) setup_run(steps, sizeof(steps) / sizeof *(steps), s, e)
int setup_run(setup_step *const *steps, size_t n, struct setup *s, struct err *e);

/* setup.c: an empty one; what the process itself asks for; free it. */
void setup_init(struct setup *s);
void setup_fini(struct setup *s);
setup_step setup_process, setup_filter;
int setup_preserved(int n, struct err *e); /* whether 3 .. 3+n-1 are open */

/* Everything that needs no process yet, and can fail for a reason in the
 * configuration: namespaces, filters, directory, control group, sockets. */
setup_step setup_prepare;

/* The device rules, when they were not a part of making the group. */
setup_step setup_close_devices;

/* child, once it is in its control group: close what it inherited and will not
 * need, so that whoever sees its /proc/PID/fd finds no descriptor of the host. */
void setup_let_go(const struct setup *s, int also);

/* spawn.c: the child; it does not come back from there. */
setup_step spawn_child;

/* sync.c: the table of words --------------------------------------------- */

/* Whether the word is said at all in this setup. */
bool sync_happens(const struct setup *s, enum sync_word word);

/* Say a word to the other side, or wait for it to say this one; nothing is done when
 * it does not happen.  *ret_fd (may be NULL) is owned, -1 when none came. */
int sync_tell(struct setup *s, enum sync_word word, int pass_fd, struct err *e);
int sync_await(struct setup *s, enum sync_word word, int *ret_fd, struct err *e);

/* parent, after a failure: the child may have said why; its words win. */
int sync_ask_child(struct setup *s, int r, struct err *e);

/* One word over any connection; -errno. */
int sync_send(int fd, enum sync_word word, int pass_fd);
int sync_send_err(int fd, const struct err *e);

/* The next word; -errno.  *ret_fd -1: none came with it.  SYNC_FAILED fills `e`. */
int sync_receive(int fd, int *ret_fd, struct err *e);

/* meet.c: what the parent does while the child makes itself, in order ----- */
setup_step meet_map_ids, meet_open_root, meet_lend_network, meet_hooks, meet_mounts;

/* init.c: the child's whole life; does not return. */
void init_main(struct setup *s) __attribute__((noreturn));

/* init.c: enter the network namespace that the parent lends, if not done yet. */
setup_step init_enter_network;

/* tree/ ------------------------------------------------------------------- */

int rootfs_overlay(const struct setup *s, int userns_fd, struct err *e);
int rootfs_open(struct setup *s, int userns_fd, struct err *e);
setup_step rootfs_enter;  /* attach, no pivot yet */
setup_step rootfs_finish; /* masked, read-only */
setup_step rootfs_pivot;
setup_step mounts_make;
setup_step devices_make;

/* parent: open, shift and send every source that the child cannot open itself.
 * `userns_fd`: of the container; -1: it has none. */
int mounts_send(struct setup *s, int userns_fd, struct err *e);

/* Attach the detached mount `fd` at `path` inside the root, making the mount
 * point when missing. */
int mounts_attach(const struct setup *s, int fd, const char *path, bool is_dir,
                  struct err *e);

/* An empty file or directory at `path` inside the root; its O_PATH descriptor. */
int mounts_point(const struct setup *s, const char *path, bool is_dir, struct err *e);

/* cgroup_mount.c: what type "cgroup" means on this host. */
int mounts_cgroup(struct setup *s, const char *to, bool read_only, struct err *e);

/* console.c: a terminal of the container's own devpts. */
setup_step console_make;
int console_send(const char *socket_path, int master, struct err *e);

/* process.c: from the privileged new process to the program itself -------- */

/* Check the resource limits, with a warning for those that cannot be had. */
setup_step process_check_limits;
setup_step process_prepare;   /* rlimits, cwd, ids, caps */
setup_step process_lock_down; /* filters, the last step */

/* schedule.c: policy, I/O priority, processors, memory nodes, personality. */
setup_step process_schedule;

/* program.c: whether it is there and may be executed, asked when all else is made. */
int process_look(const struct setup *s, struct err *e);

/* Find, check and execute it; returns on failure. */
setup_step process_execute;

/* record.c: what others find the container by. */
setup_step record_container, record_pid;

#endif
