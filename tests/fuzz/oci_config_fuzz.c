/* oci_config_fuzz.c - any configuration is accepted or refused with a text, and what
 * is accepted can be read by all who read it. */
#include <assert.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "host/cgroup_limits.h"
#include "tests/fuzz/target.h"
#include "virt/container/mounts.h"
#include "virt/container/private.h"

static void read_mounts(const json_t *config)
{
    size_t i;
    json_t *item;

    json_array_foreach(config_get(config, "mounts"), i, item)
    {
        struct mount_plan p;
        struct err e = {0};
        int r = mount_plan_read(item, &p, &e);

        assert(r == 0 || e.code < 0);
        mount_plan_fini(&p);
    }
}

static void read_resources(const json_t *config)
{
    struct cgroup_limits l;
    struct err e = {0};
    int r = cgroup_limits_parse(config_get(config, "linux.resources"), "linux.resources",
                                true, &l, &e);

    assert((r == 0) == (e.code == 0));
    if (r == 0) {
        cgroup_limits_fini(&l);
    }
}

static void read_capabilities(const json_t *config)
{
    struct strv warnings = {0};
    struct caps caps;
    struct err e = {0};
    int r = caps_parse(config_get(config, "process.capabilities"), "process.capabilities",
                       &caps, &warnings, &e);

    assert((r == 0) == (e.code == 0));
    strv_fini(&warnings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    SCOPED(scope_json) json_t *config = NULL;
    struct ns_plan plan;
    struct err e = {0};

    if (json_parse((const char *)data, size, "input", &config, &e) != 0) {
        return 0;
    }
    if (config_check(config, &e) != 0) {
        assert(e.code < 0 && e.text[0] != '\0');
        return 0;
    }
    assert(e.code == 0);
    read_mounts(config);
    read_resources(config);
    read_capabilities(config);
    (void)ns_plan_read_kinds(config, &plan, NULL);
    return 0;
}
