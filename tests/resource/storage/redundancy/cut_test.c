/* cut_test.c - the power of all members goes at every single write of their lives: while some
 * are left out, come back, are made equal, fail and come back again.  Whatever the moment, all
 * of them together can be opened, have what was acknowledged, and become equal. */
#include <stdlib.h>

#include "resource/storage/redundancy/mirror.h"
#include "resource/storage/redundancy/raid.h"
#include "tests/resource/storage/redundancy/members.h"

#define MEMBER_BYTES (1u << 20)
#define DISK_BYTES   262144u
#define BLOCK_BYTES  4096u
#define STEPS_MOST   20000 /* of waiting */
#define CUTS_MOST    2000

/* What all members are fed by. */
struct power {
    uint64_t left; /* writes that still reach the disks */
    bool off;
};

struct gate {
    struct blk blk;
    struct blk_edge edge;
    struct power *power;
};

static int ask(struct blk *b, bool writes)
{
    struct power *p = ((struct gate *)b)->power;

    if (writes && !p->off && p->left-- == 0) {
        p->off = true;
    }
    return p->off ? -ENODEV : 0;
}

static int gate_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    int r = ask(b, false);

    return r == 0 ? blk_readv(((struct gate *)b)->edge.disk, to, off) : r;
}

static int gate_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    int r = ask(b, true);

    return r == 0 ? blk_writev(((struct gate *)b)->edge.disk, from, off, flags) : r;
}

static int gate_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    int r = ask(b, true);

    return r == 0 ? blk_zero(((struct gate *)b)->edge.disk, off, bytes, flags) : r;
}

static int gate_flush(struct blk *b)
{
    return ask(b, false);
}

static void gate_destroy(struct blk *b)
{
    blk_detach(&((struct gate *)b)->edge);
    free(b);
}

static const struct blk_ops gate_ops = {
    .name = "gate",
    .read = gate_read,
    .write = gate_write,
    .zero = gate_zero,
    .flush = gate_flush,
    .destroy = gate_destroy,
};

static struct blk *put_gate(struct blk *lower, struct power *p)
{
    struct gate *g = calloc(1, sizeof *g);

    must(g != NULL);
    blk_init_like(&g->blk, &gate_ops, lower);
    g->blk.does_fua = true;
    g->power = p;
    g->edge = (struct blk_edge){.user = "gate", .uses = BLK_USE_ALL};
    must_be_0(blk_attach(&g->edge, lower, NULL));
    return &g->blk;
}

/* ---- a life ---- */

struct life {
    struct members s;
    struct power power;
    unsigned level;
    unsigned lost;   /* bits of members that are away at first */
    unsigned failed; /* the member that fails later */
    uint8_t written; /* the last value that was begun */
    uint8_t kept;    /* the last one that was acknowledged */
};

static int open_some(struct life *l, unsigned which, bool degraded, struct err *e)
{
    struct raid_options o = {.level = l->level, .degraded = degraded};
    struct members *s = &l->s;
    int r;

    for (unsigned i = 0; i < s->count; i++) {
        bool there = (which >> i & 1) != 0;

        s->lower[i] = there ? put_gate(s->base[i], &l->power) : NULL;
    }
    r = raid_open(s->loop, s->lower, s->count, &o, &s->disk, e);
    if (r == 0) {
        members_hold(s);
    }
    return r;
}

/* The mirror or array that a member belongs to, and its role there. */
static struct blk *set_of(const struct life *l, unsigned *role)
{
    struct blk *disk = l->s.disk;

    if (l->level == 10) {
        disk = disk->edge[*role / 2].disk;
        *role %= 2;
    }
    return disk;
}

static bool is_equal(const struct life *l)
{
    bool equal = true;

    for (unsigned i = 0; i < l->s.count; i++) {
        unsigned role = i;
        struct blk *set = set_of(l, &role);

        if (l->level == 1 || l->level == 10) {
            struct mirror_status x;

            mirror_status(set, &x);
            equal = equal && x.state == MIRROR_OK;
        } else {
            struct raid_status x;

            raid_status(set, &x);
            equal = equal && !x.degraded && !x.rebuilding;
        }
    }
    return equal;
}

static void wait_until_equal(struct life *l)
{
    for (unsigned i = 0; i < STEPS_MOST && !is_equal(l) && !l->power.off; i++) {
        loop_sleep(l->s.loop, 20000);
    }
    must(is_equal(l) || l->power.off);
}

