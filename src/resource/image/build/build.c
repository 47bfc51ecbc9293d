/* build.c - a Containerfile is built: stages in order, instructions in order.
 *
 * Stages that the wanted one does not need are left out.  Each instruction folds
 * itself into the stage's key; those that change files ask the cache with it. */
#include "resource/image/build/build.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "host/file.h"
#include "resource/image/build/made.h"
#include "resource/image/build/stage.h"
#include "resource/image/store.h"

#define FILE_BYTES_MAX (4u << 20)

/* ---- reading ---- */

static int read_text(const struct build *b, char **ret_name, char **ret_text,
                     size_t *ret_len, struct err *e)
{
    static const char *const usual[] = {"Containerfile", "Dockerfile"};
    int r = 0;

    if (b->file != NULL) {
        *ret_name = strdup(b->file);
        r = *ret_name == NULL
                ? -ENOMEM
                : file_read(AT_FDCWD, b->file, FILE_BYTES_MAX, ret_text, ret_len);
        return r < 0 ? err_sys(e, r, "cannot read '%s'", b->file) : 0;
    }
    for (size_t i = 0; i < 2; i++) {
        if (asprintf(ret_name, "%s/%s", b->context, usual[i]) < 0) {
            *ret_name = NULL;
            return err_set(e, -ENOMEM, "out of memory");
        }
        r = file_read(AT_FDCWD, *ret_name, FILE_BYTES_MAX, ret_text, ret_len);
        if (r != -ENOENT) {
            break;
        }
        free(*ret_name);
        *ret_name = NULL;
    }
    if (r == -ENOENT) {
        return err_set(e, r, "'%s' has no Containerfile and no Dockerfile", b->context);
    }
    return r < 0 ? err_sys(e, r, "cannot read '%s'", *ret_name) : 0;
}

/* An ignore file of the context, when it is there. */
static int read_ignore_of_context(struct builder *b, const char *name, char **ret)
{
    struct view_entry at;
    size_t len;

    return view_find(&b->context, name, false, &at) == 0 && at.exists
               ? file_read(b->context.fds[0], name, FILE_BYTES_MAX, ret, &len)
               : -ENOENT;
}

/* FILE.containerignore beside the file goes before .containerignore of the context. */
static int read_ignore(struct builder *b, struct err *e)
{
    static const char *const usual[] = {".containerignore", ".dockerignore"};
    SCOPED(scope_free) char *text = NULL;
    char own[PATH_MAX];
    size_t len;
    int r = -ENOENT;

    for (size_t i = 0; i < 2 && r == -ENOENT; i++) {
        r = str_print(own, sizeof own, "%s%s", b->f.name, usual[i]);
        r = r < 0 ? r : file_read(AT_FDCWD, own, FILE_BYTES_MAX, &text, &len);
    }
    for (size_t i = 0; i < 2 && r == -ENOENT; i++) {
        r = read_ignore_of_context(b, usual[i], &text);
    }
    r = r == 0 ? ignore_parse(text, &b->ignore) : r == -ENOENT ? 0 : r;
    return r < 0 ? err_sys(e, r, "cannot read the ignore file of '%s'", b->b->context)
                 : 0;
}

static int read_file(struct builder *b, struct err *e)
{
    SCOPED(scope_free) char *name = NULL;
    SCOPED(scope_free) char *text = NULL;
    SCOPED(strv_fini) struct strv dirs = {0};
    size_t len = 0;
    int r = read_text(b->b, &name, &text, &len, e);

    strv_add(&dirs, b->b->context);
    r = r < 0 ? r : containerfile_parse(name, text, len, &b->f, e);
    r = r < 0 ? r : view_open(&b->context, &dirs, false, e);
    return r < 0 ? r : read_ignore(b, e);
}

/* ---- stages ---- */

/* ARG before the first FROM: a given value or the default. */
static int take_global(struct builder *b, const char *word, struct err *e)
{
    SCOPED(scope_free) char *name = strdup(word);
    char *eq = name != NULL ? strchr(name, '=') : NULL;
    struct str value = {0};
    const char *given = NULL;
    int r = name == NULL ? -ENOMEM : 0;

    if (eq != NULL) {
        *eq++ = '\0';
        r = words_expand(eq, b->f.escape, from_global, b, &value, e);
        given = str_text(&value);
    }
    for (size_t i = 0; r == 0 && b->b->args != NULL && b->b->args[i] != NULL; i++) {
        size_t n = strlen(name);

        if (strncmp(b->b->args[i], name, n) == 0 && b->b->args[i][n] == '=') {
            given = b->b->args[i] + n + 1;
        }
    }
    if (r == 0 && given != NULL) {
        r = stage_set_pair(&b->global_args, name, given);
    }
    str_fini(&value);
    return r < 0 ? err_set(e, r, "out of memory") : 0;
}

