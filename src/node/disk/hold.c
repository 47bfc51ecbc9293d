/* hold.c - a guest stands still while its disk is read.
 *
 * RUN/guests/ID/held, locked, says who wanted it: a command that died meanwhile lets go
 * of the lock, and whoever looks at the guest next lets it go on (`hold_forgotten`).  A
 * guest that was paused before stays so. */
#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "base/scope.h"
#include "contract/task.h"
#include "node/private.h"

#define CLOCK_MS 100 /* that a guest's calendar may be behind */

static int open_mark(struct node *n, const struct guest *g, int flags)
{
    char path[PATH_MAX];

    (void)guest_run_path(n, g->id, "held", path);
    return open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
}

static bool lock_mark(int fd)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    return fcntl(fd, F_OFD_SETLK, &l) == 0;
}

static void drop_mark(struct node *n, const struct guest *g)
{
    char path[PATH_MAX];

    (void)guest_run_path(n, g->id, "held", path);
    (void)unlink(path);
}

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

int hold_begin(struct node *n, const struct guest *g, struct hold *h, struct err *e)
{
    struct guest_status st;
    struct task *t = NULL;
    int r = guest_status(n, g->id, &st, e);

    *h = (struct hold){.lock = -1};
    if (r < 0 || st.state != GUEST_RUNNING) {
        return r;
    }
    h->lock = open_mark(n, g, O_CREAT);
    if (h->lock < 0 || !lock_mark(h->lock)) {
        r = h->lock < 0 ? -errno : -EBUSY;
        hold_end(n, g, h);
        return err_sys(e, r, "cannot hold guest '%s'", guest_text(g, "name"));
    }
    r = guest_task(n, g, &t, e);
    if (r == 0 && task_state(t) == TASK_RUNNING) {
        r = task_pause(t, e);
        h->paused = r == 0;
        h->since_ms = now_ms();
    }
    task_close(t);
    if (r == -EOPNOTSUPP) { /* a user's guest without a control group of its own */
        err_clear(e);
        log_warn(n->log, "guest '%s' goes on while its disk is read: it cannot be paused",
                 guest_text(g, "name"));
        r = 0;
    }
    if (r < 0) {
        hold_end(n, g, h);
    }
    return r;
}

void hold_end(struct node *n, const struct guest *g, struct hold *h)
{
    struct task *t = NULL;
    bool mine = h->lock >= 0;

    if (h->paused && guest_task(n, g, &t, NULL) == 0) {
        (void)task_resume(t, NULL);
        task_close(t);
        if (now_ms() - h->since_ms > CLOCK_MS) {
            life_set_clock(n, g);
        }
    }
    if (mine) {
        drop_mark(n, g);
        (void)close(h->lock);
    }
    *h = (struct hold){.lock = -1};
}

bool hold_forgotten(struct node *n, const struct guest *g, struct task *t)
{
    SCOPED(scope_close) int fd = open_mark(n, g, 0);

    if (fd < 0 || !lock_mark(fd) || task_resume(t, NULL) < 0) {
        return false;
    }
    drop_mark(n, g);
    return true;
}
