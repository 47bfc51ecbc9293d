/* scrub.c - all that a pool has is read, and compared where it is there more than once.
 *
 * A layer that a volume writes to is scrubbed by the worker of that volume, which is started
 * when there is none: so whoever wants the volume meanwhile gets it, and no write that is under
 * way is taken for a difference.  Copies, parity and checksums are those of the bytes as they lie
 * there, so nobody is asked for a passphrase: the worker of an encrypted disk that nobody uses is
 * one for this alone, and makes place for whoever wants the disk.  Layers that never change are looked at by a process of their
 * own, past their readers' locks; to mend them, or to look again at what seemed wrong, their
 * volumes are kept from other commands.
 *
 * When a scrub ends, the pool's record says when it began and what it found (`last_scrub`); one
 * that was interrupted leaves no trace and begins anew. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "base/units.h"
#include "node/volume/care/care.h"

#define SAVE_TRIES 5
#define LIVE_TRIES 5    /* of a layer, when its worker ends meanwhile */
#define END_MS     2000 /* until a worker that nobody needs has ended */

struct scrubbing {
    struct care c;
    bool repair;
    uint64_t rate;
    json_t *rows; /* borrowed */
    unsigned long long found;
    unsigned long long mended;
    unsigned skipped;
};

struct counts {
    unsigned long long units;
    unsigned long long wrong;
    unsigned long long mended;
    uint64_t reclaimed; /* bytes */
};

static void take_count(void *arg, const char *line)
{
    struct counts *n = arg;

    (void)sscanf(line, "units=%llu", &n->units);
    (void)sscanf(line, "wrong=%llu", &n->wrong);
    (void)sscanf(line, "mended=%llu", &n->mended);
}

static void add_rate(const struct scrubbing *s, struct words *w)
{
    if (s->rate > 0) {
        words_add(w, "rate=%llu", (unsigned long long)s->rate);
    }
}

static void add_words(const struct scrubbing *s, const struct layer *l, bool mend,
                      struct words *w)
{
    words_add(w, "read");
    if (mend && arrange_spare(l) > 0) {
        words_add(w, "equal");
        words_add(w, "mend");
    }
    add_rate(s, w);
}

/* ---- by the worker ---- */

static bool has_sums(const struct layer *l)
{
    return strcmp(layer_filter(l), "checksum") == 0;
}

static void add_counts(struct counts *to, const struct counts *n)
{
    to->units += n->units;
    to->wrong += n->wrong;
    to->mended += n->mended;
}

/* One of the disks that the layer is made of. */
static int ask_scrub(struct scrubbing *s, struct words *w, int control,
                     struct counts *ret, struct err *e)
{
    struct counts found = {.units = 0};
    const struct worker_ask ask = {.words = w, .line = take_count, .arg = &found};
    int r = volume_worker_ask(s->c.n, control, &ask, e);

    words_fini(w);
    add_counts(ret, &found);
    return r;
}

/* Checksums first: they know which of several copies is the right one. */
static int scrub_live(struct scrubbing *s, const struct layer *l, int control,
                      struct counts *ret, struct err *e)
{
    struct words sums = {.message = true};
    struct words w = {.message = true};
    char name[CARE_NODE_BYTES];
    int r = 0;

    *ret = (struct counts){.units = 0};
    if (has_sums(l)) {
        words_add(&sums, "scrub");
        words_add(&sums, "layer=%s.file", l->id);
        add_rate(s, &sums);
        r = ask_scrub(s, &sums, control, ret, e);
    }
    care_node(l, name);
    words_add(&w, "scrub");
    words_add(&w, "layer=%s", name);
    add_words(s, l, s->repair && ret->wrong == ret->mended, &w);
    if (r == 0) {
        return ask_scrub(s, &w, control, ret, e);
    }
    words_fini(&w);
    return r;
}

/* The worker of the volume that writes to the layer, started if need be; the volume is not
 * held while it works. */
static int need_worker(struct scrubbing *s, const char *name, const struct layer *l,
                       int *ret_control, struct err *e)
{
    SCOPED(scope_close) int lock = -1;
    SCOPED(scope_json) json_t *nothing = json_object();
    struct volume v = {0};
    int r = volume_load_disk(s->c.n, name, &v, &lock, e);

    if (r == 0 && strcmp(volume_text(v.record, "top"), l->id) != 0) {
        r = -EAGAIN; /* it is not, any more */
    }
    if (r == 0) {
        r = layer_is_encrypted(l)
                ? volume_worker_for_care(s->c.n, &v, ret_control, e)
                : volume_worker_need(s->c.n, &v, nothing, ret_control, e);
    }
    volume_fini(&v);
    return r;
}

