/* cache.c - decoded instructions: found, decoded, dropped (see code.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "host/ram.h"
#include "virt/isa/x86/interpret/code.h"
#include "virt/isa/x86/interpret/debug.h"
#include "virt/isa/x86/interpret/interpret.h"
#include "virt/isa/x86/memory/memory.h"

#define ARENA_FIRST 8u /* offset 0 means "none" */

int x86_code_init(struct x86_cpu *c)
{
    struct x86_code *code = fault_calloc(1, sizeof *code);

    if (code == NULL) {
        return -ENOMEM;
    }
    c->code = code;
    code->arena = fault_calloc(1, CODE_ARENA_BYTES);
    code->pages = fault_calloc(CODE_PAGES, sizeof *code->pages);
    code->arena_used = ARENA_FIRST;
    if (code->arena == NULL || code->pages == NULL) {
        x86_code_fini(c);
        return -ENOMEM;
    }
    return 0;
}

void x86_code_fini(struct x86_cpu *c)
{
    if (c->code != NULL) {
        free(c->code->arena);
        free(c->code->pages);
        free(c->code);
        c->code = NULL;
    }
}

static unsigned bucket_number(gpa at)
{
    return (unsigned)(at >> MEM_PAGE_SHIFT) & (CODE_BUCKETS - 1);
}

static struct code_page **bucket_of(struct x86_code *code, gpa at)
{
    return &code->bucket[bucket_number(at)];
}

/* Forget everything.  Flags of pages stay; a later store finds nothing to drop and
 * takes them away. */
static void drop_all(struct x86_cpu *c)
{
    struct x86_code *code = c->code;

    pthread_mutex_lock(&code->share->lock);
    code->page_count = 0;
    code->arena_used = ARENA_FIRST;
    memset(code->bucket, 0, sizeof code->bucket);
    code->page = NULL;
    code->window_end = 0;
    pthread_mutex_unlock(&code->share->lock);
}

void x86_code_trim(struct x86_cpu *c)
{
    drop_all(c);
    ram_zero(c->code->arena, CODE_ARENA_BYTES);
    ram_zero(c->code->pages, CODE_PAGES * sizeof *c->code->pages);
    c->code->pages_used = 0;
}

static struct code_page *find_page(const struct x86_code *code, gpa at, uint8_t key)
{
    struct code_page *p = code->bucket[bucket_number(at)];

    while (p != NULL && (p->at != at || p->key != key)) {
        p = p->next;
    }
    return p;
}

static struct code_page *add_page(struct x86_cpu *c, gpa at, uint8_t key,
                                  const uint8_t *host)
{
    struct x86_code *code = c->code;
    struct code_page *p;
    struct code_page **bucket = bucket_of(code, at);

    if (code->page_count == CODE_PAGES) {
        drop_all(c);
    }
    pthread_mutex_lock(&code->share->lock);
    p = &code->pages[code->page_count++];
    if (code->page_count <= code->pages_used) {
        memset(p, 0, sizeof *p);
    } else { /* all zero yet, and not the host's memory until a slot is filled */
        code->pages_used = code->page_count;
    }
    p->at = at;
    p->key = key;
    p->host = host;
    p->next = *bucket;
    *bucket = p;
    pthread_mutex_unlock(&code->share->lock);
    return p;
}

/* The bits [from, to) of one word of `covered`, as a mask; `word` counts words. */
static uint64_t bits_of(unsigned word, unsigned from, unsigned to)
{
    unsigned first = from > word * 64 ? from - word * 64 : 0;
    unsigned last = to < word * 64 + 64 ? to - word * 64 : 64; /* behind the last bit */

    return UINT64_MAX << first & UINT64_MAX >> (64 - last);
}

static void cover(struct code_page *p, const struct x86_block *b)
{
    unsigned to = (unsigned)b->start + b->bytes;

    for (unsigned word = b->start / 64; word * 64 < to; word++) {
        p->covered[word] |= bits_of(word, b->start, to);
    }
}

