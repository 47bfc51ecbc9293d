/* disks.c - mount and unmount the disks of a guest. */
#include "node/disks/disks.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "host/attach/attach.h"
#include "host/file.h"
#include "node/disks/private.h"
#include "resource/storage/leaf/lock.h"

/* For a guest that has just ended: its file system is written down. */
#define WAIT_MS 2000
#define STEP_MS 20

const char *disks_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}

static bool is_one_raw_file(const json_t *disk)
{
    const json_t *layers = json_object_get(disk, "layers");

    return json_array_size(layers) == 1 &&
           strcmp(disks_text(json_array_get(layers, 0), "format"), "raw") == 0;
}

static int open_raw(const json_t *disk, int *ret_file, struct err *e)
{
    bool read_only = json_is_true(json_object_get(disk, "read_only"));
    const char *path =
        disks_text(json_array_get(json_object_get(disk, "layers"), 0), "path");
    SCOPED(scope_close) int fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    int r;

    if (fd < 0) {
        return err_sys(e, -errno, "cannot open '%s'", path);
    }
    r = leaf_lock(fd, !read_only, false, disks_text(disk, "name"), e);
    if (r == 0) {
        *ret_file = scope_take_fd(&fd);
    }
    return r;
}

int disks_open(const json_t *spec, const json_t *disk, int *ret_file, struct err *e)
{
    for (int left = WAIT_MS;; left -= STEP_MS) {
        struct err why = {0};
        int r = is_one_raw_file(disk) ? open_raw(disk, ret_file, &why)
                                      : disks_serve(spec, disk, ret_file, &why);

        if (r == 0) {
            return 0;
        }
        if (r != -EBUSY || left <= 0) {
            return r == -EBUSY
                       ? err_set(e, r,
                                 "it is in use: a disk that is written to belongs to one "
                                 "guest or program at a time")
                       : err_set(e, r, "%s", why.text);
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000L}, NULL);
    }
}

/* What is mounted keeps the device, the device the file. */
static int mount_file(const json_t *disk, int file, struct err *e)
{
    struct attach_loop o = {
        .file = file, .read_only = json_is_true(json_object_get(disk, "read_only"))};
    const char *at = disks_text(disk, "at");
    char device[ATTACH_PATH_BYTES];
    char type[ATTACH_TYPE_BYTES];
    SCOPED(scope_close) int fd = -1;
    int r = attach_loop(&o, device, &fd, e);

    (void)fault_step("disks.attach.device");
    if (r == 0) {
        r = attach_probe(fd, type, e);
    }
    if (r == 0) {
        r = file_make_dirs(at, 0700);
        r = r < 0 ? err_sys(e, r, "cannot make '%s'", at) : 0;
    }
    r = r == 0 ? attach_mount(device, type, o.read_only, at, e) : r;
    if (r == 0 && !o.read_only) { /* resized since; else it goes on as it is */
        (void)attach_grow(at, fd, type, NULL);
    }
    return r;
}

static int attach_one(const json_t *spec, const json_t *disk, struct err *e)
{
    SCOPED(scope_close) int file = -1;
    int r = disks_open(spec, disk, &file, e);

    (void)fault_step("disks.attach.open");
    if (r == 0) {
        r = mount_file(disk, file, e);
    }
    (void)fault_step("disks.attach.mounted");
    return r < 0 ? err_wrap(e, "cannot use volume '%s'", disks_text(disk, "name")) : 0;
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
    int fd = open(disks_text(disk, "at"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
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
        r = attach_one(spec, json_array_get(list, i), e);
    }
    if (r < 0) {
        (void)disks_detach(spec, NULL);
    }
    return r;
}

static int detach_one(const json_t *disk, struct err *e)
{
    const char *at = disks_text(disk, "at");
    int fd = open_mounted(disk);
    int r = 0;

    if (fd >= 0) {
        if (!json_is_true(json_object_get(disk, "read_only"))) {
            attach_trim(fd);
        }
        (void)close(fd);
        r = attach_unmount(at, e);
    }
    (void)fault_step("disks.detach.unmounted");
    if (r < 0) {
        return err_wrap(e, "cannot let go of volume '%s'", disks_text(disk, "name"));
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