struct alone {
    int pid;
    bool others;
};

static void take_status(void *arg, const char *line)
{
    struct alone *a = arg;

    (void)sscanf(line, "pid=%d", &a->pid);
    a->others = a->others || str_starts(line, "export=");
}

/* One that was there for this alone ends: whoever wants the volume next does not find it in use
 * because of us. */
static void leave_worker(struct scrubbing *s, int *control)
{
    struct words w = {.message = true};
    struct alone a = {.pid = -1};
    const struct worker_ask ask = {.words = &w, .line = take_status, .arg = &a};
    struct pollfd end = {.fd = -1, .events = POLLIN};

    words_add(&w, "status");
    if (*control >= 0 && volume_worker_ask(s->c.n, *control, &ask, NULL) == 0 &&
        !a.others) {
        end.fd = (int)syscall(SYS_pidfd_open, a.pid, 0);
    }
    words_fini(&w);
    scope_close(control);
    *control = -1;
    if (end.fd >= 0) {
        (void)poll(&end, 1, END_MS);
        (void)close(end.fd);
    }
}

/* ---- by a process of its own ---- */

static int run_scrub(struct scrubbing *s, struct words *w, struct counts *ret,
                     struct err *e)
{
    struct counts found = {.units = 0};
    int r = words_run(s->c.n, "scrub", w, take_count, &found, e);

    add_counts(ret, &found);
    return r;
}

/* Checksums are written by one process only: while others read the layer they are compared alone,
 * and with one that is wrong nobody knows which copy is to be mended. */
static int scrub_apart(struct scrubbing *s, const struct layer *l, bool mend, bool alone,
                       struct counts *ret, struct err *e)
{
    const struct arrange_name as = {
        .name = "disk", .writes = mend && arrange_spare(l) > 0, .unlocked = true};
    const struct arrange_name with_sums = {
        .name = "disk", .writes = as.writes && alone, .unlocked = true};
    struct words sums = {.n_fds = 0};
    struct words w = {.n_fds = 0};
    int r = 0;

    *ret = (struct counts){.units = 0};
    if (has_sums(l)) {
        r = arrange_words(s->c.n, l, &with_sums, &sums, e);
        add_rate(s, &sums);
        r = r == 0 ? run_scrub(s, &sums, ret, e) : r;
    }
    words_fini(&sums); /* its files are closed before others are opened */
    r = r == 0 ? arrange_below(s->c.n, l, &as, &w, e) : r;
    add_words(s, l, mend && ret->wrong == ret->mended, &w);
    r = r == 0 ? run_scrub(s, &w, ret, e) : r;
    words_fini(&w);
    return r;
}

static int scrub_frozen(struct scrubbing *s, const struct layer *l, struct counts *ret,
                        struct err *e)
{
    struct care_holders h = {.list = NULL};
    int r = s->repair ? 0 : scrub_apart(s, l, false, false, ret, NULL);
    bool unfinished;

    if (!s->repair && r == 0 && ret->wrong == 0) {
        return 0;
    }
    unfinished = r == -EOWNERDEAD;
    r = care_hold(s->c.n, l->id, &h, e);
    r = r == 0 && unfinished ? arrange_settle(s->c.n, l, e) : r;
    r = r == 0 ? scrub_apart(s, l, s->repair, care_live(&h) == NULL, ret, e) : r;
    care_let_go(&h);
    return r;
}

/* ---- layer by layer ---- */

/* The volume whose top the layer is; "". */
static void find_writer(struct node *n, const char *id, char out[WORD_NAME_BYTES])
{
    struct strv users = {0};

    out[0] = '\0';
    if (layer_users(n, id, &users, NULL) == 0) {
        for (size_t i = 0; i < users.n; i++) {
            if (str_starts(users.items[i], "v/")) {
                (void)str_print(out, WORD_NAME_BYTES, "%s", users.items[i] + 2);
            }
        }
    }
    strv_fini(&users);
}

/* Its worker ended, or was told to, for somebody who wants the disk for himself. */
static bool has_ended(int r)
{
    return r == -ECANCELED || r == -ESHUTDOWN || r == -ECONNRESET;
}

static int scrub_written(struct scrubbing *s, const char *writer, const struct layer *l,
                         struct counts *ret, struct err *e)
{
    const struct timespec step = {.tv_nsec = 100000000};
    struct err why = {0};
    uint64_t before = 0; /* mended by those that ended */
    int r = -ECANCELED;

