/* schedule.c - when and where the program may run: policy, I/O priority, processors,
 * memory nodes, personality. */
#include <errno.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "virt/container/setup.h"

/* sched_setattr(2); <linux/sched/types.h> cannot be included beside <sched.h>. */
struct sched_attr {
    uint32_t size;
    uint32_t sched_policy;
    uint64_t sched_flags;
    int32_t sched_nice;
    uint32_t sched_priority;
    uint64_t sched_runtime;
    uint64_t sched_deadline;
    uint64_t sched_period;
};

static int word_index(const char *word, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i] != NULL && strcmp(list[i], word) == 0) {
            return (int)i;
        }
    }
    return -1;
}

/* clang-format off */
static const char *const policies[] = { /* by number, linux/sched.h */
    "SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE",
    "SCHED_DEADLINE",
};

static const char *const sched_flags[] = { /* by bit, linux/sched.h */
    "SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX",
};

static const char *const io_classes[] = { /* by number, linux/ioprio.h */
    NULL, "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE",
};

/* clang-format on */

/* -1: one of them is unknown. */
static int64_t flags_of(const json_t *process)
{
    int64_t flags = 0;
    size_t i;
    json_t *item;

    json_array_foreach(config_get(process, "scheduler.flags"), i, item)
    {
        int bit = word_index(json_string_value(item), sched_flags,
                             sizeof sched_flags / sizeof *sched_flags);

        if (bit < 0) {
            return -1;
        }
        flags |= 1LL << bit;
    }
    return flags;
}

int schedule_check(const json_t *process, const char *where, struct err *e)
{
    const char *policy = config_text(process, "scheduler.policy", NULL);
    const char *class = config_text(process, "ioPriority.class", NULL);

    if (policy != NULL && word_index(policy, policies, 7) < 0) {
        return err_set(e, -EINVAL, "'%s.scheduler.policy' is unknown: '%s'", where,
                       policy);
    }
    if (flags_of(process) < 0) {
        return err_set(e, -EINVAL, "'%s.scheduler.flags' has an unknown flag", where);
    }
    if (class != NULL && word_index(class, io_classes, 4) < 0) {
        return err_set(e, -EINVAL, "'%s.ioPriority.class' is unknown: '%s'", where,
                       class);
    }
    return 0;
}

static int set_scheduler(struct setup *s, struct err *e)
{
    const char *policy = config_text(s->process, "scheduler.policy", NULL);
    const char *io = config_text(s->process, "ioPriority.class", NULL);

    if (policy != NULL) {
        int index = word_index(policy, policies, 7);
        struct sched_attr a = {
            .size = sizeof a,
            .sched_policy = (uint32_t)index,
            .sched_flags = (uint64_t)flags_of(s->process),
            .sched_nice = (int32_t)config_number(s->process, "scheduler.nice", 0),
            .sched_priority =
                (uint32_t)config_number(s->process, "scheduler.priority", 0),
            .sched_runtime = (uint64_t)config_number(s->process, "scheduler.runtime", 0),
            .sched_deadline =
                (uint64_t)config_number(s->process, "scheduler.deadline", 0),
            .sched_period = (uint64_t)config_number(s->process, "scheduler.period", 0)};

        if (index < 0) {
            return err_set(e, -EINVAL, "'%s' is not a scheduler policy", policy);
        }
        if (syscall(SYS_sched_setattr, 0, &a, 0U) < 0) {
            return err_sys(e, -errno, "cannot use the scheduler policy %s", policy);
        }
    }
    if (io != NULL) {
        int class = word_index(io, io_classes, 4);
        int64_t level = config_number(s->process, "ioPriority.priority", 0);

        if (class < 0 || level > 7) {
            return err_set(e, -EINVAL, "'%s' %lld is not an I/O priority", io,
                           (long long)level);
        }
        if (syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
                    IOPRIO_PRIO_VALUE(class, (int)level)) < 0) {
            return err_sys(e, -errno, "cannot set the I/O priority");
        }
    }
    return 0;
}

/* "0-3,5" */
static int parse_cpus(const char *text, cpu_set_t *set)
{
    CPU_ZERO(set);
    while (*text != '\0') {
        char *end;
        long first = strtol(text, &end, 10);
        long last = first;

        if (end == text || first < 0) {
            return -EINVAL;
        }
        if (*end == '-') {
            text = end + 1;
            last = strtol(text, &end, 10);
            if (end == text) {
                return -EINVAL;
            }
        }
        for (long i = first; i <= last && i < CPU_SETSIZE; i++) {
            CPU_SET((size_t)i, set);
        }
        text = *end == ',' ? end + 1 : end;
        if (*end != ',' && *end != '\0') {
            return -EINVAL;
        }
    }
    return 0;
}

