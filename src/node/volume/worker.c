/* worker.c - the process that serves a volume in use, seen from commands.
 *
 *     RUN/volumes/NAME.sock   its control socket; bound here, under the volume's lock
 *     RUN/volumes/NAME.log    what it says when something is wrong with it
 *
 * One process has the disk open, so everybody who wants to serve it or to change it talks
 * to that one.  It ends by itself when nobody is there any more. */
#include "node/volume/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "node/volume/arrange.h"
#include "node/volume/option.h"

#define BACKLOG      16
#define ANSWER_BYTES 65536
#define END_STEPS    200 /* of 10 ms: until a worker that ends is gone */
#define END_MS       (END_STEPS * 10)

/* An address for the name below the directory, however long that directory's path is. */
static int address_of(const struct node *n, const char *name, int *ret_dir,
                      struct sockaddr_un *ret)
{
    char path[PATH_MAX];

    (void)str_print(path, sizeof path, "%s/volumes", n->run);
    *ret_dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    return *ret_dir < 0 ? -errno
                        : str_print(ret->sun_path, sizeof ret->sun_path,
                                    "/proc/self/fd/%d/%s.sock", *ret_dir, name);
}

static int connect_to(const struct node *n, const char *name)
{
    SCOPED(scope_close) int dir = -1;
    SCOPED(scope_close) int fd = -1;
    struct sockaddr_un a;

    if (address_of(n, name, &dir, &a) < 0) {
        return -ENOENT;
    }
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    return fd >= 0 && connect(fd, (const struct sockaddr *)&a, sizeof a) == 0
               ? scope_take_fd(&fd)
               : -ENOENT;
}

bool volume_worker_has_socket(const struct node *n, const char *name)
{
    char path[PATH_MAX];

    (void)str_print(path, sizeof path, "%s/volumes/%s.sock", n->run, name);
    return access(path, F_OK) == 0;
}

void volume_worker_forget(const struct node *n, const char *name)
{
    static const char *const tails[] = {"sock", "log"};
    char path[PATH_MAX];

    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++) {
        (void)str_print(path, sizeof path, "%s/volumes/%s.%s", n->run, name, tails[i]);
        (void)unlink(path);
    }
}

/* ---- starting one ---- */

static int bind_control(const struct node *n, const char *name, struct err *e)
{
    SCOPED(scope_close) int dir = -1;
    SCOPED(scope_close) int fd = -1;
    struct sockaddr_un a;
    int r;

    volume_worker_forget(n, name);
    r = address_of(n, name, &dir, &a);
    fd = r < 0 ? -1 : socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&a, sizeof a) < 0 ||
        listen(fd, BACKLOG) < 0) {
        return err_sys(e, r < 0 ? r : -errno, "cannot make a socket for volume '%s'",
                       name);
    }
    return scope_take_fd(&fd);
}

/* The program at work; what was said of it is in `w`. */
static int leave(struct node *n, const struct volume *v, struct words *w, struct err *e)
{
    char log[PATH_MAX];
    int r;

    (void)str_print(log, sizeof log, "%s/volumes/%s.log", n->run, v->name);
    r = words_leave(n, "serve", w, log, "serving=yes", e);
    if (r < 0) {
        volume_worker_forget(n, v->name);
    }
    return r;
}

static int start(struct node *n, const struct volume *v, const json_t *order,
                 struct err *e)
{
    const char *tls = json_string_value(json_object_get(order, "tls"));
    struct words w = {.n_fds = 0};
    struct chain chain = {0};
    struct volume now = {0};
    char fd[32];
    int r = chain_load(n, volume_text(v->record, "top"), &chain, e);
    int control;

    r = r == 0 ? chain_unlock(n, &chain, order, e) : r;
    r = r == 0 ? words_want_block(&w, &chain, order, e) : r;
    r = r == 0 ? option_cache_need(n, v->name, chain.key, e) : r;
    r = r == 0 ? volume_load(n, v->name, &now, e) : r;
    control = r == 0 ? bind_control(n, v->name, e) : r;
    if (control < 0) {
        volume_fini(&now);
        chain_fini(&chain);
        return control;
    }
    words_add(&w, "%s", words_fd(&w, "control", control, fd));
    r = words_chain(n, &chain, NULL, true, &w, e);
    r = r == 0 ? option_words(n, &now, chain.layers[0].id, &w, e) : r;
    volume_fini(&now);
    if (tls != NULL) {
        words_add(&w, "tls=%s", tls);
    }
    if (json_is_true(json_object_get(order, "tls_verify"))) {
        words_add(&w, "tls-verify");
    }
    if (r == 0) {
        r = leave(n, v, &w, e);
    } else {
        volume_worker_forget(n, v->name);
    }
    words_fini(&w);
    chain_fini(&chain);
    return r;
}

