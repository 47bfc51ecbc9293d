/* pack.c - the bytes of what changed, and the list that says where they lie.
 *
 * A file that was kept while nobody wrote is read from there.  Others are read where they are: one
 * that changes meanwhile is read again, a few times; then it is as it was at the last
 * reading, without a stamp, and counted. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/scope.h"
#include "host/file.h"
#include "node/volume/archive/private.h"

#define BUFFER     (256u << 10)
#define HOLE_LEAST ((off_t)64 << 10) /* less is stored as zeros */
#define TRIES      3
#define NS_PER_S   1000000000LL

struct packing {
    struct archive_pack *p;
    char *buffer;      /* owned */
    uint64_t end;      /* of the data */
    struct sha256 sum; /* of the file at hand */
    json_t *parts;     /* owned: of that */
    struct strv gone;  /* paths of files that were there no more */
    struct err *e;
};

/* [from, to) of the file; a file that has become shorter ends there. */
static int copy_part(struct packing *k, int in, off_t from, off_t to)
{
    off_t at = from;

    while (at < to) {
        size_t want = to - at < (off_t)BUFFER ? (size_t)(to - at) : BUFFER;
        ssize_t n = pread(in, k->buffer, want, at);
        int r = n < 0 ? -errno : file_write_all(k->p->data, k->buffer, (size_t)n);

        if (r < 0) {
            return n < 0 && errno == EINTR ? -EAGAIN : r;
        }
        if (n == 0) {
            break;
        }
        sha256_add(&k->sum, k->buffer, (size_t)n);
        at += n;
        k->end += (uint64_t)n;
    }
    return json_array_append_new(
        k->parts, json_pack("[I, I]", (json_int_t)from, (json_int_t)(at - from)));
}

/* Where the next part begins and ends; false: there is none. */
static bool next_part(int in, off_t at, off_t size, off_t *from, off_t *to)
{
    off_t hole;

    *from = lseek(in, at, SEEK_DATA);
    if (*from < 0) { /* a hole up to the end, or a file system without holes */
        *from = errno == ENXIO ? size : at;
        *to = size;
        return *from < size;
    }
    hole = lseek(in, *from, SEEK_HOLE);
    while (hole >= 0 && hole < size) {
        off_t data = lseek(in, hole, SEEK_DATA);

        if (data < 0 || data - hole >= HOLE_LEAST) {
            break;
        }
        hole = lseek(in, data, SEEK_HOLE);
    }
    *to = hole < 0 || hole > size ? size : hole;
    return *from < *to;
}

static int copy_file(struct packing *k, int in, off_t size)
{
    off_t at = 0;
    off_t to;
    int r = 0;

    sha256_init(&k->sum);
    json_decref(k->parts);
    k->parts = json_array();
    while (r == 0 && next_part(in, at, size, &at, &to)) {
        r = copy_part(k, in, at, to);
        at = to;
    }
    return r;
}

/* One part that is all of the file goes without saying. */
static bool is_whole(const json_t *parts, off_t size)
{
    const json_t *one = json_array_get(parts, 0);

    return json_array_size(parts) == 1 &&
           json_integer_value(json_array_get(one, 0)) == 0 &&
           json_integer_value(json_array_get(one, 1)) == (json_int_t)size;
}

static int note(struct packing *k, json_t *entry, uint64_t begin, off_t size)
{
    uint8_t bytes[SHA256_BYTES];
    char digits[SHA256_HEX_BYTES];
    json_t *data;

    sha256_end(&k->sum, bytes);
    sha256_hex(bytes, digits);
    data =
        json_pack("{s:s, s:I, s:I, s:s}", "backup", k->p->name, "at", (json_int_t)begin,
                  "bytes", (json_int_t)(k->end - begin), "sha256", digits);
    if (data != NULL && !is_whole(k->parts, size)) {
        (void)json_object_set(data, "parts", k->parts);
    }
    (void)json_object_set_new(entry, "size", json_integer((json_int_t)size));
    return json_object_set_new(entry, "data", data) < 0 ? -ENOMEM : 0;
}

static int64_t time_ns(const struct timespec *t)
{
    return t->tv_sec * NS_PER_S + t->tv_nsec;
}

/* As it is described; else it has changed since. */
static bool is_still(const struct stat *st, const struct stat *was)
{
    return st->st_size == was->st_size && st->st_ino == was->st_ino &&
           time_ns(&st->st_ctim) == time_ns(&was->st_ctim);
}