static int set_affinity(struct setup *s, struct err *e)
{
    const char *final = config_text(s->process, "execCPUAffinity.final", NULL);
    cpu_set_t set;

    if (!s->is_exec || final == NULL) {
        return 0;
    }
    if (parse_cpus(final, &set) < 0) {
        return err_set(e, -EINVAL, "'%s' is not a list of processors", final);
    }
    return sched_setaffinity(0, sizeof set, &set) < 0
               ? err_sys(e, -errno, "cannot run on processors '%s'", final)
               : 0;
}

static int set_personality(struct setup *s, struct err *e)
{
    const char *domain = config_text(s->config, "linux.personality.domain", NULL);

    if (domain == NULL) {
        return 0;
    }
    if (strcmp(domain, "LINUX") != 0 && strcmp(domain, "LINUX32") != 0) {
        return err_set(e, -EINVAL, "'%s' is not a personality", domain);
    }
    return personality(strcmp(domain, "LINUX32") == 0 ? PER_LINUX32 : PER_LINUX) < 0
               ? err_sys(e, -errno, "cannot set the personality")
               : 0;
}

/* clang-format off */
static const char *const memory_modes[] = { /* by number, linux/mempolicy.h */
    "MPOL_DEFAULT", "MPOL_PREFERRED", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_LOCAL",
    "MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE",
};

static const struct {
    const char *name;
    int flag;
} memory_flags[] = { /* linux/mempolicy.h */
    {"MPOL_F_STATIC_NODES",   1 << 15},
    {"MPOL_F_RELATIVE_NODES", 1 << 14},
    {"MPOL_F_NUMA_BALANCING", 1 << 13},
};

/* clang-format on */

const char *schedule_memory_mode(size_t i)
{
    return i < sizeof memory_modes / sizeof *memory_modes ? memory_modes[i] : NULL;
}

const char *schedule_memory_flag(size_t i)
{
    return i < sizeof memory_flags / sizeof *memory_flags ? memory_flags[i].name : NULL;
}

static int memory_flag(const char *name)
{
    for (size_t i = 0; i < sizeof memory_flags / sizeof memory_flags[0]; i++) {
        if (strcmp(memory_flags[i].name, name) == 0) {
            return memory_flags[i].flag;
        }
    }
    return 0;
}

/* Which memory nodes new pages come from: set_mempolicy(2). */
static int set_memory(struct setup *s, struct err *e)
{
    const json_t *policy = config_get(s->config, "linux.memoryPolicy");
    const char *mode = config_text(policy, "mode", "");
    const char *nodes = config_text(policy, "nodes", "");
    unsigned long mask[CPU_SETSIZE / (8 * sizeof(unsigned long))];
    int number =
        word_index(mode, memory_modes, sizeof memory_modes / sizeof *memory_modes);
    int flags = 0;
    cpu_set_t set;
    size_t i;
    json_t *item;

    if (policy == NULL || s->is_exec) {
        return 0;
    }
    if (number < 0 || parse_cpus(nodes, &set) < 0) {
        return err_set(e, -EINVAL,
                       "'linux.memoryPolicy' is no policy: '%s' of nodes '%s'", mode,
                       nodes);
    }
    json_array_foreach(config_get(policy, "flags"), i, item)
    {
        int flag = memory_flag(json_string_value(item));

        if (flag == 0) {
            return err_set(e, -EINVAL, "'linux.memoryPolicy.flags[%zu]' is unknown", i);
        }
        flags |= flag;
    }
    memcpy(mask, &set, sizeof mask);
    if (syscall(SYS_set_mempolicy, number | flags, nodes[0] != '\0' ? mask : NULL,
                nodes[0] != '\0' ? (unsigned long)CPU_SETSIZE : 0UL) < 0) {
        return err_sys(e, -errno, "cannot use the memory policy %s", mode);
    }
    return 0;
}

int process_schedule(struct setup *s, struct err *e)
{
    int r = set_scheduler(s, e);

    r = r == 0 ? set_affinity(s, e) : r;
    r = r == 0 ? set_memory(s, e) : r;
    return r == 0 ? set_personality(s, e) : r;
}
