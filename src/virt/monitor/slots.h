/* slots.h - devices that come to a machine while it runs, and go.
 *
 * Threads: the loop's. */
#ifndef VIRT_MONITOR_SLOTS_H
#define VIRT_MONITOR_SLOTS_H

struct err;
struct machine;
struct pci_card;

#define MACHINE_SLOT_FIRST 24u /* of PCI: for what comes, */
#define MACHINE_SLOTS      6u  /* ... so many */

/* A device comes, into the one of these slots that it wants, and is borrowed until it has gone; the
 * guest is asked to let go of one, and perhaps does; it is not asked any more.  -EBUSY: the slot is
 * taken, or a mark would not have it; -ENOENT: nothing is there. */
int machine_attach(struct machine *m, const struct pci_card *c, struct err *e);
int machine_detach(struct machine *m, unsigned slot, struct err *e);
void machine_keep(struct machine *m, unsigned slot);

/* Who is told that what was in a slot has been taken out, and is its owner's again. */
void machine_on_detached(struct machine *m, void (*gone)(void *who, unsigned slot),
                         void *who);

#endif
