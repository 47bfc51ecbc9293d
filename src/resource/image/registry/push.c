/* push.c - blobs that the registry lacks, then the manifest.
 *
 * For each blob: HEAD; else ask for a mount from the repository that the image
 * came from; else send it, at once or in pieces.  When a connection breaks, the
 * registry is asked how much it has, and the rest is sent.  Source: OCI
 * distribution specification 1.1, "Push". */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/image/registry/session.h"

#define CHUNK_BYTES_DEFAULT (64ull << 20)
#define TELL_BYTES          (1u << 20)
#define PROGRESS_BYTES      (1u << 20) /* as in pull.c */
#define OCTETS              "application/octet-stream"

struct push {
    const struct image *img;
    const struct image_desc **blobs; /* owned list; each digest once */
    size_t n;
    char from[272]; /* repository of the same registry that may have them; "" none */
};

/* A blob on its way out. */
struct upload {
    struct worker *w;
    const struct image_desc *blob;
    int fd;
    char *location; /* owned; where the registry wants the next bytes */
    uint64_t off;   /* bytes that it has */
    uint64_t best;  /* the most that it ever had: only more than this is progress */
    uint64_t told;
};

static void sent(void *arg, uint64_t bytes)
{
    struct upload *u = arg;

    (void)fault_step("image.push.sending");
    if (u->off + bytes - u->told >= TELL_BYTES) {
        u->told = u->off + bytes;
        session_tell(u->w->s, "upload", u->blob->digest, u->told, u->blob->size);
    }
}

/* The address that the answer names, as seen from `url`. */
static int take_location(struct upload *u, const char *url, const struct http_reply *p,
                         struct err *e)
{
    char *next = NULL;

    if (p->location == NULL || http_join(url, p->location, &next) < 0) {
        return err_set(e, -EPROTO, "blob %s: the registry names no place for it",
                       u->blob->digest);
    }
    if (http_is_plain(next) && !http_is_plain(u->w->s->base)) {
        free(next);
        return err_set(e, -EPROTO, "blob %s: the registry wants it without TLS",
                       u->blob->digest);
    }
    free(u->location);
    u->location = next;
    return 0;
}

static int blob_refused(const struct upload *u, const struct http_request *q,
                        const struct http_reply *p, struct err *e)
{
    (void)http_refused(q, p, e);
    return err_wrap(e, "blob %s", u->blob->digest);
}

/* 1: it is there; 0: it is not. */
static int ask(struct upload *u, struct err *e)
{
    SCOPED(scope_free) char *url = session_url(u->w->s, "blobs/%s", u->blob->digest);
    struct http_request q = {.method = "HEAD", .url = url};
    struct http_reply p = {0};
    int r = url == NULL ? err_set(e, -ENOMEM, "out of memory")
                        : http_send_patiently(u->w->http, &q, &p, e);

    if (r == 0 && p.status != 200 && p.status != 404) {
        r = blob_refused(u, &q, &p, e);
    }
    r = r < 0 ? r : p.status == 200;
    http_reply_fini(&p);
    return r;
}

/* Open an upload.  1: it was mounted instead; 0: u->location is set. */
static int open_upload(struct upload *u, const char *from, struct err *e)
{
    SCOPED(scope_free)
    char *url = from[0] != '\0' ? session_url(u->w->s, "blobs/uploads/?mount=%s&from=%s",
                                              u->blob->digest, from)
                                : session_url(u->w->s, "blobs/uploads/");
    struct http_request q = {.method = "POST", .url = url, .body = ""};
    struct http_reply p = {0};
    int r = url == NULL ? err_set(e, -ENOMEM, "out of memory")
                        : http_send_patiently(u->w->http, &q, &p, e);

    if (r == 0 && p.status == 202) {
        r = take_location(u, url, &p, e);
        u->off = 0;
    } else if (r == 0) {
        r = p.status == 201 && from[0] != '\0' ? 1 : blob_refused(u, &q, &p, e);
    }
    http_reply_fini(&p);
    return r;
}

/* "0-N": N + 1 bytes are there; "0-0" is also said when there is none. */
static void take_range(struct upload *u, const struct http_reply *p, uint64_t otherwise)
{
    unsigned long long from, to;

    u->off = otherwise;
    if (p->range != NULL && sscanf(p->range, "%llu-%llu", &from, &to) == 2 &&
        to < u->blob->size) {
        u->off = to == 0 ? 0 : to + 1;
    }
}

/* After a break: how far it came.  1: all of it was taken, and only the answer got
 * lost; 0: go on at u->off.  A forgotten upload begins anew. */
static int ask_offset(struct upload *u, struct err *e)
{
    SCOPED(scope_free) char *url = strdup(u->location);
    struct http_request q = {.method = "GET", .url = url};
    struct http_reply p = {0};
    int r = url == NULL ? err_set(e, -ENOMEM, "out of memory")
                        : http_send_patiently(u->w->http, &q, &p, e);

    if (r == 0 && p.status == 204) {
        take_range(u, &p, 0);
        r = p.location != NULL ? take_location(u, url, &p, e) : 0;
    } else if (r == 0) {
        r = ask(u, e);
        r = r != 0 ? r : open_upload(u, "", e);
    }
    http_reply_fini(&p);
    return r;
}

