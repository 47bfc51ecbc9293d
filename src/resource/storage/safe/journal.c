/* journal.c - batches of records, one behind the other, from the start of the area.
 *
 * Layout of a batch (little endian), padded to whole units of 4096 bytes:
 *
 *      0  magic              8
 *      8  id of the owner    8
 *     16  stream             8   random, drawn at each restart
 *     24  index              8   0, 1, 2 ...: of the batch in its stream
 *     32  bytes of records   4
 *     36  CRC-32C            4   over head and records, this field as zero
 *     40  records: length    4, bytes; ...
 *
 * A restart writes an empty batch with index 0 and a new stream over the first one.  The
 * batches of the newest stream are those from the start as long as stream and index
 * fit; a torn one is the last.  One batch is written at a time, so that none behind a
 * torn one was acknowledged.  Records that come meanwhile wait for the next batch together:
 * many writers cost one write. */
#include "resource/storage/safe/journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/crc32c.h"
#include "base/fault.h"
#include "contract/blk_ops.h"
#include "resource/storage/safe/bytes.h"

#define MAGIC      0x6c6e6a6174727473u /* "strtajnl" */
#define UNIT_BYTES 4096u
#define HEAD_BYTES 40u
#define BATCH_MOST 262144u

static size_t batch_room(const struct journal *j)
{
    uint64_t room = (j->bytes - UNIT_BYTES) / 2 & ~(uint64_t)(UNIT_BYTES - 1);

    return room < BATCH_MOST ? (size_t)room : BATCH_MOST;
}

size_t journal_most(const struct journal *j)
{
    return batch_room(j) - HEAD_BYTES - 4;
}

static size_t padded(size_t records)
{
    return (HEAD_BYTES + records + UNIT_BYTES - 1) & ~(size_t)(UNIT_BYTES - 1);
}

static uint32_t sum(const uint8_t *batch, size_t records)
{
    static const uint8_t none[4];
    uint32_t crc = crc32c(0, batch, 36);

    crc = crc32c(crc, none, 4);
    return crc32c(crc, batch + HEAD_BYTES, records);
}

static int put_batch(struct journal *j, uint8_t *batch, size_t records)
{
    size_t bytes = padded(records);

    memset(batch + HEAD_BYTES + records, 0, bytes - HEAD_BYTES - records);
    bytes_put64(batch, MAGIC);
    bytes_put64(batch + 8, j->id);
    bytes_put64(batch + 16, j->stream);
    bytes_put64(batch + 24, j->index);
    bytes_put32(batch + 32, (uint32_t)records);
    bytes_put32(batch + 36, sum(batch, records));
    return blk_write(j->disk, batch, bytes, j->at + j->place, BLK_FUA);
}

/* ---- append ---- */

/* Write all that waits; the lock is held. */
static int store_batch(struct journal *j)
{
    uint8_t *batch = j->fill;
    size_t records = j->fill_bytes;
    uint64_t last = j->asked;
    int r = -EAGAIN;

    j->fill = j->batch;
    j->fill_bytes = 0;
    j->batch = batch;
    if (!j->broken && j->place + padded(records) <= j->bytes) {
        r = put_batch(j, batch, records); /* the next one goes to the same place */
    }
    if (r == 0) {
        j->place += padded(records);
        j->index++;
    } else {
        j->failed_from = j->stored;
        j->failed_to = last;
        j->failure = r;
    }
    j->stored = last;
    return r;
}

int journal_append(struct journal *j, const void *record, size_t bytes)
{
    uint64_t mine;
    int r = 0;

    if (bytes > journal_most(j)) {
        return -E2BIG;
    }
    while (HEAD_BYTES + j->fill_bytes + 4 + bytes > batch_room(j)) {
        strand_lock(j->disk->strands, &j->lock); /* the waiting ones are too many */
        if (HEAD_BYTES + j->fill_bytes + 4 + bytes > batch_room(j)) {
            (void)store_batch(j);
        }
        strand_unlock(&j->lock);
    }
    bytes_put32(j->fill + HEAD_BYTES + j->fill_bytes, (uint32_t)bytes);
    memcpy(j->fill + HEAD_BYTES + j->fill_bytes + 4, record, bytes);
    j->fill_bytes += 4 + bytes;
    mine = ++j->asked;
    strand_lock(j->disk->strands, &j->lock);
    if (j->stored < mine) {
        r = store_batch(j);
    } else if (mine > j->failed_from && mine <= j->failed_to) {
        r = j->failure;
    }
    strand_unlock(&j->lock);
    return r;
}