static int take_globals(struct builder *b, struct err *e)
{
    size_t i = 0;
    int r = stage_set_pair(&b->global_args, "TARGETOS", "linux");
    char platform[64];

    (void)str_print(platform, sizeof platform, "linux/%s", store_host_arch());
    r = r < 0 ? r : stage_set_pair(&b->global_args, "TARGETARCH", store_host_arch());
    r = r < 0 ? r : stage_set_pair(&b->global_args, "TARGETPLATFORM", platform);
    r = r < 0 ? r : stage_set_pair(&b->global_args, "BUILDPLATFORM", platform);
    for (; i < b->f.n && b->f.items[i].verb != CONTAINERFILE_FROM && r == 0; i++) {
        const struct containerfile_item *x = &b->f.items[i];
        SCOPED(strv_fini) struct strv words = {0};

        if (x->verb != CONTAINERFILE_ARG) {
            (void)err_set(e, -EINVAL, "only ARG may stand before the first FROM");
            return stage_wrap(b, x, e);
        }
        r = words_split(x->rest, b->f.escape, &words, e);
        for (size_t k = 0; k < words.n && r == 0; k++) {
            r = take_global(b, words.items[k], e);
        }
        if (r < 0) {
            return stage_wrap(b, x, e);
        }
    }
    return r < 0         ? err_set(e, r, "out of memory")
           : i == b->f.n ? err_set(e, -EINVAL, "%s: it has no FROM", b->f.name)
                         : 0;
}

