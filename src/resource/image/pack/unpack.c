/* unpack.c - each layer of an image is unpacked once, for all guests.
 *
 * A layer is filled as layers/.new-RANDOM/fs, checked against its digest, and
 * renamed to layers/CHAIN.  Of two commands that race, the second finds the name
 * taken and throws its own copy away.  The temporary is locked (flock) by its
 * maker: an unlocked one was left by a killed command, and the next removes it.
 *
 * Nobody waits for the disk.  The symbolic link layers/CHAIN/boot (its target
 * lies in the inode, so it is there whole or not at all) names the boot of the
 * host that made the layer; `pack_settle` syncs the file system in the background
 * and then removes the link.  A layer whose link names another boot may lack
 * bytes: it counts as not unpacked and is made anew.
 *
 * layers/ carries the mark "top of hierarchies" (chattr +T): ext4 then begins each
 * layer in another group of inodes.  Without it new files share a group with those of
 * trees deleted a moment ago, and ext4 (ialloc.c, recently_deleted there) looks at
 * every one of these before it takes an inode: 0.3 ms a file instead of 0.02.  Rejected: fsync of each
 * file (8,000 for Debian), and syncing first (0.1 to 2 s more until the start). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "base/word.h"
#include "host/file.h"
#include "resource/image/pack/extract.h"
#include "resource/image/pack/pack_private.h"
#include "resource/image/pack/tar_read.h"

#define TELL_BYTES (4u << 20) /* stored bytes between two progress lines */

struct source_limits pack_limits(const struct pack *p)
{
    return (struct source_limits){
        .max_bytes = p->max_bytes != 0 ? p->max_bytes : PACK_MAX_BYTES_DEFAULT,
        .max_ratio = p->max_ratio != 0 ? p->max_ratio : PACK_MAX_RATIO_DEFAULT,
    };
}

uint64_t pack_max_entries(const struct pack *p)
{
    return p->max_entries != 0 ? p->max_entries : PACK_MAX_ENTRIES_DEFAULT;
}

void pack_tell(const struct pack *p, const char *what, const char *object, uint64_t done,
               uint64_t total)
{
    if (p->progress != NULL) {
        p->progress(p->arg, what, object, done, total);
    }
}

/* One layer on its way. */
struct unpack {
    const struct pack *p;
    const struct image_layer *layer;
    struct source *source;
    char tmp[32]; /* name below layers/ */
    int dir;      /* of the temporary; holds its lock */
    int root;     /* its fs/ */
    uint64_t told;
};

static int next_piece(void *arg, const uint8_t **ret, size_t *ret_len, struct err *e)
{
    struct unpack *u = arg;
    int r = source_next(u->source, ret, ret_len, e);
    uint64_t done = source_stored(u->source);

    if (done - u->told >= TELL_BYTES) {
        u->told = done;
        pack_tell(u->p, "unpack", u->layer->blob.digest, done, u->layer->blob.size);
    }
    return r;
}

