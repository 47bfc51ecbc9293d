/* private.h - the handle of a machine elsewhere, and its record. */
#ifndef VIRT_MONITOR_REMOTE_PRIVATE_H
#define VIRT_MONITOR_REMOTE_PRIVATE_H

#include <limits.h>

#include "virt/monitor/remote/remote.h"

struct cgroup;

#define FAR_RECORD "worker.json"
#define FAR_SOCKET "machine"

struct far {
    struct task task;
    char directory[PATH_MAX];
    char id[32];
    pid_t pid;
    uint64_t started; /* when, in the kernel's words: the number may be another's now */
    struct cgroup *cgroup; /* owned; NULL: none */
};

extern const struct task_ops far_task_ops;

/* exec.c: of the contract. */
int far_exec(struct task *t, const struct task_exec *x, int *ret_pidfd, int *ret_master,
             struct err *e);

/* record.c: what is known of a worker, written and read. */
int far_record_write(const char *directory, pid_t pid, const struct cgroup *cg,
                     struct err *e);
void far_record_remove(const char *directory);

/* When the process began, in ticks since the host's; 0: there is none. */
uint64_t far_started(pid_t pid);

#endif
