/* run.c - read what lies in runs, neighbours in the file by one request. */
#include "resource/storage/format/run.h"

#include <errno.h>

#include "contract/blk_ops.h"

int format_read_meta(struct blk *file, void *to, uint64_t bytes, uint64_t at)
{
    uint64_t end;

    if (__builtin_add_overflow(at, bytes, &end) || end > blk_size(file) ||
        ((at | bytes) & (BLK_BLOCK_LEAST_BYTES - 1)) != 0) {
        return -EUCLEAN;
    }
    return blk_read(file, to, (size_t)bytes, at);
}

int format_run_plain(struct blk *file, struct blk_vec to, uint64_t at)
{
    uint64_t size = blk_size(file);

    if (at >= size) {
        return -EUCLEAN;
    }
    if (to.bytes > size - at) {
        size_t inside = (size_t)(size - at);

        blk_vec_zero(blk_vec_part(to, inside, to.bytes - inside));
        to = blk_vec_part(to, 0, inside);
    }
    return blk_readv(file, to, at);
}

static bool goes_on(const struct format_run *a, const struct format_run *b)
{
    if (a->place != b->place) {
        return false;
    }
    switch (a->place) {
    case FORMAT_PLACE_NOWHERE:
    case FORMAT_PLACE_ZERO:
        return true;
    case FORMAT_PLACE_FILE:
    case FORMAT_PLACE_BELOW:
        return a->file == b->file && a->at + a->bytes == b->at;
    default:
        return false;
    }
}

/* The longest run from `off` on that is all alike. */
static int find_long(struct blk *b, format_find_run *find, uint64_t off, uint64_t bytes,
                     struct format_run *ret)
{
    int r = find(b, off, bytes, ret);

    while (r == 0 && ret->bytes < bytes) {
        struct format_run more;

        if (find(b, off + ret->bytes, bytes - ret->bytes, &more) != 0 ||
            !goes_on(ret, &more)) {
            break; /* an error there is told when somebody reads there */
        }
        ret->bytes += more.bytes;
    }
    return r;
}

static int read_one(struct blk *b, const struct format_run *run, format_read_run *special,
                    struct blk_vec to, uint64_t off)
{
    switch (run->place) {
    case FORMAT_PLACE_FILE:
        return format_run_plain(run->file, to, run->at);
    case FORMAT_PLACE_BELOW:
        return blk_readv(run->file, to, run->at);
    case FORMAT_PLACE_PACKED:
        return special(b, run, to, off);
    default:
        blk_vec_zero(to);
        return 0;
    }
}

int format_run_read(struct blk *b, format_find_run *find, format_read_run *special,
                    struct blk_vec to, uint64_t off)
{
    int r = 0;

    while (r == 0 && to.bytes > 0) {
        struct format_run run;

        r = find_long(b, find, off, to.bytes, &run);
        if (r == 0) {
            r = read_one(b, &run, special, blk_vec_part(to, 0, (size_t)run.bytes), off);
            off += run.bytes;
            to = blk_vec_part(to, (size_t)run.bytes, to.bytes - (size_t)run.bytes);
        }
    }
    return r;
}

#define STATUS_LOOK_MOST ((uint64_t)64 << 20) /* that one question walks through */

int format_run_status(struct blk *b, format_find_run *find, uint64_t off, uint64_t bytes,
                      struct blk_extent *ret)
{
    struct format_run run;
    uint64_t look = bytes < STATUS_LOOK_MOST ? bytes : STATUS_LOOK_MOST;
    int r = find_long(b, find, off, look, &run);

    if (r != 0) {
        return r;
    }
    *ret = (struct blk_extent){.bytes = run.bytes};
    switch (run.place) {
    case FORMAT_PLACE_BELOW:
        r = blk_status(run.file, run.at, run.bytes, ret);
        ret->state &= ~(unsigned)BLK_ALLOCATED;
        break;
    case FORMAT_PLACE_FILE:
        ret->state = BLK_DATA | BLK_ALLOCATED | BLK_PLACED;
        ret->at = run.at;
        ret->holder = run.file;
        break;
    case FORMAT_PLACE_PACKED:
        ret->state = BLK_DATA | BLK_ALLOCATED;
        break;
    case FORMAT_PLACE_ZERO:
        ret->state = BLK_ALLOCATED;
        break;
    default:
        break;
    }
    return r;
}
