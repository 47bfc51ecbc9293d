/* private.h - the machine's own struct.
 *
 * Locks: the board's (board/board.h) guards devices; the machine's is taken after it. */
#ifndef VIRT_MONITOR_PRIVATE_H
#define VIRT_MONITOR_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "contract/cpu.h"
#include "host/loop/loop.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/boot/boot.h"
#include "virt/monitor/dev/dev.h"
#include "virt/monitor/monitor.h"
#include "virt/monitor/vcpu.h"
#include "virtio/space.h"

struct acpi_config;
struct engine;
struct firmware;
struct kvm_vm;
struct mark;
struct mem;
struct screen;
struct snap;
struct stream;
struct trace;
struct x86_regs;

#define MACHINE_LOW_END   UINT64_C(0xc0000000) /* of RAM below the PCI hole */
#define MACHINE_HIGH      UINT64_C(0x100000000)
#define MACHINE_ECAM      UINT64_C(0xe0000000)
#define MACHINE_ECAM_SIZE UINT64_C(0x100000) /* bus 0 */
#define MACHINE_DEVICES   20

/* Where there is firmware: it has less RAM below 4 GiB, and moves ECAM itself. */
#define MACHINE_FIRMWARE_LOW_END   UINT64_C(0x80000000)
#define MACHINE_FIRMWARE_ECAM      UINT64_C(0xb0000000)
#define MACHINE_FIRMWARE_ECAM_SIZE UINT64_C(0x10000000) /* of all buses */
#define MACHINE_WINDOW_LAST        UINT64_C(0xfebfffff) /* of PCI memory below 4 GiB */

/* Why vCPUs park. */
enum machine_hold {
    HOLD_PAUSE = 1,
    HOLD_RESET = 2, /* the guest asked for it; nothing may happen before */
    HOLD_CRASH = 4,
    HOLD_DEBUG = 8,  /* a debugger is to be told something */
    HOLD_PLACE = 16, /* memory of a device is to move */
};

/* Beside `enum machine_ask`. */
#define ASK_CRASH 8u
#define ASK_DEBUG 16u
#define ASK_PLACE 32u

/* Of a machine whose runs repeat (steps.c); of the loop's thread. */
struct steps {
    uint64_t done;      /* instructions, up to the step under way */
    uint64_t granted;   /* to that; 0: none is under way */
    uint64_t began_ns;  /* ... the board's time when it began */
    uint64_t exits;     /* a digest of what the guest left for, and where */
    uint64_t halted_at; /* instructions, when it last did; UINT64_MAX: it went on */
    uint64_t random;    /* what RDRAND gives next */
    unsigned quiet;     /* steps since the loop was turned */
    bool is_halted;
};

struct machine {
    struct machine_options options;
    struct steps steps;
    const struct engine *engine;
    char engine_why[160];
    struct kvm_vm *kvm; /* owned; NULL: another engine */
    uint64_t clock_hz;  /* of the time-stamp counter, and of `time_clock` */
    uint64_t tsc_stood; /* the counter while the machine is paused, where hardware does */
    uint64_t pair_tsc;  /* and what it was at some moment; under `lock` */
    uint64_t pair_ns;   /* ... of the board's; 0: nobody asked yet */
    struct loop *loop;  /* borrowed */
    struct board *board; /* owned */
    struct mem *mem;     /* owned */
    struct cpu_env env;
    struct vcpu vcpu[MACHINE_CPUS_MOST];
    unsigned cpus;   /* of them made */
    bool plugs_cpus; /* they come and go, whether there are all of them now or not */
    struct dev *dev[MACHINE_DEVICES]; /* owned, in the order of their start */
    unsigned devices;
    struct dev *pic, *ioapic, *serial, *power, *pci; /* borrowed from `dev` */
    struct dev *plug_cpus, *plug_memory; /* ... NULL: they stay; no more comes */
    struct screen *screen;               /* borrowed; NULL: there is none */
    struct dev *keyboard;                /* ... with it */
    struct slots *slots;                 /* owned; slots.c */
    uint64_t plug_first, plug_bytes;     /* where it may come */
    struct virtio_space_mem space;       /* what devices see of `mem` */
    struct boot_place place;             /* what loaders are told of memory */
    uint64_t generation_at;              /* of identity.c; 0: nowhere */
    uint64_t wall_clock;                 /* KVM's MSR, as it was written */
    uint32_t features;                   /* `enum pv_feature`: what is shown */

