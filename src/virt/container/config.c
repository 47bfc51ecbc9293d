/* config.c - check a configuration before anything of it is used.
 *
 * One row per member that this runtime reads, with the type it must have; rows
 * end a path in "[]" for each element of an array and in "{}" for each member
 * of an object.  What passed here is read without further checks.  Members that
 * are not in the table are ignored, as the specification asks (runtime-spec
 * 1.2, "Extensibility"), but for those that ask for something this host or
 * runtime cannot give: they are refused by name. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/scope.h"
#include "host/file.h"
#include "virt/container/private.h"

#define CONFIG_MOST_BYTES (16 << 20)
#define PATH_BYTES        256
#define ITEMS_MOST        100000

enum want {
    W_OBJECT,
    W_ARRAY,
    W_TEXT,
    W_NUMBER,
    W_COUNT,
    W_FLAG,
    W_PATH,
    W_REFUSED
};

static const struct row {
    const char *path;
    enum want want;
    bool needed; /* when its parent is there */
} rows[] = {
    {"ociVersion", W_TEXT, true},
    {"hostname", W_TEXT, false},
    {"domainname", W_TEXT, false},
    {"root", W_OBJECT, false},
    {"root.path", W_TEXT, true},
    {"root.readonly", W_FLAG, false},
    {"annotations", W_OBJECT, false},
    {"annotations{}", W_TEXT, false},
    {"process", W_OBJECT, false},
    {"mounts", W_ARRAY, false},
    {"mounts[]", W_OBJECT, false},
    {"mounts[].destination", W_TEXT, true},
    {"mounts[].type", W_TEXT, false},
    {"mounts[].source", W_TEXT, false},
    {"mounts[].options", W_ARRAY, false},
    {"mounts[].options[]", W_TEXT, false},
    {"mounts[].uidMappings", W_ARRAY, false},
    {"mounts[].uidMappings[]", W_OBJECT, false},
    {"mounts[].uidMappings[].containerID", W_COUNT, true},
    {"mounts[].uidMappings[].hostID", W_COUNT, true},
    {"mounts[].uidMappings[].size", W_COUNT, true},
    {"mounts[].gidMappings", W_ARRAY, false},
    {"mounts[].gidMappings[]", W_OBJECT, false},
    {"mounts[].gidMappings[].containerID", W_COUNT, true},
    {"mounts[].gidMappings[].hostID", W_COUNT, true},
    {"mounts[].gidMappings[].size", W_COUNT, true},
    {"hooks", W_OBJECT, false},
    {"hooks{}", W_ARRAY, false},
    {"hooks{}[]", W_OBJECT, false},
    {"hooks{}[].path", W_PATH, true},
    {"hooks{}[].args", W_ARRAY, false},
    {"hooks{}[].args[]", W_TEXT, false},
    {"hooks{}[].env", W_ARRAY, false},
    {"hooks{}[].env[]", W_TEXT, false},
    {"hooks{}[].timeout", W_NUMBER, false},
    {"linux", W_OBJECT, false},
    {"linux.namespaces", W_ARRAY, false},
    {"linux.namespaces[]", W_OBJECT, false},
    {"linux.namespaces[].type", W_TEXT, true},
    {"linux.namespaces[].path", W_TEXT, false},
    {"linux.uidMappings", W_ARRAY, false},
    {"linux.uidMappings[]", W_OBJECT, false},
    {"linux.uidMappings[].containerID", W_COUNT, true},
    {"linux.uidMappings[].hostID", W_COUNT, true},
    {"linux.uidMappings[].size", W_COUNT, true},
    {"linux.gidMappings", W_ARRAY, false},
    {"linux.gidMappings[]", W_OBJECT, false},
    {"linux.gidMappings[].containerID", W_COUNT, true},
    {"linux.gidMappings[].hostID", W_COUNT, true},
    {"linux.gidMappings[].size", W_COUNT, true},
    {"linux.timeOffsets", W_OBJECT, false},
    {"linux.timeOffsets{}", W_OBJECT, false},
    {"linux.timeOffsets{}.secs", W_NUMBER, false},
    {"linux.timeOffsets{}.nanosecs", W_COUNT, false},
    {"linux.devices", W_ARRAY, false},
    {"linux.devices[]", W_OBJECT, false},
    {"linux.devices[].path", W_PATH, true},
    {"linux.devices[].type", W_TEXT, true},
    {"linux.devices[].major", W_NUMBER, false},
    {"linux.devices[].minor", W_NUMBER, false},
    {"linux.devices[].fileMode", W_COUNT, false},
    {"linux.devices[].uid", W_COUNT, false},
    {"linux.devices[].gid", W_COUNT, false},
    {"linux.sysctl", W_OBJECT, false},
    {"linux.sysctl{}", W_TEXT, false},
    {"linux.resources", W_OBJECT, false},
    {"linux.cgroupsPath", W_TEXT, false},
    {"linux.rootfsPropagation", W_TEXT, false},
    {"linux.seccomp", W_OBJECT, false},
    {"linux.maskedPaths", W_ARRAY, false},
    {"linux.maskedPaths[]", W_PATH, false},
    {"linux.readonlyPaths", W_ARRAY, false},
    {"linux.readonlyPaths[]", W_PATH, false},
    {"linux.mountLabel", W_TEXT, false},
    {"linux.personality", W_OBJECT, false},
    {"linux.personality.domain", W_TEXT, true},
    {"linux.intelRdt", W_REFUSED, false},
    {"linux.memoryPolicy", W_OBJECT, false},
    {"linux.memoryPolicy.mode", W_TEXT, true},
    {"linux.memoryPolicy.nodes", W_TEXT, false},
    {"linux.memoryPolicy.flags", W_ARRAY, false},
    {"linux.memoryPolicy.flags[]", W_TEXT, false},
    {"linux.netDevices", W_OBJECT, false},
    {"linux.netDevices{}", W_OBJECT, false},
    {"linux.netDevices{}.name", W_TEXT, false},
};

