/* private.h - what the files of host/loop share. */
#ifndef HOST_LOOP_PRIVATE_H
#define HOST_LOOP_PRIVATE_H

#include <pthread.h>
#include <sys/uio.h>

#include "base/strand.h"
#include "host/loop/loop.h"

struct crew;

enum job_kind {
    JOB_READ,
    JOB_WRITE,
    JOB_SYNC,
    JOB_ALLOCATE,
    JOB_CALL, /* only by the crew */
    JOB_KIND_COUNT
};

/* One file operation under way; on the stack of the strand that waits. */
struct job {
    enum job_kind kind;
    int fd;
    const struct iovec *iov;
    unsigned count;
    uint64_t off;
    uint64_t bytes; /* allocate */
    int mode;       /* allocate */
    bool sync;      /* write: RWF_DSYNC */
    bool lent;      /* by `loop_job_lend` */
    int (*call)(void *arg);
    void *arg;
    ssize_t result;
    struct strand *waiter;
    struct job *next;
};

struct loop_driver {
    const char *name;
    int (*create)(struct loop *l);
    void (*destroy)(struct loop *l);

    /* Take a job; `loop_job_done` follows, never inside the call. */
    void (*submit)(struct loop *l, struct job *j);

    /* Watch for w->events from now on; called again when they change. */
    int (*watch)(struct loop *l, struct loop_watch *w);
    void (*unwatch)(struct loop *l, struct loop_watch *w);

    /* Handle what has come, waiting at most so long (-1: for ever). */
    int (*wait)(struct loop *l, int64_t timeout_ns);
};

extern const struct loop_driver loop_ring_driver;
extern const struct loop_driver loop_crew_driver;

struct loop {
    const struct loop_driver *driver;
    void *state; /* of the driver; owned */
    struct crew *crew;
    struct strand_pool *strands;
    struct loop_timer *timers; /* by time */
    struct loop_task *tasks;   /* later, in order */
    struct loop_task **tasks_end;
    struct loop_poller *pollers;
    uint64_t now_ns;
    unsigned jobs;          /* file operations under way */
    unsigned lent;          /* of them: copies by another thread */
    bool more;              /* requests wait for this thread */
    uint64_t lend_at_ns;    /* not before: the other thread had no processor */
    unsigned skipped;       /* turns since the driver was last asked */
    uint64_t cool_until_ns; /* no spinning until then */
    uint64_t cool_ns;
    uint64_t hot_until_ns; /* pollers found something not long before */
    bool stopping;

    int post_fd; /* eventfd: the list below is not empty */
    struct loop_watch post_watch;
    pthread_mutex_t post_lock; /* guards `posted` */
    struct loop_task *posted;
};

/* A job has its result: let its strand go on. */
void loop_job_done(struct job *j);

/* In a strand: hand the job over and wait for its result. */
ssize_t loop_job_run(struct loop *l, struct job *j);

/* The same by the crew, whatever the driver. */
ssize_t loop_job_lend(struct loop *l, struct job *j);

/* Do the job here and now. */
ssize_t loop_job_perform(const struct job *j);

/* Threads that perform jobs; started when the first one comes.  `loop_crew_submit` returns at
 * once; the finished ones come back through the loop. */
int loop_crew_create(struct loop *l);
void loop_crew_destroy(struct loop *l);
void loop_crew_submit(struct loop *l, struct job *j);

/* Lent jobs that are done have their results; whether there were any. */
bool loop_crew_collect(struct crew *c);

uint64_t loop_clock_ns(void);

#endif
