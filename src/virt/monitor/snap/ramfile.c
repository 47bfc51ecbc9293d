/* ramfile.c - the guest's memory as a file that is mapped again.
 *
 * Pages that hold nothing but zeros are found by looking at them: a page that was never
 * touched costs the host nothing when it is read.  The sum of a chunk covers the number and
 * the bytes of each of its other pages, so that a check reads what the file has and no
 * hole. */
#include "virt/monitor/snap/ramfile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/err.h"
#include "base/fault.h"
#include "contract/mem.h"
#include "virt/monitor/snap/stream.h"

#define PAGE        MEM_PAGE_BYTES
#define CHUNK_PAGES (RAMFILE_CHUNK / PAGE)
#define RUN_PAGES   64u

struct trailer {
    char magic[16];
    uint8_t id[STREAM_ID_BYTES];
    uint64_t bytes; /* before it */
    uint32_t zero, crc;
};

static const char magic[16] = "STRATA MEMORY\n";

static bool is_zero(const uint8_t *page)
{
    uint64_t word;

    memcpy(&word, page, sizeof word);
    return word == 0 && memcmp(page, page + sizeof word, PAGE - sizeof word) == 0;
}

static uint32_t add_page(uint32_t crc, uint32_t number, const uint8_t *page)
{
    return crc32c(crc32c(crc, &number, sizeof number), page, PAGE);
}

static bool is_ram(const struct mem_region *r)
{
    return r->host != NULL;
}

static uint64_t ram_bytes(const struct mem *m)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < m->region_count; i++) {
        sum += is_ram(&m->region[i]) ? m->region[i].bytes : 0;
    }
    return sum;
}

static struct trailer trailer_of(const struct stream *s, uint64_t bytes)
{
    struct trailer t = {.bytes = bytes};

    memcpy(t.magic, magic, sizeof magic);
    memcpy(t.id, stream_id(s), sizeof t.id);
    t.crc = crc32c(0, &t, offsetof(struct trailer, crc));
    return t;
}

/* ---- layout ---- */

/* Loading: refused if `m` has another. */
static void carry_layout(const struct mem *m, struct snap *s)
{
    uint64_t count = m->region_count;

    if (snap_number(s, count, MEM_REGIONS_MAX) != count) {
        snap_refuse(s);
    }
    for (unsigned i = 0; i < m->region_count; i++) {
        const struct mem_region *r = &m->region[i];
        uint64_t base = r->base;
        uint64_t bytes = is_ram(r) ? r->bytes : 0;

        SNAP_FIELD(s, base);
        SNAP_FIELD(s, bytes);
        if (base != r->base || bytes != (is_ram(r) ? r->bytes : 0)) {
            snap_refuse(s);
        }
    }
}

/* ---- writing ---- */

static int write_all(int fd, const uint8_t *bytes, size_t n, uint64_t at)
{
    while (n > 0) {
        int r = fault_step("snapshot.memory");
        ssize_t done = r != 0 ? r : pwrite(fd, bytes, n, (off_t)at);

        if (done < 0) {
            return r != 0 ? r : -errno;
        }
        bytes += done;
        n -= (size_t)done;
        at += (uint64_t)done;
    }
    return 0;
}

/* Of a chunk at `host`, whose place in the file is `at`. */
static int save_chunk(const uint8_t *host, uint64_t pages, int fd, uint64_t at,
                      uint32_t *ret_crc)
{
    uint64_t run = 0; /* pages before `n` that wait */
    uint32_t crc = 0;
    int r = 0;

    for (uint64_t n = 0; r == 0 && n <= pages; n++) {
        bool is_there = n < pages && !is_zero(host + n * PAGE);

        if (run > 0 && (!is_there || run == RUN_PAGES)) {
            r = write_all(fd, host + (n - run) * PAGE, run * PAGE, at + (n - run) * PAGE);
            run = 0;
        }
        if (is_there) {
            crc = add_page(crc, (uint32_t)n, host + n * PAGE);
            run++;
        }
    }
    *ret_crc = crc;
    return r;
}

static int save_region(struct mem *m, const struct mem_region *region, int fd,
                       uint64_t at, struct snap *s)
{
    int r = 0;

    for (uint64_t done = 0; r == 0 && done < region->bytes; done += PAGE) {
        r = mem_present(m, region, region->base + done);
    }
    for (uint64_t done = 0; r == 0 && done < region->bytes; done += RAMFILE_CHUNK) {
        uint64_t left = region->bytes - done;
        uint64_t pages = left < RAMFILE_CHUNK ? left / PAGE : CHUNK_PAGES;
        uint32_t crc = 0;

        r = save_chunk(region->host + done, pages, fd, at + done, &crc);
        SNAP_FIELD(s, crc);
    }
    return r;
}

