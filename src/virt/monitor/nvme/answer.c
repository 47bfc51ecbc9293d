/* answer.c - completion queues: what is finished is answered, and the driver told.
 *
 * Answers are given at the end of the loop's turn, with one interrupt for those of a queue.  Where
 * a completion queue has no room they wait, in order, until its doorbell says that the driver took
 * some; it is heard of then. */
#include <string.h>

#include "contract/blk_graph.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/nvme/private.h"
#include "virtio/space.h"

/* ---- requests end ---- */

static void end(struct nvme_request *r)
{
    struct nvme *n = r->nvme;

    r->next = NULL;
    if (n->ended == NULL) {
        n->ended = r;
    } else {
        n->ended_last->next = r;
    }
    n->ended_last = r;
    loop_later(n->loop, &n->answers);
}

void nvme_end(struct nvme_request *r, uint16_t status)
{
    r->status = status;
    end(r);
}

void nvme_begin_busy(struct nvme_request *r)
{
    r->busy = true;
    r->nvme->busy++;
}

void nvme_submit(struct nvme_request *r, enum blk_kind kind, unsigned flags, uint64_t off,
                 uint64_t bytes)
{
    struct nvme *n = r->nvme;
    bool moves = kind == BLK_READ || kind == BLK_WRITE;

    r->blk = (struct blk_request){
        .kind = kind,
        .flags = flags,
        .off = off,
        .bytes = bytes,
        .vec = {.iov = r->vec, .bytes = moves ? (size_t)bytes : 0},
    };
    nvme_begin_busy(r);
    n->queue.disk = n->edge->disk;
    blk_submit(&n->queue, &r->blk);
}

/* ---- completion queues ---- */

static struct nvme_bell *bell_of(struct nvme *n, const struct nvme_cq *cq)
{
    return &n->bell[2 * (cq - n->cq) + 1];
}

/* How far the driver is, if that can be. */
static void follow(struct nvme *n, struct nvme_cq *cq)
{
    struct nvme_bell *b = bell_of(n, cq);
    uint32_t head = atomic_load(&b->value);
    uint32_t there = (cq->tail + cq->size - cq->head) % cq->size;

    if (head < cq->size && (head + cq->size - cq->head) % cq->size <= there) {
        cq->head = head;
    } else {
        nvme_tell_bad(n, b, head, NVME_ERROR_VALUE);
    }
}

static bool is_full(const struct nvme_cq *cq)
{
    return (cq->tail + 1) % cq->size == cq->head;
}

static bool has_room(struct nvme *n, struct nvme_cq *cq)
{
    if (is_full(cq)) {
        follow(n, cq);
    }
    if (is_full(cq)) {
        atomic_store(&bell_of(n, cq)->wanted, true);
        follow(n, cq);
    }
    return !is_full(cq);
}

/* The last word of an answer, which has the phase, is written last. */
static void put(struct nvme *n, struct nvme_cq *cq, const struct nvme_request *r)
{
    struct nvme_answer a = {
        .result = r->result,
        .sq_head = (uint16_t)r->sq->head,
        .sq_id = r->sq->id,
        .id = r->c.id,
        .status = (uint16_t)(r->status << 1 | !cq->is_odd),
    };
    uint64_t at = cq->base + cq->tail * sizeof a;
    uint8_t *to = virtio_space_flat(n->space, at, sizeof a, true);
    uint64_t last;

    if (to == NULL) {
        nvme_fatal(n);
        return;
    }
    memcpy(to, &a, 8);
    memcpy(&last, (const char *)&a + 8, 8);
    __atomic_store_n((uint64_t *)(void *)(to + 8), last, __ATOMIC_RELEASE);
    if (n->space->wrote != NULL) {
        n->space->wrote(n->space, to, sizeof a);
    }
    cq->tail = (cq->tail + 1) % cq->size;
    cq->is_odd = cq->tail == 0 ? !cq->is_odd : cq->is_odd;
    cq->is_fresh = true;
}

void nvme_wait(struct nvme *n, struct nvme_request *r)
{
    struct nvme_cq *cq = &n->cq[r->sq->cq];

    r->next = NULL;
    if (cq->first == NULL) {
        cq->first = r;
    } else {
        cq->last->next = r;
    }
    cq->last = r;
    r->sq->waiting++;
}

static void give(struct nvme *n, struct nvme_cq *cq, struct nvme_request *r)
{
    put(n, cq, r);
    r->sq->running--;
    nvme_request_put(r);
}

