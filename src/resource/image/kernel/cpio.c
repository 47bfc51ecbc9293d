/* cpio.c - one head of 110 characters, the name, the bytes; both padded to 4. */
#include "resource/image/kernel/cpio.h"

#include <string.h>

static void pad(struct cpio *c)
{
    static const char zeros[4];

    str_add_bytes(c->to, zeros, (4 - c->to->len % 4) % 4);
}

struct node {
    uint32_t number;
    mode_t mode;
    unsigned major, minor;
};

static void put(struct cpio *c, const char *name, const struct node *x, const void *bytes,
                size_t len)
{
    str_addf(c->to, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
             x->number, x->mode, 0u, 0u, 1u, 0u, (unsigned)len, 0u, 0u, x->major,
             x->minor, (unsigned)strlen(name) + 1, 0u);
    str_add_bytes(c->to, name, strlen(name) + 1);
    pad(c);
    if (len > 0) {
        str_add_bytes(c->to, bytes, len);
        pad(c);
    }
}

void cpio_add(struct cpio *c, const char *name, mode_t mode, const void *bytes,
              size_t len)
{
    const struct node x = {.number = ++c->files, .mode = mode};

    put(c, name, &x, bytes, len);
}

void cpio_add_device(struct cpio *c, const char *name, mode_t mode, unsigned major,
                     unsigned minor)
{
    const struct node x = {
        .number = ++c->files, .mode = mode, .major = major, .minor = minor};

    put(c, name, &x, NULL, 0);
}

void cpio_end(struct cpio *c)
{
    const struct node x = {0};

    put(c, "TRAILER!!!", &x, NULL, 0);
}
