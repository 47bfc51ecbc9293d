/* lease.c - leases: granted, kept alive, revoked, and swept out when they end.
 *
 * Nobody waits for a lease to end.  Whoever begins a transaction first ends
 * what is due, each lease with a revision of its own, so that no caller ever
 * sees a record whose lease has ended.  A lease with more time left than it was
 * granted was written before the clock began anew, that is, before a restart of
 * the host: it gets its full time again, as etcd does for a new leader. */
#include <assert.h>
#include <errno.h>
#include <time.h>

#include "base/err.h"
#include "base/scope.h"
#include "store/private.h"

int64_t store_now(struct store *s)
{
    struct timespec now;

    if (s->options.now_ms != NULL) {
        return s->options.now_ms(s->options.clock_arg);
    }
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool store_must_sweep(const struct store_lease *lease, int64_t now)
{
    return lease->due_ms <= now || lease->due_ms - lease->ttl_seconds * 1000 > now;
}

/* Delete the lease and its records in one revision. */
static int end_lease(struct store *s, int64_t id, struct err *e)
{
    SCOPED(kv_items_fini) struct kv_items items = {0};
    int r = s->bed->attached(s, id, store_collect, &items);

    if (r < 0) {
        return s->bed->explain(s, r, e);
    }
    r = store_delete_items(s, &items, e);
    if (r < 0) {
        return r;
    }
    store_next_revision(s);
    return s->bed->lease_drop(s, id, e);
}

int store_sweep(struct store *s, struct err *e)
{
    int64_t now = store_now(s);
    struct store_lease lease;
    int r;

    while ((r = s->bed->lease_due(s, now, &lease, e)) > 0) {
        if (lease.due_ms <= now) {
            r = end_lease(s, lease.id, e);
        } else {
            lease.due_ms = now + lease.ttl_seconds * 1000;
            r = s->bed->lease_set(s, &lease, e);
        }
        if (r < 0) {
            return r;
        }
    }
    return r;
}

static int find(struct store *s, int64_t id, struct store_lease *ret, struct err *e)
{
    int r = s->bed->lease_get(s, id, ret, e);

    if (r == 0) {
        return err_set(e, -ENOENT, "there is no lease %lld", (long long)id);
    }
    return r < 0 ? r : 0;
}

static void answer(struct store *s, const struct store_lease *lease, struct kv_lease *ret)
{
    ret->id = lease->id;
    ret->ttl_seconds = lease->ttl_seconds;
    ret->left_ms = lease->due_ms - store_now(s);
}

/* A free identifier: from the clock, then the next ones. */
static int choose_id(struct store *s, int64_t *id, struct err *e)
{
    struct store_lease taken;
    struct timespec now;
    int r;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    *id = ((int64_t)now.tv_sec << 30 | now.tv_nsec) & INT64_MAX;
    while ((r = s->bed->lease_get(s, *id, &taken, e)) > 0) {
        *id = *id == INT64_MAX ? 1 : *id + 1;
    }
    return r;
}

static int grant(struct store *s, struct store_lease *lease, struct err *e)
{
    struct store_lease taken;
    int r;

    if (lease->id == 0) {
        r = choose_id(s, &lease->id, e);
    } else {
        r = s->bed->lease_get(s, lease->id, &taken, e);
    }
    if (r > 0) {
        return err_set(e, -EEXIST, "there is a lease %lld already", (long long)lease->id);
    }
    return r < 0 ? r : s->bed->lease_set(s, lease, e);
}

int store_lease_grant(struct kv *kv, int64_t id, int64_t ttl_seconds,
                      struct kv_lease *ret, struct err *e)
{
    struct store *s = store_of(kv);
    struct store_lease lease = {.id = id, .ttl_seconds = ttl_seconds};
    int r = store_begin(s, true, false, e);

    if (r < 0) {
        return r;
    }
    lease.due_ms = store_now(s) + ttl_seconds * 1000;
    r = store_end(s, grant(s, &lease, e), e);
    if (r == 0) {
        answer(s, &lease, ret);
    }
    return r;
}

int store_lease_keep(struct kv *kv, int64_t id, struct kv_lease *ret, struct err *e)
{
    struct store *s = store_of(kv);
    struct store_lease lease;
    int r = store_begin(s, true, false, e);

    if (r < 0) {
        return r;
    }
    r = find(s, id, &lease, e);
    if (r == 0) {
        lease.due_ms = store_now(s) + lease.ttl_seconds * 1000;
        r = s->bed->lease_set(s, &lease, e);
    }
    r = store_end(s, r, e);
    if (r == 0) {
        answer(s, &lease, ret);
    }
    return r;
}

int store_lease_get(struct kv *kv, int64_t id, struct kv_lease *ret, struct err *e)
{
    struct store *s = store_of(kv);
    struct store_lease lease;
    int r = store_begin(s, false, false, e);

    if (r < 0) {
        return r;
    }
    r = store_end(s, find(s, id, &lease, e), e);
    if (r == 0) {
        answer(s, &lease, ret);
    }
    return r;
}

int store_lease_revoke(struct kv *kv, int64_t id, struct err *e)
{
    struct store *s = store_of(kv);
    struct store_lease lease;
    int r = store_begin(s, true, false, e);

    if (r < 0) {
        return r;
    }
    r = find(s, id, &lease, e);
    return store_end(s, r < 0 ? r : end_lease(s, id, e), e);
}
