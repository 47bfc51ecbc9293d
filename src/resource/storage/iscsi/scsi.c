/* scsi.c - a command from its CDB to its status.
 *
 * The order of checks is that of SAM-5 5.15: the unit, unit attentions, reservations,
 * then the CDB's fields.  Reads and writes go to the disk as asynchronous requests
 * and are done when the unit reaps them; commands of several steps run in a strand.
 *
 * A command that reads, decides and writes (COMPARE AND WRITE, ORWRITE) has the unit's
 * writes to itself: it waits until none is in work, and later ones wait for it. */
#include "resource/storage/iscsi/scsi.h"

#include <errno.h>
#include <string.h>

#include "resource/storage/iscsi/bytes.h"

#define SENSE_FIXED     0x70 /* SPC-4 4.5.3 */
#define SENSE_VALID     0x80
#define SENSE_FIELD     0x80 /* SKSV */
#define SENSE_IN_CDB    0x40 /* C/D */
#define PROTECT_BITS    0xe0 /* RDPROTECT, WRPROTECT, VRPROTECT */
#define VERIFY_BYTCHK   0x06
#define RESERVE_6       0x16
#define PERSISTENT_OUT  0x5f
#define ACTION_MASK     0x1f
#define WRITE_SAME_NDOB 0x01

/* ---- ends ---- */

void scsi_good(struct scsi_command *c)
{
    c->status = SCSI_GOOD;
    c->done(c);
}

static void set_sense(struct scsi_command *c, enum scsi_key key, enum scsi_sense asc)
{
    memset(c->sense, 0, sizeof c->sense);
    c->sense[0] = SENSE_FIXED;
    c->sense[2] = (uint8_t)key;
    c->sense[7] = SCSI_SENSE_BYTES - 8;
    put16(c->sense + 12, asc);
    c->sense_bytes = SCSI_SENSE_BYTES;
    c->status = SCSI_CHECK_CONDITION;
    c->in_bytes = 0;
}

void scsi_fail(struct scsi_command *c, enum scsi_key key, enum scsi_sense asc)
{
    set_sense(c, key, asc);
    c->done(c);
}

void scsi_sense_information(struct scsi_command *c, uint32_t value)
{
    c->sense[0] |= SENSE_VALID;
    put32(c->sense + 3, value);
}

static void set_field(struct scsi_command *c, unsigned byte)
{
    set_sense(c, SCSI_ILLEGAL_REQUEST, SCSI_ASC_BAD_FIELD);
    c->sense[15] = SENSE_FIELD | SENSE_IN_CDB;
    put16(c->sense + 16, byte);
}

void scsi_fail_field(struct scsi_command *c, unsigned byte)
{
    set_field(c, byte);
    c->done(c);
}

void scsi_answer(struct scsi_command *c, size_t bytes)
{
    c->in_bytes = bytes < c->wanted ? bytes : c->wanted;
    scsi_good(c);
}

void scsi_finish(struct scsi_command *c, int result)
{
    bool writes = c->out || c->writing;

    switch (result) {
    case 0:
        scsi_good(c);
        return;
    case -ENOMEM:
        c->status = SCSI_BUSY;
        c->in_bytes = 0;
        c->done(c);
        return;
    case -ENOSPC:
        scsi_fail(c, SCSI_DATA_PROTECT, SCSI_ASC_SPACE);
        return;
    case -EROFS:
        scsi_fail(c, SCSI_DATA_PROTECT, SCSI_ASC_WRITE_PROTECTED);
        return;
    case -ERANGE:
        scsi_fail(c, SCSI_ILLEGAL_REQUEST, SCSI_ASC_BAD_LBA);
        return;
    case -ENODEV:
    case -ESHUTDOWN:
        scsi_fail(c, SCSI_HARDWARE_ERROR, SCSI_ASC_INTERNAL);
        return;
    default:
        scsi_fail(c, SCSI_MEDIUM_ERROR,
                  writes ? SCSI_ASC_WRITE_ERROR : SCSI_ASC_READ_ERROR);
    }
}

/* ---- the CDB ---- */

