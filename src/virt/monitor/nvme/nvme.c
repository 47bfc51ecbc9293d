/* nvme.c - the controller follows its registers: it comes up, runs, halts, shuts down, goes.
 *
 * A vCPU changes registers and posts; the loop's thread compares what the controller does with what
 * the registers say (`nvme_settle`) and takes one step after another:
 *
 *   halted -- up -- run --> runs -- halt --> halts -- requests are done --> halted
 *
 * It runs while it is enabled, may reach for memory, and the machine does not rest.  A reset, a
 * shutdown's flush and what fails for good come from the halted state. */
#include "virt/monitor/nvme/nvme.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/blk_graph.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/nvme/private.h"
#include "virtio/space.h"

/* What guests know as the controller of a hypervisor; drivers go by the class. */
#define VENDOR    0x1b36u
#define DEVICE    0x0010u
#define SUBSYSTEM 0x1100u
#define CLASS     0x010802u
#define REVISION  1u

#define BAR_REGISTERS 0u
#define BAR_VECTORS   4u
#define BAR_BYTES     (NVME_DOORBELLS + NVME_PAGE_BYTES)

enum step {
    STEP_NONE,
    STEP_UP,
    STEP_RUN,
    STEP_HALT,
    STEP_DOWN,
    STEP_FLUSH,
};

void nvme_post(struct nvme *n)
{
    if (!n->is_posted) {
        n->is_posted = true;
        loop_post(n->loop, &n->task);
    }
}

void nvme_fatal(struct nvme *n)
{
    board_lock(n->board);
    n->csts |= NVME_CSTS_FATAL;
    nvme_post(n);
    board_unlock(n->board);
}

/* ---- steps ---- */

static bool is_wanted(const struct nvme *n)
{
    return n->is_up && (n->cc & NVME_CC_ENABLE) != 0 && !n->resets && !n->at_rest &&
           pci_is_master(&n->f) &&
           (n->csts & (NVME_CSTS_FATAL | NVME_CSTS_SHUTDOWN)) == 0;
}

/* Under the lock. */
static enum step next_of(const struct nvme *n)
{
    if (n->work != NVME_HALTED) {
        return n->work == NVME_RUNS && !is_wanted(n) ? STEP_HALT : STEP_NONE;
    }
    if (n->resets) {
        return STEP_DOWN;
    }
    if (n->at_rest) {
        return STEP_NONE;
    }
    if ((n->csts & NVME_CSTS_SHUTDOWN) == NVME_CSTS_SHUTTING_DOWN) {
        return STEP_FLUSH;
    }
    if (!n->is_up && (n->cc & NVME_CC_ENABLE) != 0 &&
        (n->csts & (NVME_CSTS_FATAL | NVME_CSTS_SHUTDOWN)) == 0) {
        return STEP_UP;
    }
    return is_wanted(n) ? STEP_RUN : STEP_NONE;
}

static void set_work(struct nvme *n, enum nvme_work work)
{
    board_lock(n->board);
    n->work = work;
    board_unlock(n->board);
}

/* The queues of the administrator, as the registers place them. */
static bool make_queues(struct nvme *n)
{
    struct nvme_sq *sq = &n->sq[0];
    struct nvme_cq *cq = &n->cq[0];

    *sq =
        (struct nvme_sq){.is_there = true, .size = (n->aqa & 0xfff) + 1, .base = n->asq};
    *cq = (struct nvme_cq){.is_there = true,
                           .interrupts = true,
                           .size = (n->aqa >> 16 & 0xfff) + 1,
                           .base = n->acq};
    return (n->cc & (NVME_CC_CSS | NVME_CC_MPS | NVME_CC_AMS)) == 0 && sq->size >= 2 &&
           cq->size >= 2 &&
           virtio_space_flat(n->space, sq->base, sq->size * sizeof(struct nvme_command),
                             false) != NULL &&
           virtio_space_flat(n->space, cq->base, cq->size * sizeof(struct nvme_answer),
                             true) != NULL;
}

static void come_up(struct nvme *n)
{
    board_lock(n->board);
    n->is_up = make_queues(n);
    n->csts |= n->is_up ? NVME_CSTS_READY : NVME_CSTS_FATAL;
    board_unlock(n->board);
}

