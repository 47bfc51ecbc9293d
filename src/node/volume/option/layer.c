/* layer.c - layers whose bytes go through a filter of their own.
 *
 *     checksum    over what the pool's redundancy makes: it mends from other members
 *     dedup       equal blocks of one layer are kept once, each by its SHA-256
 *     tier        two pieces, one on a fast member; what is used most lies there
 *
 * Each layer has a filter for itself, so that one process has it open, and all of it goes
 * when the layer does.  A store of equal blocks for a whole pool was rejected: every volume in
 * use is a process of its own, and all of them would have to write to one store. */
#include "node/volume/option_layer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "node/volume/worker.h"

#define UNIT_BYTES 4096u
#define ROOM_BYTES ((uint64_t)8 << 20) /* for what a filter keeps of itself */
#define TIER_LEAST ((uint64_t)16 << 20)
#define LOOK_EVERY 1000 /* requests between two looks at what is hot */

const char *layer_filter(const struct layer *l)
{
    return volume_text(l->record, "filter");
}

bool layer_is_filtered(const struct layer *l)
{
    return layer_filter(l)[0] != '\0';
}

static bool is(const struct layer *l, const char *filter)
{
    return strcmp(layer_filter(l), filter) == 0;
}

/* ---- what is wanted ---- */

const char *option_layer_wanted(const json_t *volume)
{
    return json_is_true(json_object_get(volume, "checksum")) ? "checksum"
           : json_is_true(json_object_get(volume, "dedup"))  ? "dedup"
           : volume_number(volume, "tier") > 0               ? "tier"
                                                             : "";
}

int option_layer_check_order(const json_t *order, struct err *e)
{
    bool checksum = json_is_true(json_object_get(order, "checksum"));
    bool dedup = json_is_true(json_object_get(order, "dedup"));
    uint64_t tier = volume_number(order, "tier");
    uint64_t size = volume_number(order, "size");

    if (checksum + dedup + (tier > 0) == 0) {
        return 0;
    }
    if (checksum + dedup + (tier > 0) > 1) {
        return err_set(e, -EINVAL, "one of --checksum, --dedup and --tier at a time");
    }
    if (dedup && json_is_true(json_object_get(order, "encrypt"))) {
        return err_set(e, -EOPNOTSUPP,
                       "equal blocks of an encrypted disk differ where they lie: --dedup "
                       "would find none");
    }
    if (json_object_get(order, "device") != NULL) {
        return err_set(e, -EOPNOTSUPP,
                       "--checksum, --dedup and --tier are not for --device");
    }
    if (tier > 0 && tier < TIER_LEAST) {
        return err_set(e, -EINVAL, "--tier takes 16 MiB at least");
    }
    return size % UNIT_BYTES != 0
               ? err_set(e, -EINVAL,
                         "with --checksum, --dedup or --tier the size is a multiple of "
                         "%u",
                         UNIT_BYTES)
               : 0;
}

void option_layer_record(json_t *volume, const struct layer *top)
{
    if (is(top, "tier")) {
        (void)json_object_set(volume, "tier", json_object_get(top->record, "tier"));
    } else if (layer_is_filtered(top)) {
        (void)json_object_set_new(volume, layer_filter(top), json_true());
    }
}

/* The first of the choice that is on a member of this class, or on one of another. */
static unsigned pick(const struct layer_plan *p, const struct pool_choice *c, bool fast)
{
    for (unsigned i = 0; i < c->count; i++) {
        const json_t *member = pool_member(p->pool, c->id[i]);

        if ((strcmp(volume_text(member, "class"), "fast") == 0) == fast) {
            return c->id[i];
        }
    }
    return 0;
}

int option_layer_choose(struct node *n, const struct layer_plan *p,
                        struct pool_choice *ret, struct err *e)
{
    const char *pool = volume_text(p->pool, "name");
    struct pool_choice fast = {.count = 0};
    struct pool_choice slow = {.count = 0};
    int r;

    if (volume_text(p->pool, "redundancy")[0] != '\0') {
        return err_set(e, -EOPNOTSUPP,
                       "pool '%s' lays each disk over all its members: tiers are for "
                       "pools without redundancy",
                       pool);
    }
    r = pool_choose(n, p->pool, "fast", &fast, e);
    r = r == 0 ? pool_choose(n, p->pool, POOL_CLASS_USUAL, &slow, e) : r;
    if (r < 0) {
        return r;
    }
    ret->id[0] = pick(p, &slow, false);
    ret->id[1] = pick(p, &fast, true);
    ret->count = 2;
    return ret->id[0] != 0 && ret->id[1] != 0
               ? 0
               : err_set(e, -ENOSPC,
                         "pool '%s' has no room on a member of class fast and one of "
                         "another ('strata pool add --member DIRECTORY,class=fast')",
                         pool);
}

