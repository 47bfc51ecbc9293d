/* config_test.c - a hostile or mistaken configuration is refused by the member's name. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "tests/base/check.h"
#include "virt/container/private.h"

/* A part of a configuration, and the words that its refusal must have. */
struct bad {
    const char *part; /* added to the least configuration; ' for " */
    const char *names;
};

/* clang-format off */
static const struct bad table[] = {
    {"'ociVersion':7",                                           "ociVersion"},
    {"'ociVersion':'2.0.0'",                                     "ociVersion"},
    {"'ociVersion':null",                                        "ociVersion"},
    {"'hostname':{}",                                            "hostname"},
    {"'hostname':'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'", "hostname"},
    {"'hostname':'x','linux':{'namespaces':[{'type':'mount'}]}", "hostname"},
    {"'domainname':'x','linux':{'namespaces':[]}",               "domainname"},
    {"'root':[]",                                                "root"},
    {"'root':{}",                                                "root.path"},
    {"'root':{'path':'r','readonly':'yes'}",                     "root.readonly"},
    {"'annotations':{'a':1}",                                    "annotations.a"},
    {"'process':[]",                                             "process"},
    {"'process':{'cwd':'x','args':['a']}",                       "process.cwd"},
    {"'process':{'cwd':'/','args':[]}",                          "process.args"},
    {"'process':{'cwd':'/','args':[1]}",                         "process.args[0]"},
    {"'process':{'cwd':'/','args':['a\\u0000b']}",               ""},
    {"'process':{'cwd':'/','env':['X']}",                        "process.env[0]"},
    {"'process':{'cwd':'/','env':['=X']}",                       "process.env[0]"},
    {"'process':{'cwd':'/','user':{'uid':-1}}",                  "process.user.uid"},
    {"'process':{'cwd':'/','user':{'uid':4294967295}}",          "process.user.uid"},
    {"'process':{'cwd':'/','user':{'umask':512}}",               "process.user.umask"},
    {"'process':{'cwd':'/','user':{'additionalGids':['x']}}",    "additionalGids[0]"},
    {"'process':{'cwd':'/','user':{'additionalGids':[4294967295]}}", "additionalGids[0]"},
    {"'process':{'cwd':'/','consoleSize':{'height':70000,'width':1}}", "consoleSize.height"},
    {"'process':{'cwd':'/','consoleSize':{'height':1}}",         "consoleSize.width"},
    {"'process':{'cwd':'/','oomScoreAdj':1001}",                 "oomScoreAdj"},
    {"'process':{'cwd':'/','rlimits':[{'type':'RLIMIT_X','soft':1,'hard':1}]}", "rlimits[0].type"},
    {"'process':{'cwd':'/','rlimits':[{'type':'RLIMIT_CPU','soft':2,'hard':1}]}", "rlimits[0].soft"},
    {"'process':{'cwd':'/','rlimits':[{'type':'RLIMIT_CPU','soft':-1,'hard':1}]}", "rlimits[0].soft"},
    {"'process':{'cwd':'/','rlimits':[{'type':'RLIMIT_CPU','soft':1,'hard':1},{'type':'RLIMIT_CPU','soft':1,'hard':1}]}", "rlimits[1].type"},
    {"'process':{'cwd':'/','capabilities':{'bounding':7}}",      "capabilities.bounding"},
    {"'process':{'cwd':'/','scheduler':{'policy':'SCHED_X'}}",   "scheduler.policy"},
    {"'process':{'cwd':'/','scheduler':{'policy':'SCHED_OTHER','nice':20}}", "scheduler.nice"},
    {"'process':{'cwd':'/','scheduler':{'policy':'SCHED_OTHER','flags':['X']}}", "scheduler.flags"},
    {"'process':{'cwd':'/','ioPriority':{'class':'X'}}",         "ioPriority.class"},
    {"'process':{'cwd':'/','ioPriority':{'class':'IOPRIO_CLASS_BE','priority':8}}", "ioPriority.priority"},
    {"'process':{'cwd':'/','execCPUAffinity':{'initial':'all'}}", "execCPUAffinity.initial"},
    {"'mounts':{}",                                              "mounts"},
    {"'mounts':[7]",                                             "mounts[0]"},
    {"'mounts':[{'type':'tmpfs'}]",                              "mounts[0].destination"},
    {"'mounts':[{'destination':'/a/../../b','type':'tmpfs'}]",   "mounts[0].destination"},
    {"'mounts':[{'destination':'/a','type':'bind'}]",            "mounts[0].source"},
    {"'mounts':[{'destination':'/a','type':'bind','source':'/','options':[[]]}]", "mounts[0].options[0]"},
    {"'mounts':[{'destination':'/a','type':'tmpfs','options':['idmap']}]", "mounts[0]"},
    {"'mounts':[{'destination':'/a','type':'proc','options':['tmpcopyup']}]", "mounts[0].options"},
    {"'mounts':[{'destination':'/a','type':'bind','source':'/','uidMappings':[{'containerID':0,'hostID':0,'size':1}]}]", "mounts[0].gidMappings"},
    {"'mounts':[{'destination':'/a','type':'bind','source':'/','uidMappings':[{'containerID':0,'hostID':4294967295,'size':2}]}]", "uidMappings[0].size"},
    {"'hooks':{'poststop':[{'args':['x']}]}",                    "hooks.poststop[0].path"},
    {"'hooks':{'poststop':[{'path':'x'}]}",                      "hooks.poststop[0].path"},
    {"'hooks':{'poststop':[{'path':'/x','timeout':0}]}",         "hooks.poststop[0].timeout"},
    {"'linux':{'namespaces':[{}]}",                              "namespaces[0].type"},
    {"'linux':{'namespaces':[{'type':'user'}]}",                 "uidMappings"},
    {"'linux':{'uidMappings':[{'containerID':0,'hostID':0,'size':1}]}", "uidMappings"},
    {"'linux':{'uidMappings':[{'containerID':0,'hostID':0,'size':0}]}", "uidMappings[0].size"},
    {"'linux':{'namespaces':[{'type':'time'}],'timeOffsets':{'realtime':{'secs':1}}}", "timeOffsets.realtime"},
    {"'linux':{'timeOffsets':{'boottime':{'secs':1}}}",          "timeOffsets"},
    {"'linux':{'namespaces':[{'type':'time'}],'timeOffsets':{'boottime':{'nanosecs':1000000000}}}", "nanosecs"},
    {"'linux':{'devices':[{'path':'dev/x','type':'c','major':1,'minor':3}]}", "devices[0].path"},
    {"'linux':{'devices':[{'path':'/dev/../x','type':'c','major':1,'minor':3}]}", "devices[0].path"},
    {"'linux':{'devices':[{'path':'/dev/x','type':'q','major':1,'minor':3}]}", "devices[0].type"},
    {"'linux':{'devices':[{'path':'/dev/x','type':'c','major':1}]}", "devices[0].minor"},
    {"'linux':{'devices':[{'path':'/dev/x','type':'c','major':99999,'minor':0}]}", "devices[0].major"},
    {"'linux':{'sysctl':{'kernel.core_pattern':'|x'}}",          "kernel.core_pattern"},
    {"'linux':{'sysctl':{'net.ipv4.ip_forward':'1'}}",           "net.ipv4.ip_forward"},
    {"'linux':{'namespaces':[{'type':'network'}],'sysctl':{'net...kernel.panic':'1'}}", "net...kernel.panic"},
    {"'linux':{'sysctl':{'kernel.msgmax':1}}",                   "kernel.msgmax"},
    {"'linux':{'maskedPaths':['x']}",                            "maskedPaths[0]"},
    {"'linux':{'readonlyPaths':[1]}",                            "readonlyPaths[0]"},
    {"'linux':{'rootfsPropagation':'all'}",                      "rootfsPropagation"},
    {"'linux':{'personality':{'domain':'BSD'}}",                 "personality.domain"},
    {"'linux':{'intelRdt':{'closID':'x'}}",                      "intelRdt"},
    {"'linux':{'netDevices':{'eth0':{}}}",                       "netDevices"},
    {"'linux':{'namespaces':[{'type':'network'}],'netDevices':{'a/b':{}}}", "netDevices"},
    {"'linux':{'memoryPolicy':{}}",                              "memoryPolicy.mode"},
};

