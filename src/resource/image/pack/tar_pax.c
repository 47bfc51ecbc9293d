/* tar_pax.c - records of a pax header: "LENGTH KEY=VALUE\n", one after another. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/str.h"
#include "resource/image/pack/tar_private.h"

#define XATTR_PREFIX  "SCHILY.xattr."
#define SPARSE_PREFIX "GNU.sparse."

/* What GNU.sparse.* records gather until the header is read. */
struct sparse {
    uint64_t offset; /* of version 0.0, waiting for its length */
    uint64_t major;  /* 1: the map stands in the data */
    uint64_t size;   /* of the file; valid with `has_size` */
    bool has_offset, has_size, has_map;
};

static int damaged(const char *key, struct err *e)
{
    return err_set(e, -EBADMSG, "an extended header has a bad '%.60s'", key);
}

int tar_add_segment(struct tar_read *t, struct tar_segment g, struct err *e)
{
    if (t->n_segments == TAR_SEGMENTS_MAX) {
        return err_set(e, -EFBIG, "a sparse file has too many segments");
    }
    if (t->n_segments == t->cap_segments) {
        size_t cap = t->cap_segments == 0 ? 64 : 2 * t->cap_segments;
        void *more = fault_realloc(t->segments, cap * sizeof t->segments[0]);

        if (more == NULL) {
            return err_set(e, -ENOMEM, "out of memory");
        }
        t->segments = more;
        t->cap_segments = cap;
    }
    t->segments[t->n_segments++] = g;
    return 0;
}

/* Decimal digits up to `end`, which is moved behind them. */
static int parse_digits(const char **at, uint64_t *ret)
{
    const char *p = *at;
    uint64_t v = 0;

    if (*p < '0' || *p > '9') {
        return -EINVAL;
    }
    for (; *p >= '0' && *p <= '9'; p++) {
        if (v > (UINT64_MAX - 9) / 10) {
            return -ERANGE;
        }
        v = v * 10 + (uint64_t)(*p - '0');
    }
    *at = p;
    *ret = v;
    return 0;
}

static int parse_u64(const char *key, const char *value, uint64_t *ret, struct err *e)
{
    const char *p = value;

    return parse_digits(&p, ret) < 0 || *p != '\0' ? damaged(key, e) : 0;
}

static int parse_id(const char *key, const char *value, uint32_t *ret, struct err *e)
{
    uint64_t v = 0;
    int r = parse_u64(key, value, &v, e);

    if (r == 0 && v >= UINT32_MAX) {
        return err_set(e, -ERANGE, "an owner's number is too large");
    }
    *ret = (uint32_t)v;
    return r;
}

/* "-123.456": seconds with a fraction of any length. */
static int parse_time(const char *key, const char *value, struct tar_entry *x,
                      struct err *e)
{
    bool negative = value[0] == '-';
    const char *p = value + negative;
    uint64_t s = 0;
    uint32_t ns = 0, unit = 100000000;

    if (parse_digits(&p, &s) < 0 || s > INT64_MAX) {
        return damaged(key, e);
    }
    if (*p == '.') {
        for (p++; *p >= '0' && *p <= '9'; p++, unit /= 10) {
            ns += (uint32_t)(*p - '0') * unit;
        }
    }
    if (*p != '\0') {
        return damaged(key, e);
    }
    x->mtime = negative ? -(int64_t)s : (int64_t)s;
    x->mtime_ns = ns;
    if (negative && ns > 0) {
        x->mtime--;
        x->mtime_ns = 1000000000 - ns;
    }
    return 0;
}

/* "offset,length,offset,length..." of version 0.1. */
static int parse_map(struct tar_read *t, const char *value, struct err *e)
{
    const char *p = value;

    while (*p != '\0') {
        struct tar_segment g;
        int r;

        if (parse_digits(&p, &g.offset) < 0 || *p++ != ',' ||
            parse_digits(&p, &g.len) < 0) {
            return damaged("GNU.sparse.map", e);
        }
        r = tar_add_segment(t, g, e);
        if (r < 0) {
            return r;
        }
        if (*p == ',') {
            p++;
        } else if (*p != '\0') {
            return damaged("GNU.sparse.map", e);
        }
    }
    return 0;
}

