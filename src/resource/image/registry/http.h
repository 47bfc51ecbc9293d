/* http.h - one HTTP request and its bounded answer, and the session it belongs to. */
#ifndef RESOURCE_IMAGE_REGISTRY_HTTP_H
#define RESOURCE_IMAGE_REGISTRY_HTTP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct auth;
struct err;
struct http;
struct registry;

#define HTTP_BODY_BYTES_MAX                                                              \
    (4u << 20) /* manifests: distribution specification, pushing */
#define HTTP_HEADER_BYTES_MAX (256u << 10) /* all lines of one answer */
#define HTTP_REDIRECTS_MAX    5

struct http_reply {
    long status;         /* 0: there was no answer */
    bool again;          /* the failure may pass: try again */
    bool plain;          /* the other side does not speak TLS */
    struct str body;     /* what the sink did not take */
    char *location;      /* absolute; these texts are owned, NULL when missing */
    char *challenge;     /* WWW-Authenticate lines joined by ", " */
    char *content_type;  /* without parameters */
    char *digest;        /* Docker-Content-Digest */
    char *range;         /* Range, of an upload */
    char *content_range; /* Content-Range, of a part */
};

struct http_request {
    const char *method, *url;
    const char *accept, *content_type, *range, *content_range; /* NULL: none */
    const char *form_auth; /* an Authorization value instead of the session's */
    const void *body;      /* or */
    int fd;                /* `body_len` bytes of this file */
    uint64_t fd_from, body_len;
    bool any_host; /* not the session's registry: never its login, no redirect */

    /* Takes the bytes of a good answer (2xx); NULL: they go to reply.body. */
    int (*sink)(void *arg, const struct http_reply *head, const void *bytes, size_t len,
                struct err *e);
    void (*sent)(void *arg, uint64_t bytes); /* of the body so far; NULL: not told */
    void *arg;
};

/* A connection for one thread.  `stop` (may be NULL) ends transfers when it
 * becomes true.  NULL: out of memory. */
struct http *http_create(const struct registry *r, struct auth *auth,
                         const atomic_bool *stop);
void http_destroy(struct http *h);

/* Send once: logs in when asked to, follows redirects without giving the login
 * to another host.  0 with any answer, or -errno when there was none that can
 * be used; reply->again tells whether it may help to ask once more.  The
 * caller ends `reply` with `http_reply_fini`, also after an error. */
int http_send(struct http *h, const struct http_request *q, struct http_reply *reply,
              struct err *e);

/* The same, repeated while the failure may pass.  Not with a sink. */
int http_send_patiently(struct http *h, const struct http_request *q,
                        struct http_reply *reply, struct err *e);

/* Sleep before attempt `n` (from 1); false when the session is to stop. */
bool http_wait(const struct http *h, unsigned n);
unsigned http_attempts(const struct http *h);

/* An error from an answer that is not the wanted one. */
int http_refused(const struct http_request *q, const struct http_reply *reply,
                 struct err *e);
void http_reply_fini(struct http_reply *reply);

/* ---- addresses (url.c) ---- */

/* "https://host:port" in lower case with the port written; owned by the caller. */
int http_origin(const char *url, char **ret);

/* `to` as seen from `base`. */
int http_join(const char *base, const char *to, char **ret);

/* Host part of a URL, without port and brackets; owned by the caller. */
int http_host(const char *url, char **ret);
bool http_is_loopback(const char *host);
bool http_is_plain(const char *url);

#endif
