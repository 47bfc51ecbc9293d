/* history.c - random histories, written in turns by us and by QEMU's tools.
 *
 * Truth is an array of bytes, saved as a raw file.  After our turn `qemu-img compare` and
 * `qemu-img check` look at the image; after theirs (`qemu-io` writes, zeroes and
 * discards; internal snapshots by `qemu-img snapshot`) we read it and check it. */
#include <stdlib.h>
#include <string.h>

#include "host/loop/loop.h"
#include "tests/contract/blk_suite.h"
#include "tests/resource/storage/qcow2/files.h"
#include "tests/resource/storage/qcow2/judge.h"

#define SIZE_BYTES  (3u * 1024 * 1024 + 13 * 512) /* ends inside a cluster */
#define TURNS       2
#define OUR_STEPS   60
#define THEIR_STEPS 25
#define MOST_BLOCKS 300u

struct kind {
    const char *name;
    const char *options; /* of qemu-img create -o; NULL: we make it */
    struct qcow2_create_options ours;
    bool based;     /* on a chain of two images */
    bool snapshots; /* internal ones are taken, gone back to, deleted */
    bool packs;     /* we write packed clusters, too */
};

static const struct kind kinds[] = {
    {.name = "usual", .snapshots = true, .packs = true},
    {.name = "usual of QEMU", .options = "compat=v3", .snapshots = true, .packs = true},
    {.name = "version 2", .ours.version_2 = true, .snapshots = true, .packs = true},
    {.name = "version 2 of QEMU", .options = "compat=0.10", .based = true},
    {.name = "small", .ours.cluster_bytes = 512, .snapshots = true, .packs = true},
    {.name = "small of QEMU",
     .options = "cluster_size=512,refcount_bits=64",
     .snapshots = true,
     .based = true},
    {.name = "few counts", .ours = {.cluster_bytes = 4096, .refcount_bits = 2}},
    {.name = "one bit of QEMU", .options = "cluster_size=4096,refcount_bits=1"},
    {.name = "extended", .ours.extended_l2 = true, .snapshots = true, .packs = true},
    {.name = "extended, based", .ours.extended_l2 = true, .based = true},
    {.name = "extended of QEMU",
     .options = "extended_l2=on,cluster_size=16384",
     .based = true,
     .snapshots = true},
    {.name = "based", .based = true, .packs = true, .snapshots = true},
    {.name = "lazy", .ours.lazy_refcounts = true, .snapshots = true},
    {.name = "lazy of QEMU", .options = "lazy_refcounts=on"},
    {.name = "zstd", .ours.compression = QCOW2_ZSTD, .packs = true},
    {.name = "zstd of QEMU",
     .options = "compression_type=zstd,cluster_size=8192",
     .packs = true,
     .based = true},
    {.name = "preallocated", .ours.preallocate_metadata = true, .snapshots = true},
    {.name = "preallocated, extended",
     .ours = {.preallocate_metadata = true, .extended_l2 = true}},
    {.name = "preallocated of QEMU", .options = "preallocation=metadata"},
    {.name = "data file", .ours.data_name = "data"},
    {.name = "data file, extended", .ours = {.data_name = "data", .extended_l2 = true}},
    {.name = "data file, preallocated",
     .ours = {.data_name = "data", .preallocate_metadata = true}},
    {.name = "raw data file", .ours = {.data_name = "data", .data_is_raw = true}},
    {.name = "data file of QEMU", .options = "data_file=data,data_file_raw=off"},
    {.name = "raw data file of QEMU", .options = "data_file=data,data_file_raw=on"},
    {.name = "large", .ours.cluster_bytes = 1u << 21, .snapshots = true},
};

struct run {
    const struct kind *kind;
    struct loop *loop;
    uint64_t random;
    char *model;
    char *kept; /* the model at the time of the snapshot */
    bool has_snapshot;
    struct blk_edge edge;
};

static uint64_t pick(struct run *h, uint64_t below)
{
    return suite_random(&h->random) % below;
}

static void pick_range(struct run *h, uint64_t *off, uint64_t *bytes)
{
    uint64_t n = pick(h, 4) == 0 ? pick(h, MOST_BLOCKS) + 1 : pick(h, 16) + 1;

    *off = pick(h, SIZE_BYTES / 512 - n + 1) * 512;
    *bytes = n * 512;
}

static void open_ours(struct run *h)
{
    struct file_source s = file_source_of(h->loop, 0);
    struct blk *disk = NULL;
    struct err e = {0};

    if (file_open_image(&s, "image", false, NULL, &disk, &e) != 0) {
        (void)fprintf(stderr, "%s: %s\n", h->kind->name, e.text);
        abort();
    }
    h->edge = (struct blk_edge){.user = "history", .uses = BLK_USE_ALL};
    must_be_0(blk_attach(&h->edge, disk, &e));
    must(blk_size(disk) == SIZE_BYTES);
}

