/* resource/image/registry/registry.h - images from registries and to them.
 *
 * The protocol is the OCI distribution specification 1.1, which the registries
 * of Docker (v2, schema 2) speak as well.  A registry is foreign: its answers
 * are bounded, checked and named in errors.
 *
 * Threads: one caller per `struct registry`; the functions make their own, and
 * call `progress` from them, one at a time. */
#ifndef RESOURCE_IMAGE_REGISTRY_REGISTRY_H
#define RESOURCE_IMAGE_REGISTRY_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "resource/image/pack/pack.h"

/* How registries are spoken to; 0 or NULL is the default beside a field. */
struct registry {
    struct image_store *store; /* borrowed */
    bool insecure;             /* certificates are not checked, plain HTTP is tried */
    const char *ca;            /* file or directory of more certificate authorities */
    const char *auth_file;     /* logins; NULL: nobody */
    const char *names_file;    /* short names and mirrors (see names.h); NULL: none */
    unsigned parallel;         /* transfers at once; 4 */
    unsigned attempts;         /* of one request that fails in passing; 5 */
    unsigned backoff_ms;       /* before the second attempt, doubled each time; 200 */
    unsigned stall_seconds;    /* without a byte; 30 */
    uint64_t chunk_bytes;      /* larger blobs are sent in pieces of this; 64 MiB */

    /* Told at the begin, now and then, and at the end of each blob; may be NULL.
     * `what`: "download", "upload", "exists", "mount"; `object`: the digest. */
    void (*progress)(void *arg, const char *what, const char *object, uint64_t done,
                     uint64_t total);
    void *arg;
};

struct registry_pull {
    const char *ref;      /* names its registry, or is configured in `names_file` */
    const char *name;     /* in the store; NULL: as `ref` says */
    const char *platform; /* "os/arch[/variant]"; NULL: this host's */
};

/* Fetch what the store lacks and name it.  An interrupted pull leaves parts that
 * the next one goes on from. */
int registry_pull(const struct registry *r, const struct registry_pull *p,
                  struct image_desc *ret, struct err *e);

struct registry_push {
    const char *image; /* in the store */
    const char *ref;   /* where to; NULL: as `image` says */
};

int registry_push(const struct registry *r, const struct registry_push *p,
                  struct image_desc *ret, struct err *e);

/* Try the login, then keep it in `auth_file` (mode 0600). */
int registry_login(const struct registry *r, const char *host, const char *user,
                   const char *password, struct err *e);

/* -ENOENT when there is no login for `host`. */
int registry_logout(const char *auth_file, const char *host, struct err *e);

/* Pull `ref` with what `how` says, as the operation `pull` does (NULL: nothing); for
 * `pack->fetch`. */
int registry_fetch(struct pack *p, const char *ref, const json_t *how, struct err *e);

/* pull push login logout, for the program `image`; ends at .name == NULL. */
extern const struct pack_op registry_ops[];

#endif
