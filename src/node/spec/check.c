/* node/spec/check.c - what was ordered can be read, before anything is made for it. */
#include "node/spec/private.h"

static int check_caps(const json_t *config, struct err *e)
{
    uint64_t set;
    bool all;
    int r = spec_read_caps(json_object_get(config, "cap_add"), &set, &all, e);

    return r < 0 ? r : spec_read_caps(json_object_get(config, "cap_drop"), &set, &all, e);
}

int spec_check(const json_t *config, struct err *e)
{
    const char *seccomp;
    struct spec_device device;
    size_t i;
    json_t *item;
    int r = check_caps(config, e);

    r = r == 0 ? spec_read_seccomp(config, &seccomp, e) : r;
    json_array_foreach(json_object_get(config, "ulimit"), i, item)
    {
        json_t *limit = NULL;

        r = r == 0 ? spec_read_ulimit(json_string_value(item), &limit, e) : r;
        json_decref(limit);
    }
    json_array_foreach(json_object_get(config, "device"), i, item)
    {
        r = r == 0 ? spec_read_device(json_string_value(item), &device, e) : r;
    }
    return r;
}
