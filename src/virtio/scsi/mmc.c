/* mmc.c - commands of a CD drive. */
#include "virtio/scsi/mmc.h"

#include <string.h>

#define MSF_FIRST     150u /* blocks before the first one: MMC 4.2.3 */
#define BLOCKS_CD     (80u * 60 * 75)
#define TRACK_DATA    0x14u /* a position; data, no copies are forbidden */
#define TRACK_OUT     0xaau /* behind the last track */
#define PROFILE_CD    0x0008u
#define PROFILE_DVD   0x0010u
#define TRANSFER_MOST (UINT32_C(1) << 24) /* bytes of one command */

/* Sense: the key, and the additional code with its qualifier (SPC 4.5). */
enum sense {
    SENSE_NONE = 0x000000,
    SENSE_NO_DISC = 0x023a00,
    SENSE_READ = 0x031100,
    SENSE_OPCODE = 0x052000,
    SENSE_RANGE = 0x052100,
    SENSE_FIELD = 0x052400,
    SENSE_UNIT = 0x052500,
    SENSE_LOCKED = 0x055302,
    SENSE_NEW_DISC = 0x062800,
};

static void put(uint8_t *at, unsigned bytes, uint64_t v)
{
    for (unsigned i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(v >> ((bytes - 1 - i) * 8));
    }
}

static uint32_t get(const uint8_t *at, unsigned bytes)
{
    uint32_t v = 0;

    for (unsigned i = 0; i < bytes; i++) {
        v = v << 8 | at[i];
    }
    return v;
}

static void set_sense(uint8_t to[MMC_SENSE_BYTES], enum sense s)
{
    memset(to, 0, MMC_SENSE_BYTES);
    to[0] = 0x70; /* of this command, in the fixed format */
    to[2] = (uint8_t)((unsigned)s >> 16);
    to[7] = MMC_SENSE_BYTES - 8;
    put(to + 12, 2, (unsigned)s & 0xffff);
}

static void fail(struct mmc_command *c, enum sense s)
{
    c->status = MMC_CHECK;
    c->bytes = 0;
    c->disc_bytes = 0;
    set_sense(c->sense, s);
}

void mmc_fail_read(struct mmc_command *c)
{
    fail(c, SENSE_READ);
}

/* An answer of so many bytes, cut to what the command has room for. */
static void answer(struct mmc_command *c, uint32_t bytes, uint32_t room)
{
    c->bytes = bytes < room ? bytes : room;
}

/* ---- about the drive ---- */

static void text(uint8_t *to, const char *s, size_t bytes)
{
    memset(to, ' ', bytes);
    memcpy(to, s, strlen(s));
}

static void inquiry(struct mmc_command *c, bool is_unit)
{
    uint8_t *d = c->data;

    if ((c->cdb[1] & 1) != 0) { /* vital data: which there is of it */
        if (c->cdb[2] != 0) {
            fail(c, SENSE_FIELD);
            return;
        }
        d[0] = is_unit ? 0x05 : 0x7f;
        d[3] = 1;
        answer(c, 5, get(c->cdb + 3, 2));
        return;
    }
    if (c->cdb[2] != 0) {
        fail(c, SENSE_FIELD);
        return;
    }
    d[0] = is_unit ? 0x05 : 0x7f; /* a CD drive; nothing */
    d[1] = 0x80;                  /* discs can be taken out */
    d[2] = 0x05;                  /* SPC-3 */
    d[3] = 0x02;
    d[4] = 31;
    text(d + 8, "STRATA", 8);
    text(d + 16, "CD-ROM", 16);
    text(d + 32, "1.0", 4);
    answer(c, 36, get(c->cdb + 3, 2));
}

static void report_luns(struct mmc_command *c)
{
    put(c->data, 4, 8); /* one, whose number is 0 */
    answer(c, 16, get(c->cdb + 6, 4));
}

static void request_sense(struct mmc_command *c)
{
    set_sense(c->data, SENSE_NONE); /* each command has told its own */
    answer(c, MMC_SENSE_BYTES, c->cdb[4]);
}