static const struct row process_rows[] = {
    {"terminal", W_FLAG, false},
    {"consoleSize", W_OBJECT, false},
    {"consoleSize.height", W_COUNT, true},
    {"consoleSize.width", W_COUNT, true},
    {"cwd", W_PATH, true},
    {"env", W_ARRAY, false},
    {"env[]", W_TEXT, false},
    {"args", W_ARRAY, false},
    {"args[]", W_TEXT, false},
    {"user", W_OBJECT, false},
    {"user.uid", W_COUNT, false},
    {"user.gid", W_COUNT, false},
    {"user.umask", W_COUNT, false},
    {"user.additionalGids", W_ARRAY, false},
    {"user.additionalGids[]", W_COUNT, false},
    {"rlimits", W_ARRAY, false},
    {"rlimits[]", W_OBJECT, false},
    {"rlimits[].type", W_TEXT, true},
    {"rlimits[].soft", W_NUMBER, true},
    {"rlimits[].hard", W_NUMBER, true},
    {"capabilities", W_OBJECT, false},
    {"capabilities{}", W_ARRAY, false},
    {"capabilities{}[]", W_TEXT, false},
    {"noNewPrivileges", W_FLAG, false},
    {"oomScoreAdj", W_NUMBER, false},
    {"apparmorProfile", W_TEXT, false},
    {"selinuxLabel", W_TEXT, false},
    {"ioPriority", W_OBJECT, false},
    {"ioPriority.class", W_TEXT, true},
    {"ioPriority.priority", W_COUNT, false},
    {"scheduler", W_OBJECT, false},
    {"scheduler.policy", W_TEXT, true},
    {"scheduler.nice", W_NUMBER, false},
    {"scheduler.priority", W_NUMBER, false},
    {"scheduler.runtime", W_COUNT, false},
    {"scheduler.deadline", W_COUNT, false},
    {"scheduler.period", W_COUNT, false},
    {"scheduler.flags", W_ARRAY, false},
    {"scheduler.flags[]", W_TEXT, false},
    {"execCPUAffinity", W_OBJECT, false},
    {"execCPUAffinity.initial", W_TEXT, false},
    {"execCPUAffinity.final", W_TEXT, false},
};

static const char *check_value(const json_t *v, enum want want)
{
    const char *text = json_string_value(v);

    switch (want) {
    case W_OBJECT:
        return json_is_object(v) ? NULL : "is not an object";
    case W_ARRAY:
        return !json_is_array(v)                 ? "is not an array"
               : json_array_size(v) > ITEMS_MOST ? "has too many elements"
                                                 : NULL;
    case W_TEXT:
    case W_PATH:
        if (text == NULL) {
            return "is not a string";
        }
        if (strlen(text) != json_string_length(v)) {
            return "has a NUL in it";
        }
        return want == W_PATH && text[0] != '/' ? "is not an absolute path" : NULL;
    case W_NUMBER:
        return json_is_integer(v) ? NULL : "is not an integer";
    case W_COUNT:
        return json_is_integer(v) && json_integer_value(v) >= 0
                   ? NULL
                   : "is not a number from 0 up";
    case W_FLAG:
        return json_is_boolean(v) ? NULL : "is not true or false";
    case W_REFUSED:
        break;
    }
    return "asks for something that this host cannot give";
}

