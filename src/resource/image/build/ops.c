/* ops.c - the operation `build` of the program `image`.
 *
 * {"what": "debian:SUITE" | "busybox", "name", "label": ["K=V"], "mirror": URL,
 *  "include": [PACKAGE]} or
 * {"context": DIR, "file", "name", "target", "args": {N: V}, "no_cache", "label",
 *  "pull": "missing" | "always" | "never", what a pull understands,
 *  "no_network", "runner": [PROGRAM, ARG...]} -> {"digest": D, "name": N}
 *
 * For each RUN the runner is started with the step as JSON on its standard
 * input; its exit code is the step's.  What it says goes to our standard error,
 * since our standard output carries the protocol. */
#include <errno.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/err.h"
#include "base/scope.h"
#include "host/file.h"
#include "resource/image/build/build.h"

#define COULD_NOT_START 255 /* the runner's code for a step that it could not run */

extern char **environ;

static json_t *strings(const struct strv *v)
{
    json_t *list = json_array();

    for (size_t i = 0; i < v->n; i++) {
        (void)json_array_append_new(list, json_string(v->items[i]));
    }
    return list;
}

static json_t *mounts_json(const struct build_step *s)
{
    static const char *const kinds[] = {"bind", "cache", "tmpfs"};
    json_t *list = json_array();

    for (size_t i = 0; i < s->n_mounts; i++) {
        const struct build_mount *m = &s->mounts[i];

        (void)json_array_append_new(
            list, json_pack("{s:s,s:s*,s:s,s:b,s:I}", "type", kinds[m->kind], "source",
                            m->source, "target", m->target, "read_only", m->read_only,
                            "size", (json_int_t)m->size));
    }
    return list;
}

static json_t *step_json(const struct build_step *s)
{
    return json_pack("{s:s,s:o,s:s,s:s,s:o,s:o,s:s,s:s,s:b,s:o}", "what", s->what,
                     "lowers", strings(&s->lowers), "upper", s->upper, "work", s->work,
                     "argv", strings(&s->argv), "env", strings(&s->env), "workdir",
                     s->workdir, "user", s->user, "network", s->network, "mounts",
                     mounts_json(s));
}

static int write_step(const struct build_step *s, struct err *e)
{
    SCOPED(scope_json) json_t *j = step_json(s);
    SCOPED(scope_free) char *text = j != NULL ? json_dumps(j, JSON_COMPACT) : NULL;
    int fd = memfd_create("step", MFD_CLOEXEC);
    int r = text == NULL ? -ENOMEM
            : fd < 0     ? -errno
                         : file_write_all(fd, text, strlen(text));

    if (r < 0) {
        scope_close(&fd);
        return err_sys(e, r, "cannot describe the step");
    }
    (void)lseek(fd, 0, SEEK_SET);
    return fd;
}

static int spawn(const json_t *runner, int in, pid_t *ret)
{
    SCOPED(strv_fini) struct strv argv = {0};
    posix_spawn_file_actions_t fa;
    int r;

    for (size_t i = 0; i < json_array_size(runner); i++) {
        const char *word = json_string_value(json_array_get(runner, i));

        strv_add(&argv, word != NULL ? word : "");
    }
    if (argv.n == 0 || strv_failed(&argv)) {
        return argv.n == 0 ? -EINVAL : -ENOMEM;
    }
    r = -posix_spawn_file_actions_init(&fa);
    if (r == 0) {
        r = -posix_spawn_file_actions_adddup2(&fa, in, 0);
        r = r < 0 ? r : -posix_spawn_file_actions_adddup2(&fa, 2, 1);
        r = r < 0 ? r : -posix_spawnp(ret, argv.items[0], &fa, NULL, argv.items, environ);
        (void)posix_spawn_file_actions_destroy(&fa);
    }
    return r;
}

static int run_step(void *arg, const struct build_step *s, struct err *e)
{
    SCOPED(scope_close) int in = write_step(s, e);
    int status = 0, r;
    pid_t pid = -1;

    if (in < 0) {
        return in;
    }
    r = spawn(arg, in, &pid);
    if (r < 0) {
        return err_sys(e, r, "cannot start the runner of commands");
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status)) {
        return 128 + WTERMSIG(status);
    }
    return WEXITSTATUS(status) == COULD_NOT_START
               ? err_set(e, -EIO, "the command could not be started")
               : WEXITSTATUS(status);
}

static void tell(void *arg, unsigned at, unsigned of, const char *what, bool cached)
{
    const struct pack *p = arg;

    if (p->progress != NULL) {
        p->progress(p->arg, cached ? "cached" : "step", what, at, of);
    }
}

static int read_args(const json_t *request, struct strv *ret, struct err *e)
{
    json_t *args = NULL, *value;
    const char *name;
    int r = json_opt_object(request, "", "args", &args, e);

    json_object_foreach(args, name, value)
    {
        if (!json_is_string(value)) {
            return err_set(e, -EINVAL, "'args.%s' is not a string", name);
        }
        strv_addf(ret, "%s=%s", name, json_string_value(value));
    }
    return r < 0 ? r : strv_failed(ret) ? err_set(e, -ENOMEM, "out of memory") : 0;
}

/* A list of texts; words between commas, too, with `cut`. */
static int read_list(const json_t *request, const char *key, bool cut, struct strv *ret,
                     struct err *e)
{
    json_t *list = NULL, *x;
    size_t i;
    int r = json_opt_array(request, "", key, &list, e);

