/* span.c - the segments of a layer that is spread over members leave one of them.
 *
 * If one of the two copies of the map is there, it is made anew on another member before them.
 * Members that have no piece of it yet get an empty one first, and the record names it before
 * a byte is there.  Once nothing lies on the member, the record names it no more: its number
 * among the pieces stays, with nobody. */
#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "node/volume/care/care.h"

#define PIECES_MOST 64 /* of a span, those that were left included */

struct leaving {
    struct care *c;
    struct layer *l; /* as it is now */
    unsigned at;
    struct care_holders *h;
    struct care_holder *mover; /* its worker does the work; NULL: nobody uses it */
};

/* Who reads it only writes below it now. */
static int add_reopen(const struct leaving *x, struct words *w, struct err *e)
{
    return x->mover == care_writer(x->h, x->l) ? 0 : piece_reopen(x->c->n, x->l, w, e);
}

static int add_live(struct leaving *x, unsigned at, struct err *e)
{
    struct words w = {.message = true};
    const struct worker_ask ask = {.words = &w};
    char name[POOL_NODE_BYTES];
    const struct pool_node as = {name, POOL_USE_WRITE, 0, 0, false};
    int r;

    (void)str_print(name, sizeof name, "%s.file.p%u", x->l->id, at);
    words_add(&w, "evacuate");
    words_add(&w, "layer=%s.file", x->l->id);
    words_add(&w, "at=%u", at);
    r = piece_words(x->c->n, x->l, at, &as, &w, e);
    r = r == 0 ? add_reopen(x, &w, e) : r;
    r = r == 0 ? volume_worker_ask(x->c->n, x->mover->control, &ask, e) : r;
    words_fini(&w);
    return r;
}

/* An empty one. */
static int make_piece(struct leaving *x, const struct layer *l, unsigned at,
                      struct err *e)
{
    const struct pool_node as = {"new", POOL_USE_NEW, 0, arrange_bytes(l), false};
    struct words w = {.n_fds = 0};
    int r = piece_words(x->c->n, l, at, &as, &w, e);

    r = r == 0 ? words_run(x->c->n, "info", &w, NULL, NULL, e) : r;
    words_fini(&w);
    (void)fault_step("care.made");
    return r;
}

/* One more member has a piece of it. */
static int add_piece(struct leaving *x, unsigned member, struct err *e)
{
    unsigned at = piece_count(x->l);
    struct layer more = {.record = NULL};
    bool made;
    int r = at >= PIECES_MOST
                ? err_set(e, -E2BIG, "it has been on %u members: copy it", at)
                : care_same(x->l, &more, e);

    if (r < 0) {
        return r;
    }
    (void)json_array_append_new(json_object_get(more.record, "pieces"),
                                json_integer(member));
    r = make_piece(x, &more, at, e);
    made = r == 0;
    r = made ? care_record(x->c, &more, x->h, e) : r;
    if (r == 0) {
        struct layer was = *x->l;

        *x->l = more;
        more = was;
        r = x->mover != NULL ? add_live(x, at, e) : 0;
    } else if (made) {
        (void)piece_remove_at(x->c->n, &more, at, 0);
    }
    layer_fini(&more);
    return r;
}

static int add_pieces(struct leaving *x, struct err *e)
{
    struct pool_choice choice;
    struct err none = {0};
    int r = care_choose(x->c, x->l, &choice, &none);

    if (r == -ENOSPC && piece_count(x->l) > 1) {
        return 0; /* there may be room on those that have a piece */
    }
    if (r < 0) {
        return err_set(e, r, "%s", none.text);
    }
    for (unsigned i = 0; r == 0 && i < choice.count; i++) {
        r = care_piece_of(x->l, choice.id[i]) < 0 ? add_piece(x, choice.id[i], e) : 0;
    }
    return r;
}

/* The only map goes beside the first piece that is there. */
static int move_map(struct leaving *x, struct layer *to, struct err *e)
{
    struct err why = {0};
    int r = err_set(&why, -ENOSPC, "there is no member for its map");

    for (unsigned i = 0; r < 0 && i < piece_count(to); i++) {
        if (piece_member(to, i) != 0) {
            (void)piece_set_map(to, 0, piece_member(to, i));
            err_clear(&why);
            r = care_copy(x->c->n, &(struct care_part){x->l, 0, true},
                          &(struct care_part){to, 0, true}, &why);
        }
    }
    (void)fault_step("care.mapped");
    return r == 0 ? 0 : err_set(e, r, "%s", why.text);
}

