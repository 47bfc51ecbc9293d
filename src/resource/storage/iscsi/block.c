/* block.c - reads, writes and what compares them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/iscsi/bytes.h"
#include "resource/storage/iscsi/scsi.h"

#define CDB_FUA     0x08
#define BYTCHK      0x06
#define BYTCHK_NONE 0x00
#define BYTCHK_ALL  0x02
#define BYTCHK_ONE  0x06
#define BYTCHK_BAD  0x04
#define PART_BYTES  ((size_t)1024 * 1024)

static unsigned fua(const struct scsi_command *c)
{
    return c->cdb[0] >= 0x20 && (c->cdb[1] & CDB_FUA) != 0 ? (unsigned)BLK_FUA : 0;
}

static uint64_t offset(const struct scsi_command *c)
{
    return c->lba << c->unit->shift;
}

/* ---- a write among others ---- */

/* In a strand. */
static void begin_write(struct scsi_command *c)
{
    struct scsi_unit *u = c->unit;

    while (u->exclusive) {
        strand_wait(loop_strands(u->loop), &u->not_exclusive);
    }
    u->writes++;
    c->writing = true;
}

static void end_write(struct scsi_command *c)
{
    struct scsi_unit *u = c->unit;

    if (c->writing) {
        c->writing = false;
        if (--u->writes == 0 && u->exclusive) {
            (void)strand_wake_all(&u->no_writes);
        }
    }
}

/* Have the unit's writes for this command alone; in a strand. */
static void begin_exclusive(struct scsi_unit *u)
{
    strand_lock(loop_strands(u->loop), &u->lock);
    u->exclusive = true;
    while (u->writes > 0) {
        strand_wait(loop_strands(u->loop), &u->no_writes);
    }
}

static void end_exclusive(struct scsi_unit *u)
{
    u->exclusive = false;
    strand_unlock(&u->lock);
    if (!u->exclusive) {
        (void)strand_wake_all(&u->not_exclusive);
    }
}

/* ---- reads and writes ---- */

static void submit(struct scsi_command *c, enum blk_kind kind, size_t bytes)
{
    c->piece = (struct iovec){c->data, bytes};
    c->blk = (struct blk_request){
        .kind = kind,
        .flags = kind == BLK_WRITE ? fua(c) : 0,
        .off = offset(c),
        .bytes = bytes,
        .vec = {.iov = &c->piece, .bytes = bytes},
    };
    c->unit->queue.disk = c->unit->edge.disk;
    blk_submit(&c->unit->queue, &c->blk);
}

void scsi_unit_reap(struct scsi_unit *u)
{
    for (struct blk_request *b = blk_reap(&u->queue); b != NULL;) {
        struct blk_request *next = b->next;
        struct scsi_command *c = (struct scsi_command *)b;

        end_write(c);
        if (b->kind == BLK_READ && b->result == 0) {
            c->in_bytes = c->wanted;
        }
        scsi_finish(c, b->result);
        b = next;
    }
}

void scsi_read(struct scsi_command *c)
{
    if (c->wanted == 0) {
        scsi_good(c);
        return;
    }
    submit(c, BLK_READ, c->wanted);
}

/* Whole blocks that have come: an initiator may announce less than the CDB says. */
static size_t came(const struct scsi_command *c)
{
    size_t n = c->out_bytes < c->wanted ? c->out_bytes : c->wanted;

    return n >> c->unit->shift << c->unit->shift;
}

static void write_later(void *arg)
{
    struct scsi_command *c = arg;
    struct scsi_unit *u = c->unit;

    begin_write(c);
    submit(c, BLK_WRITE, came(c));
    if (--u->strands == 0) {
        (void)strand_wake_all(&u->idle);
    }
}

void scsi_write(struct scsi_command *c)
{
    struct scsi_unit *u = c->unit;

    if (came(c) == 0) {
        scsi_good(c);
        return;
    }
    if (!u->exclusive) {
        u->writes++;
        c->writing = true;
        submit(c, BLK_WRITE, came(c));
        return;
    }
    u->strands++;
    if (strand_start(loop_strands(u->loop), write_later, c) != 0) {
        u->strands--;
        scsi_finish(c, -ENOMEM);
    }
}

