/* header.c - encryption headers of layers, in memory.
 *
 * A header wraps the key of a layer for each passphrase.  It is looked at in a copy, because the
 * layer may be somebody's who is writing to it: data, never the header, which changes under
 * the volume's lock alone.  A layer that is no file of the host is read by the program
 * `volume`, which copies the header out of it; one with a journal by who writes to it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "node/volume/arrange.h"
#include "node/volume/worker.h"

#define COPY_TRIES 10

/* ---- bytes in memory ---- */

int volume_key_memory(int from, uint64_t at, uint64_t bytes)
{
    SCOPED(scope_close) int to = memfd_create("key", MFD_CLOEXEC);
    unsigned char part[4096];
    uint64_t done = 0;

    while (to >= 0 && done < bytes) {
        size_t want = bytes - done < sizeof part ? (size_t)(bytes - done) : sizeof part;
        ssize_t n = pread(from, part, want, (off_t)(at + done));

        if (n < 0 && errno == ESPIPE) { /* a pipe has no place to read at */
            n = read(from, part, want);
        }
        if (n > 0 && write(to, part, (size_t)n) != n) {
            n = -1;
        }
        if (n < 0 && errno != EINTR) {
            explicit_bzero(part, sizeof part);
            return -errno;
        }
        if (n == 0) {
            break;
        }
        done += n > 0 ? (uint64_t)n : 0;
    }
    explicit_bzero(part, sizeof part);
    return to < 0 ? -errno : scope_take_fd(&to);
}

/* ---- headers ---- */

int volume_key_header(int image, struct err *e)
{
    uint64_t at;
    uint64_t bytes;
    int r = volume_image_header(image, &at, &bytes);

    r = r == 0 ? volume_key_memory(image, at, bytes) : r;
    return r < 0 ? err_sys(e, r, "cannot read an encryption header") : r;
}

/* Of a layer that only the program reads. */
static int copy_header(struct node *n, const struct layer *l, struct err *e)
{
    const struct arrange_name as = {.name = "f", .unlocked = true};
    SCOPED(scope_close) int to = memfd_create("header", MFD_CLOEXEC);
    struct words w = {.n_fds = 0};
    char fd[32];
    int r = to < 0 ? err_sys(e, -errno, "cannot read an encryption header")
                   : arrange_words(n, l, &as, &w, e);

    words_add(&w, "node=q,qcow2,file=f,locked,alone,read-only");
    words_add(&w, "%s", words_fd(&w, "copy", fcntl(to, F_DUPFD_CLOEXEC, 3), fd));
    r = r == 0 ? words_run(n, "key", &w, NULL, NULL, e) : r;
    words_fini(&w);
    return r < 0 ? r : scope_take_fd(&to);
}

/* Who writes to it may be at what its members say of themselves just then. */
static int copy_header_soon(struct node *n, const struct layer *l, struct err *e)
{
    const struct timespec step = {.tv_nsec = 20000000};
    struct err why = {0};
    int r = copy_header(n, l, &why);

    for (int i = 0; r == -EUCLEAN && i < COPY_TRIES; i++) {
        (void)nanosleep(&step, NULL);
        why = (struct err){0};
        r = copy_header(n, l, &why);
    }
    return r < 0 ? err_set(e, r, "%s", why.text) : r;
}

/* ---- where what is written goes through a journal ---- */

/* Of the volume that writes to it, or whose cache it is: by its worker; -ENOENT: there is none. */
static int ask_worker(struct node *n, const char *volume, const struct layer *l,
                      struct err *e)
{
    SCOPED(scope_close) int control = volume_worker_peek(n, volume);
    SCOPED(scope_close) int to = -1;
    struct words w = {.message = true};
    const struct worker_ask ask = {.words = &w};
    char fd[32];
    int r;

    if (control < 0) {
        return -ENOENT;
    }
    to = memfd_create("header", MFD_CLOEXEC);
    words_add(&w, "header");
    words_add(&w, "layer=%s", l->id);
    words_add(&w, "%s", words_fd(&w, "copy", fcntl(to, F_DUPFD_CLOEXEC, 3), fd));
    r = to < 0 ? err_sys(e, -errno, "cannot read an encryption header")
               : volume_worker_ask(n, control, &ask, e);
    words_fini(&w);
    return r < 0 ? r : scope_take_fd(&to);
}

static int ask_workers(struct node *n, const struct layer *l, struct err *e)
{
    struct strv users = {0};
    int r = layer_users(n, l->id, &users, e);

    r = r == 0 ? -ENOENT : r;
    for (size_t i = 0; r == -ENOENT && i < users.n; i++) {
        const char *user = users.items[i];

        if (str_starts(user, "v/") || str_starts(user, "c/")) {
            struct err why = {0};

            r = ask_worker(n, user + 2, l, &why);
            r = r < 0 && r != -ENOENT ? err_set(e, r, "%s", why.text) : r;
        }
    }
    strv_fini(&users);
    return r;
}

