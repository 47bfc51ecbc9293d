/* caps.h - the five capability sets of a process, by their OCI names.
 *
 * A set is a mask: bit n is capability n of <linux/capability.h>. */
#ifndef VIRT_CONTAINER_CONFINE_CAPS_H
#define VIRT_CONTAINER_CONFINE_CAPS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct err;
struct strv;

#define CAPS_ALL UINT64_MAX

struct caps {
    uint64_t bounding, effective, inheritable, permitted, ambient;
};

/* Read OCI `process.capabilities` (NULL: all sets empty).  An unknown name is
 * left out with a line in `warnings`. */
int caps_parse(const json_t *obj, const char *where, struct caps *ret,
               struct strv *warnings, struct err *e);

/* Leave out what the calling process cannot pass on (not in its own bounding
 * and permitted sets), with one line that names all of it; `in_userns`: the
 * process will have every capability of a new user namespace, though no more
 * than the kernel knows. */
void caps_limit(struct caps *c, bool in_userns, struct strv *warnings);

/* Step one, while still privileged: drop from the bounding set, keep the rest
 * over the change of user.  Step two, after setuid: set the three sets and the
 * ambient one.  Neither allocates.  0 or -errno. */
int caps_before_setuid(const struct caps *c);
int caps_after_setuid(const struct caps *c);

/* What a container gets when nothing is said. */
uint64_t caps_default(void);

/* What the calling process has in its bounding set; -errno. */
int caps_host(uint64_t *ret_bounding, uint64_t *ret_permitted);

/* "CAP_CHOWN" (any case, with or without "CAP_") -> 0; -1: unknown.  And back;
 * NULL past the last known. */
int caps_from_name(const char *name);
const char *caps_name(int cap);

/* The names of a set as a JSON array, for a generated configuration. */
json_t *caps_to_json(uint64_t set);

#endif
