/* host/cgroup_limits.h - limits of a control group, as OCI `linux.resources` has them. */
#ifndef HOST_CGROUP_LIMITS_H
#define HOST_CGROUP_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "host/device_bpf.h"

struct err;
struct task_limits;

#define CGROUP_NO_LIMIT (-1)

struct cgroup_value {
    bool set;
    int64_t value; /* CGROUP_NO_LIMIT where a limit can be lifted */
};

enum cgroup_io_kind {
    CGROUP_IO_WEIGHT,
    CGROUP_IO_LEAF_WEIGHT,
    CGROUP_IO_READ_BPS,
    CGROUP_IO_WRITE_BPS,
    CGROUP_IO_READ_IOPS,
    CGROUP_IO_WRITE_IOPS,
    CGROUP_IO_KIND_COUNT
};

struct cgroup_io_rule {
    enum cgroup_io_kind kind;
    unsigned major, minor;
    uint64_t value; /* weight 10..1000, or per second; 0 lifts a throttle */
};

struct cgroup_pair { /* network priority, huge page size, unified key */
    char *name;      /* owned */
    char *text;      /* owned; the value in the words of the control file */
};

struct cgroup_pairs {
    struct cgroup_pair *items; /* owned */
    size_t n;
};

/* A zeroed struct limits nothing. */
struct cgroup_limits {
    struct cgroup_value cpu_shares; /* 2..262144 */
    struct cgroup_value cpu_weight; /* 1..10000; wins over shares */
    struct cgroup_value cpu_quota_us;
    struct cgroup_value cpu_period_us;
    struct cgroup_value cpu_burst_us;
    struct cgroup_value cpu_idle;
    struct cgroup_value rt_runtime_us;
    struct cgroup_value rt_period_us;
    char *cpus; /* owned; "0-3,5" */
    char *mems; /* owned */

    struct cgroup_value memory_bytes;
    struct cgroup_value memory_low_bytes;  /* reservation */
    struct cgroup_value memory_swap_bytes; /* memory and swap together */
    struct cgroup_value kernel_bytes;
    struct cgroup_value kernel_tcp_bytes;
    struct cgroup_value swappiness;
    struct cgroup_value no_oom_killer; /* 0 or 1 */
    bool check_before_update;          /* refuse a limit below the present use */

    struct cgroup_value pids;
    struct cgroup_value io_weight; /* 10..1000 */
    struct cgroup_value io_leaf_weight;
    struct cgroup_io_rule *io; /* owned */
    size_t n_io;
    struct cgroup_pairs hugepages; /* "2MB" -> bytes */
    struct cgroup_value net_class;
    struct cgroup_pairs net_priorities; /* interface -> priority */
    struct cgroup_pairs rdma;           /* device -> "hca_handle=2 hca_object=9" */
    struct cgroup_pairs unified;        /* v2 file -> text */

    struct device_rule *devices; /* owned */
    size_t n_devices;
    bool has_devices; /* false: device rules stay as they are */
};

/* Read OCI `linux.resources` (NULL: none) with `where` for error texts.  When
 * `with_devices`, the device list is closed: what neither the list nor the
 * standard nodes (null, zero, full, random, urandom, tty, ptmx, pts, console)
 * and mknod name is denied, also when the list is absent. */
int cgroup_limits_parse(const json_t *resources, const char *where, bool with_devices,
                        struct cgroup_limits *ret, struct err *e);

/* The whole disk that the file system of `path` lies on, of which rates are kept;
 * -ENODEV when it lies on none, as memory and networks do. */
int cgroup_find_disk(const char *path, unsigned *ret_major, unsigned *ret_minor);

/* The same for the limits of a task. */
int cgroup_limits_from_task(const struct task_limits *t, struct cgroup_limits *ret,
                            struct err *e);

void cgroup_limits_fini(struct cgroup_limits *l);

#endif
