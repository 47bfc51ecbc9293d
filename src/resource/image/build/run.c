/* run.c - RUN: the caller's runner executes it above the layers so far, and what
 * it changed becomes the next layer.
 *
 * The changes are gathered in layers/.new-ID/ of the store, under a lock: what a
 * killed build leaves there is removed by the next command that unpacks. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/units.h"
#include "base/word.h"
#include "host/file.h"
#include "resource/image/build/made.h"
#include "resource/image/build/stage.h"
#include "resource/image/store.h"

#define MOUNTS_MAX   16
#define SCRIPT_PLACE "/dev/.build-script"

struct run {
    struct builder *b;
    struct stage *s;
    const struct containerfile_item *x;
    struct build_step step;
    struct build_mount mounts[MOUNTS_MAX]; /* texts owned */
    char dir[40];                          /* below layers/; "" none yet */
    int lock;
    char upper[PATH_MAX], work[PATH_MAX], user[256];
    const char *script; /* a here-document with #!; NULL: none */
};

/* ---- mounts ---- */

static int check_options(const char *text, struct err *e)
{
    static const char *const known[] = {
        "type", "target", "dst",      "destination", "source",    "src",  "from",
        "id",   "ro",     "readonly", "rw",          "readwrite", "size", "sharing"};

    while (*text != '\0') {
        size_t n = strcspn(text, "=,"), all = strcspn(text, ","), i = 0;

        while (i < sizeof known / sizeof known[0] &&
               (strlen(known[i]) != n || strncmp(known[i], text, n) != 0)) {
            i++;
        }
        if (i == sizeof known / sizeof known[0]) {
            return err_set(e, -EINVAL, "'%.*s' in --mount is not supported", (int)n,
                           text);
        }
        text += all + (text[all] == ',' ? 1 : 0);
    }
    return 0;
}

/* A directory of the store that outlives builds, by the mount's id. */
static int cache_source(struct run *u, const char *id, char out[PATH_MAX], struct err *e)
{
    uint8_t sum[SHA256_BYTES];
    char hex[SHA256_HEX_BYTES];
    int r;

    sha256_sum(id, strlen(id), sum);
    sha256_hex(sum, hex);
    r = str_print(out, PATH_MAX, "%s/build-cache/mount/%.32s",
                  u->b->b->pack->store->state, hex);
    r = r < 0 ? r : file_make_dirs(out, 0755);
    return r < 0 ? err_sys(e, r, "cannot make the cache directory '%s'", id) : 0;
}

/* A path of the context or of a stage, as one of this host. */
static int bind_source(struct run *u, const char *text, char out[PATH_MAX], struct err *e)
{
    char from[PATH_MAX] = "", path[PATH_MAX] = "";
    SCOPED(strv_fini) struct strv dirs = {0};
    SCOPED(scope_free) struct view_entry *at = malloc(sizeof *at);
    struct view v = {0};
    int r = at == NULL ? -ENOMEM : 0;

    (void)(stage_option(text, "source", path) || stage_option(text, "src", path));
    if (r == 0 && stage_option(text, "from", from)) {
        r = from_list_dirs(u->b, u->s, from, &dirs, e);
    } else {
        strv_add(&dirs, u->b->b->context);
    }
    r = r < 0 ? r : view_open(&v, &dirs, from[0] != '\0', e);
    r = r < 0 ? r : view_find(&v, path, true, at);
    if (r == 0 && !at->exists) {
        r = err_set(e, -ENOENT, "the source '%.100s' of --mount is not there", path);
    }
    for (size_t i = 0; i < v.n && r == 0; i++) {
        if (at->on[i]) { /* of a directory in several layers: its topmost part */
            r = str_print(out, PATH_MAX, "%s/%s", dirs.items[i], at->path);
            break;
        }
    }
    view_close(&v);
    return r < 0 ? err_set(e, r, "cannot use --mount=%.100s", text) : 0;
}

