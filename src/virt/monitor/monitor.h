/* monitor.h - the face of a virtual machine: a PC that runs an unmodified kernel.
 *
 * A machine is memory, vCPUs and devices (allocator.c), what happens when a vCPU leaves
 * the guest (dispatcher.c), and what sensitive instructions mean here (interpreter.c).
 * Which engine executes it no other part knows.
 *
 * Threads: `machine_run` on the thread of the loop; each vCPU has one of its own.
 * `machine_stop`, `machine_press` may be called by any. */
#ifndef VIRT_MONITOR_MONITOR_H
#define VIRT_MONITOR_MONITOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct boot_files;
struct cpu_counters;
struct err;
struct loop;
struct machine;
struct virtio_device;

#define MACHINE_CPUS_MOST   64
#define MACHINE_LEAST_BYTES (UINT64_C(1) << 20)

struct machine_options {
    const char *engine; /* "auto", "translate", "interpret"; NULL: "auto" */
    const char *model;  /* CPUID model; NULL: "machine" */
    unsigned cpus;      /* 1.. */
    uint64_t memory_bytes;
    bool hides; /* no mark of a hypervisor */

    /* Plugged into PCI slots 1.. in this order; borrowed until the machine has gone.  On the
     * machine's loop. */
    struct virtio_device *const *devices;
    unsigned device_count;

    /* What the guest sends to its first serial port; must not block.  `who` is borrowed. */
    void (*console)(void *who, const uint8_t *bytes, unsigned n);
    void *who;
};

enum machine_end {
    MACHINE_OFF,      /* the guest switched itself off */
    MACHINE_RESET,    /* ... asked for a reset */
    MACHINE_EXITED,   /* ... wrote the debug-exit port */
    MACHINE_SHUTDOWN, /* triple fault */
    MACHINE_STOPPED,  /* `machine_stop` */
    MACHINE_BROKEN,   /* a vCPU could not go on */
    MACHINE_END_COUNT
};

int machine_create(struct loop *l, const struct machine_options *o, struct machine **ret,
                   struct err *e);
void machine_destroy(struct machine *m);

/* A kernel, and the boot processor at its start; before `machine_run`. */
int machine_load(struct machine *m, const struct boot_files *f, struct err *e);

/* Until the guest ends; `ret_code` is what it wrote to the debug-exit port. */
int machine_run(struct machine *m, enum machine_end *ret_end, unsigned *ret_code,
                struct err *e);

void machine_stop(struct machine *m);

/* The power button. */
void machine_press(struct machine *m);

/* Bytes for the first serial port: how many there is room for, and so many. */
unsigned machine_console_room(struct machine *m);
void machine_console_type(struct machine *m, const uint8_t *bytes, unsigned n);

/* Which engine runs it, and why that one. */
const char *machine_engine(const struct machine *m);
const char *machine_engine_why(const struct machine *m);

/* Sums over the vCPUs; while none runs. */
void machine_count(const struct machine *m, struct cpu_counters *ret);

const char *machine_end_name(enum machine_end end);

#endif
