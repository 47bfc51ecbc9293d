/* crew.c - threads that perform file operations, and the driver that waits in epoll.
 *
 * Hosts that forbid io_uring (a system-call filter, a sysctl) get the same promises
 * from four threads.  The other driver uses them too, for calls that the ring does
 * not know.  Threads start with the first job and end with the loop.
 *
 * `lock` guards the list of jobs to do and `ending`; a finished job is handed back
 * under `done_lock` with the loop's task posted when the list was empty. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/fault.h"
#include "host/loop/private.h"

#define CREW_THREADS 4
#define EVENTS_MOST  64

struct crew {
    struct loop *loop;
    pthread_t thread[CREW_THREADS];
    unsigned started;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct job *first;
    struct job *last;
    unsigned lending; /* threads that make lent copies */
    bool ending;

    struct loop_task back; /* posted: `done` is not empty */
    pthread_mutex_t done_lock;
    struct job *done;
    bool posted; /* `back` is on its way */
};

/* One piece costs the kernel less as such than as a list. */
static ssize_t read_or_write(const struct job *j)
{
    off_t off = (off_t)j->off;

    if (j->kind == JOB_READ) {
        return j->count == 1 ? pread(j->fd, j->iov->iov_base, j->iov->iov_len, off)
                             : preadv(j->fd, j->iov, (int)j->count, off);
    }
    return j->count == 1 && !j->sync
               ? pwrite(j->fd, j->iov->iov_base, j->iov->iov_len, off)
               : pwritev2(j->fd, j->iov, (int)j->count, off, j->sync ? RWF_DSYNC : 0);
}

