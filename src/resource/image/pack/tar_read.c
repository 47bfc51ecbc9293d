/* tar_read.c - read tar entry by entry, trusting no byte of it.
 *
 * An archive is a row of 512-byte blocks: a header, then the data of the entry
 * rounded up.  Three dialects are read: ustar (POSIX.1-1988: prefix + name),
 * pax (POSIX.1-2001: an 'x' entry whose data are "LENGTH KEY=VALUE\n" records
 * for the next entry) and GNU ('L' and 'K' entries carry a long name or link,
 * 'S' is a sparse file with its map in and after the header, sizes may be
 * base-256).  Sparse files of pax come in three versions of GNU.sparse.*.
 *
 * Invariants: `left` counts stored bytes of the entry still to come, `pad` the
 * rest of its last block; between entries both are 0 and the stream stands at a
 * block.  Whatever an entry owns lives in `text` (names, pax bodies) and the two
 * fixed tables, so a long archive allocates nothing per entry.
 *
 * Limits: names of `TAR_NAME_MAX` bytes, extended headers of `TAR_EXTRA_MAX`,
 * `TAR_XATTRS_MAX` attributes, `TAR_SEGMENTS_MAX` segments.  As all readers in
 * use do, sizes of entries that have no data (links, devices) are ignored.
 * Records of global pax headers ('g') are skipped: nobody writes useful ones.
 *
 * Sources: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Extended
 * Header"; GNU tar manual, "Basic Tar Format" and "Storing Sparse Files". */
#include "resource/image/pack/tar_read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/image/pack/tar_private.h"