static bool is_covered(const struct code_page *p, unsigned from, unsigned to)
{
    uint64_t found = 0;

    for (unsigned word = from / 64; word * 64 < to; word++) {
        found |= p->covered[word] & bits_of(word, from, to);
    }
    return found != 0;
}

static bool touches(const struct x86_block *b, unsigned from, unsigned to)
{
    return b->start < to && (unsigned)b->start + b->bytes > from;
}

/* Unlink the blocks that touch [from, to), and say from where to where they went. */
static void unlink_blocks(struct code_page *p, unsigned from, unsigned to,
                          unsigned *ret_low, unsigned *ret_high)
{
    struct x86_block **link = &p->blocks;

    *ret_low = from;
    *ret_high = to;
    while (*link != NULL) {
        struct x86_block *b = *link;
        unsigned end = (unsigned)b->start + b->bytes;

        if (!touches(b, from, to)) {
            link = &b->next;
            continue;
        }
        __atomic_store_n(&p->slot[b->start], 0, __ATOMIC_RELAXED);
        *link = b->next;
        *ret_low = b->start < *ret_low ? b->start : *ret_low;
        *ret_high = end > *ret_high ? end : *ret_high;
    }
}

/* Returns whether any was dropped. */
static bool drop_blocks(struct code_page *p, unsigned from, unsigned to)
{
    unsigned low;
    unsigned high;

    if (!is_covered(p, from, to)) {
        return false;
    }
    unlink_blocks(p, from, to, &low, &high);
    for (unsigned word = low / 64; word * 64 < high; word++) {
        p->covered[word] &= ~bits_of(word, low, high);
    }
    for (struct x86_block *b = p->blocks; b != NULL; b = b->next) {
        if (touches(b, low, high)) {
            cover(p, b);
        }
    }
    return true;
}

struct code_dropped x86_code_drop_locked(struct x86_code *code, gpa page, unsigned from,
                                         unsigned to)
{
    struct code_dropped d = {.is_left = false};

    for (struct code_page *p = *bucket_of(code, page); p != NULL; p = p->next) {
        if (p->at == page) {
            d.is_any |= drop_blocks(p, from, to);
            d.is_left |= p->blocks != NULL;
            p->is_flagged = p->blocks != NULL;
        }
    }
    return d;
}

void x86_code_drop_all_locked(struct x86_code *code)
{
    for (unsigned n = 0; n < code->page_count; n++) {
        (void)drop_blocks(&code->pages[n], 0, MEM_PAGE_BYTES);
        code->pages[n].is_flagged = false;
    }
}

bool x86_code_covers_locked(const struct x86_code *code, gpa page, unsigned from,
                            unsigned to)
{
    const struct code_page *p = code->bucket[bucket_number(page)];
    bool covers = false;

    for (; p != NULL; p = p->next) {
        covers |= p->at == page && is_covered(p, from, to);
    }
    return covers;
}

struct x86_known x86_known_locked(const struct x86_code *code, gpa page, uint8_t key)
{
    return (struct x86_known){.code = code, .page = find_page(code, page, key)};
}

const struct x86_insn *x86_known_at(struct x86_known *k, unsigned offset)
{
    uint32_t slot;

    if (k->page == NULL) {
        return NULL;
    }
    if (k->block == NULL || k->n == k->block->count || k->offset != offset) {
        slot = k->page->slot[offset];
        k->block = slot != 0 ? (const void *)(k->code->arena + slot) : NULL;
        k->n = 0;
        k->offset = offset;
    }
    if (k->block == NULL) {
        return NULL;
    }
    k->offset += k->block->insn[k->n].length;
    return &k->block->insn[k->n++];
}

/* Decode what follows `offset` into `b`, which has room for CODE_BLOCK_INSNS_MAX.
 * Leaves `count` 0 if not even one instruction lies in the page. */
