/* checksum_test.c - checksums: as a disk, through power cuts, over bytes that changed by
 * themselves, over a mirror. */
#include "resource/storage/filter/checksum.h"

#include "base/crc32c.h"
#include "resource/storage/redundancy/mirror.h"
#include "tests/resource/storage/redundancy/members.h"

#define DISK_BYTES  (1u << 20)
#define LOWER_BYTES ((4u << 20) + (1u << 20))

/* ---- the suite ---- */

static int make(struct blk *take_lower, struct blk *take_area,
                enum filter_checksum_kind kind, uint64_t size, struct blk **ret_disk,
                struct err *e)
{
    struct filter_checksum_format f = {.kind = kind, .data_bytes = size};
    int r = filter_checksum_format(take_lower, take_area, &f, e);

    if (r != 0) {
        blk_drop(take_lower);
        blk_drop(take_area);
        return r;
    }
    return filter_checksum_create(take_lower, take_area, NULL, ret_disk, e);
}

static int make_crc(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                    struct blk **ret_disk, struct err *e)
{
    (void)l;
    return make(take_lower[0], NULL, FILTER_CHECKSUM_CRC32C, size_bytes, ret_disk, e);
}

static int make_sha(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                    struct blk **ret_disk, struct err *e)
{
    (void)l;
    return make(take_lower[0], NULL, FILTER_CHECKSUM_SHA256, size_bytes, ret_disk, e);
}

static int make_apart(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                      struct blk **ret_disk, struct err *e)
{
    (void)l;
    return make(take_lower[0], take_lower[1], FILTER_CHECKSUM_CRC32C, size_bytes,
                ret_disk, e);
}

static int open_one(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                    struct blk **ret_disk, struct err *e)
{
    (void)l;
    (void)size_bytes;
    return filter_checksum_create(take_lower[0], NULL, NULL, ret_disk, e);
}

static int open_apart(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                      struct blk **ret_disk, struct err *e)
{
    (void)l;
    (void)size_bytes;
    return filter_checksum_create(take_lower[0], take_lower[1], NULL, ret_disk, e);
}

/* ---- a bench of our own ---- */

static void open_disk(struct members *s, const struct filter_checksum_mend *mend)
{
    must_be_0(filter_checksum_create(s->base[0], NULL, mend, &s->disk, NULL));
    members_hold(s);
}

static void corrupt(struct blk *b, uint64_t at)
{
    unsigned char block[512];

    must_be_0(blk_read(b, block, sizeof block, at));
    block[77] ^= 0x10;
    must_be_0(blk_write(b, block, sizeof block, at, 0));
}

static struct filter_checksum_status status_of(struct members *s)
{
    struct filter_checksum_status x;

    filter_checksum_status(s->disk, &x);
    return x;
}

static int each_changed_block_is_found(void *arg)
{
    static const enum filter_checksum_kind kinds[] = {FILTER_CHECKSUM_CRC32C,
                                                      FILTER_CHECKSUM_SHA256};
    struct members *s = arg;

    for (unsigned k = 0; k < 2; k++) {
        struct filter_checksum_format f = {.kind = kinds[k], .data_bytes = DISK_BYTES};
        char *model = calloc(1, DISK_BYTES);
        char *room = malloc(DISK_BYTES);

        members_add(s, LOWER_BYTES);
        must_be_0(filter_checksum_format(s->base[0], NULL, &f, NULL));
        open_disk(s, NULL);
        for (unsigned i = 0; i < 50; i++) {
            members_write(s, model, DISK_BYTES, 300);
        }
        members_close(s);
        for (unsigned i = 0; i < 40; i++) {
            uint64_t at = suite_random(&s->random) % (DISK_BYTES / 512) * 512;
            struct filter_checksum_scrub x = {0};

            corrupt(s->base[0], at);
            open_disk(s, NULL);
            must(blk_read(s->disk, room, 512, at) == -EILSEQ);
            must(blk_read(s->disk, room, DISK_BYTES, 0) == -EILSEQ);
            must_be_0(filter_checksum_scrub(s->disk, &x));
            must(x.blocks == DISK_BYTES / 512 && x.wrong == 1 && x.mended == 0);
            must_be_0(blk_write(s->disk, model + at, 512, at, 0)); /* as good as new */
            members_compare(s, model, DISK_BYTES);
            members_close(s);
        }
        members_drop(s);
        free(model);
        free(room);
    }
    return 0;
}

