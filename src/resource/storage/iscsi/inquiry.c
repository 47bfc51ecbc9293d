/* inquiry.c - who a unit is and what it can: INQUIRY and its pages, capacities. */
#include <string.h>

#include "contract/blk_ops.h"
#include "resource/storage/iscsi/bytes.h"
#include "resource/storage/iscsi/scsi.h"

#define VENDOR         "STRATA  "
#define PRODUCT        "VIRTUAL-DISK    "
#define REVISION       "1   "
#define NO_UNIT        0x7f /* peripheral qualifier 3, type 1Fh */
#define STANDARD_BYTES 96

static void put_text(uint8_t *at, const char *text, size_t bytes)
{
    size_t n = strlen(text);

    memset(at, ' ', bytes);
    memcpy(at, text, n < bytes ? n : bytes);
}

/* SPC-4 6.6.2; version descriptors 6.6.2 table 142. */
static size_t standard(const struct scsi_command *c)
{
    static const uint16_t versions[] = {0x00a0 /* SAM-5 */, 0x0960 /* iSCSI */,
                                        0x0460 /* SPC-4 */, 0x04c0 /* SBC-3 */};
    uint8_t *b = c->data;

    memset(b, 0, STANDARD_BYTES);
    b[0] = c->unit == NULL ? NO_UNIT : 0;
    b[2] = 6;           /* SPC-4 */
    b[3] = 0x10 | 0x02; /* HISUP, format */
    b[4] = STANDARD_BYTES - 5;
    b[5] = 0x10;                                             /* TPGS: implicit */
    b[6] = c->unit != NULL && c->unit->ports > 1 ? 0x10 : 0; /* MULTIP */
    b[7] = 0x02;                                             /* CMDQUE */
    put_text(b + 8, VENDOR, 8);
    put_text(b + 16, PRODUCT, 16);
    put_text(b + 32, REVISION, 4);
    for (unsigned i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        put16(b + 58 + 2 * i, versions[i]);
    }
    return STANDARD_BYTES;
}

static size_t page_list(const struct scsi_command *c)
{
    static const uint8_t pages[] = {0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2};

    memcpy(c->data + 4, pages, sizeof pages);
    return sizeof pages;
}

static size_t page_serial(const struct scsi_command *c)
{
    size_t n = strlen(c->unit->serial);

    memcpy(c->data + 4, c->unit->serial, n);
    return n;
}

/* A designator of page 83h: its head, and room behind it. */
static uint8_t *designator(uint8_t **at, uint8_t set, uint8_t type, size_t bytes)
{
    uint8_t *b = *at;

    b[0] = (uint8_t)((type & 0x10) != 0 ? 0x50 | set : set); /* iSCSI, when of a port */
    b[1] = (uint8_t)((type & 0x10) != 0 ? 0x80 | type : type);
    b[2] = 0;
    b[3] = (uint8_t)bytes;
    *at = b + 4 + bytes;
    return b + 4;
}

/* SPC-4 7.8.6: vendor and serial, NAA, relative port, port group. */
static size_t page_identity(const struct scsi_command *c)
{
    const struct scsi_unit *u = c->unit;
    uint8_t *at = c->data + 4;
    size_t n = strlen(u->serial);
    uint8_t *d = designator(&at, 2, 1, 8 + n);

    put_text(d, VENDOR, 8);
    memcpy(d + 8, u->serial, n);
    memcpy(designator(&at, 1, 3, sizeof u->id), u->id, sizeof u->id);
    d = designator(&at, 1, 0x14, 4);
    put32(d, c->nexus->port);
    d = designator(&at, 1, 0x15, 4);
    put32(d, 1);
    return (size_t)(at - c->data) - 4;
}

