/* log.c - what the controller tells of itself: events, and pages of logs.  NVMe 5.2 and 5.14. */
#include <string.h>

#include "virt/monitor/nvme/private.h"

#define LOG_BYTES_MOST 4096u
#define KEEPS_EVENT    0x8000u /* dw10 of Get Log Page */
#define UNITS          1000u   /* of data, in 512 bytes: 5.14.1.2 */
#define SPARE_PERCENT  100u

/* ---- events ---- */

/* Of the log that says more of it: NVMe 5.2. */
static uint32_t log_of(unsigned what)
{
    static const uint8_t logs[NVME_EVENT_COUNT] = {NVME_LOG_ERRORS, NVME_LOG_HEALTH,
                                                   NVME_LOG_NAMESPACES};

    return logs[what];
}

void nvme_give_events(struct nvme *n)
{
    struct nvme_choice *c = &n->choice;

    for (unsigned i = 0; i < NVME_EVENT_COUNT && n->work == NVME_RUNS; i++) {
        struct nvme_request *r = c->raised[i] != 0 && !c->masked[i] && c->asyncs > 0
                                     ? nvme_request_get(n)
                                     : NULL;

        if (r != NULL) {
            r->sq = &n->sq[0];
            r->sq->running++;
            r->c = (struct nvme_command){.id = c->async[0]};
            r->result = i | (c->raised[i] - 1u) << 8 | log_of(i) << 16;
            c->asyncs--;
            memmove(c->async, c->async + 1, c->asyncs * sizeof c->async[0]);
            c->raised[i] = 0;
            c->masked[i] = 1;
            nvme_end(r, NVME_OK);
        }
    }
}

void nvme_raise(struct nvme *n, enum nvme_event what, unsigned info)
{
    if (n->is_up) {
        n->choice.raised[what] = (uint8_t)(info + 1);
        nvme_give_events(n);
    }
}

/* ---- the pages ---- */

static void put(uint8_t *page, unsigned at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        page[at + i] = (uint8_t)(value >> i * 8);
    }
}

/* NVMe 5.14.1.1: the latest first. */
void nvme_note_error(struct nvme_request *r)
{
    struct nvme *n = r->nvme;
    uint8_t *e = n->errors;

    memmove(e + ERROR_BYTES, e, sizeof n->errors - ERROR_BYTES);
    memset(e, 0, ERROR_BYTES);
    n->counters.failures++;
    put(e, 0, n->counters.failures, 8);
    put(e, 8, r->sq->id, 2);
    put(e, 10, r->c.id, 2);
    put(e, 12, (uint64_t)r->status << 1, 2);
    put(e, 14, 0xffff, 2); /* which field it was is not said */
    put(e, 16, r->sq->id != 0 ? r->c.dw10 | (uint64_t)r->c.dw11 << 32 : 0, 8);
    put(e, 24, r->c.nsid, 4);
}

/* NVMe 5.14.1.2. */
static void describe_health(const struct nvme *n, uint8_t *page)
{
    const struct nvme_counters *c = &n->counters;
    bool is_odd = n->choice.hot <= TEMPERATURE || n->choice.cold >= TEMPERATURE;

    put(page, 0, is_odd ? 2 : 0, 1);
    put(page, 1, TEMPERATURE, 2);
    put(page, 3, SPARE_PERCENT, 1);
    put(page, 4, 10, 1);
    put(page, 32, (c->read_blocks + UNITS - 1) / UNITS, 8);
    put(page, 48, (c->written_blocks + UNITS - 1) / UNITS, 8);
    put(page, 64, c->reads, 8);
    put(page, 80, c->writes, 8);
    put(page, 176, c->failures, 8);
}

/* How long the page is; 0: there is none. */
static uint32_t describe(const struct nvme *n, uint32_t which, uint8_t *page)
{
    switch (which) {
    case NVME_LOG_ERRORS:
        memcpy(page, n->errors, sizeof n->errors);
        return sizeof n->errors;
    case NVME_LOG_HEALTH:
        describe_health(n, page);
        return 512;
    case NVME_LOG_FIRMWARE:
        put(page, 0, 1, 1); /* the first slot */
        memcpy(page + 8, "1       ", 8);
        return 512;
    case NVME_LOG_NAMESPACES:
        put(page, 0, n->choice.changed ? NVME_NSID : 0, 4);
        return LOG_BYTES_MOST;
    default:
        return 0;
    }
}

/* Who has read the log of an event wants to hear of the next one. */
static void see(struct nvme *n, uint32_t which)
{
    if (which == NVME_LOG_NAMESPACES) {
        n->choice.changed = false;
    }
    for (unsigned i = 0; i < NVME_EVENT_COUNT; i++) {
        if (log_of(i) == which) {
            n->choice.masked[i] = 0;
        }
    }
    nvme_give_events(n);
}

/* NVMe 5.14: behind the end of a page nothing is written. */
uint16_t nvme_get_log(struct nvme_request *r)
{
    uint8_t page[LOG_BYTES_MOST] = {0};
    uint32_t which = r->c.dw10 & 0xff;
    uint64_t bytes = ((uint64_t)(r->c.dw11 & 0xffff) << 16 | (r->c.dw10 >> 16)) * 4 + 4;
    uint64_t from = r->c.dw12 | (uint64_t)r->c.dw13 << 32;
    uint32_t have = describe(r->nvme, which, page);
    uint16_t status;

    if (have == 0) {
        return NVME_INVALID_LOG;
    }
    if (bytes > TRANSFER_BYTES || from % 4 != 0 || from > have ||
        (r->c.nsid != 0 && r->c.nsid != NVME_NSID_ALL &&
         (r->c.nsid != NVME_NSID || which == NVME_LOG_HEALTH))) {
        return NVME_INVALID_FIELD;
    }
    status = nvme_map(r, (uint32_t)bytes, true);
    if (status != NVME_OK) {
        return status;
    }
    bytes = bytes < have - from ? bytes : have - from;
    blk_vec_put((struct blk_vec){.iov = r->vec, .bytes = bytes}, page + from);
    nvme_tell_space(r);
    if ((r->c.dw10 & KEEPS_EVENT) == 0) {
        see(r->nvme, which);
    }
    return NVME_OK;
}
