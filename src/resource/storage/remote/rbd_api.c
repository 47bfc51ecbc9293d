/* rbd_api.c - finds librbd when the first Ceph pool is used.
 *
 * It is loaded and not linked because it brings some forty other libraries, which would
 * double the time that the program needs to start for disks that have nothing to do with
 * Ceph.  It stays once it is there: its threads and statics cannot be taken out again. */
#include <dlfcn.h>
#include <errno.h>

#include "base/err.h"
#include "resource/storage/remote/rbd_private.h"

#define LIBRARY "librbd.so.1" /* which needs librados.so.2 */

int remote_rbd_load(const char *path, struct remote_rbd_api *ret_api, struct err *e)
{
    struct remote_rbd_api api;
    const char *missing = NULL;
    void *library =
        dlopen(path != NULL ? path : LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);

    if (library == NULL) {
        return err_set(e, -ENOPKG, "cannot use Ceph: %s (Debian: librbd1)", dlerror());
    }
#define FIND(type, name, parameters)                                                     \
    *(void **)(void *)&api.name = dlsym(library, #name);                                 \
    missing = api.name == NULL && missing == NULL ? #name : missing;
    REMOTE_RADOS_ROWS(FIND)
    REMOTE_RBD_ROWS(FIND)
#undef FIND
    (void)dlclose(library); /* RTLD_NODELETE keeps it */
    if (missing != NULL) {
        return err_set(e, -ENOPKG, "cannot use Ceph: " LIBRARY " has no '%s'", missing);
    }
    *ret_api = api;
    return 0;
}