static int read_copy(void *arg, unsigned copy, struct blk_vec to, uint64_t off)
{
    return mirror_read_copy(arg, copy, to, off);
}

static int a_mirror_mends(void *arg)
{
    struct members *s = arg;
    struct mirror_format mf = {.same = true, .region_bytes = 65536};
    struct mirror_options mo = {0};
    struct filter_checksum_format f = {.kind = FILTER_CHECKSUM_CRC32C,
                                       .data_bytes = DISK_BYTES};
    struct filter_checksum_mend mend = {.read_copy = read_copy};
    struct filter_checksum_scrub scrub = {0};
    struct blk *mirror = NULL;
    char *model = calloc(1, DISK_BYTES);

    members_add(s, LOWER_BYTES);
    members_add(s, LOWER_BYTES);
    must_be_0(mirror_format(s->base, 2, &mf, NULL));
    must_be_0(mirror_open(s->loop, s->base, 2, &mo, &mirror, NULL));
    must_be_0(filter_checksum_format(mirror, NULL, &f, NULL));
    mend.arg = mirror;
    must_be_0(filter_checksum_create(mirror, NULL, &mend, &s->disk, NULL));
    members_hold(s);
    for (unsigned i = 0; i < 50; i++) {
        members_write(s, model, DISK_BYTES, 300);
    }
    for (unsigned i = 0; i < 60; i++) { /* data begin at 128 KiB of a member */
        corrupt(s->base[i % 2], 131072 + (uint64_t)i * 3 * 512);
    }
    for (unsigned i = 0; i < 3; i++) { /* whichever member is asked */
        members_compare(s, model, DISK_BYTES);
        must_be_0(filter_checksum_scrub(s->disk, &scrub));
    }
    must(status_of(s).mended >= 30 && status_of(s).mended == status_of(s).wrong);
    for (unsigned i = 0; i < 2; i++) { /* both copies wrong: it is told */
        corrupt(s->base[i], 131072 + 1024);
    }
    must(blk_read(s->disk, model, 512, 1024) == -EILSEQ);
    members_close(s);
    members_drop(s);
    free(model);
    return 0;
}

/* What the disk was before is kept and has sums from now on. */
static int what_is_there_can_be_adopted(void *arg)
{
    struct members *s = arg;
    struct filter_checksum_format f = {
        .kind = FILTER_CHECKSUM_SHA256, .data_bytes = DISK_BYTES, .adopt = true};
    char *model = malloc(DISK_BYTES);
    char room[512];

    members_add(s, LOWER_BYTES);
    for (unsigned i = 0; i < DISK_BYTES; i++) {
        model[i] = (char)suite_random(&s->random);
    }
    must_be_0(blk_write(s->base[0], model, DISK_BYTES, 0, 0));
    must_be_0(filter_checksum_format(s->base[0], NULL, &f, NULL));
    open_disk(s, NULL);
    members_compare(s, model, DISK_BYTES);
    members_close(s);
    corrupt(s->base[0], 4096);
    open_disk(s, NULL);
    must(blk_read(s->disk, room, 512, 4096) == -EILSEQ);
    must_be_0(blk_read(s->disk, room, 512, 8192));
    members_close(s);
    members_drop(s);
    free(model);
    return 0;
}

