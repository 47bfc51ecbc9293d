/* arrange.c - layers that lie on several members of their pool at once.
 *
 * Each member has a file of the layer's name; the program `volume` puts superblocks on
 * them and says which of them are current.  A member that is lost is left out, and made equal
 * when the layer is opened for writing after it came back. */
#include "node/volume/arrange.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "node/volume/option_layer.h"

#define UNIT_BYTES    4096u /* of sizes of such disks */
#define JOURNAL_BYTES ((uint64_t)4 << 20)
#define ROOM_BYTES    ((uint64_t)8 << 20)  /* on each member, for superblocks and marks */
#define IMAGE_BYTES   ((uint64_t)32 << 20) /* and a part of 32: what an image adds */
#define CLUSTER_BYTES 131072               /* as those made in this process */
#define SEGMENT_BYTES (4u << 20)           /* of a span */
#define MAP_BYTES     ((uint64_t)4 << 20)  /* of its map, at least: for 4 TiB */

struct kind {
    const char *name;
    const char *type;  /* of the node */
    const char *level; /* "": none */
    unsigned least;    /* members */
    unsigned most;
    unsigned step;   /* their number is a multiple of this */
    unsigned parity; /* members whose room is not for data */
    unsigned copies; /* of all data */
    bool grows;      /* its files grow, and a map says what lies where */
};

static const struct kind kinds[] = {
    {"mirror", "mirror", "", 2, 8, 1, 0, 0, false},
    {"raid0", "raid", "0", 2, 16, 1, 0, 1, false},
    {"raid5", "raid", "5", 3, 16, 1, 1, 1, false},
    {"raid6", "raid", "6", 4, 16, 1, 2, 1, false},
    {"raid10", "raid", "10", 4, 16, 2, 0, 2, false},
    {"span", "span", "", 1, POOL_MEMBERS_MOST, 1, 0, 1, true},
};

static const struct kind *kind_named(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i].name, name) == 0) {
            return &kinds[i];
        }
    }
    return NULL;
}

static const struct kind *kind_of(const struct layer *l)
{
    return kind_named(volume_text(l->record, "arrangement"));
}

/* The others follow the first. */
static bool is_asynchronous(const struct layer *l)
{
    return json_is_true(json_object_get(l->record, "asynchronous"));
}

/* ---- words ---- */

static enum pool_use use_of(const struct arrange_name *as)
{
    return as->writes ? POOL_USE_WRITE : POOL_USE_READ;
}

/* `piece=...` for each in their order; how many are there. */
static unsigned add_pieces(struct node *n, const struct layer *l,
                           const struct arrange_name *as, struct words *w,
                           struct str *ret)
{
    unsigned there = 0;

    for (unsigned i = 0; i < piece_count(l); i++) {
        char name[POOL_NODE_BYTES];
        const struct pool_node piece = {name, use_of(as), 0, 0, as->unlocked};

        (void)str_print(name, sizeof name, "%s.p%u", as->name, i);
        if (piece_words_there(n, l, i, &piece, w) < 0) {
            str_add(ret, ",piece=-");
            continue;
        }
        str_addf(ret, ",piece=%s", name);
        there++;
    }
    return there;
}

int arrange_map_words(struct node *n, const struct layer *l,
                      const struct arrange_name *as, struct words *w, struct err *e)
{
    SCOPED(scope_free) char *pieces = NULL;
    struct str list = {0};
    char name[POOL_NODE_BYTES];
    const struct pool_node copy = {name, use_of(as), 0, 0, as->unlocked};
    unsigned there = 0;

    if (piece_maps(l) == 1) {
        (void)str_print(name, sizeof name, "%s.map", as->name);
        return piece_words_map(n, l, 0, &copy, w, e);
    }
    for (unsigned i = 0; i < piece_maps(l); i++) {
        struct err why = {0};

        (void)str_print(name, sizeof name, "%s.map%u", as->name, i);
        if (piece_words_map(n, l, i, &copy, w, &why) == 0) {
            str_addf(&list, ",piece=%s", name);
            there++;
        } else {
            str_add(&list, ",piece=-");
        }
    }
    pieces = str_take(&list);
    if (pieces == NULL || there == 0) {
        return err_set(e, there == 0 ? -ENODEV : -ENOMEM,
                       there == 0 ? "the members with its map are lost" : "no memory");
    }
    words_add(w, "node=%s.map,mirror%s%s%s", as->name, pieces,
              there < piece_maps(l) ? ",degraded" : "", as->writes ? "" : ",read-only");
    return 0;
}