/* ---- sizes ---- */

static bool is_image(const struct layer *l)
{
    return strcmp(volume_text(l->record, "format"), "qcow2") == 0;
}

/* Of the disk that the filter shows. */
static uint64_t disk_bytes(const struct layer *l)
{
    uint64_t size = volume_number(l->record, "size_bytes");

    return is_image(l) ? arrange_room(size)
                       : (size + UNIT_BYTES - 1) & ~(uint64_t)(UNIT_BYTES - 1);
}

/* Files are sparse: where a size cannot follow the disk's there is room for twice as much. */
uint64_t option_layer_bytes(const struct layer *l, uint64_t bytes)
{
    uint64_t more = is(l, "checksum") ? bytes / 64
                    : is(l, "dedup")  ? bytes + bytes / 8
                                      : 0;

    return layer_is_filtered(l)
               ? (bytes + more + ROOM_BYTES) & ~(uint64_t)(UNIT_BYTES - 1)
               : bytes;
}

/* ---- words ---- */

static enum pool_use use_of(const struct arrange_name *as)
{
    return as->writes ? POOL_USE_WRITE : POOL_USE_READ;
}

/* The two parts of tiers. */
static int add_tiers(struct node *n, const struct layer *l, const struct arrange_name *as,
                     struct words *w, struct err *e)
{
    static const char *const names[] = {"slow", "fast"};

    for (unsigned i = 0; i < 2; i++) {
        char name[POOL_NODE_BYTES];
        const struct pool_node piece = {name, use_of(as), 0, 0, as->unlocked};

        (void)str_print(name, sizeof name, "%s.%s", as->name, names[i]);
        if (piece_words_there(n, l, i, &piece, w) < 0) {
            return err_set(e, -ENODEV, "the member with its %s tier is lost", names[i]);
        }
    }
    return 0;
}

int option_layer_words(struct node *n, const struct layer *l,
                       const struct arrange_name *as, struct words *w, struct err *e)
{
    char below[160];
    const struct arrange_name under = {
        .name = below, .writes = as->writes, .unlocked = as->unlocked};
    int r;

    if (is(l, "tier")) {
        r = add_tiers(n, l, as, w, e);
        words_add(w, "node=%s,tier,slow=%s.slow,fast=%s.fast,look-every=%d", as->name,
                  as->name, as->name, LOOK_EVERY);
        return r;
    }
    (void)str_print(below, sizeof below, "%s.below", as->name);
    r = arrange_below(n, l, &under, w, e);
    if (is(l, "checksum")) {
        words_add(w, "node=%s,checksum,file=%s", as->name, below);
    } else if (is(l, "dedup")) {
        words_add(w, "node=%s,dedup,file=%s,volume=disk", as->name, below);
    } else {
        r = r < 0 ? r
                  : err_set(e, -EOPNOTSUPP, "its filter '%s' is not known here",
                            layer_filter(l));
    }
    return r;
}

/* ---- making ---- */

static int make_tiers(struct node *n, const struct layer *l, struct err *e)
{
    uint64_t size = disk_bytes(l);
    const struct pool_node slow = {"slow", POOL_USE_NEW, 2 * size + ROOM_BYTES};
    const struct pool_node fast = {"fast", POOL_USE_NEW,
                                   volume_number(l->record, "tier")};
    struct words w = {.n_fds = 0};
    int r = piece_words(n, l, 0, &slow, &w, e);

    (void)fault_step("layer.piece");
    r = r == 0 ? piece_words(n, l, 1, &fast, &w, e) : r;
    words_add(&w, "node=disk,tier,slow=slow,fast=fast,fresh,size=%llu",
              (unsigned long long)size);
    r = r == 0 ? words_run(n, "settle", &w, NULL, NULL, e) : r;
    words_fini(&w);
    return r;
}

/* `bytes`: of a piece that is not there yet; 0: it is.  `what`: more words. */
static int arrange(struct node *n, const struct layer *l, uint64_t bytes, uint64_t size,
                   const char *what, struct err *e)
{
    const struct arrange_name as = {.name = "below", .writes = true};
    const struct pool_node new = {"below", POOL_USE_NEW, bytes};
    struct words w = {.n_fds = 0};
    int r =
        bytes > 0 ? piece_words(n, l, 0, &new, &w, e) : arrange_below(n, l, &as, &w, e);

    words_add(&w, "format=%s", layer_filter(l));
    words_add(&w, "size=%llu", (unsigned long long)size);
    if (what != NULL) {
        words_add(&w, "%s", what);
    }
    r = r == 0 ? words_run(n, "arrange", &w, NULL, NULL, e) : r;
    words_fini(&w);
    return r;
}

