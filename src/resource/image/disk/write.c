/* write.c - files, directories and links of a tree into a file system. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "base/sha256.h"
#include "base/str.h"
#include "resource/image/disk/disk.h"
#include "resource/image/disk/ext4.h"
#include "resource/image/disk/nodes.h"

#define PIECE_BYTES (1u << 20)
#define GROUP_BYTES ((uint64_t)EXT4_GROUP_BLOCKS * EXT4_BLOCK)
#define ROOM_BYTES                                                                       \
    (UINT64_C(256) << 20) /* beside the files: tables, journal, free room */
#define JOURNAL_BLOCKS 4096u
#define ENTRY_HEAD     8u

struct writing {
    struct ext4 fs;
    struct nodes nodes;
    struct tree *tree;      /* borrowed */
    struct ext4_runs *runs; /* owned; of the file at hand */
    uint8_t *piece;         /* owned */
};

static void from_node(const struct node *n, struct ext4_inode *i)
{
    *i = (struct ext4_inode){.number = n->inode,
                             .mode = (uint16_t)n->st.mode,
                             .uid = n->st.uid,
                             .gid = n->st.gid,
                             .links = n->links,
                             .mtime = n->st.mtime};
}

static uint32_t blocks_of(uint64_t bytes)
{
    return (uint32_t)((bytes + EXT4_BLOCK - 1) / EXT4_BLOCK);
}

/* Blocks for `bytes` that are all in memory. */
static int put_small(struct writing *w, const void *bytes, size_t n, struct ext4_inode *i)
{
    const char *at = bytes;
    int r = ext4_take(&w->fs, blocks_of(n), w->runs);

    r = r < 0 ? r : ext4_place(&w->fs, w->runs, i);
    for (uint32_t k = 0; r == 0 && k < w->runs->n; k++) {
        size_t part = (size_t)w->runs->run[k].count * EXT4_BLOCK;

        part = part < n ? part : n;
        r = ext4_put(&w->fs, (uint64_t)w->runs->run[k].block * EXT4_BLOCK, at, part);
        at += part;
        n -= part;
    }
    i->size = (uint64_t)(at - (const char *)bytes);
    return r;
}

static bool is_zero(const uint8_t *bytes, size_t n)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, n - 1) == 0;
}

/* What is all zeros stays a hole. */
static int put_piece(struct writing *w, uint64_t at, size_t n)
{
    size_t from = 0; /* what is not written yet begins here */
    int r = 0;

    for (size_t done = 0; r == 0 && done < n;) {
        size_t part = n - done < EXT4_BLOCK ? n - done : EXT4_BLOCK;

        if (is_zero(w->piece + done, part)) {
            r = ext4_put(&w->fs, at + from, w->piece + from, done - from);
            from = done + part;
        }
        done += part;
    }
    return r == 0 && from < n ? ext4_put(&w->fs, at + from, w->piece + from, n - from)
                              : r;
}

static int copy_run(struct writing *w, int fd, const struct ext4_run *run)
{
    uint64_t left = (uint64_t)run->count * EXT4_BLOCK;
    uint64_t at = (uint64_t)run->block * EXT4_BLOCK;
    int r = 0;

    while (r == 0 && left > 0) {
        ssize_t n = read(fd, w->piece, left < PIECE_BYTES ? left : PIECE_BYTES);

        if (n == 0 || (n < 0 && errno != EINTR)) {
            return n == 0 ? 0 : -errno;
        }
        n = n < 0 ? 0 : n;
        r = put_piece(w, at, (size_t)n);
        at += (uint64_t)n;
        left -= (uint64_t)n;
    }
    return r;
}

