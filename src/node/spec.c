/* spec.c - from a guest's record to the plan that a worker carries out.
 *
 * The plan is one JSON object, kept as RUN/guests/ID/spec.json, so that a keeper
 * can start the guest again without the store:
 *
 *     oci       the OCI runtime configuration (runtime-spec 1.2)
 *     overlay   layer directories, upper and work directory
 *     network   what `net_allocate` gave
 *     keeper    restart policy, log bounds, health check
 *
 * Users named by name are looked up in the image's own /etc/passwd and
 * /etc/group, in the layers as they lie on disk: nothing of the guest runs. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "node/private.h"
#include "node/user.h"

#define PERIOD_US     100000 /* of the processor limit; the kernel's usual value */
#define SHM_BYTES     "67108864"
#define HEALTH_OUT_MS 30000
#define PATH_DEFAULT  "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Everything a builder below needs. */
struct plan {
    struct node *n;
    const struct guest *g;
    const json_t *config; /* what was ordered */
    const json_t *image;  /* what the image says */
    json_t *oci;          /* being made; borrowed from the result */
    struct user user;
    bool shifted; /* root of the guest is not root of the host */
    int64_t base; /* first host id of its range */
};

static const char *text_of(const json_t *obj, const char *key, const char *other)
{
    const char *text = json_string_value(json_object_get(obj, key));

    return text != NULL && text[0] != '\0' ? text : other;
}

static bool flag_of(const json_t *obj, const char *key)
{
    return json_is_true(json_object_get(obj, key));
}

static void add_text(json_t *list, const char *text)
{
    (void)json_array_append_new(list, json_string(text));
}

static json_t *argument_list(const struct plan *p)
{
    const json_t *command = json_object_get(p->config, "command");
    const char *entry = text_of(p->config, "entrypoint", NULL);
    json_t *args = json_array();

    if (flag_of(p->config, "init")) {
        add_text(args, "/dev/init");
        add_text(args, "--");
    }
    if (entry != NULL) {
        add_text(args, entry);
    } else {
        (void)json_array_extend(args, json_object_get(p->image, "entrypoint"));
    }
    if (json_array_size(command) != 0) {
        (void)json_array_extend(args, (json_t *)(uintptr_t)command);
    } else if (entry == NULL) {
        (void)json_array_extend(args, json_object_get(p->image, "cmd"));
    }
    return args;
}

/* Replace or append "K=V"; a bare "K" takes the caller's own value. */
static void set_env(json_t *env, const char *pair)
{
    const char *equals = strchr(pair, '=');
    size_t len = equals != NULL ? (size_t)(equals - pair) : strlen(pair);
    struct str own = {0};
    size_t i;
    json_t *item;

    if (equals == NULL) {
        const char *value = getenv(pair);

        if (value == NULL) {
            return;
        }
        str_addf(&own, "%s=%s", pair, value);
        pair = str_text(&own);
    }
    json_array_foreach(env, i, item)
    {
        const char *have = json_string_value(item);

        if (strncmp(have, pair, len) == 0 && have[len] == '=') {
            (void)json_array_set_new(env, i, json_string(pair));
            str_fini(&own);
            return;
        }
    }
    add_text(env, pair);
    str_fini(&own);
}

static json_t *environment(const struct plan *p)
{
    json_t *env = json_array();
    char line[PATH_MAX + 8];
    size_t i;
    json_t *item;

    add_text(env, PATH_DEFAULT);
    if (str_print(line, sizeof line, "HOME=%s", p->user.home) == 0) {
        add_text(env, line);
    }
    if (str_print(line, sizeof line, "HOSTNAME=%s",
                  text_of(p->config, "hostname", guest_text(p->g, "name"))) == 0) {
        add_text(env, line);
    }
    if (flag_of(p->config, "tty")) {
        add_text(env, "TERM=xterm");
    }
    json_array_foreach(json_object_get(p->image, "env"), i, item)
    {
        set_env(env, json_string_value(item));
    }
    json_array_foreach(json_object_get(p->config, "env"), i, item)
    {
        set_env(env, json_string_value(item));
    }
    return env;
}

