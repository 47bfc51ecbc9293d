/* memory.c - a disk in memory: sparse, lost when it ends.
 *
 * Chunks of `CHUNK_BYTES` hang on a table as long as the disk; one that was never
 * written, or was discarded whole, is NULL and reads zeros. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/blk_ops.h"
#include "resource/storage/leaf/leaf.h"

#define CHUNK_BYTES 65536u
#define SIZE_MOST   ((uint64_t)1 << 40) /* its table of chunks has 128 MiB */

struct memory {
    struct blk blk;
    char **chunk; /* owned, each owned */
    size_t chunks;
    uint64_t held;
};

static struct memory *memory_of(struct blk *b)
{
    return (struct memory *)b;
}

/* A step of a walk over [off, off + bytes): the part that lies in one chunk. */
static size_t in_chunk(uint64_t off, uint64_t bytes)
{
    uint64_t left = CHUNK_BYTES - off % CHUNK_BYTES;

    return (size_t)(bytes < left ? bytes : left);
}

static int memory_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    struct memory *m = memory_of(b);

    while (to.bytes > 0) {
        size_t n = in_chunk(off, to.bytes);
        const char *chunk = m->chunk[off / CHUNK_BYTES];
        struct blk_vec now = blk_vec_part(to, 0, n);

        if (chunk == NULL) {
            blk_vec_zero(now);
        } else {
            blk_vec_put(now, chunk + off % CHUNK_BYTES);
        }
        off += n;
        to = blk_vec_part(to, n, to.bytes - n);
    }
    return 0;
}

static char *chunk_for_write(struct memory *m, uint64_t off)
{
    char **chunk = &m->chunk[off / CHUNK_BYTES];

    if (*chunk == NULL) {
        *chunk = fault_calloc(1, CHUNK_BYTES);
        m->held += *chunk != NULL ? CHUNK_BYTES : 0;
    }
    return *chunk;
}

static int memory_resize(struct blk *b, uint64_t size_bytes, struct err *e);

/* `grows`: make room up to `end`. */
static int reach(struct blk *b, uint64_t end)
{
    return end <= b->size_bytes ? 0 : memory_resize(b, end, NULL) != 0 ? -ENOSPC : 0;
}

static int memory_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    struct memory *m = memory_of(b);
    int r = reach(b, off + from.bytes);

    (void)flags;
    if (r != 0) {
        return r;
    }
    while (from.bytes > 0) {
        size_t n = in_chunk(off, from.bytes);
        char *chunk = chunk_for_write(m, off);

        if (chunk == NULL) {
            return -ENOSPC;
        }
        blk_vec_take(blk_vec_part(from, 0, n), chunk + off % CHUNK_BYTES);
        off += n;
        from = blk_vec_part(from, n, from.bytes - n);
    }
    return 0;
}

static int memory_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    struct memory *m = memory_of(b);
    int r = reach(b, off + bytes);

    (void)flags;
    if (r != 0) {
        return r;
    }
    while (bytes > 0) {
        size_t n = in_chunk(off, bytes);
        char **chunk = &m->chunk[off / CHUNK_BYTES];

        if (*chunk != NULL && n == CHUNK_BYTES) {
            free(*chunk);
            *chunk = NULL;
            m->held -= CHUNK_BYTES;
        } else if (*chunk != NULL) {
            memset(*chunk + off % CHUNK_BYTES, 0, n);
        }
        off += n;
        bytes -= n;
    }
    return 0;
}

static int memory_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    return memory_zero(b, off, bytes, 0);
}

static int memory_status(struct blk *b, uint64_t off, uint64_t bytes,
                         struct blk_extent *ret)
{
    struct memory *m = memory_of(b);
    bool data = m->chunk[off / CHUNK_BYTES] != NULL;

    ret->bytes = in_chunk(off, bytes);
    while (ret->bytes < bytes &&
           (m->chunk[(off + ret->bytes) / CHUNK_BYTES] != NULL) == data) {
        ret->bytes += in_chunk(off + ret->bytes, bytes - ret->bytes);
    }
    ret->state = BLK_ALLOCATED | BLK_PLACED | (data ? BLK_DATA : 0u);
    return 0;
}

static size_t chunks_for(uint64_t size_bytes)
{
    return (size_t)((size_bytes + CHUNK_BYTES - 1) / CHUNK_BYTES);
}

static int memory_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    struct memory *m = memory_of(b);
    size_t chunks = chunks_for(size_bytes);
    char **table;

    if (size_bytes > SIZE_MOST) {
        return err_set(e, -EFBIG, "cannot resize '%s': more than a tebibyte", b->label);
    }
    if (size_bytes < b->size_bytes) {
        (void)memory_zero(b, size_bytes, b->size_bytes - size_bytes, 0);
        for (size_t i = chunks; i < m->chunks; i++) { /* the last may be a part */
            m->held -= m->chunk[i] != NULL ? CHUNK_BYTES : 0;
            free(m->chunk[i]);
            m->chunk[i] = NULL;
        }
    } else {
        table = fault_realloc(m->chunk, (chunks + 1) * sizeof *table);
        if (table == NULL) {
            return err_sys(e, -ENOMEM, "cannot resize '%s'", b->label);
        }
        memset(table + m->chunks, 0, (chunks + 1 - m->chunks) * sizeof *table);
        m->chunk = table;
    }
    m->chunks = chunks;
    b->size_bytes = size_bytes;
    return 0;
}

static void memory_destroy(struct blk *b)
{
    struct memory *m = memory_of(b);

    for (size_t i = 0; i < m->chunks; i++) {
        free(m->chunk[i]);
    }
    free(m->chunk);
    free(m);
}

static const struct blk_ops memory_ops = {
    .name = "memory",
    .read = memory_read,
    .write = memory_write,
    .zero = memory_zero,
    .discard = memory_discard,
    .status = memory_status,
    .resize = memory_resize,
    .destroy = memory_destroy,
};

int leaf_memory_create(struct strand_pool *strands, uint64_t size_bytes,
                       uint32_t block_bytes, struct blk **ret_disk, struct err *e)
{
    struct memory *m = fault_calloc(1, sizeof *m);
    int r;

    if (m == NULL) {
        return err_sys(e, -ENOMEM, "cannot make a disk in memory");
    }
    blk_init(&m->blk, &memory_ops, strands);
    m->blk.block_bytes = block_bytes;
    m->blk.zeroes_fast = true;
    r = memory_resize(&m->blk, size_bytes, e);
    if (r != 0) {
        memory_destroy(&m->blk);
        return r;
    }
    *ret_disk = &m->blk;
    return 0;
}

uint64_t leaf_memory_held_bytes(const struct blk *b)
{
    return ((const struct memory *)b)->held;
}