int arrange_words(struct node *n, const struct layer *l, const struct arrange_name *as,
                  struct words *w, struct err *e)
{
    return layer_is_filtered(l) ? option_layer_words(n, l, as, w, e)
                                : arrange_below(n, l, as, w, e);
}

int arrange_below(struct node *n, const struct layer *l, const struct arrange_name *as,
                  struct words *w, struct err *e)
{
    const struct kind *k = kind_of(l);
    SCOPED(scope_free) char *pieces = NULL;
    struct str list = {0};
    unsigned there;

    if (layer_is_one_file(l) ||
        strcmp(volume_text(l->record, "arrangement"), "plain") == 0) {
        return piece_words(
            n, l, 0, &(struct pool_node){as->name, use_of(as), 0, 0, as->unlocked}, w, e);
    }
    if (k == NULL) {
        return err_set(e, -EOPNOTSUPP, "its arrangement is not known here");
    }
    if (k->grows) {
        int r = arrange_map_words(n, l, as, w, e);

        if (r < 0) {
            return r;
        }
        str_addf(&list, ",map=%s.map", as->name);
    }
    there = add_pieces(n, l, as, w, &list);
    pieces = str_take(&list);
    if (pieces == NULL || there == 0) {
        return err_set(e, there == 0 ? -ENODEV : -ENOMEM,
                       there == 0 ? "all members that have it are lost" : "no memory");
    }
    words_add(w, "node=%s,%s%s%s%s%s%s%s", as->name, k->type,
              k->level[0] != '\0' ? ",level=" : "", k->level, pieces,
              there < piece_count(l) && !k->grows ? ",degraded" : "",
              as->promote && is_asynchronous(l) ? ",promote" : "",
              as->writes ? "" : ",read-only");
    return 0;
}

/* ---- making ---- */

/* Which two are copies of each other is said by the pool, not by what room they had at the
 * moment: an operator who loses a member has to know which other one is needed now. */
static void put_in_order(struct pool_choice *c)
{
    for (unsigned i = 1; i < c->count; i++) {
        unsigned id = c->id[i];
        unsigned at = i;

        for (; at > 0 && c->id[at - 1] > id; at--) {
            c->id[at] = c->id[at - 1];
        }
        c->id[at] = id;
    }
}

int arrange_choose(const json_t *pool, struct pool_choice *choice, const char **ret,
                   struct err *e)
{
    const char *name = volume_text(pool, "redundancy");
    const struct kind *k = kind_named(name);

    *ret = "plain";
    if (name[0] == '\0') {
        choice->count = 1;
        return 0;
    }
    if (k == NULL) {
        return err_set(e, -EOPNOTSUPP, "the redundancy '%s' is not known here", name);
    }
    choice->count = choice->count > k->most ? k->most : choice->count;
    choice->count -= choice->count % k->step;
    if (choice->count < k->least) {
        return err_set(e, -ENOSPC,
                       "pool '%s' has fewer than %u members that can take it (see "
                       "'strata pool inspect %s')",
                       volume_text(pool, "name"), k->least, volume_text(pool, "name"));
    }
    if (!k->grows) { /* a span begins where most room is */
        put_in_order(choice);
    }
    *ret = k->name;
    return 0;
}

const char *arrange_format(const char *arrangement, const char *format,
                           uint64_t size_bytes)
{
    return strcmp(arrangement, "plain") == 0 || size_bytes % UNIT_BYTES == 0 ? format
                                                                             : "qcow2";
}

static bool is_image(const struct layer *l)
{
    return strcmp(volume_text(l->record, "format"), "qcow2") == 0;
}

static uint64_t whole_units(uint64_t bytes)
{
    return (bytes + UNIT_BYTES - 1) & ~(uint64_t)(UNIT_BYTES - 1);
}

uint64_t arrange_room(uint64_t size_bytes)
{
    return whole_units(size_bytes + size_bytes / 32 + IMAGE_BYTES);
}

uint64_t arrange_bytes(const struct layer *l)
{
    uint64_t size = volume_number(l->record, "size_bytes");

    return option_layer_bytes(l, is_image(l) ? arrange_room(size) : whole_units(size));
}

/* Of each of its files, in which nothing is yet. */
static uint64_t piece_bytes(const struct layer *l, const struct kind *k)
{
    uint64_t size = arrange_bytes(l);
    unsigned parts = k->copies == 0 ? 1 : (piece_count(l) - k->parity) / k->copies;
    uint64_t each = size / parts + size / 1024 + ROOM_BYTES;

    if (k->grows) {
        return 0;
    }
    return (k->parity > 0 ? each + JOURNAL_BYTES : each) & ~(uint64_t)(UNIT_BYTES - 1);
}