static int make_below(struct node *n, const struct layer *l, const struct layer_plan *p,
                      struct err *e)
{
    bool plain = strcmp(volume_text(l->record, "arrangement"), "plain") == 0;
    uint64_t size = disk_bytes(l);
    uint64_t bytes = plain ? option_layer_bytes(l, size) : 0;
    int r = plain ? 0 : arrange_make(n, l, p, e);

    if (r == 0 && is(l, "dedup")) { /* the map has room to grow */
        r = arrange(n, l, bytes, 2 * size, NULL, e);
        r = r == 0 ? arrange(n, l, 0, size, "volume=disk", e) : r;
    } else if (r == 0) {
        r = arrange(n, l, bytes, size, NULL, e);
    }
    return r;
}

static int make_image(struct node *n, const struct layer *l, const struct layer_plan *p,
                      struct err *e)
{
    const struct arrange_name as = {.name = "disk", .writes = true};
    struct words w = {.n_fds = 0};
    int r = option_layer_words(n, l, &as, &w, e);

    r = r == 0 ? arrange_add_image(n, l, p, &w, e) : r;
    r = r == 0 ? words_run(n, "create", &w, NULL, NULL, e) : r;
    words_fini(&w);
    return r;
}

int option_layer_make(struct node *n, const struct layer *l, const struct layer_plan *p,
                      struct err *e)
{
    int r = is(l, "tier") ? make_tiers(n, l, e) : make_below(n, l, p, e);

    (void)fault_step("layer.wrapped");
    r = r == 0 && is_image(l) ? make_image(n, l, p, e) : r;
    return r == 0 ? piece_sync(n, l, e) : r;
}

/* ---- looking ---- */

static void take_count(void *arg, const char *line)
{
    static const struct {
        const char *line;
        const char *member;
    } counts[] = {{"wrong", "wrong_blocks"}, {"mended", "mended_blocks"}};

    char key[32];
    long long number;

    if (sscanf(line, "%31[a-z]=%lld", key, &number) != 2) {
        return;
    }
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        if (strcmp(counts[i].line, key) == 0) {
            (void)json_object_set_new(arg, counts[i].member, json_integer(number));
        }
    }
}

int option_layer_check(struct node *n, const struct layer *l, bool mend, json_t *row,
                       struct err *e)
{
    const struct arrange_name as = {.name = "disk", .writes = mend};
    struct words w = {.n_fds = 0};
    int r;

    if (!is(l, "checksum") && !is(l, "dedup")) {
        return 0;
    }
    r = option_layer_words(n, l, &as, &w, e);
    r = r == 0 ? words_run(n, is(l, "dedup") ? "check" : "scrub", &w, take_count, row, e)
               : r;
    words_fini(&w);
    return r;
}

/* ---- room that nobody needs ---- */

static void take_bytes(void *arg, const char *line)
{
    unsigned long long bytes;

    if (sscanf(line, "reclaimed=%llu", &bytes) == 1) {
        *(uint64_t *)arg = bytes;
    }
}

static int reclaim_live(struct node *n, const struct layer *l, int control,
                        uint64_t *ret_bytes, struct err *e)
{
    struct words w = {.message = true};
    const struct worker_ask ask = {.words = &w, .line = take_bytes, .arg = ret_bytes};
    int r;

    words_add(&w, "reclaim");
    words_add(&w, "layer=%s.file", l->id);
    r = volume_worker_ask(n, control, &ask, e);
    words_fini(&w);
    return r;
}

int option_layer_reclaim(struct node *n, const struct layer *l, int control,
                         uint64_t *ret_bytes, struct err *e)
{
    const struct arrange_name as = {.name = "disk", .writes = true};
    struct words w = {.n_fds = 0};
    int r;

    *ret_bytes = 0;
    if (!is(l, "dedup")) {
        return 0;
    }
    if (control >= 0) {
        return reclaim_live(n, l, control, ret_bytes, e);
    }
    r = option_layer_words(n, l, &as, &w, e);
    r = r == 0 ? words_run(n, "reclaim", &w, take_bytes, ret_bytes, e) : r;
    words_fini(&w);
    return r;
}
