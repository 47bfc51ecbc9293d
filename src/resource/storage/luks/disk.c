/* disk.c - a disk in clear over an encrypted one.
 *
 * Reads decrypt where the bytes lie; writes encrypt into a room of their own, since
 * the caller's bytes may not change.  Zeros are written as what they encrypt to, and
 * nothing is discarded: the disk below would give back what decrypts to noise. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "resource/storage/luks/luks.h"

#define ROOM_BYTES  (128u * 1024)
#define PIECES      64u
#define SPARES_MOST 8u

struct room {
    struct room *next;
    char *bytes;
};

struct luks_disk {
    struct blk blk;
    struct blk_edge lower;
    struct luks_cipher *cipher; /* owned */
    uint64_t data_off;
    struct room *spare; /* owned */
    unsigned spares;
};

static struct luks_disk *disk_of(struct blk *b)
{
    return (struct luks_disk *)b;
}

static void free_room(struct room *r)
{
    if (r != NULL) {
        free(r->bytes);
        free(r);
    }
}

static struct room *take_room(struct luks_disk *d)
{
    struct room *r = d->spare;

    if (r != NULL) {
        d->spare = r->next;
        d->spares--;
        return r;
    }
    r = fault_calloc(1, sizeof *r);
    if (r != NULL) {
        r->bytes = fault_aligned(4096, ROOM_BYTES);
    }
    if (r != NULL && r->bytes == NULL) {
        free(r);
        r = NULL;
    }
    return r;
}

static void give_room(struct luks_disk *d, struct room *r)
{
    if (d->spares == SPARES_MOST) {
        free_room(r);
        return;
    }
    r->next = d->spare;
    d->spare = r;
    d->spares++;
}

/* In place, piece by piece; false: some piece is not whole sectors. */
static bool decrypt_pieces(struct luks_disk *d, struct blk_vec v, uint64_t off, int *ret)
{
    struct iovec piece[PIECES];
    unsigned n;

    if (!blk_vec_is_aligned(v, d->blk.block_bytes) &&
        blk_vec_flat(v) == NULL) { /* lengths count; one flat piece is always whole */
        return false;
    }
    *ret = 0;
    while (*ret == 0 && v.bytes > 0) {
        size_t done = 0;

        n = blk_vec_pieces(v, piece, PIECES);
        for (unsigned i = 0; *ret == 0 && i < n; i++) {
            *ret = luks_decrypt(d->cipher, piece[i].iov_base, piece[i].iov_base,
                                piece[i].iov_len, off + done);
            done += piece[i].iov_len;
        }
        off += done;
        v = blk_vec_part(v, done, v.bytes - done);
    }
    return true;
}

/* By way of a room: any pieces. */
static int decrypt_by_room(struct luks_disk *d, struct blk_vec v, uint64_t off)
{
    struct room *room = take_room(d);
    int r = room == NULL ? -ENOMEM : 0;

    while (r == 0 && v.bytes > 0) {
        size_t n = v.bytes < ROOM_BYTES ? v.bytes : ROOM_BYTES;

        blk_vec_take(blk_vec_part(v, 0, n), room->bytes);
        r = luks_decrypt(d->cipher, room->bytes, room->bytes, n, off);
        blk_vec_put(blk_vec_part(v, 0, n), room->bytes);
        off += n;
        v = blk_vec_part(v, n, v.bytes - n);
    }
    if (room != NULL) {
        give_room(d, room);
    }
    return r;
}

static int luks_disk_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    struct luks_disk *d = disk_of(b);
    int r = blk_readv(d->lower.disk, to, d->data_off + off);

    if (r == 0 && !decrypt_pieces(d, to, off, &r)) {
        r = decrypt_by_room(d, to, off);
    }
    if (r != 0) {
        blk_vec_zero(to); /* no bytes that are still encrypted */
    }
    return r;
}

