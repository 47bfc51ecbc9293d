/* unit.c - which code there is, and how it goes. */
#include "virt/isa/x86/translate/unit.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "host/ram.h"
#include "virt/isa/x86/memory/memory.h"
#include "virt/isa/x86/translate/private.h"

static uint32_t *bucket_of(struct translate_cpu *t, gpa at, uint64_t rip, uint16_t key)
{
    uint64_t h = (at ^ rip << 20 ^ (uint64_t)key << 48) * UINT64_C(0x9e3779b97f4a7c15);

    return &t->bucket[h >> (64 - BUCKET_BITS)];
}

static struct unit_page **page_of(struct translate_cpu *t, gpa page)
{
    return &t->page[page >> MEM_PAGE_SHIFT & (PAGE_BUCKETS - 1)];
}

struct unit *unit_find(struct translate_cpu *t, uint64_t rip, gpa at)
{
    uint16_t key = unit_key(&t->x);
    uint32_t number = *bucket_of(t, at, rip, key);

    while (number != NO_UNIT) {
        struct unit *u = unit_numbered(t, number);

        if (u->at == at && u->rip == rip && u->key == key &&
            u->is_counted == t->is_counted) {
            return u;
        }
        number = u->next;
    }
    return NULL;
}

struct unit_page *unit_page_of(struct translate_cpu *t, gpa page)
{
    struct unit_page *p = *page_of(t, page);

    while (p != NULL && p->at != page) {
        p = p->next;
    }
    return p;
}

struct unit_page *unit_page_make_locked(struct translate_cpu *t, gpa page)
{
    struct unit_page **link = page_of(t, page), *p = unit_page_of(t, page);

    if (p == NULL) {
        p = fault_calloc(1, sizeof *p);
        if (p != NULL) {
            p->at = page;
            p->next = *link;
            *link = p;
        }
    }
    return p;
}

void unit_add(struct translate_cpu *t, struct unit_page *p, struct unit *u)
{
    uint32_t *bucket = bucket_of(t, u->at, u->rip, u->key);

    u->page_next = p->units;
    p->units = u;
    u->next = *bucket;
    *bucket = unit_number(t, u);
}

static unsigned end_of(const struct piece *p)
{
    return (unsigned)p->at + p->bytes - p->soft;
}

void unit_mark_locked(struct unit_page *p, const struct piece *piece, unsigned n)
{
    while (n > 0) { /* what lies side by side, at once */
        unsigned from = piece->at, end;

        do {
            end = end_of(piece++);
        } while (--n > 0 && piece->at == end);
        marks_set(&p->marks, from, end, true);
    }
}

static void drop_unit(struct translate_cpu *t, struct unit *u)
{
    uint32_t *link = bucket_of(t, u->at, u->rip, u->key), number = unit_number(t, u);

    while (*link != number) {
        link = &unit_numbered(t, *link)->next;
    }
    *link = u->next;
    link_forget(t, u);
}

/* Which units go. */
struct doomed {
    unsigned from, to; /* those that touch these bytes */
    unsigned half;     /* those in this half; HALVES: in any */
};

static bool is_doomed(const struct unit *u, const struct doomed *d)
{
    const struct piece *piece = unit_pieces(u);
    unsigned n;

    if ((d->half != HALVES && d->half != u->half) || d->from >= u->high ||
        d->to <= u->low) {
        return false;
    }
    for (n = 0; n < u->pieces; n++) {
        if (d->from < end_of(&piece[n]) && d->to > piece[n].at) {
            return true;
        }
    }
    return false;
}

/* What the units that are left have in [low, high), where marks were taken away. */
static void mark_again(struct unit_page *p, unsigned low, unsigned high)
{
    const struct unit *u;

    for (u = p->units; u != NULL; u = u->page_next) {
        if (u->low < high && u->high > low) {
            unit_mark_locked(p, unit_pieces(u), u->pieces);
        }
    }
}

/* The lock is held.  Returns how many went; frees the page when none is left. */
static unsigned drop_of_page(struct translate_cpu *t, struct unit_page **page,
                             const struct doomed *d)
{
    struct unit_page *p = *page;
    struct unit **link = &p->units, *u;
    unsigned gone = 0, low = MEM_PAGE_BYTES, high = 0;

    while ((u = *link) != NULL) {
        if (!is_doomed(u, d)) {
            link = &u->page_next;
            continue;
        }
        *link = u->page_next;
        low = u->low < low ? u->low : low;
        high = u->high > high ? u->high : high;
        drop_unit(t, u);
        gone++;
    }
    if (p->units == NULL) {
        *page = p->next;
        free(p);
    } else if (gone > 0) {
        marks_set(&p->marks, low, high, false);
        mark_again(p, low, high);
    }
    return gone;
}

static void drop_everywhere(struct translate_cpu *t, unsigned half)
{
    const struct doomed d = {.to = MEM_PAGE_BYTES, .half = half};
    unsigned n;

    for (n = 0; n < PAGE_BUCKETS; n++) {
        struct unit_page **page = &t->page[n];

        while (*page != NULL) {
            struct unit_page *p = *page;

            (void)drop_of_page(t, page, &d);
            page = *page == p ? &p->next : page;
        }
    }
    t->drops++;
}

static void lock(struct translate_cpu *t)
{
    pthread_mutex_lock(&t->x.code->share->lock);
}

static void unlock(struct translate_cpu *t)
{
    pthread_mutex_unlock(&t->x.code->share->lock);
}

