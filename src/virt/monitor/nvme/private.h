/* private.h - the controller's own struct. */
#ifndef VIRT_MONITOR_NVME_PRIVATE_H
#define VIRT_MONITOR_NVME_PRIVATE_H

#include <stdatomic.h>
#include <stddef.h>
#include <sys/uio.h>

#include "contract/blk.h"
#include "host/loop/loop.h"
#include "virt/monitor/nvme/numbers.h"
#include "virt/monitor/nvme/nvme.h"
#include "virt/monitor/pci/pci.h"

struct snap;
struct virtio_space;

#define QUEUES_ALL      (1 + NVME_QUEUES_MOST) /* 0 is the administrator's */
#define ENTRIES_MOST    256u                   /* of a queue for reads and writes */
#define ADMIN_MOST      4096u                  /* of the other one: NVMe 3.1.8 */
#define RUNNING_MOST    256u                   /* commands of one queue at a time */
#define TRANSFER_SHIFT  7                      /* pages of data in a command: MDTS */
#define TRANSFER_BYTES  (NVME_PAGE_BYTES << TRANSFER_SHIFT)
#define VECS_MOST       ((1u << TRANSFER_SHIFT) + 1)
#define ASYNC_MOST      4u /* commands that wait for events */
#define ERRORS_MOST     8u
#define ERROR_BYTES     64u
#define CELSIUS_0       273u
#define TEMPERATURE     (CELSIUS_0 + 25u) /* of a disk that has none */
#define TEMPERATURE_BAD (CELSIUS_0 + 70u)

enum nvme_work {
    NVME_HALTED, /* it does not reach for memory */
    NVME_RUNS,
    NVME_HALTS, /* requests are under way */
};

struct nvme;

struct nvme_request {
    struct blk_request blk; /* first */
    struct nvme *nvme;
    struct nvme_sq *sq;
    struct nvme_request *next; /* free, ended, or waiting for room */
    struct nvme_command c;
    uint16_t status;
    uint32_t result;
    bool fills; /* the guest's memory */
    bool busy;  /* with the disk, or a strand */
    unsigned vecs;
    unsigned ranges;
    struct nvme_range *range; /* owned */
    struct iovec vec[VECS_MOST];
};

/* What the driver writes last, on its own threads. */
struct nvme_bell {
    struct nvme *nvme;
    _Atomic uint32_t value;
    _Atomic bool wanted; /* of a completion queue: a write is to be heard of */
    _Atomic bool posted; /* `task` is */
    uint32_t bad;        /* a value that it was told of already; 0: none */
    struct loop_task task;
};

struct nvme_sq {
    bool is_there;
    uint16_t id, cq;
    uint32_t size; /* entries */
    uint64_t base;
    uint32_t head;
    unsigned running;             /* taken and not answered, */
    unsigned waiting;             /* ... since there is no room */
    struct nvme_request *deleter; /* until all others wait */
};

struct nvme_cq {
    bool is_there, interrupts, is_odd; /* it has one flag more, next time round */
    bool is_fresh;                     /* answers were written: interrupt */
    uint16_t vector;
    uint32_t size;
    uint64_t base;
    uint32_t head, tail;
    struct nvme_request *first, *last; /* no room for them yet */
};

struct nvme_counters {
    uint64_t read_blocks, written_blocks; /* of 512 bytes */
    uint64_t reads, writes;
    uint64_t failures;
};

/* What a driver has chosen, and what it has not been told yet. */
struct nvme_choice {
    uint32_t feature[NVME_FEATURES];
    uint32_t hot, cold; /* thresholds */
    uint32_t vector[QUEUES_ALL + 1];
    uint16_t async[ASYNC_MOST]; /* ids of commands */
    uint32_t asyncs;
    uint8_t raised[NVME_EVENT_COUNT]; /* info + 1; 0: nothing */
    uint8_t masked[NVME_EVENT_COUNT]; /* until the log was read */
    uint8_t changed;                  /* the namespace has, since the list was read */
    uint8_t has_queues;               /* since the reset: their number stands */
};

struct nvme {
    struct pci_function f; /* first */
    struct board *board;   /* NULL: not plugged in */
    struct loop *loop;
    struct virtio_space *space;
    const struct blk_edge *edge;
    char serial[NVME_SERIAL_BYTES + 1];
    bool read_only;
    unsigned queues; /* for reads and writes */

