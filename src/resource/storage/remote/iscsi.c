/* iscsi.c - a disk that is a unit of an iSCSI target, by libiscsi.
 *
 * Each request is one or more SCSI commands of the session (iscsi_session.c), which does
 * them again on a new connection.  What the unit can (SBC-3: zeros by WRITE SAME, UNMAP,
 * GET LBA STATUS; limits and provisioning in the VPD pages B0h and B2h) is asked for when
 * the connection is made; a command that the unit nevertheless refuses is not tried
 * again. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/blk_ops.h"
#include "resource/storage/remote/iscsi_private.h"

#define REQUEST_MOST         (8u * 1024 * 1024)  /* of data in one command */
#define ZERO_MOST            (64u * 1024 * 1024) /* where the unit names no limit */
#define PIECES               32                  /* of a request, without an allocation */
#define SERIAL_MOST          252                 /* SPC-4, 7.8.18: one byte of length */
#define MODE_PAGE_ALL        0x3f                /* SPC-4, table 458 */
#define MODE_WP              0x80                /* SBC-3, 6.5.1 */
#define MODE_DPOFUA          0x10
#define VPD_SERIAL           0x80
#define VPD_LIMITS           0xb0
#define VPD_PROVISIONING     0xb2
#define PROVISIONING_UNMAP   0x80 /* SBC-3, 6.6.4 */
#define PROVISIONING_SAME    0x40
#define CAPACITY_PROVISIONED 0x80 /* SBC-3, 5.16.2: LBPME */
#define CAPACITY_READS_ZEROS 0x40 /* LBPRZ */
#define LBA_STATUS_BYTES     24   /* SBC-3, 5.6.2: a head of 8, one descriptor of 16 */

struct client {
    struct blk blk;
    struct remote_session session;
    char *label; /* owned */
    int lun;
    char serial[SERIAL_MOST + 1];
    bool is_long;          /* knows READ (16) and its sisters */
    bool reads_zeros;      /* where nothing is mapped */
    bool unmaps;           /* UNMAP */
    bool unmaps_same;      /* WRITE SAME (16) with UNMAP */
    bool zeroes;           /* WRITE SAME (16) */
    bool tells_status;     /* GET LBA STATUS */
    bool syncs;            /* SYNCHRONIZE CACHE */
    uint32_t request_most; /* bytes */
    uint64_t same_most;
    uint64_t unmap_most;
    uint8_t zeros[BLK_BLOCK_MOST_BYTES]; /* what WRITE SAME sends; not written to */
};

static struct client *client_of(struct blk *b)
{
    return (struct client *)b;
}

static struct client *client_at(struct remote_session *s)
{
    return (struct client *)((char *)s - offsetof(struct client, session));
}

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint64_t get64(const uint8_t *at)
{
    return (uint64_t)get32(at) << 32 | get32(at + 4);
}

/* ---- data ---- */

struct transfer {
    struct remote_command command; /* first */
    uint64_t lba;
    uint32_t bytes;
    bool writes;
    bool fua;
    struct scsi_iovec *pieces;
    int count;
};

static struct scsi_task *begin_transfer(struct remote_session *s,
                                        struct remote_command *c)
{
    struct transfer *x = (struct transfer *)c;
    struct client *k = client_at(s);
    int size = (int)k->blk.block_bytes;

    if (k->is_long) {
        return x->writes ? s->call.iscsi_write16_iov_task(
                               s->handle, k->lun, x->lba, NULL, x->bytes, size, 0, 0,
                               x->fua, 0, 0, remote_session_done, c, x->pieces, x->count)
                         : s->call.iscsi_read16_iov_task(
                               s->handle, k->lun, x->lba, x->bytes, size, 0, 0, 0, 0, 0,
                               remote_session_done, c, x->pieces, x->count);
    }
    return x->writes ? s->call.iscsi_write10_iov_task(
                           s->handle, k->lun, (uint32_t)x->lba, NULL, x->bytes, size, 0,
                           0, x->fua, 0, 0, remote_session_done, c, x->pieces, x->count)
                     : s->call.iscsi_read10_iov_task(
                           s->handle, k->lun, (uint32_t)x->lba, x->bytes, size, 0, 0, 0,
                           0, 0, remote_session_done, c, x->pieces, x->count);
}

/* Fewer bytes than were asked for are an error of the unit. */
static int take_all(struct remote_command *c)
{
    return c->task->residual_status == SCSI_RESIDUAL_NO_RESIDUAL ? 0 : -EIO;
}