/* Damaged checksums are not taken for damaged data for ever. */
static int damaged_sums_are_renewed(void *arg)
{
    struct members *s = arg;
    struct filter_checksum_format f = {.kind = FILTER_CHECKSUM_CRC32C,
                                       .data_bytes = DISK_BYTES};
    struct filter_checksum_scrub plain = {0};
    struct filter_checksum_scrub renew = {.renew = true};
    uint64_t pages = (DISK_BYTES / 512 + 8 * 127 - 1) / (8 * 127);
    uint64_t table = LOWER_BYTES - 8192 - pages * 4096;
    char *model = calloc(1, DISK_BYTES);

    members_add(s, LOWER_BYTES);
    must_be_0(filter_checksum_format(s->base[0], NULL, &f, NULL));
    open_disk(s, NULL);
    for (unsigned i = 0; i < 50; i++) {
        members_write(s, model, DISK_BYTES, 300);
    }
    members_close(s);
    corrupt(s->base[0], table + 512);
    open_disk(s, NULL);
    must(blk_read(s->disk, model, 512, 127 * 512) == -EILSEQ);
    must_be_0(filter_checksum_scrub(s->disk, &plain));
    must(plain.wrong == 127);
    must_be_0(blk_write(s->disk, model, 512, 0, 0));
    must_be_0(blk_write(s->disk, model + 127 * 512, 512, 127 * 512, 0));
    members_close(s); /* the damaged sheet is written: it stays damaged */
    open_disk(s, NULL);
    must(blk_read(s->disk, model, 512, 128 * 512) == -EILSEQ);
    must_be_0(filter_checksum_scrub(s->disk, &renew));
    must(renew.wrong == 0 && renew.renewed == 127);
    must_be_0(blk_read(s->disk, model, DISK_BYTES, 0));
    members_close(s);
    members_drop(s);
    free(model);
    return 0;
}

/* After any cut everything can be read: no block is called damaged that is not. */
static int cuts_make_no_damage(void *arg)
{
    struct members *s = arg;
    struct filter_checksum_format f = {.kind = FILTER_CHECKSUM_CRC32C,
                                       .data_bytes = DISK_BYTES};
    char *room = malloc(DISK_BYTES);

    members_add(s, LOWER_BYTES);
    must_be_0(filter_checksum_format(s->base[0], NULL, &f, NULL));
    for (unsigned i = 0; i < 100; i++) {
        s->plan.holds_back = true;
        members_filter(s, 1);
        must_be_0(filter_checksum_create(s->lower[0], NULL, NULL, &s->disk, NULL));
        members_hold(s);
        filter_fault_cut_after(s->lower[0], suite_random(&s->random) % 300);
        for (unsigned k = 0; k < 200; k++) {
            size_t bytes = (size_t)(suite_random(&s->random) % 40 + 1) * 512;
            uint64_t off = suite_random(&s->random) % ((DISK_BYTES - bytes) / 512) * 512;

            memset(room, (int)suite_random(&s->random), bytes);
            if (blk_write(s->disk, room, bytes, off, 0) != 0 ||
                (k % 50 == 49 && blk_flush(s->disk) != 0)) {
                break;
            }
        }
        members_cut(s);
        members_close(s);
        open_disk(s, NULL);
        must_be_0(blk_read(s->disk, room, DISK_BYTES, 0));
        members_close(s);
    }
    members_drop(s);
    free(room);
    return 0;
}

/* ---- other sizes ---- */

/* What was on the disk is there, what is new is zeros, and no sum is wrong. */
static void must_be_whole(struct members *s, const char *model, uint64_t common,
                          uint64_t end)
{
    struct filter_checksum_scrub x = {0};
    char *room = malloc(blk_size(s->disk));

    must_be_0(blk_read(s->disk, room, blk_size(s->disk), 0));
    must(memcmp(room, model, common < end ? common : end) == 0);
    for (uint64_t i = common; i < end; i++) {
        must(room[i] == 0 || (i < DISK_BYTES && room[i] == model[i]));
    }
    must_be_0(filter_checksum_scrub(s->disk, &x));
    must(x.wrong == 0);
    free(room);
}

