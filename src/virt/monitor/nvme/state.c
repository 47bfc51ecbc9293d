/* state.c - the controller in snapshots: registers, queues, what was chosen, and the answers that wait
 * for room.  At rest no command is with the disk. */
#include <string.h>

#include "contract/snap.h"
#include "virt/monitor/nvme/private.h"

static void carry_bells(struct nvme *n, struct snap *s)
{
    for (unsigned i = 0; i < 2 * QUEUES_ALL; i++) {
        uint32_t value = atomic_load(&n->bell[i].value) & 0xffff;
        bool wanted = atomic_load(&n->bell[i].wanted);

        SNAP_FIELD(s, value);
        SNAP_FIELD(s, n->bell[i].bad);
        snap_bool(s, &wanted);
        atomic_store(&n->bell[i].value, value & 0xffff);
        atomic_store(&n->bell[i].wanted, wanted);
    }
}

static bool is_sane_cq(const struct nvme *n, unsigned i)
{
    const struct nvme_cq *cq = &n->cq[i];

    return !cq->is_there ||
           (i <= n->queues && cq->size >= 2 &&
            cq->size <= (i == 0 ? ADMIN_MOST : ENTRIES_MOST) && cq->head < cq->size &&
            cq->tail < cq->size && cq->vector < n->f.msix.count &&
            cq->base % NVME_PAGE_BYTES == 0);
}

static bool is_sane_sq(const struct nvme *n, unsigned i)
{
    const struct nvme_sq *sq = &n->sq[i];

    return !sq->is_there ||
           (i <= n->queues && sq->size >= 2 &&
            sq->size <= (i == 0 ? ADMIN_MOST : ENTRIES_MOST) && sq->head < sq->size &&
            sq->cq <= n->queues && n->cq[sq->cq].is_there && (i == 0) == (sq->cq == 0) &&
            sq->base % NVME_PAGE_BYTES == 0);
}

static void carry_queues(struct nvme *n, struct snap *s)
{
    for (unsigned i = 0; i < QUEUES_ALL; i++) {
        struct nvme_cq *cq = &n->cq[i];

        snap_bool(s, &cq->is_there);
        snap_bool(s, &cq->interrupts);
        snap_bool(s, &cq->is_odd);
        snap_bool(s, &cq->is_fresh);
        SNAP_FIELD(s, cq->vector);
        SNAP_FIELD(s, cq->size);
        SNAP_FIELD(s, cq->base);
        SNAP_FIELD(s, cq->head);
        SNAP_FIELD(s, cq->tail);
    }
    for (unsigned i = 0; i < QUEUES_ALL; i++) {
        struct nvme_sq *sq = &n->sq[i];

        snap_bool(s, &sq->is_there);
        SNAP_FIELD(s, sq->cq);
        SNAP_FIELD(s, sq->size);
        SNAP_FIELD(s, sq->base);
        SNAP_FIELD(s, sq->head);
    }
    for (unsigned i = 0; i < QUEUES_ALL; i++) {
        if (!is_sane_cq(n, i) || !is_sane_sq(n, i)) {
            snap_refuse(s);
        }
    }
    if (n->is_up && (!n->sq[0].is_there || !n->cq[0].is_there)) {
        snap_refuse(s);
    }
}

/* As a driver could have written them. */
static void carry_registers(struct nvme *n, struct snap *s)
{
    SNAP_FIELD(s, n->cc);
    SNAP_FIELD(s, n->csts);
    SNAP_FIELD(s, n->aqa);
    SNAP_FIELD(s, n->masked);
    SNAP_FIELD(s, n->asq);
    SNAP_FIELD(s, n->acq);
    SNAP_FIELD(s, n->raised);
    snap_bool(s, &n->resets);
    snap_bool(s, &n->is_up);
    if ((n->cc & ~NVME_CC_BITS) != 0 || n->csts > NVME_CSTS_BITS ||
        (n->asq | n->acq) % NVME_PAGE_BYTES != 0) {
        snap_refuse(s);
    }
}

static struct nvme_request *load_one(struct nvme *n, struct snap *s)
{
    struct nvme_request *r = nvme_request_get(n);
    uint16_t sq = 0;

    if (r == NULL) {
        snap_refuse(s);
        return NULL;
    }
    SNAP_FIELD(s, sq);
    SNAP_FIELD(s, r->c.id);
    SNAP_FIELD(s, r->status);
    SNAP_FIELD(s, r->result);
    r->status &= 0x7fff;
    if (snap_error(s) != 0 || sq >= QUEUES_ALL || !n->sq[sq].is_there ||
        nvme_is_full(&n->sq[sq])) {
        nvme_request_put(r);
        snap_refuse(s);
        return NULL;
    }
    r->sq = &n->sq[sq];
    return r;
}

static void save_waiting(struct nvme *n, struct snap *s)
{
    for (unsigned i = 0; i < QUEUES_ALL; i++) {
        for (struct nvme_request *r = n->cq[i].first; r != NULL; r = r->next) {
            SNAP_FIELD(s, r->sq->id);
            SNAP_FIELD(s, r->c.id);
            SNAP_FIELD(s, r->status);
            SNAP_FIELD(s, r->result);
        }
    }
}

/* A queue's answers wait in order; each knows the queue of its command. */
static void carry_waiting(struct nvme *n, struct snap *s)
{
    uint64_t count = 0;

    for (unsigned i = 0; i < QUEUES_ALL; i++) {
        count += n->sq[i].waiting;
    }
    count = snap_number(s, count, QUEUES_ALL * RUNNING_MOST);
    if (!s->is_loading) {
        save_waiting(n, s);
        return;
    }
    for (uint64_t i = 0; i < count && snap_error(s) == 0; i++) {
        struct nvme_request *r = load_one(n, s);

        if (r != NULL) {
            r->sq->running++;
            nvme_wait(n, r);
        }
    }
}

static void carry_choice(struct nvme *n, struct snap *s)
{
    struct nvme_choice *c = &n->choice;

    SNAP_FIELD(s, c->feature);
    SNAP_FIELD(s, c->hot);
    SNAP_FIELD(s, c->cold);
    SNAP_FIELD(s, c->vector);
    SNAP_FIELD(s, c->async);
    SNAP_FIELD(s, c->asyncs);
    SNAP_FIELD(s, c->raised);
    SNAP_FIELD(s, c->masked);
    SNAP_FIELD(s, c->changed);
    SNAP_FIELD(s, c->has_queues);
    if (c->asyncs > ASYNC_MOST) {
        c->asyncs = 0;
        snap_refuse(s);
    }
}

/* What was there before goes. */
static void forget(struct nvme *n)
{
    nvme_drop_waiting(n, NULL);
    for (unsigned i = 0; i < QUEUES_ALL; i++) {
        n->sq[i] = (struct nvme_sq){.id = (uint16_t)i};
        n->cq[i] = (struct nvme_cq){0};
    }
}

void nvme_carry(struct pci_function *f, struct snap *s)
{
    struct nvme *n = (struct nvme *)f;
    uint32_t queues = n->queues;

    SNAP_FIELD(s, queues);
    if (queues != n->queues) {
        snap_refuse(s);
        return;
    }
    if (s->is_loading) {
        forget(n);
    }
    carry_registers(n, s);
    carry_bells(n, s);
    carry_queues(n, s);
    carry_choice(n, s);
    carry_waiting(n, s);
    SNAP_FIELD(s, n->counters);
    SNAP_FIELD(s, n->errors);
    if (snap_error(s) != 0 && s->is_loading) { /* nothing of it is used */
        forget(n);
        n->is_up = false;
        n->cc = n->csts = 0;
    }
}