/* Of the map of a span, and some more to grow: an entry has 4 bytes. */
static uint64_t map_bytes(const struct layer *l)
{
    uint64_t bytes = whole_units(arrange_bytes(l) / SEGMENT_BYTES * 16);

    return bytes > MAP_BYTES ? bytes : MAP_BYTES;
}

/* The copies of a map, in which nothing is: a mirror knows which of them is the newest. */
static int make_maps(struct node *n, const struct layer *l, struct err *e)
{
    struct words w = {.n_fds = 0};
    int r = 0;

    words_add(&w, "format=mirror");
    words_add(&w, "size=%llu", (unsigned long long)map_bytes(l));
    words_add(&w, "same");
    for (unsigned i = 0; r == 0 && i < piece_maps(l); i++) {
        char name[16];
        const struct pool_node as = {name, POOL_USE_NEW, map_bytes(l) + ROOM_BYTES};

        (void)str_print(name, sizeof name, "m%u", i);
        r = piece_words_map(n, l, i, &as, &w, e);
        words_add(&w, "piece=%s", name);
    }
    r = r == 0 ? words_run(n, "arrange", &w, NULL, NULL, e) : r;
    (void)fault_step("layer.maps");
    words_fini(&w);
    return r;
}

static int add_new_map(struct node *n, const struct layer *l, struct words *w,
                       struct err *e)
{
    const struct pool_node one = {
        .name = "map", .use = POOL_USE_NEW, .most = arrange_bytes(l) / 1024 + ROOM_BYTES};
    const struct arrange_name several = {.name = "new", .writes = true};
    int r;

    if (piece_maps(l) == 1) {
        return piece_words_map(n, l, 0, &one, w, e);
    }
    r = make_maps(n, l, e);
    return r == 0 ? arrange_map_words(n, l, &several, w, e) : r;
}

/* Words for new pieces: a map, "p0", "p1"... */
static int add_new(struct node *n, const struct layer *l, uint64_t bytes, struct words *w,
                   struct err *e)
{
    int r = kind_of(l)->grows ? add_new_map(n, l, w, e) : 0;

    for (unsigned i = 0; r == 0 && i < piece_count(l); i++) {
        char name[16];
        const struct pool_node as = {name, POOL_USE_NEW, bytes, arrange_bytes(l)};

        (void)str_print(name, sizeof name, "p%u", i);
        r = piece_words(n, l, i, &as, w, e);
        (void)fault_step("layer.piece");
    }
    return r;
}

static int arrange(struct node *n, const struct layer *l, const struct kind *k,
                   struct err *e)
{
    struct words w = {.n_fds = 0};
    int r = add_new(n, l, piece_bytes(l, k), &w, e);

    words_add(&w, "format=%s", k->type);
    for (unsigned i = 0; !k->grows && i < piece_count(l); i++) {
        words_add(&w, "piece=p%u", i);
    }
    words_add(&w, "size=%llu", (unsigned long long)arrange_bytes(l));
    if (k->grows) {
        words_add(&w, piece_maps(l) == 1 ? "top=map" : "top=new.map");
        words_add(&w, "pieces=%u", piece_count(l));
        words_add(&w, "segment=%u", SEGMENT_BYTES);
    } else if (k->level[0] == '\0') {
        words_add(&w, "same");
        if (is_asynchronous(l)) {
            words_add(&w, "async");
        }
    } else {
        words_add(&w, "level=%s", k->level);
        words_add(&w, "journal=%llu", (unsigned long long)JOURNAL_BYTES);
    }
    r = r == 0 ? words_run(n, "arrange", &w, NULL, NULL, e) : r;
    words_fini(&w);
    return r;
}

int arrange_add_image(struct node *n, const struct layer *l, const struct layer_plan *p,
                      struct words *w, struct err *e)
{
    char backing[PATH_MAX];
    int r = words_new_key(n, p, w, e);

    words_add(w, "top=disk");
    words_add(w, "format=qcow2");
    words_add(w, "size=%llu", (unsigned long long)volume_number(l->record, "size_bytes"));
    words_add(w, "cluster=%d", CLUSTER_BYTES);
    words_add(w, "extended-l2");
    if (r == 0 && p->parent != NULL) {
        r = piece_name(l, p->parent, backing);
        words_add(w, "backing-name=%s", backing);
        words_add(w, "backing-format=%s", volume_text(p->parent->record, "format"));
    }
    return r;
}

