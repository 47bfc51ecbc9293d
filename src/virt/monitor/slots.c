/* slots.c - functions of PCI that come and go while the machine runs.
 *
 * One that comes is plugged in, then the guest is told (plug/slots.c).  One that is to go the
 * guest lets go of by a store to a register, on some vCPU's thread; the loop's takes it out
 * while the machine stands, since doorbells are answered without a lock.  If the machine
 * cannot stand just now, it is tried again a little later. */
#include "virt/monitor/slots.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/fault.h"
#include "virt/monitor/pci/card.h"
#include "virt/monitor/pci/pci.h"
#include "virt/monitor/plug/plug.h"
#include "virt/monitor/private.h"

#define AGAIN_NS UINT64_C(10000000)
#define ALL      (((1u << MACHINE_SLOTS) - 1) << MACHINE_SLOT_FIRST)

struct slots {
    struct machine *machine;
    struct dev *dev; /* borrowed: the registers */
    struct loop_task task;
    bool is_posted; /* under the board's lock */
    struct loop_timer again;
    void (*gone)(void *who, unsigned slot); /* or NULL */
    void *who;                              /* borrowed */
};

static void on_left(void *who)
{
    struct slots *s = who;

    if (!s->is_posted) {
        s->is_posted = true;
        loop_post(s->machine->loop, &s->task);
    }
}

static void on_task(struct loop_task *t)
{
    struct slots *s = (struct slots *)((char *)t - offsetof(struct slots, task));

    board_lock(s->machine->board);
    s->is_posted = false;
    board_unlock(s->machine->board);
    /* Not from here: what was posted beside it has to be served for the machine to stand. */
    loop_timer_set(s->machine->loop, &s->again, 1);
}

static void on_again(struct loop_timer *t)
{
    slots_serve(((struct slots *)((char *)t - offsetof(struct slots, again)))->machine);
}

static void take_out(struct machine *m, unsigned slot)
{
    struct pci_function *f;

    board_lock(m->board);
    f = pci_function_at(pci_bus_of(m->pci), slot);
    pci_remove(f);
    board_unlock(m->board);
    f->ops->destroy(f);
    plug_slots_gone(m->slots->dev, slot);
    if (m->slots->gone != NULL) {
        m->slots->gone(m->slots->who, slot);
    }
}

void slots_serve(struct machine *m)
{
    uint32_t left = plug_slots_left(m->slots->dev);

    if (left == 0 || atomic_load(&m->is_over)) {
        return;
    }
    if (machine_pause(m, NULL) != 0) {
        loop_timer_set(m->loop, &m->slots->again, AGAIN_NS);
        return;
    }
    while (left != 0) { /* closing a disk turns the loop: look anew */
        take_out(m, (unsigned)__builtin_ctz(left));
        left = plug_slots_left(m->slots->dev);
    }
    (void)machine_resume(m, NULL);
}

bool slots_move(struct machine *m)
{
    return plug_slots_moves(m->slots->dev);
}

static uint32_t there_at_first(const struct machine_options *o)
{
    uint32_t there = 0;

    for (unsigned i = 0; i < o->card_count; i++) {
        there |= o->cards[i].slot != 0 ? 1u << o->cards[i].slot : 0;
    }
    return there;
}

int slots_grant(struct machine *m, struct err *e)
{
    struct slots *s = fault_calloc(1, sizeof *s);
    const struct plug_slots_config c = {.slots = ALL,
                                        .there = there_at_first(&m->options),
                                        .power = m->power,
                                        .leave = on_left,
                                        .who = s};

    if (s == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    m->slots = s; /* owned */
    s->machine = m;
    s->task.fn = on_task;
    s->again.fn = on_again;
    return allocator_add(m, &dev_plug_slots, &c, &s->dev, e);
}

static bool is_posted(struct machine *m)
{
    bool is;

    board_lock(m->board);
    is = m->slots->is_posted;
    board_unlock(m->board);
    return is;
}

void slots_release(struct machine *m)
{
    if (m->slots == NULL) {
        return;
    }
    while (is_posted(m)) {
        (void)loop_turn(m->loop, 0);
    }
    loop_timer_clear(m->loop, &m->slots->again);
    free(m->slots);
    m->slots = NULL;
}

/* ---- the face ---- */

static int check(const struct machine *m, unsigned slot, struct err *e)
{
    if (slot >= 32 || (ALL >> slot & 1) == 0) {
        return err_set(e, -EINVAL, "slot %u of PCI is none in which something comes",
                       slot);
    }
    return m->mark == NULL
               ? 0
               : err_set(e, -EBUSY,
                         "the machine has a mark, in which its devices are as they were");
}

int machine_attach(struct machine *m, const struct pci_card *c, struct err *e)
{
    int r = check(m, c->slot, e);

    r = r == 0 ? allocator_plug(m, c, c->slot, e) : r;
    if (r == 0) {
        plug_slots_add(m->slots->dev, c->slot);
    }
    return r;
}

int machine_detach(struct machine *m, unsigned slot, struct err *e)
{
    int r = check(m, slot, e);

    if (r == 0 && (plug_slots_there(m->slots->dev) >> slot & 1) == 0) {
        r = err_set(e, -ENOENT, "there is nothing in slot %u of PCI", slot);
    }
    if (r == 0) {
        plug_slots_ask(m->slots->dev, slot);
    }
    return r;
}

void machine_on_detached(struct machine *m, void (*gone)(void *who, unsigned slot),
                         void *who)
{
    m->slots->gone = gone;
    m->slots->who = who;
}

void machine_keep(struct machine *m, unsigned slot)
{
    plug_slots_keep(m->slots->dev, slot);
}
