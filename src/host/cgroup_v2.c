/* host/cgroup_v2.c - limits in the words of the v2 control files. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "host/cgroup_private.h"

#define ADD(ctl, flags, file, ...)                                                       \
    cgroup_plan_add(p, CGROUP_CTL_##ctl, (flags) | CGROUP_STEP_V2, file, __VA_ARGS__)

static const struct cgroup_dir *leaf(const struct cgroup *cg)
{
    return &cg->dir[CGROUP_CTL_CORE];
}

static void add_limit(struct cgroup_plan *p, enum cgroup_ctl ctl, unsigned flags,
                      const char *file, struct cgroup_value v)
{
    if (v.set && v.value < 0) {
        cgroup_plan_add(p, ctl, flags | CGROUP_STEP_V2, file, "max");
    } else if (v.set) {
        cgroup_plan_add(p, ctl, flags | CGROUP_STEP_V2, file, "%" PRId64, v.value);
    }
}

/* Shares 2..262144 onto weights 1..10000, linearly: KEP-2254 of Kubernetes,
 * which is what OCI callers expect. */
static int64_t weight_of_shares(int64_t shares)
{
    shares = shares < 2 ? 2 : shares;
    return 1 + (shares - 2) * 9999 / 262142;
}

/* A quota without a period keeps the period, and the other way round. */
static void plan_cpu_max(struct cgroup_plan *p, const struct cgroup *cg,
                         const struct cgroup_limits *l)
{
    char quota[64] = "max";

    if (l->cpu_quota_us.set && l->cpu_quota_us.value > 0) {
        (void)str_print(quota, sizeof quota, "%" PRId64, l->cpu_quota_us.value);
    } else if (!l->cpu_quota_us.set &&
               cgroup_read(leaf(cg), "cpu.max", quota, sizeof quota) == 0) {
        quota[strcspn(quota, " ")] = '\0';
    }
    if (l->cpu_period_us.set) {
        ADD(CPU, 0, "cpu.max", "%s %" PRId64, quota, l->cpu_period_us.value);
    } else if (l->cpu_quota_us.set) {
        ADD(CPU, 0, "cpu.max", "%s", quota);
    }
}

static void plan_cpu(struct cgroup_plan *p, const struct cgroup *cg,
                     const struct cgroup_limits *l, struct strv *warnings)
{
    struct cgroup_value weight = l->cpu_weight;

    if (!weight.set && l->cpu_shares.set) {
        weight.set = true;
        weight.value = weight_of_shares(l->cpu_shares.value);
    }
    add_limit(p, CGROUP_CTL_CPU, CGROUP_STEP_SOFT, "cpu.idle", l->cpu_idle);
    if (!l->cpu_idle.set || l->cpu_idle.value == 0) {
        add_limit(p, CGROUP_CTL_CPU, 0, "cpu.weight", weight);
    }
    plan_cpu_max(p, cg, l);
    add_limit(p, CGROUP_CTL_CPU, CGROUP_STEP_SOFT, "cpu.max.burst", l->cpu_burst_us);
    if (l->rt_runtime_us.set || l->rt_period_us.set) {
        strv_add(warnings, "real-time processor limits do not exist in cgroup v2");
    }
}

static int plan_swap(struct cgroup_plan *p, const struct cgroup *cg,
                     const struct cgroup_limits *l, struct err *e)
{
    struct cgroup_value swap = l->memory_swap_bytes;
    uint64_t memory = l->memory_bytes.set ? (uint64_t)l->memory_bytes.value : UINT64_MAX;

    if (!swap.set) {
        return 0;
    }
    if (!l->memory_bytes.set) {
        (void)cgroup_read_u64(leaf(cg), "memory.max", &memory);
    }
    if (swap.value > 0) {
        if (memory > (uint64_t)swap.value) {
            return err_set(e, -EINVAL,
                           "cannot limit memory and swap to %" PRId64
                           " bytes together: the memory limit is higher",
                           swap.value);
        }
        swap.value -= (int64_t)memory;
    }
    add_limit(p, CGROUP_CTL_MEMORY, CGROUP_STEP_SOFT, "memory.swap.max", swap);
    return 0;
}

static int plan_memory(struct cgroup_plan *p, const struct cgroup *cg,
                       const struct cgroup_limits *l, struct strv *warnings,
                       struct err *e)
{
    uint64_t used = 0;
    int r;

