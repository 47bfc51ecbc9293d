/* vmdk_write.c - change a monolithic sparse image.
 *
 * A grain that has no place gets one behind the end of the file, where all is zeros,
 * so that a part of a grain may be written alone.  Its table learns of the place when
 * the bytes are written; both become durable in that order at a flush. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/format/vmdk_parts.h"

#define SECTORS_MOST ((uint64_t)UINT32_MAX)

/* ---- the content ID ---- */

/* "The CID value is updated whenever the disk is first written after it was opened"
 * (The Descriptor File): images based on this one notice. */
static int renew_in(char *text)
{
    char *at = strncmp(text, "CID=", 4) == 0 ? text : strstr(text, "\nCID=");
    char digits[9];

    if (at == NULL) {
        return 0;
    }
    at += *at == '\n' ? 5 : 4;
    if (strspn(at, "0123456789abcdefABCDEF") != 8) {
        return 0;
    }
    (void)snprintf(digits, sizeof digits, "%08x", vmdk_new_id());
    memcpy(at, digits, 8);
    return 1;
}

static int renew_id_locked(struct vmdk *v)
{
    SCOPED(scope_free) char *text = fault_malloc((size_t)v->id_bytes + 1);
    struct blk *file = v->base.file.disk;
    int r;

    if (text == NULL) {
        return -ENOMEM;
    }
    r = format_read_meta(file, text, v->id_bytes, v->id_at);
    if (r != 0) {
        return r;
    }
    text[v->id_bytes] = '\0';
    return renew_in(text) == 0 ? 0 : blk_write(file, text, v->id_bytes, v->id_at, 0);
}

static int renew_id(struct vmdk *v)
{
    int r = 0;

    if (v->id_renewed || v->id_at == 0) {
        return 0;
    }
    strand_lock(v->base.blk.strands, &v->id_lock);
    if (!v->id_renewed) {
        r = renew_id_locked(v);
        v->id_renewed = r == 0;
    }
    strand_unlock(&v->id_lock);
    return r;
}

/* ---- grains ---- */

static struct vmdk_pending *pending_in(struct vmdk_sparse *s, uint64_t grain,
                                       uint64_t count)
{
    struct vmdk_pending *p = s->pending;

    while (p != NULL && (p->grain >= grain + count || grain >= p->grain + p->count)) {
        p = p->next;
    }
    return p;
}

void vmdk_sparse_settle(struct vmdk_sparse *s, uint64_t off, uint64_t bytes)
{
    uint64_t first = off / s->grain_bytes;
    uint64_t count = (off + bytes - 1) / s->grain_bytes - first + 1;
    struct vmdk_pending *p;

    while ((p = pending_in(s, first, count)) != NULL) {
        strand_wait(s->file->strands, &p->waiters);
    }
}

static bool has_place(const struct format_run *run)
{
    return run->place == FORMAT_PLACE_FILE;
}

/* As many grains of the range as have no place and are nobody else's; `p` has the
 * first one. */
static int extend(struct vmdk_sparse *s, struct vmdk_pending *p, uint64_t last)
{
    while (p->grain + p->count <= last) {
        uint64_t next = p->grain + p->count;
        struct format_run run;
        int r = vmdk_sparse_find(s, next * s->grain_bytes, s->grain_bytes, &run);

        if (r != 0) {
            return r;
        }
        if (has_place(&run) || pending_in(s, next, 1) != NULL) {
            break;
        }
        p->count++;
    }
    return 0;
}

static void forget(struct vmdk_sparse *s, struct vmdk_pending *p)
{
    struct vmdk_pending **at = &s->pending;

    while (*at != p) {
        at = &(*at)->next;
    }
    *at = p->next;
    (void)strand_wake_all(&p->waiters);
}

/* Give places to the grains from `off` on that have none, and write what is theirs of
 * `from`; how much that was. */
