/* check.c - counting references anew, and giving room back. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/blk_ops.h"
#include "resource/storage/dedup/private.h"
#include "resource/storage/safe/bytes.h"

static int count_map(struct dedup *s, uint32_t *refs, uint64_t *ret_logical)
{
    int r = 0;

    for (unsigned v = 0; v < s->rows; v++) {
        for (uint64_t i = 0; r == 0 && i < s->row[v].blocks; i++) {
            uint64_t value = 0;

            r = dedup_look_up(s, s->row[v].first + i, &value);
            if (r == 0 && value != 0) {
                refs[value - 1]++;
                ++*ret_logical;
            }
        }
    }
    return r;
}

static int check_slot(struct dedup *s, uint64_t slot, uint32_t refs, struct err *e)
{
    uint8_t hash[DEDUP_HASH_BYTES];
    struct page *page;
    const uint8_t *entry;
    uint64_t found;
    uint32_t said;
    int r = pages_take(&s->entries, slot, &page);

    if (r != 0) {
        return err_sys(e, r, "cannot read the entry of slot %llu",
                       (unsigned long long)slot);
    }
    entry = pages_entry(&s->entries, page, slot);
    said = entry != NULL ? dedup_refs(entry) : 0;
    if (entry != NULL) {
        memcpy(hash, entry, sizeof hash);
    }
    pages_give(&s->entries, page);
    if (entry == NULL || said != refs) {
        return err_set(e, -EUCLEAN, "slot %llu has %u references and says %u",
                       (unsigned long long)slot, refs, said);
    }
    if (refs > 0 && (dedup_find(s, hash, &found) != 0 || found != slot)) {
        return err_set(e, -EUCLEAN, "the block of slot %llu is not found by its address",
                       (unsigned long long)slot);
    }
    return 0;
}

int dedup_check(struct dedup *s, struct err *e)
{
    SCOPED(scope_free) uint32_t *refs = fault_calloc(s->slots, sizeof *refs);
    uint64_t logical = 0;
    uint64_t stored = 0;
    int r = refs == NULL ? -ENOMEM : count_map(s, refs, &logical);

    if (r != 0) {
        return err_sys(e, r, "cannot count references");
    }
    for (uint64_t i = 0; r == 0 && i < s->slots; i++) {
        stored += refs[i] > 0;
        r = check_slot(s, i, refs[i], e);
    }
    if (r == 0 && (logical != s->logical || stored != s->stored)) {
        r = err_set(e, -EUCLEAN, "the counters are not those of the blocks");
    }
    return r;
}

/* ---- giving room back ---- */

/* Whether nothing durable refers to the slot, which has a block all the same. */
static bool is_left(const struct dedup *s, const uint8_t *entry, uint64_t slot)
{
    uint64_t epoch = bytes_get64(entry + 36);

    return dedup_refs(entry) == 0 && epoch != 0 && epoch <= s->durable &&
           !dedup_is_busy(s, slot);
}

/* The entry behind those of `b` becomes one that has no hash and is free, and is of `b` then:
 * whoever waits for the end of a change goes on within `dedup_end_change`, and would take it.
 * -EAGAIN: the slot is not left. */
static int clear_next(struct dedup *s, struct busy *b)
{
    uint64_t slot = b->slot + b->count;
    struct range_hold gate;
    struct page *page;
    uint8_t *entry;
    int r = dedup_begin_change(s, &gate);

    if (r != 0) {
        return r;
    }
    r = pages_take(&s->entries, slot, &page);
    if (r == 0) {
        entry = pages_entry(&s->entries, page, slot);
        r = entry == NULL || !is_left(s, entry, slot) ? -EAGAIN : 0;
        if (r == 0) {
            memset(entry, 0, DEDUP_HASH_BYTES);
            bytes_put64(entry + 36, UINT64_MAX);
            pages_change(&s->entries, page);
            dedup_note_entry(s, slot, entry);
            b->count++;
        }
        pages_give(&s->entries, page);
    }
    dedup_end_change(s, &gate);
    return r;
}

/* Up to `most` slots side by side become a hole below; until it is one, nobody fills them. */
static int reclaim_run(struct dedup *s, uint64_t first, uint64_t most,
                       uint64_t *ret_blocks)
{
    struct busy b = {.slot = first, .next = s->busy};
    int r = 0;

    s->busy = &b;
    while (r == 0 && b.count < most) {
        r = clear_next(s, &b);
    }
    r = r == -EAGAIN ? 0 : r;
    if (b.count > 0) {
        int gone = blk_discard(s->disk.disk, s->data_at + first * DEDUP_BLOCK_BYTES,
                               b.count * DEDUP_BLOCK_BYTES);

        r = r == 0 ? gone : r;
    }
    dedup_set_free(s, &b);
    *ret_blocks += b.count;
    return r;
}

/* The first slot from `slot` on, in its page, that is left; how many are behind each other. */
static int find_run(struct dedup *s, uint64_t end, uint64_t *slot, uint64_t *ret_count)
{
    struct page *page;
    uint64_t n = 0;
    int r = pages_take(&s->entries, *slot, &page);

    if (r != 0) {
        return r;
    }
    while (*slot + n < end) {
        const uint8_t *entry = pages_entry(&s->entries, page, *slot + n);
        bool left = entry != NULL && is_left(s, entry, *slot + n);

        if (!left && n > 0) {
            break;
        }
        n += left;
        *slot += !left;
    }
    pages_give(&s->entries, page);
    *ret_count = n;
    return 0;
}

int dedup_reclaim(struct dedup *s,
                  int (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                  uint64_t *ret_blocks)
{
    uint64_t in = pages_entries_in(&s->entries);
    int r = dedup_commit(s);

    *ret_blocks = 0;
    for (uint64_t i = 0; r == 0 && i < s->slots;) {
        uint64_t end = (i / in + 1) * in;
        uint64_t count = 0;

        end = end < s->slots ? end : s->slots;
        r = find_run(s, end, &i, &count);
        if (r == 0 && count > 0) {
            r = reclaim_run(s, i, count, ret_blocks);
            i += count;
        }
        if (r == 0 && i == end && progress != NULL) {
            r = progress(arg, i, s->slots);
        }
    }
    return r == 0 ? dedup_commit(s) : r;
}
