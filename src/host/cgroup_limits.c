/* host/cgroup_limits.c - reading OCI `linux.resources`. */
#include "host/cgroup_limits.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "contract/task.h"
#include "host/cgroup_private.h"
#include "host/file.h"

#define WHERE_BYTES 256

/* One member that becomes a `struct cgroup_value`. */
struct number_row {
    const char *object; /* member of resources */
    const char *key;
    size_t offset;
    int64_t least, most;
};

#define AT(field) offsetof(struct cgroup_limits, field)

/* clang-format off */
static const struct number_row number_rows[] = {
    {"cpu",     "shares",            AT(cpu_shares),        0,  262144},
    {"cpu",     "quota",             AT(cpu_quota_us),      -1, INT64_MAX},
    {"cpu",     "burst",             AT(cpu_burst_us),      0,  INT64_MAX},
    {"cpu",     "period",            AT(cpu_period_us),     0,  INT64_MAX},
    {"cpu",     "realtimeRuntime",   AT(rt_runtime_us),     -1, INT64_MAX},
    {"cpu",     "realtimePeriod",    AT(rt_period_us),      0,  INT64_MAX},
    {"cpu",     "idle",              AT(cpu_idle),          0,  1},
    {"memory",  "limit",             AT(memory_bytes),      -1, INT64_MAX},
    {"memory",  "reservation",       AT(memory_low_bytes),  -1, INT64_MAX},
    {"memory",  "swap",              AT(memory_swap_bytes), -1, INT64_MAX},
    {"memory",  "kernel",            AT(kernel_bytes),      -1, INT64_MAX},
    {"memory",  "kernelTCP",         AT(kernel_tcp_bytes),  -1, INT64_MAX},
    {"memory",  "swappiness",        AT(swappiness),        0,  100},
    {"pids",    "limit",             AT(pids),              -1, INT64_MAX},
    {"blockIO", "weight",            AT(io_weight),         10, 1000},
    {"blockIO", "leafWeight",        AT(io_leaf_weight),    10, 1000},
    {"network", "classID",           AT(net_class),         0,  UINT32_MAX},
};

static const struct {
    const char *key;
    enum cgroup_io_kind kind;
} io_rows[] = {
    {"weightDevice",            CGROUP_IO_WEIGHT},
    {"throttleReadBpsDevice",   CGROUP_IO_READ_BPS},
    {"throttleWriteBpsDevice",  CGROUP_IO_WRITE_BPS},
    {"throttleReadIOPSDevice",  CGROUP_IO_READ_IOPS},
    {"throttleWriteIOPSDevice", CGROUP_IO_WRITE_IOPS},
};

/* What every container may use: config-linux.md of the OCI runtime
 * specification, "Default Devices"; and mknod, which gives no access. */
static const struct device_rule device_defaults[] = {
    {true, 'c', DEVICE_ANY, DEVICE_ANY, DEVICE_ACCESS_MKNOD},
    {true, 'b', DEVICE_ANY, DEVICE_ANY, DEVICE_ACCESS_MKNOD},
    {true, 'c', 1,   3,          DEVICE_ACCESS_ALL}, /* null */
    {true, 'c', 1,   5,          DEVICE_ACCESS_ALL}, /* zero */
    {true, 'c', 1,   7,          DEVICE_ACCESS_ALL}, /* full */
    {true, 'c', 1,   8,          DEVICE_ACCESS_ALL}, /* random */
    {true, 'c', 1,   9,          DEVICE_ACCESS_ALL}, /* urandom */
    {true, 'c', 5,   0,          DEVICE_ACCESS_ALL}, /* tty */
    {true, 'c', 5,   1,          DEVICE_ACCESS_ALL}, /* console */
    {true, 'c', 5,   2,          DEVICE_ACCESS_ALL}, /* ptmx */
    {true, 'c', 136, DEVICE_ANY, DEVICE_ACCESS_ALL}, /* pts/N: 136 to 143 */
};
/* clang-format on */

#define DEFAULTS (sizeof device_defaults / sizeof device_defaults[0])

