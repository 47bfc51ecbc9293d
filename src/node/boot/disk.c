/* disk.c - the disks of a machine: its root, which is the image's, that all its guests read,
 * and above it the guest's own, a qcow2 image of what it changed; and those that were ordered. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "node/boot/private.h"

int guest_boot_base(struct node *n, const struct guest *g, char out[PATH_MAX],
                    struct err *e)
{
    SCOPED(scope_json)
    json_t *request = json_pack("{s:s}", "image", guest_text(g, "image_digest"));
    SCOPED(scope_json) json_t *result = NULL;
    const char *path;
    int r = node_image(n, "disk", request, &result, e);

    path = json_string_value(json_object_get(result, "disk"));
    if (r == 0 && (path == NULL || str_print(out, PATH_MAX, "%s", path) < 0)) {
        r = err_set(e, -EIO, "cannot make a disk of image '%s'", guest_text(g, "image"));
    }
    return r;
}

static bool has_root(const struct guest *g)
{
    return guest_text(g, "root")[0] != '\0';
}

json_t *guest_boot_disks(struct node *n, const struct guest *g)
{
    json_t *list = json_array();
    char path[PATH_MAX];

    if (has_root(g)) {
        (void)guest_state_path(n, g->id, "disk/" BOOT_ROOT, path);
        (void)json_array_append_new(list,
                                    json_sprintf("%s,format=qcow2,serial=root", path));
    }
    (void)json_array_extend(list, json_object_get(guest_config(g), "disks"));
    return list;
}

int guest_boot_disk(struct node *n, const struct guest *g, struct err *e)
{
    struct image_plan plan = {.backing = guest_text(g, "root"), .backing_format = "raw"};
    SCOPED(scope_close) int fd = -1;
    char path[PATH_MAX];
    struct stat st;

    if (!has_root(g)) { /* a machine without an image */
        return 0;
    }
    if (stat(plan.backing, &st) < 0) {
        return err_sys(e, -errno, "cannot find the image's disk '%s'", plan.backing);
    }
    plan.size_bytes = (uint64_t)st.st_size;
    (void)guest_state_path(n, g->id, "disk/" BOOT_ROOT, path);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return fd < 0 ? err_sys(e, -errno, "cannot make '%s'", path)
                  : volume_image_make(fd, &plan, e);
}