/* Temporaries that nobody locks. */
static void remove_stale(struct image_store *s)
{
    int fd = openat(s->layers, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    SCOPED(scope_dir) DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *x;

    while (d != NULL && (x = readdir(d)) != NULL) {
        if (!str_starts(x->d_name, ".new-")) {
            continue;
        }
        fd =
            openat(s->layers, x->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) {
            (void)file_remove_tree(s->layers, x->d_name);
        }
        scope_close(&fd);
    }
}

/* Other file systems know no such mark, and need none. */
static void spread_layers(int layers)
{
    int flags = 0;

    if (ioctl(layers, FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_TOPDIR_FL) == 0) {
        flags |= FS_TOPDIR_FL;
        (void)ioctl(layers, FS_IOC_SETFLAGS, &flags);
    }
}

/* Made under another name first: nobody may see it before it is locked. */
static int make_tmp(struct unpack *u)
{
    int layers = u->p->store->layers;
    char id[17], first[32];
    int r = word_random_id(id, 16);

    if (r < 0) {
        return r;
    }
    spread_layers(layers);
    (void)str_print(first, sizeof first, ".mk-%s", id);
    (void)str_print(u->tmp, sizeof u->tmp, ".new-%s", id);
    if (mkdirat(layers, first, 0700) < 0) {
        return -errno;
    }
    u->dir = openat(layers, first, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (u->dir < 0 || flock(u->dir, LOCK_EX) < 0 || mkdirat(u->dir, "fs", 0755) < 0 ||
        renameat(layers, first, layers, u->tmp) < 0) {
        r = -errno;
        (void)file_remove_tree(layers, first);
        return r;
    }
    u->root = openat(u->dir, "fs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return u->root < 0 ? -errno : 0;
}

static int run_extract(struct unpack *u, const int *below, size_t n_below, struct err *e)
{
    struct extract_opts o = {.root = u->root,
                             .below = below,
                             .n_below = n_below,
                             .max_entries = pack_max_entries(u->p),
                             .max_bytes = pack_limits(u->p).max_bytes};
    struct tar_read *t = NULL;
    struct extract *x = NULL;
    int r = tar_read_create(next_piece, u, &t, e);

    r = r < 0 ? r : extract_create(&o, &x, e);
    r = r < 0 ? r : extract_run(x, t, e);
    extract_destroy(x);
    tar_read_destroy(t);
    return r;
}

/* Fill the temporary and check that the tar was the one the image names. */
static int fill(struct unpack *u, const int *below, size_t n_below, struct err *e)
{
    SCOPED(scope_close) int fd = -1;
    struct source_limits limits = pack_limits(u->p);
    char digest[IMAGE_DIGEST_BYTES];
    uint64_t bytes;
    mode_t mask = umask(0);
    int r = pack_blob_open(u->p->store, u->layer->blob.digest, &fd, NULL, e);

    r = r < 0 ? r : source_open(fd, &limits, &u->source, e);
    r = r < 0 ? r : run_extract(u, below, n_below, e);
    r = r < 0 ? r : source_finish(u->source, digest, &bytes, e);
    (void)umask(mask);
    source_close(u->source);
    u->source = NULL;
    if (r == 0 && strcmp(digest, u->layer->diff_id) != 0) {
        r = err_set(e, -EBADMSG, "its plain content has the digest %s instead of %s",
                    digest, u->layer->diff_id);
    }
    return r;
}

static int publish(struct unpack *u, struct err *e)
{
    int layers = u->p->store->layers;
    const char *name = u->layer->chain + 7;
    char boot[STORE_BOOT_BYTES];
    int r = fault_step("image.layer.rename");

    store_boot_id(boot);
    if (r == 0 &&
        (boot[0] == '\0' ? syncfs(u->root) : symlinkat(boot, u->dir, "boot")) < 0) {
        r = -errno;
    }
    if (r == 0 && renameat2(layers, u->tmp, layers, name, RENAME_NOREPLACE) < 0) {
        r = -errno;
    }
    if (r == -EEXIST) {
        return file_remove_tree(layers, u->tmp);
    }
    return r < 0 ? err_sys(e, r, "cannot put it in place") : 0;
}

static int unpack_layer(const struct pack *p, const struct image_layer *layer,
                        const int *below, size_t n_below, struct err *e)
{
    struct unpack u = {.p = p, .layer = layer, .dir = -1, .root = -1};
    int r = make_tmp(&u);

    if (r < 0) {
        r = err_sys(e, r, "cannot make a folder in '%s/layers'", p->store->state);
    } else {
        r = fill(&u, below, n_below, e);
        r = r < 0 ? r : publish(&u, e);
    }
    if (r < 0 && u.tmp[0] != '\0') {
        (void)file_remove_tree(p->store->layers, u.tmp);
    }
    scope_close(&u.root);
    scope_close(&u.dir);
    return r < 0 ? err_wrap(e, "cannot unpack layer %s", layer->blob.digest) : 0;
}

/* Put a layer that the last boot left unsynced out of the way. */
static int drop_stale(struct image_store *s, const char *hex)
{
    char old[32], id[17];
    int r = word_random_id(id, 16);

    (void)str_print(old, sizeof old, ".old-%s", id);
    if (r == 0 && renameat(s->layers, hex, s->layers, old) < 0) {
        r = -errno;
    }
    return r < 0 ? r : file_remove_tree(s->layers, old);
}

static int open_layer(struct image_store *s, const struct image_layer *layer)
{
    char path[IMAGE_DIGEST_BYTES + 8], boot[STORE_BOOT_BYTES] = "";
    int fd;

    if (store_layer_ready(s, layer->chain + 7, boot) == -ESTALE) {
        int r = drop_stale(s, layer->chain + 7);

        return r < 0 ? r : -ENOENT;
    }
    (void)str_print(path, sizeof path, "%s/fs", layer->chain + 7);
    fd = openat(s->layers, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

int pack_unpack(const struct pack *p, const struct image *img, struct err *e)
{
    size_t n = img->n_layers;
    /* Open roots, the topmost of those so far at roots[n - 1 - i]. */
    SCOPED(scope_free) int *roots = fault_malloc((n + 1) * sizeof *roots);
    size_t i = 0;
    int r = roots == NULL ? err_set(e, -ENOMEM, "out of memory")
                          : store_busy_begin(p->store, e);

    if (r < 0) {
        return r;
    }
    remove_stale(p->store);
    for (; i < n && r == 0; i++) {
        const struct image_layer *l = &img->layers[i];
        int *root = &roots[n - 1 - i];

        *root = open_layer(p->store, l);
        if (*root == -ENOENT) {
            r = unpack_layer(p, l, root + 1, i, e);
            *root = r < 0 ? -1 : open_layer(p->store, l);
        }
        if (r == 0 && *root < 0) {
            r = err_sys(e, *root, "cannot open layer %s", l->chain);
        }
    }
    while (i-- > 0) {
        scope_close(&roots[n - 1 - i]);
    }
    store_busy_end(p->store);
    return r;
}

/* The layers that wait for a sync, by their names below layers/. */
static int list_unsynced(struct image_store *s, struct strv *ret)
{
    int fd = openat(s->layers, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    SCOPED(scope_dir) DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *x;

    while (d != NULL && (x = readdir(d)) != NULL) {
        char path[NAME_MAX + 8];

        (void)str_print(path, sizeof path, "%s/boot", x->d_name);
        if (x->d_name[0] != '.' &&
            faccessat(s->layers, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
            strv_add(ret, path);
        }
    }
    return d == NULL || strv_failed(ret) ? -ENOMEM : 0;
}

bool pack_is_settled(const struct pack *p)
{
    SCOPED(strv_fini) struct strv paths = {0};

    return list_unsynced(p->store, &paths) == 0 && paths.n == 0;
}

void pack_settle(const struct pack *p)
{
    SCOPED(strv_fini) struct strv paths = {0};

    if (list_unsynced(p->store, &paths) < 0 || paths.n == 0 ||
        syncfs(p->store->layers) < 0) {
        return;
    }
    for (size_t i = 0; i < paths.n; i++) {
        (void)unlinkat(p->store->layers, paths.items[i], 0);
    }
}