static int put_number(const json_t *obj, const char *where, const struct number_row *row,
                      struct cgroup_limits *l, struct err *e)
{
    struct cgroup_value *v = (void *)((char *)l + row->offset);
    int64_t value = 0;
    const json_t *member = json_object_get(obj, row->key);
    int r = json_opt_i64(obj, where, row->key, &value, e);

    if (r < 0 || member == NULL || json_is_null(member)) {
        return r;
    }
    if (value < row->least || value > row->most) {
        return err_set(e, -EINVAL, "'%s.%s' is %lld, not between %lld and %lld", where,
                       row->key, (long long)value, (long long)row->least,
                       (long long)row->most);
    }
    *v = (struct cgroup_value){.set = true, .value = value};
    return 0;
}

static int add_pair(struct cgroup_pairs *p, const char *name, const char *text)
{
    struct cgroup_pair *grown = fault_realloc(p->items, (p->n + 1) * sizeof *grown);

    if (grown == NULL) {
        return -ENOMEM;
    }
    p->items = grown;
    grown[p->n] =
        (struct cgroup_pair){.name = fault_strdup(name), .text = fault_strdup(text)};
    if (grown[p->n].name == NULL || grown[p->n].text == NULL) {
        free(grown[p->n].name);
        free(grown[p->n].text);
        return -ENOMEM;
    }
    p->n++;
    return 0;
}

static int add_io(struct cgroup_limits *l, struct cgroup_io_rule rule)
{
    struct cgroup_io_rule *grown = fault_realloc(l->io, (l->n_io + 1) * sizeof *grown);

    if (grown == NULL) {
        return -ENOMEM;
    }
    l->io = grown;
    grown[l->n_io++] = rule;
    return 0;
}

/* A word that goes into a control file or its name. */
static bool is_plain(const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '/' || !isgraph((unsigned char)*p)) {
            return false;
        }
    }
    return text[0] != '\0' && text[0] != '.' && strlen(text) < NAME_MAX / 2;
}

static int parse_io_device(const json_t *item, const char *where,
                           enum cgroup_io_kind kind, struct cgroup_limits *l,
                           struct err *e)
{
    struct cgroup_io_rule rule = {.kind = kind};
    uint64_t major = UINT64_MAX;
    uint64_t minor = UINT64_MAX;
    uint64_t leaf = 0;
    int r = json_opt_u64(item, where, "major", &major, e);

    r = r == 0 ? json_opt_u64(item, where, "minor", &minor, e) : r;
    r = r == 0 ? json_opt_u64(item, where, kind == CGROUP_IO_WEIGHT ? "weight" : "rate",
                              &rule.value, e)
               : r;
    r = r == 0 ? json_opt_u64(item, where, "leafWeight", &leaf, e) : r;
    if (r == 0 && (major > UINT32_MAX || minor > UINT32_MAX)) {
        r = err_set(e, -EINVAL, "'%s' does not name a device", where);
    }
    rule.major = (unsigned)major;
    rule.minor = (unsigned)minor;
    if (r == 0 && (kind != CGROUP_IO_WEIGHT || rule.value != 0)) {
        r = add_io(l, rule);
    }
    if (r == 0 && kind == CGROUP_IO_WEIGHT && leaf != 0) {
        rule.kind = CGROUP_IO_LEAF_WEIGHT;
        rule.value = leaf;
        r = add_io(l, rule);
    }
    return r;
}

static int parse_io(const json_t *io, const char *where, struct cgroup_limits *l,
                    struct err *e)
{
    for (size_t i = 0; i < sizeof io_rows / sizeof io_rows[0]; i++) {
        json_t *list = NULL;
        json_t *item;
        size_t at;
        int r = json_opt_array(io, where, io_rows[i].key, &list, e);

        if (r < 0) {
            return r;
        }
        json_array_foreach(list, at, item)
        {
            char here[WHERE_BYTES];

            (void)str_print(here, sizeof here, "%s.%s[%zu]", where, io_rows[i].key, at);
            r = parse_io_device(item, here, io_rows[i].kind, l, e);
            if (r < 0) {
                return r;
            }
        }
    }
    return 0;
}

