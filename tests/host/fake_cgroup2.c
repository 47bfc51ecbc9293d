/* fake_cgroup2.c - the kernel's side of a v2 hierarchy. */
#include "tests/host/fake_cgroup2.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/file.h"
#include "tests/base/check.h"

#define TEXT_BYTES 512

int __real_mkdir(const char *path, mode_t mode);
int __real_rmdir(const char *path);
int __real_unlinkat(int dir, const char *path, int flags);
int __real_access(const char *path, int mode);
uid_t __real_geteuid(void);
int __real_file_write_existing(int dir, const char *path, const char *text);

int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_rmdir(const char *path);
int __wrap_unlinkat(int dir, const char *path, int flags);
int __wrap_access(const char *path, int mode);
uid_t __wrap_geteuid(void);
int __wrap_file_write_existing(int dir, const char *path, const char *text);

struct fake_cgroup2 fake_cgroup2;

/* clang-format off */
static const struct {
    const char *controller; /* NULL: of every directory but the root */
    const char *name;
    const char *text;
} files[] = {
    {NULL, "cgroup.procs", ""},         {NULL, "cgroup.threads", ""},
    {NULL, "cgroup.controllers", ""},   {NULL, "cgroup.subtree_control", ""},
    {NULL, "cgroup.events", "populated 0\nfrozen 0\n"},
    {NULL, "cgroup.freeze", "0\n"},     {NULL, "cgroup.kill", ""},
    {NULL, "cgroup.type", "domain\n"},  {NULL, "cpu.stat", "usage_usec 0\n"},
    {"cpu", "cpu.max", "max 100000\n"}, {"cpu", "cpu.weight", "100\n"},
    {"cpu", "cpu.idle", "0\n"},         {"cpu", "cpu.max.burst", "0\n"},
    {"cpuset", "cpuset.cpus", "\n"},    {"cpuset", "cpuset.mems", "\n"},
    {"memory", "memory.max", "max\n"},  {"memory", "memory.low", "0\n"},
    {"memory", "memory.high", "max\n"}, {"memory", "memory.swap.max", "max\n"},
    {"memory", "memory.current", "0\n"}, {"memory", "memory.oom.group", "0\n"},
    {"memory", "memory.events", "oom_kill 0\n"},
    {"pids", "pids.max", "max\n"},      {"pids", "pids.current", "0\n"},
    {"io", "io.max", ""},               {"io", "io.weight", "default 100\n"},
};

/* clang-format on */

static bool is_ours(const char *path)
{
    size_t len = strlen(fake_cgroup2.base);

    return len > 0 && strncmp(path, fake_cgroup2.base, len) == 0 &&
           (path[len] == '/' || path[len] == '\0');
}

static const char *inside(const char *path)
{
    return path + strlen(fake_cgroup2.base);
}

/* May the caller change this directory? */
static bool may(const char *path)
{
    const char *own = fake_cgroup2.delegated;

    return own == NULL || (strncmp(inside(path), own, strlen(own)) == 0 &&
                           strchr("/", inside(path)[strlen(own)]) != NULL);
}

