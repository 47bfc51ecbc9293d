/* tar_write.c - tar headers; the same input gives the same bytes. */
#include "resource/image/pack/tar_write.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"

#define COPY_BYTES    (256u << 10)
#define OCTAL_SIZE    077777777777ull /* 8 GiB - 1: what 11 octal digits hold */
#define OCTAL_ID      07777777u
#define NAME_BYTES    100
#define LINK_BYTES    100
#define PAX_NAME_HEAD "PaxHeaders/"

static void put_octal(uint8_t *p, size_t n, uint64_t v)
{
    for (size_t i = n - 1; i-- > 0; v >>= 3) {
        p[i] = (uint8_t)('0' + (v & 7));
    }
    p[n - 1] = '\0';
}

static uint8_t type_flag(char type)
{
    switch (type) {
    case 'h':
        return '1';
    case 'l':
        return '2';
    case 'c':
        return '3';
    case 'b':
        return '4';
    case 'd':
        return '5';
    case 'p':
        return '6';
    case 'x':
        return 'x';
    default:
        return '0';
    }
}

static void put_text(uint8_t *p, size_t room, const char *text)
{
    memcpy(p, text, strnlen(text, room));
}

static void fill_header(uint8_t h[TAR_BLOCK_BYTES], const struct tar_entry *x,
                        uint32_t dev_major, uint32_t dev_minor)
{
    uint32_t sum = 0;

    memset(h, 0, TAR_BLOCK_BYTES);
    put_text(h, NAME_BYTES, x->path);
    put_octal(h + 100, 8, x->mode & 07777);
    put_octal(h + 108, 8, x->uid <= OCTAL_ID ? x->uid : 0);
    put_octal(h + 116, 8, x->gid <= OCTAL_ID ? x->gid : 0);
    put_octal(h + 124, 12, x->type == '-' || x->type == 'x' ? x->size & OCTAL_SIZE : 0);
    put_octal(h + 136, 12, x->mtime >= 0 ? (uint64_t)x->mtime & OCTAL_SIZE : 0);
    h[156] = type_flag(x->type);
    if (x->type == 'h' || x->type == 'l') {
        put_text(h + 157, LINK_BYTES, x->link);
    }
    memcpy(h + 257, "ustar\00000", 8);
    if (x->type == 'c' || x->type == 'b') {
        put_octal(h + 329, 8, dev_major & OCTAL_ID);
        put_octal(h + 337, 8, dev_minor & OCTAL_ID);
    }
    memset(h + 148, ' ', 8);
    for (size_t i = 0; i < TAR_BLOCK_BYTES; i++) {
        sum += h[i];
    }
    put_octal(h + 148, 7, sum);
}

/* "LENGTH KEY=VALUE\n", where LENGTH counts its own digits. */
static void add_record(struct str *s, const char *key, const void *value, size_t len)
{
    size_t rest = strlen(key) + len + 3, total = rest + 1;
    char digits[24];

    while (rest + (size_t)snprintf(digits, sizeof digits, "%zu", total) != total) {
        total = rest + strlen(digits);
    }
    str_addf(s, "%s %s=", digits, key);
    str_add_bytes(s, value, len);
    str_add(s, "\n");
}

static void add_number(struct str *s, const char *key, int64_t v)
{
    char text[24];

    (void)snprintf(text, sizeof text, "%lld", (long long)v);
    add_record(s, key, text, strlen(text));
}

/* What does not fit the header. */
static int collect_pax(const struct tar_entry *x, struct str *s)
{
    if (strlen(x->path) > NAME_BYTES) {
        add_record(s, "path", x->path, strlen(x->path));
    }
    if ((x->type == 'h' || x->type == 'l') && strlen(x->link) > LINK_BYTES) {
        add_record(s, "linkpath", x->link, strlen(x->link));
    }
    if (x->type == '-' && x->size > OCTAL_SIZE) {
        add_number(s, "size", (int64_t)x->size);
    }
    if (x->uid > OCTAL_ID) {
        add_number(s, "uid", x->uid);
    }
    if (x->gid > OCTAL_ID) {
        add_number(s, "gid", x->gid);
    }
    if (x->mtime < 0 || (uint64_t)x->mtime > OCTAL_SIZE) {
        add_number(s, "mtime", x->mtime);
    }
    for (size_t i = 0; i < x->n_xattrs; i++) {
        char key[300];

        if (str_print(key, sizeof key, "SCHILY.xattr.%s", x->xattrs[i].name) == 0) {
            add_record(s, key, x->xattrs[i].value, x->xattrs[i].len);
        }
    }
    return str_failed(s) ? -ENOMEM : 0;
}