/* SBC-3 6.6.4. */
static size_t page_limits(const struct scsi_command *c)
{
    const struct scsi_unit *u = c->unit;
    uint8_t *b = c->data;
    uint32_t most = SCSI_TRANSFER_MOST >> u->shift;
    uint32_t granule = SCSI_GRANULE_BYTES >> u->shift;

    b[4] = 1; /* WSNZ */
    b[5] = SCSI_CAW_MOST;
    put16(b + 6, granule);
    put32(b + 8, most);
    put32(b + 12, most);
    put32(b + 16, most);
    if (!u->read_only) {
        put32(b + 20, SCSI_SAME_MOST);
        put32(b + 24, SCSI_UNMAP_MOST);
        put32(b + 28, granule);
        put32(b + 32, 0x80000000u); /* UGAVALID, aligned to 0 */
        put64(b + 36, SCSI_SAME_MOST);
    }
    return 0x3c;
}

static size_t page_characteristics(const struct scsi_command *c)
{
    put16(c->data + 4, 1); /* does not rotate */
    return 0x3c;
}

/* SBC-3 6.6.6: UNMAP and WRITE SAME give room back, which then reads zeros. */
static size_t page_provisioning(const struct scsi_command *c)
{
    c->data[5] = 0x80 | 0x40 | 0x20 | 0x04; /* LBPU LBPWS LBPWS10 LBPRZ */
    c->data[6] = 2;                         /* thin */
    return 4;
}

static size_t page(const struct scsi_command *c, uint8_t code)
{
    switch (code) {
    case 0x00:
        return page_list(c);
    case 0x80:
        return page_serial(c);
    case 0x83:
        return page_identity(c);
    case 0xb0:
        return page_limits(c);
    case 0xb1:
        return page_characteristics(c);
    default:
        return page_provisioning(c);
    }
}

static bool knows_page(uint8_t code)
{
    return code == 0x00 || code == 0x80 || code == 0x83 || (code >= 0xb0 && code <= 0xb2);
}

void scsi_inquiry(struct scsi_command *c)
{
    bool wants_page = (c->cdb[1] & 1) != 0;
    size_t n;

    if ((c->cdb[1] & ~1u) != 0) {
        scsi_fail_field(c, 1);
        return;
    }
    if (!wants_page) {
        if (c->cdb[2] != 0) {
            scsi_fail_field(c, 2);
        } else {
            scsi_answer(c, standard(c));
        }
        return;
    }
    if (c->unit == NULL) {
        scsi_fail(c, SCSI_ILLEGAL_REQUEST, SCSI_ASC_NO_UNIT);
        return;
    }
    if (!knows_page(c->cdb[2])) {
        scsi_fail_field(c, 2);
        return;
    }
    memset(c->data, 0, 4 + 0x3c);
    n = page(c, c->cdb[2]);
    c->data[0] = 0;
    c->data[1] = c->cdb[2];
    put16(c->data + 2, (unsigned)n);
    scsi_answer(c, 4 + n);
}

void scsi_read_capacity10(struct scsi_command *c)
{
    uint64_t last = (blk_size(c->unit->edge.disk) >> c->unit->shift) - 1;

    if ((c->cdb[8] & 1) == 0 && get32(c->cdb + 2) != 0) {
        scsi_fail_field(c, 2);
        return;
    }
    put32(c->data, last > UINT32_MAX ? UINT32_MAX : (uint32_t)last);
    put32(c->data + 4, 1u << c->unit->shift);
    scsi_answer(c, 8);
}

/* SBC-3 5.16. */
void scsi_read_capacity16(struct scsi_command *c)
{
    uint64_t last = (blk_size(c->unit->edge.disk) >> c->unit->shift) - 1;
    uint32_t best = c->unit->edge.disk->best_bytes;

    if ((c->cdb[14] & 1) == 0 && get64(c->cdb + 2) != 0) {
        scsi_fail_field(c, 2);
        return;
    }
    memset(c->data, 0, 32);
    put64(c->data, last);
    put32(c->data + 8, 1u << c->unit->shift);
    if (best >> c->unit->shift > 1 && (best & (best - 1)) == 0) {
        unsigned exponent = (unsigned)__builtin_ctz(best) - c->unit->shift;

        c->data[13] = (uint8_t)(exponent < 15 ? exponent : 15);
    }
    c->data[14] = 0x80 | 0x40; /* LBPME LBPRZ */
    scsi_answer(c, 32);
}
