/* plug.h - what is plugged into a machine that runs, and what its guest lets go of.
 *
 * Registers that methods of the DSDT read and write (acpi/plug.c): the machine says what
 * came or is wanted back and raises a general event, the guest answers when it likes.
 * Guests of QEMU know the same ones.
 *
 * Threads: what the machine calls is for the loop's thread, without the board's lock. */
#ifndef VIRT_MONITOR_PLUG_PLUG_H
#define VIRT_MONITOR_PLUG_PLUG_H

#include <stdint.h>

#include "virt/monitor/dev/dev.h"

/* QEMU docs/specs/acpi_cpu_hotplug. */
#define PLUG_CPUS_PORT  0xcd8u
#define PLUG_CPUS_BYTES 12u
#define PLUG_CPUS_EVENT 2u /* the general event */
#define PLUG_CPUS_MOST  64u

struct plug_cpus_config {
    unsigned cpus, most; /* there at first, from 0 on; there is room for */
    struct dev *power;   /* borrowed: raises events */

    /* That processor is there, or no longer, since the guest let go of it, or since a state
     * was loaded or a reset made an end of waiting.  Under the board's lock. */
    void (*change)(void *who, unsigned index, bool is_there);
    void *who; /* borrowed */
};

extern const struct dev_class dev_plug_cpus;

uint64_t plug_cpus_there(const struct dev *d); /* a bit for each */

/* One that is there now: the guest is told. */
void plug_cpus_add(struct dev *d, unsigned index);

/* The guest is asked to let go of it, or no longer asked. */
void plug_cpus_ask(struct dev *d, unsigned index);
void plug_cpus_keep(struct dev *d);

/* QEMU docs/specs/acpi_mem_hotplug. */
#define PLUG_MEMORY_PORT  0xa00u
#define PLUG_MEMORY_BYTES 24u
#define PLUG_MEMORY_EVENT 3u
#define PLUG_MEMORY_SLOTS 32u
#define PLUG_MEMORY_STEP  (UINT64_C(128) << 20) /* what Linux takes at least, on x86 */

struct plug_memory_config {
    uint64_t base, room; /* where it comes, and how many bytes of it at most */
    unsigned there;      /* slots filled at first */
    struct dev *power;   /* borrowed: raises events */
};

extern const struct dev_class dev_plug_memory;

/* Bytes of a slot where there is room for so many, of this slot (the last one has the rest),
 * and how many slots have room for `bytes`. */
uint64_t plug_memory_slot(uint64_t room);
uint64_t plug_memory_bytes(uint64_t room, unsigned index);
unsigned plug_memory_count(uint64_t room, uint64_t bytes);

/* Slots that are filled; the next one is, now: the guest is told. */
unsigned plug_memory_there(const struct dev *d);
void plug_memory_add(struct dev *d);

/* QEMU docs/specs/acpi_pci_hotplug. */
#define PLUG_SLOTS_PORT  0xae00u
#define PLUG_SLOTS_BYTES 20u
#define PLUG_SLOTS_EVENT 1u

struct plug_slots_config {
    uint32_t slots;    /* a bit for each in which something may come and go */
    uint32_t there;    /* ... there at first */
    struct dev *power; /* borrowed: raises events */

    /* The guest let go of something (`plug_slots_left`), or a reset made an end of waiting.
     * Under the board's lock. */
    void (*leave)(void *who);
    void *who; /* borrowed */
};

extern const struct dev_class dev_plug_slots;

/* A function is there now: the guest is told.  It is asked to let go of it; no longer. */
void plug_slots_add(struct dev *d, unsigned slot);
void plug_slots_ask(struct dev *d, unsigned slot);
void plug_slots_keep(struct dev *d, unsigned slot);

/* A bit for each slot: something is there; the guest let go of it, and nobody took it out yet.
 * Now somebody has. */
uint32_t plug_slots_there(const struct dev *d);
uint32_t plug_slots_left(struct dev *d);
bool plug_slots_moves(struct dev *d); /* something is on its way out */
void plug_slots_gone(struct dev *d, unsigned slot);

#endif
