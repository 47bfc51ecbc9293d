/* host/cgroup_path.c - the names that callers give to control groups. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"
#include "host/cgroup.h"

#define DEFAULT_PARENT "/strata"

/* "a-b-c.slice" lies in "a-b.slice" in "a.slice": systemd.slice(5). */
static int put_slice(const char *slice, struct str *s)
{
    const char *dash = slice;

    if (!str_ends(slice, ".slice") || strchr(slice, '/') != NULL || slice[0] == '-' ||
        strstr(slice, "--") != NULL || strstr(slice, "-.slice") != NULL) {
        return -EINVAL;
    }
    if (strcmp(slice, "-.slice") == 0) {
        return 0;
    }
    while ((dash = strchr(dash, '-')) != NULL) {
        str_addf(s, "/%.*s.slice", (int)(dash - slice), slice);
        dash++;
    }
    str_addf(s, "/%s", slice);
    return 0;
}

/* "slice:prefix:name" -> "/slice/prefix-name.scope" */
static int put_systemd(const char *text, struct str *s)
{
    const char *first = strchr(text, ':');
    const char *second = first != NULL ? strchr(first + 1, ':') : NULL;
    char slice[CGROUP_PATH_BYTES / 2];
    int r;

    if (second == NULL || strchr(second + 1, ':') != NULL || second[1] == '\0' ||
        strchr(text, '/') != NULL) {
        return -EINVAL;
    }
    r = str_print(slice, sizeof slice, "%.*s", (int)(first - text), text);
    if (r == 0) {
        r = put_slice(slice[0] == '\0' ? "system.slice" : slice, s);
    }
    if (r < 0) {
        return r;
    }
    if (str_ends(second + 1, ".slice")) {
        str_addf(s, "/%s", second + 1);
    } else if (second == first + 1) {
        str_addf(s, "/%s.scope", second + 1);
    } else {
        str_addf(s, "/%.*s-%s.scope", (int)(second - first - 1), first + 1, second + 1);
    }
    return 0;
}

/* Copy without empty and "." parts; ".." and line ends are refused. */
static int put_clean(const char *path, struct str *s)
{
    bool absolute = path[0] == '/';

    if (strpbrk(path, "\n\r") != NULL) {
        return -EINVAL;
    }
    while (*path != '\0') {
        size_t len = strcspn(path, "/");

        if (len == 2 && strncmp(path, "..", 2) == 0) {
            return -EINVAL;
        }
        if (len > 0 && !(len == 1 && path[0] == '.')) {
            str_add(s, absolute || s->len > 0 ? "/" : "");
            str_add_bytes(s, path, len);
        }
        path += len + (path[len] == '/');
    }
    return s->len == 0 ? -EINVAL : 0; /* the root itself is not ours */
}

int cgroup_path(const char *cgroups_path, const char *id, char out[CGROUP_PATH_BYTES],
                struct err *e)
{
    struct str s = {0};
    int r = 0;

    if (cgroups_path == NULL || cgroups_path[0] == '\0') {
        if (id[0] == '\0' || strchr(id, '/') != NULL) {
            return err_set(e, -EINVAL, "cannot name a control group after '%s'", id);
        }
        str_addf(&s, "%s/%s", DEFAULT_PARENT, id);
    } else if (strchr(cgroups_path, ':') != NULL && strchr(cgroups_path, '/') == NULL) {
        r = put_systemd(cgroups_path, &s);
    } else {
        r = put_clean(cgroups_path, &s);
    }
    if (r == 0) {
        r = str_failed(&s) ? -ENOMEM
                           : str_print(out, CGROUP_PATH_BYTES, "%s", str_text(&s));
    }
    str_fini(&s);
    return r < 0 ? err_sys(e, r, "cannot use '%s' as the path of a control group",
                           cgroups_path != NULL ? cgroups_path : id)
                 : 0;
}
