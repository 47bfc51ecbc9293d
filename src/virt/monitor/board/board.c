/* board.c - claims of addresses, and interrupt lines. */
#include "virt/monitor/board/board.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "virt/monitor/board/private.h"

int board_create(struct loop *l, struct board **ret, struct err *e)
{
    struct board *b = fault_calloc(1, sizeof *b);
    pthread_mutexattr_t a;

    if (b == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    (void)pthread_mutexattr_init(&a);
    (void)pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
    (void)pthread_mutex_init(&b->lock, &a);
    (void)pthread_mutexattr_destroy(&a);
    (void)pthread_rwlock_init(&b->map, NULL);
    b->loop = l;
    b->tally[b->tallies++].name = "nobody";
    clock_init(b);
    *ret = b;
    return 0;
}

void board_destroy(struct board *b)
{
    if (b == NULL) {
        return;
    }
    clock_fini(b);
    (void)pthread_rwlock_destroy(&b->map);
    (void)pthread_mutex_destroy(&b->lock);
    free(b);
}

struct loop *board_loop(const struct board *b)
{
    return b->loop;
}

void board_lock(struct board *b)
{
    (void)pthread_mutex_lock(&b->lock);
}

void board_unlock(struct board *b)
{
    (void)pthread_mutex_unlock(&b->lock);
}

/* ---- claims ---- */

/* The first claim that ends behind `at`. */
static unsigned first_behind(const struct space *s, uint64_t at)
{
    unsigned low = 0;
    unsigned high = s->count;

    while (low < high) {
        unsigned mid = (low + high) / 2;

        if (s->claim[mid].base + (s->claim[mid].bytes - 1) < at) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

/* Where accesses to claims of that name are counted; a name too many shares the last. */
static uint8_t tally_of(struct board *b, const char *name)
{
    unsigned n = 1;

    name = name != NULL ? name : "other";
    while (n < b->tallies && strcmp(b->tally[n].name, name) != 0) {
        n++;
    }
    if (n == TALLIES_MOST) {
        return TALLIES_MOST - 1;
    }
    if (n == b->tallies) {
        b->tally[b->tallies++].name = name;
    }
    return (uint8_t)n;
}

bool board_tally(struct board *b, unsigned n, struct board_tally *ret)
{
    struct tally *t = &b->tally[n < TALLIES_MOST ? n : 0];
    bool is_there;

    (void)pthread_rwlock_rdlock(&b->map);
    is_there = n < b->tallies;
    if (is_there) {
        ret->name = t->name;
        ret->reads = atomic_load_explicit(&t->reads, memory_order_relaxed);
        ret->writes = atomic_load_explicit(&t->writes, memory_order_relaxed);
    }
    (void)pthread_rwlock_unlock(&b->map);
    return is_there;
}

static int claim_locked(struct board *b, struct space *s, const struct board_claim *c,
                        struct err *e)
{
    unsigned at = first_behind(s, c->base);

    if (c->bytes == 0 || c->base + (c->bytes - 1) < c->base) {
        return err_set(e, -EINVAL, "a range of addresses is empty or wraps");
    }
    if (at < s->count && s->claim[at].base <= c->base + (c->bytes - 1)) {
        return err_set(e, -EBUSY, "addresses from 0x%" PRIx64 " are taken", c->base);
    }
    if (s->count == CLAIMS_MOST) {
        return err_set(e, -ENOSPC, "too many ranges of addresses");
    }
    memmove(&s->claim[at + 1], &s->claim[at], (s->count - at) * sizeof s->claim[0]);
    memmove(&s->tally[at + 1], &s->tally[at], (s->count - at) * sizeof s->tally[0]);
    s->claim[at] = *c;
    s->tally[at] = tally_of(b, c->io->name);
    s->count++;
    return 0;
}

int board_claim(struct board *b, enum board_space space, const struct board_claim *c,
                struct err *e)
{
    int r;

    (void)pthread_rwlock_wrlock(&b->map);
    r = claim_locked(b, &b->space[space], c, e);
    (void)pthread_rwlock_unlock(&b->map);
    return r;
}

void board_release(struct board *b, enum board_space space, uint64_t base)
{
    struct space *s = &b->space[space];
    unsigned at;

    (void)pthread_rwlock_wrlock(&b->map);
    at = first_behind(s, base);
    if (at < s->count && s->claim[at].base == base) {
        s->count--;
        memmove(&s->claim[at], &s->claim[at + 1], (s->count - at) * sizeof s->claim[0]);
        memmove(&s->tally[at], &s->tally[at + 1], (s->count - at) * sizeof s->tally[0]);
    }
    (void)pthread_rwlock_unlock(&b->map);
}

void board_judge(struct board *b, bool is_granted)
{
    atomic_fetch_add_explicit(&b->judged[is_granted], 1, memory_order_relaxed);
}

void board_count(const struct board *b, uint64_t *ret_granted, uint64_t *ret_refused)
{
    *ret_refused = atomic_load_explicit(&b->judged[false], memory_order_relaxed);
    *ret_granted = atomic_load_explicit(&b->judged[true], memory_order_relaxed);
}

/* `ret_tally`: where an access there is counted. */
static bool find(struct board *b, enum board_space space, uint64_t at,
                 struct board_claim *ret, struct tally **ret_tally)
{
    const struct space *s = &b->space[space];
    unsigned n;
    bool found;

    (void)pthread_rwlock_rdlock(&b->map);
    n = first_behind(s, at);
    found = n < s->count && s->claim[n].base <= at;
    *ret_tally = &b->tally[found ? s->tally[n] : 0];
    if (found) {
        *ret = s->claim[n];
    }
    (void)pthread_rwlock_unlock(&b->map);
    return found;
}

static uint64_t ones(unsigned bytes)
{
    return bytes == 8 ? UINT64_MAX : (UINT64_C(1) << (bytes * 8)) - 1;
}

uint64_t board_read(struct board *b, enum board_space s, uint64_t at, unsigned bytes)
{
    struct board_claim c;
    struct tally *t;
    uint64_t value = 0;
    bool found = find(b, s, at, &c, &t);

    if (found && at - c.base + bytes > c.bytes) {
        for (unsigned i = 0; i < bytes; i++) {
            value |= board_read(b, s, at + i, 1) << (i * 8);
        }
        return value;
    }
    atomic_fetch_add_explicit(&t->reads, 1, memory_order_relaxed);
    if (!found) {
        return ones(bytes);
    }
    if (c.io->is_free) {
        return c.io->read(c.who, at - c.base, bytes) & ones(bytes);
    }
    board_lock(b);
    value = c.io->read(c.who, at - c.base, bytes) & ones(bytes);
    board_unlock(b);
    return value;
}

void board_write(struct board *b, enum board_space s, uint64_t at, unsigned bytes,
                 uint64_t value)
{
    struct board_claim c;
    struct tally *t;
    bool found = find(b, s, at, &c, &t);

    if (found && at - c.base + bytes > c.bytes) {
        for (unsigned i = 0; i < bytes; i++) {
            board_write(b, s, at + i, 1, value >> (i * 8) & 0xff);
        }
        return;
    }
    atomic_fetch_add_explicit(&t->writes, 1, memory_order_relaxed);
    if (!found) {
        return;
    }
    if (c.io->is_free) {
        c.io->write(c.who, at - c.base, bytes, value & ones(bytes));
        return;
    }
    board_lock(b);
    c.io->write(c.who, at - c.base, bytes, value & ones(bytes));
    board_unlock(b);
}

/* ---- lines ---- */

int board_listen(struct board *b, const struct board_listener *l)
{
    if (b->listeners == LISTENERS_MOST) {
        return -ENOSPC;
    }
    b->listener[b->listeners++] = *l;
    return 0;
}

void board_line(struct board *b, unsigned line, bool is_high)
{
    uint32_t bit = UINT32_C(1) << line;

    if (((b->lines & bit) != 0) == is_high) {
        return;
    }
    b->lines ^= bit;
    for (unsigned i = 0; i < b->listeners; i++) {
        b->listener[i].level(b->listener[i].who, line, is_high);
    }
}

void board_lower_lines(struct board *b)
{
    for (unsigned n = 0; n < BOARD_LINES; n++) {
        board_line(b, n, false);
    }
}