static int take_mount(struct run *u, const char *text, struct err *e)
{
    char type[PATH_MAX] = "bind", target[PATH_MAX] = "", value[PATH_MAX];
    char source[PATH_MAX] = "";
    struct build_mount *m = &u->mounts[u->step.n_mounts];
    int r = check_options(text, e);

    (void)stage_option(text, "type", type);
    if (r == 0 && !stage_option(text, "target", target) &&
        !stage_option(text, "dst", target) &&
        !stage_option(text, "destination", target)) {
        r = err_set(e, -EINVAL, "--mount needs a target");
    }
    if (r == 0 && u->step.n_mounts == MOUNTS_MAX) {
        r = err_set(e, -E2BIG, "more than %d mounts", MOUNTS_MAX);
    }
    if (r < 0) {
        return r;
    }
    *m = (struct build_mount){0};
    if (strcmp(type, "cache") == 0) {
        m->kind = BUILD_MOUNT_CACHE;
        r = cache_source(u, stage_option(text, "id", value) ? value : target, source, e);
    } else if (strcmp(type, "tmpfs") == 0) {
        m->kind = BUILD_MOUNT_TMPFS;
        if (stage_option(text, "size", value) && units_parse_size(value, &m->size) < 0) {
            r = err_set(e, -EINVAL, "'%.40s' is no size", value);
        }
    } else if (strcmp(type, "bind") == 0) {
        m->kind = BUILD_MOUNT_BIND;
        m->read_only =
            !stage_option(text, "rw", value) && !stage_option(text, "readwrite", value);
        if (!m->read_only) {
            r = err_set(e, -EINVAL, "a bind mount that is written to is not supported");
        }
        r = r < 0 ? r : bind_source(u, text, source, e);
    } else {
        r = err_set(e, -EINVAL,
                    "--mount of the type '%.40s' is not supported "
                    "(bind, cache and tmpfs are)",
                    type);
    }
    m->read_only |=
        stage_option(text, "ro", value) || stage_option(text, "readonly", value);
    if (r == 0) {
        m->source = source[0] != '\0' ? strdup(source) : NULL;
        if (asprintf(&m->target, "%s%s", target[0] == '/' ? "" : "/", target) < 0) {
            m->target = NULL;
        }
        u->step.n_mounts++;
        r = m->target == NULL ? err_set(e, -ENOMEM, "out of memory") : 0;
    }
    return r;
}

/* ---- the step ---- */

static int take_flags(struct run *u, struct err *e)
{
    const char *network = stage_flag(u->x, "network");
    static const char *const known[] = {"mount", "network", NULL};
    int r = stage_check_flags(u->x, known, e);

    u->step.network = !u->b->b->no_network;
    if (r == 0 && network != NULL) {
        if (strcmp(network, "none") == 0) {
            u->step.network = false;
        } else if (strcmp(network, "default") != 0) {
            r = err_set(e, -EINVAL, "--network=%.40s is not supported (none, default)",
                        network);
        }
    }
    for (size_t i = 0; i < u->x->flags.n && r == 0; i++) {
        if (str_starts(u->x->flags.items[i], "mount=")) {
            r = take_mount(u, u->x->flags.items[i] + 6, e);
        }
    }
    return r;
}

/* "RUN <<EOF": the here-document is the command. */
static bool is_all_text(const struct containerfile_item *x)
{
    return x->n_docs == 1 && str_starts(x->rest, "<<") && strpbrk(x->rest, " \t") == NULL;
}

/* The text for the shell; with here-documents behind it, or being one. */
static int shell_text(const struct run *u, struct str *ret, struct err *e)
{
    const struct containerfile_item *x = u->x;
    bool alone = is_all_text(x);

    str_add(ret, alone ? x->docs[0].text : x->rest);
    for (size_t i = 0; i < x->n_docs && !alone; i++) {
        str_addf(ret, "\n%s%s", x->docs[i].text, x->docs[i].name);
    }
    return str_failed(ret) ? err_set(e, -ENOMEM, "out of memory") : 0;
}

static int fill_argv(struct run *u, struct err *e)
{
    const json_t *shell = json_object_get(stage_settings(u->s), "Shell");
    struct strv *argv = &u->step.argv;
    struct str text = {0};
    int r;

    if (u->x->json) {
        for (size_t i = 0; i < u->x->list.n; i++) {
            strv_add(argv, u->x->list.items[i]);
        }
        return u->x->list.n > 0 ? 0 : err_set(e, -EINVAL, "the array is empty");
    }
    if (is_all_text(u->x) && str_starts(u->x->docs[0].text, "#!")) {
        u->script = u->x->docs[0].text;
        strv_add(argv, SCRIPT_PLACE);
        return 0;
    }
    for (size_t i = 0; i < json_array_size(shell); i++) {
        strv_add(argv, json_string_value(json_array_get(shell, i)));
    }
    if (argv->n == 0) {
        strv_add(argv, "/bin/sh");
        strv_add(argv, "-c");
    }
    r = shell_text(u, &text, e);
    strv_add(argv, str_text(&text));
    str_fini(&text);
    return r;
}