static void decode_run(struct x86_cpu *c, const struct code_page *p, unsigned offset,
                       unsigned room, struct x86_block *b)
{
    const uint8_t *bytes = x86_fresh_bytes_locked(c->code->share, p->at, p->host);
    bool is_protected = p->key & 4;

    *b = (struct x86_block){.start = (uint16_t)offset};
    while (b->count < CODE_BLOCK_INSNS_MAX && b->bytes < room) {
        struct x86_insn *i = &b->insn[b->count];
        enum x86_decode_result r = x86_decode(bytes + offset + b->bytes, room - b->bytes,
                                              (enum x86_code_mode)c->code_mode, i);

        if (r == X86_NEED_MORE || b->bytes + i->length > room) {
            return;
        }
        if (r == X86_TOO_LONG) {
            i->run = x86_long_insn;
        } else {
            interpret_bind(c->model, is_protected, i);
        }
        b->count++;
        b->bytes = (uint16_t)(b->bytes + i->length);
        b->end = (uint8_t)x86_insn_end(i);
        if (b->end != BLOCK_PLAIN) {
            return;
        }
    }
}

/* The page's flag is set before its bytes are read, so that no store comes between
 * unseen. */
static struct x86_block *add_block(struct x86_cpu *c, struct code_page *p,
                                   unsigned offset, unsigned room)
{
    struct x86_code *code = c->code;
    struct x86_block *b = (void *)(code->arena + code->arena_used);

    pthread_mutex_lock(&code->share->lock);
    if (!p->is_flagged) {
        x86_share_flag_locked(c, p);
    }
    decode_run(c, p, offset, room, b);
    if (b->count > 0) {
        b->next = p->blocks;
        p->blocks = b;
        cover(p, b);
        __atomic_store_n(&p->slot[offset], code->arena_used, __ATOMIC_RELAXED);
        code->arena_used += (uint32_t)(sizeof *b + b->count * sizeof b->insn[0]);
        c->count.decoded += b->count;
    }
    pthread_mutex_unlock(&code->share->lock);
    return b->count > 0 ? b : NULL;
}

/* Fetch byte by byte until the instruction is whole; raises what the fetch of the
 * byte that is missing raises. */
static void fetch_insn(struct x86_cpu *c, uint64_t rip, uint8_t raw[X86_INSN_BYTES_MAX],
                       struct x86_insn *i)
{
    uint64_t mask = c->code_mode == X86_CODE64 ? UINT64_MAX : UINT32_MAX;
    enum x86_decode_result r = X86_NEED_MORE;

    for (unsigned have = 0; r == X86_NEED_MORE && have < X86_INSN_BYTES_MAX; have++) {
        raw[have] = x86_fetch8(c, (rip + have) & mask);
        r = x86_decode(raw, have + 1, (enum x86_code_mode)c->code_mode, i);
    }
    c->count.decoded++;
    if (r == X86_DECODED) {
        interpret_bind(c->model, x86_code_key(c) & 4, i);
    } else {
        i->run = x86_long_insn;
    }
}

static struct code_crossing *crossing_of(struct x86_code *code, uint64_t rip)
{
    return &code->crossing[(rip ^ rip >> MEM_PAGE_SHIFT) % CODE_CROSSINGS];
}

/* Does the instruction that is kept still stand at rip?  `host` has its first `room`
 * bytes, if they are in RAM. */
static bool is_same(struct x86_cpu *c, const struct code_crossing *k, uint64_t rip,
                    const uint8_t *host, unsigned room)
{
    const struct x86_block *b = (const void *)k->block;
    uint64_t mask = c->code_mode == X86_CODE64 ? UINT64_MAX : UINT32_MAX;
    const uint8_t *rest;
    unsigned rest_room;
    gpa at;

    if (k->rip != rip || k->key != x86_code_key(c) || b->count == 0 || host == NULL ||
        b->bytes <= room || memcmp(k->raw, host, room) != 0) {
        return false;
    }
    rest = x86_fetch_page(c, (rip + room) & mask, &rest_room, &at);
    return rest != NULL && rest_room >= b->bytes - room &&
           memcmp(k->raw + room, rest, b->bytes - room) == 0;
}

