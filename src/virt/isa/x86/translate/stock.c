/* stock.c - translations that are kept for others; see stock.h.
 *
 * Entries lie one behind the other in two halves, filled by turns as code memory is, and
 * hang in chains by linear address and mode, the newest first: so what was made well is
 * found in front of what was made quickly.
 *
 * Locks: the stock's own, then the share's (interpret/code.h).  Who takes holds both while
 * it compares and marks the bytes, as who translates does while it reads them: so a store
 * is seen by the comparison, or finds the marks. */
#include "virt/isa/x86/translate/stock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fault.h"
#include "host/ram.h"
#include "virt/isa/x86/memory/memory.h"
#include "virt/isa/x86/translate/private.h"

#define STOCK_BYTES   ((size_t)256 << 20)
#define STOCK_BUCKETS (1u << 17)
#define PARTS         2
#define STEP          8 /* places are counted in such */
#define ALL_BYTES     (STOCK_BYTES + STOCK_BUCKETS * sizeof(uint32_t))

struct entry {
    uint32_t next; /* place, of the same chain; 0: none */
    struct draft d;
    const uint8_t *raw; /* the guest's, piece by piece */
    const uint8_t *code;
};

struct part {
    size_t start, end, used;
};

struct stock {
    pthread_mutex_t lock; /* of all but `is_open` */
    const struct x86_model *model;
    enum translate_tiers tiers;
    bool is_open; /* atomic */
    unsigned users, resting;
    uint8_t *at; /* STOCK_BYTES, which come as they are used; owned; NULL: not open yet */
    uint32_t *chain; /* STOCK_BUCKETS, behind them; places of entries; 0: none */
    struct part part[PARTS];
    unsigned filling;
};

static uint32_t *chain_of(struct stock *s, uint64_t rip, uint16_t key)
{
    uint64_t h = (rip ^ (uint64_t)key << 48) * UINT64_C(0x9e3779b97f4a7c15);

    return &s->chain[h >> 47];
}

static struct entry *entry_at(const struct stock *s, uint32_t place)
{
    return (struct entry *)(void *)(s->at + (size_t)place * STEP);
}

static void empty(struct stock *s)
{
    size_t half = STOCK_BYTES / PARTS;

    for (unsigned n = 0; n < PARTS; n++) {
        s->part[n] = (struct part){
            .start = n * half + STEP, .end = (n + 1) * half, .used = n * half + STEP};
    }
    s->filling = 0;
}

/* Entries of the older part go, which is filled next. */
static void turn(struct stock *s)
{
    struct part *p = &s->part[s->filling ^= 1];
    uint32_t from = (uint32_t)(p->start / STEP), to = (uint32_t)(p->end / STEP);

    p->used = p->start;
    for (unsigned n = 0; n < STOCK_BUCKETS; n++) {
        uint32_t *link = &s->chain[n];

        while (*link != 0) {
            bool goes = *link >= from && *link < to;
            uint32_t *next = &entry_at(s, *link)->next;

            if (goes) {
                *link = *next;
            } else {
                link = next;
            }
        }
    }
}

int stock_join(struct translate_cpu *t)
{
    struct code_share *share = t->x.code->share;
    struct stock *s = share->stock;

    if (s == NULL) {
        s = fault_calloc(1, sizeof *s);
        if (s == NULL) {
            return -ENOMEM;
        }
        pthread_mutex_init(&s->lock, NULL);
        s->model = t->x.model;
        s->tiers = t->tiers;
        share->stock = s;
    }
    if (s->model != t->x.model || s->tiers != t->tiers) {
        return 0; /* each for itself */
    }
    pthread_mutex_lock(&s->lock);
    s->users++;
    s->resting++;
    pthread_mutex_unlock(&s->lock);
    t->rests = true;
    t->stock = s;
    return 0;
}