ssize_t loop_job_perform(const struct job *j)
{
    ssize_t n = 0;

    do {
        switch (j->kind) {
        case JOB_READ:
        case JOB_WRITE:
            n = read_or_write(j);
            break;
        case JOB_SYNC:
            n = fdatasync(j->fd);
            break;
        case JOB_ALLOCATE:
            n = fallocate(j->fd, j->mode, (off_t)j->off, (off_t)j->bytes);
            break;
        case JOB_CALL:
            return j->call(j->arg);
        default:
            return -EINVAL;
        }
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static void hand_back(struct crew *c, struct job *j)
{
    bool first;

    (void)pthread_mutex_lock(&c->done_lock);
    first = !c->posted;
    c->posted = true;
    j->next = c->done;
    __atomic_store_n(&c->done, j, __ATOMIC_RELAXED);
    (void)pthread_mutex_unlock(&c->done_lock);
    if (first) {
        loop_post(c->loop, &c->back);
    }
}

static void *work(void *arg)
{
    struct crew *c = arg;

    (void)pthread_mutex_lock(&c->lock);
    for (;;) {
        struct job *j = c->first;

        if (j == NULL) {
            if (c->ending) {
                break;
            }
            (void)pthread_cond_wait(&c->wake, &c->lock);
            continue;
        }
        bool lent = j->lent; /* it is gone when it is handed back */

        c->first = j->next;
        c->lending += lent;
        (void)pthread_mutex_unlock(&c->lock);
        j->result = loop_job_perform(j);
        hand_back(c, j);
        (void)pthread_mutex_lock(&c->lock);
        c->lending -= lent;
    }
    (void)pthread_mutex_unlock(&c->lock);
    return NULL;
}

static void end_all(struct job *j)
{
    while (j != NULL) {
        struct job *next = j->next;

        loop_job_done(j);
        j = next;
    }
}

/* On the loop's thread, when jobs are done. */
static void take_back(struct loop_task *t)
{
    struct crew *c = (struct crew *)((char *)t - offsetof(struct crew, back));
    struct job *j;

    (void)pthread_mutex_lock(&c->done_lock);
    c->posted = false;
    j = c->done;
    __atomic_store_n(&c->done, NULL, __ATOMIC_RELAXED);
    (void)pthread_mutex_unlock(&c->done_lock);
    end_all(j);
}

/* The others stay: their strands may do anything, which is for the loop itself to allow. */
bool loop_crew_collect(struct crew *c)
{
    struct job *lent = NULL;
    struct job *rest = NULL;

    if (__atomic_load_n(&c->done, __ATOMIC_RELAXED) == NULL) {
        return false;
    }
    (void)pthread_mutex_lock(&c->done_lock);
    for (struct job *j = c->done; j != NULL;) {
        struct job *next = j->next;
        struct job **to = j->lent ? &lent : &rest;

        j->next = *to;
        *to = j;
        j = next;
    }
    __atomic_store_n(&c->done, rest, __ATOMIC_RELAXED);
    (void)pthread_mutex_unlock(&c->done_lock);
    end_all(lent);
    return lent != NULL;
}

int loop_crew_create(struct loop *l)
{
    struct crew *c = fault_calloc(1, sizeof *c);

    if (c == NULL) {
        return -ENOMEM;
    }
    c->loop = l;
    c->back.fn = take_back;
    (void)pthread_mutex_init(&c->lock, NULL);
    (void)pthread_mutex_init(&c->done_lock, NULL);
    (void)pthread_cond_init(&c->wake, NULL);
    l->crew = c;
    return 0;
}

void loop_crew_destroy(struct loop *l)
{
    struct crew *c = l->crew;

    if (c == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&c->lock);
    c->ending = true;
    (void)pthread_cond_broadcast(&c->wake);
    (void)pthread_mutex_unlock(&c->lock);
    for (unsigned i = 0; i < c->started; i++) {
        (void)pthread_join(c->thread[i], NULL);
    }
    (void)pthread_cond_destroy(&c->wake);
    (void)pthread_mutex_destroy(&c->lock);
    (void)pthread_mutex_destroy(&c->done_lock);
    free(c);
    l->crew = NULL;
}

/* Threads without the signals that the program handles; false: there is none. */
static bool start_threads(struct crew *c)
{
    sigset_t all;
    sigset_t was;

    if (c->started > 0) {
        return true;
    }
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &was);
    while (c->started < CREW_THREADS &&
           pthread_create(&c->thread[c->started], NULL, work, c) == 0) {
        c->started++;
    }
    (void)pthread_sigmask(SIG_SETMASK, &was, NULL);
    return c->started > 0;
}

void loop_crew_submit(struct loop *l, struct job *j)
{
    struct crew *c = l->crew;

    if (!start_threads(c)) {
        j->result =
            loop_job_perform(j); /* a host without threads: it blocks, but works */
        hand_back(c, j);
        return;
    }
    j->next = NULL;
    (void)pthread_mutex_lock(&c->lock);
    if (c->first == NULL) {
        c->first = j;
    } else {
        c->last->next = j;
    }
    c->last = j;
    if (!j->lent || c->lending == 0) { /* else that thread takes this one next */
        (void)pthread_cond_signal(&c->wake);
    }
    (void)pthread_mutex_unlock(&c->lock);
}

/* ---- the driver ---- */

struct epoll_state {
    int fd;
    struct epoll_event events[EVENTS_MOST];
    int count; /* of the events that are being handled */
    int at;
};

static int epoll_driver_create(struct loop *l)
{
    struct epoll_state *s = fault_calloc(1, sizeof *s);

    if (s == NULL) {
        return -ENOMEM;
    }
    s->fd = epoll_create1(EPOLL_CLOEXEC);
    if (s->fd < 0) {
        int r = -errno;

        free(s);
        return r;
    }
    if (loop_crew_create(l) != 0) {
        (void)close(s->fd);
        free(s);
        return -ENOMEM;
    }
    l->state = s;
    return 0;
}

static void epoll_driver_destroy(struct loop *l)
{
    struct epoll_state *s = l->state;

    if (s != NULL) {
        (void)close(s->fd);
        free(s);
    }
}

static int epoll_driver_watch(struct loop *l, struct loop_watch *w)
{
    struct epoll_state *s = l->state;
    struct epoll_event ev = {.events = w->events, .data.ptr = w};
    int op = w->driver_mark == NULL ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;

    if (epoll_ctl(s->fd, op, w->fd, &ev) != 0) {
        return -errno;
    }
    w->driver_mark = w;
    return 0;
}

static void epoll_driver_unwatch(struct loop *l, struct loop_watch *w)
{
    struct epoll_state *s = l->state;

    (void)epoll_ctl(s->fd, EPOLL_CTL_DEL, w->fd, NULL);
    w->driver_mark = NULL;
    for (int i = s->at; i < s->count; i++) {
        if (s->events[i].data.ptr == w) {
            s->events[i].data.ptr = NULL; /* came, and is not wanted any more */
        }
    }
}

static int epoll_driver_wait(struct loop *l, int64_t timeout_ns)
{
    struct epoll_state *s = l->state;
    struct timespec t = {.tv_sec = timeout_ns / 1000000000,
                         .tv_nsec = timeout_ns % 1000000000};
    int n = epoll_pwait2(s->fd, s->events, EVENTS_MOST, timeout_ns < 0 ? NULL : &t, NULL);

    if (n < 0 && errno == ENOSYS) { /* before Linux 5.11 */
        n = epoll_wait(s->fd, s->events, EVENTS_MOST,
                       timeout_ns < 0 ? -1 : (int)((timeout_ns + 999999) / 1000000));
    }
    if (n < 0) {
        return errno == EINTR ? 0 : -errno;
    }
    s->count = n;
    for (s->at = 0; s->at < s->count;) {
        struct epoll_event *ev = &s->events[s->at++];
        struct loop_watch *w = ev->data.ptr;

        if (w != NULL) {
            w->fn(w, ev->events);
        }
    }
    s->count = 0;
    return 0;
}

const struct loop_driver loop_crew_driver = {
    .name = "crew",
    .create = epoll_driver_create,
    .destroy = epoll_driver_destroy,
    .submit = loop_crew_submit,
    .watch = epoll_driver_watch,
    .unwatch = epoll_driver_unwatch,
    .wait = epoll_driver_wait,
};
