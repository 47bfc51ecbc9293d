/* ca.c - read certificate authorities; a directory needs no hashed links. */
#include "resource/image/registry/ca.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"

#define CA_BYTES_MAX (1u << 20)

static int add_file(int dir, const char *path, struct str *all)
{
    SCOPED(scope_free) char *text = NULL;
    size_t len = 0;
    int r = file_read(dir, path, CA_BYTES_MAX, &text, &len);

    if (r == 0) {
        str_add_bytes(all, text, len);
        str_add(all, "\n");
    }
    return r;
}

static int add_dir(const char *path, struct str *all)
{
    SCOPED(scope_dir) DIR *d = opendir(path);
    const struct dirent *x;
    int r = 0;

    if (d == NULL) {
        return -errno;
    }
    while (r == 0 && (x = readdir(d)) != NULL) {
        if (str_ends(x->d_name, ".crt") || str_ends(x->d_name, ".pem")) {
            r = add_file(dirfd(d), x->d_name, all);
        }
    }
    return r;
}

int ca_read(const char *path, char **ret)
{
    struct str all = {0};
    struct stat st;
    int r;

    if (stat(path, &st) < 0) {
        return -errno;
    }
    r = S_ISDIR(st.st_mode) ? add_dir(path, &all) : add_file(AT_FDCWD, path, &all);
    if (r == 0 && str_failed(&all)) {
        r = -ENOMEM;
    }
    if (r == 0 && all.len == 0) {
        r = -ENODATA;
    }
    if (r == 0) {
        *ret = str_take(&all);
    }
    str_fini(&all);
    return r;
}

int ca_check(const char *path, struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    int r = ca_read(path, &text);

    return r < 0 ? err_sys(e, r, "cannot read certificate authorities from '%s'", path)
                 : 0;
}
