/* map.c - where the bytes of a disk lie, down to the file that has them. */
#include <errno.h>
#include <stdio.h>

#include "base/err.h"
#include "contract/blk_graph.h"
#include "resource/storage/graph/graph.h"
#include "resource/storage/tool/private.h"

#define DEPTH_MOST 1024 /* disks that hold it for each other */

/* What is known of the first bytes, asked of each disk that holds them. */
static int locate(struct blk *disk, uint64_t off, uint64_t bytes, struct blk_extent *ret)
{
    struct blk_extent x;
    int e = blk_status(disk, off, bytes, ret);

    for (unsigned i = 0; e == 0 && (ret->state & BLK_PLACED) != 0 && i < DEPTH_MOST;
         i++) {
        /* who holds it is asked, not changed */
        struct blk *below = (struct blk *)(uintptr_t)ret->holder;

        if (below == disk) {
            break;
        }
        e = blk_status(below, ret->at, ret->bytes, &x);
        if (e == 0) {
            ret->bytes = x.bytes;
            ret->state = (ret->state & ~(unsigned)(BLK_DATA | BLK_PLACED)) |
                         (x.state & (BLK_DATA | BLK_PLACED));
            ret->at = x.at;
            ret->holder = x.holder;
        }
        disk = below;
    }
    return e;
}

static const char *word_for(unsigned state)
{
    if ((state & BLK_ALLOCATED) != 0) {
        return (state & BLK_DATA) != 0 ? "data" : "zero";
    }
    return (state & BLK_DATA) != 0 ? "base" : "hole";
}

static int tell(const struct request *r, uint64_t off, const struct blk_extent *x)
{
    const char *name = NULL;

    if ((x->state & BLK_PLACED) != 0) {
        name = graph_name_of(r->graph, x->holder);
    }
    return dprintf(r->answer_fd, "extent=%llu %llu %s %s %llu\n", (unsigned long long)off,
                   (unsigned long long)x->bytes, word_for(x->state),
                   name != NULL ? name : "-",
                   (unsigned long long)(name != NULL ? x->at : 0)) < 0
               ? -errno
               : 0;
}

/* Whether `next`, which lies right behind `x`, says the same. */
static bool goes_on(const struct blk_extent *x, const struct blk_extent *next)
{
    return x->state == next->state &&
           ((x->state & BLK_PLACED) == 0 ||
            (x->holder == next->holder && x->at + x->bytes == next->at));
}

static int map(const struct request *r, struct blk *disk, uint64_t off, uint64_t end)
{
    struct blk_extent x = {0};
    int e = 0;

    while (e == 0 && off < end) {
        struct blk_extent next;

        e = locate(disk, off + x.bytes, end - off - x.bytes, &next);
        if (e == 0 && x.bytes > 0 && goes_on(&x, &next)) {
            x.bytes += next.bytes;
        } else if (e == 0) {
            e = x.bytes > 0 ? tell(r, off, &x) : 0;
            off += x.bytes;
            x = next;
        }
        if (e == 0 && off + x.bytes == end) {
            e = tell(r, off, &x);
            off = end;
        }
    }
    return e == 0 ? 0 : err_sys(r->e, e, "cannot look at the disk");
}

static const char *const keys[] = {"off", "bytes", NULL};

int tool_map(struct request *r)
{
    struct blk *disk = NULL;
    uint64_t block;
    uint64_t off = 0;
    uint64_t bytes = 0;
    int e = request_open(r, keys, &disk);

    e = e != 0 ? e : request_number(r, "off", 0, &off);
    if (e != 0 || off > blk_size(disk)) {
        return e != 0 ? e : err_set(r->e, -ERANGE, "off= is behind the end of the disk");
    }
    e = request_number(r, "bytes", blk_size(disk) - off, &bytes);
    if (e != 0 || bytes > blk_size(disk) - off) {
        return e != 0 ? e : err_set(r->e, -ERANGE, "the range ends behind the disk");
    }
    block = blk_block_bytes(disk);
    return map(r, disk, off & ~(block - 1), (off + bytes + block - 1) & ~(block - 1));
}
