/* private.h - the board's own struct. */
#ifndef VIRT_MONITOR_BOARD_PRIVATE_H
#define VIRT_MONITOR_BOARD_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "host/loop/loop.h"
#include "virt/monitor/board/board.h"

#define CLAIMS_MOST    96
#define LISTENERS_MOST 4
#define TALLIES_MOST   32

struct space {
    struct board_claim claim[CLAIMS_MOST]; /* sorted by base */
    uint8_t tally[CLAIMS_MOST];            /* ... where its accesses are counted */
    unsigned count;
};

/* Accesses to all claims of one name. */
struct tally {
    const char *name; /* borrowed */
    _Atomic uint64_t reads, writes;
};

struct board {
    pthread_mutex_t lock; /* guards all but what says otherwise */
    pthread_rwlock_t map; /* guards `space`; taken after `lock` or alone */
    struct space space[BOARD_SPACE_COUNT];
    struct tally
        tally[TALLIES_MOST]; /* the first: nobody's; names are never taken back */
    unsigned tallies;        /* guarded by `map` */
    struct board_listener listener[LISTENERS_MOST];
    unsigned listeners;
    uint32_t lines;             /* levels */
    _Atomic uint64_t judged[2]; /* refused, granted */

    struct loop *loop; /* borrowed */
    struct loop_timer wake;
    struct loop_task post; /* queued while `is_posted` */
    bool is_posted;
    struct board_timer *timers; /* sorted by time */
    uint64_t armed_ns; /* what `wake` is set to, of the board's time; or UINT64_MAX */

    /* now = host's clock - since (running), or stopped_ns; read without the lock */
    _Atomic uint64_t since_ns;
    _Atomic uint64_t stopped_ns;
    _Atomic bool is_stopped;
    bool is_counted; /* stopped always: `stopped_ns` is moved on */
};

void clock_init(struct board *b);
void clock_fini(struct board *b);

#endif
