/* mount.c - mount and unmount the disks of a guest. */
#include "node/mount/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "host/attach/attach.h"
#include "host/file.h"

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}

/* The part of its file that is mounted. */
static int find_part(const json_t *disk, struct attach_loop *o, struct err *e)
{
    json_int_t number = json_integer_value(json_object_get(disk, "partition"));
    struct attach_part part;
    int r = number > 0
                ? attach_partition(o->file, (unsigned)number, o->block_bytes, &part, e)
                : 0;

    if (r == 0 && number > 0) {
        o->off = part.off;
        o->bytes = part.bytes;
    }
    return r;
}

/* Who means a partition is told so. */
static int probe(const struct attach_loop *o, int device, char type[ATTACH_TYPE_BYTES],
                 struct err *e)
{
    struct attach_part first;
    struct err why = {0};
    int r = attach_probe(device, type, &why);

    if (r == -ENODATA && o->bytes == 0 &&
        attach_partition(o->file, 1, o->block_bytes, &first, NULL) == 0) {
        return err_set(e, r, "it has partitions: say which one (partition=N)");
    }
    return r < 0 ? err_set(e, r, "%s", why.text) : 0;
}

int disks_device(const json_t *disk, int file, struct disks_device *ret, struct err *e)
{
    struct attach_loop o = {.file = file,
                            .read_only = json_is_true(json_object_get(disk, "read_only")),
                            .block_bytes = (uint32_t)json_integer_value(
                                json_object_get(disk, "block_bytes"))};
    int r = find_part(disk, &o, e);

    ret->fd = -1;
    r = r == 0 ? attach_loop(&o, ret->path, &ret->fd, e) : r;
    return r == 0 ? probe(&o, ret->fd, ret->type, e) : r;
}

/* What is mounted keeps the device, the device the file. */
static int mount_file(const json_t *disk, int file, struct err *e)
{
    bool read_only = json_is_true(json_object_get(disk, "read_only"));
    const char *at = text_of(disk, "at");
    struct disks_device device;
    SCOPED(scope_close) int dir = -1;
    int r = disks_device(disk, file, &device, e);

    (void)fault_step("mount.attach.device");
    if (r == 0) {
        r = file_make_dirs(at, 0700);
        r = r < 0 ? err_sys(e, r, "cannot make '%s'", at) : 0;
    }
    r = r == 0 ? attach_mount(device.path, device.type, read_only, at, e) : r;
    if (r == 0 && !read_only) { /* resized since; else it goes on as it is */
        dir = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        (void)attach_grow(dir, device.fd, device.type, NULL);
    }
    scope_close(&device.fd);
    return r;
}

/* Its file was opened for us by who has the right to. */
static int attach_one(const json_t *disk, struct err *e)
{
    int file = (int)json_integer_value(json_object_get(disk, "fd"));
    int r = file > 0 ? 0 : err_set(e, -ENODEV, "it is not there any more");

    (void)fault_step("mount.attach.open");
    if (r == 0) {
        r = mount_file(disk, file, e);
    }
    (void)fault_step("mount.attach.mounted");
    return r < 0 ? err_wrap(e, "cannot use volume '%s'", text_of(disk, "name")) : 0;
}

/* Mounts of the host go on to come and go here; ours are nobody else's. */
static int enter_namespace(struct err *e)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0) {
        return err_sys(e, -errno, "cannot make a mount namespace");
    }
    return 0;
}

/* Its directory, when the disk is mounted there in this namespace; -1. */
static int open_mounted(const json_t *disk)
{
    SCOPED(scope_close)
    int fd = open(text_of(disk, "at"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct statx s;

    return fd >= 0 && statx(fd, "", AT_EMPTY_PATH, STATX_INO, &s) == 0 &&
                   (s.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0
               ? scope_take_fd(&fd)
               : -1;
}

/* It is there, and works: a file system whose device fails becomes read only. */
static bool is_attached(const json_t *disk)
{
    SCOPED(scope_close) int fd = open_mounted(disk);
    bool read_only = json_is_true(json_object_get(disk, "read_only"));
    struct statvfs s;

    return fd >= 0 && syncfs(fd) == 0 && fstatvfs(fd, &s) == 0 &&
           (read_only || (s.f_flag & ST_RDONLY) == 0);
}

bool disks_are_attached(const json_t *spec)
{
    const json_t *list = json_object_get(spec, "disks");

    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!is_attached(json_array_get(list, i))) {
            return false;
        }
    }
    return true;
}

int disks_attach(const json_t *spec, struct err *e)
{
    const json_t *list = json_object_get(spec, "disks");
    int r;

    if (disks_are_attached(spec)) {
        return 0;
    }
    r = enter_namespace(e);
    for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
        r = attach_one(json_array_get(list, i), e);
    }
    if (r < 0) {
        (void)disks_detach(spec, NULL);
    }
    return r;
}

static int detach_one(const json_t *disk, struct err *e)
{
    const char *at = text_of(disk, "at");
    int fd = open_mounted(disk);
    int r = 0;

    if (fd >= 0) {
        if (!json_is_true(json_object_get(disk, "read_only"))) {
            attach_trim(fd);
        }
        (void)close(fd);
        r = attach_unmount(at, e);
    }
    (void)fault_step("mount.detach.unmounted");
    if (r < 0) {
        return err_wrap(e, "cannot let go of volume '%s'", text_of(disk, "name"));
    }
    (void)rmdir(at);
    return 0;
}

int disks_detach(const json_t *spec, struct err *e)
{
    const json_t *list = json_object_get(spec, "disks");
    int first = 0;

    for (size_t i = json_array_size(list); i > 0; i--) {
        struct err why = {0};
        int r = detach_one(json_array_get(list, i - 1), &why);

        if (r < 0 && first == 0) {
            first = err_set(e, r, "%s", why.text);
        }
    }
    return first;
}
