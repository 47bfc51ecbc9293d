/* rebuild.c - a member's part of a layer is made anew of what the others have.
 *
 * The new piece is put in for the old one's role: from then on it gets what is written, and
 * the superblocks of the others say that it is theirs, so that the old piece never counts
 * again.  The record says so as soon as they do; what is still to be copied then is copied by
 * whoever opens the layer. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "base/word.h"
#include "node/volume/care/care.h"

struct putting {
    struct care *c;
    struct layer *to;
    unsigned at; /* the role */
    bool map;    /* of the mirror that the map of a span is */
    bool none;   /* nobody has the role afterwards */
    const struct layer
        *read; /* the layer, if a worker does it that only reads it; or NULL */
    struct care_holders *h;
    struct err *e;
    uint64_t bytes; /* of the new one */
    int result;     /* of the record; 1: not asked yet */
};

/* What a worker calls the disk of all roles, and that of one. */
static const char *tail(const struct putting *p)
{
    return p->map ? ".map" : "";
}

static const char *role_tail(const struct putting *p)
{
    return p->map ? ".map" : ".p";
}

/* "disk=DEPTH TYPE LABEL SIZE" of a worker: the largest piece. */
static void take_disk(void *arg, const char *line)
{
    struct putting *p = arg;
    char label[64];
    char piece[64];
    unsigned long long size;

    (void)str_print(piece, sizeof piece, "%s.file%s", p->to->id, role_tail(p));
    if (sscanf(line, "disk=%*u %*s %63s %llu", label, &size) == 2 &&
        str_starts(label, piece) && label[strlen(piece)] != '\0' && size > p->bytes) {
        p->bytes = size;
    }
}

static unsigned roles(const struct putting *p)
{
    return p->map ? piece_maps(p->to) : piece_count(p->to);
}

static bool is_there(const struct putting *p, unsigned role)
{
    int at = p->map ? piece_map_at(p->to, role) : (int)role;

    return at >= 0 && piece_is_there(p->c->n, p->to, (unsigned)at);
}

/* As large as the others are. */
static int find_size(struct putting *p, int control)
{
    struct words w = {.message = true};
    const struct worker_ask ask = {.words = &w, .line = take_disk, .arg = p};

    words_add(&w, "status");
    if (control >= 0) {
        (void)volume_worker_ask(p->c->n, control, &ask, NULL);
    }
    words_fini(&w);
    for (unsigned i = 0; control < 0 && i < roles(p); i++) {
        struct err why = {0};
        uint64_t bytes = 0;

        if (i != p->at && is_there(p, i) &&
            care_size(p->c->n, &(struct care_part){p->to, i, p->map}, &bytes, &why) ==
                0) {
            p->bytes = bytes > p->bytes ? bytes : p->bytes;
        }
    }
    return p->bytes > 0 ? 0 : err_set(p->e, -ENODEV, "all its other members are lost");
}

/* The new one, as a node of that name. */
static int add_new(struct putting *p, const char *name, struct words *w)
{
    const struct pool_node as = {name, POOL_USE_NEW, p->bytes, 0, false};
    int r = p->map ? piece_words_map(p->c->n, p->to, p->at, &as, w, p->e)
                   : piece_words(p->c->n, p->to, p->at, &as, w, p->e);

    (void)fault_step("care.made");
    return r;
}

static void take_replaced(void *arg, const char *line)
{
    struct putting *p = arg;

    if (strcmp(line, "replaced=yes") == 0) {
        (void)fault_step("care.replaced");
        p->result = care_record(p->c, p->to, p->h, p->e);
    }
}

/* The words of `replace` for a worker; `none`: nobody has the role. */
static int add_replace(struct putting *p, bool none, struct words *w)
{
    const char *id = p->to->id;
    char name[POOL_NODE_BYTES];
    char own[9] =
        ""; /* what a killed command has put in may have a name like this one's */
    int r = word_random_id(own, 8);

    words_add(w, "replace");
    words_add(w, "layer=%s.file%s", id, tail(p));
    words_add(w, "role=%u", p->at);
    words_add(w, "as=%s.file%s%u", id, role_tail(p), p->at);
    (void)str_print(name, sizeof name, "%s.file%s%u.%s", id, role_tail(p), p->at, own);
    words_add(w, none ? "none" : "equal");
    if (r < 0) {
        return err_sys(p->e, r, "cannot name a disk");
    }
    r = p->read != NULL ? piece_reopen(p->c->n, p->read, w, p->e) : 0;
    return r < 0 || none ? r : add_new(p, name, w);
}