void nvme_give_waiting(struct nvme *n, struct nvme_cq *cq)
{
    while (cq->is_there && cq->first != NULL && has_room(n, cq)) {
        struct nvme_request *r = cq->first;

        cq->first = r->next;
        r->sq->waiting--;
        give(n, cq, r);
    }
    if (cq->first == NULL) {
        atomic_store(&bell_of(n, cq)->wanted, false); /* `nvme_interrupt` may want it */
    }
}

void nvme_drop_waiting(struct nvme *n, const struct nvme_sq *sq)
{
    for (unsigned i = 0; i < QUEUES_ALL; i++) {
        struct nvme_cq *cq = &n->cq[i];
        struct nvme_request *r = cq->first;

        cq->first = NULL;
        while (r != NULL) {
            struct nvme_request *next = r->next;

            r->sq->waiting--;
            if (sq == NULL || r->sq == sq) {
                r->sq->running--;
                nvme_request_put(r);
            } else {
                nvme_wait(n, r);
            }
            r = next;
        }
    }
}

/* ---- answers ---- */

static void answer(struct nvme_request *r)
{
    struct nvme *n = r->nvme;
    struct nvme_sq *sq = r->sq;
    struct nvme_cq *cq = &n->cq[sq->cq];

    if (r->busy) {
        n->busy--;
    }
    if (r->status != NVME_OK) {
        nvme_note_error(r);
    }
    if (cq->first == NULL && has_room(n, cq)) {
        give(n, cq, r);
    } else {
        nvme_wait(n, r);
    }
    if (sq->deleter != NULL && sq->running == sq->waiting) {
        nvme_delete_sq(n, sq);
    }
}

static void answer_ended(struct nvme *n)
{
    struct nvme_request *r = n->ended;

    n->ended = NULL;
    while (r != NULL) {
        struct nvme_request *next = r->next;

        answer(r);
        r = next;
    }
}

static void answer_disk(struct nvme *n)
{
    struct blk_request *b = blk_reap(&n->queue);

    while (b != NULL) {
        struct blk_request *next = b->next;
        struct nvme_request *r = (struct nvme_request *)b;

        if (b == &n->flush) {
            nvme_flushed(n);
        } else {
            r->status = nvme_status_of(r);
            nvme_tell_space(r);
            answer(r);
        }
        b = next;
    }
}

/* Vectors whose queues have answers that the driver has not taken: NVMe 7.5.1.  Their doorbells
 * lower the line. */
static uint32_t vectors_raised(struct nvme *n)
{
    uint32_t raised = 0;

    for (unsigned i = 0; i < QUEUES_ALL; i++) {
        struct nvme_cq *cq = &n->cq[i];

        if (cq->is_there && cq->interrupts) {
            atomic_store(&n->bell[2 * i + 1].wanted, true);
            follow(n, cq);
            raised |= cq->head != cq->tail ? UINT32_C(1) << cq->vector : 0;
        }
    }
    return raised;
}

void nvme_interrupt(struct nvme *n)
{
    bool has_msix;

    board_lock(n->board);
    has_msix = pci_has_msix(&n->f);
    for (unsigned i = 0; i < QUEUES_ALL; i++) {
        if (has_msix && n->cq[i].is_fresh && n->cq[i].interrupts) {
            pci_send(&n->f, n->cq[i].vector);
        }
        n->cq[i].is_fresh = false;
    }
    n->raised = has_msix ? 0 : vectors_raised(n);
    nvme_drive(n);
    board_unlock(n->board);
}

bool nvme_is_idle(const struct nvme *n)
{
    return n->busy == 0 && n->ended == NULL && !n->answers.queued;
}

void nvme_answer_all(struct nvme *n)
{
    bool any = false;

    while (n->ended != NULL || n->queue.done_first != NULL) {
        any = true;
        answer_ended(n);
        answer_disk(n);
    }
    if (any) {
        nvme_interrupt(n);
    }
}

void nvme_answer(struct loop_task *t)
{
    struct nvme *n = (struct nvme *)((char *)t - offsetof(struct nvme, answers));
    bool was_full = false;

    for (unsigned i = 0; i < QUEUES_ALL; i++) {
        was_full = was_full || nvme_is_full(&n->sq[i]);
    }
    nvme_answer_all(n);
    if (was_full) {
        nvme_serve_all(n);
    }
    if (n->work == NVME_HALTS) {
        nvme_settle(n);
    }
}