/* The range of SYNCHRONIZE CACHE is advice: all of it is flushed. */
void scsi_synchronize(struct scsi_command *c)
{
    c->blk = (struct blk_request){.kind = BLK_FLUSH};
    c->unit->queue.disk = c->unit->edge.disk;
    blk_submit(&c->unit->queue, &c->blk);
}

/* ---- comparing ---- */

/* The first byte where what the disk has differs from `data`, which repeats every
 * `period` bytes; `bytes`: nowhere.  -errno.  In a strand. */
static int64_t compare(struct scsi_command *c, uint64_t off, size_t bytes, size_t period)
{
    size_t room = bytes < PART_BYTES ? bytes : PART_BYTES;
    SCOPED(scope_free) uint8_t *buf = fault_aligned(4096, room);

    if (buf == NULL) {
        return -ENOMEM;
    }
    for (size_t at = 0; at < bytes;) {
        size_t n = bytes - at < room ? bytes - at : room;
        int r = blk_read(c->unit->edge.disk, buf, n, off + at);

        if (r != 0) {
            return r;
        }
        for (size_t i = 0; i < n; i++) {
            if (buf[i] != c->data[(at + i) % period]) {
                return (int64_t)(at + i);
            }
        }
        at += n;
    }
    return (int64_t)bytes;
}

static void fail_compare(struct scsi_command *c, int64_t at)
{
    if (at < 0) {
        scsi_finish(c, (int)at);
        return;
    }
    c->sense_bytes = 0;
    c->status = SCSI_CHECK_CONDITION;
    memset(c->sense, 0, sizeof c->sense);
    c->sense[0] = 0x70;
    c->sense[2] = SCSI_MISCOMPARE;
    c->sense[7] = SCSI_SENSE_BYTES - 8;
    put16(c->sense + 12, SCSI_ASC_MISCOMPARE);
    c->sense_bytes = SCSI_SENSE_BYTES;
    scsi_sense_information(c, (uint32_t)at);
    c->done(c);
}

/* Read the range and throw it away: does the medium give it? */
static int read_only(struct scsi_command *c)
{
    uint64_t bytes = (uint64_t)c->blocks << c->unit->shift;
    size_t room = bytes < PART_BYTES ? (size_t)bytes : PART_BYTES;
    SCOPED(scope_free) void *buf = fault_aligned(4096, room);
    int r = buf == NULL ? -ENOMEM : 0;

    for (uint64_t at = 0; r == 0 && at < bytes; at += room) {
        size_t n = bytes - at < room ? (size_t)(bytes - at) : room;

        r = blk_read(c->unit->edge.disk, buf, n, offset(c) + at);
    }
    return r;
}

void scsi_verify(struct scsi_command *c)
{
    size_t bytes = (size_t)c->blocks << c->unit->shift;
    unsigned check = c->cdb[1] & BYTCHK;
    int64_t at;

    if (check == BYTCHK_BAD) {
        scsi_fail_field(c, 1);
        return;
    }
    if (c->blocks == 0) {
        scsi_good(c);
        return;
    }
    if (check == BYTCHK_NONE) {
        scsi_finish(c, read_only(c));
        return;
    }
    if (check == BYTCHK_ALL && came(c) < bytes) {
        bytes = came(c);
    }
    if (came(c) == 0) {
        scsi_good(c);
        return;
    }
    at = compare(c, offset(c), bytes, check == BYTCHK_ONE ? c->wanted : bytes);
    if (at == (int64_t)bytes) {
        scsi_good(c);
    } else {
        fail_compare(c, at);
    }
}