/* The new one was put in by a command that was killed before it was recorded: it is made anew. */
static void take_out(struct putting *p, int control)
{
    struct words w = {.message = true};
    const struct worker_ask ask = {.words = &w};

    if (add_replace(p, true, &w) == 0 &&
        volume_worker_ask(p->c->n, control, &ask, NULL) == 0) {
        if (p->map) {
            piece_remove_map(p->c->n, p->to, p->at);
        } else {
            (void)piece_remove_at(p->c->n, p->to, p->at, 0);
        }
    }
    words_fini(&w);
}

static int ask_once(struct putting *p, int control, struct err *e)
{
    struct words w = {.message = true};
    const struct worker_ask ask = {.words = &w, .line = take_replaced, .arg = p};
    int r = add_replace(p, p->none, &w);

    r = r == 0 ? volume_worker_ask(p->c->n, control, &ask, e) : r;
    words_fini(&w);
    return r;
}

/* The worker that writes to it does; it waits until all are equal. */
static int put_live(struct putting *p, int control)
{
    struct err why = {0};
    int r = ask_once(p, control, &why);

    if (r == -EEXIST && p->result > 0) {
        take_out(p, control);
        why = (struct err){0};
        r = ask_once(p, control, &why);
    }
    if (r < 0) {
        return err_set(p->e, r, "%s", why.text);
    }
    return p->result <= 0 ? p->result : r;
}

/* The disk of all roles, "disk" or "disk.map". */
static int add_roles(const struct putting *p, const struct layer *l,
                     const struct arrange_name *as, struct words *w)
{
    return p->map ? arrange_map_words(p->c->n, l, as, w, p->e)
                  : arrange_below(p->c->n, l, as, w, p->e);
}

/* By the program; `l` says what is there. */
static int put_alone(struct putting *p, const struct layer *l, bool unlocked)
{
    const struct arrange_name as = {
        .name = "disk", .writes = true, .unlocked = unlocked, .promote = true};
    struct words w = {.n_fds = 0};
    int r = add_roles(p, l, &as, &w);

    r = r == 0 && !p->none ? add_new(p, "new", &w) : r;
    words_add(&w, "top=disk%s", tail(p));
    words_add(&w, "role=%u", p->at);
    words_add(&w, p->none ? "none" : "with=new");
    r = r == 0 ? words_run(p->c->n, "replace", &w, NULL, NULL, p->e) : r;
    words_fini(&w);
    (void)fault_step("care.replaced");
    return r == 0 ? care_record(p->c, p->to, p->h, p->e) : r;
}

/* Until all that are there have the same. */
static int make_equal(struct putting *p, bool unlocked)
{
    const struct arrange_name as = {.name = "disk", .writes = true, .unlocked = unlocked};
    struct words w = {.n_fds = 0};
    int r = add_roles(p, p->to, &as, &w);

    words_add(&w, "equal");
    r = r == 0 ? words_run(p->c->n, "scrub", &w, NULL, NULL, p->e) : r;
    words_fini(&w);
    (void)fault_step("care.equal");
    return r;
}

int care_make_equal(struct care *c, struct layer *l, struct care_holders *h,
                    struct err *e)
{
    const struct care_holder *writer = care_writer(h, l);
    struct putting p = {.c = c, .to = l, .h = h, .e = e};

    return arrange_spare(l) == 0 || (writer != NULL && writer->control >= 0)
               ? 0
               : make_equal(&p, writer == NULL && care_live(h) != NULL);
}

static int put(struct putting *p, const struct layer *l)
{
    struct care_holder *writer = care_writer(p->h, l);
    struct care_holder *mover = p->map && !p->c->lost ? care_mover(p->h, l) : writer;
    bool live = mover != NULL && mover->control >= 0;
    bool read = writer == NULL && care_live(p->h) != NULL;
    int r = p->none ? 0 : find_size(p, live ? mover->control : -1);

    p->read = mover != writer ? l : NULL;
    if (r < 0) {
        return r;
    }
    if (live) {
        return put_live(p, mover->control);
    }
    r = put_alone(p, l, read);
    p->result = r;
    return r == 0 && !p->none ? make_equal(p, read) : r;
}

static int rebuild_on(struct care *c, const struct layer *l, unsigned at, unsigned to,
                      struct care_holders *h, struct err *e)
{
    struct layer moved = {.record = NULL};
    struct putting p = {.c = c, .to = &moved, .at = at, .h = h, .e = e, .result = 1};
    int intent = -1;
    int r = care_moved(l, at, to, &moved, e);

