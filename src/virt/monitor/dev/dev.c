/* dev.c - devices come and go. */
#include "virt/monitor/dev/dev.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/fault.h"

int dev_create(const struct dev_class *class, struct board *b, const void *config,
               struct dev **ret, struct err *e)
{
    struct dev *d = fault_calloc(1, class->state_bytes);
    int r;

    if (d == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    d->class = class;
    d->board = b;
    r = class->start(d, config, e);
    if (r != 0) {
        err_wrap(e, "device '%s'", class->name);
        free(d);
        return r;
    }
    if (class->reset != NULL) {
        class->reset(d);
    }
    *ret = d;
    return 0;
}

void dev_destroy(struct dev *d)
{
    if (d != NULL && d->class->stop != NULL) {
        d->class->stop(d);
    }
    free(d);
}
