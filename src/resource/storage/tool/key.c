/* key.c - the passphrases of an encrypted disk. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "resource/storage/graph/graph.h"
#include "resource/storage/graph/secret.h"
#include "resource/storage/graph/window.h"
#include "resource/storage/luks/luks.h"
#include "resource/storage/qcow2/qcow2.h"
#include "resource/storage/tool/private.h"
#include "resource/storage/tool/worker.h"

struct keys {
    const struct request *r;
    struct luks *header;
    struct luks_cost cost;
};

static int with_secret(const struct keys *k, const char *word, struct secret *ret)
{
    const char *fd = request_get(k->r, word);

    return fd != NULL ? secret_read(atoi(fd), ret, k->r->e)
                      : err_set(k->r->e, -EINVAL,
                                "no passphrase is given (%s=DESCRIPTOR)", word);
}

static int answer_slot(const struct keys *k, int slot)
{
    return slot < 0 ? slot : request_answer_number(k->r, "slot", (unsigned)slot);
}

static int add(const struct keys *k, const struct luks_secret *old)
{
    struct secret more = {0};
    int e = luks_unlock(k->header, old, k->r->e);

    e = e < 0 ? e : with_secret(k, "add", &more);
    if (e >= 0) {
        e = answer_slot(k, luks_add_key(k->header,
                                        &(struct luks_secret){more.bytes, more.count},
                                        &k->cost, k->r->e));
    }
    secret_fini(&more);
    return e;
}

static int change(const struct keys *k, const struct luks_secret *old)
{
    struct secret more = {0};
    int e = with_secret(k, "change", &more);

    if (e == 0) {
        e = answer_slot(k, luks_change_key(k->header, old,
                                           &(struct luks_secret){more.bytes, more.count},
                                           &k->cost, k->r->e));
    }
    secret_fini(&more);
    return e;
}

/* Who has no passphrase removes none: the disk is theirs who have. */
static int remove_slot(const struct keys *k, const struct luks_secret *old)
{
    uint64_t slot = 0;
    int e = luks_unlock(k->header, old, k->r->e);

    e = e < 0 ? e : request_number(k->r, "remove", 0, &slot);
    if (e == 0 && slot >= LUKS_SLOTS) {
        e = err_set(k->r->e, -EINVAL, "there is no slot %llu", (unsigned long long)slot);
    }
    return e < 0 ? e : luks_remove_key(k->header, (unsigned)slot, k->r->e);
}

static int choose_cost(struct keys *k)
{
    uint64_t rounds = 0;
    uint64_t memory = 0;
    uint64_t threads = 0;
    int e = request_number(k->r, "rounds", 0, &rounds);

    e = e != 0 ? e : request_number(k->r, "memory", 0, &memory);
    e = e != 0 ? e : request_number(k->r, "threads", 0, &threads);
    if (e == 0 && (rounds | memory | threads) > UINT32_MAX) {
        e = err_set(k->r->e, -ERANGE, "that costs too much");
    }
    k->cost = (struct luks_cost){.rounds = (uint32_t)rounds,
                                 .memory_kib = (uint32_t)memory,
                                 .threads = (uint32_t)threads};
    return e;
}

static int act(struct keys *k)
{
    struct secret old = {0};
    int e = choose_cost(k);
    struct luks_secret s;

    e = e != 0 ? e : with_secret(k, "key", &old);
    s = (struct luks_secret){old.bytes, old.count};
    if (e != 0) {
        return e;
    }
    if (request_has(k->r, "add")) {
        e = add(k, &s);
    } else if (request_has(k->r, "change")) {
        e = change(k, &s);
    } else if (request_has(k->r, "remove")) {
        e = remove_slot(k, &s);
    } else {
        e = answer_slot(k, luks_unlock(k->header, &s, k->r->e)); /* does it open? */
    }
    secret_fini(&old);
    return e;
}

static const char *const words[] = {"key",    "add",     "change", "remove", "rounds",
                                    "memory", "threads", "copy",   NULL};

static unsigned uses_of(const struct request *r)
{
    return request_has(r, "add") || request_has(r, "change") || request_has(r, "remove")
               ? BLK_USE_READ | BLK_USE_WRITE
               : BLK_USE_READ;
}

/* The header inside a qcow2 image that was opened `locked`: the image is closed and its file
 * is the header's alone. */
static int enter_image(const struct request *r, struct blk *image, struct blk **ret)
{
    struct blk *file = image->edge[0].disk;
    struct qcow2_info i;
    int e;

    qcow2_info(image, &i);
    if (!i.is_encrypted) {
        return err_set(r->e, -EINVAL, "'%s' is not encrypted", image->label);
    }
    e = graph_forget(r->graph, graph_name_of(r->graph, image), r->e);
    return e != 0 ? e
                  : window_create(file, i.crypt_at, i.crypt_bytes, uses_of(r), ret, r->e);
}

