/* pci.h - functions of PCI bus 0: configuration space, address registers, interrupts.
 *
 * A function is its device's own storage.  It says what it is (`pci_function_init`,
 * `pci_add_capability`, `pci_add_bar`, `pci_add_msix`) and is then plugged in.  Who answers at
 * its addresses follows from what the guest writes: ranges of the board are claimed and
 * released as they are moved and switched on.
 *
 * Threads: the board's lock guards everything; callers hold it, but for `pci_rest`,
 * `pci_rests`, `pci_wake`, which are the loop's.
 * Sources: PCI Local Bus Specification 3.0 (PCI), 3.2.2.3 and 6; PCI Express Base 4.0, 7.2.2;
 * Intel 3 Series chipset (319967) and ICH9 (316972) data sheets. */
#ifndef VIRT_MONITOR_PCI_PCI_H
#define VIRT_MONITOR_PCI_PCI_H

#include <stdbool.h>
#include <stdint.h>

#include "virt/monitor/dev/apic.h"
#include "virt/monitor/dev/dev.h"

struct board_io;
struct pci_bus;
struct pci_function;

#define PCI_SLOTS        32
#define PCI_SLOT_LPC     31 /* ours; the host bridge has slot 0 */
#define PCI_CONFIG_BYTES 256
#define PCI_VECTORS_MOST 64
#define PCI_LINES        8
#define PCI_LINE_FIRST   16 /* global system interrupts: what ACPI's _PRT says */

/* Configuration registers: PCI 6.1. */
#define PCI_COMMAND           0x04u
#define PCI_STATUS            0x06u
#define PCI_HEADER            0x0eu
#define PCI_BAR               0x10u
#define PCI_SUBSYSTEM         0x2cu
#define PCI_CAPABILITIES      0x34u
#define PCI_PIN               0x3du
#define PCI_COMMAND_PORTS     0x0001u
#define PCI_COMMAND_MEMORY    0x0002u
#define PCI_COMMAND_MASTER    0x0004u
#define PCI_COMMAND_NO_LINE   0x0400u
#define PCI_STATUS_LINE       0x0008u
#define PCI_CAPABILITY_MSIX   0x11u
#define PCI_CAPABILITY_VENDOR 0x09u

struct pci_identity {
    uint16_t vendor, device;
    uint16_t subsystem_vendor, subsystem;
    uint32_t class; /* base, sub, interface */
    uint8_t revision;
    uint8_t pin; /* 1: INTA; 0: none */
};

struct pci_function_ops {
    const char *name; /* of its state in snapshots */

    /* These bytes of `config` are about to be read: bring them up to date; they have been
     * written.  NULL: nothing to do. */
    void (*reads)(struct pci_function *f, unsigned reg, unsigned bytes);
    void (*written)(struct pci_function *f, unsigned reg, unsigned bytes);

    /* The bus was reset; `config` is as at the start.  NULL: nothing more. */
    void (*reset)(struct pci_function *f);

    /* State beside configuration space and vectors, both ways; at rest.  NULL: none. */
    void (*carry)(struct pci_function *f, struct snap *s);

    /* Without the lock, on the loop's thread: stop reaching for memory, and `rests` says when
     * that is so; go on.  NULL: never does. */
    void (*rest)(struct pci_function *f);
    bool (*rests)(struct pci_function *f);
    void (*wake)(struct pci_function *f);

    /* Without the lock.  Not plugged in any more, or with its bus; at rest.  NULL: its
     * storage is somebody else's. */
    void (*destroy)(struct pci_function *f);
};

enum pci_bar_kind {
    PCI_BAR_NONE,
    PCI_BAR_PORTS,
    PCI_BAR_32,
    PCI_BAR_64, /* takes two registers */
};

/* A piece of what a base address register maps; `who` of its accesses is the function. */
struct pci_part {
    uint32_t offset, bytes;
    const struct board_io *io;
};

