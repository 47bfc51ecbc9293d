/* host/cgroup_v1.c - limits in the words of the v1 control files. */
#include <errno.h>
#include <inttypes.h>

#include "base/err.h"
#include "host/cgroup_private.h"

#define ADD(ctl, flags, file, ...)                                                       \
    cgroup_plan_add(p, CGROUP_CTL_##ctl, flags, file, __VA_ARGS__)

static void add_number(struct cgroup_plan *p, enum cgroup_ctl ctl, unsigned flags,
                       const char *file, struct cgroup_value v)
{
    if (v.set) {
        cgroup_plan_add(p, ctl, flags, file, "%" PRId64, v.value);
    }
}

static void plan_cpu(struct cgroup_plan *p, const struct cgroup_limits *l)
{
    struct cgroup_value shares = l->cpu_shares;
    bool both = l->cpu_period_us.set && l->cpu_quota_us.set;

    if (l->cpu_weight.set) { /* 100 and 1024 are the usual ones */
        shares.set = true;
        shares.value = l->cpu_weight.value * 1024 / 100;
        shares.value = shares.value < 2 ? 2 : shares.value;
    }
    add_number(p, CGROUP_CTL_CPU, CGROUP_STEP_SOFT, "cpu.idle", l->cpu_idle);
    if (!l->cpu_idle.set || l->cpu_idle.value == 0) { /* an idle group has no share */
        add_number(p, CGROUP_CTL_CPU, 0, "cpu.shares", shares);
    }
    add_number(p, CGROUP_CTL_CPU, both ? CGROUP_STEP_PAIR : 0, "cpu.cfs_period_us",
               l->cpu_period_us);
    add_number(p, CGROUP_CTL_CPU, 0, "cpu.cfs_quota_us", l->cpu_quota_us);
    add_number(p, CGROUP_CTL_CPU, CGROUP_STEP_SOFT, "cpu.cfs_burst_us", l->cpu_burst_us);
    add_number(p, CGROUP_CTL_CPU, CGROUP_STEP_SOFT, "cpu.rt_period_us", l->rt_period_us);
    add_number(p, CGROUP_CTL_CPU, CGROUP_STEP_SOFT, "cpu.rt_runtime_us",
               l->rt_runtime_us);
}

static void plan_memory(struct cgroup_plan *p, const struct cgroup_limits *l)
{
    bool both = l->memory_bytes.set && l->memory_swap_bytes.set;

    add_number(p, CGROUP_CTL_MEMORY, both ? CGROUP_STEP_PAIR : 0, "memory.limit_in_bytes",
               l->memory_bytes);
    add_number(p, CGROUP_CTL_MEMORY, CGROUP_STEP_SOFT, "memory.memsw.limit_in_bytes",
               l->memory_swap_bytes);
    add_number(p, CGROUP_CTL_MEMORY, 0, "memory.soft_limit_in_bytes",
               l->memory_low_bytes);
    add_number(p, CGROUP_CTL_MEMORY, CGROUP_STEP_SOFT, "memory.kmem.limit_in_bytes",
               l->kernel_bytes);
    add_number(p, CGROUP_CTL_MEMORY, CGROUP_STEP_SOFT, "memory.kmem.tcp.limit_in_bytes",
               l->kernel_tcp_bytes);
    add_number(p, CGROUP_CTL_MEMORY, CGROUP_STEP_SOFT, "memory.swappiness",
               l->swappiness);
    add_number(p, CGROUP_CTL_MEMORY, CGROUP_STEP_SOFT, "memory.oom_control",
               l->no_oom_killer);
}

static void plan_io(struct cgroup_plan *p, const struct cgroup *cg,
                    const struct cgroup_limits *l)
{
    static const char *const files[CGROUP_IO_KIND_COUNT] = {
        "blkio.weight_device",
        "blkio.leaf_weight_device",
        "blkio.throttle.read_bps_device",
        "blkio.throttle.write_bps_device",
        "blkio.throttle.read_iops_device",
        "blkio.throttle.write_iops_device",
    };
    uint64_t seen;
    const struct cgroup_dir *d = &cg->dir[CGROUP_CTL_IO];
    bool bfq = cgroup_read_u64(d, "blkio.weight", &seen) == -ENOENT;

    add_number(p, CGROUP_CTL_IO, CGROUP_STEP_SOFT,
               bfq ? "blkio.bfq.weight" : "blkio.weight", l->io_weight);
    add_number(p, CGROUP_CTL_IO, CGROUP_STEP_SOFT, "blkio.leaf_weight",
               l->io_leaf_weight);
    for (size_t i = 0; i < l->n_io; i++) {
        const struct cgroup_io_rule *rule = &l->io[i];
        bool weight =
            rule->kind == CGROUP_IO_WEIGHT || rule->kind == CGROUP_IO_LEAF_WEIGHT;
        const char *file = rule->kind == CGROUP_IO_WEIGHT && bfq
                               ? "blkio.bfq.weight_device"
                               : files[rule->kind];

        ADD(IO, weight ? CGROUP_STEP_SOFT : 0, file, "%u:%u %" PRIu64, rule->major,
            rule->minor, rule->value);
    }
}

static void plan_pairs(struct cgroup_plan *p, const struct cgroup_limits *l,
                       enum cgroup_ctl ctl)
{
    for (size_t i = 0; ctl == CGROUP_CTL_HUGETLB && i < l->hugepages.n; i++) {
        const struct cgroup_pair *pair = &l->hugepages.items[i];
        char file[160];

        (void)str_print(file, sizeof file, "hugetlb.%s.limit_in_bytes", pair->name);
        ADD(HUGETLB, 0, file, "%s", pair->text);
        (void)str_print(file, sizeof file, "hugetlb.%s.rsvd.limit_in_bytes", pair->name);
        ADD(HUGETLB, CGROUP_STEP_SOFT, file, "%s", pair->text);
    }
    for (size_t i = 0; ctl == CGROUP_CTL_NET_PRIO && i < l->net_priorities.n; i++) {
        const struct cgroup_pair *pair = &l->net_priorities.items[i];

        ADD(NET_PRIO, 0, "net_prio.ifpriomap", "%s %s", pair->name, pair->text);
    }
    for (size_t i = 0; ctl == CGROUP_CTL_RDMA && i < l->rdma.n; i++) {
        ADD(RDMA, 0, "rdma.max", "%s%s", l->rdma.items[i].name, l->rdma.items[i].text);
    }
}

int cgroup_plan_v1(struct cgroup_plan *p, const struct cgroup *cg,
                   const struct cgroup_limits *l, enum cgroup_ctl ctl, struct err *e)
{
    uint64_t used = 0;

    switch (ctl) {
    case CGROUP_CTL_CPU:
        plan_cpu(p, l);
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
        if (l->check_before_update && l->memory_bytes.value > 0 &&
            cgroup_read_u64(&cg->dir[ctl], "memory.usage_in_bytes", &used) == 0 &&
            used > (uint64_t)l->memory_bytes.value) {
            return err_set(e, -EBUSY,
                           "cannot limit memory to %" PRId64 " bytes: %" PRIu64
                           " are in use",
                           l->memory_bytes.value, used);
        }
        plan_memory(p, l);
        break;
    case CGROUP_CTL_PIDS:
        if (l->pids.set && l->pids.value < 0) {
            ADD(PIDS, 0, "pids.max", "max");
        } else {
            add_number(p, ctl, 0, "pids.max", l->pids);
        }
        break;
    case CGROUP_CTL_IO:
        plan_io(p, cg, l);
        break;
    case CGROUP_CTL_NET_CLS:
        add_number(p, ctl, 0, "net_cls.classid", l->net_class);
        break;
    default:
        plan_pairs(p, l, ctl);
    }
    return 0;
}
