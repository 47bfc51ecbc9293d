/* auth.h - who we are to a registry: kept logins, tokens. */
#ifndef RESOURCE_IMAGE_REGISTRY_AUTH_H
#define RESOURCE_IMAGE_REGISTRY_AUTH_H

#include <pthread.h>
#include <stdbool.h>

#include "base/str.h"

struct err;
struct http;
struct registry;

/* Shared by the threads of one operation; `lock` guards `header` and `turn`,
 * the rest does not change after `auth_init`. */
struct auth {
    const struct registry *registry;
    char host[256];     /* as written in the reference; also the key of the login */
    char *origin;       /* owned; the login goes there and nowhere else */
    struct strv scopes; /* "repository:path:pull" */
    char *user;         /* owned; NULL: nobody */
    char *password;     /* owned */
    char *identity;     /* owned; token to ask for others with; NULL: none */
    pthread_mutex_t lock;
    char *header;  /* owned; Authorization value, NULL: none yet */
    unsigned turn; /* counts changes of `header` */
};

/* Look the login of `host` up, or take `user` when given. */
int auth_init(struct auth *a, const struct registry *r, const char *host,
              const char *user, const char *password, struct err *e);
void auth_fini(struct auth *a);

/* Copy of the header (owned by the caller; NULL: none) and its turn. */
char *auth_header(struct auth *a, unsigned *ret_turn);

/* Answer the challenge of a 401 that the header of `turn` got: log in, or find
 * that another thread did.  -EACCES when there is nothing more to try. */
int auth_answer(struct auth *a, struct http *h, const char *challenge, unsigned turn,
                struct err *e);

/* ---- the file of logins (auth_file.c), laid out as docker's config.json ---- */

/* *ret_user and *ret_password are owned by the caller.  -ENOENT: no login. */
int auth_file_get(const char *path, const char *host, char **ret_user,
                  char **ret_password, struct err *e);

/* The "identitytoken" of `host`, owned by the caller; -ENOENT: there is none. */
int auth_file_get_identity(const char *path, const char *host, char **ret, struct err *e);
int auth_file_set(const char *path, const char *host, const char *user,
                  const char *password, struct err *e);
int auth_file_remove(const char *path, const char *host, struct err *e);

/* base64 of RFC 4648, section 4; owned by the caller, NULL: out of memory or
 * (decode) no such text. */
char *auth_encode(const char *user, const char *password);
int auth_decode(const char *text, char **ret_user, char **ret_password);

#endif