void scsi_write_verify(struct scsi_command *c)
{
    size_t bytes = came(c);
    int64_t at;
    int r;

    if ((c->cdb[1] & BYTCHK) == BYTCHK_BAD) {
        scsi_fail_field(c, 1);
        return;
    }
    if (bytes == 0) {
        scsi_good(c);
        return;
    }
    begin_write(c);
    r = blk_write(c->unit->edge.disk, c->data, bytes, offset(c), BLK_FUA);
    at = r != 0 ? r : compare(c, offset(c), bytes, bytes);
    end_write(c);
    if (at == (int64_t)bytes) {
        scsi_good(c);
    } else {
        fail_compare(c, at);
    }
}

/* ---- as one ---- */

void scsi_compare_and_write(struct scsi_command *c)
{
    size_t bytes = (size_t)c->blocks << c->unit->shift;
    int64_t at;

    if (c->announced != c->wanted || c->out_bytes < c->wanted) {
        scsi_fail_field(c, 13);
        return;
    }
    if (c->blocks == 0) {
        scsi_good(c);
        return;
    }
    begin_exclusive(c->unit);
    at = compare(c, offset(c), bytes, bytes);
    if (at == (int64_t)bytes) {
        int r = blk_write(c->unit->edge.disk, c->data + bytes, bytes, offset(c), fua(c));

        end_exclusive(c->unit);
        scsi_finish(c, r);
        return;
    }
    end_exclusive(c->unit);
    fail_compare(c, at);
}

static int or_with_disk(struct scsi_command *c, size_t bytes)
{
    SCOPED(scope_free) uint8_t *buf = fault_aligned(4096, bytes);
    int r = buf == NULL ? -ENOMEM : 0;

    if (r == 0) {
        r = blk_read(c->unit->edge.disk, buf, bytes, offset(c));
    }
    if (r == 0) {
        for (size_t i = 0; i < bytes; i++) {
            buf[i] |= c->data[i];
        }
        r = blk_write(c->unit->edge.disk, buf, bytes, offset(c), fua(c));
    }
    return r;
}

void scsi_or_write(struct scsi_command *c)
{
    size_t bytes = came(c);
    int r;

    if (bytes == 0) {
        scsi_good(c);
        return;
    }
    begin_exclusive(c->unit);
    r = or_with_disk(c, bytes);
    end_exclusive(c->unit);
    scsi_finish(c, r);
}

/* ---- thin provisioning ---- */

/* What a descriptor of UNMAP says is on the unit. */
static bool check_unmap(struct scsi_command *c, unsigned count)
{
    uint64_t size = blk_size(c->unit->edge.disk) >> c->unit->shift;
    uint64_t all = 0;

    for (unsigned i = 0; i < count; i++) {
        const uint8_t *d = c->data + 8 + 16 * i;
        uint64_t lba = get64(d);
        uint32_t blocks = get32(d + 8);

        if (lba > size || blocks > size - lba) {
            scsi_fail(c, SCSI_ILLEGAL_REQUEST, SCSI_ASC_BAD_LBA);
            return false;
        }
        all += blocks;
    }
    if (all > SCSI_SAME_MOST) {
        scsi_fail(c, SCSI_ILLEGAL_REQUEST, SCSI_ASC_BAD_PARAMETER);
        return false;
    }
    return true;
}

void scsi_unmap(struct scsi_command *c)
{
    unsigned count;
    int r = 0;

    if ((c->cdb[1] & 1) != 0) {
        scsi_fail_field(c, 1); /* ANCHOR */
        return;
    }
    if (c->wanted == 0) {
        scsi_good(c);
        return;
    }
    if (c->wanted < 8 || c->out_bytes < c->wanted) {
        scsi_fail(c, SCSI_ILLEGAL_REQUEST, SCSI_ASC_PARAMETER_LENGTH);
        return;
    }
    count = get16(c->data + 2) / 16;
    if (count > (c->wanted - 8) / 16 || count > SCSI_UNMAP_MOST) {
        scsi_fail(c, SCSI_ILLEGAL_REQUEST, SCSI_ASC_BAD_PARAMETER);
        return;
    }
    if (!check_unmap(c, count)) {
        return;
    }
    begin_write(c);
    for (unsigned i = 0; i < count && r == 0; i++) {
        const uint8_t *d = c->data + 8 + 16 * i;

        if (get32(d + 8) != 0) {
            r = blk_zero(c->unit->edge.disk, get64(d) << c->unit->shift,
                         (uint64_t)get32(d + 8) << c->unit->shift, BLK_UNMAP);
        }
    }
    end_write(c);
    scsi_finish(c, r);
}

