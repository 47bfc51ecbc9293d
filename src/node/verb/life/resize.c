/* resize.c - disks of a machine grow.  One that runs does it itself, and tells the guest at once;
 * of one that does not the file is changed.  No disk shrinks: what is behind the new end would
 * be lost, and nobody knows what the guest has there. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "base/units.h"
#include "node/boot.h"
#include "node/verb/life/private.h"
#include "node/verb/private.h"
#include "node/words.h"

#define SECTOR_BYTES 512

struct growing {
    char which[PATH_MAX]; /* file or serial word of the disk; "": the first */
    uint64_t bytes;
    char path[PATH_MAX]; /* "": not found yet */
    bool is_qcow2, is_root;
};

/* [DISK=]SIZE */
static int parse(const char *text, struct growing *ret, struct err *e)
{
    const char *size = strrchr(text, '=');

    *ret = (struct growing){.bytes = 0};
    (void)str_print(ret->which, sizeof ret->which, "%.*s",
                    size != NULL ? (int)(size - text) : 0, text);
    size = size != NULL ? size + 1 : text;
    if (units_parse_size(size, &ret->bytes) < 0 || ret->bytes == 0 ||
        ret->bytes % SECTOR_BYTES != 0) {
        return err_set(e, -EINVAL,
                       "cannot use --disk '%s': want [DISK=]SIZE, a multiple of %d bytes",
                       text, SECTOR_BYTES);
    }
    return 0;
}

static bool is_called(const struct life_disk *d, const char *name)
{
    const char *serial = strstr(d->word, ",serial=");
    size_t n = strlen(name);

    if (name[0] == '\0' || strcmp(name, d->path) == 0) {
        return true;
    }
    serial = serial != NULL ? serial + strlen(",serial=") : NULL;
    return serial != NULL && strcspn(serial, ",") == n && strncmp(serial, name, n) == 0;
}

static int find(void *arg, const struct life_disk *d, struct err *e)
{
    struct growing *w = arg;

    (void)e;
    if (w->path[0] == '\0' && d->is_kept && is_called(d, w->which)) {
        (void)str_print(w->path, sizeof w->path, "%s", d->path);
        w->is_qcow2 = strstr(d->word, ",format=qcow2") != NULL;
        w->is_root = d->is_root;
    }
    return 0;
}

static int grow_running(struct node *n, const struct guest *g, const struct growing *w,
                        struct err *e)
{
    SCOPED(scope_json)
    json_t *arg = json_pack("{s:s, s:I}", "disk", w->path, "bytes", (json_int_t)w->bytes);
    const struct far_question q = {.verb = FAR_RESIZE, .arg = arg};

    return life_ask(n, g, &q, NULL, e);
}

/* By the program that knows the format; a raw file, too. */
static int grow_file(struct node *n, const struct guest *g, const struct growing *w,
                     struct err *e)
{
    struct words words = {.n_fds = 0};
    int fd = open(w->path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    int base =
        w->is_root ? open(guest_text(g, "root"), O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    char word[32];
    int r;

    if (fd < 0 || (w->is_root && base < 0)) {
        r = err_sys(e, -errno, "cannot open it");
        scope_close(&fd);
        scope_close(&base);
        return r;
    }
    if (w->is_root) {
        words_file(&words, "base", base, "raw", false);
    }
    words_add(&words, "node=disk.file,file,%s", words_fd(&words, "fd", fd, word));
    words_add(&words, "node=disk,%s,file=disk.file%s", w->is_qcow2 ? "qcow2" : "raw",
              w->is_root ? ",backing=base" : "");
    words_add(&words, "size=%llu", (unsigned long long)w->bytes);
    r = words_run(n, "resize", &words, NULL, NULL, e);
    words_fini(&words);
    return r;
}

static int grow_stopped(struct node *n, const struct guest *g, const struct growing *w,
                        struct err *e)
{
    SCOPED(scope_close) int lock = -1;
    int r = guest_lock(n, g, VERB_LOCK_WAIT_MS, &lock, e);

    if (r == 0 && life_is_saved(n, g)) {
        r = err_set(e, -EBUSY,
                    "the guest is saved, and would not be told: start it first");
    }
    return r == 0 ? grow_file(n, g, w, e) : r;
}

static int grow(struct node *n, const struct guest *g, struct growing *w, bool is_alive,
                struct err *e)
{
    int r = life_each_disk(n, g, find, w, e);

    if (r == 0 && w->path[0] == '\0') {
        return err_set(e, -ENOENT,
                       "guest '%s' has no disk%s%s that is a file and can be written (a "
                       "volume grows by 'strata volume resize')",
                       guest_text(g, "name"), w->which[0] != '\0' ? " " : "", w->which);
    }
    r = r < 0 ? r : is_alive ? grow_running(n, g, w, e) : grow_stopped(n, g, w, e);
    (void)fault_step("life.disk.grown");
    return r < 0 ? err_wrap(e, "cannot resize disk '%s' of guest '%s'", w->path,
                            guest_text(g, "name"))
                 : 0;
}

int life_resize(struct node *n, const struct guest *g, const json_t *disks, struct err *e)
{
    struct guest_status st;
    struct growing w;
    size_t i;
    json_t *item;
    int r = guest_is_machine(g) ? guest_status(n, g->id, &st, e)
                                : err_set(e, -EOPNOTSUPP,
                                          "cannot use --disk with guest '%s': it is a "
                                          "container",
                                          guest_text(g, "name"));

    for (int pass = 0; r == 0 && pass < 2; pass++) { /* all are understood, then done */
        json_array_foreach(disks, i, item)
        {
            r = r == 0 ? parse(json_string_value(item), &w, e) : r;
            r = r == 0 && pass == 1 ? grow(n, g, &w, guest_is_alive(&st), e) : r;
        }
    }
    return r;
}
