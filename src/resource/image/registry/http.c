/* http.c - requests through libcurl.
 *
 * Redirects are followed here and not by libcurl, since three things depend on
 * each hop: the login goes only to the registry's own origin (scheme, host and
 * port), TLS is never left for plain HTTP, and a 401 is answered once per
 * login.  Sources: RFC 9110 (15.4 redirects, 11.6 challenges), OCI distribution
 * specification 1.1. */
#include "resource/image/registry/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/scope.h"
#include "resource/image/registry/auth.h"
#include "resource/image/registry/ca.h"
#include "resource/image/registry/registry.h"

#define CONNECT_SECONDS       15
#define STALL_SECONDS_DEFAULT 30
#define ATTEMPTS_DEFAULT      5
#define BACKOFF_MS_DEFAULT    200
#define BACKOFF_MS_MAX        10000
#define LOGINS_MAX            2 /* answers to challenges for one request */
#define REASON_BYTES          200

struct http {
    const struct registry *registry; /* borrowed, as the next two */
    struct auth *auth;
    const atomic_bool *stop;
    CURL *curl;
    char *ca; /* owned; PEM texts of registry->ca, NULL: none */

    /* The transfer at hand. */
    const struct http_request *q;
    struct http_reply *reply;
    struct err *e;
    int failed; /* -errno of a callback that ended it */
    size_t header_bytes;
    uint64_t taken; /* of the body to send */
};

unsigned http_attempts(const struct http *h)
{
    return h->registry->attempts != 0 ? h->registry->attempts : ATTEMPTS_DEFAULT;
}

static bool is_stopped(const struct http *h)
{
    return h->stop != NULL && atomic_load(h->stop);
}

struct http *http_create(const struct registry *r, struct auth *auth,
                         const atomic_bool *stop)
{
    struct http *h = fault_calloc(1, sizeof *h);

    if (h == NULL) {
        return NULL;
    }
    h->registry = r;
    h->auth = auth;
    h->stop = stop;
    h->curl = curl_easy_init();
    if (h->curl == NULL || (r->ca != NULL && ca_read(r->ca, &h->ca) < 0)) {
        http_destroy(h);
        return NULL;
    }
    return h;
}

void http_destroy(struct http *h)
{
    if (h != NULL) {
        curl_easy_cleanup(h->curl);
        free(h->ca);
        free(h);
    }
}

void http_reply_fini(struct http_reply *p)
{
    str_fini(&p->body);
    free(p->location);
    free(p->challenge);
    free(p->content_type);
    free(p->digest);
    free(p->range);
    free(p->content_range);
    *p = (struct http_reply){0};
}

/* ---- what libcurl calls ---- */

static int fail(struct http *h, int code)
{
    if (h->failed == 0) {
        h->failed = code;
    }
    return 0; /* taken: nothing, which ends the transfer */
}

/* The value of the header `name` in the line, or NULL. */
static char *header_value(const char *line, size_t len, const char *name)
{
    size_t n = strlen(name);

    if (len <= n || line[n] != ':' || strncasecmp(line, name, n) != 0) {
        return NULL;
    }
    line += n + 1;
    len -= n + 1;
    while (len > 0 && (*line == ' ' || *line == '\t')) {
        line++;
        len--;
    }
    while (len > 0 && strchr("\r\n \t", line[len - 1]) != NULL) {
        len--;
    }
    return strndup(line, len);
}

static void keep(char **field, char *value)
{
    if (value != NULL) {
        free(*field);
        *field = value;
    }
}

static void keep_challenge(struct http_reply *p, char *value)
{
    struct str s = {0};

    if (value == NULL || p->challenge == NULL) {
        keep(&p->challenge, value);
        return;
    }
    str_addf(&s, "%s, %s", p->challenge, value);
    free(value);
    keep(&p->challenge, str_take(&s));
}