/* ENV, then each ARG that no ENV hides. */
static void fill_env(struct run *u)
{
    const json_t *env = json_object_get(stage_settings(u->s), "Env");
    struct strv *out = &u->step.env;

    for (size_t i = 0; i < json_array_size(env); i++) {
        strv_add(out, json_string_value(json_array_get(env, i)));
    }
    for (size_t i = 0; i < u->s->args.n; i++) {
        char name[256];

        (void)str_print(name, sizeof name, "%.*s", (int)strcspn(u->s->args.items[i], "="),
                        u->s->args.items[i]);
        if (stage_get_pair(out, name) == NULL) {
            strv_add(out, u->s->args.items[i]);
        }
    }
    if (stage_get_pair(out, "PATH") == NULL) {
        strv_add(out, MADE_PATH);
    }
}

/* Proxies need no ARG, and do not matter for what comes out: the cache ignores them. */
static void add_proxies(struct run *u)
{
    static const char *const known[] = {"http_proxy", "https_proxy", "ftp_proxy",
                                        "no_proxy", "all_proxy"};
    const char *const *args = u->b->b->args;

    for (size_t i = 0; args != NULL && args[i] != NULL; i++) {
        size_t n = strcspn(args[i], "=");

        for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
            char name[16];

            (void)str_print(name, sizeof name, "%.*s", n < 15 ? (int)n : 15, args[i]);
            if (strlen(known[k]) == n && strncasecmp(known[k], args[i], n) == 0 &&
                args[i][n] == '=' && stage_get_pair(&u->step.env, name) == NULL) {
                strv_add(&u->step.env, args[i]);
            }
        }
    }
}

/* A program of one step lies beside the changes, and is seen in /dev. */
static int write_script(struct run *u, struct err *e)
{
    struct build_mount *m = &u->mounts[u->step.n_mounts];
    char path[PATH_MAX];
    int r;

    if (u->step.n_mounts == MOUNTS_MAX) {
        return err_set(e, -E2BIG, "more than %d mounts", MOUNTS_MAX);
    }
    r = str_print(path, sizeof path, "%s/layers/%s/script", u->b->b->pack->store->state,
                  u->dir);
    r = r < 0 ? r
              : file_replace(AT_FDCWD, path, u->script, strlen(u->script), 0755, false);
    if (r < 0) {
        return err_sys(e, r, "cannot write the here-document to a file");
    }
    *m = (struct build_mount){.kind = BUILD_MOUNT_BIND,
                              .source = strdup(path),
                              .target = strdup(SCRIPT_PLACE),
                              .read_only = true};
    u->step.n_mounts++;
    return m->source == NULL || m->target == NULL ? err_set(e, -ENOMEM, "out of memory")
                                                  : 0;
}

static int fill_step(struct run *u, struct err *e)
{
    const char *user = json_string_value(json_object_get(stage_settings(u->s), "User"));
    int r = take_flags(u, e);

    r = r < 0 ? r : fill_argv(u, e);
    fill_env(u);
    u->step.what = u->x->text;
    u->step.workdir = stage_workdir(u->s);
    u->step.mounts = u->mounts;
    (void)str_print(u->user, sizeof u->user, "%s", user != NULL ? user : "");
    u->step.user = u->user;
    return r < 0 ? r
           : strv_failed(&u->step.argv) || strv_failed(&u->step.env)
               ? err_set(e, -ENOMEM, "out of memory")
               : 0;
}

static void fold_list(struct stage *s, const char *what, const struct strv *v)
{
    for (size_t i = 0; i < v->n; i++) {
        cache_fold(s, what, v->items[i], strlen(v->items[i]));
    }
}

/* ---- the directory of changes ---- */