static int parse_hugepages(const json_t *res, const char *where, struct cgroup_limits *l,
                           struct err *e)
{
    json_t *list = NULL;
    json_t *item;
    size_t at;
    int r = json_opt_array(res, where, "hugepageLimits", &list, e);

    json_array_foreach(list, at, item)
    {
        const char *size = NULL;
        uint64_t limit = 0;
        char text[24];

        r = json_want_str(item, where, "pageSize", &size, e);
        r = r == 0 ? json_opt_u64(item, where, "limit", &limit, e) : r;
        if (r < 0) {
            return err_wrap(e, "hugepageLimits[%zu]", at);
        }
        if (!is_plain(size)) {
            return err_set(e, -EINVAL, "'%s.hugepageLimits[%zu].pageSize' is no size",
                           where, at);
        }
        (void)str_print(text, sizeof text, "%llu", (unsigned long long)limit);
        r = add_pair(&l->hugepages, size, text);
        if (r < 0) {
            return r;
        }
    }
    return r;
}

static int parse_priorities(const json_t *net, const char *where, struct cgroup_limits *l,
                            struct err *e)
{
    json_t *list = NULL;
    json_t *item;
    size_t at;
    int r = json_opt_array(net, where, "priorities", &list, e);

    json_array_foreach(list, at, item)
    {
        const char *name = NULL;
        uint64_t priority = 0;
        char text[24];

        r = json_want_str(item, where, "name", &name, e);
        r = r == 0 ? json_opt_u64(item, where, "priority", &priority, e) : r;
        if (r < 0) {
            return err_wrap(e, "priorities[%zu]", at);
        }
        if (!is_plain(name)) {
            return err_set(e, -EINVAL, "'%s.priorities[%zu].name' is no interface", where,
                           at);
        }
        (void)str_print(text, sizeof text, "%llu", (unsigned long long)priority);
        r = add_pair(&l->net_priorities, name, text);
        if (r < 0) {
            return r;
        }
    }
    return r;
}

static int parse_rdma(const json_t *rdma, const char *where, struct cgroup_limits *l,
                      struct err *e)
{
    const char *name;
    json_t *item;