uint64_t journal_room(const struct journal *j)
{
    uint64_t left = j->bytes - j->place;

    return j->broken || left < 2 * UNIT_BYTES ? 0 : left - 2 * UNIT_BYTES;
}

int journal_restart(struct journal *j)
{
    int r;

    strand_lock(j->disk->strands, &j->lock);
    if (getrandom(&j->stream, sizeof j->stream, 0) != sizeof j->stream) {
        strand_unlock(&j->lock);
        return -EIO;
    }
    j->place = 0;
    j->index = 0;
    r = put_batch(j, j->batch, 0);
    j->broken = r != 0;
    j->place = UNIT_BYTES;
    j->index = 1;
    strand_unlock(&j->lock);
    return r;
}

/* ---- open ---- */

/* Read the batch at `place`; its records, or false when there is none. */
static int read_batch(struct journal *j, bool *ret_there, size_t *ret_records)
{
    uint32_t records;
    int r;

    *ret_there = false;
    if (j->place + UNIT_BYTES > j->bytes) {
        return 0;
    }
    r = blk_read(j->disk, j->batch, UNIT_BYTES, j->at + j->place);
    records = bytes_get32(j->batch + 32);
    if (r != 0 || bytes_get64(j->batch) != MAGIC || bytes_get64(j->batch + 8) != j->id ||
        bytes_get64(j->batch + 24) != j->index ||
        (j->index > 0 && bytes_get64(j->batch + 16) != j->stream) ||
        records > batch_room(j) - HEAD_BYTES || padded(records) > j->bytes - j->place) {
        return r;
    }
    if (padded(records) > UNIT_BYTES) {
        r = blk_read(j->disk, j->batch + UNIT_BYTES, padded(records) - UNIT_BYTES,
                     j->at + j->place + UNIT_BYTES);
    }
    if (r == 0 && bytes_get32(j->batch + 36) == sum(j->batch, records)) {
        j->stream = bytes_get64(j->batch + 16);
        *ret_there = true;
        *ret_records = records;
    }
    return r;
}

static int replay_batch(const struct journal *j, size_t records,
                        int (*replay)(void *arg, const uint8_t *record, size_t bytes),
                        void *arg)
{
    const uint8_t *at = j->batch + HEAD_BYTES;
    int r = 0;

    while (r == 0 && records >= 4) {
        uint32_t bytes = bytes_get32(at);

        if (bytes > records - 4) {
            return -EUCLEAN;
        }
        r = replay(arg, at + 4, bytes);
        at += 4 + (size_t)bytes;
        records -= 4 + (size_t)bytes;
    }
    return r;
}

int journal_open(struct journal *j,
                 int (*replay)(void *arg, const uint8_t *record, size_t bytes), void *arg)
{
    bool there = true;
    size_t records = 0;
    int r;

    if (j->bytes < 3ull * UNIT_BYTES) {
        return -EUCLEAN;
    }
    j->fill = fault_aligned(4096, batch_room(j) + UNIT_BYTES);
    j->batch = fault_aligned(4096, batch_room(j) + UNIT_BYTES);
    r = j->fill == NULL || j->batch == NULL ? -ENOMEM : 0;
    while (r == 0 && there) {
        r = read_batch(j, &there, &records);
        if (r == 0 && there) {
            r = replay_batch(j, records, replay, arg);
            j->place += padded(records);
            j->index++;
        }
    }
    j->broken = true; /* until it is restarted */
    if (r != 0) {
        journal_close(j);
    }
    return r;
}

void journal_close(struct journal *j)
{
    free(j->fill);
    free(j->batch);
    j->fill = NULL;
    j->batch = NULL;
}
