/* make.c - files of STATE/kernels, made once.
 *
 * Whoever makes holds kernels/lock: two at a time do the work once, and what lies about
 * while the lock is held was left by somebody who was killed.  A file is complete and on
 * the disk before it gets its name, and a name before a link leads to it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/tree.h"
#include "host/file.h"
#include "resource/image/image.h"
#include "resource/image/kernel/bzimage.h"
#include "resource/image/kernel/initramfs.h"
#include "resource/image/kernel/keep.h"
#include "resource/image/kernel/key.h"
#include "resource/image/kernel/unpack.h"

#define FILE_BYTES_MOST (512u << 20)
#define RELEASE_BYTES   128
#define RELEASE_AT      0x20eu /* of a bzImage: where its version's text is, less 0x200 */

struct making {
    const struct kernel_order *order;
    struct tree *tree; /* borrowed; NULL: none */
    struct key key;
    int dir;             /* STATE/kernels */
    char path[PATH_MAX]; /* of the kernel, in the tree or of the host */
    const uint8_t *file; /* mapped */
    size_t bytes;
    char release[RELEASE_BYTES]; /* "6.1.0-56-cloud-amd64"; "" unknown */
};

/* ---- which kernel ---- */

static int find_in_tree(struct making *m, struct err *e)
{
    char name[NAME_MAX + 1] = "";
    int r = m->tree == NULL ? -ENOENT : kernel_newest(m->tree, name);

    if (r == -ENOENT) {
        return err_set(e, -ENOENT, "the image has no kernel (boot/vmlinuz-*)");
    }
    (void)str_print(m->path, sizeof m->path, "boot/%s", name);
    return r < 0 ? err_sys(e, r, "cannot look for the image's kernel") : 0;
}

static void read_release(struct making *m)
{
    uint16_t at = 0;
    size_t n = 0;

    if (!bzimage_is(m->file, m->bytes)) {
        return;
    }
    memcpy(&at, m->file + RELEASE_AT, sizeof at);
    while (n + 1 < RELEASE_BYTES && (size_t)at + 0x200 + n < m->bytes) {
        char c = (char)m->file[(size_t)at + 0x200 + n];

        if (c <= ' ' || c == '/' || c > '~') {
            break;
        }
        m->release[n++] = c;
    }
    m->release[n] = '\0';
}

/* One that does not say it has its version in its name. */
static void name_release(struct making *m)
{
    const char *name = strstr(m->path, "vmlinuz-");

    if (m->release[0] == '\0' && m->order->file == NULL && name != NULL) {
        (void)str_print(m->release, sizeof m->release, "%s", name + strlen("vmlinuz-"));
    }
}

static int open_kernel(struct making *m, struct err *e)
{
    SCOPED(scope_close) int fd = -1;
    struct stat st;
    void *at;
    int r = m->order->file == NULL
                ? find_in_tree(m, e)
                : str_print(m->path, sizeof m->path, "%s", m->order->file);

    if (r < 0) {
        return r;
    }
    fd = m->order->file == NULL ? tree_open(m->tree, m->path)
                                : open(m->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        return err_sys(e, m->order->file == NULL && fd < 0 ? fd : -errno,
                       "cannot read the kernel '%s'", m->path);
    }
    if (!S_ISREG(st.st_mode) || st.st_size < 64 || st.st_size > FILE_BYTES_MOST) {
        return err_set(e, -EINVAL, "'%s' is no kernel", m->path);
    }
    at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (at == MAP_FAILED) {
        return err_sys(e, -errno, "cannot read the kernel '%s'", m->path);
    }
    m->file = at;
    m->bytes = (size_t)st.st_size;
    read_release(m);
    name_release(m);
    return 0;
}

/* ---- the kernel ---- */

/* Where the file itself is, as a path of this host. */
static int link_itself(struct making *m, struct err *e)
{
    SCOPED(scope_close)
    int fd = m->order->file == NULL ? tree_open(m->tree, m->path)
                                    : open(m->path, O_RDONLY | O_CLOEXEC);
    char proc[40], path[PATH_MAX];
    ssize_t n;

    (void)str_print(proc, sizeof proc, "/proc/self/fd/%d", fd);
    n = readlink(proc, path, sizeof path - 1);
    if (n < 0) {
        return err_sys(e, -errno, "cannot find '%s' again", m->path);
    }
    path[n] = '\0';
    return keep_link(m->dir, m->key.kernel, "kernel", path, e);
}

/* As it is. */
static int keep_itself(struct making *m, struct err *e)
{
    return m->order->is_fleeting
               ? keep_file(m->dir, m->key.kernel, "kernel", m->file, m->bytes, e)
               : link_itself(m, e);
}

