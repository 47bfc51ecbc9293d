/* virt/container/container.h - guests that share the host's kernel.
 *
 * The OCI runtime specification (1.2) as a library, and `strata oci` on top.  A
 * container is known by its id below a state root (ROOT/ID/state.json and, while
 * it waits for its start, ROOT/ID/start.sock).  Nothing of it is in the host's
 * mount table, and the first program is a child of the process that called
 * `container_create`, whatever that process executes later.
 *
 * Threads: one caller at a time per container; two processes may act on one id
 * at once, and one of them is told -EBUSY or -ENOENT. */
#ifndef VIRT_CONTAINER_CONTAINER_H
#define VIRT_CONTAINER_CONTAINER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "contract/task.h"

struct container;
struct err;
struct log;

/* The root file system as layers, instead of `root.path`. */
struct container_overlay {
    const char *const *lower; /* directories, the topmost first */
    size_t n;
    const char *upper; /* NULL: nothing can be written */
    const char *work;  /* on the file system of `upper` */
    bool is_volatile;  /* changes need not survive a crash */
};

struct container_new {
    const char *root;   /* state root, made when missing */
    const char *id;     /* 1 to 128 of A-Z a-z 0-9 _ + - . */
    const char *bundle; /* directory; relative paths of the config begin there */
    json_t *config;     /* borrowed; NULL: read BUNDLE/config.json */
    const struct container_overlay *overlay; /* NULL: root.path */
    int stdio[3];               /* of the first program, without a terminal */
    const char *console_socket; /* the terminal's master is sent there; or NULL */
    bool want_master;           /* ... or handed back */
    const char *pid_file;       /* or NULL */
    const char *seccomp_cache;  /* directory for compiled filters, or NULL */
    bool default_seccomp;       /* use the built-in profile; `linux.seccomp` is ignored */
    unsigned account;           /* figures wanted from `stats`: `enum cgroup_account` */
    int preserve_fds;           /* descriptors 3.. handed to the program */
    bool no_pivot;
    bool die_with_parent;  /* the program is killed when the calling process ends */
    const struct log *log; /* for what the host withholds; or NULL */
};

/* Make everything but run the program: state "created".  The caller then calls
 * `task_start`, or another process `container_open` and `task_start`.  On failure
 * nothing is left.  *ret_master is -1 without `want_master`; may be NULL. */
int container_create(const struct container_new *n, struct container **ret,
                     int *ret_master, struct err *e);

/* Take up a container that exists. -ENOENT names it. */
int container_open(const char *root, const char *id, struct container **ret,
                   struct err *e);

/* The contract; `task_close` frees the handle.  Borrowed. */
struct task *container_task(struct container *c);

pid_t container_pid(const struct container *c); /* 0: ended */

/* The network namespace of the first program; owned by the caller, or -errno. */
int container_netns(const struct container *c);

/* Likewise its user namespace. */
int container_userns(const struct container *c);

/* The OCI state object (runtime-spec, "State"); owned by the caller. */
json_t *container_state(struct container *c);

/* Change limits by an OCI `linux.resources` object. */
int container_update(struct container *c, const json_t *resources, struct err *e);

/* Processes; the caller frees *ret. */
int container_pids(struct container *c, pid_t **ret, size_t *ret_n, struct err *e);

struct container_exec {
    const json_t
        *process; /* an OCI `process`; what it lacks comes from the container's */
    int stdio[3];
    const char *console_socket; /* or NULL */
    bool want_master;
    int preserve_fds;
    const struct log *log;
};

/* Run one more program, a child of the caller. */
int container_exec(struct container *c, const struct container_exec *x, pid_t *ret_pid,
                   int *ret_master, struct err *e);

/* End it (`force`: whatever it is doing) and remove all that it has; returns when
 * processes, mounts and control groups are gone.  Frees nothing of the handle. */
int container_delete(struct container *c, bool force, struct err *e);

/* Remove what a creation that was killed before its end may have left: the state
 * directory and the control group of `cgroups_path`.  Fine when there is nothing. */
int container_sweep(const char *root, const char *id, const char *cgroups_path,
                    struct err *e);

/* The root file system of a container that does not run: a descriptor of a detached
 * mount.  `base`: host id that root of the container has; 0: not shifted. */
int container_overlay_open(const struct container_overlay *o, int64_t base,
                           struct err *e);

/* An array of state objects. */
int container_list(const char *root, json_t **ret, struct err *e);

/* Run `fn` in a process that is root of a user namespace with the mappings of
 * `config` (linux.uidMappings, linux.gidMappings), in a mount namespace of its own.
 * Its error is the error here; what it changes in memory is not seen. */
typedef int container_root_fn(void *arg, struct err *e);
int container_as_root(const json_t *config, container_root_fn *fn, void *arg,
                      struct err *e);

/* The names of the system calls that a container without a profile of its own may make,
 * by the default profile for the capabilities of `process` (an OCI `process` object;
 * NULL: the default ones), ordered: an array of {"name": ..., "always": bool}, where
 * `always` is false for calls that only some arguments open.  Owned by the caller. */
int container_default_syscalls(const json_t *process, json_t **ret, struct err *e);

/* What this runtime can do (runtime-spec, "Features"). */
json_t *container_features(void);

/* `oci COMMAND ...` as engines call it; argv[0] is ignored.  The exit code. */
int container_oci_main(int argc, char **argv);

/* Whether there is a resource limit of that name ("RLIMIT_NOFILE"). */
bool container_has_limit(const char *type);

/* Whether this host does not let the hard limit `type` ("RLIMIT_NOFILE") be raised so far:
 * without CAP_SYS_RESOURCE above our own, with it above the kernel's most (fs.nr_open).
 * Then programs get `*ret_most`.  Tried out and undone. */
bool container_limit_stays(const char *type, uint64_t hard, uint64_t *ret_most);

#endif