    json_object_foreach((json_t *)(uintptr_t)rdma, name, item)
    {
        uint64_t handles = UINT64_MAX;
        uint64_t objects = UINT64_MAX;
        char text[80] = "";
        int r = json_opt_u64(item, where, "hcaHandles", &handles, e);

        r = r == 0 ? json_opt_u64(item, where, "hcaObjects", &objects, e) : r;
        if (r == 0 && !is_plain(name)) {
            r = err_set(e, -EINVAL, "'%s' has a device of no name", where);
        }
        if (handles != UINT64_MAX) {
            (void)str_print(text, sizeof text, " hca_handle=%llu",
                            (unsigned long long)handles);
        }
        if (objects != UINT64_MAX) {
            (void)str_print(text + strlen(text), sizeof text - strlen(text),
                            " hca_object=%llu", (unsigned long long)objects);
        }
        r = r == 0 ? add_pair(&l->rdma, name, text) : r;
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int parse_unified(const json_t *unified, const char *where,
                         struct cgroup_limits *l, struct err *e)
{
    const char *name;
    json_t *item;

    json_object_foreach((json_t *)(uintptr_t)unified, name, item)
    {
        int r;

        if (!is_plain(name) || !json_is_string(item)) {
            return err_set(e, -EINVAL, "'%s.%s' is not a control file with a text", where,
                           name);
        }
        r = add_pair(&l->unified, name, json_string_value(item));
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int parse_access(const char *text, unsigned *ret)
{
    *ret = 0;
    for (; *text != '\0'; text++) {
        unsigned bit = *text == 'r'   ? DEVICE_ACCESS_READ
                       : *text == 'w' ? DEVICE_ACCESS_WRITE
                       : *text == 'm' ? DEVICE_ACCESS_MKNOD
                                      : 0;

        if (bit == 0) {
            return -EINVAL;
        }
        *ret |= bit;
    }
    return 0;
}

static int parse_device(const json_t *item, const char *where, struct device_rule *rule,
                        struct err *e)
{
    const char *type = "a";
    const char *access = "rwm";
    int r;

    *rule = (struct device_rule){.major = DEVICE_ANY, .minor = DEVICE_ANY};
    r = json_opt_bool(item, where, "allow", &rule->allow, e);
    r = r == 0 ? json_opt_str(item, where, "type", &type, e) : r;
    r = r == 0 ? json_opt_i64(item, where, "major", &rule->major, e) : r;
    r = r == 0 ? json_opt_i64(item, where, "minor", &rule->minor, e) : r;
    r = r == 0 ? json_opt_str(item, where, "access", &access, e) : r;
    if (r < 0) {
        return r;
    }
    type = type[0] == '\0' ? "a" : type;
    rule->type = type[0] == 'u' ? 'c' : type[0]; /* u: unbuffered character device */
    if (type[1] != '\0' || strchr("abcu", type[0]) == NULL) {
        return err_set(e, -EINVAL, "'%s.type' is '%s', not a, b or c", where, type);
    }
    if (parse_access(access, &rule->access) < 0) {
        return err_set(e, -EINVAL, "'%s.access' is '%s', not of r, w and m", where,
                       access);
    }
    if (rule->major < DEVICE_ANY || rule->minor < DEVICE_ANY) {
        return err_set(e, -EINVAL, "'%s' has a negative device number", where);
    }
    return 0;
}

static int parse_devices(const json_t *res, const char *where, struct cgroup_limits *l,
                         struct err *e)
{
    json_t *list = NULL;
    json_t *item;
    size_t at;
    int r = json_opt_array(res, where, "devices", &list, e);

    if (r < 0) {
        return r;
    }
    l->devices = fault_calloc(json_array_size(list) + DEFAULTS, sizeof *l->devices);
    if (l->devices == NULL) {
        return -ENOMEM;
    }
    json_array_foreach(list, at, item)
    {
        char here[WHERE_BYTES];

        (void)str_print(here, sizeof here, "%s.devices[%zu]", where, at);
        r = parse_device(item, here, &l->devices[l->n_devices++], e);
        if (r < 0) {
            return r;
        }
    }
    memcpy(l->devices + l->n_devices, device_defaults, sizeof device_defaults);
    l->n_devices += DEFAULTS;
    l->has_devices = true;
    return 0;
}

static int parse_list(const json_t *cpu, const char *where, const char *key, char **ret,
                      struct err *e)
{
    const char *text = NULL;
    int r = json_opt_str(cpu, where, key, &text, e);

    if (r < 0 || text == NULL || text[0] == '\0') {
        return r;
    }
    if (strspn(text, "0123456789,- ") != strlen(text)) {
        return err_set(e, -EINVAL, "'%s.%s' is '%s', not a list like 0-3,5", where, key,
                       text);
    }
    *ret = fault_strdup(text);
    return *ret == NULL ? -ENOMEM : 0;
}

static int parse_numbers(const json_t *res, const char *where, struct cgroup_limits *l,
                         struct err *e)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof number_rows / sizeof number_rows[0]; i++) {
        json_t *obj = NULL;
        char here[WHERE_BYTES];

        (void)str_print(here, sizeof here, "%s.%s", where, number_rows[i].object);
        r = json_opt_object(res, where, number_rows[i].object, &obj, e);
        if (r == 0 && obj != NULL) {
            r = put_number(obj, here, &number_rows[i], l, e);
        }
    }
    /* 0 stands for "not said" in these. */
    l->cpu_shares.set = l->cpu_shares.set && l->cpu_shares.value != 0;
    l->cpu_quota_us.set = l->cpu_quota_us.set && l->cpu_quota_us.value != 0;
    l->cpu_period_us.set = l->cpu_period_us.set && l->cpu_period_us.value != 0;
    l->rt_period_us.set = l->rt_period_us.set && l->rt_period_us.value != 0;
    l->memory_bytes.set = l->memory_bytes.set && l->memory_bytes.value != 0;
    l->memory_low_bytes.set = l->memory_low_bytes.set && l->memory_low_bytes.value != 0;
    l->memory_swap_bytes.set =
        l->memory_swap_bytes.set && l->memory_swap_bytes.value != 0;
    l->pids.set = l->pids.set && l->pids.value != 0;
    return r;
}

static int parse_memory_flags(const json_t *memory, const char *where,
                              struct cgroup_limits *l, struct err *e)
{
    bool no_killer = false;
    int r = json_opt_bool(memory, where, "disableOOMKiller", &no_killer, e);

    r = r == 0 ? json_opt_bool(memory, where, "checkBeforeUpdate",
                               &l->check_before_update, e)
               : r;
    l->no_oom_killer = (struct cgroup_value){.set = no_killer, .value = no_killer};
    if (r == 0 && l->memory_bytes.value > 0 && l->memory_swap_bytes.value > 0 &&
        l->memory_swap_bytes.value < l->memory_bytes.value) {
        return err_set(e, -EINVAL,
                       "'%s.swap' (memory and swap together) is below "
                       "'%s.limit'",
                       where, where);
    }
    return r;
}

/* The objects with more than numbers in them. */
static int parse_objects(const json_t *res, const char *where, struct cgroup_limits *l,
                         struct err *e)
{
    static const char *const names[] = {"cpu",     "memory", "blockIO",
                                        "network", "rdma",   "unified"};
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof names / sizeof names[0]; i++) {
        json_t *obj = NULL;
        char here[WHERE_BYTES];

        (void)str_print(here, sizeof here, "%s.%s", where, names[i]);
        r = json_opt_object(res, where, names[i], &obj, e);
        if (r < 0 || obj == NULL) {
            continue;
        }
        switch (i) {
        case 0:
            r = parse_list(obj, here, "cpus", &l->cpus, e);
            r = r == 0 ? parse_list(obj, here, "mems", &l->mems, e) : r;
            break;
        case 1:
            r = parse_memory_flags(obj, here, l, e);
            break;
        case 2:
            r = parse_io(obj, here, l, e);
            break;
        case 3:
            r = parse_priorities(obj, here, l, e);
            break;
        case 4:
            r = parse_rdma(obj, here, l, e);
            break;
        default:
            r = parse_unified(obj, here, l, e);
        }
    }
    return r;
}

int cgroup_limits_parse(const json_t *resources, const char *where, bool with_devices,
                        struct cgroup_limits *ret, struct err *e)
{
    struct cgroup_limits l = {0};
    int r = parse_numbers(resources, where, &l, e);

