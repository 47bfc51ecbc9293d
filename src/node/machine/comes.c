/* comes.c - disks that come and go while the machine runs.
 *
 * One that comes is opened as those of the plan are, and plugged into a slot of PCI.  One that is
 * to go the guest is asked for; when it has let go, the machine says so, and its file is
 * closed.  Whoever asked looks whether it is still there, and says when he does not wait; who
 * does not even say that has gone, and the guest keeps its disks: their list is the asker's. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "node/machine/private.h"
#include "virt/monitor/slots.h"

#define WISH_NS UINT64_C(5000000000) /* without a look: nobody waits */

int comes_attach(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    struct run *run = who;
    struct drives *d = &run->plan.disks;
    const char *word = NULL;
    struct pci_card card;
    int i;
    int r = json_opt_str((json_t *)(uintptr_t)c->arg, "", "disk", &word, e);

    (void)ret;
    if (r == 0 && (word == NULL || c->n_fds != 1)) {
        r = err_set(e, -EINVAL, "a disk and its file are wanted behind this word");
    }
    if (r == 0 && run->has_mark) {
        r = err_set(e, -EBUSY, "the machine has a mark, in which its disks are others");
    }
    if (r < 0) {
        return r;
    }
    i = drives_attach(d, word, fcntl(c->fds[0], F_DUPFD_CLOEXEC, 0),
                      plan_processors(&run->plan), e);
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

void comes_gone(void *who, unsigned slot)
{
    struct drives *d = &((struct run *)who)->plan.disks;
    int i = drives_find(d, NULL, slot);

    if (i >= 0) {
        drives_detach(d, (unsigned)i);
    }
}

static void on_wish(struct loop_timer *t)
{
    struct run *run = (struct run *)((char *)t - offsetof(struct run, wish));

    for (unsigned i = 0; i < run->plan.disks.count; i++) {
        if (run->plan.disks.one[i].slot != 0) {
            machine_keep(run->machine, run->plan.disks.one[i].slot);
        }
    }
}

int comes_detach(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    struct run *run = who;
    json_t *arg = (json_t *)(uintptr_t)c->arg;
    const char *path = "";
    const char *how = "look";
    int i;
    int r = json_opt_str(arg, "", "disk", &path, e);

    r = r == 0 ? json_opt_str(arg, "", "how", &how, e) : r;
    if (r < 0) {
        return r;
    }
    i = path[0] != '\0' ? drives_find(&run->plan.disks, path, 0) : -ENOENT;
    if (i >= 0 && strcmp(how, "ask") == 0) {
        r = machine_detach(run->machine, run->plan.disks.one[i].slot, e);
        if (r == -ENOENT) { /* it is just being closed */
            err_clear(e);
            r = 0;
        }
    } else if (i >= 0 && strcmp(how, "keep") == 0) {
        machine_keep(run->machine, run->plan.disks.one[i].slot);
    }
    if (i >= 0 && strcmp(how, "keep") != 0) {
        run->wish.fn = on_wish;
        loop_timer_set(run->loop, &run->wish, WISH_NS);
    }
    *ret = json_pack("{s:b}", "there", i >= 0);
    return r;
}