/* Over its disk stands nothing: whoever scrubs looks at what lies below that. */
static int start_locked(struct node *n, const struct volume *v, struct err *e)
{
    struct words w = {.n_fds = 0};
    struct chain chain = {0};
    char fd[32];
    int r = chain_load(n, volume_text(v->record, "top"), &chain, e);
    int control = r == 0 ? bind_control(n, v->name, e) : r;

    chain.key = CHAIN_LOCKED;
    if (control >= 0) {
        words_add(&w, "%s", words_fd(&w, "control", control, fd));
        words_add(&w, "for-care");
        r = words_chain(n, &chain, NULL, true, &w, e);
        if (r == 0) {
            r = leave(n, v, &w, e);
        } else {
            volume_worker_forget(n, v->name);
        }
    }
    words_fini(&w);
    chain_fini(&chain);
    return control < 0 ? control : r;
}

/* Who has no passphrase gets nothing from a worker that had one, either. */
static int may_use(struct node *n, const struct volume *v, const json_t *order,
                   struct err *e)
{
    struct chain top = {0};
    int r = chain_load_most(n, volume_text(v->record, "top"), 1, &top, e);

    r = r == 0 ? chain_unlock(n, &top, order, e) : r;
    chain_fini(&top);
    return r;
}

/* One that runs has the blocks that it has. */
static int check_block(struct node *n, int fd, const json_t *order, struct err *e)
{
    unsigned want = words_block_size(order);
    unsigned now = 0;
    int r = want != 0 ? volume_worker_block(n, fd, &now, e) : 0;

    return r == 0 && want != now
               ? err_set(e, -EBUSY, "it is being served already, with blocks of %u bytes",
                         now)
               : r;
}

/* A worker that answers does not end while we are there. */
static int connect_any(struct node *n, const char *name, struct worker_now *ret)
{
    SCOPED(scope_close) int fd = connect_to(n, name);

    return fd >= 0 && volume_worker_look(n, fd, ret, NULL) == 0 ? scope_take_fd(&fd)
                                                                : -ENOENT;
}

/* It ends, and is waited for. */
static void stop_worker(struct node *n, int fd, int pid)
{
    struct words w = {.message = true};
    const struct worker_ask ask = {.words = &w};
    struct pollfd end = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};

    words_add(&w, "stop");
    (void)volume_worker_ask(n, fd, &ask, NULL);
    words_fini(&w);
    if (end.fd >= 0) {
        (void)poll(&end, 1, END_MS);
        (void)close(end.fd);
    }
}

static int connect_lasting(struct node *n, const char *name, struct worker_now *ret)
{
    SCOPED(scope_close) int fd = connect_any(n, name, ret);

    if (fd >= 0 && ret->locked) {
        stop_worker(n, fd, ret->pid);
        return -ENOENT;
    }
    return fd >= 0 ? scope_take_fd(&fd) : -ENOENT;
}

int volume_worker_peek(struct node *n, const char *name)
{
    struct worker_now now;

    return connect_any(n, name, &now);
}

int volume_worker_connect(struct node *n, const char *name)
{
    struct worker_now now;

    return connect_lasting(n, name, &now);
}

static void wait_a_step(void)
{
    const struct timespec step = {.tv_nsec = 10000000};

    (void)nanosleep(&step, NULL);
}

int64_t volume_now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

int volume_worker_need(struct node *n, const struct volume *v, const json_t *order,
                       int *ret_fd, struct err *e)
{
    /* One that was killed holds the disk for moments after its socket is gone. */
    int64_t end =
        volume_now_ms() + (volume_worker_has_socket(n, v->name) ? END_MS : END_MS / 4);
    struct worker_now now;
    struct err why = {0};
    struct err held = {0};
    bool settled = false;
    int r = 0;

    *ret_fd = connect_lasting(n, v->name, &now);
    if (*ret_fd >= 0) {
        r = may_use(n, v, order, e);
        return r == 0 ? check_block(n, *ret_fd, order, e) : r;
    }
    for (;;) {
        why = (struct err){0};
        r = start(n, v, order, &why);
        if (r == -EOWNERDEAD && !settled) {
            settled = disk_settle_journals(n, v, &held) == 0 || volume_now_ms() >= end;
        } else if (r != -EBUSY || volume_now_ms() >= end) { /* each try takes its time */
            break;
        }
        wait_a_step(); /* the one before has the disk still */
    }
    if (r < 0) {
        return err_set(e, r, "%s",
                       r == -EOWNERDEAD && held.code != 0 ? held.text : why.text);
    }
    *ret_fd = r == 0 ? volume_worker_connect(n, v->name) : -1;
    return r == 0 && *ret_fd < 0
               ? err_set(e, -EIO, "the server of volume '%s' ended at once", v->name)
               : r;
}

