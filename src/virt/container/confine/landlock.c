/* landlock.c - rules about paths and ports, put into force by Landlock.
 *
 * The kernel's headers of the build may be older than the kernel that runs, so
 * the attribute struct and the later rights stand here with the ABI that brought
 * them (Documentation/userspace-api/landlock.rst, Linux 6.18).  A right that the
 * running ABI lacks is not handled, which means that it is not denied either. */
#include "virt/container/confine/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"

#define FS_ABI1   ((UINT64_C(1) << 13) - 1) /* execute to make_sym */
#define FS_REFER  (UINT64_C(1) << 13)       /* ABI 2 */
#define FS_TRUNC  (UINT64_C(1) << 14)       /* ABI 3 */
#define FS_IOCTL  (UINT64_C(1) << 15)       /* ABI 5 */
#define NET_BIND  (UINT64_C(1) << 0)        /* ABI 4 */
#define NET_CONN  (UINT64_C(1) << 1)
#define SCOPE_ALL UINT64_C(3) /* ABI 6: abstract sockets, signals */
#define RULE_NET  2           /* LANDLOCK_RULE_NET_PORT */
#define PORT_MOST 65535

struct ruleset_attr {
    uint64_t fs;
    uint64_t net;
    uint64_t scoped;
};

struct port_attr {
    uint64_t access;
    uint64_t port;
};

struct path_rule {
    char *path; /* owned */
    unsigned access;
    bool optional;
};

struct landlock {
    struct path_rule *paths; /* owned */
    size_t n_paths;
    struct port_attr *ports; /* owned */
    size_t n_ports;
    uint64_t net; /* handled */
    bool scoped;
};

int landlock_abi(void)
{
    long abi =
        syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

    return abi < 0 ? 0 : (int)abi;
}

struct landlock *landlock_create(void)
{
    return fault_calloc(1, sizeof(struct landlock));
}

void landlock_destroy(struct landlock *l)
{
    if (l == NULL) {
        return;
    }
    for (size_t i = 0; i < l->n_paths; i++) {
        free(l->paths[i].path);
    }
    free(l->paths);
    free(l->ports);
    free(l);
}

int landlock_allow_path(struct landlock *l, const char *path, unsigned access,
                        bool optional)
{
    struct path_rule *grown =
        fault_realloc(l->paths, (l->n_paths + 1) * sizeof *l->paths);

    if (grown == NULL) {
        return -ENOMEM;
    }
    l->paths = grown;
    grown[l->n_paths] = (struct path_rule){
        .path = fault_strdup(path), .access = access, .optional = optional};
    if (grown[l->n_paths].path == NULL) {
        return -ENOMEM;
    }
    l->n_paths++;
    return 0;
}

static int allow_port(struct landlock *l, uint64_t access, uint16_t port)
{
    struct port_attr *grown =
        fault_realloc(l->ports, (l->n_ports + 1) * sizeof *l->ports);

    if (grown == NULL) {
        return -ENOMEM;
    }
    l->ports = grown;
    grown[l->n_ports++] = (struct port_attr){.access = access, .port = port};
    l->net |= access;
    return 0;
}

int landlock_allow_bind(struct landlock *l, uint16_t port)
{
    return allow_port(l, NET_BIND, port);
}

int landlock_allow_connect(struct landlock *l, uint16_t port)
{
    return allow_port(l, NET_CONN, port);
}

void landlock_close_tcp(struct landlock *l)
{
    l->net = NET_BIND | NET_CONN;
}

void landlock_close_scope(struct landlock *l)
{
    l->scoped = true;
}

static int parse_paths(const json_t *obj, const char *key, unsigned access,
                       struct landlock *l, struct err *e)
{
    json_t *list = NULL;
    json_t *item;
    size_t i;
    int r = json_opt_array(obj, "landlock", key, &list, e);