void stock_leave(struct translate_cpu *t)
{
    struct stock *s = t->stock;
    bool is_last;

    if (s == NULL) {
        return;
    }
    t->stock = NULL;
    pthread_mutex_lock(&s->lock);
    s->resting -= t->rests;
    is_last = --s->users == 0;
    pthread_mutex_unlock(&s->lock);
    if (is_last) {
        t->x.code->share->stock = NULL;
        if (s->at != NULL) {
            munmap(s->at, ALL_BYTES);
        }
        pthread_mutex_destroy(&s->lock);
        free(s);
    }
}

void stock_open(struct translate_cpu *t)
{
    struct stock *s = t->stock;
    void *at;

    if (s == NULL || __atomic_load_n(&s->is_open, __ATOMIC_ACQUIRE)) {
        return;
    }
    pthread_mutex_lock(&s->lock);
    if (s->at == NULL) {
        at = mmap(NULL, ALL_BYTES, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at != MAP_FAILED) { /* else it goes without */
            s->at = at;
            s->chain = (uint32_t *)(void *)(s->at + STOCK_BYTES);
            empty(s);
            __atomic_store_n(&s->is_open, true, __ATOMIC_RELEASE);
        }
    }
    pthread_mutex_unlock(&s->lock);
}

void stock_wake(struct translate_cpu *t)
{
    struct stock *s = t->stock;
    unsigned awake;

    if (s == NULL || !t->rests) {
        return;
    }
    pthread_mutex_lock(&s->lock);
    t->rests = false;
    s->resting--;
    awake = s->users - s->resting;
    pthread_mutex_unlock(&s->lock);
    if (awake > 1) {
        stock_open(t);
    }
}

void stock_rest(struct translate_cpu *t)
{
    struct stock *s = t->stock;

    if (s == NULL) {
        return;
    }
    pthread_mutex_lock(&s->lock);
    s->resting += !t->rests;
    t->rests = true;
    if (s->resting == s->users && s->at != NULL) {
        ram_zero(s->at, ALL_BYTES);
        empty(s);
    }
    pthread_mutex_unlock(&s->lock);
}

/* ---- into it ---- */

/* A part of an entry behind the others. */
static const void *add(struct part *p, uint8_t *at, const void *from, size_t bytes)
{
    void *to = at + p->used;

    memcpy(to, from, bytes);
    p->used += (bytes + STEP - 1) & ~(size_t)(STEP - 1);
    return to;
}

#define PARTS_OF_ENTRY 8

static size_t bytes_of(const struct draft *d, size_t raw)
{
    return sizeof(struct entry) + d->kept * sizeof *d->insn +
           d->pieces * sizeof *d->piece + d->sites * sizeof *d->site +
           d->words * sizeof *d->word + d->exits * sizeof *d->exit +
           d->fixes * sizeof *d->fix + d->bytes + raw + (size_t)PARTS_OF_ENTRY * STEP;
}

static void put_locked(struct stock *s, const struct draft *d, const uint8_t *code,
                       const uint8_t *raw, size_t raw_bytes)
{
    uint32_t *chain = chain_of(s, d->rip, d->key);
    struct entry e = {.next = *chain, .d = *d};
    struct entry *to;
    struct part *p;

    if (bytes_of(d, raw_bytes) > s->part[s->filling].end - s->part[s->filling].used) {
        turn(s);
        e.next = *chain;
    }
    p = &s->part[s->filling];
    to = (struct entry *)(void *)(s->at + p->used);
    *chain = (uint32_t)(p->used / STEP);
    p->used += sizeof e;
    e.d.insn = add(p, s->at, d->insn, d->kept * sizeof *d->insn);
    e.d.piece = add(p, s->at, d->piece, d->pieces * sizeof *d->piece);
    e.d.site = add(p, s->at, d->site, d->sites * sizeof *d->site);
    e.d.word = add(p, s->at, d->word, d->words * sizeof *d->word);
    e.d.exit = add(p, s->at, d->exit, d->exits * sizeof *d->exit);
    e.d.fix = add(p, s->at, d->fix, d->fixes * sizeof *d->fix);
    e.raw = add(p, s->at, raw, raw_bytes);
    e.code = add(p, s->at, code, d->bytes);
    *to = e;
}