static int put_pax(struct tar_write *t, const struct tar_entry *x, const struct str *s,
                   struct err *e)
{
    uint8_t h[TAR_BLOCK_BYTES];
    char name[NAME_BYTES + 1];
    struct tar_entry pax = {
        .path = name, .link = "", .type = 'x', .mode = 0644, .size = s->len};
    const char *last = strrchr(x->path, '/');
    int r;

    (void)snprintf(name, sizeof name, PAX_NAME_HEAD "%s",
                   last != NULL ? last + 1 : x->path);
    fill_header(h, &pax, 0, 0);
    r = t->put(t->arg, h, sizeof h, e);
    r = r < 0 ? r : t->put(t->arg, s->data, s->len, e);
    return r < 0 ? r : tar_write_pad(t, s->len, e);
}

int tar_write_entry(struct tar_write *t, const struct tar_entry *x, uint32_t dev_major,
                    uint32_t dev_minor, struct err *e)
{
    SCOPED(str_fini) struct str pax = {0};
    uint8_t h[TAR_BLOCK_BYTES];
    int r = collect_pax(x, &pax);

    if (r < 0) {
        return err_set(e, r, "out of memory");
    }
    if (pax.len > 0) {
        r = put_pax(t, x, &pax, e);
    }
    fill_header(h, x, dev_major, dev_minor);
    return r < 0 ? r : t->put(t->arg, h, sizeof h, e);
}

int tar_write_data(struct tar_write *t, const void *bytes, size_t len, struct err *e)
{
    return t->put(t->arg, bytes, len, e);
}

int tar_write_pad(struct tar_write *t, uint64_t size, struct err *e)
{
    static const uint8_t zeros[TAR_BLOCK_BYTES];
    size_t n = (TAR_BLOCK_BYTES - size % TAR_BLOCK_BYTES) % TAR_BLOCK_BYTES;

    return n == 0 ? 0 : t->put(t->arg, zeros, n, e);
}

int tar_write_fd(struct tar_write *t, int fd, uint64_t size, struct err *e)
{
    SCOPED(scope_free) uint8_t *buf = fault_malloc(COPY_BYTES);
    uint64_t done = 0;
    int r = buf == NULL ? err_set(e, -ENOMEM, "out of memory") : 0;

    while (r == 0 && done < size) {
        size_t want = size - done < COPY_BYTES ? (size_t)(size - done) : COPY_BYTES;
        ssize_t n = pread(fd, buf, want, (off_t)done);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return err_sys(e, -errno, "cannot read");
        }
        if (n == 0) {
            memset(buf, 0, want);
            n = (ssize_t)want;
        }
        r = t->put(t->arg, buf, (size_t)n, e);
        done += (uint64_t)n;
    }
    return r < 0 ? r : tar_write_pad(t, size, e);
}

int tar_write_file(struct tar_write *t, const char *path, const void *bytes, size_t len,
                   struct err *e)
{
    struct tar_entry x = {
        .path = path, .link = "", .type = '-', .mode = 0644, .size = len};
    int r = tar_write_entry(t, &x, 0, 0, e);

    r = r < 0 ? r : t->put(t->arg, bytes, len, e);
    return r < 0 ? r : tar_write_pad(t, len, e);
}

int tar_write_end(struct tar_write *t, struct err *e)
{
    static const uint8_t zeros[2 * TAR_BLOCK_BYTES];

    return t->put(t->arg, zeros, sizeof zeros, e);
}