static const char *const default_caps[] = {"CAP_CHOWN",
                                           "CAP_DAC_OVERRIDE",
                                           "CAP_FSETID",
                                           "CAP_FOWNER",
                                           "CAP_MKNOD",
                                           "CAP_SETGID",
                                           "CAP_SETUID",
                                           "CAP_SETFCAP",
                                           "CAP_SETPCAP",
                                           "CAP_NET_RAW",
                                           "CAP_KILL",
                                           "CAP_SYS_CHROOT",
                                           "CAP_NET_BIND_SERVICE",
                                           "CAP_AUDIT_WRITE"};

static const char *const all_caps[] = {"CAP_CHOWN",
                                       "CAP_DAC_OVERRIDE",
                                       "CAP_DAC_READ_SEARCH",
                                       "CAP_FOWNER",
                                       "CAP_FSETID",
                                       "CAP_KILL",
                                       "CAP_SETGID",
                                       "CAP_SETUID",
                                       "CAP_SETPCAP",
                                       "CAP_LINUX_IMMUTABLE",
                                       "CAP_NET_BIND_SERVICE",
                                       "CAP_NET_BROADCAST",
                                       "CAP_NET_ADMIN",
                                       "CAP_NET_RAW",
                                       "CAP_IPC_LOCK",
                                       "CAP_IPC_OWNER",
                                       "CAP_SYS_MODULE",
                                       "CAP_SYS_RAWIO",
                                       "CAP_SYS_CHROOT",
                                       "CAP_SYS_PTRACE",
                                       "CAP_SYS_PACCT",
                                       "CAP_SYS_ADMIN",
                                       "CAP_SYS_BOOT",
                                       "CAP_SYS_NICE",
                                       "CAP_SYS_RESOURCE",
                                       "CAP_SYS_TIME",
                                       "CAP_SYS_TTY_CONFIG",
                                       "CAP_MKNOD",
                                       "CAP_LEASE",
                                       "CAP_AUDIT_WRITE",
                                       "CAP_AUDIT_CONTROL",
                                       "CAP_SETFCAP",
                                       "CAP_MAC_OVERRIDE",
                                       "CAP_MAC_ADMIN",
                                       "CAP_SYSLOG",
                                       "CAP_WAKE_ALARM",
                                       "CAP_BLOCK_SUSPEND",
                                       "CAP_AUDIT_READ",
                                       "CAP_PERFMON",
                                       "CAP_BPF",
                                       "CAP_CHECKPOINT_RESTORE"};

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

/* "net_admin", "CAP_NET_ADMIN" -> the full name of the table, or NULL. */
static const char *cap_name(const char *word)
{
    if (strncasecmp(word, "CAP_", 4) == 0) {
        word += 4;
    }
    for (size_t i = 0; i < COUNT(all_caps); i++) {
        if (strcasecmp(all_caps[i] + 4, word) == 0) {
            return all_caps[i];
        }
    }
    return NULL;
}

static bool list_has(const json_t *list, const char *word, const char *all_word)
{
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        const char *text = json_string_value(item);
        const char *name = cap_name(text);

        if (strcasecmp(text, all_word) == 0 ||
            (name != NULL && strcmp(name, word) == 0)) {
            return true;
        }
    }
    return false;
}

static int check_caps(const json_t *list, struct err *e)
{
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        const char *text = json_string_value(item);

        if (strcasecmp(text, "ALL") != 0 && cap_name(text) == NULL) {
            return err_set(e, -EINVAL, "'%s' is not a capability", text);
        }
    }
    return 0;
}

static int capabilities(const struct plan *p, json_t *process, struct err *e)
{
    const json_t *add = json_object_get(p->config, "cap_add");
    const json_t *drop = json_object_get(p->config, "cap_drop");
    bool all = flag_of(p->config, "privileged");
    json_t *caps = json_array();
    json_t *none = json_array();
    int r = check_caps(add, e);

    if (r == 0) {
        r = check_caps(drop, e);
    }
    for (size_t i = 0; i < COUNT(all_caps); i++) {
        bool have = all || list_has(add, all_caps[i], "ALL");

        for (size_t k = 0; !have && k < COUNT(default_caps); k++) {
            have = strcmp(default_caps[k], all_caps[i]) == 0;
        }
        if (have && (all || list_has(add, all_caps[i], "\n") ||
                     !list_has(drop, all_caps[i], "ALL"))) {
            add_text(caps, all_caps[i]);
        }
    }
    /* A user other than root gets them in the bounding set only. */
    (void)json_object_set_new(process, "capabilities",
                              json_pack("{s:O, s:O, s:O, s:[]}", "bounding", caps,
                                        "effective", p->user.uid == 0 ? caps : none,
                                        "permitted", p->user.uid == 0 ? caps : none,
                                        "ambient"));
    json_decref(caps);
    json_decref(none);
    return r;
}

