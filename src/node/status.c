/* status.c - what a guest is doing, and who may change it.
 *
 * The truth about "is it running" is the lock on RUN/guests/ID/lock: whoever
 * makes, holds or cleans up a guest has it, the kernel frees it with its last
 * holder, and a keeper inherits it from the command that started the guest.
 * The status file says the rest.  A status of "running" with a free lock means
 * that the keeper was killed: the guest is *lost*, and the next command that
 * looks at it cleans up. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "node/keeper/keeper.h"
#include "node/private.h"

#define LOCK_STEP_US  5000 /* between two looks at a lock, once the first ones came fast */
#define LOCK_FIRST_US 50

const char *guest_state_name(enum guest_state s)
{
    static const char *const names[] = {"created", "running", "restarting", "paused",
                                        "stopped"};

    _Static_assert(sizeof names / sizeof names[0] == GUEST_STATE_COUNT,
                   "a name per state");
    return names[s];
}

static int open_lock(struct node *n, const char *id, int *ret_fd)
{
    char path[PATH_MAX];

    (void)guest_run_path(n, id, "", path);
    if (mkdir(path, 0711) < 0 && errno != EEXIST) {
        return -errno;
    }
    (void)guest_run_path(n, id, "lock", path);
    *ret_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return *ret_fd < 0 ? -errno : 0;
}