    struct boot_files files;   /* borrowed: what a reset loads; `kernel` NULL: nothing */
    struct firmware *firmware; /* owned; NULL: none */

    struct mark *mark;   /* owned; rewind.c */
    struct trace *trace; /* owned; trace.c; NULL: nobody traces */
    void (*stopped)(void *who, const struct machine_stop *s); /* the debugger, or NULL */
    void *stopped_who;

    unsigned pauses;       /* not resumed yet; of the loop's thread, as what follows */
    bool is_moving;        /* on the way into a pause, or out of it */
    bool is_running;       /* `machine_run` */
    unsigned resets_left;  /* that may follow each other at once */
    uint64_t resets_at_ns; /* when `resets_left` was right */
    struct loop_timer reset_wait; /* until the next may come */

    _Atomic uint32_t holds; /* `enum machine_hold` */
    _Atomic bool is_over;
    struct loop_task over; /* stops the loop */
    bool is_over_heard;    /* ... and has */
    struct loop_task ask;  /* queued while `is_asked` */
    pthread_mutex_t lock;  /* guards what follows */
    pthread_cond_t moved;  /* `parked`, `holds`, `is_over` or `threads` changed */
    unsigned threads;      /* of vCPUs */
    unsigned parked;       /* of them, between two instructions until `holds` is empty */
    bool is_asked;
    uint32_t asks; /* `enum machine_ask` */
    enum machine_end end;
    unsigned code;
};

/* machine.c: the first one to end it says how. */
void machine_finish(struct machine *m, enum machine_end how, unsigned code);

/* pause.c */
void pause_init(struct machine *m);
void pause_fini(struct machine *m);
void pause_drain(struct machine *m); /* nothing of it is left on its loop; no vCPU runs */
void pause_park(struct vcpu *v);     /* its thread: until nothing holds it */
void pause_release(struct machine *m, uint32_t holds); /* these no longer hold vCPUs */
void pause_count_thread(struct machine *m, int change);
void pause_hold(struct machine *m, uint32_t why, uint32_t ask); /* any thread */

/* reset.c: the guest asks, on any thread; whether a reset may come now, or does later. */
void reset_ask(struct machine *m);
void reset_serve(struct machine *m);
void reset_cancel(struct machine *m); /* what the guest asked for does not count */
void reset_crash(struct machine *m);  /* it crashed: whoever wants to know is told */

/* snapshot.c: into a stream and a file, while paused; whether they fit, changing nothing; and
 * back, when memory is. */
int snapshot_take(struct machine *m, struct stream *s, int memory_fd, struct err *e);
int snapshot_check(struct machine *m, struct stream *s, int memory_fd, bool reads_all,
                   struct err *e);
int snapshot_return(struct machine *m, struct stream *s, int memory_fd, struct err *e);
void rewind_forget(struct machine *m);
/* trace.c: an exit of this vCPU went that way. */
void tracer_note(struct vcpu *v, const struct cpu_exit *x, enum machine_route way);

/* debug.c: a vCPU leaves for the debugger, on its thread; who is told, on the loop's. */
void debug_note(struct vcpu *v, const struct cpu_exit *x);
void debug_serve(struct machine *m);
/* count.c: one exit of this kind went that way.  On the vCPU's thread. */
void count_exit(struct vcpu *v, enum cpu_exit_kind kind, enum machine_route way);
void count_routine(struct vcpu *v, unsigned n); /* of the interpreter */

/* engine.c.  The frequency of the guest's time-stamp counter; whether it can be `hz`, and
 * that it is. */
