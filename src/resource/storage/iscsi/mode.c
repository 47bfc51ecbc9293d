/* mode.c - mode pages (SPC-4 7.5, SBC-3 6.5), and the state that START STOP UNIT and
 * PREVENT ALLOW MEDIUM REMOVAL change. */
#include <string.h>

#include "resource/storage/iscsi/bytes.h"
#include "resource/storage/iscsi/scsi.h"

#define PAGE_CACHING    0x08
#define PAGE_CONTROL    0x0a
#define PAGE_FAILURES   0x1c /* informational exceptions control */
#define PAGE_ALL        0x3f
#define SWP             0x08
#define ONLY_CHANGEABLE 1
#define SAVED           3

/* A page with its head at `at`; its length. */
static size_t put_page(const struct scsi_unit *u, uint8_t *at, uint8_t code,
                       unsigned control)
{
    size_t n = code == PAGE_CACHING ? 18 : 10;

    memset(at, 0, 2 + n);
    at[0] = code;
    at[1] = (uint8_t)n;
    if (code == PAGE_CONTROL) {
        if (control == ONLY_CHANGEABLE) {
            at[4] = SWP;
        } else {
            at[3] = 0x10; /* commands in any order */
            at[4] = control == 0 && u->protect ? SWP : 0;
        }
    } else if (code == PAGE_CACHING && control != ONLY_CHANGEABLE) {
        at[2] = 0x04; /* WCE */
    }
    return 2 + n;
}

/* The pages that were asked for, from `at` on; 0: there is none of that code. */
static size_t put_pages(const struct scsi_command *c, uint8_t *at)
{
    static const uint8_t codes[] = {PAGE_CACHING, PAGE_CONTROL, PAGE_FAILURES};
    unsigned control = c->cdb[2] >> 6;
    uint8_t wanted = c->cdb[2] & 0x3f;
    size_t n = 0;

    for (unsigned i = 0; i < sizeof codes; i++) {
        if (wanted == codes[i] || wanted == PAGE_ALL) {
            n += put_page(c->unit, at + n, codes[i], control);
        }
    }
    return n;
}

/* A block descriptor behind the head: short, or long with LLBAA. */
static size_t put_descriptor(const struct scsi_command *c, uint8_t *at, bool big)
{
    uint64_t blocks = blk_size(c->unit->edge.disk) >> c->unit->shift;

    if ((c->cdb[1] & 0x08) != 0) { /* DBD */
        return 0;
    }
    if (big) {
        memset(at, 0, 16);
        put64(at, blocks);
        put32(at + 12, 1u << c->unit->shift);
        return 16;
    }
    put32(at, blocks > UINT32_MAX ? UINT32_MAX : (uint32_t)blocks);
    put32(at + 4, 1u << c->unit->shift);
    return 8;
}

static bool check_sense_fields(struct scsi_command *c)
{
    if (c->cdb[2] >> 6 == SAVED) {
        scsi_fail(c, SCSI_ILLEGAL_REQUEST, SCSI_ASC_NOT_SAVED);
        return false;
    }
    if (c->cdb[3] != 0 && c->cdb[3] != 0xff) {
        scsi_fail_field(c, 3);
        return false;
    }
    return true;
}

static uint8_t device_specific(const struct scsi_unit *u)
{
    return (uint8_t)((u->read_only || u->protect ? 0x80 : 0) | 0x10); /* WP, DPOFUA */
}

void scsi_mode_sense6(struct scsi_command *c)
{
    size_t descriptor;
    size_t n;

    if (!check_sense_fields(c)) {
        return;
    }
    descriptor = put_descriptor(c, c->data + 4, false);
    n = put_pages(c, c->data + 4 + descriptor);
    if (n == 0) {
        scsi_fail_field(c, 2);
        return;
    }
    n += 4 + descriptor;
    c->data[0] = (uint8_t)(n - 1);
    c->data[1] = 0;
    c->data[2] = device_specific(c->unit);
    c->data[3] = (uint8_t)descriptor;
    scsi_answer(c, n);
}

