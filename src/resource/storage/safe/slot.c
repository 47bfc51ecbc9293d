/* slot.c - two places written in turn.
 *
 * Layout of a place (little endian):
 *
 *      0  magic            8
 *      8  version          4
 *     12  payload bytes    4
 *     16  sequence         8   1, 2, 3 ...; the place is sequence & 1
 *     24  zero            12
 *     36  CRC-32C          4   over head and payload, this field as zero
 *     40  payload
 *
 * A record is written to the place that has the older one, so a power cut leaves the
 * newer one whole.  A store that failed has an unknown place; the next one has the
 * same sequence and goes to the same place. */
#include "resource/storage/safe/slot.h"

#include <errno.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/blk.h"
#include "resource/storage/safe/bytes.h"

enum {
    AT_MAGIC = 0,
    AT_VERSION = 8,
    AT_BYTES = 12,
    AT_SEQUENCE = 16,
    AT_CRC = 36,
};

static uint32_t sum(const uint8_t *place, size_t payload)
{
    static const uint8_t none[4];
    uint32_t crc = crc32c(0, place, AT_CRC);

    crc = crc32c(crc, none, 4);
    return crc32c(crc, place + SLOT_HEAD_BYTES, payload);
}

/* 0 or why this place has no record. */
static int judge(const struct slot *s, const uint8_t *place, unsigned which)
{
    uint32_t payload = bytes_get32(place + AT_BYTES);

    if (bytes_get64(place + AT_MAGIC) != s->magic) {
        return -ENOENT;
    }
    if (payload > s->bytes - SLOT_HEAD_BYTES ||
        sum(place, payload) != bytes_get32(place + AT_CRC) ||
        (bytes_get64(place + AT_SEQUENCE) & 1) != which) {
        return -EUCLEAN;
    }
    return bytes_get32(place + AT_VERSION) == s->version ? 0 : -EOPNOTSUPP;
}

int slot_load(struct slot *s, void *to, size_t *ret_bytes)
{
    SCOPED(scope_free) uint8_t *place = fault_aligned(4096, s->bytes);
    int worst = -ENOENT;
    int r;

    s->sequence = 0;
    if (place == NULL) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < 2; i++) {
        r = blk_read(s->disk, place, s->bytes, s->off + (uint64_t)i * s->bytes);
        r = r == 0 ? judge(s, place, i) : r;
        if (r == 0 && bytes_get64(place + AT_SEQUENCE) > s->sequence) {
            s->sequence = bytes_get64(place + AT_SEQUENCE);
            *ret_bytes = bytes_get32(place + AT_BYTES);
            memcpy(to, place + SLOT_HEAD_BYTES, *ret_bytes);
        }
        worst = r != 0 && r != -ENOENT ? r : worst;
    }
    return s->sequence != 0 ? 0 : worst;
}

int slot_store(struct slot *s, const void *payload, size_t bytes)
{
    SCOPED(scope_free) uint8_t *place = fault_aligned(4096, s->bytes);
    uint64_t sequence = s->sequence + 1;
    int r;

    if (place == NULL || bytes > s->bytes - SLOT_HEAD_BYTES) {
        return place == NULL ? -ENOMEM : -E2BIG;
    }
    bytes_put64(place + AT_MAGIC, s->magic);
    bytes_put32(place + AT_VERSION, s->version);
    bytes_put32(place + AT_BYTES, (uint32_t)bytes);
    bytes_put64(place + AT_SEQUENCE, sequence);
    memcpy(place + SLOT_HEAD_BYTES, payload, bytes);
    bytes_put32(place + AT_CRC, sum(place, bytes));
    r = blk_write(s->disk, place, s->bytes, s->off + (sequence & 1) * s->bytes, BLK_FUA);
    if (r == 0) {
        s->sequence = sequence;
    }
    return r;
}
