/* layer_fuzz.c - any bytes are a layer: entries that keep their promises, or an error. */
#include <assert.h>
#include <string.h>

#include "base/err.h"
#include "resource/image/pack/extract.h"
#include "resource/image/pack/tar_read.h"
#include "tests/fuzz/target.h"

struct bytes {
    const uint8_t *at;
    size_t left, step;
};

static int next_bytes(void *arg, const uint8_t **ret, size_t *ret_len, struct err *e)
{
    struct bytes *b = arg;

    (void)e;
    *ret = b->at;
    *ret_len = b->left < b->step ? b->left : b->step;
    b->at += *ret_len;
    b->left -= *ret_len;
    return 0;
}

static void check_segments(const struct tar_entry *x)
{
    uint64_t end = 0;

    for (size_t i = 0; i < x->n_segments; i++) {
        assert(x->segments[i].offset >= end);
        end = x->segments[i].offset + x->segments[i].len;
        assert(end <= x->size);
    }
}

static int check_entry(struct tar_read *t, const struct tar_entry *x, struct err *e)
{
    const uint8_t *bytes;
    uint64_t sum = 0;
    size_t len = 1;
    char clean[4096];
    int r = 0;

    assert(strchr("-dlhcbp", x->type) != NULL && strlen(x->path) <= TAR_NAME_MAX);
    assert(x->n_xattrs <= TAR_XATTRS_MAX && x->mode <= 07777);
    if (extract_clean_path(x->path, clean) == 0) {
        assert(clean[0] != '/' && strstr(clean, "//") == NULL);
    }
    check_segments(x);
    while (r == 0 && len > 0) {
        r = tar_read_data(t, &bytes, &len, e);
        sum += r == 0 ? len : 0;
    }
    assert(r < 0 || x->segments != NULL || sum == x->size);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes b = {data, size, size > 0 ? 1 + data[0] * 8u : 1};
    struct err e = {0};
    struct tar_read *t = NULL;
    struct tar_entry x;
    int r = tar_read_create(next_bytes, &b, &t, &e);

    while (r == 0 && (r = tar_read_next(t, &x, &e)) > 0) {
        r = check_entry(t, &x, &e);
    }
    assert(r == 0 || (e.code == r && e.text[0] != '\0'));
    tar_read_destroy(t);
    return 0;
}
