/* prog/image.c - the program that handles foreign bytes: archives, registries, builds.
 *
 *     image OP < request
 *
 * One JSON request on standard input; JSON lines on standard output:
 * {"progress": {"what", "object", "done", "total"}} now and then, at the end
 * {"result": ...} or {"error": {"code", "text"}}.  The request's "state" is the
 * state directory; "limits" may hold "bytes", "entries" and "ratio". */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "resource/image/disk/disk.h"
#include "resource/image/kernel/ops.h"
#include "resource/image/pack/pack.h"
#ifdef HAVE_REGISTRY
#    include "resource/image/registry/registry.h"
#endif
#ifdef HAVE_BUILD
#    include "resource/image/build/build.h"
#endif

static const struct pack_op *const tables[] = {
    pack_ops,     kernel_ops, image_disk_ops,
#ifdef HAVE_REGISTRY
    registry_ops,
#endif
#ifdef HAVE_BUILD
    build_ops,
#endif
};

static void say(const char *key, json_t *value)
{
    SCOPED(scope_json) json_t *j = json_pack("{s:o}", key, value);

    if (j != NULL && json_dumpf(j, stdout, JSON_COMPACT) == 0) {
        (void)putchar('\n');
        (void)fflush(stdout);
    }
}

static void tell(void *arg, const char *what, const char *object, uint64_t done,
                 uint64_t total)
{
    (void)arg;
    say("progress", json_pack("{s:s,s:s,s:I,s:I}", "what", what, "object", object, "done",
                              (json_int_t)done, "total", (json_int_t)total));
}

static const struct pack_op *find_op(const char *name)
{
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        for (const struct pack_op *op = tables[i]; op->name != NULL; op++) {
            if (strcmp(op->name, name) == 0) {
                return op;
            }
        }
    }
    return NULL;
}

static int read_request(json_t **ret, struct err *e)
{
    json_error_t je;

    *ret = json_loadf(stdin, JSON_REJECT_DUPLICATES, &je);
    return *ret != NULL ? 0 : err_set(e, -EINVAL, "the request is no JSON: %s", je.text);
}

static int read_limits(const json_t *request, struct pack *p, struct err *e)
{
    json_t *limits = NULL;
    int r = json_opt_object(request, "", "limits", &limits, e);

    r = r < 0 ? r : json_opt_u64(limits, "limits", "bytes", &p->max_bytes, e);
    r = r < 0 ? r : json_opt_u64(limits, "limits", "entries", &p->max_entries, e);
    return r < 0 ? r : json_opt_u64(limits, "limits", "ratio", &p->max_ratio, e);
}

/* What the folders can do for each other without knowing of each other. */
static void introduce(struct pack *p)
{
#ifdef HAVE_REGISTRY
    p->fetch = registry_fetch;
#endif
#ifdef HAVE_BUILD
    p->change = build_change;
#endif
}

static int run(const char *name, json_t **ret_result, char **ret_unsettled, struct err *e)
{
    SCOPED(scope_json) json_t *request = NULL;
    SCOPED(strv_fini) struct strv added = {0};
    const struct pack_op *op = find_op(name);
    struct pack p = {.progress = tell};
    const char *state = NULL;
    int r;

    introduce(&p);
    if (op == NULL) {
        return err_set(e, -EINVAL, "'%s' is no operation", name);
    }
    r = read_request(&request, e);
    r = r < 0 ? r : json_want_str(request, "", "state", &state, e);
    r = r < 0 ? r : read_limits(request, &p, e);
    r = r < 0 ? r : pack_enter_namespace(e);
    r = r < 0 ? r : image_store_open(state, &p.store, e);
    if (r < 0) {
        return r;
    }
    pack_watch_added(&p, &added);
    r = op->run(&p, request, ret_result, e);
    if (r < 0) {
        pack_forget_added(&p);
    }
    *ret_unsettled = r == 0 && !pack_is_settled(&p) ? strdup(state) : NULL;
    image_store_close(p.store);
    return r;
}

/* Whoever asked need not wait for the disk: a child that holds none of the
 * inherited descriptors does. */
static void settle_behind(const char *state)
{
    struct pack p = {0};

    if (fork() != 0) {
        return;
    }
    (void)close_range(0, ~0u, 0);
    if (image_store_open(state, &p.store, NULL) == 0) {
        pack_settle(&p);
        image_store_close(p.store);
    }
    _exit(0);
}

/* A writer past the file size limit gets EFBIG, not a signal; whoever asked and
 * is gone wants no answer. */
static void prepare(void)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    (void)signal(SIGXFSZ, SIG_IGN);
    (void)signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
    struct err e = {0};
    SCOPED(scope_free) char *unsettled = NULL;
    json_t *result = NULL;

    if (argc != 2) {
        (void)fputs("usage: image OP < REQUEST.json\n", stderr);
        return 2;
    }
    prepare();
    if (run(argv[1], &result, &unsettled, &e) < 0) {
        say("error", json_pack("{s:i,s:s}", "code", e.code, "text", e.text));
        return 1;
    }
    say("result", result);
    if (unsettled != NULL) {
        settle_behind(unsettled);
    }
    return 0;
}
