/* contract/kv_item.c - records, lists of them, and the rules of comparison. */
#include "contract/kv_ops.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"

void kv_item_fini(struct kv_item *item)
{
    free((void *)(uintptr_t)item->key); /* the value is in the same block */
    *item = (struct kv_item){0};
}

void kv_items_fini(struct kv_items *items)
{
    for (size_t i = 0; i < items->n; i++) {
        kv_item_fini(&items->items[i]);
    }
    free(items->items);
    *items = (struct kv_items){0};
}

void kv_result_fini(struct kv_result *result)
{
    for (size_t i = 0; i < result->n; i++) {
        kv_items_fini(&result->parts[i]);
    }
    free(result->parts);
    *result = (struct kv_result){0};
}

void kv_events_fini(struct kv_events *events)
{
    for (size_t i = 0; i < events->n; i++) {
        kv_item_fini(&events->items[i].item);
        kv_item_fini(&events->items[i].prev);
    }
    free(events->items);
    *events = (struct kv_events){0};
}

bool kv_span_holds(struct kv_span span, const char *key)
{
    if (span.end == NULL) {
        return strcmp(key, span.first) == 0;
    }
    return strcmp(key, span.first) >= 0 &&
           (span.end[0] == '\0' || strcmp(key, span.end) < 0);
}

bool kv_txn_writes(const struct kv_txn *t)
{
    for (size_t i = 0; i < t->n_then; i++) {
        if (t->then_ops[i].kind != KV_OP_RANGE) {
            return true;
        }
    }
    for (size_t i = 0; i < t->n_else; i++) {
        if (t->else_ops[i].kind != KV_OP_RANGE) {
            return true;
        }
    }
    return false;
}

static int order_bytes(const struct kv_item *item, struct kv_bytes value)
{
    size_t least = item->len < value.len ? item->len : value.len;
    int order = least == 0 ? 0 : memcmp(item->value, value.data, least);

    return order != 0 ? order : (item->len > value.len) - (item->len < value.len);
}

static int order_item(const struct kv_cmp *cmp, const struct kv_item *item)
{
    int64_t number = 0;

    switch (cmp->target) {
    case KV_TARGET_VERSION:
        number = item->version;
        break;
    case KV_TARGET_CREATE:
        number = item->create_revision;
        break;
    case KV_TARGET_MOD:
        number = item->mod_revision;
        break;
    case KV_TARGET_LEASE:
        number = item->lease;
        break;
    case KV_TARGET_VALUE:
    case KV_TARGET_COUNT:
        return order_bytes(item, cmp->value);
    }
    return (number > cmp->number) - (number < cmp->number);
}

bool kv_cmp_holds(const struct kv_cmp *cmp, const struct kv_item *item)
{
    int order;

    if (cmp->target == KV_TARGET_VALUE && item->key == NULL) {
        return false;
    }
    order = order_item(cmp, item);
    switch (cmp->order) {
    case KV_EQUAL:
        return order == 0;
    case KV_NOT_EQUAL:
        return order != 0;
    case KV_LESS:
        return order < 0;
    case KV_GREATER:
        return order > 0;
    case KV_ORDER_COUNT:
        break;
    }
    return false;
}

int kv_item_copy(const struct kv_item *item, bool keys_only, struct kv_item *ret)
{
    size_t key_bytes = strlen(item->key) + 1;
    size_t len = keys_only ? 0 : item->len;
    char *block = fault_malloc(key_bytes + len + 1);

    if (block == NULL) {
        return -ENOMEM;
    }
    memcpy(block, item->key, key_bytes);
    if (len > 0) {
        memcpy(block + key_bytes, item->value, len);
    }
    block[key_bytes + len] = '\0';
    *ret = *item;
    ret->key = block;
    ret->value = block + key_bytes;
    ret->len = len;
    return 0;
}

/* Capacities are the powers of two; a list of 2^k entries is full. */
static bool is_full(size_t n)
{
    return (n & (n - 1)) == 0;
}

int kv_items_add(struct kv_items *items, const struct kv_item *item, bool keys_only)
{
    struct kv_item *grown;
    int r;

    if (is_full(items->n)) {
        grown = fault_realloc(items->items,
                              (items->n == 0 ? 1 : items->n * 2) * sizeof *grown);
        if (grown == NULL) {
            return -ENOMEM;
        }
        items->items = grown;
    }
    r = kv_item_copy(item, keys_only, &items->items[items->n]);
    if (r == 0) {
        items->n += 1;
    }
    return r;
}