static void put(const char *dir, const char *file, const char *text)
{
    char path[PATH_MAX];
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/%s", dir, file);
    f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* The text of a file into `out`; "" when it is not there. */
static bool get(const char *dir, const char *file, char out[TEXT_BYTES])
{
    char path[PATH_MAX];
    FILE *f;
    size_t n = 0;

    (void)snprintf(path, sizeof path, "%s/%s", dir, file);
    f = fopen(path, "re");
    if (f != NULL) {
        n = fread(out, 1, TEXT_BYTES - 1, f);
        (void)fclose(f);
    }
    out[n] = '\0';
    return f != NULL;
}

static bool has_word(const char *list, const char *word)
{
    size_t len = strlen(word);

    for (const char *at = list; (at = strstr(at, word)) != NULL; at += len) {
        if ((at == list || at[-1] == ' ') && strchr(" \n", at[len]) != NULL) {
            return true;
        }
    }
    return false;
}

/* The files of those controllers that the parent passes on. */
static void populate(const char *dir, const char *controllers)
{
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char old[TEXT_BYTES];

        if ((files[i].controller == NULL || has_word(controllers, files[i].controller)) &&
            !get(dir, files[i].name, old)) {
            put(dir, files[i].name, files[i].text);
        }
    }
    put(dir, "cgroup.controllers", controllers);
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    char parent[PATH_MAX];
    char passed[TEXT_BYTES];
    int r;

    if (!is_ours(path)) {
        return __real_mkdir(path, mode);
    }
    (void)snprintf(parent, sizeof parent, "%s", path);
    *strrchr(parent, '/') = '\0';
    if (__real_access(parent, F_OK) == 0 && __real_access(path, F_OK) < 0 &&
        !may(parent)) {
        errno = EACCES;
        return -1;
    }
    r = __real_mkdir(path, mode);
    if (r == 0) {
        (void)get(parent, "cgroup.subtree_control", passed);
        populate(path, passed);
    }
    return r;
}

static bool has_children(const char *dir)
{
    DIR *d = opendir(dir);
    const struct dirent *entry;
    bool found = false;

    while (d != NULL && (entry = readdir(d)) != NULL) {
        found = found || (entry->d_type == DT_DIR && entry->d_name[0] != '.');
    }
    (void)closedir(d);
    return found;
}

static int remove_group(const char *path)
{
    char procs[TEXT_BYTES];

    if (__real_access(path, F_OK) < 0) {
        return -1;
    }
    (void)get(path, "cgroup.procs", procs);
    if (has_children(path) || procs[0] != '\0') {
        errno = EBUSY;
        return -1;
    }
    strv_add(&fake_cgroup2.removed, inside(path));
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char file[PATH_MAX];

        (void)snprintf(file, sizeof file, "%s/%s", path, files[i].name);
        (void)unlink(file);
    }
    return __real_rmdir(path);
}

int __wrap_rmdir(const char *path)
{
    return is_ours(path) ? remove_group(path) : __real_rmdir(path);
}

/* Where a name of an open directory lies. */
static bool find(int dir, const char *name, char out[PATH_MAX])
{
    char link[64];
    ssize_t n;

    if (name[0] == '/' || dir == AT_FDCWD) {
        (void)snprintf(out, PATH_MAX, "%s", name);
        return is_ours(out);
    }
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
    n = readlink(link, out, PATH_MAX - 1);
    if (n < 0) {
        return false;
    }
    out[n] = '\0';
    (void)snprintf(out + n, PATH_MAX - (size_t)n, "/%s", name);
    return is_ours(out);
}

int __wrap_unlinkat(int dir, const char *name, int flags)
{
    char path[PATH_MAX];

    return (flags & AT_REMOVEDIR) != 0 && find(dir, name, path)
               ? remove_group(path)
               : __real_unlinkat(dir, name, flags);
}

int __wrap_access(const char *path, int mode)
{
    if (is_ours(path) && (mode & W_OK) != 0 && !may(path)) {
        errno = EACCES;
        return -1;
    }
    return __real_access(path, mode);
}

uid_t __wrap_geteuid(void)
{
    return fake_cgroup2.delegated != NULL ? 1000 : __real_geteuid();
}

/* ---- writes ---- */

