/* serve.c - volumes that are disks, served to others.
 *
 * Whoever uses a disk holds the lock of its top layer's file
 * (resource/storage/leaf/lock.h), which goes with the process: so a disk that another tool
 * has open is neither changed nor deleted, and needs no record of it.
 *
 * Each export of a volume is bound to the connection of the command that asked its worker
 * for it, and ends with that command, however it ends. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/listen.h"
#include "node/volume/arrange.h"
#include "node/volume/option.h"
#include "node/volume/worker.h"

#define FREE_STEPS   50
#define FREE_STEP_NS 10000000
#define TARGET       "iqn.2026-01.strata:" /* before the name of the volume */

static int open_locked(struct node *n, const struct layer *top, bool writes,
                       struct err *e)
{
    SCOPED(scope_close) int fd = -1;
    int r = 0;

    if (layer_is_one_file(top)) {
        return piece_hold(n, top, 0, writes, e);
    }
    for (unsigned i = 0; r == 0 && i < piece_count(top); i++) {
        SCOPED(scope_close) int other = piece_hold(n, top, i, writes, NULL);

        r = other == -EBUSY ? err_set(e, other,
                                      "it is being served, or another program has it "
                                      "open")
                            : 0;
        if (r == 0 && fd < 0) { /* the others were free, and nobody takes them alone */
            fd = scope_take_fd(&other);
        }
    }
    if (r == 0 && fd < 0) {
        r = err_set(e, -ENODEV, "all members of pool '%s' that have it are lost",
                    volume_text(top->record, "pool"));
    }
    return r < 0 ? r : scope_take_fd(&fd);
}

int disk_open_alone(struct node *n, const struct volume *v, const struct layer *top,
                    struct err *e)
{
    (void)v;
    return open_locked(n, top, true, e);
}

int disk_open_steady(struct node *n, const struct volume *v, const struct layer *top,
                     struct err *e)
{
    (void)v;
    return open_locked(n, top, false, e);
}

struct serving {
    struct node *n;
    const struct volume *v;
    const json_t *order;
    void (*ready)(void *arg, const char *address);
    void *arg;
    const char *socket; /* a path, to be removed; NULL: none */
    char address[PATH_MAX + 64];
};

static bool flag(const struct serving *s, const char *key)
{
    return json_is_true(json_object_get(s->order, key));
}

/* ---- the words of an export ---- */

static int add_nbd(struct serving *s, struct words *w, struct err *e)
{
    const char *path = volume_text(s->order, "nbd");
    int fd = listen_path(path, e);
    char word[32];

    if (fd < 0) {
        return fd;
    }
    s->socket = path;
    words_add(w, "nbd");
    words_add(w, "%s", words_fd(w, "socket", fd, word));
    words_add(w, "name=");
    words_add(w, "resizable");
    if (json_object_get(s->order, "tls") != NULL) {
        words_add(w, "tls");
    }
    return 0;
}

/* For machines of other monitors, which see the volume's name as the disk's serial. */
static int add_vhost_user(struct serving *s, struct words *w, struct err *e)
{
    const char *path = volume_text(s->order, "vhost_user");
    int fd = listen_path(path, e);
    char word[32];

    if (fd < 0) {
        return fd;
    }
    s->socket = path;
    words_add(w, "vhost-user");
    words_add(w, "%s", words_fd(w, "socket", fd, word));
    words_add(w, "id=%.20s", s->v->name);
    return 0;
}

static int add_secrets(const struct serving *s, struct words *w, struct err *e)
{
    const char *path = volume_text(s->order, "chap");
    int fd = path[0] != '\0' ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    char word[32];

    if (path[0] == '\0') {
        return 0;
    }
    if (fd < 0) {
        return err_sys(e, -errno, "cannot read '%s'", path);
    }
    words_add(w, "%s", words_fd(w, "secrets", fd, word));
    return 0;
}