static void fail_and_return(struct life *l)
{
    unsigned role = l->failed;
    struct blk *set = set_of(l, &role);
    bool mirror = l->level == 1 || l->level == 10;
    int r = mirror ? mirror_fail(set, role, NULL) : raid_fail(set, role, NULL);

    if (r == 0) {
        (void)(mirror ? mirror_replace(set, role, NULL, NULL)
                      : raid_replace(set, role, NULL, NULL));
    }
}

static void write_next(struct life *l)
{
    char room[BLOCK_BYTES];

    memset(room, ++l->written, sizeof room);
    for (uint64_t off = 0; off < DISK_BYTES; off += DISK_BYTES / 4) {
        if (blk_write(l->s.disk, room, sizeof room, off, 0) != 0) {
            return;
        }
    }
    l->kept = blk_flush(l->s.disk) == 0 ? l->written : l->kept;
}

/* Each member is away, comes back, fails, comes back; until the power goes. */
static void live(struct life *l)
{
    unsigned all = (1u << l->s.count) - 1;

    if (open_some(l, all & ~l->lost, true, NULL) != 0) {
        return;
    }
    write_next(l);
    members_close(&l->s);
    if (l->power.off || open_some(l, all, false, NULL) != 0) {
        return;
    }
    write_next(l);
    wait_until_equal(l);
    fail_and_return(l);
    write_next(l);
    wait_until_equal(l);
    members_close(&l->s);
}

static void must_have_what_was_kept(struct life *l)
{
    char room[BLOCK_BYTES];

    for (uint64_t off = 0; off < DISK_BYTES; off += DISK_BYTES / 4) {
        must_be_0(blk_read(l->s.disk, room, sizeof room, off));
        must((uint8_t)room[0] >= l->kept && (uint8_t)room[0] <= l->written);
        must(memcmp(room, room + 1, sizeof room - 1) == 0);
    }
}

static void must_open(struct life *l, unsigned which, uint64_t cut)
{
    struct err e = {0};

    if (open_some(l, which, which != (1u << l->s.count) - 1, &e) != 0) {
        (void)fprintf(stderr, "level %u, members %x, cut at write %llu: %s\n", l->level,
                      which, (unsigned long long)cut, e.text);
        abort();
    }
}

/* With all, and afterwards without any one of them. */
static void look(struct life *l, uint64_t cut)
{
    unsigned all = (1u << l->s.count) - 1;

    l->power = (struct power){.left = UINT64_MAX};
    must_open(l, all, cut);
    must_have_what_was_kept(l);
    wait_until_equal(l);
    members_close(&l->s);
    for (unsigned i = 0; i < l->s.count; i++) {
        must_open(l, all & ~(1u << i), cut);
        must_have_what_was_kept(l);
        members_close(&l->s);
        must_open(l, all, cut);
        wait_until_equal(l);
        members_close(&l->s);
    }
}

/* Whether the power went. */
static bool live_until(struct life *l, uint64_t cut)
{
    struct raid_format f = {.level = l->level,
                            .size_bytes = DISK_BYTES,
                            .chunk_bytes = 4096,
                            .journal_bytes = 65536};
    unsigned count = l->s.count;
    bool went;

    l->s.count = 0;
    for (unsigned i = 0; i < count; i++) {
        members_add(&l->s, MEMBER_BYTES);
    }
    l->written = 0;
    l->kept = 0;
    l->power = (struct power){.left = UINT64_MAX};
    must_be_0(raid_format(l->s.loop, l->s.base, count, &f, NULL));
    must_be_0(open_some(l, (1u << count) - 1, false, NULL));
    wait_until_equal(l);
    members_close(&l->s);
    l->power.left = cut;
    live(l);
    went = l->power.off;
    look(l, cut);
    members_drop(&l->s);
    l->s.count = count;
    return went;
}

static int a_cut_at_any_write_loses_nobody(void *arg)
{
    struct life *l = arg;
    uint64_t cut = 0;

    while (live_until(l, cut)) {
        cut++;
        must(cut < CUTS_MOST);
    }
    must(cut > 20);
    (void)printf("ok   level %u of %u, a cut at each of %llu writes\n", l->level,
                 l->s.count, (unsigned long long)cut);
    return 0;
}

int main(void)
{
    static const struct {
        unsigned level, count, lost, failed;
    } rows[] = {
        {1, 2, 2, 0}, {1, 3, 6, 0}, {5, 3, 2, 0},
        {6, 4, 6, 3}, {6, 4, 9, 1}, {10, 4, 6, 0},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct life l = {.s = {.count = rows[i].count, .random = 7},
                         .level = rows[i].level,
                         .lost = rows[i].lost,
                         .failed = rows[i].failed};

        members_run(&l.s.loop, a_cut_at_any_write_loses_nobody, &l);
    }
    return 0;
}