/* clang-format on */

/* The least configuration with a part in front, which wins over it. */
static json_t *with(const char *part)
{
    json_t *base =
        json_pack("{s:s, s:{s:s}}", "ociVersion", "1.2.0", "root", "path", "r");
    char text[2048];
    json_t *more = NULL;
    struct err e = {0};

    (void)snprintf(text, sizeof text, "{%s}", part);
    for (char *p = text; *p != '\0'; p++) {
        *p = *p == '\'' ? '"' : *p;
    }
    if (json_parse(text, strlen(text), "the part", &more, &e) < 0) {
        json_decref(base);
        return NULL;
    }
    (void)json_object_update(base, more);
    json_decref(more);
    return base;
}

static void each_bad_member_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        json_t *config = with(table[i].part);
        struct err e = {0};
        int r = config == NULL ? -EINVAL : config_check(config, &e);

        if (r >= 0 || strstr(e.text, table[i].names) == NULL) {
            print_error("%s -> %d '%s'\n", table[i].part, r, e.text);
        }
        assert_true(r < 0);
        assert_non_null(strstr(e.text, table[i].names));
        json_decref(config);
    }
}

static void what_is_not_an_object_is_refused(void **state)
{
    json_t *list = json_array();
    struct err e = {0};

    (void)state;
    assert_int_equal(config_check(list, &e), -EINVAL);
    json_decref(list);
}