int tar_read_create(tar_next_fn *next, void *arg, struct tar_read **ret, struct err *e)
{
    struct tar_read *t = fault_calloc(1, sizeof *t);

    if (t == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    t->next = next;
    t->arg = arg;
    *ret = t;
    return 0;
}

void tar_read_destroy(struct tar_read *t)
{
    if (t == NULL) {
        return;
    }
    for (int i = 0; i < TAR_TEXT_COUNT; i++) {
        free(t->text[i].bytes);
    }
    free(t->segments);
    free(t);
}

bool tar_read_ended_well(const struct tar_read *t)
{
    return t->ended_well;
}

/* At least one byte in `piece`; 0 at the end of the stream. */
static int more(struct tar_read *t, struct err *e)
{
    if (t->piece_len == 0) {
        int r = t->next(t->arg, &t->piece, &t->piece_len, e);

        if (r < 0) {
            return r;
        }
    }
    return t->piece_len > 0;
}

static void advance(struct tar_read *t, size_t n)
{
    t->piece += n;
    t->piece_len -= n;
}

static int cut_off(struct err *e)
{
    return err_set(e, -EBADMSG, "the archive is cut off");
}

/* Copy `len` bytes; -EBADMSG when fewer are left. */
static int copy(struct tar_read *t, uint8_t *out, size_t len, struct err *e)
{
    while (len > 0) {
        int r = more(t, e);
        size_t n;

        if (r <= 0) {
            return r < 0 ? r : cut_off(e);
        }
        n = t->piece_len < len ? t->piece_len : len;
        memcpy(out, t->piece, n);
        advance(t, n);
        out += n;
        len -= n;
    }
    return 0;
}

static int skip(struct tar_read *t, uint64_t len, struct err *e)
{
    while (len > 0) {
        int r = more(t, e);
        size_t n;

        if (r <= 0) {
            return r < 0 ? r : cut_off(e);
        }
        n = t->piece_len < len ? t->piece_len : (size_t)len;
        advance(t, n);
        len -= n;
    }
    return 0;
}

/* Borrow the next block; 1, 0 at the end of the stream, -errno. */
static int next_block(struct tar_read *t, const uint8_t **ret, struct err *e)
{
    int r = more(t, e);

    if (r <= 0) {
        return r;
    }
    if (t->piece_len >= TAR_BLOCK_BYTES) {
        *ret = t->piece;
        advance(t, TAR_BLOCK_BYTES);
        return 1;
    }
    r = copy(t, t->block, TAR_BLOCK_BYTES, e);
    *ret = t->block;
    return r < 0 ? r : 1;
}

/* Gather the data of a small entry as text with a NUL behind it. */
static int gather(struct tar_read *t, uint64_t size, struct tar_text *out, struct err *e)
{
    uint64_t pad = (TAR_BLOCK_BYTES - size % TAR_BLOCK_BYTES) % TAR_BLOCK_BYTES;
    int r;

    if (size > TAR_EXTRA_MAX) {
        return err_set(e, -EFBIG, "an extended header has %llu bytes",
                       (unsigned long long)size);
    }
    if (out->cap < size + 1) {
        void *bytes = fault_realloc(out->bytes, (size_t)size + 1);

        if (bytes == NULL) {
            return err_set(e, -ENOMEM, "out of memory");
        }
        out->bytes = bytes;
        out->cap = (size_t)size + 1;
    }
    out->len = (size_t)size;
    r = copy(t, (uint8_t *)out->bytes, out->len, e);
    out->bytes[out->len] = '\0';
    return r < 0 ? r : skip(t, pad, e);
}

/* ---- header fields ---- */

/* Octal digits among blanks, or base-256 when the top bit is set. */
static int parse_number(const uint8_t *p, size_t n, uint64_t *ret, struct err *e)
{
    uint64_t v = 0;
    size_t i = 0;

    if ((p[0] & 0x80) != 0) {
        if ((p[0] & 0x40) != 0) {
            return err_set(e, -EBADMSG, "a header holds a negative number");
        }
        v = p[0] & 0x3f;
        for (i = 1; i < n; i++) {
            if (v >> 55 != 0) {
                return err_set(e, -EBADMSG, "a header holds a number beyond all sizes");
            }
            v = v << 8 | p[i];
        }
        *ret = v;
        return 0;
    }
    while (i < n && p[i] == ' ') {
        i++;
    }
    for (; i < n && p[i] >= '0' && p[i] <= '7'; i++) {
        v = v << 3 | (uint64_t)(p[i] - '0');
    }
    if (i < n && p[i] != ' ' && p[i] != '\0') {
        return err_set(e, -EBADMSG, "a header holds no octal number where one must be");
    }
    *ret = v;
    return 0;
}

/* mtime may be negative (before 1970) in base-256. */
static int parse_time(const uint8_t *p, int64_t *ret, struct err *e)
{
    uint64_t v = 0;
    int r;

    if ((p[0] & 0xc0) == 0xc0) {
        for (size_t i = 4; i < 12; i++) {
            v = v << 8 | p[i];
        }
        *ret = (int64_t)v;
        return 0;
    }
    r = parse_number(p, 12, &v, e);
    *ret = (int64_t)(v & INT64_MAX);
    return r;
}

static int check_sum(const uint8_t *h, struct err *e)
{
    uint64_t want = 0;
    uint32_t is_unsigned = 0;
    int32_t is_signed = 0; /* ancient writers summed signed bytes */
    int r = parse_number(h + 148, 8, &want, e);

    if (r < 0) {
        return r;
    }
    for (size_t i = 0; i < TAR_BLOCK_BYTES; i++) {
        uint8_t c = i >= 148 && i < 156 ? ' ' : h[i];

        is_unsigned += c;
        is_signed += (int8_t)c;
    }
    if (want != is_unsigned && (int64_t)want != is_signed) {
        return err_set(e, -EBADMSG, "a header has a wrong checksum");
    }
    return 0;
}

static bool is_zero(const uint8_t *h)
{
    return h[0] == 0 && memcmp(h, h + 1, TAR_BLOCK_BYTES - 1) == 0;
}

/* The name of the header itself: "prefix/name" in ustar. */
static void header_path(struct tar_read *t, const uint8_t *h)
{
    const char *name = (const char *)h, *prefix = (const char *)h + 345;
    size_t n = strnlen(name, 100), p = 0;

    if (memcmp(h + 257, "ustar\0", 6) == 0) {
        p = strnlen(prefix, 155);
    }
    if (p > 0) {
        memcpy(t->name, prefix, p);
        t->name[p++] = '/';
    }
    memcpy(t->name + p, name, n);
    t->name[p + n] = '\0';
    n = strnlen((const char *)h + 157, 100);
    memcpy(t->link, h + 157, n);
    t->link[n] = '\0';
}

static int header_numbers(const uint8_t *h, struct tar_entry *x, struct err *e)
{
    uint64_t mode = 0, uid = 0, gid = 0;
    int r = parse_number(h + 100, 8, &mode, e);

    r = r < 0 ? r : parse_number(h + 108, 8, &uid, e);
    r = r < 0 ? r : parse_number(h + 116, 8, &gid, e);
    r = r < 0 ? r : parse_number(h + 124, 12, &x->size, e);
    r = r < 0 ? r : parse_time(h + 136, &x->mtime, e);
    if (r < 0) {
        return r;
    }
    if (uid >= UINT32_MAX || gid >= UINT32_MAX) {
        return err_set(e, -ERANGE, "an owner's number is too large");
    }
    x->mode = (uint32_t)mode & 07777;
    x->uid = (uint32_t)uid;
    x->gid = (uint32_t)gid;
    return 0;
}

static int header_type(uint8_t flag, struct tar_entry *x, struct err *e)
{
    size_t n = strlen(x->path);

    switch (flag) {
    case '\0':
    case '0':
    case '7': /* contiguous */
    case 'S': /* GNU sparse */
        x->type = n > 0 && x->path[n - 1] == '/' ? 'd' : '-';
        return 0;
    case '1':
        x->type = 'h';
        return 0;
    case '2':
        x->type = 'l';
        return 0;
    case '3':
        x->type = 'c';
        return 0;
    case '4':
        x->type = 'b';
        return 0;
    case '5':
        x->type = 'd';
        return 0;
    case '6':
        x->type = 'p';
        return 0;
    default:
        return err_set(e, -EOPNOTSUPP, "entry '%.200s' is of the unknown type 0x%02x",
                       x->path, flag);
    }
}

/* ---- GNU sparse maps of the old format ---- */

/* `n` pairs of 12-byte numbers; a zero length ends the map. */
static int add_old_map(struct tar_read *t, const uint8_t *p, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++, p += 24) {
        struct tar_segment g = {0};
        int r;

        if (p[0] == '\0') {
            break;
        }
        r = parse_number(p, 12, &g.offset, e);
        r = r < 0 ? r : parse_number(p + 12, 12, &g.len, e);
        r = r < 0 ? r : tar_add_segment(t, g, e);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int read_old_sparse(struct tar_read *t, const uint8_t *h, struct tar_entry *x,
                           struct err *e)
{
    uint64_t real = 0;
    int r = parse_number(h + 483, 12, &real, e);
    bool extended = h[482] != 0;

    r = r < 0 ? r : add_old_map(t, h + 386, 4, e);
    while (r == 0 && extended) {
        const uint8_t *block;

        r = next_block(t, &block, e);
        if (r <= 0) {
            return r < 0 ? r : cut_off(e);
        }
        extended = block[504] != 0;
        r = add_old_map(t, block, 21, e);
    }
    t->sparse = true;
    x->size = real;
    return r;
}

/* ---- entries ---- */

/* Extended headers come before the entry they describe. */
static int take_extra(struct tar_read *t, uint8_t flag, uint64_t size, struct err *e)
{
    int text = flag == 'L'   ? TAR_TEXT_LONG_NAME
               : flag == 'K' ? TAR_TEXT_LONG_LINK
               : flag == 'x' ? TAR_TEXT_PAX
                             : TAR_TEXT_GLOBAL;
    int r = gather(t, size, &t->text[text], e);

    t->text[text].set = r == 0 && text != TAR_TEXT_GLOBAL;
    return r;
}

static bool is_extra(uint8_t flag)
{
    return flag == 'L' || flag == 'K' || flag == 'x' || flag == 'g';
}

/* What the extended headers say goes over what the header says. */
static int apply_extra(struct tar_read *t, struct tar_entry *x, struct err *e)
{
    if (t->text[TAR_TEXT_LONG_NAME].set) {
        x->path = t->text[TAR_TEXT_LONG_NAME].bytes;
    }
    if (t->text[TAR_TEXT_LONG_LINK].set) {
        x->link = t->text[TAR_TEXT_LONG_LINK].bytes;
    }
    if (t->text[TAR_TEXT_PAX].set) {
        return tar_apply_pax(t, x, e);
    }
    return 0;
}

static void forget_entry(struct tar_read *t)
{
    for (int i = 0; i < TAR_TEXT_COUNT; i++) {
        t->text[i].set = false;
    }
    t->n_xattrs = t->n_segments = 0;
    t->sparse = t->map_in_data = false;
}

/* GNU pax sparse 1.0: the map is decimal lines at the head of the data. */
static int read_line_number(struct tar_read *t, uint64_t *ret, struct err *e)
{
    uint64_t v = 0;

    for (int digits = 0;; digits++) {
        uint8_t c;
        int r = t->left > 0 ? copy(t, &c, 1, e) : cut_off(e);

        if (r < 0) {
            return r;
        }
        t->left--;
        if (c == '\n' && digits > 0) {
            *ret = v;
            return 0;
        }
        if (c < '0' || c > '9' || digits > 18) {
            return err_set(e, -EBADMSG, "the map of a sparse file is damaged");
        }
        v = v * 10 + (uint64_t)(c - '0');
    }
}

static int read_data_map(struct tar_read *t, struct err *e)
{
    uint64_t before = t->left, n = 0, used;
    int r = read_line_number(t, &n, e);

    if (r == 0 && n > TAR_SEGMENTS_MAX) {
        return err_set(e, -EFBIG, "a sparse file has %llu segments",
                       (unsigned long long)n);
    }
    for (uint64_t i = 0; r == 0 && i < n; i++) {
        struct tar_segment g = {0};

        r = read_line_number(t, &g.offset, e);
        r = r < 0 ? r : read_line_number(t, &g.len, e);
        r = r < 0 ? r : tar_add_segment(t, g, e);
    }
    if (r < 0) {
        return r;
    }
    used = (before - t->left) % TAR_BLOCK_BYTES;
    used = used == 0 ? 0 : TAR_BLOCK_BYTES - used;
    if (used > t->left) {
        return cut_off(e);
    }
    t->left -= used;
    return skip(t, used, e);
}

/* Segments in order, apart, inside the file, and as long as the data. */
static int check_map(const struct tar_read *t, const struct tar_entry *x, struct err *e)
{
    uint64_t end = 0, sum = 0;

    for (size_t i = 0; i < t->n_segments; i++) {
        const struct tar_segment *g = &t->segments[i];

        if (g->offset < end || g->len > x->size || g->offset > x->size - g->len) {
            return err_set(e, -EBADMSG, "the map of sparse file '%.200s' is damaged",
                           x->path);
        }
        end = g->offset + g->len;
        sum += g->len;
    }
    if (sum != t->left) {
        return err_set(e, -EBADMSG, "sparse file '%.200s' has not the data of its map",
                       x->path);
    }
    return 0;
}

static int check_names(const struct tar_entry *x, struct err *e)
{
    bool links = x->type == 'h' || x->type == 'l';

    if (x->path[0] == '\0') {
        return err_set(e, -EBADMSG, "an entry has no name");
    }
    if (strlen(x->path) > TAR_NAME_MAX) {
        return err_set(e, -ENAMETOOLONG, "the name '%.40s...' is too long", x->path);
    }
    if (links && (x->link[0] == '\0' || strlen(x->link) > TAR_NAME_MAX)) {
        return err_set(e, -EBADMSG, "the link '%.200s' has no usable target", x->path);
    }
    return 0;
}

/* Fill `x` from its header and what came before it. */
static int take_entry(struct tar_read *t, const uint8_t *h, struct tar_entry *x,
                      struct err *e)
{
    uint8_t flag = h[156];
    uint64_t stored;
    int r;

    header_path(t, h);
    *x = (struct tar_entry){.path = t->name, .link = t->link};
    r = header_numbers(h, x, e);
    t->stored = x->size;
    r = r < 0 ? r : apply_extra(t, x, e);
    r = r < 0 ? r : header_type(flag, x, e);
    r = r < 0 ? r : check_names(x, e);
    if (r == 0 && flag == 'S') {
        r = read_old_sparse(t, h, x, e);
    }
    if (r < 0) {
        return r;
    }
    stored = x->type == '-' ? t->stored : 0;
    if (stored > INT64_MAX - TAR_BLOCK_BYTES || x->size > INT64_MAX) {
        return err_set(e, -EFBIG, "entry '%.200s' is beyond all sizes", x->path);
    }
    t->left = stored;
    t->pad = (uint32_t)((TAR_BLOCK_BYTES - stored % TAR_BLOCK_BYTES) % TAR_BLOCK_BYTES);
    if (t->map_in_data) {
        r = read_data_map(t, e);
    }
    if (r == 0 && t->sparse) {
        r = check_map(t, x, e);
        x->segments = t->segments;
        x->n_segments = t->n_segments;
    } else if (r == 0) {
        x->size = stored;
    }
    x->xattrs = t->xattrs;
    x->n_xattrs = t->n_xattrs;
    return r;
}

int tar_read_next(struct tar_read *t, struct tar_entry *ret, struct err *e)
{
    const uint8_t *h;
    int r = skip(t, t->left + t->pad, e);

    t->left = t->pad = 0;
    forget_entry(t);
    while (r == 0) {
        uint64_t size = 0;
        uint8_t flag;

        r = next_block(t, &h, e);
        if (r <= 0) {
            return r;
        }
        if (is_zero(h)) {
            t->ended_well = true;
            return 0;
        }
        r = check_sum(h, e);
        flag = h[156];
        if (r == 0 && !is_extra(flag)) {
            /* `h` may be borrowed from a piece that goes with the next read. */
            memcpy(t->header, h, sizeof t->header);
            r = take_entry(t, t->header, ret, e);
            return r < 0 ? r : 1;
        }
        r = r < 0 ? r : parse_number(h + 124, 12, &size, e);
        r = r < 0 ? r : take_extra(t, flag, size, e);
    }
    return r;
}

int tar_read_data(struct tar_read *t, const uint8_t **ret, size_t *ret_len, struct err *e)
{
    int r;

    *ret_len = 0;
    if (t->left == 0) {
        return 0;
    }
    r = more(t, e);
    if (r <= 0) {
        return r < 0 ? r : cut_off(e);
    }
    *ret = t->piece;
    *ret_len = t->piece_len < t->left ? t->piece_len : (size_t)t->left;
    advance(t, *ret_len);
    t->left -= *ret_len;
    return 0;
}
