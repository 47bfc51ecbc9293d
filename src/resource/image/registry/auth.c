/* auth.c - answer a registry's challenge: Basic, or a token for Bearer.
 *
 * Tokens follow the token specification that the distribution project
 * documents: GET realm?service=S&scope=X, with the login as Basic.  Since the
 * realm is the registry's own choice, the password goes there only when it is
 * the registry's host or of the registry's domain ("registry-1.docker.io" and
 * "auth.docker.io"), and only over TLS unless the registry itself is spoken to
 * without.
 *
 * An identity token (what docker's login keeps for some registries) is no password:
 * it is posted to the realm as an OAuth 2 refresh token (RFC 6749, section 6), under
 * the same rules. */
#include "resource/image/registry/auth.h"

#include <curl/curl.h>
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "resource/image/registry/challenge.h"
#include "resource/image/registry/http.h"
#include "resource/image/registry/registry.h"

#define TOKEN_BYTES_MAX (32u << 10)
#define FORM            "application/x-www-form-urlencoded"

int auth_init(struct auth *a, const struct registry *r, const char *host,
              const char *user, const char *password, struct err *e)
{
    int code = 0;

    *a = (struct auth){.registry = r};
    (void)pthread_mutex_init(&a->lock, NULL);
    (void)str_print(a->host, sizeof a->host, "%s", host);
    if (user != NULL) {
        a->user = strdup(user);
        a->password = strdup(password);
        code = a->user == NULL || a->password == NULL
                   ? err_set(e, -ENOMEM, "out of memory")
                   : 0;
    } else if (r->auth_file != NULL) {
        code = auth_file_get(r->auth_file, host, &a->user, &a->password, e);
        code = code == 0 || code == -ENOENT
                   ? auth_file_get_identity(r->auth_file, host, &a->identity, e)
                   : code;
    }
    return code == -ENOENT ? 0 : code;
}

void auth_fini(struct auth *a)
{
    (void)pthread_mutex_destroy(&a->lock);
    strv_fini(&a->scopes);
    free(a->origin);
    free(a->user);
    free(a->password);
    free(a->identity);
    free(a->header);
    *a = (struct auth){0};
}

char *auth_header(struct auth *a, unsigned *ret_turn)
{
    char *copy;

    (void)pthread_mutex_lock(&a->lock);
    copy = a->header != NULL ? strdup(a->header) : NULL;
    *ret_turn = a->turn;
    (void)pthread_mutex_unlock(&a->lock);
    return copy;
}

static bool is_in_domain(const char *host, const char *domain)
{
    size_t n = strlen(host), m = strlen(domain);

    return strchr(domain, '.') != NULL && n > m && host[n - m - 1] == '.' &&
           strcmp(host + n - m, domain) == 0;
}

/* Whether the token server `realm` may learn the login of our registry. */
static bool is_trusted(const struct auth *a, const char *realm)
{
    SCOPED(scope_free) char *theirs = NULL;
    SCOPED(scope_free) char *ours = NULL;
    const char *parent;

    if (http_host(realm, &theirs) < 0 || http_host(a->origin, &ours) < 0) {
        return false;
    }
    if (strcmp(theirs, ours) == 0) {
        return true;
    }
    if (strspn(ours, "0123456789.:abcdef") == strlen(ours)) {
        return false; /* an address has no domain */
    }
    parent = strchr(ours, '.');
    return is_in_domain(theirs, ours) ||
           (parent != NULL &&
            (strcmp(theirs, parent + 1) == 0 || is_in_domain(theirs, parent + 1)));
}

static int check_realm(const struct auth *a, const char *realm, struct err *e)
{
    SCOPED(scope_free) char *theirs = NULL;
    SCOPED(scope_free) char *ours = NULL;

    if (http_host(realm, &theirs) < 0 || http_host(a->origin, &ours) < 0 ||
        (!http_is_plain(realm) && strncmp(realm, "https://", 8) != 0)) {
        return err_set(e, -EPROTO, "its token server '%.100s' is no valid address",
                       realm);
    }
    if (http_is_plain(realm) && !http_is_plain(a->origin)) {
        return err_set(e, -EPROTO, "its token server '%.100s' does not use TLS", realm);
    }
    if (http_is_loopback(theirs) && !http_is_loopback(ours)) {
        return err_set(e, -EPROTO, "its token server '%.100s' would be this host", realm);
    }
    if ((a->user != NULL || a->identity != NULL) && !is_trusted(a, realm)) {
        return err_set(e, -EPROTO,
                       "it wants the login of '%s' sent to '%.100s', outside its domain",
                       a->host, theirs);
    }
    return 0;
}

static void add_query(struct str *url, const char *key, const char *value)
{
    char *safe = curl_easy_escape(NULL, value, 0);

    str_addf(url, "%c%s=%s", strchr(str_text(url), '?') != NULL ? '&' : '?', key,
             safe != NULL ? safe : "");
    curl_free(safe);
}

static char *token_url(const struct auth *a, const struct challenge *c)
{
    struct str url = {0};

    str_add(&url, c->realm);
    if (c->service[0] != '\0') {
        add_query(&url, "service", c->service);
    }
    for (size_t i = 0; i < a->scopes.n; i++) {
        add_query(&url, "scope", a->scopes.items[i]);
    }
    if (a->scopes.n == 0 && c->scope[0] != '\0') {
        add_query(&url, "scope", c->scope);
    }
    if (a->user != NULL) {
        add_query(&url, "account", a->user);
    }
    return str_take(&url);
}

