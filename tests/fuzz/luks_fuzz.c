/* luks_fuzz.c - any bytes are a LUKS header that opens or an error with a text.
 *
 * The first byte: 0: the rest is a header of version 1 or what claims to be one;
 * else: the rest is the JSON of a version 2 header, which is sealed, as its checksum
 * would keep all of it out. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/luks/private.h"
#include "tests/fuzz/target.h"

#define DISK_BYTES (512u * 1024)
#define COPY_BYTES 16384u
#define JSON_AT    4096u

struct input {
    struct loop *loop;
    const uint8_t *data;
    size_t size;
};

/* A first copy of version 2 with that JSON. */
static void make_copy(uint8_t *copy, const uint8_t *json, size_t bytes)
{
    static const uint8_t head[16] = {'L', 'U', 'K', 'S', 0xba, 0xbe,           0, 2, 0,
                                     0,   0,   0,   0,   0,    COPY_BYTES >> 8};
    struct luks k = {.raw = malloc(COPY_BYTES), .raw_bytes = COPY_BYTES, .seqid = 1};

    if (k.raw == NULL) {
        abort();
    }
    memset(k.raw, 0, COPY_BYTES);
    memcpy(k.raw, head, sizeof head);
    memcpy(k.raw + 72, "sha256", 7);
    memcpy(k.raw + JSON_AT, json,
           bytes < COPY_BYTES - JSON_AT ? bytes : COPY_BYTES - JSON_AT);
    luks2_seal(&k, copy, false);
    free(k.raw);
}

static int run(void *arg)
{
    struct input *in = arg;
    struct luks_secret secret = {"x", 1};
    uint8_t *room = calloc(1, COPY_BYTES);
    struct luks *k = NULL;
    struct blk *b = NULL;
    struct err e = {0};

    if (room == NULL ||
        leaf_memory_create(loop_strands(in->loop), DISK_BYTES, 512, &b, NULL) != 0) {
        abort();
    }
    if (in->data[0] == 0) {
        memcpy(room, in->data + 1, in->size - 1 < COPY_BYTES ? in->size - 1 : COPY_BYTES);
    } else {
        make_copy(room, in->data + 1, in->size - 1);
    }
    if (blk_write(b, room, COPY_BYTES, 0, 0) != 0) {
        abort();
    }
    if (luks_open(in->loop, b, &k, &e) == 0) {
        bool cheap = k->digest_kdf.rounds < 10000;

        for (unsigned i = 0; i < k->slots; i++) {
            cheap =
                cheap && k->slot[i].kdf.rounds < 1000 && k->slot[i].kdf.memory_kib < 4096;
        }
        if (cheap) {
            (void)luks_unlock(k, &secret, &e);
        }
    } else if (e.text[0] == '\0') {
        abort();
    }
    luks_close(k);
    blk_drop(b);
    free(room);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {.data = data, .size = size};

    if (size == 0) {
        return 0;
    }
    if (loop_create(LOOP_DRIVER_CREW, &in.loop, NULL) != 0 ||
        loop_do(in.loop, run, &in) != 0) {
        abort();
    }
    loop_destroy(in.loop);
    return 0;
}