/* "nofile=1024[:4096]" */
static int resource_limits(const struct plan *p, json_t *process, struct err *e)
{
    json_t *list = json_array();
    size_t i;
    json_t *item;

    (void)json_object_set_new(process, "rlimits", list);
    json_array_foreach(json_object_get(p->config, "ulimit"), i, item)
    {
        const char *text = json_string_value(item);
        char name[40] = "RLIMIT_";
        char word[24];
        json_int_t soft;
        json_int_t hard;
        int n = sscanf(text, "%23[a-zA-Z]=%" SCNd64 ":%" SCNd64, word, (int64_t *)&soft,
                       (int64_t *)&hard);

        if (n < 2) {
            return err_set(e, -EINVAL, "cannot use --ulimit '%s': want NAME=SOFT[:HARD]",
                           text);
        }
        for (size_t k = 0; word[k] != '\0'; k++) {
            name[7 + k] = (char)toupper((unsigned char)word[k]);
            name[8 + k] = '\0';
        }
        (void)json_array_append_new(list,
                                    json_pack("{s:s, s:I, s:I}", "type", name, "soft",
                                              soft, "hard", n == 3 ? hard : soft));
    }
    return 0;
}

static int build_process(struct plan *p, struct err *e)
{
    json_t *process = json_object();
    json_t *args = argument_list(p);
    int r = 0;

    (void)json_object_set_new(p->oci, "process", process);
    (void)json_object_set_new(process, "args", args);
    if (json_array_size(args) == (flag_of(p->config, "init") ? 2U : 0U)) {
        return err_set(e, -EINVAL,
                       "cannot run image '%s': it names no command, and none was given",
                       text_of(p->config, "image", "?"));
    }
    (void)json_object_set_new(process, "terminal",
                              json_boolean(flag_of(p->config, "tty")));
    (void)json_object_set_new(process, "env", environment(p));
    (void)json_object_set_new(
        process, "cwd",
        json_string(text_of(p->config, "workdir", text_of(p->image, "workdir", "/"))));
    (void)json_object_set_new(process, "user", user_to_json(&p->user));
    if (!flag_of(p->config, "privileged")) {
        (void)json_object_set_new(
            process, "noNewPrivileges",
            json_boolean(list_has(json_object_get(p->config, "security_opt"), "\n",
                                  "no-new-privileges")));
    }
    r = capabilities(p, process, e);
    return r < 0 ? r : resource_limits(p, process, e);
}

static void add_mount(json_t *mounts, const char *to, const char *type, const char *from,
                      const char *options)
{
    json_t *list = json_array();
    char copy[256];
    char *save = NULL;

    (void)str_print(copy, sizeof copy, "%s", options);
    for (char *w = strtok_r(copy, ",", &save); w != NULL;
         w = strtok_r(NULL, ",", &save)) {
        add_text(list, w);
    }
    (void)json_array_append_new(mounts,
                                json_pack("{s:s, s:s, s:s, s:o}", "destination", to,
                                          "type", type, "source", from, "options", list));
}

static void add_own_files(const struct plan *p, json_t *mounts)
{
    static const char *const files[] = {"hosts", "resolv.conf", "hostname"};
    char from[PATH_MAX];
    char to[64];

    for (size_t i = 0; i < COUNT(files); i++) {
        (void)guest_run_path(p->n, p->g->id, files[i], from);
        (void)str_print(to, sizeof to, "/etc/%s", files[i]);
        add_mount(mounts, to, "bind", from, "bind,ro,nosuid,nodev,noexec");
    }
    if (flag_of(p->config, "init")) {
        (void)str_print(from, sizeof from, "%s/init", p->n->libexec);
        add_mount(mounts, "/dev/init", "bind", from, "bind,ro,nosuid,nodev");
    }
}

/* NAME|DIR:/PATH[:ro] */
static int add_volume(const struct plan *p, json_t *mounts, const char *text,
                      struct err *e)
{
    char from[PATH_MAX];
    char name[PATH_MAX];
    char options[64];
    const char *colon = strchr(text, ':');
    const char *end = strchr(colon + 1, ':');
    bool read_only = end != NULL && strcmp(end, ":ro") == 0;
    SCOPED(scope_free) char *to = NULL;

