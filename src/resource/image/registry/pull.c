/* pull.c - manifest, configuration, layers; then the name.
 *
 * A blob goes through `pack_blob_begin`, which finds the part that an earlier
 * pull left; the rest is asked for with Range.  Bytes are hashed as they come,
 * and never more than the manifest announced are taken.  A failure in passing
 * (connection, 5xx, stall) keeps the part; wrong content removes it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/sha256.h"
#include "resource/image/registry/manifest.h"
#include "resource/image/registry/names.h"
#include "resource/image/registry/session.h"

#define TELL_BYTES     (1u << 20) /* between two words of progress */
#define PROGRESS_BYTES (1u << 20) /* an attempt that brought so much does not count */

/* ---- one blob ---- */

struct fetch {
    struct worker *w;
    const struct image_desc *want;
    struct pack_blob *blob;
    uint64_t told;
    bool began;   /* the answer at hand was looked at */
    bool resumed; /* bytes of an earlier command are in it */
};

/* The first byte of the part that a 206 carries must be the next of ours. */
static int check_part(const struct fetch *f, const struct http_reply *head, struct err *e)
{
    unsigned long long from = 0;

    if (head->content_range == NULL ||
        sscanf(head->content_range, "bytes %llu-", &from) != 1 ||
        from != pack_blob_size(f->blob)) {
        return err_set(e, -EPROTO, "blob %s: the registry sends another part than asked",
                       f->want->digest);
    }
    return 0;
}

static int begin(struct fetch *f, const struct http_reply *head, struct err *e)
{
    f->began = true;
    if (head->status == 206) {
        return check_part(f, head, e);
    }
    f->resumed = false;
    return pack_blob_size(f->blob) > 0 ? pack_blob_restart(f->blob, e) : 0;
}

static int take(void *arg, const struct http_reply *head, const void *bytes, size_t len,
                struct err *e)
{
    struct fetch *f = arg;
    uint64_t done;
    int r = f->began ? 0 : begin(f, head, e);

    if (r < 0) {
        return r;
    }
    done = pack_blob_size(f->blob);
    if (len > f->want->size - done) {
        return err_set(e, -EBADMSG, "blob %s is longer than its %llu bytes",
                       f->want->digest, (unsigned long long)f->want->size);
    }
    r = pack_blob_write(f->blob, bytes, len, e);
    done += len;
    if (r == 0 && done - f->told >= TELL_BYTES) {
        f->told = done;
        session_tell(f->w->s, "download", f->want->digest, done, f->want->size);
    }
    return r;
}

/* One answer.  1: all bytes are there; 0: try again; -errno: no use. */
static int fetch_once(struct fetch *f, const char *url, struct err *e)
{
    uint64_t had = pack_blob_size(f->blob);
    char range[40];
    struct http_request q = {.method = "GET", .url = url, .sink = take, .arg = f};
    struct http_reply p = {0};
    struct err mine = {0};
    bool again;
    int r;

    if (had > 0) {
        (void)str_print(range, sizeof range, "bytes=%llu-", (unsigned long long)had);
        q.range = range;
    }
    f->began = false;
    r = http_send(f->w->http, &q, &p, &mine);
    again = p.again;
    if (r == 0 && p.status == 416 && had > 0) {
        f->resumed = false;
        again = true;
        r = pack_blob_restart(f->blob, &mine);
    } else if (r == 0 && p.status / 100 != 2) {
        r = http_refused(&q, &p, &mine);
        (void)err_wrap(&mine, "blob %s", f->want->digest);
    } else if (r == 0 && pack_blob_size(f->blob) != f->want->size) {
        r = err_set(&mine, -EBADMSG, "blob %s ends after %llu of its %llu bytes",
                    f->want->digest, (unsigned long long)pack_blob_size(f->blob),
                    (unsigned long long)f->want->size);
    } else if (r == 0) {
        again = false;
    }
    http_reply_fini(&p);
    if (again) {
        err_clear(e);
    }
    if (mine.code != 0) {
        (void)err_set(e, mine.code, "%s", mine.text);
    }
    return again ? 0 : r < 0 ? r : 1;
}

