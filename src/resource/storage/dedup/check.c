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

/* An entry without references becomes one that has no hash, its slot a hole below. */
static int reclaim_slot(struct dedup *s, uint64_t slot, uint64_t *ret_blocks)
{
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
        if (entry != NULL && dedup_refs(entry) == 0 && bytes_get64(entry + 36) != 0 &&
            bytes_get64(entry + 36) <= s->durable) {
            bool taken = false;

            for (const struct busy *b = s->busy; b != NULL; b = b->next) {
                taken = taken || b->slot == slot;
            }
            if (!taken) {
                memset(entry, 0, DEDUP_HASH_BYTES);
                bytes_put64(entry + 36, UINT64_MAX);
                pages_change(&s->entries, page);
                dedup_note_entry(s, slot, entry);
                r = blk_discard(s->disk.disk, s->data_at + slot * DEDUP_BLOCK_BYTES,
                                DEDUP_BLOCK_BYTES);
                ++*ret_blocks;
            }
        }
        pages_give(&s->entries, page);
    }
    dedup_end_change(s, &gate);
    return r;
}

int dedup_reclaim(struct dedup *s, uint64_t *ret_blocks)
{
    int r = dedup_commit(s);

    *ret_blocks = 0;
    for (uint64_t i = 0; r == 0 && i < s->slots; i++) {
        r = reclaim_slot(s, i, ret_blocks);
    }
    return r == 0 ? dedup_commit(s) : r;
}