    if (end != NULL && !read_only && strcmp(end, ":rw") != 0) {
        return err_set(e, -EINVAL, "cannot use --volume '%s': '%s' is neither ro nor rw",
                       text, end + 1);
    }
    to = end != NULL ? strndup(colon + 1, (size_t)(end - colon - 1)) : strdup(colon + 1);
    (void)str_print(name, sizeof name, "%.*s", (int)(colon - text), text);
    if (name[0] == '/' || name[0] == '.') {
        if (realpath(name, from) == NULL) {
            return err_sys(e, -errno, "cannot use volume '%s'", name);
        }
    } else {
        (void)str_print(from, sizeof from, "%s/volumes/%s/data", p->n->state, name);
        if (access(from, F_OK) < 0) {
            return err_set(
                e, -ENOENT,
                "cannot use volume '%s': it does not exist (see 'strata volume "
                "create')",
                name);
        }
    }
    (void)str_print(options, sizeof options, "rbind,%s,nodev%s", read_only ? "rro" : "rw",
                    p->shifted && !p->n->rootless ? ",idmap" : "");
    if (to == NULL) {
        return err_set(e, -ENOMEM, "cannot use volume '%s': no memory", name);
    }
    add_mount(mounts, to, "bind", from, options);
    return 0;
}

static int build_mounts(const struct plan *p, struct err *e)
{
    json_t *mounts = json_array();
    bool all = flag_of(p->config, "privileged");
    bool own_net = strcmp(text_of(p->config, "network", ""), "host") != 0;
    size_t i;
    json_t *item;

    (void)json_object_set_new(p->oci, "mounts", mounts);
    add_mount(mounts, "/proc", "proc", "proc", "nosuid,noexec,nodev");
    add_mount(mounts, "/dev", "tmpfs", "tmpfs",
              "nosuid,strictatime,mode=755,size=65536k");
    add_mount(mounts, "/dev/pts", "devpts", "devpts",
              "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5");
    add_mount(mounts, "/dev/shm", "tmpfs", "shm",
              "nosuid,noexec,nodev,mode=1777,size=" SHM_BYTES);
    add_mount(mounts, "/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev");
    if (own_net) {
        add_mount(mounts, "/sys", "sysfs", "sysfs",
                  all ? "nosuid,noexec,nodev,rw" : "nosuid,noexec,nodev,ro");
    } else {
        add_mount(mounts, "/sys", "bind", "/sys", "rbind,nosuid,noexec,nodev,rro");
    }
    if (own_net) {
        add_mount(mounts, "/sys/fs/cgroup", "cgroup", "cgroup",
                  all ? "nosuid,noexec,nodev,relatime,rw"
                      : "nosuid,noexec,nodev,relatime,ro");
    }
    add_own_files(p, mounts);
    json_array_foreach(json_object_get(p->config, "tmpfs"), i, item)
    {
        add_mount(mounts, json_string_value(item), "tmpfs", "tmpfs",
                  "nosuid,nodev,mode=1777");
    }
    json_array_foreach(json_object_get(p->config, "volume"), i, item)
    {
        int r = add_volume(p, mounts, json_string_value(item), e);

        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static json_t *namespaces(const struct plan *p)
{
    static const char *const always[] = {"pid", "ipc", "uts", "mount", "cgroup"};
    json_t *list = json_array();

    for (size_t i = 0; i < COUNT(always); i++) {
        (void)json_array_append_new(list, json_pack("{s:s}", "type", always[i]));
    }
    if (strcmp(text_of(p->config, "network", ""), "host") != 0) {
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

static json_t *io_limit(const json_t *config, const char *key, const struct stat *st)
{
    return json_pack("[{s:i, s:i, s:O}]", "major", (int)major(st->st_dev), "minor",
                     (int)(minor(st->st_dev) & ~15U), "rate",
                     json_object_get(config, key));
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
    json_t *io = json_object();
    json_t *cpus = json_object_get(p->config, "cpus");
    json_t *weight = json_object_get(p->config, "cpu_weight");
    struct stat st;

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
    if (stat(p->n->state, &st) == 0) {
        if (json_object_get(p->config, "io_read") != NULL) {
            (void)json_object_set_new(io, "throttleReadBpsDevice",
                                      io_limit(p->config, "io_read", &st));
        }
        if (json_object_get(p->config, "io_write") != NULL) {
            (void)json_object_set_new(io, "throttleWriteBpsDevice",
                                      io_limit(p->config, "io_write", &st));
        }
    }
    (void)json_object_set_new(res, "cpu", cpu);
    (void)json_object_set_new(res, "memory", memory);
    if (json_object_size(pids) != 0) {
        (void)json_object_set_new(res, "pids", pids);
    } else {
        json_decref(pids);
    }
    (void)json_object_set_new(res, "blockIO", io);
    return res;
}

/* HOST[:GUEST[:rwm]] */
static int add_device(json_t *linux_part, const char *text, struct err *e)
{
    json_t *devices = json_object_get(linux_part, "devices");
    json_t *rules = json_object_get(json_object_get(linux_part, "resources"), "devices");
    char host[PATH_MAX];
    char guest[PATH_MAX];
    char access[4] = "rwm";
    struct stat st;
    int n = sscanf(text, "%4095[^:]:%4095[^:]:%3[rwm]", host, guest, access);

    if (n < 2) {
        (void)str_print(guest, sizeof guest, "%s", host);
    }
    if (n < 1 || guest[0] != '/') {
        return err_set(e, -EINVAL, "cannot use --device '%s': want DEVICE[:/PATH[:rwm]]",
                       text);
    }
    if (stat(host, &st) < 0) {
        return err_sys(e, -errno, "cannot use device '%s'", host);
    }
    if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode)) {
        return err_set(e, -ENODEV, "cannot use device '%s': it is not one", host);
    }
    (void)json_array_append_new(
        devices, json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:i}", "path", guest, "type",
                           S_ISCHR(st.st_mode) ? "c" : "b", "major",
                           (int)major(st.st_rdev), "minor", (int)minor(st.st_rdev),
                           "fileMode", (int)(st.st_mode & 0777), "uid", 0, "gid", 0));
    (void)json_array_append_new(
        rules, json_pack("{s:b, s:s, s:i, s:i, s:s}", "allow", 1, "type",
                         S_ISCHR(st.st_mode) ? "c" : "b", "major", (int)major(st.st_rdev),
                         "minor", (int)minor(st.st_rdev), "access", access));
    return 0;
}

