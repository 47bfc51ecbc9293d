/* private.h - what the files of a machine's worker share. */
#ifndef NODE_MACHINE_PRIVATE_H
#define NODE_MACHINE_PRIVATE_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "host/loop/loop.h"
#include "node/machine/drives.h"
#include "node/machine/peripherals.h"
#include "virt/monitor/boot/boot.h"
#include "virt/monitor/control/control.h"
#include "virt/monitor/monitor.h"
#include "virt/monitor/pci/card.h"

struct err;
struct gdb;
struct strv;

/* What is to be run, and what the worker was given for it. */
struct plan {
    json_t *json; /* owned; NULL: from words */
    struct machine_options options;
    struct boot_files files;
    struct drives disks;
    struct peripherals peripherals;
    struct pci_card card[DRIVES_MOST + PERIPHERALS_MOST]; /* of both */
    int report;   /* to whom made us; -1: nobody */
    int control;  /* listens; -1 */
    bool is_told; /* its generation: `options` has it */
    bool is_copy; /* of another machine: its cards have no link until somebody says so */
    bool holds_crash; /* a guest that crashes stands, instead of ending */
    int counters;     /* what the guest did is written there at the end; -1 */
    int log;          /* the firmware's; -1: nobody listens */
    int saved;        /* what it begins as instead of the kernel's start, */
    int memory;       /* ... and its memory; -1: nothing */
    uid_t user;       /* of the host, for root's worker; 0: nobody's number */
    bool born;        /* in namespaces of its own */
};

/* plan.c: from `--plan FD` or from words.  What it holds lives as long as the process. */
int plan_read(int fd, struct plan *ret, struct err *e);
int plan_parse(char *const *words, struct plan *ret, struct err *e);

/* The pages of the files that were loaded go; a reset reads them again. */
void plan_release_files(const struct plan *p);

/* confine.c: give up, for good, places and rights before there is a second thread; then, when
 * the code memory of the vCPUs is mapped, all system calls but some.  `lacks` gets a word for
 * each part that this host does not have.  `ioctls`, ended by 0, are allowed besides. */
int confine_place(const struct plan *p, struct strv *lacks, struct err *e);
int confine_calls(const unsigned long *ioctls, struct strv *lacks, struct err *e);

/* run.c: a machine under way. */
struct run {
    struct plan plan;
    struct loop *loop;       /* owned */
    struct machine *machine; /* owned */
    struct control *control; /* owned; NULL: nobody asks */
    struct gdb *gdb;         /* owned; NULL: nobody has debugged it */
    struct loop_watch input, signals;
    struct loop_timer retry;
    struct loop_timer wish; /* comes.c: until nobody waits for a disk to go any more */
    int ended_by;           /* signal; 0: none */
    bool was_pressed;       /* by SIGINT: the next one ends it */
    bool is_paused, has_ended;
    bool is_saved;   /* it is not to go on: asked to end, it ends well */
    bool is_crashed; /* it stands, for who looks at it */
    bool has_mark;
    enum machine_end end; /* when it has */
};

/* carry.c: the word "save"; and a machine that goes on from files instead of its kernel. */
int carry_save(void *who, const struct control_call *c, json_t **ret, struct err *e);
int carry_restore(struct run *run, struct err *e);

/* ... and "mark", "rewind", "dump", "screen"; the guest crashed, and stands. */
int carry_mark(void *who, const struct control_call *c, json_t **ret, struct err *e);
int carry_rewind(void *who, const struct control_call *c, json_t **ret, struct err *e);
int carry_dump(void *who, const struct control_call *c, json_t **ret, struct err *e);
int carry_cable(void *who, const struct control_call *c, json_t **ret, struct err *e);
int carry_screen(void *who, const struct control_call *c, json_t **ret, struct err *e);
void carry_crashed(void *who);

/* debugger.c: the word "gdb": a debugger comes by that socket, or clients of it; and the end. */
int debugger_gdb(void *who, const struct control_call *c, json_t **ret, struct err *e);
void debugger_end(struct run *run, unsigned code);

/* ... memory as a processor sees it, or GDB_PHYSICAL (virt/monitor/gdb): all or -EFAULT; `who`
 * is the machine under way, which stands. */
int debugger_read(void *who, unsigned cpu, uint64_t at, void *to, size_t bytes);

/* comes.c: the words "attach" and "detach"; what was in that slot has gone. */
int comes_attach(void *who, const struct control_call *c, json_t **ret, struct err *e);
int comes_detach(void *who, const struct control_call *c, json_t **ret, struct err *e);
void comes_gone(void *who, unsigned slot);

/* The queues that a disk has: one for each processor that may come, up to a few. */
unsigned plan_processors(const struct plan *p);

/* look.c: the words "look" and "trace". */
int look_do(void *who, const struct control_call *c, json_t **ret, struct err *e);
int look_trace(void *who, const struct control_call *c, json_t **ret, struct err *e);

/* asked.c: what it does when asked, and tells. */
int asked_listen(struct run *run, struct err *e);
json_t *asked_stats(const struct run *run);
const char *asked_state(const struct run *run);
int asked_alone(const struct run *run, struct err *e); /* -EOPNOTSUPP: it is to be */
void asked_write(const struct run *run);               /* into the file of counters */

#endif