static size_t take_header(char *line, size_t one, size_t n, void *arg)
{
    struct http *h = arg;
    struct http_reply *p = h->reply;

    (void)one;
    h->header_bytes += n;
    if (h->header_bytes > HTTP_HEADER_BYTES_MAX) {
        (void)err_set(h->e, -EFBIG, "the answer's headers are longer than %u KiB",
                      HTTP_HEADER_BYTES_MAX >> 10);
        return (size_t)fail(h, -EFBIG);
    }
    if (n > 5 && strncasecmp(line, "HTTP/", 5) == 0) {
        http_reply_fini(p); /* of a 100 Continue */
        (void)curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &p->status);
        return n;
    }
    keep(&p->location, header_value(line, n, "Location"));
    keep(&p->content_type, header_value(line, n, "Content-Type"));
    keep(&p->digest, header_value(line, n, "Docker-Content-Digest"));
    keep(&p->range, header_value(line, n, "Range"));
    keep(&p->content_range, header_value(line, n, "Content-Range"));
    keep_challenge(p, header_value(line, n, "WWW-Authenticate"));
    return n;
}

static size_t take_body(char *bytes, size_t one, size_t n, void *arg)
{
    struct http *h = arg;
    struct http_reply *p = h->reply;

    (void)one;
    (void)curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &p->status);
    if (p->status / 100 == 2 && h->q->sink != NULL) {
        int r = h->q->sink(h->q->arg, p, bytes, n, h->e);

        return r < 0 ? (size_t)fail(h, r) : n;
    }
    if (p->body.len + n > HTTP_BODY_BYTES_MAX) {
        (void)err_set(h->e, -EFBIG, "the answer is longer than %u MiB",
                      HTTP_BODY_BYTES_MAX >> 20);
        return (size_t)fail(h, -EFBIG);
    }
    str_add_bytes(&p->body, bytes, n);
    return str_failed(&p->body) ? (size_t)fail(h, -ENOMEM) : n;
}

static size_t give_body(char *buf, size_t one, size_t n, void *arg)
{
    struct http *h = arg;
    const struct http_request *q = h->q;
    uint64_t left = q->body_len - h->taken;
    size_t want = one * n < left ? one * n : (size_t)left;
    ssize_t got = (ssize_t)want;

    if (q->body != NULL) {
        memcpy(buf, (const char *)q->body + h->taken, want);
    } else if (want > 0) {
        got = pread(q->fd, buf, want, (off_t)(q->fd_from + h->taken));
        if (got <= 0) {
            (void)fail(h, got < 0 ? -errno : -ENODATA);
            return CURL_READFUNC_ABORT;
        }
    }
    h->taken += (uint64_t)got;
    if (q->sent != NULL) {
        q->sent(q->arg, h->taken);
    }
    return (size_t)got;
}

/* The library itself would send a body again on a fresh connection when an old one
 * breaks: but the registry may have taken a part of it, so it is to be asked first. */
static int refuse_rewind(void *arg, curl_off_t offset, int origin)
{
    (void)arg, (void)offset, (void)origin;
    return CURL_SEEKFUNC_FAIL;
}

static int watch(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    struct http *h = arg;

    (void)a, (void)b, (void)c, (void)d;
    if (is_stopped(h)) {
        (void)fail(h, -ECANCELED);
        return 1;
    }
    return 0;
}

/* ---- one transfer ---- */

static void scope_list(struct curl_slist **l)
{
    curl_slist_free_all(*l);
}

static int add_header(struct curl_slist **l, const char *name, const char *value)
{
    SCOPED(scope_free) char *line = NULL;
    struct curl_slist *more;

    if (value == NULL) {
        return 0;
    }
    if (asprintf(&line, "%s: %s", name, value) < 0) {
        line = NULL;
        return -ENOMEM;
    }
    more = curl_slist_append(*l, line);
    *l = more != NULL ? more : *l;
    return more != NULL ? 0 : -ENOMEM;
}

static int make_headers(const struct http_request *q, const char *login,
                        struct curl_slist **ret)
{
    int r = add_header(ret, "Accept", q->accept != NULL ? q->accept : "*/*");