int volume_worker_for_care(struct node *n, const struct volume *v, int *ret_fd,
                           struct err *e)
{
    int64_t end = volume_now_ms() + END_MS / 4;
    bool settled = false;
    struct err why = {0};
    struct err held = {0};
    int r = 0;

    *ret_fd = volume_worker_peek(n, v->name);
    while (*ret_fd < 0) {
        why = (struct err){0};
        r = start_locked(n, v, &why);
        if (r == 0) {
            *ret_fd = volume_worker_peek(n, v->name);
            r = *ret_fd < 0 ? err_set(&why, -EBUSY, "its server ended at once") : 0;
        } else if (r == -EOWNERDEAD && !settled) {
            settled = true;
            (void)disk_settle_journals(n, v, &held);
            continue;
        }
        if (r != -EBUSY || volume_now_ms() >= end) { /* each try takes its time */
            break;
        }
        wait_a_step();
    }
    return *ret_fd >= 0
               ? 0
               : err_set(e, r, "%s",
                         r == -EOWNERDEAD && held.code != 0 ? held.text : why.text);
}

/* ---- asking ---- */

static int send_words(int fd, const struct words *w)
{
    char control[CMSG_SPACE(sizeof(int) * WORDS_FDS_MOST)] = {0};
    SCOPED(scope_free) char *text = NULL;
    struct iovec piece;
    struct msghdr m = {.msg_iov = &piece, .msg_iovlen = 1};
    struct str all = {0};

    for (size_t i = 0; i < w->words.n; i++) {
        str_add_bytes(&all, w->words.items[i], strlen(w->words.items[i]));
        str_add_bytes(&all, "", i + 1 < w->words.n ? 1 : 0);
    }
    piece.iov_len = all.len;
    text = str_take(&all);
    piece.iov_base = text;
    if (text == NULL || strv_failed(&w->words)) {
        return -ENOMEM;
    }
    if (w->n_fds > 0) {
        struct cmsghdr *c;

        m.msg_control = control;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * w->n_fds);
        c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * w->n_fds);
        memcpy(CMSG_DATA(c), w->fds, sizeof(int) * w->n_fds);
    }
    return sendmsg(fd, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

struct answer {
    struct node *n;
    const struct worker_ask *ask;
    int fd;
    bool ended;
};

static int take_line(struct answer *s, const char *line, struct err *e)
{
    const struct worker_ask *a = s->ask;
    unsigned long long done;
    unsigned long long total;
    char *end;

    if (strcmp(line, "ok") == 0) {
        s->ended = true;
    } else if (strncmp(line, "error ", 6) == 0) {
        long code = strtol(line + 6, &end, 10);

        s->ended = true;
        return err_set(e, code < 0 && code > -4096 ? (int)code : -EIO, "%s",
                       end + strspn(end, " "));
    } else if (sscanf(line, "progress=%llu %llu", &done, &total) == 2) {
        node_report(s->n, a->words->words.items[0], done, total);
    } else if (strcmp(line, "ready=yes") == 0 && a->ready != NULL) {
        int r = a->ready(a->arg, e);

        return r < 0 ? r : send(s->fd, "go", 2, MSG_NOSIGNAL) < 0 ? -errno : 0;
    } else if (a->line != NULL) {
        a->line(a->arg, line);
    }
    return 0;
}

int volume_worker_ask(struct node *n, int fd, const struct worker_ask *a, struct err *e)
{
    struct answer s = {.n = n, .ask = a, .fd = fd};
    SCOPED(scope_free) char *text = malloc(ANSWER_BYTES);
    int r = text == NULL ? -ENOMEM : send_words(fd, a->words);

    if (r < 0) {
        return err_sys(e, r, "cannot talk to the volume's server");
    }
    while (r == 0 && !s.ended) {
        ssize_t got = recv(fd, text, ANSWER_BYTES - 1, 0);
        char *rest = text;
        char *line;

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return err_set(e, -ECONNRESET, "the volume's server ended without a word");
        }
        text[got] = '\0';
        while (r == 0 && (line = strsep(&rest, "\n")) != NULL) {
            r = *line != '\0' ? take_line(&s, line, e) : 0;
        }
    }
    return r;
}

