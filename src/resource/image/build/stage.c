/* stage.c - layers, variables and flags of a stage. */
#include "resource/image/build/stage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"

int stage_add_layer(struct stage *s, const struct image_layer *layer, struct err *e)
{
    if (s->n_layers == s->cap_layers) {
        size_t cap = s->cap_layers > 0 ? 2 * s->cap_layers : 8;
        void *more = fault_realloc(s->layers, cap * sizeof *s->layers);

        if (more == NULL) {
            return err_set(e, -ENOMEM, "out of memory");
        }
        s->layers = more;
        s->cap_layers = cap;
    }
    if (s->n_layers >= VIEW_LAYERS_MAX) {
        return err_set(e, -E2BIG, "more than %d layers", VIEW_LAYERS_MAX);
    }
    s->layers[s->n_layers] = *layer;
    image_layer_chain(&s->layers[s->n_layers],
                      s->n_layers > 0 ? &s->layers[s->n_layers - 1] : NULL);
    s->n_layers++;
    cache_fold(s, "layer", layer->diff_id, strlen(layer->diff_id));
    return 0;
}

int stage_list_dirs(const struct builder *b, const struct stage *s, struct strv *ret,
                    struct err *e)
{
    struct image img = {.layers = s->layers, .n_layers = s->n_layers};
    int r = pack_unpack(b->b->pack, &img, e);

    r = r < 0 ? r : image_layer_dirs(b->b->pack->store, &img, ret, e);
    return r > 0 ? err_set(e, -EIO, "a layer is not unpacked") : r;
}

int stage_open_view(const struct builder *b, const struct stage *s, struct view *ret,
                    struct err *e)
{
    SCOPED(strv_fini) struct strv dirs = {0};
    int r = stage_list_dirs(b, s, &dirs, e);

    return r < 0 ? r : view_open(ret, &dirs, true, e);
}

json_t *stage_settings(const struct stage *s)
{
    json_t *x = json_object_get(s->config, "config");

    if (!json_is_object(x)) {
        (void)json_object_set_new(s->config, "config", json_object());
        x = json_object_get(s->config, "config");
    }
    return x;
}

const char *stage_get_pair(const struct strv *list, const char *name)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < list->n; i++) {
        if (strncmp(list->items[i], name, n) == 0 && list->items[i][n] == '=') {
            return list->items[i] + n + 1;
        }
    }
    return NULL;
}

int stage_set_pair(struct strv *list, const char *name, const char *value)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < list->n; i++) {
        if (strncmp(list->items[i], name, n) == 0 && list->items[i][n] == '=') {
            char *text = NULL;

            if (asprintf(&text, "%s=%s", name, value) < 0) {
                return -ENOMEM;
            }
            free(list->items[i]);
            list->items[i] = text;
            return 0;
        }
    }
    strv_addf(list, "%s=%s", name, value);
    return strv_failed(list) ? -ENOMEM : 0;
}

const char *stage_lookup(void *arg, const char *name)
{
    const struct stage *s = arg;
    const json_t *env = json_object_get(stage_settings(s), "Env");
    size_t n = strlen(name);

    for (size_t i = 0; i < json_array_size(env); i++) {
        const char *x = json_string_value(json_array_get(env, i));

        if (x != NULL && strncmp(x, name, n) == 0 && x[n] == '=') {
            return x + n + 1;
        }
    }
    return stage_get_pair(&s->args, name);
}

const char *stage_workdir(const struct stage *s)
{
    const char *dir = json_string_value(json_object_get(stage_settings(s), "WorkingDir"));

    return dir != NULL && dir[0] == '/' ? dir : "/";
}

void stage_fini(struct stage *s)
{
    free(s->name);
    json_decref(s->config);
    free(s->layers);
    strv_fini(&s->args);
    containerfile_fini(&s->triggers);
}

int stage_wrap(const struct builder *b, const struct containerfile_item *x, struct err *e)
{
    return err_wrap(e, "%s:%u: %s", b->f.name, x->line, containerfile_verb_name(x->verb));
}

const char *stage_flag(const struct containerfile_item *x, const char *name)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < x->flags.n; i++) {
        const char *f = x->flags.items[i];

        if (strncmp(f, name, n) == 0 && (f[n] == '=' || f[n] == '\0')) {
            return f[n] == '=' ? f + n + 1 : "";
        }
    }
    return NULL;
}

bool stage_option(const char *text, const char *key, char out[PATH_MAX])
{
    size_t n = strlen(key);

    for (const char *p = text;; p++) {
        size_t len = strcspn(p, ",");

        if (strncmp(p, key, n) == 0 && (len == n || p[n] == '=')) {
            return str_print(out, PATH_MAX, "%.*s", len == n ? 0 : (int)(len - n - 1),
                             p + n + (len == n ? 0 : 1)) == 0;
        }
        p += len;
        if (*p == '\0') {
            return false;
        }
    }
}

int stage_check_flags(const struct containerfile_item *x, const char *const *known,
                      struct err *e)
{
    for (size_t i = 0; i < x->flags.n; i++) {
        const char *f = x->flags.items[i];
        size_t n = strcspn(f, "="), k = 0;

        while (known[k] != NULL &&
               (strlen(known[k]) != n || strncmp(known[k], f, n) != 0)) {
            k++;
        }
        if (known[k] == NULL) {
            return err_set(e, -EINVAL, "the option '--%.*s' is not supported", (int)n, f);
        }
    }
    return 0;
}

struct stage *stage_named(const struct builder *b, const char *name, size_t before)
{
    char *end;
    unsigned long n;

    for (size_t i = before; i-- > 0;) {
        if (b->stages[i].name != NULL && strcasecmp(b->stages[i].name, name) == 0) {
            return &b->stages[i];
        }
    }
    n = strtoul(name, &end, 10);
    return name[0] >= '0' && name[0] <= '9' && *end == '\0' && n < before ? &b->stages[n]
                                                                          : NULL;
}
