/* node/spec/spec.c - from a guest's record to the plan that a worker carries out.
 *
 * The plan is one JSON object, kept as RUN/guests/ID/spec.json, so that a keeper
 * can start the guest again without the store:
 *
 *     oci       the OCI runtime configuration (runtime-spec 1.2)
 *     overlay   layer directories, upper and work directory
 *     machine   instead of both: what the worker of a machine runs (machine.c)
 *     bounds    ... and what the host grants it
 *     hostname  ... and what it is called
 *     network   what `net_allocate` gave
 *     keeper    restart policy, log bounds, health check
 *
 * Users named by name are looked up in the image's own /etc/passwd and
 * /etc/group, in the layers as they lie on disk: nothing of the guest runs. */
#include <string.h>

#include "base/scope.h"
#include "base/str.h"
#include "node/spec/private.h"

#define HEALTH_OUT_MS 30000

const char *spec_text(const json_t *obj, const char *key, const char *other)
{
    const char *text = json_string_value(json_object_get(obj, key));

    return text != NULL && text[0] != '\0' ? text : other;
}

bool spec_flag(const json_t *obj, const char *key)
{
    return json_is_true(json_object_get(obj, key));
}

void spec_add_text(json_t *list, const char *text)
{
    (void)json_array_append_new(list, json_string(text));
}

static json_int_t number_of(const json_t *obj, const char *key, json_int_t other)
{
    const json_t *v = json_object_get(obj, key);

    return json_is_integer(v) ? json_integer_value(v) : other;
}

static json_t *overlay_part(const struct plan *p)
{
    char upper[PATH_MAX];
    char work[PATH_MAX];
    bool read_only = spec_flag(p->config, "read_only");

    (void)guest_state_path(p->n, p->g->id, "disk/upper", upper);
    (void)guest_state_path(p->n, p->g->id, "disk/work", work);
    return json_pack(
        "{s:O, s:s, s:s, s:b}", "lower", json_object_get(p->g->record, "layers"), "upper",
        upper, "work", work, "volatile",
        strcmp(spec_text(p->config, "disk", "private"), "shared") == 0 && !read_only);
}

static json_t *keeper_part(const struct plan *p)
{
    const json_t *c = p->config;
    json_t *k = json_pack("{s:s, s:I, s:I}", "restart", spec_text(c, "restart", "no"),
                          "log_size", number_of(c, "log_size", 16 << 20), "log_count",
                          number_of(c, "log_count", 3));

    (void)json_object_set_new(k, "timeout", json_integer(number_of(c, "timeout", 0)));
    if (json_object_get(c, "health_cmd") != NULL) {
        (void)json_object_set(k, "health_cmd", json_object_get(c, "health_cmd"));
        (void)json_object_set_new(k, "health_interval",
                                  json_integer(number_of(c, "health_interval", 30000)));
        (void)json_object_set_new(
            k, "health_timeout",
            json_integer(number_of(c, "health_timeout", HEALTH_OUT_MS)));
        (void)json_object_set_new(k, "health_retries",
                                  json_integer(number_of(c, "health_retries", 3)));
        (void)json_object_set_new(k, "health_start",
                                  json_integer(number_of(c, "health_start", 0)));
    }
    return k;
}

static int find_user(struct plan *p, struct err *e)
{
    const char *word = spec_text(p->config, "user", spec_text(p->image, "user", "0"));
    char upper[PATH_MAX];
    struct strv dirs = {0};
    size_t i;
    json_t *item;
    int r;

    (void)guest_state_path(p->n, p->g->id, "disk/upper", upper);
    strv_add(&dirs, upper);
    json_array_foreach(json_object_get(p->g->record, "layers"), i, item)
    {
        strv_add(&dirs, json_string_value(item));
    }
    r = user_find(word, &dirs, &p->user, e);
    strv_fini(&dirs);
    return r;
}

static int build_container(struct plan *p, json_t *spec, struct err *e)
{
    int r;

    (void)json_object_set(spec, "oci", p->oci);
    (void)json_object_set_new(p->oci, "ociVersion", json_string("1.2.0"));
    (void)json_object_set_new(
        p->oci, "hostname",
        json_string(spec_text(p->config, "hostname", guest_text(p->g, "name"))));
    (void)json_object_set_new(p->oci, "root",
                              json_pack("{s:s, s:b}", "path", "rootfs", "readonly",
                                        spec_flag(p->config, "read_only")));
    r = find_user(p, e);
    if (r == 0) {
        r = spec_build_process(p, e);
    }
    if (r == 0) {
        r = spec_build_mounts(p, e);
    }
    if (r == 0) {
        r = spec_build_linux(p, e);
    }
    if (r == 0) {
        r = spec_build_seccomp(p, spec, e);
    }
    user_fini(&p->user);
    if (r == 0) {
        (void)json_object_set_new(spec, "overlay", overlay_part(p));
    }
    return r;
}

int spec_build(struct node *n, const struct guest *g, json_t **ret_spec, struct err *e)
{
    const json_t *userns = json_object_get(g->record, "userns");
    SCOPED(scope_json) json_t *spec = json_object();
    SCOPED(scope_json) json_t *oci = json_object();
    struct plan p = {.n = n,
                     .g = g,
                     .config = guest_config(g),
                     .image = json_object_get(g->record, "image_config"),
                     .oci = oci,
                     .disks = json_array()};
    int r = 0;

    p.shifted = n->rootless || json_is_object(userns);
    p.base = n->rootless ? -1 : number_of(userns, "base", -1);
    (void)json_object_set_new(spec, "id", json_string(g->id));
    (void)json_object_set_new(spec, "name", json_string(guest_text(g, "name")));
    (void)json_object_set_new(spec, "disks", p.disks);
    if (guest_is_machine(g)) {
        r = spec_build_machine(&p, spec, e);
    } else {
        r = build_container(&p, spec, e);
    }
    if (r < 0) {
        return r;
    }
    (void)json_object_set_new(spec, "keeper", keeper_part(&p));
    (void)json_object_set_new(spec, "interactive",
                              json_boolean(spec_flag(p.config, "interactive")));
    if (json_object_get(g->record, "network") != NULL) {
        (void)json_object_set(spec, "network", json_object_get(g->record, "network"));
    }
    *ret_spec = spec;
    spec = NULL;
    return 0;
}
