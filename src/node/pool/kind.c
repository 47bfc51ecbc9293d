/* kind.c - the table of the kinds of members, and the way to what they do. */
#include "node/pool/kind.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"

/* A path is tried with each of those that take paths, in this order. */
static const struct pool_kind *const kinds[] = {
    &pool_lvm_kind,
    &pool_ceph_kind,
    &pool_device_kind,
    &pool_directory_kind,
};

#define KINDS (sizeof kinds / sizeof kinds[0])

const struct pool_kind *pool_kind_of(const json_t *member)
{
    const char *name = pool_text(member, "kind");

    for (size_t i = 0; i < KINDS; i++) {
        if (strcmp(kinds[i]->name, name) == 0) {
            return kinds[i];
        }
    }
    return &pool_directory_kind;
}

static int parse(const struct pool_kind *k, const char *place, json_t **ret,
                 struct err *e)
{
    json_t *member = json_pack("{s:s}", "kind", k->name);
    int r =
        member == NULL ? err_set(e, -ENOMEM, "no memory") : k->parse(place, member, e);

    if (r < 0) {
        json_decref(member);
        return r;
    }
    *ret = member;
    return 0;
}

int pool_parse_place(const char *place, json_t **ret, struct err *e)
{
    int r = -ENOTSUP;

    for (size_t i = 0; i < KINDS; i++) {
        if (kinds[i]->prefix != NULL && str_starts(place, kinds[i]->prefix)) {
            return parse(kinds[i], place + strlen(kinds[i]->prefix), ret, e);
        }
    }
    for (size_t i = 0; r == -ENOTSUP && i < KINDS; i++) {
        r = kinds[i]->prefix == NULL ? parse(kinds[i], place, ret, e) : r;
    }
    return r;
}

int pool_claim_member(struct node *n, const json_t *pool, const json_t *member,
                      bool force, struct err *e)
{
    return pool_kind_of(member)->claim(n, pool, member, force, e);
}

void pool_release_member(struct node *n, const json_t *pool, const json_t *member)
{
    pool_kind_of(member)->release(n, pool, member);
}

/* ---- pieces ---- */

int pool_piece_words(struct node *n, const struct pool_piece *p,
                     const struct pool_node *as, struct words *w, struct err *e)
{
    return pool_kind_of(p->member)->words(n, p, as, w, e);
}

int pool_piece_reopen(struct node *n, const struct pool_piece *p, const char *name,
                      struct words *w, struct err *e)
{
    const struct pool_kind *k = pool_kind_of(p->member);

    return k->reopen != NULL ? k->reopen(n, p, name, w, e)
                             : err_set(e, -EOPNOTSUPP,
                                       "what lies on %s is not written while it is read",
                                       pool_member_path(p->member));
}

int pool_piece_hold(struct node *n, const struct pool_piece *p, bool writes,
                    struct err *e)
{
    return pool_kind_of(p->member)->hold(n, p, writes, e);
}

int pool_piece_used(struct node *n, const struct pool_piece *p, uint64_t *ret)
{
    return pool_kind_of(p->member)->used(n, p, ret);
}

int pool_piece_remove(struct node *n, const struct pool_piece *p, int held)
{
    return pool_kind_of(p->member)->remove(n, p, held);
}

bool pool_member_has_files(const json_t *member)
{
    return pool_kind_of(member)->open != NULL;
}

int pool_piece_open(struct node *n, const struct pool_piece *p, int flags, struct err *e)
{
    const struct pool_kind *k = pool_kind_of(p->member);

    return k->open != NULL
               ? k->open(n, p, flags, e)
               : err_set(e, -EOPNOTSUPP, "member %u (%s) has no files",
                         pool_member_id(p->member), pool_member_path(p->member));
}

int pool_piece_path(const struct pool_piece *p, char out[PATH_MAX])
{
    const struct pool_kind *k = pool_kind_of(p->member);

    out[0] = '\0';
    return k->path != NULL ? k->path(p, out) : -EOPNOTSUPP;
}

int pool_piece_resize(struct node *n, const struct pool_piece *p, uint64_t bytes,
                      struct err *e)
{
    const struct pool_kind *k = pool_kind_of(p->member);

    return k->resize != NULL ? k->resize(n, p, bytes, e) : 0;
}

uint64_t pool_member_unit(const json_t *member)
{
    const struct pool_kind *k = pool_kind_of(member);

    return k->unit_bytes > 0 ? k->unit_bytes : 1;
}

int pool_piece_list(struct node *n, const json_t *pool, const json_t *member,
                    pool_piece_fn *each, void *arg)
{
    return pool_kind_of(member)->list(n, pool, member, each, arg);
}