    json_array_foreach(list, i, item)
    {
        const char *path = json_string_value(item);

        if (path == NULL || path[0] != '/') {
            return err_set(e, -EINVAL, "'landlock.%s[%zu]' is not an absolute path", key,
                           i);
        }
        r = landlock_allow_path(l, path, access, false);
        if (r < 0) {
            return err_sys(e, r, "cannot keep a Landlock rule");
        }
    }
    return r;
}

static int parse_ports(const json_t *obj, const char *key, uint64_t access,
                       struct landlock *l, struct err *e)
{
    json_t *list = NULL;
    json_t *item;
    size_t i;
    int r = json_opt_array(obj, "landlock", key, &list, e);

    if (list != NULL) {
        l->net |= access; /* an empty list: no port at all */
    }
    json_array_foreach(list, i, item)
    {
        json_int_t port = json_is_integer(item) ? json_integer_value(item) : -1;

        if (port < 0 || port > PORT_MOST) {
            return err_set(e, -EINVAL, "'landlock.%s[%zu]' is not a port", key, i);
        }
        r = allow_port(l, access, (uint16_t)port);
        if (r < 0) {
            return err_sys(e, r, "cannot keep a Landlock rule");
        }
    }
    return r;
}

static int parse(const json_t *obj, struct landlock *l, struct err *e)
{
    static const char *const known[] = {"readOnly", "readWrite", "exec",
                                        "bind",     "connect",   "scoped"};
    const char *key;
    json_t *item;
    int r = json_is_object(obj) ? 0 : err_set(e, -EINVAL, "'landlock' is not an object");

    json_object_foreach((json_t *)(uintptr_t)obj, key, item)
    {
        bool found = false;

        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
            found = found || strcmp(key, known[i]) == 0;
        }
        if (!found) { /* a mistyped rule must not open what it should close */
            return err_set(e, -EINVAL, "'landlock.%s' is not known", key);
        }
    }
    r = r == 0 ? parse_paths(obj, "readOnly", LANDLOCK_READ, l, e) : r;
    r = r == 0 ? parse_paths(obj, "readWrite",
                             LANDLOCK_READ | LANDLOCK_WRITE | LANDLOCK_DEVICE, l, e)
               : r;
    r = r == 0 ? parse_paths(obj, "exec", LANDLOCK_READ | LANDLOCK_EXEC, l, e) : r;
    r = r == 0 ? parse_ports(obj, "bind", NET_BIND, l, e) : r;
    r = r == 0 ? parse_ports(obj, "connect", NET_CONN, l, e) : r;
    return r == 0 ? json_opt_bool(obj, "landlock", "scoped", &l->scoped, e) : r;
}

int landlock_parse(const json_t *obj, struct landlock **ret, struct err *e)
{
    struct landlock *l = landlock_create();
    int r =
        l == NULL ? err_sys(e, -ENOMEM, "cannot read Landlock rules") : parse(obj, l, e);

    if (r < 0) {
        landlock_destroy(l);
        return r;
    }
    *ret = l;
    return 0;
}

static uint64_t fs_known(int abi)
{
    return FS_ABI1 | (abi >= 2 ? FS_REFER : 0) | (abi >= 3 ? FS_TRUNC : 0) |
           (abi >= 5 ? FS_IOCTL : 0);
}

static uint64_t fs_rights(unsigned access, bool directory)
{
    const uint64_t file_only = LANDLOCK_ACCESS_FS_EXECUTE |
                               LANDLOCK_ACCESS_FS_WRITE_FILE |
                               LANDLOCK_ACCESS_FS_READ_FILE | FS_TRUNC | FS_IOCTL;
    uint64_t rights = 0;

    if ((access & LANDLOCK_READ) != 0) {
        rights |= LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
    }
    if ((access & LANDLOCK_EXEC) != 0) {
        rights |= LANDLOCK_ACCESS_FS_EXECUTE;
    }
    if ((access & LANDLOCK_DEVICE) != 0) {
        rights |= FS_IOCTL;
    }
    if ((access & LANDLOCK_WRITE) != 0) {
        rights |= FS_ABI1 | FS_REFER | FS_TRUNC;
        rights &= ~(uint64_t)(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE |
                              LANDLOCK_ACCESS_FS_READ_DIR);
        rights |= (access & LANDLOCK_READ) != 0
                      ? LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR
                      : 0;
        rights |= (access & LANDLOCK_EXEC) != 0 ? LANDLOCK_ACCESS_FS_EXECUTE : 0;
    }
    return directory ? rights : rights & file_only;
}

