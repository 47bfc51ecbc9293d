/* stream.c - sections with their lengths and sums, in memory and as a file. */
#include "virt/monitor/snap/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/grow.h"
#include "base/sha256.h"

#define VERSION 1u

struct file_head {
    char magic[16];
    uint32_t version, flags;
    uint8_t id[STREAM_ID_BYTES];
    uint64_t bytes;
    uint32_t zero[3];
    uint32_t crc;
};

struct section_head {
    char name[STREAM_NAME];
    uint16_t version, zero;
    uint64_t bytes;
    uint32_t crc, zero2;
};

_Static_assert(sizeof(struct file_head) == 64, "as the file has it");
_Static_assert(sizeof(struct section_head) == 48, "as the file has it");

static const char magic[16] = "STRATA SNAPSHOT\n";

static struct stream *stream_of(struct snap *s)
{
    return (struct stream *)s;
}

/* ---- writing ---- */

static int append(struct stream *s, const void *bytes, size_t n)
{
    if (n > STREAM_MOST - s->count) {
        return -EFBIG;
    }
    if (!grow_for(&s->bytes, s->count + (uint32_t)n, &s->room)) {
        return -ENOMEM;
    }
    memcpy(s->bytes + s->count, bytes, n);
    s->count += (uint32_t)n;
    return 0;
}

static int write_bytes(struct snap *snap, const void *bytes, size_t n)
{
    return append(stream_of(snap), bytes, n);
}

static int begin_section(struct stream *s, const char *name, uint32_t version)
{
    struct section_head h = {.version = (uint16_t)version};

    if (strlen(name) >= sizeof h.name) {
        return -ENAMETOOLONG;
    }
    memcpy(h.name, name, strlen(name));
    s->section = s->count;
    return append(s, &h, sizeof h);
}

static int end_section(struct stream *s)
{
    static const uint8_t zeros[8] = {0};
    uint32_t from = s->section + (uint32_t)sizeof(struct section_head);
    struct section_head h;

    memcpy(&h, s->bytes + s->section, sizeof h);
    h.bytes = s->count - from;
    h.crc = crc32c(0, s->bytes + from, h.bytes);
    memcpy(s->bytes + s->section, &h, sizeof h);
    return append(s, zeros, -s->count & 7);
}

/* ---- reading ---- */

static int read_bytes(struct snap *snap, void *bytes, size_t n)
{
    struct stream *s = stream_of(snap);

    if (n > s->limit - s->at) {
        return -EBADMSG;
    }
    memcpy(bytes, s->bytes + s->at, n);
    s->at += (uint32_t)n;
    return 0;
}

/* The stream was checked: what is missing here is a section, not a byte. */
static int enter_section(struct stream *s, const char *name, uint32_t *ret_version)
{
    struct section_head h;

    if (s->count - s->at < sizeof h) {
        return -EBADMSG;
    }
    memcpy(&h, s->bytes + s->at, sizeof h);
    if (strncmp(h.name, name, sizeof h.name) != 0) {
        return -EBADMSG;
    }
    s->at += (uint32_t)sizeof h;
    s->limit = s->at + (uint32_t)h.bytes;
    *ret_version = h.version;
    return 0;
}

static int leave_section(struct stream *s)
{
    if (s->at != s->limit) {
        return -EBADMSG;
    }
    s->at += -s->at & 7;
    s->limit = s->at;
    return 0;
}

static int begin(struct snap *snap, const char *name, uint32_t *version)
{
    return snap->is_loading ? enter_section(stream_of(snap), name, version)
                            : begin_section(stream_of(snap), name, *version);
}

static int end(struct snap *snap)
{
    return snap->is_loading ? leave_section(stream_of(snap))
                            : end_section(stream_of(snap));
}

static const struct snap_ops ops = {
    .write = write_bytes, .read = read_bytes, .begin = begin, .end = end};

/* ---- the whole ---- */

void stream_init(struct stream *s, const uint8_t id[STREAM_ID_BYTES])
{
    struct file_head h = {.version = VERSION};

    *s = (struct stream){.snap.ops = &ops};
    memcpy(h.magic, magic, sizeof magic);
    memcpy(h.id, id, sizeof h.id);
    s->snap.error = append(s, &h, sizeof h);
}

void stream_fini(struct stream *s)
{
    free(s->bytes);
    *s = (struct stream){.snap.ops = &ops};
}

const uint8_t *stream_id(const struct stream *s)
{
    return s->bytes + offsetof(struct file_head, id);
}

int stream_seal(struct stream *s)
{
    uint8_t sum[SHA256_BYTES];
    struct file_head h;

    if (s->snap.error != 0) {
        return s->snap.error;
    }
    memcpy(&h, s->bytes, sizeof h);
    h.bytes = s->count + sizeof(struct section_head) + sizeof sum;
    h.crc = crc32c(0, &h, offsetof(struct file_head, crc));
    memcpy(s->bytes, &h, sizeof h);
    sha256_sum(s->bytes, s->count, sum);
    (void)snap_begin(&s->snap, "end", 1);
    SNAP_FIELD(&s->snap, sum);
    snap_end(&s->snap);
    return s->snap.error;
}

void stream_rewind(struct stream *s)
{
    s->snap = (struct snap){.ops = &ops, .is_loading = true};
    s->at = s->limit = sizeof(struct file_head);
}

