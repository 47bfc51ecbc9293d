/* from.c - what a stage begins with: an earlier stage, an image of the store or of a
 * registry, or nothing; and what its ONBUILD instructions ask for. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/scope.h"
#include "resource/image/build/made.h"
#include "resource/image/build/stage.h"

const char *from_global(void *arg, const char *name)
{
    const struct builder *b = arg;

    return stage_get_pair(&b->global_args, name);
}

/* The words of FROM: image and, behind AS, the stage's name. */
int from_read(const struct builder *b, const struct containerfile_item *x,
              struct str *ret_image, char **ret_name, struct err *e)
{
    static const char *const known[] = {"platform", NULL};
    SCOPED(strv_fini) struct strv words = {0};
    int r = stage_check_flags(x, known, e);

    r = r < 0 ? r : words_split(x->rest, b->f.escape, &words, e);
    if (r == 0 && words.n != 1 &&
        (words.n != 3 || strcasecmp(words.items[1], "as") != 0)) {
        r = err_set(e, -EINVAL, "write FROM IMAGE, or FROM IMAGE AS NAME");
    }
    r = r < 0 ? r
              : words_expand(words.items[0], b->f.escape, from_global,
                             (void *)(uintptr_t)b, ret_image, e);
    if (r == 0 && ret_image->len == 0) {
        r = err_set(e, -EINVAL, "'%.60s' is empty", words.items[0]);
    }
    if (r == 0 && words.n == 3 && ret_name != NULL) {
        *ret_name = strdup(words.items[2]);
    }
    return r;
}

/* ---- images ---- */

static int fetch(const struct builder *b, const char *name, struct err *e)
{
    struct pack *p = b->b->pack;

    return p->fetch != NULL ? p->fetch(p, name, b->b->how, e) : -ENODATA;
}

static int no_registry(const char *name, const struct err *missing, struct err *e)
{
    return err_set(e, -ENOENT,
                   "%s (and its name tells no registry to pull it from: give a full "
                   "reference such as 'docker.io/library/%s')",
                   missing->text, name);
}

int from_find_image(const struct builder *b, const char *name, struct image *ret,
                    struct err *e)
{
    struct image_store *store = b->b->pack->store;
    struct err mine = {0};
    int r;

    if (b->b->pull == BUILD_PULL_ALWAYS) {
        r = fetch(b, name, e);
        if (r < 0 && r != -ENODATA) {
            return r;
        }
    }
    r = image_find(store, name, ret, &mine);
    if (r == 0 || r != -ENOENT || b->b->pull == BUILD_PULL_NEVER) {
        return r < 0 ? err_set(e, r, "%s", mine.text) : 0;
    }
    r = fetch(b, name, e);
    if (r == -ENODATA) {
        return no_registry(name, &mine, e);
    }
    return r < 0 ? r : image_find(store, name, ret, e);
}

int from_list_dirs(const struct builder *b, const struct stage *s, const char *name,
                   struct strv *ret, struct err *e)
{
    const struct stage *other = stage_named(b, name, (size_t)(s - b->stages));
    struct stage image = {0};
    struct image img;
    int r;

    if (other != NULL) {
        return other->done ? stage_list_dirs(b, other, ret, e)
                           : err_set(e, -EINVAL, "stage '%.60s' is not built here", name);
    }
    r = from_find_image(b, name, &img, e);
    if (r < 0) {
        return r;
    }
    image.layers = img.layers;
    image.n_layers = img.n_layers;
    r = stage_list_dirs(b, &image, ret, e);
    image_fini(&img);
    return r;
}

/* ---- FROM ---- */

static int take_image(struct stage *s, const struct image *img, struct err *e)
{
    int r = 0;

    s->config = json_deep_copy(img->config);
    cache_fold(s, "image", img->config_blob.digest, strlen(img->config_blob.digest));
    for (size_t i = 0; i < img->n_layers && r == 0; i++) {
        r = stage_add_layer(s, &img->layers[i], e);
    }
    return s->config == NULL ? err_set(e, -ENOMEM, "out of memory") : r;
}

static int take_stage(struct stage *s, const struct stage *other, struct err *e)
{
    int r = 0;

    s->config = json_deep_copy(other->config);
    memcpy(s->key, other->key, sizeof s->key);
    for (size_t i = 0; i < other->n_layers && r == 0; i++) {
        r = stage_add_layer(s, &other->layers[i], e);
    }
    memcpy(s->key, other->key, sizeof s->key);
    return s->config == NULL ? err_set(e, -ENOMEM, "out of memory") : r;
}

/* ONBUILD of the base is for this stage, not for what is built from it. */
static int take_triggers(struct stage *s, const char *image, struct err *e)
{
    const json_t *list = json_object_get(stage_settings(s), "OnBuild");
    struct str text = {0};
    int r = 0;

    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *line = json_string_value(json_array_get(list, i));

        str_addf(&text, "%s\n", line != NULL ? line : "");
    }
    if (json_array_size(list) > 0) {
        r = str_failed(&text)
                ? err_set(e, -ENOMEM, "out of memory")
                : containerfile_parse(image, text.data, text.len, &s->triggers, e);
    }
    for (size_t i = 0; i < s->triggers.n && r == 0; i++) {
        enum containerfile_verb v = s->triggers.items[i].verb;

        if (v == CONTAINERFILE_FROM || v == CONTAINERFILE_ONBUILD ||
            v == CONTAINERFILE_MAINTAINER) {
            r = err_set(e, -EINVAL, "the image '%.100s' has an ONBUILD with %s", image,
                        containerfile_verb_name(v));
        }
    }
    (void)json_object_del(stage_settings(s), "OnBuild");
    str_fini(&text);
    return r;
}

int from_apply(struct builder *b, struct stage *s, const struct containerfile_item *x,
               struct err *e)
{
    struct str name = {0};
    const struct stage *other;
    struct image img;
    int r = from_read(b, x, &name, NULL, e);

    if (r < 0) {
        str_fini(&name);
        return r;
    }
    other = stage_named(b, str_text(&name), (size_t)(s - b->stages));
    if (other != NULL) {
        r = take_stage(s, other, e);
    } else if (strcmp(str_text(&name), "scratch") == 0) {
        s->config = made_config(NULL);
        r = s->config == NULL ? err_set(e, -ENOMEM, "out of memory") : 0;
    } else {
        r = from_find_image(b, str_text(&name), &img, e);
        if (r == 0) {
            r = take_image(s, &img, e);
            image_fini(&img);
        }
    }
    r = r < 0 ? r : take_triggers(s, str_text(&name), e);
    str_fini(&name);
    return r;
}