static int transfer_part(struct client *k, struct blk_vec v, uint64_t off, bool writes,
                         bool fua)
{
    struct iovec few[PIECES];
    SCOPED(scope_free) struct iovec *many = NULL;
    struct transfer x = {
        .command = {.begin = begin_transfer, .take = take_all},
        .lba = off / k->blk.block_bytes,
        .bytes = (uint32_t)v.bytes,
        .writes = writes,
        .fua = fua,
    };
    unsigned n = blk_vec_pieces(v, few, PIECES);
    size_t sum = 0;

    for (unsigned i = 0; i < n; i++) {
        sum += few[i].iov_len;
    }
    if (sum < v.bytes) {
        many = fault_malloc(BLK_VEC_PIECES_MOST * sizeof *many);
        if (many == NULL) {
            return -ENOMEM;
        }
        n = blk_vec_pieces(v, many, BLK_VEC_PIECES_MOST);
    }
    /* libiscsi promises that its pieces look like those of POSIX. */
    x.pieces = (struct scsi_iovec *)(void *)(many != NULL ? many : few);
    x.count = (int)n;
    return remote_session_run(&k->session, &x.command);
}

static int transfer_all(struct client *k, struct blk_vec v, uint64_t off, bool writes,
                        bool fua)
{
    int r = 0;

    while (r == 0 && v.bytes > 0) {
        size_t n = v.bytes < k->request_most ? v.bytes : k->request_most;

        r = transfer_part(k, blk_vec_part(v, 0, n), off, writes, fua);
        off += n;
        v = blk_vec_part(v, n, v.bytes - n);
    }
    return r;
}

static int client_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    return transfer_all(client_of(b), to, off, false, false);
}

static int client_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    return transfer_all(client_of(b), from, off, true,
                        (flags & BLK_FUA) != 0 && b->does_fua);
}

/* ---- without data ---- */

struct order {
    struct remote_command command; /* first */
    uint64_t lba;
    uint32_t blocks;
    bool unmaps;
    uint8_t answer[LBA_STATUS_BYTES];
};

static struct scsi_task *begin_sync(struct remote_session *s, struct remote_command *c)
{
    return s->call.iscsi_synchronizecache10_task(s->handle, client_at(s)->lun, 0, 0, 0, 0,
                                                 remote_session_done, c); /* all of it */
}

static struct scsi_task *begin_same(struct remote_session *s, struct remote_command *c)
{
    struct order *x = (struct order *)c;
    struct client *k = client_at(s);

    return s->call.iscsi_writesame16_task(s->handle, k->lun, x->lba, k->zeros,
                                          k->blk.block_bytes, x->blocks, 0, x->unmaps, 0,
                                          0, remote_session_done, c);
}

static struct scsi_task *begin_unmap(struct remote_session *s, struct remote_command *c)
{
    struct order *x = (struct order *)c;
    struct unmap_list list = {.lba = x->lba, .num = x->blocks};

    return s->call.iscsi_unmap_task(s->handle, client_at(s)->lun, 0, 0, &list, 1,
                                    remote_session_done, c);
}

static struct scsi_task *begin_status(struct remote_session *s, struct remote_command *c)
{
    struct order *x = (struct order *)c;

    return s->call.iscsi_get_lba_status_task(s->handle, client_at(s)->lun, x->lba,
                                             LBA_STATUS_BYTES, remote_session_done, c);
}

static int client_flush(struct blk *b)
{
    struct client *k = client_of(b);
    struct order x = {.command.begin = begin_sync};
    int r;

    if (!k->syncs) {
        return 0;
    }
    r = remote_session_run(&k->session, &x.command);
    if (r == -EOPNOTSUPP) { /* it holds nothing back */
        k->syncs = false;
        r = 0;
    }
    return r;
}

/* The same order for parts of a range that the unit takes at once. */
static int order_all(struct client *k, struct order *x, uint64_t off, uint64_t bytes,
                     uint64_t most)
{
    int r = 0;

    while (r == 0 && bytes > 0) {
        uint64_t n = bytes < most ? bytes : most;

        x->lba = off / k->blk.block_bytes;
        x->blocks = (uint32_t)(n / k->blk.block_bytes);
        r = remote_session_run(&k->session, &x->command);
        off += n;
        bytes -= n;
    }
    return r;
}

