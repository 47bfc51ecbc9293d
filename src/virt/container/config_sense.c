/* config_sense.c - values of a configuration that have the right type, but make no
 * sense: out of range, unknown words, and members that need one another.
 *
 * Everything that can be told from the configuration alone is told here, before
 * anything is made.  The error names the member. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "virt/container/private.h"

#define HOST_NAME_MOST   64 /* __NEW_UTS_LEN */
#define LINK_NAME_BYTES  16 /* IFNAMSIZ */
#define ID_MOST          4294967294LL
#define MAJOR_MOST       ((1LL << 12) - 1)
#define MINOR_MOST       ((1LL << 20) - 1)
#define WHERE_BYTES      160
#define NANOSECONDS_MOST 999999999LL

static bool has_namespace(const json_t *config, const char *type)
{
    size_t i;
    json_t *item;

    json_array_foreach(config_get(config, "linux.namespaces"), i, item)
    {
        if (strcmp(config_text(item, "type", ""), type) == 0) {
            return true;
        }
    }
    return false;
}

static bool has_new_namespace(const json_t *config, const char *type)
{
    size_t i;
    json_t *item;

    json_array_foreach(config_get(config, "linux.namespaces"), i, item)
    {
        if (strcmp(config_text(item, "type", ""), type) == 0 &&
            config_text(item, "path", "")[0] == '\0') {
            return true;
        }
    }
    return false;
}

static bool is_one_of(const char *word, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (strcmp(word, *words) == 0) {
            return true;
        }
    }
    return false;
}

/* `key` of `obj`, when it is there, lies between the two. */
static int check_range(const json_t *obj, const char *where, const char *key,
                       int64_t least, int64_t most, struct err *e)
{
    const json_t *v = config_get(obj, key);

    if (v != NULL && (json_integer_value(v) < least || json_integer_value(v) > most)) {
        return err_set(e, -ERANGE, "'%s.%s' is not between %lld and %lld", where, key,
                       (long long)least, (long long)most);
    }
    return 0;
}

/* `key` of `obj`, when it is there, is one of the words. */
static int check_word(const json_t *obj, const char *where, const char *key,
                      const char *const *words, struct err *e)
{
    const char *word = config_text(obj, key, NULL);

    return word == NULL || is_one_of(word, words)
               ? 0
               : err_set(e, -EINVAL, "'%s.%s' is unknown: '%s'", where, key, word);
}

static int check_maps(const json_t *obj, const char *where, const char *key,
                      struct err *e)
{
    size_t i;
    json_t *item;

    json_array_foreach(json_object_get(obj, key), i, item)
    {
        int64_t inside = config_number(item, "containerID", 0);
        int64_t outside = config_number(item, "hostID", 0);
        int64_t size = config_number(item, "size", 0);

        if (size < 1 || size > UINT32_MAX || inside > UINT32_MAX - size ||
            outside > UINT32_MAX - size) {
            return err_set(e, -ERANGE, "'%s.%s[%zu].size' is zero or too large", where,
                           key, i);
        }
    }
    return 0;
}

static int check_users(const json_t *config, struct err *e)
{
    const json_t *lin = config_get(config, "linux");
    bool uids = json_array_size(config_get(lin, "uidMappings")) > 0;
    bool gids = json_array_size(config_get(lin, "gidMappings")) > 0;
    int r = check_maps(lin, "linux", "uidMappings", e);

    r = r == 0 ? check_maps(lin, "linux", "gidMappings", e) : r;
    if (r < 0) {
        return r;
    }
    if (has_new_namespace(config, "user") && (!uids || !gids)) {
        return err_set(e, -EINVAL, "'linux.%s' is missing for the new user namespace",
                       uids ? "gidMappings" : "uidMappings");
    }
    if ((uids || gids) && !has_namespace(config, "user")) {
        return err_set(e, -EINVAL,
                       "'linux.%s' is set, but no user namespace is asked for",
                       uids ? "uidMappings" : "gidMappings");
    }
    return 0;
}

static int check_names(const json_t *config, struct err *e)
{
    static const char *const keys[] = {"hostname", "domainname"};

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const char *name = config_text(config, keys[i], "");

        if (strlen(name) > HOST_NAME_MOST) {
            return err_set(e, -EINVAL, "'%s' is longer than %d bytes", keys[i],
                           HOST_NAME_MOST);
        }
        if (name[0] != '\0' && !has_namespace(config, "uts")) {
            return err_set(e, -EINVAL, "'%s' needs a uts namespace", keys[i]);
        }
    }
    return 0;
}

