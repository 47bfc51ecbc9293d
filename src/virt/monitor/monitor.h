/* monitor.h - the face of a virtual machine: a PC that runs an unmodified kernel.
 *
 * A machine is memory, vCPUs and devices (allocator.c), what happens when a vCPU leaves
 * the guest (dispatcher.c), and what sensitive instructions mean here (interpreter.c).
 * Which engine executes it no other part knows.
 *
 * Threads: all on the thread of the loop, handlers of it included; each vCPU has one of its
 * own.  `machine_stop`, `machine_press` and `machine_ask` may be called by any. */
#ifndef VIRT_MONITOR_MONITOR_H
#define VIRT_MONITOR_MONITOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virt/monitor/exits.h"

struct boot_files;
struct cpu_counters;
struct cpu_debug;
struct err;
struct loop;
struct machine;
struct mem;
struct pci_card;
struct x86_regs;

#define MACHINE_CPUS_MOST   64
#define MACHINE_LEAST_BYTES (UINT64_C(1) << 20)

/* What becomes of a guest that does not set its watchdog back; it has none, else. */
enum machine_watchdog {
    MACHINE_WATCHDOG_NONE,
    MACHINE_WATCHDOG_RESET, /* as if it had asked for that itself */
    MACHINE_WATCHDOG_OFF,   /* the run ends */
    MACHINE_WATCHDOG_HOLD,  /* it crashed: `crashed` */
};

struct machine_options {
    const char *engine; /* "auto", "kvm", "translate", "interpret"; NULL: "auto" */
    int kvm; /* /dev/kvm, borrowed for `machine_create`; 0: it is opened, -1: there is none */
    const char *model;  /* CPUID model; NULL: "machine" */
    unsigned cpus;      /* 1.. */
    unsigned cpus_most; /* there is room for so many; 0: no more */
    uint64_t memory_bytes;
    uint64_t memory_most;    /* there is room for so much; 0: no more */
    uint64_t memory_plugged; /* beside `memory_bytes`, as it came to it once it ran */
    bool hides;              /* no mark of a hypervisor */
    bool is_deterministic;   /* each run is the same: of one processor, in software */
    uint64_t seed;           /* ... and what is random in it follows from this */
    bool no_reboot;          /* a reset ends the run; else the guest starts again */
    int pagemap; /* /proc/self/pagemap, open: taken, for quick rewinds; 0: none */
    enum machine_watchdog watchdog;
    bool has_screen;        /* a graphics card and a keyboard; `machine_screen` */
    bool shutdown_resets;   /* a triple fault is a reset, as on hardware; else the end */
    uint8_t generation[16]; /* see identity.h; zeros: made up */

    /* A triple fault, or the guest says that it panicked; it stands.  On the loop's thread:
     * `machine_rewind`, `machine_reset` and `machine_stop` are ways out.  NULL: a triple
     * fault ends the run, a panic is the guest's own matter. */
    void (*crashed)(void *who);

    /* What processors begin to execute instead of a kernel: its last byte lies below 4 GiB.
     * Borrowed for `machine_create`; 0 bytes: none.  `log` gets what it writes of itself, and
     * must not block; NULL: nobody listens. */
    const uint8_t *firmware;
    size_t firmware_bytes;
    uint8_t *variables; /* what it keeps, just below it; written by the guest, borrowed */
    size_t variables_bytes;
    void (*log)(void *who, const uint8_t *bytes, unsigned n);
    const uint8_t *video; /* what a BIOS runs for the screen, as a file of it; or NULL */
    size_t video_bytes;

    /* Plugged into PCI in this order, where no slot is wanted into the next one from 1 on;
     * borrowed until the machine has gone.  On its loop. */
    const struct pci_card *cards;
    unsigned card_count;

    /* What the guest sends to its first serial port; must not block.  `who` is borrowed. */
    void (*console)(void *who, const uint8_t *bytes, unsigned n);
    void *who;
};

enum machine_end {
    MACHINE_OFF,      /* the guest switched itself off */
    MACHINE_RESET,    /* ... asked for a reset */
    MACHINE_EXITED,   /* ... wrote the debug-exit port */
    MACHINE_PANICKED, /* ... said so by pvpanic */
    MACHINE_SHUTDOWN, /* triple fault */
    MACHINE_HUNG,     /* it did not set its watchdog back */
    MACHINE_STOPPED,  /* `machine_stop` */
    MACHINE_BROKEN,   /* a vCPU could not go on */
    MACHINE_END_COUNT
};

int machine_create(struct loop *l, const struct machine_options *o, struct machine **ret,
                   struct err *e);
void machine_destroy(struct machine *m);

/* A kernel, and the boot processor at its start; before `machine_run`.  What `f` points to
 * is borrowed until `machine_destroy`: a reset loads it anew.  A machine with firmware has
 * none: `f` is empty. */
int machine_load(struct machine *m, const struct boot_files *f, struct err *e);

/* Until the guest ends; `ret_code` is what it wrote to the debug-exit port. */
int machine_run(struct machine *m, enum machine_end *ret_end, unsigned *ret_code,
                struct err *e);
void machine_stop(struct machine *m);

/* Returns when nothing of the guest moves: every vCPU stands between two instructions,
 * devices have finished what they took, the machine's time stands.  As often as it was
 * paused it is resumed.  May turn the loop meanwhile.  -ETIMEDOUT: somebody did not stop, and
 * all goes on; -ESHUTDOWN: the guest has ended; -EBUSY: another call is under way. */
