/* spec.c - a configuration to begin from: a shell in `rootfs`, confined as usual. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "virt/container/confine/caps.h"
#include "virt/container/oci/oci.h"

/* clang-format off */
static const struct {
    const char *to, *type, *from, *options; /* options separated by blanks */
} usual_mounts[] = {
    {"/proc",          "proc",   "proc",   ""},
    {"/dev",           "tmpfs",  "tmpfs",  "nosuid strictatime mode=755 size=65536k"},
    {"/dev/pts",       "devpts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"},
    {"/dev/shm",       "tmpfs",  "shm",    "nosuid noexec nodev mode=1777 size=65536k"},
    {"/dev/mqueue",    "mqueue", "mqueue", "nosuid noexec nodev"},
    {"/sys",           "sysfs",  "sysfs",  "nosuid noexec nodev ro"},
    {"/sys/fs/cgroup", "cgroup", "cgroup", "nosuid noexec nodev relatime ro"},
};

static const char masked[] =
    "/proc/acpi /proc/asound /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list "
    "/proc/timer_stats /proc/sched_debug /sys/firmware /proc/scsi";
static const char read_only[] =
    "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger";

/* clang-format on */

static json_t *words(const char *text)
{
    json_t *list = json_array();

    while (*text != '\0') {
        size_t len = strcspn(text, " ");

        (void)json_array_append_new(list, json_stringn(text, len));
        text += len + (text[len] == ' ');
    }
    return list;
}

static json_t *make_mounts(void)
{
    json_t *list = json_array();

    for (size_t i = 0; i < sizeof usual_mounts / sizeof usual_mounts[0]; i++) {
        (void)json_array_append_new(
            list, json_pack("{s:s, s:s, s:s, s:o}", "destination", usual_mounts[i].to,
                            "type", usual_mounts[i].type, "source", usual_mounts[i].from,
                            "options", words(usual_mounts[i].options)));
    }
    return list;
}

static json_t *make_process(void)
{
    json_t *caps = json_object();
    static const char *const sets[] = {"bounding", "effective", "permitted"};

    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        (void)json_object_set_new(caps, sets[i], caps_to_json(caps_default()));
    }
    return json_pack(
        "{s:b, s:{s:i, s:i}, s:[s], s:[s, s], s:s, s:o, s:[{s:s, s:i, s:i}], s:b}",
        "terminal", 1, "user", "uid", 0, "gid", 0, "args", "sh", "env",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm",
        "cwd", "/", "capabilities", caps, "rlimits", "type", "RLIMIT_NOFILE", "hard",
        1024, "soft", 1024, "noNewPrivileges", 1);
}

static json_t *make_linux(bool rootless)
{
    static const char *const kinds[] = {"pid",   "network", "ipc", "uts",
                                        "mount", "cgroup",  "user"};
    json_t *namespaces = json_array();
    json_t *lin = json_object();

    for (size_t i = 0; i < (rootless ? 7u : 6u); i++) {
        (void)json_array_append_new(namespaces, json_pack("{s:s}", "type", kinds[i]));
    }
    (void)json_object_set_new(lin, "namespaces", namespaces);
    (void)json_object_set_new(lin, "maskedPaths", words(masked));
    (void)json_object_set_new(lin, "readonlyPaths", words(read_only));
    (void)json_object_set_new(
        lin, "resources",
        json_pack("{s:[{s:b, s:s}]}", "devices", "allow", 0, "access", "rwm"));
    if (rootless) {
        (void)json_object_set_new(lin, "uidMappings",
                                  json_pack("[{s:i, s:I, s:i}]", "containerID", 0,
                                            "hostID", (json_int_t)geteuid(), "size", 1));
        (void)json_object_set_new(lin, "gidMappings",
                                  json_pack("[{s:i, s:I, s:i}]", "containerID", 0,
                                            "hostID", (json_int_t)getegid(), "size", 1));
    }
    return lin;
}

int oci_spec(struct oci *o, const struct oci_args *a, struct err *e)
{
    const char *bundle = oci_arg(a, "bundle");
    SCOPED(scope_json)
    json_t *config = json_pack(
        "{s:s, s:{s:s, s:b}, s:s, s:o, s:o, s:o}", "ociVersion", "1.2.0", "root", "path",
        "rootfs", "readonly", 1, "hostname", "container", "process", make_process(),
        "mounts", make_mounts(), "linux", make_linux(oci_has(a, "rootless")));
    SCOPED(scope_free)
    char *text = config != NULL ? json_dumps(config, JSON_INDENT(2)) : NULL;
    char path[4096];
    int fd;
    int r = str_print(path, sizeof path, "%s/config.json", bundle != NULL ? bundle : ".");

    (void)o;
    if (text == NULL || r < 0) {
        (void)err_set(e, -ENOMEM, "cannot write a configuration: no memory");
        return OCI_EXIT_FAILED;
    }
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) {
        (void)err_sys(e, -errno, "cannot write '%s'", path);
        return OCI_EXIT_FAILED;
    }
    r = file_write_all(fd, text, strlen(text));
    r = r == 0 ? file_write_all(fd, "\n", 1) : r;
    (void)close(fd);
    if (r < 0) {
        (void)err_sys(e, r, "cannot write '%s'", path);
        return OCI_EXIT_FAILED;
    }
    return 0;
}
