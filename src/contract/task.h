/* contract/task.h - what every guest promises, whatever its kind.
 *
 * Implemented by virt/container now; by virt/monitor (machine), virt/bytecode
 * (module) and virt/program later.  Used by node, which knows guests only
 * through this table.
 *
 * Threads: one caller at a time per task.  Calls may block for as long as the
 * kernel needs; none waits for the guest's own programs except `wait`.
 * A NULL slot means that the kind cannot do it: `task_pause` and its sisters
 * then say -EOPNOTSUPP and name the kind. */
#ifndef CONTRACT_TASK_H
#define CONTRACT_TASK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct err;
struct snap;
struct task;

enum task_state {
    TASK_CREATED, /* set up, its first program not started */
    TASK_RUNNING,
    TASK_PAUSED,
    TASK_STOPPED, /* ended; resources may still be held until `destroy` */
    TASK_STATE_COUNT
};

/* Limits that may change while the guest runs; 0 leaves a limit as it is,
 * UINT64_MAX removes it. */
struct task_limits {
    uint64_t cpu_millis;   /* processors, in thousandths */
    uint64_t cpu_weight;   /* share among neighbours, 1..10000, 100 is usual */
    uint64_t memory_bytes; /* hard limit */
    uint64_t pids;         /* processes and threads */
    uint64_t io_read_bps;  /* bytes per second on the disk of the guest */
    uint64_t io_write_bps;
    unsigned io_major, io_minor; /* that disk; 0:0 leaves both rates as they are */
};

/* What the guest used since its start; UINT64_MAX: the host cannot tell. */
struct task_stats {
    uint64_t cpu_ns;
    uint64_t cpu_user_ns;
    uint64_t cpu_system_ns;
    uint64_t throttled_ns;
    uint64_t memory_bytes;
    uint64_t memory_peak_bytes;
    uint64_t memory_limit_bytes;
    uint64_t oom_kills;
    uint64_t pids;
    uint64_t io_read_bytes;
    uint64_t io_write_bytes;
};

/* One more program inside the guest. */
struct task_exec {
    const char *const *argv; /* NULL-terminated */
    const char *const *env;  /* NULL: the guest's own; else added to it, "K=V" */
    const char *cwd;         /* NULL: the guest's own */
    const char *user; /* "uid[:gid]" or names of the guest's own files; NULL: its own */
    bool terminal;    /* a new terminal; its master is handed back */
    int stdio[3];     /* without a terminal; borrowed */
};

struct task_ops {
    const char *kind; /* "container"; also the word on the command line */

    /* Let the first program of a created guest begin. */
    int (*start)(struct task *t, struct err *e);

    /* Send `signal` to the first program (`all`: to every program). */
    int (*signal)(struct task *t, int signal, bool all, struct err *e);

    /* No program of the guest runs after the call returns; memory is kept. */
    int (*pause)(struct task *t, struct err *e);
    int (*resume)(struct task *t, struct err *e);

    /* Write / read the guest's whole state, and go on or begin from it. */
    int (*save)(struct task *t, struct snap *s, struct err *e);
    int (*load)(struct task *t, struct snap *s, struct err *e);

    /* Change limits of a running guest; all or nothing. */
    int (*resize)(struct task *t, const struct task_limits *limits, struct err *e);

    int (*stats)(struct task *t, struct task_stats *ret, struct err *e);

    /* Run one more program.  *ret_pidfd (owned by the caller) tells its end,
     * *ret_master is the terminal's master or -1. */
    int (*exec)(struct task *t, const struct task_exec *x, int *ret_pidfd,
                int *ret_master, struct err *e);

    /* What the guest is doing, as the kernel sees it now. */
    enum task_state (*state)(struct task *t);

    /* End every program and free what the host holds for the guest; returns
     * when processes, mounts and control groups are gone. */
    int (*destroy)(struct task *t, struct err *e);

    /* Forget the handle; the guest itself is untouched. */
    void (*close)(struct task *t);
};

/* First member of every implementation's own struct. */
struct task {
    const struct task_ops *ops;
};

int task_start(struct task *t, struct err *e);
int task_signal(struct task *t, int signal, bool all, struct err *e);
int task_pause(struct task *t, struct err *e);
int task_resume(struct task *t, struct err *e);
int task_save(struct task *t, struct snap *s, struct err *e);
int task_load(struct task *t, struct snap *s, struct err *e);
int task_resize(struct task *t, const struct task_limits *limits, struct err *e);
int task_stats(struct task *t, struct task_stats *ret, struct err *e);
int task_exec(struct task *t, const struct task_exec *x, int *ret_pidfd, int *ret_master,
              struct err *e);
enum task_state task_state(struct task *t);
int task_destroy(struct task *t, struct err *e);
void task_close(struct task *t); /* NULL is fine */

/* "created", "running", "paused", "stopped". */
const char *task_state_name(enum task_state s);

#endif
