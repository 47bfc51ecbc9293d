/* ops.c - the operations of registries in the program `image`: JSON in, JSON out.
 *
 * Members that all understand: "tls_verify" (true), "ca" (path), "auth_file"
 * (auth.json in the state directory), "parallel", "chunk_bytes". */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/scope.h"
#include "resource/image/registry/names.h"
#include "resource/image/registry/registry.h"
#include "resource/image/store.h"

struct request {
    struct registry registry;
    char *auth_file, *names_file; /* owned */
};

static void fini(struct request *q)
{
    free(q->auth_file);
    free(q->names_file);
}

static int read_common(struct pack *p, const json_t *j, struct request *ret,
                       struct err *e)
{
    const char *auth = NULL;
    bool verify = true;
    uint64_t parallel = 0;
    struct registry *r = &ret->registry;
    int code = json_opt_bool(j, "", "tls_verify", &verify, e);

    code = code < 0 ? code : json_opt_str(j, "", "ca", &r->ca, e);
    code = code < 0 ? code : json_opt_str(j, "", "auth_file", &auth, e);
    code = code < 0 ? code : json_opt_u64(j, "", "parallel", &parallel, e);
    code = code < 0 ? code : json_opt_u64(j, "", "chunk_bytes", &r->chunk_bytes, e);
    if (code < 0) {
        return code;
    }
    if (asprintf(&ret->auth_file, auth != NULL ? "%s" : "%s/auth.json",
                 auth != NULL ? auth : p->store->state) < 0) {
        ret->auth_file = NULL;
        return err_set(e, -ENOMEM, "out of memory");
    }
    r->store = p->store;
    r->insecure = !verify;
    r->auth_file = ret->auth_file;
    r->names_file = ret->names_file = names_find_file(p->store->state);
    r->parallel = parallel > 1000 ? 1000 : (unsigned)parallel;
    r->progress = p->progress;
    r->arg = p->arg;
    return 0;
}

static int give(json_t *j, json_t **ret, struct err *e)
{
    if (j == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    *ret = j;
    return 0;
}

/* {"ref": R, "name": N or null, "platform": P or null} -> {"digest": D} */
static int run_pull(struct pack *p, const json_t *j, json_t **ret, struct err *e)
{
    SCOPED(fini) struct request q = {0};
    struct registry_pull pull = {0};
    struct image_desc desc;
    int r = read_common(p, j, &q, e);

    r = r < 0 ? r : json_want_str(j, "", "ref", &pull.ref, e);
    r = r < 0 ? r : json_opt_str(j, "", "name", &pull.name, e);
    r = r < 0 ? r : json_opt_str(j, "", "platform", &pull.platform, e);
    r = r < 0 ? r : registry_pull(&q.registry, &pull, &desc, e);
    return r < 0 ? r : give(json_pack("{s:s}", "digest", desc.digest), ret, e);
}

static bool has_registry(const struct registry *r, const char *text)
{
    SCOPED(scope_json) json_t *names = NULL;
    struct image_ref ref;

    return image_ref_parse(text, &ref, NULL) < 0 ||
           names_load(r->names_file, &names, NULL) < 0 ||
           names_resolve(names, &ref, NULL) != -ENODATA;
}

int registry_fetch(struct pack *p, const char *ref, const json_t *how, struct err *e)
{
    SCOPED(scope_json) json_t *nothing = json_object();
    SCOPED(fini) struct request q = {0};
    struct registry_pull pull = {.ref = ref};
    struct image_desc desc;
    int r = read_common(p, how != NULL ? how : nothing, &q, e);

    if (r == 0 && !has_registry(&q.registry, ref)) {
        return -ENODATA;
    }
    return r < 0 ? r : registry_pull(&q.registry, &pull, &desc, e);
}

/* {"image": I, "ref": R or null} -> {"digest": D} */
static int run_push(struct pack *p, const json_t *j, json_t **ret, struct err *e)
{
    SCOPED(fini) struct request q = {0};
    struct registry_push push = {0};
    struct image_desc desc;
    int r = read_common(p, j, &q, e);

    r = r < 0 ? r : json_want_str(j, "", "image", &push.image, e);
    r = r < 0 ? r : json_opt_str(j, "", "ref", &push.ref, e);
    r = r < 0 ? r : registry_push(&q.registry, &push, &desc, e);
    return r < 0 ? r : give(json_pack("{s:s}", "digest", desc.digest), ret, e);
}

/* {"host": H, "user": U, "password": P} -> {"host": H} */
static int run_login(struct pack *p, const json_t *j, json_t **ret, struct err *e)
{
    SCOPED(fini) struct request q = {0};
    const char *host = NULL, *user = NULL, *password = NULL;
    int r = read_common(p, j, &q, e);

    r = r < 0 ? r : json_want_str(j, "", "host", &host, e);
    r = r < 0 ? r : json_want_str(j, "", "user", &user, e);
    r = r < 0 ? r : json_want_str(j, "", "password", &password, e);
    r = r < 0 ? r : registry_login(&q.registry, host, user, password, e);
    return r < 0 ? r : give(json_pack("{s:s}", "host", host), ret, e);
}

/* {"host": H} -> {"host": H} */
static int run_logout(struct pack *p, const json_t *j, json_t **ret, struct err *e)
{
    SCOPED(fini) struct request q = {0};
    const char *host = NULL;
    int r = read_common(p, j, &q, e);

    r = r < 0 ? r : json_want_str(j, "", "host", &host, e);
    r = r < 0 ? r : registry_logout(q.auth_file, host, e);
    return r < 0 ? r : give(json_pack("{s:s}", "host", host), ret, e);
}

const struct pack_op registry_ops[] = {
    {"pull", run_pull},     {"push", run_push}, {"login", run_login},
    {"logout", run_logout}, {NULL, NULL},
};