static int write_new(struct vmdk_sparse *s, struct blk_vec from, uint64_t off,
                     size_t *ret_bytes)
{
    struct vmdk_pending p = {
        .next = s->pending, .grain = off / s->grain_bytes, .count = 1};
    uint64_t inside = off % s->grain_bytes;
    uint64_t at;
    int r;

    s->pending = &p;
    r = extend(s, &p, (off + from.bytes - 1) / s->grain_bytes);
    at = s->next_free;
    if (r == 0 && (at + p.count * s->grain_bytes) / VMDK_SECTOR > SECTORS_MOST) {
        r = -ENOSPC; /* tables have 32 bits for a sector */
    }
    if (r == 0) {
        uint64_t room = p.count * s->grain_bytes - inside;

        *ret_bytes = from.bytes < room ? from.bytes : (size_t)room;
        s->next_free += p.count * s->grain_bytes;
        r = blk_writev(s->file, blk_vec_part(from, 0, *ret_bytes), at + inside, 0);
    }
    if (r == 0) {
        r = vmdk_entry_set(s, p.grain, p.count, (uint32_t)(at / VMDK_SECTOR));
    }
    forget(s, &p);
    return r;
}

/* A table of a damaged image may lead into the header or behind everything. */
static int check_place(const struct vmdk_sparse *s, uint64_t at, uint64_t bytes)
{
    return at >= s->header.overhead * VMDK_SECTOR && at + bytes <= s->next_free
               ? 0
               : -EUCLEAN;
}

static int write_some(struct vmdk_sparse *s, struct blk_vec from, uint64_t off,
                      size_t *ret_bytes)
{
    struct format_run run;
    int r;

    do {
        vmdk_sparse_settle(s, off, 1);
        r = vmdk_sparse_find(s, off, from.bytes, &run);
    } while (r == 0 && pending_in(s, off / s->grain_bytes, 1) != NULL);
    if (r != 0) {
        return r;
    }
    if (!has_place(&run)) {
        return write_new(s, from, off, ret_bytes);
    }
    while (run.bytes < from.bytes) { /* neighbours in the file, too */
        struct format_run more;

        if (vmdk_sparse_find(s, off + run.bytes, from.bytes - run.bytes, &more) != 0 ||
            !has_place(&more) || more.at != run.at + run.bytes) {
            break;
        }
        run.bytes += more.bytes;
    }
    *ret_bytes = (size_t)run.bytes;
    r = check_place(s, run.at, run.bytes);
    return r != 0 ? r : blk_writev(s->file, blk_vec_part(from, 0, *ret_bytes), run.at, 0);
}

int vmdk_sparse_write(struct vmdk_sparse *s, struct blk_vec from, uint64_t off)
{
    int r = 0;

    while (r == 0 && from.bytes > 0) {
        size_t did = 0;

        r = write_some(s, from, off, &did);
        off += did;
        from = blk_vec_part(from, did, from.bytes - did);
    }
    return r;
}

/* ---- the slots: an image that can be changed has one extent ---- */

static struct vmdk_sparse *sparse_of(struct blk *b)
{
    return vmdk_of(b)->extents[0].sparse;
}

int vmdk_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    int r = renew_id(vmdk_of(b));

    (void)flags; /* the guard flushes for BLK_FUA */
    return r != 0 ? r : vmdk_sparse_write(sparse_of(b), from, off);
}

/* Call `fn` for what has a place. */
static int each_place(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags,
                      int (*fn)(struct blk *file, uint64_t at, uint64_t n,
                                unsigned flags))
{
    struct vmdk_sparse *s = sparse_of(b);
    int r = renew_id(vmdk_of(b));

    while (r == 0 && bytes > 0) {
        struct format_run run;

        vmdk_sparse_settle(s, off, 1);
        r = vmdk_sparse_find(s, off, bytes, &run);
        if (r == 0 && has_place(&run)) {
            r = check_place(s, run.at, run.bytes);
            r = r != 0 ? r : fn(s->file, run.at, run.bytes, flags);
        }
        if (r == 0) {
            off += run.bytes;
            bytes -= run.bytes;
        }
    }
    return r;
}

static int discard_place(struct blk *file, uint64_t at, uint64_t n, unsigned flags)
{
    (void)flags;
    if (at >= blk_size(file)) {
        return 0;
    }
    return blk_discard(file, at, n < blk_size(file) - at ? n : blk_size(file) - at);
}

int vmdk_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    return each_place(b, off, bytes, flags & (BLK_UNMAP | BLK_NO_SLOW), blk_zero);
}

int vmdk_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    return each_place(b, off, bytes, 0, discard_place);
}

int vmdk_flush(struct blk *b)
{
    return vmdk_sparse_flush(sparse_of(b));
}
