/* freeze.c - the file system on a disk stands still while the disk is kept.
 *
 * A child freezes it and lets it go on: when it is told to, when we are gone, and when its time
 * is over, whichever comes first.  It is in a session of its own, so that nobody's interrupt
 * means it.  A file says that it is at work, with a lock that goes with it: who finds the file
 * and not the lock lets the file system go on. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/close_range.h>
#include <linux/fs.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "node/volume/mounted.h"
#include "node/volume/private.h"
#include "virt/monitor/remote/remote.h"

#define WRITE_MS 30000 /* until what is held back is written down */
#define STILL_MS 5000  /* that it stands still at most */
#define TAIL     ".frozen"

static void mark_path(const struct node *n, const char *volume, char out[PATH_MAX])
{
    (void)str_print(out, PATH_MAX, "%s/volumes/%s" TAIL, n->run, volume);
}

static void thaw_all(const struct mounted *m, size_t count)
{
    for (size_t i = count; i > 0; i--) {
        (void)ioctl(m->places[i - 1].dir, FITHAW, 0);
    }
}

/* ---- the child ---- */

struct job {
    struct mounted where;
    int to_parent;
    int mark; /* locked while the child lives */
    char path[PATH_MAX];
};

static int freeze_all(const struct mounted *m)
{
    for (size_t i = 0; i < m->count; i++) {
        int r = ioctl(m->places[i].dir, FIFREEZE, 0) < 0 ? -errno : 0;

        if (r == -EBUSY) { /* by one of us who was killed: nobody else has the lock */
            (void)ioctl(m->places[i].dir, FITHAW, 0);
            r = ioctl(m->places[i].dir, FIFREEZE, 0) < 0 ? -errno : 0;
        }
        if (r < 0) {
            thaw_all(m, i);
            return r;
        }
    }
    return 0;
}

/* Nothing else of the parent's stays open here. */
static void keep_only(struct job *j)
{
    int fds[MOUNTED_MOST + 2];
    size_t count = 0;
    int most = 0;

    fds[count++] = j->to_parent;
    fds[count++] = j->mark;
    for (size_t i = 0; i < j->where.count; i++) {
        fds[count++] = j->where.places[i].dir;
    }
    for (size_t i = 0; i < count; i++) {
        most = fds[i] > most ? fds[i] : most;
    }
    for (int fd = 3; fd < most; fd++) {
        bool ours = false;

        for (size_t i = 0; i < count; i++) {
            ours = ours || fds[i] == fd;
        }
        if (!ours) {
            (void)close(fd);
        }
    }
    (void)close_range((unsigned)most + 1, ~0U, 0);
}

static _Noreturn void be_child(struct job *j)
{
    struct pollfd wait = {.fd = j->to_parent, .events = POLLIN};
    char late = 0;
    char word;
    int r;

    (void)setsid();
    (void)signal(SIGPIPE, SIG_IGN);
    keep_only(j);
    r = freeze_all(&j->where);
    (void)send(j->to_parent, &r, sizeof r, MSG_NOSIGNAL);
    if (r == 0) {
        (void)fault_step("freeze.frozen");
        late = poll(&wait, 1, STILL_MS) == 0;
        thaw_all(&j->where, j->where.count);
    }
    (void)unlink(j->path);
    if (r == 0 && recv(j->to_parent, &word, 1, 0) == 1) {
        (void)send(j->to_parent, &late, 1, MSG_NOSIGNAL);
    }
    _exit(0);
}

/* ---- the parent ---- */