/* Send [off, off + len) in one request; `last` also closes the upload.
 * 1: taken; 0: broken, ask how far it came. */
static int send_piece(struct upload *u, uint64_t len, bool last, struct err *e)
{
    char range[48];
    struct str url = {0};
    struct http_request q = {.method = last ? "PUT" : "PATCH",
                             .content_type = OCTETS,
                             .fd = u->fd,
                             .fd_from = u->off,
                             .body_len = len,
                             .sent = sent,
                             .arg = u};
    struct http_reply p = {0};
    struct err mine = {0};
    bool again;
    int r;

    str_add(&url, u->location);
    if (last) {
        str_addf(&url, "%cdigest=%s", strchr(u->location, '?') != NULL ? '&' : '?',
                 u->blob->digest);
    } else {
        (void)str_print(range, sizeof range, "%llu-%llu", (unsigned long long)u->off,
                        (unsigned long long)(u->off + len - 1));
        q.content_range = range;
    }
    q.url = str_text(&url);
    r = str_failed(&url) ? err_set(&mine, -ENOMEM, "out of memory")
                         : http_send(u->w->http, &q, &p, &mine);
    again = p.again || (r == 0 && (p.status == 416 || p.status == 404));
    if (r == 0 && p.status == (last ? 201 : 202)) {
        if (!last) {
            r = take_location(u, u->location, &p, &mine);
        }
        u->off += r < 0 ? 0 : len;
        (void)fault_step("image.push.piece");
    } else if (r == 0) {
        r = blob_refused(u, &q, &p, &mine);
    }
    http_reply_fini(&p);
    str_fini(&url);
    if (r < 0) {
        (void)err_set(e, mine.code, "%s", mine.text);
    }
    return r == 0 ? 1 : again ? 0 : r;
}

/* Wait, and find out from where to go on.  `e` holds why the piece did not pass; an
 * attempt that brought bytes does not count.  As `ask_offset`. */
static int recover(struct upload *u, unsigned *failures, struct err *e)
{
    int r;

    if (++*failures >= http_attempts(u->w->http)) {
        return e->code;
    }
    if (!http_wait(u->w->http, *failures)) {
        return err_set(e, -ECANCELED, "cancelled");
    }
    err_clear(e);
    r = ask_offset(u, e);
    u->told = u->off;
    if (r == 0 && u->off >= u->best + PROGRESS_BYTES) {
        u->best = u->off;
        *failures = 0;
    }
    return r;
}

static int send_blob(struct upload *u, struct err *e)
{
    const struct registry *reg = u->w->s->r;
    uint64_t chunk = reg->chunk_bytes != 0 ? reg->chunk_bytes : CHUNK_BYTES_DEFAULT;
    unsigned failures = 0;

    for (;;) {
        uint64_t left = u->blob->size - u->off;
        bool whole = u->off == 0 && left <= chunk;
        bool last = whole || left == 0;
        int r = send_piece(u, last || left < chunk ? left : chunk, last, e);

        if (r == 1 && !last) {
            failures = u->off > u->best ? 0 : failures;
            u->best = u->off > u->best ? u->off : u->best;
            continue;
        }
        r = r == 0 ? recover(u, &failures, e) : r;
        if (r != 0) {
            return r < 0 ? r : 0;
        }
    }
}

static int push_blob(struct upload *u, const char *from, struct err *e)
{
    struct session *s = u->w->s;
    uint64_t size = u->blob->size;
    int r = ask(u, e);

    (void)fault_step("image.push.asked");
    if (r != 0) {
        if (r > 0) {
            session_tell(s, "exists", u->blob->digest, size, size);
        }
        return r < 0 ? r : 0;
    }
    r = open_upload(u, from, e);
    (void)fault_step("image.push.opened");
    if (r != 0) {
        if (r > 0) {
            session_tell(s, "mount", u->blob->digest, size, size);
        }
        return r < 0 ? r : 0;
    }
    session_tell(s, "upload", u->blob->digest, 0, size);
    r = send_blob(u, e);
    if (r == 0) {
        session_tell(s, "upload", u->blob->digest, size, size);
    }
    return r;
}

static int push_job(struct worker *w, size_t i, struct err *e)
{
    const struct push *p = w->arg;
    struct upload u = {.w = w, .blob = p->blobs[i], .fd = -1};
    uint64_t size = 0;
    int r = pack_blob_open(w->store, u.blob->digest, &u.fd, &size, e);

    if (r == 0 && size != u.blob->size) {
        r = err_set(e, -EBADMSG, "blob %s in the store has the wrong length",
                    u.blob->digest);
    }
    r = r < 0 ? r : push_blob(&u, p->from, e);
    free(u.location);
    scope_close(&u.fd);
    return r;
}

/* ---- the manifest ---- */