static int open_source(const struct packing *k, const json_t *entry)
{
    char path[ARCHIVE_PATH_MOST];
    char name[NAME_MAX + 1];
    SCOPED(scope_close) int dir = -1;
    int fd;

    if (json_object_get(entry, "stage") != NULL) {
        archive_stage_name((uint64_t)archive_number(entry, "stage"), name);
        fd = openat(k->p->stage, name, O_RDONLY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
    }
    if (archive_unquote(archive_text(entry, "path"), path, sizeof path) < 0) {
        return -EINVAL;
    }
    dir = archive_parent(k->p->top, path, name);
    fd = dir < 0 ? -1 : openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    return dir < 0 ? dir : fd < 0 ? -errno : fd;
}

/* Nobody has written to it meanwhile: 0; 1: somebody has. */
static int try_file(struct packing *k, const json_t *entry, int in, struct stat *st)
{
    struct stat after;
    int r = fstat(in, st) < 0 ? -errno : S_ISREG(st->st_mode) ? 0 : -ENOENT;

    r = r == 0 ? copy_file(k, in, st->st_size) : r;
    if (r < 0 || json_object_get(entry, "stage") != NULL) {
        return r;
    }
    return fstat(in, &after) < 0 ? -errno : is_still(&after, st) ? 0 : 1;
}

/* 1: it is not there any more. */
static int pack_file(struct packing *k, json_t *entry)
{
    uint64_t begin = k->end;
    json_int_t stamp =
        json_integer_value(json_array_get(json_object_get(entry, "stamp"), 2));
    struct stat st = {.st_size = 0};
    int r = 1;

    for (int i = 0; i < TRIES && r == 1; i++) {
        SCOPED(scope_close) int in = open_source(k, entry);

        if (in < 0) {
            return in == -ENOENT || in == -ELOOP || in == -ENOTDIR ? 1 : in;
        }
        k->end = begin;
        if (ftruncate(k->p->data, (off_t)begin) < 0 ||
            lseek(k->p->data, (off_t)begin, SEEK_SET) < 0) {
            return -errno;
        }
        r = try_file(k, entry, in, &st);
    }
    if (r < 0) {
        return r == -ENOENT ? 1 : r;
    }
    k->p->changed += r == 1;
    if (json_object_get(entry, "stage") == NULL) {
        if (r == 1 || time_ns(&st.st_ctim) != stamp) {
            (void)json_object_del(entry, "stamp");
        }
        (void)json_object_set_new(entry, "mtime_ns", json_integer(time_ns(&st.st_mtim)));
    }
    (void)json_object_del(entry, "stage");
    return note(k, entry, begin, st.st_size);
}

static int pack_entry(struct packing *k, json_t *entry, struct archive_writer *list)
{
    const char *type = archive_text(entry, "type");
    bool wants = strcmp(type, "file") == 0 && json_object_get(entry, "data") == NULL;
    int r = wants ? pack_file(k, entry) : 0;

    if (r < 0) {
        return err_sys(k->e, r, "cannot keep '%s'", archive_text(entry, "path"));
    }
    if (r == 1) {
        strv_add(&k->gone, archive_text(entry, "path"));
    } else if (strcmp(type, "same") == 0 &&
               strv_has(&k->gone, archive_text(entry, "of"))) {
        k->p->changed++;
        r = 1;
    }
    return r == 1 ? 0 : archive_write(list, entry, k->e);
}

static int pack_lines(struct packing *k, struct archive_reader *lines,
                      struct archive_writer *list)
{
    for (;;) {
        SCOPED(scope_json) json_t *entry = NULL;
        int r = archive_read(lines, &entry, k->e);

        r = r == 0 && entry != NULL ? pack_entry(k, entry, list) : r;
        if (r < 0 || entry == NULL) {
            return r;
        }
    }
}

int archive_pack(struct archive_pack *p, struct err *e)
{
    struct packing k = {.p = p, .e = e, .buffer = fault_malloc(BUFFER)};
    struct archive_reader lines = {.file = NULL};
    struct archive_writer list = {.file = NULL};
    int r = k.buffer == NULL ? err_set(e, -ENOMEM, "no memory") : 0;

    r = r == 0 ? archive_reader_open(&lines, fcntl(p->lines, F_DUPFD_CLOEXEC, 3), e) : r;
    r = r == 0 ? archive_writer_open(&list, fcntl(p->list, F_DUPFD_CLOEXEC, 3), e) : r;
    r = r == 0 ? pack_lines(&k, &lines, &list) : r;
    r = r == 0 ? archive_writer_end(&list, p->sum, e) : r;
    if (r == 0 && fsync(p->data) < 0) {
        r = err_sys(e, -errno, "cannot write a backup");
    }
    p->entries = list.count;
    p->bytes = k.end;
    archive_reader_fini(&lines);
    archive_writer_fini(&list);
    json_decref(k.parts);
    strv_fini(&k.gone);
    free(k.buffer);
    return r;
}