    if (l->check_before_update && l->memory_bytes.value > 0 &&
        cgroup_read_u64(leaf(cg), "memory.current", &used) == 0 &&
        used > (uint64_t)l->memory_bytes.value) {
        return err_set(e, -EBUSY,
                       "cannot limit memory to %" PRId64 " bytes: %" PRIu64 " are in use",
                       l->memory_bytes.value, used);
    }
    r = plan_swap(p, cg, l, e);
    add_limit(p, CGROUP_CTL_MEMORY, 0, "memory.max", l->memory_bytes);
    add_limit(p, CGROUP_CTL_MEMORY, 0, "memory.low", l->memory_low_bytes);
    if (l->swappiness.set || l->no_oom_killer.set || l->kernel_bytes.set ||
        l->kernel_tcp_bytes.set) {
        strv_add(warnings, "swappiness, disableOOMKiller and kernel memory limits do not "
                           "exist in cgroup v2");
    }
    return r;
}

/* Weights 10..1000 of v1 onto 1..10000; BFQ keeps 1..1000. */
static void plan_io_weight(struct cgroup_plan *p, const struct cgroup *cg,
                           const char *device, uint64_t weight)
{
    char text[64];
    bool bfq = cgroup_read(leaf(cg), "io.bfq.weight", text, sizeof text) == 0;

    if (bfq) {
        ADD(IO, CGROUP_STEP_SOFT, "io.bfq.weight", "%s%" PRIu64, device, weight);
    } else {
        ADD(IO, CGROUP_STEP_SOFT, "io.weight", "%s%" PRIu64, device,
            weight < 10 ? 1 : 1 + (weight - 10) * 9999 / 990);
    }
}

static void plan_io(struct cgroup_plan *p, const struct cgroup *cg,
                    const struct cgroup_limits *l, struct strv *warnings)
{
    static const char *const keys[CGROUP_IO_KIND_COUNT] = {NULL,   NULL,    "rbps",
                                                           "wbps", "riops", "wiops"};
    bool leaf_weight = l->io_leaf_weight.set;

    if (l->io_weight.set) {
        plan_io_weight(p, cg, "", (uint64_t)l->io_weight.value);
    }
    for (size_t i = 0; i < l->n_io; i++) {
        const struct cgroup_io_rule *rule = &l->io[i];
        char device[32];

        (void)str_print(device, sizeof device, "%u:%u ", rule->major, rule->minor);
        if (rule->kind == CGROUP_IO_WEIGHT) {
            plan_io_weight(p, cg, device, rule->value);
        } else if (rule->kind == CGROUP_IO_LEAF_WEIGHT) {
            leaf_weight = true;
        } else if (rule->value == 0) {
            ADD(IO, 0, "io.max", "%s%s=max", device, keys[rule->kind]);
        } else {
            ADD(IO, 0, "io.max", "%s%s=%" PRIu64, device, keys[rule->kind], rule->value);
        }
    }
    if (leaf_weight) {
        strv_add(warnings, "leaf weights of block I/O do not exist in cgroup v2");
    }
}

static void plan_hugetlb(struct cgroup_plan *p, const struct cgroup_limits *l)
{
    for (size_t i = 0; i < l->hugepages.n; i++) {
        const struct cgroup_pair *pair = &l->hugepages.items[i];
        char file[160];

        (void)str_print(file, sizeof file, "hugetlb.%s.max", pair->name);
        ADD(HUGETLB, 0, file, "%s", pair->text);
        (void)str_print(file, sizeof file, "hugetlb.%s.rsvd.max", pair->name);
        ADD(HUGETLB, CGROUP_STEP_SOFT, file, "%s", pair->text);
    }
}

int cgroup_plan_v2(struct cgroup_plan *p, const struct cgroup *cg,
                   const struct cgroup_limits *l, enum cgroup_ctl ctl,
                   struct strv *warnings, struct err *e)
{
    switch (ctl) {
    case CGROUP_CTL_CPU:
        plan_cpu(p, cg, l, warnings);
        break;
    case CGROUP_CTL_CPUSET:
        if (l->cpus != NULL) {
            ADD(CPUSET, 0, "cpuset.cpus", "%s", l->cpus);
        }
        if (l->mems != NULL) {
            ADD(CPUSET, 0, "cpuset.mems", "%s", l->mems);
        }
        break;
    case CGROUP_CTL_MEMORY:
        return plan_memory(p, cg, l, warnings, e);
    case CGROUP_CTL_PIDS:
        add_limit(p, ctl, 0, "pids.max", l->pids);
        break;
    case CGROUP_CTL_IO:
        plan_io(p, cg, l, warnings);
        break;
    case CGROUP_CTL_HUGETLB:
        plan_hugetlb(p, l);
        break;
    case CGROUP_CTL_RDMA:
        for (size_t i = 0; i < l->rdma.n; i++) {
            ADD(RDMA, 0, "rdma.max", "%s%s", l->rdma.items[i].name,
                l->rdma.items[i].text);
        }
        break;
    default:
        break;
    }
    return 0;
}