static int make_dirs(struct run *u, struct err *e)
{
    struct image_store *store = u->b->b->pack->store;
    char id[17], first[40];
    int r = word_random_id(id, 16);

    (void)str_print(first, sizeof first, ".mk-%s", id);
    (void)str_print(u->dir, sizeof u->dir, ".new-%s", id);
    if (r == 0 && mkdirat(store->layers, first, 0700) < 0) {
        r = -errno;
    }
    if (r == 0) {
        u->lock = openat(store->layers, first, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (u->lock < 0 || flock(u->lock, LOCK_EX) < 0 ||
            renameat(store->layers, first, store->layers, u->dir) < 0 ||
            mkdirat(u->lock, "upper", 0755) < 0 || mkdirat(u->lock, "work", 0700) < 0) {
            r = -errno;
            (void)file_remove_tree(store->layers, first);
        }
    }
    r = r < 0 ? r
              : str_print(u->upper, sizeof u->upper, "%s/layers/%s/upper", store->state,
                          u->dir);
    r = r < 0 ? r
              : str_print(u->work, sizeof u->work, "%s/layers/%s/work", store->state,
                          u->dir);
    u->step.upper = u->upper;
    u->step.work = u->work;
    return r < 0 ? err_sys(e, r, "cannot make a directory for the changes") : 0;
}

/* A new root directory would hide the mode of the one below. */
static void copy_root_mode(const struct run *u)
{
    struct stat st;

    if (u->step.lowers.n > 0 && stat(u->step.lowers.items[0], &st) == 0) {
        (void)!chown(u->upper, st.st_uid, st.st_gid);
        (void)chmod(u->upper, st.st_mode & 07777);
    }
}

static int execute(struct run *u, struct image_layer *ret, struct err *e)
{
    struct pack_scan scan = {.overlay = true};
    SCOPED(scope_close) int upper = -1;
    int64_t epoch = made_epoch();
    int r;

    if (u->b->b->runner == NULL) {
        return err_set(e, -ENOTSUP, "there is nobody here to run commands");
    }
    r = stage_list_dirs(u->b, u->s, &u->step.lowers, e);
    if (r == 0 && u->step.lowers.n == 0) {
        r = err_set(e, -EINVAL, "the image is empty: there is nothing to run");
    }
    r = r < 0 ? r : make_dirs(u, e);
    if (r < 0) {
        return r;
    }
    copy_root_mode(u);
    add_proxies(u);
    r = u->script != NULL ? write_script(u, e) : 0;
    if (r < 0) {
        return r;
    }
    r = u->b->b->runner->run(u->b->b->runner->arg, &u->step, e);
    if (r != 0) {
        return r < 0 ? err_set(e, r, "the command could not be started")
                     : err_set(e, -ECHILD, "the command ended with code %d", r);
    }
    scan.clamp_mtime = epoch > 0 ? epoch : 0;
    upper = open(u->upper, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return upper < 0
               ? err_sys(e, -errno, "cannot open the changes")
               : pack_layer_from_dir(u->b->b->pack, upper, &scan, PACK_GZIP, ret, e);
}

static void fini(struct run *u)
{
    if (u->dir[0] != '\0') {
        (void)file_remove_tree(u->b->b->pack->store->layers, u->dir);
    }
    scope_close(&u->lock);
    for (size_t i = 0; i < u->step.n_mounts; i++) {
        free(u->mounts[i].source);
        free(u->mounts[i].target);
    }
    strv_fini(&u->step.lowers);
    strv_fini(&u->step.argv);
    strv_fini(&u->step.env);
}

int run_apply(struct builder *b, struct stage *s, const struct containerfile_item *x,
              bool *ret_cached, struct err *e)
{
    SCOPED(fini) struct run u = {.b = b, .s = s, .x = x, .lock = -1};
    struct image_layer layer;
    int r = fill_step(&u, e);

    if (r < 0) {
        return r;
    }
    fold_list(s, "argv", &u.step.argv);
    if (u.script != NULL) {
        cache_fold(s, "script", u.script, strlen(u.script));
    }
    fold_list(s, "env", &u.step.env);
    fold_list(s, "flag", &x->flags);
    cache_fold(s, "user", u.user, strlen(u.user));
    cache_fold(s, "dir", u.step.workdir, strlen(u.step.workdir));
    *ret_cached = cache_get(b, s, &layer) == 1;
    if (!*ret_cached) {
        r = execute(&u, &layer, e);
        r = r < 0 ? r : cache_put(b, s, &layer, e);
    }
    return r < 0 ? r : stage_add_layer(s, &layer, e);
}
