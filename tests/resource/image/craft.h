/* craft.h - tars and stores made by hand, byte by byte, not by the code under test. */
#ifndef TESTS_RESOURCE_IMAGE_CRAFT_H
#define TESTS_RESOURCE_IMAGE_CRAFT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "host/file.h"

/* One header block; `size` as it shall stand there. */
static inline void craft_header(struct str *tar, const char *name, char flag,
                                const char *link, unsigned long long size)
{
    char h[512] = {0};
    unsigned sum = 0;

    (void)snprintf(h, 100, "%s", name);
    (void)snprintf(h + 100, 8, "%07o", flag == '5' ? 0755 : 0644);
    (void)snprintf(h + 108, 8, "%07o", 0);
    (void)snprintf(h + 116, 8, "%07o", 0);
    (void)snprintf(h + 124, 12, "%011llo", size & 077777777777);
    (void)snprintf(h + 136, 12, "%011o", 1000000000);
    memset(h + 148, ' ', 8);
    h[156] = flag;
    (void)snprintf(h + 157, 100, "%s", link);
    memcpy(h + 257, "ustar\00000", 8);
    for (int i = 0; i < 512; i++) {
        sum += (unsigned char)h[i];
    }
    (void)snprintf(h + 148, 8, "%06o", sum);
    str_add_bytes(tar, h, 512);
}

static inline void craft_entry(struct str *tar, const char *name, char flag,
                               const char *link, const char *data)
{
    static const char zeros[512];
    size_t len = strlen(data);

    craft_header(tar, name, flag, link, len);
    str_add_bytes(tar, data, len);
    str_add_bytes(tar, zeros, (512 - len % 512) % 512);
}

/* A pax header for the next entry; `records` as they are. */
static inline void craft_pax(struct str *tar, const char *records)
{
    craft_entry(tar, "pax", 'x', "", records);
}

static inline void craft_end(struct str *tar)
{
    static const char zeros[1024];

    str_add_bytes(tar, zeros, sizeof zeros);
}

/* A new directory for one test, as a path that `craft_remove` takes back. */
static inline char *craft_dir(void)
{
    char *path = strdup("/tmp/strata-image-test-XXXXXX");

    return mkdtemp(path);
}

static inline void craft_remove(char *path)
{
    (void)file_remove_tree(-100 /* AT_FDCWD */, path);
    free(path);
}

#endif
