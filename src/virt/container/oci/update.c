/* update.c - new limits, from a file or from flags. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/units.h"
#include "host/file.h"
#include "virt/container/oci/oci.h"

#define RESOURCES_MOST_BYTES (1 << 20)

enum value_kind {
    NUMBER,
    SIZE,
    TEXT
};

/* clang-format off */
static const struct {
    const char *flag, *part, *key;
    enum value_kind kind;
} rows[] = {
    {"blkio-weight",       "blockIO", "weight",          NUMBER},
    {"cpu-period",         "cpu",     "period",          NUMBER},
    {"cpu-quota",          "cpu",     "quota",           NUMBER},
    {"cpu-burst",          "cpu",     "burst",           NUMBER},
    {"cpu-share",          "cpu",     "shares",          NUMBER},
    {"cpu-shares",         "cpu",     "shares",          NUMBER},
    {"cpu-rt-period",      "cpu",     "realtimePeriod",  NUMBER},
    {"cpu-rt-runtime",     "cpu",     "realtimeRuntime", NUMBER},
    {"cpu-idle",           "cpu",     "idle",            NUMBER},
    {"cpuset-cpus",        "cpu",     "cpus",            TEXT},
    {"cpuset-mems",        "cpu",     "mems",            TEXT},
    {"memory",             "memory",  "limit",           SIZE},
    {"memory-reservation", "memory",  "reservation",     SIZE},
    {"memory-swap",        "memory",  "swap",            SIZE},
    {"pids-limit",         "pids",    "limit",           NUMBER},
};

/* clang-format on */

static json_t *value_of(const char *text, enum value_kind kind)
{
    char *end;
    long long n;
    uint64_t bytes = 0;

    if (kind == TEXT) {
        return json_string(text);
    }
    errno = 0;
    n = strtoll(text, &end, 10);
    if (errno == 0 && end != text && *end == '\0') {
        return json_integer(n);
    }
    return kind == SIZE && units_parse_size(text, &bytes) == 0 && bytes <= INT64_MAX
               ? json_integer((json_int_t)bytes)
               : NULL;
}

static int from_flags(const struct oci_args *a, json_t *resources, struct err *e)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *text = oci_arg(a, rows[i].flag);
        json_t *part = json_object_get(resources, rows[i].part);
        json_t *value;

        if (text == NULL) {
            continue;
        }
        value = value_of(text, rows[i].kind);
        if (value == NULL) {
            return err_set(e, -EINVAL, "'%s' is no value for '--%s'", text, rows[i].flag);
        }
        if (part == NULL) {
            part = json_object();
            (void)json_object_set_new(resources, rows[i].part, part);
        }
        (void)json_object_set_new(part, rows[i].key, value);
    }
    return 0;
}

static int from_file(const char *path, json_t **ret, struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    size_t len = 0;
    int r = file_read(AT_FDCWD, strcmp(path, "-") == 0 ? "/dev/stdin" : path,
                      RESOURCES_MOST_BYTES, &text, &len);

    if (r < 0) {
        return err_sys(e, r, "cannot read '%s'", path);
    }
    r = json_parse(text, len, path, ret, e);
    return r == 0 && !json_is_object(*ret)
               ? err_set(e, -EINVAL, "'%s' has no object of resources", path)
               : r;
}

int oci_update(struct oci *o, const struct oci_args *a, struct err *e)
{
    SCOPED(scope_json) json_t *resources = NULL;
    struct container *c = NULL;
    const char *file = oci_arg(a, "resources");
    int r = 0;

    if (file != NULL) {
        r = from_file(file, &resources, e);
    } else {
        resources = json_object();
    }
    r = r == 0 ? from_flags(a, resources, e) : r;
    r = r == 0 ? container_open(o->root, a->rest[0], &c, e) : r;
    if (r == 0) {
        r = container_update(c, resources, e);
        task_close(container_task(c));
    }
    return r < 0 ? OCI_EXIT_FAILED : 0;
}
