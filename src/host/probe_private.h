/* probe_private.h - the probes by their functions; the table is in probe.c. */
#ifndef HOST_PROBE_PRIVATE_H
#define HOST_PROBE_PRIVATE_H

#include <stdbool.h>

#include "host/probe.h"

/* Runs in a child that ends afterwards; `arg` is the row's. */
typedef void probe_fn(struct probe_result *r, long arg);

/* Set answer and detail. */
void probe_say(struct probe_result *r, enum probe_answer a, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* No, with the name of the errno. */
void probe_no(struct probe_result *r, const char *what);

/* A private mount namespace (in a user namespace of its own when the caller is
 * no root, or when `user`) with an empty tmpfs on /tmp and root's rights; a
 * network namespace with `net`.  0 or -errno. */
int probe_enter(bool user, bool net);

probe_fn probe_kernel, probe_cpus, probe_memory, probe_hugepages, probe_caps, probe_psi;
probe_fn probe_namespace, probe_userns, probe_subuid, probe_overlay, probe_mount_api;
probe_fn probe_idmap, probe_seccomp, probe_notify, probe_landlock;
probe_fn probe_cgroup_layout, probe_cgroup_ctl, probe_cgroup_freeze, probe_cgroup_kill;
probe_fn probe_cgroup_birth, probe_device_bpf;
probe_fn probe_nft, probe_link, probe_tun, probe_fuse, probe_loop;
probe_fn probe_kvm, probe_jit, probe_reserve, probe_binfmt, probe_dispatch;

#endif