/* Walk `path` from `v`; `where` is how far we are, for the error. */
static int check_at(const json_t *v, const char *path, const struct row *row,
                    const char *where, struct err *e);

static int check_each(const json_t *v, const char *rest, const struct row *row,
                      const char *where, struct err *e)
{
    char here[PATH_BYTES];
    const char *key;
    json_t *item;
    size_t i;
    int r = 0;

    if (json_is_array(v)) {
        json_array_foreach(v, i, item)
        {
            (void)str_print(here, sizeof here, "%s[%zu]", where, i);
            r = r < 0 ? r : check_at(item, rest, row, here, e);
        }
    } else {
        json_object_foreach((json_t *)(uintptr_t)v, key, item)
        {
            (void)str_print(here, sizeof here, "%s.%s", where, key);
            r = r < 0 ? r : check_at(item, rest, row, here, e);
        }
    }
    return r;
}

static int check_member(const json_t *v, const char *path, const struct row *row,
                        const char *where, struct err *e)
{
    size_t len = strcspn(path, ".[{");
    char here[PATH_BYTES];
    char key[64];
    const json_t *member;

    (void)str_print(key, sizeof key, "%.*s", (int)len, path);
    (void)str_print(here, sizeof here, "%s%s%s", where, *where != '\0' ? "." : "", key);
    member = json_object_get(v, key);
    if (member == NULL || json_is_null(member)) {
        return row->needed && path[len] == '\0'
                   ? err_set(e, -EINVAL, "the configuration lacks '%s'", here)
                   : 0;
    }
    return check_at(member, path + len, row, here, e);
}

static int check_at(const json_t *v, const char *path, const struct row *row,
                    const char *where, struct err *e)
{
    if (*path == '\0') {
        const char *what = check_value(v, row->want);

        return what != NULL
                   ? err_set(e, -EINVAL, "'%s' of the configuration %s", where, what)
                   : 0;
    }
    if (path[0] == '[' || path[0] == '{') {
        bool fits = path[0] == '[' ? json_is_array(v) : json_is_object(v);

        return fits ? check_each(v, path + 2, row, where, e) : 0;
    }
    return json_is_object(v)
               ? check_member(v, path[0] == '.' ? path + 1 : path, row, where, e)
               : 0;
}

int config_check_process(const json_t *process, const char *where, struct err *e)
{
    if (!json_is_object(process)) {
        return err_set(e, -EINVAL, "'%s' of the configuration is not an object", where);
    }
    for (size_t i = 0; i < sizeof process_rows / sizeof process_rows[0]; i++) {
        int r = check_at(process, process_rows[i].path, &process_rows[i], where, e);

        if (r < 0) {
            return r;
        }
    }
    return config_sense_process(process, where, e);
}

int config_check(const json_t *config, struct err *e)
{
    const json_t *process = json_object_get(config, "process");

    if (!json_is_object(config)) {
        return err_set(e, -EINVAL, "the configuration is not an object");
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int r = check_at(config, rows[i].path, &rows[i], "", e);

        if (r < 0) {
            return r;
        }
    }
    if (!str_starts(config_text(config, "ociVersion", ""), "1.")) {
        return err_set(e, -EINVAL, "'ociVersion' of the configuration is '%s', not 1.x",
                       config_text(config, "ociVersion", ""));
    }
    if (json_is_object(process)) {
        int r = config_check_process(process, "process", e);

        if (r < 0) {
            return r;
        }
    }
    return config_sense(config, e);
}

int config_read(const char *bundle, json_t **ret, struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    char path[PATH_MAX];
    size_t len = 0;
    int r = str_print(path, sizeof path, "%s/config.json", bundle);

    if (r == 0) {
        r = file_read(AT_FDCWD, path, CONFIG_MOST_BYTES, &text, &len);
    }
    if (r < 0) {
        return err_sys(e, r, "cannot read '%s'", path);
    }
    return json_parse(text, len, path, ret, e);
}