int ramfile_save(struct mem *m, int fd, struct stream *s, struct err *e)
{
    uint64_t total = ram_bytes(m);
    struct trailer t = trailer_of(s, total);
    uint64_t at = 0;
    int r = ftruncate(fd, 0) < 0 || ftruncate(fd, (off_t)(total + PAGE)) < 0 ? -errno : 0;

    (void)snap_begin(&s->snap, "memory", 1);
    carry_layout(m, &s->snap);
    for (unsigned i = 0; r == 0 && i < m->region_count; i++) {
        if (is_ram(&m->region[i])) {
            r = save_region(m, &m->region[i], fd, at, &s->snap);
            at += m->region[i].bytes;
        }
    }
    snap_end(&s->snap);
    r = r == 0 ? write_all(fd, (const uint8_t *)&t, sizeof t, total) : r;
    return r == 0 ? 0 : err_sys(e, r, "cannot write the guest's memory");
}

/* ---- checking ---- */

static int refuse(struct err *e, const char *why)
{
    return err_set(e, -EBADMSG, "cannot use this snapshot: %s", why);
}

static bool is_rest_zero(const uint8_t page[PAGE])
{
    bool is = true;

    for (size_t i = sizeof(struct trailer); i < PAGE; i++) {
        is = is && page[i] == 0;
    }
    return is;
}

static int check_trailer(const struct mem *m, int fd, const struct stream *s,
                         struct err *e)
{
    uint64_t total = ram_bytes(m);
    struct trailer want = trailer_of(s, total);
    uint8_t found[PAGE];
    off_t size = lseek(fd, 0, SEEK_END);

    if (size < 0) {
        return err_sys(e, -errno, "cannot read the guest's memory");
    }
    if ((uint64_t)size != total + PAGE) {
        return refuse(e, (uint64_t)size < total + PAGE
                             ? "the file of its memory is cut"
                             : "the file of its memory is longer than it was");
    }
    if (pread(fd, found, sizeof found, (off_t)total) != (ssize_t)sizeof found) {
        return refuse(e, "the file of its memory cannot be read");
    }
    if (memcmp(found, &want, sizeof want) != 0 || !is_rest_zero(found)) {
        return refuse(e, "the file of memory is another one's, or was not completed");
    }
    return 0;
}

/* The sum of the pages of [at, at+bytes) of the file. */
static int sum_chunk(int fd, uint64_t at, uint64_t bytes, uint8_t *buffer, uint32_t *ret)
{
    uint64_t from = at;
    uint32_t crc = 0;

    while (from < at + bytes) {
        off_t data = lseek(fd, (off_t)from, SEEK_DATA);
        off_t hole;
        uint64_t until;

        if (data < 0 && errno == ENXIO) {
            break;
        }
        hole = data < 0 ? data : lseek(fd, data, SEEK_HOLE);
        if (hole < 0) {
            return -errno;
        }
        from = (uint64_t)data & ~(uint64_t)(PAGE - 1);
        until = ((uint64_t)hole + PAGE - 1) & ~(uint64_t)(PAGE - 1);
        until = until < at + bytes ? until : at + bytes;
        if (from >= until) {
            break;
        }
        if (pread(fd, buffer, until - from, (off_t)from) != (ssize_t)(until - from)) {
            return -EIO;
        }
        for (uint64_t n = 0; n < until - from; n += PAGE) {
            if (!is_zero(buffer + n)) {
                crc = add_page(crc, (uint32_t)((from + n - at) / PAGE), buffer + n);
            }
        }
        from = until;
    }
    *ret = crc;
    return 0;
}

static int check_region(const struct mem_region *region, int fd, uint64_t at, bool reads,
                        struct snap *s)
{
    uint8_t *buffer = reads ? fault_malloc(RAMFILE_CHUNK) : NULL;
    int r = reads && buffer == NULL ? -ENOMEM : 0;

    for (uint64_t done = 0; r == 0 && done < region->bytes; done += RAMFILE_CHUNK) {
        uint64_t left = region->bytes - done;
        uint32_t want = 0;
        uint32_t found = 0;

        SNAP_FIELD(s, want);
        if (reads) {
            r = sum_chunk(fd, at + done, left < RAMFILE_CHUNK ? left : RAMFILE_CHUNK,
                          buffer, &found);
        }
        if (r == 0 && reads && found != want) {
            r = -EBADMSG;
        }
    }
    free(buffer);
    return r;
}

int ramfile_check(const struct mem *m, int fd, struct stream *s, bool reads_all,
                  struct err *e)
{
    uint64_t at = 0;
    int r = check_trailer(m, fd, s, e);

    if (r != 0) {
        return r;
    }
    (void)snap_begin(&s->snap, "memory", 1);
    carry_layout(m, &s->snap);
    if (snap_error(&s->snap) != 0) {
        return refuse(e, "this machine has other memory");
    }
    for (unsigned i = 0; r == 0 && i < m->region_count; i++) {
        if (is_ram(&m->region[i])) {
            r = check_region(&m->region[i], fd, at, reads_all, &s->snap);
            at += m->region[i].bytes;
        }
    }
    snap_end(&s->snap);
    if (r == -EBADMSG) {
        return refuse(e, "its memory is damaged");
    }
    return r == 0 ? snap_error(&s->snap)
                  : err_sys(e, r, "cannot read the guest's memory");
}
