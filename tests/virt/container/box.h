/* box.h - a container with a busybox root in a temporary directory, for tests. */
#ifndef TESTS_VIRT_CONTAINER_BOX_H
#define TESTS_VIRT_CONTAINER_BOX_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/json.h"
#include "virt/container/container.h"

#define BOX_OUT_BYTES 16384

struct box {
    char dir[64];            /* rootfs, state and whatever a test adds lie in it */
    json_t *config;          /* the usual one; tests change it */
    struct err e;            /* of the last `box_run` */
    char out[BOX_OUT_BYTES]; /* what the program of the last run wrote */
    const struct container_overlay *overlay;
    int preserve_fds;
    struct container *c; /* of `box_create` */
};

/* Why no container can be made here, or NULL. */
const char *box_missing(void);

void box_init(struct box *b);
void box_fini(struct box *b);

/* For cmocka: a box of each test's own as its state; exits with 77, and the reason, where
 * there can be none.  No test may hang. */
int box_begin(void **state);
int box_end(void **state);

/* What failed, and what the program said, are printed. */
void box_must(const struct box *b, int r);

/* Run a shell script as the first program to its end.  Its exit code, or the
 * negative errno of the step that failed, with the reason in `e`. */
int box_run(struct box *b, const char *script);

/* As above with a whole argument list, ending with NULL. */
int box_run_args(struct box *b, const char *const *args);

/* Create only, as `id`; output goes to this process's own. */
int box_create(struct box *b, const char *id, const char *script);

/* One more program in `b->c`; its exit code, its output in `out`. */
int box_exec(struct box *b, const char *script);

/* "DIR/name", in a rotating set of buffers. */
const char *box_path(const struct box *b, const char *name);

/* A file with this text in DIR. */
void box_write(const struct box *b, const char *name, const char *text);

/* Change the configuration: the value at the end of a dotted path; taken. */
void box_set(struct box *b, const char *path, json_t *value);

/* Add to an array of the configuration; taken. */
void box_add(struct box *b, const char *path, json_t *value);

/* A mount; `options` separated by blanks. */
void box_mount(struct box *b, const char *to, const char *type, const char *from,
               const char *options);

/* Do not ask for this namespace; ask for it, with a path or NULL. */
void box_namespace(struct box *b, const char *type, bool wanted, const char *path);

/* A user namespace whose root is `base` outside. */
void box_map(struct box *b, unsigned base);

#endif