void scsi_mode_sense10(struct scsi_command *c)
{
    bool big = (c->cdb[1] & 0x10) != 0; /* LLBAA */
    size_t descriptor;
    size_t n;

    if (!check_sense_fields(c)) {
        return;
    }
    descriptor = put_descriptor(c, c->data + 8, big);
    n = put_pages(c, c->data + 8 + descriptor);
    if (n == 0) {
        scsi_fail_field(c, 2);
        return;
    }
    n += 8 + descriptor;
    memset(c->data, 0, 8);
    put16(c->data, (unsigned)n - 2);
    c->data[3] = device_specific(c->unit);
    c->data[4] = big && descriptor > 0 ? 1 : 0;
    put16(c->data + 6, (unsigned)descriptor);
    scsi_answer(c, n);
}

/* Whether a page differs from the current one only where it may; false: failed. */
static bool check_page(struct scsi_command *c, const uint8_t *at, size_t bytes)
{
    uint8_t now[32];
    uint8_t may[32];
    uint8_t code = at[0] & 0x3f;
    size_t n;

    if (code != PAGE_CONTROL && code != PAGE_CACHING && code != PAGE_FAILURES) {
        scsi_fail(c, SCSI_ILLEGAL_REQUEST, SCSI_ASC_BAD_PARAMETER);
        return false;
    }
    n = put_page(c->unit, now, code, 0);
    (void)put_page(c->unit, may, code, ONLY_CHANGEABLE);
    if (bytes < n || at[1] != n - 2) {
        scsi_fail(c, SCSI_ILLEGAL_REQUEST, SCSI_ASC_PARAMETER_LENGTH);
        return false;
    }
    for (size_t i = 2; i < n; i++) {
        if (((at[i] ^ now[i]) & ~may[i]) != 0) {
            scsi_fail(c, SCSI_ILLEGAL_REQUEST, SCSI_ASC_BAD_PARAMETER);
            return false;
        }
    }
    return true;
}

static void select_pages(struct scsi_command *c, size_t head, size_t descriptor)
{
    size_t at = head + descriptor;
    bool protect = c->unit->protect;

    if (c->out_bytes < c->wanted || at > c->wanted) {
        scsi_fail(c, SCSI_ILLEGAL_REQUEST, SCSI_ASC_PARAMETER_LENGTH);
        return;
    }
    while (at + 2 <= c->wanted) {
        if (!check_page(c, c->data + at, c->wanted - at)) {
            return;
        }
        if ((c->data[at] & 0x3f) == PAGE_CONTROL) {
            protect = (c->data[at + 4] & SWP) != 0;
        }
        at += 2u + c->data[at + 1];
    }
    if (protect != c->unit->protect) {
        c->unit->protect = protect;
        scsi_attention(c->unit, SCSI_UA_MODE_CHANGED, c->nexus);
    }
    scsi_good(c);
}

static bool check_select_fields(struct scsi_command *c, size_t head)
{
    if ((c->cdb[1] & 0x10) == 0 || (c->cdb[1] & 1) != 0) { /* PF; SP: nothing is saved */
        scsi_fail_field(c, 1);
        return false;
    }
    if (c->wanted == 0) {
        scsi_good(c);
        return false;
    }
    if (c->wanted < head || c->out_bytes < head) {
        scsi_fail(c, SCSI_ILLEGAL_REQUEST, SCSI_ASC_PARAMETER_LENGTH);
        return false;
    }
    return true;
}

void scsi_mode_select6(struct scsi_command *c)
{
    if (check_select_fields(c, 4)) {
        select_pages(c, 4, c->data[3]);
    }
}

void scsi_mode_select10(struct scsi_command *c)
{
    if (check_select_fields(c, 8)) {
        select_pages(c, 8, get16(c->data + 6));
    }
}

/* Stopping puts down what is held back; in a strand. */
void scsi_start_stop(struct scsi_command *c)
{
    unsigned condition = c->cdb[4] >> 4;
    bool start = (c->cdb[4] & 1) != 0;
    bool eject = (c->cdb[4] & 2) != 0;
    bool no_flush = (c->cdb[4] & 4) != 0;

    if (condition != 0) {
        scsi_good(c); /* all power conditions are alike here */
        return;
    }
    if (eject) {
        scsi_fail_field(c, 4); /* nothing to eject */
        return;
    }
    if (!start && !no_flush && !c->unit->read_only) {
        int r = blk_flush(c->unit->edge.disk);

        if (r != 0) {
            scsi_finish(c, r);
            return;
        }
    }
    c->unit->stopped = !start;
    scsi_good(c);
}

void scsi_prevent_allow(struct scsi_command *c)
{
    c->nexus->prevents = (c->cdb[4] & 1) != 0;
    scsi_good(c);
}
