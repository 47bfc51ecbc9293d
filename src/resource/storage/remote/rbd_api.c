/* rbd_api.c - finds librbd when the first Ceph pool is used. */
#include "base/err.h"
#include "resource/storage/remote/library.h"
#include "resource/storage/remote/rbd_private.h"

#define LIBRARY "librbd.so.1" /* which needs librados.so.2 */

int remote_rbd_load(const char *path, struct remote_rbd_api *ret_api, struct err *e)
{
    static const char *const names[] = {
#define NAME(type, name, parameters) #name,
        REMOTE_RADOS_ROWS(NAME) REMOTE_RBD_ROWS(NAME)
#undef NAME
    };
    int r = remote_library_load(path != NULL ? path : LIBRARY, names,
                                sizeof names / sizeof names[0], ret_api, e);

    if (r != 0) {
        (void)err_wrap(e, "cannot use Ceph (Debian: librbd1)");
    }
    return r;
}
