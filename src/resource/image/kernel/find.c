/* find.c - what was made before, found by looking at files from outside only. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/scope.h"
#include "base/str.h"
#include "contract/tree.h"
#include "resource/image/kernel/key.h"

#define MAGIC_AT    0x202u /* "HdrS" of a bzImage */
#define MAGIC_BYTES 4u

static int add_file(struct str *text, const char *what, const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0) {
        return -errno;
    }
    str_addf(text, "%s %llx %llx %llx %lld.%09ld %lld.%09ld\n", what,
             (unsigned long long)st.st_dev, (unsigned long long)st.st_ino,
             (unsigned long long)st.st_size, (long long)st.st_mtim.tv_sec,
             st.st_mtim.tv_nsec, (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
    return 0;
}

/* A directory of modules changes with its lists. */
static int add_modules(struct str *text, const char *path)
{
    char list[PATH_MAX];
    int r = add_file(text, "modules", path);

    if (r == 0 && str_print(list, sizeof list, "%s/modules.dep", path) == 0) {
        (void)add_file(text, "dep", list);
    }
    if (r == 0 && str_print(list, sizeof list, "%s/modules.order", path) == 0) {
        (void)add_file(text, "order", list);
    }
    return r;
}

static int sum(const struct str *text, char ret[SHA256_HEX_BYTES])
{
    uint8_t digest[SHA256_BYTES];

    if (str_failed(text)) {
        return -ENOMEM;
    }
    sha256_sum(text->data, text->len, digest);
    sha256_hex(digest, ret);
    return 0;
}

int key_make(const struct kernel_order *o, struct key *ret)
{
    SCOPED(str_fini) struct str text = {0};
    int r = 0;

    ret->initrd[0] = '\0';
    str_addf(&text, "version %d\n", KEY_VERSION);
    if (o->tree_id != NULL) {
        str_addf(&text, "tree %s\n", o->tree_id);
    }
    r = o->file != NULL ? add_file(&text, "kernel", o->file) : 0;
    r = r < 0 ? r : sum(&text, ret->kernel);
    if (r < 0 || o->agent == NULL) {
        return r;
    }
    r = o->modules != NULL ? add_modules(&text, o->modules) : 0;
    r = r < 0 ? r : add_file(&text, "agent", o->agent);
    return r < 0 ? r : sum(&text, ret->initrd);
}

int key_path(const char *state, const char *key, const char *what, char *path)
{
    return str_print(path, PATH_MAX, "%s/kernels/of/%s.%s", state, key, what);
}

/* What the link of a key leads to; -ENOENT when it leads nowhere. */
static int follow(const char *state, const char *key, const char *what, char **ret)
{
    char link[PATH_MAX];
    int r = key_path(state, key, what, link);

    if (r < 0) {
        return r;
    }
    *ret = realpath(link, NULL);
    return *ret == NULL ? -errno : 0;
}

/* Whether it must be unpacked to be booted quickly. */
static bool is_packed(const char *path)
{
    SCOPED(scope_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    char magic[MAGIC_BYTES];

    return fd < 0 || (pread(fd, magic, sizeof magic, MAGIC_AT) == (ssize_t)sizeof magic &&
                      memcmp(magic, "HdrS", sizeof magic) == 0);
}

int kernel_find(const char *state, const struct kernel_order *o, struct kernel_ready *ret)
{
    struct kernel_ready out = {0};
    struct key key;
    int r = key_make(o, &key);

    if (r == 0 && o->file != NULL && !is_packed(o->file)) {
        out.kernel = realpath(o->file, NULL);
        r = out.kernel == NULL ? -errno : 0;
    } else if (r == 0) {
        r = follow(state, key.kernel, "kernel", &out.kernel);
    }
    if (r == 0 && key.initrd[0] != '\0') {
        r = follow(state, key.initrd, "initrd", &out.initrd);
    }
    if (r < 0) {
        kernel_ready_fini(&out);
        return r;
    }
    *ret = out;
    return 0;
}

void kernel_ready_fini(struct kernel_ready *r)
{
    free(r->kernel);
    free(r->initrd);
    *r = (struct kernel_ready){0};
}

/* What a package manager that was cut off, or an editor, leaves behind. */
static bool is_left_over(const char *name)
{
    static const char *const ends[] = {".dpkg-new", ".dpkg-tmp", ".dpkg-old", ".rpmnew",
                                       ".rpmsave",  ".old",      ".bak",      "~"};
    size_t len = strlen(name);
    bool is = false;

    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        size_t end = strlen(ends[i]);

        is |= len > end && strcmp(name + len - end, ends[i]) == 0;
    }
    return is;
}

static int see_name(void *arg, const char *name)
{
    char *newest = arg;

    if (str_starts(name, "vmlinuz-") && !is_left_over(name) &&
        strverscmp(name, newest) > 0) {
        (void)str_print(newest, NAME_MAX + 1, "%s", name);
    }
    return 0;
}

int kernel_newest(struct tree *t, char ret_name[NAME_MAX + 1])
{
    int r;

    ret_name[0] = '\0';
    r = tree_list(t, "boot", see_name, ret_name);
    return r == -ENOTDIR || (r == 0 && ret_name[0] == '\0') ? -ENOENT : r;
}