/* The disk that resizing leaves, cut at its n-th write: of the old size or the new one. */
static bool resize_cut_at(struct members *s, uint64_t size, unsigned cut,
                          const char *model)
{
    uint64_t common = size < DISK_BYTES ? size : DISK_BYTES;
    bool done;

    s->plan.holds_back = true;
    members_filter(s, 1);
    must_be_0(filter_checksum_create(s->lower[0], NULL, NULL, &s->disk, NULL));
    members_hold(s);
    filter_fault_cut_after(s->lower[0], cut);
    done = blk_resize(s->disk, size, NULL) == 0 && !filter_fault_is_cut(s->lower[0]);
    members_cut(s);
    members_close(s);
    open_disk(s, NULL);
    must(blk_size(s->disk) == size || (!done && blk_size(s->disk) == DISK_BYTES));
    must_be_whole(s, model, common, blk_size(s->disk));
    must_be_0(blk_resize(s->disk, size, NULL));
    must_be_whole(s, model, common, blk_size(s->disk));
    must_be_0(blk_write(s->disk, model, 4096, size - 4096, 0));
    members_close(s);
    open_disk(s, NULL);
    must(blk_size(s->disk) == size);
    must_be_whole(s, model, common, size - 4096);
    members_close(s);
    return done;
}

static int another_size_survives_cuts(void *arg)
{
    static const uint64_t sizes[] = {3 * DISK_BYTES, DISK_BYTES + 4096, DISK_BYTES / 2,
                                     6 * DISK_BYTES};
    struct filter_checksum_format f = {.kind = FILTER_CHECKSUM_CRC32C,
                                       .data_bytes = DISK_BYTES};
    struct members *s = arg;
    char *model = malloc(DISK_BYTES);

    for (unsigned i = 0; i < 4; i++) {
        bool done = false;

        for (unsigned cut = 0; !done; cut++) {
            must(cut < 200);
            /* as small as it can be, so that a new area is needed, or with room in front */
            members_add(s, i == 1 ? LOWER_BYTES : DISK_BYTES + (284u << 10));
            must_be_0(filter_checksum_format(s->base[0], NULL, &f, NULL));
            open_disk(s, NULL);
            for (unsigned k = 0; k < DISK_BYTES / 4096; k++) {
                memset(model + k * 4096, (int)(suite_random(&s->random) | 1), 4096);
            }
            must_be_0(blk_write(s->disk, model, DISK_BYTES, 0, 0));
            members_close(s);
            done = resize_cut_at(s, sizes[i], cut, model);
            members_drop(s);
        }
    }
    free(model);
    return 0;
}

/* A copy that reads do not choose is compared as well. */
static int all_copies_are_compared(void *arg)
{
    struct members *s = arg;
    struct mirror_format mf = {.same = true, .region_bytes = 65536};
    struct mirror_options mo = {0};
    struct filter_checksum_format f = {.kind = FILTER_CHECKSUM_CRC32C,
                                       .data_bytes = DISK_BYTES};
    struct filter_checksum_mend mend = {.read_copy = read_copy};
    char *model = calloc(1, DISK_BYTES);

    for (unsigned copy = 0; copy < 2; copy++) {
        struct filter_checksum_scrub x = {0};
        struct filter_checksum_scrub again = {0};
        struct blk *below = NULL;

        memset(model, 0, DISK_BYTES);
        members_add(s, LOWER_BYTES);
        members_add(s, LOWER_BYTES);
        must_be_0(mirror_format(s->base, 2, &mf, NULL));
        must_be_0(mirror_open(s->loop, s->base, 2, &mo, &below, NULL));
        must_be_0(filter_checksum_format(below, NULL, &f, NULL));
        mend.arg = below;
        must_be_0(filter_checksum_create(below, NULL, &mend, &s->disk, NULL));
        members_hold(s);
        for (unsigned i = 0; i < 20; i++) {
            members_write(s, model, DISK_BYTES, 300);
        }
        members_close(s);
        corrupt(s->base[copy], 131072 + 512 * (100 + copy)); /* data begin at 128 KiB */
        must_be_0(mirror_open(s->loop, s->base, 2, &mo, &below, NULL));
        mend.arg = below;
        must_be_0(filter_checksum_create(below, NULL, &mend, &s->disk, NULL));
        members_hold(s);
        must_be_0(filter_checksum_scrub(s->disk, &x));
        must(x.wrong == 1 && x.mended == 1);
        must_be_0(filter_checksum_scrub(s->disk, &again));
        must(again.wrong == 0);
        members_compare(s, model, DISK_BYTES);
        members_close(s);
        members_drop(s);
    }
    free(model);
    return 0;
}

