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

#define CONTAINER_ID_BYTES 129

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

/* process.c, schedule.c: what the checks of a configuration ask. */
int process_limit(const char *name); /* "RLIMIT_NOFILE"; -1: unknown */
int schedule_check(const json_t *process, const char *where, struct err *e);

/* Words that a configuration may use, by index; NULL: no more. */
const char *schedule_memory_mode(size_t i);
const char *schedule_memory_flag(size_t i);
const char *mounts_option(size_t i);
const char *hooks_kind(size_t i);

/* netdev.c: move the devices of `linux.netDevices` into the network namespace. */
int netdev_move_all(const json_t *config, int netns, struct err *e);

/* exec_process.c: `given` with all that it lacks; owned by the caller. */
int exec_complete(const struct container *c, const json_t *given, json_t **ret,
                  struct err *e);

/* hooks.c: run those of `kind`; they are shown the container's state. */
int hooks_run(const json_t *config, const char *kind, const json_t *state, struct err *e);

/* ... while it is being made: by this status and process. */
int hooks_run_early(struct container *c, const char *kind, const char *status, pid_t pid,
                    struct err *e);

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

/* task.c: hand the listener of process `pid`'s filter to who is named in
 * `linux.seccomp`. */
int listener_pass(struct container *c, pid_t pid, int notify, struct err *e);
extern const struct task_ops container_task_ops;

/* Say what `warnings` holds. */
void container_warn(const struct log *log, const struct strv *warnings);

#endif
