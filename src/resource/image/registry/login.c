/* login.c - a login is tried before it is kept. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/scope.h"
#include "resource/image/registry/session.h"

static int check_host(const char *host, struct err *e)
{
    struct image_ref ref;
    char text[300];

    if (str_print(text, sizeof text, "%s/x", host) < 0 ||
        image_ref_parse(text, &ref, NULL) < 0 || strcmp(ref.registry, host) != 0) {
        return err_set(e, -EINVAL, "'%.100s' is no registry: give HOST or HOST:PORT",
                       host);
    }
    return 0;
}

static int check_login(const char *user, const char *password, struct err *e)
{
    if (user[0] == '\0' || strchr(user, ':') != NULL) {
        return err_set(e, -EINVAL, "a user name is not empty and has no colon");
    }
    return password[0] == '\0' ? err_set(e, -EINVAL, "the password is empty") : 0;
}

/* Give the session this login instead of the kept one. */
static int try_login(const struct registry *r, const char *host, const char *user,
                     const char *password, struct err *e)
{
    struct registry fresh = *r;
    struct session s;
    int code;

    fresh.auth_file = NULL;
    code = session_init(&s, &fresh, host, "", e);
    if (code == 0) {
        s.auth.user = strdup(user);
        s.auth.password = strdup(password);
        code = s.auth.user == NULL || s.auth.password == NULL
                   ? err_set(e, -ENOMEM, "out of memory")
                   : session_connect(&s, e);
    }
    session_fini(&s);
    return code;
}

int registry_login(const struct registry *r, const char *host, const char *user,
                   const char *password, struct err *e)
{
    int code = check_host(host, e);

    code = code < 0 ? code : check_login(user, password, e);
    code = code < 0 ? code : try_login(r, host, user, password, e);
    code = code < 0 ? code : auth_file_set(r->auth_file, host, user, password, e);
    return code < 0 ? err_wrap(e, "cannot log in to '%.100s'", host) : 0;
}

int registry_logout(const char *auth_file, const char *host, struct err *e)
{
    int r = auth_file_remove(auth_file, host, e);

    return r < 0 ? err_wrap(e, "cannot log out of '%.100s'", host) : 0;
}
