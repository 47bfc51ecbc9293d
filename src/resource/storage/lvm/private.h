/* private.h - the program and its reports. */
#ifndef RESOURCE_STORAGE_LVM_PRIVATE_H
#define RESOURCE_STORAGE_LVM_PRIVATE_H

#include <stddef.h>

#include "resource/storage/lvm/lvm.h"

#define LVM_WORDS_MOST 24

/* What a run of the program left. */
struct lvm_output {
    char *text; /* owned: its standard output */
    size_t bytes;
};

/* Run `lvm` with words that end with NULL; the one place where it is started.  Its last
 * complaint becomes the error's text, and as far as it is known, its code. */
int lvm_run(const struct lvm_pool *p, const char *const *words, struct lvm_output *ret,
            struct err *e);

/* The report of `lvs`: the pool itself, and each of its volumes. */
struct lvm_reader {
    const struct lvm_pool *pool;
    void (*each)(void *arg, const struct lvm_volume *v); /* NULL: not wanted */
    void *arg;
    struct lvm_usage *usage; /* NULL: not wanted */
    bool found;              /* the pool */
};

/* The fields that `lvm_report_read` expects, for the option -o. */
extern const char lvm_report_fields[];

int lvm_report_read(const char *text, size_t bytes, struct lvm_reader *r, struct err *e);

#endif