/* MMC 6.27: "capabilities and mechanical status", the only page beside that of errors. */
static uint32_t mode_pages(const struct mmc_drive *d, uint8_t *to, unsigned page)
{
    uint32_t n = 0;

    if (page == 0x01 || page == 0x3f) {
        to[n] = 0x01;
        to[n + 1] = 10;
        to[n + 3] = 5; /* tries */
        n += 12;
    }
    if (page == 0x2a || page == 0x3f) {
        to[n] = 0x2a;
        to[n + 1] = 20;
        to[n + 2] = 0x3b; /* reads CD-R, CD-RW, DVD-ROM, DVD-R */
        to[n + 4] = 0x70; /* multiple sessions, both forms of mode 2 */
        to[n + 5] = 0;
        to[n + 6] = (uint8_t)(0x29 | (d->is_locked ? 2 : 0)); /* a tray, locks, ejects */
        put(to + n + 8, 2, 0x0b00);
        put(to + n + 12, 2, 512);
        put(to + n + 14, 2, 0x0b00);
        n += 22;
    }
    return n;
}

static void mode_sense(const struct mmc_drive *d, struct mmc_command *c)
{
    bool is_long = c->cdb[0] == 0x5a;
    unsigned head = is_long ? 8 : 4;
    uint32_t n = 0;

    if ((c->cdb[2] & 0xc0) != 0xc0) { /* none are saved */
        n = mode_pages(d, c->data + head, c->cdb[2] & 0x3f);
    }
    if (n == 0) {
        fail(c, SENSE_FIELD);
        return;
    }
    if ((c->cdb[2] & 0xc0) == 0x40) { /* nothing can be changed */
        for (uint32_t at = head; at < head + n; at += 2u + c->data[at + 1]) {
            memset(c->data + at + 2, 0, c->data[at + 1]);
        }
    }
    put(c->data, is_long ? 2 : 1, head + n - (is_long ? 2 : 1));
    answer(c, head + n, is_long ? get(c->cdb + 7, 2) : c->cdb[4]);
}

static void feature(uint8_t **at, unsigned code, unsigned bits, const uint8_t *more,
                    unsigned bytes)
{
    put(*at, 2, code);
    (*at)[2] = (uint8_t)bits;
    (*at)[3] = (uint8_t)bytes;
    memcpy(*at + 4, more, bytes);
    *at += 4 + bytes;
}

/* MMC 6.6: features from a number on, only those that there are now, or one. */
static void configuration(const struct mmc_drive *d, struct mmc_command *c)
{
    bool is_dvd = d->blocks > BLOCKS_CD;
    unsigned first = get(c->cdb + 2, 2);
    unsigned how = c->cdb[1] & 3;
    uint8_t there = d->is_open ? 0 : 1;

    const struct {
        uint16_t code;
        uint8_t bits, bytes;
        uint8_t more[8];
    } rows[] = {
        {0x0000, 0x03, 8, {0, 0x10, is_dvd && there, 0, 0, 0x08, !is_dvd && there, 0}},
        {0x0001, 0x0b, 8, {0, 0, 0, 1, 1, 0, 0, 0}},                 /* core: SCSI */
        {0x0003, 0x03, 4, {0x29, 0, 0, 0}},                          /* a tray */
        {0x0010, (uint8_t)(4 | there), 8, {0, 0, 8, 0, 0, 1, 0, 0}}, /* read anywhere */
        {0x001e, (uint8_t)(8 | (there && !is_dvd)), 4, {0}},         /* CDs, */
        {0x001f, (uint8_t)(there && is_dvd), 4, {0}},                /* DVDs */
    };

    uint8_t *at = c->data + 8;

    put(c->data + 6, 2, d->is_open ? 0 : is_dvd ? PROFILE_DVD : PROFILE_CD);
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bool is_now = (rows[i].bits & 1) != 0;

        if (how == 2 ? rows[i].code == first
                     : rows[i].code >= first && (how == 0 || is_now)) {
            feature(&at, rows[i].code, rows[i].bits, rows[i].more, rows[i].bytes);
        }
    }
    put(c->data, 4, (uint64_t)(at - c->data) - 4);
    answer(c, (uint32_t)(at - c->data), get(c->cdb + 7, 2));
}

