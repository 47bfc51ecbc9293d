/* oci_config_fuzz.c - any configuration is accepted or refused with a text, and what
 * is accepted can be read by all who read it. */
#include <assert.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "host/cgroup_limits.h"
#include "tests/fuzz/target.h"
#include "virt/container/confine/seccomp_private.h"
#include "virt/container/private.h"
#include "virt/container/tree/mounts.h"

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

/* What is compiled is a filter that the kernel takes: each of its paths ends inside. */
static void read_filter(const json_t *config)
{
    const json_t *profile = config_get(config, "linux.seccomp");
    struct seccomp_filter *f = NULL;
    struct strv warnings = {0};
    struct err e = {0};
    int r = seccomp_filter_create(profile, NULL, &warnings, &f, &e);

    assert((r == 0) == (e.code == 0));
    for (uint32_t i = 0; r == 0 && i < f->n; i++) {
        const struct sock_filter *at = &f->insns[i];
        uint32_t most = at->code == (BPF_JMP | BPF_JA) ? at->k
                        : at->jt > at->jf              ? at->jt
                                                       : at->jf;

        assert(BPF_CLASS(at->code) == BPF_RET || most < f->n - i - 1);
    }
    seccomp_filter_destroy(f);
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
    read_filter(config);
    (void)ns_plan_read_kinds(config, &plan, NULL);
    return 0;
}