static int add_iscsi(struct serving *s, struct words *w, struct err *e)
{
    const char *target = volume_text(s->order, "target");
    size_t i;
    json_t *portal;

    words_add(w, "iscsi");
    json_array_foreach(json_object_get(s->order, "iscsi"), i, portal)
    {
        const char *text = json_string_value(portal);
        int fd = listen_address(text, e);
        char word[32];

        if (fd < 0) {
            return fd;
        }
        words_add(w, "%s", words_fd(w, "socket", fd, word));
        words_add(w, "place=%s", text);
    }
    if (target[0] != '\0') {
        words_add(w, "target=%s", target);
    } else {
        words_add(w, "target=" TARGET "%s", s->v->name);
    }
    words_add(w, "lun=0");
    words_add(w, "serial=%.16s", volume_text(s->v->record, "top"));
    if (volume_text(s->order, "initiator")[0] != '\0') {
        words_add(w, "initiator=%s", volume_text(s->order, "initiator"));
    }
    return add_secrets(s, w, e);
}

/* The ways to serve a volume, by the member of the order that asks for each. */
static const struct way {
    const char *key;
    int (*add)(struct serving *s, struct words *w, struct err *e);
} ways[] = {{"nbd", add_nbd}, {"iscsi", add_iscsi}, {"vhost_user", add_vhost_user}};

static bool is_asked(const json_t *order, const struct way *x)
{
    const json_t *value = json_object_get(order, x->key);

    return json_is_array(value) ? json_array_size(value) > 0 : value != NULL;
}

/* The only one that is asked for; NULL: none or several. */
static const struct way *way_of(const json_t *order)
{
    const struct way *found = NULL;
    unsigned count = 0;

    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        if (is_asked(order, &ways[i])) {
            found = &ways[i];
            count++;
        }
    }
    return count == 1 ? found : NULL;
}

static void name_address(struct serving *s)
{
    const char *portal =
        json_string_value(json_array_get(json_object_get(s->order, "iscsi"), 0));
    const char *target = volume_text(s->order, "target");

    if (portal != NULL) {
        (void)str_print(s->address, sizeof s->address, "iscsi://%s/%s%s/0", portal,
                        target[0] != '\0' ? "" : TARGET,
                        target[0] != '\0' ? target : s->v->name);
    } else if (json_object_get(s->order, "vhost_user") != NULL) {
        (void)str_print(s->address, sizeof s->address, "%s",
                        volume_text(s->order, "vhost_user"));
    } else {
        (void)str_print(s->address, sizeof s->address, "nbd%s+unix:///?socket=%s",
                        json_object_get(s->order, "tls") != NULL ? "s" : "",
                        volume_text(s->order, "nbd"));
    }
}

/* ---- until it is interrupted ---- */

static int wait_for_end(int control, int signals, struct err *e)
{
    struct pollfd from[2] = {{.fd = control, .events = POLLIN},
                             {.fd = signals, .events = POLLIN}};
    struct signalfd_siginfo which;

    while (poll(from, 2, -1) < 0 && errno == EINTR) {
    }
    return from[1].revents != 0 && read(signals, &which, sizeof which) > 0
               ? 0
               : err_set(e, -EIO, "its server ended without a word");
}

static int export(struct serving *s, int control, struct err *e)
{
    struct words w = {.message = true};
    const struct worker_ask ask = {.words = &w};
    int r;

    words_add(&w, "export");
    r = way_of(s->order)->add(s, &w, e);
    if (flag(s, "read_only")) {
        words_add(&w, "read-only");
    }
    r = r == 0 ? volume_worker_ask(s->n, control, &ask, e) : r;
    words_fini(&w);
    return r;
}

static int serve(struct serving *s, struct err *e)
{
    SCOPED(scope_close) int lock = -1;
    SCOPED(scope_close) int control = -1;
    SCOPED(scope_close) int signals = -1;
    struct volume now = {0};
    sigset_t ends;
    sigset_t was;
    int r = volume_load_disk(s->n, s->v->name, &now, &lock, e);

    (void)sigemptyset(&ends);
    (void)sigaddset(&ends, SIGINT);
    (void)sigaddset(&ends, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &ends, &was);
    signals = signalfd(-1, &ends, SFD_CLOEXEC);
    r = r == 0 ? volume_worker_need(s->n, &now, s->order, &control, e) : r;
    if (r == 0 && !flag(s, "read_only")) {
        int mounts = volume_worker_exports(s->n, control, "fuse");

        r = mounts > 0
                ? err_set(e, -EBUSY, "a guest has it mounted: only with --read-only")
            : mounts < 0 ? err_sys(e, mounts, "cannot talk to its server")
                         : 0;
    }
    scope_close(&lock);
    lock = -1;
    r = r == 0 ? export(s, control, e) : r;
    volume_fini(&now);
    if (r == 0) {
        s->ready(s->arg, s->address);
        r = wait_for_end(control, signals, e);
    }
    if (s->socket != NULL) {
        (void)unlink(s->socket);
    }
    (void)sigprocmask(SIG_SETMASK, &was, NULL);
    return r;
}