    for (unsigned i = 0; has_ended(r) && i < LIVE_TRIES; i++) {
        int control = -1;

        if (i > 0) {
            (void)nanosleep(&step, NULL);
        }
        err_clear(&why);
        r = need_worker(s, writer, l, &control, &why);
        r = r == 0 ? scrub_live(s, l, control, ret, &why) : r;
        leave_worker(s, &control);
        before += has_ended(r) ? ret->mended : 0;
    }
    ret->wrong += before;
    ret->mended += before;
    return has_ended(r)
               ? err_set(e, -EBUSY,
                         "others wanted the disk of volume '%s' meanwhile: scrub "
                         "it again",
                         writer)
           : r < 0 && why.code != 0 ? err_set(e, r, "%s", why.text)
                                    : r;
}

static int scrub_layer(struct scrubbing *s, const struct layer *l, struct counts *ret,
                       struct err *e)
{
    char writer[WORD_NAME_BYTES];
    int r = -EAGAIN;

    find_writer(s->c.n, l->id, writer);
    if (writer[0] != '\0' && (arrange_spare(l) > 0 || has_sums(l))) {
        r = scrub_written(s, writer, l, ret, e);
    } else if (writer[0] != '\0') {
        return scrub_apart(s, l, false, false, ret,
                           e); /* it is read: nobody is in the way */
    }
    return r == -EAGAIN && (e == NULL || e->code == 0) ? scrub_frozen(s, l, ret, e) : r;
}

static void add_row(struct scrubbing *s, const struct layer *l, const char *state,
                    const struct counts *n, const char *why)
{
    struct strv names = {0};
    json_t *row =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:I}", "pool", care_pool(&s->c), "layer",
                  l->id, "arrangement", volume_text(l->record, "arrangement"), "state",
                  state, "found", (json_int_t)n->wrong, "mended", (json_int_t)n->mended);
    struct str all = {0};

    (void)care_volumes(s->c.n, l->id, &names, NULL);
    for (size_t i = 0; i < names.n; i++) {
        str_addf(&all, "%s%s", i > 0 ? "," : "", names.items[i]);
    }
    (void)json_object_set_new(row, "volume", json_string(str_text(&all)));
    if (s->repair && strcmp(layer_filter(l), "dedup") == 0) {
        (void)json_object_set_new(row, "reclaimed",
                                  json_integer((json_int_t)n->reclaimed));
    }
    if (why[0] != '\0') {
        (void)json_object_set_new(row, "to_do", json_string(why));
    } else if (strcmp(state, "damaged") == 0) {
        (void)json_object_set_new(
            row, "to_do",
            json_string(!s->repair
                            ? "'strata pool scrub --repair' mends what has a copy"
                            : "what has no copy comes from a backup; if others read "
                              "the layer, end them and repair it again"));
    }
    (void)json_array_append_new(s->rows, row);
    str_fini(&all);
    strv_fini(&names);
}

static bool lacks_one(const struct layer *l)
{
    return (arrange_spare(l) > 0 && care_piece_of(l, 0) >= 0) || care_lacks_map(l);
}

/* Members that an array, or the map of a span, lost for good have others in their place. */
static void fill(struct scrubbing *s, const struct layer *l)
{
    struct care_holders h = {.list = NULL};
    struct care c = {.n = s->c.n, .pool = s->c.pool, .lost = true};

    if (s->repair && lacks_one(l) && care_hold(s->c.n, l->id, &h, NULL) == 0) {
        (void)care_fill(&c, l, &h, NULL);
        strv_fini(&c.notes);
    }
    care_let_go(&h);
}

/* What a store of equal blocks does not need goes back to the pool, also while the disk is used.
 * A layer that others read does not change. */
static void reclaim(struct scrubbing *s, const struct layer *l, struct counts *ret)
{
    SCOPED(scope_close) int control = -1;
    struct care_holders h = {.list = NULL};
    struct care_holder *writer;

    if (!s->repair || care_hold(s->c.n, l->id, &h, NULL) < 0) {
        care_let_go(&h);
        return;
    }
    writer = care_writer(&h, l);
    if (writer != NULL && writer->control >= 0) { /* whoever wants the volume gets it */
        control = scope_take_fd(&writer->control);
        care_let_go(&h);
    }
    if (control >= 0 || care_live(&h) == NULL) {
        (void)option_layer_reclaim(s->c.n, l, control, &ret->reclaimed, NULL);
    }
    care_let_go(&h);
}