/* All bytes into f->blob; *ret_keep when a later pull may go on from them. */
static int fetch_bytes(struct fetch *f, bool *ret_keep, struct err *e)
{
    SCOPED(scope_free) char *url = session_url(f->w->s, "blobs/%s", f->want->digest);
    unsigned n = 0;

    *ret_keep = true;
    if (url == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    while (pack_blob_size(f->blob) < f->want->size) {
        uint64_t had = pack_blob_size(f->blob);
        int r = fetch_once(f, url, e);

        if (r != 0) {
            *ret_keep = r == -ECANCELED;
            return r < 0 ? r : 0;
        }
        n = pack_blob_size(f->blob) >= had + PROGRESS_BYTES ? 1 : n + 1;
        if (n >= http_attempts(f->w->http)) {
            return e->code;
        }
        if (!http_wait(f->w->http, n)) {
            return err_set(e, -ECANCELED, "cancelled");
        }
        err_clear(e);
    }
    return 0;
}

/* 1 when a resumed part turned out wrong: begin anew. */
static int fetch_try(struct worker *w, const struct image_desc *want, struct err *e)
{
    struct fetch f = {.w = w, .want = want};
    struct err mine = {0};
    bool keep = false;
    int r = pack_blob_begin(w->store, want->digest, &f.blob, e);

    if (r < 0) {
        return r;
    }
    f.resumed = pack_blob_size(f.blob) > 0;
    if (pack_blob_size(f.blob) > want->size) {
        f.resumed = false;
        r = pack_blob_restart(f.blob, e);
    }
    f.told = pack_blob_size(f.blob);
    session_tell(w->s, "download", want->digest, f.told, want->size);
    r = r < 0 ? r : fetch_bytes(&f, &keep, &mine);
    if (r < 0) {
        pack_blob_abort(f.blob, keep && !atomic_load(&w->s->hopeless));
        return err_set(e, r, "%s", mine.text);
    }
    r = pack_blob_commit(f.blob, NULL, NULL, &mine);
    if (r == -EBADMSG && f.resumed) {
        return 1;
    }
    if (r == 0) {
        session_tell(w->s, "download", want->digest, want->size, want->size);
    }
    return r < 0 ? err_set(e, r, "%s", mine.text) : 0;
}

static int fetch_blob(struct worker *w, const struct image_desc *want, struct err *e)
{
    uint64_t size = 0;
    int r;

    if (pack_blob_has(w->store, want->digest, &size) && size == want->size) {
        session_tell(w->s, "exists", want->digest, size, size);
        return 0;
    }
    r = fetch_try(w, want, e);
    r = r == 1 ? fetch_try(w, want, e) : r;
    return r == 1 ? err_set(e, -EBADMSG, "blob %s has the wrong content", want->digest)
                  : r;
}

static int fetch_job(struct worker *w, size_t i, struct err *e)
{
    const struct manifest *m = w->arg;

    return fetch_blob(w, &m->blobs[i + 1], e);
}

/* ---- manifests ---- */

struct page { /* a manifest as it came */
    struct http_reply reply;
    char digest[IMAGE_DIGEST_BYTES];
};

static void sum_text(const struct str *s, char out[IMAGE_DIGEST_BYTES])
{
    uint8_t sum[SHA256_BYTES];

    sha256_sum(str_text(s), s->len, sum);
    memcpy(out, "sha256:", 7);
    sha256_hex(sum, out + 7);
}

/* `which` is a tag or a digest. */
static int fetch_page(struct session *s, const char *which, struct page *ret,
                      struct err *e)
{
    SCOPED(scope_free) char *url = session_url(s, "manifests/%s", which);
    struct http_request q = {.method = "GET", .url = url, .accept = MANIFEST_ACCEPT};
    const char *said;
    int r;

    if (url == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    r = http_send_patiently(s->http, &q, &ret->reply, e);
    if (r < 0) {
        return err_wrap(e, "its manifest");
    }
    if (ret->reply.status != 200) {
        return http_refused(&q, &ret->reply, e);
    }
    sum_text(&ret->reply.body, ret->digest);
    said = store_is_digest(which) ? which : ret->reply.digest;
    if (said != NULL && store_is_digest(said) && strcmp(said, ret->digest) != 0) {
        return err_set(e, -EBADMSG, "its manifest has the digest %s, and not %s",
                       ret->digest, said);
    }
    return 0;
}

static const char *plain_type(struct http_reply *p)
{
    if (p->content_type != NULL) {
        p->content_type[strcspn(p->content_type, "; ")] = '\0';
    }
    return p->content_type;
}

/* Keep the manifest under its digest. */
static int store_page(struct session *s, const struct page *g, const char *type,
                      struct image_desc *ret, struct err *e)
{
    return pack_put_bytes(s->r->store, type, str_text(&g->reply.body), g->reply.body.len,
                          ret, e);
}

static int read_page(struct session *s, struct page *g, const char *which,
                     const char *platform, struct manifest *ret, struct err *e)
{
    int r = fetch_page(s, which, g, e);

    return r < 0 ? r
                 : manifest_parse(str_text(&g->reply.body), g->reply.body.len,
                                  plain_type(&g->reply), platform, ret, e);
}

/* Go on to the index's choice. */
static int enter_index(struct session *s, const char *platform, struct page *g,
                       struct manifest *m, struct err *e)
{
    struct image_desc chosen = m->chosen;
    int r;

    http_reply_fini(&g->reply);
    manifest_fini(m);
    r = read_page(s, g, chosen.digest, platform, m, e);
    if (r == 0 && m->is_index) {
        manifest_fini(m);
        r = err_set(e, -EPROTONOSUPPORT, "its index leads to another index");
    }
    return r;
}

/* Configuration first: what is no image fails before its layers are fetched. */
static int fetch_image(struct session *s, const struct page *g, struct manifest *m,
                       struct image_desc *ret, struct err *e)
{
    struct worker w = {.s = s, .http = s->http, .store = s->r->store, .arg = m};
    SCOPED(scope_json) json_t *config = NULL;
    int r = fetch_blob(&w, &m->blobs[0], e);

    r = r < 0 ? r : store_read_json(s->r->store, m->blobs[0].digest, &config, e);
    r = r < 0 ? r : session_run(s, m->n - 1, fetch_job, m, e);
    return r < 0 ? r : store_page(s, g, m->media_type, ret, e);
}

/* Whether the store makes an image of what came: its configuration and its
 * layers belong together. */
static int check_image(struct session *s, const struct image_desc *desc, struct err *e)
{
    struct image img;
    int r = store_load_image(s->r->store, desc, &img, e);

    if (r == 0) {
        image_fini(&img);
    }
    return r;
}

static int pull_into(struct session *s, const struct registry_pull *p,
                     const struct image_ref *ref, struct image_desc *ret, struct err *e)
{
    const char *platform = p->platform != NULL ? p->platform : manifest_host_platform();
    bool by_digest = ref->digest[0] != '\0';
    struct image_desc index = {0};
    struct page g = {0};
    struct manifest m = {0};
    int r = read_page(s, &g, by_digest ? ref->digest : ref->tag, platform, &m, e);

    if (r == 0 && m.is_index) {
        /* Who asks for the index by digest will name the image so. */
        r = by_digest ? store_page(s, &g, m.media_type, &index, e) : 0;
        r = r < 0 ? r : enter_index(s, platform, &g, &m, e);
    }
    r = r < 0 ? r : fetch_image(s, &g, &m, ret, e);
    r = r < 0 ? r : check_image(s, ret, e);
    if (r == 0 && index.digest[0] != '\0' && p->platform == NULL) {
        *ret = index;
    }
    manifest_fini(&m);
    http_reply_fini(&g.reply);
    return r;
}

/* What is asked for by digest alone gets the digest's begin as a tag. */
static int choose_name(const struct registry_pull *p, const struct image_ref *ref,
                       char out[IMAGE_NAME_BYTES])
{
    struct image_ref named = *ref;

    if (p->name != NULL) {
        return str_print(out, IMAGE_NAME_BYTES, "%s", p->name);
    }
    if (named.tag[0] == '\0') {
        (void)str_print(named.tag, sizeof named.tag, "sha256-%.12s", ref->digest + 7);
    }
    return image_ref_name(&named, out);
}

static int pull_named(struct session *s, const struct registry_pull *p,
                      const struct image_ref *ref, struct image_desc *ret, struct err *e)
{
    char name[IMAGE_NAME_BYTES];
    int r;

    strv_addf(&s->auth.scopes, "repository:%s:pull", s->path);
    r = strv_failed(&s->auth.scopes) ? err_set(e, -ENOMEM, "out of memory")
                                     : session_connect(s, e);
    r = r < 0 ? r : pull_into(s, p, ref, ret, e);
    if (r == 0) {
        (void)choose_name(p, ref, name);
        r = image_tag_desc(s->r->store, ret, name, e);
    }
    return r;
}

static int pull(const struct registry *r, const struct registry_pull *p,
                const struct image_ref *ref, struct image_desc *ret, struct err *e)
{
    struct image_store *store = r->store;
    struct strv *watched = store->added;
    struct session s;
    int code = store_busy_begin(store, e);

    if (code < 0) {
        return code;
    }
    code = session_init(&s, r, ref->registry, ref->path, e);
    store->added = &s.added;
    code = code < 0 ? code : pull_named(&s, p, ref, ret, e);
    store->added = watched;
    store_busy_end(store);
    if (code < 0 && !session_may_pass(code) && s.added.n > 0) {
        store_forget_blobs(store, &s.added);
    }
    session_fini(&s);
    return code;
}

/* From the first mirror that has it, or else from the registry itself. */
static int pull_anywhere(const struct registry *r, const json_t *names,
                         const struct registry_pull *p, const struct image_ref *ref,
                         struct image_desc *ret, struct err *e)
{
    char name[IMAGE_NAME_BYTES];
    struct registry_pull as = *p;
    struct registry hasty = *r;
    struct image_ref there;
    int code = 0;

    (void)choose_name(p, ref, name);
    as.name = name;
    hasty.attempts = 1; /* there are others to ask */
    for (size_t i = 0; (code = names_mirror(names, i, ref, &there, e)) > 0; i++) {
        struct err mine = {0};

        if (pull(&hasty, &as, &there, ret, &mine) == 0) {
            return 0;
        }
    }
    return code < 0 ? code : pull(r, p, ref, ret, e);
}

static int no_registry(const char *ref, struct err *e)
{
    return err_set(e, -EINVAL,
                   "it names no registry (give a full reference such as "
                   "'docker.io/library/%s', or name one for it in '/etc/strata/%s')",
                   ref, NAMES_FILE);
}

/* A short name stays beside the full one: the next command finds it by that. */
static int pull_resolved(const struct registry *r, const struct registry_pull *p,
                         struct image_desc *ret, struct err *e)
{
    SCOPED(scope_json) json_t *names = NULL;
    char short_name[IMAGE_NAME_BYTES];
    struct image_ref written, ref;
    int code = image_ref_parse(p->ref, &written, e);

    ref = written;
    code = code < 0 ? code : names_load(r->names_file, &names, e);
    code = code < 0 ? code : names_resolve(names, &ref, e);
    if (code < 0) {
        return code == -ENODATA ? no_registry(p->ref, e) : code;
    }
    code = pull_anywhere(r, names, p, &ref, ret, e);
    if (code == 0 && written.registry[0] == '\0' && p->name == NULL) {
        (void)choose_name(p, &written, short_name);
        code = image_tag_desc(r->store, ret, short_name, e);
    }
    return code;
}

int registry_pull(const struct registry *r, const struct registry_pull *p,
                  struct image_desc *ret, struct err *e)
{
    struct image_desc desc = {0};
    int code = pull_resolved(r, p, &desc, e);

    if (code < 0) {
        return err_wrap(e, "cannot pull '%s'", p->ref);
    }
    *ret = desc;
    return 0;
}