static void take_now(void *arg, const char *line)
{
    struct worker_now *now = arg;

    if (strncmp(line, "top=", 4) == 0) {
        (void)str_print(now->top, sizeof now->top, "%s", line + 4);
    }
    (void)sscanf(line, "pid=%d", &now->pid);
    now->locked = now->locked || strcmp(line, "locked=yes") == 0;
    now->serves = now->serves || strncmp(line, "export=", 7) == 0;
    now->turns = now->turns || strncmp(line, "job=move ", 9) == 0 ||
                 strncmp(line, "job=merge ", 10) == 0;
}

int volume_worker_look(struct node *n, int fd, struct worker_now *ret, struct err *e)
{
    struct words w = {.message = true};
    const struct worker_ask ask = {.words = &w, .line = take_now, .arg = ret};
    int r;

    *ret = (struct worker_now){.pid = -1};
    words_add(&w, "status");
    r = volume_worker_ask(n, fd, &ask, e);
    words_fini(&w);
    return r;
}

static void take_block(void *arg, const char *line)
{
    (void)sscanf(line, "block=%u", (unsigned *)arg);
}

int volume_worker_block(struct node *n, int fd, unsigned *ret, struct err *e)
{
    struct words w = {.message = true};
    const struct worker_ask ask = {.words = &w, .line = take_block, .arg = ret};
    int r;

    words_add(&w, "status");
    r = volume_worker_ask(n, fd, &ask, e);
    words_fini(&w);
    return r;
}

struct exports {
    const char *way;
    int count;
};

static void count_export(void *arg, const char *line)
{
    struct exports *s = arg;
    char way[32];

    if (sscanf(line, "export=%*u %31s", way) == 1 &&
        (s->way == NULL || strcmp(s->way, way) == 0)) {
        s->count++;
    }
}

int volume_worker_exports(struct node *n, int fd, const char *way)
{
    struct exports s = {.way = way};
    struct words w = {.message = true};
    const struct worker_ask ask = {.words = &w, .line = count_export, .arg = &s};
    int r;

    words_add(&w, "status");
    r = volume_worker_ask(n, fd, &ask, NULL);
    words_fini(&w);
    return r < 0 ? r : s.count;
}

int volume_worker_layer(struct node *n, const struct layer *l, int key, struct words *w,
                        struct err *e)
{
    const char *format = volume_text(l->record, "format");
    char name[LAYER_ID_DIGITS + 8];
    const struct arrange_name as = {.name = name, .writes = true};
    int r;

    (void)str_print(name, sizeof name, "%s.file", l->id);
    r = arrange_words(n, l, &as, w, e);
    if (r < 0) {
        return r;
    }
    words_add(w, "node=%s,%s,file=%s.file%s%s", l->id, format, l->id,
              strcmp(format, "qcow2") == 0 ? ",alone" : "", words_key(w, l, key));
    return 0;
}

/* ---- a disk for a change ---- */

int disk_take(struct node *n, const struct volume *v, const struct layer *top,
              struct disk_hold *ret, struct err *e)
{
    for (int i = 0;; i++) {
        struct worker_now now = {.turns = false};
        struct err why = {0};

        ret->alone = -1;
        ret->control = connect_lasting(n, v->name, &now);
        if (ret->control >= 0 &&
            (now.serves || !layer_is_encrypted(top) || i == END_STEPS)) {
            return 0;
        }
        scope_close(
            &ret->control); /* it would ask for a passphrase, and is about to end */
        ret->control = -1;
        ret->alone = option_cache_settle(n, v, &why);
        ret->alone = ret->alone == 0 ? arrange_settle(n, top, &why) : ret->alone;
        ret->alone = ret->alone == 0 ? disk_open_alone(n, v, top, &why) : ret->alone;
        if (ret->alone != -EBUSY || i == END_STEPS ||
            !volume_worker_has_socket(n, v->name)) {
            if (ret->alone >= 0) {
                volume_worker_forget(n, v->name);
            }
            return ret->alone < 0 ? err_set(e, ret->alone, "%s", why.text) : 0;
        }
        wait_a_step(); /* its worker is about to end */
    }
}

int disk_hold_key(struct node *n, const struct volume *v, struct disk_hold *h,
                  const struct layer *top, const json_t *order, struct err *e)
{
    struct chain one = {.layers = (struct layer *)(uintptr_t)top, .count = 1};
    int r = h->control >= 0 ? chain_unlock(n, &one, order, e) : 0;

    h->key = one.key;
    return r < 0 ? err_wrap(e, "volume '%s' is being served", v->name) : 0;
}

void disk_let_go(struct disk_hold *h)
{
    scope_close(&h->control);
    scope_close(&h->alone);
    if (h->key > 0) {
        (void)close(h->key);
    }
    *h = (struct disk_hold){-1, -1, 0};
}
