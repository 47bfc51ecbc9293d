/* admin.c - the administrator's commands: NVMe 5. */
#include "virt/monitor/board/board.h"
#include "virt/monitor/nvme/private.h"
#include "virtio/space.h"

#define CONTIGUOUS 1u /* dw11 of Create */
#define INTERRUPTS 2u

/* A number of a queue that may be made. */
static bool may_be(const struct nvme *n, uint32_t id)
{
    return id >= 1 && id <= n->queues;
}

/* What the driver says of their sizes. */
static bool entries_fit(struct nvme *n)
{
    bool fit;

    board_lock(n->board);
    fit = (n->cc & NVME_CC_SIZES) == NVME_CC_SIZES_OUR;
    board_unlock(n->board);
    return fit;
}

static uint16_t check_place(const struct nvme_request *r, uint32_t entries, size_t bytes)
{
    struct nvme *n = r->nvme;
    bool is_cq = r->c.opcode == NVME_CREATE_CQ;

    if (entries < 2 || entries > ENTRIES_MOST || !entries_fit(n)) {
        return NVME_INVALID_SIZE;
    }
    if ((r->c.dw11 & CONTIGUOUS) == 0) {
        return NVME_INVALID_FIELD;
    }
    if (r->c.prp[0] % NVME_PAGE_BYTES != 0) {
        return NVME_INVALID_PRP_OFFSET;
    }
    return virtio_space_flat(n->space, r->c.prp[0], entries * bytes, is_cq) != NULL
               ? NVME_OK
               : NVME_DATA_TRANSFER;
}

static void reset_bell(struct nvme *n, unsigned i)
{
    atomic_store(&n->bell[i].value, 0);
    atomic_store(&n->bell[i].wanted, false);
    n->bell[i].bad = 0;
}

static uint16_t create_cq(struct nvme_request *r)
{
    struct nvme *n = r->nvme;
    uint32_t id = r->c.dw10 & 0xffff;
    uint32_t entries = (r->c.dw10 >> 16) + 1;
    uint32_t vector = r->c.dw11 >> 16;
    uint16_t status;

    if (!may_be(n, id) || n->cq[id].is_there) {
        return NVME_INVALID_QUEUE;
    }
    status = check_place(r, entries, sizeof(struct nvme_answer));
    if (status == NVME_OK && vector >= n->f.msix.count) {
        status = NVME_INVALID_VECTOR;
    }
    if (status == NVME_OK) {
        reset_bell(n, 2 * id + 1);
        n->cq[id] = (struct nvme_cq){.is_there = true,
                                     .interrupts = (r->c.dw11 & INTERRUPTS) != 0,
                                     .vector = (uint16_t)vector,
                                     .size = entries,
                                     .base = r->c.prp[0]};
        n->choice.has_queues = true;
    }
    return status;
}

static uint16_t create_sq(struct nvme_request *r)
{
    struct nvme *n = r->nvme;
    uint32_t id = r->c.dw10 & 0xffff;
    uint32_t entries = (r->c.dw10 >> 16) + 1;
    uint32_t cq = r->c.dw11 >> 16;
    uint16_t status;

    if (!may_be(n, id) || n->sq[id].is_there) {
        return NVME_INVALID_QUEUE;
    }
    if (!may_be(n, cq) || !n->cq[cq].is_there) {
        return NVME_CQ_INVALID;
    }
    status = check_place(r, entries, sizeof(struct nvme_command));
    if (status == NVME_OK) {
        reset_bell(n, 2 * id);
        n->sq[id] = (struct nvme_sq){.is_there = true,
                                     .id = (uint16_t)id,
                                     .cq = (uint16_t)cq,
                                     .size = entries,
                                     .base = r->c.prp[0]};
    }
    return status;
}

