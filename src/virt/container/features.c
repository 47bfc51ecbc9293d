/* features.c - what this runtime can do, in the words of runtime-spec 1.2. */
#include <string.h>

#include "virt/container/confine/landlock.h"
#include "virt/container/private.h"

static json_t *list_of(const char *const *words, size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++) {
        (void)json_array_append_new(list, json_string(words[i]));
    }
    return list;
}

#define LIST(words) list_of(words, sizeof(words) / sizeof(words)[0])

static json_t *capabilities(void)
{
    json_t *list = json_array();

    for (int i = 0; caps_name(i) != NULL; i++) {
        (void)json_array_append_new(list, json_string(caps_name(i)));
    }
    return list;
}

json_t *container_features(void)
{
    static const char *const hooks[] = {"prestart",        "createRuntime",
                                        "createContainer", "startContainer",
                                        "poststart",       "poststop"};
    static const char *const options[] = {"ro",           "rw",
                                          "nosuid",       "suid",
                                          "nodev",        "dev",
                                          "noexec",       "exec",
                                          "noatime",      "atime",
                                          "relatime",     "norelatime",
                                          "strictatime",  "nostrictatime",
                                          "nodiratime",   "diratime",
                                          "nosymfollow",  "symfollow",
                                          "rro",          "rrw",
                                          "rnosuid",      "rsuid",
                                          "rnodev",       "rdev",
                                          "rnoexec",      "rexec",
                                          "rnoatime",     "ratime",
                                          "rrelatime",    "rnorelatime",
                                          "rstrictatime", "rnostrictatime",
                                          "rnodiratime",  "rdiratime",
                                          "rnosymfollow", "rsymfollow",
                                          "private",      "rprivate",
                                          "slave",        "rslave",
                                          "shared",       "rshared",
                                          "unbindable",   "runbindable",
                                          "sync",         "async",
                                          "dirsync",      "mand",
                                          "nomand",       "lazytime",
                                          "nolazytime",   "bind",
                                          "rbind",        "idmap",
                                          "ridmap",       "defaults",
                                          "remount",      "silent",
                                          "loud",         "iversion",
                                          "noiversion",   "tmpcopyup"};
    static const char *const actions[] = {
        "SCMP_ACT_ALLOW",        "SCMP_ACT_ERRNO",       "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG",
        "SCMP_ACT_NOTIFY",       "SCMP_ACT_TRACE",       "SCMP_ACT_TRAP"};
    static const char *const operators[] = {
        "SCMP_CMP_EQ", "SCMP_CMP_GE",        "SCMP_CMP_GT", "SCMP_CMP_LE",
        "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"};
    static const char *const archs[] = {"SCMP_ARCH_X86", "SCMP_ARCH_X86_64",
                                        "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64",
                                        "SCMP_ARCH_ARM", "SCMP_ARCH_RISCV64"};
    json_t *namespaces = json_array();
    json_t *part;

    for (int i = 0; i < NS_COUNT; i++) {
        (void)json_array_append_new(namespaces, json_string(ns_table[i].type));
    }
    part = json_pack(
        "{s:o, s:o, s:{s:b, s:b, s:b, s:b, s:b}, s:{s:b, s:o, s:o, s:o}, s:{s:b}, "
        "s:{s:b}, s:{s:{s:b}}, s:{s:b}, s:{s:b}}",
        "namespaces", namespaces, "capabilities", capabilities(), "cgroup", "v1", 1, "v2",
        1, "systemd", 0, "systemdUser", 0, "rdma", 1, "seccomp", "enabled", 1, "actions",
        LIST(actions), "operators", LIST(operators), "archs", LIST(archs), "apparmor",
        "enabled", 1, "selinux", "enabled", 1, "mountExtensions", "idmap", "enabled", 1,
        "intelRdt", "enabled", 0, "netDevices", "enabled", 1);
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:{s:s, s:s}}", "ociVersionMin", "1.0.0",
                     "ociVersionMax", "1.3.0", "hooks", LIST(hooks), "mountOptions",
                     LIST(options), "linux", part, "annotations", "org.strata.version",
                     "0.1.0", "org.strata.landlock", landlock_abi() > 0 ? "yes" : "no");
}
