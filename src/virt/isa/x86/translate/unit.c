/* unit.c - which code there is, and how it goes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "virt/isa/x86/memory/memory.h"
#include "virt/isa/x86/translate/private.h"

static struct unit **bucket_of(struct translate_cpu *t, gpa at, uint8_t key)
{
    uint64_t h = (at ^ (uint64_t)key << 40) * UINT64_C(0x9e3779b97f4a7c15);

    return &t->bucket[h >> 50 & (UNIT_BUCKETS - 1)];
}

static struct unit_page **page_of(struct translate_cpu *t, gpa page)
{
    return &t->page[page >> MEM_PAGE_SHIFT & (PAGE_BUCKETS - 1)];
}

struct unit *unit_find(struct translate_cpu *t, gpa at, uint64_t rip, bool counted)
{
    uint8_t key = unit_key(&t->x);
    struct unit *u = *bucket_of(t, at, key);

    while (u != NULL &&
           (u->at != at || u->rip != rip || u->key != key || u->is_counted != counted)) {
        u = u->next;
    }
    return u;
}

int unit_add(struct translate_cpu *t, struct unit *u)
{
    gpa page = u->at & ~(gpa)(MEM_PAGE_BYTES - 1);
    struct unit_page **link = page_of(t, page), *p = *link;
    struct unit **bucket = bucket_of(t, u->at, u->key);

    while (p != NULL && p->at != page) {
        p = p->next;
    }
    if (p == NULL) {
        p = fault_calloc(1, sizeof *p);
        if (p == NULL) {
            return -ENOMEM;
        }
        p->at = page;
        p->next = *link;
        *link = p;
    }
    u->page_next = p->units;
    p->units = u;
    u->next = *bucket;
    *bucket = u;
    return 0;
}

static void unlink_unit(struct translate_cpu *t, struct unit *u)
{
    struct unit **link = bucket_of(t, u->at, u->key);

    while (*link != u) {
        link = &(*link)->next;
    }
    *link = u->next;
    free(u);
}

/* The code itself stays in its place until all is dropped: nothing leads there. */
void unit_drop_page(struct translate_cpu *t, gpa page)
{
    struct unit_page **link = page_of(t, page), *p;
    uint32_t n;

    while (*link != NULL && (*link)->at != page) {
        link = &(*link)->next;
    }
    p = *link;
    if (p == NULL) {
        return;
    }
    *link = p->next;
    while (p->units != NULL) {
        struct unit *u = p->units;

        p->units = u->page_next;
        unlink_unit(t, u);
    }
    free(p);
    for (n = 0; n < t->exits; n++) {
        if (t->exit[n].page == page) {
            t->exit[n].jump = NULL;
        }
    }
    t->map_generation = UINT64_MAX; /* the jump table is stale */
    t->x.count.code_writes++;
}

void unit_drop_all(struct translate_cpu *t)
{
    unsigned n;

    for (n = 0; n < PAGE_BUCKETS; n++) {
        while (t->page[n] != NULL) {
            unit_drop_page(t, t->page[n]->at);
        }
    }
    t->drops++;
    t->sites = 0;
    t->pends = 0;
    t->exits = 0;
    t->code.used = t->code.first;
    t->map_generation = UINT64_MAX;
}

void unit_take_dirty(struct translate_cpu *t)
{
    unsigned n;

    pthread_mutex_lock(&t->lock);
    if (t->dirty_count == DIRTY_MAX) {
        unit_drop_all(t);
    }
    for (n = 0; n < t->dirty_count && n < DIRTY_MAX; n++) {
        unit_drop_page(t, t->dirty[n]);
    }
    t->dirty_count = 0;
    pthread_mutex_unlock(&t->lock);
}