static void forget_queues(struct nvme *n)
{
    nvme_drop_waiting(n, NULL);
    for (unsigned i = 0; i < QUEUES_ALL; i++) {
        n->sq[i] = (struct nvme_sq){.id = (uint16_t)i};
        n->cq[i] = (struct nvme_cq){0};
    }
    for (unsigned i = 0; i < 2 * QUEUES_ALL; i++) {
        atomic_store(&n->bell[i].value, 0);
        atomic_store(&n->bell[i].wanted, false);
        n->bell[i].bad = 0;
    }
}

/* A reset of the controller, NVMe 7.3.2; where its queues are to be stays in the registers. */
static void go_down(struct nvme *n)
{
    forget_queues(n);
    nvme_choice_reset(n);
    board_lock(n->board);
    n->is_up = false;
    n->resets = false;
    n->masked = n->raised = 0;
    n->csts = (n->cc & NVME_CC_SHUTDOWN) != 0 ? NVME_CSTS_SHUTTING_DOWN : 0;
    nvme_drive(n);
    board_unlock(n->board);
}

static void run(struct nvme *n)
{
    set_work(n, NVME_RUNS);
    n->poller = (struct loop_poller){.fn = nvme_look, .rest = nvme_listen};
    loop_poller_add(n->loop, &n->poller);
    for (unsigned i = 0; i < QUEUES_ALL; i++) {
        nvme_give_waiting(n, &n->cq[i]);
    }
    nvme_interrupt(n);
    nvme_give_events(n);
    nvme_serve_all(n);
}

static void halt(struct nvme *n)
{
    loop_poller_remove(n->loop, &n->poller);
    loop_timer_clear(n->loop, &n->again);
    atomic_store(&n->hushed, false);
    set_work(n, nvme_is_idle(n) ? NVME_HALTED : NVME_HALTS);
}

static void flush(struct nvme *n)
{
    n->flush = (struct blk_request){.kind = BLK_FLUSH};
    n->busy++;
    set_work(n, NVME_HALTS);
    n->queue.disk = n->edge->disk;
    blk_submit(&n->queue, &n->flush);
}

void nvme_flushed(struct nvme *n)
{
    n->busy--;
    board_lock(n->board);
    n->csts = (n->csts & ~NVME_CSTS_SHUTDOWN) | NVME_CSTS_SHUT_DOWN;
    board_unlock(n->board);
}

static enum step look(struct nvme *n)
{
    enum step next;

    board_lock(n->board);
    if (n->work == NVME_HALTS && nvme_is_idle(n)) {
        n->work = NVME_HALTED;
    }
    next = next_of(n);
    board_unlock(n->board);
    return next;
}

static void take_step(struct nvme *n, enum step s)
{
    switch (s) {
    case STEP_UP:
        come_up(n);
        break;
    case STEP_RUN:
        run(n);
        break;
    case STEP_HALT:
        halt(n);
        break;
    case STEP_DOWN:
        go_down(n);
        break;
    case STEP_FLUSH:
        flush(n);
        break;
    case STEP_NONE:
        break;
    }
}

/* Without the lock.  What is found inside a step is looked at behind it. */
void nvme_settle(struct nvme *n)
{
    enum step s;

    n->has_more = true;
    if (n->is_settling) {
        return;
    }
    n->is_settling = true;
    while (n->has_more) {
        n->has_more = false;
        s = look(n);
        take_step(n, s);
        n->has_more = n->has_more || s != STEP_NONE;
    }
    n->is_settling = false;
}

static void on_post(struct loop_task *t)
{
    struct nvme *n = (struct nvme *)((char *)t - offsetof(struct nvme, task));

    board_lock(n->board);
    n->is_posted = false;
    board_unlock(n->board);
    nvme_settle(n);
}

static void on_again(struct loop_timer *t)
{
    nvme_serve_all((struct nvme *)((char *)t - offsetof(struct nvme, again)));
}

static void on_disk(struct blk_queue *q)
{
    struct nvme *n = (struct nvme *)((char *)q - offsetof(struct nvme, queue));

    loop_later(n->loop, &n->answers);
}

/* ---- the function ---- */

static void on_written(struct pci_function *f, unsigned reg, unsigned bytes)
{
    struct nvme *n = (struct nvme *)f;

    (void)reg;
    (void)bytes;
    nvme_drive(n);
    nvme_post(n); /* it may reach for memory, or not */
}

static void on_reset(struct pci_function *f)
{
    nvme_registers_reset((struct nvme *)f);
}

static void on_rest(struct pci_function *f)
{
    struct nvme *n = (struct nvme *)f;

    n->at_rest = true;
    nvme_settle(n);
}