/* ---- to one client after the other, until the last has left ---- */

static void take_listening(void *arg, const char *line)
{
    const struct serving *s = arg;

    if (strncmp(line, "listening=", 10) == 0) {
        s->ready(s->arg, s->address);
    }
}

/* A cache is written, so a reader goes past it: nothing is held back by now. */
static int add_options(const struct serving *s, bool writes, int key, struct words *w,
                       struct err *e)
{
    struct volume now = {0};
    int r = writes ? option_cache_need(s->n, s->v->name, key, e)
                   : option_cache_settle(s->n, s->v, e);

    r = r == 0 ? volume_load(s->n, s->v->name, &now, e) : r;
    if (r == 0 && !writes) {
        (void)json_object_del(now.record, "cache");
    }
    r = r == 0 ? option_words(s->n, &now, "disk", w, e) : r;
    volume_fini(&now);
    return r;
}

static int serve_once(struct serving *s, struct err *e)
{
    const char *tls = volume_text(s->order, "tls");
    bool writes = !flag(s, "read_only");
    struct words w = {.n_fds = 0};
    struct chain chain = {0};
    int r = chain_load(s->n, volume_text(s->v->record, "top"), &chain, e);

    r = r == 0 ? chain_unlock(s->n, &chain, s->order, e) : r;
    r = r == 0 ? words_want_block(&w, &chain, s->order, e) : r;
    r = r == 0 ? words_chain(s->n, &chain, "disk", writes, &w, e) : r;
    r = r == 0 ? add_options(s, writes, chain.key, &w, e) : r;
    words_add(&w, "socket=%s", volume_text(s->order, "nbd"));
    words_add(&w, "once");
    if (!writes) {
        words_add(&w, "read-only");
    }
    if (tls[0] != '\0') {
        words_add(&w, "tls=%s", tls);
    }
    if (flag(s, "tls_verify")) {
        words_add(&w, "tls-verify");
    }
    r = r == 0 ? words_run(s->n, "nbd", &w, take_listening, s, e) : r;
    words_fini(&w);
    chain_fini(&chain);
    return r;
}

/* A server that was killed holds the disk for moments after it. */
static int serve_once_when_free(struct serving *s, struct err *e)
{
    const struct timespec step = {.tv_nsec = FREE_STEP_NS};
    struct err why = {0};
    int r = serve_once(s, &why);

    for (int i = 0; r == -EBUSY && i < FREE_STEPS; i++) {
        (void)nanosleep(&step, NULL);
        why = (struct err){0};
        r = serve_once(s, &why);
    }
    return r < 0 ? err_set(e, r, "%s", why.text) : r;
}

static int check_order(const struct serving *s, struct err *e)
{
    if (way_of(s->order) == NULL) {
        return err_set(e, -EINVAL,
                       "say how to serve it: --nbd SOCKET, --iscsi ADDRESS:PORT, "
                       "--vhost-user SOCKET or --file FILE");
    }
    if (json_object_get(s->order, "tls") == NULL && flag(s, "tls_verify")) {
        return err_set(e, -EINVAL, "--tls-verify wants --tls DIRECTORY");
    }
    if (flag(s, "once") && json_object_get(s->order, "nbd") == NULL) {
        return err_set(e, -EINVAL, "--once wants --nbd SOCKET");
    }
    return 0;
}

int disk_volume_serve(struct node *n, const struct volume *v, const json_t *order,
                      void (*ready)(void *arg, const char *address), void *arg,
                      struct err *e)
{
    struct serving s = {.n = n, .v = v, .order = order, .ready = ready, .arg = arg};
    int r = check_order(&s, e);

    if (r == 0) {
        name_address(&s);
        r = flag(&s, "once") ? serve_once_when_free(&s, e) : serve(&s, e);
        r = r < 0 ? err_wrap(e, "cannot export volume '%s'", v->name) : 0;
    }
    return r;
}