    r = r < 0 ? r : add_header(ret, "Content-Type", q->content_type);
    r = r < 0 ? r : add_header(ret, "Range", q->range);
    r = r < 0 ? r : add_header(ret, "Content-Range", q->content_range);
    r = r < 0 ? r : add_header(ret, "Authorization", login);
    if (r == 0) {
        struct curl_slist *more = curl_slist_append(*ret, "Expect:");

        *ret = more != NULL ? more : *ret;
        r = more != NULL ? 0 : -ENOMEM;
    }
    return r;
}

static void set_limits(struct http *h, const char *url)
{
    const struct registry *r = h->registry;
    SCOPED(scope_free) char *host = NULL;

    (void)curl_easy_setopt(h->curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(h->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(h->curl, CURLOPT_FOLLOWLOCATION, 0L);
    (void)curl_easy_setopt(h->curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    (void)curl_easy_setopt(h->curl, CURLOPT_LOW_SPEED_LIMIT, 16L);
    (void)curl_easy_setopt(
        h->curl, CURLOPT_LOW_SPEED_TIME,
        (long)(r->stall_seconds != 0 ? r->stall_seconds : STALL_SECONDS_DEFAULT));
    (void)curl_easy_setopt(h->curl, CURLOPT_USERAGENT, "strata");
    (void)curl_easy_setopt(h->curl, CURLOPT_SSL_VERIFYPEER, r->insecure ? 0L : 1L);
    (void)curl_easy_setopt(h->curl, CURLOPT_SSL_VERIFYHOST, r->insecure ? 0L : 2L);
    if (h->ca != NULL) {
        struct curl_blob pem = {h->ca, strlen(h->ca), CURL_BLOB_NOCOPY};

        (void)curl_easy_setopt(h->curl, CURLOPT_CAINFO_BLOB, &pem);
    }
    if (http_host(url, &host) == 0 && http_is_loopback(host)) {
        (void)curl_easy_setopt(h->curl, CURLOPT_NOPROXY, "*");
    }
}

static void set_callbacks(struct http *h)
{
    (void)curl_easy_setopt(h->curl, CURLOPT_HEADERFUNCTION, take_header);
    (void)curl_easy_setopt(h->curl, CURLOPT_HEADERDATA, h);
    (void)curl_easy_setopt(h->curl, CURLOPT_WRITEFUNCTION, take_body);
    (void)curl_easy_setopt(h->curl, CURLOPT_WRITEDATA, h);
    (void)curl_easy_setopt(h->curl, CURLOPT_BUFFERSIZE, 256L << 10);
    (void)curl_easy_setopt(h->curl, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(h->curl, CURLOPT_XFERINFOFUNCTION, watch);
    (void)curl_easy_setopt(h->curl, CURLOPT_XFERINFODATA, h);
}

static void set_method(struct http *h, const struct http_request *q)
{
    bool has_body = strcmp(q->method, "GET") != 0 && strcmp(q->method, "HEAD") != 0;

    if (strcmp(q->method, "HEAD") == 0) {
        (void)curl_easy_setopt(h->curl, CURLOPT_NOBODY, 1L);
    } else if (has_body) {
        (void)curl_easy_setopt(h->curl, CURLOPT_UPLOAD, 1L);
        (void)curl_easy_setopt(h->curl, CURLOPT_CUSTOMREQUEST, q->method);
        (void)curl_easy_setopt(h->curl, CURLOPT_INFILESIZE_LARGE,
                               (curl_off_t)q->body_len);
        (void)curl_easy_setopt(h->curl, CURLOPT_READFUNCTION, give_body);
        (void)curl_easy_setopt(h->curl, CURLOPT_READDATA, h);
        (void)curl_easy_setopt(h->curl, CURLOPT_SEEKFUNCTION, refuse_rewind);
        (void)curl_easy_setopt(h->curl, CURLOPT_UPLOAD_BUFFERSIZE, 256L << 10);
    }
}

static bool may_pass(CURLcode c)
{
    switch (c) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_SEND_FAIL_REWIND:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return true;
    default:
        return false;
    }
}

static int transfer_failed(struct http *h, CURLcode c, const char *why)
{
    struct http_reply *p = h->reply;
    const char *hint = "";

    if (h->failed != 0) {
        return err_set(h->e, h->failed, "%s",
                       h->failed == -ECANCELED ? "cancelled" : strerror(-h->failed));
    }
    p->again = may_pass(c);
    p->plain = c == CURLE_SSL_CONNECT_ERROR ||
               (c == CURLE_COULDNT_CONNECT && !http_is_plain(h->q->url));
    if (c == CURLE_PEER_FAILED_VERIFICATION) {
        hint = " (give its authority with --ca, or --tls-verify=false)";
    }
    return err_set(h->e, c == CURLE_OPERATION_TIMEDOUT ? -ETIMEDOUT : -ECONNABORTED,
                   "%s%s", why[0] != '\0' ? why : curl_easy_strerror(c), hint);
}

/* Ask `url` once, with `login` or NULL. */
static int perform(struct http *h, const struct http_request *q, const char *url,
                   const char *login, struct http_reply *p, struct err *e)
{
    SCOPED(scope_list) struct curl_slist *headers = NULL;
    char why[CURL_ERROR_SIZE] = "";
    CURLcode c;
    int r;

    http_reply_fini(p);
    h->q = q;
    h->reply = p;
    h->e = e;
    h->failed = 0;
    h->header_bytes = 0;
    h->taken = 0;
    if (is_stopped(h)) {
        return err_set(e, -ECANCELED, "cancelled");
    }
    r = make_headers(q, login, &headers);
    if (r < 0) {
        return err_set(e, r, "out of memory");
    }
    curl_easy_reset(h->curl);
    set_limits(h, url);
    set_callbacks(h);
    set_method(h, q);
    (void)curl_easy_setopt(h->curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(h->curl, CURLOPT_ERRORBUFFER, why);
    c = curl_easy_perform(h->curl);
    (void)curl_easy_setopt(h->curl, CURLOPT_ERRORBUFFER, NULL);
    (void)curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &p->status);
    if (c != CURLE_OK) {
        return transfer_failed(h, c, why);
    }
    p->again = p->status >= 500 || p->status == 429 || p->status == 408;
    return 0;
}

/* ---- hops ---- */

static bool is_redirect(const struct http_request *q, long status)
{
    bool reads = strcmp(q->method, "GET") == 0 || strcmp(q->method, "HEAD") == 0;

    return status == 307 || status == 308 ||
           (reads && (status == 301 || status == 302 || status == 303));
}

/* Move *url on to where the answer points. */
static int follow(struct http *h, char **url, const struct http_reply *p, struct err *e)
{
    char *next = NULL;
    int r = p->location == NULL ? -EINVAL : http_join(*url, p->location, &next);

    if (r < 0) {
        return err_set(e, -EPROTO, "it redirects to no valid address");
    }
    if (http_is_plain(next) && !http_is_plain(*url) && !h->registry->insecure) {
        r = err_set(e, -EPROTO, "it redirects from TLS to plain HTTP: '%.120s'", next);
        free(next);
        return r;
    }
    free(*url);
    *url = next;
    return 0;
}

/* Whether `url` belongs to the registry that the login is for. */
static bool is_home(const struct http *h, const char *url)
{
    SCOPED(scope_free) char *origin = NULL;

    return h->auth != NULL && h->auth->origin != NULL && http_origin(url, &origin) == 0 &&
           strcmp(origin, h->auth->origin) == 0;
}

/* The Authorization value for this hop; owned by the caller. */
static char *login_for(struct http *h, const struct http_request *q, bool home,
                       unsigned *ret_turn)
{
    if (q->any_host) {
        return q->form_auth != NULL ? strdup(q->form_auth) : NULL;
    }
    return home ? auth_header(h->auth, ret_turn) : NULL;
}

int http_send(struct http *h, const struct http_request *q, struct http_reply *p,
              struct err *e)
{
    SCOPED(scope_free) char *url = strdup(q->url);
    unsigned hops = 0, logins = 0;

    for (;;) {
        SCOPED(scope_free) char *login = NULL;
        unsigned turn = 0;
        bool home = url != NULL && is_home(h, url);
        int r;

        if (url == NULL) {
            return err_set(e, -ENOMEM, "out of memory");
        }
        login = login_for(h, q, home, &turn);
        r = perform(h, q, url, login, p, e);
        if (r < 0 || q->any_host) {
            return r;
        }
        if (p->status == 401 && home && logins++ < LOGINS_MAX) {
            SCOPED(scope_free) char *challenge = p->challenge;

            p->challenge = NULL;
            r = auth_answer(h->auth, h, challenge, turn, e);
        } else if (is_redirect(q, p->status)) {
            r = hops++ < HTTP_REDIRECTS_MAX
                    ? follow(h, &url, p, e)
                    : err_set(e, -ELOOP, "it redirects more than %d times",
                              HTTP_REDIRECTS_MAX);
        } else {
            return 0;
        }
        if (r < 0) {
            return r;
        }
    }
}

bool http_wait(const struct http *h, unsigned n)
{
    uint64_t ms =
        h->registry->backoff_ms != 0 ? h->registry->backoff_ms : BACKOFF_MS_DEFAULT;

    ms = n > 10 ? BACKOFF_MS_MAX : ms << (n - 1);
    ms = ms > BACKOFF_MS_MAX ? BACKOFF_MS_MAX : ms;
    for (; ms > 0 && !is_stopped(h); ms -= ms < 50 ? ms : 50) {
        uint64_t slice = ms < 50 ? ms : 50;
        struct timespec t = {.tv_nsec = (long)slice * 1000000};

        (void)nanosleep(&t, NULL);
    }
    return !is_stopped(h);
}

int http_send_patiently(struct http *h, const struct http_request *q,
                        struct http_reply *p, struct err *e)
{
    for (unsigned n = 1;; n++) {
        struct err mine = {0};
        int r = http_send(h, q, p, &mine);

        if (p->again && n < http_attempts(h) && http_wait(h, n)) {
            continue;
        }
        return r < 0 ? err_set(e, r, "%s", mine.text) : 0;
    }
}

/* ---- words for answers ---- */

/* errors[0].message of the specification, in printable characters. */
static void print_reason(const struct http_reply *p, char out[REASON_BYTES])
{
    SCOPED(scope_json) json_t *j = NULL;
    const json_t *first;
    const char *text;
    size_t n = 0;

    out[0] = '\0';
    if (p->body.len == 0 || json_parse(p->body.data, p->body.len, "", &j, NULL) < 0) {
        return;
    }
    first = json_array_get(json_object_get(j, "errors"), 0);
    text = json_string_value(json_object_get(first, "message"));
    text = text != NULL ? text : json_string_value(json_object_get(first, "code"));
    if (text == NULL || text[0] == '\0') {
        return;
    }
    (void)strcpy(out, ": ");
    for (n = 2; *text != '\0' && n + 1 < REASON_BYTES; text++) {
        out[n++] = (unsigned char)*text < ' ' || *text == 0x7f ? ' ' : *text;
    }
    out[n] = '\0';
}

int http_refused(const struct http_request *q, const struct http_reply *p, struct err *e)
{
    char reason[REASON_BYTES];
    int code = p->status == 404   ? -ENOENT
               : p->status == 401 ? -EACCES
               : p->status == 403 ? -EACCES
               : p->again         ? -EAGAIN
                                  : -EPROTO;

    print_reason(p, reason);
    return err_set(e, code, "the registry answers %s with %ld%s", q->method, p->status,
                   reason);
}