static int refuse(struct err *e, const char *why)
{
    return err_set(e, -EBADMSG, "cannot use this snapshot: %s", why);
}

static int check_head(const struct stream *s, struct err *e)
{
    struct file_head h;

    if (s->count < sizeof h) {
        return refuse(e, "the file is cut in its head");
    }
    memcpy(&h, s->bytes, sizeof h);
    if (memcmp(h.magic, magic, sizeof magic) != 0) {
        return refuse(e, "the file is none");
    }
    if (crc32c(0, &h, offsetof(struct file_head, crc)) != h.crc) {
        return refuse(e, "its head is damaged");
    }
    if (h.version != VERSION) {
        return refuse(e, "it was made by a newer program");
    }
    return h.bytes == s->count  ? 0
           : h.bytes > s->count ? refuse(e, "the file is cut")
                                : refuse(e, "something follows its end");
}

static int check_end(const struct stream *s, const struct section_head *h, uint32_t at,
                     struct err *e)
{
    uint8_t sum[SHA256_BYTES];

    if (h->bytes != sizeof sum || at + sizeof *h + sizeof sum != s->count) {
        return refuse(e, "its end is damaged");
    }
    sha256_sum(s->bytes, at, sum);
    if (memcmp(sum, s->bytes + at + sizeof *h, sizeof sum) != 0 || h->version != 1 ||
        h->zero != 0 || h->zero2 != 0 || crc32c(0, sum, sizeof sum) != h->crc) {
        return refuse(e, "it is damaged");
    }
    for (size_t i = strlen("end"); i < sizeof h->name; i++) {
        if (h->name[i] != '\0') {
            return refuse(e, "its end is damaged");
        }
    }
    return 0;
}

static int check(const struct stream *s, struct err *e)
{
    uint32_t at = sizeof(struct file_head);
    int r = check_head(s, e);

    while (r == 0) {
        struct section_head h;

        if (s->count - at < sizeof h) {
            return refuse(e, "it has no end");
        }
        memcpy(&h, s->bytes + at, sizeof h);
        if (h.bytes > s->count - at - sizeof h ||
            memchr(h.name, 0, sizeof h.name) == NULL) {
            return refuse(e, "the head of a section is damaged");
        }
        if (strcmp(h.name, "end") == 0) {
            return check_end(s, &h, at, e);
        }
        if (crc32c(0, s->bytes + at + sizeof h, h.bytes) != h.crc) {
            return err_set(e, -EBADMSG,
                           "cannot use this snapshot: section '%s' is damaged", h.name);
        }
        at += (uint32_t)(sizeof h + ((h.bytes + 7) & ~UINT64_C(7)));
        if (at > s->count) {
            return refuse(e, "a section is cut");
        }
    }
    return r;
}

static int accept(struct stream *s, struct err *e)
{
    int r = check(s, e);

    if (r != 0) {
        stream_fini(s);
        return r;
    }
    stream_rewind(s);
    return 0;
}

int stream_take(struct stream *s, const void *bytes, size_t n, struct err *e)
{
    int r;

    *s = (struct stream){.snap.ops = &ops};
    r = append(s, bytes, n);
    return r == 0 ? accept(s, e)
                  : err_set(e, r, "cannot use this snapshot: it is too long");
}

int stream_load(struct stream *s, int fd, struct err *e)
{
    off_t size = lseek(fd, 0, SEEK_END); /* a confined worker may not fstat */

    *s = (struct stream){.snap.ops = &ops};
    if (size < 0) {
        return err_sys(e, -errno, "cannot read a snapshot");
    }
    if (size > (off_t)STREAM_MOST) {
        return refuse(e, "the file is too long to be one");
    }
    if (!grow_for(&s->bytes, (uint32_t)size + 1, &s->room)) {
        return err_set(e, -ENOMEM, "cannot read a snapshot: out of memory");
    }
    while (s->count <= (uint32_t)size) { /* one more: the file may have grown */
        ssize_t n =
            pread(fd, s->bytes + s->count, (size_t)size + 1 - s->count, (off_t)s->count);

        if (n < 0) {
            int r = err_sys(e, -errno, "cannot read a snapshot");

            stream_fini(s);
            return r;
        }
        if (n == 0) {
            break;
        }
        s->count += (uint32_t)n;
    }
    return accept(s, e);
}

void stream_pass(struct stream *s, const char *name)
{
    (void)snap_begin(&s->snap, name, UINT16_MAX);
    if (s->snap.error == 0) {
        s->at = s->limit;
    }
    snap_end(&s->snap);
}

int stream_save(const struct stream *s, int fd, struct err *e)
{
    uint32_t done = 0;

    while (done < s->count) {
        uint32_t part = s->count - done < 65536 ? s->count - done : 65536;
        int r = fault_step("snapshot.state");
        ssize_t n = r != 0 ? r : pwrite(fd, s->bytes + done, part, (off_t)done);

        if (n < 0) {
            return err_sys(e, r != 0 ? r : -errno, "cannot write a snapshot");
        }
        done += (uint32_t)n;
    }
    return 0;
}

int stream_why(const struct stream *s, struct err *e)
{
    if (s->snap.error == 0) {
        return 0;
    }
    return err_set(e, s->snap.error,
                   "cannot use this snapshot: its section '%s' does not fit this machine",
                   s->snap.section);
}
