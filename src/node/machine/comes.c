/* comes.c - disks and a network's card that come and go while the machine runs.
 *
 * One that comes is opened as those of the plan are, and plugged into a slot of PCI.  One that is
 * to go the guest is asked for; when it has let go, the machine says so, and it is
 * closed.  Whoever asked looks whether it is still there, and says when he does not wait; who
 * does not even say that has gone, and the guest keeps what it has: the list is the asker's. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "node/machine/private.h"
#include "virt/monitor/pci/pci.h"
#include "virt/monitor/slots.h"

#define WISH_NS UINT64_C(5000000000) /* without a look: nobody waits */

static int add_disk(struct run *run, const char *word, int take_fd, struct err *e)
{
    struct drives *d = &run->plan.disks;
    int i = drives_attach(d, word, take_fd, plan_processors(&run->plan), e);
    struct pci_card card;
    int r;

    if (i < 0) {
        return i;
    }
    card = drives_card(d, (unsigned)i);
    r = machine_attach(run->machine, &card, e);
    if (r < 0) {
        drives_detach(d, (unsigned)i);
    }
    return r;
}

static int add_card(struct run *run, const char *words, int take_fd, struct err *e)
{
    struct peripherals *p = &run->plan.peripherals;
    int i = peripherals_attach(p, words, take_fd, run->loop, e);
    struct pci_card card;
    int r;

    if (i < 0) {
        return i;
    }
    card = peripherals_card(p, (unsigned)i);
    r = machine_attach(run->machine, &card, e);
    if (r < 0) {
        peripherals_detach(p, (unsigned)i);
    }
    return r;
}

int comes_attach(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    struct run *run = who;
    json_t *arg = (json_t *)(uintptr_t)c->arg;
    const char *disk = NULL;
    const char *card = NULL;
    int fd;
    int r = json_opt_str(arg, "", "disk", &disk, e);

    (void)ret;
    r = r == 0 ? json_opt_str(arg, "", "card", &card, e) : r;
    if (r == 0 && ((disk == NULL) == (card == NULL) || c->n_fds != 1)) {
        r = err_set(e, -EINVAL,
                    "a disk or a card, and its descriptor, are wanted behind "
                    "this word");
    }
    r = r == 0 ? asked_alone(run, e) : r;
    if (r == 0 && run->has_mark) {
        r = err_set(e, -EBUSY, "the machine has a mark, in which its devices are others");
    }
    if (r < 0) {
        return r;
    }
    fd = fcntl(c->fds[0], F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        return err_sys(e, -errno, "cannot take the descriptor");
    }
    return disk != NULL ? add_disk(run, disk, fd, e) : add_card(run, card, fd, e);
}

void comes_gone(void *who, unsigned slot)
{
    struct plan *p = &((struct run *)who)->plan;
    int disk = drives_find(&p->disks, NULL, slot);
    int card = peripherals_find(&p->peripherals, slot);

    if (disk >= 0) {
        drives_detach(&p->disks, (unsigned)disk);
    }
    if (card >= 0) {
        peripherals_detach(&p->peripherals, (unsigned)card);
    }
}

static bool is_there(const struct run *run, unsigned slot)
{
    return drives_find(&run->plan.disks, NULL, slot) >= 0 ||
           peripherals_find(&run->plan.peripherals, slot) >= 0;
}

static void on_wish(struct loop_timer *t)
{
    struct run *run = (struct run *)((char *)t - offsetof(struct run, wish));

    for (unsigned slot = MACHINE_SLOT_FIRST; slot < MACHINE_SLOT_FIRST + MACHINE_SLOTS;
         slot++) {
        if (is_there(run, slot)) {
            machine_keep(run->machine, slot);
        }
    }
}

int comes_detach(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    struct run *run = who;
    json_t *arg = (json_t *)(uintptr_t)c->arg;
    const char *how = "look";
    uint64_t number = 0;
    unsigned slot;
    bool there;
    int r = json_opt_u64(arg, "", "slot", &number, e);

    r = r == 0 ? json_opt_str(arg, "", "how", &how, e) : r;
    if (r < 0) {
        return r;
    }
    slot = number < PCI_SLOTS ? (unsigned)number : 0;
    there = slot != 0 && is_there(run, slot);
    if (there && strcmp(how, "ask") == 0) {
        r = machine_detach(run->machine, slot, e);
        if (r == -ENOENT) { /* it is just being closed */
            err_clear(e);
            r = 0;
        }
    } else if (there && strcmp(how, "keep") == 0) {
        machine_keep(run->machine, slot);
    }
    if (there && strcmp(how, "keep") != 0) {
        run->wish.fn = on_wish;
        loop_timer_set(run->loop, &run->wish, WISH_NS);
    }
    *ret = json_pack("{s:b}", "there", there);
    return r;
}