static int luks_disk_write(struct blk *b, struct blk_vec from, uint64_t off,
                           unsigned flags)
{
    struct luks_disk *d = disk_of(b);
    struct room *room = take_room(d);
    int r = room == NULL ? -ENOMEM : 0;

    while (r == 0 && from.bytes > 0) {
        size_t n = from.bytes < ROOM_BYTES ? from.bytes : ROOM_BYTES;

        blk_vec_take(blk_vec_part(from, 0, n), room->bytes);
        r = luks_encrypt(d->cipher, room->bytes, room->bytes, n, off);
        if (r == 0) {
            r = blk_write(d->lower.disk, room->bytes, n, d->data_off + off, flags);
        }
        off += n;
        from = blk_vec_part(from, n, from.bytes - n);
    }
    if (room != NULL) {
        give_room(d, room);
    }
    return r;
}

static int luks_disk_flush(struct blk *b)
{
    return blk_flush(disk_of(b)->lower.disk);
}

/* New room has to read zeros, which are not zeros below. */
static int luks_disk_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    struct luks_disk *d = disk_of(b);
    static const char zeros[4096];
    uint64_t at = b->size_bytes;
    int r = blk_resize(d->lower.disk, d->data_off + size_bytes, e);

    while (r == 0 && at < size_bytes) {
        uint64_t n = size_bytes - at < sizeof zeros ? size_bytes - at : sizeof zeros;
        struct iovec piece = {(void *)(uintptr_t)zeros, (size_t)n};

        r = luks_disk_write(b, (struct blk_vec){.iov = &piece, .bytes = (size_t)n}, at,
                            0);
        at += n;
    }
    if (r != 0) {
        return err_sys(e, r, "cannot resize '%s'", b->label);
    }
    b->size_bytes = size_bytes;
    return 0;
}

static void luks_disk_destroy(struct blk *b)
{
    struct luks_disk *d = disk_of(b);

    while (d->spare != NULL) {
        struct room *r = d->spare;

        d->spare = r->next;
        free_room(r);
    }
    luks_cipher_destroy(d->cipher);
    blk_detach(&d->lower);
    free(d);
}

static const struct blk_ops luks_disk_ops = {
    .name = "luks",
    .read = luks_disk_read,
    .write = luks_disk_write,
    .flush = luks_disk_flush,
    .resize = luks_disk_resize,
    .destroy = luks_disk_destroy,
};

static int set_up(struct luks_disk *d, bool detached, struct luks *k,
                  const struct luks_secret *secret, struct err *e)
{
    struct blk *data = d->lower.disk;
    struct luks_info info;
    int r = luks_unlock(k, secret, e);

    if (r < 0) {
        return r;
    }
    luks_info(k, &info);
    if (!detached && info.data_off == 0) {
        return err_set(e, -EUCLEAN, "cannot open a LUKS disk: its data is elsewhere");
    }
    if (blk_size(data) < info.data_off) {
        return err_set(e, -EUCLEAN, "cannot open a LUKS disk: it has lost its end");
    }
    d->cipher = luks_take_cipher(k);
    d->data_off = info.data_off;
    if (info.sector_bytes > d->blk.block_bytes) {
        d->blk.block_bytes = info.sector_bytes;
    }
    d->blk.size_bytes = blk_size(data) - info.data_off;
    d->blk.size_bytes -= d->blk.size_bytes % d->blk.block_bytes;
    return 0;
}

int luks_disk_create(struct loop *l, struct blk *take_data, struct blk *header,
                     const struct luks_secret *secret, struct blk **ret_disk,
                     struct err *e)
{
    struct luks_disk *d = fault_calloc(1, sizeof *d);
    struct luks *k = NULL;
    int r;

    if (d == NULL) {
        blk_drop(take_data);
        return err_sys(e, -ENOMEM, "cannot open a LUKS disk");
    }
    blk_init_like(&d->blk, &luks_disk_ops, take_data);
    d->blk.edge = &d->lower;
    d->blk.edge_count = 1;
    d->blk.does_fua = true;
    d->lower = (struct blk_edge){
        .user = "luks", .uses = take_data->read_only ? BLK_USE_READ : BLK_USE_ALL};
    r = blk_attach(&d->lower, take_data, e);
    if (r != 0) {
        blk_drop(take_data);
    } else {
        r = luks_open(l, header != NULL ? header : take_data, &k, e);
        r = r == 0 ? set_up(d, header != NULL, k, secret, e) : r;
        luks_close(k);
    }
    if (r != 0) {
        luks_disk_destroy(&d->blk);
        return r;
    }
    *ret_disk = &d->blk;
    return 0;
}
