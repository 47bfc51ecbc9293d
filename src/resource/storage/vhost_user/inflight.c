/* inflight.c - steps of the account, in the order that makes each of them safe.
 *
 * This process may be killed between any two of its writes; the kernel keeps what was
 * written, in order.  So an entry is marked before its request is worked on, and
 * unmarked after the driver has been shown its end; a batch that was shown and not yet
 * unmarked is recognised by an index that does not match the ring's.
 *
 * The front end can write here too: indices are checked, and an account that makes no
 * sense is begun anew. */
#include "resource/storage/vhost_user/inflight.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"

#define VERSION      1
#define ALIGN_BYTES  64u
#define PACKED_AVAIL (1u << 7)
#define PACKED_USED  (1u << 15)

/* As the protocol draws them. */
struct split_entry {
    uint8_t inflight;
    uint8_t padding[5];
    uint16_t next;
    uint64_t counter;
};

struct split_area {
    uint64_t features;
    uint16_t version;
    uint16_t size;
    uint16_t last_batch_head;
    uint16_t used_index;
    struct split_entry entry[];
};

struct packed_entry {
    uint8_t inflight;
    uint8_t padding;
    uint16_t next;
    uint16_t last;
    uint16_t count;
    uint64_t counter;
    uint16_t id;
    uint16_t flags;
    uint32_t bytes;
    uint64_t at;
};

struct packed_area {
    uint64_t features;
    uint16_t version;
    uint16_t size;
    uint16_t free_head;
    uint16_t old_free_head;
    uint16_t used_index;
    uint16_t old_used_index;
    uint8_t used_wrap;
    uint8_t old_used_wrap;
    uint8_t padding[7];
    struct packed_entry entry[];
};

_Static_assert(sizeof(struct split_area) == 16 && sizeof(struct split_entry) == 16,
               "layout");
_Static_assert(sizeof(struct packed_area) == 32 && sizeof(struct packed_entry) == 32,
               "layout");