static int build_devices(const struct plan *p, json_t *linux_part, struct err *e)
{
    bool all = flag_of(p->config, "privileged");
    json_t *rules = json_array();
    size_t i;
    json_t *item;

    (void)json_object_set_new(json_object_get(linux_part, "resources"), "devices", rules);
    (void)json_object_set_new(linux_part, "devices", json_array());
    (void)json_array_append_new(
        rules, json_pack("{s:b, s:s}", "allow", all ? 1 : 0, "access", "rwm"));
    json_array_foreach(json_object_get(p->config, "device"), i, item)
    {
        int r = add_device(linux_part, json_string_value(item), e);

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
        add_text(m, masked[i]);
    }
    for (size_t i = 0; i < COUNT(read_only); i++) {
        add_text(r, read_only[i]);
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

static int build_linux(const struct plan *p, struct err *e)
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
    if (!p->n->rootless) {
        (void)str_print(path, sizeof path, "/strata/%s", p->g->id);
        (void)json_object_set_new(part, "cgroupsPath", json_string(path));
    }
    r = build_devices(p, part, e);
    if (r == 0) {
        r = add_sysctls(p, part, e);
    }
    if (!flag_of(p->config, "privileged")) {
        add_paths(part);
    }
    return r;
}

/* "seccomp=FILE|unconfined|default" */
static int build_seccomp(const struct plan *p, json_t *spec, struct err *e)
{
    const char *choice = flag_of(p->config, "privileged") ? "unconfined" : "default";
    SCOPED(scope_free) char *text = NULL;
    json_t *profile = NULL;
    size_t len = 0;
    size_t i;
    json_t *item;
    int r;

    json_array_foreach(json_object_get(p->config, "security_opt"), i, item)
    {
        const char *word = json_string_value(item);

        if (str_starts(word, "seccomp=")) {
            choice = word + 8;
        } else if (strcmp(word, "no-new-privileges") != 0) {
            return err_set(
                e, -EINVAL,
                "cannot use --security-opt '%s': want seccomp=FILE|unconfined or "
                "no-new-privileges",
                word);
        }
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

static json_t *overlay_part(const struct plan *p)
{
    char upper[PATH_MAX];
    char work[PATH_MAX];
    bool read_only = flag_of(p->config, "read_only");

    (void)guest_state_path(p->n, p->g->id, "disk/upper", upper);
    (void)guest_state_path(p->n, p->g->id, "disk/work", work);
    return json_pack(
        "{s:O, s:s, s:s, s:b}", "lower", json_object_get(p->g->record, "layers"), "upper",
        upper, "work", work, "volatile",
        strcmp(text_of(p->config, "disk", "private"), "shared") == 0 && !read_only);
}

static json_int_t number_of(const json_t *obj, const char *key, json_int_t other)
{
    const json_t *v = json_object_get(obj, key);

    return json_is_integer(v) ? json_integer_value(v) : other;
}

static json_t *keeper_part(const struct plan *p)
{
    const json_t *c = p->config;
    json_t *k = json_pack("{s:s, s:I, s:I}", "restart", text_of(c, "restart", "no"),
                          "log_size", number_of(c, "log_size", 16 << 20), "log_count",
                          number_of(c, "log_count", 3));

    if (json_object_get(c, "health_cmd") != NULL) {
        (void)json_object_set(k, "health_cmd", json_object_get(c, "health_cmd"));
        (void)json_object_set_new(k, "health_interval",
                                  json_integer(number_of(c, "health_interval", 30000)));
        (void)json_object_set_new(
            k, "health_timeout",
            json_integer(number_of(c, "health_timeout", HEALTH_OUT_MS)));
        (void)json_object_set_new(k, "health_retries",
                                  json_integer(number_of(c, "health_retries", 3)));
        (void)json_object_set_new(k, "health_start",
                                  json_integer(number_of(c, "health_start", 0)));
    }
    return k;
}

static int find_user(struct plan *p, struct err *e)
{
    const char *word = text_of(p->config, "user", text_of(p->image, "user", "0"));
    char upper[PATH_MAX];
    struct strv dirs = {0};
    size_t i;
    json_t *item;
    int r;

    (void)guest_state_path(p->n, p->g->id, "disk/upper", upper);
    strv_add(&dirs, upper);
    json_array_foreach(json_object_get(p->g->record, "layers"), i, item)
    {
        strv_add(&dirs, json_string_value(item));
    }
    r = user_find(word, &dirs, &p->user, e);
    strv_fini(&dirs);
    return r;
}

int spec_build(struct node *n, const struct guest *g, json_t **ret_spec, struct err *e)
{
    const json_t *userns = json_object_get(g->record, "userns");
    SCOPED(scope_json) json_t *spec = json_object();
    struct plan p = {.n = n,
                     .g = g,
                     .config = guest_config(g),
                     .image = json_object_get(g->record, "image_config"),
                     .oci = json_object()};
    int r;

    p.shifted = n->rootless || json_is_object(userns);
    p.base = n->rootless ? -1 : number_of(userns, "base", -1);
    (void)json_object_set_new(spec, "id", json_string(g->id));
    (void)json_object_set_new(spec, "name", json_string(guest_text(g, "name")));
    (void)json_object_set_new(spec, "oci", p.oci);
    (void)json_object_set_new(p.oci, "ociVersion", json_string("1.2.0"));
    (void)json_object_set_new(
        p.oci, "hostname",
        json_string(text_of(p.config, "hostname", guest_text(g, "name"))));
    (void)json_object_set_new(p.oci, "root",
                              json_pack("{s:s, s:b}", "path", "rootfs", "readonly",
                                        flag_of(p.config, "read_only")));
    r = find_user(&p, e);
    if (r == 0) {
        r = build_process(&p, e);
    }
    if (r == 0) {
        r = build_mounts(&p, e);
    }
    if (r == 0) {
        r = build_linux(&p, e);
    }
    if (r == 0) {
        r = build_seccomp(&p, spec, e);
    }
    user_fini(&p.user);
    if (r < 0) {
        return r;
    }
    (void)json_object_set_new(spec, "overlay", overlay_part(&p));
    (void)json_object_set_new(spec, "keeper", keeper_part(&p));
    (void)json_object_set_new(spec, "interactive",
                              json_boolean(flag_of(p.config, "interactive")));
    if (json_object_get(g->record, "network") != NULL) {
        (void)json_object_set(spec, "network", json_object_get(g->record, "network"));
    }
    *ret_spec = spec;
    spec = NULL;
    return 0;
}
