/* host/overlay.c - an overlay mount by the file-descriptor mount interface.
 *
 * fsopen(2) and fsmount(2) (Linux 5.2): nothing is attached to a path, so that a
 * killed process leaves nothing behind.  Layers are added one by one with
 * "lowerdir+" (Linux 6.8); older kernels get one "lowerdir" string, whose length
 * is bounded by a page. */
#include "host/overlay.h"

#include <errno.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/str.h"

static int set_text(int fs, const char *key, const char *value)
{
    return fsconfig(fs, FSCONFIG_SET_STRING, key, value, 0) < 0 ? -errno : 0;
}

/* ':' and '\' separate layers in the one-string form. */
static void add_escaped(struct str *s, const char *path)
{
    for (; *path != '\0'; path++) {
        if (*path == ':' || *path == '\\') {
            str_add(s, "\\");
        }
        str_add_bytes(s, path, 1);
    }
}

static int set_lower(int fs, const struct strv *lower)
{
    struct str all = {0};
    int r = 0;

    for (size_t i = 0; i < lower->n; i++) {
        r = set_text(fs, "lowerdir+", lower->items[i]);
        if (r < 0) {
            break;
        }
    }
    if (r != -EINVAL) {
        return r;
    }
    for (size_t i = 0; i < lower->n; i++) {
        str_add(&all, i > 0 ? ":" : "");
        add_escaped(&all, lower->items[i]);
    }
    r = str_failed(&all) ? -ENOMEM : set_text(fs, "lowerdir", str_text(&all));
    str_fini(&all);
    return r;
}

int overlay_mount(const struct strv *lower, const char *upper, const char *work,
                  bool userxattr, struct err *e)
{
    SCOPED(scope_close) int fs = fsopen("overlay", FSOPEN_CLOEXEC);
    int fd;
    int r;

    if (fs < 0) {
        return err_sys(e, -errno, "cannot make an overlay");
    }
    r = set_lower(fs, lower);
    if (r == 0 && upper != NULL) {
        r = set_text(fs, "upperdir", upper);
    }
    if (r == 0 && upper != NULL) {
        r = set_text(fs, "workdir", work);
    }
    if (r == 0 && userxattr &&
        fsconfig(fs, FSCONFIG_SET_FLAG, "userxattr", NULL, 0) < 0) {
        r = -errno;
    }
    if (r == 0 && fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        r = -errno;
    }
    fd = r == 0 ? fsmount(fs, FSMOUNT_CLOEXEC, 0) : -1;
    if (r == 0 && fd < 0) {
        r = -errno;
    }
    return r < 0 ? err_sys(e, r, "cannot mount the overlay of '%s'",
                           upper != NULL ? upper : lower->items[0])
                 : fd;
}
