/* features.c - what this runtime can do, in the words of runtime-spec 1.3. */
#include <errno.h>
#include <string.h>

#include "virt/container/confine/landlock.h"
#include "virt/container/confine/seccomp.h"
#include "virt/container/private.h"

typedef const char *word_at(size_t i);

/* Each list comes from the table that the runtime itself reads with. */
static json_t *list(word_at *word)
{
    json_t *out = json_array();

    for (size_t i = 0; word(i) != NULL; i++) {
        (void)json_array_append_new(out, json_string(word(i)));
    }
    return out;
}

static json_t *seccomp_list(enum seccomp_words kind)
{
    json_t *out = json_array();

    for (size_t i = 0; seccomp_word(kind, i) != NULL; i++) {
        (void)json_array_append_new(out, json_string(seccomp_word(kind, i)));
    }
    return out;
}

static const char *capability(size_t i)
{
    return caps_name((int)i);
}

static const char *namespace_type(size_t i)
{
    return i < NS_COUNT ? ns_table[i].type : NULL;
}

static json_t *seccomp(void)
{
    return json_pack("{s:b, s:o, s:o, s:o, s:o, s:o}", "enabled", 1, "actions",
                     seccomp_list(SECCOMP_WORDS_ACTIONS), "operators",
                     seccomp_list(SECCOMP_WORDS_OPERATORS), "archs",
                     seccomp_list(SECCOMP_WORDS_ARCHES), "knownFlags",
                     seccomp_list(SECCOMP_WORDS_FLAGS), "supportedFlags",
                     seccomp_list(SECCOMP_WORDS_FLAGS));
}

static json_t *linux_part(void)
{
    return json_pack("{s:o, s:o, s:{s:b, s:b, s:b, s:b, s:b}, s:o, s:{s:b}, s:{s:b}, "
                     "s:{s:{s:b}}, s:{s:b}, s:{s:b}, s:{s:o, s:o}}",
                     "namespaces", list(namespace_type), "capabilities", list(capability),
                     "cgroup", "v1", 1, "v2", 1, "systemd", 0, "systemdUser", 0, "rdma",
                     1, "seccomp", seccomp(), "apparmor", "enabled", 1, "selinux",
                     "enabled", 1, "mountExtensions", "idmap", "enabled", 1, "intelRdt",
                     "enabled", 0, "netDevices", "enabled", 1, "memoryPolicy", "modes",
                     list(schedule_memory_mode), "flags", list(schedule_memory_flag));
}

json_t *container_features(void)
{
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:{s:s, s:s}}", "ociVersionMin", "1.0.0",
                     "ociVersionMax", "1.3.0", "hooks", list(hooks_kind), "mountOptions",
                     list(mounts_option), "linux", linux_part(), "annotations",
                     "org.strata.version", "0.1.0", "org.strata.landlock",
                     landlock_abi() > 0 ? "yes" : "no");
}

int container_default_syscalls(const json_t *process, json_t **ret, struct err *e)
{
    struct caps caps = {.bounding = caps_default()};
    int r = 0;

    if (config_get(process, "capabilities") != NULL) {
        r = caps_parse(config_get(process, "capabilities"), "process.capabilities", &caps,
                       NULL, e);
    }
    if (r < 0) {
        return r;
    }
    *ret = seccomp_default_allowed(caps.bounding);
    return *ret != NULL ? 0 : err_set(e, -ENOMEM, "cannot list the calls: no memory");
}