/* Only looks: a lock taken for a moment would make somebody else's try fail. */
bool guest_is_locked(struct node *n, const char *id)
{
    char path[PATH_MAX];
    SCOPED(scope_close) int fd = -1;
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    (void)guest_run_path(n, id, "lock", path);
    fd = open(path, O_RDWR | O_CLOEXEC);
    return fd >= 0 && fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

/* 1: it is ours; 0: somebody else has it; or the file was deleted with its guest
 * while we waited: -ESTALE. */
static int try_lock(struct node *n, const char *id, int fd)
{
    char path[PATH_MAX];
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct stat own;
    struct stat now;

    if (fcntl(fd, F_OFD_SETLK, &l) < 0) {
        return errno == EAGAIN || errno == EACCES || errno == EINTR ? 0 : -errno;
    }
    (void)guest_run_path(n, id, "lock", path);
    return fstat(fd, &own) == 0 && stat(path, &now) == 0 && own.st_ino == now.st_ino
               ? 1
               : -ESTALE;
}

static int say_busy(struct node *n, const struct guest *g, struct err *e)
{
    struct guest_status st;
    int r = guest_status(n, g->id, &st, NULL);

    if (r == 0 && guest_is_alive(&st)) {
        return err_set(e, -EBUSY, "guest '%s' is %s", guest_text(g, "name"),
                       guest_state_name(st.state));
    }
    return err_set(e, -EBUSY, "another command is changing guest '%s'",
                   guest_text(g, "name"));
}

/* Whoever holds a lock mostly lets go soon: the first looks come fast. */
static int64_t rest(unsigned look)
{
    int64_t us = look < 7 ? (int64_t)LOCK_FIRST_US << look : LOCK_STEP_US;
    struct timespec step = {.tv_nsec = us * 1000};

    (void)nanosleep(&step, NULL);
    return us;
}

int guest_lock(struct node *n, const struct guest *g, int wait_ms, int *ret_fd,
               struct err *e)
{
    SCOPED(scope_close) int fd = -1;
    int64_t left_us = (int64_t)wait_ms * 1000;
    unsigned look = 0;
    int r = open_lock(n, g->id, &fd);

    while (r == 0) {
        struct guest_status st;

        r = try_lock(n, g->id, fd);
        if (r == -ESTALE) {
            (void)close(fd);
            r = open_lock(n, g->id, &fd);
            continue;
        }
        if (r != 0) {
            break;
        }
        /* No use to wait for a guest that runs: its keeper keeps the lock. */
        if (left_us <= 0 ||
            (guest_status(n, g->id, &st, NULL) == 0 && guest_is_alive(&st))) {
            return say_busy(n, g, e);
        }
        left_us -= rest(look++);
    }
    if (r < 0) {
        return err_sys(e, r, "cannot lock guest '%s'", guest_text(g, "name"));
    }
    *ret_fd = scope_take_fd(&fd);
    return 0;
}

int guest_lock_known(struct node *n, struct guest *g, int wait_ms, int *ret_fd,
                     struct err *e)
{
    SCOPED(scope_close) int fd = -1;
    char path[PATH_MAX];
    int r = guest_lock(n, g, wait_ms, &fd, e);

    if (r == 0) {
        r = guest_reload(n, g, e);
    }
    if (r == -ENOENT) { /* deleted meanwhile: our lock file is all there is of it */
        (void)guest_run_path(n, g->id, "", path);
        (void)file_remove_tree(AT_FDCWD, path);
    }
    if (r == 0) {
        *ret_fd = scope_take_fd(&fd);
    }
    return r;
}

void guest_await_free(struct node *n, const struct guest *g, int wait_ms)
{
    int64_t left_us = (int64_t)wait_ms * 1000;

    for (unsigned look = 0; left_us > 0 && guest_is_locked(n, g->id); look++) {
        left_us -= rest(look);
    }
}

bool guest_is_alive(const struct guest_status *st)
{
    return st->state == GUEST_RUNNING || st->state == GUEST_PAUSED ||
           st->state == GUEST_RESTARTING;
}

static void copy_text(char *out, size_t size, const json_t *j, const char *key)
{
    const char *text = json_string_value(json_object_get(j, key));

    (void)str_print(out, size, "%s", text != NULL ? text : "");
}

static enum guest_state state_of(const char *word)
{
    for (int i = 0; i < GUEST_STATE_COUNT; i++) {
        if (word != NULL && strcmp(word, guest_state_name((enum guest_state)i)) == 0) {
            return (enum guest_state)i;
        }
    }
    return GUEST_STOPPED;
}

/* What the file says. */
static int read_status(struct node *n, const char *id, struct guest_status *ret,
                       struct err *e)
{
    char path[PATH_MAX];
    SCOPED(scope_free) char *text = NULL;
    SCOPED(scope_json) json_t *j = NULL;
    size_t len = 0;
    int r;

    memset(ret, 0, sizeof *ret);
    ret->state = GUEST_CREATED;
    (void)guest_run_path(n, id, "status", path);
    r = file_read(AT_FDCWD, path, NODE_STATUS_MOST, &text, &len);
    if (r == -ENOENT) {
        return 0;
    }
    if (r < 0) {
        return err_sys(e, r, "cannot read the status of guest '%s'", id);
    }
    ret->ever_started = true;
    r = len == 0 ? -EINVAL : json_parse(text, len, "status", &j, NULL);
    ret->state =
        r < 0 ? GUEST_RUNNING : state_of(json_string_value(json_object_get(j, "state")));
    ret->pid = (pid_t)json_integer_value(json_object_get(j, "pid"));
    ret->keeper = (pid_t)json_integer_value(json_object_get(j, "keeper"));
    ret->exit_code = (int)json_integer_value(json_object_get(j, "exit_code"));
    ret->restarts = json_integer_value(json_object_get(j, "restarts"));
    copy_text(ret->started, sizeof ret->started, j, "started");
    copy_text(ret->finished, sizeof ret->finished, j, "finished");
    copy_text(ret->health, sizeof ret->health, j, "health");
    return 0;
}

int guest_status(struct node *n, const char *id, struct guest_status *ret, struct err *e)
{
    char path[PATH_MAX];
    bool held =
        guest_is_locked(n, id); /* before the status: its writer writes, then lets go */
    int r = read_status(n, id, ret, e);

    if (r < 0 || !ret->ever_started || held || guest_is_locked(n, id)) {
        return r;
    }
    ret->lost = ret->state != GUEST_STOPPED && ret->state != GUEST_CREATED;
    if (ret->lost) {
        ret->exit_code = ret->state == GUEST_RESTARTING ? ret->exit_code : 128 + 9;
        ret->state = GUEST_STOPPED;
    }
    (void)guest_run_path(n, id, "control", path);
    ret->unfinished = ret->lost || access(path, F_OK) == 0;
    return 0;
}

int guest_refresh(struct node *n, struct guest *g, struct guest_status *ret,
                  struct err *e)
{
    SCOPED(scope_close) int lock = -1;
    bool was_lost;
    int r = guest_status(n, g->id, ret, e);

    if (r < 0 || !ret->unfinished) {
        return r;
    }
    r = guest_lock_known(n, g, 0, &lock, NULL);
    if (r == -EBUSY) { /* somebody else is at it */
        return guest_status(n, g->id, ret, e);
    }
    if (r < 0) {
        return err_sys(e, r, "cannot clean up guest '%s'", guest_text(g, "name"));
    }
    was_lost = ret->lost;
    if (was_lost) {
        log_warn(n->log, "guest '%s': its keeper died; what it left is being cleaned up",
                 guest_text(g, "name"));
        event_write(n, "lost", g, NULL);
    }
    ret->lost = ret->unfinished = false;
    if (json_is_true(json_object_get(guest_config(g), "rm"))) {
        r = delete_guest(n, g, e);
        return r < 0 ? r
                     : err_set(e, -ENOENT, "guest '%s' has ended and is deleted",
                               guest_text(g, "name"));
    }
    r = finish_guest(n, g, e);
    return r < 0 || was_lost ? r : guest_status(n, g->id, ret, e);
}

/* A command that makes a guest saves its network last; one that deletes it takes
 * the directory away first. */
static bool is_whole(struct node *n, const struct guest *g)
{
    char path[PATH_MAX];

    (void)guest_state_path(n, g->id, "", path);
    return json_is_object(json_object_get(g->record, "network")) &&
           access(path, F_OK) == 0;
}

int guest_need_whole(struct node *n, struct guest *g, struct err *e)
{
    SCOPED(scope_close) int lock = -1;
    int r;

    if (is_whole(n, g)) {
        return 0;
    }
    r = guest_lock_known(n, g, 0, &lock, NULL);
    if (r == -EBUSY) {
        return err_set(e, r, "another command is making or deleting guest '%s'",
                       guest_text(g, "name"));
    }
    if (r < 0) {
        return err_set(e, r, "guest '%s' does not exist", guest_text(g, "name"));
    }
    if (is_whole(n, g)) {
        return 0;
    }
    log_warn(n->log, "guest '%s' was half made or half deleted; its rest is removed",
             guest_text(g, "name"));
    r = remove_guest(n, g, e);
    return r < 0 ? r
                 : err_set(e, -ENOENT,
                           "guest '%s' does not exist: the command that made "
                           "or deleted it had died",
                           guest_text(g, "name"));
}

int guest_connect(struct node *n, const struct guest *g, const void *packet, size_t len,
                  int *ret_fd, struct err *e)
{
    SCOPED(scope_close) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    SCOPED(scope_close) int dir = -1;
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    char path[PATH_MAX];

    (void)guest_run_path(n, g->id, "", path);
    dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || dir < 0) {
        return err_sys(e, -errno, "cannot reach the keeper of guest '%s'",
                       guest_text(g, "name"));
    }
    /* Through /proc, since the path itself may be longer than a socket's may be. */
    (void)str_print(to.sun_path, sizeof to.sun_path, "/proc/self/fd/%d/control", dir);
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) < 0 ||
        send(fd, packet, len, MSG_NOSIGNAL) < 0) {
        if (errno == ECONNREFUSED || errno == ENOENT) {
            return err_set(e, -ESRCH, "guest '%s' is not running", guest_text(g, "name"));
        }
        return err_sys(e, -errno, "cannot reach the keeper of guest '%s'",
                       guest_text(g, "name"));
    }
    *ret_fd = scope_take_fd(&fd);
    return 0;
}

int guest_await_end(int fd, int *ret_code)
{
    unsigned char packet[KEEPER_PACKET_BYTES + 1];

    for (;;) {
        ssize_t n = recv(fd, packet, sizeof packet, 0);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -ECONNRESET;
        }
        if (packet[0] == KEEPER_EXIT && n == 5) {
            *ret_code = packet[1] | packet[2] << 8;
            return 0;
        }
    }
}