static void empty_half(struct half *h)
{
    h->used = h->start;
    h->sites = 0;
    h->words = 0;
    h->exits = 0;
    h->recorded = h->record_start;
}

/* Its bytes stay marked, which costs a store to them a look. */
void unit_drop(struct translate_cpu *t, struct unit *u)
{
    struct unit_page *p;
    struct unit **link;

    lock(t);
    p = unit_page_of(t, u->at & ~X86_PAGE_MASK);
    for (link = &p->units; *link != u; link = &(*link)->page_next) {
    }
    *link = u->page_next;
    drop_unit(t, u);
    unlock(t);
}

void unit_drop_half(struct translate_cpu *t, unsigned half)
{
    lock(t);
    drop_everywhere(t, half);
    unlock(t);
    empty_half(&t->half[half]);
}

static void drop_all_locked(struct translate_cpu *t)
{
    unsigned n;

    drop_everywhere(t, HALVES);
    for (n = 0; n < HALVES; n++) {
        empty_half(&t->half[n]);
    }
}

void unit_drop_all(struct translate_cpu *t)
{
    lock(t);
    drop_all_locked(t);
    unlock(t);
}

static void free_half(struct half *h)
{
    free(h->site);
    free(h->word);
    free(h->exit);
    h->site = NULL;
    h->word = NULL;
    h->exit = NULL;
    h->site_room = h->word_room = h->exit_room = 0;
}

/* An array that has grown gets as long as what is in it. */
static void *shorten(void *array, uint32_t count, size_t bytes, uint32_t *room)
{
    void *p = count != 0 && count < *room ? fault_realloc(array, count * bytes) : NULL;

    *room = p != NULL ? count : *room;
    return p != NULL ? p : array;
}

/* What lies behind what is used, and once was. */
static void trim_half(struct translate_cpu *t, struct half *h)
{
    size_t used = (h->used + MEM_PAGE_BYTES - 1) & ~(size_t)(MEM_PAGE_BYTES - 1);

    if (used < h->ready) {
        code_memory_trim(&t->code, used, h->end);
        h->ready = used;
    }
    ram_zero(t->record.at + h->recorded, h->record_end - h->recorded);
    h->site = shorten(h->site, h->sites, sizeof *h->site, &h->site_room);
    h->word = shorten(h->word, h->words, sizeof *h->word, &h->word_room);
    h->exit = shorten(h->exit, h->exits, sizeof *h->exit, &h->exit_room);
}

void unit_trim(struct translate_cpu *t, bool all)
{
    if (all) {
        unit_drop_all(t);
        ram_zero(t->bucket, sizeof *t->bucket << BUCKET_BITS);
    }
    for (unsigned n = 0; n < HALVES; n++) {
        if (all) {
            free_half(&t->half[n]);
        }
        trim_half(t, &t->half[n]);
    }
    (void)malloc_trim(0); /* what was freed lies scattered */
}

/* Code that was written to is colder than it ever was: who writes once will often do it
 * again, and few executions are cheaper interpreted. */
static void cool(struct translate_cpu *t, const struct unit_page *p,
                 const struct doomed *d)
{
    const struct unit *u;

    for (u = p->units; u != NULL; u = u->page_next) {
        if (is_doomed(u, d)) {
            *heat_of(t, u->rip) =
                soft_note(t, u, d->from, d->to) ? (uint8_t)(t->warm + 1) : t->cold;
        }
    }
}

static void take_one(struct translate_cpu *t, const struct dirty *dirty)
{
    struct unit_page **page = page_of(t, dirty->page);
    const struct doomed d = {.from = dirty->from, .to = dirty->to, .half = HALVES};

    while (*page != NULL && (*page)->at != dirty->page) {
        page = &(*page)->next;
    }
    if (*page != NULL) {
        cool(t, *page, &d);
        t->x.count.code_writes += drop_of_page(t, page, &d) != 0;
    }
}

void unit_take_dirty(struct translate_cpu *t)
{
    unsigned n;

    /* Who notes something afterwards kicks, and we come here again. */
    if (__atomic_load_n(&t->dirty_count, __ATOMIC_RELAXED) == 0) {
        return;
    }
    lock(t);
    if (t->dirty_count == DIRTY_MAX) {
        drop_all_locked(t);
    }
    for (n = 0; n < t->dirty_count && n < DIRTY_MAX; n++) {
        take_one(t, &t->dirty[n]);
    }
    __atomic_store_n(&t->dirty_count, 0, __ATOMIC_RELAXED);
    unlock(t);
}

/* Now, for the thread that stored; else the owner comes to a safe point soon. */
void unit_note_dirty_locked(struct translate_cpu *t, const struct dirty *d)
{
    struct x86_cpu *c = &t->x;

    if (t->dirty_count < DIRTY_MAX) {
        t->dirty[t->dirty_count] = *d;
        __atomic_store_n(&t->dirty_count, t->dirty_count + 1, __ATOMIC_RELAXED);
    }
    if (c->code->is_running && pthread_equal(c->code->runner, pthread_self())) {
        c->wants |= X86_WANT_RELOAD;
    } else {
        atomic_fetch_or(&c->base.kicks, (uint32_t)CPU_KICK_FLUSH);
    }
}

static bool covers_locked(struct x86_cpu *c, gpa page, unsigned from, unsigned to)
{
    const struct unit_page *p = unit_page_of(translate_of(c), page);

    return p != NULL && marks_touch(&p->marks, from, to);
}

const struct code_more unit_more = {.covers_locked = covers_locked};
