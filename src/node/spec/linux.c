/* node/spec/linux.c - namespaces, limits, devices, hidden paths and the system-call filter. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/cgroup_limits.h"
#include "host/file.h"
#include "node/id/subid.h"
#include "node/spec/private.h"

#define PERIOD_US 100000 /* of the processor limit; the kernel's usual value */

static json_t *namespaces(const struct plan *p)
{
    static const char *const always[] = {"pid", "ipc", "uts", "mount", "cgroup"};
    json_t *list = json_array();

    for (size_t i = 0; i < COUNT(always); i++) {
        (void)json_array_append_new(list, json_pack("{s:s}", "type", always[i]));
    }
    if (strcmp(spec_text(p->config, "network", ""), "host") != 0) {
        (void)json_array_append_new(list, json_pack("{s:s}", "type", "network"));
    }
    if (p->shifted) {
        (void)json_array_append_new(list, json_pack("{s:s}", "type", "user"));
    }
    return list;
}

static void set_uint(json_t *obj, const char *key, const json_t *config, const char *from)
{
    json_t *v = json_object_get(config, from);

    if (json_is_integer(v) && json_integer_value(v) > 0) {
        (void)json_object_set(obj, key, v);
    }
}

static json_t *io_limits(const struct plan *p)
{
    static const struct {
        const char *option, *member;
    } rows[] = {{"io_read", "throttleReadBpsDevice"},
                {"io_write", "throttleWriteBpsDevice"}};

    json_t *io = json_object();
    unsigned major = 0;
    unsigned minor = 0;
    int r = cgroup_find_disk(p->n->state, &major, &minor);

    for (size_t i = 0; i < COUNT(rows); i++) {
        json_t *rate = json_object_get(p->config, rows[i].option);

        if (rate != NULL && r == 0) {
            (void)json_object_set_new(io, rows[i].member,
                                      json_pack("[{s:i, s:i, s:O}]", "major", (int)major,
                                                "minor", (int)minor, "rate", rate));
        } else if (rate != NULL) {
            log_warn(p->n->log,
                     "guest '%s' runs without rates of its disk: '%s' lies on no disk",
                     guest_text(p->g, "name"), p->n->state);
            break;
        }
    }
    return io;
}

/* Shares of cgroup v1 (2..262144, 1024 usual) for a weight (1..10000, 100 usual). */
static json_int_t shares_of_weight(json_int_t weight)
{
    json_int_t shares = weight * 1024 / 100;

    return shares < 2 ? 2 : shares > 262144 ? 262144 : shares;
}

static json_t *resources(const struct plan *p)
{
    json_t *res = json_object();
    json_t *cpu = json_object();
    json_t *memory = json_object();
    json_t *pids = json_object();
    json_t *cpus = json_object_get(p->config, "cpus");
    json_t *weight = json_object_get(p->config, "cpu_weight");

    if (json_is_integer(cpus)) {
        (void)json_object_set_new(
            cpu, "quota", json_integer(json_integer_value(cpus) * PERIOD_US / 1000));
        (void)json_object_set_new(cpu, "period", json_integer(PERIOD_US));
    }
    if (json_is_integer(weight)) {
        (void)json_object_set_new(
            cpu, "shares", json_integer(shares_of_weight(json_integer_value(weight))));
    }
    set_uint(memory, "limit", p->config, "memory");
    set_uint(memory, "swap", p->config, "memory");
    set_uint(pids, "limit", p->config, "pids");
    (void)json_object_set_new(res, "cpu", cpu);
    (void)json_object_set_new(res, "memory", memory);
    if (json_object_size(pids) != 0) {
        (void)json_object_set_new(res, "pids", pids);
    } else {
        json_decref(pids);
    }
    (void)json_object_set_new(res, "blockIO", io_limits(p));
    return res;
}