/* ---- hostile headers ---- */

static int hostile_headers_are_refused(void *arg)
{
    static const struct {
        unsigned at;
        uint64_t value;
        unsigned bytes;
    } bad[] = {
        {0, 0, 4},
        {0, 3, 4},
        {4, 0, 4},
        {4, 256, 4},
        {4, 513, 4},
        {4, 8192, 4},
        {8, UINT64_MAX, 8},
        {8, 1000, 8},
        {8, LOWER_BYTES, 8},
        {16, 4097, 8},
        {16, UINT64_MAX & ~4095ull, 8},
        {24, 4096, 8},
        {24, UINT64_MAX & ~4095ull, 8},
        {32, 0, 8},
        {32, 1ull << 60, 8},
        {40, 0, 8},
        {40, UINT64_MAX, 8},
        {40, 1ull << 52, 8},
        {56, 4097, 8}, /* of the longer header */
        {56, LOWER_BYTES, 8},
        {56, 1u << 20, 8},
        {56, UINT64_MAX & ~4095ull, 8},
        {64, 4096, 8},
        {72, 100, 8},
        {72, UINT64_MAX & ~4095ull, 8},
    };
    struct members *s = arg;
    struct filter_checksum_format f = {.kind = FILTER_CHECKSUM_CRC32C,
                                       .data_bytes = DISK_BYTES};
    unsigned char good[4096];

    members_add(s, LOWER_BYTES);
    must_be_0(filter_checksum_format(s->base[0], NULL, &f, NULL));
    must_be_0(blk_read(s->base[0], good, sizeof good, LOWER_BYTES - 4096));
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        unsigned char place[4096];
        uint32_t payload;
        uint32_t crc;

        memcpy(place, good, sizeof place);
        if (bad[i].at >= 56) {
            memset(place + 40 + 56, 0, 24);
            place[12] = 80;
        }
        memcpy(place + 40 + bad[i].at, &bad[i].value, bad[i].bytes);
        memcpy(&payload, place + 12, 4);
        memset(place + 36, 0, 4);
        crc = crc32c(0, place, 40 + payload);
        memcpy(place + 36, &crc, 4);
        must_be_0(blk_write(s->base[0], place, sizeof place, LOWER_BYTES - 4096, 0));
        must(filter_checksum_create(s->base[0], NULL, NULL, &s->disk, NULL) == -EUCLEAN);
    }
    members_drop(s);
    return 0;
}

static void run(int (*test)(void *arg), const char *name)
{
    struct members s = {.random = 7};

    members_run(&s.loop, test, &s);
    (void)printf("ok   %s\n", name);
}

int main(void)
{
    static const struct suite_disk disks[] = {
        {.name = "checksum, CRC-32C",
         .lowers = 1,
         .lower_bytes = LOWER_BYTES,
         .make = make_crc,
         .open = open_one},
        {.name = "checksum, SHA-256",
         .lowers = 1,
         .lower_bytes = LOWER_BYTES,
         .make = make_sha,
         .open = open_one},
        {.name = "checksum, area apart",
         .lowers = 2,
         .lower_bytes = LOWER_BYTES,
         .make = make_apart,
         .open = open_apart},
    };

    run(each_changed_block_is_found, "each changed block is found");
    run(a_mirror_mends, "a mirror mends");
    run(what_is_there_can_be_adopted, "what is there can be adopted");
    run(damaged_sums_are_renewed, "damaged sums are renewed");
    run(cuts_make_no_damage, "cuts make no damage");
    run(all_copies_are_compared, "all copies are compared");
    run(another_size_survives_cuts, "another size survives cuts");
    run(hostile_headers_are_refused, "hostile headers are refused");
    return suite_main(disks, sizeof disks / sizeof disks[0]);
}
