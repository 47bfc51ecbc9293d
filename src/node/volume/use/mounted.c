/* mounted.c - where guests have a disk mounted.
 *
 * A keeper has the mounts in a mount namespace of its own; the plan that it was started with says
 * where.  They are reached through /proc/KEEPER/root.  Machines mount by themselves: of them it
 * is known who has the disk. */
#include "node/volume/mounted.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/attach/attach.h"
#include "host/file.h"
#include "node/volume/private.h"
#include "virt/monitor/remote/remote.h"

#define PLAN_MOST  (4u << 20)
#define LINES_MOST (16u << 20)

void mounted_fini(struct mounted *m)
{
    for (size_t i = 0; i < m->count; i++) {
        scope_close(&m->places[i].dir);
    }
    m->count = 0;
}

/* The root of what is mounted there, as the keeper sees it; -1. */
static int open_root(pid_t keeper, const char *at)
{
    char path[PATH_MAX];
    struct statx s;
    SCOPED(scope_close) int fd = -1;

    if (str_print(path, sizeof path, "/proc/%d/root%s", (int)keeper, at) == 0) {
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    return fd >= 0 && statx(fd, "", AT_EMPTY_PATH, STATX_INO, &s) == 0 &&
                   (s.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0
               ? scope_take_fd(&fd)
               : -1;
}

/* One line of mountinfo (proc_pid_mountinfo(5)): does it tell of `at`? */
static bool read_line(const char *line, const char *at, struct mounted_place *p)
{
    char where[PATH_MAX];
    const char *rest = strstr(line, " - ");

    return sscanf(line, "%*s %*s %*s %*s %4095s", where) == 1 && strcmp(where, at) == 0 &&
           rest != NULL && sscanf(rest, " - %15s %31s", p->type, p->device) == 2;
}

/* The device and the type of what is mounted there. */
static bool look_up(pid_t keeper, const char *at, struct mounted_place *p)
{
    SCOPED(scope_free) char *text = NULL;
    char path[64];
    char *rest;
    char *line;
    size_t len;
    bool found = false;

    (void)str_print(path, sizeof path, "/proc/%d/mountinfo", (int)keeper);
    if (file_read(AT_FDCWD, path, LINES_MOST, &text, &len) < 0) {
        return false;
    }
    rest = text;
    while ((line = strsep(&rest, "\n")) != NULL) { /* the last one lies on top */
        found = read_line(line, at, p) || found;
    }
    return found;
}

static void look_at_guest(struct node *n, const json_t *guest, const char *volume,
                          struct mounted *ret)
{
    const char *id = volume_text(guest, "id");
    SCOPED(scope_json) json_t *plan = NULL;
    SCOPED(scope_free) char *text = NULL;
    struct guest_status st;
    char path[PATH_MAX];
    size_t len;
    size_t i;
    json_t *disk;

    if (guest_status(n, id, &st, NULL) < 0 || !guest_is_alive(&st) || st.keeper <= 0 ||
        guest_run_path(n, id, "spec.json", path) < 0 ||
        file_read(AT_FDCWD, path, PLAN_MOST, &text, &len) < 0 ||
        json_parse(text, len, path, &plan, NULL) < 0) {
        return;
    }
    json_array_foreach(json_object_get(plan, "disks"), i, disk)
    {
        struct mounted_place *p = &ret->places[ret->count];
        const char *at = volume_text(disk, "at");

        if (strcmp(volume_text(disk, "name"), volume) != 0 ||
            json_is_true(json_object_get(disk, "read_only"))) {
            continue;
        }
        if (json_is_object(json_object_get(plan, "machine"))) {
            (void)guest_run_path(n, id, "", ret->machine);
            (void)str_print(ret->guest, sizeof ret->guest, "%s",
                            volume_text(guest, "name"));
            return;
        }
        if (ret->count == MOUNTED_MOST || !look_up(st.keeper, at, p)) {
            continue;
        }
        p->dir = open_root(st.keeper, at);
        if (p->dir >= 0) {
            ret->count++;
            (void)str_print(ret->guest, sizeof ret->guest, "%s",
                            volume_text(guest, "name"));
        }
    }
}

void mounted_find(struct node *n, const char *volume, struct mounted *ret)
{
    SCOPED(scope_json) json_t *guests = NULL;
    size_t i;
    json_t *guest;

    ret->count = 0;
    ret->guest[0] = '\0';
    ret->machine[0] = '\0';
    if (guest_all(n, &guests, NULL) < 0) {
        return;
    }
    json_array_foreach(guests, i, guest)
    {
        const json_t *list = json_object_get(json_object_get(guest, "config"), "volume");
        bool has = false;
        size_t k;
        json_t *item;

        json_array_foreach(list, k, item)
        {
            has = has || volume_is_named(json_string_value(item), volume);
        }
        if (has) {
            look_at_guest(n, guest, volume, ret);
        }
    }
}

int mounted_grown(struct mounted *m, bool grow, struct err *e)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < m->count; i++) {
        const struct mounted_place *p = &m->places[i];
        SCOPED(scope_close) int device = open(p->device, O_RDONLY | O_CLOEXEC);

        r = device < 0 ? err_sys(e, -errno, "cannot open '%s'", p->device)
                       : attach_loop_grown(device, e);
        r = r == 0 && grow ? attach_grow(p->dir, device, p->type, e) : r;
    }
    return r;
}

int mounted_told(const struct mounted *m, const char *volume, uint64_t bytes,
                 struct err *e)
{
    SCOPED(scope_json)
    json_t *arg = json_pack("{s:s, s:I}", "disk", volume, "bytes", (json_int_t)bytes);
    int r = far_ask(m->machine, FAR_RESIZE, arg, NULL, e);

    return r < 0 ? err_wrap(e, "it has %llu bytes, but guest '%s' was not told",
                            (unsigned long long)bytes, m->guest)
                 : 0;
}