static void compare_ours(struct run *h)
{
    char *room = malloc(SIZE_BYTES);

    must_be_0(blk_read(h->edge.disk, room, SIZE_BYTES, 0));
    for (size_t i = 0; i < SIZE_BYTES; i++) {
        if (room[i] != h->model[i]) {
            (void)fprintf(stderr, "%s: byte %zu is %d, not %d\n", h->kind->name, i,
                          room[i], h->model[i]);
            abort();
        }
    }
    free(room);
}

static void check_ours(struct run *h)
{
    struct qcow2_check_result x;
    struct err e = {0};

    must_be_0(qcow2_check(h->edge.disk, QCOW2_REPAIR_NOTHING, &x, &e));
    if (x.corruptions != 0 || x.leaks != 0) {
        (void)fprintf(stderr, "%s: %llu corruptions, %llu leaks\n", h->kind->name,
                      (unsigned long long)x.corruptions, (unsigned long long)x.leaks);
        abort();
    }
}

/* What packs: words; what does not: noise. */
static void fill(struct run *h, char *buf, size_t bytes)
{
    bool noise = pick(h, 2) == 0;
    int word = (int)pick(h, 256);

    for (size_t i = 0; i < bytes; i++) {
        buf[i] =
            (char)(noise ? suite_random(&h->random) : (uint64_t)(unsigned)word + i / 512);
    }
}

static void pack(struct run *h)
{
    struct qcow2_info info;
    uint64_t off;
    size_t bytes;

    qcow2_info(h->edge.disk, &info);
    off = pick(h, (SIZE_BYTES - 1) / info.cluster_bytes + 1) * info.cluster_bytes;
    bytes = SIZE_BYTES - off < info.cluster_bytes ? (size_t)(SIZE_BYTES - off)
                                                  : info.cluster_bytes;
    fill(h, h->model + off, bytes);
    must_be_0(qcow2_write_packed(h->edge.disk, h->model + off, bytes, off));
}

static void our_step(struct run *h)
{
    uint64_t off;
    uint64_t bytes;
    char *room;

    pick_range(h, &off, &bytes);
    switch (pick(h, 10)) {
    case 0:
        must_be_0(blk_zero(h->edge.disk, off, bytes, pick(h, 2) == 0 ? BLK_UNMAP : 0));
        memset(h->model + off, 0, bytes);
        break;
    case 1:
        must_be_0(blk_discard(h->edge.disk, off, bytes));
        must_be_0(blk_read(h->edge.disk, h->model + off, bytes, off));
        break;
    case 2:
        must_be_0(blk_flush(h->edge.disk));
        break;
    case 3:
        if (h->kind->packs) {
            pack(h);
        }
        break;
    default:
        room = malloc(bytes);
        fill(h, room, bytes);
        must_be_0(blk_write(h->edge.disk, room, bytes, off, 0));
        memcpy(h->model + off, room, bytes);
        free(room);
    }
}

static void our_snapshots(struct run *h)
{
    struct err e = {0};

    if (!h->kind->snapshots) {
        return;
    }
    if (!h->has_snapshot) {
        must_be_0(qcow2_snapshot_create(h->edge.disk, "one", &e));
        memcpy(h->kept, h->model, SIZE_BYTES);
        h->has_snapshot = true;
    } else if (pick(h, 2) == 0) {
        must_be_0(qcow2_snapshot_apply(h->edge.disk, "one", &e));
        memcpy(h->model, h->kept, SIZE_BYTES);
    } else {
        must_be_0(qcow2_snapshot_delete(h->edge.disk, "one", &e));
        h->has_snapshot = false;
    }
    check_ours(h);
}

static int our_turn(void *arg)
{
    struct run *h = arg;

    open_ours(h);
    check_ours(h);
    compare_ours(h);
    for (unsigned i = 0; i < OUR_STEPS; i++) {
        our_step(h);
        if (i % 20 == 19) {
            our_snapshots(h);
            compare_ours(h);
        }
    }
    check_ours(h);
    blk_detach(&h->edge);
    return 0;
}

static void save_model(const struct run *h)
{
    char path[128];
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/model", judge_dir());
    f = fopen(path, "wb");
    must(f != NULL && fwrite(h->model, 1, SIZE_BYTES, f) == SIZE_BYTES);
    (void)fclose(f);
}

static void judge(const struct run *h)
{
    save_model(h);
    if (judge_check("image") != 0 ||
        judge_run("qemu-img compare -f qcow2 -F raw image model >compare.log 2>&1") !=
            0) {
        (void)fprintf(stderr, "%s:\n", h->kind->name);
        (void)judge_run("cat check.log compare.log");
        abort();
    }
}