static int put_file(struct writing *w, const struct node *n)
{
    SCOPED(scope_close) int fd = tree_open(w->tree, n->path);
    struct ext4_inode i;
    ssize_t cap;
    int r = fd < 0 ? fd : 0;

    from_node(n, &i);
    i.size = n->st.size;
    r = r < 0 ? r : ext4_take(&w->fs, blocks_of(i.size), w->runs);
    r = r < 0 ? r : ext4_place(&w->fs, w->runs, &i);
    for (uint32_t k = 0; r == 0 && k < w->runs->n; k++) {
        r = copy_run(w, fd, &w->runs->run[k]);
    }
    if (r < 0) {
        return r;
    }
    cap = fgetxattr(fd, "security.capability", i.capability, sizeof i.capability);
    i.capability_bytes = (uint8_t)(cap > 0 ? cap : 0);
    return ext4_put_inode(&w->fs, &i);
}

static int put_link(struct writing *w, const struct node *n)
{
    char target[TREE_PATH_MAX + 1];
    struct ext4_inode i;
    long len = tree_read_link(w->tree, n->path, target, sizeof target);
    int r = len < 0 ? (int)len : 0;

    from_node(n, &i);
    if (r == 0 && (size_t)len < sizeof i.place) {
        memcpy(i.place, target, (size_t)len);
        i.size = (uint64_t)len;
    } else if (r == 0) {
        r = put_small(w, target, (size_t)len, &i);
    }
    return r < 0 ? r : ext4_put_inode(&w->fs, &i);
}

/* Old numbers of devices in the first word, new ones in the second (Linux,
 * include/linux/kdev_t.h, new_encode_dev). */