int spec_read_device(const char *text, struct spec_device *d, struct err *e)
{
    int n;

    (void)str_print(d->access, sizeof d->access, "rwm");
    n = sscanf(text, "%4095[^:]:%4095[^:]:%3[rwm]", d->host, d->guest, d->access);
    if (n == 1) {
        (void)str_print(d->guest, sizeof d->guest, "%s", d->host);
    }
    return n >= 1 && d->guest[0] == '/'
               ? 0
               : err_set(e, -EINVAL,
                         "cannot use --device '%s': want DEVICE[:/PATH[:rwm]]", text);
}

/* A device keeps the owner that it has on the host: of root's guests no user is that one, of
 * a user's guest its root is that user. */
static void warn_of_owner(const struct plan *p, const char *device, const struct stat *st)
{
    bool all = (st->st_mode & (S_IROTH | S_IWOTH)) == (S_IROTH | S_IWOTH);
    bool opens = p->n->rootless ? access(device, R_OK | W_OK) == 0 : !p->shifted || all;

    if (!opens) {
        log_warn(p->n->log,
                 "guest '%s' may not open device '%s': it is for some users of the host "
                 "alone%s",
                 guest_text(p->g, "name"), device,
                 p->n->rootless ? "" : ", and the guest's are others (--userns host)");
    }
}

static int add_device(const struct plan *p, json_t *linux_part, const char *text,
                      struct err *e)
{
    json_t *devices = json_object_get(linux_part, "devices");
    json_t *rules = json_object_get(json_object_get(linux_part, "resources"), "devices");
    struct spec_device d;
    struct stat st;
    int r = spec_read_device(text, &d, e);

    if (r < 0) {
        return r;
    }
    if (stat(d.host, &st) < 0) {
        return err_sys(e, -errno, "cannot use device '%s'", d.host);
    }
    if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode)) {
        return err_set(e, -ENODEV, "cannot use device '%s': it is not one", d.host);
    }
    warn_of_owner(p, d.host, &st);
    (void)json_array_append_new(
        devices, json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:i}", "path", d.guest, "type",
                           S_ISCHR(st.st_mode) ? "c" : "b", "major",
                           (int)major(st.st_rdev), "minor", (int)minor(st.st_rdev),
                           "fileMode", (int)(st.st_mode & 0777), "uid", 0, "gid", 0));
    (void)json_array_append_new(
        rules, json_pack("{s:b, s:s, s:i, s:i, s:s}", "allow", 1, "type",
                         S_ISCHR(st.st_mode) ? "c" : "b", "major", (int)major(st.st_rdev),
                         "minor", (int)minor(st.st_rdev), "access", d.access));
    return 0;
}

