/* root.c - the root file system: found by its disk's serial number, mounted, entered.
 *
 * Linux tells a disk's serial number in /sys/block/NAME/serial (virtio-blk) or
 * /sys/block/NAME/device/serial (NVMe).  A disk that is written to by nobody lies below an
 * overlay whose changes stay in memory. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "virt/agent/private.h"

#define NEW_ROOT     "/newroot"
#define LOWER        "/run/lower"
#define MEMORY       "/run/memory"
#define WAIT_MS      10000
#define WAIT_STEP_MS 5

static bool file_says(const char *path, const char *serial)
{
    char text[128];

    if (agent_read_small(path, text, sizeof text) <= 0) {
        return false;
    }
    text[strcspn(text, " \n")] = '\0';
    return strcmp(text, serial) == 0;
}

static bool has_serial(const char *disk, const char *serial)
{
    char virtio[320], nvme[320];

    (void)snprintf(virtio, sizeof virtio, "/sys/block/%s/serial", disk);
    (void)snprintf(nvme, sizeof nvme, "/sys/block/%s/device/serial", disk);
    return file_says(virtio, serial) || file_says(nvme, serial);
}

/* The device of the disk, if it is there by now. */
static bool find_disk(const char *word, char *out, size_t room)
{
    const struct dirent *x;
    bool found = false;
    DIR *d;

    if (word[0] == '/') {
        (void)snprintf(out, room, "%s", word);
        return access(word, F_OK) == 0;
    }
    d = opendir("/sys/block");
    while (d != NULL && !found && (x = readdir(d)) != NULL) {
        found = x->d_name[0] != '.' && has_serial(x->d_name, word);
        if (found) {
            (void)snprintf(out, room, "/dev/%s", x->d_name);
        }
    }
    if (d != NULL) {
        (void)closedir(d);
    }
    return found && access(out, F_OK) == 0;
}

bool agent_await_disk(const char *word, char *out, size_t room)
{
    const struct timespec step = {0, WAIT_STEP_MS * 1000000L};

    for (int ms = 0; ms < WAIT_MS; ms += WAIT_STEP_MS) {
        if (find_disk(word, out, room)) {
            return true;
        }
        (void)nanosleep(&step, NULL);
    }
    return false;
}

static int mount_overlay(const char *disk, const char *type)
{
    (void)mkdir(LOWER, 0755);
    (void)mkdir(MEMORY, 0755);
    if (mount(disk, LOWER, type, MS_RDONLY, NULL) < 0 ||
        mount("tmpfs", MEMORY, "tmpfs", 0, "mode=0755") < 0) {
        return -errno;
    }
    (void)mkdir(MEMORY "/upper", 0755);
    (void)mkdir(MEMORY "/work", 0755);
    return mount("overlay", NEW_ROOT, "overlay", 0,
                 "lowerdir=" LOWER ",upperdir=" MEMORY "/upper,workdir=" MEMORY
                 "/work") < 0
               ? -errno
               : 0;
}

int agent_mount_root(const struct wish *w)
{
    char disk[320];
    int r = 0;

    (void)mkdir(NEW_ROOT, 0755);
    if (!agent_await_disk(w->root, disk, sizeof disk)) {
        (void)fprintf(stderr, "strata: there is no disk '%s'\n", w->root);
        return -ENODEV;
    }
    if (w->read_only) {
        r = mount_overlay(disk, w->type);
    } else if (mount(disk, NEW_ROOT, w->type, 0, NULL) < 0) {
        r = -errno;
    }
    if (r < 0) {
        (void)fprintf(stderr, "strata: cannot mount '%s' as %s: %s\n", disk, w->type,
                      strerror(-r));
    }
    return r;
}

int agent_switch_root(void)
{
    static const char *const mounts[] = {"/dev", "/proc", "/run", "/sys"};

    for (unsigned i = 0; i < sizeof mounts / sizeof mounts[0]; i++) {
        char to[64];

        (void)snprintf(to, sizeof to, NEW_ROOT "%s", mounts[i]);
        (void)mkdir(to, 0755);
        if (mount(mounts[i], to, NULL, MS_MOVE, NULL) < 0) {
            (void)umount2(mounts[i], MNT_DETACH);
        }
    }
    if (chdir(NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 ||
        chroot(".") < 0 || chdir("/") < 0) {
        return -errno;
    }
    return 0;
}