static int check_put(const struct http_reply *p, const struct http_request *q,
                     const struct image_desc *want, struct err *e)
{
    if (p->status != 201 && p->status != 200) {
        (void)http_refused(q, p, e);
        return err_wrap(e, "its manifest");
    }
    if (p->digest != NULL && strcmp(p->digest, want->digest) != 0) {
        return err_set(e, -EBADMSG, "the registry took the manifest as '%.80s'",
                       p->digest);
    }
    return 0;
}

static const char *type_of(const struct image_desc *d)
{
    return d->media_type[0] != '\0' ? d->media_type : PACK_TYPE_MANIFEST;
}

static int put_manifest(struct session *s, const struct image_desc *m, const char *which,
                        struct err *e)
{
    SCOPED(scope_free) char *url = session_url(s, "manifests/%s", which);
    SCOPED(scope_close) int fd = -1;
    uint64_t size = 0;
    struct http_request q = {.method = "PUT", .url = url, .content_type = type_of(m)};
    struct http_reply p = {0};
    int r = pack_blob_open(s->r->store, m->digest, &fd, &size, e);

    if (r < 0) {
        return r;
    }
    if (url == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    q.fd = fd;
    q.body_len = size;
    (void)fault_step("image.push.blobs");
    r = http_send_patiently(s->http, &q, &p, e);
    r = r < 0 ? r : check_put(&p, &q, m, e);
    (void)fault_step("image.push.manifest");
    http_reply_fini(&p);
    return r;
}

/* ---- all of it ---- */

static void add_blob(struct push *p, const struct image_desc *d)
{
    for (size_t i = 0; i < p->n; i++) {
        if (strcmp(p->blobs[i]->digest, d->digest) == 0) {
            return;
        }
    }
    p->blobs[p->n++] = d;
}

static int list_blobs(struct push *p, struct err *e)
{
    p->blobs = calloc(p->img->n_layers + 1, sizeof *p->blobs);
    if (p->blobs == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    for (size_t i = p->img->n_layers; i-- > 0;) {
        add_blob(p, &p->img->layers[i].blob);
    }
    add_blob(p, &p->img->config_blob);
    return 0;
}

/* The image was pulled from another repository of the same registry. */
static void find_from(struct push *p, const struct session *s, const struct image_ref *to)
{
    struct image_ref own;

    if (p->img->name[0] != '\0' && image_ref_parse(p->img->name, &own, NULL) == 0 &&
        strcmp(own.registry, to->registry) == 0 && own.registry[0] != '\0' &&
        strcmp(own.path, to->path) != 0 && strcmp(own.path, s->path) != 0) {
        (void)str_print(p->from, sizeof p->from, "%s", own.path);
    }
}

static int push_image(struct session *s, struct push *p, const struct image_ref *to,
                      struct err *e)
{
    int r = list_blobs(p, e);

    if (r < 0) {
        return r;
    }
    find_from(p, s, to);
    strv_addf(&s->auth.scopes, "repository:%s:pull,push", s->path);
    if (p->from[0] != '\0') {
        strv_addf(&s->auth.scopes, "repository:%s:pull", p->from);
    }
    r = strv_failed(&s->auth.scopes) ? err_set(e, -ENOMEM, "out of memory")
                                     : session_connect(s, e);
    r = r < 0 ? r : session_run(s, p->n, push_job, p, e);
    free(p->blobs);
    return r < 0 ? r
                 : put_manifest(s, &p->img->manifest,
                                to->tag[0] != '\0' ? to->tag : to->digest, e);
}

static int check_target(const char *text, const struct image *img, struct image_ref *ret,
                        struct err *e)
{
    int r = image_ref_parse(text, ret, e);

    if (r < 0) {
        return r;
    }
    if (ret->registry[0] == '\0') {
        return err_set(e, -EINVAL, "it names no registry (give HOST/PATH:TAG)");
    }
    if (ret->digest[0] != '\0' && strcmp(ret->digest, img->manifest.digest) != 0) {
        return err_set(e, -EINVAL, "the image has the digest %s", img->manifest.digest);
    }
    return 0;
}

static int push(const struct registry *r, const char *to, const struct image *img,
                struct err *e)
{
    struct push p = {.img = img};
    struct image_ref ref;
    struct session s;
    int code = check_target(to, img, &ref, e);

    if (code < 0) {
        return code;
    }
    code = session_init(&s, r, ref.registry, ref.path, e);
    code = code < 0 ? code : push_image(&s, &p, &ref, e);
    session_fini(&s);
    return code;
}

int registry_push(const struct registry *r, const struct registry_push *p,
                  struct image_desc *ret, struct err *e)
{
    const char *to = p->ref != NULL ? p->ref : p->image;
    struct image img = {0};
    int code = store_busy_begin(r->store, e); /* nothing is pruned meanwhile */

    if (code < 0) {
        return code;
    }
    code = image_find(r->store, p->image, &img, e);
    if (code == 0) {
        code = push(r, to, &img, e);
        *ret = img.manifest;
        image_fini(&img);
    }
    store_busy_end(r->store);
    return code < 0 ? err_wrap(e, "cannot push '%s'", to) : 0;
}