static const struct scsi_row *find_row(const struct scsi_command *c)
{
    for (unsigned i = 0; i < scsi_row_count; i++) {
        const struct scsi_row *r = &scsi_rows[i];

        if (r->opcode == c->cdb[0] &&
            (r->action < 0 || r->action == (c->cdb[1] & ACTION_MASK))) {
            return r;
        }
    }
    return NULL;
}

static bool knows_opcode(uint8_t opcode)
{
    for (unsigned i = 0; i < scsi_row_count; i++) {
        if (scsi_rows[i].opcode == opcode) {
            return true;
        }
    }
    return false;
}

/* First block and their number, by the length of the CDB (SPC-4 4.2.5.1). */
static void read_range(struct scsi_command *c)
{
    const uint8_t *b = c->cdb;

    switch (b[0] >> 5) {
    case 0:
        c->lba = get24(b + 1) & 0x1fffff;
        c->blocks = b[4] == 0 ? 256 : b[4];
        break;
    case 1:
    case 2:
        c->lba = get32(b + 2);
        c->blocks = get16(b + 7);
        break;
    case 5:
        c->lba = get32(b + 2);
        c->blocks = get32(b + 6);
        break;
    default:
        c->lba = get64(b + 2);
        c->blocks = c->row->shape == SCSI_TWICE_OUT ? b[13] : get32(b + 10);
    }
}

static uint32_t read_length(const struct scsi_command *c)
{
    const uint8_t *at = c->cdb + c->row->length_at;

    switch (c->row->length_bytes) {
    case 1:
        return *at;
    case 2:
        return get16(at);
    case 4:
        return get32(at);
    default:
        return 8; /* READ CAPACITY(10) has no length */
    }
}

/* Bytes that the blocks stand for. */
static uint32_t block_bytes(const struct scsi_command *c)
{
    uint32_t all = c->blocks << c->unit->shift;

    switch (c->row->shape) {
    case SCSI_BLOCKS_NONE:
        return 0;
    case SCSI_BLOCKS_CHECK:
        switch (c->cdb[1] & VERIFY_BYTCHK) {
        case 0:
            return 0;
        case VERIFY_BYTCHK:
            return c->blocks > 0 ? 1u << c->unit->shift : 0;
        default:
            return all;
        }
    case SCSI_ONE_BLOCK:
        return c->cdb[0] == 0x93 && (c->cdb[1] & WRITE_SAME_NDOB) != 0
                   ? 0
                   : 1u << c->unit->shift;
    case SCSI_TWICE_OUT:
        return 2 * all;
    default:
        return all;
    }
}

/* The range lies on the unit and is not too much for one command. */
static bool check_range(struct scsi_command *c)
{
    uint64_t size = blk_size(c->unit->edge.disk) >> c->unit->shift;
    bool moves = c->row->shape != SCSI_BLOCKS_NONE && c->row->shape != SCSI_ONE_BLOCK;

    if (c->cdb[0] >= 0x20 && (c->cdb[1] & PROTECT_BITS) != 0 &&
        c->row->shape != SCSI_BLOCKS_NONE) {
        set_field(c, 1); /* there is no protection information */
        return false;
    }
    if (c->lba > size || c->blocks > size - c->lba) {
        set_sense(c, SCSI_ILLEGAL_REQUEST, SCSI_ASC_BAD_LBA);
        return false;
    }
    if (c->lba == size && c->row->shape != SCSI_BLOCKS_NONE) {
        set_sense(c, SCSI_ILLEGAL_REQUEST, SCSI_ASC_BAD_LBA);
        return false;
    }
    if (moves && c->blocks > SCSI_TRANSFER_MOST >> c->unit->shift) {
        set_field(c, c->cdb[0] >= 0x80 ? 10 : 7);
        return false;
    }
    return true;
}

static bool read_fields(struct scsi_command *c)
{
    c->out = c->row->shape == SCSI_PARAMETER || c->row->shape >= SCSI_BLOCKS_OUT;
    if (c->row->shape == SCSI_ANSWER || c->row->shape == SCSI_PARAMETER) {
        c->wanted = read_length(c);
        if (c->out && c->wanted > SCSI_CONTROL_BYTES) {
            set_sense(c, SCSI_ILLEGAL_REQUEST, SCSI_ASC_PARAMETER_LENGTH);
            return false;
        }
        return true;
    }
    if (c->row->shape != SCSI_NO_DATA) {
        read_range(c);
        if (!check_range(c)) {
            return false;
        }
        c->wanted = block_bytes(c);
    }
    return true;
}