    json_array_foreach(list, i, x)
    {
        const char *text = json_string_value(x);
        SCOPED(scope_free) char *copy = text != NULL ? strdup(text) : NULL;
        char *rest = copy, *word;

        if (copy == NULL) {
            return err_set(e, -EINVAL, "'%s[%zu]' is not a string", key, i);
        }
        while ((word = cut ? strsep(&rest, ",") : rest) != NULL) {
            strv_add(ret, word);
            rest = cut ? rest : NULL;
        }
    }
    return r < 0 ? r : strv_failed(ret) ? err_set(e, -ENOMEM, "out of memory") : 0;
}

static int read_pull(const json_t *request, enum build_pull *ret, struct err *e)
{
    static const char *const words[BUILD_PULL_COUNT] = {
        [BUILD_PULL_MISSING] = "missing",
        [BUILD_PULL_ALWAYS] = "always",
        [BUILD_PULL_NEVER] = "never",
    };
    const char *word = words[BUILD_PULL_MISSING];
    int r = json_opt_str(request, "", "pull", &word, e);

    for (int i = 0; r == 0 && i < BUILD_PULL_COUNT; i++) {
        if (strcmp(word, words[i]) == 0) {
            *ret = (enum build_pull)i;
            return 0;
        }
    }
    return r < 0 ? r : err_set(e, -EINVAL, "'pull' is not missing, always or never");
}

static int build_file(struct pack *p, const json_t *j, const char *name,
                      struct image_desc *ret, struct err *e)
{
    SCOPED(strv_fini) struct strv args = {0};
    SCOPED(strv_fini) struct strv labels = {0};
    struct build b = {.pack = p, .name = name, .how = j, .step = tell, .arg = p};
    struct build_runner runner = {.run = run_step};
    json_t *words = NULL;
    int r = json_want_str(j, "", "context", &b.context, e);

    r = r < 0 ? r : json_opt_str(j, "", "file", &b.file, e);
    r = r < 0 ? r : json_opt_str(j, "", "target", &b.target, e);
    r = r < 0 ? r : json_opt_bool(j, "", "no_cache", &b.no_cache, e);
    r = r < 0 ? r : json_opt_bool(j, "", "no_network", &b.no_network, e);
    r = r < 0 ? r : json_opt_array(j, "", "runner", &words, e);
    r = r < 0 ? r : read_args(j, &args, e);
    r = r < 0 ? r : read_list(j, "label", false, &labels, e);
    r = r < 0 ? r : read_pull(j, &b.pull, e);
    if (r < 0) {
        return r;
    }
    runner.arg = words;
    b.runner = words != NULL ? &runner : NULL;
    b.args = (const char *const *)args.items;
    b.labels = (const char *const *)labels.items;
    return build_containerfile(&b, ret, e);
}

static int read_base(const json_t *j, struct build_base *o, struct strv *labels,
                     struct strv *include, struct err *e)
{
    int r = json_opt_str(j, "", "mirror", &o->mirror, e);

    r = r < 0 ? r : read_list(j, "label", false, labels, e);
    r = r < 0 ? r : read_list(j, "include", true, include, e);
    o->labels = (const char *const *)labels->items;
    o->include = (const char *const *)include->items;
    return r;
}

/* "debian", "debian:trixie", "busybox". */
static int build_known(struct pack *p, const char *what, struct build_base *o,
                       struct image_desc *ret, struct err *e)
{
    if (strcmp(what, "busybox") == 0) {
        o->name = o->name != NULL ? o->name : "busybox:latest";
        return o->mirror != NULL || o->include != NULL
                   ? err_set(e, -EINVAL,
                             "cannot build 'busybox' of packages or from a mirror: only "
                             "'debian' is")
                   : build_busybox(p, o, ret, e);
    }
    if (strcmp(what, "debian") == 0 || str_starts(what, "debian:")) {
        o->suite = what[6] == '\0' ? "bookworm" : what + 7;
        o->name = o->name != NULL ? o->name : what[6] == '\0' ? "debian:bookworm" : what;
        return build_debian(p, o, ret, e);
    }
    return err_set(e, -EINVAL,
                   "cannot build '%s': only 'busybox' and 'debian[:SUITE]' "
                   "are built without a file",
                   what);
}

static int run_build(struct pack *p, const json_t *j, json_t **ret, struct err *e)
{
    SCOPED(strv_fini) struct strv labels = {0};
    SCOPED(strv_fini) struct strv include = {0};
    struct build_base o = {0};
    const char *what = NULL;
    struct image_desc desc;
    int r = json_opt_str(j, "", "what", &what, e);

    r = r < 0 ? r : json_opt_str(j, "", "name", &o.name, e);
    r = r < 0 ? r : read_base(j, &o, &labels, &include, e);
    if (r == 0 && what == NULL && (o.mirror != NULL || o.include != NULL)) {
        r = err_set(e, -EINVAL,
                    "a mirror and packages are for 'debian' only: a "
                    "Containerfile says itself what it installs");
    }
    if (r == 0) {
        r = what != NULL ? build_known(p, what, &o, &desc, e)
                         : build_file(p, j, o.name, &desc, e);
    }
    if (r < 0) {
        return r;
    }
    *ret = json_pack("{s:s,s:s*}", "digest", desc.digest, "name", o.name);
    return *ret == NULL ? err_set(e, -ENOMEM, "out of memory") : 0;
}

const struct pack_op build_ops[] = {
    {"build", run_build},
    {NULL, NULL},
};
