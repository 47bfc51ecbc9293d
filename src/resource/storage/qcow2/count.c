/* count.c - how often clusters are referred to, counted anew. */
#include "resource/storage/qcow2/check.h"

#include <errno.h>
#include <stdlib.h>

#include "base/fault.h"

#define BYTES_MOST    ((uint64_t)1 << 30)
#define LEAST_BUCKETS 1024u

static uint32_t bucket_of(uint64_t number, uint32_t buckets)
{
    return (uint32_t)(number * 0x9e3779b97f4a7c15u >> 32) & (buckets - 1);
}

static struct count_page *find(const struct count *c, uint64_t number)
{
    struct count_page *p = NULL;

    if (c->buckets > 0) {
        p = c->bucket[bucket_of(number, c->buckets)];
    }
    while (p != NULL && p->number != number) {
        p = p->next;
    }
    return p;
}

static int grow(struct count *c)
{
    uint32_t buckets = c->buckets == 0 ? LEAST_BUCKETS : 4 * c->buckets;
    struct count_page **bucket = fault_calloc(buckets, sizeof(struct count_page *));

    if (bucket == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < c->buckets; i++) {
        while (c->bucket[i] != NULL) {
            struct count_page *p = c->bucket[i];
            uint32_t k = bucket_of(p->number, buckets);

            c->bucket[i] = p->next;
            p->next = bucket[k];
            bucket[k] = p;
        }
    }
    free(c->bucket);
    c->bucket = bucket;
    c->buckets = buckets;
    return 0;
}

static int page_for(struct count *c, uint64_t number, struct count_page **ret)
{
    struct count_page *p = find(c, number);
    uint32_t i;

    if (p != NULL) {
        *ret = p;
        return 0;
    }
    if (c->pages * sizeof *p > BYTES_MOST) {
        return -EFBIG;
    }
    if (c->pages >= c->buckets && grow(c) != 0) {
        return -ENOMEM;
    }
    p = fault_calloc(1, sizeof *p);
    if (p == NULL) {
        return -ENOMEM;
    }
    i = bucket_of(number, c->buckets);
    p->number = number;
    p->next = c->bucket[i];
    c->bucket[i] = p;
    c->pages++;
    *ret = p;
    return 0;
}

int qcow2_count_add(struct count *c, uint64_t cluster, uint64_t clusters)
{
    for (uint64_t i = cluster; i < cluster + clusters; i++) {
        struct count_page *p;
        int r = page_for(c, i / COUNT_PAGE, &p);

        if (r != 0) {
            return r;
        }
        p->refs[i % COUNT_PAGE] += p->refs[i % COUNT_PAGE] < UINT32_MAX;
        c->end = i + 1 > c->end ? i + 1 : c->end;
    }
    return 0;
}

uint32_t qcow2_count_of(const struct count *c, uint64_t cluster)
{
    const struct count_page *p = find(c, cluster / COUNT_PAGE);

    return p == NULL ? 0 : p->refs[cluster % COUNT_PAGE];
}

void qcow2_count_fini(struct count *c)
{
    for (uint32_t i = 0; i < c->buckets; i++) {
        while (c->bucket[i] != NULL) {
            struct count_page *p = c->bucket[i];

            c->bucket[i] = p->next;
            free(p);
        }
    }
    free(c->bucket);
    *c = (struct count){0};
}
