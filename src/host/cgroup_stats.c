/* host/cgroup_stats.c - what a guest used, from v2 where it is told, else from v1. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/scope.h"
#include "contract/task.h"
#include "host/cgroup_private.h"

#define STAT_BYTES  8192
#define NO_LIMIT_V1 (INT64_C(1) << 62) /* v1 writes the largest page count */
#define NS_PER_US   1000

static const struct cgroup_dir *core(const struct cgroup *cg)
{
    return &cg->dir[CGROUP_CTL_CORE];
}

static void scale(const char *text, const char *key, uint64_t factor, uint64_t *ret)
{
    uint64_t value = 0;

    if (cgroup_find_u64(text, key, &value)) {
        *ret = value * factor;
    }
}

static void fill_cpu(const struct cgroup *cg, char *text, struct task_stats *s)
{
    const struct cgroup_dir *acct = &cg->dir[CGROUP_CTL_CPUACCT];

    if (cgroup_read(core(cg), "cpu.stat", text, STAT_BYTES) == 0) {
        scale(text, "usage_usec", NS_PER_US, &s->cpu_ns);
        scale(text, "user_usec", NS_PER_US, &s->cpu_user_ns);
        scale(text, "system_usec", NS_PER_US, &s->cpu_system_ns);
        scale(text, "throttled_usec", NS_PER_US, &s->throttled_ns);
    } else {
        (void)cgroup_read_u64(acct, "cpuacct.usage", &s->cpu_ns);
        (void)cgroup_read_u64(acct, "cpuacct.usage_user", &s->cpu_user_ns);
        (void)cgroup_read_u64(acct, "cpuacct.usage_sys", &s->cpu_system_ns);
    }
    if (cgroup_read(&cg->dir[CGROUP_CTL_CPU], "cpu.stat", text, STAT_BYTES) == 0) {
        scale(text, "throttled_time", 1, &s->throttled_ns);
    }
}

/* Pages of files that the kernel can drop at once are not use. */
static void take_off_cache(char *text, const char *key, struct task_stats *s)
{
    uint64_t inactive = 0;

    scale(text, key, 1, &inactive);
    s->memory_bytes -= inactive < s->memory_bytes ? inactive : s->memory_bytes;
}

static void fill_memory(const struct cgroup *cg, char *text, struct task_stats *s)
{
    const struct cgroup_dir *v1 = &cg->dir[CGROUP_CTL_MEMORY];

    if (cgroup_read_u64(core(cg), "memory.current", &s->memory_bytes) == 0) {
        (void)cgroup_read_u64(core(cg), "memory.peak", &s->memory_peak_bytes);
        (void)cgroup_read_u64(core(cg), "memory.max", &s->memory_limit_bytes);
        if (cgroup_read(core(cg), "memory.events", text, STAT_BYTES) == 0) {
            scale(text, "oom_kill", 1, &s->oom_kills);
        }
        if (cgroup_read(core(cg), "memory.stat", text, STAT_BYTES) == 0) {
            take_off_cache(text, "inactive_file", s);
        }
        return;
    }
    if (cgroup_read_u64(v1, "memory.usage_in_bytes", &s->memory_bytes) < 0) {
        return;
    }
    (void)cgroup_read_u64(v1, "memory.max_usage_in_bytes", &s->memory_peak_bytes);
    (void)cgroup_read_u64(v1, "memory.limit_in_bytes", &s->memory_limit_bytes);
    if (s->memory_limit_bytes >= NO_LIMIT_V1) {
        s->memory_limit_bytes = UINT64_MAX;
    }
    if (cgroup_read(v1, "memory.oom_control", text, STAT_BYTES) == 0) {
        scale(text, "oom_kill", 1, &s->oom_kills);
    }
    if (cgroup_read(v1, "memory.stat", text, STAT_BYTES) == 0) {
        take_off_cache(text, "total_inactive_file", s);
    }
}

/* Without the controller, threads are counted. */
static void fill_pids(const struct cgroup *cg, struct task_stats *s)
{
    SCOPED(scope_free) pid_t *pids = NULL;
    size_t n = 0;
    size_t cap = 0;

    if (cgroup_read_u64(core(cg), "pids.current", &s->pids) == 0 ||
        cgroup_read_u64(&cg->dir[CGROUP_CTL_PIDS], "pids.current", &s->pids) == 0) {
        return;
    }
    if (core(cg)->fd >= 0 &&
        cgroup_list_pids(core(cg)->fd, "cgroup.threads", &pids, &n, &cap) == 0) {
        s->pids = n;
    }
}

/* Sum what stands behind `key` in every line: "8:0 rbytes=5 wbytes=7", and in
 * v1 "8:0 Read 5". */
static uint64_t sum(const char *text, const char *key)
{
    uint64_t total = 0;

    for (const char *at = text; (at = strstr(at, key)) != NULL;) {
        at += strlen(key);
        total += strtoull(at, NULL, 10);
    }
    return total;
}

static void fill_io(const struct cgroup *cg, char *text, struct task_stats *s)
{
    const struct cgroup_dir *v1 = &cg->dir[CGROUP_CTL_IO];

    if (cgroup_read(core(cg), "io.stat", text, STAT_BYTES) == 0) {
        s->io_read_bytes = sum(text, " rbytes=");
        s->io_write_bytes = sum(text, " wbytes=");
    } else if (cgroup_read(v1, "blkio.throttle.io_service_bytes_recursive", text,
                           STAT_BYTES) == 0) {
        s->io_read_bytes = sum(text, " Read ");
        s->io_write_bytes = sum(text, " Write ");
    }
}

int cgroup_stats(const struct cgroup *cg, struct task_stats *ret, struct err *e)
{
    char text[STAT_BYTES];
    struct task_stats s;

    (void)e;
    memset(&s, 0xff, sizeof s); /* UINT64_MAX: not told */
    fill_cpu(cg, text, &s);
    fill_memory(cg, text, &s);
    fill_pids(cg, &s);
    fill_io(cg, text, &s);
    *ret = s;
    return 0;
}

static void fill_pressure(const struct cgroup *cg, const char *file, uint64_t *some,
                          uint64_t *full)
{
    char text[512];
    const char *line;

    *some = *full = UINT64_MAX;
    if (cgroup_read(core(cg), file, text, sizeof text) < 0) {
        return;
    }
    line = strstr(text, "full ");
    *full = line != NULL ? sum(line, " total=") : UINT64_MAX;
    text[line != NULL ? (size_t)(line - text) : strlen(text)] = '\0';
    *some = sum(text, " total=");
}

int cgroup_pressure(const struct cgroup *cg, struct cgroup_pressure *ret)
{
    struct cgroup_pressure p;

    fill_pressure(cg, "cpu.pressure", &p.cpu_some_us, &p.cpu_full_us);
    fill_pressure(cg, "memory.pressure", &p.memory_some_us, &p.memory_full_us);
    fill_pressure(cg, "io.pressure", &p.io_some_us, &p.io_full_us);
    *ret = p;
    return p.cpu_some_us == UINT64_MAX ? -EOPNOTSUPP : 0;
}