static int add_path(int set, const struct path_rule *rule, uint64_t handled,
                    struct err *e)
{
    SCOPED(scope_close) int fd = open(rule->path, O_PATH | O_CLOEXEC);
    struct landlock_path_beneath_attr attr = {.parent_fd = fd};
    struct stat st;

    if (fd < 0 && rule->optional && (errno == ENOENT || errno == ENOTDIR)) {
        return 0;
    }
    if (fd < 0 || fstat(fd, &st) < 0) {
        return err_sys(e, -errno, "cannot allow path '%s'", rule->path);
    }
    attr.allowed_access = fs_rights(rule->access, S_ISDIR(st.st_mode)) & handled;
    if (attr.allowed_access != 0 &&
        syscall(SYS_landlock_add_rule, set, LANDLOCK_RULE_PATH_BENEATH, &attr, 0) < 0) {
        return err_sys(e, -errno, "cannot allow path '%s'", rule->path);
    }
    return 0;
}

static int add_rules(int set, const struct landlock *l,
                     const struct ruleset_attr *handled, struct err *e)
{
    for (size_t i = 0; i < l->n_paths; i++) {
        int r = add_path(set, &l->paths[i], handled->fs, e);

        if (r < 0) {
            return r;
        }
    }
    for (size_t i = 0; handled->net != 0 && i < l->n_ports; i++) {
        if (syscall(SYS_landlock_add_rule, set, RULE_NET, &l->ports[i], 0) < 0) {
            return err_sys(e, -errno, "cannot allow port %u", (unsigned)l->ports[i].port);
        }
    }
    return 0;
}

static void tell_lost(const struct landlock *l, int abi, struct strv *warnings)
{
    if (warnings == NULL) {
        return;
    }
    if (abi == 0) {
        strv_add(warnings, "Landlock is not on this host: its rules are not in force");
    } else if ((l->net != 0 && abi < 4) || (l->scoped && abi < 6)) {
        strv_addf(warnings,
                  "Landlock of this host (ABI %d) knows no rules about %s: they "
                  "are not in force",
                  abi, l->net != 0 && abi < 4 ? "ports" : "sockets and signals");
    }
}

int landlock_apply(const struct landlock *l, struct strv *warnings, struct err *e)
{
    int abi = landlock_abi();
    struct ruleset_attr attr = {
        .fs = l->n_paths > 0 ? fs_known(abi) : 0,
        .net = abi >= 4 ? l->net : 0,
        .scoped = abi >= 6 && l->scoped ? SCOPE_ALL : 0,
    };
    size_t size = abi >= 6   ? sizeof attr
                  : abi >= 4 ? offsetof(struct ruleset_attr, scoped)
                             : offsetof(struct ruleset_attr, net);
    SCOPED(scope_close) int set = -1;
    int r;

    tell_lost(l, abi, warnings);
    if (abi == 0 || (attr.fs | attr.net | attr.scoped) == 0) {
        return 0;
    }
    set = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
    if (set < 0) {
        return err_sys(e, -errno, "cannot make a Landlock ruleset");
    }
    r = add_rules(set, l, &attr, e);
    if (r < 0) {
        return r;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        syscall(SYS_landlock_restrict_self, set, 0) < 0) {
        return err_sys(e, -errno, "cannot put Landlock rules into force");
    }
    return 0;
}
