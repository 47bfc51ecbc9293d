/* host/device_bpf.c - device rules as one BPF program per cgroup2 directory.
 *
 * The kernel runs the program for each open and mknod of a device node with the
 * kind of node, its numbers and the set of accesses asked for; 1 permits, 0
 * denies.  OCI rules are applied in order, so for each single access the last
 * rule that matches decides.  The program walks the rules backwards and keeps
 * the accesses that are still undecided in R3: a matching rule that denies one
 * of them ends with 0, one that allows takes its accesses out of R3 and ends
 * with 1 when none is left.  What no rule decides is denied.
 *
 * A rule that decides everything makes the ones before it unreachable, which the
 * verifier refuses to load, so the walk stops there.
 *
 * Layout of the context: <linux/bpf.h>, struct bpf_cgroup_dev_ctx. */
#include "host/device_bpf.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"

#define INSNS_PER_RULE 10
#define INSNS_AROUND   8
#define RULES_MOST     4096
#define PROGS_MOST     64 /* BPF_CGROUP_MAX_PROGS of the kernel */

struct code {
    struct bpf_insn *insns;
    size_t n;
};

static void put(struct code *c, uint8_t op, uint8_t dst, uint8_t src, int16_t off,
                int32_t imm)
{
    c->insns[c->n++] = (struct bpf_insn){
        .code = op, .dst_reg = dst & 15, .src_reg = src & 15, .off = off, .imm = imm};
}