/* What was written before is there for whoever comes after a crash. */
static void in_order(void)
{
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

static struct split_area *split_of(const struct vhost_inflight *f)
{
    return (struct split_area *)(void *)f->area;
}

static struct packed_area *packed_of(const struct vhost_inflight *f)
{
    return (struct packed_area *)(void *)f->area;
}

static struct vhost_inflight *of(struct virtq_tracker *t)
{
    return (struct vhost_inflight *)t;
}

uint64_t vhost_inflight_bytes(bool packed, unsigned size)
{
    uint64_t bytes =
        packed ? sizeof(struct packed_area) + (uint64_t)size * sizeof(struct packed_entry)
               : sizeof(struct split_area) + (uint64_t)size * sizeof(struct split_entry);

    return (bytes + ALIGN_BYTES - 1) & ~(uint64_t)(ALIGN_BYTES - 1);
}

/* ---- steps of a split queue ---- */

static void split_taken(struct virtq_tracker *t, struct virtq_chain *c, unsigned count)
{
    struct split_entry *e = &split_of(of(t))->entry[c->id];

    (void)count;
    e->counter = of(t)->counter++;
    in_order();
    e->inflight = 1;
    in_order();
}

static void split_given(struct virtq_tracker *t, const struct virtq_chain *c)
{
    struct split_area *a = split_of(of(t));

    a->entry[c->id].next = a->last_batch_head;
    in_order();
    a->last_batch_head = c->id;
    in_order();
    of(t)->batch[of(t)->given++] = c->id;
}

static void nothing(struct virtq_tracker *t, const struct virtq *q)
{
    (void)t;
    (void)q;
}

static void split_shown(struct virtq_tracker *t, const struct virtq *q)
{
    struct split_area *a = split_of(of(t));

    in_order();
    for (unsigned i = 0; i < of(t)->given; i++) {
        a->entry[of(t)->batch[i]].inflight = 0;
    }
    in_order();
    a->used_index = q->shown_at;
    of(t)->given = 0;
}

/* ---- steps of a packed queue ---- */

/* An index of the free list, which the front end can write too: 0 instead of nonsense. */
static uint16_t checked(const struct vhost_inflight *f, uint16_t i)
{
    return i < f->size ? i : 0;
}

static void packed_taken(struct virtq_tracker *t, struct virtq_chain *c, unsigned count)
{
    struct packed_area *a = packed_of(of(t));
    uint16_t first = checked(of(t), a->old_free_head);
    struct packed_entry *head = &a->entry[first];

    c->token = first;
    head->count = 0;
    head->counter = of(t)->counter++;
    in_order();
    head->inflight = 1;
    for (unsigned i = 0; i < count; i++) {
        const struct virtq_desc *d = &t->scratch[i];
        uint16_t at = checked(of(t), a->free_head);
        struct packed_entry *e = &a->entry[at];

        if (i + 1 == count) {
            head->last = at;
        }
        head->count = (uint16_t)(i + 1);
        e->at = d->at;
        e->bytes = d->bytes;
        e->flags = d->flags;
        e->id = d->link;
        in_order();
        a->free_head = e->next;
    }
    in_order();
    a->old_free_head = a->free_head;
    in_order();
}

static void packed_given(struct virtq_tracker *t, const struct virtq_chain *c)
{
    struct packed_area *a = packed_of(of(t));
    uint16_t last = checked(of(t), a->entry[c->token].last);

    a->entry[last].next = a->free_head;
    in_order();
    a->free_head = c->token;
    in_order();
    of(t)->batch[of(t)->given++] = c->token;
}

static void packed_showing(struct virtq_tracker *t, const struct virtq *q)
{
    struct packed_area *a = packed_of(of(t));

    a->used_index = q->give_at;
    a->used_wrap = q->give_wrap;
    in_order();
}

static void commit(struct packed_area *a)
{
    a->old_free_head = a->free_head;
    a->old_used_index = a->used_index;
    a->old_used_wrap = a->used_wrap;
    in_order();
}

static void packed_shown(struct virtq_tracker *t, const struct virtq *q)
{
    struct packed_area *a = packed_of(of(t));

    (void)q;
    in_order();
    for (unsigned i = 0; i < of(t)->given; i++) {
        a->entry[of(t)->batch[i]].inflight = 0;
    }
    in_order();
    commit(a);
    of(t)->given = 0;
}

/* ---- after a crash ---- */

static uint64_t counter_of(const struct vhost_inflight *f, uint16_t i)
{
    return f->packed ? packed_of(f)->entry[i].counter : split_of(f)->entry[i].counter;
}

/* Heads under way, sorted by their counters, into `pending`. */
static void collect(struct vhost_inflight *f)
{
    f->pendings = 0;
    f->again_at = 0;
    f->counter = 0;
    for (unsigned i = 0; i < f->size; i++) {
        uint8_t mark =
            f->packed ? packed_of(f)->entry[i].inflight : split_of(f)->entry[i].inflight;
        uint64_t counter = counter_of(f, (uint16_t)i);
        unsigned at = f->pendings;

        if (mark != 1) {
            continue;
        }
        while (at > 0 && counter_of(f, f->pending[at - 1]) > counter) {
            f->pending[at] = f->pending[at - 1];
            at--;
        }
        f->pending[at] = (uint16_t)i;
        f->pendings++;
        f->counter = counter >= f->counter ? counter + 1 : f->counter;
    }
}

static void split_begin(struct vhost_inflight *f, uint16_t used)
{
    struct split_area *a = split_of(f);

    memset(f->area, 0, sizeof *a + f->size * sizeof a->entry[0]);
    a->size = (uint16_t)f->size;
    a->used_index = used;
    in_order();
    a->version = VERSION;
}

/* The index in the ring has moved and ours has not: the last batch was shown. */
static void split_recover(struct vhost_inflight *f, const struct virtq_setup *s,
                          uint32_t *base)
{
    struct split_area *a = split_of(f);
    uint16_t used =
        __atomic_load_n((uint16_t *)(void *)(s->rings.device + 2), __ATOMIC_ACQUIRE);
    uint16_t batch = (uint16_t)(used - a->used_index);
    uint16_t at = a->last_batch_head;

    if (a->version != VERSION || a->size != f->size || batch > f->size) {
        split_begin(f, used);
        return;
    }
    for (; batch > 0 && at < f->size; batch--) {
        a->entry[at].inflight = 0;
        at = a->entry[at].next;
    }
    in_order();
    a->used_index = used;
    collect(f);
    *base = (uint16_t)(used + f->pendings);
}

static void packed_begin(struct vhost_inflight *f, uint32_t base)
{
    struct packed_area *a = packed_of(f);

    memset(f->area, 0, sizeof *a + f->size * sizeof a->entry[0]);
    a->size = (uint16_t)f->size;
    a->used_index = base >> 16 & 0x7fff;
    a->used_wrap = (uint8_t)(base >> 31);
    for (unsigned i = 0; i < f->size; i++) {
        a->entry[i].next = (uint16_t)((i + 1) % f->size);
    }
    commit(a);
    a->version = VERSION;
}

/* Whether the entry where the last batch begins has been shown to the driver. */
static bool was_shown(const struct packed_area *a, const struct virtq_setup *s)
{
    const uint8_t *entry = s->rings.desc + (size_t)a->old_used_index * 16;
    uint16_t flags =
        __atomic_load_n((const uint16_t *)(const void *)(entry + 14), __ATOMIC_ACQUIRE);
    uint16_t available = a->old_used_wrap != 0 ? PACKED_AVAIL : PACKED_USED;

    return (flags & (PACKED_AVAIL | PACKED_USED)) != available;
}

/* Where the next chain is taken: behind all that are under way. */
static uint32_t packed_base(const struct vhost_inflight *f)
{
    const struct packed_area *a = packed_of(f);
    uint32_t take = a->used_index;
    bool wrap = a->used_wrap != 0;

    for (unsigned i = 0; i < f->pendings; i++) {
        take += a->entry[f->pending[i]].count;
    }
    if (take >= f->size) {
        take = (take - f->size) % f->size;
        wrap = !wrap;
    }
    return take | (uint32_t)wrap << 15 | (uint32_t)a->used_index << 16 |
           (uint32_t)(a->used_wrap != 0) << 31;
}

static bool packed_makes_sense(const struct vhost_inflight *f)
{
    const struct packed_area *a = packed_of(f);

    return a->version == VERSION && a->size == f->size && a->free_head < f->size &&
           a->old_free_head < f->size && a->used_index < f->size &&
           a->old_used_index < f->size;
}

/* Heads of the last batch that are free and still marked: they were put in front of the
 * free list, and unmarked from the oldest on, so the marked ones come first. */
static void unmark_free(struct vhost_inflight *f)
{
    struct packed_area *a = packed_of(f);
    uint16_t at = a->free_head;
    unsigned steps = 0;

    while (a->entry[at].inflight != 0 && steps < f->size) {
        unsigned count = a->entry[at].count;

        a->entry[at].inflight = 0;
        for (unsigned i = 0; i == 0 || (i < count && steps < f->size); i++, steps++) {
            at = checked(f, a->entry[at].next);
        }
    }
}

static void packed_recover(struct vhost_inflight *f, const struct virtq_setup *s,
                           uint32_t *base)
{
    struct packed_area *a = packed_of(f);

    if (!packed_makes_sense(f)) {
        packed_begin(f, *base);
        return;
    }
    if ((a->used_index != a->old_used_index || a->used_wrap != a->old_used_wrap) &&
        was_shown(a, s)) {
        commit(a);
    }
    a->free_head = a->old_free_head;
    a->used_index = a->old_used_index;
    a->used_wrap = a->old_used_wrap;
    in_order();
    unmark_free(f);
    collect(f);
    *base = packed_base(f);
}

/* The descriptors of an entry, as they stood in the ring. */
static unsigned unpack(struct vhost_inflight *f, uint16_t first)
{
    const struct packed_area *a = packed_of(f);
    unsigned count = a->entry[first].count;
    uint16_t at = first;

    count = count < f->size ? count : f->size;
    for (unsigned i = 0; i < count; i++) {
        const struct packed_entry *e = &a->entry[at];

        f->tracker.scratch[i] = (struct virtq_desc){
            .at = e->at, .bytes = e->bytes, .flags = e->flags, .link = e->id};
        at = checked(f, e->next);
    }
    return count;
}

bool vhost_inflight_next(struct vhost_inflight *f, uint16_t *ret_id, unsigned *ret_count,
                         uint16_t *ret_token)
{
    if (f->area == NULL || f->again_at == f->pendings) {
        return false;
    }
    *ret_token = f->pending[f->again_at++];
    *ret_id = *ret_token;
    *ret_count = 0;
    if (f->packed) {
        *ret_count = unpack(f, *ret_token);
        *ret_id = *ret_count > 0 ? f->tracker.scratch[*ret_count - 1].link : 0;
    }
    return true;
}

int vhost_inflight_open(struct vhost_inflight *f, uint8_t *area,
                        const struct virtq_setup *s, uint32_t *base)
{
    *f = (struct vhost_inflight){
        .tracker = {split_taken, split_given, nothing, split_shown, NULL},
        .area = area,
        .size = s->size,
        .packed = (s->features & VIRTIO_F_RING_PACKED) != 0,
        .batch = fault_calloc(s->size, sizeof(uint16_t)),
        .pending = fault_calloc(s->size, sizeof(uint16_t)),
    };
    f->tracker.scratch = fault_calloc(s->size, sizeof(struct virtq_desc));
    if (f->batch == NULL || f->pending == NULL || f->tracker.scratch == NULL) {
        vhost_inflight_close(f);
        return -ENOMEM;
    }
    if (f->packed) {
        f->tracker.taken = packed_taken;
        f->tracker.given = packed_given;
        f->tracker.showing = packed_showing;
        f->tracker.shown = packed_shown;
        packed_recover(f, s, base);
    } else {
        split_recover(f, s, base);
    }
    return 0;
}

void vhost_inflight_close(struct vhost_inflight *f)
{
    free(f->batch);
    free(f->pending);
    free(f->tracker.scratch);
    *f = (struct vhost_inflight){0};
}
