/* stage.h - a build on its way: its stages, what each has become so far. */
#ifndef RESOURCE_IMAGE_BUILD_STAGE_H
#define RESOURCE_IMAGE_BUILD_STAGE_H

#include "base/sha256.h"
#include "resource/image/build/build.h"
#include "resource/image/build/containerfile.h"
#include "resource/image/build/ignore.h"
#include "resource/image/build/view.h"

struct stage {
    char *name;        /* owned; of AS, or NULL */
    size_t first, end; /* items of the file: its FROM, and behind its last */
    bool needed, done;
    bool has_cmd;                  /* of this file, not of the base image */
    struct containerfile triggers; /* ONBUILD of the base image */
    json_t *config;                /* owned; the whole image configuration */
    struct image_layer *layers;    /* owned; the lowest first */
    size_t n_layers, cap_layers;
    struct strv args;           /* "NAME=VALUE" declared by ARG */
    char key[SHA256_HEX_BYTES]; /* sum of all that led here */
};

struct builder {
    const struct build *b; /* borrowed */
    struct containerfile f;
    struct stage *stages; /* owned */
    size_t n_stages;
    struct strv global_args; /* of ARG before the first FROM */
    struct view context;     /* of one directory */
    struct ignore ignore;
    unsigned at, of; /* instructions done and in all */
};

/* ---- stage.c ---- */

/* The stage's file system as it is now; unpacks what is needed. */
int stage_open_view(const struct builder *b, const struct stage *s, struct view *ret,
                    struct err *e);
int stage_list_dirs(const struct builder *b, const struct stage *s, struct strv *ret,
                    struct err *e);

/* Take the layer on top, with its chain digest, and fold it into the key. */
int stage_add_layer(struct stage *s, const struct image_layer *layer, struct err *e);

/* The "config" member: the settings that ENV, CMD and so on change. */
json_t *stage_settings(const struct stage *s);

/* Value of an ENV or ARG, or NULL; for `words_expand` (arg is a stage). */
const char *stage_lookup(void *arg, const char *name);

/* The directory of WORKDIR; "/" without. */
const char *stage_workdir(const struct stage *s);

/* "NAME=VALUE" in `list`, replacing the former one of this name. */
int stage_set_pair(struct strv *list, const char *name, const char *value);
const char *stage_get_pair(const struct strv *list, const char *name);
void stage_fini(struct stage *s);

/* ---- settings.c: instructions that only change the configuration ---- */

int settings_apply(struct builder *b, struct stage *s, const struct containerfile_item *x,
                   struct err *e);

/* One word with its variables replaced. */
int settings_expand(const struct builder *b, const struct stage *s, const char *word,
                    struct str *ret, struct err *e);

/* "NAME=VALUE" texts (NULL-ended, or NULL) into "Labels". */
int settings_add_labels(json_t *config, const char *const *labels, struct err *e);

/* ---- copy.c ---- */

int copy_apply(struct builder *b, struct stage *s, const struct containerfile_item *x,
               bool *ret_cached, struct err *e);

/* Make the directory of WORKDIR when it is missing.  1: a layer was added. */
int copy_make_workdir(struct builder *b, struct stage *s, struct err *e);

/* ---- run.c ---- */

/* *ret_cached: an earlier build had done it. */
int run_apply(struct builder *b, struct stage *s, const struct containerfile_item *x,
              bool *ret_cached, struct err *e);

/* ---- cache.c ---- */

/* Fold a text into the stage's key. */
void cache_fold(struct stage *s, const char *what, const void *bytes, size_t len);

/* 1 with the layer of the key when an earlier build left it, else 0. */
int cache_get(const struct builder *b, const struct stage *s, struct image_layer *ret);
int cache_put(const struct builder *b, const struct stage *s,
              const struct image_layer *layer, struct err *e);

/* An error at the place of `x`. */
int stage_wrap(const struct builder *b, const struct containerfile_item *x,
               struct err *e);

/* The value of --name, or NULL. */
const char *stage_flag(const struct containerfile_item *x, const char *name);

/* -EINVAL for a flag that is not in `known` (NULL-ended). */
int stage_check_flags(const struct containerfile_item *x, const char *const *known,
                      struct err *e);

/* "type=cache,target=/x,ro": the value of `key`, "" for a word alone. */
bool stage_option(const char *text, const char *key, char out[PATH_MAX]);

/* ---- from.c ---- */

/* The words of FROM: image and, behind AS, the stage's name (`ret_name` may be NULL). */
int from_read(const struct builder *b, const struct containerfile_item *x,
              struct str *ret_image, char **ret_name, struct err *e);

/* Begin the stage with what FROM names; `s->triggers` are to be applied next. */
int from_apply(struct builder *b, struct stage *s, const struct containerfile_item *x,
               struct err *e);

/* An image of the store, fetched when the build may; ended by `image_fini`. */
int from_find_image(const struct builder *b, const char *name, struct image *ret,
                    struct err *e);

/* Directories of a stage before `s` or of an image, the topmost first. */
int from_list_dirs(const struct builder *b, const struct stage *s, const char *name,
                   struct strv *ret, struct err *e);

/* Value of an ARG before the first FROM; for `words_expand` (arg is a builder). */
const char *from_global(void *arg, const char *name);

/* A stage by name or number among those before `before`, or NULL. */
struct stage *stage_named(const struct builder *b, const char *name, size_t before);

#endif
