/* intent.c - sheets of 508 bytes of bits and their CRC-32C, the same on each member.
 *
 * The area begins at `MEMBER_AREA_AT`.  Bit i % 4064 of sheet i / 4064 stands for region
 * i.  A sheet is written whole and is one block, so a power cut leaves it old or new. */
#include "resource/storage/redundancy/intent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/fault.h"
#include "contract/blk_ops.h"
#include "resource/storage/redundancy/member.h"
#include "resource/storage/safe/bytes.h"

#define SHEET_BYTES 512
#define SHEET_BITS  (INTENT_SHEET_ROOM * 8u)

static uint64_t units_for(uint64_t regions)
{
    return (regions + INTENT_UNIT_BITS - 1) / INTENT_UNIT_BITS;
}

uint64_t intent_bytes(uint64_t regions)
{
    return units_for(regions) * INTENT_UNIT_BYTES;
}

int intent_init(struct intent *x, struct member_set *set)
{
    x->set = set;
    x->regions = (set->size + set->unit_bytes - 1) / set->unit_bytes;
    x->units = units_for(x->regions);
    if (x->units > (set->data_at - MEMBER_AREA_AT) / INTENT_UNIT_BYTES) {
        return -EUCLEAN;
    }
    x->marked = fault_calloc(x->regions + 1, 1);
    x->state = fault_calloc(x->units + 1, 1);
    x->batch = fault_aligned(4096, INTENT_UNIT_BYTES);
    return x->marked != NULL && x->state != NULL && x->batch != NULL ? 0 : -ENOMEM;
}

int intent_resize(struct intent *x, uint64_t regions)
{
    uint64_t units = units_for(regions);
    uint8_t *marked;
    uint8_t *state;

    if (units > (x->set->data_at - MEMBER_AREA_AT) / INTENT_UNIT_BYTES) {
        return -ENOSPC;
    }
    marked = fault_calloc(regions + 1, 1);
    state = fault_calloc(units + 1, 1);
    if (marked == NULL || state == NULL) {
        free(marked);
        free(state);
        return -ENOMEM;
    }
    strand_lock(x->set->strands, &x->lock);
    memcpy(marked, x->marked, regions < x->regions ? regions : x->regions);
    memset(state, INTENT_CHANGED, units); /* bits behind an earlier end may stand there */
    free(x->marked);
    free(x->state);
    x->marked = marked;
    x->state = state;
    x->regions = regions;
    x->units = units;
    strand_unlock(&x->lock);
    return 0;
}

void intent_fini(struct intent *x)
{
    free(x->marked);
    free(x->state);
    free(x->batch);
}

/* ---- a unit and its bits ---- */

static void fill_unit(const struct intent *x, uint64_t unit)
{
    memset(x->batch, 0, INTENT_UNIT_BYTES);
    for (uint64_t i = 0; i < INTENT_UNIT_BITS; i++) {
        uint64_t region = unit * INTENT_UNIT_BITS + i;

        if (region < x->regions && x->marked[region] != 0) {
            x->batch[i / SHEET_BITS * SHEET_BYTES + i % SHEET_BITS / 8] |=
                (uint8_t)(1u << (i % 8));
        }
    }
    for (unsigned i = 0; i < INTENT_UNIT_BYTES; i += SHEET_BYTES) {
        bytes_put32(x->batch + i + INTENT_SHEET_ROOM,
                    crc32c(0, x->batch + i, INTENT_SHEET_ROOM));
    }
}

static void add_sheet(struct intent *x, uint64_t first, const uint8_t *sheet)
{
    static const uint8_t never_written[SHEET_BYTES];
    bool bad =
        bytes_get32(sheet + INTENT_SHEET_ROOM) != crc32c(0, sheet, INTENT_SHEET_ROOM) &&
        memcmp(sheet, never_written, SHEET_BYTES) != 0;

    for (uint64_t i = 0; i < SHEET_BITS && first + i < x->regions; i++) {
        if (bad || (sheet[i / 8] >> (i % 8) & 1) != 0) {
            x->marked[first + i] = 1;
        }
    }
}

int intent_load(struct intent *x, unsigned role)
{
    struct blk *disk = x->set->edge[role].disk;
    int r = 0;

    for (uint64_t u = 0; r == 0 && u < x->units; u++) {
        r = blk_read(disk, x->batch, INTENT_UNIT_BYTES,
                     MEMBER_AREA_AT + u * INTENT_UNIT_BYTES);
        for (unsigned i = 0; r == 0 && i < 8; i++) {
            add_sheet(x, u * INTENT_UNIT_BITS + (uint64_t)i * SHEET_BITS,
                      x->batch + (size_t)i * SHEET_BYTES);
        }
    }
    return r;
}

/* ---- durable marks ---- */

/* A follower does without: its primary waits for nobody. */
static bool wants_marks(const struct member_set *s, const struct member *m)
{
    return member_is_live(m) && (!s->async || m->state == MEMBER_IN_SYNC);
}

/* One unit to all members that are in; who fails is dropped if that is possible. */
static int put_unit(struct intent *x, uint64_t unit)
{
    struct member_set *s = x->set;
    struct blk_request request[MEMBER_MOST];
    unsigned role[MEMBER_MOST];
    struct iovec piece = {x->batch, INTENT_UNIT_BYTES};
    unsigned n = 0;
    int r = 0;

    x->state[unit] = INTENT_WRITING;
    fill_unit(x, unit);
    for (unsigned i = 0; i < s->count; i++) {
        if (wants_marks(s, &s->member[i])) {
            request[n] = (struct blk_request){
                .disk = s->edge[i].disk,
                .kind = BLK_WRITE,
                .flags = BLK_FUA,
                .off = MEMBER_AREA_AT + unit * INTENT_UNIT_BYTES,
                .vec = {.iov = &piece, .bytes = INTENT_UNIT_BYTES},
            };
            role[n++] = i;
        }
    }
    if (member_run(request, n) != 0) {
        for (unsigned i = 0; i < n; i++) {
            if (request[i].result != 0) {
                s->member[role[i]].errors++;
                r = member_drop(s, role[i]) ? r : request[i].result;
            }
        }
    }
    x->state[unit] &= (uint8_t)~INTENT_WRITING;
    x->state[unit] |= r != 0 ? INTENT_CHANGED : 0;
    return r;
}

int intent_put(struct intent *x)
{
    int r = 0;

    strand_lock(x->set->strands, &x->lock);
    for (uint64_t u = 0; r == 0 && u < x->units; u++) {
        if (x->state[u] != 0) {
            r = put_unit(x, u);
        }
    }
    strand_unlock(&x->lock);
    return r;
}

int intent_mark(struct intent *x, uint64_t first, uint64_t end)
{
    bool durable = true;

    for (uint64_t i = first; i < end; i++) {
        if (x->marked[i] == 0) {
            x->marked[i] = 1;
            x->state[i / INTENT_UNIT_BITS] |= INTENT_CHANGED;
        }
        durable = durable && x->state[i / INTENT_UNIT_BITS] == 0;
    }
    return durable ? 0 : intent_put(x);
}

void intent_clear(struct intent *x, uint64_t region)
{
    if (x->marked[region] != 0) {
        x->marked[region] = 0;
        x->state[region / INTENT_UNIT_BITS] |= INTENT_CHANGED;
    }
}

void intent_change_all(struct intent *x)
{
    memset(x->state, INTENT_CHANGED, x->units);
}