static bool has_dots(const char *path)
{
    for (const char *p = path; *p != '\0';) {
        size_t len = strcspn(p, "/");

        if (len == 2 && strncmp(p, "..", 2) == 0) {
            return true;
        }
        p += len + (p[len] == '/');
    }
    return false;
}

static bool has_option(const json_t *mount, const char *word)
{
    size_t i;
    json_t *item;

    json_array_foreach(config_get(mount, "options"), i, item)
    {
        if (strcmp(json_string_value(item), word) == 0) {
            return true;
        }
    }
    return false;
}

static int check_mount(const json_t *m, const char *where, struct err *e)
{
    const char *to = config_text(m, "destination", "");
    const char *type = config_text(m, "type", "");
    bool bind =
        strcmp(type, "bind") == 0 || has_option(m, "bind") || has_option(m, "rbind");
    bool uids = json_array_size(config_get(m, "uidMappings")) > 0;
    bool gids = json_array_size(config_get(m, "gidMappings")) > 0;
    int r = check_maps(m, where, "uidMappings", e);

    r = r == 0 ? check_maps(m, where, "gidMappings", e) : r;
    if (r < 0) {
        return r;
    }
    if (to[0] == '\0' || has_dots(to)) {
        return err_set(e, -EINVAL, "'%s.destination' is no place for a mount: '%s'",
                       where, to);
    }
    if (bind && config_text(m, "source", "")[0] == '\0' && !has_option(m, "remount")) {
        return err_set(e, -EINVAL, "'%s.source' is missing for a bind mount", where);
    }
    if (uids != gids) {
        return err_set(e, -EINVAL, "'%s.%s' is missing beside '%s'", where,
                       uids ? "gidMappings" : "uidMappings",
                       uids ? "uidMappings" : "gidMappings");
    }
    if (!bind && (uids || has_option(m, "idmap") || has_option(m, "ridmap"))) {
        return err_set(e, -EINVAL, "'%s' maps ids, but is no bind mount", where);
    }
    if (has_option(m, "tmpcopyup") && strcmp(type, "tmpfs") != 0) {
        return err_set(e, -EINVAL, "'%s.options' has tmpcopyup, but it is no tmpfs",
                       where);
    }
    return 0;
}

static int check_device(const json_t *d, const char *where, struct err *e)
{
    static const char *const types[] = {"c", "b", "u", "p", NULL};
    const char *path = config_text(d, "path", "");
    bool pipe = strcmp(config_text(d, "type", ""), "p") == 0;
    int r = check_word(d, where, "type", types, e);

    r = r == 0 ? check_range(d, where, "uid", 0, ID_MOST, e) : r;
    r = r == 0 ? check_range(d, where, "gid", 0, ID_MOST, e) : r;
    r = r == 0 ? check_range(d, where, "major", pipe ? INT64_MIN : 0, MAJOR_MOST, e) : r;
    r = r == 0 ? check_range(d, where, "minor", pipe ? INT64_MIN : 0, MINOR_MOST, e) : r;
    if (r < 0) {
        return r;
    }
    if (!pipe && (config_get(d, "major") == NULL || config_get(d, "minor") == NULL)) {
        return err_set(e, -EINVAL, "'%s.%s' is missing", where,
                       config_get(d, "major") == NULL ? "major" : "minor");
    }
    if (has_dots(path) || path[strlen(path) - 1] == '/') {
        return err_set(e, -EINVAL, "'%s.path' is no place for a device: '%s'", where,
                       path);
    }
    return 0;
}

static int check_each(const json_t *list, const char *name,
                      int (*check)(const json_t *item, const char *where, struct err *e),
                      struct err *e)
{
    char where[WHERE_BYTES];
    size_t i;
    json_t *item;
    int r = 0;

    json_array_foreach(list, i, item)
    {
        (void)str_print(where, sizeof where, "%s[%zu]", name, i);
        r = r < 0 ? r : check(item, where, e);
    }
    return r;
}

/* The namespace that makes a kernel setting the container's own; NULL: none does. */
static const char *sysctl_namespace(const char *key)
{
    static const char *const ipc[] = {
        "kernel.msgmax", "kernel.msgmnb",          "kernel.msgmni",
        "kernel.sem",    "kernel.shmall",          "kernel.shmmax",
        "kernel.shmmni", "kernel.shm_rmid_forced", NULL};
    static const char *const uts[] = {"kernel.domainname", "kernel.hostname", NULL};

    return is_one_of(key, ipc) || str_starts(key, "fs.mqueue.") ? "ipc"
           : str_starts(key, "net.")                            ? "network"
           : is_one_of(key, uts)                                ? "uts"
           : str_starts(key, "user.")                           ? "user"
                                                                : NULL;
}