int engine_create_cpu(struct machine *m, unsigned index, struct err *e);
int engine_add_memory(struct machine *m, struct err *e); /* ... or moved; all stand */
void engine_release(struct machine *m);                  /* behind its processors */
uint64_t engine_tsc_hz(const struct machine *m);
int engine_check_tsc(const struct machine *m, uint64_t hz, struct err *e);
void engine_set_tsc(struct machine *m, uint64_t hz);
uint32_t engine_features(const struct machine *m); /* `enum pv_feature` */

/* time.c: `clock` of `struct cpu_env`; time stops in two steps, before vCPUs park and after;
 * registers as they stood, and are to go on, between `time_stop` and `time_start`. */
#define TIME_HZ UINT64_C(1000000000)

uint64_t time_clock(void *who);
void time_pair(struct vcpu *v, uint64_t *ret_tsc, uint64_t *ret_ns, uint64_t *ret_hz);
void time_stop_first(struct machine *m);
void time_stop(struct machine *m);
void time_start(struct machine *m);
void time_get(const struct vcpu *v, struct x86_regs *ret);
int time_set(struct vcpu *v, const struct x86_regs *r, struct err *e);

/* steps.c: all of nothing, unless the machine is deterministic.  -EINVAL: it cannot be.  Its
 * run; the board's time is what the instructions say; an exit, answered; a timer may be due
 * before the step ends. */
int steps_init(struct machine *m, struct err *e);
void steps_run(struct machine *m);
uint64_t steps_now(const struct machine *m);
void steps_reach(struct machine *m);
void steps_note(struct machine *m, const struct cpu_exit *x);
void steps_shorten(struct machine *m);
void steps_carry(struct machine *m, struct snap *s);

/* plug.c, a part of the allocator: `change` of `struct plug_cpus_config`; memory of slot `n`,
 * which is the next one, is made. */
void allocator_plug_cpu(void *who, unsigned index, bool is_there);
int allocator_plug_memory(struct machine *m, unsigned n, struct err *e);

/* allocator.c: memory, processors and devices of a new machine. */
int allocator_build(struct machine *m, struct err *e);
int allocator_write_tables(struct machine *m, struct err *e);
void allocator_release(struct machine *m);
int allocator_add(struct machine *m, const struct dev_class *class, const void *config,
                  struct dev **ret, struct err *e);           /* a device */
unsigned allocator_slot(const struct machine *m, unsigned i); /* of that card in PCI */
int allocator_plug(struct machine *m, const struct pci_card *c, unsigned slot,
                   struct err *e);
void allocator_describe(const struct machine *m, uint64_t ecam, struct acpi_config *ret);

/* slots.c: registers by which the guest is told, once the bus and its functions are there; what
 * the guest let go of is taken out; nothing of it is left on the loop, and no vCPU runs. */
int slots_grant(struct machine *m, struct err *e);
void slots_serve(struct machine *m);
bool slots_move(struct machine *m); /* something is on its way out */
void slots_release(struct machine *m);

/* display.c: the screen; its memory moves, if it is to. */
int display_grant(struct machine *m, struct err *e);
void display_serve(struct machine *m);

/* firmware.c: its memory, its devices, and both as after power-on. */
int firmware_grant_memory(struct machine *m, struct err *e);
int firmware_grant_devices(struct machine *m, struct err *e);
int firmware_load(struct machine *m, struct err *e);
void firmware_release(struct machine *m);

/* dispatcher.c: `exit` of `struct cpu_env`; every exit of every vCPU enters here. */
int dispatcher_enter(void *who, struct cpu *c, struct cpu_exit *x);
int dispatcher_take_interrupt(void *who, struct cpu *c);
void dispatcher_untake_interrupt(void *who, struct cpu *c, int vector);

/* interpreter.c: false is #GP; a hypercall is answered in the exit. */
bool interpreter_read_msr(struct vcpu *v, uint32_t msr, uint64_t *ret);
bool interpreter_write_msr(struct vcpu *v, uint32_t msr, uint64_t value);
void interpreter_hypercall(struct vcpu *v, struct cpu_exit *x);
void interpreter_cpuid(void *who, struct cpu *c, uint32_t leaf, uint32_t subleaf,
                       uint32_t ret[4]);

#endif