static void put_return(struct code *c, int answer)
{
    put(c, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, answer);
    put(c, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* R2 kind of node, R3 undecided accesses, R4 major, R5 minor. */
static void put_start(struct code *c)
{
    put(c, BPF_LDX | BPF_W | BPF_MEM, BPF_REG_2, BPF_REG_1, 0, 0);
    put(c, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_2, 0, 0);
    put(c, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff);
    put(c, BPF_ALU64 | BPF_RSH | BPF_K, BPF_REG_3, 0, 0, 16);
    put(c, BPF_LDX | BPF_W | BPF_MEM, BPF_REG_4, BPF_REG_1, 4, 0);
    put(c, BPF_LDX | BPF_W | BPF_MEM, BPF_REG_5, BPF_REG_1, 8, 0);
}

static int32_t kernel_access(unsigned access)
{
    return ((access & DEVICE_ACCESS_MKNOD) != 0 ? BPF_DEVCG_ACC_MKNOD : 0) |
           ((access & DEVICE_ACCESS_READ) != 0 ? BPF_DEVCG_ACC_READ : 0) |
           ((access & DEVICE_ACCESS_WRITE) != 0 ? BPF_DEVCG_ACC_WRITE : 0);
}

/* Whether the rule decides every access to every node. */
static bool decides_all(const struct device_rule *r)
{
    return r->type == 'a' && r->major == DEVICE_ANY && r->minor == DEVICE_ANY &&
           r->access == DEVICE_ACCESS_ALL;
}

static void put_decision(struct code *c, const struct device_rule *r)
{
    int32_t bits = kernel_access(r->access);

    if (!r->allow && r->access != DEVICE_ACCESS_ALL) {
        put(c, BPF_JMP | BPF_JSET | BPF_K, BPF_REG_3, 0, 1, bits);
        put(c, BPF_JMP | BPF_JA, 0, 0, 2, 0);
    }
    if (r->allow && r->access != DEVICE_ACCESS_ALL) {
        put(c, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_3, 0, 0, ~bits);
        put(c, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_3, 0, 2, 0);
    }
    put_return(c, r->allow);
}

static void put_rule(struct code *c, const struct device_rule *r)
{
    size_t first = c->n;
    size_t tests;

    if (r->type != 'a') {
        put(c, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_2, 0, 0,
            r->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
    }
    if (r->major != DEVICE_ANY) {
        put(c, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_4, 0, 0, (int32_t)r->major);
    }
    if (r->minor != DEVICE_ANY) {
        put(c, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_5, 0, 0, (int32_t)r->minor);
    }
    tests = c->n;
    put_decision(c, r);
    for (size_t i = first; i < tests; i++) {
        c->insns[i].off = (int16_t)(c->n - i - 1); /* no match: the next rule */
    }
}

/* Numbers beyond what a node can have match nothing. */
static bool can_match(const struct device_rule *r)
{
    return r->access != 0 && r->major <= INT32_MAX && r->minor <= INT32_MAX;
}

int device_bpf_compile(const struct device_rule *rules, size_t n, struct bpf_insn **ret,
                       size_t *ret_n)
{
    struct code c = {0};
    bool ended = false;

    if (n > RULES_MOST) {
        return -E2BIG;
    }
    c.insns = fault_calloc(n * INSNS_PER_RULE + INSNS_AROUND, sizeof *c.insns);
    if (c.insns == NULL) {
        return -ENOMEM;
    }
    put_start(&c);
    for (size_t i = n; i > 0 && !ended; i--) {
        const struct device_rule *r = &rules[i - 1];

        if (decides_all(r)) {
            put_return(&c, r->allow);
            ended = true;
        } else if (can_match(r)) {
            put_rule(&c, r);
        }
    }
    if (!ended) {
        put_return(&c, 0);
    }
    *ret = c.insns;
    *ret_n = c.n;
    return 0;
}

static int call_bpf(int cmd, union bpf_attr *attr)
{
    long r = syscall(SYS_bpf, cmd, attr, sizeof *attr);

    return r < 0 ? -errno : (int)r;
}

static int load(const struct bpf_insn *insns, size_t n)
{
    union bpf_attr attr;

    memset(&attr, 0, sizeof attr);
    attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    attr.insns = (uintptr_t)insns;
    attr.insn_cnt = (uint32_t)n;
    attr.license = (uintptr_t) "Apache-2.0";
    memcpy(attr.prog_name, "devices", sizeof "devices");
    return call_bpf(BPF_PROG_LOAD, &attr);
}

/* The identities of the programs on the directory itself; their number. */
static int query(int cgroup_fd, uint32_t ids[PROGS_MOST])
{
    union bpf_attr attr;
    int r;

    memset(&attr, 0, sizeof attr);
    attr.query.target_fd = (uint32_t)cgroup_fd;
    attr.query.attach_type = BPF_CGROUP_DEVICE;
    attr.query.prog_ids = (uintptr_t)ids;
    attr.query.prog_cnt = PROGS_MOST;
    r = call_bpf(BPF_PROG_QUERY, &attr);
    return r < 0 ? r : (int)attr.query.prog_cnt;
}

static int open_id(uint32_t id)
{
    union bpf_attr attr;

    memset(&attr, 0, sizeof attr);
    attr.prog_id = id;
    return call_bpf(BPF_PROG_GET_FD_BY_ID, &attr);
}

static int attach(int cgroup_fd, int prog, int old)
{
    union bpf_attr attr;

    memset(&attr, 0, sizeof attr);
    attr.target_fd = (uint32_t)cgroup_fd;
    attr.attach_bpf_fd = (uint32_t)prog;
    attr.attach_type = BPF_CGROUP_DEVICE;
    attr.attach_flags = BPF_F_ALLOW_MULTI;
    if (old >= 0) {
        attr.attach_flags |= BPF_F_REPLACE;
        attr.replace_bpf_fd = (uint32_t)old;
    }
    return call_bpf(BPF_PROG_ATTACH, &attr);
}

static int detach_id(int cgroup_fd, uint32_t id)
{
    SCOPED(scope_close) int prog = open_id(id);
    union bpf_attr attr;

    if (prog < 0) {
        return prog == -ENOENT ? 0 : prog;
    }
    memset(&attr, 0, sizeof attr);
    attr.target_fd = (uint32_t)cgroup_fd;
    attr.attach_bpf_fd = (uint32_t)prog;
    attr.attach_type = BPF_CGROUP_DEVICE;
    return call_bpf(BPF_PROG_DETACH, &attr);
}

/* One program is replaced in place; should there be several, the new one joins
 * them first (all must permit) and the others leave then. */
static int replace(int cgroup_fd, int prog)
{
    uint32_t ids[PROGS_MOST] = {0};
    int n = query(cgroup_fd, ids);
    SCOPED(scope_close) int old = n == 1 ? open_id(ids[0]) : -1;
    int r = attach(cgroup_fd, prog, old);

    for (int i = 0; r == 0 && old < 0 && i < n; i++) {
        r = detach_id(cgroup_fd, ids[i]);
    }
    return r;
}

int device_bpf_attach(int cgroup_fd, const struct device_rule *rules, size_t n,
                      struct err *e)
{
    SCOPED(scope_free) struct bpf_insn *insns = NULL;
    SCOPED(scope_close) int prog = -1;
    size_t n_insns = 0;
    int r = device_bpf_compile(rules, n, &insns, &n_insns);

    if (r < 0) {
        return err_sys(e, r, "cannot compile %zu device rules", n);
    }
    prog = load(insns, n_insns);
    if (prog < 0) {
        return err_sys(e, prog, "cannot load the device rules into the kernel");
    }
    r = replace(cgroup_fd, prog);
    return r < 0 ? err_sys(e, r, "cannot attach the device rules") : 0;
}

int device_bpf_detach(int cgroup_fd)
{
    uint32_t ids[PROGS_MOST] = {0};
    int n = query(cgroup_fd, ids);

    for (int i = 0; i < n; i++) {
        int r = detach_id(cgroup_fd, ids[i]);

        if (r < 0) {
            return r;
        }
    }
    return n < 0 ? n : 0;
}

int device_bpf_probe(void)
{
    struct code c = {.insns = (struct bpf_insn[2]){{0}}};
    SCOPED(scope_close) int prog = -1;

    put_return(&c, 1);
    prog = load(c.insns, c.n);
    return prog < 0 ? prog : 0;
}