static bool is_zero(const uint8_t *data, size_t bytes)
{
    return data[0] == 0 && memcmp(data, data + 1, bytes - 1) == 0;
}

/* Write the block at `data` over the whole range. */
static int write_repeated(struct scsi_command *c, uint64_t off, uint64_t bytes)
{
    size_t block = (size_t)1 << c->unit->shift;
    size_t room = bytes < PART_BYTES ? (size_t)bytes : PART_BYTES;
    SCOPED(scope_free) uint8_t *buf = fault_aligned(4096, room);
    int r = buf == NULL ? -ENOMEM : 0;

    for (size_t at = 0; r == 0 && at < room; at += block) {
        memcpy(buf + at, c->data, block);
    }
    for (uint64_t at = 0; r == 0 && at < bytes; at += room) {
        size_t n = bytes - at < room ? (size_t)(bytes - at) : room;

        r = blk_write(c->unit->edge.disk, buf, n, off + at, 0);
    }
    return r;
}

void scsi_write_same(struct scsi_command *c)
{
    size_t block = (size_t)1 << c->unit->shift;
    bool unmap = (c->cdb[1] & 0x08) != 0;
    bool no_data = c->wanted == 0;
    uint64_t bytes = (uint64_t)c->blocks << c->unit->shift;
    int r;

    if ((c->cdb[1] & 0x10) != 0) { /* ANCHOR */
        scsi_fail_field(c, 1);
        return;
    }
    if (c->blocks == 0 || c->blocks > SCSI_SAME_MOST) { /* WSNZ */
        scsi_fail_field(c, c->cdb[0] == 0x93 ? 10 : 7);
        return;
    }
    if (!no_data && (c->announced != block || c->out_bytes < block)) {
        scsi_fail(c, SCSI_ILLEGAL_REQUEST, SCSI_ASC_BAD_FIELD);
        return;
    }
    begin_write(c);
    if (no_data || is_zero(c->data, block)) {
        r = blk_zero(c->unit->edge.disk, offset(c), bytes, unmap ? BLK_UNMAP : 0);
    } else {
        r = write_repeated(c, offset(c), bytes);
    }
    end_write(c);
    scsi_finish(c, r);
}

#define LBA_DESCRIPTORS 64

/* SBC-3 5.6: mapped, or deallocated where the disk knows zeros. */
void scsi_lba_status(struct scsi_command *c)
{
    uint64_t size = blk_size(c->unit->edge.disk);
    uint64_t lba = get64(c->cdb + 2);
    uint64_t at = lba << c->unit->shift;
    unsigned n = 0;
    int r = 0;

    if (lba >= size >> c->unit->shift) {
        scsi_fail(c, SCSI_ILLEGAL_REQUEST, SCSI_ASC_BAD_LBA);
        return;
    }
    memset(c->data, 0, 8);
    while (r == 0 && at < size && n < LBA_DESCRIPTORS &&
           (n == 0 || 8 + 16 * n < c->wanted)) {
        uint64_t most = (uint64_t)UINT32_MAX << c->unit->shift;
        uint64_t left = size - at < most ? size - at : most;
        struct blk_extent x;

        r = blk_status(c->unit->edge.disk, at, left, &x);
        if (r == 0) {
            uint8_t *d = c->data + 8 + 16 * n++;

            memset(d, 0, 16);
            put64(d, at >> c->unit->shift);
            put32(d + 8, (uint32_t)(x.bytes >> c->unit->shift));
            d[12] = (x.state & BLK_DATA) != 0 ? 0 : 1;
            at += x.bytes;
        }
    }
    if (r != 0) {
        scsi_finish(c, r);
        return;
    }
    put32(c->data, 4 + 16 * n);
    scsi_answer(c, 8 + 16 * (size_t)n);
}