/* MMC 6.7: what is asked for again and again. */
static void event_status(struct mmc_drive *d, struct mmc_command *c)
{
    if ((c->cdb[1] & 1) == 0) { /* answered once there is one */
        fail(c, SENSE_FIELD);
        return;
    }
    c->data[3] = 0x10; /* events of discs only */
    if ((c->cdb[4] & 0x10) == 0) {
        put(c->data, 2, 2);
        c->data[2] = 0x80; /* of another class: there is none */
        answer(c, 4, get(c->cdb + 7, 2));
        return;
    }
    put(c->data, 2, 6);
    c->data[2] = 0x04;
    c->data[4] = d->is_new ? 2 : 0; /* it came */
    c->data[5] = d->is_open ? 1 : 2;
    answer(c, 8, get(c->cdb + 7, 2));
}

static void mechanism(const struct mmc_drive *d, struct mmc_command *c)
{
    c->data[1] = d->is_open ? 0x10 : 0;
    answer(c, 8, get(c->cdb + 8, 2));
}

/* Without a disc it has nothing to start: SBC 5.20, MMC 6.42. */
static void start_stop(struct mmc_drive *d, struct mmc_command *c)
{
    bool loads = (c->cdb[4] & 1) != 0;

    if ((c->cdb[4] & 2) == 0 || (c->cdb[4] & 0xf0) != 0) {
        return;
    }
    if (!loads && d->is_locked) {
        fail(c, SENSE_LOCKED);
        return;
    }
    d->is_new = loads && (d->is_open || d->is_new);
    d->is_open = !loads;
}

/* ---- about the disc ---- */

/* An address as block or as minute, second, frame. */
static void put_address(uint8_t *to, uint32_t lba, bool is_msf)
{
    uint32_t frame = lba + MSF_FIRST;

    if (!is_msf) {
        put(to, 4, lba);
        return;
    }
    to[0] = 0;
    to[1] = (uint8_t)(frame / (75 * 60));
    to[2] = (uint8_t)(frame / 75 % 60);
    to[3] = (uint8_t)(frame % 75);
}

static uint32_t blocks_of(const struct mmc_drive *d)
{
    return d->blocks > UINT32_MAX ? UINT32_MAX : (uint32_t)d->blocks;
}

static uint8_t *entry(uint8_t *to, unsigned track, uint32_t lba, bool is_msf)
{
    to[1] = TRACK_DATA;
    to[2] = (uint8_t)track;
    put_address(to + 4, lba, is_msf);
    return to + 8;
}

/* "Full": as the disc has it in its lead-in, MMC 6.26.3.4. */
static uint8_t *raw_entry(uint8_t *to, unsigned point, uint32_t lba, unsigned track)
{
    to[0] = 1;
    to[1] = TRACK_DATA;
    to[3] = (uint8_t)point;
    if (track != 0) {
        to[8] = (uint8_t)track;
    } else {
        uint8_t at[4];

        put_address(at, lba, true);
        memcpy(to + 8, at + 1, 3);
    }
    return to + 11;
}

static void table_of_contents(const struct mmc_drive *d, struct mmc_command *c)
{
    bool is_msf = (c->cdb[1] & 2) != 0;
    unsigned format = (c->cdb[2] & 0xf) != 0 ? c->cdb[2] & 0xf : c->cdb[9] >> 6;
    unsigned first = c->cdb[6];
    uint8_t *at = c->data + 4;

    c->data[2] = c->data[3] = 1; /* one track, or one session */
    if (format > 2 || (format == 0 && first > 1 && first != TRACK_OUT)) {
        fail(c, SENSE_FIELD);
        return;
    }
    if (format == 0 && first <= 1) {
        at = entry(at, 1, 0, is_msf);
    }
    if (format == 0) {
        at = entry(at, TRACK_OUT, blocks_of(d), is_msf);
    } else if (format == 1) {
        at = entry(at, 1, 0, is_msf);
    } else {
        at = raw_entry(at, 0xa0, 0, 1);
        at = raw_entry(at, 0xa1, 0, 1);
        at = raw_entry(at, 0xa2, blocks_of(d), 0);
        at = raw_entry(at, 1, 0, 0);
    }
    put(c->data, 2, (uint64_t)(at - c->data) - 2);
    answer(c, (uint32_t)(at - c->data), get(c->cdb + 7, 2));
}

