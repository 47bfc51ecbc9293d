/* mounts.c - volumes at their places: directories of the host (virtiofs) and disks that carry a
 * file system, of whatever type the kernel knows.
 *
 * They are mounted when the root is the guest's, so that no link in it leads elsewhere, and
 * before its first program. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "virt/agent/private.h"

#define LINES_BYTES 8192
#define TYPES_BYTES 2048
#define PATH_BYTES  1024
#define END_ROUNDS  200
#define END_STEP_MS 5
#define FIRST_TYPE  "ext4" /* in the initramfs; older ext are mounted by it, too */

/* A line of FRAME_BOOT_MOUNTS. */
struct place {
    bool is_disk, read_only;
    char serial[32]; /* of a disk */
    char path[PATH_BYTES];
};

static bool read_place(const char *line, struct place *p)
{
    char kind[8] = "", mode[4] = "";
    int at = 0;

    *p = (struct place){.path = ""};
    if (sscanf(line, "%7s %3s %n", kind, mode, &at) != 2) {
        return false;
    }
    line += at;
    p->is_disk = strcmp(kind, "disk") == 0;
    p->read_only = strcmp(mode, "ro") == 0;
    if (p->is_disk) {
        if (sscanf(line, "%31s %n", p->serial, &at) != 1) {
            return false;
        }
        line += at;
    }
    return line[0] == '/' &&
           snprintf(p->path, sizeof p->path, "%s", line) < (int)sizeof p->path;
}

char *agent_read_mounts(void)
{
    char *lines = malloc(LINES_BYTES);

    if (lines == NULL ||
        agent_read_small("/" FRAME_BOOT_MOUNTS, lines, LINES_BYTES) <= 0) {
        free(lines);
        return NULL;
    }
    (void)agent_load_modules("files");
    return lines;
}

/* The directory and those above it. */
static void make_path(const char *path)
{
    char part[PATH_BYTES];

    for (size_t n = 1; path[n - 1] != '\0'; n++) {
        if (path[n] == '/' || path[n] == '\0') {
            (void)snprintf(part, sizeof part, "%.*s", (int)n, path);
            (void)mkdir(part, 0755);
        }
    }
}

static int mount_type(const char *disk, const struct place *p, const char *type)
{
    return mount(disk, p->path, type, p->read_only ? MS_RDONLY : 0, NULL) < 0 ? -errno
                                                                              : 0;
}

/* By what it is; -EINVAL: the kernel knows no file system that is on it. */
static int mount_disk(const struct place *p)
{
    char disk[320], types[TYPES_BYTES];
    char *rest = types, *line;
    int r;

    if (!agent_await_disk(p->serial, disk, sizeof disk)) {
        return -ENODEV;
    }
    r = mount_type(disk, p, FIRST_TYPE);
    if (agent_read_small("/proc/filesystems", types, sizeof types) <= 0) {
        return r;
    }
    while (r < 0 && (line = strsep(&rest, "\n")) != NULL) {
        if (line[0] == '\t' && mount_type(disk, p, line + 1) == 0) { /* none of "nodev" */
            r = 0;
        }
    }
    return r;
}

static int mount_one(const struct place *p)
{
    int r;

    make_path(p->path);
    if (p->is_disk) {
        r = mount_disk(p);
    } else {
        r = mount_type(p->path, p, "virtiofs"); /* whose tag is the path */
    }
    if (r < 0) {
        (void)fprintf(stderr, "strata: cannot mount the volume at '%s': %s\n", p->path,
                      r == -EINVAL && p->is_disk ? "it has no file system that is known"
                                                 : strerror(-r));
    }
    return r;
}

/* Each line's place, the last first if it goes `back`. */
static int each_place(const char *lines, int (*fn)(const struct place *p), bool back)
{
    const char *end = strchr(lines, '\n');
    struct place p;
    char line[PATH_BYTES + 64];
    int r = 0;

    if (end == NULL) {
        return 0;
    }
    if (back) {
        r = each_place(end + 1, fn, back);
    }
    (void)snprintf(line, sizeof line, "%.*s", (int)(end - lines), lines);
    if (r == 0 && read_place(line, &p)) {
        r = fn(&p);
    }
    return r < 0 || back ? r : each_place(end + 1, fn, back);
}

int agent_mount_volumes(const char *lines)
{
    return lines == NULL ? 0 : each_place(lines, mount_one, false);
}

/* What still runs would keep them. */
static void end_all(void)
{
    const struct timespec step = {0, END_STEP_MS * 1000000L};

    (void)kill(-1, SIGKILL);
    for (int i = 0; i < END_ROUNDS && waitpid(-1, NULL, WNOHANG) >= 0; i++) {
        (void)nanosleep(&step, NULL);
    }
}

static int unmount_one(const struct place *p)
{
    (void)umount2(p->path, 0);
    return 0;
}

void agent_unmount_volumes(const char *lines)
{
    if (lines != NULL) {
        end_all();
        (void)each_place(lines, unmount_one, true);
    }
}
