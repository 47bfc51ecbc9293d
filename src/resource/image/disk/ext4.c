/* ext4.c - blocks, inodes and the tables over them. */
#include "resource/image/disk/ext4.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/image/disk/nodes.h"

#define INODE_BLOCKS    (EXT4_GROUP_INODES * EXT4_INODE_BYTES / EXT4_BLOCK)
#define DESC_BYTES      32u
#define GROUPS_MOST     8192u /* 1 TiB */
#define RUN_MOST        32768u
#define EXTENT_MAGIC    0xf30au
#define EXTENTS_FLAG    0x80000u
#define ATTRIBUTE_MAGIC 0xea020000u
#define SECURITY_INDEX  6u
#define JOURNAL_INODE   8u
#define JOURNAL_MAGIC   0xc03b3998u
#define SUPER_AT        1024u
#define EXTRA_BYTES     32u

void ext4_set16(uint8_t *at, uint32_t v)
{
    at[0] = (uint8_t)v;
    at[1] = (uint8_t)(v >> 8);
}

void ext4_set32(uint8_t *at, uint32_t v)
{
    ext4_set16(at, v);
    ext4_set16(at + 2, v >> 16);
}

int ext4_put(struct ext4 *x, uint64_t at, const void *bytes, size_t n)
{
    const char *from = bytes;

    while (n > 0) {
        ssize_t done = pwrite(x->fd, from, n, (off_t)at);

        if (done < 0 && errno != EINTR) {
            return -errno;
        }
        done = done < 0 ? 0 : done;
        from += done;
        at += (uint64_t)done;
        n -= (size_t)done;
    }
    return 0;
}

static void mark(uint8_t *bits, uint32_t i)
{
    bits[i / 8] |= (uint8_t)(1u << i % 8);
}

static bool is_marked(const uint8_t *bits, uint32_t i)
{
    return (bits[i / 8] >> i % 8 & 1) != 0;
}

/* "sparse_super": copies in the groups 0, 1 and the powers of 3, 5 and 7. */
static bool has_super(uint32_t group)
{
    static const uint32_t bases[] = {3, 5, 7};

    for (unsigned i = 0; i < 3; i++) {
        uint32_t v = bases[i];

        while (v < group) {
            v *= bases[i];
        }
        if (v == group) {
            return true;
        }
    }
    return group <= 1;
}

static void lay_out_group(struct ext4 *x, uint32_t g)
{
    struct ext4_group *p = &x->group[g];
    uint32_t end;

    p->first = g * EXT4_GROUP_BLOCKS;
    p->bitmaps = p->first + (has_super(g) ? 1 + x->table_blocks : 0);
    p->free_blocks = EXT4_GROUP_BLOCKS;
    p->free_inodes = EXT4_GROUP_INODES;
    end = p->bitmaps + 2 + INODE_BLOCKS;
    for (uint32_t b = p->first; b < end; b++) {
        mark(x->block_used, b);
        p->free_blocks--;
    }
}

int ext4_init(struct ext4 *x, int fd, uint64_t bytes, struct err *e)
{
    uint64_t groups = bytes / EXT4_BLOCK / EXT4_GROUP_BLOCKS;

    if (groups == 0 || groups > GROUPS_MOST) {
        return err_set(e, -EINVAL, "a disk has 128 MiB to 1 TiB");
    }
    *x = (struct ext4){.fd = fd, .groups = (uint32_t)groups};
    x->table_blocks = (x->groups * DESC_BYTES + EXT4_BLOCK - 1) / EXT4_BLOCK;
    x->group = fault_calloc(groups, sizeof *x->group);
    x->block_used = fault_calloc(groups, EXT4_GROUP_BLOCKS / 8);
    x->inode_used = fault_calloc(groups, EXT4_GROUP_INODES / 8);
    if (x->group == NULL || x->block_used == NULL || x->inode_used == NULL) {
        ext4_fini(x);
        return err_set(e, -ENOMEM, "out of memory");
    }
    for (uint32_t g = 0; g < x->groups; g++) {
        lay_out_group(x, g);
    }
    for (uint32_t i = 1; i < NODES_FOUND; i++) { /* reserved ones */
        mark(x->inode_used, i - 1);
        x->group[0].free_inodes--;
    }
    return ftruncate(fd, (off_t)(groups * EXT4_GROUP_BLOCKS * EXT4_BLOCK)) < 0
               ? err_sys(e, -errno, "cannot make the disk")
               : 0;
}

