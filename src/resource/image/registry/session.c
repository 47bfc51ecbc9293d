/* session.c - reach a registry, and share the work among threads.
 *
 * Each thread has a connection and a store handle of its own; what they share
 * is the login (its lock), the progress (`told`) and the wish to stop. */
#include "resource/image/registry/session.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/scope.h"
#include "resource/image/registry/ca.h"

#define PARALLEL_DEFAULT 4
#define PARALLEL_MAX     16
#define HUB              "docker.io"
#define HUB_HOST         "registry-1.docker.io" /* where its images really are */

static int set_names(struct session *s, const char *registry, const char *path)
{
    bool hub = strcmp(registry, HUB) == 0 || strcmp(registry, "index.docker.io") == 0;
    bool official = hub && path[0] != '\0' && strchr(path, '/') == NULL;
    int r = str_print(s->host, sizeof s->host, "%s", hub ? HUB_HOST : registry);

    return r < 0 ? r
                 : str_print(s->path, sizeof s->path, "%s%s", official ? "library/" : "",
                             path);
}

int session_init(struct session *s, const struct registry *r, const char *registry,
                 const char *path, struct err *e)
{
    int code;

    *s = (struct session){.r = r};
    (void)pthread_mutex_init(&s->told, NULL);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    if (set_names(s, registry, path) < 0) {
        return err_set(e, -EINVAL, "the name is too long");
    }
    code = r->ca != NULL ? ca_check(r->ca, e) : 0;
    code = code < 0 ? code : auth_init(&s->auth, r, registry, NULL, NULL, e);
    if (code == 0) {
        s->http = http_create(r, &s->auth, &s->stop);
        code = s->http == NULL ? err_set(e, -ENOMEM, "out of memory") : 0;
    }
    return code;
}

void session_fini(struct session *s)
{
    http_destroy(s->http);
    auth_fini(&s->auth);
    free(s->base);
    strv_fini(&s->added);
    (void)pthread_mutex_destroy(&s->told);
    curl_global_cleanup();
}

/* Ask BASE/v2/; *ret_plain when the other side seems not to speak TLS. */
static int ping(struct session *s, const char *scheme, bool last, bool *ret_plain,
                struct err *e)
{
    SCOPED(scope_free) char *url = NULL;
    struct http_request q = {.method = "GET"};
    struct http_reply p = {0};
    int r;

    free(s->base);
    free(s->auth.origin);
    s->auth.origin = NULL;
    if (asprintf(&s->base, "%s://%s", scheme, s->host) < 0 ||
        asprintf(&url, "%s/v2/", s->base) < 0) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    r = http_origin(url, &s->auth.origin);
    if (r < 0) {
        return err_set(e, r, "'%s' is no address of a registry", s->host);
    }
    q.url = url;
    r = last ? http_send_patiently(s->http, &q, &p, e) : http_send(s->http, &q, &p, e);
    *ret_plain = r < 0 && p.plain;
    if (r == 0 && (p.status == 401 || p.again)) {
        r = http_refused(&q, &p, e);
    }
    http_reply_fini(&p);
    return r;
}

int session_connect(struct session *s, struct err *e)
{
    struct err mine = {0};
    SCOPED(scope_free) char *url = NULL;
    SCOPED(scope_free) char *host = NULL;
    bool plain = false, may_plain;
    int r;

    if (asprintf(&url, "https://%s", s->host) < 0) {
        url = NULL;
        return err_set(e, -ENOMEM, "out of memory");
    }
    if (http_host(url, &host) < 0) {
        return err_set(e, -EINVAL, "'%s' is no address of a registry", s->host);
    }
    may_plain = s->r->insecure || http_is_loopback(host);
    r = ping(s, "https", !may_plain, &plain, &mine);
    if (r < 0 && plain && may_plain) {
        return ping(s, "http", true, &plain, e);
    }
    return r < 0 ? err_set(e, r, "%s", mine.text) : 0;
}

char *session_url(const struct session *s, const char *fmt, ...)
{
    struct str url = {0};
    char rest[512];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(rest, sizeof rest, fmt, ap);
    va_end(ap);
    str_addf(&url, "%s/v2/%s/%s", s->base, s->path, rest);
    return str_take(&url);
}

void session_tell(struct session *s, const char *what, const char *digest, uint64_t done,
                  uint64_t total)
{
    if (s->r->progress != NULL) {
        (void)pthread_mutex_lock(&s->told);
        s->r->progress(s->r->arg, what, digest, done, total);
        (void)pthread_mutex_unlock(&s->told);
    }
}

bool session_may_pass(int code)
{
    return code == -ECONNABORTED || code == -ETIMEDOUT || code == -EAGAIN ||
           code == -ECANCELED;
}

/* ---- threads ---- */

struct crew {
    struct session *s;
    session_job_fn *job;
    void *arg;
    size_t n;
    atomic_size_t next;
    pthread_mutex_t lock; /* guards the next two */
    int code;
    struct err *e;
};

static void report(struct crew *c, int code, const struct err *mine)
{
    (void)pthread_mutex_lock(&c->lock);
    if (c->code == 0) {
        c->code = err_set(c->e, code, "%s", mine->text);
    }
    (void)pthread_mutex_unlock(&c->lock);
    if (!session_may_pass(code)) {
        atomic_store(&c->s->hopeless, true);
    }
    atomic_store(&c->s->stop, true);
}

static void merge_added(struct session *s, const struct strv *added)
{
    (void)pthread_mutex_lock(&s->told);
    for (size_t i = 0; i < added->n; i++) {
        strv_add(&s->added, added->items[i]);
    }
    (void)pthread_mutex_unlock(&s->told);
}

static void *work(void *arg)
{
    struct crew *c = arg;
    struct err mine = {0};
    SCOPED(strv_fini) struct strv added = {0};
    struct worker w = {.s = c->s, .arg = c->arg};
    int r = image_store_open(c->s->r->store->state, &w.store, &mine);
    size_t i;

    if (r == 0) {
        w.store->added = &added;
        w.http = http_create(c->s->r, &c->s->auth, &c->s->stop);
        r = w.http == NULL ? err_set(&mine, -ENOMEM, "out of memory") : 0;
    }
    while (r == 0 && !atomic_load(&c->s->stop) &&
           (i = atomic_fetch_add(&c->next, 1)) < c->n) {
        r = c->job(&w, i, &mine);
    }
    if (r < 0) {
        report(c, r, &mine);
    }
    merge_added(c->s, &added);
    http_destroy(w.http);
    image_store_close(w.store);
    return NULL;
}

int session_run(struct session *s, size_t n, session_job_fn *job, void *arg,
                struct err *e)
{
    struct crew c = {.s = s, .job = job, .arg = arg, .n = n, .e = e};
    size_t want = s->r->parallel != 0 ? s->r->parallel : PARALLEL_DEFAULT, made = 0;
    pthread_t threads[PARALLEL_MAX];

    want = want > PARALLEL_MAX ? PARALLEL_MAX : want;
    (void)pthread_mutex_init(&c.lock, NULL);
    while (made + 1 < want && made + 1 < n &&
           pthread_create(&threads[made], NULL, work, &c) == 0) {
        made++;
    }
    (void)work(&c); /* this thread is one of them */
    while (made > 0) {
        (void)pthread_join(threads[--made], NULL);
    }
    (void)pthread_mutex_destroy(&c.lock);
    return c.code;
}