static int client_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    struct client *k = client_of(b);
    struct order x = {
        .command.begin = begin_same,
        .unmaps = (flags & BLK_UNMAP) != 0 && k->unmaps_same && k->reads_zeros,
    };
    int r;

    if (!k->zeroes || ((flags & BLK_NO_SLOW) != 0 && !x.unmaps)) {
        return -EOPNOTSUPP;
    }
    r = order_all(k, &x, off, bytes, k->same_most);
    if (r == -EOPNOTSUPP && x.unmaps) {
        k->unmaps_same = false;
        b->zeroes_fast = false;
        return client_zero(b, off, bytes, flags);
    }
    k->zeroes = k->zeroes && r != -EOPNOTSUPP;
    return r;
}

static int client_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    struct client *k = client_of(b);
    struct order x = {.command.begin = k->unmaps ? begin_unmap : begin_same,
                      .unmaps = true};

    if (!k->unmaps && !k->unmaps_same) {
        return 0;
    }
    return order_all(k, &x, off, bytes, k->unmaps ? k->unmap_most : k->same_most);
}

static int take_status(struct remote_command *c)
{
    struct order *x = (struct order *)c;

    if (c->task->datain.size < LBA_STATUS_BYTES || c->task->datain.data == NULL) {
        return -EOPNOTSUPP;
    }
    memcpy(x->answer, c->task->datain.data, LBA_STATUS_BYTES);
    return 0;
}

/* The descriptor of an answer; left alone where it is of no use. */
static void read_status(const struct client *k, const struct order *x,
                        struct blk_extent *ret)
{
    uint64_t lba = get64(x->answer + 8);
    uint64_t end = lba + get32(x->answer + 16);
    unsigned kind = x->answer[20] & 0x0f; /* 0 mapped, 1 not, 2 anchored */

    if (lba > x->lba || end < lba || end <= x->lba) {
        return;
    }
    if (end - x->lba < ret->bytes / k->blk.block_bytes) {
        ret->bytes = (end - x->lba) * k->blk.block_bytes;
    }
    if (kind != 0 && k->reads_zeros) {
        ret->state = kind == 1 ? 0u : (unsigned)BLK_ALLOCATED;
    }
}

static int client_status(struct blk *b, uint64_t off, uint64_t bytes,
                         struct blk_extent *ret)
{
    struct client *k = client_of(b);
    struct order x = {.command = {.begin = begin_status, .take = take_status},
                      .lba = off / b->block_bytes};
    int r = 0;

    ret->state = BLK_DATA | BLK_ALLOCATED;
    ret->holder = NULL;
    ret->bytes = bytes;
    if (!k->tells_status) {
        return 0;
    }
    r = remote_session_run(&k->session, &x.command);
    if (r == 0) {
        read_status(k, &x, ret);
    } else if (r == -EOPNOTSUPP) {
        k->tells_status = false;
        r = 0;
    }
    return r;
}

/* ---- what the unit is ---- */

struct question {
    struct remote_command command; /* first */
    int page;                      /* of INQUIRY; -1: the standard data */
    uint8_t answer[256];
    size_t bytes;
};

static struct scsi_task *begin_ready(struct remote_session *s, struct remote_command *c)
{
    return s->call.iscsi_testunitready_task(s->handle, client_at(s)->lun,
                                            remote_session_done, c);
}

static struct scsi_task *begin_inquiry(struct remote_session *s, struct remote_command *c)
{
    struct question *q = (struct question *)c;

    return s->call.iscsi_inquiry_task(s->handle, client_at(s)->lun, q->page >= 0,
                                      q->page >= 0 ? q->page : 0, 255,
                                      remote_session_done, c);
}

static struct scsi_task *begin_capacity16(struct remote_session *s,
                                          struct remote_command *c)
{
    return s->call.iscsi_readcapacity16_task(s->handle, client_at(s)->lun,
                                             remote_session_done, c);
}

static struct scsi_task *begin_capacity10(struct remote_session *s,
                                          struct remote_command *c)
{
    return s->call.iscsi_readcapacity10_task(s->handle, client_at(s)->lun, 0, 0,
                                             remote_session_done, c);
}

static struct scsi_task *begin_mode(struct remote_session *s, struct remote_command *c)
{
    return s->call.iscsi_modesense6_task(s->handle, client_at(s)->lun, 1, 0,
                                         MODE_PAGE_ALL, 0, 255, remote_session_done, c);
}