int machine_pause(struct machine *m, struct err *e);
int machine_resume(struct machine *m, struct err *e);
bool machine_is_paused(const struct machine *m);

/* Start again, as after the reset button: memory is cleared, devices and processors are as
 * they were made, the kernel is loaded anew.  -ENOENT: there is none. */
int machine_reset(struct machine *m, struct err *e);

/* The state of a machine that is paused, into two files that are made empty first; the
 * machine goes on as it was, also when they cannot be written.  Blocks; `fd` is complete
 * last.  Whoever needs them to survive a power cut says so to the host afterwards. */
int machine_save(struct machine *m, int fd, int memory_fd, struct err *e);

enum machine_restore {
    MACHINE_RESTORE_LAZY = 1, /* what the file of memory holds is taken on trust */
};

/* Instead of `machine_load`, into a machine made with the same options, whatever engine; it
 * goes on in `machine_run`.  -EBADMSG: the files are cut, damaged, or another machine's, and
 * nothing was changed.  `memory_fd`'s file must stay as it is while the machine lives. */
int machine_restore(struct machine *m, int fd, int memory_fd, unsigned how,
                    struct err *e);

/* The memory that the machine of such a state had.  -EBADMSG: as above. */
int machine_saved_memory(int fd, uint64_t *ret_bytes, struct err *e);

/* What a reset loads, for a machine that was restored: see `machine_load`. */
void machine_set_files(struct machine *m, const struct boot_files *f);

/* Remember everything as it is (`_at`: memory in that file), and go back to it: memory, processors,
 * devices, the machine's time; not what disks hold.  Also after a guest's crash, before
 * `machine_run` returned. */
int machine_mark(struct machine *m, struct err *e);
int machine_mark_at(struct machine *m, int take_fd, struct err *e);
int machine_rewind(struct machine *m, struct err *e);

/* While paused or before it runs: its memory is known elsewhere, too, and the guest is told (identity.h).
 * What it is already is not told: false. */
bool machine_renew(struct machine *m, const uint8_t generation[16]);

/* Memory and registers into an empty file that debuggers read (ELF core). */
int machine_dump(struct machine *m, int fd, struct err *e);

/* What its screen shows now, into an empty file (PNG); it need not stand.  -ENOENT: it has
 * none. */
int machine_screen(struct machine *m, int fd, struct err *e);

/* Keys on the keyboard that comes with it, as "a" or "ctrl-alt-delete" (dev/keyboard.h), go down and
 * up.  -EINVAL: there is no such key; -EAGAIN: the guest does not take them; -ENOENT. */
int machine_type(struct machine *m, const char *keys, struct err *e);

/* The registers of a processor, which stands, and others for it; the guest's memory. */
void machine_look(struct machine *m, unsigned index, struct x86_regs *ret);
int machine_put(struct machine *m, unsigned index, const struct x86_regs *r,
                struct err *e);
struct mem *machine_memory(struct machine *m);

/* What a debugger is told: a processor did what was asked for (`enum cpu_debug_kind`). */
struct machine_stop {
    unsigned cpu, kind;
    uint64_t address;
};

/* A debugger comes, or goes (NULL).  `stopped` is called when the machine was paused because
 * of a stop; `machine_debug_go` resumes it.  -EOPNOTSUPP: this engine cannot. */
int machine_debug(struct machine *m,
                  void (*stopped)(void *who, const struct machine_stop *s), void *who,
                  struct err *e);
void machine_debug_go(struct machine *m);

/* While paused: what a processor is to leave for (borrowed; NULL: nothing), and whether it
 * stands when the others go on. */
void machine_debug_cpu(struct machine *m, unsigned index, const struct cpu_debug *d,
                       bool stands);

/* Processors that the guest has now; and how many it shall have, of those that there is room
 * for: it takes new ones at once, and others when it lets go of them, if it does.  -ERANGE,
 * -EOPNOTSUPP. */
unsigned machine_cpus(const struct machine *m);
unsigned machine_cpus_most(const struct machine *m);
int machine_set_cpus(struct machine *m, unsigned n, struct err *e);

/* Memory that the guest has, and that there is room for; and that it shall have so much at
 * least: it comes in steps, and stays.  -ERANGE; -EBUSY: a mark would not have it. */
uint64_t machine_memory_bytes(const struct machine *m);
uint64_t machine_memory_most(const struct machine *m);
uint64_t machine_memory_of(const struct machine_options *o); /* ... when it starts */
int machine_add_memory(struct machine *m, uint64_t bytes, struct err *e);

/* The same as a request, done on the loop's thread soon. */
enum machine_ask {
    MACHINE_ASK_PAUSE = 1,
    MACHINE_ASK_RESUME = 2,
    MACHINE_ASK_RESET = 4
};

void machine_ask(struct machine *m, uint32_t asks);
void machine_press(struct machine *m); /* the power button */

/* Bytes for the first serial port: how many there is room for, and so many. */
unsigned machine_console_room(struct machine *m);
void machine_console_type(struct machine *m, const uint8_t *bytes, unsigned n);

/* Which engine runs it, and why that one. */
const char *machine_engine(const struct machine *m);
const char *machine_engine_why(const struct machine *m);

/* Instructions of a deterministic machine, and a digest of its exits and where each was; false:
 * it is none.  On the loop's thread. */
bool machine_repeats(const struct machine *m, uint64_t *ret_done, uint64_t *ret_exits);

/* What it asks of Linux while it runs, ended by 0: numbers of ioctl. */
const unsigned long *machine_engine_calls(const struct machine *m);

const char *machine_end_name(enum machine_end end);

#endif