void ext4_fini(struct ext4 *x)
{
    free(x->group);
    free(x->block_used);
    free(x->inode_used);
    *x = (struct ext4){.fd = -1};
}

int ext4_take(struct ext4 *x, uint32_t count, struct ext4_runs *ret)
{
    uint32_t end = x->groups * EXT4_GROUP_BLOCKS;

    ret->n = 0;
    ret->leaf = 0;
    while (count > 0) {
        struct ext4_run *last = ret->n > 0 ? &ret->run[ret->n - 1] : NULL;

        while (x->next < end && is_marked(x->block_used, x->next)) {
            x->next++;
        }
        if (x->next == end) {
            return -ENOSPC;
        }
        if (last != NULL && last->block + last->count == x->next &&
            last->count < RUN_MOST) {
            last->count++;
        } else if (ret->n == EXT4_EXTENTS_MOST) {
            return -EFBIG;
        } else {
            ret->run[ret->n++] = (struct ext4_run){x->next, 1};
        }
        mark(x->block_used, x->next);
        x->group[x->next / EXT4_GROUP_BLOCKS].free_blocks--;
        count--;
    }
    return 0;
}

static void put_extents(const struct ext4_runs *r, uint32_t room, uint8_t *out)
{
    uint32_t logical = 0;

    ext4_set16(out, EXTENT_MAGIC);
    ext4_set16(out + 2, r->n);
    ext4_set16(out + 4, room);
    for (uint32_t i = 0; i < r->n; i++) {
        uint8_t *at = out + 12 + 12 * (size_t)i;

        ext4_set32(at, logical);
        ext4_set16(at + 4, r->run[i].count);
        ext4_set32(at + 8, r->run[i].block);
        logical += r->run[i].count;
    }
}

int ext4_place(struct ext4 *x, const struct ext4_runs *r, struct ext4_inode *i)
{
    uint8_t leaf[EXT4_BLOCK] = {0};
    struct ext4_runs *one;
    int result;

    i->extents = true;
    for (uint32_t n = 0; n < r->n; n++) {
        i->blocks += r->run[n].count;
    }
    if (r->n <= 4) {
        put_extents(r, 4, i->place);
        return 0;
    }
    one = fault_malloc(sizeof *one);
    result = one == NULL ? -ENOMEM : ext4_take(x, 1, one);
    if (result == 0) {
        put_extents(r, EXT4_EXTENTS_MOST, leaf);
        result = ext4_put(x, (uint64_t)one->run[0].block * EXT4_BLOCK, leaf, sizeof leaf);
        ext4_set16(i->place, EXTENT_MAGIC);
        ext4_set16(i->place + 2, 1);
        ext4_set16(i->place + 4, 4);
        ext4_set16(i->place + 6, 1); /* one level down */
        ext4_set32(i->place + 16, one->run[0].block);
        i->blocks++;
    }
    free(one);
    return result;
}

/* In the inode, behind its fields: attributes.rst.  The value stands at the end. */
static void put_capability(const struct ext4_inode *i, uint8_t *out)
{
    uint8_t *entry = out + 128 + EXTRA_BYTES + 4;
    uint32_t room = (uint32_t)(out + EXT4_INODE_BYTES - entry);
    uint32_t at = (room - i->capability_bytes) & ~3u;

    ext4_set32(entry - 4, ATTRIBUTE_MAGIC);
    entry[0] = 10;
    entry[1] = SECURITY_INDEX;
    ext4_set16(entry + 2, at);
    ext4_set32(entry + 8, i->capability_bytes);
    memcpy(entry + 16, "capability", 10);
    memcpy(entry + at, i->capability, i->capability_bytes);
}