/* -EBUSY: another has it; a worker that ends, or is killed; -EUCLEAN: its members just then. */
static bool may_pass(int r)
{
    return r == -EBUSY || r == -ESHUTDOWN || r == -ECONNRESET || r == -EUCLEAN;
}

/* Who writes is asked, since what it has begun is in its journal only.  One that was killed
 * has left that there: it is finished first.  One that ends is waited for. */
static int settled_header(struct node *n, const struct layer *l, struct err *e)
{
    const struct timespec step = {.tv_nsec = 20000000};
    struct err why = {0};
    int r = -EBUSY;

    for (int i = 0; may_pass(r) && i < COPY_TRIES; i++) {
        if (i > 0) {
            (void)nanosleep(&step, NULL);
        }
        why = (struct err){0};
        r = ask_workers(n, l, &why);
        r = r == -ENOENT ? copy_header(n, l, &why) : r;
        if (r == -EOWNERDEAD) {
            why = (struct err){0};
            r = arrange_settle(n, l, &why);
            r = r == 0 ? copy_header(n, l, &why) : r;
        }
    }
    return r < 0 ? err_set(e, r, "%s", why.text) : r;
}

int layer_header(struct node *n, const struct layer *l, struct err *e)
{
    SCOPED(scope_close) int image = -1;

    if (!layer_has_file(l)) {
        return arrange_has_journal(l) ? settled_header(n, l, e)
                                      : copy_header_soon(n, l, e);
    }
    image = piece_open(n, l, O_RDONLY, e);
    return image < 0 ? image : volume_key_header(image, e);
}

/* ---- who opens one ---- */

static void take_slot(void *arg, const char *line)
{
    (void)sscanf(line, "slot=%d", (int *)arg);
}

int volume_key_slot(struct node *n, int header, int key, struct err *e)
{
    struct words w = {.n_fds = 0};
    char fd[32];
    int slot = -1;
    int r;

    words_add(&w, "node=f,file,%s",
              words_fd(&w, "fd", fcntl(header, F_DUPFD_CLOEXEC, 3), fd));
    words_add(&w, "%s", words_fd(&w, "key", fcntl(key, F_DUPFD_CLOEXEC, 3), fd));
    r = words_run(n, "key", &w, take_slot, &slot, e);
    words_fini(&w);
    return r == 0 && slot < 0 ? err_set(e, -EIO, "the program 'volume' told no slot")
           : r == 0           ? slot
                              : r;
}

int volume_key_open(struct node *n, int header, const json_t *order, struct err *e)
{
    SCOPED(scope_close) int key = -1;
    struct err why = {0};
    int r;

    if (json_object_get(order, "key_file") == NULL) {
        return err_set(e, -EACCES, "it is encrypted (say '--key-file FILE')");
    }
    key = volume_key_read(order, "key_file", e);
    if (key < 0) {
        return key;
    }
    r = volume_key_slot(n, header, key, &why);
    return r == -EACCES ? err_set(e, r, "the passphrase in '%s' does not open it",
                                  volume_text(order, "key_file"))
           : r < 0      ? err_set(e, r, "%s", why.text)
                        : scope_take_fd(&key);
}

/* ---- of a new image ---- */

bool layer_is_to_be_encrypted(const struct layer_plan *p)
{
    return p->key > 0 || (p->like != NULL && layer_is_encrypted(p->like)) ||
           (p->parent != NULL && layer_is_encrypted(p->parent));
}

int layer_plan_header(struct node *n, const struct layer_plan *p, struct err *e)
{
    const struct layer *like = p->like != NULL ? p->like : p->parent;

    return p->key > 0 || like == NULL || !layer_is_encrypted(like)
               ? 0
               : layer_header(n, like, e);
}

int words_new_key(struct node *n, const struct layer_plan *p, struct words *w,
                  struct err *e)
{
    int header = layer_plan_header(n, p, e);
    char fd[32];

    if (header > 0) {
        words_add(w, "node=header,file,%s,read-only", words_fd(w, "fd", header, fd));
        words_add(w, "key-of=header");
    }
    if (p->key > 0) {
        words_add(w, "%s", words_fd(w, "key", fcntl(p->key, F_DUPFD_CLOEXEC, 3), fd));
    }
    if (p->key > 0 && p->key_work > 0) { /* how long it takes to try it */
        words_add(w, "rounds=%llu", (unsigned long long)p->key_work);
    }
    return header < 0 ? header : 0;
}
