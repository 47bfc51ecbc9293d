/* label.c - how a member is told from what merely lies at its path.
 *
 * A member carries the words
 *
 *     strata-pool POOL-ID MEMBER-NUMBER POOL-NAME
 *
 * where its kind has a place for them.  A mount that is missing leaves an empty directory at
 * the path, a swapped disk a foreign label: both are a lost member, and nothing is ever written
 * there.  A command that was killed between the label and the record leaves a mark of a pool
 * that nobody knows, which `--force` takes over; where a layer lies, nothing does. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/scope.h"
#include "base/str.h"
#include "node/pool/kind.h"

void pool_mark_short(const json_t *pool, const json_t *member, char out[POOL_MARK_BYTES])
{
    (void)str_print(out, POOL_MARK_BYTES, "strata-pool %s %u", pool_text(pool, "id"),
                    pool_member_id(member));
}

void pool_mark(const json_t *pool, const json_t *member, char out[POOL_MARK_BYTES])
{
    (void)str_print(out, POOL_MARK_BYTES, "strata-pool %s %u %s", pool_text(pool, "id"),
                    pool_member_id(member), pool_text(pool, "name"));
}

bool pool_mark_is_ours(const char *text, const json_t *pool, const json_t *member)
{
    char want[POOL_MARK_BYTES];

    pool_mark_short(pool, member, want);
    return strncmp(text, want, strlen(want)) == 0 && text[strlen(want)] == ' ';
}

int pool_lost(const json_t *member, const char *why, struct err *e)
{
    return err_set(e, -ENODEV, "member %u (%s) is lost: %s", pool_member_id(member),
                   pool_member_path(member), why);
}

int pool_check_mark(struct node *n, const char *text, const char *path, bool force,
                    struct err *e)
{
    SCOPED(scope_json) json_t *pools = NULL;
    char id[POOL_ID_DIGITS + 1] = "";
    unsigned number = 0;
    size_t i;
    json_t *pool;

    (void)sscanf(text, "strata-pool %16s %u", id, &number);
    (void)record_list(n, "/pools/", &pools, NULL);
    json_array_foreach(pools, i, pool)
    {
        if (strcmp(pool_text(pool, "id"), id) == 0 && pool_member(pool, number) != NULL) {
            return err_set(e, -EEXIST,
                           "cannot use '%s' as a member: it is one of pool '%s'", path,
                           pool_text(pool, "name"));
        }
    }
    return force ? 0
                 : err_set(e, -EEXIST,
                           "cannot use '%s' as a member: it is marked as one of a pool "
                           "that is not known here (see '--force')",
                           path);
}