int ext4_put_inode(struct ext4 *x, const struct ext4_inode *i)
{
    uint32_t index = i->number - 1;
    struct ext4_group *g = &x->group[index / EXT4_GROUP_INODES];
    uint32_t epoch = (uint32_t)((i->mtime - (int32_t)i->mtime) >> 32) & 3;
    uint8_t out[EXT4_INODE_BYTES] = {0};

    if (!is_marked(x->inode_used, index)) {
        mark(x->inode_used, index);
        g->free_inodes--;
    }
    g->dirs += S_ISDIR(i->mode) ? 1 : 0;
    ext4_set16(out, i->mode);
    ext4_set16(out + 2, i->uid);
    ext4_set32(out + 4, (uint32_t)i->size);
    for (unsigned at = 8; at <= 16; at += 4) { /* access, change, modification */
        ext4_set32(out + at, (uint32_t)i->mtime);
        ext4_set32(out + 132 + at - 8, epoch);
    }
    ext4_set16(out + 24, i->gid);
    ext4_set16(out + 26, i->links > 65000 ? 1 : i->links);
    ext4_set32(out + 28, i->blocks * (EXT4_BLOCK / 512));
    ext4_set32(out + 32, i->extents ? EXTENTS_FLAG : 0);
    memcpy(out + 40, i->place, sizeof i->place);
    ext4_set32(out + 108, (uint32_t)(i->size >> 32));
    ext4_set16(out + 120, i->uid >> 16);
    ext4_set16(out + 122, i->gid >> 16);
    ext4_set16(out + 128, EXTRA_BYTES);
    ext4_set32(out + 144, (uint32_t)i->mtime);
    if (i->capability_bytes > 0) {
        put_capability(i, out);
    }
    return ext4_put(x,
                    (uint64_t)(g->bitmaps + 2) * EXT4_BLOCK +
                        (uint64_t)(index % EXT4_GROUP_INODES) * EXT4_INODE_BYTES,
                    out, sizeof out);
}

static void set32_big(uint8_t *at, uint32_t v)
{
    ext4_set32(at, __builtin_bswap32(v));
}

int ext4_put_journal(struct ext4 *x, uint32_t blocks)
{
    struct ext4_inode i = {.number = JOURNAL_INODE,
                           .mode = S_IFREG | 0600,
                           .links = 1,
                           .size = (uint64_t)blocks * EXT4_BLOCK,
                           .mtime = x->time};
    struct ext4_runs *r = fault_malloc(sizeof *r);
    uint8_t super[EXT4_BLOCK] = {0};
    int result = r == NULL ? -ENOMEM : ext4_take(x, blocks, r);

    result = result < 0 ? result : ext4_place(x, r, &i);
    result = result < 0 ? result : ext4_put_inode(x, &i);
    if (result == 0) {
        set32_big(super, JOURNAL_MAGIC);
        set32_big(super + 4, 4); /* the second version of its superblock */
        set32_big(super + 12, EXT4_BLOCK);
        set32_big(super + 16, blocks);
        set32_big(super + 20, 1); /* first block of the log, */
        set32_big(super + 24, 1); /* first transaction; it is empty */
        set32_big(super + 64, 1); /* users */
        memcpy(x->journal, i.place, sizeof x->journal);
        x->journal_blocks = blocks;
        result = ext4_put(x, (uint64_t)r->run[0].block * EXT4_BLOCK, super, sizeof super);
    }
    free(r);
    return result;
}

/* ---- the end ---- */

