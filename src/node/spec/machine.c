/* node/spec/machine.c - the plan of a machine: what its worker is to run. */
#include <string.h>

#include "base/str.h"
#include "node/spec/private.h"

#define MEMORY_BYTES    (UINT64_C(512) << 20)
#define OVERHEAD_BYTES  (UINT64_C(512) << 20) /* of the worker, whatever it runs */
#define CODE_BYTES      (UINT64_C(96) << 20)  /* ... for each processor */
#define TASKS_OF_WORKER 32                    /* ... beside a thread for each processor */
#define MILLIS_OF_A_CPU 1000

static json_int_t number_of(const json_t *obj, const char *key, json_int_t other)
{
    const json_t *v = json_object_get(obj, key);

    return json_is_integer(v) && json_integer_value(v) > 0 ? json_integer_value(v)
                                                           : other;
}

static json_t *boot_part(const json_t *config)
{
    static const char *const keys[] = {"kernel", "initrd", "append"};
    json_t *boot = json_object();

    for (size_t i = 0; i < COUNT(keys); i++) {
        if (json_object_get(config, keys[i]) != NULL) {
            (void)json_object_set(boot, keys[i], json_object_get(config, keys[i]));
        }
    }
    return boot;
}

/* What the host grants to guest and worker together; the guest's own bound is its memory. */
static json_t *bounds_part(const struct plan *p, json_int_t memory, json_int_t cpus)
{
    json_t *bounds =
        json_pack("{s:I, s:I}", "memory",
                  memory + (json_int_t)(OVERHEAD_BYTES + CODE_BYTES * (uint64_t)cpus),
                  "tasks", cpus + TASKS_OF_WORKER);
    json_t *weight = json_object_get(p->config, "cpu_weight");
    char path[64];

    if (json_is_integer(weight)) {
        (void)json_object_set(bounds, "cpu_weight", weight);
    }
    if (!p->n->rootless) {
        (void)str_print(path, sizeof path, "/strata/%s", p->g->id);
        (void)json_object_set_new(bounds, "cgroup", json_string(path));
    }
    return bounds;
}

void spec_build_machine(const struct plan *p, json_t *spec)
{
    json_int_t cpus = number_of(p->config, "cpus", MILLIS_OF_A_CPU) / MILLIS_OF_A_CPU;
    json_int_t memory = number_of(p->config, "memory", (json_int_t)MEMORY_BYTES);
    json_t *machine = json_pack(
        "{s:s, s:I, s:I, s:b, s:o}", "engine", spec_text(p->config, "engine", "auto"),
        "cpus", cpus, "memory", memory, "hide",
        spec_flag(p->config, "hide_hypervisor") ? 1 : 0, "boot", boot_part(p->config));

    if (p->base > 0) { /* a user that no other guest has */
        (void)json_object_set_new(machine, "user", json_integer(p->base));
    }
    if (json_object_get(p->config, "disks") != NULL) {
        (void)json_object_set(machine, "disks", json_object_get(p->config, "disks"));
    }
    (void)json_object_set_new(spec, "machine", machine);
    (void)json_object_set_new(spec, "bounds", bounds_part(p, memory, cpus));
}
