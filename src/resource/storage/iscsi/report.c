/* report.c - REPORT LUNS, TARGET PORT GROUPS, SUPPORTED OPERATION CODES; REQUEST SENSE. */
#include <string.h>

#include "resource/storage/iscsi/bytes.h"
#include "resource/storage/iscsi/scsi.h"

/* SPC-4 6.33: single level, flat addresses from 256 on (SAM-5 4.7.7). */
void scsi_report_luns(struct scsi_command *c)
{
    uint8_t *at = c->data + 8;
    unsigned n = 0;

    if (c->cdb[2] > 2) {
        scsi_fail_field(c, 2);
        return;
    }
    if (c->wanted < 16) {
        scsi_fail_field(c, 6);
        return;
    }
    memset(c->data, 0, 8);
    for (unsigned i = 0; c->cdb[2] != 1 && i < c->view->count; i++) {
        const struct scsi_unit *u = c->view->nexus[i].unit;

        memset(at, 0, 8);
        put16(at, u->lun < 256 ? u->lun : 0x4000u | u->lun);
        at += 8;
        n++;
    }
    put32(c->data, 8 * n);
    scsi_answer(c, 8 + 8 * (size_t)n);
}

/* SPC-4 6.37: one group with all ports, active and optimized. */
void scsi_report_port_groups(struct scsi_command *c)
{
    bool extended = c->cdb[1] >> 5 == 1;
    uint8_t *b = c->data;
    size_t head = extended ? 8 : 4;
    size_t n = head;

    if (c->cdb[1] >> 5 > 1) {
        scsi_fail_field(c, 1);
        return;
    }
    memset(b, 0, head + 8);
    b[4] = extended ? 0x10 : b[4]; /* format type */
    b[n + 1] = 1;                  /* active and optimized is all there is */
    put16(b + n + 2, 1);           /* group */
    b[n + 7] = (uint8_t)c->unit->ports;
    n += 8;
    for (unsigned i = 1; i <= c->unit->ports; i++) {
        put32(b + n, i);
        n += 4;
    }
    put32(b, (uint32_t)n - 4);
    scsi_answer(c, n);
}

static unsigned cdb_bytes(uint8_t opcode)
{
    static const uint8_t by_group[] = {6, 10, 10, 10, 16, 12, 12, 12};

    return by_group[opcode >> 5];
}

static size_t all_opcodes(const struct scsi_command *c, bool timeouts)
{
    size_t n = 4;

    for (unsigned i = 0; i < scsi_row_count; i++) {
        const struct scsi_row *r = &scsi_rows[i];
        uint8_t *b = c->data + n;

        memset(b, 0, 20);
        b[0] = r->opcode;
        put16(b + 2, r->action < 0 ? 0 : (unsigned)r->action);
        b[5] = (uint8_t)((r->action < 0 ? 0 : 1) | (timeouts ? 2 : 0));
        put16(b + 6, cdb_bytes(r->opcode));
        n += 8;
        if (timeouts) {
            put16(b + 8, 10); /* then zeros: no times are told */
            n += 12;
        }
    }
    put32(c->data, (uint32_t)n - 4);
    return n;
}

static const struct scsi_row *find(uint8_t opcode, int action)
{
    for (unsigned i = 0; i < scsi_row_count; i++) {
        const struct scsi_row *r = &scsi_rows[i];

        if (r->opcode == opcode && (r->action < 0 || r->action == action)) {
            return r;
        }
    }
    return NULL;
}

static bool has_actions(uint8_t opcode)
{
    return opcode == 0x5e || opcode == 0x5f || opcode == 0x9e || opcode == 0xa3;
}

static void one_opcode(struct scsi_command *c, unsigned option, bool timeouts)
{
    uint8_t opcode = c->cdb[3];
    int action = get16(c->cdb + 4);
    const struct scsi_row *r = NULL;
    size_t n = 4;

    if ((option == 1 && has_actions(opcode)) || (option == 2 && !has_actions(opcode))) {
        scsi_fail_field(c, 2);
        return;
    }
    r = find(opcode, action);
    memset(c->data, 0, 4 + SCSI_CDB_BYTES + 12);
    c->data[1] = 1; /* not supported */
    if (r != NULL) {
        unsigned bytes = cdb_bytes(opcode);

        c->data[1] = (uint8_t)(3 | (timeouts ? 0x80 : 0));
        put16(c->data + 2, bytes);
        memcpy(c->data + 4, r->usage, bytes);
        n += bytes;
        if (timeouts) {
            put16(c->data + n, 10);
            n += 12;
        }
    }
    scsi_answer(c, n);
}

/* SPC-4 6.35. */
void scsi_report_opcodes(struct scsi_command *c)
{
    unsigned option = c->cdb[2] & 7;
    bool timeouts = (c->cdb[2] & 0x80) != 0;

    if (option > 3) {
        scsi_fail_field(c, 2);
    } else if (option == 0) {
        scsi_answer(c, all_opcodes(c, timeouts));
    } else {
        one_opcode(c, option, timeouts);
    }
}

/* SPC-4 6.39: what waits is told in the data, with status GOOD. */
void scsi_request_sense(struct scsi_command *c)
{
    bool descriptor = (c->cdb[1] & 1) != 0;
    unsigned key = SCSI_NO_SENSE;
    unsigned asc = SCSI_ASC_NONE;

    if (c->unit == NULL) {
        key = SCSI_ILLEGAL_REQUEST;
        asc = SCSI_ASC_NO_UNIT;
    } else if (c->nexus->attentions != 0) {
        key = SCSI_UNIT_ATTENTION;
        asc = scsi_attention_sense(
            (enum scsi_attention)__builtin_ctz(c->nexus->attentions));
        c->nexus->attentions &= c->nexus->attentions - 1;
    } else if (c->unit->stopped) {
        key = SCSI_NOT_READY;
        asc = SCSI_ASC_STOPPED;
    }
    memset(c->data, 0, SCSI_SENSE_BYTES);
    if (descriptor) {
        c->data[0] = 0x72;
        c->data[1] = (uint8_t)key;
        put16(c->data + 2, asc);
        scsi_answer(c, 8);
        return;
    }
    c->data[0] = 0x70;
    c->data[2] = (uint8_t)key;
    c->data[7] = SCSI_SENSE_BYTES - 8;
    put16(c->data + 12, asc);
    scsi_answer(c, SCSI_SENSE_BYTES);
}