static uint16_t delete_cq(struct nvme_request *r)
{
    struct nvme *n = r->nvme;
    uint32_t id = r->c.dw10 & 0xffff;

    if (!may_be(n, id) || !n->cq[id].is_there) {
        return NVME_INVALID_QUEUE;
    }
    for (unsigned i = 1; i < QUEUES_ALL; i++) {
        if (n->sq[i].is_there && n->sq[i].cq == id) {
            return NVME_INVALID_DELETION;
        }
    }
    n->cq[id] = (struct nvme_cq){0};
    return NVME_OK;
}

/* Its commands end first; answers for which there is no room are given up: NVMe 5.6. */
void nvme_delete_sq(struct nvme *n, struct nvme_sq *sq)
{
    struct nvme_request *deleter = sq->deleter;

    nvme_drop_waiting(n, sq);
    *sq = (struct nvme_sq){.id = sq->id};
    nvme_end(deleter, NVME_OK);
}

static uint16_t delete_sq(struct nvme_request *r)
{
    struct nvme *n = r->nvme;
    uint32_t id = r->c.dw10 & 0xffff;

    if (!may_be(n, id) || !n->sq[id].is_there || n->sq[id].deleter != NULL) {
        return NVME_INVALID_QUEUE;
    }
    n->sq[id].deleter = r;
    if (n->sq[id].running == n->sq[id].waiting) {
        nvme_delete_sq(n, &n->sq[id]);
    }
    return NVME_OK;
}

/* Only what waits for an event: all others end soon. */
static uint16_t abort_command(struct nvme_request *r)
{
    struct nvme_choice *c = &r->nvme->choice;
    struct nvme_request *other;

    r->result = 1; /* it was not */
    for (uint32_t i = 0; i < c->asyncs; i++) {
        other = (r->c.dw10 & 0xffff) == 0 && c->async[i] == r->c.dw10 >> 16
                    ? nvme_request_get(r->nvme)
                    : NULL;
        if (other != NULL) {
            other->sq = r->sq;
            other->sq->running++;
            other->c = (struct nvme_command){.id = c->async[i]};
            c->async[i] = c->async[--c->asyncs];
            r->result = 0;
            nvme_end(other, NVME_ABORTED);
            break;
        }
    }
    nvme_end(r, NVME_OK);
    return NVME_OK;
}

/* It is answered when something happens. */
static uint16_t wait_for_event(struct nvme_request *r)
{
    struct nvme *n = r->nvme;

    if (n->choice.asyncs == ASYNC_MOST) {
        return NVME_TOO_MANY_EVENTS;
    }
    n->choice.async[n->choice.asyncs++] = r->c.id;
    r->sq->running--;
    nvme_request_put(r);
    nvme_give_events(n);
    return NVME_OK;
}

static uint16_t end_if_good(struct nvme_request *r, uint16_t status)
{
    if (status == NVME_OK) {
        nvme_end(r, NVME_OK);
    }
    return status;
}

/* What fails; the others end by themselves. */
static uint16_t begin(struct nvme_request *r)
{
    if (r->c.flags != 0) {
        return NVME_INVALID_FIELD;
    }
    switch (r->c.opcode) {
    case NVME_DELETE_SQ:
        return delete_sq(r);
    case NVME_CREATE_SQ:
        return end_if_good(r, create_sq(r));
    case NVME_GET_LOG:
        return end_if_good(r, nvme_get_log(r));
    case NVME_DELETE_CQ:
        return end_if_good(r, delete_cq(r));
    case NVME_CREATE_CQ:
        return end_if_good(r, create_cq(r));
    case NVME_IDENTIFY:
        return end_if_good(r, nvme_identify(r));
    case NVME_ABORT:
        return abort_command(r);
    case NVME_SET_FEATURES:
        return end_if_good(r, nvme_set_feature(r));
    case NVME_GET_FEATURES:
        return end_if_good(r, nvme_get_feature(r));
    case NVME_ASYNC_EVENT:
        return wait_for_event(r);
    default:
        return NVME_INVALID_OPCODE;
    }
}

void nvme_do_admin(struct nvme_request *r)
{
    uint16_t status = begin(r);

    if (status != NVME_OK) {
        nvme_end(r, status);
    }
}