static void fill_super(const struct ext4 *x, uint32_t group, uint8_t *out)
{
    uint32_t blocks = 0, inodes = 0;

    for (uint32_t g = 0; g < x->groups; g++) {
        blocks += x->group[g].free_blocks;
        inodes += x->group[g].free_inodes;
    }
    ext4_set32(out, x->groups * EXT4_GROUP_INODES);
    ext4_set32(out + 4, x->groups * EXT4_GROUP_BLOCKS);
    ext4_set32(out + 12, blocks);
    ext4_set32(out + 16, inodes);
    ext4_set32(out + 24, 2); /* 1024 << 2 */
    ext4_set32(out + 28, 2);
    ext4_set32(out + 32, EXT4_GROUP_BLOCKS);
    ext4_set32(out + 36, EXT4_GROUP_BLOCKS);
    ext4_set32(out + 40, EXT4_GROUP_INODES);
    ext4_set32(out + 48, (uint32_t)x->time);
    ext4_set16(out + 54, 0xffff); /* no check after so many mounts */
    ext4_set16(out + 56, 0xef53);
    ext4_set16(out + 58, 1); /* clean */
    ext4_set16(out + 60, 1); /* errors: go on */
    ext4_set32(out + 64, (uint32_t)x->time);
    ext4_set32(out + 76, 1); /* revision */
    ext4_set32(out + 84, NODES_FOUND);
    ext4_set16(out + 88, EXT4_INODE_BYTES);
    ext4_set16(out + 90, group);
    ext4_set32(out + 92, 0x2c);  /* has_journal, ext_attr, dir_index */
    ext4_set32(out + 96, 0x42);  /* filetype, extents */
    ext4_set32(out + 100, 0x63); /* sparse_super, large_file, dir_nlink, extra_isize */
    memcpy(out + 104, x->id, sizeof x->id);
    ext4_set32(out + 224, JOURNAL_INODE);
    memcpy(out + 236, x->id, sizeof x->id); /* seed of hashes in directories */
    out[252] = 1;                           /* half MD4 */
    out[253] = 1;                           /* a copy of the journal's inode follows */
    ext4_set32(out + 256, 0xc);             /* user_xattr, acl */
    ext4_set32(out + 264, (uint32_t)x->time);
    memcpy(out + 268, x->journal, sizeof x->journal);
    ext4_set32(out + 268 + 64, x->journal_blocks * EXT4_BLOCK);
    ext4_set16(out + 348, EXTRA_BYTES);
    ext4_set16(out + 350, EXTRA_BYTES);
    ext4_set32(out + 352, 1); /* hashes of signed characters */
}

static int put_supers(struct ext4 *x, const uint8_t *table)
{
    int r = 0;

    for (uint32_t g = 0; r == 0 && g < x->groups; g++) {
        uint8_t super[1024] = {0};
        uint64_t at = (uint64_t)x->group[g].first * EXT4_BLOCK;

        if (!has_super(g)) {
            continue;
        }
        fill_super(x, g, super);
        r = ext4_put(x, at + (g == 0 ? SUPER_AT : 0), super, sizeof super);
        r = r < 0 ? r
                  : ext4_put(x, at + EXT4_BLOCK, table,
                             (size_t)x->table_blocks * EXT4_BLOCK);
    }
    return r;
}

static int put_bitmaps(struct ext4 *x, uint32_t g)
{
    uint8_t inodes[EXT4_BLOCK];
    uint64_t at = (uint64_t)x->group[g].bitmaps * EXT4_BLOCK;
    int r = ext4_put(x, at, x->block_used + (size_t)g * (EXT4_GROUP_BLOCKS / 8),
                     EXT4_GROUP_BLOCKS / 8);

    memset(inodes, 0xff, sizeof inodes); /* what no inode stands for is taken */
    memcpy(inodes, x->inode_used + (size_t)g * (EXT4_GROUP_INODES / 8),
           EXT4_GROUP_INODES / 8);
    return r < 0 ? r : ext4_put(x, at + EXT4_BLOCK, inodes, sizeof inodes);
}

int ext4_finish(struct ext4 *x)
{
    uint8_t *table = fault_calloc(x->table_blocks, EXT4_BLOCK);
    int r = table == NULL ? -ENOMEM : 0;

    for (uint32_t g = 0; r == 0 && g < x->groups; g++) {
        const struct ext4_group *p = &x->group[g];
        uint8_t *at = table + (size_t)g * DESC_BYTES;

        ext4_set32(at, p->bitmaps);
        ext4_set32(at + 4, p->bitmaps + 1);
        ext4_set32(at + 8, p->bitmaps + 2);
        ext4_set16(at + 12, p->free_blocks);
        ext4_set16(at + 14, p->free_inodes);
        ext4_set16(at + 16, p->dirs);
        r = put_bitmaps(x, g);
    }
    r = r < 0 ? r : put_supers(x, table);
    free(table);
    return r;
}