    /* Under the board's lock. */
    uint32_t cc, csts, aqa, masked;
    uint64_t asq, acq;
    uint32_t raised; /* vectors that drive the line */
    bool resets;     /* it was switched off; not done yet */
    bool is_posted;  /* `task` is */

    struct nvme_bell bell[2 * QUEUES_ALL];
    _Atomic bool hushed; /* bells of submissions are looked at anyway */

    /* Of the loop's thread. */
    enum nvme_work work; /* changed under the lock */
    bool is_up;          /* queues of the administrator are there */
    bool at_rest;
    bool is_settling, has_more;
    struct nvme_sq sq[QUEUES_ALL];
    struct nvme_cq cq[QUEUES_ALL];
    struct nvme_choice choice;
    struct nvme_counters counters;
    uint8_t errors[ERRORS_MOST * ERROR_BYTES];
    struct blk_queue queue;
    struct blk_request flush; /* of a shutdown */
    struct nvme_request *free, *ended, *ended_last;
    unsigned busy;
    uint64_t last_ns;
    struct loop_task task, answers;
    struct loop_timer again;
    struct loop_poller poller;
};

/* nvme.c: the controller is to follow its registers; under the lock.  It does, without it. */
void nvme_post(struct nvme *n);
void nvme_settle(struct nvme *n);
void nvme_fatal(struct nvme *n);
void nvme_flushed(struct nvme *n);

/* registers.c */
extern const struct pci_part nvme_parts[2];
void nvme_registers_reset(struct nvme *n); /* under the lock, as what follows */
void nvme_drive(struct nvme *n);

/* queue.c: commands are taken, from doorbells to what does them.  True: there were some. */
bool nvme_serve(struct nvme *n, struct nvme_sq *sq);
void nvme_serve_all(struct nvme *n);
bool nvme_has_more(struct nvme *n, const struct nvme_sq *sq);
bool nvme_is_full(const struct nvme_sq *sq); /* no more may be under way */
void nvme_bell_rings(struct loop_task *t);
bool nvme_look(struct loop_poller *p);
bool nvme_listen(struct loop_poller *p);
void nvme_tell_bad(struct nvme *n, struct nvme_bell *b, uint32_t value, unsigned why);
struct nvme_request *nvme_request_get(struct nvme *n);
void nvme_request_put(struct nvme_request *r);

/* answer.c: ... and answered. */
void nvme_end(struct nvme_request *r, uint16_t status); /* soon */
void nvme_submit(struct nvme_request *r, enum blk_kind kind, unsigned flags, uint64_t off,
                 uint64_t bytes); /* the disk says how it goes */
void nvme_begin_busy(struct nvme_request *r);
void nvme_answer(struct loop_task *t);
void nvme_answer_all(struct nvme *n); /* now */
void nvme_give_waiting(struct nvme *n, struct nvme_cq *cq);
void nvme_wait(struct nvme *n, struct nvme_request *r); /* for room */
void nvme_drop_waiting(struct nvme *n,
                       const struct nvme_sq *sq); /* NULL: of all queues */
void nvme_interrupt(struct nvme *n);
bool nvme_is_idle(const struct nvme *n);

/* prp.c: the pieces of the guest's memory that a command names: a status. */
uint16_t nvme_map(struct nvme_request *r, uint32_t bytes, bool fills);
uint16_t nvme_fill(struct nvme_request *r, const void *from, uint32_t bytes);
void nvme_tell_space(const struct nvme_request *r);

/* admin.c, identify.c, log.c, feature.c, nvm.c.  What begins a command ends it, now or later. */
void nvme_do_admin(struct nvme_request *r);
void nvme_delete_sq(struct nvme *n,
                    struct nvme_sq *sq); /* nothing of it is with the disk */
uint16_t nvme_identify(struct nvme_request *r);
uint16_t nvme_get_log(struct nvme_request *r);
void nvme_note_error(struct nvme_request *r);
void nvme_raise(struct nvme *n, enum nvme_event what, unsigned info);
void nvme_give_events(struct nvme *n);
uint16_t nvme_get_feature(struct nvme_request *r);
uint16_t nvme_set_feature(struct nvme_request *r);
void nvme_choice_reset(struct nvme *n);
uint32_t nvme_do(struct nvme_request *r); /* for the namespace; so many bytes of data */
uint16_t nvme_status_of(const struct nvme_request *r);
uint32_t nvme_block_bytes(const struct nvme *n);
bool nvme_may_write(const struct nvme *n);

/* state.c */
void nvme_carry(struct pci_function *f, struct snap *s);

#endif