/* What the kernel refuses, by file. */
static int check_text(const char *file, const char *text)
{
    unsigned long a = 0;
    unsigned long b = 0;
    unsigned long c = 0;
    char word[16];
    bool number = text[0] != '\0' && text[strspn(text, "0123456789")] == '\0';

    if (strcmp(file, "cpu.weight") == 0) {
        a = strtoul(text, NULL, 10);
        return !number ? -EINVAL : a < 1 || a > 10000 ? -ERANGE : 0;
    }
    if (strcmp(file, "cpu.max") == 0) {
        int n = sscanf(text, "%15s %lu", word, &a);

        b = strtoul(word, NULL, 10);
        return n < 1 || (strcmp(word, "max") != 0 && b < 1000) ||
                       (n == 2 && (a < 1000 || a > 1000000))
                   ? -EINVAL
                   : 0;
    }
    if (strcmp(file, "io.max") == 0) {
        return sscanf(text, "%lu:%lu %5[a-z]=%lu", &a, &b, word, &c) == 4 ||
                       (sscanf(text, "%lu:%lu %5[a-z]=%3s", &a, &b, word, word + 8) ==
                            4 &&
                        strcmp(word + 8, "max") == 0)
                   ? 0
                   : -EINVAL;
    }
    if (strcmp(file, "io.weight") == 0) {
        bool fits = sscanf(text, "%lu:%lu %lu", &a, &b, &c) == 3 ||
                    sscanf(text, "default %lu", &c) == 1 ||
                    (number && sscanf(text, "%lu", &c) == 1);

        return fits && c >= 1 && c <= 10000 ? 0 : -EINVAL;
    }
    if (strncmp(file, "memory.", 7) == 0 || strcmp(file, "pids.max") == 0) {
        bool flag = strcmp(file, "memory.oom.group") == 0;

        return number ? (flag && strtoul(text, NULL, 10) > 1 ? -EINVAL : 0)
                      : (strcmp(text, "max") == 0 && !flag ? 0 : -EINVAL);
    }
    return 0;
}

/* "+x" needs x here, and no processes here: only the root may have both. */
static int enable(const char *dir, const char *text)
{
    char here[TEXT_BYTES];
    char procs[TEXT_BYTES];
    char passed[TEXT_BYTES];
    char path[PATH_MAX];
    const struct dirent *entry;
    DIR *d;

    (void)get(dir, "cgroup.controllers", here);
    (void)get(dir, "cgroup.procs", procs);
    (void)get(dir, "cgroup.subtree_control", passed);
    if (text[0] != '+' || strchr(text, ' ') != NULL) {
        return -EINVAL; /* the kernel takes lists; ours is asked one by one */
    }
    if (!has_word(here, text + 1)) {
        return -ENOENT;
    }
    if (procs[0] != '\0' && inside(dir)[0] != '\0') {
        return -EBUSY;
    }
    if (!has_word(passed, text + 1)) {
        size_t len = strcspn(passed, "\n");

        (void)snprintf(passed + len, sizeof passed - len, "%s%s", len > 0 ? " " : "",
                       text + 1);
        put(dir, "cgroup.subtree_control", passed);
    }
    d = opendir(dir);
    while ((entry = readdir(d)) != NULL) {
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.') {
            (void)snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
            populate(path, passed);
        }
    }
    (void)closedir(d);
    return 0;
}

static void say_events(const char *dir, bool frozen)
{
    char procs[TEXT_BYTES];
    char text[64];

    (void)get(dir, "cgroup.procs", procs);
    (void)snprintf(text, sizeof text, "populated %d\nfrozen %d\n", procs[0] != '\0',
                   frozen && !fake_cgroup2.deaf);
    put(dir, "cgroup.events", text);
}

/* cpu.max keeps the period that is not written. */
static void put_cpu_max(const char *dir, const char *text)
{
    char old[TEXT_BYTES];
    char both[TEXT_BYTES];
    const char *period;

    (void)get(dir, "cpu.max", old);
    period = strchr(old, ' ');
    (void)snprintf(both, sizeof both, "%.40s%.40s", text,
                   strchr(text, ' ') == NULL && period != NULL ? period : "");
    put(dir, "cpu.max", both);
}

static void kill_all(const char *dir)
{
    put(dir, "cgroup.procs", "");
    say_events(dir, false);
}

