/* session.h - one pull or push: where to, as whom, and the threads that carry it. */
#ifndef RESOURCE_IMAGE_REGISTRY_SESSION_H
#define RESOURCE_IMAGE_REGISTRY_SESSION_H

#include <pthread.h>
#include <stdatomic.h>

#include "resource/image/registry/auth.h"
#include "resource/image/registry/http.h"
#include "resource/image/registry/registry.h"
#include "resource/image/store.h"

struct session {
    const struct registry *r; /* borrowed */
    char host[256];           /* "localhost:5000", "registry-1.docker.io" */
    char path[272];           /* of the repository there */
    char *base;               /* owned; "https://host" that answered */
    struct auth auth;
    struct http *http; /* owned; of the calling thread */
    atomic_bool stop;
    atomic_bool hopeless; /* set before `stop` by a failure that will not pass */
    pthread_mutex_t told; /* one `progress` at a time; guards `added`, too */
    struct strv added;    /* digests of the blobs that came into the store */
};

/* `registry` and `path` as in a reference; "" for a login without repository. */
int session_init(struct session *s, const struct registry *r, const char *registry,
                 const char *path, struct err *e);

/* Find out how the registry is spoken to (/v2/), and log in with `s->auth`. */
int session_connect(struct session *s, struct err *e);
void session_fini(struct session *s);

/* "BASE/v2/PATH/" and the rest; owned by the caller, NULL: out of memory. */
char *session_url(const struct session *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void session_tell(struct session *s, const char *what, const char *digest, uint64_t done,
                  uint64_t total);

/* Failures that a later try may overcome: what came so far stays for it. */
bool session_may_pass(int code);

/* What a thread has for itself. */
struct worker {
    struct session *s;
    struct http *http;
    struct image_store *store;
    void *arg;
};

/* Do jobs 0..n-1 in `r->parallel` threads.  The first failure stops all and is
 * the result. */
typedef int session_job_fn(struct worker *w, size_t i, struct err *e);
int session_run(struct session *s, size_t n, session_job_fn *job, void *arg,
                struct err *e);

#endif