static void a_usual_configuration_passes(void **state)
{
    json_t *config = with(
        "'hostname':'h','process':{'cwd':'/','args':['a'],'env':['A=b='],"
        "'user':{'uid':1,'gid':2,'umask':18,'additionalGids':[3]},"
        "'rlimits':[{'type':'RLIMIT_NOFILE','soft':1,'hard':-1}],"
        "'scheduler':{'policy':'SCHED_BATCH','nice':5},'oomScoreAdj':-1000},"
        "'mounts':[{'destination':'/d','type':'bind','source':'x','options':['rbind',"
        "'rro']},{'destination':'/t','type':'tmpfs','options':['tmpcopyup']}],"
        "'linux':{'namespaces':[{'type':'uts'},{'type':'mount'},{'type':'ipc'},"
        "{'type':'time'},{'type':'network','path':'/proc/1/ns/net'}],"
        "'sysctl':{'kernel.msgmax':'1','net.ipv4.ip_forward':'0'},"
        "'timeOffsets':{'boottime':{'secs':-5,'nanosecs':1}},"
        "'devices':[{'path':'/dev/p','type':'p'}],'netDevices':{'eth9':{'name':'e'}},"
        "'memoryPolicy':{'mode':'MPOL_BIND','nodes':'0'},"
        "'rootfsPropagation':'rslave','unknownMember':[1]}");
    struct err e = {0};

    (void)state;
    assert_non_null(config);
    if (config_check(config, &e) < 0) {
        print_error("%s\n", e.text);
    }
    assert_int_equal(e.code, 0);
    json_decref(config);
}

/* ---- what the runtime says of itself ---- */

static bool has_word(const json_t *list, const char *word)
{
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        if (strcmp(json_string_value(item), word) == 0) {
            return true;
        }
    }
    return false;
}

static void features_are_those_of_the_specification(void **state)
{
    SCOPED(scope_json) json_t *f = container_features();
    const json_t *lin = json_object_get(f, "linux");
    const json_t *filter = json_object_get(lin, "seccomp");

    (void)state;
    assert_non_null(f);
    assert_true(has_word(json_object_get(f, "hooks"), "createContainer"));
    assert_true(has_word(json_object_get(f, "mountOptions"), "rbind"));
    assert_true(has_word(json_object_get(f, "mountOptions"), "tmpcopyup"));
    assert_int_equal(json_array_size(json_object_get(lin, "namespaces")), 8);
    assert_true(has_word(json_object_get(lin, "capabilities"), "CAP_SYS_ADMIN"));
    assert_true(has_word(json_object_get(filter, "actions"), "SCMP_ACT_NOTIFY"));
    assert_true(has_word(json_object_get(filter, "operators"), "SCMP_CMP_MASKED_EQ"));
    assert_true(
        has_word(json_object_get(filter, "knownFlags"), "SECCOMP_FILTER_FLAG_LOG"));
    assert_true(has_word(json_object_get(json_object_get(lin, "memoryPolicy"), "modes"),
                         "MPOL_BIND"));
}

static void the_default_calls_follow_the_capabilities(void **state)
{
    SCOPED(scope_json)
    json_t *process =
        json_pack("{s:{s:[s]}}", "capabilities", "bounding", "CAP_SYS_ADMIN");
    SCOPED(scope_json) json_t *usual = NULL;
    SCOPED(scope_json) json_t *more = NULL;
    struct err e = {0};
    bool found = false;

    (void)state;
    assert_int_equal(container_default_syscalls(NULL, &usual, &e), 0);
    assert_int_equal(container_default_syscalls(process, &more, &e), 0);
    for (size_t i = 0; i < json_array_size(usual); i++) {
        const char *name =
            json_string_value(json_object_get(json_array_get(usual, i), "name"));

        assert_string_not_equal(name, "mount");
    }
    for (size_t i = 0; i < json_array_size(more); i++) {
        const char *name =
            json_string_value(json_object_get(json_array_get(more, i), "name"));

        found = found || strcmp(name, "mount") == 0;
    }
    assert_true(found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_bad_member_is_named),
        cmocka_unit_test(what_is_not_an_object_is_refused),
        cmocka_unit_test(a_usual_configuration_passes),
        cmocka_unit_test(features_are_those_of_the_specification),
        cmocka_unit_test(the_default_calls_follow_the_capabilities),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