static int take_answer(struct remote_command *c)
{
    struct question *q = (struct question *)c;
    int size = c->task->datain.size;

    q->bytes = size > 0 && c->task->datain.data != NULL ? (size_t)size : 0;
    q->bytes = q->bytes < sizeof q->answer ? q->bytes : sizeof q->answer;
    if (q->bytes > 0) {
        memcpy(q->answer, c->task->datain.data, q->bytes);
    }
    return 0;
}

/* 0: at least `least` bytes are there; -EOPNOTSUPP: the unit does not say. */
static int ask(struct remote_session *s, struct question *q, int page, size_t least,
               struct scsi_task *(*begin)(struct remote_session *,
                                          struct remote_command *))
{
    int r;

    *q =
        (struct question){.command = {.begin = begin, .take = take_answer}, .page = page};
    r = remote_session_try(s, &q->command);
    return r == 0 && q->bytes < least ? -EOPNOTSUPP : r;
}

static int ask_serial(struct remote_session *s, char ret[SERIAL_MOST + 1])
{
    struct question q;
    int r = ask(s, &q, VPD_SERIAL, 4, begin_inquiry);
    size_t n;

    ret[0] = '\0';
    if (r != 0) {
        return r == -EOPNOTSUPP ? 0 : r;
    }
    n = q.answer[3] < q.bytes - 4 ? q.answer[3] : q.bytes - 4;
    memcpy(ret, q.answer + 4, n);
    ret[n] = '\0';
    return 0;
}

static int ask_capacity(struct client *k, uint64_t *ret_blocks, uint32_t *ret_block_bytes)
{
    struct question q;
    int r = ask(&k->session, &q, 0, 32, begin_capacity16);

    if (r == 0) {
        bool provisioned = (q.answer[14] & CAPACITY_PROVISIONED) != 0;

        k->is_long = true;
        *ret_blocks = get64(q.answer) + 1;
        *ret_block_bytes = get32(q.answer + 8);
        k->tells_status = provisioned;
        k->reads_zeros = provisioned && (q.answer[14] & CAPACITY_READS_ZEROS) != 0;
        return 0;
    }
    if (r != -EOPNOTSUPP) {
        return r;
    }
    r = ask(&k->session, &q, 0, 8, begin_capacity10);
    if (r == 0) {
        *ret_blocks = (uint64_t)get32(q.answer) + 1;
        *ret_block_bytes = get32(q.answer + 4);
        k->tells_status = false;
        k->reads_zeros = false;
    }
    return r;
}

static uint64_t limit(uint64_t blocks, uint32_t block_bytes, uint64_t most)
{
    return blocks != 0 && blocks < most / block_bytes ? blocks * block_bytes : most;
}

static int ask_abilities(struct client *k, uint32_t block_bytes)
{
    struct question q;
    int r = ask(&k->session, &q, VPD_LIMITS, 16, begin_inquiry);
    bool known = r == 0;

    if (r != 0 && r != -EOPNOTSUPP) {
        return r;
    }
    k->request_most =
        (uint32_t)limit(known ? get32(q.answer + 8) : 0, block_bytes, REQUEST_MOST);
    k->unmap_most = limit(known && q.bytes >= 24 ? get32(q.answer + 20) : 0, block_bytes,
                          BLK_REQUEST_MOST_BYTES);
    k->same_most =
        limit(known && q.bytes >= 44 ? get64(q.answer + 36) : 0, block_bytes, ZERO_MOST);
    if (!k->is_long && k->request_most > 0xffff * (uint64_t)block_bytes) {
        k->request_most = 0xffff * block_bytes; /* 16 bits of blocks in READ (10) */
    }
    r = ask(&k->session, &q, VPD_PROVISIONING, 6, begin_inquiry);
    if (r == 0) {
        k->unmaps = (q.answer[5] & PROVISIONING_UNMAP) != 0;
        k->unmaps_same = (q.answer[5] & PROVISIONING_SAME) != 0;
    }
    return r == -EOPNOTSUPP ? 0 : r;
}

static int ask_mode(struct client *k)
{
    struct question q;
    int r = ask(&k->session, &q, 0, 4, begin_mode);

    if (r == 0) {
        k->blk.read_only |= (q.answer[2] & MODE_WP) != 0;
        k->blk.does_fua = (q.answer[2] & MODE_DPOFUA) != 0;
    }
    return r == -EOPNOTSUPP ? 0 : r;
}