/* An instruction that lies in two pages, or not in RAM. */
static const struct x86_block *find_crossing(struct x86_cpu *c, uint64_t rip,
                                             const uint8_t *host, unsigned room)
{
    struct code_crossing *k = crossing_of(c->code, rip);
    struct x86_block *b = (void *)k->block;

    if (!is_same(c, k, rip, host, room)) {
        b->count = 0;
        fetch_insn(c, rip, k->raw, &b->insn[0]);
        k->rip = rip;
        k->key = x86_code_key(c);
        b->count = 1;
        b->bytes = b->insn[0].length;
        b->end = (uint8_t)x86_insn_end(&b->insn[0]);
    }
    return b;
}

static void stop(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    c->budget++; /* nothing was done */
    c->next_rip = c->r.gpr[X86_RIP];
    x86_debug_stop(c);
}

/* One instruction of a page with a breakpoint, or the breakpoint. */
static const struct x86_block *find_single(struct x86_cpu *c, uint64_t rip)
{
    struct code_crossing *k = &c->code->single;
    struct x86_block *b = (void *)k->block;

    *b = (struct x86_block){.end = BLOCK_CONTROL};
    if (x86_debug_breaks(c, rip)) {
        b->insn[0] = (struct x86_insn){.run = stop, .row = X86_INVALID};
    } else {
        fetch_insn(c, rip, k->raw, &b->insn[0]);
        b->end = (uint8_t)x86_insn_end(&b->insn[0]);
    }
    b->count = 1;
    b->bytes = b->insn[0].length;
    return b;
}

/* Open the window on the page that `at` is in, whose bytes at `at` are at `host`. */
static void open_window(struct x86_cpu *c, uint64_t rip, gpa at, const uint8_t *host,
                        unsigned room)
{
    struct x86_code *code = c->code;
    unsigned offset = (unsigned)(at & X86_PAGE_MASK);
    uint8_t key = x86_code_key(c);

    if (CODE_ARENA_BYTES - code->arena_used <
        sizeof(struct x86_block) + CODE_BLOCK_INSNS_MAX * sizeof(struct x86_insn)) {
        drop_all(c);
    }
    code->page = find_page(code, at - offset, key);
    if (code->page == NULL) {
        code->page = add_page(c, at - offset, key, host - offset);
    }
    code->window_base = rip - offset;
    code->window_end = offset + room;
}

const struct x86_block *x86_code_find(struct x86_cpu *c, uint64_t rip)
{
    struct x86_code *code = c->code;
    const struct x86_block *b = NULL;
    const uint8_t *host;
    uint32_t slot;
    unsigned room;
    gpa at;

    c->count.chain_breaks++;
    code->block = NULL;
    c->r.gpr[X86_RIP] = rip;
    code->window_end = 0;
    if (c->debug != NULL && x86_debug_page(c, rip)) {
        return find_single(c, rip);
    }
    host = x86_fetch_page(c, rip, &room, &at);
    if (host == NULL) {
        return find_crossing(c, rip, NULL, 0);
    }
    open_window(c, rip, at, host, room);
    slot = __atomic_load_n(&code->page->slot[at & X86_PAGE_MASK], __ATOMIC_RELAXED);
    if (slot != 0) {
        b = (const void *)(code->arena + slot);
        return b->bytes <= room ? b : find_crossing(c, rip, host, room);
    }
    if (room >= X86_INSN_BYTES_MAX ||
        !is_same(c, crossing_of(code, rip), rip, host, room)) {
        b = add_block(c, code->page, (unsigned)(at & X86_PAGE_MASK), room);
    }
    return b != NULL ? b : find_crossing(c, rip, host, room);
}