/* One process of qemu-io does all of a turn. */
static void their_turn(struct run *h)
{
    char path[128];
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/commands", judge_dir());
    f = fopen(path, "w");
    must(f != NULL);
    for (unsigned i = 0; i < THEIR_STEPS; i++) {
        uint64_t off;
        uint64_t bytes;
        unsigned pattern = (unsigned)pick(h, 255) + 1;
        unsigned what = (unsigned)pick(h, 6);

        pick_range(h, &off, &bytes);
        if (what == 0) {
            (void)fprintf(f, "write -z %s %llu %llu\n", pick(h, 2) == 0 ? "-u" : "",
                          (unsigned long long)off, (unsigned long long)bytes);
            pattern = 0;
        } else {
            (void)fprintf(f, "write -P %u %llu %llu\n", pattern, (unsigned long long)off,
                          (unsigned long long)bytes);
        }
        memset(h->model + off, (int)pattern, bytes);
    }
    (void)fclose(f);
    must(judge_run("qemu-io -f qcow2 image <commands >io.log 2>&1 && "
                   "! grep -q 'failed\\|rror' io.log") == 0);
    if (h->kind->snapshots) {
        if (!h->has_snapshot) {
            must(judge_run("qemu-img snapshot -c one image") == 0);
            memcpy(h->kept, h->model, SIZE_BYTES);
            h->has_snapshot = true;
        } else if (pick(h, 2) == 0) {
            must(judge_run("qemu-img snapshot -a one image") == 0);
            memcpy(h->model, h->kept, SIZE_BYTES);
        } else {
            must(judge_run("qemu-img snapshot -d one image") == 0);
            h->has_snapshot = false;
        }
    }
}

/* base: raw; middle: an image on it, shorter than the top. */
static void make_chain(struct run *h)
{
    for (size_t i = 0; i < SIZE_BYTES; i++) {
        h->model[i] = i % 200000 < 100000 ? (char)(i / 512 * 7 + 1) : 0;
    }
    save_model(h);
    must(judge_run("cp model base && truncate -s 2M base && "
                   "qemu-img create -q -f qcow2 -b base -F raw middle 2500K && "
                   "qemu-io -c 'write -P 9 1M 300K' -c 'write -P 7 2300K 100K' -f qcow2 "
                   "middle >/dev/null") == 0);
    memset(h->model + (2u << 20), 0, SIZE_BYTES - (2u << 20));
    memset(h->model + (1u << 20), 9, 300u << 10);
    memset(h->model + (2300u << 10), 7, 100u << 10);
}

static int make_ours(void *arg)
{
    struct run *h = arg;
    struct qcow2_create_options o = h->kind->ours;
    struct blk *data = NULL;

    o.size_bytes = SIZE_BYTES;
    if (h->kind->based) {
        o.backing_name = "middle";
        o.backing_format = "qcow2";
    }
    if (o.data_name != NULL) {
        must_be_0(file_open_raw(h->loop, o.data_name, false, true, &data));
        must_be_0(blk_resize(data, SIZE_BYTES, NULL));
        blk_drop(data);
    }
    file_create_image(h->loop, "image", &o);
    return 0;
}

static void run_kind(const struct kind *kind, uint64_t seed)
{
    const char *more = getenv("HISTORY_TURNS");
    unsigned turns = more != NULL ? (unsigned)strtoul(more, NULL, 10) : TURNS;
    struct run h = {.kind = kind, .random = seed * 2 + 1};
    struct err e = {0};

    must_be_0(loop_create(LOOP_DRIVER_AUTO, &h.loop, &e));
    h.model = calloc(1, SIZE_BYTES);
    h.kept = calloc(1, SIZE_BYTES);
    must(judge_run("rm -f image middle base data") == 0);
    if (kind->based) {
        make_chain(&h);
    }
    if (kind->options == NULL) {
        must_be_0(loop_do(h.loop, make_ours, &h));
    } else {
        must(judge_run("qemu-img create -q -f qcow2 %s -o %s image %u",
                       kind->based ? "-b middle -F qcow2" : "", kind->options,
                       SIZE_BYTES) == 0);
    }
    for (unsigned i = 0; i < turns; i++) {
        must_be_0(loop_do(h.loop, our_turn, &h));
        judge(&h);
        their_turn(&h);
        judge(&h);
    }
    must_be_0(loop_do(h.loop, our_turn, &h));
    judge(&h);
    (void)printf("ok   %s\n", kind->name);
    loop_destroy(h.loop);
    free(h.model);
    free(h.kept);
}

int main(void)
{
    const char *only = getenv("SUITE_ONLY");
    const char *seed = getenv("SUITE_SEED");

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    if (!judge_is_there()) {
        (void)printf("skipped: qemu-img is not installed\n");
        return 77;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (only == NULL || strcmp(only, kinds[i].name) == 0) {
            run_kind(&kinds[i], seed != NULL ? strtoull(seed, NULL, 10) : 1);
        }
    }
    return 0;
}