static bool on_rests(struct pci_function *f)
{
    struct nvme *n = (struct nvme *)f;
    bool rests;

    board_lock(n->board);
    rests = n->work == NVME_HALTED && !n->is_posted;
    board_unlock(n->board);
    for (unsigned i = 0; i < 2 * QUEUES_ALL; i++) {
        rests = rests && !atomic_load(&n->bell[i].posted);
    }
    return rests;
}

static void on_wake(struct pci_function *f)
{
    struct nvme *n = (struct nvme *)f;

    n->at_rest = false;
    nvme_settle(n);
}

/* It is its owner's again. */
static void on_destroy(struct pci_function *f)
{
    ((struct nvme *)f)->board = NULL;
}

static const struct pci_function_ops ops = {
    .name = "nvme",
    .written = on_written,
    .reset = on_reset,
    .carry = nvme_carry,
    .rest = on_rest,
    .rests = on_rests,
    .wake = on_wake,
    .destroy = on_destroy,
};

static void make_function(struct nvme *n)
{
    const struct pci_identity identity = {.vendor = VENDOR,
                                          .device = DEVICE,
                                          .subsystem_vendor = VENDOR,
                                          .subsystem = SUBSYSTEM,
                                          .class = CLASS,
                                          .revision = REVISION,
                                          .pin = 1};
    const struct pci_bar bar = {
        .kind = PCI_BAR_64, .bytes = BAR_BYTES, .part = nvme_parts, .parts = 2};

    pci_function_init(&n->f, &ops, &identity);
    pci_add_bar(&n->f, BAR_REGISTERS, &bar);
    pci_add_msix(&n->f, BAR_VECTORS, n->queues + 1);
}

static int plug(void *device, const struct pci_socket *s, struct err *e)
{
    struct nvme *n = device;
    int r;

    n->board = pci_board(s->bus);
    n->space = s->space;
    if (n->serial[0] == '\0') {
        (void)snprintf(n->serial, sizeof n->serial, "slot%u", s->slot);
    }
    make_function(n);
    board_lock(n->board);
    r = pci_add(s->bus, s->slot, &n->f, e);
    board_unlock(n->board);
    n->board = r == 0 ? n->board : NULL;
    return r == 0 ? 0 : err_wrap(e, "NVMe controller");
}

/* ---- life ---- */

struct pci_card nvme_card(struct nvme *n)
{
    return (struct pci_card){.plug = plug, .device = n, .kind = PCI_CARD_NVME};
}

int nvme_create(struct loop *l, const struct nvme_options *o, struct nvme **ret,
                struct err *e)
{
    size_t length = o->serial != NULL ? strlen(o->serial) : 0;
    struct nvme *n;

    if (o->queues == 0 || o->queues > NVME_QUEUES_MOST || length > NVME_SERIAL_BYTES) {
        return err_set(e, -EINVAL,
                       "an NVMe disk has 1 to %d queues and a serial number of up to %d "
                       "bytes",
                       NVME_QUEUES_MOST, NVME_SERIAL_BYTES);
    }
    n = fault_calloc(1, sizeof *n);
    if (n == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    n->loop = l;
    n->edge = o->edge;
    n->read_only = o->read_only;
    n->queues = o->queues > NVME_QUEUES_LEAST ? o->queues : NVME_QUEUES_LEAST;
    memcpy(n->serial, o->serial != NULL ? o->serial : "", length);
    n->task.fn = on_post;
    n->answers.fn = nvme_answer;
    n->again.fn = on_again;
    n->queue.ready = on_disk;
    for (unsigned i = 0; i < 2 * QUEUES_ALL; i++) {
        n->bell[i].nvme = n;
        n->bell[i].task.fn = nvme_bell_rings;
    }
    forget_queues(n);
    nvme_choice_reset(n);
    *ret = n;
    return 0;
}

void nvme_destroy(struct nvme *n)
{
    if (n == NULL) {
        return;
    }
    nvme_drop_waiting(n, NULL);
    while (n->free != NULL) {
        struct nvme_request *r = n->free;

        n->free = r->next;
        free(r);
    }
    free(n);
}

void nvme_resized(struct nvme *n)
{
    n->choice.changed = true;
    if ((n->choice.feature[NVME_EVENTS] & NVME_EVENTS_NAMESPACE) != 0) {
        nvme_raise(n, NVME_EVENT_NOTICE, NVME_NOTICE_NAMESPACE);
    }
}