/* A unit attention is told once, with the first command that may be told of it. */
static bool tell_attention(struct scsi_command *c)
{
    unsigned which;

    if (c->row->access == SCSI_ACCESS_ALWAYS || c->nexus->attentions == 0) {
        return false;
    }
    which = (unsigned)__builtin_ctz(c->nexus->attentions);
    c->nexus->attentions &= c->nexus->attentions - 1;
    set_sense(c, SCSI_UNIT_ATTENTION, scsi_attention_sense((enum scsi_attention)which));
    return true;
}

/* The disk has another size than initiators were told. */
static void note_size(struct scsi_unit *u)
{
    uint64_t now = blk_size(u->edge.disk);

    if (now != u->told_bytes) {
        u->told_bytes = now;
        scsi_attention(u, SCSI_UA_CAPACITY_CHANGED, NULL);
    }
}

/* Commands that work without a unit (SPC-4 6.6, 6.33, 6.39). */
static bool needs_no_unit(const struct scsi_row *row)
{
    return row->access == SCSI_ACCESS_ALWAYS;
}

static bool check_unit(struct scsi_command *c)
{
    if (c->unit == NULL) {
        if (needs_no_unit(c->row)) {
            return true;
        }
        set_sense(c, SCSI_ILLEGAL_REQUEST, SCSI_ASC_NO_UNIT);
        return false;
    }
    note_size(c->unit);
    if (tell_attention(c)) {
        return false;
    }
    if (scsi_conflicts(c)) {
        c->status = SCSI_RESERVATION_CONFLICT;
        return false;
    }
    if (c->unit->stopped && (c->row->access == SCSI_ACCESS_READ ||
                             c->row->access == SCSI_ACCESS_WRITE || c->cdb[0] == 0)) {
        set_sense(c, SCSI_NOT_READY, SCSI_ASC_STOPPED);
        return false;
    }
    return true;
}

bool scsi_prepare(struct scsi_command *c)
{
    c->status = SCSI_GOOD;
    c->sense_bytes = 0;
    c->wanted = 0;
    c->out = false;
    c->writing = false;
    c->in_bytes = 0;
    c->out_bytes = 0;
    c->row = find_row(c);
    if (c->row == NULL) {
        if (knows_opcode(c->cdb[0])) {
            set_field(c, 1);
        } else {
            set_sense(c, SCSI_ILLEGAL_REQUEST,
                      c->unit == NULL ? SCSI_ASC_NO_UNIT : SCSI_ASC_BAD_OPCODE);
        }
        return false;
    }
    if (!check_unit(c) || !read_fields(c)) {
        return false;
    }
    if (c->row->changes && (c->unit->read_only || c->unit->protect)) {
        set_sense(c, SCSI_DATA_PROTECT, SCSI_ASC_WRITE_PROTECTED);
        return false;
    }
    return true;
}

size_t scsi_room(const struct scsi_command *c)
{
    switch (c->row->shape) {
    case SCSI_NO_DATA:
    case SCSI_BLOCKS_NONE:
        return 0;
    case SCSI_ANSWER:
        return SCSI_CONTROL_BYTES;
    default:
        return c->wanted;
    }
}

/* ---- running ---- */

static void in_strand(void *arg)
{
    struct scsi_command *c = arg;
    struct scsi_unit *u = c->unit;

    c->row->run(c);
    if (u != NULL && --u->strands == 0) {
        (void)strand_wake_all(&u->idle);
    }
}

void scsi_run(struct scsi_command *c)
{
    if (!c->row->strand) {
        c->row->run(c);
        return;
    }
    c->unit->strands++;
    if (strand_start(loop_strands(c->unit->loop), in_strand, c) != 0) {
        c->unit->strands--;
        scsi_finish(c, -ENOMEM);
    }
}