static int make_mark(struct job *j, struct err *e)
{
    j->mark = open(j->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (j->mark < 0 || flock(j->mark, LOCK_EX | LOCK_NB) < 0) {
        return err_sys(e, -errno, "cannot lock '%s'", j->path);
    }
    return 0;
}

/* Its word that all stands still. */
static int hear(struct mounted_freeze *f, struct err *e)
{
    struct pollfd from = {.fd = f->child, .events = POLLIN};
    int left = 0;
    int r;

    if (poll(&from, 1, WRITE_MS) <= 0) {
        scope_close(&f->child); /* it lets go when it gets there */
        f->child = -1;
        return err_set(e, -ETIMEDOUT,
                       "its file system does not stand still: it has too much to write "
                       "down, try again");
    }
    if (recv(f->child, &left, sizeof left, 0) != (ssize_t)sizeof left) {
        left = -EIO;
    }
    if (left < 0) {
        scope_close(&f->child);
        f->child = -1;
        (void)waitpid(f->pid, &r, 0);
        return err_sys(e, left, "cannot make its file system stand still");
    }
    return 0;
}

/* A machine's agent lets all its file systems stand still, until the connection ends; one
 * without an agent has its disk kept as it stands. */
static void freeze_machine(struct node *n, const struct mounted *where,
                           struct mounted_freeze *ret)
{
    struct err e = {0};

    if (where->machine[0] != '\0' &&
        far_agent_freeze(where->machine, &ret->agent, &e) < 0) {
        log_warn(n->log, "volume '%s' is kept as it stands in guest '%s': %s",
                 ret->volume, where->guest, e.text);
    }
}

int mounted_freeze(struct node *n, const char *volume, struct mounted_freeze *ret,
                   struct err *e)
{
    struct job j = {.mark = -1, .to_parent = -1};
    int ends[2];
    int r;

    *ret = (struct mounted_freeze){.n = n, .volume = volume, .child = -1, .agent = -1};
    mounted_find(n, volume, &j.where);
    if (j.where.count == 0) {
        freeze_machine(n, &j.where, ret);
        return 0;
    }
    mark_path(n, volume, j.path);
    r = make_mark(&j, e);
    if (r == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        r = err_sys(e, -errno, "cannot make a socket");
    }
    if (r == 0) {
        ret->child = ends[0];
        j.to_parent = ends[1];
        ret->pid = fork();
        if (ret->pid == 0) {
            (void)close(ends[0]);
            be_child(&j);
        }
        (void)close(ends[1]);
        r = ret->pid < 0 ? err_sys(e, -errno, "cannot make a process") : hear(ret, e);
    }
    mounted_fini(&j.where);
    scope_close(&j.mark);
    return r;
}

int mounted_thaw(struct mounted_freeze *f, struct err *e)
{
    char late = 1;
    int status;

    if (f->agent >= 0) {
        return far_agent_thaw(f->agent, e);
    }
    if (f->child < 0) {
        return 0;
    }
    if (send(f->child, "g", 1, MSG_NOSIGNAL) != 1 || recv(f->child, &late, 1, 0) != 1) {
        late = 1;
    }
    scope_close(&f->child);
    f->child = -1;
    (void)waitpid(f->pid, &status, 0);
    mounted_mend(f->n, f->volume); /* if somebody killed it */
    return late != 0 ? err_set(e, -ETIMEDOUT,
                               "its file system went on before it was kept: try again")
                     : 0;
}

/* ---- what was forgotten ---- */

static void mend_one(struct node *n, const char *volume)
{
    char path[PATH_MAX];
    SCOPED(scope_close) int fd = -1;
    struct mounted where;

    mark_path(n, volume, path);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0) {
        return;
    }
    mounted_find(n, volume, &where);
    thaw_all(&where, where.count);
    mounted_fini(&where);
    (void)unlink(path);
}

void mounted_mend(struct node *n, const char *volume)
{
    SCOPED(scope_dir) DIR *d = NULL;
    const struct dirent *entry;
    char path[PATH_MAX];

    if (volume != NULL) {
        mend_one(n, volume);
        return;
    }
    (void)str_print(path, sizeof path, "%s/volumes", n->run);
    d = opendir(path);
    while (d != NULL && (entry = readdir(d)) != NULL) {
        if (str_ends(entry->d_name, TAIL)) {
            char name[WORD_NAME_BYTES];

            if (str_print(name, sizeof name, "%.*s",
                          (int)(strlen(entry->d_name) - strlen(TAIL)),
                          entry->d_name) == 0 &&
                word_is_name(name)) {
                mend_one(n, name);
            }
        }
    }
}
