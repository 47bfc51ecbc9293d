/* debug.c - machines that are tried out: remembered, crashed, looked at, and back again. */
#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "base/scope.h"
#include "node/verb/life/private.h"

#define WORK_MS      600000 /* for as much memory as a host has */
#define TYPE_TRIES   100
#define TYPE_STEP_NS 20000000L

/* A file without a name, beside the guest's disk: the host may write it out when memory is
 * wanted elsewhere. */
static int open_nameless(struct node *n, const struct guest *g, struct err *e)
{
    char path[PATH_MAX];
    int fd;

    (void)guest_state_path(n, g->id, "disk", path);
    fd = open(path, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
        (void)guest_state_path(n, g->id, "disk/mark", path);
        fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        (void)unlink(path);
    }
    return fd < 0 ? err_sys(e, -errno, "cannot make a file in '%s'", path) : fd;
}

static int ask(struct node *n, const char *guest, const char *what,
               const struct far_question *question, struct err *e)
{
    SCOPED(scope_close) int memory = -1;
    struct far_question q = *question;
    struct guest_status st;
    struct guest g = {0};
    int r = life_find(n, guest, what, &g, &st, e);

    if (r < 0) {
        return r;
    }
    if (q.verb == FAR_MARK) {
        memory = open_nameless(n, &g, e);
        r = memory < 0 ? memory : 0;
        q.fds = &memory;
        q.n_fds = 1;
    }
    r = r == 0 ? life_ask(n, &g, &q, NULL, e) : r;
    if (r < 0) {
        err_wrap(e, "cannot %s guest '%s'", what, guest_text(&g, "name"));
    } else if (q.verb != FAR_SCREEN) {
        event_write(n, far_verb_name(q.verb), &g, NULL);
    }
    if (r == 0 && q.verb == FAR_REWIND) {
        life_set_clock(n, &g);
    }
    guest_fini(&g);
    return r;
}

int node_guest_mark(struct node *n, const char *guest, struct err *e)
{
    const struct far_question q = {.verb = FAR_MARK, .wait_ms = WORK_MS};

    return ask(n, guest, "mark", &q, e);
}

int node_guest_rewind(struct node *n, const char *guest, struct err *e)
{
    const struct far_question q = {.verb = FAR_REWIND, .wait_ms = WORK_MS};

    return ask(n, guest, "rewind", &q, e);
}

int node_guest_gdb(struct node *n, const char *guest, int fd, bool listens, struct err *e)
{
    SCOPED(scope_json) json_t *arg = json_pack("{s:b}", "listens", listens || fd < 0);
    const struct far_question q = {
        .verb = FAR_GDB, .arg = arg, .fds = &fd, .n_fds = fd >= 0};

    return ask(n, guest, "debug", &q, e);
}

int node_guest_screen(struct node *n, const char *guest, int fd, struct err *e)
{
    const struct far_question q = {
        .verb = FAR_SCREEN, .fds = &fd, .n_fds = 1, .wait_ms = WORK_MS};

    return ask(n, guest, "show", &q, e);
}

int node_guest_type(struct node *n, const char *guest, const char *const *keys,
                    size_t n_keys, struct err *e)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < n_keys; i++) {
        SCOPED(scope_json) json_t *arg = json_pack("{s:[s]}", "keys", keys[i]);
        const struct far_question q = {.verb = FAR_SCREEN, .arg = arg};

        r = -EAGAIN; /* until the guest has taken what came before */
        for (unsigned k = 0; r == -EAGAIN && k < TYPE_TRIES; k++) {
            (void)nanosleep(&(struct timespec){.tv_nsec = k == 0 ? 0 : TYPE_STEP_NS},
                            NULL);
            err_clear(e);
            r = ask(n, guest, "type to", &q, e);
        }
    }
    return r;
}

int node_guest_dump(struct node *n, const char *guest, const char *file, struct err *e)
{
    SCOPED(scope_close)
    int fd = open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    const struct far_question q = {
        .verb = FAR_DUMP, .fds = &fd, .n_fds = 1, .wait_ms = WORK_MS};
    int r = fd < 0 ? err_sys(e, -errno, "cannot make '%s'", file)
                   : ask(n, guest, "dump", &q, e);

    if (r < 0 && fd >= 0) {
        (void)unlink(file);
    }
    return r;
}
