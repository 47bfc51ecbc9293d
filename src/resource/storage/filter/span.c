/* span.c - ranges that one request at a time may change: a list of those held. */
#include "resource/storage/filter/span.h"

#include <stddef.h>

static struct filter_span *find_overlap(const struct filter_spans *all, uint64_t first,
                                        uint64_t end)
{
    struct filter_span *s = all->held;

    while (s != NULL && (s->end <= first || end <= s->first)) {
        s = s->next;
    }
    return s;
}

void filter_span_hold(struct strand_pool *strands, struct filter_spans *all,
                      struct filter_span *s, uint64_t first, uint64_t end)
{
    struct filter_span *other = find_overlap(all, first, end);

    while (other != NULL) {
        strand_wait(strands, &other->waiters);
        other = find_overlap(all, first, end);
    }
    *s = (struct filter_span){.first = first, .end = end, .next = all->held};
    all->held = s;
}

void filter_span_free(struct filter_spans *all, struct filter_span *s)
{
    struct filter_span **at = &all->held;

    while (*at != s) {
        at = &(*at)->next;
    }
    *at = s->next;
    /* Those that wait look again; they are taken off this list before `s` goes. */
    (void)strand_wake_all(&s->waiters);
}