static int make_image(struct node *n, const struct layer *l, const struct layer_plan *p,
                      struct err *e)
{
    const struct arrange_name as = {.name = "disk", .writes = true};
    struct words w = {.n_fds = 0};
    int r = arrange_words(n, l, &as, &w, e);

    r = r == 0 ? arrange_add_image(n, l, p, &w, e) : r;
    r = r == 0 ? words_run(n, "create", &w, NULL, NULL, e) : r;
    words_fini(&w);
    return r;
}

int arrange_make(struct node *n, const struct layer *l, const struct layer_plan *p,
                 struct err *e)
{
    int r = arrange(n, l, kind_of(l), e);

    (void)fault_step("layer.arranged");
    r = r == 0 && is_image(l) && !layer_is_filtered(l) ? make_image(n, l, p, e) : r;
    return r == 0 ? piece_sync(n, l, e) : r;
}

/* ---- looking ---- */

int arrange_ask(struct node *n, const struct layer *l, const struct arrange_name *as,
                words_line_fn *line, void *arg, struct err *e)
{
    struct words w = {.n_fds = 0};
    int r = arrange_words(n, l, as, &w, e);

    r = r == 0 ? words_run(n, "info", &w, line, arg, e) : r;
    words_fini(&w);
    return r;
}

/* Open it as it is; `writes`: and finish what is half done. */
static int ask(struct node *n, const struct layer *l, bool writes, words_line_fn *line,
               void *arg, struct err *e)
{
    const struct arrange_name as = {.name = "disk", .writes = writes};

    return arrange_ask(n, l, &as, line, arg, e);
}

unsigned arrange_spare(const struct layer *l)
{
    const struct kind *k = kind_of(l);

    if (layer_is_one_file(l) || k == NULL || k->grows) {
        return 0;
    }
    return k->parity > 0    ? k->parity
           : k->copies == 0 ? piece_count(l) - 1
                            : k->copies - 1;
}

bool arrange_has_journal(const struct layer *l)
{
    const struct kind *k = kind_of(l);

    return k != NULL && k->parity > 0;
}

int arrange_settle(struct node *n, const struct layer *l, struct err *e)
{
    return arrange_has_journal(l) ? ask(n, l, true, NULL, NULL, e) : 0;
}

int arrange_mend(struct node *n, const struct layer *l, struct err *e)
{
    const struct arrange_name as = {.name = "disk", .writes = true};
    const struct kind *k = kind_of(l);
    struct words w = {.n_fds = 0};
    int r;

    if (k == NULL || (k->parity == 0 && k->copies == 1)) {
        return 0; /* there is nothing to compare */
    }
    r = arrange_below(n, l, &as, &w, e);
    words_add(&w, "equal");
    words_add(&w, "mend");
    r = r == 0 ? words_run(n, "scrub", &w, NULL, NULL, e) : r;
    words_fini(&w);
    return r;
}

struct looked {
    json_t *rows;
    bool all_well;
};

/* `member=ROLE BEHIND ERRORS STATE`: roles are in the order of the pieces. */
static void take_member(void *arg, const char *line)
{
    struct looked *s = arg;
    unsigned role;
    unsigned long long behind;
    unsigned long long errors;
    char state[32];
    json_t *row;

    if (sscanf(line, "member=%u %llu %llu %31[a-z ]", &role, &behind, &errors, state) !=
        4) {
        return;
    }
    row = json_array_get(s->rows, role);
    if (row != NULL && strcmp(volume_text(row, "state"), "ok") == 0 &&
        strcmp(state, "in sync") != 0 && strcmp(state, "follows") != 0) {
        (void)json_object_set_new(row, "state", json_string("returned"));
        s->all_well = false;
    }
}

json_t *arrange_look(struct node *n, const struct layer *l, bool *ret_all_well)
{
    struct looked s = {.rows = json_array(), .all_well = true};
    const json_t *pieces = json_object_get(l->record, "pieces");

    for (unsigned i = 0; i < piece_count(l); i++) {
        bool there = piece_is_there(n, l, i);

        (void)json_array_append_new(s.rows, json_pack("{s:O, s:s}", "member",
                                                      json_array_get(pieces, i), "state",
                                                      there ? "ok" : "lost"));
        s.all_well = s.all_well && there;
    }
    if (kind_of(l) != NULL) {
        (void)ask(n, l, false, take_member, &s, NULL); /* one in use says nothing */
    }
    *ret_all_well = s.all_well;
    return s.rows;
}
