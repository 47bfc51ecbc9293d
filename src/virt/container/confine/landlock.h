/* landlock.h - confine the calling process to named paths and ports.
 *
 * Everything of a kind that the rules name is denied unless allowed: when a path
 * is named, all paths; when a TCP port is named, all of that direction. */
#ifndef VIRT_CONTAINER_CONFINE_LANDLOCK_H
#define VIRT_CONTAINER_CONFINE_LANDLOCK_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct err;
struct landlock;
struct strv;

enum landlock_access {
    LANDLOCK_READ = 1,   /* read files, list directories */
    LANDLOCK_WRITE = 2,  /* write, create, remove, rename */
    LANDLOCK_EXEC = 4,   /* execute */
    LANDLOCK_DEVICE = 8, /* ioctl on device nodes */
};

/* The ABI of the running kernel; 0: Landlock is absent or off. */
int landlock_abi(void);

/* Empty rules; NULL: no memory. */
struct landlock *landlock_create(void);
void landlock_destroy(struct landlock *l);

/* Allow `access` (of `enum landlock_access`) at and below `path`; a path that
 * does not exist when the rules are applied is an error unless `optional`. */
int landlock_allow_path(struct landlock *l, const char *path, unsigned access,
                        bool optional);
int landlock_allow_bind(struct landlock *l, uint16_t port);
int landlock_allow_connect(struct landlock *l, uint16_t port);

/* Deny TCP without naming a port; keep abstract sockets and signals inside. */
void landlock_close_tcp(struct landlock *l);
void landlock_close_scope(struct landlock *l);

/* Rules from an object such as the value of an annotation:
 * {"readOnly": ["/usr"], "readWrite": ["/tmp"], "exec": ["/usr/bin"],
 *  "bind": [80], "connect": [443], "scoped": true} */
int landlock_parse(const json_t *obj, struct landlock **ret, struct err *e);

/* Put the rules into force for the calling thread and what it starts, for good;
 * sets no_new_privs.  What the kernel's ABI lacks is left out with one line. */
int landlock_apply(const struct landlock *l, struct strv *warnings, struct err *e);

#endif