/* An interrupted one ends it all; what cannot be looked at is told and left out. */
static int scrub_one(struct scrubbing *s, const char *id, struct err *e)
{
    struct layer l = {.record = NULL};
    struct counts n = {.units = 0};
    struct err why = {0};
    const char *state;
    int r = layer_load(s->c.n, id, &l, NULL);

    if (r < 0) {
        layer_fini(&l);
        return 0; /* gone meanwhile */
    }
    fill(s, &l);
    layer_fini(&l);
    r = layer_load(s->c.n, id, &l, e);
    r = r == 0 ? scrub_layer(s, &l, &n, &why) : r;
    if (r == 0 && strcmp(layer_filter(&l), "dedup") == 0) {
        reclaim(s, &l, &n);
    }
    (void)fault_step("care.scrubbed");
    if (r != -ECANCELED) {
        state = r < 0                 ? "skipped"
                : n.wrong == 0        ? "ok"
                : n.mended == n.wrong ? "mended"
                                      : "damaged";
        add_row(s, &l, state, &n, why.text);
        s->skipped += r < 0;
        s->found += n.wrong;
        s->mended += n.mended;
    }
    layer_fini(&l);
    return r == -ECANCELED ? err_set(e, r, "%s", why.text) : 0;
}

/* ---- pools ---- */

static int remember(struct scrubbing *s, time_t began, struct err *e)
{
    char at[UNITS_TEXT_BYTES];
    int r = -EAGAIN;

    units_print_time((int64_t)began * 1000000000, at);
    for (unsigned i = 0; r == -EAGAIN && i < SAVE_TRIES; i++) {
        struct err why = {0};

        (void)json_object_set_new(s->c.pool, "last_scrub",
                                  json_pack("{s:s, s:I, s:I, s:I, s:I, s:b}", "at", at,
                                            "seconds", (json_int_t)(time(NULL) - began),
                                            "found", (json_int_t)s->found, "mended",
                                            (json_int_t)s->mended, "skipped",
                                            (json_int_t)s->skipped, "repair", s->repair));
        r = care_save(&s->c, &why);
        if (r < 0 && r != -EAGAIN) {
            (void)err_set(e, r, "%s", why.text);
        } else if (r == -EAGAIN) {
            char name[WORD_NAME_BYTES];

            (void)str_print(name, sizeof name, "%s", care_pool(&s->c));
            r = care_reload(&s->c, name, e) < 0 ? -ENOENT : r;
        }
    }
    return r;
}

static int scrub_pool(struct node *n, const char *name, const json_t *order, json_t *rows,
                      struct err *e)
{
    struct scrubbing s = {.repair = json_is_true(json_object_get(order, "repair")),
                          .rate = volume_number(order, "rate"),
                          .rows = rows};
    struct strv ids = {0};
    time_t began = time(NULL);
    int r = care_begin(n, name, &s.c, e);

    if (r == 0 && json_is_true(json_object_get(order, "due")) && !care_is_due(s.c.pool)) {
        care_end(&s.c);
        return 0;
    }
    r = r == 0 ? care_layers(n, name, 0, &ids, e) : r;
    for (size_t i = 0; r == 0 && i < ids.n; i++) {
        node_report(n, "layers", i, ids.n);
        r = scrub_one(&s, ids.items[i], e);
    }
    r = r == 0 ? remember(&s, began, e) : r;
    strv_fini(&ids);
    care_end(&s.c);
    return r < 0 ? err_wrap(e, "cannot scrub pool '%s'", name) : 0;
}

/* All pools, the one without a record first. */
static int scrub_all(struct node *n, const json_t *order, json_t *rows, struct err *e)
{
    SCOPED(scope_json) json_t *pools = NULL;
    bool usual = false;
    size_t i;
    json_t *pool;
    int r = record_list(n, "/pools/", &pools, e);

    json_array_foreach(pools, i, pool)
    {
        usual = usual || strcmp(volume_text(pool, "name"), POOL_DEFAULT) == 0;
        r = r == 0 ? scrub_pool(n, volume_text(pool, "name"), order, rows, e) : r;
    }
    return r == 0 && !usual ? scrub_pool(n, POOL_DEFAULT, order, rows, e) : r;
}

int care_scrub(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    const char *name = json_string_value(json_object_get(order, "name"));
    json_t *rows = json_array();
    int r =
        name != NULL ? scrub_pool(n, name, order, rows, e) : scrub_all(n, order, rows, e);

    if (r < 0) {
        json_decref(rows);
        return r;
    }
    *ret = rows;
    return 0;
}
