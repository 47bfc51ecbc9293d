/* node/id/subid.h - the ids a user may give away, and whether the host lets him. */
#ifndef NODE_ID_SUBID_H
#define NODE_ID_SUBID_H

#include <jansson.h>
#include <stdbool.h>

/* The `uidMappings` (or, for groups, `gidMappings`) of a guest of this user: root is
 * the user; the rest is his range of /etc/subuid or /etc/subgid, where he has one
 * and newuidmap(1) is there; else nobody.  The same rule as the program `image`
 * has for what it unpacks.  NULL: no memory. */
json_t *subid_map(bool groups);

/* How many ids that is. */
json_int_t subid_count(const json_t *map);

#endif
