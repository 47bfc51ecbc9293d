/* crypt.c - LUKS inside qcow2 images.
 *
 * A layer that has the header of the one below has its key, too: equal bytes at equal places
 * of both files are equal there.  That is the price of a snapshot that takes no time and
 * asks for no passphrase; who must not pay it gives the layer a key of its own. */
#include "resource/storage/graph/crypt.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "resource/storage/graph/window.h"

#define HEADER_MOST ((uint64_t)64 << 20) /* as an image may have */

struct crypt {
    struct qcow2_crypt crypt;
    struct loop *loop;
    const struct crypt_key *key; /* borrowed until it has started */
    struct luks_cipher *cipher;  /* owned; NULL: locked */
};

static struct crypt *crypt_of(struct qcow2_crypt *c)
{
    return (struct crypt *)c;
}

/* The image has the file, so the window asks for nothing. */
static int start(struct qcow2_crypt *c, struct blk *file, uint64_t off, uint64_t bytes,
                 struct err *e)
{
    struct crypt *x = crypt_of(c);
    struct blk *header = NULL;
    struct luks *k = NULL;
    int r;

    if (x->key == NULL) {
        return 0;
    }
    r = window_create(file, off, bytes, 0, &header, e);
    r = r != 0 ? r : luks_open(x->loop, header, &k, e);
    r = r != 0 ? r : luks_unlock_known(k, x->key->secret, x->key->known, e);
    if (r == 0) {
        x->cipher = luks_take_cipher(k);
    }
    luks_close(k);
    blk_drop(header);
    x->key = NULL;
    return r;
}

static int decrypt(struct qcow2_crypt *c, void *buf, size_t bytes, uint64_t at)
{
    struct luks_cipher *cipher = crypt_of(c)->cipher;

    return cipher != NULL ? luks_decrypt(cipher, buf, buf, bytes, at) : -EACCES;
}

static int encrypt(struct qcow2_crypt *c, void *buf, size_t bytes, uint64_t at)
{
    struct luks_cipher *cipher = crypt_of(c)->cipher;

    return cipher != NULL ? luks_encrypt(cipher, buf, buf, bytes, at) : -EACCES;
}

static void destroy(struct qcow2_crypt *c)
{
    luks_cipher_destroy(crypt_of(c)->cipher);
    free(c);
}

int crypt_create(struct loop *l, const struct crypt_key *key,
                 struct qcow2_crypt **ret_crypt)
{
    struct crypt *x = fault_calloc(1, sizeof *x);

    if (x == NULL) {
        return -ENOMEM;
    }
    x->crypt = (struct qcow2_crypt){start, decrypt, encrypt, destroy};
    x->loop = l;
    x->key = key;
    *ret_crypt = &x->crypt;
    return 0;
}

/* ---- new images ---- */

static int make_new(struct qcow2_crypt_maker *m, struct blk *file, uint64_t off,
                    struct err *e)
{
    struct crypt_new *c = (struct crypt_new *)m;
    struct luks_format o = {.version = 1, .cost = c->cost};
    struct blk *header = NULL;
    int r = window_create(file, off, m->bytes, 0, &header, e);

    r = r != 0 ? r : luks_format(c->loop, header, &o, &c->secret, e);
    blk_drop(header);
    return r;
}

void crypt_new_init(struct crypt_new *c, struct loop *l, const struct luks_secret *secret,
                    const struct luks_cost *cost)
{
    *c = (struct crypt_new){.maker = {CRYPT_HEADER_BYTES, make_new},
                            .loop = l,
                            .secret = *secret,
                            .cost = *cost};
    c->cost.pbkdf2 = true;
}

static int make_copy(struct qcow2_crypt_maker *m, struct blk *file, uint64_t off,
                     struct err *e)
{
    struct crypt_copy *c = (struct crypt_copy *)m;
    size_t bytes = (size_t)m->bytes;
    SCOPED(scope_free) char *copy = fault_aligned(4096, bytes);
    int r = copy == NULL ? -ENOMEM : blk_read(c->file, copy, bytes, c->at);

    r = r != 0 ? r : blk_write(file, copy, bytes, off, 0);
    return r == 0 ? 0 : err_sys(e, r, "cannot copy the encryption header");
}

int crypt_copy_init(struct crypt_copy *c, const struct blk *image, struct err *e)
{
    struct qcow2_info i;

    qcow2_info(image, &i);
    if (!i.is_encrypted) {
        return err_set(e, -EINVAL, "'%s' is not encrypted", image->label);
    }
    *c = (struct crypt_copy){.maker = {i.crypt_bytes, make_copy},
                             .file = image->edge[0].disk,
                             .at = i.crypt_at};
    return 0;
}

int crypt_copy_header_init(struct crypt_copy *c, struct blk *header, struct err *e)
{
    uint64_t bytes = blk_size(header);

    if (bytes == 0 || bytes > HEADER_MOST || bytes % 4096 != 0) {
        return err_set(e, -EINVAL, "'%s' is no encryption header", header->label);
    }
    *c = (struct crypt_copy){.maker = {bytes, make_copy}, .file = header};
    return 0;
}