static int make_kernel(struct making *m, struct err *e)
{
    struct bzimage b;
    uint8_t *plain = NULL, *file = NULL;
    size_t plain_bytes = 0, bytes = 0;
    int r;

    if (!bzimage_is(m->file, m->bytes)) {
        return keep_itself(m, e);
    }
    r = bzimage_read(m->file, m->bytes, &b, e);
    r = r < 0 ? r
              : unpack_confined(b.payload, b.payload_bytes, b.plain_bytes, &plain,
                                &plain_bytes, e);
    if (r == -ENOTSUP) {
        err_clear(e);
        return keep_itself(m, e);
    }
    if (r == 0) {
        r = bzimage_layout(&b, plain, plain_bytes, &file, &bytes, e);
        unpack_unmap(plain, b.plain_bytes);
    }
    r = r < 0 ? err_wrap(e, "cannot unpack the kernel '%s'", m->path)
              : keep_file(m->dir, m->key.kernel, "kernel", file, bytes, e);
    free(file);
    return r;
}

/* ---- its initramfs ---- */

/* lib/modules/RELEASE beside the directory of the kernel. */
static int modules_beside(const struct making *m, char out[PATH_MAX])
{
    SCOPED(scope_free) char *real = realpath(m->path, NULL);
    char *slash = real != NULL ? strrchr(real, '/') : NULL;

    if (slash == NULL) {
        return -ENOENT;
    }
    *slash = '\0';
    return str_print(out, PATH_MAX, "%s/../lib/modules/%s", real, m->release);
}

static int open_modules_dir(const struct making *m, struct tree **ret)
{
    char path[PATH_MAX];
    struct stat st;
    int r = m->order->modules != NULL
                ? str_print(path, sizeof path, "%s", m->order->modules)
            : m->release[0] != '\0' ? modules_beside(m, path)
                                    : -ENOENT;

    if (r < 0 || (m->order->modules == NULL && stat(path, &st) < 0)) {
        return -ENOENT;
    }
    return image_tree_dir(path, ret, NULL);
}

/* Where lib is a link, the directory lies below usr. */
static int compose_of_tree(const struct making *m, int agent, struct str *out,
                           struct err *e)
{
    static const char *const tops[] = {"usr/lib", "lib"};
    char dir[PATH_MAX];
    struct tree_stat st;

    for (size_t i = 0; i < sizeof tops / sizeof tops[0] && m->release[0] != '\0'; i++) {
        (void)str_print(dir, sizeof dir, "%s/modules/%s", tops[i], m->release);
        if (tree_stat(m->tree, dir, &st) == 0 && S_ISDIR(st.mode)) {
            return initramfs_compose(agent, m->tree, dir, out, e);
        }
    }
    return initramfs_compose(agent, NULL, NULL, out, e);
}

static int compose(const struct making *m, struct str *out, struct err *e)
{
    SCOPED(scope_close) int agent = open(m->order->agent, O_RDONLY | O_CLOEXEC);
    struct tree *dir = NULL;
    int r;

    if (agent < 0) {
        return err_sys(e, -errno, "cannot read the agent '%s'", m->order->agent);
    }
    if (m->order->file == NULL && m->order->modules == NULL) {
        return compose_of_tree(m, agent, out, e);
    }
    r = open_modules_dir(m, &dir);
    if (r < 0 && m->order->modules != NULL) {
        return err_sys(e, r, "cannot read the modules '%s'", m->order->modules);
    }
    r = initramfs_compose(agent, dir, "", out, e);
    tree_close(dir);
    return r;
}

static int make_initrd(const struct making *m, struct err *e)
{
    SCOPED(str_fini) struct str out = {0};
    int r = compose(m, &out, e);

    return r < 0 ? err_wrap(e, "cannot compose an initramfs")
                 : keep_file(m->dir, m->key.initrd, "initrd", out.data, out.len, e);
}

static int make(struct making *m, struct err *e)
{
    int r = open_kernel(m, e);

    if (r == 0 && !keep_has(m->dir, m->key.kernel, "kernel")) {
        r = make_kernel(m, e);
    }
    if (r == 0 && m->key.initrd[0] != '\0' &&
        !keep_has(m->dir, m->key.initrd, "initrd")) {
        r = make_initrd(m, e);
    }
    if (m->file != NULL) {
        (void)munmap((void *)(uintptr_t)m->file, m->bytes);
    }
    return r;
}

int kernel_make(const char *state, const struct kernel_order *o, struct tree *tree,
                struct kernel_ready *ret, struct err *e)
{
    struct making m = {.order = o, .tree = tree, .dir = -1};
    int lock = -1;
    int r = key_make(o, &m.key);

    if (r < 0) {
        return err_sys(e, r, "cannot look at the kernel '%s', its modules or the agent",
                       o->file != NULL ? o->file : "of the image");
    }
    r = keep_open(state, &m.dir, &lock, e);
    r = r < 0 ? r : make(&m, e);
    if (r == 0 && kernel_find(state, o, ret) < 0) {
        r = err_set(e, -EAGAIN, "a file of the kernel was changed meanwhile");
    }
    keep_close(m.dir, lock);
    return r;
}