static int build_devices(const struct plan *p, json_t *linux_part, struct err *e)
{
    bool all = spec_flag(p->config, "privileged");
    json_t *rules = json_array();
    size_t i;
    json_t *item;

    (void)json_object_set_new(json_object_get(linux_part, "resources"), "devices", rules);
    (void)json_object_set_new(linux_part, "devices", json_array());
    (void)json_array_append_new(
        rules, json_pack("{s:b, s:s}", "allow", all ? 1 : 0, "access", "rwm"));
    json_array_foreach(json_object_get(p->config, "device"), i, item)
    {
        int r = add_device(p, linux_part, json_string_value(item), e);

        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static void add_paths(json_t *linux_part)
{
    static const char *const masked[] = {
        "/proc/acpi",        "/proc/asound",
        "/proc/interrupts",  "/proc/kcore",
        "/proc/keys",        "/proc/latency_stats",
        "/proc/timer_list",  "/proc/timer_stats",
        "/proc/sched_debug", "/proc/scsi",
        "/sys/firmware",     "/sys/devices/virtual/powercap",
        "/sys/class/dmi",    "/sys/devices/virtual/dmi"};
    static const char *const read_only[] = {"/proc/bus", "/proc/fs", "/proc/irq",
                                            "/proc/sys", "/proc/sysrq-trigger"};
    json_t *m = json_array();
    json_t *r = json_array();

    for (size_t i = 0; i < COUNT(masked); i++) {
        spec_add_text(m, masked[i]);
    }
    for (size_t i = 0; i < COUNT(read_only); i++) {
        spec_add_text(r, read_only[i]);
    }
    (void)json_object_set_new(linux_part, "maskedPaths", m);
    (void)json_object_set_new(linux_part, "readonlyPaths", r);
}

static int add_sysctls(const struct plan *p, json_t *linux_part, struct err *e)
{
    json_t *obj = json_object();
    size_t i;
    json_t *item;

    (void)json_object_set_new(linux_part, "sysctl", obj);
    json_array_foreach(json_object_get(p->config, "sysctl"), i, item)
    {
        const char *pair = json_string_value(item);
        const char *equals = strchr(pair, '=');
        char key[256];

        if (str_print(key, sizeof key, "%.*s", (int)(equals - pair), pair) < 0) {
            return err_set(e, -EINVAL, "cannot use --sysctl '%s': too long", pair);
        }
        (void)json_object_set_new(obj, key, json_string(equals + 1));
    }
    return 0;
}

int spec_build_linux(const struct plan *p, struct err *e)
{
    json_t *part = json_object();
    char path[64];
    int r;

    (void)json_object_set_new(p->oci, "linux", part);
    (void)json_object_set_new(part, "namespaces", namespaces(p));
    (void)json_object_set_new(part, "resources", resources(p));
    if (p->shifted && p->base >= 0) {
        json_t *map = json_pack("[{s:i, s:I, s:i}]", "containerID", 0, "hostID",
                                (json_int_t)p->base, "size", 65536);

        (void)json_object_set(part, "uidMappings", map);
        (void)json_object_set_new(part, "gidMappings", map);
    }
    if (p->n->rootless) {
        (void)json_object_set_new(part, "uidMappings", subid_map(false));
        (void)json_object_set_new(part, "gidMappings", subid_map(true));
    }
    if (!p->n->rootless) {
        (void)str_print(path, sizeof path, "/strata/%s", p->g->id);
        (void)json_object_set_new(part, "cgroupsPath", json_string(path));
    }
    r = build_devices(p, part, e);
    if (r == 0) {
        r = add_sysctls(p, part, e);
    }
    if (!spec_flag(p->config, "privileged")) {
        add_paths(part);
    }
    return r;
}

int spec_read_seccomp(const json_t *config, const char **ret, struct err *e)
{
    size_t i;
    json_t *item;

    *ret = spec_flag(config, "privileged") ? "unconfined" : "default";
    json_array_foreach(json_object_get(config, "security_opt"), i, item)
    {
        const char *word = json_string_value(item);

        if (str_starts(word, "seccomp=")) {
            *ret = word + 8;
        } else if (strcmp(word, "no-new-privileges") != 0) {
            return err_set(
                e, -EINVAL,
                "cannot use --security-opt '%s': want seccomp=FILE|unconfined or "
                "no-new-privileges",
                word);
        }
    }
    return 0;
}

int spec_build_seccomp(const struct plan *p, json_t *spec, struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    const char *choice = "default";
    json_t *profile = NULL;
    size_t len = 0;
    int r = spec_read_seccomp(p->config, &choice, e);

    if (r < 0) {
        return r;
    }
    if (strcmp(choice, "unconfined") == 0 || strcmp(choice, "default") == 0) {
        (void)json_object_set_new(spec, "seccomp", json_string(choice));
        return 0;
    }
    r = file_read(AT_FDCWD, choice, 4 << 20, &text, &len);
    if (r < 0) {
        return err_sys(e, r, "cannot read the seccomp profile '%s'", choice);
    }
    r = json_parse(text, len, choice, &profile, e);
    if (r == 0) {
        (void)json_object_set_new(json_object_get(p->oci, "linux"), "seccomp", profile);
        (void)json_object_set_new(spec, "seccomp", json_string("own"));
    }
    return r;
}
