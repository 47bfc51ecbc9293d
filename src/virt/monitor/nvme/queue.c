/* queue.c - submission queues: commands are taken and begun.
 *
 * A queue is served when its doorbell was heard of, or by looking while the loop does not sleep
 * (host/loop); before it sleeps doorbells are asked for again and looked at once more.  Commands of
 * one look go to the disk at once; after a part of them those that are done are answered, so that
 * the driver may go on.  Of each queue no more commands are under way than there are entries. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/fault.h"
#include "virt/monitor/nvme/private.h"
#include "virtio/space.h"

#define SOON_NS    200000        /* commands that follow so fast are waited for awake */
#define PART_NS    60000         /* of work; then the driver goes on with what is done */
#define PART_BYTES (512u * 1024) /* the same */

struct nvme_request *nvme_request_get(struct nvme *n)
{
    struct nvme_request *r = n->free;

    if (r != NULL) {
        n->free = r->next;
    } else {
        r = fault_malloc(sizeof *r);
    }
    if (r != NULL) {
        r->nvme = n;
        r->next = NULL;
        r->range = NULL;
        r->result = 0;
        r->busy = r->fills = false;
        r->blk.vec.bytes = 0;
    }
    return r;
}

void nvme_request_put(struct nvme_request *r)
{
    free(r->range);
    r->next = r->nvme->free;
    r->nvme->free = r;
}

/* ---- doorbells ---- */

void nvme_tell_bad(struct nvme *n, struct nvme_bell *b, uint32_t value, unsigned why)
{
    if (b->bad != value + 1) {
        b->bad = value + 1;
        nvme_raise(n, NVME_EVENT_ERROR, why);
    }
}

static struct nvme_bell *bell_of(struct nvme *n, const struct nvme_sq *sq)
{
    return &n->bell[2 * (sq - n->sq)];
}

bool nvme_is_full(const struct nvme_sq *sq)
{
    return sq->is_there &&
           sq->running >= (sq->size < RUNNING_MOST ? sq->size : RUNNING_MOST);
}

bool nvme_has_more(struct nvme *n, const struct nvme_sq *sq)
{
    uint32_t tail = atomic_load(&bell_of(n, sq)->value);

    return sq->is_there && sq->deleter == NULL && tail < sq->size && tail != sq->head &&
           !nvme_is_full(sq);
}

static void check_bell(struct nvme *n, const struct nvme_sq *sq)
{
    struct nvme_bell *b = bell_of(n, sq);
    uint32_t tail = atomic_load(&b->value);

    if (sq->is_there && tail >= sq->size) {
        nvme_tell_bad(n, b, tail, NVME_ERROR_VALUE);
    }
}

void nvme_bell_rings(struct loop_task *t)
{
    struct nvme_bell *b =
        (struct nvme_bell *)((char *)t - offsetof(struct nvme_bell, task));
    struct nvme *n = b->nvme;
    unsigned i = (unsigned)(b - n->bell);
    bool is_there = i % 2 == 0 ? n->sq[i / 2].is_there : n->cq[i / 2].is_there;

    atomic_store(&b->posted, false);
    if (n->work != NVME_RUNS) {
        return;
    }
    if (!is_there) {
        nvme_tell_bad(n, b, atomic_load(&b->value), NVME_ERROR_REGISTER);
    } else if (i % 2 == 0) {
        (void)nvme_serve(n, &n->sq[i / 2]);
    } else {
        nvme_give_waiting(n, &n->cq[i / 2]);
        nvme_interrupt(n);
        nvme_serve_all(n);
    }
}

bool nvme_look(struct loop_poller *p)
{
    struct nvme *n = (struct nvme *)((char *)p - offsetof(struct nvme, poller));
    bool found = false;

    for (unsigned i = 0; i < QUEUES_ALL; i++) {
        found = (nvme_has_more(n, &n->sq[i]) && nvme_serve(n, &n->sq[i])) || found;
    }
    return found;
}

bool nvme_listen(struct loop_poller *p)
{
    struct nvme *n = (struct nvme *)((char *)p - offsetof(struct nvme, poller));
    bool any = false;

    if (atomic_exchange(&n->hushed, false)) {
        for (unsigned i = 0; i < QUEUES_ALL; i++) {
            any = nvme_has_more(n, &n->sq[i]) || any;
        }
    }
    return any;
}

/* ---- commands ---- */

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct nvme_request *take(struct nvme *n, struct nvme_sq *sq)
{
    struct nvme_request *r = nvme_request_get(n);

    if (r == NULL) {
        return NULL; /* when others have finished there will be memory */
    }
    if (virtio_space_read(n->space, sq->base + sq->head * sizeof r->c, &r->c,
                          sizeof r->c) != 0) {
        nvme_request_put(r);
        nvme_fatal(n);
        return NULL;
    }
    sq->head = sq->head + 1 < sq->size ? sq->head + 1 : 0;
    sq->running++;
    r->sq = sq;
    return r;
}

/* Whether others wait while a command is begun: big ones go to several threads then. */
static void expect(struct nvme *n, bool more)
{
    loop_have_more(n->loop, more);
    (void)loop_collect(n->loop);
}

/* So many, for as long as it takes for some of them to be worth an answer. */
static unsigned take_part(struct nvme *n, struct nvme_sq *sq, unsigned most)
{
    uint64_t end = now_ns() + PART_NS;
    uint64_t bytes = 0;
    unsigned count = 0;

    while (count < most && bytes < PART_BYTES && nvme_has_more(n, sq)) {
        struct nvme_request *r = take(n, sq);

        if (r == NULL) {
            break;
        }
        expect(n, nvme_has_more(n, sq));
        if (sq->id == 0) {
            nvme_do_admin(r);
        } else {
            bytes += nvme_do(r);
        }
        count++;
        if (count % 8 == 0 && now_ns() > end) {
            break;
        }
    }
    expect(n, false);
    return count;
}

/* At most once round; the rest at the next turn. */
bool nvme_serve(struct nvme *n, struct nvme_sq *sq)
{
    uint64_t now = loop_now_ns(n->loop);
    unsigned count = 0;
    unsigned part = 1;

    if (n->work != NVME_RUNS) {
        return false;
    }
    check_bell(n, sq);
    while (part > 0 && count < RUNNING_MOST && nvme_has_more(n, sq)) {
        if (count > 0) {
            nvme_answer_all(n);
        }
        part = take_part(n, sq, RUNNING_MOST - count);
        count += part;
    }
    if (count > 0) {
        atomic_store(&n->hushed, true);
        if (now - n->last_ns < SOON_NS) {
            loop_expect_more(n->loop);
        }
        n->last_ns = now;
    }
    if (count >= RUNNING_MOST && !n->again.set) {
        loop_timer_set(n->loop, &n->again, 1); /* 0 would be due in the same turn */
    }
    return count > 0;
}

void nvme_serve_all(struct nvme *n)
{
    for (unsigned i = 0; i < QUEUES_ALL; i++) {
        if (n->sq[i].is_there) {
            (void)nvme_serve(n, &n->sq[i]);
        }
    }
}