    r = r == 0 ? piece_announce(c->n, &moved, &intent, e) : r;
    if (r == 0) {
        r = put(&p, l);
        if (p.result == 0 && !c->lost && c->member != 0) {
            (void)piece_remove_at(c->n, l, at, 0);
        } else if (p.result != 0) {
            (void)piece_remove_at(c->n, &moved, at, 0);
        }
        piece_settled(c->n, l->id, &intent);
    }
    c->rebuilt += r == 0;
    layer_fini(&moved);
    return r;
}

/* A member for a copy of the map: it has a piece, and no copy; 0: there is none. */
static unsigned map_place(struct care *c, const struct layer *l)
{
    for (unsigned i = 0; i < piece_count(l); i++) {
        unsigned member = piece_member(l, i);

        if (member != 0 && member != c->member && piece_map_of(l, i) < 0 &&
            piece_is_there(c->n, l, i)) {
            return member;
        }
    }
    return 0;
}

static int rebuild_map(struct care *c, struct layer *l, unsigned copy,
                       struct care_holders *h, struct err *e)
{
    struct layer moved = {.record = NULL};
    struct putting p = {
        .c = c, .to = &moved, .at = copy, .map = true, .h = h, .e = e, .result = 1};
    unsigned place = map_place(c, l);
    int r = care_same(l, &moved, e);

    if (r < 0) {
        return r;
    }
    (void)piece_set_map(&moved, copy, place);
    p.none = place == 0;
    r = put(&p, l);
    (void)fault_step("care.mapped");
    if (p.result == 0) {
        struct layer was = *l;

        *l = moved;
        moved = was;
    }
    if (p.result != 0 ? place != 0 : !c->lost) {
        piece_remove_map(c->n, &moved, copy); /* the new one, or the old one */
    }
    layer_fini(&moved);
    return r;
}

/* Nobody has its role until there is another member. */
static int leave_empty(struct care *c, const struct layer *l, unsigned at,
                       struct care_holders *h, struct err *e)
{
    struct layer moved = {.record = NULL};
    int r = care_moved(l, at, 0, &moved, e);

    r = r == 0 ? care_record(c, &moved, h, e) : r;
    layer_fini(&moved);
    return r;
}

int care_rebuild(struct care *c, const struct layer *l, unsigned at,
                 struct care_holders *h, struct err *e)
{
    struct pool_choice choice;
    struct err why = {0};
    int r = care_choose(c, l, &choice, &why);

    if (r == -ENOSPC && c->lost) {
        strv_addf(&c->notes,
                  "volume '%s' is degraded until there is another member ('strata pool "
                  "add', then 'strata pool scrub --repair %s')",
                  h->count > 0 ? h->list[0].v.name : l->id, care_pool(c));
        return leave_empty(c, l, at, h, e);
    }
    return r < 0 ? err_set(e, r, "%s", why.text)
                 : rebuild_on(c, l, at, choice.id[0], h, e);
}

int care_rebuild_map(struct care *c, struct layer *l, int copy, struct care_holders *h,
                     struct err *e)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < piece_maps(l); i++) {
        if (piece_map_at(l, i) < 0 && map_place(c, l) != 0) {
            r = rebuild_map(c, l, i, h, e);
        }
    }
    return r == 0 && copy >= 0 ? rebuild_map(c, l, (unsigned)copy, h, e) : r;
}

static int fill_map(struct care *c, const struct layer *l, struct care_holders *h,
                    struct err *e)
{
    struct layer now = {.record = NULL};
    int intent = -1;
    int r = piece_announce(c->n, l, &intent, e);

    r = r == 0 ? care_same(l, &now, e) : r;
    r = r == 0 ? care_rebuild_map(c, &now, -1, h, e) : r;
    layer_fini(&now);
    piece_settled(c->n, l->id, &intent);
    return r;
}

int care_fill(struct care *c, const struct layer *l, struct care_holders *h,
              struct err *e)
{
    int at = arrange_spare(l) > 0 ? care_piece_of(l, 0) : -1;
    struct pool_choice choice;

    if (piece_maps(l) > 1) {
        return fill_map(c, l, h, e);
    }
    return at < 0 || care_choose(c, l, &choice, NULL) < 0
               ? 0
               : rebuild_on(c, l, (unsigned)at, choice.id[0], h, e);
}