/* `copy=FD`: the header itself, for who makes layers that open with the same passphrases. */
static int copy_out(const struct request *r, struct blk *header)
{
    const char *word = request_get(r, "copy");
    int fd = word != NULL ? atoi(word) : -1;
    size_t bytes = (size_t)blk_size(header);
    SCOPED(scope_free) char *copy = fault_aligned(4096, bytes);
    int e = copy == NULL ? -ENOMEM : blk_read(header, copy, bytes, 0);
    size_t done = 0;

    while (e == 0 && done < bytes) {
        ssize_t n = write(fd, copy + done, bytes - done);

        done += n > 0 ? (size_t)n : 0;
        e = n < 0 && errno != EINTR ? -errno : 0;
    }
    return e == 0 ? 0 : err_sys(r->e, e, "cannot copy the encryption header");
}

int tool_key(struct request *r)
{
    struct blk_edge edge = {.user = "key", .uses = uses_of(r)};
    struct keys k = {.r = r};
    struct blk *disk = NULL;
    int e = request_open(r, words, &disk);

    if (e == 0 && strcmp(disk->ops->name, "qcow2") == 0) {
        e = enter_image(r, disk, &disk);
    }
    e = e != 0 ? e : blk_attach(&edge, disk, r->e);
    if (e == 0 && request_has(r, "copy")) {
        e = copy_out(r, disk);
        blk_detach(&edge);
        return e;
    }
    e = e != 0 ? e : luks_open(r->loop, disk, &k.header, r->e);
    e = e != 0 ? e : act(&k);
    luks_close(k.header);
    blk_detach(&edge);
    return e == 0 ? 0 : err_sys(r->e, e, "cannot change the passphrases");
}

/* ---- of a layer that is in use ---- */

static int change_slots(struct call *c, struct luks *header)
{
    struct keys k = {.r = &c->words, .header = header};
    struct secret old = {0};
    struct secret more = {0};
    uint64_t slot = LUKS_SLOTS;
    int e = choose_cost(&k);

    e = e == 0 ? with_secret(&k, "key", &old) : e;
    e = e == 0 && request_has(&c->words, "new") ? with_secret(&k, "new", &more) : e;
    e = e == 0 ? request_number(&c->words, "remove", slot, &slot) : e;
    if (e == 0) {
        e = luks_unlock(header, &(struct luks_secret){old.bytes, old.count}, c->words.e);
    }
    if (e >= 0 && request_has(&c->words, "new")) {
        e = luks_add_key(header, &(struct luks_secret){more.bytes, more.count}, &k.cost,
                         c->words.e);
        if (e >= 0) {
            call_answer(c, "slot", "%d", e);
        }
    } else if (e >= 0) {
        e = slot >= LUKS_SLOTS
                ? err_set(c->words.e, -EINVAL,
                          "new=@N or remove=SLOT, of which there are %u", LUKS_SLOTS)
                : luks_remove_key(header, (unsigned)slot, c->words.e);
    }
    secret_fini(&old);
    secret_fini(&more);
    return e < 0 ? e : 0;
}

/* The part of the file in which the header lies, which the image leaves alone. */
static int change_header(struct call *c, struct blk *file, const struct qcow2_info *i)
{
    struct luks *header = NULL;
    struct blk *part = NULL;
    int e = window_create(file, i->crypt_at, i->crypt_bytes, 0, &part, c->words.e);

    e = e != 0 ? e : luks_open(c->words.loop, part, &header, c->words.e);
    e = e != 0 ? e : change_slots(c, header);
    e = e != 0 ? e : blk_flush(file);
    luks_close(header);
    blk_drop(part);
    return e;
}

/* The image that the request names, with where its header lies. */
static int find_image(struct call *c, struct blk **ret_image, struct qcow2_info *ret)
{
    const char *name = request_get(&c->words, "layer");
    struct blk *image = graph_disk(c->worker->graph, name != NULL ? name : "", NULL);

    if (image == NULL || strcmp(image->ops->name, "qcow2") != 0) {
        return err_set(c->words.e, -ENOENT,
                       "no layer of the volume is named (layer=NODE)");
    }
    qcow2_info(image, ret);
    if (!ret->is_encrypted) {
        return err_set(c->words.e, -EINVAL, "'%s' is not encrypted", image->label);
    }
    *ret_image = image;
    return 0;
}

int serve_header(struct call *c)
{
    struct qcow2_info i = {0};
    struct blk *image = NULL;
    struct blk *part = NULL;
    int e = find_image(c, &image, &i);

    e = e == 0 ? window_create(image->edge[0].disk, i.crypt_at, i.crypt_bytes, 0, &part,
                               c->words.e)
               : e;
    e = e == 0 ? copy_out(&c->words, part) : e;
    blk_drop(part);
    return e;
}

int serve_key(struct call *c)
{
    struct qcow2_info i = {0};
    struct blk *image = NULL;
    struct blk_edge *edge;
    bool frozen;
    int e = find_image(c, &image, &i);

    if (e != 0) {
        return e;
    }
    edge = &image->edge[0]; /* to its file */
    frozen = edge->disk->read_only;
    e = call_reopen(c);
    if (e == 0 && frozen) {
        e = blk_set_access(edge->disk, true, c->words.e);
    }
    e = e != 0 ? e : change_header(c, edge->disk, &i);
    if (frozen && !edge->disk->read_only) {
        (void)blk_set_access(edge->disk, false, NULL);
    }
    return e == 0 ? 0 : err_sys(c->words.e, e, "cannot change the passphrases");
}