    r = r == 0 ? parse_objects(resources, where, &l, e) : r;
    r = r == 0 ? parse_hugepages(resources, where, &l, e) : r;
    r = r == 0 && with_devices ? parse_devices(resources, where, &l, e) : r;
    if (r < 0) {
        cgroup_limits_fini(&l);
        return err_sys(e, r, "cannot read '%s'", where); /* keeps an earlier text */
    }
    *ret = l;
    return 0;
}

static struct cgroup_value from_task(uint64_t value)
{
    return (struct cgroup_value){
        .set = value != 0,
        .value = value > INT64_MAX ? CGROUP_NO_LIMIT : (int64_t)value,
    };
}

int cgroup_find_disk(const char *path, unsigned *ret_major, unsigned *ret_minor)
{
    SCOPED(scope_free) char *text = NULL;
    struct stat st;
    char file[96];

    if (stat(path, &st) < 0 || major(st.st_dev) == 0) {
        return -ENODEV;
    }
    *ret_major = major(st.st_dev);
    *ret_minor = minor(st.st_dev);
    (void)str_print(file, sizeof file, "/sys/dev/block/%u:%u/partition", *ret_major,
                    *ret_minor);
    if (access(file, F_OK) < 0) {
        return 0;
    }
    (void)str_print(file, sizeof file, "/sys/dev/block/%u:%u/../dev", *ret_major,
                    *ret_minor);
    return file_read(AT_FDCWD, file, 32, &text, NULL) == 0 &&
                   sscanf(text, "%u:%u", ret_major, ret_minor) == 2
               ? 0
               : -ENODEV;
}

int cgroup_limits_from_task(const struct task_limits *t, struct cgroup_limits *ret,
                            struct err *e)
{
    struct cgroup_limits l = {
        .memory_bytes = from_task(t->memory_bytes),
        .memory_swap_bytes = from_task(t->memory_bytes), /* no more with swap */
        .pids = from_task(t->pids),
        .cpu_weight = from_task(t->cpu_weight),
        .cpu_quota_us = from_task(t->cpu_millis),
    };
    const uint64_t bps[] = {t->io_read_bps, t->io_write_bps};
    int r = 0;