struct pci_bar {
    enum pci_bar_kind kind;
    uint64_t bytes;              /* a power of two, a page at least */
    const struct pci_part *part; /* borrowed */
    unsigned parts;
    uint64_t at; /* where it is claimed */
    bool is_claimed;
    bool is_refused; /* there, when it was wanted; tried again when something moves */
};

/* PCI 6.8.2 */
struct pci_msix {
    unsigned count; /* of vectors; 0: there is no such capability */
    unsigned reg;   /* the capability */
    uint32_t entry[PCI_VECTORS_MOST][4];
    uint64_t pending;
    struct pci_part part;
};

/* First member of every function's own struct. */
struct pci_function {
    const struct pci_function_ops *ops;
    struct pci_bus *bus; /* NULL: not plugged in */
    uint8_t slot, number;
    uint8_t config[PCI_CONFIG_BYTES];
    uint8_t mask[PCI_CONFIG_BYTES];    /* bits that the guest writes */
    uint8_t initial[PCI_CONFIG_BYTES]; /* after a reset */
    unsigned capability;               /* the last one's register */
    unsigned free;                     /* the next one's */
    struct pci_bar bar[6];
    struct pci_msix msix;
    bool wants_line;  /* it interrupts */
    bool drives_line; /* and is let */
};

void pci_function_init(struct pci_function *f, const struct pci_function_ops *ops,
                       const struct pci_identity *id);
void pci_put(struct pci_function *f, unsigned reg, unsigned bytes, uint32_t value);
uint32_t pci_get(const struct pci_function *f, unsigned reg, unsigned bytes);

/* Room for a capability of so many bytes, head included; its register. */
unsigned pci_add_capability(struct pci_function *f, uint8_t id, unsigned bytes);

void pci_add_bar(struct pci_function *f, unsigned i, const struct pci_bar *bar);

/* A table of vectors that has BAR `i`, of one page, for itself. */
void pci_add_msix(struct pci_function *f, unsigned i, unsigned count);

bool pci_is_master(const struct pci_function *f); /* it may reach for memory */
bool pci_has_msix(const struct pci_function *f);  /* switched on */
void pci_send(struct pci_function *f, unsigned vector);
void pci_set_line(struct pci_function *f, bool is_high);

/* Accesses of the guest: 1, 2 or 4 bytes.  Absent functions read ones. */
uint32_t pci_read(struct pci_bus *b, unsigned where, unsigned reg, unsigned bytes);
void pci_write(struct pci_bus *b, unsigned where, unsigned reg, unsigned bytes,
               uint32_t value);
#define PCI_WHERE(slot, number) ((unsigned)(slot) << 3 | (unsigned)(number))

/* ---- the bus: a device of the board ---- */

struct pci_config {
    uint64_t ecam;                      /* where bus 0 lies in memory at the start */
    uint64_t window_first, window_last; /* for base addresses at the start; below 4 GiB */
    struct apic_bus messages;
    void (*reset)(void *who); /* port 0xcf9 */
    void *who;
};

extern const struct dev_class dev_pci;
struct pci_bus *pci_bus_of(struct dev *d);
struct board *pci_board(const struct pci_bus *b);

/* Where the guest sees bus 0 in memory; false: nowhere.  The board's lock is held. */
bool pci_ecam(const struct dev *d, uint64_t *ret);

/* Plug a function in; base addresses are given out.  -EBUSY: the slot is taken. */
int pci_add(struct pci_bus *b, unsigned slot, struct pci_function *f, struct err *e);

/* What is in a slot; NULL: nothing. */
struct pci_function *pci_function_at(const struct pci_bus *b, unsigned slot);

/* Nothing answers at its addresses any more.  No vCPU may be inside an access. */
void pci_remove(struct pci_function *f);

/* All functions come to rest: `pci_rest`, turns of the loop until `pci_rests`, and then state
 * may be carried or the machine go; `pci_wake`. */
void pci_rest(struct dev *d);
bool pci_rests(struct dev *d);
void pci_wake(struct dev *d);

#endif