static int list_stages(struct builder *b, struct err *e)
{
    size_t n = 0;

    for (size_t i = 0; i < b->f.n; i++) {
        n += b->f.items[i].verb == CONTAINERFILE_FROM;
    }
    b->stages = fault_calloc(n, sizeof *b->stages);
    if (b->stages == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    for (size_t i = 0; i < b->f.n; i++) {
        if (b->f.items[i].verb == CONTAINERFILE_FROM) {
            struct stage *s = &b->stages[b->n_stages++];
            struct str image = {0};
            int r = from_read(b, &b->f.items[i], &image, &s->name, e);

            str_fini(&image);
            if (r < 0) {
                return stage_wrap(b, &b->f.items[i], e);
            }
            s->first = i;
        }
        if (b->n_stages > 0) {
            b->stages[b->n_stages - 1].end = i + 1;
        }
    }
    return 0;
}

/* Mark the stage and those that it takes files from; earlier ones only. */
static void need(struct builder *b, struct stage *s);

static void need_named(struct builder *b, const char *name, size_t before)
{
    struct stage *other = stage_named(b, name, before);

    if (other != NULL) {
        need(b, other);
    }
}

static void need(struct builder *b, struct stage *s)
{
    size_t at = (size_t)(s - b->stages);
    char name[PATH_MAX];

    if (s->needed) {
        return;
    }
    s->needed = true;
    for (size_t i = s->first; i < s->end; i++) {
        const struct containerfile_item *x = &b->f.items[i];
        const char *from = stage_flag(x, "from");
        struct str image = {0};

        b->of++;
        if (x->verb == CONTAINERFILE_FROM && from_read(b, x, &image, NULL, NULL) == 0) {
            from = str_text(&image);
        }
        if (from != NULL) {
            need_named(b, from, at);
        }
        for (size_t k = 0; k < x->flags.n && x->verb == CONTAINERFILE_RUN; k++) {
            if (str_starts(x->flags.items[k], "mount=") &&
                stage_option(x->flags.items[k] + 6, "from", name)) {
                need_named(b, name, at);
            }
        }
        str_fini(&image);
    }
}

/* ---- instructions ---- */

static bool makes_layer(enum containerfile_verb v)
{
    return v == CONTAINERFILE_RUN || v == CONTAINERFILE_COPY || v == CONTAINERFILE_ADD;
}

/* One instruction; *ret_layer when the image has a layer more by it. */
static int apply(struct builder *b, struct stage *s, const struct containerfile_item *x,
                 bool *ret_layer, struct err *e)
{
    bool cached = false;
    int r;

    if (x->verb == CONTAINERFILE_FROM) {
        return from_apply(b, s, x, e);
    }
    if (!makes_layer(x->verb)) {
        r = settings_apply(b, s, x, e);
        if (r == 0 && x->verb == CONTAINERFILE_WORKDIR) {
            cache_fold(s, "workdir", stage_workdir(s), strlen(stage_workdir(s)));
            r = copy_make_workdir(b, s, e);
            *ret_layer = r == 1;
        }
        return r < 0 ? r : 0;
    }
    *ret_layer = true;
    r = x->verb == CONTAINERFILE_RUN ? run_apply(b, s, x, &cached, e)
                                     : copy_apply(b, s, x, &cached, e);
    if (r == 0 && cached && b->b->step != NULL) {
        b->b->step(b->b->arg, b->at, b->of, x->text, true);
    }
    return r;
}

static int step(struct builder *b, struct stage *s, const struct containerfile_item *x,
                struct err *e)
{
    bool layer = false;
    int r;

    b->at++;
    if (b->b->step != NULL) {
        b->b->step(b->b->arg, b->at, b->of, x->text, false);
    }
    r = apply(b, s, x, &layer, e);
    if (r == 0 && x->verb != CONTAINERFILE_FROM &&
        made_history(s->config, x->text, !layer) < 0) {
        r = err_set(e, -ENOMEM, "out of memory");
    }
    return r;
}

/* What the base image wants done first in whatever is built from it. */
static int pull_triggers(struct builder *b, struct stage *s, struct err *e)
{
    b->of += (unsigned)s->triggers.n;
    for (size_t i = 0; i < s->triggers.n; i++) {
        int r = step(b, s, &s->triggers.items[i], e);

        if (r < 0) {
            return err_wrap(e, "ONBUILD %.100s", s->triggers.items[i].text);
        }
    }
    return 0;
}

static int build_stage(struct builder *b, struct stage *s, struct err *e)
{
    for (size_t i = s->first; i < s->end; i++) {
        const struct containerfile_item *x = &b->f.items[i];
        int r = step(b, s, x, e);

        if (r == 0 && x->verb == CONTAINERFILE_FROM) {
            r = pull_triggers(b, s, e);
        }
        if (r < 0) {
            return stage_wrap(b, x, e);
        }
    }
    s->done = true;
    return 0;
}

static int build_all(struct builder *b, struct stage **ret, struct err *e)
{
    struct stage *last = &b->stages[b->n_stages - 1];
    int r = 0;

    if (b->b->target != NULL) {
        last = stage_named(b, b->b->target, b->n_stages);
        if (last == NULL) {
            return err_set(e, -ENOENT, "%s: it has no stage '%s'", b->f.name,
                           b->b->target);
        }
    }
    need(b, last);
    for (struct stage *s = b->stages; s <= last && r == 0; s++) {
        r = s->needed ? build_stage(b, s, e) : 0;
    }
    *ret = last;
    return r;
}

static int finish(struct builder *b, const struct stage *s, struct image_desc *ret,
                  struct err *e)
{
    int r;

    if (s->n_layers == 0) {
        return err_set(e, -EINVAL, "%s: the image would be empty", b->f.name);
    }
    r = settings_add_labels(s->config, b->b->labels, e);
    r = r < 0 ? r
              : pack_put_image(b->b->pack->store, s->config, s->layers, s->n_layers, ret,
                               e);
    return r < 0 || b->b->name == NULL
               ? r
               : image_tag_desc(b->b->pack->store, ret, b->b->name, e);
}

static void fini(struct builder *b)
{
    for (size_t i = 0; i < b->n_stages; i++) {
        stage_fini(&b->stages[i]);
    }
    free(b->stages);
    containerfile_fini(&b->f);
    strv_fini(&b->global_args);
    view_close(&b->context);
    ignore_fini(&b->ignore);
}

int build_containerfile(const struct build *b, struct image_desc *ret, struct err *e)
{
    struct image_store *store = b->pack->store;
    struct builder x = {.b = b};
    struct stage *last = NULL;
    struct image_ref ref;
    int r = b->name != NULL ? image_ref_parse(b->name, &ref, e) : 0;

    r = r < 0 ? r : store_busy_begin(store, e);
    if (r < 0) {
        return r;
    }
    r = read_file(&x, e);
    r = r < 0 ? r : take_globals(&x, e);
    r = r < 0 ? r : list_stages(&x, e);
    r = r < 0 ? r : build_all(&x, &last, e);
    r = r < 0 ? r : finish(&x, last, ret, e);
    fini(&x);
    store_busy_end(store);
    return r < 0
               ? err_wrap(e, "cannot build '%s'", b->name != NULL ? b->name : b->context)
               : 0;
}