    if (l.cpu_weight.value == CGROUP_NO_LIMIT) {
        l.cpu_weight.value = 100; /* the usual share */
    }
    if (l.cpu_quota_us.set && l.cpu_quota_us.value > 0) {
        l.cpu_quota_us.value *= 100; /* thousandths of a period of 100 ms */
        l.cpu_period_us = (struct cgroup_value){.set = true, .value = 100000};
    }
    for (unsigned i = 0; r == 0 && i < 2; i++) {
        if (bps[i] != 0 && (t->io_major != 0 || t->io_minor != 0)) {
            struct cgroup_io_rule rule = {
                .kind = i == 0 ? CGROUP_IO_READ_BPS : CGROUP_IO_WRITE_BPS,
                .major = t->io_major,
                .minor = t->io_minor,
                .value = bps[i] == UINT64_MAX ? 0 : bps[i],
            };

            r = add_io(&l, rule);
        }
    }
    if (r < 0) {
        cgroup_limits_fini(&l);
        return err_sys(e, r, "cannot keep the limits");
    }
    *ret = l;
    return 0;
}

static void free_pairs(struct cgroup_pairs *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free(p->items[i].name);
        free(p->items[i].text);
    }
    free(p->items);
}

void cgroup_limits_fini(struct cgroup_limits *l)
{
    free(l->cpus);
    free(l->mems);
    free(l->io);
    free(l->devices);
    free_pairs(&l->hugepages);
    free_pairs(&l->net_priorities);
    free_pairs(&l->rdma);
    free_pairs(&l->unified);
    memset(l, 0, sizeof *l);
}

unsigned cgroup_limits_need(const struct cgroup_limits *l)
{
    unsigned need = 0;

#define NEED(when, ctl) need |= (when) ? CGROUP_BIT(CGROUP_CTL_##ctl) : 0
    NEED(l->cpu_shares.set || l->cpu_weight.set || l->cpu_quota_us.set, CPU);
    NEED(l->cpu_period_us.set || l->cpu_burst_us.set || l->cpu_idle.set, CPU);
    NEED(l->rt_runtime_us.set || l->rt_period_us.set, CPU);
    NEED(l->cpus != NULL || l->mems != NULL, CPUSET);
    NEED(l->memory_bytes.set || l->memory_low_bytes.set || l->swappiness.set, MEMORY);
    NEED(l->memory_swap_bytes.set || l->kernel_bytes.set, MEMORY);
    NEED(l->kernel_tcp_bytes.set || l->no_oom_killer.set, MEMORY);
    NEED(l->pids.set, PIDS);
    NEED(l->io_weight.set || l->io_leaf_weight.set || l->n_io > 0, IO);
    NEED(l->hugepages.n > 0, HUGETLB);
    NEED(l->net_class.set, NET_CLS);
    NEED(l->net_priorities.n > 0, NET_PRIO);
    NEED(l->rdma.n > 0, RDMA);
#undef NEED
    for (size_t i = 0; i < l->unified.n; i++) {
        const char *name = l->unified.items[i].name;

        for (unsigned c = 0; c < CGROUP_CTL_CORE; c++) {
            const char *ctl = cgroup_ctl_names[c].v2;
            size_t len = ctl != NULL ? strlen(ctl) : 0;

            need |= len > 0 && strncmp(name, ctl, len) == 0 && name[len] == '.'
                        ? CGROUP_BIT(c)
                        : 0;
        }
    }
    return need;
}
