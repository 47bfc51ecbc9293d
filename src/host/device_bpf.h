/* host/device_bpf.h - which device nodes the processes of a cgroup2 leaf may use.
 *
 * Rules are those of OCI `linux.resources.devices`: applied in order onto "deny
 * everything", so the last rule that matches an access decides.  They become one
 * BPF_PROG_TYPE_CGROUP_DEVICE program. */
#ifndef HOST_DEVICE_BPF_H
#define HOST_DEVICE_BPF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bpf_insn;
struct err;

#define DEVICE_ANY (-1)

enum device_access {
    DEVICE_ACCESS_READ = 1,
    DEVICE_ACCESS_WRITE = 2,
    DEVICE_ACCESS_MKNOD = 4,
    DEVICE_ACCESS_ALL = 7
};

struct device_rule {
    bool allow;
    char type;       /* 'c', 'b', or 'a' for both */
    int64_t major;   /* DEVICE_ANY: every one */
    int64_t minor;   /* DEVICE_ANY: every one */
    unsigned access; /* of `enum device_access`; 0 matches nothing */
};

/* Compile to instructions that the caller frees; for tests and inspection. */
int device_bpf_compile(const struct device_rule *rules, size_t n, struct bpf_insn **ret,
                       size_t *ret_n);

/* Put the rules into force on the cgroup2 directory, in place of any that were
 * attached there before and without a moment in which neither holds. */
int device_bpf_attach(int cgroup_fd, const struct device_rule *rules, size_t n,
                      struct err *e);

/* Take every device program off the directory itself; ancestors keep theirs. */
int device_bpf_detach(int cgroup_fd);

/* Whether a program can be loaded here: 0, or -errno of the try. */
int device_bpf_probe(void);

#endif