static int take_geometry(struct client *k, uint64_t blocks, uint32_t block_bytes,
                         struct err *e)
{
    uint64_t bytes;

    if (block_bytes < BLK_BLOCK_LEAST_BYTES || block_bytes > BLK_BLOCK_MOST_BYTES ||
        (block_bytes & (block_bytes - 1)) != 0 || blocks == 0 ||
        __builtin_mul_overflow(blocks, block_bytes, &bytes) ||
        bytes > BLK_SIZE_MOST_BYTES) {
        return err_set(e, -EOPNOTSUPP, "cannot use '%s': %llu blocks of %u bytes",
                       k->label, (unsigned long long)blocks, block_bytes);
    }
    if (k->session.ever) {
        return block_bytes == k->blk.block_bytes && bytes >= k->blk.size_bytes ? 0
                                                                               : -ESTALE;
    }
    k->blk.size_bytes = bytes;
    k->blk.block_bytes = block_bytes;
    return 0;
}

/* Is there a disk, and after a lost connection: is it the same one? */
static int identify(struct client *k, struct err *e)
{
    char serial[SERIAL_MOST + 1];
    struct question q;
    int r = ask(&k->session, &q, -1, 36, begin_inquiry);

    if (r == 0 && q.answer[0] != 0) { /* SPC-4, 6.6.2: a disk that is connected */
        r = k->session.ever ? -ESTALE
                            : err_set(e, -ENODEV, "cannot use '%s': unit %d is no disk",
                                      k->label, k->lun);
    }
    r = r != 0 ? r : ask_serial(&k->session, serial);
    if (r == 0 && k->session.ever && strcmp(serial, k->serial) != 0) {
        r = -ESTALE;
    }
    if (r == 0) {
        (void)strcpy(k->serial, serial);
    }
    return r;
}

static int greet(struct remote_session *s, struct err *e)
{
    struct client *k = client_at(s);
    struct remote_command ready = {.begin = begin_ready};
    uint64_t blocks = 0;
    uint32_t block_bytes = 0;
    int r;

    k->lun = s->url.lun;
    r = identify(k, e);
    r = r != 0 ? r : remote_session_try(s, &ready);
    r = r != 0 ? r : ask_capacity(k, &blocks, &block_bytes);
    r = r != 0 ? r : take_geometry(k, blocks, block_bytes, e);
    if (r != 0 || s->ever) {
        return r;
    }
    k->zeroes = k->is_long;
    k->syncs = true;
    r = ask_abilities(k, block_bytes);
    r = r != 0 ? r : ask_mode(k);
    k->blk.zeroes_fast = k->zeroes && k->unmaps_same && k->reads_zeros;
    return r;
}

/* ---- life ---- */

static void client_destroy(struct blk *b)
{
    struct client *k = client_of(b);

    remote_session_stop(&k->session);
    free(k->label);
    free(k);
}

static const struct blk_ops client_ops = {
    .name = "iscsi",
    .read = client_read,
    .write = client_write,
    .zero = client_zero,
    .discard = client_discard,
    .flush = client_flush,
    .status = client_status,
    .destroy = client_destroy,
};

/* The URL without who we say that we are. */
static char *without_secret(const char *url)
{
    const char *from = strstr(url, "://");
    const char *at = from != NULL ? strchr(from, '@') : NULL;
    char *text = fault_strdup(url);

    if (text != NULL && at != NULL) {
        (void)strcpy(text + (from + 3 - url), at + 1);
    }
    return text;
}

int remote_iscsi_create(struct loop *l, const struct remote_iscsi_options *o,
                        struct blk **ret_disk, struct err *e)
{
    struct client *k = fault_calloc(1, sizeof *k);
    int r;

    if (k == NULL) {
        return err_sys(e, -ENOMEM, "cannot connect to a target");
    }
    blk_init(&k->blk, &client_ops, loop_strands(l));
    k->blk.read_only = o->read_only;
    k->session.loop = l;
    k->session.strands = loop_strands(l);
    k->session.greet = greet;
    k->label = without_secret(o->url);
    if (k->label == NULL) {
        r = err_sys(e, -ENOMEM, "cannot connect to a target");
    } else {
        k->blk.label = k->label;
        k->session.label = k->label;
        r = remote_session_start(&k->session, o, e);
    }
    if (r != 0) {
        client_destroy(&k->blk);
        return r;
    }
    *ret_disk = &k->blk;
    return 0;
}