static bool is_token_text(const char *t)
{
    size_t n = strlen(t);

    for (const char *p = t; *p != '\0'; p++) {
        if (*p <= ' ' || *p >= 0x7f) {
            return false;
        }
    }
    return n > 0 && n <= TOKEN_BYTES_MAX;
}

static int take_token(const struct http_reply *p, char **ret, struct err *e)
{
    SCOPED(scope_json) json_t *j = NULL;
    const char *token;

    if (json_parse(str_text(&p->body), p->body.len, "answer", &j, NULL) < 0) {
        return err_set(e, -EPROTO, "its token server does not answer with JSON");
    }
    token = json_string_value(json_object_get(j, "token"));
    if (token == NULL || token[0] == '\0') {
        token = json_string_value(json_object_get(j, "access_token"));
    }
    if (token == NULL || !is_token_text(token)) {
        return err_set(e, -EPROTO, "its token server gives no token");
    }
    if (asprintf(ret, "Bearer %s", token) < 0) {
        *ret = NULL;
        return err_set(e, -ENOMEM, "out of memory");
    }
    return 0;
}

static char *basic_header(const struct auth *a)
{
    SCOPED(scope_free) char *code = auth_encode(a->user, a->password);
    char *out = NULL;

    return code != NULL && asprintf(&out, "Basic %s", code) >= 0 ? out : NULL;
}

/* One more "key=value". */
static void add_field(struct str *form, const char *key, const char *value)
{
    char *safe = curl_easy_escape(NULL, value, 0);

    str_addf(form, "%s%s=%s", form->len > 0 ? "&" : "", key, safe != NULL ? safe : "");
    curl_free(safe);
}

static char *refresh_form(const struct auth *a, const struct challenge *c)
{
    struct str form = {0}, scope = {0};

    for (size_t i = 0; i < a->scopes.n; i++) {
        str_addf(&scope, "%s%s", i > 0 ? " " : "", a->scopes.items[i]);
    }
    add_field(&form, "grant_type", "refresh_token");
    add_field(&form, "service", c->service);
    add_field(&form, "client_id", "strata");
    add_field(&form, "scope", scope.len > 0 ? scope.data : c->scope);
    add_field(&form, "refresh_token", a->identity);
    str_fini(&scope);
    return str_take(&form);
}

/* The server's answer as a header. */
static int read_token(const struct auth *a, const struct http_reply *p, char **ret,
                      struct err *e)
{
    bool refused = p->status == 401 || p->status == 403;

    if (a->identity != NULL && (refused || p->status == 400)) {
        return err_set(e, -EACCES, "the identity token of '%s' is refused", a->host);
    }
    if (refused && a->user != NULL) {
        return err_set(e, -EACCES, "the login of '%s' as '%s' is refused", a->host,
                       a->user);
    }
    if (refused) {
        return err_set(e, -EACCES, "it asks for a login (see 'strata image login %s')",
                       a->host);
    }
    return p->status == 200
               ? take_token(p, ret, e)
               : err_set(e, -EPROTO, "its token server answers with %ld", p->status);
}

static int fetch_token(const struct auth *a, struct http *h, const struct challenge *c,
                       char **ret, struct err *e)
{
    bool refresh = a->identity != NULL, login = a->user != NULL && !refresh;
    SCOPED(scope_free) char *url = refresh ? strdup(c->realm) : token_url(a, c);
    SCOPED(scope_free) char *basic = login ? basic_header(a) : NULL;
    SCOPED(scope_free) char *form = refresh ? refresh_form(a, c) : NULL;
    struct http_request q = {.method = refresh ? "POST" : "GET",
                             .url = url,
                             .any_host = true,
                             .form_auth = basic,
                             .body = form,
                             .body_len = form != NULL ? strlen(form) : 0,
                             .content_type = refresh ? FORM : NULL};
    struct http_reply p = {0};
    int r = check_realm(a, c->realm, e);

    if (r < 0) {
        return r;
    }
    if (url == NULL || (login && basic == NULL) || (refresh && form == NULL)) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    r = http_send_patiently(h, &q, &p, e);
    r = r < 0 ? err_wrap(e, "its token server") : read_token(a, &p, ret, e);
    http_reply_fini(&p);
    return r;
}

/* A new header for the challenge. */
static int make_header(const struct auth *a, struct http *h, const struct challenge *c,
                       char **ret, struct err *e)
{
    if (c->kind == CHALLENGE_BEARER) {
        return fetch_token(a, h, c, ret, e);
    }
    if (c->kind != CHALLENGE_BASIC) {
        return err_set(e, -EPROTO, "it asks for a way to log in that is not known here");
    }
    if (a->user == NULL) {
        return err_set(e, -EACCES, "it asks for a login (see 'strata image login %s')",
                       a->host);
    }
    if (a->header != NULL) { /* it was sent already, and refused */
        return err_set(e, -EACCES, "the login of '%s' as '%s' is refused", a->host,
                       a->user);
    }
    *ret = basic_header(a);
    return *ret == NULL ? err_set(e, -ENOMEM, "out of memory") : 0;
}

int auth_answer(struct auth *a, struct http *h, const char *challenge, unsigned turn,
                struct err *e)
{
    struct challenge c;
    char *header = NULL;
    int r = 0;

    if (challenge == NULL || challenge_parse(challenge, &c) < 0) {
        return err_set(e, -EPROTO, "it refuses without saying how to log in");
    }
    (void)pthread_mutex_lock(&a->lock);
    if (a->turn == turn) { /* else another thread was faster */
        r = make_header(a, h, &c, &header, e);
        if (r == 0) {
            free(a->header);
            a->header = header;
            a->turn++;
        }
    }
    (void)pthread_mutex_unlock(&a->lock);
    return r;
}