static int check_sysctls(const json_t *config, struct err *e)
{
    const char *key;
    json_t *item;

    json_object_foreach(config_get(config, "linux.sysctl"), key, item)
    {
        char dotted[WHERE_BYTES];
        const char *ns;

        if (str_print(dotted, sizeof dotted, "%s", key) < 0 ||
            strstr(key, "..") != NULL || strstr(key, "//") != NULL || *key == '/' ||
            *key == '.') {
            return err_set(e, -EINVAL, "'linux.sysctl.%s' is no kernel setting", key);
        }
        for (char *p = strchr(key, '.') == NULL ? dotted : NULL; p != NULL && *p != '\0';
             p++) {
            *p = (char)(*p == '/' ? '.' : *p);
        }
        ns = sysctl_namespace(dotted);
        if (ns == NULL) {
            return err_set(e, -EINVAL,
                           "'linux.sysctl.%s' belongs to the host, not to a container",
                           key);
        }
        if (!has_namespace(config, ns)) {
            return err_set(e, -EINVAL, "'linux.sysctl.%s' needs a %s namespace", key, ns);
        }
    }
    return 0;
}

static int check_offsets(const json_t *config, struct err *e)
{
    static const char *const clocks[] = {"monotonic", "boottime", NULL};
    const json_t *offsets = config_get(config, "linux.timeOffsets");
    const char *key;
    json_t *item;
    int r = 0;

    if (json_object_size(offsets) > 0 && !has_new_namespace(config, "time")) {
        return err_set(e, -EINVAL, "'linux.timeOffsets' needs a new time namespace");
    }
    json_object_foreach((json_t *)(uintptr_t)offsets, key, item)
    {
        if (!is_one_of(key, clocks)) {
            return err_set(e, -EINVAL,
                           "'linux.timeOffsets.%s' is no clock with an offset", key);
        }
        r = r < 0 ? r
                  : check_range(item, "linux.timeOffsets", "nanosecs", 0,
                                NANOSECONDS_MOST, e);
    }
    return r;
}

static bool is_link_name(const char *name)
{
    return name[0] != '\0' && strlen(name) < LINK_NAME_BYTES && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0 && strpbrk(name, "/: \t\n%") == NULL;
}

static int check_devices_of_net(const json_t *config, struct err *e)
{
    const json_t *devices = config_get(config, "linux.netDevices");
    const char *key;
    json_t *item;

    if (json_object_size(devices) > 0 && !has_namespace(config, "network")) {
        return err_set(e, -EINVAL, "'linux.netDevices' needs a network namespace");
    }
    json_object_foreach((json_t *)(uintptr_t)devices, key, item)
    {
        if (!is_link_name(key) || !is_link_name(config_text(item, "name", key))) {
            return err_set(e, -EINVAL,
                           "'linux.netDevices.%s' is, or names, no network device", key);
        }
    }
    return 0;
}

static int check_hooks(const json_t *config, struct err *e)
{
    const char *kind;
    json_t *list;
    size_t i;
    json_t *hook;

    json_object_foreach(config_get(config, "hooks"), kind, list)
    {
        json_array_foreach(list, i, hook)
        {
            if (config_number(hook, "timeout", 1) < 1) {
                return err_set(e, -EINVAL, "'hooks.%s[%zu].timeout' is not above zero",
                               kind, i);
            }
        }
    }
    return 0;
}

static int check_words(const json_t *config, struct err *e)
{
    static const char *const spread[] = {
        "private", "rprivate",   "shared",      "rshared", "slave",
        "rslave",  "unbindable", "runbindable", "",        NULL};
    static const char *const domains[] = {"LINUX", "LINUX32", NULL};
    int r =
        check_word(config_get(config, "linux"), "linux", "rootfsPropagation", spread, e);

    return r == 0 ? check_word(config_get(config, "linux.personality"),
                               "linux.personality", "domain", domains, e)
                  : r;
}

int config_sense(const json_t *config, struct err *e)
{
    static int (*const checks[])(const json_t *, struct err *) = {
        check_names,          check_users, check_sysctls, check_offsets,
        check_devices_of_net, check_hooks, check_words};
    int r = check_each(config_get(config, "mounts"), "mounts", check_mount, e);

    r = r == 0 ? check_each(config_get(config, "linux.devices"), "linux.devices",
                            check_device, e)
               : r;
    for (size_t i = 0; r == 0 && i < sizeof checks / sizeof checks[0]; i++) {
        r = checks[i](config, e);
    }
    return r;
}