static void disc_information(struct mmc_command *c)
{
    if ((c->cdb[1] & 7) != 0) {
        fail(c, SENSE_FIELD);
        return;
    }
    put(c->data, 2, 32);
    c->data[2] = 0x0e; /* complete, as its last session is */
    c->data[3] = c->data[4] = c->data[5] = c->data[6] = 1;
    c->data[7] = 0x20;
    memset(c->data + 16, 0xff, 8); /* no more sessions */
    answer(c, 34, get(c->cdb + 7, 2));
}

static void capacity(const struct mmc_drive *d, struct mmc_command *c)
{
    put(c->data, 4, blocks_of(d) - 1);
    put(c->data + 4, 4, MMC_BLOCK_BYTES);
    answer(c, 8, 8);
}

static void read_blocks(const struct mmc_drive *d, struct mmc_command *c)
{
    uint64_t lba = get(c->cdb + 2, 4);
    uint64_t count = c->cdb[0] == 0xa8 ? get(c->cdb + 6, 4) : get(c->cdb + 7, 2);

    if (lba > d->blocks || count > d->blocks - lba) {
        fail(c, SENSE_RANGE);
    } else if (count * MMC_BLOCK_BYTES > TRANSFER_MOST) {
        fail(c, SENSE_FIELD);
    } else {
        c->off = lba * MMC_BLOCK_BYTES;
        c->disc_bytes = count * MMC_BLOCK_BYTES;
    }
}

/* What a drive without a disc answers, too, and what is not told of a new one (MMC 4.1.6.1). */
static bool do_always(struct mmc_drive *d, struct mmc_command *c, bool is_unit)
{
    switch (c->cdb[0]) {
    case 0x12:
        inquiry(c, is_unit);
        return true;
    case 0xa0:
        report_luns(c);
        return true;
    case 0x03:
        request_sense(c);
        return true;
    case 0x46:
        configuration(d, c);
        return true;
    case 0x4a:
        event_status(d, c);
        return true;
    default:
        return false;
    }
}

static bool do_without_disc(struct mmc_drive *d, struct mmc_command *c)
{
    switch (c->cdb[0]) {
    case 0x1a:
    case 0x5a:
        mode_sense(d, c);
        return true;
    case 0x1b:
        start_stop(d, c);
        return true;
    case 0x1e:
        d->is_locked = (c->cdb[4] & 1) != 0;
        return true;
    case 0xbd:
        mechanism(d, c);
        return true;
    default:
        return false;
    }
}

static void do_with_disc(struct mmc_drive *d, struct mmc_command *c)
{
    switch (c->cdb[0]) {
    case 0x00:
        break;
    case 0x25:
        capacity(d, c);
        break;
    case 0x28:
    case 0xa8:
        read_blocks(d, c);
        break;
    case 0x43:
        table_of_contents(d, c);
        break;
    case 0x51:
        disc_information(c);
        break;
    default:
        fail(c, SENSE_OPCODE);
    }
}

void mmc_do(struct mmc_drive *d, struct mmc_command *c, bool is_unit)
{
    c->status = MMC_GOOD;
    c->bytes = 0;
    c->off = c->disc_bytes = 0;
    memset(c->data, 0, sizeof c->data);
    if (do_always(d, c, is_unit)) {
        return;
    }
    if (!is_unit) {
        fail(c, SENSE_UNIT);
    } else if (d->is_new && !d->is_open) {
        d->is_new = false;
        fail(c, SENSE_NEW_DISC);
    } else if (!do_without_disc(d, c)) {
        if (d->is_open) {
            fail(c, SENSE_NO_DISC);
        } else {
            do_with_disc(d, c);
        }
    }
}