/* Whether the only map lies there; one of several copies goes before the segments do. */
static bool has_only_map(const struct leaving *x)
{
    return piece_maps(x->l) == 1 && piece_map_of(x->l, x->at) >= 0;
}

static int leave_copy(struct leaving *x, struct err *e)
{
    int copy = piece_maps(x->l) > 1 ? piece_map_of(x->l, x->at) : -1;

    return copy >= 0 ? care_rebuild_map(x->c, x->l, copy, x->h, e) : 0;
}

/* Nothing lies there any more. */
static int record_left(void *arg, struct err *e)
{
    struct leaving *x = arg;
    struct layer to = {.record = NULL};
    int r = care_moved(x->l, x->at, 0, &to, e);

    if (r == 0 && has_only_map(x)) {
        r = move_map(x, &to, e);
    }
    r = r == 0 ? care_record(x->c, &to, x->h, e) : r;
    if (r == 0) {
        (void)piece_remove_at(x->c->n, x->l, x->at, 0);
    }
    (void)fault_step("care.removed");
    layer_fini(&to);
    return r;
}

static int empty_live(struct leaving *x, struct err *e)
{
    struct words w = {.message = true};
    const struct worker_ask ask = {.words = &w, .ready = record_left, .arg = x};
    int r;

    words_add(&w, "evacuate");
    words_add(&w, "layer=%s.file", x->l->id);
    words_add(&w, "piece=%u", x->at);
    words_add(&w, "hold");
    r = add_reopen(x, &w, e);
    r = r == 0 ? volume_worker_ask(x->c->n, x->mover->control, &ask, e) : r;
    words_fini(&w);
    return r;
}

static int empty_alone(struct leaving *x, struct err *e)
{
    const struct arrange_name as = {.name = "disk", .writes = true};
    struct words w = {.n_fds = 0};
    int r = arrange_below(x->c->n, x->l, &as, &w, e);

    words_add(&w, "piece=%u", x->at);
    r = r == 0 ? words_run(x->c->n, "evacuate", &w, NULL, NULL, e) : r;
    words_fini(&w);
    (void)fault_step("care.evacuated");
    return r == 0 ? record_left(x, e) : r;
}

static int check_use(struct leaving *x, struct err *e)
{
    struct care_holder *live = care_live(x->h);

    x->mover = care_mover(x->h, x->l);
    if (x->c->lost && x->mover != care_writer(x->h, x->l)) {
        x->mover = NULL;
    }
    if (live == NULL || (x->mover == NULL && x->c->lost)) {
        return 0; /* who reads only never asks for what is not there */
    }
    if (x->mover == NULL) {
        return care_refuse_use(
            live, "what it stands on is spread over members, and others read it, too", e);
    }
    return has_only_map(x)
               ? care_refuse_use(live, "the map of where its parts lie is there", e)
               : 0;
}

/* One that is lost has no segment: it was looked at.  A worker is told all the same, so that it
 * puts nothing new there. */
static int leave(struct leaving *x, struct err *e)
{
    int r = x->c->lost ? 0 : add_pieces(x, e);

    r = r == 0 ? leave_copy(x, e) : r;
    if (r == 0) {
        r = x->mover != NULL ? empty_live(x, e)
            : x->c->lost     ? record_left(x, e)
                             : empty_alone(x, e);
    }
    return r;
}

int care_move_span(struct care *c, const struct layer *l, unsigned at,
                   struct care_holders *h, struct err *e)
{
    struct layer now = {.record = NULL};
    struct leaving x = {.c = c, .l = &now, .at = at, .h = h};
    int intent = -1;
    int r = care_same(l, &now, e);

    r = r == 0 ? check_use(&x, e) : r;
    r = r == 0 ? piece_announce(c->n, l, &intent, e) : r;
    if (r == 0) {
        r = leave(&x, e);
        piece_settled(c->n, l->id, &intent);
    }
    c->moved += r == 0 && !c->lost;
    layer_fini(&now);
    return r;
}