static int put_special(struct writing *w, const struct node *n)
{
    struct ext4_inode i;
    uint32_t major = n->st.dev_major, minor = n->st.dev_minor;

    from_node(n, &i);
    if (S_ISCHR(n->st.mode) || S_ISBLK(n->st.mode)) {
        if (major < 256 && minor < 256) {
            ext4_set32(i.place, major << 8 | minor);
        } else {
            ext4_set32(i.place + 4, (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12);
        }
    }
    return ext4_put_inode(&w->fs, &i);
}

/* ---- directories ---- */

struct listing {
    struct str bytes; /* whole blocks but for the last */
    size_t last;      /* where the last entry begins */
};

static uint8_t type_of(uint32_t mode)
{
    return S_ISREG(mode)    ? 1
           : S_ISDIR(mode)  ? 2
           : S_ISCHR(mode)  ? 3
           : S_ISBLK(mode)  ? 4
           : S_ISFIFO(mode) ? 5
           : S_ISSOCK(mode) ? 6
                            : 7;
}

/* The last entry of a block reaches to its end. */
static void end_block(struct listing *l)
{
    static const char zeros[EXT4_BLOCK];
    size_t over = l->bytes.len % EXT4_BLOCK;

    if (over > 0) {
        str_add_bytes(&l->bytes, zeros, EXT4_BLOCK - over);
    }
    if (!str_failed(&l->bytes)) {
        ext4_set16((uint8_t *)l->bytes.data + l->last + 4,
                   (uint32_t)(l->bytes.len - l->last));
    }
}

static void add_entry(struct listing *l, uint32_t inode, const char *name, uint32_t mode)
{
    static const char zeros[4];
    uint8_t head[ENTRY_HEAD];
    size_t n = strlen(name);
    size_t bytes = ENTRY_HEAD + ((n + 3) & ~(size_t)3);

    if (EXT4_BLOCK - l->bytes.len % EXT4_BLOCK < bytes && l->bytes.len > 0) {
        end_block(l);
    }
    l->last = l->bytes.len;
    ext4_set32(head, inode);
    ext4_set16(head + 4, (uint32_t)bytes);
    head[6] = (uint8_t)n;
    head[7] = type_of(mode);
    str_add_bytes(&l->bytes, head, sizeof head);
    str_add_bytes(&l->bytes, name, n);
    str_add_bytes(&l->bytes, zeros, bytes - ENTRY_HEAD - n);
}

static int put_listing(struct writing *w, struct listing *l, struct ext4_inode *i)
{
    int r;

    end_block(l);
    r = str_failed(&l->bytes) ? -ENOMEM : put_small(w, l->bytes.data, l->bytes.len, i);
    str_fini(&l->bytes);
    return r < 0 ? r : ext4_put_inode(&w->fs, i);
}

static int put_dir(struct writing *w, const struct node *n)
{
    const struct node *all = w->nodes.all;
    struct listing l = {0};
    struct ext4_inode i;

    from_node(n, &i);
    add_entry(&l, n->inode, ".", S_IFDIR);
    add_entry(&l, all[n->parent].inode, "..", S_IFDIR);
    if (n->inode == NODES_ROOT) {
        add_entry(&l, NODES_FOUND, "lost+found", S_IFDIR);
    }
    for (size_t k = n->first; k < n->first + n->n; k++) {
        add_entry(&l, all[k].inode, all[k].name, all[k].st.mode);
    }
    return put_listing(w, &l, &i);
}

static int put_found(struct writing *w)
{
    struct ext4_inode i = {
        .number = NODES_FOUND, .mode = S_IFDIR | 0700, .links = 2, .mtime = w->fs.time};
    struct listing l = {0};

    add_entry(&l, NODES_FOUND, ".", S_IFDIR);
    add_entry(&l, NODES_ROOT, "..", S_IFDIR);
    return put_listing(w, &l, &i);
}

static int put_node(struct writing *w, const struct node *n)
{
    return n->again              ? 0
           : S_ISDIR(n->st.mode) ? put_dir(w, n)
           : S_ISREG(n->st.mode) ? put_file(w, n)
           : S_ISLNK(n->st.mode) ? put_link(w, n)
                                 : put_special(w, n);
}

static uint64_t choose_size(const struct disk_order *o, const struct nodes *n)
{
    uint64_t least = n->bytes + n->bytes / 4 + n->n * EXT4_BLOCK + ROOM_BYTES;
    uint64_t inodes = (uint64_t)n->inodes * 5 / 4 * (GROUP_BYTES / EXT4_GROUP_INODES);
    uint64_t want = o->bytes != 0 ? o->bytes : DISK_USUAL_BYTES;

    least = least > inodes ? least : inodes;
    want = want > least ? want : least;
    return (want + GROUP_BYTES - 1) / GROUP_BYTES * GROUP_BYTES;
}

static int write_all(struct writing *w, const struct disk_order *o, int fd, struct err *e)
{
    uint8_t sum[SHA256_BYTES];
    int r = ext4_init(&w->fs, fd, choose_size(o, &w->nodes), e);

    if (r < 0) {
        return r;
    }
    sha256_sum(o->seed, strlen(o->seed), sum);
    memcpy(w->fs.id, sum, sizeof w->fs.id);
    w->fs.id[6] = (uint8_t)((w->fs.id[6] & 0xf) | 0x80); /* RFC 9562, 5.8 */
    w->fs.id[8] = (uint8_t)((w->fs.id[8] & 0x3f) | 0x80);
    w->fs.time = w->nodes.all[0].st.mtime;
    r = ext4_put_journal(&w->fs, JOURNAL_BLOCKS);
    r = r < 0 ? r : put_found(w);
    for (size_t i = 0; r == 0 && i < w->nodes.n; i++) {
        r = put_node(w, &w->nodes.all[i]);
        if (r < 0) {
            return err_sys(e, r, "cannot write '%.200s' to the disk",
                           w->nodes.all[i].path);
        }
    }
    r = r < 0 ? r : ext4_finish(&w->fs);
    return r < 0 ? err_sys(e, r, "cannot write the disk") : 0;
}

int image_disk_write(const struct disk_order *o, int fd, uint64_t *ret_bytes,
                     struct err *e)
{
    struct writing w = {.tree = o->tree};
    int r = nodes_read(o->tree, &w.nodes, e);

    if (r < 0) {
        return r;
    }
    w.runs = fault_malloc(sizeof *w.runs);
    w.piece = fault_malloc(PIECE_BYTES);
    r = w.runs == NULL || w.piece == NULL ? err_set(e, -ENOMEM, "out of memory")
                                          : write_all(&w, o, fd, e);
    if (r == 0) {
        *ret_bytes = w.fs.groups * GROUP_BYTES;
    }
    ext4_fini(&w.fs);
    nodes_fini(&w.nodes);
    free(w.runs);
    free(w.piece);
    return r;
}
