/* host/cgroup.h - one handle for a guest's control groups on v1, v2 and hybrid hosts.
 *
 * On v2 the guest has one leaf directory.  On a hybrid host it has a v2 leaf for
 * birth, freeze, kill, events and device rules, and v1 directories only for the
 * controllers that limits or accounting ask for.  On v1 it has those and a
 * freezer.  What the host withholds is left out with one line in
 * `cgroup_warnings`, unless the caller is strict.
 *
 * Threads: one caller at a time per handle.  Calls block for kernel work only. */
#ifndef HOST_CGROUP_H
#define HOST_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/json.h"
#include "host/cgroup_limits.h"

struct cgroup;
struct err;
struct strv;
struct task_stats;

#define CGROUP_PATH_BYTES 1024

/* Figures the caller wants in `cgroup_stats` though no limit asks for their
 * controller.  On v2 and hybrid, processor time and process count cost nothing. */
enum cgroup_account {
    CGROUP_ACCOUNT_CPU = 1,
    CGROUP_ACCOUNT_MEMORY = 2,
    CGROUP_ACCOUNT_PIDS = 4,
    CGROUP_ACCOUNT_IO = 8
};

struct cgroup_want {
    const struct cgroup_limits *limits; /* borrowed; in force when create returns */
    unsigned account;                   /* of `enum cgroup_account` */
    bool strict;                        /* a withheld controller is an error */
    bool optional; /* no directory at all can be made (rootless): a warning, too */
    bool delegate; /* give the leaf to owner_uid:owner_gid */
    uid_t owner_uid;
    gid_t owner_gid;
};

struct cgroup_events {
    bool populated;     /* some process lives in it or below */
    bool frozen;        /* false where only a v1 freezer could tell */
    uint64_t oom_kills; /* 0 where the host cannot tell */
};

/* Pressure stall totals in microseconds (some / full); UINT64_MAX: not told. */
struct cgroup_pressure {
    uint64_t cpu_some_us, cpu_full_us;
    uint64_t memory_some_us, memory_full_us;
    uint64_t io_some_us, io_full_us;
};

/* The directory for a guest: `cgroups_path` as OCI gives it (NULL or "": the
 * default, /strata/ID), absolute, relative to the caller's own, or systemd's
 * "slice:prefix:name".  -EINVAL for ".." and the like. */
int cgroup_path(const char *cgroups_path, const char *id, char out[CGROUP_PATH_BYTES],
                struct err *e);

/* Make the directories for `path` (of `cgroup_path`), set the limits.  On
 * failure nothing is left. */
int cgroup_create(const char *path, const struct cgroup_want *want, struct cgroup **ret,
                  struct err *e);

/* One text that says where the directories are, for `cgroup_open` in another
 * process; the caller frees it.  "" when there are none.  NULL: no memory. */
char *cgroup_place(const struct cgroup *cg);

/* Take up what `cgroup_place` described.  A directory that is gone meanwhile is
 * fine. */
int cgroup_open(const char *place, struct cgroup **ret, struct err *e);

/* Forget the handle; the directories stay.  NULL is fine. */
void cgroup_close(struct cgroup *cg);

/* The lines about what the host withheld; borrowed. */
const struct strv *cgroup_warnings(const struct cgroup *cg);

/* The v2 leaf for CLONE_INTO_CGROUP, or -1; borrowed. */
int cgroup_birth_fd(const struct cgroup *cg);

/* Move the calling thread in; to be called by a new process while it has one
 * thread.  Only write(2) on open descriptors, except into the v2 leaf when
 * `born` (CLONE_INTO_CGROUP was used).  0 or -errno. */
int cgroup_join_self(const struct cgroup *cg, bool born);

/* Move a whole process in, for exec and for hosts without CLONE_INTO_CGROUP. */
int cgroup_add_pid(const struct cgroup *cg, pid_t pid, struct err *e);

/* Change the limits that `l` sets, and no other; undone when one of them is
 * refused.  A controller that the guest has no directory for is added, and the
 * guest's processes moved in. */
int cgroup_apply(struct cgroup *cg, const struct cgroup_limits *l, bool strict,
                 struct err *e);

/* Return when every process stands still / is free to run. */
int cgroup_freeze(struct cgroup *cg, struct err *e);
int cgroup_thaw(struct cgroup *cg, struct err *e);

/* SIGKILL for every process in it and below, also for frozen ones and those
 * that fork meanwhile.  Does not wait for their end: `cgroup_destroy` does. */
int cgroup_kill(struct cgroup *cg, struct err *e);

/* Send `signal` to every process in it and below. */
int cgroup_signal(struct cgroup *cg, int signal, struct err *e);

/* Processes in it and below; the caller frees *ret. */
int cgroup_pids(const struct cgroup *cg, pid_t **ret, size_t *ret_n, struct err *e);

int cgroup_stats(const struct cgroup *cg, struct task_stats *ret, struct err *e);
int cgroup_pressure(const struct cgroup *cg, struct cgroup_pressure *ret);

/* A descriptor that polls readable after a change of what `cgroup_events` tells;
 * it belongs to the handle.  -EOPNOTSUPP where nothing can be watched. */
int cgroup_watch_fd(struct cgroup *cg, struct err *e);

/* The state now; the watch is rearmed. */
int cgroup_events(struct cgroup *cg, struct cgroup_events *ret);

/* Kill what is left, wait for its end and remove every directory, those the
 * guest made below as well; forgets the handle in any case.  NULL is fine.
 * -ETIMEDOUT when a process does not end within `timeout_ms`. */
int cgroup_destroy(struct cgroup *cg, int timeout_ms, struct err *e);

/* Remove directories below `parent` ("/strata"), whose names `is_live` does not
 * claim, killing what runs there; and `parent` itself when it is empty then.
 * The number of guests removed, or -errno. */
int cgroup_sweep(const char *parent, bool (*is_live)(void *arg, const char *name),
                 void *arg, struct err *e);

#endif