static int take(const char *dir, const char *file, const char *text)
{
    int r = check_text(file, text);

    if (r < 0) {
        return r;
    }
    if (strcmp(file, "cgroup.subtree_control") == 0) {
        return enable(dir, text);
    }
    if (strcmp(file, "cgroup.freeze") == 0) {
        put(dir, file, text);
        say_events(dir, strcmp(text, "1") == 0);
    } else if (strcmp(file, "cgroup.kill") == 0) {
        kill_all(dir);
    } else if (strcmp(file, "cpu.max") == 0) {
        put_cpu_max(dir, text);
    } else {
        put(dir, file, text);
    }
    return 0;
}

int __wrap_file_write_existing(int dir, const char *name, const char *text)
{
    char path[PATH_MAX];
    char *file;
    int r;

    if (!find(dir, name, path)) {
        return __real_file_write_existing(dir, name, text);
    }
    if (__real_access(path, F_OK) < 0) {
        return -ENOENT;
    }
    file = strrchr(path, '/');
    *file = '\0';
    r = may(path) ? take(path, file + 1, text) : -EACCES;
    strv_addf(&fake_cgroup2.writes, r < 0 ? "%s/%s=%s!%d" : "%s/%s=%s", inside(path),
              file + 1, text, -r);
    return r;
}

/* ---- for the tests ---- */

void fake_begin(const char *controllers)
{
    memset(&fake_cgroup2, 0, sizeof fake_cgroup2);
    (void)snprintf(fake_cgroup2.base, sizeof fake_cgroup2.base,
                   "/tmp/strata-cgroup2-XXXXXX");
    assert_non_null(mkdtemp(fake_cgroup2.base));
    put(fake_cgroup2.base, "cgroup.controllers", controllers);
    put(fake_cgroup2.base, "cgroup.subtree_control", "");
    put(fake_cgroup2.base, "cgroup.procs", "1\n");
}

void fake_end(void)
{
    char base[sizeof fake_cgroup2.base];

    memcpy(base, fake_cgroup2.base, sizeof base);
    strv_fini(&fake_cgroup2.writes);
    strv_fini(&fake_cgroup2.removed);
    memset(&fake_cgroup2, 0, sizeof fake_cgroup2); /* plain files from here on */
    assert_int_equal(file_remove_tree(AT_FDCWD, base), 0);
}

void fake_make(const char *path, const char *subtree)
{
    char full[PATH_MAX];
    char words[TEXT_BYTES];
    char *save = NULL;

    (void)snprintf(full, sizeof full, "%s%s", fake_cgroup2.base, path);
    assert_true(__wrap_mkdir(full, 0755) == 0 || errno == EEXIST);
    (void)snprintf(words, sizeof words, "%s", subtree);
    for (char *w = strtok_r(words, " ", &save); w != NULL;
         w = strtok_r(NULL, " ", &save)) {
        char plus[32];

        (void)snprintf(plus, sizeof plus, "+%s", w);
        assert_int_equal(enable(full, plus), 0);
    }
}

const char *fake_read(const char *file)
{
    static char texts[8][TEXT_BYTES];
    static unsigned at;
    char *out = texts[at++ % 8];

    (void)get(fake_cgroup2.base, file, out);
    out[strcspn(out, "\n")] = '\0';
    return out;
}

void fake_put(const char *file, const char *text)
{
    put(fake_cgroup2.base, file, text);
}

bool fake_has(const char *path)
{
    char full[PATH_MAX];

    (void)snprintf(full, sizeof full, "%s%s", fake_cgroup2.base, path);
    return __real_access(full, F_OK) == 0;
}

const char *fake_written(const char *file, int n)
{
    size_t len = strlen(file);

    for (size_t i = 0; i < fake_cgroup2.writes.n; i++) {
        const char *w = fake_cgroup2.writes.items[i];

        if (strncmp(w, file, len) == 0 && w[len] == '=' && n-- == 0) {
            return w + len + 1;
        }
    }
    return NULL;
}