void stock_put(struct translate_cpu *t, const struct draft *d, const uint8_t *code,
               const uint8_t *raw, size_t raw_bytes)
{
    struct stock *s = t->stock;

    pthread_mutex_lock(&s->lock);
    put_locked(s, d, code, raw, raw_bytes);
    pthread_mutex_unlock(&s->lock);
}

bool stock_is_open(const struct translate_cpu *t)
{
    return t->stock != NULL && __atomic_load_n(&t->stock->is_open, __ATOMIC_ACQUIRE);
}

/* ---- out of it ---- */

/* What is rewritten again and again is to be translated otherwise (soft.c). */
static bool is_fit(const struct translate_cpu *t, const struct entry *e,
                   const uint8_t *page, gpa at)
{
    const uint8_t *raw = e->raw;

    for (unsigned n = 0; n < e->d.pieces; n++) {
        const struct piece *p = &e->d.piece[n];

        if (memcmp(page + p->at, raw, p->bytes) != 0 || soft_is(t, at + p->at)) {
            return false;
        }
        raw += p->bytes;
    }
    return true;
}

/* The page where the unit may be entered: the entry's bytes are there, and marked. */
static struct unit_page *page_for(struct translate_cpu *t, const struct entry *e,
                                  const uint8_t *page, gpa at)
{
    pthread_mutex_t *lock = &t->x.code->share->lock;
    const struct mem_region *region = mem_find(t->x.mem, at);
    struct unit_page *p = NULL;

    pthread_mutex_lock(lock);
    if (region != NULL && (mem_flags(region, at) & MEM_CODE) != 0 &&
        !x86_fresh_is_locked(t->x.code->share, at) && is_fit(t, e, page, at)) {
        p = unit_page_make_locked(t, at);
    }
    if (p != NULL) {
        unit_mark_locked(p, e->d.piece, e->d.pieces);
    }
    pthread_mutex_unlock(lock);
    return p;
}

static const struct entry *find_locked(struct stock *s, const struct translate_cpu *t,
                                       uint64_t rip, uint32_t from, bool is_good)
{
    uint16_t key = unit_key(&t->x);
    uint32_t place = from;

    while (place != 0) {
        const struct entry *e = entry_at(s, place);

        if (e->d.rip == rip && e->d.key == key && e->d.is_counted == t->is_counted &&
            !(is_good && e->d.is_quick)) {
            return e;
        }
        place = e->next;
    }
    return NULL;
}

static struct unit *install(struct translate_cpu *t, const struct entry *e,
                            struct unit_page *p, gpa at)
{
    struct draft d = e->d;
    struct unit *u;

    d.at = at;
    u = unit_install(t, &d, e->code);
    if (u != NULL) {
        unit_add(t, p, u);
    }
    return u;
}

struct unit *stock_take(struct translate_cpu *t, uint64_t rip, const uint8_t *host,
                        gpa at, bool is_good)
{
    struct stock *s = t->stock;
    const uint8_t *page = host - (at & X86_PAGE_MASK);
    const struct entry *e;
    struct unit *u = NULL;

    if (!stock_is_open(t)) {
        return NULL;
    }
    pthread_mutex_lock(&s->lock);
    e = find_locked(s, t, rip, *chain_of(s, rip, unit_key(&t->x)), is_good);
    while (e != NULL && u == NULL) {
        struct unit_page *p = page_for(t, e, page, at & ~X86_PAGE_MASK);

        u = p != NULL ? install(t, e, p, at) : NULL;
        e = u == NULL ? find_locked(s, t, rip, e->next, is_good) : NULL;
    }
    pthread_mutex_unlock(&s->lock);
    return u;
}
