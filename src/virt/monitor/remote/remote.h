/* remote.h - a machine whose worker is another process: made, looked at, spoken to.
 *
 * Links into `strata`: no engine and no device is in it.  What is known of a worker lies in
 * the guest's directory of run-time files: "worker.json" (process, control group),
 * "machine", the socket on which the worker listens (message.h), and "counters", what the
 * worker tells of itself, written when its state changes. */
#ifndef VIRT_MONITOR_REMOTE_REMOTE_H
#define VIRT_MONITOR_REMOTE_REMOTE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "contract/task.h"
#include "virt/monitor/remote/message.h"

struct err;
struct far;
struct log;

#define FAR_FDS_MOST 64
#define FAR_AGENT    "agent" /* a socket beside the worker's: the way to the guest's own */

#define FAR_COUNTERS "counters"

/* A descriptor that the worker gets, known by a name in its plan. */
struct far_fd {
    const char *name;
    int fd; /* borrowed */
};

struct far_new {
    const char *directory; /* the guest's run-time files */
    const char *id;
    const char *cgroup;  /* as of `cgroup_path`; NULL: the default */
    const char *program; /* the worker's */
    json_t *plan;        /* borrowed; "fds" and "born" are added */
    int stdio[3];        /* borrowed */
    const struct far_fd *fds;
    unsigned n_fds;
    uint64_t memory_most; /* bytes that guest and worker may take; 0: no limit */
    uint64_t cpu_weight;  /* 0: the usual */
    uint64_t cpu_millis;  /* of processors, in all; 0: what its own can take */
    uint64_t tasks_most;
    bool rootless;
    const struct log *log; /* for what this host withholds; or NULL */
};

/* Start the worker, a child of the caller that dies with it, in namespaces and a control
 * group of its own, and wait until it is about to run the guest.  What it says against
 * that is the error here; nothing is left then. */
int far_create(const struct far_new *n, pid_t *ret_pid, struct err *e);

/* Take up a machine that was created.  -ENOENT: there is none. */
int far_open(const char *directory, const char *id, struct far **ret, struct err *e);

/* The contract; `task_close` frees the handle.  Borrowed. */
struct task *far_task(struct far *f);

/* End the worker and remove all that it has; fine when there is nothing. */
int far_clean(const char *directory, const char *id, const char *cgroup, struct err *e);

/* Ask the worker; `arg` may be NULL.  *ret (may be NULL) is what it answered.  -ESRCH: it
 * does not listen; -ETIMEDOUT. */
int far_ask(const char *directory, enum far_verb verb, const json_t *arg, json_t **ret,
            struct err *e);

/* A connection to the agent inside the guest, which speaks frames (virt/agent/frame); it may
 * take `wait_ms` until the guest has one.  -EOPNOTSUPP: it never will. */
int far_agent_connect(const char *directory, int wait_ms, struct err *e);

/* Let the agent end the system, or the one command by that signal.  -EOPNOTSUPP: it
 * does not know how. */
int far_agent_power(const char *directory, int signal, struct err *e);

/* Let it set the guest's clock to the host's: time stood for the guest. */
int far_agent_set_clock(const char *directory, struct err *e);

/* Let it do what the lines of FRAME_RENEW (virt/agent/frame) say. */
int far_agent_renew(const char *directory, const char *lines, struct err *e);

/* Let it bring the guest's file systems to a rest, in which they stay while *ret_fd waits,
 * for some seconds of the guest's time; and go on: -ETIME when they did before. */
int far_agent_freeze(const char *directory, int *ret_fd, struct err *e);
int far_agent_thaw(int take_fd, struct err *e);

/* The same with descriptors, and as much patience as the work may need. */
struct far_question {
    enum far_verb verb;
    const json_t *arg; /* NULL: nothing */
    const int *fds;    /* borrowed, at most `FAR_QUESTION_FDS` */
    unsigned n_fds;
    int wait_ms; /* 0: as usual */
};

#define FAR_QUESTION_FDS 8

int far_ask_with(const char *directory, const struct far_question *q, json_t **ret,
                 struct err *e);

#endif
