/* store.c - what holds many disks: a device of which they are carved, a pool of Ceph. */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "base/err.h"
#include "resource/storage/graph/graph.h"
#include "resource/storage/pool/carve.h"
#include "resource/storage/remote/remote.h"
#include "resource/storage/tool/private.h"

static int tell(const struct place_carved *c, void *arg)
{
    const struct request *r = arg;

    return dprintf(r->answer_fd, "carved=%016" PRIx64 " %u %" PRIu64 "\n", c->id, c->part,
                   c->size_bytes) < 0
               ? -errno
               : 0;
}

static int tell_room(const struct request *r, struct place_store *s)
{
    struct place_room room;
    int e = place_store_room(s, &room);

    if (e != 0) {
        return e;
    }
    (void)request_answer_number(r, "total_bytes", room.total_bytes);
    (void)request_answer_number(r, "free_bytes", room.free_bytes);
    (void)request_answer_flag(r, "grows", place_store_can_grow(s));
    return request_answer_number(r, "extent_bytes", room.extent_bytes);
}

/* Add or remove the disk that a key names, part `part=`. */
static int change(const struct request *r, struct place_store *s, const char *key,
                  int (*fn)(struct place_store *s, uint64_t id, uint32_t part,
                            struct err *e))
{
    const char *text = request_get(r, key);
    uint64_t part = 0;
    uint64_t id = 0;
    int e = 0;

    if (text == NULL) {
        return 0;
    }
    e = request_number(r, "part", 0, &part);
    e = e != 0 ? e : graph_parse_id(text, &id, r->e);
    if (e == 0 && part > UINT32_MAX) {
        e = err_set(r->e, -ERANGE, "there is no such part");
    }
    return e != 0 ? e : fn(s, id, (uint32_t)part, r->e);
}

/* What the disk of `taken=` has of the device. */
static int tell_taken(const struct request *r, struct place_store *s)
{
    const char *text = request_get(r, "taken");
    uint64_t bytes = 0;
    uint64_t part = 0;
    uint64_t id = 0;
    int e = text == NULL ? 0 : request_number(r, "part", 0, &part);

    if (text == NULL || e != 0) {
        return e;
    }
    e = graph_parse_id(text, &id, r->e);
    e = e == 0 ? place_carve_count(s, id, (uint32_t)part, &bytes) : e;
    return e == 0 ? request_answer_number(r, "taken_bytes", bytes)
                  : err_sys(r->e, e, "cannot find disk %s", text);
}

static const char *const keys[] = {"add",   "remove", "part", "list", "taken",
                                   "sweep", "grow",   "wipe", NULL};

int tool_store(struct request *r)
{
    struct place_store *s = NULL;
    int e = request_open(r, keys, NULL);

    if (e == 0 && request_top(r) != NULL) {
        s = graph_store(r->graph, request_top(r));
    }
    if (e == 0 && s == NULL) {
        e = err_set(r->e, -EINVAL, "no store is named (node=NAME,store,fd=N)");
    }
    e = e != 0 ? e : change(r, s, "add", place_carve_add);
    e = e != 0 ? e : change(r, s, "remove", place_carve_remove);
    if (e == 0 && request_has(r, "sweep")) {
        e = place_store_sweep(s);
    }
    if (e == 0 && request_has(r, "grow")) {
        e = place_store_grow(s);
    }
    if (e == 0 && request_has(r, "list")) {
        e = place_store_list(s, tell, r);
    }
    e = e != 0 ? e : tell_taken(r, s);
    if (e == 0 && place_store_owner(s)[0] != '\0') {
        e = request_answer(r, "owner", place_store_owner(s));
    }
    e = e != 0 ? e : tell_room(r, s);
    if (e == 0 && request_has(r, "wipe")) {
        e = place_store_wipe(s, r->e);
    }
    return e == 0 ? 0 : err_sys(r->e, e, "cannot use the store");
}

/* ---- images of a pool of Ceph ----
 *
 * Not confined: librbd has threads and connections of its own, and no byte of an image is
 * read here. */

static void tell_image(void *arg, const char *image)
{
    (void)request_answer(arg, "image", image);
}

static int tell_cluster(const struct request *r, struct remote_rbd *p)
{
    uint64_t size = 0;
    uint64_t free = 0;
    int e = remote_rbd_room(p, &size, &free, r->e);

    e = e != 0 ? e : request_answer_number(r, "total_bytes", size);
    return e != 0 ? e : request_answer_number(r, "free_bytes", free);
}

static int make_image(const struct request *r, struct remote_rbd *p)
{
    const char *image = request_get(r, "make");
    uint64_t size = 0;
    int e = image == NULL ? 0 : request_number(r, "size", 0, &size);

    return image == NULL || e != 0 ? e : remote_rbd_make(p, image, size, r->e);
}

static const char *const rbd_keys[] = {"pool",   "conf", "user", "space", "make",
                                       "remove", "size", "list", NULL};

int tool_rbd(struct request *r)
{
    const struct remote_rbd_options o = {.conf = request_get(r, "conf"),
                                         .user = request_get(r, "user"),
                                         .pool = request_get(r, "pool"),
                                         .space = request_get(r, "space")};
    struct remote_rbd *p = NULL;
    int e = request_check(r, rbd_keys);

    if (e == 0 && o.pool == NULL) {
        e = err_set(r->e, -EINVAL, "no pool is named (pool=NAME)");
    }
    e = e != 0 ? e : remote_rbd_connect(r->loop, &o, &p, r->e);
    e = e != 0 ? e : make_image(r, p);
    if (e == 0 && request_has(r, "remove")) {
        e = remote_rbd_remove(p, request_get(r, "remove"), r->e);
    }
    if (e == 0 && request_has(r, "list")) {
        e = remote_rbd_list(p, tell_image, r, r->e);
        e = e != 0 ? e : tell_cluster(r, p);
    }
    remote_rbd_leave(p);
    return e;
}