static int take_sparse(struct tar_read *t, struct tar_entry *x, struct sparse *sp,
                       const char *key, char *value, struct err *e)
{
    const char *word = key + strlen(SPARSE_PREFIX);
    struct tar_segment g;
    int r;

    if (strcmp(word, "major") == 0) {
        return parse_u64(key, value, &sp->major, e);
    }
    if (strcmp(word, "size") == 0 || strcmp(word, "realsize") == 0) {
        sp->has_size = true;
        return parse_u64(key, value, &sp->size, e);
    }
    if (strcmp(word, "name") == 0) {
        x->path = value;
        return 0;
    }
    if (strcmp(word, "map") == 0) {
        sp->has_map = true;
        return parse_map(t, value, e);
    }
    if (strcmp(word, "offset") == 0) {
        sp->has_offset = true;
        return parse_u64(key, value, &sp->offset, e);
    }
    if (strcmp(word, "numbytes") == 0) {
        r = sp->has_offset ? parse_u64(key, value, &g.len, e) : damaged(key, e);
        g.offset = sp->offset;
        sp->has_offset = false;
        sp->has_map = true;
        return r < 0 ? r : tar_add_segment(t, g, e);
    }
    return 0;
}

static int take_xattr(struct tar_read *t, const char *name, const char *value, size_t len,
                      struct err *e)
{
    if (t->n_xattrs == TAR_XATTRS_MAX) {
        return err_set(e, -EFBIG, "an entry has more than %d extended attributes",
                       TAR_XATTRS_MAX);
    }
    t->xattrs[t->n_xattrs++] = (struct tar_xattr){name, value, len};
    return 0;
}

struct record {
    char *key;
    char *value; /* `len` bytes and a NUL behind */
    size_t len;
};

static int take_record(struct tar_read *t, struct tar_entry *x, struct sparse *sp,
                       const struct record *rec, struct err *e)
{
    char *key = rec->key, *value = rec->value;

    if (str_starts(key, XATTR_PREFIX)) {
        return take_xattr(t, key + strlen(XATTR_PREFIX), value, rec->len, e);
    }
    if (strlen(value) != rec->len) {
        return damaged(key, e); /* a NUL inside */
    }
    if (str_starts(key, SPARSE_PREFIX)) {
        return take_sparse(t, x, sp, key, value, e);
    }
    if (strcmp(key, "path") == 0) {
        x->path = value;
    } else if (strcmp(key, "linkpath") == 0) {
        x->link = value;
    } else if (strcmp(key, "size") == 0) {
        return parse_u64(key, value, &t->stored, e);
    } else if (strcmp(key, "uid") == 0) {
        return parse_id(key, value, &x->uid, e);
    } else if (strcmp(key, "gid") == 0) {
        return parse_id(key, value, &x->gid, e);
    } else if (strcmp(key, "mtime") == 0) {
        return parse_time(key, value, x, e);
    }
    return 0;
}

/* Cut the record at `at` into key and value; moves `at` behind it. */
static int cut_record(char **at, const char *end, struct record *ret)
{
    const char *p = *at;
    char *key, *stop, *equals;
    uint64_t n = 0;

    if (parse_digits(&p, &n) < 0 || *p != ' ' || n > (uint64_t)(end - *at) ||
        n < (uint64_t)(p - *at) + 3) {
        return -EBADMSG;
    }
    stop = *at + n - 1;
    key = *at + (p - *at) + 1;
    equals = memchr(key, '=', (size_t)(stop - key));
    if (*stop != '\n' || equals == NULL || equals == key) {
        return -EBADMSG;
    }
    *stop = '\0';
    *equals = '\0';
    *ret = (struct record){key, equals + 1, (size_t)(stop - equals - 1)};
    *at += n;
    return memchr(key, '\0', (size_t)(equals - key)) != NULL ? -EBADMSG : 0;
}

int tar_apply_pax(struct tar_read *t, struct tar_entry *x, struct err *e)
{
    char *at = t->text[TAR_TEXT_PAX].bytes;
    const char *end = at + t->text[TAR_TEXT_PAX].len;
    struct sparse sp = {0};

    while (at < end) {
        struct record rec;
        int r;

        if (cut_record(&at, end, &rec) < 0) {
            return err_set(e, -EBADMSG, "an extended header is damaged");
        }
        r = take_record(t, x, &sp, &rec, e);
        if (r < 0) {
            return r;
        }
    }
    t->map_in_data = sp.major == 1;
    t->sparse = t->map_in_data || sp.has_map;
    x->size = t->sparse && sp.has_size ? sp.size : t->stored;
    return 0;
}
