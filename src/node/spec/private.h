/* node/spec/private.h - what the parts of a plan are made from, shared by their files. */
#ifndef NODE_SPEC_PRIVATE_H
#define NODE_SPEC_PRIVATE_H

#include "node/id/user.h"
#include "node/private.h"

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

/* Everything a builder needs. */
struct plan {
    struct node *n;
    const struct guest *g;
    const json_t *config; /* what was ordered */
    const json_t *image;  /* what the image says */
    json_t *oci;          /* being made; borrowed from the result */
    json_t *disks;        /* the same: volumes to be mounted (node/mount) */
    struct user user;
    bool shifted; /* root of the guest is not root of the host */
    int64_t base; /* first host id of its range */
};

/* A member's text, or `other` when it is missing or empty. */
const char *spec_text(const json_t *obj, const char *key, const char *other);
bool spec_flag(const json_t *obj, const char *key);
void spec_add_text(json_t *list, const char *text);

/* What people write, read: capabilities with "ALL", NAME=SOFT[:HARD] as an OCI limit,
 * HOST[:GUEST[:rwm]], and the one word after "seccomp=". */
struct spec_device {
    char host[PATH_MAX];
    char guest[PATH_MAX];
    char access[4];
};

/* What stands behind a volume: "ro,partition=2,key-file=/FILE". */
struct spec_volume_words {
    bool read_only;
    unsigned partition; /* 0: none */
    char key_file[PATH_MAX];
};

int spec_read_volume_words(const char *text, const char *words,
                           struct spec_volume_words *ret, struct err *e);
int spec_read_caps(const json_t *list, uint64_t *ret, bool *ret_all, struct err *e);
int spec_read_ulimit(const char *text, json_t **ret, struct err *e);
int spec_read_device(const char *text, struct spec_device *ret, struct err *e);
int spec_read_seccomp(const json_t *config, const char **ret, struct err *e);

/* What the guest's program gets: words, and variables as "K=V". */
json_t *spec_arguments(const struct plan *p);
json_t *spec_environment(const struct plan *p);

/* Each adds its part to `p->oci`. */
int spec_build_process(struct plan *p, struct err *e);
int spec_build_mounts(const struct plan *p, struct err *e);
int spec_build_linux(const struct plan *p, struct err *e);

/* machine.c: the part of a machine, instead. */
int spec_build_machine(const struct plan *p, json_t *spec, struct err *e);

/* Neither the order nor the image says what is to be run. */
int spec_no_command(const struct plan *p, struct err *e);

/* "seccomp=FILE|unconfined|default": adds to `spec`, and to `p->oci` a profile of one's own. */
int spec_build_seccomp(const struct plan *p, json_t *spec, struct err *e);

#endif
