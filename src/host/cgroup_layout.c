/* host/cgroup_layout.c - where this host mounts its control group hierarchies. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/cgroup_private.h"
#include "host/file.h"

#define BASE_USUAL      "/sys/fs/cgroup"
#define MOUNTS_MOST     (1 << 20)
#define CONTROL_BYTES   1024
#define OWN_MOST        (64 << 10)
#define MOUNT_FIELD_DIR 4 /* of /proc/PID/mountinfo, from 0: proc(5) */

/* clang-format off */
const struct cgroup_ctl_name cgroup_ctl_names[CGROUP_CTL_COUNT] = {
    [CGROUP_CTL_CPU]      = {"cpu",      "cpu"},
    [CGROUP_CTL_CPUACCT]  = {"cpuacct",  NULL},
    [CGROUP_CTL_CPUSET]   = {"cpuset",   "cpuset"},
    [CGROUP_CTL_MEMORY]   = {"memory",   "memory"},
    [CGROUP_CTL_PIDS]     = {"pids",     "pids"},
    [CGROUP_CTL_IO]       = {"blkio",    "io"},
    [CGROUP_CTL_HUGETLB]  = {"hugetlb",  "hugetlb"},
    [CGROUP_CTL_NET_CLS]  = {"net_cls",  NULL},
    [CGROUP_CTL_NET_PRIO] = {"net_prio", NULL},
    [CGROUP_CTL_RDMA]     = {"rdma",     "rdma"},
    [CGROUP_CTL_DEVICES]  = {"devices",  NULL},
    [CGROUP_CTL_FREEZER]  = {"freezer",  NULL},
    [CGROUP_CTL_CORE]     = {NULL,       "unified"},
};

/* clang-format on */

static bool is_mount_of(const struct cgroup_layout *l, const char *path, long magic)
{
    struct statfs fs;

    return statfs(path, &fs) == 0 && (l->trust || fs.f_type == magic);
}

/* Whether the comma-separated `list` has `word`. */
static bool lists(const char *list, const char *word)
{
    size_t len = strlen(word);

    for (const char *at = list; (at = strstr(at, word)) != NULL; at += len) {
        bool starts = at == list || at[-1] == ',';

        if (starts && (at[len] == ',' || at[len] == '\0' || at[len] == '\n')) {
            return true;
        }
    }
    return false;
}

/* One line of mountinfo: is it a mount of `type` whose options list `word`
 * (NULL: any)?  Cuts the line up. */
static bool line_matches(char *line, const char *type, const char *word, char **ret_dir)
{
    char *tail = strstr(line, " - ");
    char *save = NULL;
    char *dir = strtok_r(line, " ", &save);
    char *kind;

    for (int i = 0; i < MOUNT_FIELD_DIR && dir != NULL; i++) {
        dir = strtok_r(NULL, " ", &save);
    }
    if (tail == NULL || dir == NULL) {
        return false;
    }
    kind = strtok_r(tail + 3, " ", &save);
    if (kind == NULL || strcmp(kind, type) != 0) {
        return false;
    }
    (void)strtok_r(NULL, " ", &save); /* the source */
    kind = strtok_r(NULL, " ", &save);
    *ret_dir = dir;
    return word == NULL || (kind != NULL && lists(kind, word));
}

/* For hosts that mount their hierarchies elsewhere. */
static int search_mounts(const char *type, const char *word, char *out, size_t size)
{
    SCOPED(scope_free) char *text = NULL;
    char *save = NULL;
    int r = file_read(AT_FDCWD, "/proc/self/mountinfo", MOUNTS_MOST, &text, NULL);

    if (r < 0) {
        return r;
    }
    for (char *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        char *dir = NULL;

        if (line_matches(line, type, word, &dir)) {
            return str_print(out, size, "%s", dir);
        }
    }
    return -ENOENT;
}

/* The base itself, on hosts with version 2 alone. */
static bool is_v2_root(const struct cgroup_layout *l)
{
    char path[PATH_MAX / 8];

    return l->trust
               ? str_print(path, sizeof path, "%s/cgroup.controllers", l->base) == 0 &&
                     access(path, F_OK) == 0
               : is_mount_of(l, l->base, CGROUP2_SUPER_MAGIC);
}

void cgroup_layout_find(struct cgroup_layout *l)
{
    char path[PATH_MAX / 8];
    bool fits;

    if (l->base == NULL) {
        l->base = BASE_USUAL;
    }
    fits = str_print(path, sizeof path, "%s/unified", l->base) == 0;
    l->unified[0] = '\0';
    if (fits && is_mount_of(l, path, CGROUP2_SUPER_MAGIC)) {
        (void)str_print(l->unified, sizeof l->unified, "%s", path);
    } else if (is_v2_root(l)) {
        (void)str_print(l->unified, sizeof l->unified, "%s", l->base);
    } else if (!l->trust &&
               search_mounts("cgroup2", NULL, l->unified, sizeof l->unified) < 0) {
        l->unified[0] = '\0';
    }
}

int cgroup_layout_v1(const struct cgroup_layout *l, enum cgroup_ctl ctl, char *out,
                     size_t size)
{
    const char *name = cgroup_ctl_names[ctl].v1;
    int r;

    if (name == NULL || strcmp(l->unified, l->base) == 0) {
        return -ENOENT; /* nothing is mounted in a v2 mount */
    }
    r = str_print(out, size, "%s/%s", l->base, name);
    if (r == 0 && is_mount_of(l, out, CGROUP_SUPER_MAGIC)) {
        return 0;
    }
    return l->trust ? -ENOENT : search_mounts("cgroup", name, out, size);
}

unsigned cgroup_listed(const char *dir, const char *file)
{
    SCOPED(scope_free) char *text = NULL;
    char path[PATH_MAX];
    char *save = NULL;
    unsigned bits = 0;

    if (str_print(path, sizeof path, "%s/%s", dir, file) < 0 ||
        file_read(AT_FDCWD, path, CONTROL_BYTES, &text, NULL) < 0) {
        return 0;
    }
    for (char *word = strtok_r(text, " \n", &save); word != NULL;
         word = strtok_r(NULL, " \n", &save)) {
        for (unsigned i = 0; i < CGROUP_CTL_CORE; i++) {
            const char *name = cgroup_ctl_names[i].v2;

            bits |= name != NULL && strcmp(word, name) == 0 ? CGROUP_BIT(i) : 0;
        }
    }
    return bits;
}

unsigned cgroup_layout_v2(const struct cgroup_layout *l)
{
    return l->unified[0] == '\0' ? 0 : cgroup_listed(l->unified, "cgroup.controllers");
}

int cgroup_own_path(const struct cgroup_layout *l, enum cgroup_ctl ctl, char *out,
                    size_t size)
{
    SCOPED(scope_free) char *text = NULL;
    char *save = NULL;
    int r = file_read(AT_FDCWD, l->self != NULL ? l->self : "/proc/self/cgroup", OWN_MOST,
                      &text, NULL);

    if (r < 0) {
        return r;
    }
    for (char *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        char *names = strchr(line, ':'); /* "4:memory:/path"; v2 is "0::/path" */
        char *path = names != NULL ? strchr(names + 1, ':') : NULL;
        bool found;

        if (path == NULL) {
            continue;
        }
        *path++ = '\0';
        found = ctl == CGROUP_CTL_CORE ? names[1] == '\0'
                                       : lists(names + 1, cgroup_ctl_names[ctl].v1);
        if (found) {
            return str_print(out, size, "%s", path);
        }
    }
    return -ENOENT;
}
